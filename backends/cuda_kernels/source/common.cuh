// What all kernels share; the text stands in front of every source.
//
// A source is compiled once for each dtype: `scalar` is what lies in memory, `wide` what is computed in (float for 16-bit
// floats). The 16-bit types are written out here, so that no header of the CUDA toolkit is needed to compile. Every parameter
// of a kernel is 8 bytes, a pointer, a `long long` or a `double`: the caller need not know its signature.

typedef unsigned long long address;

struct bfloat16 {
    unsigned short bits;
    bfloat16() = default;
    __device__ __forceinline__ bfloat16(float x) {
        unsigned u = __float_as_uint(x);
        bool nan = (u & 0x7fffffffu) > 0x7f800000u;
        bits = (unsigned short)(nan ? 0x7fc0u : (u + 0x7fffu + ((u >> 16) & 1u)) >> 16);  // to nearest, ties to even
    }
    __device__ __forceinline__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

struct float16 {
    unsigned short bits;
    float16() = default;
#ifdef __CUDACC__
    __device__ __forceinline__ float16(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
    __device__ __forceinline__ operator float() const {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
#else
    float16(float x) : bits(bits_of_half(x)) {}
    operator float() const { return half_of_bits(bits); }
#endif
};

typedef SCALAR scalar;
typedef WIDE wide;

// Memory is read and written 16 bytes at a time where addresses and lengths allow.
constexpr int PACK = 16 / sizeof(scalar);

template <class T, int N> struct alignas(N * sizeof(T)) pack {
    T at[N];
};

template <int N> __device__ __forceinline__ void load(const scalar* from, wide* to) {
    pack<scalar, N> p = *reinterpret_cast<const pack<scalar, N>*>(from);
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = wide(p.at[k]);
}

template <int N> __device__ __forceinline__ void store(const wide* from, scalar* to) {
    pack<scalar, N> p;
#pragma unroll
    for (int k = 0; k < N; k++) p.at[k] = scalar(from[k]);
    *reinterpret_cast<pack<scalar, N>*>(to) = p;
}

// Whether rows of n elements can be read in packs from all the pointers given (null counts as aligned).
__device__ __forceinline__ bool packable(long long n, const void* a, const void* b = nullptr, const void* c = nullptr, const void* d = nullptr) {
    return n % PACK == 0 && (((address)a | (address)b | (address)c | (address)d) & 15) == 0;
}

__device__ __forceinline__ wide infinity() { return wide(__int_as_float(0x7f800000)); }

// --- reductions ---
//
// The threads that share threadIdx.y work on one row: a warp (blockDim.x = 32), or the whole block (then blockDim.y = 1).
// Results are the same in all of them, and the same in every run: the order of additions is fixed.

// `combine` is a function of two partial results, `nothing` what it leaves unchanged.

template <class T> __device__ __forceinline__ T from_lane(T value, int offset) {
    wide* words = reinterpret_cast<wide*>(&value);
#pragma unroll
    for (int k = 0; k < int(sizeof(T) / sizeof(wide)); k++) words[k] = __shfl_xor_sync(0xffffffffu, words[k], offset);
    return value;
}

template <class T, class F> __device__ __forceinline__ T reduce_warp(T p, F combine) {
    for (int offset = 16; offset > 0; offset >>= 1) {
        T q = from_lane(p, offset);
        // The lower lane's part first: both lanes get the same bits.
        p = (threadIdx.x & offset) ? combine(q, p) : combine(p, q);
    }
    return p;
}

template <class T, class F> __device__ __forceinline__ T reduce(T p, T nothing, F combine) {
    p = reduce_warp(p, combine);
    if (blockDim.x > 32) {
        __shared__ T partial[32];
        int lane = threadIdx.x & 31;
        if (lane == 0) partial[threadIdx.x >> 5] = p;
        __syncthreads();
        p = reduce_warp(lane < int(blockDim.x >> 5) ? partial[lane] : nothing, combine);
        __syncthreads();  // `partial` is written again by the next reduction
    }
    return p;
}

struct pair {
    wide a, b;
};

struct add_pairs {
    __device__ __forceinline__ pair operator()(pair p, pair q) const { return {p.a + q.a, p.b + q.b}; }
};

__device__ __forceinline__ pair sum(wide a, wide b) { return reduce(pair{a, b}, pair{0, 0}, add_pairs()); }

// Sums over the rows first <= r < last of this thread's column, for a block of (32, 8) threads that shares 32 columns; in the
// threads with threadIdx.y = 0. `value(r)` gives two numbers to add up.
template <class F> __device__ __forceinline__ pair column_sum(long long first, long long last, bool inside, F value) {
    __shared__ pair partial[8][32];
    pair p = {0, 0};
    if (inside)
        for (long long r = first + threadIdx.y; r < last; r += 8) p = add_pairs()(p, value(r));
    partial[threadIdx.y][threadIdx.x] = p;
    __syncthreads();
    for (int half = 4; half > 0; half >>= 1) {
        if (int(threadIdx.y) < half) {
            p = add_pairs()(p, partial[threadIdx.y + half][threadIdx.x]);
            partial[threadIdx.y][threadIdx.x] = p;
        }
        __syncthreads();
    }
    return p;
}

// This thread's row, and the first flat element of a grid-stride loop.
__device__ __forceinline__ long long my_row() { return (long long)blockIdx.x * blockDim.y + threadIdx.y; }
__device__ __forceinline__ long long my_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long all_threads() { return (long long)gridDim.x * blockDim.x; }
