"""Recurrent layers as modules: PyTorch's numbers and names, cells and directions, packed input, dropout, errors."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.functional.recurrent import gru_cell, rnn_tanh_cell
from chainrule.nn.recurrent import LSTM, RNN
from chainrule.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell
from chainrule.nn.utils import rnn as packing
from tests.recurrent_layers import CELLS, KINDS, double, flat, initial, listed, made, random, weighted

VARIANTS = {
    "plain": {},
    "deep": {"num_layers": 3},
    "both-ways": {"bidirectional": True},
    "deep-both-ways-batch-first-no-bias": {
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
        "bias": False,
    },
}


def theirs(layer):
    """PyTorch's layer of the same kind with the same parameters."""
    torch = pytest.importorskip("torch")
    options = {name: getattr(layer, name) for name in ("num_layers", "bias", "batch_first", "bidirectional")}
    if layer.mode.startswith("RNN"):
        options["nonlinearity"] = layer.nonlinearity
    if layer.proj_size:
        options["proj_size"] = layer.proj_size
    other = getattr(torch.nn, type(layer).__name__)(4, 5, **options, dtype=torch.float64)
    other.load_state_dict({name: torch.tensor(value.numpy()) for name, value in layer.state_dict().items()})
    return torch, other


def agree(ours, other):
    np.testing.assert_allclose(ours.detach().numpy(), other.detach().numpy(), rtol=1e-9, atol=1e-11)


def compare(layer, torch, other, run_ours, run_theirs, inputs):
    """Outputs of both and the gradients of inputs and parameters."""
    mine = [double(one).requires_grad_() for one in inputs]
    yours = [torch.tensor(one, requires_grad=True) for one in inputs]
    left, right = run_ours(*mine), run_theirs(*yours)
    for one, two in zip(left, right, strict=True):
        assert tuple(one.shape) == tuple(two.shape)
        agree(one, two)
    weighted(left).backward()
    weighted(right).backward()
    for one, two in zip([*mine, *layer.parameters()], [*yours, *other.parameters()], strict=True):
        agree(one.grad, two.grad)


@pytest.mark.torch
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_agree_with_pytorch(kind, variant):
    layer = made(kind, **VARIANTS[variant])
    torch, other = theirs(layer)
    shape = (3, 6, 4) if layer.batch_first else (6, 3, 4)
    states = listed(initial(layer, 3, np.asarray))

    def run(of):
        return lambda x, *hx: flat(of(x, tuple(hx) if len(hx) == 2 else hx[0]))

    compare(layer, torch, other, run(layer), run(other), [random(1, *shape), *states])
    without = lambda of: lambda x: flat(of(x))
    layer.zero_grad()
    other.zero_grad()
    compare(layer, torch, other, without(layer), without(other), [random(2, *shape)])


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
def test_unbatched_input_agrees_with_pytorch(kind):
    layer = made(kind, num_layers=2, bidirectional=True)
    torch, other = theirs(layer)
    states = [one[:, 0] for one in listed(initial(layer, 1, np.asarray))]

    def run(of):
        return lambda x, *hx: flat(of(x, tuple(hx) if len(hx) == 2 else hx[0]))

    compare(layer, torch, other, run(layer), run(other), [random(1, 6, 4), *states])


