"""Sequences of steps worked out by hand from the papers' formulas, on one parameter."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import lr_scheduler


def path(cls, gradients, start=1.0, before=None, **options):
    """The values of a parameter that begins at `start` and is given these gradients, or a function of its value."""
    theta = cr.tensor(start, dtype=cr.float64, requires_grad=True)
    optimizer = cls([theta], **options)
    if before:
        optimizer.state[theta] = {key: cr.tensor(value, dtype=cr.float64) for key, value in before.items()}
    values = []
    for g in gradients:
        theta.grad = cr.tensor(float(g(theta.item()) if callable(g) else g), dtype=cr.float64)
        optimizer.step()
        values.append(theta.item())
    return np.array(values), optimizer.state[theta]


FOUR = [0.5, -1, 2, 0.25]


def test_momentum_in_its_velocity_form():
    values, _ = path(optim.SGD, FOUR, lr=0.1, momentum=0.9)
    np.testing.assert_allclose(values, [0.95, 1.005, 0.8545, 0.69405], rtol=1e-12)


def test_momentum_as_a_running_mean_moves_by_a_tenth():
    expected = [0.995, 1.0005, 0.98545, 0.969405]
    values, _ = path(optim.SGD, FOUR, lr=0.01, momentum=0.9)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    # Dampening is this mean, once the velocity begins at 0 and not, as PyTorch's does, at the first gradient.
    values, _ = path(optim.SGD, FOUR, lr=0.1, momentum=0.9, dampening=0.9, before={"momentum_buffer": 0.0})
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    values, _ = path(optim.SGD, FOUR, lr=0.1, momentum=0.9, dampening=0.9)
    assert values[0] == pytest.approx(0.95, rel=1e-12)


def test_momentum_speeds_a_constant_gradient_up_tenfold():
    values, _ = path(optim.SGD, [1.0] * 300, lr=0.1, momentum=0.9)
    assert values[-2] - values[-1] == pytest.approx(10 * 0.1, rel=1e-10)


def test_nesterov_is_the_look_ahead_method_in_another_variable():
    """The parameter holds y = theta - eta mu b; theta itself is Nesterov's sequence."""
    lr, mu = 0.1, 0.9
    theta, velocity, expected = 1.0, 0.0, []
    for _ in range(60):
        velocity = mu * velocity + lr * (theta - mu * velocity)
        theta -= velocity
        expected.append(theta)
    np.testing.assert_allclose(expected[:4], [0.9, 0.729, 0.51759, 0.2945889], rtol=1e-7)
    assert abs(expected[-1]) == pytest.approx(0.001818, rel=1e-3)
    y = cr.tensor(1.0, dtype=cr.float64, requires_grad=True)
    optimizer = optim.SGD([y], lr=lr, momentum=mu, nesterov=True)
    for value in expected:
        optimizer.zero_grad()
        (y * y / 2).backward()
        optimizer.step()
        b = optimizer.state[y]["momentum_buffer"].item()
        assert y.item() + mu * lr * b == pytest.approx(value, rel=1e-12, abs=1e-12)


def test_heavy_ball_on_the_same_bowl():
    values, _ = path(optim.SGD, [lambda theta: theta] * 60, lr=0.1, momentum=0.9)
    np.testing.assert_allclose(values[:4], [0.9, 0.72, 0.486, 0.2268], rtol=1e-12)
    assert abs(values[-1]) == pytest.approx(0.0381, abs=5e-5)


def test_adagrad():
    values, state = path(optim.Adagrad, FOUR, lr=0.1, eps=0)
    np.testing.assert_allclose(values, [0.9, 0.989442719, 0.902155563, 0.891309040], atol=1e-9)
    # The same from the root of the mean square, with a step size that falls as 1/sqrt(t).
    theta, squares = 1.0, []
    for t, g in enumerate(FOUR, 1):
        squares.append(g * g)
        theta -= 0.1 / math.sqrt(t) / math.sqrt(sum(squares) / t) * g
        assert values[t - 1] == pytest.approx(theta, rel=1e-12)
    assert state["sum"].item() == sum(squares)
    values, _ = path(optim.Adagrad, FOUR, lr=0.1, eps=0, initial_accumulator_value=1)
    np.testing.assert_allclose(values, [0.955278640, 1.021945307, 0.941945307, 0.931994935], atol=1e-9)
    values, _ = path(optim.Adagrad, FOUR, lr=0.1, eps=1e-7)
    assert values[0] == pytest.approx(0.90000002, abs=1e-9)


def test_rmsprop_from_zero():
    values, _ = path(optim.RMSprop, FOUR, lr=0.1, alpha=0.9, eps=0)
    np.testing.assert_allclose(values, [0.683772234, 0.969486520, 0.689499119, 0.652856051], atol=1e-9)


def test_adam():
    values, _ = path(optim.Adam, FOUR, lr=0.1)
    np.testing.assert_allclose(values, [0.900000002, 0.936610354, 0.894644793, 0.854164996], atol=1e-9)


def test_nadam():
    values, _ = path(optim.NAdam, FOUR, lr=0.1)
    np.testing.assert_allclose(values, [0.894354823, 0.985010571, 0.888241394, 0.869419524], atol=1e-9)


