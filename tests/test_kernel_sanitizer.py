"""What kernels do to memory, in whichever order their threads run: by `kernels/sanitizer.py`, on a machine without a card.

Every kernel's cases are run with threads and blocks in several orders, with several contents of memory that nobody has written, and with arrays
that begin anywhere; all must give the same bits. Kernels planted here show that each mistake is caught.
"""

import functools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from chainrule.backends.cuda_kernels import KERNELS, attention, registry, windows
from chainrule.backends.random_places import Place
from tests.kernels import cases, emulator, ghosts, long_cases, sanitizer

pytestmark = pytest.mark.skipif(not sanitizer.works(), reason="needs GCC on Linux")

# Sums by atomic additions: their last bits depend on the order.
IN_ANY_ORDER = {"embedding_atomic", "embedding_weight"}

# How many cases of a kernel the quick test takes, and the one with other offsets, where all take long.
QUICK = {"flash_attention": 3, "flash_gradients": 3}


def wide(dtype):
    return "float64" if dtype == "float64" else "float32"


def prepared(name, dtype):
    if dtype not in KERNELS[name].dtypes:
        pytest.skip(f"{name} has no version for {dtype}")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    return cases.cases(name)


def ran(name, dtype, case, memory, launch, checked=True):
    """What the kernel's function gives of a case, checked against its reference."""
    args, kwargs = cases.arguments(name, *case, np.dtype(dtype), wide(dtype), memory.to)
    right = cases.reference(KERNELS[name], args, kwargs) if checked else None
    found = cases.flat(KERNELS[name].function(launch, memory, *args, **kwargs))
    if checked:
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
    for number, case in enumerate(prepared(name, dtype)[: QUICK.get(name)]):
        plain = emulator.Emulator(sanitizer.Memory(0x00))
        expected = ran(name, dtype, case, plain.xp, plain)
        watched = sanitizer.Sanitizer(sanitizer.Memory(0xFF), poison=0xFF, order="random", seed=number)
        same_bits(name, expected, ran(name, dtype, case, watched.xp, watched))


# Elements by which a case's arrays begin past a multiple of 64 bytes, the first, the second, ...: all alike, and not.
OFFSETS = [(0,), (1,), (0, 1), (1, 0, 2), (3,), (8,)]


@pytest.mark.slow
@pytest.mark.parametrize("offsets", OFFSETS, ids=lambda offsets: "from_" + "_".join(map(str, offsets)))
@pytest.mark.parametrize("dtype", registry.FLOATS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_clean_and_gives_the_same_bits_in_every_order(name, dtype, offsets):
    for case in prepared(name, dtype)[: QUICK.get(name) if offsets != (0,) else None]:
        expected = None
        for number, order in enumerate(emulator.ORDERS):
            poison = (0xFF, 0x00, 0x5A)[number % 3]
            memory = sanitizer.Memory(poison, offsets)
            launch = sanitizer.Sanitizer(memory, poison=poison, order=order, seed=number)
            found = ran(name, dtype, case, memory, launch)
            expected = expected or found
            same_bits(name, expected, found)


@pytest.mark.parametrize("dtype", [pytest.param(one, marks=pytest.mark.slow) for one in registry.FLOATS])
@pytest.mark.parametrize("name", long_cases.CASES)
def test_long_rows_are_clean(name, dtype):
    prepared(name, dtype)
    for number, case in enumerate(long_cases.CASES[name](np.random.default_rng(0))):
        orders = ("forward", "random")
        launches = [sanitizer.Sanitizer(sanitizer.Memory(0xFF, (0, number)), order=order) for order in orders]
        checked = name != "cross_entropy" or case[0][0].shape[1] < 9  # else its reference takes gigabytes
        same_bits(name, *(ran(name, dtype, case, launch.xp, launch, checked) for launch in launches))


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.source == "windows"])
def test_windows_with_indices_of_64_bits(name, monkeypatch):
    results = []
    for narrow in (windows.NARROW, 0):
        monkeypatch.setattr(windows, "NARROW", narrow)
        launch = sanitizer.Sanitizer(sanitizer.Memory())
        results.append([ran(name, "float32", case, launch.xp, launch) for case in cases.cases(name)])
        if name in ("max_pool", "im2col"):
            assert {values[-1] for values, _ in launch._kept} == {int(narrow > 0)}
    for one, other in zip(*results, strict=True):
        same_bits(name, one, other)


