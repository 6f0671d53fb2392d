"""Other forms of the methods: their sequences worked out by hand, and what is added to any optimizer."""

import copy
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import additions, variants

FOUR = [0.5, -1, 2, 0.25]


def leaf(values):
    return cr.tensor(values, dtype=cr.float64, requires_grad=True)


def path(cls, gradients, start=1.0, **options):
    """The values of a parameter that begins at `start` and is given these gradients."""
    theta = leaf(start)
    optimizer = cls([theta], **options)
    values = []
    for g in gradients:
        theta.grad = cr.tensor(float(g), dtype=cr.float64)
        optimizer.step()
        values.append(theta.item())
    return values, optimizer.state[theta]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("AveragedMomentum", {}, [0.995, 1.0005, 0.98545, 0.969405]),
        ("GradientPlusMemory", {}, [0.945, 1.0505, 0.83545, 0.794405]),
        ("MeanAdagrad", {"eps": 0}, [0.9, 1.026491106, 0.875305317, 0.853612271]),
        (
            "WindowAdagrad",
            {"window": 2, "initial_accumulator_value": 1},
            [0.955278640, 1.021945307, 0.940295649, 0.929184538],
        ),
        ("RMSpropFromFirst", {"alpha": 0.9, "eps": 0}, [0.9, 1.075411604, 0.835074897, 0.803565351]),
        ("BiasedAdam", {}, [0.683774234, 0.839352844, 0.631613724, 0.411338494]),
        ("AdamEpsInRoot", {}, [0.900000002, 0.936610354, 0.894644793, 0.854164996]),
        ("ConstantNAdam", {}, [0.852631582, 0.942296856, 0.856765945, 0.819863853]),
    ],
)
def test_four_steps(name, options, expected):
    values, _ = path(getattr(variants, name), FOUR, lr=0.1, **options)
    np.testing.assert_allclose(values, expected, atol=2e-9)


def test_averaged_momentum_corrects_its_bias():
    values, _ = path(variants.AveragedMomentum, [1.0] * 5, lr=0.1, bias_correction=True)
    np.testing.assert_allclose(values, [0.9, 0.8, 0.7, 0.6, 0.5], rtol=1e-12)


def test_the_memory_may_have_a_rate_of_its_own():
    values, state = path(variants.GradientPlusMemory, [1.0], lr=0.1, memory_lr=2.0)
    assert values == pytest.approx([1 - 0.1 - 0.2])
    assert state["momentum_buffer"].item() == pytest.approx(0.1)


