// Layer, RMS and group norm: rows of n elements brought to mean 0 and variance 1 (or, not `centred`, to mean square 1), each
// element then multiplied with a weight and shifted by a bias. mean and var are `wide`.
//
// Element i of row r has the weight number (r % groups) (n / inner) + i / inner: for layer norm (groups = inner = 1) that is i,
// for group norm the channel. Deviations are taken from the mean in a pass of their own, which finds the row in a cache.

// The weights of one row.
struct row_weights {
    weights w;
    long long first, inner;
    __device__ __forceinline__ row_weights(const void* at, long long in_wide, long long r, long long n, long long inner_, long long groups) : w{at, bool(in_wide)}, first((r % groups) * (n / inner_)), inner(inner_) {}
    __device__ __forceinline__ explicit operator bool() const { return bool(w); }
    // Those of the elements i ... i + N - 1.
    template <int N> __device__ __forceinline__ void read(long long i, wide* to) const {
        if (inner == 1) {
            const scalar* from = (const scalar*)w.at + first + i;
            if (!w.in_wide && ((address)from & (N * sizeof(scalar) - 1)) == 0) return load<N>(from, to);
            for (int k = 0; k < N; k++) to[k] = w[first + i + k];
            return;
        }
        unsigned number = (unsigned)i / (unsigned)inner, left = (number + 1) * (unsigned)inner - (unsigned)i;
        wide current = w[first + number];
        for (int k = 0; k < N; k++) {
            if (left-- == 0) left = inner - 1, current = w[first + ++number];
            to[k] = current;
        }
    }
};

__device__ __forceinline__ pair moments_of_row(const scalar* x, long long n, bool centred) {
    wide mean = 0, square = 0;
    if (centred) {
        each_of_row(n, [&](auto size, long long i) {
            constexpr int N = size.count;
            wide v[N];
            load<N>(x + i, v);
            for (int k = 0; k < N; k++) mean += v[k];
        }, x);
        mean = sum(mean, 0).a / n;
    }
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) square += (v[k] - mean) * (v[k] - mean);
    }, x);
    return {mean, sum(square, 0).a / n};
}

// weight and bias may be null, and mean is if not `centred`.
extern "C" __global__ __launch_bounds__(1024) void norm_rows(const scalar* x, const void* weight, const void* bias, long long in_wide, scalar* y, wide* mean, wide* var, long long rows, long long n, long long inner, long long groups, double eps, long long centred) {
    long long r = my_row();
    if (r >= rows) return;
    row_weights w(weight, in_wide, r, n, inner, groups), b(bias, in_wide, r, n, inner, groups);
    x += r * n, y += r * n;
    pair found = moments_of_row(x, n, centred);
    if (threadIdx.x == 0) {
        if (centred) mean[r] = found.a;
        var[r] = found.b;
    }
    wide rstd = 1 / sqrt(found.b + wide(eps));
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N], c[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) v[k] = (v[k] - found.a) * rstd;
        if (w) w.read<N>(i, c);
        for (int k = 0; k < N; k++) v[k] = w ? v[k] * c[k] : v[k];
        if (b) b.read<N>(i, c);
        for (int k = 0; k < N; k++) v[k] = b ? v[k] + c[k] : v[k];
        store<N>(v, y + i);
    }, x, y);
}

// gx = rstd (g w - mean(g w) - xhat mean(g w xhat)), the middle term only if `centred`.
extern "C" __global__ __launch_bounds__(1024) void norm_gradient(const scalar* g, const scalar* x, const void* weight, long long in_wide, const wide* mean, const wide* var, scalar* gx, long long rows, long long n, long long inner, long long groups, double eps, long long centred) {
    long long r = my_row();
    if (r >= rows) return;
    row_weights w(weight, in_wide, r, n, inner, groups);
    g += r * n, x += r * n, gx += r * n;
    wide m = centred ? mean[r] : wide(0), rstd = 1 / sqrt(var[r] + wide(eps)), plain = 0, along = 0;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], v[N], c[N];
        load<N>(g + i, a), load<N>(x + i, v);
        if (w) w.read<N>(i, c);
        for (int k = 0; k < N; k++) {
            if (w) a[k] *= c[k];
            plain += a[k], along += a[k] * ((v[k] - m) * rstd);
        }
    }, g, x);
    pair total = sum(plain, along);
    plain = centred ? total.a / n : wide(0), along = total.b / n;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], v[N], c[N];
        load<N>(g + i, a), load<N>(x + i, v);
        if (w) w.read<N>(i, c);
        for (int k = 0; k < N; k++) {
            if (w) a[k] *= c[k];
            a[k] = rstd * (a[k] - plain - (v[k] - m) * rstd * along);
        }
        store<N>(a, gx + i);
    }, g, x, gx);
}

template <int N> __device__ __forceinline__ void weight_strip(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* weight, wide* bias, long long rows, long long columns, long long chunk, long long n, double eps, bool centred) {
    strip s(N, rows, columns, chunk, g, x);
    long long groups = columns / n, at = blockIdx.y * columns + s.c;
    sum_strip<N>(s, weight + at, bias ? bias + at : bias, [&](long long r, wide* a, wide* b) {
        s.read<N>(x + r * columns + s.c, a), s.read<N>(g + r * columns + s.c, b);
        long long one = r * groups + (groups == 1 ? 0 : s.c / n), next = (s.c / n + 1) * n;
        wide m = centred ? mean[one] : wide(0), rstd = 1 / sqrt(var[one] + wide(eps));
        for (int k = 0; k < N; k++) {
            if (s.c + k == next) one++, next += n, m = centred ? mean[one] : wide(0), rstd = 1 / sqrt(var[one] + wide(eps));
            a[k] = b[k] * ((a[k] - m) * rstd);
        }
    });
}

// For weights of one number per column of (rows, columns), where n columns have a mean in common (inner = 1): the first stage of their
// gradients' sums, as in `columns.cu`.
extern "C" __global__ void norm_weight_columns(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* weight, wide* bias, long long rows, long long columns, long long chunk, long long packed, long long n, double eps, long long centred) {
    if (packed) weight_strip<PACK>(g, x, mean, var, weight, bias, rows, columns, chunk, n, eps, centred);
    else weight_strip<1>(g, x, mean, var, weight, bias, rows, columns, chunk, n, eps, centred);
}

// For weights of one number per `inner` elements: their gradients' sums over each such stretch, (rows n / inner).
extern "C" __global__ __launch_bounds__(1024) void norm_weight_stretches(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* weight, wide* bias, long long stretches, long long n, long long inner, double eps) {
    long long s = my_row();
    if (s >= stretches) return;
    long long r = s / (n / inner);
    wide m = mean[r], rstd = 1 / sqrt(var[r] + wide(eps)), along = 0, plain = 0;
    g += s * inner, x += s * inner;
    each_of_row(inner, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], v[N];
        load<N>(g + i, a), load<N>(x + i, v);
        for (int k = 0; k < N; k++) along += a[k] * ((v[k] - m) * rstd), plain += a[k];
    }, g, x);
    pair p = sum(along, plain);
    if (threadIdx.x == 0) weight[s] = p.a, bias[s] = p.b;
}