@pytest.mark.parametrize("name", ["flash_attention", "flash_gradients"])
def test_tiles_are_read_from_aligned_memory(name):
    for case in prepared(name, "float16")[:2]:
        launch = sanitizer.Sanitizer(sanitizer.Memory(offsets=(1, 0, 8)))
        ran(name, "float16", case, launch.xp, launch)


def test_tensor_cores_that_lack_the_product_are_not_asked_for_it():
    for capability, able in (("75", False), ("80", True), ("90", True), ("120", True)):
        array = SimpleNamespace(device=SimpleNamespace(compute_capability=capability))
        assert attention._multiplies(array) is able
    assert attention._multiplies(np.ones(1))


# --- what is launched ---


def test_a_card_takes_every_launch():
    most = ghosts.LIMITS["maxGridSize"], ghosts.LIMITS["maxBlockSize"]
    for entry, *shapes in ghosts.launches():
        for shape, limit in zip(shapes, most, strict=True):
            assert all(0 < one <= top for one, top in zip(shape, limit, strict=True)), (entry, *shapes)
        assert ghosts.most_threads()[entry] <= ghosts.LIMITS["maxThreadsPerBlock"], entry


def test_the_compiler_is_told_of_blocks_of_many_threads():
    """A thread has up to 255 registers and a block 65536: of more than 256 threads, which they would not do for, it must know."""
    for source in registry.sources():
        text = (registry.SOURCES / f"{source}.cu").read_text()
        assert "extern __shared__" not in text  # whose size would have to be given at the launch
        for entry in emulator.ENTRY.findall(text):
            threads = ghosts.most_threads()[entry]
            bounds = re.search(rf"__launch_bounds__\((\d+)\) void {entry}\(", text)
            assert threads <= (int(bounds[1]) if bounds else 256), (entry, threads)


