// Pooling and im2col in two dimensions. x is (images, height, width), an output (images, rows, columns); images counts samples
// times channels. Place (r, c) sees the elements (r stride - padding + a dilation, c stride - padding + b dilation).
//
// With channels innermost (channels_last) x is (samples, height, width, step), where `step` is the number of channels, and so are
// outputs of pooling; row-major, `step` is 1 and images are samples times channels.
//
// Everything gathers: a thread owns an element of the result and looks for what belongs to it. No atomics, a fixed order. Indices, of
// type I, are `int` where the caller says that all of them fit: there is much to divide, and a card divides 64 bits in software.

template <class I> struct geometry {  // from 16 integers as the caller lays them out; the next one says whether they fit into an `int`
    I height, width, rows, columns;
    I kernel_y, kernel_x, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    I images, count_padding, divisor, step;

    __device__ __forceinline__ explicit geometry(const long long* n) {
        height = n[0], width = n[1], rows = n[2], columns = n[3], kernel_y = n[4], kernel_x = n[5], stride_y = n[6], stride_x = n[7];
        padding_y = n[8], padding_x = n[9], dilation_y = n[10], dilation_x = n[11], images = n[12], count_padding = n[13], divisor = n[14], step = n[15];
    }
};

// Element i of an array in memory: its row and column, and where its image begins in an array with `places` places.
template <class I> struct spot {
    I r, c, image, channel;
    __device__ __forceinline__ spot(const geometry<I>& s, I i, I rows, I columns) {
        channel = 0;
        if (s.step > 1) channel = i % s.step, i /= s.step;
        c = i % columns, i /= columns, r = i % rows, image = i / rows;
    }
    __device__ __forceinline__ I first(const geometry<I>& s, I places) const { return image * places * s.step + channel; }
};

// Calls visit(y, x, tap) for the elements that place (r, c) sees, first to last.
template <class I, class F> __device__ __forceinline__ void each_seen(const geometry<I>& s, I r, I c, F visit) {
    for (I a = 0; a < s.kernel_y; a++) {
        I y = r * s.stride_y - s.padding_y + a * s.dilation_y;
        if (y < 0 || y >= s.height) continue;
        for (I b = 0; b < s.kernel_x; b++) {
            I x = c * s.stride_x - s.padding_x + b * s.dilation_x;
            if (x >= 0 && x < s.width) visit(y, x, a * s.kernel_x + b);
        }
    }
}

// Calls visit(r, c, tap) for the places that see element (y, x), in the order of taps.
template <class I, class F> __device__ __forceinline__ void each_seeing(const geometry<I>& s, I y, I x, F visit) {
    for (I a = 0; a < s.kernel_y; a++) {
        I top = y + s.padding_y - a * s.dilation_y, r = top / s.stride_y;
        if (top < 0 || r * s.stride_y != top || r >= s.rows) continue;
        for (I b = 0; b < s.kernel_x; b++) {
            I left = x + s.padding_x - b * s.dilation_x, c = left / s.stride_x;
            if (left >= 0 && c * s.stride_x == left && c < s.columns) visit(r, c, a * s.kernel_x + b);
        }
    }
}

// The largest element of each window and, where `index` is given, its place y * width + x: the first of the largest, the last
// NaN if there is one. Where `values` is null only places are written.
template <class I> __device__ __forceinline__ void pool_largest(const scalar* x, scalar* values, long long* index, const long long* shape) {
    const geometry<I> s(shape);
    for (I i = I(my_index()); i < s.images * s.step * s.rows * s.columns; i += I(all_threads())) {
        spot<I> at(s, i, s.rows, s.columns);
        const scalar* from = x + at.first(s, s.height * s.width);
        I place = -1;
        wide best = -infinity();
        each_seen(s, at.r, at.c, [&](I y, I x, I) {
            wide v = from[(y * s.width + x) * s.step];
            if (v > best || v != v || place < 0) best = v, place = y * s.width + x;
        });
        if (values) values[i] = scalar(best);
        if (index) index[i] = place;
    }
}

// The gradient of max pooling: each element gets what arrived at the places that chose it.
template <class I> __device__ __forceinline__ void spread_to_largest(const scalar* g, const long long* index, scalar* gx, const long long* shape) {
    const geometry<I> s(shape);
    for (I i = I(my_index()); i < s.images * s.step * s.height * s.width; i += I(all_threads())) {
        spot<I> at(s, i, s.height, s.width);
        I first = at.first(s, s.rows * s.columns), here = at.r * s.width + at.c;
        wide total = 0;
        each_seeing(s, at.r, at.c, [&](I r, I c, I) {
            I place = first + (r * s.columns + c) * s.step;
            if (index[place] == here) total += wide(g[place]);
        });
        gx[i] = scalar(total);
    }
}

