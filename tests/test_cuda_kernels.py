"""The CUDA kernels on a machine without a card: compiled by NVIDIA's compiler, and run on the CPU against NumPy.

What they do to memory, in whichever order threads run, is in `test_kernel_sanitizer.py`. What is not tried here is a card: speed, and CuPy's
own part. `make gpu-check` does that.
"""

from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.ops import pooling
from chainrule.backends import cuda_kernels
from chainrule.backends.cuda_kernels import KERNELS, registry
from tests.kernels import cases, cubin, emulator, ghosts, nvrtc

EMULATED = pytest.mark.skipif(
    emulator.COMPILER is None, reason="g++ is not installed (CXX names another compiler)"
)


def dtypes(*fast):
    """All dtypes as parameters, those but `fast` marked slow."""
    return [pytest.param(one, marks=() if one in fast else pytest.mark.slow) for one in registry.FLOATS]


def wide(dtype):
    return "float64" if dtype == "float64" else "float32"


# --- the table ---

# What kernels stand in for besides operations.
NO_OPERATIONS = """
    attention_softmax attention_softmax_gradient flash_gradients philox_words uniform normal set_place move_place follow_average class_numbers adam sgd total_norm scale_all count_steps unscale adapt_scale
    """.split()


def test_the_table_names_sources_dtypes_and_operations_that_exist():
    from chainrule.autograd.op import registry as operations

    for kernel in KERNELS.values():
        assert kernel.source in registry.sources() and set(kernel.dtypes) <= set(registry.TYPES)
        assert callable(kernel.reference) and kernel.function.__doc__ and cases.cases(kernel.name)
        operation = (kernel.replaces or "").removesuffix(".gradient")
        assert operation in {"", *NO_OPERATIONS, *operations}, kernel.name
    assert {kernel.source for kernel in KERNELS.values()} | {"batch_norm"} == set(registry.sources())


def test_every_entry_point_has_parameters_of_eight_bytes_and_is_launched_by_some_function():
    folder = Path(cuda_kernels.__file__).parent
    python = "".join(path.read_text() for path in folder.glob("*.py"))
    for source in registry.sources():
        for entry in emulator.ENTRY.findall((registry.SOURCES / f"{source}.cu").read_text()):
            assert f'"{entry}"' in python, entry
            header = registry.source_text(source).split(f"void {entry}(")[1].split(")")[0]
            for parameter in header.split(","):
                assert "*" in parameter or parameter.split()[0] in ("long", "double"), (entry, parameter)


def test_the_manual_lists_every_kernel():
    page = (Path(__file__).parent.parent / "docs" / "gpu_kernels.md").read_text()
    for kernel in KERNELS.values():
        assert f"| `{kernel.name}` | {kernel.source} |" in page, kernel.name


# --- compiled ---


