// The gradient of a table of `rows` rows of width n: each row of g, (count, n), added to the table row that its index names.

// In a fixed order: `order` sorts the indices (stably), sorted[k] = index[order[k]]. The block of a position where a new index
// starts adds up all rows of that index; others have nothing to do. Every table row that is named is written once.
extern "C" __global__ void embedding_sorted(const scalar* g, const scalar* factor, const long long* sorted, const long long* order, scalar* out, long long count, long long n) {
    long long k = blockIdx.x, row = sorted[k];
    if (k > 0 && sorted[k - 1] == row) return;
    for (long long i = (long long)blockIdx.y * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.y * blockDim.x) {
        wide total = 0;
        for (long long j = k; j < count && sorted[j] == row; j++) {
            wide v = g[order[j] * n + i];
            total += factor ? v * wide(factor[order[j]]) : v;
        }
        out[row * n + i] = scalar(total);
    }
}

// In any order, by atomic additions to a `wide` table: faster where few indices repeat; the last bits vary between runs.
extern "C" __global__ void embedding_atomic(const scalar* g, const scalar* factor, const long long* index, wide* out, long long count, long long n) {
    for (long long j = my_index(); j < count * n; j += all_threads()) {
        long long k = j / n;
        wide v = g[j];
        atomicAdd(out + index[k] * n + j % n, factor ? v * wide(factor[k]) : v);
    }
}