// How many elements the mean of place (r, c) is over.
template <class I> __device__ __forceinline__ wide pooled_count(const geometry<I>& s, I r, I c) {
    if (s.divisor) return wide(s.divisor);
    I top = r * s.stride_y - s.padding_y, left = c * s.stride_x - s.padding_x;
    I bottom = top + s.kernel_y, right = left + s.kernel_x, margin_y = s.count_padding ? s.padding_y : 0, margin_x = s.count_padding ? s.padding_x : 0;
    top = top < -margin_y ? -margin_y : top, left = left < -margin_x ? -margin_x : left;
    bottom = bottom > s.height + margin_y ? s.height + margin_y : bottom, right = right > s.width + margin_x ? s.width + margin_x : right;
    return wide((bottom - top) * (right - left));
}

template <class I> __device__ __forceinline__ void pool_mean(const scalar* x, scalar* values, const long long* shape) {
    const geometry<I> s(shape);
    for (I i = I(my_index()); i < s.images * s.step * s.rows * s.columns; i += I(all_threads())) {
        spot<I> at(s, i, s.rows, s.columns);
        const scalar* from = x + at.first(s, s.height * s.width);
        wide total = 0;
        each_seen(s, at.r, at.c, [&](I y, I x, I) { total += wide(from[(y * s.width + x) * s.step]); });
        values[i] = scalar(total / pooled_count(s, at.r, at.c));
    }
}

template <class I> __device__ __forceinline__ void spread_mean(const scalar* v, scalar* out, const long long* shape) {
    const geometry<I> s(shape);
    for (I i = I(my_index()); i < s.images * s.step * s.height * s.width; i += I(all_threads())) {
        spot<I> at(s, i, s.height, s.width);
        const scalar* from = v + at.first(s, s.rows * s.columns);
        wide total = 0;
        each_seeing(s, at.r, at.c, [&](I r, I c, I) { total += wide(from[(r * s.columns + c) * s.step]) / pooled_count(s, r, c); });
        out[i] = scalar(total);
    }
}

// What place (r, c) sees through each tap, 0 outside x: columns[image][tap][r][c]. With `samples` given, as of one image that is all
// samples side by side: columns[channel][tap][sample][r][c].
template <class I> __device__ __forceinline__ void to_columns(const scalar* x, scalar* columns, const long long* shape, I samples) {
    const geometry<I> s(shape);
    I places = s.rows * s.columns, taps = s.kernel_y * s.kernel_x;
    for (I i = I(my_index()); i < s.images * taps * places; i += I(all_threads())) {
        I c = i % s.columns, r = i / s.columns % s.rows, column = i / places, sample = 0;
        if (samples) sample = column % samples, column /= samples;
        I tap = column % taps, image = column / taps;
        if (samples) image += sample * (s.images / samples);
        I y = r * s.stride_y - s.padding_y + tap / s.kernel_x * s.dilation_y, z = c * s.stride_x - s.padding_x + tap % s.kernel_x * s.dilation_x;
        bool inside = y >= 0 && y < s.height && z >= 0 && z < s.width;
        columns[i] = inside ? x[(image * s.height + y) * s.width + z] : scalar(0);
    }
}

// Its transpose: every element gets the sum of the column entries that read it.
template <class I> __device__ __forceinline__ void from_columns(const scalar* columns, scalar* out, const long long* shape) {
    const geometry<I> s(shape);
    I places = s.rows * s.columns, taps = s.kernel_y * s.kernel_x;
    for (I i = I(my_index()); i < s.images * s.height * s.width; i += I(all_threads())) {
        I here = i % (s.height * s.width), image = i / (s.height * s.width);
        const scalar* from = columns + image * taps * places;
        wide total = 0;
        each_seeing(s, here / s.width, here % s.width, [&](I r, I c, I tap) { total += wide(from[tap * places + r * s.columns + c]); });
        out[i] = scalar(total);
    }
}

// --- entry points ---

extern "C" __global__ void max_pool(const scalar* x, scalar* values, long long* index, const long long* shape) {
    if (shape[16]) pool_largest<int>(x, values, index, shape);
    else pool_largest<long long>(x, values, index, shape);
}
extern "C" __global__ void max_pool_gradient(const scalar* g, const long long* index, scalar* gx, const long long* shape) {
    if (shape[16]) spread_to_largest<int>(g, index, gx, shape);
    else spread_to_largest<long long>(g, index, gx, shape);
}
extern "C" __global__ void avg_pool(const scalar* x, scalar* values, const long long* shape) {
    if (shape[16]) pool_mean<int>(x, values, shape);
    else pool_mean<long long>(x, values, shape);
}
extern "C" __global__ void avg_unpool(const scalar* v, scalar* out, const long long* shape) {
    if (shape[16]) spread_mean<int>(v, out, shape);
    else spread_mean<long long>(v, out, shape);
}
extern "C" __global__ void im2col(const scalar* x, scalar* columns, const long long* shape, long long samples) {
    if (shape[16]) to_columns<int>(x, columns, shape, int(samples));
    else to_columns<long long>(x, columns, shape, samples);
}
extern "C" __global__ void col2im(const scalar* columns, scalar* out, const long long* shape) {
    if (shape[16]) from_columns<int>(columns, out, shape);
    else from_columns<long long>(columns, out, shape);
}
