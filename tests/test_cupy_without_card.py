"""The CuPy backend over the real CuPy, of which only the numbers are not real: see `kernels/cupy_without_card.py`.

Where CuPy is not installed, or there is a card, these are skipped; `test_backends_cupy.py` and `test_cuda.py` use stand-ins for CuPy.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import chainrule as cr

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None
    or not all(map(shutil.which, ("gcc", "readelf", "nm")))
    or cr.cuda.is_available(),
    reason="needs CuPy, gcc and binutils, and no card",
)
HEAD = """
import gc, os, warnings
warnings.simplefilter("error")
from tests.kernels import cupy_without_card as card
cuda = card.connect()
import numpy as np
import cupy
import chainrule as cr
from chainrule import nn

def raises(kind, words, function):
    try:
        function()
    except kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"no {kind.__name__}")

def asked():
    found = dict(card.asked)
    card.asked.clear()
    return found
"""


def run(code=None, *command, **variables):
    """Run code after HEAD, or a command, in a fresh interpreter."""
    if code is not None:
        # The end of the interpreter is left out: CuPy would give back to a card what never was on one.
        command = ("-c", HEAD + textwrap.dedent(code) + "\nprint('done', flush=True)\nos._exit(0)")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **variables}
    done = subprocess.run(
        [sys.executable, "-P", *command],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout


# --- kernels of our own ---


def test_arguments_of_kernels_are_eight_bytes_each():
    run("""
        import ctypes
        from chainrule.backends.cuda_kernels.registry import CupyLauncher
        launched = []
        def launch(kernel, *args):
            at = ctypes.cast(args[8], ctypes.POINTER(ctypes.c_void_p))
            launched.append([ctypes.c_int64.from_address(at[i]).value for i in range(6)] + [ctypes.c_double.from_address(at[6]).value])
        x = cupy.ones((3, 4), "float32")
        launcher = CupyLauncher(cupy)
        launcher("softmax", "softmax", "float32", (1, 1, 1), (32, 1, 1), *[0] * 7)
        card.on_launch = launch
        for more in ((), (True,)):  # as they are, and made so
            launcher("softmax", "softmax", "float32", (1, 1, 1), (32, 1, 1), x, x[1:], None, 5, -7, 2**62, 2.5, *more)
        assert launched == [[x.data.ptr, x.data.ptr + 16, 0, 5, -7, 2**62, 2.5]] * 2, launched
        """)


def test_a_table_that_changes_takes_no_memory_after_the_first_few():
    run("""
        from chainrule.backends.cuda_kernels.registry import CupyLauncher
        launcher = CupyLauncher(cupy)
        first = launcher.table("one", (1, 2, 3))
        assert launcher.table("one", (1, 2, 3)) is first and first.get().tolist() == [1, 2, 3]
        found = {launcher.table("one", (k, 2, 3)).data.ptr for k in range(40)}
        assert len(found) == 4 and first.data.ptr in found
        assert launcher.table("one", (39, 2, 3)).get().tolist() == [39, 2, 3]
        assert launcher.table("two", (39, 2, 3)).data.ptr not in found
        with cupy.cuda.Stream():
            assert launcher.table("one", (39, 2, 3)).data.ptr not in found
        """)


@pytest.mark.slow
def test_the_measure_of_what_the_host_does_runs():
    lines = run(None, "benchmarks/cuda_host.py", "--steps", "2").splitlines()
    launches = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    assert len(launches) == 6 and launches["mlp"] < launches["transformer"] < 1000, lines


# --- every operation ---


@pytest.mark.slow
def test_cupy_takes_what_every_operation_asks_of_it():
    """Also layers, optimizers, distributions and random numbers; and gives the dtypes and shapes that the fake device gives."""
    out = run(None, "-m", "tests.kernels.cupy_audit")
    assert int(out.splitlines()[-1].split()[0]) > 4000, out  # programs


@pytest.mark.slow
def test_everything_is_computed_on_the_card_of_its_tensors():
    """With tensors on the second card while the first is current CuPy warns wherever it would compute on the wrong one."""
    out = run(None, "-m", "tests.kernels.cupy_audit", CHAINRULE_AUDIT_DEVICE="cuda:1")
    assert int(out.splitlines()[-1].split()[0]) > 4000, out


@pytest.mark.slow
def test_cupy_takes_what_the_tests_ask_of_the_fake_device():
    """In place, by index, in losses, layers and optimizers; each kind of call once."""
    files = "ops elementwise inplace views scattering order functional_corners optim linalg distributions tensor".split()
    out = run(None, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.kernels.cupy_replay",
              *(f"tests/test_{one}.py" for one in files), "-k", "not torch and not plain_backward",
              CHAINRULE_TEST_DEVICES="fake")  # fmt: skip
    told = next(line for line in out.splitlines() if "kinds of calls" in line)
    assert int(told.split()[0]) > 1500 and ", 0 that CuPy does otherwise" in told, out[-6000:]


# --- several cards ---


def test_an_operation_runs_on_the_card_of_its_tensors():
    """CuPy warns where it computes on the current card instead, and warnings are errors here."""
    run("""
    one = cr.device("cuda:1")
    x = cr.tensor(np.arange(6.0).reshape(2, 3), device="cuda:1", requires_grad=True)
    y = x * 2 + 1
    y.exp().sum().backward()
    assert y.device == x.grad.device == one and cr.cuda.current_device() == 0
    (x * 2).sum().backward()  # is added to what is there
    z = (x * 3).to("cuda:0")
    assert z.device == cr.device("cuda:0") and (x * 3).cuda(0).device == z.device
    (z * z).sum().backward()
    assert x.grad.device == one
    raises(RuntimeError, "add: expected all tensors on the same device, got cuda:1 and cuda:0", lambda: x + z)
    raises(RuntimeError, "matmul: expected all tensors on the same device", lambda: x @ z.T)
    assert x.to("cuda").device.index == 0  # the current one, as in PyTorch
    with cr.cuda.device(1):
        assert x.to("cuda") is x and cr.zeros(2, device="cuda").device == cr.tensor([1.0], device="cuda").device == one
    for made in (cr.rand(3, device="cuda:1"), cr.arange(4, device="cuda:1"), cr.full((2,), 1.0, device="cuda:1")):
        assert made.device == one
    w = cr.zeros(3, device="cuda:1")
    w.add_(1), w.copy_(cr.ones(3, device="cuda:0")), w.fill_(2)
    w[0] = 2.0
    c = (w * 1j).sum()
    assert w.device == c.device == one and cr.cuda.current_device() == 0
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append((w * 2).device))
    thread.start(), thread.join()
    assert found == [one]
    """)


def test_layers_and_optimizers_on_another_card():
    run("""
    one = cr.device("cuda:1")
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.ReLU()).to("cuda:1")
    x = cr.rand(5, 3, device="cuda:1")
    for make in (cr.optim.Adam, cr.optim.SGD, cr.optim.RMSprop, cr.optim.Adagrad):
        optimizer = make(model.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            out = model(x)
            assert out.device == one
            out.sum().backward()
            optimizer.step()
        assert all(p.device == p.grad.device == one for p in model.parameters())
        tensors = [v for state in optimizer.state.values() for v in state.values() if isinstance(v, cr.Tensor)]
        assert all(v.device == one for v in tensors if v.ndim)
    assert cr.cuda.current_device() == 0
    """)


def test_a_copy_between_cards_waits_for_its_source():
    run("""
    x = cr.tensor([1.0] * 4, device="cuda:0")
    waits = []
    wait, stream = cupy.cuda.Stream.wait_event, cupy.cuda.get_current_stream
    class Noting:
        def __init__(self, device): self.stream, self.device = stream(), device
        def record(self): return ("event of", self.device)
        def wait_event(self, event): waits.append((self.device, event))
    cupy.cuda.get_current_stream = lambda: Noting(cupy.cuda.runtime.getDevice())
    y = x.to("cuda:1")
    assert waits == [(1, ("event of", 0)), (0, ("event of", 1))] and y.tolist() == [1.0] * 4
    """)


def test_one_card_pays_nothing_for_there_being_several():
    run("""
    from chainrule.backends import placement
    from chainrule.autograd.modes import ThreadState
    assert placement.cards is not None and type(ThreadState().run).__name__ == "function"
    placement.cards = None
    assert type(ThreadState().run).__name__ == "builtin_function_or_method"
    assert placement.placed(len) is len
    """)


# --- memory ---


def test_out_of_memory_is_our_error_with_the_bytes_wherever_it_happens():
    run("""
    def full(function):
        error = raises(cr.cuda.OutOfMemoryError, "cuda out of memory: tried to allocate", function)
        assert isinstance(error, cr.OutOfMemoryError) and error.requested >= 1 << 20, error.requested

    x = cr.ones(1000, device="cuda", requires_grad=True)
    wide = x.expand(1000, 1000)
    y = wide * wide.detach()
    loss = y.sum()
    model, start = nn.Linear(512, 512).to("cuda"), cr.ones(1 << 18, device="cuda", requires_grad=True)
    start.grad = cr.ones_like(start)
    optimizer = cr.optim.RMSprop([start], lr=0.1)
    cr.cuda.empty_cache()
    cuda.set_memory_limit(cuda.memory()["allocated"] + (1 << 19))
    full(lambda: cr.zeros(1 << 20, device="cuda"))
    full(lambda: wide + 1)
    full(lambda: cr.tensor(np.zeros(1 << 20), device="cuda"))
    full(lambda: loss.backward())
    full(lambda: optimizer.step())
    cuda.set_memory_limit(None)
    loss = (wide * wide.detach()).sum()
    loss.backward()
    optimizer.step()
    """)


def test_the_part_of_a_card_that_this_process_may_use():
    run("""
    assert cr.cuda.get_per_process_memory_fraction() == 1.0
    cr.cuda.set_per_process_memory_fraction(1e-4, "cuda:1")
    assert cr.cuda.get_per_process_memory_fraction(0) == 1.0
    assert abs(cr.cuda.get_per_process_memory_fraction(1) - 1e-4) < 1e-8
    raises(cr.OutOfMemoryError, "out of memory", lambda: cr.zeros(1 << 20, device="cuda:1"))
    cr.zeros(1 << 20, device="cuda:0")
    cr.cuda.set_per_process_memory_fraction(1.0, 1)
    cr.zeros(1 << 20, device="cuda:1")
    raises(ValueError, "must lie in [0, 1], got 2", lambda: cr.cuda.set_per_process_memory_fraction(2))
    raises(TypeError, "must be a number, got '1'", lambda: cr.cuda.set_per_process_memory_fraction("1"))
    assert cr.cuda.can_device_access_peer(0, 1) and not cr.cuda.can_device_access_peer(0, 0)
    """)


def test_peaks_are_counted_by_cupys_own_hooks():
    run("""
    cr.cuda.empty_cache()
    cr.cuda.reset_peak_memory_stats()
    before = cr.cuda.memory_allocated()
    x = cr.zeros(1 << 20, device="cuda")
    del x
    assert cr.cuda.memory_allocated() == before
    assert cr.cuda.max_memory_allocated() == before + (4 << 20)
    told = cr.cuda.memory_stats()
    assert told["allocated_bytes.all.peak"] == before + (4 << 20) and told["allocated_bytes.all.current"] == before
    assert told["reserved_bytes.all.peak"] >= told["reserved_bytes.all.current"] > 0
    cr.cuda.empty_cache()
    assert cr.cuda.memory_reserved() < 4 << 20
    """)


def test_the_pool_of_a_graph_is_not_emptied():
    run("""
    pool = cupy.cuda.MemoryPool()
    block = pool.malloc(1 << 20)
    del block
    assert pool.free_bytes() == 1 << 20
    cr.cuda.empty_cache()
    cuda.set_memory_limit(1 << 10)
    raises(cr.OutOfMemoryError, "out of memory", lambda: cr.zeros(1 << 20, device="cuda"))
    assert pool.free_bytes() == 1 << 20
    """)


# --- transfers ---


def test_pinned_memory():
    run("""
    p = cr.tensor(np.arange(1000.0)).pin_memory()
    assert p.is_pinned() and p.pin_memory() is p and p[3:].view(-1).is_pinned() and not cr.ones(2).is_pinned()
    asked()
    x = p.to("cuda")
    assert asked() | {"malloc": 0} == {"malloc": 0, "host to device": 1, "wait": 1}  # the program may write to p again
    x = p.to("cuda", non_blocking=True)
    assert "wait" not in asked() and len(cuda.flying) == 1
    assert not x.is_pinned() and p.cuda(non_blocking=True).tolist() == p.tolist()
    plain = cr.ones(1000).to("cuda", non_blocking=True)  # CuPy copies it to memory of its own first
    asked()
    back = x.to("cpu", non_blocking=True)
    assert asked().get("wait", 0) == 0 and back.is_pinned() and back.tolist() == p.tolist()
    assert not x.cpu().is_pinned() and asked()["wait"] == 1
    x.copy_(p, non_blocking=True)
    assert asked().get("wait", 0) == 0
    layer = nn.Linear(3, 3).to("cuda", non_blocking=True)
    assert layer.weight.device.type == "cuda"
    raises(RuntimeError, "only a tensor on the cpu can be pinned", x.pin_memory)
    """)


def test_memory_under_a_copy_is_kept_until_it_is_done():
    run("""
    import weakref
    from chainrule.backends.flying import Flying

    class Event:
        done = False

    flying, events = Flying(), [Event(), Event()]
    held = [np.zeros(3), np.ones(3)]
    alive = [weakref.ref(one) for one in held]
    for event, one in zip(events, held, strict=True):
        flying.hold(event, one)
    del held, one
    events[1].done = True  # of another stream: done first
    flying.drop()
    assert len(flying) == 1 and alive[0]() is not None and alive[1]() is None
    events[0].done = True
    flying.drop()
    assert len(flying) == 0 and alive[0]() is None
    """)


def test_factories_make_pinned_tensors():
    run("""
    made = [cr.zeros(2, 3, pin_memory=True), cr.tensor([1.0, 2.0], pin_memory=True), cr.empty(4, pin_memory=True), cr.full((2,), 7, pin_memory=True),
            cr.arange(3, pin_memory=True), cr.zeros_like(cr.ones(2), pin_memory=True), cr.ones(2).new_ones(3, pin_memory=True),
            cr.rand(2, pin_memory=True), cr.randperm(3, pin_memory=True), cr.normal(0.0, 1.0, (2,), pin_memory=True), cr.linspace(0, 1, 3, pin_memory=True),
            cr.empty_strided((2, 2), (1, 2), pin_memory=True), cr.hann_window(4, pin_memory=True), cr.scalar_tensor(2, pin_memory=True)]
    assert all(one.is_pinned() for one in made), [one.is_pinned() for one in made]
    assert made[0].tolist() == [[0.0] * 3] * 2 and made[1].tolist() == [1.0, 2.0] and made[3].tolist() == [7, 7]
    assert made[11].stride() == (1, 2) and cr.ones(2, requires_grad=True, pin_memory=True).requires_grad
    assert not cr.ones(2).is_pinned() and cr.empty(0, pin_memory=True).shape == (0,)
    raises(RuntimeError, "only a tensor on the cpu can be pinned, this one is on cuda:1", lambda: cr.zeros(2, device="cuda:1", pin_memory=True))
    """)


def test_a_capture_copies_from_pinned_memory_and_no_other():
    run("""
    pinned, pageable, there = cr.ones(2, 3, pin_memory=True), cr.ones(2, 3), cr.zeros(2, 3, device="cuda")

    def captured(function):
        asked()
        with cr.cuda.graph(cr.cuda.CUDAGraph()):
            out = function()
        return out, asked()

    held = len(cuda.flying)
    for function in (lambda: pinned.to("cuda", non_blocking=True), lambda: there.copy_(pinned, non_blocking=True)):
        out, did = captured(function)
        assert out.shape == (2, 3) and out.is_cuda and did["host to device"] == 1
    out, did = captured(lambda: there.T.to("cpu", non_blocking=True))
    assert out.is_pinned() and out.shape == (3, 2) and did["device to host"] == 1
    assert len(cuda.flying) == held  # the graphs keep the memory
    for function in (
        lambda: pinned.to("cuda"), lambda: pageable.to("cuda", non_blocking=True), lambda: pinned.T.to("cuda", non_blocking=True),
        lambda: there.copy_(pageable, non_blocking=True), lambda: cr.tensor([1.0], device="cuda"),
    ):
        raises(cr.cuda.graphs.CaptureError, "copied to the card", lambda: captured(function))
    raises(cr.cuda.graphs.CaptureError, "copied from the card", lambda: captured(there.cpu))
    """)


def test_a_batch_is_divided_among_cards():
    run("""
    seen = []
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        def forward(self, x, scale=1, names=()):
            seen.append((str(x.device), tuple(x.shape), str(self.linear.weight.device), names))
            y = self.norm(self.linear(x)) * scale
            return {"y": y, "loss": y.sum(), "same": None, "pair": (y, y)}
    class Counts(nn.Module):
        def forward(self, x):
            return 3
    net = Net().to("cuda")
    wrapped = nn.DataParallel(net)
    assert wrapped.device_ids == [0, 1] and wrapped.output_device == 0
    out = wrapped(cr.ones(5, 4), cr.ones(5, 1), names=("a",))
    assert seen == [("cuda:0", (3, 4), "cuda:0", ("a",)), ("cuda:1", (2, 4), "cuda:1", ("a",))], seen
    assert out["y"].shape == (5, 3) and out["loss"].shape == (2,) and out["pair"][1].shape == (5, 3) and out["same"] is None
    assert str(out["y"].device) == "cuda:0" and cupy.cuda.runtime.getDevice() == 0
    out["loss"].sum().backward()
    assert all(str(one.grad.device) == "cuda:0" for one in net.parameters())
    assert str(nn.DataParallel(net, output_device=1)(cr.ones(4, 4))["y"].device) == "cuda:1"
    del seen[:]
    net.eval()
    wrapped(cr.ones(1, 4))  # there is less to divide than cards
    nn.parallel.data_parallel(net, cr.ones(4, 4), device_ids=["cuda:0"])
    assert [one[:2] for one in seen] == [("cuda:0", (1, 4)), ("cuda:0", (4, 4))], seen
    raises(RuntimeError, "on cuda:1, the first of device_ids, but linear.weight is on cuda:0", lambda: nn.DataParallel(net, [1, 0])(cr.ones(4, 4)))
    raises(RuntimeError, "must be CUDA devices", lambda: nn.DataParallel(net, ["cpu"]))
    raises(RuntimeError, "cuda:5 cannot be used", lambda: nn.DataParallel(net, [5]))
    raises(TypeError, "returned a int", lambda: nn.DataParallel(Counts().to("cuda"))(cr.ones(4)))
    assert str(nn.DataParallel(nn.Linear(2, 2), [1])(cr.ones(3, 2)).device) == "cuda:1"
    """)


def test_record_stream_keeps_memory_that_nobody_holds():
    run("""
    pool, stream = cupy.get_default_memory_pool(), cr.cuda.Stream()
    x = cr.zeros(1 << 18, device="cuda")
    view = x[5:]
    view.record_stream(stream)
    used, held = pool.used_bytes(), len(cuda.flying)
    del view, x
    gc.collect()
    assert len(cuda.flying) == held + 1 and pool.used_bytes() == used
    cuda.flying.drop()  # the event has come
    assert len(cuda.flying) == 0 and pool.used_bytes() == used - (1 << 20)
    cr.ones(2).record_stream(stream)  # does nothing
    raises(TypeError, "record_stream: expected a chainrule.cuda.Stream, got int", lambda: cr.ones(2, device="cuda").record_stream(0))
    """)


def test_batches_of_a_loader_are_pinned_and_prefetched():
    run("""
    from chainrule.utils.data import DataLoader, Prefetcher, TensorDataset
    data = TensorDataset(cr.arange(10.0), cr.arange(10))
    batches = list(DataLoader(data, batch_size=4, pin_memory=True))
    assert all(one.is_pinned() for batch in batches for one in batch) and len(batches) == 3
    there = list(Prefetcher(DataLoader(data, batch_size=4, pin_memory=True), "cuda:1"))
    assert [x.tolist() for x, _ in there] == [x.tolist() for x, _ in batches]
    assert all(one.device == cr.device("cuda:1") for batch in there for one in batch)
    assert not list(Prefetcher([], "cuda"))
    loader = DataLoader(data, batch_size=4, num_workers=2, pin_memory=True, persistent_workers=True)
    for _ in range(2):  # a thread pins what the workers made
        got = list(loader)
        assert all(one.is_pinned() for batch in got for one in batch)
        assert [x.tolist() for x, _ in got] == [x.tolist() for x, _ in batches]
    several = iter(loader)
    next(several)
    assert loader.state_dict()["batches"] == 1  # what was given, not what is under way
    asked()
    for x, _ in Prefetcher(batches, "cuda"):
        pass
    assert asked().get("wait", 0) == 0
    """)


# --- dtypes ---


def test_bfloat16_is_promoted_by_cupy_as_by_numpy():
    pytest.importorskip("ml_dtypes")
    run("""
    import ml_dtypes
    from chainrule.backends import numpy_backend
    half = np.dtype(ml_dtypes.bfloat16)
    host = {"b": np.ones((3, 4), half), "f": np.ones((3, 4), "float32"), "m": np.ones((3, 4), bool), "s": half.type(2)}
    there = {k: v if k == "s" else cupy.asarray(v) for k, v in host.items()}
    for text in ("b * 2", "b * 2.0", "b * s", "s * b", "b + True", "b * 1j", "b * f", "b * m", "b / 3", "b ** 2", "b % 2", "b < 0",
                 "xp.sum(b, 0)", "xp.mean(b)", "xp.exp(b)", "xp.maximum(b, 0)", "xp.cumsum(b, 0)", "xp.isnan(b)", "xp.stack([b, b])",
                 "xp.where(m, b, b)", "xp.where(m, b, 0)", "xp.where(m, f, b)"):
        ours, theirs = (eval(text, {"xp": xp, **values}) for xp, values in ((np, host), (cuda.xp, there)))
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, (text, ours.dtype, theirs.dtype)
    b, m = there["b"], there["m"]
    for text in ("xp.where(m, 2.5, b)", "xp.tril(b)", "xp.triu(b, 1)", "xp.matmul(b, b.T)", "xp.matmul(xp.stack([b]), b.T)",
                 "xp.einsum('ij,kj->ik', b, b)"):
        assert eval(text, {"xp": cuda.xp, **there}).dtype == half, text
    assert int(np.float32(1.5).astype(half).view("int16")) == __import__("chainrule").backends.cupy_gaps._bits(1.5)
    """)


def test_bfloat16_tensors_stay_bfloat16():
    pytest.importorskip("ml_dtypes")
    run("""
    x = cr.ones(3, 4, dtype=cr.bfloat16, device="cuda", requires_grad=True)
    h = cr.ones(3, 4, dtype=cr.float16, device="cuda")
    for y in (x * 2.0, 2.0 * x, x * np.float32(2), x + 1, x / 3, x ** 0.5, x.clamp(0, 1), x.round(), x.sort().values, x.std(0),
              cr.where(x > 0, x, 0.0), x.tril(), x.softmax(1), x @ x.T, x.lerp(x, 0.3), x.median(0).values, x.var(), x.cumsum(0)):
        assert y.dtype is cr.bfloat16, y
        y.sum().backward()
    assert x.grad.dtype is cr.bfloat16 and (x + h).dtype is cr.float32 and (x > h).dtype is cr.bool
    """)
