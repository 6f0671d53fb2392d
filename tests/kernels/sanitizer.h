// Watches what a kernel does to memory. g++ compiles it with -fsanitize=thread, which puts a call before every access, and with
// -fsanitize=alignment and others; the functions called are defined here in place of those of the sanitizers' libraries.
//
// Outside its own stack a thread may touch the arrays that the caller names (`simt_watch`) and shared memory. Two threads may not touch
// the same place, one of them writing, unless there is a barrier of the block between, or of the warp if it is the same one; threads
// of different blocks never. Which way the threads were scheduled does not matter for that. Shuffles order no memory.
#include <dlfcn.h>
#include <link.h>

namespace sanitizer {

enum { NOBODY = -1, SEVERAL = -2 };  // blocks; of threads SEVERAL is any of a block, and -3 - w any of warp w

struct Access {
    long long block;
    int thread, barriers, syncs;
    void* at;  // in the code
};

struct Cell {  // the last accesses to a few bytes
    Access wrote, read;
    bool atomic;
};

struct Range {
    uintptr_t first, last;
    long grain;  // bytes of a cell
    bool same;   // what is written at once by several threads is the same
    Cell* cells;
};

static Range ranges[4096], shared, image;
static int count;
static long long block_number;
static unsigned char poison = 0xff;
static bool watching;
static long guards[64];  // where, in shared memory, a byte of the compiler's says that an array was made
static int guard_count;

UNCHECKED static void clear(Range& r) {
    free(r.cells);
    size_t cells = (r.last - r.first + r.grain - 1) / r.grain;
    r.cells = (Cell*)calloc(cells + 1, sizeof(Cell));
    for (size_t k = 0; k < cells; k++) r.cells[k].wrote.block = r.cells[k].read.block = NOBODY;
}

UNCHECKED static int look_at(dl_phdr_info* info, size_t, void*) {
    uintptr_t first = ~(uintptr_t)0, last = 0;
    for (int k = 0; k < info->dlpi_phnum; k++) {
        const ElfW(Phdr)& part = info->dlpi_phdr[k];
        if (part.p_type != PT_LOAD) continue;
        uintptr_t from = info->dlpi_addr + part.p_vaddr;
        first = from < first ? from : first, last = from + part.p_memsz > last ? from + part.p_memsz : last;
    }
    if ((uintptr_t)&count < first || (uintptr_t)&count >= last) return 0;
    image.first = first, image.last = last;
    for (int k = 0; k < info->dlpi_phnum; k++)
        if (info->dlpi_phdr[k].p_type == PT_TLS) shared.first = (uintptr_t)info->dlpi_tls_data, shared.last = shared.first + info->dlpi_phdr[k].p_memsz;
    return 1;
}

UNCHECKED static void before_block() {
    block_number = blockIdx.x + (long long)gridDim.x * (blockIdx.y + (long long)gridDim.y * blockIdx.z);
    memset((void*)shared.first, poison, shared.last - shared.first);
    for (int k = 0; k < guard_count; k++) *(unsigned char*)(shared.first + guards[k]) = 1;
}

UNCHECKED static Range* range_of(uintptr_t at) {
    static int last;
    if (at >= shared.first && at < shared.last) return &shared;
    if (last < count && at >= ranges[last].first && at < ranges[last].last) return &ranges[last];
    int low = 0, high = count;  // the last one that begins at `at` or before
    while (low < high) {
        int middle = (low + high) / 2;
        if (ranges[middle].first <= at) low = middle + 1;
        else high = middle;
    }
    if (!low || at >= ranges[low - 1].last) return nullptr;
    last = low - 1;
    return &ranges[last];
}

// Whether everything that `a` stands for comes before what `me` does.
UNCHECKED static bool ordered(const Access& a, const Access& me) {
    if (a.block == NOBODY) return true;
    if (a.block != me.block) return false;
    if (a.thread == me.thread || a.barriers != me.barriers) return true;
    int warp = a.thread >= 0 ? a.thread / 32 : -3 - a.thread;
    return a.thread != SEVERAL && warp == me.thread / 32 && a.syncs != me.syncs;
}

UNCHECKED static const char* place(const Range* r, uintptr_t at) {  // an address in brackets is put into words by the caller
    static char text[64];
    snprintf(text, sizeof text, r == &shared ? "shared memory" : "[%lx]", (long)at);
    return text;
}

UNCHECKED static void race(const Range* r, uintptr_t at, const Access& a, const char* did, const Access& me, const char* does) {
    const char* missing = a.block == me.block ? "no barrier between" : "in different blocks";
    simt::fail("race, %s: %s is %s by thread %d of block %lld (%p), and %s by thread %d of block %lld (%p)", missing, place(r, at), did, a.thread, a.block, a.at, does, me.thread, me.block, me.at);
}

UNCHECKED static void merge(Access& read, const Access& me) {
    if (read.block == NOBODY || (read.block == me.block && read.barriers != me.barriers)) read = me;
    else if (read.block != me.block) read.block = SEVERAL;
    else if (read.thread != me.thread) {
        int warp = read.thread >= 0 ? read.thread / 32 : -3 - read.thread;
        if (read.thread == SEVERAL || warp != me.thread / 32) read.thread = SEVERAL;
        else if (read.syncs != me.syncs) read = me;
        else read.thread = -3 - warp;
    } else read = me;
}

UNCHECKED static void check(void* pointer, size_t size, bool writes, bool atomic, void* code) {
    uintptr_t at = (uintptr_t)pointer;
    if (!simt::current || !watching) return;
    if (at - (uintptr_t)simt::stacks < simt::STACK * simt::THREADS || at - image.first < image.last - image.first) return;
    Range* r = range_of(at);
    for (int k = 0; r == &shared && k < guard_count; k++)
        if (at == shared.first + guards[k]) return;
    const char* does = writes ? "written" : "read";
    int thread = int(simt::current - simt::fibers);
    Access me = {block_number, thread, simt::everyone.held, simt::warps[thread / 32].syncs, code};
    if (!r || at + size > r->last) simt::fail("out of bounds: %zu bytes at %s are %s by thread %d of block %lld (%p)", size, place(r, at), does, thread, block_number, code);
    for (size_t k = (at - r->first) / r->grain; k <= (at - r->first + size - 1) / r->grain; k++) {
        Cell& cell = r->cells[k];
        if (r == &shared) {  // it is another one in every block
            if (cell.wrote.block != block_number) cell.wrote.block = NOBODY;
            if (cell.read.block != block_number) cell.read.block = NOBODY;
            if (!writes && cell.wrote.block == NOBODY) simt::fail("%s, which no thread of the block has written, is read by thread %d of block %lld (%p)", place(r, at), thread, block_number, code);
        }
        if (!ordered(cell.wrote, me) && !(atomic && cell.atomic) && !(writes && r->same)) race(r, at, cell.wrote, "written", me, does);
        if (writes) {
            if (!ordered(cell.read, me)) race(r, at, cell.read, "read", me, does);
            cell.wrote = me, cell.atomic = atomic;
        } else merge(cell.read, me);
    }
    if (simt::order == simt::PREEMPTED && !simt::random(8)) simt::pause();
}

UNCHECKED static void before_atomic(void* pointer, size_t size) { check(pointer, size, true, true, __builtin_return_address(0)); }

struct Source {
    const char* file;
    unsigned line, column;
};

UNCHECKED static void undefined(const Source* at, const char* what) {
    if (simt::current) simt::fail("%s in %s:%u", what, at->file, at->line);
}

}  // namespace sanitizer

