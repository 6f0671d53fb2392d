// Attention in 16-bit floats without its scores in memory: forward, and the gradients of queries, keys and values.
//
// After Dao 2023, "FlashAttention-2": a block of 4 warps takes 64 queries (or, for the gradients of keys and values, 64 keys), a warp
// 16 of them; keys pass by tile by tile in shared memory; products are made on tensor cores, added up in float32. Nothing is added by
// atomics: the gradients of queries have a kernel of their own, which computes the probabilities once more, so results are
// the same in every run. Heads have `features` numbers, a multiple of 8, filled up with zeros to D = 64 or 128; `each` heads of queries
// share one of keys and values. The scores' bias is described in attention.cu, the mask `kept` of dropout is (heads, length, source).

#ifdef __CUDACC__
__device__ __forceinline__ void multiply(bfloat16, float* c, const unsigned* a, const unsigned* b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void multiply(float16, float* c, const unsigned* a, const unsigned* b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// Four 8 x 8 matrices, turned; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_turned(unsigned* to, const void* row) {
    unsigned at = (unsigned)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}
#else  // the same by definition, for a CPU
struct fragments {
    unsigned a[4], b[2];
};
template <class T> inline float half_of(unsigned word, int which) {
    unsigned short bits = (unsigned short)(which ? word >> 16 : word);
    return float(*reinterpret_cast<T*>(&bits));
}
template <class T> inline void multiply(T, float* c, const unsigned* a, const unsigned* b) {
    fragments mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    int lane = threadIdx.x & 31;
    simt::together(mine, [&](const fragments* all) {
        for (int i = 0; i < 4; i++) {
            int row = (lane >> 2) + i / 2 * 8, column = (lane & 3) * 2 + i % 2;
            for (int k = 0; k < 16; k++) {
                int part = k % 8 / 2;
                c[i] += half_of<T>(all[row % 8 * 4 + part].a[k / 8 * 2 + row / 8], k % 2) * half_of<T>(all[column * 4 + part].b[k / 8], k % 2);
            }
        }
    });
}
inline void load_turned(unsigned* to, const void* row) {
    int lane = threadIdx.x & 31;
    const unsigned short* mine = (const unsigned short*)row;
    simt::together(mine, [&](const unsigned short* const* rows) {
        for (int i = 0; i < 4; i++) {
            const unsigned short* const* at = rows + 8 * i + (lane & 3) * 2;
            to[i] = at[0][lane >> 2] | (unsigned)at[1][lane >> 2] << 16;
        }
    });
}
#endif

// How a warp holds matrices, with g = lane / 4 and t = lane % 4: A (16 x 16) in 4 words of two neighbours in a row, from rows g and g + 8,
// columns 2t and 2t + 8; B (16 x 8) in 2 words of two neighbours in a column, from rows 2t and 2t + 8 of column g; the sum C (16 x 8) in
// 4 floats, columns 2t and 2t + 1 of rows g and g + 8. So C of two neighbouring products is A of the next.

template <class T> __device__ __forceinline__ unsigned word(const T* at) { return *reinterpret_cast<const unsigned*>(at); }

template <class T> __device__ __forceinline__ unsigned pack_two(wide low, wide high) {
    pack<T, 2> p = {{T(low), T(high)}};
    return *reinterpret_cast<unsigned*>(&p);
}

template <class T> __device__ __forceinline__ void as_factor(unsigned* a, const wide (*c)[4]) {
    a[0] = pack_two<T>(c[0][0], c[0][1]), a[1] = pack_two<T>(c[0][2], c[0][3]);
    a[2] = pack_two<T>(c[1][0], c[1][1]), a[3] = pack_two<T>(c[1][2], c[1][3]);
}

// A from rows of memory, of which there are `rows` with `features` numbers; `at` is the word in row g, column 2t.
template <class T> __device__ __forceinline__ void load_factor(unsigned* a, const T* at, long long row, long long rows, int column, long long features) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int down = i % 2 * 8, right = i / 2 * 8;
        a[i] = row + down < rows && column + right < features ? word(at + down * features + right) : 0;
    }
}

// Rows first ... first + R - 1 of (rows, features) into a tile, with zeros where there is nothing.
template <class T, int R, int D> __device__ __forceinline__ void load_tile(T (*tile)[D + 8], const T* from, long long first, long long rows, long long features) {
    for (int i = threadIdx.y * 32 + threadIdx.x; i < R * D / 8; i += 128) {
        int row = i / (D / 8), column = i % (D / 8) * 8;
        pack<unsigned, 4> p = {{0, 0, 0, 0}};
        if (first + row < rows && column < features) p = *reinterpret_cast<const pack<unsigned, 4>*>(from + (first + row) * features + column);
        *reinterpret_cast<pack<unsigned, 4>*>(&tile[row][column]) = p;
    }
}

