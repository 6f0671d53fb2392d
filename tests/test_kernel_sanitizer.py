"""What kernels do to memory, in whichever order their threads run: by `kernels/sanitizer.py`, on a machine without a card.

Every kernel's cases are run with threads and blocks in several orders, with several contents of memory that nobody has written, and with arrays
that begin anywhere; all must give the same bits. Kernels planted here show that each mistake is caught.
"""

import functools

import numpy as np
import pytest

from chainrule.backends.cuda_kernels import KERNELS, registry
from tests.kernels import cases, emulator, sanitizer

pytestmark = pytest.mark.skipif(not sanitizer.works(), reason="needs GCC on Linux")

# Sums by atomic additions: their last bits depend on the order.
IN_ANY_ORDER = {"embedding_atomic", "embedding_weight"}


def wide(dtype):
    return "float64" if dtype == "float64" else "float32"


def prepared(name, dtype):
    if dtype not in KERNELS[name].dtypes:
        pytest.skip(f"{name} has no version for {dtype}")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return cases.cases(name)


def ran(name, dtype, case, memory, launch):
    """What the kernel's function gives of a case, checked against its reference."""
    args, kwargs = cases.arguments(name, *case, np.dtype(dtype), wide(dtype), memory.to)
    right = cases.reference(KERNELS[name], args, kwargs)
    found = cases.flat(KERNELS[name].function(launch, memory, *args, **kwargs))
    cases.check(name, dtype, found, right)
    return found


def same_bits(name, one, other):
    for a, b in zip(one, other, strict=True):
        if name not in IN_ANY_ORDER:
            assert a.tobytes() == b.tobytes(), f"{name}: other bits in another order"


# --- the kernels ---


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_clean_and_gives_the_same_bits_in_another_order(name):
    dtype = "float32" if "float32" in KERNELS[name].dtypes else "float16"
    for number, case in enumerate(prepared(name, dtype)):
        plain = emulator.Emulator(sanitizer.Memory(0x00))
        expected = ran(name, dtype, case, plain.xp, plain)
        watched = sanitizer.Sanitizer(sanitizer.Memory(0xFF), poison=0xFF, order="random", seed=number)
        same_bits(name, expected, ran(name, dtype, case, watched.xp, watched))


# Elements by which a case's arrays begin past a multiple of 64 bytes, the first, the second, ...: all alike, and not.
OFFSETS = [(0,), (1,), (0, 1), (1, 0, 2), (3,), (8,)]


