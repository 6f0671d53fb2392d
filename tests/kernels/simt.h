// Enough of CUDA C++ for g++ to run a kernel on the CPU: every thread of a block is a fiber (ucontext), blocks run one after
// the other. A fiber runs until it meets a barrier or a shuffle that others have not reached yet.
//
// It finds wrong indices, wrong formulas, barriers that some threads miss or that are different ones, and shuffles whose mask names lanes
// that do not come. The order in which threads and blocks run is for the caller to choose (`simt_schedule`): a result that depends
// on it is wrong. What threads do to each other's memory without a barrier between them is found by `sanitizer.h`, compiled with it.
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#ifdef SANITIZE
#define UNCHECKED __attribute__((no_sanitize("thread", "undefined")))
#define __shared__ static __thread  // so that all of it lies in one place of its own
#else
#define UNCHECKED
#define __shared__ static  // one block at a time: one copy is enough
#endif
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};
static dim3 gridDim, blockDim, blockIdx;

namespace simt {

// Orders of threads. Blocks come forward, backward if threads or warps do, or at random. PREEMPTED is at random and, with
// `sanitizer.h`, stops threads at any access to memory.
enum { FORWARD, BACKWARD, LANES_BACKWARD, WARPS_BACKWARD, RANDOM, PREEMPTED };

struct Fiber {
    ucontext_t context;
    jmp_buf registers;
    dim3 index;
    int lane, warp;
    bool begun, done;
    const int* awaited;  // the count of a meeting that it waits for, which was `seen` when it came
    int seen;
};

struct Meeting {  // of the lanes in the mask; what they bring to it alternates between two places, so that nobody waits twice
    unsigned mask, arrived;
    int held, line;
    const char* what;
    uint64_t slots[2][32];
};

struct Warp {
    unsigned present;
    int syncs, masks;
    Meeting meetings[8];
};

struct Barrier {
    int arrived, held, line;
};

static const size_t STACK = 128 << 10, THREADS = 1024;
static Fiber fibers[THREADS];
static Warp warps[THREADS / 32];
static char* stacks;
static Barrier everyone;
static int alive, places[THREADS];
static jmp_buf scheduler;
static Fiber* current;
static void (*body)(void*);
static void* body_data;
static void (*before_block)();
static char problem[1024];
static int order;
static uint64_t state = 1, most_blocks;

UNCHECKED static unsigned random(unsigned below) {  // xorshift64*, Vigna 2016
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (unsigned)((state * 0x2545F4914F6CDD1DULL) >> 33) % below;
}

template <class T> UNCHECKED void shuffle(T* items, unsigned count) {
    for (unsigned i = count; i > 1; i--) {
        unsigned j = random(i);
        T item = items[i - 1];
        items[i - 1] = items[j], items[j] = item;
    }
}

// Ends the launch, with a message.
UNCHECKED static void fail(const char* format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(problem, sizeof problem, format, values);
    va_end(values);
    _longjmp(scheduler, 1);
}

UNCHECKED static void pause() {
    if (!_setjmp(current->registers)) _longjmp(scheduler, 1);
}

UNCHECKED static void await(const int& count, int seen) {
    current->awaited = &count, current->seen = seen;
    pause();
    current->awaited = nullptr;
}

UNCHECKED static void sync_block(int line) {
    if (everyone.arrived && everyone.line != line) fail("threads of a block meet at different barriers, in lines %d and %d", everyone.line, line);
    everyone.line = line;
    int seen = everyone.held;
    if (++everyone.arrived == alive) everyone.arrived = 0, everyone.held++;
    else await(everyone.held, seen);
}

UNCHECKED static Meeting& meeting_of(unsigned mask, const char* what, int line) {
    Warp& warp = warps[current->warp];
    if (!(mask >> current->lane & 1)) fail("%s in line %d: lane %d calls it, which its mask %08x does not name", what, line, current->lane, mask);
    if (mask & ~warp.present) fail("%s in line %d: its mask %08x names lanes %08x, which have exited or are not there", what, line, mask, mask & ~warp.present);
    for (int k = 0; k < warp.masks; k++)
        if (warp.meetings[k].mask == mask) return warp.meetings[k];
    if (warp.masks == 8) fail("%s in line %d: too many different masks", what, line);
    Meeting& made = warp.meetings[warp.masks++];
    made.mask = mask, made.arrived = 0, made.held = 0;
    return made;
}

UNCHECKED static void meet(Meeting& m, const char* what, int line) {
    Warp& warp = warps[current->warp];
    for (int k = 0; k < warp.masks; k++) {
        Meeting& other = warp.meetings[k];
        if (other.arrived && (other.mask & m.mask) && (other.mask != m.mask || other.line != line || strcmp(other.what, what)))
            fail("lanes of a warp meet at %s in line %d (mask %08x) and %s in line %d (mask %08x)", other.what, other.line, other.mask, what, line, m.mask);
    }
    m.what = what, m.line = line, m.arrived |= 1u << current->lane;
    int seen = m.held;
    if (m.arrived == m.mask) m.arrived = 0, m.held++;
    else await(m.held, seen);
}

UNCHECKED static void leave() {
    Warp& warp = warps[current->warp];
    current->done = true, alive--, warp.present &= ~(1u << current->lane);
    for (int k = 0; k < warp.masks; k++) {
        Meeting& m = warp.meetings[k];
        if (m.arrived && (m.mask >> current->lane & 1)) fail("%s in line %d: its mask %08x names lane %d, which exits", m.what, m.line, m.mask, current->lane);
    }
    if (alive && everyone.arrived == alive) everyone.arrived = 0, everyone.held++;
}

UNCHECKED static void live() {  // a fiber is used again for the next block
    for (;;) body(body_data), leave(), pause();
}

UNCHECKED static void resume(Fiber& f) {
    current = &f;
    if (_setjmp(scheduler)) return;
    if (f.begun) _longjmp(f.registers, 1);
    f.begun = true;
    setcontext(&f.context);
}

UNCHECKED static void describe_standstill() {
    int written = snprintf(problem, sizeof problem, "threads wait for each other forever:");
    if (everyone.arrived) written += snprintf(problem + written, sizeof problem - written, " %d at __syncthreads in line %d", everyone.arrived, everyone.line);
    for (Warp& warp : warps)
        for (int k = 0; k < warp.masks; k++) {
            Meeting& m = warp.meetings[k];
            if (m.arrived && sizeof problem - written > 200)
                written += snprintf(problem + written, sizeof problem - written, "; lanes %08x at %s in line %d, whose mask %08x names lanes %08x, which do not come", m.arrived, m.what, m.line, m.mask, m.mask & ~m.arrived);
        }
}

// Runs all threads of the block whose blockIdx is set; false if there was a problem.
UNCHECKED static bool block() {
    int count = blockDim.x * blockDim.y * blockDim.z;
    if (!stacks) stacks = (char*)mmap(nullptr, STACK * THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (Warp& warp : warps) warp.present = warp.syncs = warp.masks = 0;
    everyone = {0, 0, 0}, alive = count;
    for (int i = 0; i < count; i++) {
        Fiber& f = fibers[i];
        f.index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
        f.lane = i % 32, f.warp = i / 32, f.done = false, f.awaited = nullptr;
        warps[f.warp].present |= 1u << f.lane;
        places[i] = order == BACKWARD ? count - 1 - i : order == LANES_BACKWARD && (i | 31) < count ? i ^ 31 : order == WARPS_BACKWARD && count % 32 == 0 ? (count - 1 - i) ^ 31 : i;
        if (f.begun) continue;
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = stacks + STACK * i, f.context.uc_stack.ss_size = STACK, f.context.uc_link = nullptr;
        makecontext(&f.context, live, 0);
    }
    if (before_block) before_block();
    problem[0] = 0;
    for (int left = count; left && !problem[0];) {
        bool moved = false;
        if (order >= RANDOM) shuffle(places, count);
        for (int i = 0; i < count && !problem[0]; i++) {
            Fiber& f = fibers[places[i]];
            if (f.done || (f.awaited && *f.awaited == f.seen)) continue;
            moved = true;
            resume(f);
            left -= f.done;
        }
        if (!moved) describe_standstill();
    }
    current = nullptr;
    if (problem[0])
        for (Fiber& f : fibers) f.begun = false;  // its stack is given up
    return !problem[0];
}

template <class T> UNCHECKED T exchange(unsigned mask, T value, int from, const char* what, int line) {
    Meeting& m = meeting_of(mask, what, line);
    uint64_t raw = 0, *slots = m.slots[m.held & 1];
    std::memcpy(&raw, &value, sizeof(T));
    slots[current->lane] = raw;
    meet(m, what, line);
    if (!(mask >> from & 1)) fail("%s in line %d: lane %d reads from lane %d, which its mask %08x does not name", what, line, current->lane, from, mask);
    std::memcpy(&value, &slots[from], sizeof(T));
    return value;
}

UNCHECKED static void sync_warp(unsigned mask, int line) {
    Meeting& m = meeting_of(mask, "__syncwarp", line);
    meet(m, "__syncwarp", line);
    if (mask == 0xffffffffu) warps[current->warp].syncs = m.held;  // which no lane can be past
}

// Calls f with what every lane of the warp gives.
template <class T, class F> UNCHECKED void together(const T& mine, F f) {
    static T all[2][32][32];
    Meeting& m = meeting_of(0xffffffffu, "a product of the warp", 0);
    T* ours = all[m.held & 1][current->warp];
    ours[current->lane] = mine;
    meet(m, "a product of the warp", 0);
    f(ours);
}

template <class... A, size_t... I> UNCHECKED void call(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    static_assert(((sizeof(A) == 8) && ...), "a kernel's parameters must be 8 bytes each");
    kernel(*static_cast<A*>(args[I])...);
}

struct Call {
    void* kernel;
    void** args;
};

template <class... A> UNCHECKED void enter(void* data) {
    Call* c = static_cast<Call*>(data);
    call(reinterpret_cast<void (*)(A...)>(c->kernel), c->args, std::index_sequence_for<A...>());
}

// 0 if the kernel ran, 1 if there was a problem, 2 if it takes another number of arguments.
template <class... A> UNCHECKED int launch(void (*kernel)(A...), const unsigned* grid, const unsigned* shape, void** args, int count) {
    if (count != sizeof...(A)) return 2;
    gridDim = {grid[0], grid[1], grid[2]}, blockDim = {shape[0], shape[1], shape[2]};
    Call made = {(void*)kernel, args};
    body_data = &made, body = enter<A...>;
    uint64_t blocks = (uint64_t)grid[0] * grid[1] * grid[2];
    uint64_t* numbers = order >= RANDOM ? (uint64_t*)malloc(blocks * sizeof(uint64_t)) : nullptr;
    for (uint64_t k = 0; numbers && k < blocks; k++) numbers[k] = k;
    if (numbers) shuffle(numbers, (unsigned)blocks);
    bool well = true;
    for (uint64_t k = most_blocks && most_blocks < blocks ? blocks - most_blocks : 0; k < blocks && well; k++) {
        uint64_t b = numbers ? numbers[k] : order == BACKWARD || order == WARPS_BACKWARD ? blocks - 1 - k : k;
        blockIdx = {unsigned(b % grid[0]), unsigned(b / grid[0] % grid[1]), unsigned(b / grid[0] / grid[1])};
        well = block();
    }
    free(numbers);
    return well ? 0 : 1;
}

}  // namespace simt

extern "C" UNCHECKED const char* simt_problem() { return simt::problem; }
// Of a launch the last `blocks` are run, all if that is 0.
extern "C" UNCHECKED void simt_schedule(int order, uint64_t seed, uint64_t blocks) { simt::order = order, simt::state = seed * 2 + 1, simt::most_blocks = blocks; }

#define EMULATE(name)                                                                                             \
    extern "C" UNCHECKED int launch_##name(const unsigned* grid, const unsigned* block, void** args, int count) { \
        return simt::launch(name, grid, block, args, count);                                                      \
    }

