// Softmax, log-softmax and cross-entropy: along the last axis of (rows, n), any n > 0, and along any other.
//
// One pass finds the largest element and the sum of exponentials together: when a larger element turns up, the sum so far is
// scaled (Milakov and Gimelshein 2018, "Online normalizer calculation for softmax"). A second pass, which finds the row in a
// cache, writes. NaN and infinities come out as from the plain formula.

__device__ __forceinline__ wide rescale(wide old_top, wide top) { return old_top == top ? wide(1) : exp(old_top - top); }
__device__ __forceinline__ wide term(wide v, wide top) { return v == -infinity() ? wide(0) : exp(v - top); }

struct combine_tops {  // a: the largest element, b: the sum of exponentials relative to it
    __device__ __forceinline__ pair operator()(pair p, pair q) const {
        wide top = fmax(p.a, q.a);
        return {top, p.b * rescale(p.a, top) + q.b * rescale(q.a, top)};
    }
};

__device__ __forceinline__ pair top_and_sum(const scalar* x, long long n) {
    pair p = {-infinity(), 0};
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N], top = p.a;
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) top = fmax(top, v[k]);
        p.b *= rescale(p.a, top);
        for (int k = 0; k < N; k++) p.b += term(v[k], top);
        p.a = top;
    }, x);
    return reduce(p, pair{-infinity(), 0}, combine_tops());
}

// y = softmax(x), or its logarithm.
extern "C" __global__ __launch_bounds__(1024) void softmax(const scalar* x, scalar* y, long long rows, long long n, long long logarithm) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n, y += row * n;
    pair p = top_and_sum(x, n);
    wide share = 1 / p.b, log_sum = log(p.b);
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) v[k] = logarithm ? v[k] - p.a - log_sum : exp(v[k] - p.a) * share;
        store<N>(v, y + i);
    }, x, y);
}

// The gradient of x from g and the output y: y (g - sum(g y)), or of the logarithm g - exp(y) sum(g).
extern "C" __global__ __launch_bounds__(1024) void softmax_gradient(const scalar* g, const scalar* y, scalar* gx, long long rows, long long n, long long logarithm) {
    long long row = my_row();
    if (row >= rows) return;
    g += row * n, y += row * n, gx += row * n;
    wide total = 0;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], b[N];
        load<N>(g + i, a), load<N>(y + i, b);
        for (int k = 0; k < N; k++) total += logarithm ? a[k] : a[k] * b[k];
    }, g, y);
    total = sum(total, 0).a;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], b[N];
        load<N>(g + i, a), load<N>(y + i, b);
        for (int k = 0; k < N; k++) a[k] = logarithm ? a[k] - exp(b[k]) * total : b[k] * (a[k] - total);
        store<N>(a, gx + i);
    }, g, y, gx);
}

// --- along another axis than the last: (outer, n, inner) ---
//
// A block of (32, 8) threads takes 32 of the outer * inner columns; the eight threads of a column share its elements.

struct column {
    long long first, step;  // of its elements
    bool inside;
    __device__ __forceinline__ column(long long outer, long long n, long long inner) {
        long long s = (long long)blockIdx.x * 32 + threadIdx.x;
        first = s / inner * n * inner + s % inner, step = inner, inside = s < outer * inner;
    }
};

template <class T, class F> __device__ __forceinline__ T reduce_column(T p, F combine) {
    __shared__ T partial[8][32];
    partial[threadIdx.y][threadIdx.x] = p;
    __syncthreads();
    for (int half = 4; half > 0; half >>= 1) {
        if (int(threadIdx.y) < half) partial[threadIdx.y][threadIdx.x] = combine(partial[threadIdx.y][threadIdx.x], partial[threadIdx.y + half][threadIdx.x]);
        __syncthreads();
    }
    p = partial[0][threadIdx.x];
    __syncthreads();
    return p;
}