// c += A B^T, where the rows of the tile are those of B: N of them, from `row` on.
template <class T, int N, int D> __device__ __forceinline__ void add_product(wide (*c)[4], const unsigned* a, const T (*tile)[D + 8], int column) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < N / 8; n++) {
        unsigned b[2] = {word(&tile[n * 8 + g][column + 2 * t]), word(&tile[n * 8 + g][column + 2 * t + 8])};
        multiply(T(), c[n], a, b);
    }
}

// c += A B, where 16 rows of the tile from `row` on are those of B.
template <class T, int D> __device__ __forceinline__ void add_turned_product(wide (*c)[4], const unsigned* a, const T (*tile)[D + 8], int row) {
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
        unsigned b[4];
        load_turned(b, &tile[row + threadIdx.x % 16][n * 16 + threadIdx.x / 16 * 8]);
        multiply(T(), c[2 * n], a, b), multiply(T(), c[2 * n + 1], a, b + 2);
    }
}

// c, times a factor for each of its rows g and g + 8, to rows of memory.
template <class T, int D> __device__ __forceinline__ void store_rows(const wide (*c)[4], wide upper, wide lower, T* to, long long row, long long rows, long long features) {
    int t = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (row + 8 * i < rows && n * 8 < features)
                *reinterpret_cast<unsigned*>(to + (row + 8 * i) * features + n * 8 + 2 * t) =
                    pack_two<T>(c[n][2 * i] * (i ? lower : upper), c[n][2 * i + 1] * (i ? lower : upper));
}

template <class T> struct head_scores {  // what becomes of the products of a head's queries and keys
    const T* bias;
    const unsigned char* kept;
    long long source, sq, sk;
    wide scale, factor;
    bool causal;

    __device__ __forceinline__ wide operator()(wide product, long long query, long long key) const {
        if (key >= source || (causal && key > query)) return -infinity();
        return product * scale + (bias ? wide(bias[query * sq + key * sk]) : wide(0));
    }
    __device__ __forceinline__ wide dropped(wide v, long long query, long long key) const {
        if (!kept) return v;
        return key < source && kept[query * source + key] ? v * factor : wide(0);
    }
};

// What all three kernels are told besides their arrays.
#define FORM long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk
#define FORM_PASSED length, source, features, each, scale, factor, causal, n1, n2, s0, s1, s2, sq, sk

template <class T> __device__ __forceinline__ head_scores<T> scores_of(long long head, const T* bias, const unsigned char* kept, FORM) {
    if (bias) bias += head % n2 * s2 + head / n2 % n1 * s1 + head / n2 / n1 * s0;
    if (kept) kept += head * length * source;
    return {bias, kept, source, sq, sk, wide(scale), wide(factor), causal != 0};
}

__device__ __forceinline__ wide in_row(wide v, bool largest) {  // over the 4 lanes that hold a row of C
    for (int offset = 1; offset < 4; offset *= 2) {
        wide other = __shfl_xor_sync(0xffffffffu, v, offset);
        v = largest ? fmax(v, other) : v + other;
    }
    return v;
}

// Keys pass by N at a time.
template <class T, int D, int N> __device__ __forceinline__ void forward(const T* q, const T* k, const T* v, const T* bias, const unsigned char* kept, T* y, wide* lse, FORM) {
    if constexpr (sizeof(T) == 2) {
        alignas(16) __shared__ T keys[N][D + 8];
        alignas(16) __shared__ T values[N][D + 8];
        long long tiles = (length + 63) / 64, head = blockIdx.x / tiles, first = blockIdx.x % tiles * 64;
        int t = threadIdx.x % 4;
        long long row = first + threadIdx.y * 16 + threadIdx.x / 4;
        auto scores = scores_of(head, bias, kept, FORM_PASSED);
        q += head * length * features, y += head * length * features, lse += head * length;
        k += head / each * source * features, v += head / each * source * features;
        unsigned a[D / 16][4];
#pragma unroll
        for (int s = 0; s < D / 16; s++) load_factor(a[s], q + row * features + s * 16 + 2 * t, row, length, s * 16 + 2 * t, features);
        wide sums[D / 8][4] = {}, top[2] = {-infinity(), -infinity()}, total[2] = {0, 0};
        long long last = causal && first + 64 < source ? first + 64 : source;
        for (long long start = 0; start < last; start += N) {
            __syncthreads();
            load_tile<T, N, D>(keys, k, start, source, features), load_tile<T, N, D>(values, v, start, source, features);
            __syncthreads();
            wide p[N / 8][4] = {}, larger[2] = {top[0], top[1]};
#pragma unroll
            for (int s = 0; s < D / 16; s++) add_product<T, N, D>(p, a[s], keys, s * 16);
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    // Queries past the end are computed like the last one and not stored.
                    long long query = row + i / 2 * 8 < length ? row + i / 2 * 8 : length - 1;
                    p[n][i] = scores(p[n][i], query, start + n * 8 + 2 * t + i % 2);
                    larger[i / 2] = fmax(larger[i / 2], p[n][i]);
                }
#pragma unroll
            for (int i = 0; i < 2; i++) {
                larger[i] = in_row(larger[i], true);
                wide shrunk = larger[i] == top[i] ? wide(1) : exp(top[i] - larger[i]);
                total[i] *= shrunk, top[i] = larger[i];
#pragma unroll
                for (int n = 0; n < D / 8; n++) sums[n][2 * i] *= shrunk, sums[n][2 * i + 1] *= shrunk;
            }
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    long long query = row + i / 2 * 8 < length ? row + i / 2 * 8 : length - 1;
                    wide e = p[n][i] == -infinity() ? wide(0) : exp(p[n][i] - top[i / 2]);
                    total[i / 2] += e;
                    p[n][i] = scores.dropped(e, query, start + n * 8 + 2 * t + i % 2);
                }
#pragma unroll
            for (int s = 0; s < N / 16; s++) {
                unsigned weights[4];
                as_factor<T>(weights, p + 2 * s);
                add_turned_product<T, D>(sums, weights, values, s * 16);
            }
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            total[i] = in_row(total[i], false);
            if (t == 0 && row + 8 * i < length) lse[row + 8 * i] = total[i] == 0 ? infinity() : top[i] + log(total[i]);
        }
        store_rows<T, D>(sums, total[0] == 0 ? wide(0) : 1 / total[0], total[1] == 0 ? wide(0) : 1 / total[1], y, row, length, features);
    }
}

