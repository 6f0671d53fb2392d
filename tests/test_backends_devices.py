"""Device names, the default device, and the table of backends."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

from chainrule import backends
from chainrule.backends import Backend, OutOfMemoryError, backend_of, device, devices, fake


def test_ways_to_name_a_device():
    assert device("cuda:1") == device("cuda", 1) == device(1) == device(type="cuda", index=1)
    assert device(device("cuda:1")) == device("cuda:1")
    assert device("cuda") != device("cuda:0") and device("cpu") != "cpu"
    assert (device("cpu").type, device("cpu").index) == ("cpu", None)
    assert str(device("cuda:1")) == "cuda:1" and str(device("cpu")) == "cpu"
    assert (
        repr(device("cuda:1")) == "device(type='cuda', index=1)"
        and repr(device("cpu")) == "device(type='cpu')"
    )
    assert len({device("cpu"), device("cpu"), device(0), device("cuda:0")}) == 2


def test_devices_are_values():
    one = device("cuda:3")
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    with pytest.raises(AttributeError, match=r"device\.index cannot be changed"):
        one.index = 2


@pytest.mark.parametrize(
    "args, kind, message",
    [
        (("tpu",), RuntimeError, "expected one of cpu, cuda at the start"),
        (("cuda:-1",), RuntimeError, "invalid device string"),
        (("cuda:01",), RuntimeError, "invalid device string"),
        (("cuda:",), RuntimeError, "invalid device string"),
        (("cuda:1", 1), RuntimeError, "has an index already"),
        (("cuda", -1), RuntimeError, "must not be negative"),
        ((-1,), RuntimeError, "must not be negative"),
        (("cuda", "1"), TypeError, "index must be an int"),
        ((None,), TypeError, "expected a string"),
        ((1.5,), TypeError, "expected a string"),
        ((True,), TypeError, "expected a string"),
    ],
)
def test_what_is_no_device_is_refused(args, kind, message):
    with pytest.raises(kind, match=message):
        device(*args)


def test_the_default_device_nests_and_belongs_to_the_thread():
    assert backends.get_default_device() == device("cpu")
    here, seen = device("fake"), []
    with here:
        assert backends.get_default_device() == device("fake")
        with device("cuda:1"), here, here:
            assert backends.get_default_device() == device("fake")
        thread = threading.Thread(target=lambda: seen.append(backends.get_default_device()))
        thread.start()
        thread.join()
        assert backends.get_default_device() == device("fake")
    assert backends.get_default_device() == device("cpu") == seen[0]


def test_set_default_device():
    backends.set_default_device("fake")
    try:
        assert backends.get_default_device() == device("fake")
    finally:
        backends.set_default_device(None)
    assert backends.get_default_device() == device("cpu")


@pytest.mark.torch
def test_devices_look_like_pytorchs():
    torch = pytest.importorskip("torch")
    for spec in ("cpu", "cpu:0", "cuda", "cuda:2"):
        ours, theirs = device(spec), torch.device(spec)
        assert (str(ours), repr(ours), ours.type, ours.index) == (
            str(theirs),
            repr(theirs),
            theirs.type,
            theirs.index,
        )


# --- the table of backends ---


def test_the_backends_that_are_there():
    assert backends.namespaces[np.ndarray] is np
    assert backends.namespaces[backends.FakeArray] is fake
    assert {one.name for one in backends.registered()} == {"numpy", "cupy"}  # the test device stays hidden
    assert backends.get("cpu") is backends.get(device("cpu")) is backends.cpu
    assert backends.get("cuda:1") is backends.cuda
    assert backend_of(np.ones(2)) is backends.cpu
    assert backends.cpu.available() and backends.cpu.why_not() is None and backends.cpu.device_count() == 1
    assert repr(backends.cpu) == "<backend numpy for device cpu>"


@pytest.mark.parametrize("wrong", [[1.0], 2.0, np.float32(1), np.ma.ones(2), None])
def test_only_arrays_of_exactly_the_known_classes_have_a_backend(wrong):
    with pytest.raises(TypeError, match=rf"numpy\.ndarray.*{type(wrong).__name__}"):
        backend_of(wrong)


def test_a_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"device cpu:1 cannot be used: this machine has 1"):
        backends.cpu.from_host(np.ones(2), 1)


def test_kernels_are_asked_newest_first_and_only_where_their_guard_holds():
    backend = Backend()
    names = set(backends.kernels)

    @backend.register_kernel("test_sum_of_two")
    def general(a, b):
        return a + b

    @backend.register_kernel("test_sum_of_two", guard=lambda a, b: a.dtype == b.dtype == "float32")
    def special(a, b):
        return np.add(a, b)

    try:
        x = np.ones(2, np.float32)
        assert backend.kernel("test_sum_of_two", x, x) is special
        assert backend.kernel("test_sum_of_two", x, x.astype("float64")) is general
        assert backend.kernel("other", x) is None
        assert "test_sum_of_two" in backends.kernels
    finally:
        backends.kernels.intersection_update(names)


def test_running_out_of_memory_names_the_bytes():
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 50)
    error = backends.cpu.out_of_memory(caught.value)
    assert isinstance(error, RuntimeError) and error.requested == 8 << 50
    assert "cpu out of memory: tried to allocate 9,007,199,254,740,992 bytes" in str(error)
    assert pickle.loads(pickle.dumps(error)).requested == error.requested
    assert "an allocation failed" in str(OutOfMemoryError.from_error(MemoryError()))


def test_a_bare_import_is_refused(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import backends"
    folder = devices.__file__.rpartition("backends")[0]
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60)
    assert "ImportError: import it as chainrule.backends" in done.stderr


def test_importing_loads_numpy_and_the_standard_library_only():
    code = """
import sys, numpy
before = set(sys.modules)
import chainrule.backends
loaded = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(*sorted(loaded & {"cupy", "ml_dtypes", "scipy", "torch", "numba"}))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
