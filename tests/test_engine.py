"""The rules of the engine: what is kept, when it is freed, in which order, and what happens when something goes wrong."""

import copy
import gc
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import Function
from chainrule.autograd.function import once_differentiable
from chainrule.autograd.modes import local
from chainrule.autograd.op import registry


def leaf(*values, dtype=None):
    return cr.tensor(list(values), dtype=dtype, requires_grad=True)


# What a node keeps


def test_only_what_a_rule_lists_is_kept():
    x, w = leaf(1.0, 2.0), cr.tensor([3.0, 4.0])
    assert [one is not None for one in (x * w).grad_fn.saved] == [True, False]  # w, for the gradient of x
    assert (x + w).grad_fn.saved == ()
    assert x.sum().grad_fn.saved == ((2,),)
    y = x.tanh()
    assert len(y.grad_fn.saved) == 1 and y.grad_fn.saved[0] is y.array


def test_rules_of_inputs_without_gradient_are_not_called():
    called = []
    multiply = registry["multiply"]
    rules, vjp = multiply.rules, multiply.vjp
    multiply.rules = {
        name: lambda *args, n=name, r=rule: called.append(n) or r(*args) for name, rule in rules.items()
    }
    multiply.arguments = dict(multiply.arguments)
    try:
        from chainrule.autograd import templates

        multiply.vjp = templates.vjp(multiply)
        (leaf(1.0) * cr.tensor([2.0])).backward()
    finally:
        multiply.rules, multiply.vjp = rules, vjp
    assert called == ["a"]


def test_saved_arrays_die_as_backward_passes_them():
    x = leaf(1.0, 2.0)
    y = x * 2
    saved = weakref.ref((y * y).grad_fn.saved[0])
    z = y * y
    held = [weakref.ref(one) for one in z.grad_fn.saved]
    y_array = weakref.ref(y.array)
    del y
    z.sum().backward()
    assert saved() is None or saved() is y_array()
    assert all(one() is None for one in held)


def test_the_graph_dies_with_the_last_tensor_without_the_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x * 3).exp()
        node = weakref.ref(y.grad_fn)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_a_thousand_steps_leave_no_objects_behind():
    w, x = cr.randn(4, 3, requires_grad=True), cr.randn(5, 4)

    def step():
        h = (x @ w).tanh() + 0.0
        h[0] = 0.5
        loss = (h[1:] * h[:-1]).mean() + cr.cat([h, h]).logsumexp(0).sum()
        loss.backward()
        with cr.no_grad():
            w.sub_(0.01 * w.grad)
        w.grad = None

    step()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(1000):
            step()
        assert len(gc.get_objects()) - before < 50
    finally:
        gc.enable()


# Depth and order


def test_a_million_operations_build_walk_and_die_without_recursion():
    limit = sys.getrecursionlimit()
    x = leaf(1.0)
    y = x
    for _ in range(500_000):
        y = y * x + 0.0
    y.backward()
    del y
    assert x.grad.item() == 500_001
    assert sys.getrecursionlimit() == limit


def test_deep_graphs_print_and_refuse_to_pickle_without_recursion():
    y = leaf(1.0)
    for _ in range(20_000):
        y = y * 1.0
    assert "grad_fn=<MulBackward0>" in repr(y)
    with pytest.raises(RuntimeError, match="leaf"):
        pickle.dumps(y)
    with pytest.raises(RuntimeError, match="leaf"):
        copy.deepcopy(y)
    assert copy.deepcopy(y.detach()).item() == 1.0


def test_each_node_is_visited_once_however_many_paths_lead_to_it():
    x = leaf(1.0)
    visits = []
    y = x
    for _ in range(60):
        y = y + y
        y.grad_fn.register_hook(lambda *_: visits.append(1))
    y.backward()
    assert x.grad.item() == 2.0**60
    assert len(visits) == 60


def test_fan_out_adds():
    """z = x y with x = s^2, y = 3 s: dz/ds = 9 s^2."""
    s = cr.tensor(2.0, requires_grad=True)
    ((s * s) * (3 * s)).backward()
    assert s.grad.item() == 36.0


