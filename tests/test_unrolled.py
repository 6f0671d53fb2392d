"""The recurrent layers that PyTorch lacks: numbers by hand, what makes each of them what it is, and what refuses bad input."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def column(values):
    """A sequence of one number a step, (L, 1, 1)."""
    return cr.tensor(values, dtype=cr.float64).reshape(-1, 1, 1)


def filled(layer, value=0.5):
    for one in layer.parameters():
        nn.init.constant_(one, value)
    return layer


@pytest.mark.parametrize(
    ("options", "h", "c"),
    [
        ({}, (0.174269719, 0.309058931), 0.524115723),
        ({"peephole": "full"}, (0.174269719, 0.369731110), 0.615142622),
        ({"peephole": "gates", "feedback": False}, (0.174269719, 0.298603368), 0.491559901),
    ],
)
def test_two_steps_of_an_lstm_with_all_weights_a_half(options, h, c):
    layer = filled(nn.LSTMVariant(1, 1, bias=False, dtype=cr.float64, **options))
    output, (h_n, c_n) = layer(column([1, 1]))
    np.testing.assert_allclose(output.detach().numpy().ravel(), h, atol=1e-9)
    assert h_n.item() == pytest.approx(h[1], abs=1e-9) and c_n.item() == pytest.approx(c, abs=1e-9)


def test_two_steps_of_the_others():
    scrn = filled(nn.SCRN(1, 1, 1, dtype=cr.float64))
    np.testing.assert_allclose(
        scrn(column([1, 1]))[0].detach().numpy()[:, 0],
        [[0.625392350, 0.025], [0.697848013, 0.04875]],
        atol=1e-9,
    )
    jordan = filled(nn.JordanRNN(1, 1, 1, bias=False, dtype=cr.float64))
    y = jordan(column([1, 1]))[0].detach().numpy().ravel()
    np.testing.assert_allclose(y, [0.227032609, 0.266691687], atol=1e-9)
    np.testing.assert_allclose(np.arctanh(y) / 0.5, [0.462117157, 0.546597579], atol=1e-8)  # its hidden unit
    elman = filled(nn.RNN(1, 1, bias=False, dtype=cr.float64))
    np.testing.assert_allclose(
        elman(column([1, 1]))[0].detach().numpy().ravel(), [0.462117157, 0.623712550], atol=1e-9
    )


# A memory cell by hand: x1 is what may be stored, x2 = 1 stores it, x2 = -1 clears the cell, x3 = 1 reads it out.
GATES_BY_HAND = {"i": (100, 0, -10), "f": (100, 0, 10), "z": (0, 0, 0), "o": (0, 100, -10)}


def memory_cell(gate):
    layer = nn.LSTMVariant(3, 1, feedback=False, gate=gate, activation="identity", dtype=cr.float64)
    weight = [[0, GATES_BY_HAND[part][0], GATES_BY_HAND[part][1]] for part in layer.parts]
    weight[layer.parts.index("z")] = [1, 0, 0]
    with cr.no_grad():
        layer.weight_ih.copy_(cr.tensor(weight))
        layer.bias.copy_(cr.tensor([GATES_BY_HAND[part][2] for part in layer.parts]))
    return layer


def run(layer, steps):
    """(memory, output) after each step."""
    state, found = None, []
    for one in steps:
        output, state = layer(cr.tensor([one], dtype=cr.float64), state)
        found.append((state[1].item(), output.item()))
    return np.array(found).T


def test_a_memory_cell_by_hand():
    steps = [(3, 1, 0), (4, 1, 0), (2, 0, 0), (1, 0, 1), (3, -1, 0)]
    memory, output = run(memory_cell("sigmoid"), steps)
    np.testing.assert_allclose(memory, [3.0, 7.0, 6.999773, 6.999501, 0], atol=1e-6)
    np.testing.assert_allclose(output, [0.000136, 0.000318, 0.000318, 6.999501, 0], atol=1e-6)
    memory, output = run(memory_cell("step"), steps)
    assert memory.tolist() == [3, 7, 7, 7, 0] and output.tolist() == [0, 0, 0, 7, 0]


def test_a_memory_cell_over_nine_steps():
    x1, x2, x3 = (1, 3, 2, 4, 2, 1, 3, 6, 1), (0, 1, 0, 1, 0, 0, -1, 1, 0), (0, 0, 0, 0, 0, 1, 0, 0, 1)
    memory, output = run(memory_cell("step"), zip(x1, x2, x3, strict=True))
    assert memory.tolist() == [0, 3, 3, 7, 7, 7, 0, 6, 6] and output.tolist() == [0, 0, 0, 0, 0, 7, 0, 0, 6]


def test_by_default_it_is_the_lstm():
    ours, usual = nn.LSTMVariant(3, 4, dtype=cr.float64), nn.LSTM(3, 4, dtype=cr.float64)
    with cr.no_grad():
        usual.weight_ih_l0.copy_(ours.weight_ih)
        usual.weight_hh_l0.copy_(ours.weight_hh)
        usual.bias_ih_l0.copy_(ours.bias)
        usual.bias_hh_l0.zero_()
    x = cr.randn(5, 2, 3, dtype=cr.float64)
    for a, b in ((ours(x), usual(x)), (ours(x[:, 0]), usual(x[:, 0]))):
        np.testing.assert_allclose(a[0].detach().numpy(), b[0].detach().numpy(), atol=1e-12)
        for left, right in zip(a[1], b[1], strict=True):
            np.testing.assert_allclose(left.detach().numpy(), right.detach().numpy(), atol=1e-12)


def test_the_first_form_passes_gradients_through_its_memory_unchanged():
    """Hochreiter & Schmidhuber 1997: the constant error carousel, dc_T / dc_0 = 1 at any length."""
    layer = nn.LSTMVariant(1, 3, forget_gate=False, feedback=False, dtype=cr.float64)
    h, c = cr.zeros(1, 1, 3, dtype=cr.float64), cr.zeros(1, 1, 3, dtype=cr.float64, requires_grad=True)
    _, (_, c_n) = layer(cr.randn(50, 1, 1, dtype=cr.float64), (h, c))
    c_n.sum().backward()
    assert c.grad.tolist() == [[[1, 1, 1]]]


def test_coupled_gates_keep_the_memory_between_its_candidates():
    layer = nn.LSTMVariant(2, 4, coupled=True, dtype=cr.float64)
    _, (_, c) = layer(20 * cr.randn(30, 6, 2, dtype=cr.float64))
    assert c.abs().max().item() <= 1  # a mean of values of tanh
    assert layer.weight_ih.shape == (12, 2)


def test_a_diagonal_peephole_by_hand():
    """Gers & Schmidhuber 2000: i and f see their own cell's memory before the step, o after it."""
    layer = filled(nn.LSTMVariant(1, 1, bias=False, peephole="diagonal", dtype=cr.float64))

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    h = c = 0.0
    for _ in range(2):
        pre = 0.5 + 0.5 * h
        gate = sigmoid(pre + 0.5 * c)
        c = gate * c + gate * math.tanh(pre)
        h = sigmoid(pre + 0.5 * c) * math.tanh(c)
    output, (_, c_n) = layer(column([1, 1]))
    assert output[-1].item() == pytest.approx(h, abs=1e-12) and c_n.item() == pytest.approx(c, abs=1e-12)
    assert nn.LSTMVariant(3, 4, peephole="diagonal").weight_ch.shape == (3, 4)


