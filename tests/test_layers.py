"""Every layer of the table through every property; see `layer_table.py`."""

import copy
import doctest
import inspect
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from tests.layer_table import LAYERS, Layer

EVERY = pytest.mark.parametrize("row", LAYERS, ids=lambda row: f"{row.make}-{row.inputs[0]}"[:60])
# Not layers of their own: the base and containers.
NOT_IN_TABLE = {
    "Module",
    "ModuleList",
    "ModuleDict",
    "ParameterList",
    "ParameterDict",
    "RNNBase",
    "RNNCellBase",
}


def made(row, dtype=cr.float64, device=None):
    """The layer, in training mode, the same at every call."""
    cr.manual_seed(1)
    layer = eval(row.make, {"nn": nn})
    with cr.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    return layer.to(dtype).to(device)


def given(row, dtype=cr.float64, device=None, requires_grad=False):
    """The inputs as Tensors; floats in `dtype`."""
    found = []
    for one, differentiable in zip(row.arrays(), row.differentiable(), strict=True):
        tensor = cr.tensor(one, device=device)
        if tensor.is_floating_point():
            tensor = tensor.to(dtype).requires_grad_(requires_grad and differentiable)
        found.append(tensor)
    if "inplace=True" in row.make and requires_grad:
        found = [one * 1 for one in found]
    return found


def results(layer, row, inputs):
    """All float outputs, from the same random numbers each time."""
    cr.manual_seed(5)
    return floats(layer(*inputs, **row.keywords))


def floats(value):
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in floats(part)]
    return [value] if value.is_floating_point() else []


def host(tensors):
    return [one.detach().cpu().numpy() for one in tensors]


