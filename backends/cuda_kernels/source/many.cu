// One launch over many tensors: the optimizers' steps, and the norm of all gradients.
//
// `table` holds the addresses of the arrays, k for each tensor (parameter, gradient, state ...), `sizes` the numbers of
// elements. The work is cut into chunks of equal length; block b works on chunk starts[b] of tensor owners[b].

struct chunk {
    long long tensor, first, last;
};

__device__ __forceinline__ chunk my_chunk(const long long* sizes, const long long* owners, const long long* starts, long long length) {
    long long t = owners[blockIdx.x], first = starts[blockIdx.x], last = first + length;
    return {t, first, last < sizes[t] ? last : sizes[t]};
}

__device__ __forceinline__ scalar* array_of(const long long* table, long long tensor, int each, int which) {
    return reinterpret_cast<scalar*>(table[tensor * each + which]);
}

// The number of tensor t's step, from 1: `step` for all where that is positive, else steps[t] or, where `step` is negative and the
// numbers are kept on the card, what lies at the address steps[t].
__device__ __forceinline__ long long step_of(const long long* steps, long long step, long long t) {
    return step > 0 ? step : step == 0 ? steps[t] : *reinterpret_cast<const long long*>(steps[t]);
}

// theta, g, m, v and, with amsgrad, the largest v. numbers: see the caller.
// `scale`, or null, points to what gradients are first multiplied with: a clipping factor or the inverse of a loss scale.
// Where `skip`, or null, points to a number other than 0, nothing is done.
struct adam_options {
    double lr, beta1, beta2, eps, decay, decoupled, maximize, amsgrad;
};

extern "C" __global__ void adam(const long long* table, const long long* sizes, const long long* owners, const long long* starts, const long long* steps, const double* numbers, const wide* scale, const int* skip, long long length, long long step) {
    if (skip && *skip) return;
    adam_options o = *reinterpret_cast<const adam_options*>(numbers);
    chunk part = my_chunk(sizes, owners, starts, length);
    int each = o.amsgrad ? 5 : 4;
    scalar *theta = array_of(table, part.tensor, each, 0), *grad = array_of(table, part.tensor, each, 1);
    scalar *m = array_of(table, part.tensor, each, 2), *v = array_of(table, part.tensor, each, 3);
    scalar* top = o.amsgrad ? array_of(table, part.tensor, each, 4) : nullptr;
    double t = double(step_of(steps, step, part.tensor)), root = sqrt(1 - pow(o.beta2, t));
    wide size = wide(o.lr * root / (1 - pow(o.beta1, t))), eps = wide(o.eps * root);
    wide b1 = wide(o.beta1), c1 = wide(1 - o.beta1), b2 = wide(o.beta2), c2 = wide(1 - o.beta2);
    wide shrink = wide(1 - o.lr * o.decay), decay = wide(o.decay), factor = scale ? *scale : wide(1);
    if (o.maximize) factor = -factor;
    for (long long i = part.first + threadIdx.x; i < part.last; i += blockDim.x) {
        wide x = theta[i], g = wide(grad[i]) * factor;
        if (o.decoupled) x *= shrink;
        else g += decay * x;
        wide mean = b1 * wide(m[i]) + c1 * g, square = b2 * wide(v[i]) + c2 * g * g;
        m[i] = scalar(mean), v[i] = scalar(square);
        if (top) {
            square = fmax(square, wide(top[i]));
            top[i] = scalar(square);
        }
        theta[i] = scalar(x - size * mean / (sqrt(square) + eps));
    }
}

struct sgd_options {
    double lr, momentum, dampening, decay, nesterov, maximize;
};

