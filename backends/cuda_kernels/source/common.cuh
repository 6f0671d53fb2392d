// What all kernels share; the text stands in front of every source.
//
// A source is compiled once for each dtype: `scalar` is what lies in memory, `wide` what is computed in (float for 16-bit
// floats). The 16-bit types are written out here, so that no header of the CUDA toolkit is needed to compile. Every parameter
// of a kernel is 8 bytes, a pointer, a `long long` or a `double`: the caller need not know its signature. What is launched with
// more than 256 threads a block says so to the compiler, which else may give a thread more registers than there are.

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

// A row of n elements as packs, with what is before the first and behind the last whole one element by element: rows of odd length
// begin anywhere. All arrays must be as far from a multiple of 16 bytes, else there are no packs. visit(elements<N>(), i) is called for
// this thread's share, of N elements from i on.
template <int N> struct elements {
    static constexpr int count = N;
};

template <class F> __device__ __forceinline__ void each_of_row(long long n, F visit, const void* a, const void* b = nullptr, const void* c = nullptr) {
    address off = (address)a & 15, last = n, first = n;
    bool alike = (!b || ((address)b & 15) == off) && (!c || ((address)c & 15) == off);
    if (alike && off % sizeof(scalar) == 0) {
        first = (16 - off) % 16 / sizeof(scalar);
        if ((long long)first > n) first = n;
        last = first + (n - first) / PACK * PACK;
    }
    for (long long i = threadIdx.x; i < (long long)first; i += blockDim.x) visit(elements<1>(), i);
    for (long long i = first + (long long)threadIdx.x * PACK; i < (long long)last; i += (long long)blockDim.x * PACK) visit(elements<PACK>(), i);
    for (long long i = last + threadIdx.x; i < n; i += blockDim.x) visit(elements<1>(), i);
}

// Weights that are `scalar`, or `wide` where activations are of 16 bits and parameters are not.
struct weights {
    const void* at;
    bool in_wide;
    __device__ __forceinline__ explicit operator bool() const { return at != nullptr; }
    __device__ __forceinline__ wide operator[](long long i) const { return in_wide ? ((const wide*)at)[i] : wide(((const scalar*)at)[i]); }
};

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

// --- strips of (rows, columns) ---
//
// A thread takes N neighbouring columns, PACK of them if the columns are a multiple of that (`packed`), and of the block's `chunk` rows
// every blockDim.y-th. A block is 256 threads.

struct strip {
    long long c, first, last;
    bool inside, aligned;
    __device__ __forceinline__ strip(int n, long long rows, long long columns, long long chunk, const void* a, const void* b = nullptr, const void* d = nullptr) {
        c = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * n, first = blockIdx.y * chunk + threadIdx.y;
        last = (blockIdx.y + 1) * chunk < rows ? (blockIdx.y + 1) * chunk : rows, inside = c < columns, aligned = packable(PACK, a, b, d);
    }
    template <int N> __device__ __forceinline__ void read(const scalar* from, wide* to) const {
        if (aligned) return load<N>(from, to);
        for (int k = 0; k < N; k++) to[k] = wide(from[k]);
    }
    template <int N> __device__ __forceinline__ void write(const wide* from, scalar* to) const {
        if (aligned) return store<N>(from, to);
        for (int k = 0; k < N; k++) to[k] = scalar(from[k]);
    }
};

// The threads of one column put together, in those with threadIdx.y = 0.
template <class T, class F> __device__ __forceinline__ T reduce_strip(T p, F combine) {
    __shared__ T partial[256];
    T* mine = partial + threadIdx.y * blockDim.x + threadIdx.x;
    *mine = p;
    __syncthreads();
    for (int half = blockDim.y / 2; half > 0; half >>= 1) {
        if (int(threadIdx.y) < half) *mine = combine(*mine, mine[half * blockDim.x]);
        __syncthreads();
    }
    p = *mine;
    __syncthreads();
    return p;
}

// The sums down this thread's columns, of the block's rows: to[k] and, if there is one, also[k]. value(r, a, b) gives N numbers of each.
template <int N, class F> __device__ __forceinline__ void sum_strip(const strip& s, wide* to, wide* also, F value) {
    pair p[N];
    for (int k = 0; k < N; k++) p[k] = {0, 0};
    if (s.inside)
        for (long long r = s.first; r < s.last; r += blockDim.y) {
            wide a[N], b[N];
            value(r, a, b);
            for (int k = 0; k < N; k++) p[k].a += a[k], p[k].b += b[k];
        }
    for (int k = 0; k < N; k++) {
        pair all = reduce_strip(p[k], add_pairs());
        if (threadIdx.y || !s.inside) continue;
        to[k] = all.a;
        if (also) also[k] = all.b;
    }
}

// This thread's row, and the first flat element of a grid-stride loop.
__device__ __forceinline__ long long my_row() { return (long long)blockIdx.x * blockDim.y + threadIdx.y; }
__device__ __forceinline__ long long my_index() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ long long all_threads() { return (long long)gridDim.x * blockDim.x; }

// --- random numbers ---
//
// The stream is that of `backends/random.py`: Philox4x32-10 (Salmon et al. 2011), block c the scramble of the counter c under
// the key `seed`, four words a block. A place in it is a seed and a block, and in a captured graph `base` is where the device
// keeps the two numbers to be added to them; else it is null.

struct words {
    unsigned at[4];
};

struct place {
    unsigned long long seed, first;
    __device__ __forceinline__ place(long long seed_, long long first_, const unsigned long long* base) : seed(seed_), first(first_) {
        if (base) seed += base[0], first += base[1];
    }
    __device__ __forceinline__ words block(unsigned long long number) const {
        unsigned long long counter = first + number;
        unsigned x0 = (unsigned)counter, x1 = (unsigned)(counter >> 32), x2 = 0, x3 = 0;
        unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
        for (int round = 0; round < 10; round++) {
            unsigned high0 = __umulhi(x0, 0xD2511F53u), low0 = x0 * 0xD2511F53u;
            unsigned high1 = __umulhi(x2, 0xCD9E8D57u), low1 = x2 * 0xCD9E8D57u;
            x0 = high1 ^ x1 ^ k0, x1 = low1, x2 = high0 ^ x3 ^ k1, x3 = low0;
            k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
        }
        return {{x0, x1, x2, x3}};
    }
};

// The float32 number on [0, 1) that a word is: 24 bits.
__device__ __forceinline__ float uniform(unsigned word) { return float(word >> 8) * 5.9604644775390625e-8f; }
