// Batch norm of (samples, channels, length), and of (rows, channels): the statistics of a channel are those of all its samples and
// places.
//
// A block takes one channel of some samples; a second launch puts together what the blocks of a channel found. Mean and sum of
// squared deviations are updated element by element (Welford 1962) and joined by the formula of Chan, Golub and LeVeque 1979:
// one pass over x, and no cancellation.

struct moments {
    wide count, mean, square;
};

struct join {
    __device__ __forceinline__ moments operator()(moments p, moments q) const {
        wide count = p.count + q.count, difference = q.mean - p.mean;
        if (count == 0) return p;
        wide share = q.count / count;
        return {count, p.mean + difference * share, p.square + q.square + difference * difference * p.count * share};
    }
};

// Calls visit(i) for this thread's share of the packs of N elements, by the flat index of the first, of channel blockIdx.x in `chunk`
// samples from blockIdx.y * chunk.
template <int N, class F> __device__ __forceinline__ void each_of_channel(long long samples, long long channels, long long length, long long chunk, F visit) {
    long long first = blockIdx.y * chunk, last = first + chunk < samples ? first + chunk : samples;
    unsigned l = (unsigned)(length / N), count = (unsigned)(last - first) * l;
    for (unsigned j = threadIdx.x; j < count; j += blockDim.x) visit(((first + j / l) * channels + blockIdx.x) * length + (long long)(j % l) * N);
}

template <int N> __device__ __forceinline__ moments moments_of_channel(const scalar* x, long long samples, long long channels, long long length, long long chunk) {
    moments p[N];
    for (int k = 0; k < N; k++) p[k] = {0, 0, 0};
    each_of_channel<N>(samples, channels, length, chunk, [&](long long i) {
        wide v[N], share = 1 / ++p[0].count;
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) {
            wide d = v[k] - p[k].mean;
            p[k].mean += d * share, p[k].square += d * (v[k] - p[k].mean);
        }
    });
    for (int k = 1; k < N; k++) p[k].count = p[0].count;
    for (int k = 1; k < N; k++) p[0] = join()(p[0], p[k]);
    return reduce(p[0], moments{0, 0, 0}, join());
}

// found[chunk][channel] = count, mean, sum of squared deviations.
extern "C" __global__ void channel_moments(const scalar* x, wide* found, long long samples, long long channels, long long length, long long chunk) {
    bool packed = packable(length, x);
    moments p = packed ? moments_of_channel<PACK>(x, samples, channels, length, chunk) : moments_of_channel<1>(x, samples, channels, length, chunk);
    if (threadIdx.x == 0) reinterpret_cast<moments*>(found)[blockIdx.y * channels + blockIdx.x] = p;
}

// One warp a channel: mean and variance from what `chunks` blocks found.
extern "C" __global__ void join_moments(const wide* found, wide* mean, wide* var, long long channels, long long chunks) {
    long long c = my_row();
    if (c >= channels) return;
    moments p = {0, 0, 0};
    for (long long k = threadIdx.x; k < chunks; k += 32) p = join()(p, reinterpret_cast<const moments*>(found)[k * channels + c]);
    p = reduce_warp(p, join());
    if (threadIdx.x == 0) mean[c] = p.mean, var[c] = p.square / p.count;
}

// What is done to the elements of channel c: (x - mean) scale + shift, from its statistics and weights, any of which may be null.
struct affine {
    wide mean, scale, shift;
    affine() = default;
    __device__ __forceinline__ affine(long long c, weights weight, weights bias, const wide* means, const wide* vars, double eps) {
        mean = means[c], scale = 1 / sqrt(vars[c] + wide(eps)), shift = bias ? bias[c] : wide(0);
        if (weight) scale *= weight[c];
    }
    __device__ __forceinline__ affine(long long c, const wide* scales, const wide* shifts) : mean(0), scale(scales[c]), shift(shifts[c]) {}
    __device__ __forceinline__ wide operator()(wide v) const { return (v - mean) * scale + shift; }
};

__device__ __forceinline__ void affine_row(const scalar* x, scalar* y, long long row, long long length, const affine& f) {
    x += row * length, y += row * length;
    each_of_row(length, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) v[k] = f(v[k]);
        store<N>(v, y + i);
    }, x, y);
}

// y = (x - mean) rstd weight + bias; weight and bias may be null.
extern "C" __global__ __launch_bounds__(1024) void channel_norm(const scalar* x, const void* weight, const void* bias, long long in_wide, const wide* mean, const wide* var, scalar* y, long long samples, long long channels, long long length, double eps) {
    long long row = my_row();
    if (row < samples * channels) affine_row(x, y, row, length, affine(row % channels, {weight, bool(in_wide)}, {bias, bool(in_wide)}, mean, var, eps));
}