def same(a, b, **tolerance):
    for left, right in zip(host(a), host(b), strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


def test_every_layer_is_in_the_table():
    public = {
        name
        for name in nn.__all__
        if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    }
    lazy = {name for name in public if name.startswith("Lazy")}  # see test_lazy.py
    assert public - {row.name for row in LAYERS} - NOT_IN_TABLE - lazy == set()


@EVERY
def test_runs_and_reaches_every_parameter(row, device):
    layer, inputs = made(row, device=device), given(row, device=device, requires_grad=True)
    found = results(layer, row, inputs)
    assert all(np.isfinite(one).all() for one in host(found))
    if any(one.requires_grad for one in found):
        sum(one.sum() for one in found).backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.device.type == device
    if device != "cpu":
        same(found, results(made(row), row, given(row)), rtol=1e-12, atol=1e-12)


@EVERY
def test_state_comes_back(row):
    source, other = made(row), eval(row.make, {"nn": nn}).double()
    for one in (source, other):
        one.eval()
    assert other.load_state_dict(source.state_dict()) == ([], [])
    same(results(source, row, given(row)), results(other, row, given(row)), rtol=0)


@EVERY
@pytest.mark.parametrize("dtype", [cr.float32, cr.float64])
def test_dtype_is_kept(row, dtype):
    layer = made(row, dtype)
    inputs = given(row, dtype, requires_grad=True)
    found = results(layer, row, inputs)
    assert {one.dtype for one in found} <= {dtype}
    if any(one.requires_grad for one in found):
        sum(one.sum() for one in found).backward()
    assert {one.grad.dtype for one in layer.parameters()} <= {dtype}


@EVERY
def test_copies_compute_the_same(row):
    layer = made(row)
    expected = results(copy.deepcopy(layer), row, given(row))
    same(results(pickle.loads(pickle.dumps(layer)), row, given(row)), expected, rtol=0)
    same(results(layer, row, given(row)), expected, rtol=0)


@EVERY
def test_prints(row):
    text = repr(eval(row.make, {"nn": nn}))
    assert text.startswith(f"{row.name}(") and text.endswith(")") and "object at" not in text


@EVERY
def test_factory_keywords(row):
    names = inspect.signature(getattr(nn, row.name).__init__).parameters
    if "device" in names and "dtype" in names:
        made = row.make.removesuffix(")").removesuffix("(") + ("(" if row.make.endswith("()") else ", ")
        layer = eval(f"{made}device='fake', dtype=cr.float64)", {"nn": nn, "cr": cr})
        assert all(one.dtype is cr.float64 and one.device.type == "fake" for one in layer.parameters())


@pytest.mark.parametrize("row", [row for row in LAYERS if row.own], ids=lambda row: row.make[:60])
def test_derivatives_of_what_pytorch_lacks(row):
    layer, inputs = made(row), given(row, requires_grad=True)
    names = dict(layer.named_parameters())

    def run(*tensors):
        own = dict(zip(names, tensors[: len(names)], strict=True))
        cr.manual_seed(5)
        result = cr.func.functional_call(layer, own, tensors[len(names) :], row.keywords)
        return tuple(one.tanh() for one in floats(result))

    assert cr.autograd.gradcheck(run, (*names.values(), *inputs))


EMPTY_BATCHES = [
    ("nn.Maxout(3, 4)", (0, 3), (0, 4)),
    ("nn.LocallyConnected1d(2, 3, 8, 3)", (0, 2, 8), (0, 3, 6)),
    ("nn.LocallyConnected2d(2, 3, 4, 2)", (0, 2, 4, 4), (0, 3, 3, 3)),
    ("nn.LSTMVariant(3, 4, peephole='full')", (5, 0, 3), (5, 0, 4)),
    ("nn.JordanRNN(3, 4, 2)", (5, 0, 3), (5, 0, 2)),
    ("nn.ClockworkRNN(3, 4, (1, 2))", (5, 0, 3), (5, 0, 4)),
    ("nn.SCRN(3, 4, 2)", (5, 0, 3), (5, 0, 6)),
    ("nn.Dropout(0.5, shared=0)", (0, 3), (0, 3)),
    ("nn.Dropout(0.5, rescale='test')", (0, 3), (0, 3)),
]


@pytest.mark.parametrize(("make", "shape", "expected"), EMPTY_BATCHES, ids=lambda one: str(one))
def test_empty_batches(make, shape, expected):
    layer, x = eval(make, {"nn": nn}), cr.ones(*shape, requires_grad=True)
    (y, *_) = floats(layer(x))
    assert y.shape == expected
    y.sum().backward()
    assert x.grad.shape == shape
    assert all((one.grad == 0).all() for one in layer.parameters() if one.grad is not None)


def test_examples_in_docstrings():
    runner = doctest.DocTestRunner()
    finder = doctest.DocTestFinder(recurse=False)
    examples = 0
    for name in nn.__all__:
        value = getattr(nn, name)
        if inspect.isclass(value) and issubclass(value, nn.Module):
            for one in finder.find(value, name, globs={"nn": nn, "cr": cr}):
                examples += len(one.examples)
                runner.run(one)
    assert runner.summarize(verbose=False).failed == 0 and examples > 100


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels=3 must be divisible by groups=2"),
        (lambda: nn.Conv2d(2, 3, 3, groups=2), ValueError, "out_channels=3 must be divisible"),
        (lambda: nn.Conv2d(2, 2, 3, groups=0), ValueError, "groups must be positive"),
        (lambda: nn.Conv2d(2, 2, (3, 3, 3)), ValueError, "kernel_size: expected one number or 2"),
        (lambda: nn.Conv2d(2, 2, 3, padding="full"), ValueError, "'same' or 'valid'"),
        (lambda: nn.Conv2d(2, 2, 3, padding="same", stride=2), ValueError, "needs stride 1"),
        (lambda: nn.Conv2d(2, 2, 3, padding_mode="mirror"), ValueError, "padding_mode must be one of"),
        (lambda: nn.ConvTranspose2d(2, 2, 3, padding_mode="reflect"), ValueError, "only padding_mode"),
        (
            lambda: nn.ConvTranspose1d(1, 1, 3, stride=2)(cr.ones(1, 1, 4), output_size=(20,)),
            ValueError,
            "out of reach",
        ),
        (
            lambda: nn.ConvTranspose1d(1, 1, 3)(cr.ones(1, 1, 4), output_size=(1, 1)),
            ValueError,
            "1 or 3 lengths",
        ),
        (lambda: nn.Dropout(1.5), ValueError, "p must be a probability"),
        (lambda: nn.Dropout("half"), TypeError, "Dropout: p must be a number, got str"),
        (
            lambda: nn.functional.dropout(cr.ones(2), cr.tensor(0.5)),
            TypeError,
            "dropout: dropout probability has to be a number, got Tensor",
        ),
        (lambda: nn.BatchNorm2d(3)(cr.ones(2, 3)), ValueError, "expected 4-d input, got shape \\(2, 3\\)"),
        (lambda: nn.BatchNorm1d(3)(cr.ones(3)), ValueError, "expected 2-d or 3-d"),
        (lambda: nn.GroupNorm(3, 4), ValueError, "divisible by num_groups"),
        (lambda: nn.InstanceNorm1d(3, affine=True)(cr.ones(2, 4, 5)), ValueError, "expected 3 channels"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "no row of a table of 3"),
        (lambda: nn.Embedding(3, 2, _weight=cr.ones(2, 2)), ValueError, "given weight has shape"),
        (lambda: nn.Embedding.from_pretrained(cr.ones(3)), ValueError, "2 dimensions"),
        (lambda: nn.ReflectionPad2d((1, 2)), ValueError, "one number or 4"),
        (
            lambda: nn.MSELoss(reduction="max"),
            ValueError,
            "MSELoss: .max. is not a valid value for reduction",
        ),
        (lambda: nn.MultiMarginLoss(p=3), ValueError, "p must be 1 or 2"),
        (lambda: nn.Softmax2d()(cr.ones(2)), ValueError, "expected \\(C, H, W\\)"),
        (lambda: nn.Hardtanh(1, 0), ValueError, "min_val must be less"),
        (lambda: nn.Unflatten("C", (1, 2)), TypeError, "dim must be an int"),
        (lambda: nn.Unflatten(1, 3), TypeError, "must be a tuple"),
        (lambda: nn.Bilinear(0, 1, 1), ValueError, "in1_features must be positive"),
        (lambda: nn.Linear(3, 4)(cr.ones(2, 5)), RuntimeError, "linear.*\\(2, 5\\)"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_older_reduction_flags():
    x, y = cr.tensor([1.0, 2.0]), cr.tensor([2.0, 4.0])
    assert nn.MSELoss(size_average=False)(x, y).item() == 5
    assert nn.MSELoss(reduce=False)(x, y).tolist() == [1, 4]
    assert nn.MSELoss(size_average=True)(x, y).item() == 2.5


def test_lazy_linear():
    net = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2, bias=False))
    assert repr(net[0]) == "LazyLinear(in_features=0, out_features=3, bias=True)"
    with pytest.raises(RuntimeError, match="has no shape before"):
        _ = net[0].weight.shape
    assert len(list(net.parameters())) == 3 and "Uninitialized" in repr(net[0].weight)
    net.double()
    kept = net[0].weight
    assert net(cr.ones(4, 5, dtype=cr.float64)).shape == (4, 2)
    assert type(net[0]) is nn.Linear and net[0].weight is kept and type(kept) is nn.Parameter
    assert net[0].in_features == 5 and net[2].weight.shape == (2, 3) and kept.dtype is cr.float64
    assert 0 < kept.abs().max().item() <= 5**-0.5

    other = nn.LazyLinear(3)
    other.load_state_dict(net[0].state_dict())
    assert other(cr.ones(1, 5)).shape == (1, 3) and other.in_features == 5
    assert cr.equal(other.weight, net[0].weight.float())
    with pytest.raises(RuntimeError, match="uninitialized"):
        nn.Linear(5, 3).load_state_dict(nn.LazyLinear(3).state_dict())