@pytest.mark.slow
@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
@pytest.mark.parametrize("dtype", registry.FLOATS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_clean_and_gives_the_same_bits_in_every_order(name, dtype, offsets):
    for case in prepared(name, dtype):
        expected = None
        for number, order in enumerate(emulator.ORDERS):
            poison = (0xFF, 0x00, 0x5A)[number % 3]
            memory = sanitizer.Memory(poison, offsets)
            launch = sanitizer.Sanitizer(memory, poison=poison, order=order, seed=number)
            found = ran(name, dtype, case, memory, launch)
            expected = expected or found
            same_bits(name, expected, found)


# --- mistakes ---

MISTAKES = {
    "no_barrier": (
        "__shared__ float s[64]; s[t] = x[t]; y[t] = s[63 - t];",
        r"byte 252 of shared memory, which no thread of the block has written, is read by thread 0 of block 0 \(text 0.cu",
    ),
    "no_second_barrier": (
        "__shared__ float s[64]; for (int k = 0; k < 2; k++) { s[t] = x[t] + k; __syncthreads(); y[t] += s[63 - t]; }",
        "race, no barrier between: byte 0 of shared memory is (read|written) by thread .*, and (read|written) by thread",
    ),
    "implicit_warp": (
        "__shared__ float s[64]; s[t] = x[t]; __syncthreads(); if (t < 16) s[t] += s[t + 16]; if (t < 8) s[t] += s[t + 8]; y[t] = s[t];",
        "race, no barrier between: byte .* of shared memory is .* by thread",
    ),
    "through_a_shuffle": (  # which orders no memory
        "__shared__ float s[64]; s[t] = x[t]; float v = __shfl_xor_sync(~0u, x[t], 1); y[t] = v + s[t ^ 1];",
        "race, no barrier between: .* is written by thread",
    ),
    "between_warps": (
        "__shared__ float s[64]; s[t] = x[t]; __syncwarp(); y[t] = s[t ^ 32];",
        "of shared memory, which no thread|race, no barrier between: byte",
    ),
    "between_blocks": (
        "if (t == 0) y[blockIdx.x + 1] = y[blockIdx.x] + 1;",
        r"race, in different blocks: element 1 of `y` \(float32 \(64,\)\) is written by thread 0 of block 0",
    ),
    "the_same_place": ("y[0] = x[0];", "race, no barrier between: element 0 of `y`"),
    "atomic_and_not": ("if (t) atomicAdd(y, 1.0f); else y[0] = 1;", "race, no barrier between: element 0"),
    "read_behind": ("y[t] = x[t + 1];", r"out of bounds: 4 bytes at 0 bytes behind `x` .* are read by thread 63"),
    "read_before": ("y[t] = x[(int)t - 3];", "out of bounds: 4 bytes at 12 bytes before `x` .* are read by thread 0"),
    "written_behind": ("y[t + n] = x[t];", "out of bounds: 4 bytes at 0 bytes behind `y` .* are written by thread 0"),
    "far_away": ("y[t] = x[1ll << 40];", "out of bounds: 4 bytes at nothing known are read"),
    "past_shared": ("__shared__ float s[64]; s[t + n - 63] = x[t]; __syncthreads(); y[t] = s[t];", "an index outside an array in"),
    "shared_unwritten": ("__shared__ float s[64]; if (t) s[t] = x[t]; __syncthreads(); y[t] = s[t];", "byte 0 of shared memory, which no thread of the block has written, is read by thread 0"),
    "not_aligned": ("if (t < 4) *reinterpret_cast<pack<float, 4>*>(y + 4 * t + n - 63) = pack<float, 4>();", "an access that is not aligned in"),
    "overflow": ("int k = (int)n << 20; y[t] = k * 512;", "an integer overflow in"),
    "much_shared_memory": (
        "__shared__ float s[13000]; for (int k = t; k < 13000; k += 64) s[k] = 1; __syncthreads(); y[t] = s[t];",
        "a block uses 52000 bytes of shared memory",
    ),
}  # fmt: skip

CORRECT = {
    "with_barriers": "__shared__ float s[64]; for (int k = 0; k < 2; k++) { s[t] = x[t] + k; __syncthreads(); y[t] += s[63 - t]; __syncthreads(); }",
    "with_warp_barriers": "__shared__ float s[64]; s[t] = x[t]; __syncwarp(); float v = s[t ^ 16]; __syncwarp(); s[t] += v; __syncwarp(); y[t] = s[t ^ 8];",
    "of_one_warp": "__shared__ float s[64]; s[t] = x[t]; __syncwarp(); float v = s[t ^ 1] + s[t ^ 2] + s[t ^ 3]; __syncwarp(); s[t] = v; y[t] = v;",
    "by_shuffles": "float v = x[t]; for (int k = 16; k; k /= 2) v += __shfl_xor_sync(~0u, v, k); y[t] = v;",
    "all_atomic": "atomicAdd(y, 1.0f); if (!t) y[1] = x[1];",
    "half_a_warp": "if (t % 32 < 16) y[t] = __shfl_xor_sync(0xffffu, x[t], 3); else y[t] = 0;",
}


@functools.cache
def planted():
    head = 'extern "C" __global__ void {}(const float* x, float* y, long long n) {{ unsigned t = threadIdx.x; {} }}'
    bodies = {name: body for name, (body, _) in MISTAKES.items()} | CORRECT | BY_ORDER
    return ("\n".join(head.format(name, body) for name, body in bodies.items()),)


def run_planted(kind, name, grid=1, **options):
    memory = sanitizer.Memory(options.get("poison", 0xFF))
    x, y = memory.to(np.arange(64, dtype="float32")), memory.to(np.zeros(64, "float32"))
    launch = kind(memory, texts=planted(), **options)
    launch("", name, "float32", (grid, 1, 1), (64, 1, 1), x, y, 64)
    return y


@pytest.mark.parametrize("order", ["forward", "backward", "random", "preempted"])
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught_in_any_order(name, order):
    with pytest.raises(AssertionError, match=MISTAKES[name][1] if order == "forward" else f"^{name}: "):
        run_planted(sanitizer.Sanitizer, name, 2 if name == "between_blocks" else 1, order=order)


@pytest.mark.parametrize("order", emulator.ORDERS)
@pytest.mark.parametrize("name", CORRECT)
def test_what_is_correct_is_not_complained_of(name, order):
    found = run_planted(sanitizer.Sanitizer, name, order=order)
    assert found.tobytes() == run_planted(emulator.Emulator, name).tobytes()


def test_a_race_names_the_lines():
    with pytest.raises(AssertionError, match=r"between_warps: .*\(text 0.cu:\d+\)"):
        run_planted(sanitizer.Sanitizer, "between_warps")


# Wrong without any address being so: only the order of threads, of blocks, or what memory held before, shows it.
BY_ORDER = {
    "by_threads": "__shared__ float s[64]; s[t] = 0; __syncthreads(); s[t] = x[t] + 1; y[t] = s[63 - t];",
    "by_lanes": "__shared__ float s[64]; s[t] = x[t]; __syncthreads(); if (t < 32) s[t] += s[t + 32]; if (t < 16) s[t] += s[t + 16]; if (t < 8) s[t] += s[t + 8]; if (t == 0) y[0] = s[0] + s[7];",
    "by_blocks": "if (t == 0) y[0] = y[0] / 2 + x[blockIdx.x];",
    "unwritten": "if (t) y[t] = x[t];",
}


@pytest.mark.parametrize("name", ["by_threads", "by_lanes", "by_blocks"])
def test_an_order_shows_what_depends_on_it(name):
    orders = emulator.ORDERS[:-1]
    found = [run_planted(emulator.Emulator, name, 3, order=order).tobytes() for order in orders]
    assert len(set(found)) > 1


def test_memory_that_nobody_has_written_shows():
    found = set()
    for poison in (0xFF, 0x5A):
        memory = sanitizer.Memory(poison)
        x, y = memory.to(np.arange(64, dtype="float32")), memory.empty(64, "float32")
        launch = sanitizer.Sanitizer(memory, texts=planted())
        launch("", "unwritten", "float32", (1, 1, 1), (64, 1, 1), x, y, 64)
        found.add(y.tobytes())
    assert len(found) == 2
    memory = [sanitizer.Memory(poison) for poison in (0xFF, 0x5A)]
    one, other = (m.empty((3, 5), "float32") for m in memory)
    assert one.view("uint8").min() == 0xFF and other.view("uint8").max() == 0x5A
    like = memory[1].empty_like(np.moveaxis(np.zeros((2, 3, 4)), 1, -1))
    assert like.strides == np.empty_like(np.moveaxis(np.zeros((2, 3, 4)), 1, -1)).strides
    assert (np.ascontiguousarray(like).view("uint8") == 0x5A).all()


def test_what_is_the_same_for_all_may_be_written_by_all():
    launch = sanitizer.Sanitizer(sanitizer.Memory())
    for found, dtype in ((np.array(0, "int32"), "float32"), (np.array(0, "int32"), "float16")):
        KERNELS["unscale"].function(
            launch, launch.xp, [np.full(40000, np.nan, dtype)], np.array(8, "float32"), found
        )
        assert found == 1


def test_arrays_begin_where_they_are_asked_to():
    memory = sanitizer.Memory(offsets=(0, 3))
    for dtype in ("float32", "float16"):
        for offset in (0, 3):
            array = np.moveaxis(np.random.rand(2, 3, 4, 5).astype(dtype), 1, -1)
            copy = memory.to(array)
            assert copy.ctypes.data % 64 == offset * array.itemsize and copy.strides == array.strides
            np.testing.assert_array_equal(copy, array)
