// Pooling and im2col in two dimensions. x is (images, height, width), an output (images, rows, columns); images counts samples
// times channels. Place (r, c) sees the elements (r stride - padding + a dilation, c stride - padding + b dilation).
//
// With channels innermost (channels_last) x is (samples, height, width, step), where `step` is the number of channels, and so are
// outputs of pooling; row-major, `step` is 1 and images are samples times channels.
//
// Everything gathers: a thread owns an element of the result and looks for what belongs to it. No atomics, a fixed order.

struct geometry {  // as the caller lays it out in 16 integers
    long long height, width, rows, columns;
    long long kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    long long images, count_padding, divisor, step;
};

// Element i of an array in memory: its row and column, and where its image begins in an array with `places` places.
struct spot {
    long long r, c, image, channel;
    __device__ __forceinline__ spot(const geometry& s, long long i, long long rows, long long columns) {
        channel = 0;
        if (s.step > 1) channel = i % s.step, i /= s.step;
        c = i % columns, r = i / columns % rows, image = i / (columns * rows);
    }
    __device__ __forceinline__ long long first(const geometry& s, long long places) const { return image * places * s.step + channel; }
};

// Calls visit(y, x, tap) for the elements that place (r, c) sees, first to last.
template <class F> __device__ __forceinline__ void each_seen(const geometry& s, long long r, long long c, F visit) {
    for (long long a = 0; a < s.kernel_y; a++) {
        long long y = r * s.stride_y - s.padding_y + a * s.dilation_y;
        if (y < 0 || y >= s.height) continue;
        for (long long b = 0; b < s.kernel_x; b++) {
            long long x = c * s.stride_x - s.padding_x + b * s.dilation_x;
            if (x >= 0 && x < s.width) visit(y, x, a * s.kernel_x + b);
        }
    }
}

// Calls visit(r, c, tap) for the places that see element (y, x), in the order of taps.
template <class F> __device__ __forceinline__ void each_seeing(const geometry& s, long long y, long long x, F visit) {
    for (long long a = 0; a < s.kernel_y; a++) {
        long long top = y + s.padding_y - a * s.dilation_y, r = top / s.stride_y;
        if (top < 0 || r * s.stride_y != top || r >= s.rows) continue;
        for (long long b = 0; b < s.kernel_x; b++) {
            long long left = x + s.padding_x - b * s.dilation_x, c = left / s.stride_x;
            if (left >= 0 && c * s.stride_x == left && c < s.columns) visit(r, c, a * s.kernel_x + b);
        }
    }
}

// The largest element of each window and, where `index` is given, its place y * width + x: the first of the largest, the last
// NaN if there is one. Where `values` is null only places are written.
extern "C" __global__ void max_pool(const scalar* x, scalar* values, long long* index, const geometry* shape) {
    geometry s = *shape;
    for (long long i = my_index(); i < s.images * s.step * s.rows * s.columns; i += all_threads()) {
        spot at(s, i, s.rows, s.columns);
        const scalar* from = x + at.first(s, s.height * s.width);
        long long place = -1;
        wide best = -infinity();
        each_seen(s, at.r, at.c, [&](long long y, long long x, long long) {
            wide v = from[(y * s.width + x) * s.step];
            if (v > best || v != v || place < 0) best = v, place = y * s.width + x;
        });
        if (values) values[i] = scalar(best);
        if (index) index[i] = place;
    }
}

// The gradient of max pooling: each element gets what arrived at the places that chose it.
extern "C" __global__ void max_pool_gradient(const scalar* g, const long long* index, scalar* gx, const geometry* shape) {
    geometry s = *shape;
    for (long long i = my_index(); i < s.images * s.step * s.height * s.width; i += all_threads()) {
        spot at(s, i, s.height, s.width);
        long long first = at.first(s, s.rows * s.columns), here = at.r * s.width + at.c;
        wide total = 0;
        each_seeing(s, at.r, at.c, [&](long long r, long long c, long long) {
            long long place = first + (r * s.columns + c) * s.step;
            if (index[place] == here) total += wide(g[place]);
        });
        gx[i] = scalar(total);
    }
}

