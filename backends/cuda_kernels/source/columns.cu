// Sums down the columns of (rows, columns), in two stages and without atomics: a block adds up one chunk of rows for a strip of
// columns, and a second launch adds up the chunks. And sums of rows, which lie together.

template <int N> __device__ __forceinline__ void strip_of_columns(const scalar* x, wide* partial, long long rows, long long columns, long long chunk) {
    strip s(N, rows, columns, chunk, x);
    sum_strip<N>(s, partial + blockIdx.y * columns + s.c, nullptr, [&](long long r, wide* a, wide* b) {
        s.read<N>(x + r * columns + s.c, a);
        for (int k = 0; k < N; k++) b[k] = 0;
    });
}

// partial[k] = the sum of rows k chunk ... (k + 1) chunk - 1.
extern "C" __global__ void column_sums(const scalar* x, wide* partial, long long rows, long long columns, long long chunk, long long packed) {
    if (packed) strip_of_columns<PACK>(x, partial, rows, columns, chunk);
    else strip_of_columns<1>(x, partial, rows, columns, chunk);
}

// The sums of what is `wide` already: few rows.
extern "C" __global__ void column_sums_wide(const wide* x, wide* partial, long long rows, long long columns, long long chunk) {
    long long c = (long long)blockIdx.x * blockDim.x + threadIdx.x, first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    wide total = 0;
    if (c < columns)
        for (long long r = first + threadIdx.y; r < last; r += blockDim.y) total += x[r * columns + c];
    pair p = reduce_strip(pair{total, 0}, add_pairs());
    if (threadIdx.y == 0 && c < columns) partial[blockIdx.y * columns + c] = p.a;
}

extern "C" __global__ __launch_bounds__(1024) void row_sums(const scalar* x, wide* sums, long long rows, long long n) {
    long long row = my_row();
    if (row >= rows) return;
    x += row * n;
    wide total = 0;
    each_of_row(n, [&](auto size, long long i) {
        constexpr int N = size.count;
        wide v[N];
        load<N>(x + i, v);
        for (int k = 0; k < N; k++) total += v[k];
    }, x);
    total = sum(total, 0).a;
    if (threadIdx.x == 0) sums[row] = total;
}
