"""Parametrizations, weight and spectral normalization in both forms, orthogonal weights, pruning."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils import parametrizations, parametrize, prune


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, y):
        return y.triu()


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def same(a, b, tolerance=1e-12):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_a_weight_that_stays_symmetric():
    layer = nn.Linear(3, 3)
    weight = layer.weight
    assert parametrize.register_parametrization(layer, "weight", Symmetric()) is layer
    assert layer.parametrizations.weight.original is weight
    assert cr.equal(layer.weight, layer.weight.mT)
    assert [name for name, _ in layer.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert repr(layer).startswith("ParametrizedLinear(\n  in_features=3") and type(layer) is nn.Linear
    assert parametrize.is_parametrized(layer) and parametrize.is_parametrized(layer, "weight")
    assert not parametrize.is_parametrized(layer, "bias") and "weight" in dir(layer)
    layer(cr.ones(2, 3)).sum().backward()
    assert weight.grad.tril(-1).abs().sum().item() == 0 != weight.grad.triu().abs().sum().item()

    target = cr.arange(9.0).reshape(3, 3)
    layer.weight = target + target.mT
    assert cr.equal(layer.weight, target + target.mT) and weight.tril(-1).abs().sum().item() == 0
    layer.weight = nn.Parameter(cr.eye(3))
    assert cr.equal(layer.weight, cr.eye(3)) and len(list(layer.parameters())) == 2

    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight is weight and cr.equal(weight, cr.eye(3)) and repr(layer) == repr(nn.Linear(3, 3))


def test_several_on_one_tensor_apply_in_order():
    layer = nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    parametrize.register_parametrization(layer, "weight", Doubled())
    same(layer.weight, 2 * before)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    same(layer.weight, Symmetric()(2 * before))
    with pytest.raises(RuntimeError, match="Doubled, which has no right_inverse"):
        layer.weight = cr.ones(3, 3)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    same(layer.weight, before)


def test_buffers_too():
    norm = nn.BatchNorm1d(2)
    parametrize.register_parametrization(norm, "running_mean", Doubled())
    assert "parametrizations.running_mean.original" in norm.state_dict()
    norm.parametrizations.running_mean.original.fill_(3)
    assert norm.running_mean.tolist() == [6, 6]
    parametrize.remove_parametrizations(norm, "running_mean")
    assert norm.running_mean.tolist() == [6, 6] and "running_mean" in dict(norm.named_buffers())


def test_cached_computes_once():
    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x * 1

    counting, cell = Counting(), nn.RNNCell(2, 2)
    parametrize.register_parametrization(cell, "weight_hh", counting)
    counting.calls = 0
    with parametrize.cached():
        h = cr.zeros(1, 2)
        for _ in range(5):
            h = cell(cr.ones(1, 2), h)
    assert counting.calls == 1
    h = cell(cr.ones(1, 2), h)
    assert counting.calls == 2
    # Outside again nothing is remembered.
    with parametrize.cached():
        first = cell.weight_hh
        assert cell.weight_hh is first
    assert cell.weight_hh is not first


def test_what_does_not_fit_is_refused():
    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="no parameter or buffer 'wait'"):
        parametrize.register_parametrization(layer, "wait", Doubled())

    class Flat(nn.Module):
        def forward(self, x):
            return x.flatten()

    with pytest.raises(ValueError, match="must give a tensor like the one it stands for, \\(3, 2\\)"):
        parametrize.register_parametrization(layer, "weight", Flat())
    assert not parametrize.is_parametrized(layer) and layer.weight.shape == (3, 2)
    parametrize.register_parametrization(layer, "weight", Flat(), unsafe=True)
    assert layer.weight.shape == (6,)
    with pytest.raises(ValueError, match="'bias' of Linear is not parametrized"):
        parametrize.remove_parametrizations(layer, "bias")
    with pytest.raises(ValueError, match="computed from 2 tensors"):
        parametrize.remove_parametrizations(parametrizations.weight_norm(nn.Linear(2, 2)), "weight", False)


def test_copies_pickles_and_modes():
    layer = parametrizations.spectral_norm(nn.Sequential(nn.Linear(3, 4))[0])
    assert layer.parametrizations.weight[0].training
    other = pickle.loads(pickle.dumps(copy.deepcopy(layer))).eval()
    assert not other.parametrizations.weight[0].training
    layer.eval()
    same(other.weight, layer.weight)
    before = layer.weight
    other.parametrizations.weight.original.detach().zero_()
    same(layer.weight, before)
    assert layer.to(cr.float64).weight.dtype is cr.float64


def test_transfer():
    source, other = parametrizations.weight_norm(nn.Linear(2, 3)), nn.Linear(2, 3)
    assert parametrize.transfer_parametrizations_and_params(source, other) is other
    same(other.weight, source.weight)
    assert other.parametrizations.weight.original0 is not source.parametrizations.weight.original0
    assert parametrize.type_before_parametrizations(other) is nn.Linear


LAYERS = ["Linear(3, 5)", "Linear(5, 3)", "Linear(4, 4)", "Conv2d(2, 3, 2)", "ConvTranspose2d(2, 3, 2)"]
NORMS = ["weight_norm(m)", "weight_norm(m, dim=None)", "weight_norm(m, dim=1)", "spectral_norm(m)"]
MAPS = [
    "orthogonal(m)",
    "orthogonal(m, orthogonal_map='cayley')",
    "orthogonal(m, orthogonal_map='householder')",
    "orthogonal(m, orthogonal_map='householder', use_trivialization=False)",
    "orthogonal(m, orthogonal_map='matrix_exp', use_trivialization=False)",
]


def both(torch, make, how, ours, theirs):
    """A layer of each library, parametrized, with the same numbers."""
    a, b = eval(f"nn.{make}").double(), eval(f"torch.nn.{make}").double()
    torch.manual_seed(0)
    eval(f"library.{how}", {"library": ours, "m": a})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        eval(f"library.{how}", {"library": theirs, "m": b})
    with torch.no_grad():
        for one in b.parameters():
            one += (
                0.3 * torch.randn_like(one).tril(-1)
                if "orthogonal" in how and one.ndim > 1
                else torch.randn_like(one)
            )
    for one in (a, b):
        one.eval()
    a.load_state_dict({name: one.numpy() for name, one in b.state_dict().items()})
    return a, b


@pytest.mark.parametrize(
    ("make", "how"), [(one, how) for one in LAYERS for how in (*NORMS, *(MAPS if "Conv" not in one else ()))]
)
def test_as_in_pytorch(torch, make, how):
    import torch.nn.utils.parametrizations as theirs

    a, b = both(torch, make, how, parametrizations, theirs)
    assert sorted(a.state_dict()) == sorted(b.state_dict()) and repr(a) == repr(b)
    same(a.weight, b.weight)
    g = np.random.default_rng(0).normal(size=a.weight.shape)
    (a.weight * cr.tensor(g)).sum().backward()
    (b.weight * torch.tensor(g)).sum().backward()
    theirs_ = dict(b.named_parameters())
    for name, one in a.named_parameters():
        assert (one.grad is None) == (theirs_[name].grad is None)
        if one.grad is not None:
            same(one.grad, theirs_[name].grad, 1e-10)
    for one in (a, b):
        one.train()
    same(a.weight, b.weight)  # after a step of the power iteration
    parametrize.remove_parametrizations(a, "weight")
    assert sorted(a.state_dict()) == ["bias", "weight"]


@pytest.mark.parametrize("how", NORMS)
@pytest.mark.parametrize("make", ["Linear(3, 5)", "ConvTranspose2d(2, 3, 2)"])
def test_the_older_form_as_in_pytorch(torch, make, how):
    a, b = both(torch, make, how, nn.utils, torch.nn.utils)
    assert sorted(a.state_dict()) == sorted(b.state_dict()) and repr(a) == repr(b)
    x = np.random.default_rng(0).normal(size=(1, 3) if "Linear" in make else (1, 2, 4, 4))
    for training in (False, True):
        for one in (a, b):
            one.train(training)
        y, expected = a(cr.tensor(x)), b(torch.tensor(x))
        same(y, expected)
    y.sum().backward()
    expected.sum().backward()
    for one, other in zip(a.parameters(), b.parameters(), strict=True):
        same(one.grad, other.grad, 1e-10)
    a.eval()
    same(pickle.loads(pickle.dumps(copy.deepcopy(a))).weight, a.weight)
    with pytest.raises(RuntimeError, match="cannot assign to 'weight', which is computed from"):
        a.weight = cr.ones(1)
    kind = how.partition("(")[0]
    weight = a.weight
    getattr(nn.utils, f"remove_{kind}")(a)
    assert sorted(a.state_dict()) == ["bias", "weight"] and cr.equal(a.weight, weight)
    with pytest.raises(ValueError, match="there is none on 'weight'"):
        getattr(nn.utils, f"remove_{kind}")(a)


@pytest.mark.parametrize("how", MAPS)
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_orthogonal_weights(how, shape):
    layer = nn.Linear(*shape, dtype=cr.float64)
    eval(f"parametrizations.{how}", {"parametrizations": parametrizations, "m": layer})

    def check():
        w = layer.weight.detach().numpy()
        product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
        np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-12)

    check()
    with cr.no_grad():
        layer.parametrizations.weight.original.add_(cr.randn(shape[1], shape[0], dtype=cr.float64).tril(-1))
    check()
    if "matrix_exp" not in how:
        target = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))[0][: shape[1], : shape[0]]
        target = target if 5 in shape else np.linalg.qr(target)[0]
        layer.weight = cr.tensor(target)
        np.testing.assert_allclose(layer.weight.detach().numpy(), target, atol=1e-12)
        with pytest.raises(ValueError, match="expected shape"):
            layer.weight = cr.ones(2, 2, dtype=cr.float64)


def test_bad_parametrizations_are_named():
    for call, error, words in (
        (lambda: parametrizations.orthogonal(nn.Linear(2, 2), "bias"), ValueError, "expected a matrix"),
        (lambda: parametrizations.orthogonal(nn.Linear(2, 2), orthogonal_map="qr"), ValueError, "must be"),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(2, 2), "no"),
            ValueError,
            "no parameter or buffer 'no'",
        ),
        (
            lambda: parametrizations.spectral_norm(nn.Linear(2, 2), dim=2),
            IndexError,
            "dim must be from -2 to 1",
        ),
        (
            lambda: nn.utils.spectral_norm(nn.Linear(2, 2), n_power_iterations=0),
            ValueError,
            "must be positive",
        ),
        (
            lambda: nn.utils.weight_norm(nn.Linear(2, 2, bias=False), "bias"),
            ValueError,
            "no parameter 'bias'",
        ),
    ):
        with pytest.raises(error, match=words):
            call()


# Pruning


@pytest.mark.parametrize(
    "how",
    [
        "identity(m, 'weight')",
        "l1_unstructured(m, 'weight', 0.3)",
        "l1_unstructured(m, 'weight', 7)",
        "ln_structured(m, 'weight', 2, n=2, dim=0)",
        "ln_structured(m, 'weight', 0.5, 1, -1)",
    ],
)
def test_pruning_as_in_pytorch(torch, how):
    import torch.nn.utils.prune as theirs

    a, b = nn.Linear(5, 6).double(), torch.nn.Linear(5, 6).double()
    a.load_state_dict({name: one.detach().numpy() for name, one in b.state_dict().items()})
    for _ in range(2):
        eval(f"library.{how}", {"library": prune, "m": a})
        eval(f"library.{how}", {"library": theirs, "m": b})
        same(a.weight, b.weight)
    assert sorted(a.state_dict()) == sorted(b.state_dict())
    a(cr.ones(2, 5, dtype=cr.float64)).sum().backward()
    b(torch.ones(2, 5).double()).sum().backward()
    same(a.weight_orig.grad, b.weight_orig.grad)
    value = a.weight
    assert prune.is_pruned(nn.Sequential(a))
    prune.remove(a, "weight")
    assert (
        cr.equal(a.weight, value) and sorted(a.state_dict()) == ["bias", "weight"] and not prune.is_pruned(a)
    )


def test_pruning_by_chance_and_across_layers():
    layer = nn.Linear(10, 10)
    prune.random_unstructured(layer, "weight", 0.25)
    assert (layer.weight == 0).sum().item() == 25
    prune.random_structured(layer, "weight", 3, dim=1)
    assert (layer.weight.abs().sum(0) == 0).sum().item() == 3
    small, large = nn.Linear(4, 5), nn.Linear(4, 5)
    with cr.no_grad():
        large.weight.add_(10)
    prune.global_unstructured([(small, "weight"), (large, "weight")], prune.L1Unstructured, amount=0.5)
    assert (small.weight == 0).all() and (large.weight != 0).all()


def test_bad_pruning_is_named():
    layer = nn.Linear(2, 3)
    for call, error, words in (
        (lambda: prune.l1_unstructured(layer, "weight", 1.5), ValueError, "amount must be a fraction"),
        (lambda: prune.l1_unstructured(layer, "weight", 7), ValueError, "more than the 6 that are left"),
        (
            lambda: prune.custom_from_mask(layer, "weight", cr.ones(2)),
            ValueError,
            "the mask has shape \\(2,\\)",
        ),
        (lambda: prune.remove(layer, "bias"), ValueError, "'bias' of Linear is not pruned"),
        (
            lambda: prune.global_unstructured([(layer, "weight")], print, amount=1),
            TypeError,
            "L1Unstructured",
        ),
    ):
        with pytest.raises(error, match=words):
            call()
