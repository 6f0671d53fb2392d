"""Cross-entropy by its kernel: what F.cross_entropy says on the CPU, from logits read once, and a gradient written over what was kept."""

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F

WEIGHT = [0.5, 2.0, 0.0, 1.0, 3.0]
TARGETS = {"rows": (6, 5), "pixels": (3, 5, 2, 4), "one": (5,)}
OPTIONS = {
    "plain": {},
    "weight": {"weight": WEIGHT},
    "smoothing": {"label_smoothing": 0.2},
    "everything": {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": 1},
}
TOLERANCE = {"float64": 1e-12, "float32": 2e-6, "float16": 3e-3, "bfloat16": 2e-2}


def arrays(shape, seed=3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) * 3, rng.integers(0, 5, shape[:1] + shape[2:] if len(shape) > 1 else ())


def results(x, target, dtype, options, incoming=None):
    """Losses and gradients on the fake device and on the CPU."""
    found = []
    for device in ("fake", "cpu"):
        t = cr.tensor(x, dtype=getattr(cr, dtype)).to(device).detach().requires_grad_()
        given = dict(options)
        if "weight" in given:
            given["weight"] = cr.tensor(given["weight"], dtype=t.dtype).to(device)
        loss = F.cross_entropy(t, cr.tensor(target).to(device), **given)
        g = cr.tensor(np.cos(np.arange(loss.numel())).reshape(loss.shape) if incoming is None else incoming)
        loss.backward(g.to(t.dtype).to(device).reshape(loss.shape))
        found.append([one.detach().cpu().double().numpy() for one in (loss, t.grad)])
    return found


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("shape", TARGETS)
def test_as_on_the_cpu(emulated, shape, options, reduction, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, target = arrays(TARGETS[shape])
    there, here = results(x, target, dtype, OPTIONS[options] | {"reduction": reduction})
    for ours, right in zip(there, here, strict=True):
        np.testing.assert_allclose(ours, right, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert any(one.startswith("cross_entropy") for one in emulated.launched)
    assert any(one.startswith("scale_slope") for one in emulated.launched)


def test_what_is_ignored_may_be_anything_and_what_is_no_class_makes_nan(emulated):
    x, target = arrays((4, 5))
    x[1], target[1] = np.nan, -100
    x[2, 0] = -np.inf
    target[2] = 3
    there, here = results(x, target, "float32", {}, incoming=1.0)
    for ours, right in zip(there, here, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-5, atol=1e-7)
    assert not there[1][1].any() and np.isfinite(there[0])
    everything = F.cross_entropy(cr.zeros(2, 5, device="fake"), cr.tensor([-100, -100], device="fake"))
    assert np.isnan(everything.item())
    target[0] = 7  # nobody waits for the device to say that it is no class
    loss = F.cross_entropy(cr.tensor(x, device="fake"), cr.tensor(target, device="fake"))
    assert np.isnan(loss.item())


def slope_of(loss):
    """The array that the node of a loss keeps."""
    node = loss.grad_fn
    while node.name() != "CrossEntropyBackward0" or not node.saved:
        node = node.next_functions[0][0]
    (slope,) = node.saved
    return slope


def start(**options):
    x, target = arrays((6, 5))
    x = cr.tensor(x, dtype=cr.float32, device="fake", requires_grad=True)
    return x, F.cross_entropy(x, cr.tensor(target, device="fake"), **options)


def test_one_array_of_the_size_of_the_logits_is_kept_and_becomes_the_gradient(emulated):
    x, loss = start()
    slope = slope_of(loss)
    assert slope.dtype == "float32" and slope.shape == x.shape
    loss.backward()
    assert x.grad._array is slope


def test_what_is_kept_is_not_written_over_while_it_is_needed(emulated):
    x, loss = start()
    slope = slope_of(loss)
    before = slope.get().copy()
    loss.backward(cr.tensor(2.0, device="fake"), retain_graph=True)
    assert np.array_equal(slope.get(), before)
    np.testing.assert_allclose(x.grad.cpu().numpy(), before * 2)
    loss.backward(cr.tensor(3.0, device="fake"))
    np.testing.assert_allclose(x.grad.cpu().numpy(), before * 5, rtol=1e-6)
    with pytest.raises(RuntimeError):
        loss.backward()


def test_hooks_on_saved_values_keep_theirs(emulated):
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with cr.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x, loss = start()
    before = [one.cpu().numpy().copy() for one in kept]
    loss.backward(cr.tensor(2.0, device="fake"))
    assert kept and all(
        np.array_equal(one.cpu().numpy(), right) for one, right in zip(kept, before, strict=True)
    )


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("other", ["graph of the gradient", "tangent"])
def test_another_graph_that_reads_what_is_kept_keeps_it(emulated, reduction, other):
    x, target = arrays((6, 5))
    found = []
    for device in ("fake", "cpu"):
        logits = cr.tensor(x, device=device, requires_grad=True)
        scale = cr.tensor(2.5, dtype=cr.float64, device=device, requires_grad=True)
        along = cr.tensor(np.cos(x), device=device, requires_grad=True)
        target_ = cr.tensor(target, device=device)
        if other == "tangent":
            with cr.autograd.forward_ad.dual_level():
                loss = F.cross_entropy(
                    cr.autograd.forward_ad.make_dual(logits, along), target_, reduction=reduction
                )
                primal, second = cr.autograd.forward_ad.unpack_dual(loss)
            loss, wanted = primal.sum() * scale, along
        else:
            loss, wanted = F.cross_entropy(logits, target_, reduction=reduction).sum() * scale, scale
            (g,) = cr.autograd.grad(loss, logits, create_graph=True)
            second = g * along
        loss.backward()
        found.append(cr.autograd.grad(second.sum(), wanted)[0].cpu().numpy())
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_second_derivatives(emulated):
    found = []
    x, target = arrays((6, 5))
    for device in ("fake", "cpu"):
        t = cr.tensor(x, device=device, requires_grad=True)
        loss = F.cross_entropy(t, cr.tensor(target, device=device), label_smoothing=0.1)
        (g,) = cr.autograd.grad(loss, t, create_graph=True)
        g.square().sum().backward()
        found.append(t.grad.cpu().numpy())
    np.testing.assert_allclose(*found, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_under_autocast_the_loss_is_float32_and_the_logits_stay(emulated, dtype, reduction):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    found = []
    x, target = arrays((6, 5))
    dtype = getattr(cr, dtype)
    for device in ("fake", "cpu"):
        t = cr.tensor(x, dtype=dtype).to(device).detach().requires_grad_()
        with cr.autocast(device, dtype=dtype):
            loss = F.cross_entropy(t, cr.tensor(target, device=device), reduction=reduction)
        assert loss.dtype is cr.float32
        if device == "fake":
            assert slope_of(loss).dtype == t._array.dtype
        loss.sum().backward()
        assert t.grad.dtype is dtype
        found.append([one.detach().cpu().float().numpy() for one in (loss, t.grad)])
    for there, here in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    with cr.autocast("cpu", enabled=False):
        t = cr.tensor(x, dtype=dtype)
        assert F.cross_entropy(t, cr.tensor(target)).dtype is dtype
