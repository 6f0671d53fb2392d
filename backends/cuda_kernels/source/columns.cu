// Sums down the columns of (rows, n), in two stages and without atomics: a block adds up one chunk of rows for 32 columns, and
// a second launch adds up the chunks.

template <class T> __device__ __forceinline__ void sums_of_chunk(const T* x, wide* partial, long long rows, long long n, long long chunk) {
    long long column = (long long)blockIdx.x * 32 + threadIdx.x, first = blockIdx.y * chunk;
    long long last = first + chunk < rows ? first + chunk : rows;
    pair p = column_sum(first, last, column < n, [=](long long r) { return pair{wide(x[r * n + column]), 0}; });
    if (threadIdx.y == 0 && column < n) partial[blockIdx.y * n + column] = p.a;
}

// partial[k] = the sum of rows k chunk ... (k + 1) chunk - 1.
extern "C" __global__ void column_sums(const scalar* x, wide* partial, long long rows, long long n, long long chunk) {
    sums_of_chunk(x, partial, rows, n, chunk);
}

extern "C" __global__ void column_sums_wide(const wide* x, wide* partial, long long rows, long long n, long long chunk) {
    sums_of_chunk(x, partial, rows, n, chunk);
}