@pytest.mark.parametrize("shape", [(), (3,)])
def test_many_views_of_one_value_add_up(shape):
    x = cr.full(shape, 2.0, requires_grad=True)
    h = x * 1
    sum(h[...] * factor for factor in (1.0, 2.0, 3.0, 4.0)).sum().backward()
    assert (x.grad == 10).all()


# backward() and grad()


def test_backward_needs_a_scalar_or_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"scalar outputs.*\(2,\)"):
        (x * 2).backward()
    (x * 2).backward(cr.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2.0, 20.0]
    with pytest.raises(RuntimeError, match="mismatch in shape"):
        (x * 2).backward(cr.ones(3))


def test_backward_through_nothing_is_refused():
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.ones(1).backward()


def test_a_second_backward_names_retain_graph():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_retain_graph_allows_another_and_gradients_accumulate():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


def test_inputs_limits_what_is_accumulated():
    x, w = leaf(2.0), leaf(3.0)
    (x * w).backward(inputs=[w])
    assert x.grad is None and w.grad.item() == 2.0


def test_grad_of_a_value_in_the_middle():
    x = leaf(2.0)
    h = x * 3
    y = h * h
    (g,) = cr.autograd.grad(y, h, retain_graph=True)
    assert g.item() == 12.0 and x.grad is None
    gx, gh = cr.autograd.grad(y, [x, h])
    assert (gx.item(), gh.item()) == (36.0, 12.0)


def test_unused_inputs():
    x, z = leaf(1.0), leaf(1.0)
    with pytest.raises(RuntimeError, match="allow_unused"):
        cr.autograd.grad(x * 2, z)
    assert cr.autograd.grad(x * 2, z, allow_unused=True) == (None,)
    assert cr.autograd.grad(x * 2, z, materialize_grads=True)[0].item() == 0.0
    with pytest.raises(RuntimeError, match="does not require grad"):
        cr.autograd.grad(x * 2, cr.ones(1))


def test_create_graph_gives_derivatives_of_every_order():
    x = leaf(2.0, dtype=cr.float64)
    y = x**5
    orders = []
    for _ in range(6):
        (y,) = cr.autograd.grad(y, x, create_graph=True, materialize_grads=True)
        orders.append(y.item())
        if not y.requires_grad:
            break
    assert orders[:5] == [80.0, 160.0, 240.0, 240.0, 120.0]


def test_several_roots_one_below_the_other():
    x = leaf(3.0)
    a = x * 2
    b = a * a
    cr.autograd.backward([a, b], [cr.ones(1), cr.ones(1)])
    assert x.grad.item() == 2 + 8 * 3


def test_a_leaf_is_its_own_gradient():
    x = leaf(3.0)
    x.backward(cr.tensor([5.0]))
    assert x.grad.item() == 5.0


def test_gradients_are_summed_to_shape_and_keep_the_dtype():
    x, b = cr.ones(3, 4, requires_grad=True), cr.ones(4, requires_grad=True, dtype=cr.float64)
    (x * b).sum().backward()
    assert x.grad.dtype is cr.float32 and b.grad.dtype is cr.float64
    assert b.grad.tolist() == [3.0] * 4


def test_grad_assignment_is_checked():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="shape"):
        x.grad = cr.ones(3)
    with pytest.raises(TypeError):
        x.grad = 1.0


# Hooks


def test_tensor_hooks_see_and_replace():
    x = leaf(1.0)
    seen = []
    h = x * 2
    handle = h.register_hook(lambda g: seen.append(g.item()))
    h.register_hook(lambda g: g * 10)
    (h * 3).backward(retain_graph=True)
    assert seen == [3.0] and x.grad.item() == 60.0
    handle.remove()
    leaf_seen = []
    x.register_hook(lambda g: leaf_seen.append(g.item()))
    (h * 3).backward()
    assert seen == [3.0] and leaf_seen == [60.0]


def test_a_hook_that_returns_nonsense_is_refused():
    x = leaf(1.0)
    h = x * 2
    h.register_hook(lambda g: cr.ones(3))
    with pytest.raises(RuntimeError, match="shape"):
        (h * 3).backward()
    assert x.grad is None


def test_retain_grad_and_post_accumulate_hooks():
    x = leaf(1.0)
    h = x * 2
    h.retain_grad()
    stepped = []
    x.register_post_accumulate_grad_hook(lambda t: stepped.append(t.grad.item()))
    (h * h).backward()
    assert h.grad.item() == 4.0 and stepped == [8.0]