def test_nesterov_looking_ahead_and_its_other_variable():
    """The look-ahead method's theta is y + lr mu b of `SGD(nesterov=True)`, whose parameter is y."""
    lr, mu = 0.1, 0.9
    theta, y = leaf(1.0), leaf(1.0)
    ahead, plain = (
        variants.LookAheadNesterov([theta], lr=lr, momentum=mu),
        optim.SGD([y], lr, mu, nesterov=True),
    )

    def closure_of(optimizer, x):
        def closure():
            optimizer.zero_grad()
            loss = x * x / 2
            loss.backward()
            return loss

        return closure

    values = []
    for _ in range(60):
        ahead.step(closure_of(ahead, theta))
        plain.step(closure_of(plain, y))
        values.append(theta.item())
        b = plain.state[y]["momentum_buffer"].item()
        assert y.item() + lr * mu * b == pytest.approx(theta.item(), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(values[:4], [0.9, 0.729, 0.51759, 0.2945889], rtol=1e-7)
    assert abs(values[-1]) == pytest.approx(0.001818, rel=1e-3)


def test_looking_ahead_is_undone_if_the_closure_fails():
    theta = leaf([1.0, 2.0])
    optimizer = variants.LookAheadNesterov([theta], lr=0.1)
    theta.grad = cr.ones(2, dtype=cr.float64)
    optimizer.step(lambda: None)
    before = theta.tolist()
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    assert theta.tolist() == before
    with pytest.raises(TypeError, match="closure"):
        optimizer.step()


def test_one_accumulator_for_a_whole_vector_or_one_for_each_element():
    theta = leaf([1.0, 1.0])
    theta.grad = cr.tensor([3.0, 4.0], dtype=cr.float64)
    norm, elements = variants.NormAdagrad([theta], lr=0.1, eps=0), optim.Adagrad([theta], lr=0.1)
    norm.step()
    assert norm.state[theta]["sum"].item() == 25
    np.testing.assert_allclose(theta.detach().numpy(), [1 - 0.06, 1 - 0.08], rtol=1e-12)
    elements.step()
    assert elements.state[theta]["sum"].tolist() == [9, 16]


def test_rmsprop_from_the_first_gradient_goes_down_its_slope():
    values, _ = path(variants.RMSpropFromFirst, [-2], lr=0.1, eps=0)
    assert values == pytest.approx([1.1])


def test_biased_adam_begins_with_a_longer_step():
    values, _ = path(variants.BiasedAdam, [0.5], lr=0.1, eps=0)
    assert 1 - values[0] == pytest.approx(0.1 * 0.1 / math.sqrt(0.001))
    assert 1 - values[0] == pytest.approx(0.316228, rel=1e-5)


def test_eps_in_the_root_weighs_more():
    inside, _ = path(variants.AdamEpsInRoot, [1e-4], lr=0.1)
    outside, _ = path(optim.Adam, [1e-4], lr=0.1)
    assert 1 - inside[0] == pytest.approx(0.1 / math.sqrt(2), rel=1e-6)
    assert 1 - outside[0] == pytest.approx(0.1, rel=1e-3)


ALL = [(name, {"window": 3} if name == "WindowAdagrad" else {}) for name in variants.__all__]


@pytest.mark.parametrize(("name", "options"), ALL)
def test_variants_on_devices_and_resumed(name, options, device):
    def run(steps, optimizer, params):
        for t in steps:
            random = np.random.default_rng(t)
            for param in params:
                param.grad = cr.tensor(random.standard_normal(param.shape), dtype=cr.float32, device=device)
            optimizer.step(lambda: None)

    def made():
        params = [cr.ones(*shape, device=device, requires_grad=True) for shape in ((3, 4), (5,), ())]
        return params, getattr(variants, name)(params, lr=0.1, **options)

    params, optimizer = made()
    run(range(6), optimizer, params)
    again, first = made()
    run(range(3), first, again)
    second = getattr(variants, name)(again)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(range(3, 6), second, again)
    for a, b in zip(params, again, strict=True):
        assert cr.isfinite(a).all()
        np.testing.assert_array_equal(a.detach().cpu().numpy(), b.detach().cpu().numpy())


@pytest.mark.parametrize(("name", "options"), ALL)
def test_variants_descend_a_bowl(name, options):
    centre = cr.tensor([1.0, -2.0])
    param = cr.zeros(2, requires_grad=True)
    lr = 0.5 if name == "NormAdagrad" else 0.05
    optimizer = getattr(variants, name)([param], lr=lr, **options)
    schedule = optim.lr_scheduler.ExponentialLR(
        optimizer, 0.997 if name in ("MeanAdagrad", "WindowAdagrad", "RMSpropFromFirst") else 1.0
    )

    def closure():
        optimizer.zero_grad()
        loss = ((param - centre) ** 2 * cr.tensor([1.0, 3.0])).sum()
        loss.backward()
        return loss

    for _ in range(1000):
        optimizer.step(closure)
        schedule.step()
    np.testing.assert_allclose(param.detach().numpy(), [1, -2], atol=0.1)


def test_mistakes_of_variants():
    p = leaf([1.0])
    with pytest.raises(ValueError, match="window"):
        variants.WindowAdagrad([p], window=0)
    with pytest.raises(ValueError, match="momentum must be below 1"):
        variants.AveragedMomentum([p], momentum=1.0)
    with pytest.raises(ValueError, match="forgetting"):
        variants.GradientPlusMemory([p], forgetting=2)
    with pytest.raises(ValueError, match="alpha"):
        variants.RMSpropFromFirst([p], alpha=2)
    with pytest.raises(ValueError, match="real"):
        variants.NormAdagrad([cr.zeros(1, dtype=cr.complex64, requires_grad=True)])


# Additions


def with_gradient(value, gradient):
    param = leaf(value)
    param.grad = cr.tensor(gradient, dtype=cr.float64)
    return param


def test_weight_decay_without_a_learning_rate():
    w, b = with_gradient(1.0, 0.5), with_gradient(1.0, 0.5)
    optimizer = optim.SGD([w, b], lr=0.1)
    addition = additions.ShrinkWeights(optimizer, 0.01, params=[w])
    optimizer.step()
    assert w.item() == pytest.approx(0.94)
    assert b.item() == pytest.approx(0.95)
    addition.remove()
    optimizer.step()
    assert w.item() == pytest.approx(0.89)


def test_the_absolute_penalty():
    w = with_gradient(1.0, 0.5)
    optimizer = optim.SGD([w], lr=0.1)
    additions.L1Penalty(optimizer, 0.01)
    optimizer.step()
    assert w.item() == pytest.approx(0.949)


def test_the_absolute_penalty_with_a_closure():
    w = leaf(1.0)
    optimizer = optim.SGD([w], lr=0.1)
    additions.L1Penalty(optimizer, 0.01)

    def closure():
        optimizer.zero_grad()
        loss = 0.5 * w
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 0.5
    assert w.item() == pytest.approx(0.949)
    optimizer.step(closure=closure)
    assert w.item() == pytest.approx(0.898)


def test_a_hundred_shrinking_steps():
    """An absolute penalty takes the same amount each time, and ends at 0; decay takes the same part."""
    w = leaf([10.0, 0.1])
    optimizer = optim.SGD([w], lr=0.1)
    additions.SoftThreshold(optimizer, 0.1)
    for _ in range(100):
        w.grad = cr.zeros(2, dtype=cr.float64)
        optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), [9, 0], rtol=1e-12)
    assert w[1].item() == 0
    w = leaf([10.0, 0.1])
    optimizer = optim.SGD([w], lr=0.1)
    additions.ShrinkWeights(optimizer, 0.01)
    for _ in range(100):
        w.grad = cr.zeros(2, dtype=cr.float64)
        optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), [3.66032, 0.0366032], rtol=1e-5)


