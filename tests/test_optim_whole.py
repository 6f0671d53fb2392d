"""Methods for a loss that is always of the same data: L-BFGS, BFGS, conjugate gradients, Newton's."""

import copy
import math
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim.line_search import Point, cubic_minimum, strong_wolfe


def leaf(values):
    return cr.tensor(values, dtype=cr.float64, requires_grad=True)


def rosenbrock(p):
    return (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2


def minimised(name, f, start, steps=1, **options):
    """(the parameter, the optimizer, the number of closure calls) after some steps on f."""
    p = leaf(start)
    optimizer = getattr(optim, name)([p], **options)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        loss = f(p)
        if not name.startswith("Newton"):
            optimizer.zero_grad()
            loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    return p, optimizer, calls


WOLFE = {"line_search_fn": "strong_wolfe", "max_iter": 60, "max_eval": 200, "tolerance_change": 0}


@pytest.mark.parametrize(
    ("name", "options", "most"),
    [
        ("LBFGS", WOLFE, 60),
        ("BFGS", {"max_iter": 60}, 60),
        ("ConjugateGradient", {"max_iter": 60}, 100),
        ("NewtonCG", {"max_iter": 60}, 80),
    ],
)
def test_rosenbrocks_valley(name, options, most):
    p, _, calls = minimised(name, rosenbrock, [-1.2, 1.0], **options)
    assert rosenbrock(p).item() < 1e-11
    assert calls <= most


def test_newton_is_exact_on_a_parabola():
    p, _, _ = minimised("Newton", lambda x: (x - 2) ** 2, 5.0)
    assert p.item() == 2
    p, _, _ = minimised("Newton", lambda x: (x - 2) ** 2, 5.0, lr=0.5)
    assert p.item() == 3.5


def test_newton_finds_a_square_root():
    # The gradient of x^3/3 - 2x is x^2 - 2.
    expected = [1.5, 1.416667, 1.414215686, 1.414213562]
    for steps, value in enumerate(expected, 1):
        p, _, _ = minimised("Newton", lambda x: x**3 / 3 - 2 * x, 2.0, steps)
        assert p.item() == pytest.approx(value, abs=4e-7 if steps == 2 else 1e-9)


def test_newton_goes_to_a_saddle_point_and_newton_cg_away_from_it():
    def saddle(p):
        return p[0] ** 2 - p[1] ** 2 + p[1] ** 4 / 4

    start = [1.0, 0.1]
    p, _, _ = minimised("Newton", saddle, start, 8)
    np.testing.assert_allclose(p.detach().numpy(), [0, 0], atol=1e-8)
    p, _, _ = minimised("NewtonCG", saddle, start, max_iter=40)
    np.testing.assert_allclose(p.detach().numpy(), [0, math.sqrt(2)], atol=1e-6)


def test_newton_where_there_is_no_curvature():
    with pytest.raises(RuntimeError, match="singular"):
        minimised("Newton", lambda p: p.sum(), [1.0, 2.0])
    p, _, _ = minimised("Newton", lambda p: p.sum(), [1.0, 2.0], damping=2.0)
    assert p.tolist() == [0.5, 1.5]
    p, _, _ = minimised("NewtonCG", lambda p: p.sum(), [1.0, 2.0], max_iter=1)  # to the edge of the region
    assert (p - cr.tensor([1.0, 2.0])).norm().item() == pytest.approx(1)


def quadratic(n, seed=0):
    random = np.random.default_rng(seed)
    a = random.standard_normal((n, n))
    a = a @ a.T + np.eye(n)
    b = random.standard_normal(n)
    return cr.tensor(a), cr.tensor(b), np.linalg.solve(a, b)


def test_conjugate_gradient_on_two_equations():
    a, b = leaf([[3, 1], [1, 2]]).detach(), leaf([1, 1]).detach()

    def f(x):
        return x @ a @ x / 2 - b @ x

    p, optimizer, calls = minimised("ConjugateGradient", f, [0.0, 0.0], 1, max_iter=1)
    np.testing.assert_allclose(p.detach().numpy(), [2 / 7, 2 / 7], rtol=1e-15)
    p, optimizer, calls = minimised("ConjugateGradient", f, [0.0, 0.0], 2, max_iter=1)
    np.testing.assert_allclose(p.detach().numpy(), [0.2, 0.4], rtol=1e-15)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_conjugate_gradient_ends_in_n_iterations_on_a_quadratic(n):
    a, b, solution = quadratic(n)
    p, _, _ = minimised("ConjugateGradient", lambda x: x @ a @ x / 2 - b @ x, np.zeros(n), max_iter=n)
    np.testing.assert_allclose(p.detach().numpy(), solution, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["BFGS", "NewtonCG", "Newton"])
def test_quadratics(name):
    a, b, solution = quadratic(6)
    options = {} if name == "Newton" else {"max_iter": 60, "tolerance_grad": 1e-10}
    p, _, _ = minimised(name, lambda x: x @ a @ x / 2 - b @ x, np.zeros(6), **options)
    np.testing.assert_allclose(p.detach().numpy(), solution, rtol=1e-7, atol=1e-8)


def test_bfgs_learns_the_inverse_hessian():
    a, b, _ = quadratic(3)
    _, optimizer, _ = minimised(
        "BFGS", lambda x: x @ a @ x / 2 - b @ x, np.zeros(3), max_iter=30, tolerance_grad=1e-8
    )
    h = optimizer.memory["inverse_hessian"].numpy()
    np.testing.assert_allclose(h, h.T, rtol=1e-10)
    np.testing.assert_allclose(h @ a.numpy(), np.eye(3), atol=1e-2)


# L-BFGS beside PyTorch's

CASES = [
    {},
    {"lr": 0.1, "history_size": 3},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "lr": 0.5, "history_size": 2, "max_iter": 7, "max_eval": 9},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "tolerance_change": 1e-3},
]


