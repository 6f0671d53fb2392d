"""Losses of classical learning machines, and the perceptron."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

F = nn.functional
ERRORS = cr.tensor([0.2, 0.5, 1.0, 1.5, -3.0], dtype=cr.float64)
NONE = cr.zeros(5, dtype=cr.float64)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda: F.half_squared_loss(ERRORS, NONE, reduction="none"), [0.02, 0.125, 0.5, 1.125, 4.5]),
        (lambda: F.epsilon_insensitive_loss(ERRORS, NONE, 0.5, reduction="none"), [0, 0, 0.5, 1, 2.5]),
        (lambda: F.huber_loss(ERRORS, NONE, reduction="none"), [0.02, 0.125, 0.5, 1, 2.5]),
    ],
)
def test_of_errors(loss, expected):
    np.testing.assert_allclose(loss().numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (F.hinge_loss, [0.7, 1.5, 0]),
        (F.perceptron_loss, [0, 0.5, 0]),
        (F.soft_margin_loss, [0.554355, 0.974077, 0.126928]),
    ],
)
def test_of_margins(loss, expected):
    """Margins y f of 0.3, -0.5 and 2, with both labels."""
    f, y = cr.tensor([0.3, 0.5, 2.0], dtype=cr.float64), cr.tensor([1, -1, 1.0], dtype=cr.float64)
    np.testing.assert_allclose(loss(f, y, reduction="none").numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(loss(-f, -y, reduction="sum").item(), sum(expected), atol=1e-6)
    with pytest.raises(RuntimeError, match="must have the shape"):
        loss(f, y[:2])


def test_the_logistic_loss_does_not_overflow():
    f = cr.tensor([-1000.0, 1000.0], requires_grad=True)
    loss = F.soft_margin_loss(f, cr.ones(2), reduction="none")
    assert loss.tolist() == [1000, 0]
    loss.sum().backward()
    assert f.grad.tolist() == [-1, 0]


def test_errors():
    with pytest.raises(ValueError, match="epsilon must be at least 0"):
        F.epsilon_insensitive_loss(ERRORS, NONE, -1)
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        nn.HingeLoss(reduction="max")


def train(x, y):
    """The perceptron: one example at a time, SGD with rate 1 on its loss, until a pass makes no mistake; (w, b, updates)."""
    w, b = (
        cr.zeros(2, dtype=cr.float64, requires_grad=True),
        cr.zeros((), dtype=cr.float64, requires_grad=True),
    )
    optimizer, updates, mistakes = cr.optim.SGD([w, b], lr=1.0), 0, True
    while mistakes:
        mistakes = 0
        for one, label in zip(x, y, strict=True):
            optimizer.zero_grad()
            F.perceptron_loss(w @ one + b, label, reduction="sum").backward()
            mistakes += int(b.grad.item() != 0)
            optimizer.step()
        updates += mistakes
    return w.tolist(), b.item(), updates


def test_the_perceptron_learns_four_points_in_one_update():
    x = cr.tensor([[2, 1], [1, 2], [-1, -1], [-2, -0.5]], dtype=cr.float64)
    assert train(x, cr.tensor([1, 1, -1, -1], dtype=cr.float64)) == ([2, 1], 1, 1)


def test_the_perceptron_stops_within_novikoffs_bound():
    points = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    score = points @ [0.6, 0.8] + 0.1
    kept = np.abs(score) > 0.1
    points, score = points[kept], score[kept]
    margin, radius = np.abs(score).min(), np.linalg.norm(points, axis=1).max()
    bound = (0.1**2 + 1) * (radius**2 + 1) / margin**2
    assert (len(points), margin, radius) == (
        165,
        pytest.approx(0.103987, abs=1e-6),
        pytest.approx(1.383359, abs=1e-6),
    )
    assert bound == pytest.approx(272.1, abs=0.1)
    _, _, updates = train(cr.tensor(points), cr.tensor(np.sign(score)))
    assert updates == 20 < bound