def test_gradient_noise_has_the_variance_it_says_and_a_seed():
    def noise(seed, steps=3):
        w = leaf(np.zeros(20_000))
        optimizer = optim.SGD([w], lr=1.0)
        addition = additions.GradientNoise(optimizer, 0.3, 0.55, generator=cr.Generator().manual_seed(seed))
        drawn = []
        for t in range(steps):
            assert addition.variance == pytest.approx(0.3 / (1 + t) ** 0.55)
            w.grad = cr.zeros_like(w)
            before = w.detach().clone()
            optimizer.step()
            drawn.append((before - w.detach()).numpy())
        return drawn

    drawn = noise(1)
    for t, values in enumerate(drawn):
        assert values.var() == pytest.approx(0.3 / (1 + t) ** 0.55, rel=0.05)
        assert abs(values.mean()) < 0.02
    for a, b in zip(drawn, noise(1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (drawn[0] != noise(2)[0]).any()


def test_projections(device):
    w = cr.tensor([3.0, 4.0], device=device, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.0)
    w.grad = cr.zeros(2, device=device)
    addition = additions.Projection(optimizer, additions.norm_ball(1.0))
    optimizer.step()
    np.testing.assert_allclose(w.detach().cpu().numpy(), [0.6, 0.8], rtol=1e-6)
    optimizer.step()  # inside, nothing moves
    np.testing.assert_allclose(w.detach().cpu().numpy(), [0.6, 0.8], rtol=1e-6)
    addition.remove()
    additions.Projection(optimizer, additions.box(0.7, None))
    optimizer.step()
    np.testing.assert_allclose(w.detach().cpu().numpy(), [0.7, 0.8], rtol=1e-6)
    assert additions.norm_ball(1.0)(cr.zeros(2)).tolist() == [0, 0]
    assert additions.box(-1, 1)(cr.tensor([-2.0, 0.5, 2.0])).tolist() == [-1, 0.5, 1]


def test_projected_steps_end_on_the_edge_nearest_to_the_minimum():
    w = leaf([0.0, 0.0])
    optimizer = optim.SGD([w], lr=0.1)
    additions.Projection(optimizer, additions.norm_ball(1.0))
    for _ in range(100):
        optimizer.zero_grad()
        ((w - cr.tensor([3.0, 4.0])) ** 2).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), [0.6, 0.8], rtol=1e-9)