def network(library, weights):
    """The loss of a small network with tanh, and its parameters."""
    x, y, *params = [library.tensor(weight) for weight in weights]
    params = [param.requires_grad_() for param in params]

    def loss():
        a, b, c, d = params
        hidden = library.tanh(x @ a + b)
        return ((hidden @ c + d - y) ** 2).mean()

    return params, loss


def weights(seed=0):
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in ((20, 3), (20, 2), (3, 4), (4,), (4, 2), (2,))]


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def both(torch, options):
    ours, our_loss = network(cr, weights())
    theirs, their_loss = network(torch, weights())
    optimizers = optim.LBFGS(ours, **options), torch.optim.LBFGS(theirs, **options)
    return (
        ours,
        theirs,
        optimizers,
        (closure_of(optimizers[0], our_loss), closure_of(optimizers[1], their_loss)),
    )


@pytest.mark.parametrize("options", CASES)
def test_lbfgs_makes_pytorchs_steps(options, torch):
    ours, theirs, optimizers, closures = both(torch, options)
    for power in range(4):  # rounding differs, and grows from step to step
        tolerance = 1e-9 * 100**power
        losses = [
            optimizer.step(closure).item() for optimizer, closure in zip(optimizers, closures, strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)
        states = [next(iter(optimizer.state.values())) for optimizer in optimizers]
        for key in ("n_iter", "func_evals"):
            assert states[0][key] == states[1][key]


@pytest.mark.parametrize("options", CASES[2:4])
def test_lbfgs_goes_on_from_pytorchs_state_and_back(options, torch):
    ours, theirs, optimizers, closures = both(torch, options)
    for optimizer, closure in zip(optimizers, closures, strict=True):
        optimizer.step(closure)
    our_dict, their_dict = optimizers[0].state_dict(), optimizers[1].state_dict()
    assert our_dict["param_groups"] == their_dict["param_groups"]
    assert our_dict["state"][0].keys() | {"al"} == their_dict["state"][0].keys()

    def converted(entry):
        if isinstance(entry, list):
            return [converted(one) for one in entry]
        return torch.tensor(entry.numpy()) if isinstance(entry, cr.Tensor) else entry

    state = {key: converted(entry) for key, entry in our_dict["state"][0].items()}
    optimizers[0].load_state_dict(their_dict)
    optimizers[1].load_state_dict({"state": {0: state}, "param_groups": our_dict["param_groups"]})
    for optimizer, closure in zip(optimizers, closures, strict=True):
        optimizer.step(closure)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-7)


