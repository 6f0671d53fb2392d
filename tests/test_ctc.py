"""The loss of unaligned sequences: layouts, what no alignment explains, lengths of 0, and PyTorch's numbers."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.functional import ctc_loss
from tests.rows.ctc import LABELS, STEPS, TARGETS, by_counting

X = np.random.default_rng(0).normal(size=(9, 4, 6))
LONG = np.array([[3, 1, 3], [2, 2, 2], [4, 5, 1], [1, 2, 3]])


def log_probs(x=X, requires_grad=True):
    leaf = cr.tensor(x, requires_grad=requires_grad)
    return leaf, leaf.log_softmax(2)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("steps", [(9, 7, 5, 9), (2, 9, 0, 1)], ids=["enough", "short"])
def test_pytorchs_numbers(torch, reduction, zero_infinity, steps):
    counts = (3, 3, 2, 0)
    settings = {"reduction": reduction, "zero_infinity": zero_infinity}
    x, ours = log_probs()
    ours = ctc_loss(ours, cr.tensor(LONG), steps, counts, **settings)
    y = torch.tensor(X, requires_grad=True)
    theirs = torch.nn.functional.ctc_loss(y.log_softmax(2), torch.tensor(LONG), steps, counts, **settings)
    np.testing.assert_allclose(ours.detach(), theirs.detach(), rtol=1e-10, atol=1e-12)
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(x.grad, y.grad, rtol=1e-9, atol=1e-12)


def test_all_layouts_agree():
    _, p = log_probs(requires_grad=False)
    expected = ctc_loss(
        p, cr.tensor(LONG), cr.tensor([9, 7, 5, 9]), cr.tensor([3, 3, 2, 0]), reduction="none"
    )
    joined = cr.tensor(np.concatenate([LONG[0], LONG[1], LONG[2, :2]]))
    for targets, steps in ((joined, [9, 7, 5, 9]), (joined.int(), (9, 7, 5, 9))):
        np.testing.assert_array_equal(ctc_loss(p, targets, steps, (3, 3, 2, 0), reduction="none"), expected)
    for n, (length, count) in enumerate(((9, 3), (7, 3), (5, 2), (9, 0))):
        alone = ctc_loss(p[:, n], cr.tensor(LONG[n]), cr.tensor(length), cr.tensor(count), reduction="none")
        assert alone.shape == () and alone.item() == pytest.approx(expected[n].item(), rel=1e-12)


def test_another_blank():
    x = np.log(np.random.default_rng(3).dirichlet(np.ones(3), size=(4, 3)))
    moved = cr.tensor(x[:, :, [1, 2, 0]])
    found = ctc_loss(moved, cr.tensor(TARGETS - 1), STEPS, LABELS, blank=2, reduction="none")
    np.testing.assert_allclose(found, by_counting(x, TARGETS, STEPS, LABELS), rtol=1e-12)


def test_what_no_alignment_explains(device):
    """Three equal labels need five steps: with four the loss is inf and its gradient NaN, or both are 0."""
    for zero, loss, gradient in ((False, np.inf, np.nan), (True, 0, 0)):
        x = cr.tensor(X[:, :1], device=device, requires_grad=True)
        settings = {"reduction": "sum", "zero_infinity": zero}
        targets = cr.tensor([[2, 2, 2]], device=device)
        found = ctc_loss(x.log_softmax(2), targets, [4], [3], **settings)
        found.backward()
        assert found.item() == loss
        np.testing.assert_array_equal(x.grad.cpu().numpy()[:4, 0], np.full((4, 6), gradient))
        assert (x.grad[4:] == 0).all()
    assert ctc_loss(x.log_softmax(2), targets, [5], [3]).isfinite().item()


def test_impossible_classes():
    """A log-probability of -inf closes some paths; the gradient of the others is right, and its own 0."""
    p = np.log(np.full((3, 1, 3), 1 / 3))
    p[0, 0, 0] = -np.inf
    x = cr.tensor(p, requires_grad=True)
    loss = ctc_loss(x, cr.tensor([[1]]), [3], [1], reduction="sum")
    loss.backward()
    # Blank first is out; of 1__, 11_, 111 all are left.
    assert loss.item() == pytest.approx(np.log(27 / 3))
    np.testing.assert_allclose(
        x.grad[:, 0], [[0, -1, 0], [-1 / 3, -2 / 3, 0], [-2 / 3, -1 / 3, 0]], atol=1e-12
    )


def test_long_sequences_do_not_underflow():
    x = cr.full((3000, 1, 4), float(np.log(0.25)), requires_grad=True)
    loss = ctc_loss(x, cr.ones(1, 20, dtype=cr.int64), [3000], [20], reduction="none")
    loss.backward()
    assert loss.isfinite().all() and loss.item() > 1000
    np.testing.assert_allclose(x.grad.sum(2), -np.ones((3000, 1)), rtol=1e-3)


def test_third_derivative():
    targets = cr.tensor([[1, 1]])
    x = cr.tensor(X[:4, :1, :3], requires_grad=True)

    def second(x):
        x = x if x.requires_grad else x.detach().requires_grad_()
        with cr.enable_grad():
            (g,) = cr.autograd.grad(ctc_loss(x.log_softmax(2), targets, [4], [2]), x, create_graph=True)
            return cr.autograd.grad((g * g).sum(), x, create_graph=True)[0]

    assert cr.autograd.gradcheck(second, [x])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, t: ctc_loss(p, t, [4, 4], [2, 2], blank=3), RuntimeError, "blank must be one of the 3"),
        (
            lambda p, t: ctc_loss(p, t, [4], [2, 2]),
            RuntimeError,
            "input_lengths must have one length for each",
        ),
        (lambda p, t: ctc_loss(p, t, [4, 5], [2, 2]), RuntimeError, "input_lengths must be from 0 to the 4"),
        (lambda p, t: ctc_loss(p, t, [4, 4], [2, 3]), RuntimeError, "target_lengths must be at most 2"),
        (lambda p, t: ctc_loss(p, t, [4, 4], [2, -1]), RuntimeError, "target_lengths must be at least 0"),
        (lambda p, t: ctc_loss(p, t.flatten(), [4, 4], [2, 3]), RuntimeError, "name 5 labels, got 4"),
        (lambda p, t: ctc_loss(p, t[:1], [4, 4], [2, 2]), RuntimeError, r"targets \(2, S\)"),
        (lambda p, t: ctc_loss(p[0, 0], t, [4, 4], [2, 2]), RuntimeError, r"\(T, N, C\) or \(T, C\)"),
        (lambda p, t: ctc_loss(p, t.double(), [4, 4], [2, 2]), TypeError, "integer"),
        (lambda p, t: ctc_loss(p, t, [4.0, 4], [2, 2]), TypeError, "input_lengths must be ints"),
        (lambda p, t: ctc_loss(p, t, [4, 4], [2, 2], reduction="max"), ValueError, "reduction"),
    ],
)
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=f"ctc_loss.*{words}"):
        call(cr.zeros(4, 2, 3), cr.ones(2, 2, dtype=cr.int64))
