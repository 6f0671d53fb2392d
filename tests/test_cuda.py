"""chainrule.cuda: without a card every name says what is missing; with the CuPy of `stub_cupy`, what it asks CuPy to do."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

import chainrule as cr

STUB = pathlib.Path(__file__).parent / "stub_cupy"
HEAD = """
import warnings; warnings.simplefilter("error")
import numpy as np
import chainrule as cr
import cupy
from cupy import log

def raises(kind, words, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"no {kind.__name__}")

def asked():
    found = list(log)
    log.clear()
    return found
"""


def with_stub(code, head=HEAD):
    """Run code in a fresh interpreter that finds the stub as the package cupy."""
    code = head + textwrap.dedent(code)
    # Kernels are compiled by CUDA, which the stub has none of.
    environment = {**os.environ, "PYTHONPATH": str(STUB), "CHAINRULE_KERNELS": "0"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, env=environment,
        cwd=STUB.parent.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- without a card ---

needs_no_card = pytest.mark.skipif(cr.cuda.is_available(), reason="there is a card")


@needs_no_card
@pytest.mark.parametrize(
    "name, args",
    [
        ("Event", ()),
        ("Stream", ()),
        ("CUDAGraph", ()),
        ("graph", (None,)),
        ("graph_pool_handle", ()),
        ("make_graphed_callables", (abs, ())),
        ("current_stream", ()),
        ("default_stream", (0,)),
        ("get_device_name", ()),
        ("get_device_properties", ("cuda:0",)),
        ("get_device_capability", ()),
        ("mem_get_info", ()),
        ("memory_summary", ()),
        ("reset_peak_memory_stats", ()),
    ],
)
def test_what_needs_a_card_says_why_there_is_none(name, args):
    with pytest.raises(
        RuntimeError, match=rf"^cuda\.{name} is not available: .+; ask chainrule\.cuda\.is_avail"
    ):
        getattr(cr.cuda, name)(*args)


@needs_no_card
def test_what_can_be_answered_without_a_card_is():
    assert cr.cuda.is_bf16_supported() is False and cr.cuda.is_current_stream_capturing() is False
    assert cr.cuda.memory_allocated() == cr.cuda.max_memory_allocated() == 0
    assert cr.cuda.memory_reserved("cuda:0") == cr.cuda.max_memory_reserved(0) == 0
    with cr.cuda.device(None), cr.cuda.device(-1), cr.cuda.device("cuda"), cr.cuda.stream(None):
        pass
    with pytest.raises(RuntimeError, match=r"cuda\.device is not available"), cr.cuda.device(0):
        pass
    with pytest.raises(ValueError, match="expected a CUDA device"):
        cr.cuda.device("cpu")
    with pytest.raises(TypeError, match=r"expected a chainrule\.cuda\.Stream or None, got int"):
        cr.cuda.stream(3)


def test_nothing_is_asked_of_a_cupy_that_has_no_card(tmp_path):
    (tmp_path / "cupy.py").write_text(
        "import types\n__version__ = '14.2.0'\nclass ndarray: pass\n"
        "cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=lambda: 0))\n"
    )
    code = """
    import chainrule as cr
    assert not cr.cuda.is_available()
    for make in (cr.cuda.Stream, cr.cuda.Event, cr.cuda.CUDAGraph, cr.cuda.mem_get_info):
        try:
            make()
        except RuntimeError as error:
            assert "there is no CUDA device" in str(error), error
        else:
            raise AssertionError(make)
    """
    with_stub(code, head=f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n")


def test_the_parts_are_loaded_when_they_are_used():
    code = """
    import sys
    import chainrule as cr
    cr.cuda.is_available
    assert not [one for one in sys.modules if one.startswith("chainrule.cuda.")]
    assert "graph" in dir(cr.cuda) and "cupy" not in sys.modules
    """
    with_stub(code, head="")


# --- devices ---


def test_devices():
    with_stub("""
    assert cr.cuda.get_device_name() == "Stub card 0" and cr.cuda.get_device_name("cuda:1") == "Stub card 1"
    assert cr.cuda.get_device_capability() == (9, 0) and cr.cuda.get_device_capability(cr.device("cuda:1")) == (7, 0)
    told = cr.cuda.get_device_properties(0)
    assert (told.name, told.total_memory, told.multi_processor_count, told.warp_size) == ("Stub card 0", 5000, 132, 32)
    assert told.L2_cache_size is None
    raises(RuntimeError, "device cuda:2 cannot be used", cr.cuda.get_device_name, 2)
    raises(ValueError, "expected a CUDA device", cr.cuda.get_device_name, "cpu")

    card = cr.cuda.device(1)
    with card:
        assert cr.cuda.current_device() == 1
        with cr.cuda.device("cuda:0"), card, card:
            assert cr.cuda.current_device() == 1
        assert cr.cuda.current_device() == 1
        assert cr.cuda.get_device_name() == "Stub card 1"
    assert cr.cuda.current_device() == 0
    try:
        with card:
            1 / 0
    except ZeroDivisionError:
        assert cr.cuda.current_device() == 0

    cr.cuda.set_device("cuda:1"), cr.cuda.set_device("cuda")
    assert cr.cuda.current_device() == 1
    cr.cuda.set_device(cr.device("cuda:0")), cr.cuda.synchronize("cuda:1"), cr.cuda.synchronize()
    assert asked() == ["synchronize card 1", "synchronize card 0"]
    raises(ValueError, "cuda.set_device: expected a CUDA device", cr.cuda.set_device, "cpu")

    import importlib.util
    there = importlib.util.find_spec("ml_dtypes") is not None
    assert cr.cuda.is_bf16_supported() is there and cr.cuda.is_bf16_supported(including_emulation=False) is there
    with card:
        assert cr.cuda.is_bf16_supported() is there and not cr.cuda.is_bf16_supported(including_emulation=False)
    """)


# --- streams and events ---


def test_streams():
    with_stub("""
    zero = cr.cuda.default_stream()
    assert cr.cuda.current_stream() == zero and zero.cuda_stream == 0 and zero != cr.cuda.default_stream(1)
    s, other = cr.cuda.Stream(), cr.cuda.Stream("cuda:1", priority=-1)
    assert other.device == cr.device("cuda:1") and other.priority == -1 and cr.cuda.current_device() == 0
    assert s.query() and s != other and s.__cuda_stream__() == (0, 1)
    inside = cr.cuda.stream(s)
    with inside:
        assert cr.cuda.current_stream() == s and hash(cr.cuda.current_stream()) == hash(s)
        with cr.cuda.stream(other):
            assert cr.cuda.current_device() == 1 and cr.cuda.current_stream() == other
            assert cr.cuda.current_stream(0) == s
        assert cr.cuda.current_device() == 0 and cr.cuda.current_stream() == s
    with inside:
        assert cr.cuda.current_stream() == s
    assert cr.cuda.current_stream() == zero == cr.cuda.default_stream("cuda:0")
    cr.cuda.set_stream(other)
    assert cr.cuda.current_device() == 1 and cr.cuda.current_stream() == other
    cr.cuda.set_device(0)

    assert asked() == []
    s.wait_stream(other)
    s.synchronize()
    assert asked() == [
        "event 1 on card 1 block=False disable_timing=True",
        "event 1 recorded on stream 2",
        "stream 1 waits for event 1",
        "synchronize stream 1",
    ]
    """)


def test_events():
    with_stub("""
    start, end = cr.cuda.Event(enable_timing=True), cr.cuda.Event(enable_timing=True, blocking=True)
    assert start.query()
    start.synchronize(), start.wait()  # never recorded: reached
    raises(ValueError, "the first was not recorded", start.elapsed_time, end)
    assert asked() == []
    s = cr.cuda.Stream()
    start.record()
    assert s.record_event(end) is end and not end.query()
    with cr.cuda.stream(s):
        start.wait()
    end.wait(cr.cuda.default_stream())
    end.synchronize()
    assert asked() == [
        "event 1 on card 0 block=False disable_timing=False",
        "event 1 recorded on stream 0",
        "event 2 on card 0 block=True disable_timing=False",
        "event 2 recorded on stream 1",
        "stream 1 waits for event 1",
        "stream 0 waits for event 2",
        "synchronize event 2",
    ]
    assert start.elapsed_time(end) == 1.0
    raises(ValueError, "end_event was not made with enable_timing=True", start.elapsed_time, cr.cuda.Event())
    raises(RuntimeError, "belongs to cuda:0 and the stream to cuda:1", end.record, cr.cuda.Stream(1))
    raises(NotImplementedError, "interprocess=True", cr.cuda.Event, interprocess=True)
    """)


# --- memory ---


def test_memory():
    with_stub("""
    pool = cupy.get_default_memory_pool()
    pool.malloc(300)
    assert cr.cuda.mem_get_info() == (1000, 5000)
    assert cr.cuda.memory_allocated() == cr.cuda.memory_reserved("cuda:0") == 300
    raises(UserWarning, "reset_peak_memory_stats() on", cr.cuda.max_memory_allocated)
    pool.free(300)
    cr.cuda.reset_peak_memory_stats()
    assert cr.cuda.max_memory_allocated() == 0 and cr.cuda.max_memory_reserved() == 300
    pool.malloc(2048), pool.malloc(100)
    pool.free(2048)
    assert cr.cuda.memory_allocated() == 100 and cr.cuda.max_memory_allocated() == 2148
    cr.cuda.reset_peak_memory_stats(0)
    pool.malloc(50)  # counted once
    assert cr.cuda.max_memory_allocated() == 150 and cr.cuda.max_memory_reserved() == 2148
    cupy.cuda.MemoryHook.entered[0].malloc_postprocess(device_id=0, mem_size=10**6, mem_ptr=0)  # one that failed
    assert cr.cuda.max_memory_allocated() == 150
    long, short = cr.cuda.memory_summary(), cr.cuda.memory_summary(0, abbreviated=True)
    assert long.startswith(short) and "2.1 KiB" in short and "4.9 KiB" in long and "150 B" in short
    """)


# --- graphs ---


def test_a_graph_is_captured_and_replayed():
    with_stub("""
    x = cr.tensor([1.0, 2.0], device="cuda")
    g = cr.cuda.CUDAGraph()
    raises(RuntimeError, "nothing was captured", g.replay)
    raises(RuntimeError, "no memory before a capture", g.pool)
    asked()
    with cr.cuda.graph(g):
        assert cr.cuda.is_current_stream_capturing() and cr.cuda.current_stream() != cr.cuda.default_stream()
        assert cupy.cuda.allocate == g.pool().malloc
        y = x * 3 + 1
        x += 1
    assert not cr.cuda.is_current_stream_capturing() and cr.cuda.current_stream() == cr.cuda.default_stream()
    assert cupy.cuda.allocate is None
    assert asked() == ["synchronize card 0", "capture in mode 2"]
    x.copy_(cr.tensor([5.0, 7.0], device="cuda"))
    g.replay()
    assert y.tolist() == [16.0, 22.0] and x.tolist() == [6.0, 8.0]
    s = cr.cuda.Stream()
    with cr.cuda.stream(s):
        g.replay()
    assert y.tolist() == [19.0, 25.0]
    assert asked() == ["launch on stream 0", f"launch on stream {s.cuda_stream}"]
    raises(RuntimeError, "holds a graph already", cr.cuda.graph(g).__enter__)
    assert cr.cuda.current_stream() == cr.cuda.default_stream()
    shared = g.pool()
    g.reset()
    raises(RuntimeError, "nothing was captured", g.replay)
    with cr.cuda.graph(g, pool=shared, stream=s, capture_error_mode="thread_local"):
        z = x - 1
    assert g.pool() is shared and asked()[-1] == "capture in mode 1"
    """)


def test_the_memory_of_a_graph_stays_with_it():
    with_stub("""
    import gc, weakref
    pool = cr.cuda.graph_pool_handle()
    block = weakref.ref(pool.malloc(512).block)  # the pool has let go of what it gave, as when it frees its blocks
    assert log == ["allocate 512"] and block() is not None
    g = cr.cuda.CUDAGraph()
    with cr.cuda.graph(g, pool=pool):
        pass
    del pool
    gc.collect()
    assert block() is not None
    g.reset()
    gc.collect()
    assert block() is None
    """)


def test_what_a_graph_cannot_hold_is_refused():
    with_stub("""
    import gc
    x = cr.ones(2, 2, device="cuda")
    g = cr.cuda.CUDAGraph()

    def capture(work, **options):
        with cr.cuda.graph(g, **options):
            work()

    error = raises(NotImplementedError, "cuBLAS", capture, lambda: x @ x)
    assert "no matrix products" in error.__notes__[0]
    assert not cr.cuda.is_current_stream_capturing() and cupy.cuda.allocate is None and gc.isenabled()
    raises(cr.cuda.graphs.CaptureError, "copied to the card", capture, lambda: cr.tensor([1.0], device="cuda"))
    raises(cr.cuda.graphs.CaptureError, "copied from the card", capture, lambda: x.sum().item())
    raises(ValueError, "one of global, thread_local, relaxed, got 'lax'", capture, int, capture_error_mode="lax")
    raises(RuntimeError, "the default stream cannot be captured", capture, int, stream=cr.cuda.default_stream())
    raises(TypeError, "expected a chainrule.cuda.CUDAGraph, got int", cr.cuda.graph, 3)
    raises(NotImplementedError, "keep_graph", cr.cuda.CUDAGraph, keep_graph=True)
    raises(NotImplementedError, "check_input_liveness", capture, int, check_input_liveness=True)
    raises(RuntimeError, "capture_end without capture_begin", g.capture_end)
    assert cr.cuda.current_stream() == cr.cuda.default_stream() and gc.isenabled()
    capture(lambda: x + 1)
    """)


def test_a_training_step_is_captured_with_its_backward():
    with_stub("""
    w = cr.tensor([1.0, -2.0], device="cuda", requires_grad=True)
    x = cr.tensor([3.0, 4.0], device="cuda")
    (w * x).exp().sum().backward()
    w.grad = None
    g = cr.cuda.CUDAGraph()
    with cr.cuda.graph(g):
        loss = (w * x).tanh().sum()
        loss.backward()
    x.copy_(cr.tensor([0.5, 0.25], device="cuda"))
    g.replay()
    again, there = cr.tensor([1.0, -2.0], requires_grad=True), cr.tensor([0.5, 0.25])
    here = (again * there).tanh().sum()
    here.backward()
    assert abs(loss.item() - here.item()) < 1e-6
    np.testing.assert_allclose(w.grad.cpu().numpy(), again.grad.numpy(), rtol=1e-6)
    """)


def test_random_numbers_in_a_graph_go_on_from_replay_to_replay():
    with_stub("""
    x = cr.zeros(4, device="cuda")
    own = cr.Generator().manual_seed(3)
    g = cr.cuda.CUDAGraph()
    g.register_generator_state(own)
    cr.manual_seed(5)
    with cr.cuda.graph(g):
        y = x + cr.rand(4, device="cuda")
        z = x + cr.rand(4, device="cuda", generator=own)
    got = []
    for _ in range(3):
        g.replay()
        got.append((y.tolist(), z.tolist()))
    cr.manual_seed(5)
    own.manual_seed(3)
    assert got == [(cr.rand(4).tolist(), cr.rand(4, generator=own).tolist()) for _ in range(3)]
    with cr.cuda.graph(cr.cuda.CUDAGraph()):
        raises(RuntimeError, "does not know", cr.rand, 4, device="cuda", generator=own)
        raises(RuntimeError, "capturing a graph already", cr.cuda.graph(cr.cuda.CUDAGraph()).__enter__)
    """)


def test_a_graphed_step():
    with_stub("""
    from chainrule.backends.capturing import CaptureError

    def training():
        cr.manual_seed(1)
        w = cr.tensor([1.0, -2.0], device="cuda", requires_grad=True)

        def step(x, scale):
            w.grad = None
            loss = ((w * x["x"]).tanh() * cr.rand(2, device="cuda")).sum() * scale
            loss.backward()
            with cr.no_grad():
                w.sub_(w.grad, alpha=0.1)
            return {"loss": loss, "w": w}

        return step, w

    given = [{"x": np.array([k, k + 1], "float32")} for k in range(7)]
    results = []
    for graphed in (False, True):
        step, w = training()
        run = cr.cuda.make_graphed_step(step, warmup=2) if graphed else step
        results.append([])
        for k, one in enumerate(given):
            x = {"x": cr.tensor(one["x"], device="cuda") if k % 2 or not graphed else one["x"]}
            found = run(x, 2.0)
            results[-1].append((found["loss"].item(), found["w"].tolist(), w.grad.tolist()))
    assert results[0] == results[1]
    assert run.graphs() == 1 and not cr.cuda.is_current_stream_capturing() and cupy.cuda.allocate is None
    assert type(w.data_ptr()) is int
    asked()
    run({"x": cr.ones(2, device="cuda")}, 2.0)
    assert asked() == ["launch on stream 0"]
    w.data = w.data.clone()
    raises(CaptureError, "put into other memory", run, {"x": cr.ones(2, device="cuda")}, 2.0)
    """)


def test_a_graphed_step_runs_aside_at_first_and_through_pinned_memory():
    with_stub("""
    streams = []

    def step(x):
        streams.append((cr.cuda.current_stream().cuda_stream, cupy.cuda.allocate is not None))
        return x * 2

    run = cr.cuda.make_graphed_step(step, warmup=2)
    for k in range(6):
        assert run(np.full(3, k, "float32")).tolist() == [2.0 * k] * 3
    assert len(streams) == 3 and len(set(streams)) == 1 and streams[0] == (next(iter(run._kinds.values())).runner.stream.cuda_stream, True)
    said = asked()
    assert said.count("launch on stream 0") == 4 and "capture in mode 2" in said
    assert sum("synchronize event" in one for one in said) == 6  # before a pinned array is written again
    assert [one for one in said if "waits" in one][:2] == ["stream 2 waits for event 3", "stream 0 waits for event 4"]
    """)


def test_what_a_graphed_step_cannot_hold_names_the_line():
    with_stub("""
    from chainrule.backends.capturing import CaptureError
    x = cr.ones(2, device="cuda")

    def capture(work):
        run = cr.cuda.make_graphed_step(lambda x: work(x), warmup=1)
        run(x)
        run(x)

    for work, words in [
        (lambda x: x * x.sum().item(), "item"),
        (lambda x: x * cr.tensor([1.0, 2.0], device="cuda"), "copies data of the host"),
        (lambda x: x if x.sum() > 0 else -x, "__bool__"),
    ]:
        error = raises(CaptureError, words, capture, work)
        assert "<string>" in str(error)
        assert not cr.cuda.is_current_stream_capturing() and cupy.cuda.allocate is None
        assert cr.cuda.current_stream() == cr.cuda.default_stream()
    optimizer = cr.optim.SGD([cr.ones(2, device="cuda", requires_grad=True)], lr=0.1)
    optimizer.param_groups[0]["params"][0].grad = x
    error = raises(CaptureError, "SGD.step has no kernel", capture, lambda x: optimizer.step() or x)
    """)


# --- graphed callables ---


def test_a_graphed_function_computes_what_the_function_does():
    with_stub("""
    def f(a, b):
        c = (a * b).tanh()
        return c * a, (b * b).sum(), (b > 0)

    def tensors(seed):
        drawn = np.random.default_rng(seed).normal(size=(2, 5)).astype("float32")
        return [cr.tensor(one, device="cuda", requires_grad=True) for one in drawn]

    sample = tensors(0)
    graphed = cr.cuda.make_graphed_callables(f, tuple(sample))
    kept = [one.tolist() for one in sample]
    for seed in (1, 2):
        gradients = []
        for function in (f, graphed):
            a, b = tensors(seed)
            first, second, third = outputs = function(a * 1, b)
            assert type(outputs) is tuple and not third.requires_grad and third.dtype == cr.bool
            ((first * first).sum() + second.sin()).backward()
            gradients.append([one.cpu().numpy() for one in (first.detach(), second.detach(), third, a.grad, b.grad)])
        for ours, theirs in zip(*gradients, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        a, b = tensors(seed)
        with cr.no_grad():
            assert graphed(a, b)[0].tolist() == gradients[0][0].tolist()
    assert [one.tolist() for one in sample] == kept and sample[0].grad is None
    """)


def test_gradients_add_up_over_calls_and_a_backward_may_be_repeated():
    with_stub("""
    x = cr.tensor([2.0, 3.0], device="cuda", requires_grad=True)
    square = cr.cuda.make_graphed_callables(lambda a: a * a, (x,))
    for _ in range(3):
        square(x).sum().backward()
    assert x.grad.tolist() == [12.0, 18.0]
    y = square(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [20.0, 30.0]

    owned = []
    def gradient(xp, g, needs, y, **static):
        owned.append(static["owned"])
        return (g * (1 - y * y),)
    gradient.consumes = True
    cr.backends.get("cuda").register_kernel("tanh.gradient")(gradient)
    cr.cuda.make_graphed_callables(lambda a: a.tanh(), (x,))
    assert owned and not any(owned)  # a backward graph that wrote over what the forward graph left could not be repeated
    """)


def test_a_graphed_module_keeps_its_parameters():
    with_stub("""
    class Scale(cr.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = cr.nn.Parameter(cr.tensor([1.0, -1.0, 2.0, 0.5]))
            self.register_buffer("seen", cr.zeros(4))

        def forward(self, x):
            if self.training:
                self.seen += x.detach().mean(0)
            return (x - self.seen).tanh() * self.weight

    def module():
        return cr.nn.Sequential(cr.nn.PReLU(), Scale()).cuda()

    plain, graphed = module(), module()
    sample = cr.tensor(np.random.default_rng(0).normal(size=(6, 4)).astype("float32"), device="cuda")
    state = {name: one.clone() for name, one in graphed.state_dict().items()}
    assert cr.cuda.make_graphed_callables(graphed, (sample,)) is graphed
    graphed.load_state_dict(state)  # the warm-up moved the buffer
    opts = [cr.optim.SGD(one.parameters(), lr=0.1, momentum=0.9) for one in (plain, graphed)]
    for seed in range(1, 4):
        x = cr.tensor(np.random.default_rng(seed).normal(size=(6, 4)).astype("float32"), device="cuda")
        for one, opt in zip((plain, graphed), opts):
            opt.zero_grad()
            (one(x) ** 3).sum().backward()
            opt.step()
    for ours, theirs in zip(plain.parameters(), graphed.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().cpu().numpy(), theirs.detach().cpu().numpy(), rtol=1e-5)
    assert plain[1].seen.tolist() == graphed[1].seen.tolist() != [0.0] * 4
    plain.eval(), graphed.eval()
    launched = len(log)
    np.testing.assert_allclose(plain(x[:2]).detach().cpu().numpy(), graphed(x[:2]).detach().cpu().numpy(), rtol=1e-4, atol=1e-5)
    assert len(log) == launched  # the other mode is not graphed
    """)


def test_several_callables_in_any_order():
    with_stub("""
    x = cr.tensor([0.5, 2.0], device="cuda", requires_grad=True)
    f, g = cr.cuda.make_graphed_callables((lambda a: a.exp(), lambda a, b: [a * b]), ((x,), (x, x)))
    for _ in range(2):
        x.grad = None
        (out,) = g(f(x), x)
        out.sum().backward()
        np.testing.assert_allclose(x.grad.cpu().numpy(), np.exp([0.5, 2.0]) * np.array([1.5, 3.0]), rtol=1e-6)
        assert f(g(x, x)[0]).shape == (2,)
    """)


def test_what_graphed_callables_refuse():
    with_stub("""
    make = cr.cuda.make_graphed_callables
    x = cr.tensor([2.0, 3.0], device="cuda", requires_grad=True)
    square = make(lambda a: a * a, (x,))
    early = square(x)
    late = square(x)
    raises(RuntimeError, "called again before this backward", early.sum().backward)
    late.sum().backward()
    held = square(x)
    y = held * held
    square(x)
    raises(RuntimeError, "in-place", y.sum().backward)
    raises(NotImplementedError, "no second derivative", cr.autograd.grad, square(x).sum(), x, create_graph=True)
    raises(TypeError, "expected 1 arguments, got 2", square, x, x)
    raises(TypeError, "argument 0 must be a Tensor", square, 3)
    raises(ValueError, "float32 of shape (2,) on cuda:0; graph it again", square, x[:1])
    raises(ValueError, "on cpu, but was captured", square, x.cpu())
    frozen = make(lambda a: a * 2, (x.detach(),))
    raises(ValueError, "requires a gradient that did not", frozen, x)
    assert frozen(x.detach()).tolist() == [4.0, 6.0]
    raises(TypeError, "sample_args must be Tensors, got float", make, abs, (1.0,))
    raises(TypeError, "a tuple of Tensors, got a Tensor; write (x,)", make, abs, x)
    raises(ValueError, "must be on one card, one is on cpu", make, abs, (x.cpu(),))
    raises(ValueError, "got 2 callables and sample_args for 1", make, (abs, abs), ((x,),))
    raises(NotImplementedError, "a Tensor or a tuple or list of Tensors, got dict", make, lambda a: {"y": a}, (x,))
    raises(NotImplementedError, "cuBLAS", make, lambda a: a @ a, (x,))
    raises(RuntimeError, "used", make, lambda a, b: a * 2, (x, x))
    unused = make(lambda a, b: a * 2, (x, x), allow_unused_input=True)
    b = x.detach().clone().requires_grad_()
    unused(x, b).sum().backward()
    assert b.grad is None
    hooked = cr.nn.PReLU().cuda()
    handle = hooked.register_forward_hook(lambda *_: None)
    raises(ValueError, "remove the hooks", make, hooked, (x,))
    handle.remove()
    moved = make(hooked, (x,))
    moved(x)
    moved.weight.data = moved.weight.data.clone()
    raises(RuntimeError, "moved to other memory", moved, x)
    with cr.autocast("cuda"):
        raises(RuntimeError, "cache_enabled=False", make, abs, (x,))
    """)


# --- on a card ---

on_a_card = pytest.mark.skipif(not cr.cuda.is_available(), reason="needs a card")


@pytest.mark.gpu
@on_a_card
def test_streams_events_and_memory_on_the_gpu():
    start, end, s = cr.cuda.Event(enable_timing=True), cr.cuda.Event(enable_timing=True), cr.cuda.Stream()
    cr.cuda.reset_peak_memory_stats()
    before = cr.cuda.memory_allocated()
    s.wait_stream(cr.cuda.current_stream())
    with cr.cuda.stream(s):
        start.record()
        x = cr.ones(1 << 20, device="cuda")
        y = (x * 3 + 1).sum()
        end.record()
    end.synchronize()
    assert s.query() and end.query() and start.elapsed_time(end) > 0 and y.item() == 4 << 20
    assert cr.cuda.max_memory_allocated() - before >= 2 * 4 << 20  # x, and x * 3
    free, total = cr.cuda.mem_get_info()
    assert 0 < free < total
    assert cr.cuda.get_device_name() in str(cr.cuda.get_device_properties())


@pytest.mark.gpu
@on_a_card
def test_graphs_on_the_gpu():
    x = cr.tensor([1.0, 2.0], device="cuda", requires_grad=True)

    def f(a):
        return (a * a).tanh() * 3

    f(x).sum().backward()
    g = cr.cuda.CUDAGraph()
    with cr.cuda.graph(g), cr.no_grad():
        y = f(x)
    with cr.no_grad():
        x.copy_(cr.tensor([0.5, 0.25], device="cuda"))
    g.replay()
    assert y.tolist() == f(x).tolist()
    with pytest.raises(NotImplementedError), cr.cuda.graph(cr.cuda.CUDAGraph()):
        x.view(1, 2) @ x.view(2, 1)
    graphed = cr.cuda.make_graphed_callables(f, (x,))
    for _ in range(2):
        (ours,), (theirs,) = (cr.autograd.grad(one(x).sum(), x) for one in (graphed, f))
        assert ours.tolist() == theirs.tolist() and graphed(x).tolist() == f(x).tolist()