// How many elements the mean of place (r, c) is over.
__device__ __forceinline__ wide pooled_count(const geometry& s, long long r, long long c) {
    if (s.divisor) return wide(s.divisor);
    long long top = r * s.stride_y - s.padding_y, left = c * s.stride_x - s.padding_x;
    long long bottom = top + s.kernel_y, right = left + s.kernel_x, margin_y = s.count_padding ? s.padding_y : 0, margin_x = s.count_padding ? s.padding_x : 0;
    top = top < -margin_y ? -margin_y : top, left = left < -margin_x ? -margin_x : left;
    bottom = bottom > s.height + margin_y ? s.height + margin_y : bottom, right = right > s.width + margin_x ? s.width + margin_x : right;
    return wide((bottom - top) * (right - left));
}

extern "C" __global__ void avg_pool(const scalar* x, scalar* values, const geometry* shape) {
    geometry s = *shape;
    for (long long i = my_index(); i < s.images * s.step * s.rows * s.columns; i += all_threads()) {
        spot at(s, i, s.rows, s.columns);
        const scalar* from = x + at.first(s, s.height * s.width);
        wide total = 0;
        each_seen(s, at.r, at.c, [&](long long y, long long x, long long) { total += wide(from[(y * s.width + x) * s.step]); });
        values[i] = scalar(total / pooled_count(s, at.r, at.c));
    }
}

extern "C" __global__ void avg_unpool(const scalar* v, scalar* out, const geometry* shape) {
    geometry s = *shape;
    for (long long i = my_index(); i < s.images * s.step * s.height * s.width; i += all_threads()) {
        spot at(s, i, s.height, s.width);
        const scalar* from = v + at.first(s, s.rows * s.columns);
        wide total = 0;
        each_seeing(s, at.r, at.c, [&](long long r, long long c, long long) { total += wide(from[(r * s.columns + c) * s.step]) / pooled_count(s, r, c); });
        out[i] = scalar(total);
    }
}

// What place (r, c) sees through each tap, 0 outside x: columns[image][tap][r][c]. With `samples` given, as of one image that is all
// samples side by side: columns[channel][tap][sample][r][c].
extern "C" __global__ void im2col(const scalar* x, scalar* columns, const geometry* shape, long long samples) {
    geometry s = *shape;
    long long places = s.rows * s.columns, taps = s.kernel_y * s.kernel_x;
    for (long long i = my_index(); i < s.images * taps * places; i += all_threads()) {
        long long c = i % s.columns, r = i / s.columns % s.rows, column = i / places, sample = 0;
        if (samples) sample = column % samples, column /= samples;
        long long tap = column % taps, image = column / taps;
        if (samples) image += sample * (s.images / samples);
        long long y = r * s.stride_y - s.padding_y + tap / s.kernel_x * s.dilation_y, z = c * s.stride_x - s.padding_x + tap % s.kernel_x * s.dilation_x;
        bool inside = y >= 0 && y < s.height && z >= 0 && z < s.width;
        columns[i] = inside ? x[(image * s.height + y) * s.width + z] : scalar(0);
    }
}

// Its transpose: every element gets the sum of the column entries that read it.
extern "C" __global__ void col2im(const scalar* columns, scalar* out, const geometry* shape) {
    geometry s = *shape;
    long long places = s.rows * s.columns, taps = s.kernel_y * s.kernel_x;
    for (long long i = my_index(); i < s.images * s.height * s.width; i += all_threads()) {
        long long here = i % (s.height * s.width), image = i / (s.height * s.width);
        const scalar* from = columns + image * taps * places;
        wide total = 0;
        each_seeing(s, here / s.width, here % s.width, [&](long long r, long long c, long long tap) { total += wide(from[tap * places + r * s.columns + c]); });
        out[i] = scalar(total);
    }
}