// theta, g and, with momentum, b; in a tensor's first step b = g.
extern "C" __global__ void sgd(const long long* table, const long long* sizes, const long long* owners, const long long* starts, const long long* steps, const double* numbers, const wide* scale, const int* skip, long long length, long long step) {
    if (skip && *skip) return;
    sgd_options o = *reinterpret_cast<const sgd_options*>(numbers);
    chunk part = my_chunk(sizes, owners, starts, length);
    bool heavy = o.momentum != 0, first = step_of(steps, step, part.tensor) == 1;
    int each = heavy ? 3 : 2;
    scalar *theta = array_of(table, part.tensor, each, 0), *grad = array_of(table, part.tensor, each, 1);
    scalar* b = heavy ? array_of(table, part.tensor, each, 2) : nullptr;
    wide lr = wide(o.lr), mu = wide(o.momentum), rest = wide(1 - o.dampening), decay = wide(o.decay), factor = scale ? *scale : wide(1);
    if (o.maximize) factor = -factor;
    for (long long i = part.first + threadIdx.x; i < part.last; i += blockDim.x) {
        wide x = theta[i], g = wide(grad[i]) * factor + decay * x;
        if (b) {
            wide moved = first ? g : mu * wide(b[i]) + rest * g;
            b[i] = scalar(moved);
            g = o.nesterov ? g + mu * moved : moved;
        }
        theta[i] = scalar(x - lr * g);
    }
}

// partial[block] = the sum of the squares of its chunk; one array a tensor.
extern "C" __global__ void squares(const long long* table, const long long* sizes, const long long* owners, const long long* starts, wide* partial, long long length) {
    chunk part = my_chunk(sizes, owners, starts, length);
    scalar* x = array_of(table, part.tensor, 1, 0);
    wide total = 0;
    for (long long i = part.first + threadIdx.x; i < part.last; i += blockDim.x) total += wide(x[i]) * wide(x[i]);
    total = sum(total, 0).a;
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// One block: found[0] = the norm, found[1] = min(1, limit / (norm + 1e-6)), what gradients are multiplied with to clip them.
extern "C" __global__ __launch_bounds__(1024) void total_norm(const wide* partial, wide* found, long long count, double limit) {
    wide total = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) total += partial[i];
    total = sqrt(sum(total, 0).a);
    if (threadIdx.x == 0) {
        wide factor = wide(limit) / (total + wide(1e-6));
        found[0] = total, found[1] = factor > 1 ? wide(1) : factor;  // NaN stays
    }
}

// Every array multiplied, in place, with the number that `factor` points to.
extern "C" __global__ void scale_all(const long long* table, const long long* sizes, const long long* owners, const long long* starts, const wide* factor, long long length) {
    chunk part = my_chunk(sizes, owners, starts, length);
    scalar* x = array_of(table, part.tensor, 1, 0);
    wide f = *factor;
    for (long long i = part.first + threadIdx.x; i < part.last; i += blockDim.x) x[i] = scalar(wide(x[i]) * f);
}

// One more step is counted at each of n addresses.
extern "C" __global__ void count_steps(const long long* counts, const int* skip, long long n) {
    if (skip && *skip) return;
    for (long long i = my_index(); i < n; i += all_threads()) ++*reinterpret_cast<long long*>(counts[i]);
}

// Every array divided, in place, by the loss scale; found[0] = 1 if an element was not finite, else it stays.
extern "C" __global__ void unscale(const long long* table, const long long* sizes, const long long* owners, const long long* starts, const float* scale, int* found, long long length) {
    chunk part = my_chunk(sizes, owners, starts, length);
    scalar* x = array_of(table, part.tensor, 1, 0);
    wide inverse = wide(float(1 / double(*scale)));
    bool bad = false;
    for (long long i = part.first + threadIdx.x; i < part.last; i += blockDim.x) {
        wide value = x[i];
        bad = bad || isnan(value) || isinf(value);
        x[i] = scalar(value * inverse);
    }
    if (bad) *found = 1;  // all that write write the same
}

// One thread: the loss scale after a step. It shrinks where a gradient was not finite, and grows after `interval` good steps,
// which `good` counts. numbers: growth factor, backoff factor, interval.
extern "C" __global__ void adapt_scale(float* scale, long long* good, const int* found, const double* numbers) {
    if (*found) {
        *scale = float(double(*scale) * numbers[1]);
        *good = 0;
    } else if (++*good == (long long)numbers[2]) {
        float grown = float(double(*scale) * numbers[0]);
        if (!isinf(grown)) *scale = grown;
        *good = 0;
    }
}
