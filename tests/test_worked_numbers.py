"""Numbers from papers and textbooks, worked out independently and computed by the library's public functions.

Those of one part of the library stand with its tests, those that show how layers work together in `test_worked_examples.py`.
"""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics, nn, optim
from chainrule.optim import additions

F = nn.functional


def tensor(values):
    return cr.tensor(values, dtype=cr.float64)


def leaf(values):
    return tensor(values).requires_grad_()


def close(found, expected, tolerance=1e-6):
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=tolerance)


# --- counting ---


def weights(*sizes, bias=False):
    """The number of parameters of a dense network; their memory is reserved and never touched."""
    layers = [nn.utils.skip_init(nn.Linear, a, b, bias=bias) for a, b in itertools.pairwise(sizes)]
    return sum(one.numel() for one in nn.Sequential(*layers).parameters())


def test_deep_and_shallow_speech_networks_of_equal_size():
    """Seide et al. 2011 compare networks from 429 inputs to 9304 states: five layers of 2048 units with one layer of 3772,
    seven with one of 4634; two of 2048 are better than one of 16384, which is six times as large."""
    assert weights(429, *[2048] * 5, 9304) == 36_710_400 and weights(429, 3772, 9304) == 36_712_876
    assert weights(429, *[2048] * 7, 9304) == 45_099_008 and weights(429, 4634, 9304) == 45_102_722
    assert weights(429, 2048, 2048, 9304) == 24_127_488 and weights(429, 16384, 9304) == 159_465_472


def test_parameters_of_small_networks():
    assert weights(3, 3, 1, bias=True) == 16
    assert weights(nn.Flatten()(cr.zeros(1, 100, 100, 3)).shape[1], 1000) == 30_000_000
    for layer, filters, biases in ((nn.Conv2d(1, 25, 3), 225, 25), (nn.Conv2d(25, 50, 3), 11_250, 50)):
        assert layer.weight.numel() == filters and layer.bias.numel() == biases


@pytest.mark.parametrize(("pixels", "products"), [(4, 10), (2500, 3_126_250), (7500, 28_128_750)])
def test_products_of_two_pixels(pixels, products):
    """All x_i x_j with i <= j: n (n + 1) / 2 features, three million for a picture of 50 x 50."""
    assert cr.ones(pixels, pixels, dtype=cr.bool).triu().sum().item() == products
    if pixels == 4:
        x = cr.arange(1.0, 5.0)
        assert cr.combinations(x, 2, with_replacement=True).prod(1).tolist() == [
            1, 2, 3, 4, 4, 6, 8, 9, 12, 16
        ]  # fmt: skip


def test_phones_in_context():
    """30 phones with a left and a right neighbour, three states each."""
    phones = cr.arange(30, dtype=cr.int16)
    assert len(cr.cartesian_prod(phones, phones, phones)) == 27_000
    assert len(cr.cartesian_prod(phones, phones, phones, cr.arange(3, dtype=cr.int16))) == 81_000


def test_updates_of_an_epoch():
    data = cr.utils.data.TensorDataset(cr.arange(20))
    assert [len(cr.utils.data.DataLoader(data, size)) for size in (1, 10, 20)] == [20, 2, 1]


# --- linear models ---


def test_a_generative_classifier_is_a_linear_one():
    """Two Gaussians with one covariance: the posterior is sigmoid(w x + b), w = S^-1 (m1 - m2),
    b = -m1 S^-1 m1 / 2 + m2 S^-1 m2 / 2 + ln N1/N2 (Bishop 2006, 4.2)."""
    first = tensor([[2, 2], [3, 3], [3, 2], [2, 3]])
    second = tensor([[0, 0], [1, 1], [1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]])
    n1, n2, m1, m2 = len(first), len(second), first.mean(0), second.mean(0)
    shared = (n1 * cr.cov(first.T, correction=0) + n2 * cr.cov(second.T, correction=0)) / (n1 + n2)
    close(shared, [[0.2, 0], [0, 0.2]])
    a1, a2 = cr.linalg.solve(shared, m1), cr.linalg.solve(shared, m2)
    w, b = a1 - a2, (m2 @ a2 - m1 @ a1) / 2 + math.log(n1 / n2)
    close(w, [10, 10])
    close(b, -30.405465)
    x = tensor([[1.5, 1.6], [0, 0], [3, 1], [1.4, 1.6]])
    normal = cr.distributions.MultivariateNormal
    p1, p2 = (n * normal(m, shared).log_prob(x).exp() for n, m in ((n1, m1), (n2, m2)))
    close(cr.sigmoid(x @ w + b), (p1 / (p1 + p2)).numpy(), 1e-12)


