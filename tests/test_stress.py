"""Long and hard use: deep graphs, leaks, interrupts at any moment, faults at every node, many threads. Measured figures are printed
with `pytest -s`; docs/reliability.md has them."""

import contextlib
import gc
import os
import random
import resource
import signal
import sys
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import Function
from chainrule.autograd.modes import local
from chainrule.backends import kernels


def leaf(*values, dtype=cr.float64):
    return cr.tensor(list(values), dtype=dtype, requires_grad=True)


def chain(x, depth):
    y = x
    for _ in range(depth // 2):
        y = y * 1.0 + 0.0
    return y


def clean():
    """Whether the engine is as if nothing had ever run."""
    state = local.state
    return state.grad and state.walk is None and state.on_record is None and not state.anomaly


# Deep graphs


@pytest.mark.slow
def test_a_million_operations_twice_differentiated():
    limit = sys.getrecursionlimit()
    depth, x, times = 1_000_000, leaf(1.0), [time.process_time()]

    def lap(what):
        times.append(time.process_time())
        print(f"\n  {what}: {times[-1] - times[-2]:.2f} s", end="")

    y = chain(x, depth)
    lap("build")
    y.backward(retain_graph=True)
    lap("backward")
    assert x.grad.item() == 1.0
    del y
    lap("free")
    z = x
    for _ in range(depth // 2):
        z = z * x + 0.0
    lap("build, each step quadratic")
    (g,) = cr.autograd.grad(z, x, create_graph=True)
    lap("gradient with a graph")
    assert g.item() == depth // 2 + 1
    (h,) = cr.autograd.grad(g, x)
    lap("second backward")
    assert h.item() == (depth // 2 + 1) * (depth // 2)
    del z, g
    lap("free")
    assert sys.getrecursionlimit() == limit


@pytest.mark.slow
def test_a_million_operations_against_pytorch(torch):
    """Backward of a chain of a million operations takes at most twice PyTorch's CPU time (three runs of each, the best of them)."""
    torch.set_num_threads(1)

    def best(library):
        found = []
        for _ in range(3):
            x = library.ones(1, requires_grad=True)
            y = chain(x, 1_000_000)
            start = time.process_time()
            y.backward()
            found.append(time.process_time() - start)
            del y
        return min(found)

    ours, theirs = best(cr), best(torch)
    print(f"\n  backward of 1e6 nodes: {ours:.2f} s, PyTorch {theirs:.2f} s", end="")
    assert ours <= 2 * theirs


def test_fan_in_and_fan_out_of_a_thousand():
    xs = [leaf(float(i)) for i in range(1000)]
    total = cr.cat(xs).sum() + sum(x * 2 for x in xs).sum()
    total.backward()
    assert all(x.grad.item() == 3.0 for x in xs)
    x = leaf(2.0)
    shared = x * 1.0
    sum(shared * float(i) for i in range(1000)).backward()
    assert x.grad.item() == 499500.0


# Memory


def _resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _slope(step, count):
    """Bytes of memory gained per step, by a line fitted to the second half of the run."""
    marks = []
    for i in range(count):
        step(i)
        if i % (count // 50) == 0:
            marks.append((i, _resident()))
    later = np.array(marks[len(marks) // 2 :], float)
    return np.polyfit(later[:, 0], later[:, 1], 1)[0]


def _training_step():
    w, x = cr.randn(32, 32, requires_grad=True), cr.randn(16, 32)

    def step(i):
        loss = ((x @ w).tanh() ** 2).mean()
        if i % 3 == 0:
            (g,) = cr.autograd.grad(loss, w, create_graph=True)
            loss = loss + (g * g).sum()
        if i % 5 == 0:
            with contextlib.suppress(RuntimeError):
                (x @ cr.ones(3, 3)).sum()
            handle = loss.register_hook(lambda g: 1 / 0)
            try:
                loss.backward()
            except ZeroDivisionError:
                handle.remove()
                return
        loss.backward()
        with cr.no_grad():
            w.sub_(0.01 * w.grad)
        w.grad = None

    return step


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_memory_does_not_grow():
    slope = _slope(_training_step(), 1000)
    assert slope < 4096


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_memory_does_not_grow_in_ten_thousand_steps():
    slope = _slope(_training_step(), 10_000)
    print(f"\n  {slope:.1f} bytes a step", end="")
    assert slope < 1024


def test_a_failed_backward_leaves_no_cycles():
    w = cr.randn(4, 4, requires_grad=True)

    def step():
        loss = (w @ w).tanh().sum()
        loss.register_hook(lambda g: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            loss.backward()

    step()
    gc.collect()
    gc.disable()
    try:
        tracked = [one for one in gc.get_objects() if type(one).__name__ in ("Node", "Tensor")]
        before = len(tracked)
        del tracked
        for _ in range(1000):
            step()
        after = len([one for one in gc.get_objects() if type(one).__name__ in ("Node", "Tensor")])
    finally:
        gc.enable()
    assert after <= before


# Interrupts


class Stop(BaseException):
    """Raised by the timer's signal, as KeyboardInterrupt is by Ctrl-C."""


def _interrupt_backward(moments, depth):
    """Interrupt backward at these shares of its own duration; returns the longest time the timer's exception was late, and how
    often it came before backward was over."""
    fired = []

    def stop(*_):
        fired.append(time.perf_counter())
        raise Stop

    x, w = cr.ones(50, dtype=cr.float64, requires_grad=True), leaf(2.0)

    def build():
        return chain(x * w, depth).sum() + (x.exp() * w).tanh().sum()

    loss = build()
    begun = time.perf_counter()
    loss.backward()
    duration = time.perf_counter() - begun
    expected = [x.grad.numpy().copy(), w.grad.numpy().copy()]
    worst, interrupted = 0.0, 0
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for share in moments:
            x.grad = w.grad = None
            loss = build()
            numbers = cr.get_rng_state()
            fired.clear()
            set_at = time.perf_counter()
            due = max(share * duration, 1e-5)
            try:
                signal.setitimer(signal.ITIMER_REAL, due)
                loss.backward()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Stop:
                worst = max(worst, time.perf_counter() - set_at - due)
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            for one, want in zip((x, w), expected, strict=True):
                assert one.grad is None or np.array_equal(one.grad.numpy(), want)
            assert clean()
            after = cr.get_rng_state()
            assert np.array_equal(np.asarray(numbers.tolist()), np.asarray(after.tolist()))
            x.grad = w.grad = None
            del loss
            build().backward()
            for one, want in zip((x, w), expected, strict=True):
                assert np.array_equal(one.grad.numpy(), want)
    finally:
        signal.signal(signal.SIGALRM, before)
    return worst, interrupted


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.cpu_only
def test_interrupts_at_random_moments():
    rng = random.Random(1)
    _, interrupted = _interrupt_backward([rng.random() for _ in range(30)], 2_000)
    assert interrupted >= 10


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_interrupts_at_two_hundred_random_moments():
    rng = random.Random(2)
    worst, interrupted = _interrupt_backward([rng.random() for _ in range(200)], 40_000)
    print(f"\n  {interrupted} of 200 interrupted, the longest wait {worst * 1000:.1f} ms", end="")
    assert interrupted >= 100 and worst < 1


# Faults


class Fragile(Function):
    """The identity, which fails at the n-th call of its forward or backward."""

    left = {"forward": None, "backward": None}

    @classmethod
    def count(cls, where):
        if cls.left[where] is not None:
            cls.left[where] -= 1
            if cls.left[where] < 0:
                cls.left[where] = None
                raise OSError(f"fault in {where}")

    @staticmethod
    def forward(ctx, x):
        Fragile.count("forward")
        return x * 1

    @staticmethod
    def backward(ctx, g):
        Fragile.count("backward")
        return g * 1


def _network(w, x, hooks=None):
    h = x
    for i in range(8):
        h = Fragile.apply((h @ w).tanh())
        if hooks == i:
            h.register_hook(lambda g: (_ for _ in ()).throw(OSError("fault in a hook")))
    if hooks == 8:
        h.grad_fn.register_prehook(lambda gs: (_ for _ in ()).throw(OSError("fault in a prehook")))
    if hooks == 9:
        h.grad_fn.register_hook(lambda *_: (_ for _ in ()).throw(OSError("fault in a node hook")))
    return h.sum()


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("where", ["forward", "backward", "hook"])
def test_a_fault_at_each_node_leaves_everything_as_it_was(where, create_graph):
    w, x = cr.randn(3, 3, dtype=cr.float64, requires_grad=True), cr.randn(2, 3, dtype=cr.float64)
    _network(w, x).backward()
    expected = w.grad.numpy().copy()
    for n in range(10 if where == "hook" else 8):
        w.grad = cr.full((3, 3), 5.0, dtype=cr.float64)
        Fragile.left = {"forward": None, "backward": None}
        if where != "hook":
            Fragile.left[where] = n
        with pytest.raises(OSError, match="fault"):
            _network(w, x, n if where == "hook" else None).backward(create_graph=create_graph)
        assert (w.grad == 5.0).all() and clean()
        w.grad = None
        _network(w, x).backward()
        assert np.array_equal(w.grad.numpy(), expected)


@pytest.mark.parametrize("kind", ["forward", "rule"])
def test_a_fault_inside_any_operation_of_a_network(kind, monkeypatch):
    """Every operation fails once, in its forward or in its rule, as if memory had run out."""
    from chainrule.autograd.op import registry

    w, x = cr.randn(3, 3, dtype=cr.float64, requires_grad=True), cr.randn(2, 3, dtype=cr.float64)

    def loss():
        h = (x @ w).tanh()
        h = cr.cat([h, h.exp()], 1)[:, 1:5]
        return (h / (1 + h * h)).logsumexp(1).sqrt().mean()

    names, state = set(), local.state
    state.on_record = lambda node, out: names.add(node.op.name)
    loss()
    state.on_record = None
    loss().backward()
    expected = w.grad.numpy().copy()
    for name in sorted(names):
        w.grad = None

        def fail(*_, **__):
            raise MemoryError("no memory")

        with monkeypatch.context() as patch:
            if kind == "rule":
                patch.setattr(registry[name], "vjp", fail)
            else:
                # An operation asks for a backend's own kernel if its name is among `kernels`: this one fails.
                patch.setattr(registry[name], "kernel", lambda *_, **__: fail)
                kernels.add(name)
            try:
                with pytest.raises((MemoryError, RuntimeError)):
                    loss().backward()
            finally:
                kernels.discard(name)
        assert w.grad is None and clean()
        loss().backward()
        assert np.array_equal(w.grad.numpy(), expected), name


# Threads


def _in_threads(work, count):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    failed = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            failed.append(error)

    try:
        threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(before)
    assert not failed, failed[0]


def _many_threads(threads, rounds):
    shared, results, leaked = cr.ones(4, dtype=cr.float64, requires_grad=True), set(), []

    def work(i):
        x = cr.tensor(np.linspace(-1, 1, 16), requires_grad=True)
        for n in range(rounds):
            x.grad = None
            ((x.tanh() * x)[1:] + x[:-1].exp()).sum().backward()
            (shared * 1.0).sum().backward()
            if (n + i) % 3 == 0:
                with cr.no_grad():
                    leaked.extend([1] if (x * 2).requires_grad else [])
            else:
                leaked.extend([1] if not (x * 2).requires_grad else [])
            results.add(x.grad.numpy().tobytes())

    _in_threads(work, threads)
    assert len(results) == 1 and not leaked
    assert shared.grad.tolist() == [float(threads * rounds)] * 4


def test_threads():
    _many_threads(8, 40)


@pytest.mark.slow
def test_sixteen_threads_a_thousand_times():
    _many_threads(16, 1000)


# Global state


def test_a_training_step_changes_no_global_state():
    import warnings

    def state():
        return (
            np.geterr(), np.get_printoptions(), random.getstate(), np.random.get_state()[1].tolist(), list(warnings.filters),
            [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)], sys.getrecursionlimit(), sys.getswitchinterval(),
            gc.isenabled(), gc.get_threshold(), threading.active_count(),
        )  # fmt: skip

    before = state()
    model = cr.nn.Sequential(cr.nn.Linear(4, 8), cr.nn.ReLU(), cr.nn.Dropout(0.5), cr.nn.Linear(8, 2))
    optimizer = cr.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        loss = cr.nn.functional.cross_entropy(model(cr.randn(5, 4)), cr.randint(0, 2, (5,)))
        loss.backward()
        optimizer.step()
    (cr.zeros(3) / 0).log()
    repr(cr.randn(2000))
    assert state() == before