extern "C" UNCHECKED void simt_guards(int count, const long* places) {
    sanitizer::guard_count = count < 64 ? count : 64;
    memcpy(sanitizer::guards, places, sanitizer::guard_count * sizeof(long));
}

// Names the arrays, in the order of their addresses, in which of them all that write at once write the same, and the byte that fills shared memory before each block.
extern "C" UNCHECKED void simt_watch(int count, const uintptr_t* first, const uintptr_t* last, const long* grains, const long* same, int poison) {
    using namespace sanitizer;
    static thread_local char anchor;  // it makes this thread's shared memory
    *(volatile char*)&anchor = 0;
    shared.first = shared.last = 0, shared.grain = 2;
    dl_iterate_phdr(look_at, nullptr);
    clear(shared);
    for (int k = count; k < sanitizer::count; k++) free(ranges[k].cells), ranges[k].cells = nullptr;
    for (int k = 0; k < count; k++) ranges[k].first = first[k], ranges[k].last = last[k], ranges[k].grain = grains[k], ranges[k].same = same[k], clear(ranges[k]);
    sanitizer::count = count, sanitizer::poison = (unsigned char)poison, watching = true;
    simt::before_block = before_block, simt::before_atomic = before_atomic;
}

// How many bytes of shared memory the last launch has touched.
extern "C" UNCHECKED long simt_shared_bytes() {
    using namespace sanitizer;
    long touched = 0;
    for (size_t k = 0; k < (shared.last - shared.first) / 2; k++) touched += shared.cells[k].wrote.at || shared.cells[k].read.at ? 2 : 0;
    return touched;
}

#define WATCH(size)                                                                                                                                          \
    UNCHECKED void __tsan_read##size(void* p) { sanitizer::check(p, size, false, false, __builtin_return_address(0)); }                                      \
    UNCHECKED void __tsan_write##size(void* p) { sanitizer::check(p, size, true, false, __builtin_return_address(0)); }                                      \
    UNCHECKED void __tsan_unaligned_read##size(void* p) { sanitizer::check(p, size, false, false, __builtin_return_address(0)); }                            \
    UNCHECKED void __tsan_unaligned_write##size(void* p) { sanitizer::check(p, size, true, false, __builtin_return_address(0)); }
#define UNDEFINED(name, what, ...) \
    UNCHECKED void __ubsan_handle_##name(const sanitizer::Source* at, ##__VA_ARGS__) { sanitizer::undefined(at, what); }

extern "C" {
WATCH(1) WATCH(2) WATCH(4) WATCH(8) WATCH(16)
UNCHECKED void __tsan_read_range(void* p, size_t size) { sanitizer::check(p, size, false, false, __builtin_return_address(0)); }
UNCHECKED void __tsan_write_range(void* p, size_t size) { sanitizer::check(p, size, true, false, __builtin_return_address(0)); }
UNCHECKED void __tsan_func_entry(void*) {}
UNCHECKED void __tsan_func_exit(void*) {}
UNCHECKED void __tsan_init() {}
UNDEFINED(type_mismatch_v1, "an access that is not aligned", uintptr_t)
UNDEFINED(out_of_bounds, "an index outside an array", uintptr_t)
UNDEFINED(add_overflow, "an integer overflow", uintptr_t, uintptr_t)
UNDEFINED(sub_overflow, "an integer overflow", uintptr_t, uintptr_t)
UNDEFINED(mul_overflow, "an integer overflow", uintptr_t, uintptr_t)
UNDEFINED(negate_overflow, "an integer overflow", uintptr_t)
UNDEFINED(divrem_overflow, "a division by zero or an overflow", uintptr_t, uintptr_t)
UNDEFINED(shift_out_of_bounds, "a shift by too much", uintptr_t, uintptr_t)
}