def test_running_statistics():
    """The batch means 2.5, 3.5, 1.5, averaged with weight 0.1 from 0: 0.25, 0.575, 0.6675."""
    norm = nn.BatchNorm1d(1, dtype=cr.float64)
    x = cr.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=cr.float64)
    found = []
    for shift in (0, 1, -1):
        norm(x + shift)
        found.append(norm.running_mean.item())
    np.testing.assert_allclose(found, [0.25, 0.575, 0.6675])
    assert norm.num_batches_tracked.item() == 3
    norm.reset_running_stats()
    assert (
        norm.running_mean.item() == 0
        and norm.running_var.item() == 1
        and norm.num_batches_tracked.item() == 0
    )
    plain = nn.BatchNorm1d(1, momentum=None, dtype=cr.float64)
    for shift in (0, 1, -1):
        plain(x + shift)
    assert plain.running_mean.item() == pytest.approx(2.5)
    plain.eval()
    assert plain(x).mean().item() == pytest.approx(0)


def test_a_pretrained_table():
    table = nn.Embedding.from_pretrained(cr.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert table(cr.tensor([1])).tolist() == [[3, 4]] and not table.weight.requires_grad
    bag = nn.EmbeddingBag.from_pretrained(cr.tensor([[1.0, 2.0], [3.0, 4.0]]), freeze=False, mode="sum")
    assert bag(cr.tensor([[0, 1]])).tolist() == [[4, 6]] and bag.weight.requires_grad
    with pytest.raises(ValueError, match="2 dimensions"):
        nn.EmbeddingBag.from_pretrained(cr.ones(3))


def test_rows_are_what_they_say():
    assert isinstance(LAYERS[0], Layer) and all(hasattr(nn, row.name) for row in LAYERS)


def test_a_batch_that_fails_is_not_counted():
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(cr.ones(1, 3))
    assert norm.num_batches_tracked.item() == 0 and norm.running_mean.abs().sum().item() == 0