# Tan, Steinbach & Kumar 2006: who defaulted on a loan.
HOME = [1, 0, 0, 1, 0, 0, 1, 0, 0, 0]
STATUS = [1, 0, 1, 0, 2, 0, 2, 1, 0, 1]  # married, single, divorced
INCOME = [125, 100, 70, 120, 95, 60, 220, 85, 75, 90]
DEFAULTED = [0, 0, 0, 0, 1, 0, 0, 1, 0, 1]


def test_least_squares_on_a_table_of_loans():
    """Each one-hot code sums to 1, so that of 6 columns 5 are independent, and no column of ones is needed."""
    income, y = tensor(INCOME), tensor(DEFAULTED)
    assert (income.mean().item(), y.mean().item()) == (104, pytest.approx(0.3))
    assert income.std(correction=0).item() == pytest.approx(43.289722)
    columns = [F.one_hot(cr.tensor(HOME)).double(), F.one_hot(cr.tensor(STATUS)).double(), income[:, None]]
    design = cr.cat(columns, 1)
    assert design.shape == (10, 6) and cr.linalg.matrix_rank(design).item() == 5
    with_ones = cr.cat([design, cr.ones(10, 1, dtype=cr.float64)], 1)
    assert cr.linalg.matrix_rank(with_ones).item() == 5
    for table in (design, with_ones):
        fit = cr.linalg.lstsq(table, y[:, None], driver="gelsd").solution
        assert F.mse_loss(table @ fit, y[:, None]).item() == pytest.approx(0.0975496, abs=1e-7)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda z, y: F.mse_loss(z, y, reduction="sum"), lambda z, y: 2 * (z - y)),
        (lambda z, y: F.half_squared_loss(z, y, reduction="sum"), lambda z, y: z - y),
        (
            lambda z, y: F.binary_cross_entropy_with_logits(z, y, reduction="sum"),
            lambda z, y: 1 / (1 + np.exp(-z)) - y,
        ),
    ],
    ids=["squares", "half squares", "logistic"],
)
def test_linear_and_logistic_regression_have_one_gradient(loss, expected):
    """The error times the input: sum over samples of (f - y) x."""
    layer = nn.Linear(3, 1, dtype=cr.float64)
    x, y = cr.randn(8, 3, dtype=cr.float64), cr.randint(0, 2, (8, 1)).double()
    z = layer(x)
    loss(z, y).backward()
    error = expected(z.detach().numpy(), y.numpy())
    close(layer.weight.grad, error.T @ x.numpy(), 1e-12)
    close(layer.bias.grad, error.sum(0), 1e-12)


def test_linear_layers_in_a_row_are_one_of_the_smallest_rank():
    net = nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 6), nn.Linear(6, 4)).double()
    jacobian = cr.func.jacrev(net)
    slope = jacobian(cr.randn(5, dtype=cr.float64))
    close(jacobian(cr.randn(5, dtype=cr.float64)), slope.detach().numpy(), 1e-12)
    assert slope.shape == (4, 5) and cr.linalg.matrix_rank(slope).item() == 2


def test_bias_and_variance_of_polynomials():
    """Fits to 20 noisy points of a sine, drawn anew 20000 times: the expected error at a point is noise + bias^2 + variance
    (Geman et al. 1992). A line misses the curve, a cubic is right, degree 9 follows the noise."""
    t = cr.rand(20_000, 20, dtype=cr.float64)
    y = cr.sin(2 * cr.pi * t) + 0.2 * cr.randn(20_000, 20, dtype=cr.float64)
    place, value = 0.35, math.sin(2 * math.pi * 0.35)
    observed = value + 0.2 * cr.randn(20_000, dtype=cr.float64)
    found = {}
    for degree in (1, 3, 9):
        powers = cr.arange(degree + 1)
        fit = cr.linalg.lstsq((2 * t - 1)[..., None] ** powers, y[..., None]).solution[..., 0]
        p = fit @ tensor(2 * place - 1) ** powers
        bias, variance = (p.mean().item() - value) ** 2, p.var(correction=0).item()
        found[degree] = bias, variance
        error = F.mse_loss(p, observed).item()
        assert error == pytest.approx(0.04 + bias + variance, rel=0.03)
    assert found[1] == pytest.approx((0.2624, 0.0172), rel=0.03)
    assert found[3] == pytest.approx((0.0051, 0.0076), rel=0.1)
    assert found[9][0] < 1e-3 and found[9][1] > 0.1


# --- losses and scores ---


def test_the_exponentials_of_three_scores():
    close(cr.exp(tensor([3, 1, -3])), [20.085537, 2.718282, 0.049787])


