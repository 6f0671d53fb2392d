"""CuPy that is missing, broken, without a device, and there: stub packages on the path stand for each.

The stub that works is the fake device under CuPy's name, with the parts of `cupy.cuda` that the backend uses.
"""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

WORKING = """
import types

import numpy as np
from chainrule.backends import fakearray
from chainrule.backends.fakedevice import fake

__version__ = "14.2.0"
ndarray = fakearray.FakeArray
ndarray.device = types.SimpleNamespace(id=0)
bytes_limit = None


def __getattr__(name):
    return getattr(fake, name)


class Device:
    id = 0
    mem_info = (1000, 5000)

    def __init__(self, index):
        self.index = index

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def use(self):
        print("use", self.index)

    def synchronize(self):
        print("synchronize", self.index)


class Pool:
    def used_bytes(self):
        return fake.counters.allocated

    def total_bytes(self):
        return 4096

    def free_bytes(self):
        return 96

    def set_limit(self, size):
        print("limit", size)

    def free_all_blocks(self):
        print("free")


def get_default_memory_pool():
    return Pool()


get_default_pinned_memory_pool = get_default_memory_pool
cuda = types.SimpleNamespace(
    Device=Device, runtime=types.SimpleNamespace(getDeviceCount=lambda: 2, getDevice=lambda: 0)
)
"""
NO_DEVICE = """
import types

__version__ = "14.2.0"


class ndarray:
    pass


def count():
    {action}


cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=count))
"""


@pytest.fixture
def run(tmp_path):
    """Run code in a fresh interpreter that finds `stub` as the package cupy."""

    def run_with(stub, code):
        (tmp_path / "cupy").mkdir()
        (tmp_path / "cupy" / "__init__.py").write_text(textwrap.dedent(stub))
        code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(code)
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run_with


SAY_WHY = """
from chainrule import backends
cuda = backends.cuda
assert not cuda.available() and cuda.device_count() == 0
assert set(backends.namespaces) <= {backends.numpy_backend.np.ndarray, backends.FakeArray}
backends.device("cuda:1")  # a name needs no driver
for use in (lambda: cuda.xp, lambda: cuda.from_host(None, 0), lambda: cuda.current_device(), cuda.synchronize):
    try:
        use()
    except RuntimeError as error:
        assert cuda.why_not() in str(error), error
    else:
        raise AssertionError("no error")
import chainrule as cr
x = cr.ones(3, requires_grad=True)
(x * 2 + 1).exp().sum().backward()
assert x.grad.device.type == "cpu" and not cr.cuda.is_available() and cr.cuda.memory_allocated() == 0
for use in (lambda: x.to("cuda"), lambda: x.cuda(), lambda: cr.zeros(2, device="cuda"), lambda: cr.tensor([1.0], device="cuda:1")):
    try:
        use()
    except RuntimeError as error:
        assert cuda.why_not() in str(error), error
    else:
        raise AssertionError("no error")
print(cuda.why_not())
"""


@pytest.mark.parametrize(
    "stub, reason",
    [
        (
            "import no_such_module",
            "CuPy is installed but cannot be imported (No module named 'no_such_module')",
        ),
        ("raise OSError('libcuda.so.1 not found')", "cannot be imported (OSError: libcuda.so.1 not found)"),
        ("from cupy import core", "CuPy is installed but cannot be imported"),
        ("ndarray = 1", "CuPy cannot use a device (AttributeError"),
        ("__version__ = '13.6.0'", "CuPy 13.6.0 is too old; version 14 or newer is needed"),
        (NO_DEVICE.format(action="return 0"), "there is no CUDA device"),
        (
            NO_DEVICE.format(action="raise RuntimeError('cudaErrorInsufficientDriver')"),
            "CuPy cannot use a device (RuntimeError: cudaErrorInsufficientDriver); check it with nvidia-smi",
        ),
        (NO_DEVICE.format(action="return 1"), "CuPy cannot use a device (AttributeError"),
        (
            WORKING + "\ndef ones(*a, **k): return fake.zeros(*a, **k)",
            "a first computation gave a wrong result",
        ),
        (
            WORKING + "\ndef ones(*a, **k): raise MemoryError('full')",
            "CuPy cannot use a device (MemoryError: full)",
        ),
    ],
)
def test_an_unusable_cupy_gives_the_reason_and_no_error(run, stub, reason):
    assert reason in run(stub, SAY_WHY)