// y = x scale + shift.
extern "C" __global__ __launch_bounds__(1024) void channel_affine(const scalar* x, const wide* scale, const wide* shift, scalar* y, long long samples, long long channels, long long length) {
    long long row = my_row();
    if (row < samples * channels) affine_row(x, y, row, length, affine(row % channels, scale, shift));
}

// running = (1 - momentum) running + momentum factor batch, for count channels.
extern "C" __global__ void follow_average(scalar* running, const wide* batch, long long count, double momentum, double factor) {
    for (long long i = my_index(); i < count; i += all_threads()) running[i] = scalar(wide(running[i]) * wide(1 - momentum) + batch[i] * wide(factor) * wide(momentum));
}

template <int N> __device__ __forceinline__ pair sums_of_channel(const scalar* g, const scalar* x, wide mean, wide rstd, long long samples, long long channels, long long length, long long chunk) {
    wide along = 0, plain = 0;
    each_of_channel<N>(samples, channels, length, chunk, [&](long long i) {
        wide a[N], v[N];
        load<N>(g + i, a), load<N>(x + i, v);
        for (int k = 0; k < N; k++) along += a[k] * ((v[k] - mean) * rstd), plain += a[k];
    });
    return sum(along, plain);
}

// along[chunk][channel] and plain[chunk][channel]: the sums of g xhat and of g; their totals are the gradients of weight and bias.
extern "C" __global__ void channel_sums(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* along, wide* plain, long long samples, long long channels, long long length, long long chunk, double eps) {
    wide m = mean[blockIdx.x], rstd = 1 / sqrt(var[blockIdx.x] + wide(eps));
    bool packed = packable(length, g, x);
    pair p = packed ? sums_of_channel<PACK>(g, x, m, rstd, samples, channels, length, chunk) : sums_of_channel<1>(g, x, m, rstd, samples, channels, length, chunk);
    if (threadIdx.x == 0) along[blockIdx.y * channels + blockIdx.x] = p.a, plain[blockIdx.y * channels + blockIdx.x] = p.b;
}

// gx = rstd weight (g - plain / count - xhat along / count), from the totals of `channel_sums`.
extern "C" __global__ __launch_bounds__(1024) void channel_norm_gradient(const scalar* g, const scalar* x, const void* weight, long long in_wide, const wide* mean, const wide* var, const wide* along, const wide* plain, scalar* gx, long long samples, long long channels, long long length, double eps) {
    long long row = my_row();
    if (row >= samples * channels) return;
    long long c = row % channels;
    wide rstd = 1 / sqrt(var[c] + wide(eps)), count = wide(samples * length);
    wide scale = weight ? rstd * weights{weight, bool(in_wide)}[c] : rstd, p = plain[c] / count, q = along[c] / count * rstd;
    g += row * length, x += row * length, gx += row * length;
    wide m = mean[c];
    each_of_row(length, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide a[N], v[N];
        load<N>(g + i, a), load<N>(x + i, v);
        for (int k = 0; k < N; k++) a[k] = scale * (a[k] - p - (v[k] - m) * q);
        store<N>(a, gx + i);
    }, g, x, gx);
}

// --- channels innermost: (rows, channels), in strips ---

template <int N> __device__ __forceinline__ void strip_moments(const scalar* x, moments* found, long long rows, long long channels, long long chunk) {
    strip s(N, rows, channels, chunk, x);
    moments p[N];
    for (int k = 0; k < N; k++) p[k] = {0, 0, 0};
    wide count = 0;
    if (s.inside)
        for (long long r = s.first; r < s.last; r += blockDim.y) {
            wide v[N], share = 1 / ++count;
            s.read<N>(x + r * channels + s.c, v);
            for (int k = 0; k < N; k++) {
                wide d = v[k] - p[k].mean;
                p[k].mean += d * share, p[k].square += d * (v[k] - p[k].mean);
            }
        }
    for (int k = 0; k < N; k++) {
        p[k].count = count;
        moments all = reduce_strip(p[k], join());
        if (threadIdx.y == 0 && s.inside) found[blockIdx.y * channels + s.c + k] = all;
    }
}

// found[chunk][channel], for `join_moments`.
extern "C" __global__ void column_moments(const scalar* x, wide* found, long long rows, long long channels, long long chunk, long long packed) {
    moments* to = reinterpret_cast<moments*>(found);
    if (packed) strip_moments<PACK>(x, to, rows, channels, chunk);
    else strip_moments<1>(x, to, rows, channels, chunk);
}