WINDOW = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "size": (31, 31)}
# Kernel, shape, how much of it (counted from the end) is not 0, the function's arguments. All are of more than 2^32 elements.
HUGE = [
    ("gelu", (2**33,), (4096,), lambda x: ((x,), {})),
    ("softmax", (2**23, 520), (8, 520), lambda x: ((x,), {"axis": 1})),
    ("softmax", (2**21 + 1, 2056), (2, 2056), lambda x: ((x,), {"axis": 1})),
    ("softmax", (2**21 + 1, 16, 128), (1, 16, 128), lambda x: ((x,), {"axis": 1})),
    ("softmax_gradient", (2**23, 520), (8, 520), lambda x: ((x, (True,), x), {"axis": 1})),
    ("attention_softmax", (2**18, 8, 2056), (1, 8, 2056), lambda x: ((x, None, None), {})),
    ("standardize", (2**23, 520), (8, 520), lambda x: ((x, None, None), {"axes": (1,), "eps": 1e-5})),
    ("column_sums", (2**29 + 3, 8), (100, 8), lambda x: ((x,), {})),
    ("axis_sums", (2**23, 520), (64, 520), lambda x: ((x,), {"axis": 1})),
    ("max_pool", (2**20, 4, 32, 33), (1, 1, 32, 33), lambda x: ((x,), WINDOW | {"size": (31, 32)})),
    ("im2col", (2**20, 4, 32, 32), (1, 4, 32, 32), lambda x: ((x,), WINDOW)),
    ("scale_and_shift", (2**20, 4, 1025), (1, 4, 1025), lambda x: ((x, *FOUR), {})),
    ("scale_and_shift", (2**30 + 1, 4), (64, 4), lambda x: ((x, *(one[:, 0] for one in FOUR)), {})),
    ("scale_all", (2**32 + 4096,), (4096,), lambda x: (([x], np.array([3], "float32")), {})),
    ("unscale", (2**32 + 4096,), (4096,), lambda x: (([x], np.array(3, "float32"), np.array(0, "int32")), {})),
    ("dropout", (2**20, 4, 1032), (1, 4, 1032), lambda x: ((x, None), {"p": 0.0, "place": Place(1, 2), "shape": (len(x), 4, 1)})),
]  # fmt: skip
FOUR = np.arange(8, dtype="float32").reshape(2, 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name, shape, end, call", HUGE)
def test_the_end_of_a_huge_array_is_found(name, shape, end, call):
    """The last blocks compute the same as of an array of which there is nothing but the end: no index has overflowed."""
    x = sanitizer.Sparse().empty(shape, "float16")
    piece = tuple(slice(-length, None) for length in end)
    x[piece] = np.random.default_rng(0).standard_normal(end)
    launch = emulator.Emulator(sanitizer.Sparse(), blocks=40)
    args, kwargs = call(x[piece].copy())
    right = cases.flat(KERNELS[name].function(emulator.Emulator(), np, *args, **kwargs))[0]
    args, kwargs = call(x)
    found = cases.flat(KERNELS[name].function(launch, launch.xp, *args, **kwargs))[0]
    last = (-1,) * (found.ndim - 1)
    np.testing.assert_allclose(found[last][-8:], right[last][-8:], rtol=1e-3)
    assert found[last][-1] != 0


def test_an_index_of_32_bits_does_not_find_it():
    text = """extern "C" __global__ void copied(const short* x, short* y, long long) {
        TYPE i = blockIdx.x * (TYPE)blockDim.x + threadIdx.x;
        y[i] = x[i];
    }"""
    x, ends = sanitizer.Sparse().empty(2**32 + 256, "int16"), []
    x[-1] = 5
    for type_ in ("unsigned", "long long"):
        launch = emulator.Emulator(texts=(text.replace("TYPE", type_),), blocks=1)
        y = sanitizer.Sparse().empty_like(x)
        launch("", "copied", "float32", (2**24 + 1, 1, 1), (256, 1, 1), x, y, 0)
        ends.append(y[-1])
    assert ends == [0, 5]


# --- mistakes ---

MISTAKES = {
    "no_barrier": (
        "__shared__ float s[64]; s[t] = x[t]; y[t] = s[63 - t];",
        r"shared memory, which no thread of the block has written, is read by thread 0 of block 0 \(text_0.cu",
    ),
    "no_second_barrier": (
        "__shared__ float s[64]; for (int k = 0; k < 2; k++) { s[t] = x[t] + k; __syncthreads(); y[t] += s[63 - t]; }",
        "race, no barrier between: shared memory is (read|written) by thread .*, and (read|written) by thread",
    ),
    "implicit_warp": (
        "__shared__ float s[64]; s[t] = x[t]; __syncthreads(); if (t < 16) s[t] += s[t + 16]; if (t < 8) s[t] += s[t + 8]; y[t] = s[t];",
        "race, no barrier between: shared memory is .* by thread",
    ),
    "through_a_shuffle": (  # which orders no memory
        "__shared__ float s[64]; s[t] = x[t]; float v = __shfl_xor_sync(~0u, x[t], 1); y[t] = v + s[t ^ 1];",
        "race, no barrier between: .* is written by thread",
    ),
    "between_warps": (
        "__shared__ float s[64]; s[t] = x[t]; __syncwarp(); y[t] = s[t ^ 32];",
        "shared memory, which no thread|race, no barrier between: shared memory",
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
    "shared_unwritten": ("__shared__ float s[64]; if (t) s[t] = x[t]; __syncthreads(); y[t] = s[t];", "shared memory, which no thread of the block has written, is read by thread 0"),
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
    with pytest.raises(AssertionError, match=r"between_warps: .*\(text_0.cu:\d+\)"):
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