__device__ __forceinline__ pair top_and_sum_of_column(const scalar* x, column at, long long n) {
    pair p = {-infinity(), 0};
    if (at.inside)
        for (long long c = threadIdx.y; c < n; c += 8) {
            wide v = x[at.first + c * at.step], top = fmax(p.a, v);
            p.b = p.b * rescale(p.a, top) + term(v, top), p.a = top;
        }
    return reduce_column(p, combine_tops());
}

extern "C" __global__ void softmax_columns(const scalar* x, scalar* y, long long outer, long long n, long long inner, long long logarithm) {
    column at(outer, n, inner);
    pair p = top_and_sum_of_column(x, at, n);
    if (!at.inside) return;
    wide share = 1 / p.b, log_sum = log(p.b);
    for (long long c = threadIdx.y; c < n; c += 8) {
        wide v = x[at.first + c * at.step];
        y[at.first + c * at.step] = scalar(logarithm ? v - p.a - log_sum : exp(v - p.a) * share);
    }
}

extern "C" __global__ void softmax_gradient_columns(const scalar* g, const scalar* y, scalar* gx, long long outer, long long n, long long inner, long long logarithm) {
    column at(outer, n, inner);
    pair total = {0, 0};
    if (at.inside)
        for (long long c = threadIdx.y; c < n; c += 8) {
            wide a = g[at.first + c * at.step];
            total.a += logarithm ? a : a * wide(y[at.first + c * at.step]);
        }
    total = reduce_column(total, add_pairs());
    if (!at.inside) return;
    for (long long c = threadIdx.y; c < n; c += 8) {
        long long i = at.first + c * at.step;
        wide a = g[i], b = y[i];
        gx[i] = scalar(logarithm ? a - exp(b) * total.a : b * (a - total.a));
    }
}

// --- cross-entropy with class numbers ---
//
// loss = -sum(q log p) of a sample, slope = (sum(q) p - q) / divisor, where q is `weight` at the target and share[c] everywhere,
// which add up to `smooth`. weight (null for 1), kept (null for true) have a number for each sample, share (or null) one for each
// class; the divisor is at `over`, or `divisor`. A sample that is not kept has loss and slope 0, whatever its logits.

struct sample {
    wide weight, kept, total, scale;
    long long hit;
    __device__ __forceinline__ sample(long long r, const long long* target, const wide* weights, const unsigned char* keep, const wide* smooth, const wide* over, double divisor) {
        weight = weights ? weights[r] : wide(1), kept = keep && !keep[r] ? wide(0) : wide(1);
        total = weight + (smooth ? kept * *smooth : wide(0)), scale = 1 / (over ? *over : wide(divisor)), hit = target[r];
    }
    __device__ __forceinline__ wide slope(wide below_top, wide factor, wide share, bool here) const {
        wide v = exp(below_top) * factor - share * kept * scale - (here ? weight * scale : wide(0));
        return kept == 0 ? wide(0) : v;
    }
    __device__ __forceinline__ wide loss(wide sum, wide at_target, wide spread) const {
        wide v = log(sum) * total - (weight == 0 ? wide(0) : weight * at_target) - kept * spread;
        return kept == 0 ? wide(0) : v;
    }
};

extern "C" __global__ __launch_bounds__(1024) void cross_entropy(const scalar* x, const long long* target, const wide* weight, const unsigned char* kept, const wide* share, const wide* smooth, const wide* over, double divisor, wide* loss, scalar* slope, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n, slope += row * n;
    sample one(row, target, weight, kept, smooth, over, divisor);
    pair found = top_and_sum(x, n);
    wide factor = one.total * one.scale / found.b, spread = 0;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) {
            wide part = share ? share[i + k] : wide(0), below = v[k] - found.a;
            if (share) spread += part * below;
            v[k] = one.slope(below, factor, part, i + k == one.hit);
        }
        store<N>(v, slope + i);
    }, x, slope);
    if (share) spread = sum(spread, 0).a;
    if (threadIdx.x == 0) loss[row] = one.loss(found.b, wide(x[one.hit]) - found.a, spread);
}

