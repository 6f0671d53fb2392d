// Batch norm of (samples, channels, length): the statistics of a channel are those of all its samples and places.
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

// Calls visit(i) for this thread's share of the flat indices of channel blockIdx.x in `chunk` samples from blockIdx.y * chunk.
template <class F> __device__ __forceinline__ void each_of_channel(long long samples, long long channels, long long length, long long chunk, F visit) {
    long long first = blockIdx.y * chunk, last = first + chunk < samples ? first + chunk : samples;
    unsigned count = (unsigned)((last - first) * length), l = (unsigned)length;
    for (unsigned j = threadIdx.x; j < count; j += blockDim.x)
        visit(((first + j / l) * channels + blockIdx.x) * length + j % l);
}

// found[chunk][channel] = count, mean, sum of squared deviations.
extern "C" __global__ void channel_moments(const scalar* x, wide* found, long long samples, long long channels, long long length, long long chunk) {
    moments p = {0, 0, 0};
    each_of_channel(samples, channels, length, chunk, [&](long long i) {
        wide v = x[i], d = v - p.mean;
        p.count += 1, p.mean += d / p.count, p.square += d * (v - p.mean);
    });
    p = reduce(p, moments{0, 0, 0}, join());
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

// y = (x - mean) rstd weight + bias; weight and bias may be null.
extern "C" __global__ void channel_norm(const scalar* x, const scalar* weight, const scalar* bias, const wide* mean, const wide* var, scalar* y, long long samples, long long channels, long long length, double eps) {
    long long row = my_row();
    if (row >= samples * channels) return;
    long long c = row % channels;
    wide scale = 1 / sqrt(var[c] + wide(eps)), m = mean[c];
    if (weight) scale *= wide(weight[c]);
    wide shift = bias ? wide(bias[c]) : wide(0);
    x += row * length, y += row * length;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) y[i] = scalar((wide(x[i]) - m) * scale + shift);
}

// along[chunk][channel] and plain[chunk][channel]: the sums of g xhat and of g; their totals are the gradients of weight and bias.
extern "C" __global__ void channel_sums(const scalar* g, const scalar* x, const wide* mean, const wide* var, wide* along, wide* plain, long long samples, long long channels, long long length, long long chunk, double eps) {
    wide m = mean[blockIdx.x], rstd = 1 / sqrt(var[blockIdx.x] + wide(eps)), a = 0, b = 0;
    each_of_channel(samples, channels, length, chunk, [&](long long i) {
        wide v = g[i];
        a += v * ((wide(x[i]) - m) * rstd), b += v;
    });
    pair p = sum(a, b);
    if (threadIdx.x == 0) along[blockIdx.y * channels + blockIdx.x] = p.a, plain[blockIdx.y * channels + blockIdx.x] = p.b;
}

// gx = rstd weight (g - plain / count - xhat along / count), from the totals of `channel_sums`.
extern "C" __global__ void channel_norm_gradient(const scalar* g, const scalar* x, const scalar* weight, const wide* mean, const wide* var, const wide* along, const wide* plain, scalar* gx, long long samples, long long channels, long long length, double eps) {
    long long row = my_row();
    if (row >= samples * channels) return;
    long long c = row % channels;
    wide m = mean[c], rstd = 1 / sqrt(var[c] + wide(eps)), count = wide(samples * length);
    wide scale = weight ? rstd * wide(weight[c]) : rstd, p = plain[c] / count, q = along[c] / count * rstd;
    g += row * length, x += row * length, gx += row * length;
    for (long long i = threadIdx.x; i < length; i += blockDim.x) gx[i] = scalar(scale * (wide(g[i]) - p - (wide(x[i]) - m) * q));
}
