// Between the matrix products of attention: scores (rows, n), one row for each query of each head, with a bias, a causal mask
// and dropout.
//
// Row r is query r % length of head r / length; of the head, read as an index (h0, h1, h2) into axes of lengths (.., n1, n2), the
// bias has strides s0, s1, s2, and sq, sk for query and key; a stride of 0 is an axis that it does not have. bias may be null. With
// `first` >= 0 query i of a head sees keys 0 to first + i.

struct seen_by {  // what one query sees
    const scalar* bias;
    long long step, keys;

    __device__ __forceinline__ wide operator()(wide score, long long key) const {
        return key >= keys ? -infinity() : bias ? score + wide(bias[key * step]) : score;
    }
};

__device__ __forceinline__ seen_by what_is_seen(long long row, long long length, long long n, long long first, const scalar* bias, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    long long query = row % length, head = row / length;
    if (bias) bias += query * sq + head % n2 * s2 + head / n2 % n1 * s1 + head / n2 / n1 * s0;
    long long last = first + query + 1;
    return {bias, sk, first < 0 || last > n ? n : last};
}

__device__ __forceinline__ wide rescale(wide old_top, wide top) { return old_top == top ? wide(1) : exp(old_top - top); }
__device__ __forceinline__ wide term(wide v, wide top) { return v == -infinity() ? wide(0) : exp(v - top); }

struct combine_tops {  // a: the largest score, b: the sum of exponentials relative to it
    __device__ __forceinline__ pair operator()(pair p, pair q) const {
        wide top = fmax(p.a, q.a);
        return {top, p.b * rescale(p.a, top) + q.b * rescale(q.a, top)};
    }
};

template <int N> __device__ __forceinline__ pair exponentials_of_row(scalar* scores, long long n, seen_by seen) {
    pair p = {-infinity(), 0};
    for (long long i = (long long)threadIdx.x * N; i < seen.keys; i += (long long)blockDim.x * N) {
        wide v[N], top = p.a;
        load<N>(scores + i, v);
        for (int k = 0; k < N; k++) v[k] = seen(v[k], i + k), top = fmax(top, v[k]);
        p.b *= rescale(p.a, top);
        for (int k = 0; k < N; k++) p.b += term(v[k], top);
        p.a = top;
    }
    p = reduce(p, pair{-infinity(), 0}, combine_tops());
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide v[N];
        load<N>(scores + i, v);
        for (int k = 0; k < N; k++) v[k] = term(seen(v[k], i + k), p.a);
        store<N>(v, scores + i);
    }
    return p;
}

// scores = exp(S - the largest of the row), total = their sum, 1 where it is 0; lse = log(sum(exp(S))), inf where nothing is seen.
extern "C" __global__ __launch_bounds__(1024) void attention_softmax(scalar* scores, const scalar* bias, wide* total, wide* lse, long long rows, long long n, long long length, long long first, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    long long row = my_row();
    if (row >= rows) return;
    seen_by seen = what_is_seen(row, length, n, first, bias, n1, n2, s0, s1, s2, sq, sk);
    scores += row * n;
    pair p = packable(n, scores) ? exponentials_of_row<PACK>(scores, n, seen) : exponentials_of_row<1>(scores, n, seen);
    if (threadIdx.x == 0) {
        bool nothing = p.b == 0;
        total[row] = nothing ? wide(1) : p.b;
        lse[row] = nothing ? infinity() : p.a + log(p.b);
    }
}

struct drop {  // dropout: what a mask of one byte an element keeps is divided by the share that is kept
    const unsigned char* kept;
    wide factor;

    __device__ __forceinline__ wide operator()(wide v, long long key) const { return !kept ? v : kept[key] ? v * factor : wide(0); }
};

template <int N>
__device__ __forceinline__ void score_gradient_row(scalar* scores, scalar* through, long long n, seen_by seen, drop dropped, wide lse, wide mean) {
    for (long long i = (long long)threadIdx.x * N; i < n; i += (long long)blockDim.x * N) {
        wide p[N], g[N];
        load<N>(scores + i, p), load<N>(through + i, g);
        for (int k = 0; k < N; k++) {
            wide one = term(seen(p[k], i + k), lse);
            g[k] = i + k < seen.keys ? one * (dropped(g[k], i + k) - mean) : wide(0);
            p[k] = dropped(one, i + k);
        }
        store<N>(p, scores + i), store<N>(g, through + i);
    }
}

// With P = exp(S - lse): scores = P after dropout, through = P (gP - mean), where `through` held gP before dropout.
extern "C" __global__ __launch_bounds__(1024) void attention_softmax_gradient(scalar* scores, scalar* through, const scalar* bias, const wide* lse, const wide* mean, const unsigned char* kept, double factor, long long rows, long long n, long long length, long long first, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    long long row = my_row();
    if (row >= rows) return;
    seen_by seen = what_is_seen(row, length, n, first, bias, n1, n2, s0, s1, s2, sq, sk);
    drop dropped = {kept ? kept + row * n : kept, wide(factor)};
    scores += row * n, through += row * n;
    if (packable(n, scores, through)) score_gradient_row<PACK>(scores, through, n, seen, dropped, lse[row], mean[row]);
    else score_gradient_row<1>(scores, through, n, seen, dropped, lse[row], mean[row]);
}