def test_node_hooks():
    x = leaf(1.0)
    y = x * 2
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 10,))
    y.grad_fn.register_hook(lambda inputs, outputs: tuple(None if g is None else g + 1 for g in inputs))
    y.backward()
    assert x.grad.item() == 21.0


def test_next_functions_lead_to_the_leaves():
    x = leaf(1.0)
    y = (x * 2).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    ((mul, _),) = y.grad_fn.next_functions
    assert mul.name() == "MulBackward0"
    assert mul.next_functions[0][0].variable is x and mul.next_functions[1] == (None, 0)


# Modes


def test_grad_modes():
    x = leaf(1.0)
    with cr.no_grad():
        assert not (x * 2).requires_grad
        with cr.enable_grad():
            assert (x * 2).requires_grad
    with cr.set_grad_enabled(False):
        assert not cr.is_grad_enabled()
    assert cr.is_grad_enabled()
    with cr.inference_mode():
        assert cr.is_inference_mode_enabled() and not (x * 2).requires_grad

    @cr.no_grad()
    def function():
        return x * 2

    @cr.no_grad
    def generator():
        yield x * 2
        yield x * 3

    assert not function().requires_grad
    for one in generator():
        assert not one.requires_grad and cr.is_grad_enabled()
    cr.set_grad_enabled(False)
    try:
        assert not cr.is_grad_enabled()
    finally:
        cr.set_grad_enabled(True)


def test_modes_stay_in_their_thread_and_survive_errors():
    seen = []
    with cr.no_grad():
        thread = threading.Thread(target=lambda: seen.append(cr.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]
    with pytest.raises(ZeroDivisionError), cr.no_grad():
        raise ZeroDivisionError
    assert cr.is_grad_enabled()


def test_detach_shares_memory_and_ends_the_graph():
    x = leaf(1.0, 2.0)
    d = (x * 2).detach()
    assert not d.requires_grad and d.is_leaf
    y = x.detach()
    with cr.no_grad():
        y[0] = 5.0
    assert x[0].item() == 5.0


# Threads, interrupts, failures


def test_threads_with_graphs_of_their_own_and_a_shared_leaf():
    shared = cr.ones(8, requires_grad=True)
    results = []

    def work(seed):
        x = cr.tensor(np.random.default_rng(seed).standard_normal(8), requires_grad=True)
        for _ in range(50):
            x.grad = None
            (x.tanh() * x).sum().backward()
            (shared * 2).sum().backward()
        results.append((seed, x.grad.numpy().tobytes()))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in [1, 2, 1, 2, 1, 2, 1, 2]]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        sys.setswitchinterval(before)
    assert len(results) == 8 and len(set(results)) == 2
    assert shared.grad.tolist() == [2.0 * 50 * 8] * 8


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.cpu_only
def test_an_interrupt_leaves_gradients_whole_and_modes_as_they_were():
    x = cr.ones(3, requires_grad=True)

    armed = []

    def stop(*_):
        if armed:  # a signal that comes after the backward pass is nobody's
            armed.clear()
            raise KeyboardInterrupt

    def loss():
        y = x
        for _ in range(1500):
            y = y * 1.0 + 0.0
        return y.sum()

    before = signal.signal(signal.SIGALRM, stop)
    interrupted = 0
    try:
        for i in range(40):
            x.grad = None
            y = loss()
            armed.append(True)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0002 * (i + 1))
                y.backward()
                armed.clear()
            except KeyboardInterrupt:
                interrupted += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert x.grad is None or x.grad.tolist() == [1.0, 1.0, 1.0]
            assert cr.is_grad_enabled()
            x.grad = None
            loss().backward()
            assert x.grad.tolist() == [1.0, 1.0, 1.0]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 5