@pytest.mark.torch
@pytest.mark.parametrize("lengths", [[5, 5, 3, 1], [2, 5, 1, 4]], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_agree_with_pytorch(kind, lengths):
    layer = made(kind, num_layers=2, bidirectional=True)
    torch, other = theirs(layer)
    states = listed(initial(layer, 4, np.asarray))

    def run(of, tools):
        def function(x, *hx):
            packed = tools.pack_padded_sequence(x, lengths, enforce_sorted=False)
            output, states = of(packed, tuple(hx) if len(hx) == 2 else hx[0])
            padded, back = tools.pad_packed_sequence(output, padding_value=0.5, total_length=7)
            assert back.tolist() == lengths
            return [padded, *listed(states)]

        return function

    compare(
        layer,
        torch,
        other,
        run(layer, packing),
        run(other, torch.nn.utils.rnn),
        [random(1, 5, 4, 4), *states],
    )


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_named_and_printed_as_in_pytorch(kind):
    torch = pytest.importorskip("torch")
    cls, own = KINDS[kind]
    options = {"num_layers": 2, "bidirectional": True, "dropout": 0.25, "batch_first": True, **own}
    ours, other = cls(4, 5, **options), getattr(torch.nn, cls.__name__)(4, 5, **options)
    assert {n: tuple(p.shape) for n, p in ours.named_parameters()} == {
        n: tuple(p.shape) for n, p in other.named_parameters()
    }
    assert list(ours.state_dict()) == list(other.state_dict())
    assert repr(ours) == repr(other)
    assert [[tuple(p.shape) for p in one] for one in ours.all_weights] == [
        [tuple(p.shape) for p in one] for one in other.all_weights
    ]


@pytest.mark.torch
@pytest.mark.parametrize("kind", CELLS)
def test_cells_agree_with_pytorch(kind):
    torch = pytest.importorskip("torch")
    own = {"nonlinearity": "relu"} if kind == "rnn-relu" else {}
    for bias, shape in itertools.product((True, False), ((3, 4), (4,))):
        ours = CELLS[kind](4, 5, bias=bias, **own, dtype=cr.float64)
        other = getattr(torch.nn, CELLS[kind].__name__)(4, 5, bias=bias, **own, dtype=torch.float64)
        other.load_state_dict(
            {name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()}
        )
        states = [random(5 + i, *shape[:-1], 5) for i in range(2 if kind == "lstm" else 1)]

        def run(of):
            return lambda x, *hx: listed(of(x, tuple(hx) if len(hx) == 2 else hx[0]))

        compare(ours, torch, other, run(ours), run(other), [random(4, *shape), *states])
        agree(
            listed(ours(double(np.ones(shape))))[0], listed(other(torch.ones(shape, dtype=torch.float64)))[0]
        )
        assert repr(ours) == repr(other)


@pytest.mark.parametrize("kind", CELLS)
def test_a_layer_is_its_cell_step_by_step(kind):
    layer = made(kind)
    cell = CELLS[kind](4, 5, **KINDS[kind][1], dtype=cr.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x = double(random(1, 6, 3, 4))
    state, outputs = None, []
    for step in x:
        state = cell(step, state)
        outputs.append(listed(state)[0].detach().numpy())
    np.testing.assert_allclose(np.stack(outputs), layer(x)[0].detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_direction_is_the_reversed_sequence(kind):
    both, one = made(kind, bidirectional=True), made(kind)
    one.load_state_dict(
        {n.removesuffix("_reverse"): v for n, v in both.state_dict().items() if n.endswith("_reverse")}
    )
    x = double(random(1, 6, 3, 4))
    output, states = both(x)
    alone, last = one(x.flip(0))
    width = alone.shape[2]
    np.testing.assert_allclose(
        output.detach().numpy()[:, :, width:], alone.flip(0).detach().numpy(), rtol=1e-12
    )
    for mine, other in zip(listed(states), listed(last), strict=True):
        np.testing.assert_allclose(mine[1].detach().numpy(), other[0].detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_packing_changes_nothing_for_each_sequence(kind):
    layer = made(kind, num_layers=2, bidirectional=True)
    sequences = [double(random(i, n, 4)) for i, n in enumerate((2, 5, 1, 5))]
    output, states = layer(packing.pack_sequence(sequences, enforce_sorted=False))
    outputs = packing.unpack_sequence(output)
    for i, sequence in enumerate(sequences):
        alone, last = layer(sequence)
        np.testing.assert_allclose(outputs[i].detach().numpy(), alone.detach().numpy(), rtol=1e-12)
        for mine, other in zip(listed(states), listed(last), strict=True):
            np.testing.assert_allclose(mine[:, i].detach().numpy(), other.detach().numpy(), rtol=1e-12)


def test_initial_law_and_parameter_count():
    cr.manual_seed(0)
    layer = LSTM(30, 64, num_layers=2)
    values = np.concatenate([p.detach().numpy().ravel() for p in layer.parameters()])
    assert len(values) == 4 * (64 * 30 + 64 * 64 + 2 * 64) + 4 * (2 * 64 * 64 + 2 * 64)
    assert np.abs(values).max() <= 1 / 8
    assert np.abs(values).max() > 0.1249
    assert abs(values.std() - 1 / 8 / math.sqrt(3)) < 1e-3
    cell = GRUCell(3, 25)
    assert all(np.abs(p.detach().numpy()).max() <= 0.2 for p in cell.parameters())


def test_dropout_acts_between_layers_in_training():
    layer = made("gru", num_layers=2, dropout=1.0)
    x = double(random(1, 5, 2, 4))
    silent = layer(x)[0].detach().numpy()
    np.testing.assert_array_equal(silent, layer(0 * x)[0].detach().numpy())
    plain = made("gru", num_layers=2)
    np.testing.assert_array_equal(layer.eval()(x)[0].detach().numpy(), plain(x)[0].detach().numpy())
    half = made("gru", num_layers=2, dropout=0.5)
    first, second = half(x), half(x)
    np.testing.assert_array_equal(first[1][0].detach().numpy(), second[1][0].detach().numpy())
    assert not np.array_equal(first[1][1].detach().numpy(), second[1][1].detach().numpy())
    with pytest.warns(UserWarning, match="between layers"):
        RNN(2, 3, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fake_device_agrees(kind):
    layer = made(kind, num_layers=2, bidirectional=True)
    sequences = [random(i, n, 4) for i, n in enumerate((2, 5, 1))]

    def run(device):
        layer.zero_grad()
        layer.to(device)
        packed = packing.pack_sequence(
            [cr.tensor(one, device=device) for one in sequences], enforce_sorted=False
        )
        output, states = layer(packed)
        other, _ = layer(cr.tensor(random(9, 4, 2, 4), device=device))
        assert output.data.device.type == device
        weighted([output.data, other, *listed(states)]).backward()
        return [
            one.detach().cpu().numpy()
            for one in (output.data, other, *listed(states), *(p.grad for p in layer.parameters()))
        ]

    for one, two in zip(run("cpu"), run("fake"), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_sequences_are_computed_in_float32(kind):
    layer = made(kind).float()
    x = cr.tensor(random(1, 40, 3, 4), dtype=cr.float32)
    with cr.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter.half().float())
    expected, _ = layer(x.half().float())
    output, states = layer.half()(x.half())
    assert {one.dtype for one in (output, *listed(states))} == {cr.float16}
    assert cr.equal(output, expected.half())
    output.sum().backward()
    assert all(p.grad.dtype is cr.float16 for p in layer.parameters())


def test_saturated_gates_give_numbers():
    for kind in KINDS:
        layer = made(kind).float()
        x = (1e4 * cr.tensor(random(1, 7, 2, 4), dtype=cr.float32)).requires_grad_()
        output, _ = layer(x)
        output.sum().backward()
        assert np.isfinite(output.detach().numpy()).all()
        assert np.isfinite(x.grad.numpy()).all()


def test_empty_batch():
    output, (h, c) = made("lstm")(double(np.zeros((3, 0, 4))))
    assert (tuple(output.shape), tuple(h.shape), tuple(c.shape)) == ((3, 0, 5), (1, 0, 5), (1, 0, 5))


def test_constructors_refuse_what_makes_no_sense():
    for arguments, error, text in [
        ({"hidden_size": 0}, ValueError, "hidden_size"),
        ({"num_layers": 0}, ValueError, "num_layers"),
        ({"dropout": 1.5}, ValueError, "dropout"),
        ({"proj_size": 5}, ValueError, "proj_size"),
        ({"proj_size": -1}, ValueError, "proj_size"),
    ]:
        with pytest.raises(error, match=text):
            LSTM(4, **{"hidden_size": 5, **arguments})
    with pytest.raises(ValueError, match="nonlinearity"):
        RNN(4, 5, nonlinearity="sigmoid")
    with pytest.raises(ValueError, match="nonlinearity"):
        RNNCell(4, 5, nonlinearity="sigmoid")


def test_wrong_shapes_name_what_was_expected():
    lstm, gru, x = made("lstm", num_layers=2), made("gru"), double(np.zeros((3, 2, 4)))
    h = double(np.zeros((2, 2, 5)))
    for call, error, text in [
        (lambda: lstm(double(np.zeros((3, 2, 7)))), RuntimeError, r"input_size \(4\), got 7"),
        (lambda: lstm(double(np.zeros(4))), ValueError, "2-d"),
        (lambda: lstm(double(np.zeros((0, 2, 4)))), RuntimeError, "at least one step"),
        (lambda: lstm(x, h), TypeError, "pair"),
        (lambda: lstm(x, (h, h[:1])), RuntimeError, r"c_0 of shape \(2, 2, 5\), got \(1, 2, 5\)"),
        (lambda: lstm(x, (h[0], h)), RuntimeError, "3-d"),
        (lambda: lstm(x[:, 0], (h, h)), RuntimeError, "unbatched"),
        (lambda: gru(x, h), RuntimeError, r"h_0 of shape \(1, 2, 5\), got \(2, 2, 5\)"),
        (lambda: gru(x.float()), RuntimeError, "dtype"),
        (lambda: LSTMCell(4, 5)(cr.zeros(2, 4), cr.zeros(2, 5)), TypeError, "pair"),
        (lambda: GRUCell(4, 5)(cr.zeros(2, 4), cr.zeros(3, 5)), RuntimeError, r"\(2, 5\), got \(3, 5\)"),
        (lambda: GRUCell(4, 5)(cr.zeros(2, 3)), RuntimeError, r"input_size \(4\), got 3"),
        (lambda: GRUCell(4, 5)(cr.zeros(1, 2, 4)), ValueError, "1-d"),
        (
            lambda: gru_cell(cr.zeros(2, 4), cr.zeros(2, 5), cr.zeros(10, 4), cr.zeros(10, 5)),
            RuntimeError,
            "weights",
        ),
        (
            lambda: rnn_tanh_cell(cr.zeros(2, 3), cr.zeros(2, 5), cr.zeros(5, 4), cr.zeros(5, 5)),
            RuntimeError,
            r"\(N, 4\)",
        ),
    ]:
        with pytest.raises(error, match=text):
            call()
