"""CuPy tells what it does while somebody watches, and is left as it was: with the stand-in for CuPy, and with CuPy itself where it is
installed, over the C functions of `cupy_without_card.py`."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import chainrule as cr

HERE = pathlib.Path(__file__).parent
STUB = """
import sys
sys.path.insert(0, {stub!r})
import cupy
from chainrule.backends import cuda
assert cuda.available()
asked = None
"""
REAL = """
from tests.kernels.cupy_without_card import asked, connect
cuda = connect()
import cupy
"""
HEAD = """
import warnings; warnings.simplefilter("error")
import numpy as np
import chainrule as cr
from chainrule.backends import namespaces, transfers

def state():
    return {name: vars(cupy.ndarray).get(name) for name in dir(cupy.ndarray)}, namespaces[cupy.ndarray], cuda._xp, set(vars(cuda))

def refused(words, use, **options):
    before = state()
    try:
        with cr.no_transfer(**options):
            use()
    except cr.TransferError as error:
        assert words in str(error) and "<string>" in str(error), error
    else:
        raise AssertionError(words)
    assert state() == before

untouched = state()
x = cr.ones(3, 4, device="cuda")
"""

END = """
import os
os._exit(0)  # when Python takes CuPy down, the C functions in the place of CUDA's may be gone
"""

installed = importlib.util.find_spec("cupy") is not None and not cr.cuda.is_available()
KINDS = [
    "stub",
    pytest.param("real", marks=pytest.mark.skipif(not installed, reason="needs CuPy, and no card")),
]


@pytest.fixture(params=KINDS)
def run(request):
    """Run code in a fresh interpreter where `cuda` is the backend and `cupy` what it uses."""

    def run_code(code):
        head = STUB.format(stub=str(HERE / "stub_cupy")) if request.param == "stub" else REAL
        done = subprocess.run(
            [sys.executable, "-P", "-c", head + HEAD + textwrap.dedent(code) + END], capture_output=True, text=True, timeout=120,
            env={**os.environ, "CHAINRULE_KERNELS": "0", "PYTHONPATH": str(HERE.parent)}, cwd=HERE.parent,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    return run_code


def test_what_is_refused(run):
    run("""
    refused("no_transfer: item waits for a value", lambda: x.sum().item())
    refused("no_transfer: bool() waits for a value", lambda: bool(x.sum()))
    refused("no_transfer: printing waits for a value", lambda: str(x))
    refused("no_transfer: indexing copies host data", lambda: x[[0, 1]])
    refused("no_transfer: multiply copies host data", lambda: x * cr.tensor(2.0))
    refused("no_transfer: indexing waits for the device, which alone knows the shape", lambda: x[x > 0])
    refused("no_transfer: nonzero waits for the device", lambda: x.nonzero())
    refused("no_transfer: cpu copies to the host", lambda: x.cpu(), explicit=True)
    refused("no_transfer: synchronize waits for the device", cr.cuda.synchronize, explicit=True)
    # CuPy's own functions and methods
    refused("no_transfer: item waits for a value", lambda: x.array[0, 0].item())
    refused("no_transfer: int() waits for a value", lambda: int(x.array[0, 0]))
    refused("no_transfer: indexing by a mask waits", lambda: x.array[(x > 0).array])
    refused("no_transfer: indexing by a list copies", lambda: x.array[[0, 1]])
    refused("asarray copies host data", lambda: cuda.xp.asarray(np.ones(3)), explicit=True)
    with cr.no_transfer():
        x.cpu(), cr.tensor([1.0], device="cuda"), cr.cuda.synchronize()
        (x * 2.0 + np.float32(1))[1:].sum(), cr.where(x > 0, x, 0)
        cr.nn.Linear(4, 2).to("cuda")(x).sum().backward()
    assert state() == untouched and not transfers.watchers()
    """)


def test_what_is_counted(run):
    run("""
    def program(device):
        x, y = cr.ones(3, 4, device=device), cr.ones(4, device=device).sum()
        before = dict(asked or {})
        with cr.cuda.count() as work:
            z = x * 2
            z += 1
            z[0] = 0.0
            y.item()
            z.detach(), z[1:], z.T
            cr.tensor(np.ones(4), device=device)
            cr.empty(3, device=device)
            inner = cr.exp(z) @ z.T
            inner.max(), inner.argmax(1), z.reshape(-1).cumsum(0), z.softmax(0), z.clamp(0, 1), z.double()
        return work, {name: (asked or {})[name] - before.get(name, 0) for name in asked or {}}

    work, done = program("cuda")
    assert (work.host_reads, work.copies_to_host, work.copies_to_device) == (1, 1, 1)
    assert (work.bytes_to_host, work.bytes_to_device) == (4, 32)
    assert "<string>" in work.crossings[0].line and [one.by for one in work.crossings] == ["item", "tensor"]
    if asked is not None:
        assert done["device to host"] == done["host to device"] == done["wait"] == 1, done
        fake, _ = program("fake")  # the same numbers as the stand-in for a GPU tells
        assert work.launches == fake.launches, (work.launched_names, fake.launched_names)
        assert work.allocations >= fake.allocations and work.peak_bytes >= work.bytes_allocated / 2 > 0
    with cr.cuda.count() as work:
        cr.cuda.synchronize(), cr.cuda.current_stream().synchronize()
    assert work.host_reads == 2 and work.launches == work.copies_to_host == 0
    assert state() == untouched
    """)


def test_marks_for_nvidias_profilers(run):
    run("""
    import types
    seen = []
    cupy.cuda.nvtx = types.SimpleNamespace(
        RangePush=seen.append, RangePop=lambda: seen.append("pop"), Mark=lambda message: seen.append(f"mark {message}")
    )
    layer = cr.nn.Linear(4, 2).to("cuda")
    with cr.cuda.nvtx.range("step {}", 3):
        cr.cuda.nvtx.mark("here")
    assert seen == ["step 3", "mark here", "pop"]
    seen.clear()
    with cr.autograd.profiler.emit_nvtx():
        layer(x).sum().backward()
    assert seen[:3] == ["Linear", "linear", "pop"] and seen.count("pop") == len(seen) / 2, seen
    assert {"sum", "SumBackward0", "LinearBackward0"} <= set(seen), seen
    seen.clear()
    with cr.autograd.profiler.emit_nvtx(record_shapes=True):
        x.exp()
    assert seen == ["exp, sizes = [[3, 4]]", "pop"]
    """)


def test_one_thread_may_stop_while_another_watches(run):
    run("""
    import threading
    outer = cr.cuda.count()
    entered, leave = threading.Event(), threading.Event()

    def watch():
        with cr.no_transfer():
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=watch, daemon=True)
    with outer:
        thread.start()
        entered.wait()
        x.sum()
    assert state() != untouched
    x.sum().item()  # this thread does not watch
    leave.set()
    thread.join()
    assert outer.launches == 1 and outer.host_reads == 0 and state() == untouched
    """)