def test_several_yes_or_no_questions_at_once():
    """Answers 1, 0, 1, 0 with probabilities 0.9, 0.2, 0.6, 0.1: the sum of four cross-entropies."""
    p, y = leaf([[0.9, 0.2, 0.6, 0.1]]), tensor([[1, 0, 1, 0]])
    assert F.binary_cross_entropy(p, y, reduction="sum").item() == pytest.approx(0.944690206, abs=1e-9)
    scores = p.logit()
    assert 4 * F.multilabel_soft_margin_loss(scores, y).item() == pytest.approx(0.944690206, abs=1e-9)
    loss = F.binary_cross_entropy_with_logits(scores, y, reduction="sum")
    assert loss.item() == pytest.approx(0.944690206, abs=1e-9)
    close(cr.autograd.grad(loss, scores)[0], [[-0.1, 0.2, -0.4, 0.1]])


def test_f1_is_a_harmonic_mean():
    """Precision 1/2 and recall 4/5: 8/13."""
    targets, said = [1] * 5 + [0] * 6, [1] * 4 + [0] + [1] * 4 + [0] * 2
    assert (metrics.precision(said, targets), metrics.recall(said, targets)) == (0.5, 0.8)
    assert metrics.f1_score(said, targets) == pytest.approx(0.615385, abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "loss"),
    [
        ([1, 2], 0.996958635),
        ([1], 1.505077897),
        ([2], 1.509592577),
        ([1, 1], 4.017383521),
        ([2, 1], 2.419118909),
        ([], -math.log(0.012)),
    ],
)
def test_labellings_of_three_frames(labels, loss):
    """Graves et al. 2006: frames with probabilities of blank, a and b; the loss sums over every alignment."""
    frames = tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]]).log()
    criterion = nn.CTCLoss(reduction="sum")
    targets = cr.tensor(labels, dtype=cr.int64)
    found = criterion(frames, targets, cr.tensor(3), cr.tensor(len(labels)))
    assert found.item() == pytest.approx(loss, abs=1e-9)


def test_style_is_what_correlates():
    """Gatys et al. 2016: the Gram matrix of the features, and the gradient 4 (G - G') A of the squared distance of two."""
    features = leaf([[1, 2, 3], [0, 1, 0]])
    gram = features @ features.T
    assert gram.tolist() == [[14, 2], [2, 1]]
    style = tensor([[10, 0], [0, 1]])
    F.mse_loss(gram, style, reduction="sum").backward()
    close(features.grad, 4 * np.array([[4, 2], [2, 0]]) @ features.detach().numpy())


# --- gradients ---


def test_backpropagation_of_a_batch_in_matrices():
    """Sigmoid layers and cross-entropy, a column for each sample: dZ_L = A_L - Y, dW = dZ A^T / m, db = the mean of dZ,
    dZ_(l-1) = W^T dZ * g' (Rumelhart et al. 1986)."""
    sizes, m = [4, 5, 3, 2], 7
    layers = [nn.Linear(a, b, dtype=cr.float64) for a, b in itertools.pairwise(sizes)]
    x, y = cr.randn(m, 4, dtype=cr.float64), cr.randint(0, 2, (m, 2)).double()
    activations = [x]
    for layer in layers:
        activations.append(layer(activations[-1]).sigmoid())
    F.binary_cross_entropy(activations[-1], y, reduction="sum").div(m).backward()
    columns = [one.detach().numpy().T for one in activations]
    delta = columns[-1] - y.numpy().T
    for layer, before in zip(reversed(layers), reversed(columns[:-1]), strict=True):
        close(layer.weight.grad, delta @ before.T / m, 1e-12)
        close(layer.bias.grad, delta.mean(1), 1e-12)
        delta = layer.weight.detach().numpy().T @ delta * before * (1 - before)


def test_ten_sigmoids_leave_a_millionth():
    """The slope of a sigmoid is 1/4 at most."""
    x = leaf(0.0)
    z = x
    for _ in range(10):
        z = cr.sigmoid(z) - 0.5  # stays where the slope is largest
    z.backward()
    assert z.item() == 0 and x.grad.item() == 0.25**10 == pytest.approx(9.5367e-7, rel=1e-5)


# --- weights ---


def test_layers_with_a_norm_of_their_own():
    """W = [[3, 4], [0, 5]]: rows of length 2 (Salimans & Kingma 2016); divided by its largest singular value, 6.708204
    (Miyato et al. 2018)."""

    def layer():
        made = nn.Linear(2, 2, bias=False, dtype=cr.float64)
        with cr.no_grad():
            made.weight.copy_(tensor([[3, 4], [0, 5]]))
        return made

    normed = nn.utils.parametrizations.weight_norm(layer())
    with cr.no_grad():
        normed.parametrizations.weight.original0.fill_(2.0)
    close(normed.weight, [[1.2, 1.6], [0, 2]], 1e-12)
    spectral = nn.utils.parametrizations.spectral_norm(layer())
    for _ in range(5):
        scaled = spectral.weight
    close(scaled, np.array([[3, 4], [0, 5]]) / 6.708204, 1e-6)
    close(cr.linalg.svdvals(scaled), [1, 2.236068 / 6.708204], 1e-6)