def test_the_forget_bias():
    layer = nn.LSTMVariant(3, 4, forget_bias=2.0)
    assert layer.bias[4:8].tolist() == [2, 2, 2, 2] and layer.bias[:4].abs().max().item() < 0.5 + 1e-6
    lstm = nn.init.forget_bias_(nn.LSTM(3, 4, num_layers=2), 2.0)
    assert (lstm.bias_ih_l1 + lstm.bias_hh_l1)[4:8].tolist() == [2, 2, 2, 2]
    with pytest.raises(ValueError, match="expected an LSTM with biases"):
        nn.init.forget_bias_(nn.LSTM(3, 4, bias=False))


def test_clockwork_modules_move_only_when_they_tick():
    layer = nn.ClockworkRNN(3, 8, periods=(1, 2, 4, 8), dtype=cr.float64)
    x = cr.randn(17, 2, 3, dtype=cr.float64)
    output, h_n = layer(x)
    for k, period in enumerate((1, 2, 4, 8)):
        mine = output[:, :, 2 * k : 2 * k + 2].detach().numpy()
        moved = [t for t in range(1, 17) if (mine[t] != mine[t - 1]).any()]
        assert moved == [t for t in range(1, 17) if t % period == 0]
    blocks = layer.recurrent_weight.detach().numpy()
    for row in range(4):
        assert (blocks[2 * row : 2 * row + 2, : 2 * row] == 0).all()
        assert (blocks[2 * row : 2 * row + 2, 2 * row :] != 0).all()
    # In two parts, with the time of the second.
    first, state = layer(x[:7])
    second, last = layer(x[7:], state, time=7)
    np.testing.assert_allclose(cr.cat([first, second]).detach().numpy(), output.detach().numpy())
    assert cr.equal(last, h_n)