METHODS = [
    ("LBFGS", {"line_search_fn": "strong_wolfe"}),
    ("BFGS", {}),
    ("ConjugateGradient", {}),
    ("NewtonCG", {}),
]


def stepper(name, options, device=None):
    x, y, *params = (cr.tensor(one, device=device) for one in weights())
    params = [param.requires_grad_() for param in params]

    def loss():
        a, b, c, d = params
        return ((cr.tanh(x @ a + b) @ c + d - y) ** 2).mean()

    optimizer = getattr(optim, name)(params, max_iter=5, **options)
    return params, optimizer, loss if name.startswith("Newton") else closure_of(optimizer, loss)


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_a_resumed_run_ends_like_an_uninterrupted_one(name, options):
    params, optimizer, closure = stepper(name, options)
    again, first, first_closure = stepper(name, options)
    for _ in range(2):
        optimizer.step(closure)
        first.step(first_closure)
    saved = copy.deepcopy(first.state_dict())
    second = getattr(optim, name)(again, **options)
    second.load_state_dict(pickle.loads(pickle.dumps(saved)))
    first.zero_grad()
    optimizer.step(closure)
    second.step(first_closure)
    for a, b in zip(params, again, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_copies_go_on_alike(name, options):
    params, optimizer, closure = stepper(name, options)
    optimizer.step(closure)
    other = copy.deepcopy(optimizer)
    copies = other.param_groups[0]["params"]
    assert copies[0] is not params[0]
    x, y = (cr.tensor(one) for one in weights()[:2])

    def loss():
        a, b, c, d = copies
        return ((cr.tanh(x @ a + b) @ c + d - y) ** 2).mean()

    optimizer.step(closure)
    other.step(loss if name.startswith("Newton") else closure_of(other, loss))
    for a, b in zip(params, copies, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize(("name", "options"), [*METHODS, ("Newton", {"damping": 10.0})])
def test_devices_compute_the_same(name, options):
    def run(device):
        if name != "Newton":
            params, optimizer, closure = stepper(name, options, device)
        else:
            params, _, closure = stepper("NewtonCG", {}, device)
            optimizer = optim.Newton(params, **options)
        before = closure().item()
        optimizer.step(closure)
        assert closure().item() < before
        return [param.detach().cpu().numpy() for param in params]

    for a, b in zip(run("cpu"), run("fake"), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)  # kernels add up in another order


@pytest.mark.parametrize("name", ["LBFGS", "BFGS", "ConjugateGradient"])
def test_complex_parameters_are_pairs(name):
    z = cr.zeros(2, dtype=cr.complex128, requires_grad=True)
    target = cr.tensor([1 + 2j, -1j])
    optimizer = getattr(optim, name)([z], max_iter=40)

    def closure():
        optimizer.zero_grad()
        loss = ((z - target).abs() ** 2 * cr.tensor([1.0, 3.0])).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    optimizer.step(closure)
    np.testing.assert_allclose(z.detach().numpy(), target.numpy(), atol=1e-5)


def test_parameters_without_gradient_stay():
    p, q = leaf([1.0, 2.0]), leaf([3.0])
    optimizer = optim.BFGS([p, q])

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert q.item() == 3
    np.testing.assert_allclose(p.detach().numpy(), [0, 0], atol=1e-8)
    optimizer = optim.NewtonCG([p, q])
    optimizer.step(lambda: ((p - 1) ** 2).sum())
    np.testing.assert_allclose(p.detach().numpy(), [1, 1], atol=1e-7)
    assert q.item() == 3


def test_nothing_moves_at_a_minimum():
    for name in ("LBFGS", "BFGS", "ConjugateGradient", "NewtonCG"):
        p, _, calls = minimised(name, lambda x: (x * x).sum(), [0.0, 0.0])
        assert p.tolist() == [0, 0]
        assert calls == 1


def test_a_loss_that_becomes_infinite_is_stepped_back_from():
    def f(p):
        return (p - cr.log(p)).sum()  # not a number for p < 0, which the first trial reaches; least at 1

    for name, options in (
        ("LBFGS", {"line_search_fn": "strong_wolfe"}),
        ("BFGS", {}),
        ("ConjugateGradient", {}),
    ):
        p, _, _ = minimised(name, f, [0.3, 4.0], 3, **options)
        np.testing.assert_allclose(p.detach().numpy(), [1, 1], atol=1e-4, err_msg=name)


# The line search by itself


def on_the_line(phi, slope):
    calls = []

    def evaluate(t):
        calls.append(t)
        return Point(t, phi(t), None, np.float64(slope(t)))

    return evaluate, calls


@pytest.mark.parametrize("first", [1e-3, 0.5, 3.0, 40.0])
def test_the_line_search_meets_the_conditions(first):
    evaluate, _ = on_the_line(
        lambda t: (t - 2) ** 2 + math.sin(3 * t) / 2, lambda t: 2 * (t - 2) + 1.5 * math.cos(3 * t)
    )
    start = evaluate(0.0)
    end = strong_wolfe(evaluate, start, first, 1.0, c2=0.1)
    assert end.f <= start.f + 1e-4 * end.t * start.slope
    assert abs(end.slope) <= -0.1 * start.slope


def test_the_cubic_of_two_points():
    def point(t):
        return Point(t, t**3 - 3 * t, None, np.float64(3 * t * t - 3))

    assert cubic_minimum(point(0.0), point(3.0)) == pytest.approx(1)
    assert cubic_minimum(point(3.0), point(0.0)) == pytest.approx(1)
    assert cubic_minimum(point(1.5), point(3.0)) == 1.5  # put between the points
    flat = Point(0.0, 0.0, None, np.float64(-1)), Point(1.0, math.inf, None, np.float64(1))
    with np.errstate(all="ignore"):
        assert cubic_minimum(*flat) == 0.5


def test_mistakes():
    p = leaf([1.0])
    with pytest.raises(ValueError, match="line_search_fn"):
        optim.LBFGS([p], line_search_fn="armijo")
    with pytest.raises(ValueError, match="one parameter group"):
        optim.BFGS([{"params": [p]}, {"params": [leaf([2.0])]}])
    with pytest.raises(ValueError, match="max_iter"):
        optim.LBFGS([p], max_iter=0)
    with pytest.raises(ValueError, match="radius"):
        optim.NewtonCG([p], radius=0)
    with pytest.raises(ValueError, match="acceptance"):
        optim.NewtonCG([p], acceptance=0.5)
    with pytest.raises(ValueError, match="damping"):
        optim.Newton([p], damping=-1)
    with pytest.raises(ValueError, match="real"):
        optim.Newton([cr.zeros(1, dtype=cr.complex64, requires_grad=True)])
    with pytest.raises(TypeError, match="closure"):
        optim.LBFGS([p]).step()
    with pytest.raises(ValueError, match="no learning rate"):
        optim.lr_scheduler.StepLR(optim.BFGS([p]), 3)

    def called_backward():
        loss = (p * p).sum()
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match="does not call backward"):
        optim.Newton([p]).step(called_backward)