def test_an_error_in_backward_leaves_gradients_and_modes_as_they_were():
    class Bad(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("mine")

    x = leaf(1.0)
    x.grad = cr.tensor([7.0])
    with pytest.raises(ZeroDivisionError, match="mine"):
        (Bad.apply(x * 1) + x).backward()
    assert x.grad.item() == 7.0 and cr.is_grad_enabled() and local.state.grad


def test_floating_point_exceptions_pass_silently_and_leave_numpy_alone():
    x = leaf(0.0, 1e38)
    before = np.geterr()
    y = (x * x) + x.log() + 1 / x
    y.sum().backward()
    assert np.geterr() == before
    with pytest.raises(FloatingPointError), np.errstate(all="raise"):
        (x * x).sum()  # ours stays silent ...
        np.float32(1) / np.zeros(1, np.float32)  # ... the caller's does not


def test_import_leaves_global_state_alone():
    code = (
        "import numpy as np, warnings, signal, random\n"
        "state = lambda: (np.geterr(), list(warnings.filters), signal.getsignal(signal.SIGINT), random.getstate(), np.random.get_state()[1].tolist())\n"
        "before = state()\nimport chainrule as cr\nassert state() == before\n"
        "x = cr.ones(3, requires_grad=True); (x * 2).sum().backward(); assert state() == before\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


# Functions of the user's own


class Cube(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * 3 * x * x


class ExpTwice(Function):
    """The second style, an output saved, two outputs, one of which is not differentiable."""

    @staticmethod
    def forward(x):
        return x.exp(), x > 0

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[0])

    @staticmethod
    def backward(ctx, g, _):
        (y,) = ctx.saved_tensors
        return g * y


def test_custom_functions_of_both_styles():
    x = cr.tensor([0.5, -1.5], dtype=cr.float64, requires_grad=True)
    assert cr.autograd.gradcheck(Cube.apply, x) and cr.autograd.gradgradcheck(Cube.apply, x)
    y, sign = ExpTwice.apply(x)
    assert not sign.requires_grad and sign.tolist() == [True, False]
    assert cr.autograd.gradcheck(lambda t: ExpTwice.apply(t)[0], x) and cr.autograd.gradgradcheck(
        lambda t: ExpTwice.apply(t)[0], x
    )
    assert "CubeBackward" in repr(Cube.apply(x))


def test_custom_functions_guard_what_they_save():
    x = leaf(1.0)
    h = x * 2
    y = Cube.apply(h)
    h.add_(1)
    with pytest.raises(RuntimeError, match="in-place"):
        y.backward()
    y = Cube.apply(x)
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()


def test_custom_functions_that_return_the_wrong_thing():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="returned 1 gradients for 2 inputs"):
        Wrong.apply(leaf(1.0), leaf(2.0)).backward()
    with pytest.raises(RuntimeError, match="apply"):
        Cube()


def test_once_differentiable_refuses_the_second():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = leaf(3.0)
    Square.apply(x).backward()
    assert x.grad.item() == 6.0
    (g,) = cr.autograd.grad(Square.apply(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        g.backward()


def test_mark_dirty_and_pass_through():
    class AddOne(Function):
        @staticmethod
        def forward(ctx, x):
            x.add_(1)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5

    x = leaf(1.0)
    h = x * 2
    out = AddOne.apply(h)
    assert out is h and out.item() == 3.0
    out.backward()
    assert x.grad.item() == 10.0

    class Through(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 7

    x.grad = None
    Through.apply(x).backward()
    assert x.grad.item() == 7.0 and x.is_leaf


def test_gradcheck_finds_a_wrong_rule():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g

    x = cr.tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    with pytest.raises(cr.autograd.GradcheckError, match="numerical"):
        cr.autograd.gradcheck(Wrong.apply, x)
    assert not cr.autograd.gradcheck(Wrong.apply, x, raise_exception=False)
    with pytest.raises(ValueError, match="float64"):
        cr.autograd.gradcheck(Cube.apply, leaf(1.0))


def test_complex_gradients_follow_pytorch():
    z = cr.tensor([1 + 2j, -0.5 + 1j], dtype=cr.complex128, requires_grad=True)
    assert cr.autograd.gradcheck(lambda t: (t * t).real.sum() + (t.exp() * 2j).real.sum(), z)
    assert cr.autograd.gradcheck(lambda t: t.abs().sum() + t.norm() + (t.imag * t.real).sum() + t.norm(3), z)
    assert cr.autograd.gradgradcheck(lambda t: t.abs().sum() + (t.imag**3).sum(), z)
    (z * z.conj()).real.sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), 2 * z.detach().numpy())
