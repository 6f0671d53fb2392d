"""The chain rule on graphs small enough to do by hand: every number here can be checked with a pencil."""

import numpy as np
import pytest

import chainrule as cr


def leaf(value, device="cpu"):
    """A float64 leaf that wants its gradient."""
    return cr.tensor(value, dtype=cr.float64, device=device, requires_grad=True)


def close(tensor, expected, tolerance=1e-6):
    np.testing.assert_allclose(tensor.detach().cpu().numpy(), expected, rtol=0, atol=tolerance)


def test_sum_times_third(device):
    """f = (x + y) z: the product hands each factor the other one, the sum passes its gradient on unchanged."""
    x, y, z = leaf(-2.0, device), leaf(5.0, device), leaf(-4.0, device)
    q = x + y
    q.retain_grad()
    f = q * z
    f.backward()
    assert (q.item(), f.item()) == (3.0, -12.0)
    assert [one.grad.item() for one in (q, x, y, z)] == [-4.0, -4.0, -4.0, 3.0]


def test_squared_norm_of_a_product(device):
    """f = |W x|^2 with q = W x: df/dq = 2 q, df/dW = 2 q x^T, df/dx = 2 W^T q; each in the shape of its variable."""
    W, x = leaf([[0.1, 0.5], [-0.3, 0.8]], device), leaf([0.2, 0.4], device)
    q = W @ x
    q.retain_grad()
    f = (q**2).sum()
    f.backward()
    close(q, [0.22, 0.26])
    close(f, 0.116)
    close(q.grad, [0.44, 0.52])
    close(W.grad, [[0.088, 0.176], [0.104, 0.208]])
    close(x.grad, [-0.112, 0.636])


SIGMOID_INPUTS = {"t0": -3.0, "t1": 2.0, "x1": -1.0, "t2": -3.0, "x2": -2.0}
SIGMOID_GRADIENTS = {"t0": 0.196612, "t1": -0.196612, "x1": 0.393224, "t2": -0.393224, "x2": -0.589836}


@pytest.mark.parametrize(
    "gate", [cr.sigmoid, lambda z: 1 / (1 + cr.exp(z * -1))], ids=["one gate", "step by step"]
)
def test_sigmoid_circuit(device, gate):
    """A neuron: 1 / (1 + e^-(t0 + t1 x1 + t2 x2)), as one operation and as the steps it is made of."""
    t0, t1, x1, t2, x2 = leaves = [leaf(value, device) for value in SIGMOID_INPUTS.values()]
    out = gate(t0 + t1 * x1 + t2 * x2)
    out.backward()
    close(out, 0.731058579)
    for one, expected in zip(leaves, SIGMOID_GRADIENTS.values(), strict=True):
        close(one.grad, expected)


def test_gradients_of_several_uses_add(device):
    """z = x y with x = s^2 and y = 3 s: s is used twice, and dz/ds = y 2s + x 3 = 9 s^2."""
    s = leaf(2.0, device)
    (s**2 * (3 * s)).backward()
    close(s.grad, 36.0)


def reachable(node):
    """Every backward node behind `node`."""
    seen, stack = set(), [node]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen and not isinstance(node, cr.autograd.graph.AccumulateGrad):
            seen.add(node)
            stack.extend(parent for parent, _ in node.next_functions)
    return seen


def test_each_backward_node_is_visited_once():
    """Three layers of two neurons: 8 ways lead from the loss to each input weight, but every dC/dz is computed once."""
    a = [leaf(1.0), leaf(-1.0)]
    weights = [
        [[leaf(1.0 - 0.3 * (i + j + layer)) for j in range(2)] for i in range(2)] for layer in range(3)
    ]
    for layer in weights:
        a = [cr.sigmoid(row[0] * a[0] + row[1] * a[1]) for row in layer]
    cost = a[0] + a[1]
    nodes = reachable(cost.grad_fn)
    assert len(nodes) == 3 * 2 * 4 + 1  # two products, a sum and a sigmoid for each neuron; the cost
    visits = dict.fromkeys(nodes, 0)

    def count(node):
        def hook(*_):
            visits[node] += 1

        return hook

    handles = [node.register_hook(count(node)) for node in nodes]
    cost.backward()
    assert set(visits.values()) == {1}
    for handle in handles:
        handle.remove()


def hessian(function, point):
    """All second derivatives, by differentiating the gradient."""
    (gradient,) = cr.autograd.grad(function(point), point, create_graph=True)
    rows = [cr.autograd.grad(one, point, retain_graph=True)[0].numpy() for one in gradient]
    return gradient.detach().numpy(), np.stack(rows)