def test_a_missing_cupy_says_how_to_install_it():
    code = """
import sys, importlib.abc
class Nothing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
sys.meta_path.insert(0, Nothing())
from chainrule import backends
print(backends.cuda.why_not())
print(backends.cuda.cudnn_plans.why_not(), backends.cuda.cudnn_plans.refused)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("CuPy is not installed; pip install cupy-cuda13x") == 2, done.stderr


def test_cupy_is_not_imported_before_it_is_asked_for(run):
    code = """
    import sys
    from chainrule import backends
    backends.device("cuda"), backends.get("cuda"), backends.registered()
    backends.backend_of(backends.numpy_backend.np.ones(2))
    print("cupy" in sys.modules)
    """
    assert run(WORKING, code) == "False"


def test_a_working_cupy(run):
    code = """
    import numpy as np
    from chainrule import backends
    from chainrule.backends import cuda
    assert cuda.available() and cuda.why_not() is None and cuda.device_count() == 2
    import cupy
    assert backends.namespaces[cupy.ndarray] is cuda.xp and cuda.xp.zeros is cupy.zeros
    x = cuda.from_host(np.arange(4.0), 1)
    assert backends.backend_of(x) is cuda and cuda.device_of(x) == backends.device("cuda:0")
    assert cuda.to_host(x).tolist() == [0, 1, 2, 3] and cuda.copy_to(x, 0) is not x
    assert cuda.root(x[1:]) is x and cuda.shares_memory(x[1:], x) and not cuda.shares_memory(x, x.copy())
    for dtype in ("float32", "float16", "int64", "uint8", "int32", "complex64"):
        t = cuda.from_host(np.zeros(3, dtype))
        backends.add_at(t, cuda.from_host(np.array([2, 2, 0])), cuda.from_host(np.array([1, 2, 3], dtype)))
        assert cuda.to_host(t).tolist() == [3, 0, 3] and t.dtype == dtype
    cuda.set_device(1); cuda.synchronize(1); cuda.set_memory_limit(100, 0); cuda.set_memory_limit(None); cuda.empty_cache()
    account = cuda.memory()
    assert account["total"] == 5000 and account["free"] == 1096 and account["reserved"] == 4096
    big = cuda.xp.zeros(1000)
    assert cuda.memory()["peak"] >= 8000
    del big
    assert cuda.memory()["peak"] >= 8000 > cuda.memory()["allocated"]
    cuda.reset_peak()
    assert cuda.memory()["peak"] < 8000
    try:
        cuda.from_host(np.ones(1), 2)
    except RuntimeError as error:
        print(error)
    """
    out = run(WORKING, code).splitlines()
    assert out[:6] == ["use 1", "synchronize 1", "limit 100", "limit 0", "free", "free"]
    assert (
        out[6] == "device cuda:2 cannot be used: this machine has 2 device(s) of that type, numbered from 0"
    )


def test_arrays_of_a_cupy_that_the_user_imported_are_known_at_once(run):
    code = """
    import cupy
    cupy.ndarray = type("ndarray", (), {"device": cupy.ndarray.device})
    from chainrule import backends
    print(backends.backend_of(cupy.ndarray()) is backends.cuda, backends.namespaces[cupy.ndarray] is backends.cuda.xp)
    """
    assert run(WORKING, code) == "True True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("used", [True, False])
def test_cuda_is_refused_in_a_forked_child_once_it_was_used(run, used):
    code = f"""
    import os
    from chainrule import backends
    cuda = backends.cuda
    x = cuda.xp.ones(3) if {used} else None
    child = os.fork()
    if not child:
        try:
            assert cuda.available() is not {used}
            if {used}:
                for use in (lambda: cuda.xp, lambda: backends.backend_of(x), lambda: cuda.from_host(None)):
                    try:
                        use()
                        os._exit(2)
                    except RuntimeError as error:
                        assert "'spawn'" in str(error), error
                assert type(x) not in backends.namespaces and cuda.device_count() == 0
            os._exit(0)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert cuda.available()
    print("done")
    """
    assert run(WORKING, code) == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_workers_of_a_loader_do_without_cuda(run):
    code = """
    import chainrule as cr
    from chainrule import backends
    from chainrule.utils.data import DataLoader, Dataset

    class Numbers(Dataset):
        def __init__(self, device): self.device = device
        def __len__(self): return 4
        def __getitem__(self, i):
            x = cr.tensor([float(i)], device=self.device, requires_grad=True)
            (x * x).sum().backward()
            return x.detach() + 1

    backends.cuda.xp.ones(3)  # CUDA is in use when the workers are forked
    import cupy
    def asked(): raise AssertionError("the driver was asked in a forked process")
    cupy.cuda.runtime.getDevice = backends.placement.cards._current = asked
    forked = dict(batch_size=2, num_workers=1, multiprocessing_context="fork")
    assert [one.tolist() for one in DataLoader(Numbers("cpu"), **forked)] == [[[1.0], [2.0]], [[3.0], [4.0]]]
    try:
        list(DataLoader(Numbers("cuda"), **forked))
    except RuntimeError as error:
        assert "cannot be used in a forked process" in str(error) and "'spawn'" in str(error), error
        print("refused")
    """
    assert run(WORKING, code) == "refused"


def test_a_cupy_without_a_driver_explains_itself():
    """The real one, where it is installed and there is no card."""
    pytest.importorskip("cupy")
    from chainrule.backends import cuda

    if cuda.available():
        pytest.skip("there is a card")
    done = subprocess.run([sys.executable, "-P", "-c", SAY_WHY], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "CuPy cannot use a device (CUDARuntimeError" in done.stdout or "no CUDA device" in done.stdout


# --- on a GPU ---


@pytest.fixture
def cuda():
    from chainrule.backends import cuda

    if not cuda.available():
        pytest.skip(cuda.why_not())
    return cuda


@pytest.mark.gpu
def test_random_numbers_are_the_same_on_the_gpu(cuda):
    from chainrule.backends import Generator

    here, there = Generator().manual_seed(5), Generator().manual_seed(5)
    for shape in ((), (3,), (17000, 3)):
        for dtype in ("float16", "float32", "float64"):
            assert np.array_equal(
                here.uniform(shape, dtype, np), cuda.to_host(there.uniform(shape, dtype, cuda.xp))
            )
            ours, theirs = here.normal(shape, dtype, np), cuda.to_host(there.normal(shape, dtype, cuda.xp))
            np.testing.assert_allclose(ours, theirs, rtol=1e-2 if dtype == "float16" else 1e-5, atol=1e-6)
        for low, high in ((0, 10), (-7, 2**40), (-(2**63), 2**63)):
            ours, theirs = (
                one.integers(low, high, shape, "int64", xp) for one, xp in ((here, np), (there, cuda.xp))
            )
            assert np.array_equal(ours, cuda.to_host(theirs))
    assert np.array_equal(here.permutation(1000, np), cuda.to_host(there.permutation(1000, cuda.xp)))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "uint8", "complex64"])
def test_add_at_on_the_gpu(cuda, dtype):
    from chainrule.backends import add_at

    target, values = np.zeros((5, 3), dtype), np.arange(12).reshape(4, 3).astype(dtype)
    index = np.array([4, 0, 4, -1])
    there = cuda.from_host(target)
    add_at(there, cuda.from_host(index), cuda.from_host(values))
    add_at(target, index, values)
    np.testing.assert_allclose(cuda.to_host(there), target, rtol=1e-3)


@pytest.mark.gpu
def test_memory_on_the_gpu(cuda):
    x = cuda.from_host(np.ones(1000, "float32"), 0)
    assert cuda.root(x[3:].reshape(-1, 1)) is x and cuda.shares_memory(x, x[3:])
    account = cuda.memory()
    assert 0 < account["allocated"] <= account["reserved"] <= account["total"]
    cuda.synchronize()
