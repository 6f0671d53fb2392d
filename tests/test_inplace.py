"""In-place writes and views: right, or refused."""

import numpy as np
import pytest

import chainrule as cr


def leaf(*values):
    return cr.tensor(list(values), dtype=cr.float64, requires_grad=True)


def test_writes_are_differentiated():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y += x
    y.mul_(y)
    y[0] = 7.0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 18 * 2.0, 18 * 3.0]


def test_a_view_made_before_a_write_follows_it():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 1
    v = y[1:]
    y.mul_(x)
    assert v.tolist() == [4.0, 9.0]
    v.sum().backward()
    assert x.grad.tolist() == [0.0, 4.0, 6.0]


def test_a_write_through_a_view_reaches_the_base_and_other_views():
    x, w = leaf(1.0, 2.0, 3.0), leaf(10.0)
    y = x * 1
    other = y.view(3, 1)[1:]
    y[1:2].mul_(w)
    assert y.tolist() == [1.0, 20.0, 3.0]
    (y.sum() + other.sum()).backward()
    assert x.grad.tolist() == [1.0, 20.0, 2.0] and w.grad.tolist() == [4.0]


def test_chains_of_views():
    x = leaf(*range(1, 7))
    y = (x * 1).view(2, 3)
    y.t()[1].squeeze().copy_(x[:2] * 5)
    y[0][0].fill_(9.0)
    y.sum().backward()
    assert y.tolist() == [[9.0, 5.0, 3.0], [4.0, 10.0, 6.0]]
    assert x.grad.tolist() == [5.0, 5.0, 1.0, 1.0, 0.0, 1.0]


def test_a_constant_tensor_becomes_part_of_the_graph():
    x = leaf(2.0)
    buffer = cr.zeros(3, dtype=cr.float64)
    for i in range(3):
        buffer[i] = x[0] * (i + 1)
    assert buffer.requires_grad
    (buffer * buffer).sum().backward()
    assert x.grad.item() == 2 * 2 * (1 + 4 + 9)


def test_masks_and_integer_indices():
    x = leaf(-1.0, 2.0, -3.0)
    y = x * 2
    y[y < 0] = 0
    y[cr.tensor([1])] = y[cr.tensor([1])] * 3
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 6.0, 0.0]


def test_the_value_saved_before_its_own_write_is_kept():
    """PyTorch refuses x.mul_(w) when w needs the old x; here the old x is kept for it."""
    x, w = leaf(2.0), leaf(3.0)
    y = x * 1
    y.mul_(w)
    y.pow_(2)
    y.backward()
    assert w.grad.item() == 2 * 6 * 2 and x.grad.item() == 2 * 6 * 3


@pytest.mark.parametrize("write", ["base", "view", "detach", "data"])
def test_overwriting_a_saved_value_is_refused(write):
    x = leaf(1.0, 2.0)
    h = x * 2
    y = (h * h).sum()
    target = {"base": h, "view": h[:1], "detach": h.detach(), "data": h.data}[write]
    with cr.no_grad():
        target.zero_()
    with pytest.raises(RuntimeError, match=r"multiply: .*shape \(2,\).*in-place operation.*version 1"):
        y.backward()
    assert x.grad is None


def test_writing_what_nobody_saved_is_harmless():
    x = leaf(1.0, 2.0)
    h = x * 2
    y = (h + 1).sum()
    h.zero_()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_leaves_refuse():
    x = leaf(1.0, 2.0)
    for write in (
        lambda: x.add_(1),
        lambda: x[0].fill_(3.0),
        lambda: x.__setitem__(0, 1.0),
        lambda: x.view(2, 1).zero_(),
    ):
        with pytest.raises(RuntimeError, match="leaf Tensor that requires grad"):
            write()
    assert x.tolist() == [1.0, 2.0]
    with cr.no_grad():
        x.add_(1)
    assert x.tolist() == [2.0, 3.0] and x.is_leaf and x.requires_grad


def test_expanded_memory_refuses():
    with pytest.raises(RuntimeError, match="expanded"):
        cr.ones(1, 3).expand(2, 3).add_(1)


def test_read_only_memory_refuses():
    array = np.ones(3)
    array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        cr.from_numpy(array).add_(1)


def test_shapes_and_dtypes_that_do_not_fit_leave_everything_as_it_was():
    x = cr.ones(2)
    with pytest.raises(RuntimeError, match=r"\(2,\).*\(3, 2\)"):
        x.add_(cr.ones(3, 2))
    for shape in [(3,), (1, 2), (0,)]:
        with pytest.raises(
            RuntimeError, match=rf"copy_: a source of shape \({shape[0]}.*does not broadcast to \(2,\)"
        ):
            x.copy_(cr.ones(shape))
    n = cr.tensor([1, 2])
    with pytest.raises(RuntimeError, match="can't be cast"):
        n.add_(0.5)
    assert x.tolist() == [1.0, 1.0] and n.tolist() == [1, 2] and x._version == 0


def test_versions_count_writes_and_views_share_them():
    x = cr.ones(4)
    v = x[1:].view(3, 1)
    assert x._version == 0
    x.add_(1)
    v.mul_(2)
    assert x._version == v._version == x.detach()._version == 2
    assert v._base is x


def test_zero_and_fill_cut_the_past():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.zero_()
    assert y.requires_grad
    (y + x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_in_place_on_a_view_under_no_grad_then_used():
    w = leaf(1.0, 2.0)
    v = w.view(2, 1)
    with cr.no_grad():
        w.mul_(3)
    v.sum().backward()
    assert v.tolist() == [[3.0], [6.0]] and w.grad.tolist() == [1.0, 1.0]


def test_numpy_ufuncs_and_functions_are_recorded_or_refused():
    x = leaf(1.0, 2.0)
    y = np.sin(x) + np.array([1.0, 2.0]) * x
    assert isinstance(y, cr.Tensor) and isinstance(np.concatenate([x, x]), cr.Tensor)
    np.sum(y).backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([1.0, 2.0]) + [1.0, 2.0])
    with pytest.raises(TypeError, match="frexp"):
        np.frexp(x)
    with pytest.raises(TypeError, match="partition"):
        np.partition(x, 1)
    with pytest.raises(RuntimeError, match="detach"):
        np.asarray(x)
    array = np.ones(2)
    with pytest.raises(TypeError):
        array += x


@pytest.mark.torch
def test_random_programs_of_writes_and_views_agree_with_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    for _ in range(200):
        start, other = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
        picks = rng.integers(0, 6, 6)

        def program(lib, picks=picks, start=start, other=other):
            x, w = lib.tensor(start, requires_grad=True), lib.tensor(other, requires_grad=True)
            y = x * 1.5
            early = y[1:, ::2]
            for pick in picks:
                if pick == 0:
                    y[0] = w[0] * 2
                elif pick == 1:
                    y.t()[1].add_(w[:, 1])
                elif pick == 2:
                    y[:, 2:].mul_(0.5)
                elif pick == 3:
                    y[1][2:] = 3.0
                elif pick == 4:
                    y.view(-1)[::3].sub_(w.reshape(-1)[:4])
                else:
                    early.add_(1.0)
            loss = (y * w).sum() + (early * 2).sum()
            loss.backward()
            return loss.item(), x.grad.numpy(), w.grad.numpy()

        ours, theirs = program(cr), program(torch)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
