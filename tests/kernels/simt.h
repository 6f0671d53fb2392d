// Enough of CUDA C++ for g++ to run a kernel on the CPU: every thread of a block is a fiber (ucontext), blocks run one after
// the other. A fiber runs until it meets a barrier or a shuffle that others have not reached yet.
//
// It finds wrong indices, wrong formulas, missing or divergent barriers (as a deadlock, which is reported). It finds no data
// races: threads of a block run in turns, never at once.
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static  // one block at a time: one copy is enough
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};
static dim3 gridDim, blockDim, blockIdx;

namespace simt {

struct Barrier {
    int members = 0, arrived = 0, generation = 0;
};

struct Fiber {
    ucontext_t context;
    dim3 index;
    int lane, warp;
    bool done;
    Barrier* waiting_for = nullptr;
    int generation = 0;
};

static const size_t STACK = 64 << 10;
static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static std::vector<Barrier> warps;
static std::vector<uint64_t> slots;
static Barrier everyone;
static ucontext_t scheduler;
static Fiber* current;
static void (*body)(void*);
static void* body_data;

static void open(Barrier& b) { b.arrived = 0, b.generation++; }

static void wait(Barrier& b) {
    if (b.arrived + 1 == b.members) return open(b);
    b.arrived++;
    current->waiting_for = &b, current->generation = b.generation;
    swapcontext(&current->context, &scheduler);
    current->waiting_for = nullptr;
}

static void leave(Barrier& b) {
    b.members--;
    if (b.members && b.arrived == b.members) open(b);
}

static void run() {
    body(body_data);
    current->done = true;
    leave(everyone), leave(warps[current->warp]);
}

// Runs all threads of the block whose blockIdx is set; false if they wait for each other forever.
static bool block() {
    int count = blockDim.x * blockDim.y * blockDim.z;
    if ((int)fibers.size() < count) fibers.resize(count), stacks.resize(STACK * count), slots.resize(count);
    warps.assign((count + 31) / 32, Barrier());
    everyone = Barrier();
    everyone.members = count;
    for (int i = 0; i < count; i++) {
        Fiber& f = fibers[i];
        f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        f.lane = i % 32, f.warp = i / 32, f.done = false, f.waiting_for = nullptr;
        warps[f.warp].members++;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = &stacks[STACK * i], f.context.uc_stack.ss_size = STACK;
        f.context.uc_link = &scheduler;
        makecontext(&f.context, run, 0);
    }
    for (int left = count; left;) {
        bool moved = false;
        for (int i = 0; i < count; i++) {
            Fiber& f = fibers[i];
            if (f.done || (f.waiting_for && f.waiting_for->generation == f.generation)) continue;
            moved = true, current = &f;
            swapcontext(&scheduler, &f.context);
            left -= f.done;
        }
        if (!moved) return false;
    }
    return true;
}

template <class T> T exchange(T value, int from) {
    uint64_t raw = 0;
    std::memcpy(&raw, &value, sizeof(T));
    int mine = current - &fibers[0];
    slots[mine] = raw;
    wait(warps[current->warp]);
    raw = slots[current->warp * 32 + from];
    wait(warps[current->warp]);
    std::memcpy(&value, &raw, sizeof(T));
    return value;
}

template <class... A, size_t... I> void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    static_assert(((sizeof(A) == 8) && ...), "a kernel's parameters must be 8 bytes each");
    kernel(*static_cast<A*>(args[I])...);
}

struct Call {
    void* kernel;
    void** args;
};

// 0 if the kernel ran, 1 if its threads wait for each other forever, 2 if it takes another number of arguments.
template <class... A> int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* shape, void** args, int count) {
    if (count != sizeof...(A)) return 2;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {shape[0], shape[1], shape[2]};
    Call made = {(void*)kernel, args};
    body_data = &made;
    body = [](void* data) {
        Call* c = static_cast<Call*>(data);
        call(reinterpret_cast<void (*)(A...)>(c->kernel), c->args, std::index_sequence_for<A...>());
    };
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                if (!block()) return 1;
            }
    return 0;
}

}  // namespace simt

#define EMULATE(name)                                                                                      \
    extern "C" int launch_##name(const unsigned* grid, const unsigned* block, void** args, int count) {    \
        return simt::launch(name, grid, block, args, count);                                               \
    }

#define threadIdx (simt::current->index)
inline void __syncthreads() { simt::wait(simt::everyone); }
inline void __syncwarp() { simt::wait(simt::warps[simt::current->warp]); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask) { return simt::exchange(value, simt::current->lane ^ mask); }
template <class T> T __shfl_sync(unsigned, T value, int lane) { return simt::exchange(value, lane); }
template <class T> T atomicAdd(T* target, T value) {
    T old = *target;
    *target = old + value;
    return old;
}

inline unsigned __float_as_uint(float x) { unsigned u; std::memcpy(&u, &x, 4); return u; }
inline float __uint_as_float(unsigned u) { float x; std::memcpy(&x, &u, 4); return x; }
inline float __int_as_float(int u) { return __uint_as_float((unsigned)u); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
inline float half_of_bits(unsigned short h) { _Float16 x; std::memcpy(&x, &h, 2); return (float)x; }
inline unsigned short bits_of_half(float f) { _Float16 x = (_Float16)f; unsigned short h; std::memcpy(&h, &x, 2); return h; }
inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float normcdf(float x) { return 0.5f * std::erfc(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752); }
using std::exp, std::log, std::sqrt, std::tanh, std::fmax, std::fmin, std::fabs, std::isnan, std::isinf, std::erfc, std::floor;
