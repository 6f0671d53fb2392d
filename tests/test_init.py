"""`nn.init`: the laws that parameters start from."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import init


def filled(function, *shape, device="cpu", **keywords):
    """What `function` puts into a tensor that held NaN everywhere."""
    tensor = cr.full(shape, math.nan, device=device)
    assert function(tensor, **keywords) is tensor and not tensor.requires_grad
    return tensor.detach().cpu().numpy()


# A layer from 100 units to 50: Glorot's law has variance 2 / 150 and is uniform on (-0.2, 0.2), the law for tanh
# that looks at the inputs only has 1 / 100, He's for ReLU 2 / 100.
FAN_IN, FAN_OUT = 100, 50


@pytest.mark.parametrize(
    ("function", "keywords", "variance", "bound"),
    [
        (init.xavier_uniform_, {}, 2 / 150, 0.2),
        (init.xavier_normal_, {}, 2 / 150, None),
        (init.xavier_uniform_, {"gain": 5 / 3}, 25 / 9 * 2 / 150, 1 / 3),
        (init.kaiming_normal_, {"nonlinearity": "linear"}, 1 / 100, None),
        (init.kaiming_normal_, {"nonlinearity": "relu"}, 2 / 100, None),
        (init.kaiming_uniform_, {"nonlinearity": "relu"}, 2 / 100, math.sqrt(6 / 100)),
        (init.kaiming_normal_, {"nonlinearity": "relu", "mode": "fan_out"}, 2 / 50, None),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / 300, 0.1),
        (init.uniform_, {"a": -2, "b": 4}, 3.0, None),
        (init.normal_, {"std": 0.5}, 0.25, None),
    ],
)
def test_the_variance_is_the_one_of_the_law(function, keywords, variance, bound, device):
    values = np.concatenate(
        [filled(function, FAN_OUT, FAN_IN, device=device, **keywords).ravel() for _ in range(20)]
    )
    assert values.var() == pytest.approx(variance, rel=0.03)
    if bound is not None:
        assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)


def test_convolution_weights_count_the_window():
    assert init._calculate_fan_in_and_fan_out(cr.zeros(8, 4, 3, 5)) == (60, 120)
    with pytest.raises(ValueError, match="2 dimensions or more"):
        init.xavier_normal_(cr.zeros(3))


def test_constants(device):
    assert (filled(init.constant_, 2, 3, device=device, val=4) == 4).all()
    assert (filled(init.ones_, 2, device=device) == 1).all() and (filled(init.zeros_, 2) == 0).all()
    assert (filled(init.eye_, 2, 3, device=device) == np.eye(2, 3)).all()
    with pytest.raises(ValueError, match="2 dimensions"):
        init.eye_(cr.zeros(2))


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (6, 2, 3)])
def test_orthogonal(shape, device):
    w = filled(init.orthogonal_, *shape, device=device, gain=2).reshape(shape[0], -1).astype("float64") / 2
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)
    with pytest.raises(ValueError, match="2 or more dimensions"):
        init.orthogonal_(cr.zeros(2))


def test_dirac_hands_channels_through(device):
    x = cr.randn(1, 4, 5, 6, device=device)
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False, device=device)
    assert init.dirac_(conv.weight) is conv.weight
    np.testing.assert_allclose(conv(x).detach().cpu().numpy(), x.cpu().numpy(), rtol=1e-6)
    grouped = filled(init.dirac_, 4, 2, 3, groups=2)
    assert grouped[:, :, 1].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]] and grouped.sum() == 4
    with pytest.raises(ValueError, match="divisible"):
        init.dirac_(cr.zeros(3, 2, 3), groups=2)
    with pytest.raises(ValueError, match="3, 4 or 5"):
        init.dirac_(cr.zeros(3, 2))


def test_sparse():
    values = filled(init.sparse_, 10, 30, sparsity=0.25, std=2.0)
    assert ((values == 0).sum(0) == 3).all() and values[values != 0].std() == pytest.approx(2, rel=0.15)
    with pytest.raises(ValueError, match="2 dimensions"):
        init.sparse_(cr.zeros(2), 0.1)


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [(0, 1, -2, 2), (1, 2, -1, 1.5), (0, 1, 2.5, 9), (0, 1, -math.inf, -3), (0, 0.02, -2, 2)],
)
def test_truncated_normal(mean, std, a, b):
    values = filled(init.trunc_normal_, 20000, mean=mean, std=std, a=a, b=b).astype("float64")
    assert values.min() >= a and values.max() <= b
    grid = np.linspace(max(a, mean - 9 * std), min(b, mean + 9 * std), 100001)
    density = np.exp(-(((grid - mean) / std) ** 2) / 2)
    expected = (grid * density).sum() / density.sum()
    spread = math.sqrt(((grid - expected) ** 2 * density).sum() / density.sum())
    assert values.mean() == pytest.approx(expected, abs=5 * spread / math.sqrt(20000))
    assert values.std() == pytest.approx(spread, rel=0.03)
    with pytest.raises(ValueError, match="a < b"):
        init.trunc_normal_(cr.zeros(1), a=1, b=1)
    with pytest.raises(ValueError, match="std must be positive"):
        init.trunc_normal_(cr.zeros(1), std=0)
    assert filled(init.trunc_normal_, 0).size == 0


@pytest.mark.parametrize(
    ("name", "param", "gain"),
    [
        ("linear", None, 1), ("conv2d", None, 1), ("sigmoid", None, 1), ("tanh", None, 5 / 3), ("relu", None, math.sqrt(2)),
        ("leaky_relu", None, math.sqrt(2 / 1.0001)), ("leaky_relu", 1, 1), ("selu", None, 0.75),
    ],
)  # fmt: skip
def test_gains(name, param, gain):
    assert init.calculate_gain(name, param) == pytest.approx(gain)


def test_gain_errors():
    with pytest.raises(ValueError, match="unsupported nonlinearity 'swish'; expected one of"):
        init.calculate_gain("swish")
    with pytest.raises(ValueError, match="negative slope"):
        init.calculate_gain("leaky_relu", "steep")
    with pytest.raises(ValueError, match="mode must be"):
        init.kaiming_normal_(cr.zeros(2, 2), mode="fan")


def test_generators_and_seeds():
    for function in (
        init.uniform_,
        init.normal_,
        init.trunc_normal_,
        init.xavier_normal_,
        init.kaiming_uniform_,
        init.orthogonal_,
    ):
        cr.manual_seed(3)
        first = filled(function, 4, 5)
        cr.manual_seed(3)
        assert (filled(function, 4, 5) == first).all()
        assert (filled(function, 4, 5, generator=cr.Generator().manual_seed(3)) == first).all()
        assert not (filled(function, 4, 5) == first).any()


def test_nothing_is_recorded():
    weight = nn.Parameter(cr.zeros(3, 3))
    for function in (
        init.normal_,
        init.uniform_,
        init.ones_,
        init.eye_,
        init.orthogonal_,
        init.trunc_normal_,
        init.xavier_normal_,
    ):
        assert (
            function(weight) is weight and weight.is_leaf and weight.requires_grad and weight.grad_fn is None
        )


@pytest.mark.parametrize(
    ("layer", "bound"),
    [
        (lambda: nn.Linear(100, 50), 0.1),
        (lambda: nn.Conv2d(4, 60, 5), 0.1),
        (lambda: nn.Conv2d(8, 60, 5, groups=2), 0.1),
        (lambda: nn.ConvTranspose2d(60, 4, 5), 0.1),
        (lambda: nn.Bilinear(100, 5, 50), 0.1),
    ],
)
def test_layers_start_uniform(layer, bound):
    layer = layer()
    weight = layer.weight.detach().numpy()
    assert 0.98 * bound < np.abs(weight).max() <= bound and weight.var() == pytest.approx(
        bound**2 / 3, rel=0.1
    )
    assert 0.3 * bound < layer.bias.abs().max().item() <= bound


def test_embeddings_start_normal():
    table = nn.Embedding(300, 20, padding_idx=-1).weight.detach().numpy()
    assert table[:-1].std() == pytest.approx(1, rel=0.03) and (table[-1] == 0).all()


def test_units_that_start_equal_stay_equal():
    """From zeros (or any constant) all hidden units get the same gradient for ever: the reason to start at random."""
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    for one in net.parameters():
        init.constant_(one, 0.3)
    x, y = cr.randn(20, 3), cr.randint(0, 2, (20,))
    for _ in range(5):
        net.zero_grad()
        nn.CrossEntropyLoss()(net(x), y).backward()
        with cr.no_grad():
            for one in net.parameters():
                one -= 0.5 * one.grad
    hidden = net[0].weight.detach().numpy()
    assert (hidden == hidden[0]).all() and not (hidden == 0.3).any()