def loss_of_two_weights(w):
    """(1 - w1 w2)^2: one example, two weights in a row."""
    return (1 - w[0] * w[1]) ** 2


def test_saddle_point():
    """At the origin the gradient is 0 and the Hessian has a negative eigenvalue: a saddle, and its eigenvector leads down."""
    gradient, H = hessian(loss_of_two_weights, leaf([0.0, 0.0]))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    np.testing.assert_allclose(H, [[0, -2], [-2, 0]], atol=1e-12)
    values, vectors = np.linalg.eigh(H)
    np.testing.assert_allclose(values, [-2, 2], atol=1e-12)
    np.testing.assert_allclose(np.abs(vectors[:, 0]), np.sqrt(0.5), atol=1e-12)
    assert vectors[0, 0] * vectors[1, 0] > 0  # (1, 1) goes down
    assert vectors[0, 1] * vectors[1, 1] < 0  # (1, -1) goes up


@pytest.mark.parametrize(
    ("point", "loss"),
    [((0, 0), 1.0), ((0.1, 0.1), 0.9801), ((0.5, 0.5), 0.5625), ((1, 1), 0.0), ((0.1, -0.1), 1.0201)],
)
def test_loss_around_the_saddle(point, loss):
    close(loss_of_two_weights(leaf(point)), loss, 1e-12)


def test_valley_of_the_saddle():
    """At (1, 1) the loss is 0 along a whole curve: one eigenvalue is 0."""
    _, H = hessian(loss_of_two_weights, leaf([1.0, 1.0]))
    np.testing.assert_allclose(H, 2, atol=1e-12)
    np.testing.assert_allclose(np.linalg.eigvalsh(H), [0, 4], atol=1e-12)


def test_maxout(device):
    """The largest of each pair goes on, and the gradient goes to the winner alone."""
    z = leaf([5.0, 7.0, -1.0, 1.0], device)
    out = z.view(2, 2).max(dim=1).values
    out.sum().backward()
    close(out, [7.0, 1.0])
    close(z.grad, [0.0, 1.0, 0.0, 1.0])


def test_maxout_of_a_line_and_zero_is_relu(device):
    x = cr.arange(-3.0, 4.0, dtype=cr.float64, device=device)
    line = 2 * x - 1
    pieces = cr.stack([line, cr.zeros_like(line)]).max(dim=0).values
    close(pieces, [0, 0, 0, 0, 1, 3, 5])
    close(cr.relu(line), [0, 0, 0, 0, 1, 3, 5])


def cubes(t):
    return (t**3).sum()


def central_difference(function, point, eps):
    """The gradient by [f(t + eps) - f(t - eps)] / (2 eps), one element of `point` after the other."""
    found = np.empty_like(point)
    for i in range(point.size):
        step = np.zeros_like(point)
        step[i] = eps
        found[i] = (function(cr.tensor(point + step)) - function(cr.tensor(point - step))).item() / (2 * eps)
    return found


def relative_error(approximate, exact):
    """|a - g| / (|a| + |g|), all parameters as one vector."""
    return np.linalg.norm(approximate - exact) / (np.linalg.norm(approximate) + np.linalg.norm(exact))


def test_gradient_check_by_hand():
    t = leaf([1.0, 2.0, 3.0])
    (g,) = cr.autograd.grad(cubes(t), t)
    approximate = central_difference(cubes, t.detach().numpy(), 1e-7)
    assert relative_error(approximate, g.numpy()) < 2e-9
    assert relative_error(approximate, 2 * g.numpy()) == pytest.approx(1 / 3, abs=1e-6)  # |g - 2g| / 3|g|


def test_two_sided_differences_beat_one_sided():
    """d(t^3)/dt = 3 at 1; with eps = 0.01 the errors are eps^2 and about 3 eps."""
    one, eps = np.array([1.0]), 0.01
    assert central_difference(cubes, one, eps)[0] == pytest.approx(3.0001, abs=1e-9)
    assert ((1 + eps) ** 3 - 1) / eps == pytest.approx(3.0301, abs=1e-9)


def test_gradcheck_finds_a_wrong_rule():
    class Doubled(cr.autograd.Function):
        """t^3 with a gradient that is twice too large."""

        @staticmethod
        def forward(ctx, t):
            ctx.save_for_backward(t)
            return t**3

        @staticmethod
        def backward(ctx, g):
            (t,) = ctx.saved_tensors
            return 2 * g * 3 * t**2

    t = leaf([1.0, 2.0, 3.0])
    assert cr.autograd.gradcheck(cubes, t)
    with pytest.raises(RuntimeError, match=r"(?i)jacobian|gradient|derivative"):
        cr.autograd.gradcheck(Doubled.apply, t)