// The same for (outer, n, inner), a sample each column.
extern "C" __global__ void cross_entropy_columns(const scalar* x, const long long* target, const wide* weight, const unsigned char* kept, const wide* share, const wide* smooth, const wide* over, double divisor, wide* loss, scalar* slope, long long outer, long long n, long long inner) {
    column at(outer, n, inner);
    long long s = at.inside ? (long long)blockIdx.x * 32 + threadIdx.x : 0;
    sample one(s, target, weight, kept, smooth, over, divisor);
    pair found = top_and_sum_of_column(x, at, n), spread = {0, 0};
    wide factor = one.total * one.scale / found.b;
    if (at.inside)
        for (long long c = threadIdx.y; c < n; c += 8) {
            long long i = at.first + c * at.step;
            wide part = share ? share[c] : wide(0), below = wide(x[i]) - found.a;
            if (share) spread.a += part * below;
            slope[i] = scalar(one.slope(below, factor, part, c == one.hit));
        }
    if (share) spread = reduce_column(spread, add_pairs());
    if (at.inside && threadIdx.y == 0) loss[s] = one.loss(found.b, wide(x[at.first + one.hit * at.step]) - found.a, spread.a);
}

// What class numbers say of each sample: the class, made a valid one; the factor of its loss, from the classes' weights (or null for
// 1), 0 if it is ignored and NaN if it is no class; and whether it is kept.
extern "C" __global__ void class_numbers(const long long* given, const scalar* weight, long long* classes, wide* factor, unsigned char* kept, long long count, long long n, long long ignored) {
    for (long long i = my_index(); i < count; i += all_threads()) {
        long long c = given[i];
        bool inside = c >= 0 && c < n, keep = c != ignored;
        classes[i] = inside && keep ? c : 0, kept[i] = keep;
        wide full = weight ? wide(weight[classes[i]]) : wide(1);
        factor[i] = !keep ? wide(0) : inside ? full : infinity() - infinity();
    }
}

// The sum of each `chunk` losses, a block's, divided: to y, or `wide` to y_wide.
extern "C" __global__ __launch_bounds__(1024) void loss_total(const wide* loss, const wide* over, double divisor, scalar* y, wide* y_wide, long long count, long long chunk) {
    long long first = blockIdx.x * chunk, last = first + chunk < count ? first + chunk : count;
    wide total = 0;
    for (long long i = first + threadIdx.x; i < last; i += blockDim.x) total += loss[i];
    total = sum(total, 0).a / (over ? *over : wide(divisor));
    if (threadIdx.x) return;
    if (y) y[blockIdx.x] = scalar(total);
    else y_wide[blockIdx.x] = total;
}

// gx = g slope, with g[row * step] for each row, from g or g_wide. gx may be slope itself; then factors of 1 cost nothing.
extern "C" __global__ __launch_bounds__(1024) void scale_slopes(const scalar* slope, const scalar* g, const wide* g_wide, long long step, scalar* gx, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    wide factor = g ? wide(g[row * step]) : g_wide[row * step];
    if (factor == 1 && gx == slope) return;
    slope += row * n, gx += row * n;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(slope + i, v);
        for (int k = 0; k < N; k++) v[k] *= factor;
        store<N>(v, gx + i);
    }, slope, gx);
}

// The same with a number for each column of (outer, n, inner).
extern "C" __global__ void scale_slope_columns(const scalar* slope, const scalar* g, const wide* g_wide, scalar* gx, long long outer, long long n, long long inner) {
    column at(outer, n, inner);
    if (!at.inside) return;
    long long s = (long long)blockIdx.x * 32 + threadIdx.x;
    wide factor = g ? wide(g[s]) : g_wide[s];
    for (long long c = threadIdx.y; c < n; c += 8) gx[at.first + c * at.step] = scalar(factor * wide(slope[at.first + c * at.step]));
}
