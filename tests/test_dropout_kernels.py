"""Dropout by a kernel that computes its mask anew: bit for bit what the CPU gives with a mask that it keeps, and no mask in memory."""

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.checkpoint import checkpoint
from chainrule.backends import default_generator
from tests.kernels.recorder import capture

WAYS = {
    "dropout": (F.dropout, (31, 33)),
    "dropout1d": (F.dropout1d, (3, 5, 40)),
    "dropout2d": (F.dropout2d, (2, 6, 5, 8)),
    "dropout3d": (F.dropout3d, (2, 3, 2, 3, 4)),
    "one": (F.dropout, (1,)),
    "scalar": (F.dropout, ()),
}


def tensors(shape, dtype, **options):
    x = np.random.default_rng(5).standard_normal(shape)
    return [cr.tensor(x, dtype=dtype, **options).to(device).detach() for device in ("fake", "cpu")]


def bits(tensor):
    array = tensor.detach().cpu().numpy()
    return array.view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_the_same_bits_forward_and_backward(emulated, way, inplace, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    function, shape = WAYS[way]
    results = []
    for x in tensors(shape, getattr(cr, dtype)):
        cr.manual_seed(7)
        x.requires_grad_()
        y = function(x * 1, 0.3, True, inplace)
        y.backward(x.detach())
        results.append((bits(y), bits(x.grad), default_generator.position()))
    (*there, at), (*here, right) = results
    assert np.array_equal(there[0], here[0]) and np.array_equal(there[1], here[1]) and at == right
    assert sum(one.startswith("dropout") for one in emulated.launched) == 2


def test_no_mask_is_kept(emulated):
    there, here = tensors((40, 5), cr.float32)
    for x, kept in ((there, None), (here, np.ndarray)):
        y = F.dropout(x.requires_grad_(), 0.5)
        (mask,) = y.grad_fn.saved
        assert mask is None if kept is None else isinstance(mask, kept) and mask.dtype == bool


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything_dropped(emulated, p):
    for x in tensors((9,), cr.float32):
        y = F.dropout(x.requires_grad_(), p)
        y.sum().backward()
        assert np.array_equal(bits(y), bits(x) * (p == 0)) and x.grad.tolist() == [1 - p] * 9


def test_what_the_kernel_is_not_for_takes_the_same_numbers(emulated):
    """An input with gaps, and a gradient with gaps: array code, with masks of the same place."""
    results = []
    for x in tensors((6, 8), cr.float32):
        cr.manual_seed(2)
        x.requires_grad_()
        y, z = F.dropout(x.T, 0.5), F.dropout(x, 0.5)
        (y.sum() + (z.T * x.detach().T.contiguous()).sum()).backward()
        results.append([bits(one) for one in (y, z, x.grad)])
    for there, here in zip(*results, strict=True):
        assert np.array_equal(there, here)


def test_derivatives_of_both_modes_and_of_second_order(emulated):
    results = []
    for x in tensors((5, 7), cr.float64):
        cr.manual_seed(3)
        x.requires_grad_()
        y = F.dropout(x, 0.4)
        (g,) = cr.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        g.square().sum().backward()
        _, tangent = cr.func.jvp(lambda x: F.dropout(x, 0.4), (x.detach(),), (x.detach().cos(),))
        results.append([one.detach().cpu().numpy() for one in (x.grad, tangent)])
    for there, here in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-14)
    assert "dropout" in emulated.launched


@pytest.mark.parametrize("randomness", ["same", "different", "error"])
def test_inside_vmap(emulated, randomness):
    results = []
    for x in tensors((4, 6), cr.float32):
        cr.manual_seed(3)

        def gradient(row):
            return cr.func.grad(lambda row: F.dropout(row, 0.5).square().sum())(row)

        if randomness == "error":
            with pytest.raises(RuntimeError, match="random operation"):
                cr.func.vmap(gradient)(x)
            continue
        results.append(bits(cr.func.vmap(gradient, randomness=randomness)(x)))
    assert len(results) == 0 or np.array_equal(*results)


def test_gradients_of_a_batch_through_one_mask(emulated):
    """The forward is outside of vmap, with a kernel; the gradients are a batch."""
    results = []
    for x in tensors((6,), cr.float32):
        cr.manual_seed(3)
        y = F.dropout(x.requires_grad_(), 0.5)
        eye = cr.eye(6, device=x.device)
        results.append(bits(cr.autograd.grad(y, x, eye, is_grads_batched=True)[0]))
    assert np.array_equal(*results) and 0 < np.count_nonzero(results[0]) < 6


def test_checkpoints_draw_the_same_again(emulated):
    results = []
    for x in tensors((8, 9), cr.float32):
        cr.manual_seed(3)
        x.requires_grad_()
        y = checkpoint(lambda x: F.dropout(x, 0.5).square(), x, use_reentrant=False)
        y.sum().backward()
        results.append([bits(y), bits(x.grad)])
    for there, here in zip(*results, strict=True):
        assert np.array_equal(there, here)


def test_a_captured_step_draws_a_new_mask_in_every_replay(emulated):
    def step(x):
        x.grad = None
        y = F.dropout(F.dropout(x, 0.3), 0.5)
        y.backward(x.detach())
        return y.detach(), x.grad

    there, here = (x.requires_grad_() for x in tensors((33, 5), cr.float32))
    cr.manual_seed(11)
    generator = default_generator
    (y, g), replay = capture(generator, lambda: step(there))
    found = []
    for _ in range(3):
        replay()
        found.append([bits(y).copy(), bits(g).copy()])
    position = generator.position()
    cr.manual_seed(11)
    for ours in found:
        for there, right in zip(ours, step(here), strict=True):
            assert np.array_equal(there, bits(right))
    assert position == generator.position() and not np.array_equal(found[0][0], found[1][0])