def test_clockwork_with_one_period_is_the_simple_layer():
    ours, usual = nn.ClockworkRNN(3, 4, periods=(1,), dtype=cr.float64), nn.RNN(3, 4, dtype=cr.float64)
    with cr.no_grad():
        for name in ("ih", "hh"):
            getattr(usual, f"weight_{name}_l0").copy_(getattr(ours, f"weight_{name}"))
        usual.bias_ih_l0.copy_(ours.bias)
        usual.bias_hh_l0.zero_()
    x = cr.randn(5, 2, 3, dtype=cr.float64)
    np.testing.assert_allclose(ours(x)[0].detach().numpy(), usual(x)[0].detach().numpy(), atol=1e-12)


def test_the_context_of_an_scrn_decays_by_alpha():
    layer = nn.SCRN(1, 2, 3, alpha=0.9, dtype=cr.float64)
    h, s = cr.zeros(1, 1, 2, dtype=cr.float64), cr.ones(1, 1, 3, dtype=cr.float64)
    _, (_, s_n) = layer(cr.zeros(5, 1, 1, dtype=cr.float64), (h, s))
    np.testing.assert_allclose(s_n.detach().numpy(), 0.9**5)


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: nn.LSTMVariant(3, 4, peephole="full", **more),
        lambda **more: nn.JordanRNN(3, 4, 2, **more),
        lambda **more: nn.ClockworkRNN(3, 4, (1, 2), **more),
        lambda **more: nn.SCRN(3, 4, 2, **more),
    ],
)
def test_layouts_and_derivatives(make):
    layer = make(dtype=cr.float64)
    x = cr.randn(4, 2, 3, dtype=cr.float64, requires_grad=True)
    output, states = layer(x)
    layer.batch_first = True
    swapped, same = layer(x.transpose(0, 1))
    layer.batch_first = False
    alone, own = layer(x[:, 1])
    assert cr.allclose(swapped.transpose(0, 1), output) and cr.allclose(alone, output[:, 1])
    for a, b, c in zip(
        *(one if isinstance(one, tuple) else (one,) for one in (states, same, own)), strict=True
    ):
        assert cr.equal(a, b) and cr.allclose(c, a[:, 1])
    names = dict(layer.named_parameters())

    def run(x, *weights):
        return cr.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))[0]

    assert cr.autograd.gradcheck(run, (x, *names.values()))
    assert cr.autograd.gradgradcheck(run, (x, *names.values()))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.LSTMVariant(3, 4, peephole="some"), ValueError, "peephole must be"),
        (lambda: nn.LSTMVariant(3, 4, gate="hard"), ValueError, "gate must be one of"),
        (lambda: nn.LSTMVariant(3, 4, coupled=True, forget_bias=1.0), ValueError, "needs a forget gate"),
        (lambda: nn.LSTMVariant(3, 0), ValueError, "hidden_size must be a positive int"),
        (lambda: nn.LSTMVariant(3, 4)(cr.ones(5, 2, 2)), RuntimeError, "expected an input \\(L, N, 3\\)"),
        (lambda: nn.LSTMVariant(3, 4)(cr.ones(0, 2, 3)), RuntimeError, "at least one step"),
        (
            lambda: nn.LSTMVariant(3, 4)(cr.ones(5, 2, 3), cr.ones(1, 2, 4)),
            TypeError,
            "expected 2 initial states",
        ),
        (lambda: nn.SCRN(3, 4, 2)(cr.ones(5, 2, 3), (cr.ones(1, 2, 4),) * 2), RuntimeError, "\\(1, 2, 2\\)"),
        (lambda: nn.SCRN(3, 4, 2, alpha=2), ValueError, "alpha must be between"),
        (lambda: nn.ClockworkRNN(3, 4, (2, 1)), ValueError, "that rise"),
        (lambda: nn.ClockworkRNN(3, 4, (1, 2, 3)), ValueError, "divisible by the number of modules, 3"),
    ],
)
def test_bad_arguments_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_identity_recurrence_remembers():
    """Le et al. 2015: with W = 1 and ReLU units, gradients neither vanish nor explode over 100 steps."""
    rnn = nn.init.identity_rnn_(nn.RNN(2, 5, nonlinearity="relu", dtype=cr.float64))
    assert cr.equal(rnn.weight_hh_l0, cr.eye(5, dtype=cr.float64)) and rnn.bias_hh_l0.abs().sum().item() == 0
    assert 0 < rnn.weight_ih_l0.abs().max().item() < 0.01
    h = cr.full((1, 1, 5), 2.0, dtype=cr.float64, requires_grad=True)
    rnn(cr.zeros(100, 1, 2, dtype=cr.float64), h)[1].sum().backward()
    assert h.grad.tolist() == [[[1.0] * 5]]