def test_from_zero_a_network_learns_no_more_than_how_frequent_the_classes_are():
    """All units equal for ever, and behind ReLU without any gradient: only the last bias moves."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    x, y = cr.tensor(x / 16, dtype=cr.float32), cr.tensor(y)
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    for one in net.parameters():
        nn.init.zeros_(one)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    assert all((one == 0).all() for one in (net[0].weight, net[0].bias, net[2].weight))
    close(net[2].bias.softmax(0), np.bincount(y.numpy()) / len(y), 1e-4)
    accuracy = metrics.accuracy(net(x), y)
    assert accuracy == pytest.approx(0.102, abs=5e-4)  # the largest class


# --- steps ---


def test_nesterov_with_the_wrong_sign_hardly_converges():
    """The gradient at theta + mu v in place of theta - mu v, on theta^2 / 2; the right one is in `test_optim_numbers.py`."""
    theta = leaf(1.0)
    optimizer = optim.SGD([theta], lr=0.1, momentum=0.9)
    values, velocity = [], 0.0
    for _ in range(60):
        theta.grad = (theta + 0.9 * velocity).detach()
        before = theta.item()
        optimizer.step()
        velocity = before - theta.item()
        values.append(theta.item())
    np.testing.assert_allclose(values[:4], [0.9, 0.711, 0.45279, 0.1518831], rtol=1e-7)
    assert abs(values[-1]) == pytest.approx(0.690, abs=1e-3)


def test_the_mean_of_subgradient_steps_keeps_within_its_bound():
    """Zinkevich 2003: with slope at most L from distance R, the mean over T steps of size eta is at most
    (R^2 + L^2 T eta^2) / (2 T eta) above the minimum: L R / sqrt(T) for eta = R / (L sqrt(T))."""
    R, L, T = 2.0, 3.0, 100

    def gap_and_bound(eta):
        theta = leaf([R, 0.0])
        optimizer, average = optim.SGD([theta], lr=eta), optim.IterateAverage([theta])
        for _ in range(T):
            average.update()
            optimizer.zero_grad()
            (L * theta.norm()).backward()
            optimizer.step()
        with average.applied():
            return L * theta.norm().item(), (R**2 + L**2 * T * eta**2) / (2 * T * eta)

    best = R / (L * math.sqrt(T))
    bounds = {factor: gap_and_bound(factor * best) for factor in (0.1, 0.5, 1, 2, 10)}
    assert all(gap <= bound for gap, bound in bounds.values())
    assert bounds[1][1] == pytest.approx(0.6) == min(bound for _, bound in bounds.values())
    assert bounds[0.1] == pytest.approx(
        (3.03, 3.03)
    )  # where the last step ends at the minimum the bound is reached


def test_the_window_of_a_running_mean():
    """With decay 0.9 the weights add up to 10, and the tenth last counts about 1/e of the last."""
    theta = leaf(1.0)
    average = optim.IterateAverage([theta], 0.9)
    for _ in range(300):
        average.update()
    assert average.total == pytest.approx(10)
    with cr.no_grad():
        theta.fill_(0.0)
    for _ in range(10):
        average.update()
    assert (
        average.averages[0].item() == pytest.approx(0.348678, abs=1e-6) == pytest.approx(1 / math.e, rel=0.06)
    )


@pytest.mark.parametrize("a", [1.2, 0.3, -2.0])
def test_the_absolute_penalty_moves_by_an_amount_and_the_square_by_a_factor(a):
    """The minima of (w - a)^2 + |w| and of (w - a)^2 + w^2: a drawn 1/2 nearer to 0, and a/2 (Tibshirani 1996)."""
    expected = {1.2: (0.7, 0.6), 0.3: (0, 0.15), -2.0: (-1.5, -1)}[a]
    lasso, ridge = leaf(0.5), leaf(0.5)
    first, second = optim.SGD([lasso], lr=0.1), optim.SGD([ridge], lr=0.1, weight_decay=2.0)
    additions.SoftThreshold(first, 1.0)
    for _ in range(200):
        for w, optimizer in ((lasso, first), (ridge, second)):
            optimizer.zero_grad()
            ((w - a) ** 2).backward()
            optimizer.step()
    assert (lasso.item(), ridge.item()) == pytest.approx(expected, abs=1e-12)
    if a == 0.3:
        assert lasso.item() == 0