template <int N, class F> __device__ __forceinline__ void strip_affine(const scalar* x, scalar* y, long long rows, long long channels, long long chunk, F of_channel) {
    strip s(N, rows, channels, chunk, x, y);
    if (!s.inside) return;
    affine f[N];
    for (int k = 0; k < N; k++) f[k] = of_channel(s.c + k);
    for (long long r = s.first; r < s.last; r += blockDim.y) {
        wide v[N];
        s.read<N>(x + r * channels + s.c, v);
        for (int k = 0; k < N; k++) v[k] = f[k](v[k]);
        s.write<N>(v, y + r * channels + s.c);
    }
}

extern "C" __global__ void column_norm(const scalar* x, const void* weight, const void* bias, long long in_wide, const wide* mean, const wide* var, scalar* y, long long rows, long long channels, long long chunk, long long packed, double eps) {
    auto f = [=](long long c) { return affine(c, {weight, bool(in_wide)}, {bias, bool(in_wide)}, mean, var, eps); };
    if (packed) strip_affine<PACK>(x, y, rows, channels, chunk, f);
    else strip_affine<1>(x, y, rows, channels, chunk, f);
}

extern "C" __global__ void column_affine(const scalar* x, const wide* scale, const wide* shift, scalar* y, long long rows, long long channels, long long chunk, long long packed) {
    auto f = [=](long long c) { return affine(c, scale, shift); };
    if (packed) strip_affine<PACK>(x, y, rows, channels, chunk, f);
    else strip_affine<1>(x, y, rows, channels, chunk, f);
}

template <int N> __device__ __forceinline__ void strip_sums(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* along, wide* plain, long long rows, long long channels, long long chunk, double eps) {
    strip s(N, rows, channels, chunk, g, x);
    wide m[N], rstd[N];
    for (int k = 0; k < N; k++) m[k] = s.inside ? mean[s.c + k] : wide(0), rstd[k] = s.inside ? 1 / sqrt(var[s.c + k] + wide(eps)) : wide(0);
    long long at = blockIdx.y * channels + s.c;
    sum_strip<N>(s, along + at, plain + at, [&](long long r, wide* a, wide* b) {
        s.read<N>(x + r * channels + s.c, a), s.read<N>(g + r * channels + s.c, b);
        for (int k = 0; k < N; k++) a[k] = b[k] * ((a[k] - m[k]) * rstd[k]);
    });
}

// As `channel_sums`.
extern "C" __global__ void column_norm_sums(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* along, wide* plain, long long rows, long long channels, long long chunk, long long packed, double eps) {
    if (packed) strip_sums<PACK>(g, x, mean, var, along, plain, rows, channels, chunk, eps);
    else strip_sums<1>(g, x, mean, var, along, plain, rows, channels, chunk, eps);
}

template <int N> __device__ __forceinline__ void strip_gradient(const scalar* g, const scalar* x, weights weight, const wide* mean, const wide* var, const wide* along, const wide* plain, scalar* gx, long long rows, long long channels, long long chunk, double eps) {
    strip s(N, rows, channels, chunk, g, x, gx);
    if (!s.inside) return;
    wide m[N], scale[N], p[N], q[N], count = wide(rows);
    for (int k = 0; k < N; k++) {
        long long c = s.c + k;
        wide rstd = 1 / sqrt(var[c] + wide(eps));
        m[k] = mean[c], scale[k] = weight ? rstd * weight[c] : rstd, p[k] = plain[c] / count, q[k] = along[c] / count * rstd;
    }
    for (long long r = s.first; r < s.last; r += blockDim.y) {
        wide a[N], v[N];
        s.read<N>(g + r * channels + s.c, a), s.read<N>(x + r * channels + s.c, v);
        for (int k = 0; k < N; k++) a[k] = scale[k] * (a[k] - p[k] - (v[k] - m[k]) * q[k]);
        s.write<N>(a, gx + r * channels + s.c);
    }
}

extern "C" __global__ void column_norm_gradient(const scalar* g, const scalar* x, const void* weight, long long in_wide, const wide* mean, const wide* var, const wide* along, const wide* plain, scalar* gx, long long rows, long long channels, long long chunk, long long packed, double eps) {
    if (packed) strip_gradient<PACK>(g, x, {weight, bool(in_wide)}, mean, var, along, plain, gx, rows, channels, chunk, eps);
    else strip_gradient<1>(g, x, {weight, bool(in_wide)}, mean, var, along, plain, gx, rows, channels, chunk, eps);
}