#define threadIdx (simt::current->index)
#define __syncthreads() simt::sync_block(__LINE__)
#define __syncwarp(...) simt::sync_warp(simt::mask_of(__VA_ARGS__), __LINE__)
#define __shfl_xor_sync(mask, value, other) simt::exchange(mask, value, simt::current->lane ^ (other), "__shfl_xor_sync", __LINE__)
#define __shfl_sync(mask, value, lane) simt::exchange(mask, value, (lane) & 31, "__shfl_sync", __LINE__)
namespace simt {
UNCHECKED inline unsigned mask_of(unsigned mask = 0xffffffffu) { return mask; }
static void (*before_atomic)(void*, size_t);
}
template <class T> UNCHECKED T atomicAdd(T* target, T value) {
    if (simt::before_atomic) simt::before_atomic(target, sizeof(T));
    T old = *target;
    *target = old + value;
    return old;
}

UNCHECKED inline unsigned __float_as_uint(float x) { unsigned u; std::memcpy(&u, &x, 4); return u; }
UNCHECKED inline float __uint_as_float(unsigned u) { float x; std::memcpy(&x, &u, 4); return x; }
UNCHECKED inline float __int_as_float(int u) { return __uint_as_float((unsigned)u); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)(((uint64_t)a * b) >> 32); }
UNCHECKED inline float half_of_bits(unsigned short h) { _Float16 x; std::memcpy(&x, &h, 2); return (float)x; }
UNCHECKED inline unsigned short bits_of_half(float f) { _Float16 x = (_Float16)f; unsigned short h; std::memcpy(&h, &x, 2); return h; }
inline float rsqrt(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }
inline float normcdf(float x) { return 0.5f * std::erfc(-x * 0.70710678f); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x * 0.70710678118654752); }
using std::cos, std::sin, std::exp, std::log, std::sqrt, std::tanh, std::fmax, std::fmin, std::fabs, std::isnan, std::isinf, std::erfc, std::floor;