// From the product of a query and a key, and gP: P after dropout, and the gradient of the score.
template <class T> __device__ __forceinline__ void gradient_of_score(const head_scores<T>& scores, wide& p, wide& g, long long query, long long key, wide lse, wide mean) {
    wide s = scores(p, query, key);
    wide e = s == -infinity() ? wide(0) : exp(s - lse);
    g = s == -infinity() ? wide(0) : e * (scores.dropped(g, query, key) - mean);
    p = scores.dropped(e, query, key);
}

template <class T, int D> __device__ __forceinline__ void gradient_of_queries(const T* q, const T* k, const T* v, const T* bias, const unsigned char* kept, const T* gy, const wide* lse, const wide* mean, T* gq, FORM) {
    if constexpr (sizeof(T) == 2) {
        alignas(16) __shared__ T keys[32][D + 8];
        alignas(16) __shared__ T values[32][D + 8];
        long long tiles = (length + 63) / 64, head = blockIdx.x / tiles, first = blockIdx.x % tiles * 64;
        int t = threadIdx.x % 4;
        long long row = first + threadIdx.y * 16 + threadIdx.x / 4;
        auto scores = scores_of(head, bias, kept, FORM_PASSED);
        q += head * length * features, gy += head * length * features, gq += head * length * features;
        lse += head * length, mean += head * length;
        k += head / each * source * features, v += head / each * source * features;
        unsigned a[D / 16][4], b[D / 16][4];
#pragma unroll
        for (int s = 0; s < D / 16; s++) {
            load_factor(a[s], q + row * features + s * 16 + 2 * t, row, length, s * 16 + 2 * t, features);
            load_factor(b[s], gy + row * features + s * 16 + 2 * t, row, length, s * 16 + 2 * t, features);
        }
        long long query[2] = {row < length ? row : length - 1, row + 8 < length ? row + 8 : length - 1};
        wide its_lse[2] = {lse[query[0]], lse[query[1]]}, its_mean[2] = {mean[query[0]], mean[query[1]]};
        wide sums[D / 8][4] = {};
        long long last = causal && first + 64 < source ? first + 64 : source;
        for (long long start = 0; start < last; start += 32) {
            __syncthreads();
            load_tile<T, 32, D>(keys, k, start, source, features), load_tile<T, 32, D>(values, v, start, source, features);
            __syncthreads();
            wide p[4][4] = {}, g[4][4] = {};
#pragma unroll
            for (int s = 0; s < D / 16; s++) add_product<T, 32, D>(p, a[s], keys, s * 16), add_product<T, 32, D>(g, b[s], values, s * 16);
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    gradient_of_score(scores, p[n][i], g[n][i], query[i / 2], start + n * 8 + 2 * t + i % 2, its_lse[i / 2], its_mean[i / 2]);
#pragma unroll
            for (int s = 0; s < 2; s++) {
                unsigned weights[4];
                as_factor<T>(weights, g + 2 * s);
                add_turned_product<T, D>(sums, weights, keys, s * 16);
            }
        }
        store_rows<T, D>(sums, wide(scale), wide(scale), gq, row, length, features);
    }
}

