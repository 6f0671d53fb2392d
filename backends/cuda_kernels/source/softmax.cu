// Softmax, log-softmax and cross-entropy along the last axis of (rows, n), any n > 0.
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

template <int N> __device__ __forceinline__ pair top_and_sum(const scalar* x, long long n) {
    pair p = {-infinity(), 0};
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N], top = p.a;
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) top = fmax(top, v[k]);
        p.b *= rescale(p.a, top);
        for (int k = 0; k < N; k++) p.b += term(v[k], top);
        p.a = top;
    }
    return reduce(p, pair{-infinity(), 0}, combine_tops());
}

template <int N> __device__ __forceinline__ void softmax_row(const scalar* x, scalar* y, long long n, bool logarithm) {
    pair p = top_and_sum<N>(x, n);
    wide share = 1 / p.b, log_sum = log(p.b);
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) v[k] = logarithm ? v[k] - p.a - log_sum : exp(v[k] - p.a) * share;
        store<N>(v, y + i);
    }
}

// y = softmax(x), or its logarithm.
extern "C" __global__ void softmax(const scalar* x, scalar* y, long long rows, long long n, long long logarithm) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n, y += row * n;
    if (packable(n, x, y)) softmax_row<PACK>(x, y, n, logarithm);
    else softmax_row<1>(x, y, n, logarithm);
}

template <int N>
__device__ __forceinline__ void gradient_row(const scalar* g, const scalar* y, scalar* gx, long long n, bool logarithm) {
    wide total = 0;
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide a[N], b[N];
        load<N>(g + i, a), load<N>(y + i, b);
        for (int k = 0; k < N; k++) total += logarithm ? a[k] : a[k] * b[k];
    }
    total = sum(total, 0).a;
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide a[N], b[N];
        load<N>(g + i, a), load<N>(y + i, b);
        for (int k = 0; k < N; k++) a[k] = logarithm ? a[k] - exp(b[k]) * total : b[k] * (a[k] - total);
        store<N>(a, gx + i);
    }
}

// The gradient of x from g and the output y: y (g - sum(g y)), or of the logarithm g - exp(y) sum(g).
extern "C" __global__ void softmax_gradient(const scalar* g, const scalar* y, scalar* gx, long long rows, long long n, long long logarithm) {
    long long row = my_row();
    if (row >= rows) return;
    g += row * n, y += row * n, gx += row * n;
    if (packable(n, g, y, gx)) gradient_row<PACK>(g, y, gx, n, logarithm);
    else gradient_row<1>(g, y, gx, n, logarithm);
}

// --- cross-entropy with class numbers ---
//
// weight: one number per row, or null for 1; a row of weight 0 takes no part in the loss, whatever its elements.

__device__ __forceinline__ wide weight_of(const wide* weight, long long row) { return weight ? weight[row] : wide(1); }

__device__ __forceinline__ wide loss_of(pair found, wide at_target, wide weight) {
    return log(found.b) * weight - (weight == 0 ? wide(0) : weight * (at_target - found.a));
}

// loss[row] = -weight log p[target], and p = softmax(x), which is `wide`.
extern "C" __global__ void cross_entropy(const scalar* x, const long long* target, const wide* weight, scalar* loss, wide* p, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n, p += row * n;
    pair found = packable(n, x) ? top_and_sum<PACK>(x, n) : top_and_sum<1>(x, n);
    if (threadIdx.x == 0) loss[row] = scalar(loss_of(found, wide(x[target[row]]), weight_of(weight, row)));
    wide share = 1 / found.b;
    for (long long i = threadIdx.x; i < n; i += blockDim.x) p[i] = exp(wide(x[i]) - found.a) * share;
}

// gx = incoming[row] weight (p - [target]), all `wide`.
extern "C" __global__ void cross_entropy_input(const wide* p, const wide* incoming, const long long* target, const wide* weight, wide* gx, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    wide scale = incoming[row] * weight_of(weight, row);
    long long hit = target[row];
    for (long long i = threadIdx.x; i < n; i += blockDim.x) {
        wide v = p[row * n + i] * scale;
        gx[row * n + i] = i == hit ? v - scale : v;
    }
}

template <int N>
__device__ __forceinline__ void both_row(const scalar* x, scalar* gx, long long n, pair found, wide scale, long long hit) {
    wide share = scale / found.b;
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) v[k] = exp(v[k] - found.a) * share - (i + k == hit ? scale : wide(0));
        store<N>(v, gx + i);
    }
}

// Loss and gradient in one: loss[row] as above but `wide`, gx = incoming[row] weight (softmax(x) - [target]). gx may be x itself.
extern "C" __global__ void cross_entropy_both(const scalar* x, const long long* target, const wide* weight, const wide* incoming, wide* loss, scalar* gx, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n, gx += row * n;
    bool packed = packable(n, x, gx);
    pair found = packed ? top_and_sum<PACK>(x, n) : top_and_sum<1>(x, n);
    long long hit = target[row];
    wide w = weight_of(weight, row);
    if (threadIdx.x == 0) loss[row] = loss_of(found, wide(x[hit]), w);
    // The loss has read x before x may be written over.
    if (blockDim.x > 32) __syncthreads();
    else __syncwarp();
    if (packed) both_row<PACK>(x, gx, n, found, incoming[row] * w, hit);
    else both_row<1>(x, gx, n, found, incoming[row] * w, hit);
}
