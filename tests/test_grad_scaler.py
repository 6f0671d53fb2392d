"""`GradScaler` against PyTorch's on the CPU, and what surrounds autocast: functions of the user's own, recomputation, `cuda.amp`."""

import importlib

import numpy as np
import pytest

import chainrule as cr
from chainrule import amp, nn, optim
from chainrule.autograd import Function
from chainrule.autograd.checkpoint import checkpoint

# What each step's loss is multiplied by: inf and NaN overflow, and 1e38 does after scaling.
STEPS = [1.0, 2.0, float("inf"), 1.0, float("nan"), 0.5, 1.0, 1e38, 3.0, 1.0, 1.0, 1.0]


def scaler_of(library, **options):
    options = {
        "init_scale": 1024.0,
        "growth_factor": 1.7,
        "backoff_factor": 0.3,
        "growth_interval": 2,
        **options,
    }
    return library.amp.GradScaler("cpu", **options)


def trajectory(library, steps=STEPS, **options):
    """(scale, tracker, parameter) after each step."""
    p = library.tensor([1.0, -2.0], requires_grad=True)
    optimizer = library.optim.SGD([p], lr=0.1, momentum=0.5)
    scaler, found = scaler_of(library, **options), []
    for factor in steps:
        optimizer.zero_grad()
        scaler.scale((p * p).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
        state = scaler.state_dict()
        found.append((scaler.get_scale(), state.get("_growth_tracker"), *p.tolist()))
    return found, scaler.state_dict()


@pytest.mark.torch
@pytest.mark.parametrize("enabled", [True, False])
def test_a_sequence_of_steps_with_and_without_overflow_is_that_of_pytorch(enabled):
    torch = pytest.importorskip("torch")
    (ours, our_state), (theirs, their_state) = (
        trajectory(library, enabled=enabled) for library in (cr, torch)
    )
    np.testing.assert_allclose(
        np.array(ours, dtype=float), np.array(theirs, dtype=float), rtol=1e-6, atol=1e-6, equal_nan=True
    )
    assert our_state == pytest.approx(their_state) and len(our_state) == (5 if enabled else 0)
    # What PyTorch saved goes on here.
    if enabled:
        scaler = scaler_of(cr)
        scaler.load_state_dict(their_state)
        assert scaler.state_dict() == their_state


def test_an_overflow_leaves_the_step_out_and_halves_the_scale():
    p = cr.ones(2, requires_grad=True)
    optimizer, scaler = optim.SGD([p], lr=1.0), amp.GradScaler("cpu")
    scaler.scale((p * cr.tensor([1.0, float("inf")])).sum()).backward()
    assert scaler.step(optimizer) is None and p.tolist() == [1, 1]
    scaler.update()
    assert scaler.get_scale() == 2.0**15
    scaler.update(new_scale=cr.tensor(8.0))
    assert scaler.get_scale() == 8


def test_the_scale_stops_growing_before_it_is_infinite():
    assert (
        trajectory(cr, [0.0], init_scale=2.0**127, growth_factor=2.0, growth_interval=1)[0][0][0] == 2.0**127
    )


def test_unscale_gives_the_gradients_themselves_once():
    p = cr.ones(3, requires_grad=True)
    optimizer, scaler = optim.SGD([p], lr=1.0), amp.GradScaler("cpu")
    scaler.scale(p.sum()).backward()
    assert p.grad.tolist() == [2.0**16] * 3
    scaler.unscale_(optimizer)
    assert p.grad.tolist() == [1] * 3
    with pytest.raises(RuntimeError, match="already called"):
        scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_([p], 0.1)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already called"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match=r"after step\(\)"):
        scaler.unscale_(optimizer)
    scaler.update()
    assert (1 - p).norm().item() == pytest.approx(0.1, rel=1e-4)


def test_one_overflow_of_two_optimizers_stops_its_own_step_only():
    p, q = cr.ones(1, requires_grad=True), cr.ones(1, requires_grad=True)
    first, second, scaler = optim.SGD([p], lr=1.0), optim.SGD([q], lr=1.0), amp.GradScaler("cpu")
    for loss in scaler.scale([p.sum(), q.sum() * float("inf")]):
        loss.backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert p.item() == 0 and q.item() == 1 and scaler.get_scale() == 2.0**15


@pytest.mark.parametrize("enabled", [True, False])
def test_gradients_too_small_for_float16_arrive_scaled(enabled):
    layer = nn.Linear(4, 3).to("fake")
    optimizer, scaler = optim.SGD(layer.parameters(), lr=1e6), amp.GradScaler("fake", enabled=enabled)
    x = cr.randn(5, 4, device="fake")
    before = layer.weight.detach().clone()
    with cr.autocast("fake"):
        y = layer(x)
        loss = nn.functional.mse_loss(y, cr.zeros(5, 3, device="fake")) * 1e-8
    assert y.dtype is cr.float16 and loss.dtype is cr.float32
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert layer.weight.dtype is cr.float32 and cr.equal(layer.weight, before) is not enabled


def test_bad_calls_of_the_scaler():
    p = cr.ones(1, requires_grad=True)
    optimizer, scaler = optim.SGD([p], lr=1.0), amp.GradScaler("cpu")
    for call in (scaler.update, lambda: scaler.step(optimizer), lambda: scaler.unscale_(optimizer)):
        with pytest.raises(RuntimeError, match="the loss was not scaled"):
            call()
    scaler.scale(p.sum())
    with pytest.raises(RuntimeError, match="no gradient was looked at"):
        scaler.update()
    with pytest.raises(RuntimeError, match="no parameter of the optimizer has a gradient"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="closure"):
        scaler.step(optimizer, closure=lambda: None)
    with pytest.raises(ValueError, match="got float"):
        scaler.scale(1.0)
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})
    with pytest.raises(ValueError, match="growth_factor"):
        amp.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(ValueError, match="backoff_factor"):
        amp.GradScaler("cpu", backoff_factor=1.0)
    half = cr.ones(1, dtype=cr.float16, requires_grad=True)
    optimizer, scaler = optim.SGD([half], lr=1.0), amp.GradScaler("cpu")
    scaler.scale(half.sum()).backward()
    with pytest.raises(ValueError, match="float16 gradient"):
        scaler.step(optimizer)