@pytest.mark.parametrize("arch", [pytest.param("sm_80", marks=pytest.mark.slow), "sm_90"])
@pytest.mark.parametrize("dtype", dtypes("float32"))
@pytest.mark.parametrize("source", registry.sources())
def test_a_source_compiles(source, dtype, arch):
    if nvrtc.compiler() is None:
        pytest.skip(
            "neither NVRTC (pip install 'chainrule[cuda-check]', or CHAINRULE_NVRTC=path) nor nvcc is here"
        )
    code = nvrtc.cubin(registry.source_text(source), [*registry.options(dtype), f"--gpu-architecture={arch}"])
    found = cubin.resources(code)
    assert set(found) == set(emulator.ENTRY.findall((registry.SOURCES / f"{source}.cu").read_text()))
    for entry, used in found.items():
        registers = -(-used.registers // 8) * 8 * ghosts.most_threads()[entry]
        assert registers <= ghosts.LIMITS["regsPerBlock"], (entry, used)
        assert used.shared <= ghosts.LIMITS["maxSharedMemoryPerBlock"], (entry, used)


def test_an_error_in_a_source_is_reported():
    if nvrtc.compiler() is None:
        pytest.skip("neither NVRTC nor nvcc is here")
    with pytest.raises(AssertionError, match="nothing_of_that_name"):
        nvrtc.cubin("__global__ void f(int* x) { *x = nothing_of_that_name; }", ["--gpu-architecture=sm_90"])


# --- run on the CPU ---


@EMULATED
@pytest.mark.parametrize("dtype", dtypes("float32"))
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_computes_what_its_reference_does(name, dtype):
    kernel = KERNELS[name]
    if dtype not in kernel.dtypes:
        pytest.skip(f"{name} has no version for {dtype}")
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    launch = emulator.Emulator()
    for args, kwargs in cases.cases(name):
        args, kwargs = cases.arguments(name, args, kwargs, np.dtype(dtype), wide(dtype))
        right = cases.reference(kernel, args, kwargs)
        cases.check(name, dtype, cases.flat(kernel.function(launch, np, *args, **kwargs)), right)
    assert launch.launched


@EMULATED
def test_results_are_written_everywhere_and_nowhere_else():
    """A guard zone after the output stays as it was; every element of the output is written, whatever it held."""
    launch = emulator.Emulator()
    for n in (1, 31, 33, 1024, 1027):
        x, memory = np.random.rand(3, n).astype("float32"), np.full(3 * n + 64, np.nan, "float32")
        grid, block = registry.over_rows(3, n)
        launch("softmax", "softmax", "float32", grid, block, x, memory, 3, n, 0)
        assert not np.isnan(memory[: 3 * n]).any() and np.isnan(memory[3 * n :]).all()
        grid, block = registry.over_elements(x.size)
        memory[...] = np.nan
        launch("activation", "activation", "float32", grid, block, None, x, None, memory, x.size, 1, 3)
        assert not np.isnan(memory[: 3 * n]).any() and np.isnan(memory[3 * n :]).all()


@EMULATED
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_are_rounded_to_nearest_even(dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    bits = np.arange(0, 2**16, dtype=np.uint16)
    x = bits.view(np.dtype(dtype)).copy()
    for factor in (1.0, 1.0 + 2.0**-9, 3.0, 2.0**-12):
        y, factors = x.copy(), np.array([factor], "float32")
        with np.errstate(all="ignore"):
            right = (x.astype("float32") * np.float32(factor)).astype(dtype)
            launch = emulator.Emulator()
            blocks, plan = cuda_kernels.many._plan(launch, [[y]])
            launch("many", "scale_all", dtype, (blocks, 1, 1), (256, 1, 1), *plan, factors, 1 << 14)
            nan = np.isnan(right.astype("float32"))
            assert np.array_equal(np.isnan(y.astype("float32")), nan)
        assert np.array_equal(y.view(np.uint16)[~nan], right.view(np.uint16)[~nan])


@EMULATED
@pytest.mark.parametrize(
    "row", [[np.nan, 1], [-np.inf] * 2, [-np.inf, 1], [np.inf, 1], [3e38, -3e38], [-np.inf, np.nan]]
)
@pytest.mark.parametrize("n", [2, 40, 1200])
def test_softmax_of_what_is_not_finite(row, n):
    x = np.full((2, n), -1.0, "float32")
    x[0, :2] = row
    if row == [-np.inf] * 2:
        x[0] = -np.inf
    launch = emulator.Emulator()
    for name in ("softmax", "log_softmax"):
        ours = KERNELS[name].function(launch, np, x, axis=1)
        with np.errstate(all="ignore"):
            right = getattr(cr.nn.functional, name)(cr.tensor(x), dim=1).numpy()
        np.testing.assert_allclose(ours, right, rtol=1e-5)


@EMULATED
def test_activations_and_pooling_at_the_edges():
    launch = emulator.Emulator()
    x = np.array([-np.inf, -1e30, -50, -0.0, 0, 50, 1e30, np.inf, np.nan], "float32")
    for name in ("gelu", "gelu_tanh", "silu"):
        t = cr.tensor(x, requires_grad=True)
        right = F.silu(t) if name == "silu" else F.gelu(t, approximate="tanh" if "tanh" in name else "none")
        right.sum().backward()
        np.testing.assert_allclose(KERNELS[name].function(launch, np, x), right.detach().numpy(), rtol=1e-5)
        (slope,) = KERNELS[f"{name}_gradient"].function(launch, np, np.ones_like(x), (True,), x)
        np.testing.assert_allclose(slope, t.grad.numpy(), rtol=1e-5)
    (gx,) = KERNELS["relu_gradient"].function(launch, np, np.full_like(x, np.inf), (True,), x)
    assert gx.tolist() == [0, 0, 0, 0, 0, np.inf, np.inf, np.inf, 0]
    image = np.array([[1, np.nan, 2], [3, 3, np.nan], [-np.inf] * 3], "float32")[None, None]
    static = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "size": (2, 2)}
    for x in (image, np.zeros_like(image), -np.abs(image)):  # NaN, ties, -inf
        for name in ("max_pool", "max_pool_index"):
            right = getattr(pooling, name)(x, **static)
            np.testing.assert_array_equal(KERNELS[name].function(launch, np, x, **static), right)


@EMULATED
@pytest.mark.parametrize(
    "body, message",
    [
        ("if (threadIdx.x < 40) __syncthreads(); else __syncwarp();", "wait for each other forever: 40 at __syncthreads in line 1; lanes ffffff00"),
        ("if (threadIdx.x == 41) __shfl_xor_sync(~0u, 1.0f, 1);", "names lanes [0-9a-f]{8}, which have exited"),
        ("if (threadIdx.x < 63) __shfl_xor_sync(~0u, 1.0f, 1);", "names lane(s .*, which have exited| 31, which exits)"),
        ("if (threadIdx.x < 16) __shfl_xor_sync(0xffffu, 1.0f, 16);", "reads from lane .., which its mask 0000ffff does not name"),
        ("__shfl_xor_sync(0xffffu, 1.0f, 1);", "which its mask 0000ffff does not name"),
        ("if (threadIdx.x % 2) __syncwarp(); else __syncwarp(0x55555555u);", "lanes of a warp meet at __syncwarp"),
        ("if (threadIdx.x < 32)\n__syncthreads(); else\n__syncthreads();", "different barriers, in lines 2 and 3"),
        ("", "called with 2 arguments"),
    ],
)  # fmt: skip
def test_the_emulator_reports_what_would_hang_a_card(body, message):
    text = f'extern "C" __global__ void wrong(float* x) {{ {body} }}'
    launch = emulator.Emulator(texts=(text,))
    args = [np.zeros(1, "float32")] * (2 if "called" in message else 1)
    with pytest.raises(AssertionError, match=message):
        launch("", "wrong", "float32", (1, 1, 1), (64, 1, 1), *args)


# --- the launcher for CuPy, with a stub in CuPy's place ---


class Stub:
    """The parts of CuPy that the launcher uses; remembers what was compiled and launched."""

    ndarray = np.ndarray
    asarray = staticmethod(np.asarray)

    def __init__(self, devices=1):
        self.compiled, self.launched = [], []
        runtime = type("runtime", (), {"getDeviceCount": lambda: devices, "getDevice": lambda: 0})
        self.cuda = type("cuda", (), {"runtime": runtime})

    def RawModule(self, code, options):
        self.compiled.append(options)

        def get_function(entry):
            assert f" {entry}(" in code
            return lambda *args: self.launched.append((entry, *args))

        return type("module", (), {"get_function": staticmethod(get_function)})


def test_the_launcher_compiles_once_and_passes_arguments_of_eight_bytes():
    cupy = Stub()
    launch = registry.CupyLauncher(cupy)
    x = np.ones((2, 3), "float32")
    for _ in range(2):
        KERNELS["softmax"].function(launch, np, x, axis=1)
    KERNELS["log_softmax"].function(launch, np, x, axis=1)
    assert cupy.compiled == [("--std=c++17", "-DSCALAR=float", "-DWIDE=float")]
    entry, grid, block, args = cupy.launched[0]
    assert (entry, grid, block) == ("softmax", (1, 1, 1), (32, 4, 1))
    # CuPy hands on an int, a float and None as eight bytes: `test_cupy_without_card.py` looks.
    assert args[0] is x and all(type(one) is int for one in args[2:]) and args[2:] == (2, 3, 0)
    KERNELS["standardize"].function(launch, np, x, None, None, axes=(1,), eps=1e-5)
    assert [type(one) for one in cupy.launched[-1][3]].count(float) == 1
    launch("softmax", "softmax", "float32", (0, 1, 1), (32, 1, 1), x)
    assert len(cupy.launched) == 4
    launch("softmax", "softmax", "float32", (1, 1, 1), (32, 1, 1), x, None, True, 2**63, 2.0)
    assert [type(one) for one in cupy.launched[-1][3][1:]] == [type(None), np.int64, np.uint64, np.float64]
    assert launch.constants((1, 2)) is launch.constants((1, 2))


def test_arrays_on_another_device_are_refused():
    launch = registry.CupyLauncher(Stub(devices=2))
    array = np.ones(3, "float32").view(type("elsewhere", (np.ndarray,), {"device": type("d", (), {"id": 1})}))
    with pytest.raises(RuntimeError, match=r"lies on cuda:1, but the current device is cuda:0"):
        launch("softmax", "softmax", "float32", (1, 1, 1), (32, 1, 1), array)
