// Layer, RMS and group norm: rows of n elements brought to mean 0 and variance 1 (or, not `centred`, to mean square 1), each
// element then multiplied with a weight and shifted by a bias. mean and var are `wide`.
//
// Element i of row r has the weight number (r % groups) (n / inner) + i / inner: for layer norm (groups = inner = 1) that is i,
// for group norm the channel. Deviations are taken from the mean in a pass of their own, which finds the row in a cache.

__device__ __forceinline__ long long weight_number(long long r, long long i, long long n, long long inner, long long groups) {
    return inner == 1 ? (r % groups) * n + i : (r % groups) * (n / inner) + (unsigned)i / (unsigned)inner;
}

template <int N> __device__ __forceinline__ pair moments_of_row(const scalar* x, long long n, bool centred) {
    wide mean = 0, square = 0;
    if (centred) {
        for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
            wide v[N];
            load<N>(x + i, v);
            for (int k = 0; k < N; k++) mean += v[k];
        }
        mean = sum(mean, 0).a / n;
    }
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) square += (v[k] - mean) * (v[k] - mean);
    }
    return {mean, sum(square, 0).a / n};
}

template <int N>
__device__ __forceinline__ void norm_row(const scalar* x, const scalar* weight, const scalar* bias, scalar* y, wide* mean, wide* var, long long n, long long inner, long long groups, double eps, bool centred) {
    long long r = my_row();
    pair found = moments_of_row<N>(x, n, centred);
    if (threadIdx.x == 0) {
        if (centred) mean[r] = found.a;
        var[r] = found.b;
    }
    wide rstd = 1 / sqrt(found.b + wide(eps));
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) {
            long long w = weight_number(r, i + k, n, inner, groups);
            v[k] = (v[k] - found.a) * rstd;
            if (weight) v[k] *= wide(weight[w]);
            if (bias) v[k] += wide(bias[w]);
        }
        store<N>(v, y + i);
    }
}

// weight and bias may be null, and mean is if not `centred`.
extern "C" __global__ void norm_rows(const scalar* x, const scalar* weight, const scalar* bias, scalar* y, wide* mean, wide* var, long long rows, long long n, long long inner, long long groups, double eps, long long centred) {
    long long r = my_row();
    if (r >= rows) return;
    x += r * n, y += r * n;
    if (packable(n, x, y)) norm_row<PACK>(x, weight, bias, y, mean, var, n, inner, groups, eps, centred);
    else norm_row<1>(x, weight, bias, y, mean, var, n, inner, groups, eps, centred);
}

template <int N>
__device__ __forceinline__ void norm_gradient_row(const scalar* g, const scalar* x, const scalar* weight, wide mean, wide rstd, scalar* gx, long long n, long long inner, long long groups, bool centred) {
    long long r = my_row();
    wide plain = 0, along = 0;
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide a[N], v[N];
        load<N>(g + i, a), load<N>(x + i, v);
        for (int k = 0; k < N; k++) {
            if (weight) a[k] *= wide(weight[weight_number(r, i + k, n, inner, groups)]);
            plain += a[k], along += a[k] * ((v[k] - mean) * rstd);
        }
    }
    pair total = sum(plain, along);
    plain = centred ? total.a / n : wide(0), along = total.b / n;
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide a[N], v[N];
        load<N>(g + i, a), load<N>(x + i, v);
        for (int k = 0; k < N; k++) {
            if (weight) a[k] *= wide(weight[weight_number(r, i + k, n, inner, groups)]);
            a[k] = rstd * (a[k] - plain - (v[k] - mean) * rstd * along);
        }
        store<N>(a, gx + i);
    }
}

// gx = rstd (g w - mean(g w) - xhat mean(g w xhat)), the middle term only if `centred`.
extern "C" __global__ void norm_gradient(const scalar* g, const scalar* x, const scalar* weight, const wide* mean, const wide* var, scalar* gx, long long rows, long long n, long long inner, long long groups, double eps, long long centred) {
    long long r = my_row();
    if (r >= rows) return;
    g += r * n, x += r * n, gx += r * n;
    wide m = centred ? mean[r] : wide(0), rstd = 1 / sqrt(var[r] + wide(eps));
    if (packable(n, g, x, gx)) norm_gradient_row<PACK>(g, x, weight, m, rstd, gx, n, inner, groups, centred);
    else norm_gradient_row<1>(g, x, weight, m, rstd, gx, n, inner, groups, centred);
}

// For weights of one number per column (inner = groups = 1): the first stage of their gradients' sums, as in `columns.cu`.
extern "C" __global__ void norm_weight_columns(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* weight, wide* bias, long long rows, long long n, long long chunk, double eps, long long centred) {
    long long column = (long long)blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * chunk;
    long long last = first + chunk < rows ? first + chunk : rows;
    pair p = column_sum(first, last, column < n, [=](long long r) {
        wide a = g[r * n + column], m = centred ? mean[r] : wide(0);
        return pair{a * ((wide(x[r * n + column]) - m) / sqrt(var[r] + wide(eps))), a};
    });
    if (threadIdx.y == 0 && column < n) {
        weight[blockIdx.y * n + column] = p.a;
        if (bias) bias[blockIdx.y * n + column] = p.b;
    }
}

// For weights of one number per `inner` elements: their gradients' sums over each such stretch, (rows n / inner).
extern "C" __global__ void norm_weight_stretches(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* weight, wide* bias, long long stretches, long long n, long long inner, double eps) {
    long long s = my_row();
    if (s >= stretches) return;
    long long r = s / (n / inner);
    wide m = mean[r], rstd = 1 / sqrt(var[r] + wide(eps)), along = 0, plain = 0;
    for (long long i = threadIdx.x; i < inner; i += blockDim.x) {
        wide a = g[s * inner + i];
        along += a * ((wide(x[s * inner + i]) - m) * rstd), plain += a;
    }
    pair p = sum(along, plain);
    if (threadIdx.x == 0) weight[s] = p.a, bias[s] = p.b;
}