def test_amsgrad_remembers_a_large_gradient():
    few = [10, 0.1, 0.1, 0.1]
    values, _ = path(optim.Adam, few, lr=0.1, betas=(0.9, 0.9))
    np.testing.assert_allclose(values, [0.9, 0.830414427, 0.774467473, 0.726723487], atol=1e-8)
    values, _ = path(optim.Adam, few, lr=0.1, betas=(0.9, 0.9), amsgrad=True)
    np.testing.assert_allclose(values, [0.9, 0.833981661, 0.783623498, 0.742851391], atol=1e-8)


def one_step(penalty, g=0.5, lr=0.1, **options):
    """theta = 1 after one step on g theta + penalty(theta)."""
    theta = cr.tensor(1.0, dtype=cr.float64, requires_grad=True)
    (g * theta + penalty(theta)).backward()
    optim.SGD([theta], lr=lr, **options).step()
    return theta.item()


def test_forms_of_weight_decay():
    lr, decay = 0.1, 0.01

    def nothing(theta):
        return 0 * theta

    in_gradient = one_step(nothing, weight_decay=decay)
    assert in_gradient == pytest.approx(0.949, rel=1e-12)
    assert one_step(lambda theta: decay / 2 * theta**2) == pytest.approx(in_gradient, rel=1e-12)
    # Over a mini-batch of ten, and shrinking by the decay itself instead of by lr times it.
    assert one_step(nothing, weight_decay=decay / 10) == pytest.approx(0.9499, rel=1e-12)
    assert one_step(nothing, weight_decay=decay / lr) == pytest.approx(0.94, rel=1e-12)
    assert one_step(lambda theta: decay * theta.abs()) == pytest.approx(0.949, rel=1e-12)


def test_decay_shrinks_by_a_factor_and_an_absolute_penalty_by_an_amount():
    for start, expected in ((10, 3.66032), (0.1, 0.0366032)):
        values, _ = path(optim.SGD, [0] * 100, start, lr=0.1, weight_decay=0.1)
        assert values[-1] == pytest.approx(expected, rel=1e-5)
    values, _ = path(optim.SGD, [lambda theta: 0.1 * math.copysign(1, theta)] * 100, 10.0, lr=0.1)
    assert values[-1] == pytest.approx(9, rel=1e-12)


def test_decoupled_decay_differs_from_decay_in_the_gradient_under_adam():
    coupled, _ = path(optim.Adam, FOUR, lr=0.1, weight_decay=0.5)
    decoupled, _ = path(optim.AdamW, FOUR, lr=0.1, weight_decay=0.5)
    # The first step of Adam has the size lr whatever the gradient is, so coupled decay does nothing there.
    assert coupled[0] == pytest.approx(0.9, abs=1e-8)
    assert decoupled[0] == pytest.approx(0.95 - 0.1, abs=1e-8)


def test_asgd_averages_from_the_second_step_after_t0():
    values, state = path(optim.ASGD, FOUR, lr=0.1, lambd=0, t0=1)
    np.testing.assert_allclose(values, 1 - 0.1 * np.cumsum(FOUR), rtol=1e-12)
    assert state["ax"].item() == pytest.approx(values[2:].mean(), rel=1e-12)


def rates(schedule, steps, start=0.2):
    """The first rates of a schedule."""
    optimizer = optim.SGD([cr.zeros(1, requires_grad=True)], lr=start)
    scheduler = schedule(optimizer)
    taken = []
    for _ in range(steps):
        taken.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return taken


@pytest.mark.parametrize(
    ("schedule", "start", "expected"),
    [
        (lambda o: lr_scheduler.LambdaLR(o, lambda e: 1 / (1 + e)), 0.2, [0.2, 0.1, 0.066667, 0.05, 0.04]),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.95), 0.2, [0.2, 0.19, 0.1805, 0.171475]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: (t + 1) ** -0.5), 0.2, [0.2, 0.141421, 0.115470, 0.1]),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (10 + t)), 1.0, [0.1, 0.090909, 0.083333]),
        (lambda o: lr_scheduler.ExponentialLR(o, math.exp(-0.1)), 1.0, [1, 0.904837, 0.818731]),
        (lambda o: lr_scheduler.InverseTimeLR(o), 0.2, [0.2, 0.1, 0.066667, 0.05, 0.04]),
        (lambda o: lr_scheduler.InverseTimeLR(o, decay=0.5), 0.2, [0.2, 0.133333, 0.1, 0.08]),
        (lambda o: lr_scheduler.InverseSqrtLR(o), 0.2, [0.2, 0.141421, 0.115470, 0.1]),
        (lambda o: lr_scheduler.InverseSqrtLR(o, k=3), 0.2, [0.6, 0.424264, 0.346410, 0.3]),
        (lambda o: lr_scheduler.PowerLR(o, beta=10), 1.0, [0.1, 0.090909, 0.083333]),
        (lambda o: lr_scheduler.PowerLR(o, beta=4, power=0.5), 1.0, [0.5, 0.447214, 0.408248]),
        (lambda o: lr_scheduler.PowerLR(o, beta=1, power=0.75), 2.0, [2.0, 1.189207, 0.877383]),
        (lambda o: lr_scheduler.NaturalExponentialLR(o, 0.1), 1.0, [1, 0.904837, 0.818731]),
    ],
)
def test_schedules(schedule, start, expected):
    np.testing.assert_allclose(rates(schedule, len(expected), start), expected, rtol=1e-5)


def test_ten_and_thirty_decays_by_a_tenth():
    taken = rates(lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9), 31, 1.0)
    assert taken[10] == pytest.approx(0.348678, abs=1e-6)
    assert taken[30] == pytest.approx(0.042391, abs=1e-6)
