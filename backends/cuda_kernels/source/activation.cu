// y = f(x + bias) and its gradient, f = ReLU, GELU (exact or by tanh) or SiLU. The bias, or null, is one number per column of
// (count / n, n). Arguments are clipped where the slope is 0 or 1 to the last digit, lest 0 * inf appear.

enum { RELU, GELU, GELU_TANH, SILU };

__device__ __forceinline__ wide sigmoid(wide x) { return 1 / (1 + exp(-x)); }
__device__ __forceinline__ wide clipped(wide x, wide limit) { return x != x ? x : fmin(fmax(x, -limit), limit); }
__device__ __forceinline__ wide at_least(wide x, wide low) { return x < low ? low : x; }

constexpr double CUBE = 0.044715, TANH = 1.5957691216057308;  // 2 sqrt(2 / pi)

template <int KIND> __device__ __forceinline__ wide value(wide x) {
    if (KIND == RELU) return at_least(x, 0);
    if (KIND == GELU) return normcdf(x) * at_least(x, -40);
    if (KIND == SILU) return sigmoid(x) * at_least(x, -1000);
    wide c = clipped(x, 1000);
    return sigmoid(wide(TANH) * c * (1 + wide(CUBE) * c * c)) * at_least(x, -1000);
}

template <int KIND> __device__ __forceinline__ wide slope(wide x) {
    if (KIND == GELU) {
        wide c = clipped(x, 40);
        return normcdf(x) + c * exp(wide(-0.5) * c * c) * wide(0.3989422804014327);
    }
    wide c = clipped(x, 1000);
    if (KIND == SILU) {
        wide s = sigmoid(x);
        return s * (1 + c * (1 - s));
    }
    wide square = c * c, s = sigmoid(wide(TANH) * c * (1 + wide(CUBE) * square));
    return s + s * (1 - s) * c * wide(TANH) * (1 + 3 * wide(CUBE) * square);
}

// g is null for the function itself, else the incoming gradient.
template <int KIND, int N> __device__ __forceinline__ void apply(const scalar* g, const scalar* x, const scalar* bias, scalar* y, long long count, long long n) {
    for (long long i = my_index() * N; i < count; i += all_threads() * N) {
        wide v[N], a[N];
        load<N>(x + i, v);
        if (g) load<N>(g + i, a);
        long long column = bias ? i % n : 0;
        for (int k = 0; k < N; k++) {
            if (bias) v[k] += wide(bias[column]), column = column + 1 == n ? 0 : column + 1;
            if (!g) v[k] = value<KIND>(v[k]);
            else if (KIND == RELU) v[k] = v[k] > 0 ? a[k] : wide(0);  // also of an infinite g
            else v[k] = a[k] * slope<KIND>(v[k]);
        }
        store<N>(v, y + i);
    }
}

template <int KIND> __device__ __forceinline__ void apply(const scalar* g, const scalar* x, const scalar* bias, scalar* y, long long count, long long n) {
    if (packable(count, g, x, y)) apply<KIND, PACK>(g, x, bias, y, count, n);
    else apply<KIND, 1>(g, x, bias, y, count, n);
}

extern "C" __global__ void activation(const scalar* g, const scalar* x, const scalar* bias, scalar* y, long long count, long long n, long long kind) {
    if (kind == RELU) apply<RELU>(g, x, bias, y, count, n);
    else if (kind == GELU) apply<GELU>(g, x, bias, y, count, n);
    else if (kind == GELU_TANH) apply<GELU_TANH>(g, x, bias, y, count, n);
    else apply<SILU>(g, x, bias, y, count, n);
}