def test_mistakes_of_additions():
    w = leaf([1.0])
    optimizer = optim.SGD([w])
    with pytest.raises(TypeError, match="Optimizer"):
        additions.L1Penalty(w, 0.1)
    with pytest.raises(ValueError, match="among"):
        additions.L1Penalty(optimizer, 0.1, params=[leaf([1.0])])
    with pytest.raises(ValueError, match="strength"):
        additions.SoftThreshold(optimizer, -1)
    with pytest.raises(ValueError, match="decay"):
        additions.ShrinkWeights(optimizer, -1)
    with pytest.raises(ValueError, match="eta"):
        additions.GradientNoise(optimizer, -1)
    with pytest.raises(TypeError, match="function"):
        additions.Projection(optimizer, 3)
    with pytest.raises(ValueError, match="radius"):
        additions.norm_ball(-1)
    with pytest.raises(ValueError, match="low, high or both"):
        additions.box()
    with pytest.raises(ValueError, match="at most"):
        additions.box(2, 1)


# Averages of iterates


@pytest.mark.parametrize(
    ("decay", "weights", "expected"),
    [(1.0, [1, 1, 1], 0.583333333), (1.0, [0.1, 0.2, 0.3], 0.458333333), (0.9, [1, 1, 1], 0.557195572)],
)
def test_averages_of_three_iterates(decay, weights, expected):
    theta = leaf(7.0)  # where it began plays no part
    average = optim.IterateAverage([theta], decay)
    for value, weight in zip([1.0, 0.5, 0.25], weights, strict=True):
        with cr.no_grad():
            theta.fill_(value)
        average.update(weight)
    assert average.averages[0].item() == pytest.approx(expected, abs=1e-9)
    with average.applied():
        assert theta.item() == pytest.approx(expected, abs=1e-9)
    assert theta.item() == 0.25
    other = optim.IterateAverage([theta], decay)
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    average.update()
    other.update()
    assert average.averages[0].item() == other.averages[0].item()


def test_a_running_mean_of_ones():
    """From 0 it is 1 - beta^t; corrected it is 1 from the beginning."""
    theta = leaf(1.0)
    corrected = optim.IterateAverage([theta], 0.9)
    raw, expected = 0.0, {1: 0.1, 2: 0.19, 5: 0.40951, 10: 0.651322}
    for t in range(1, 11):
        raw = 0.9 * raw + 0.1 * theta.item()
        corrected.update()
        assert corrected.averages[0].item() == pytest.approx(1)
        if t in expected:
            assert raw == pytest.approx(expected[t], abs=1e-6)
            assert raw == pytest.approx(0.1 * corrected.total)


def test_mistakes_of_averages():
    with pytest.raises(ValueError, match="decay"):
        optim.IterateAverage([leaf([1.0])], 1.5)
    average = optim.IterateAverage([leaf([1.0])])
    with pytest.raises(ValueError, match="weight"):
        average.update(-1)
    with pytest.raises(ValueError, match="averages"):
        average.load_state_dict({"total": 1.0, "averages": []})
    average.update(0)  # nothing to take in yet
    assert average.averages[0].tolist() == [1]