// Here rows are keys and columns are queries, which pass by N at a time.
template <class T, int D, int N> __device__ __forceinline__ void gradient_of_keys(const T* q, const T* k, const T* v, const T* bias, const unsigned char* kept, const T* gy, const wide* lse, const wide* mean, T* gk, T* gv, FORM) {
    if constexpr (sizeof(T) == 2) {
        alignas(16) __shared__ T keys[64][D + 8];
        alignas(16) __shared__ T values[64][D + 8];
        alignas(16) __shared__ T queries[N][D + 8];
        alignas(16) __shared__ T incoming[N][D + 8];
        long long tiles = (source + 63) / 64, shared = blockIdx.x / tiles, first = blockIdx.x % tiles * 64;
        int g = threadIdx.x / 4, t = threadIdx.x % 4, mine = threadIdx.y * 16 + g;
        load_tile<T, 64, D>(keys, k + shared * source * features, first, source, features);
        load_tile<T, 64, D>(values, v + shared * source * features, first, source, features);
        wide key_sums[D / 8][4] = {}, value_sums[D / 8][4] = {};
        for (long long head = shared * each; head < shared * each + each; head++) {
            auto scores = scores_of(head, bias, kept, FORM_PASSED);
            for (long long start = causal ? first : 0; start < length; start += N) {
                __syncthreads();
                load_tile<T, N, D>(queries, q + head * length * features, start, length, features);
                load_tile<T, N, D>(incoming, gy + head * length * features, start, length, features);
                __syncthreads();
                wide p[N / 8][4] = {}, gp[N / 8][4] = {};
#pragma unroll
                for (int s = 0; s < D / 16; s++) {
                    unsigned a[4], b[4];
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        int r = mine + i % 2 * 8, c = s * 16 + 2 * t + i / 2 * 8;
                        a[i] = word(&keys[r][c]), b[i] = word(&values[r][c]);
                    }
                    add_product<T, N, D>(p, a, queries, s * 16), add_product<T, N, D>(gp, b, incoming, s * 16);
                }
#pragma unroll
                for (int n = 0; n < N / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        long long query = start + n * 8 + 2 * t + i % 2, key = first + mine + i / 2 * 8;
                        if (query < length) gradient_of_score(scores, p[n][i], gp[n][i], query, key, lse[head * length + query], mean[head * length + query]);
                        else p[n][i] = gp[n][i] = 0;
                    }
#pragma unroll
                for (int s = 0; s < N / 16; s++) {
                    unsigned weights[4];
                    as_factor<T>(weights, p + 2 * s);
                    add_turned_product<T, D>(value_sums, weights, incoming, s * 16);
                    as_factor<T>(weights, gp + 2 * s);
                    add_turned_product<T, D>(key_sums, weights, queries, s * 16);
                }
            }
        }
        long long row = first + mine;
        store_rows<T, D>(key_sums, wide(scale), wide(scale), gk + shared * source * features, row, source, features);
        store_rows<T, D>(value_sums, wide(1), wide(1), gv + shared * source * features, row, source, features);
    }
}

extern "C" __global__ void flash_forward_64(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, scalar* y, wide* lse, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    forward<scalar, 64, 64>(q, k, v, bias, kept, y, lse, FORM_PASSED);
}
extern "C" __global__ void flash_forward_128(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, scalar* y, wide* lse, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    forward<scalar, 128, 32>(q, k, v, bias, kept, y, lse, FORM_PASSED);
}
extern "C" __global__ void flash_queries_64(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, const scalar* gy, const wide* lse, const wide* mean, scalar* gq, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    gradient_of_queries<scalar, 64>(q, k, v, bias, kept, gy, lse, mean, gq, FORM_PASSED);
}
extern "C" __global__ void flash_queries_128(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, const scalar* gy, const wide* lse, const wide* mean, scalar* gq, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    gradient_of_queries<scalar, 128>(q, k, v, bias, kept, gy, lse, mean, gq, FORM_PASSED);
}
extern "C" __global__ void flash_keys_64(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, const scalar* gy, const wide* lse, const wide* mean, scalar* gk, scalar* gv, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    gradient_of_keys<scalar, 64, 32>(q, k, v, bias, kept, gy, lse, mean, gk, gv, FORM_PASSED);
}
extern "C" __global__ void flash_keys_128(const scalar* q, const scalar* k, const scalar* v, const scalar* bias, const unsigned char* kept, const scalar* gy, const wide* lse, const wide* mean, scalar* gk, scalar* gv, long long length, long long source, long long features, long long each, double scale, double factor, long long causal, long long n1, long long n2, long long s0, long long s1, long long s2, long long sq, long long sk) {
    gradient_of_keys<scalar, 128, 16>(q, k, v, bias, kept, gy, lse, mean, gk, gv, FORM_PASSED);
}
#undef FORM
#undef FORM_PASSED