def test_disabled_it_hands_everything_through():
    p = cr.ones(1, requires_grad=True)
    optimizer, scaler = optim.SGD([p], lr=1.0), amp.GradScaler("cpu", enabled=False)
    loss = p.sum()
    assert scaler.scale(loss) is loss and not scaler.is_enabled() and scaler.get_scale() == 1
    loss.backward()
    scaler.unscale_(optimizer)
    assert scaler.step(optimizer, lambda: loss) is loss
    scaler.update()
    scaler.load_state_dict({})
    assert p.item() == 0 and scaler.state_dict() == {}


def test_settings_of_the_scaler():
    scaler = amp.GradScaler("cpu")
    for name, value in (("growth_factor", 3.0), ("backoff_factor", 0.1), ("growth_interval", 7)):
        assert getattr(scaler, "get_" + name)() != value
        getattr(scaler, "set_" + name)(value)
        assert getattr(scaler, "get_" + name)() == value == scaler.state_dict()[name]


# --- functions of the user's own ---


def product_class(library, amp, cast_inputs):
    """A Function that notes the dtypes it meets, forward and backward."""
    seen = []

    class Product(library.autograd.Function):
        @staticmethod
        @amp.custom_fwd(device_type="cpu", cast_inputs=cast_inputs)
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            y = a @ b
            seen.extend((a.dtype, y.dtype))
            return y

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            ga = g @ b.to(g.dtype).T
            seen.extend((g.dtype, ga.dtype, library.is_autocast_enabled("cpu")))
            return ga, a.to(g.dtype).T @ g

    return Product, seen


@pytest.mark.torch
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("cast", [None, "float32", "bfloat16"])
@pytest.mark.cpu_only
def test_a_function_of_the_users_own_runs_backward_as_it_ran_forward(cast, enabled):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    found = []
    for library in (cr, torch):
        Product, seen = product_class(library, library.amp, cast and getattr(library, cast))
        a, b = (library.ones(2, 2, requires_grad=True) for _ in range(2))
        with library.autocast("cpu", enabled=enabled):
            y = Product.apply(a, b)
        y.float().sum().backward()
        found.append([str(one).rpartition(".")[2] for one in (*seen, y.dtype, a.grad.dtype)])
    assert found[0] == found[1]


def test_custom_bwd_without_custom_fwd():
    class Half(Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        @amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="custom_fwd"):
        Half.apply(cr.ones(1, requires_grad=True)).sum().backward()


@pytest.mark.cpu_only
def test_a_checkpoint_computes_again_in_the_dtypes_of_forward():
    pytest.importorskip("ml_dtypes")
    seen, w = [], cr.randn(3, 3, requires_grad=True)

    def part(x):
        y = (x @ w).tanh() @ w
        seen.append(y.dtype)
        return y

    grads = []
    for run in (part, lambda x: checkpoint(part, x)):
        x = cr.linspace(-1, 1, 6).reshape(2, 3).requires_grad_()
        with cr.autocast("cpu"):
            loss = run(x).float().sum()
        loss.backward()
        grads.append((x.grad, w.grad))
        w.grad = None
    assert seen == [cr.bfloat16] * 3
    assert all(cr.equal(a, b) for a, b in zip(*grads, strict=True))


def test_the_older_names_under_cuda():
    module = importlib.import_module("chainrule.cuda.amp")
    assert cr.cuda.amp is module
    with cr.cuda.amp.autocast():
        assert cr.is_autocast_enabled() and cr.get_autocast_dtype("cuda") is cr.float16
        assert (cr.ones(2, 2) @ cr.ones(2, 2)).dtype is cr.float32
    assert not cr.cuda.amp.GradScaler(enabled=False).is_enabled()
    assert cr.cuda.amp.custom_fwd(lambda ctx, x: x)(cr.autograd.function.FunctionCtx(), 3) == 3
    if not cr.cuda.is_available():
        with pytest.warns(UserWarning, match="no cuda device"):
            assert not cr.cuda.amp.GradScaler().is_enabled()
