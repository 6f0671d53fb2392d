"""Derivatives through time: every order, adjoint recurrences, vanishing and exploding; and networks worked out by hand."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.ops import recurrence
from chainrule.nn.functional.recurrent import network
from chainrule.nn.recurrent import GRU, LSTM, RNN
from chainrule.nn.recurrent_cells import LSTMCell, RNNCell
from tests.recurrent_layers import KINDS, double, flat, initial, listed, made, random, weighted


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_first_and_second_order(kind):
    layer = made(kind, num_layers=2, bidirectional=True)
    x = double(random(1, 3, 2, 4)).requires_grad_()
    states = [one.requires_grad_() for one in listed(initial(layer, 2, double))]

    def function(x, *hx):
        return tuple(flat(layer(x, tuple(hx) if len(hx) == 2 else hx[0])))

    assert cr.autograd.gradcheck(function, (x, *states))
    assert cr.autograd.gradgradcheck(function, (x, *states))


@pytest.mark.parametrize("kind", ["rnn-tanh", "lstm", "gru"])
def test_third_derivative_by_recurrent_weight(kind):
    """d^3/ds^3 of a loss along a line in weight space, against central differences of the second."""
    layer = made(kind)
    x, weight = double(random(1, 5, 2, 4)), layer.weight_hh_l0
    start, direction = weight.detach().clone(), double(random(2, *weight.shape))

    def derivative(s, order):
        s = cr.tensor(s, dtype=cr.float64, requires_grad=True)
        result = weighted(flat(cell_scan(layer, x, start + s * direction)))
        for _ in range(order):
            (result,) = cr.autograd.grad(result, s, create_graph=True)
        return result.item()

    expected = (derivative(1e-4, 2) - derivative(-1e-4, 2)) / 2e-4
    assert math.isclose(derivative(0.0, 3), expected, rel_tol=1e-6)


def cell_scan(layer, x, weight_hh):
    """The layer's output with another recurrent weight."""
    mine = [layer.weight_ih_l0, weight_hh, layer.bias_ih_l0, layer.bias_hh_l0]
    sizes = (x.shape[1],) * x.shape[0]
    hx = [x.new_zeros(1, x.shape[1], 5) for _ in range(2 if layer.mode == "LSTM" else 1)]
    return network(layer.mode, x.reshape(-1, x.shape[2]), sizes, hx, [mine])


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (3, 2, 2, 1)])
def test_the_two_linear_recurrences_are_each_others_transpose(sizes):
    n, r = sizes[0], sum(sizes)
    states, gates, coefficients = [(n + r, 2)] * 2, [(r, 8)], [(r, 2), (r, 2), (8, 2), *[(r, 2)] * 4]
    v, u = ([random(i + seed, *shape) for i, shape in enumerate(states + gates)] for seed in (1, 4))
    fixed = [random(10 + i, *shape) for i, shape in enumerate(coefficients)]
    forth = recurrence.memory_recurrence(*v, *fixed, sizes=sizes)
    back = recurrence.memory_recurrence_transpose(*u, *fixed, sizes=sizes)
    assert math.isclose(
        sum((a * b).sum() for a, b in zip(forth, u, strict=True)),
        sum((a * b).sum() for a, b in zip(v, back, strict=True)),
    )
    v, u = ([one[0], random(20 + i, r, 4)] for i, one in enumerate((v, u)))
    fixed = [fixed[0], random(30, 4, 2), *fixed[3:5]]
    forth = recurrence.state_recurrence(*v, *fixed, sizes=sizes)
    back = recurrence.state_recurrence_transpose(*u, *fixed, sizes=sizes)
    assert math.isclose(
        sum((a * b).sum() for a, b in zip(forth, u, strict=True)),
        sum((a * b).sum() for a, b in zip(v, back, strict=True)),
    )


def test_a_sequence_is_one_node_of_the_graph():
    def nodes(length):
        seen, stack = set(), [made("lstm")(double(random(1, length, 2, 4)))[0].grad_fn]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack += [one for one, _ in getattr(node, "next_functions", ())]
        return len(seen)

    assert nodes(3) == nodes(50)


@pytest.mark.parametrize("w", [1.0, 1.01, 0.99, 0.01])
def test_a_weight_used_a_thousand_times(w):
    """One linear neuron whose output is its next input: w^999, derivative 999 w^998. The gradient explodes or vanishes
    (Bengio et al. 1994; Pascanu et al. 2013)."""
    cell = RNN(1, 1, nonlinearity="relu", bias=False, dtype=cr.float64)
    cell.load_state_dict({"weight_ih_l0": double([[0.0]]), "weight_hh_l0": double([[w]])})
    _, h = cell(double(np.zeros((999, 1, 1))), double([[[1.0]]]))
    h.sum().backward()
    expected = {1.0: (1, 999), 1.01: (20751.639, 2.05256e7), 0.99: (4.36073e-5, 0.0440038), 0.01: (0, 0)}[w]
    assert math.isclose(h.item(), expected[0], rel_tol=2e-6)
    assert math.isclose(cell.weight_hh_l0.grad.item(), expected[1], rel_tol=3e-6)
    assert math.isclose(cell.weight_hh_l0.grad.item(), 999 * w**998, rel_tol=1e-12)
    if w == 1:
        assert cell.weight_hh_l0.grad.item() == 999
    unrolled = cr.tensor(w, dtype=cr.float64, requires_grad=True)
    state = 1.0
    for _ in range(999):
        state = state * unrolled
    state.backward()
    assert math.isclose(unrolled.grad.item(), cell.weight_hh_l0.grad.item(), rel_tol=1e-12)


def test_an_open_forget_gate_carries_the_error_unchanged():
    """The constant error carousel of Hochreiter & Schmidhuber (1997): dc_T/dc_0 = 1 exactly."""
    layer = LSTM(1, 1, dtype=cr.float64)
    with cr.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0.copy_(double([-1000.0, 1000.0, 0.0, 0.0]))
    c = double([[[0.3]]]).requires_grad_()
    _, (_, c_n) = layer(double(np.ones((500, 1, 1))), (double([[[0.0]]]), c))
    c_n.sum().backward()
    assert c_n.item() == 0.3
    assert c.grad.item() == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_backpropagation_by_detach(kind):
    """Cutting the graph at a state leaves the values and sends no gradient further back (Elman 1990; Williams & Peng 1990)."""
    layer = made(kind)
    x = double(random(1, 8, 2, 4)).requires_grad_()
    whole, last = layer(x)
    first, state = layer(x[:5])
    state = tuple(one.detach() for one in state) if isinstance(state, tuple) else state.detach()
    second, end = layer(x[5:], state)
    np.testing.assert_allclose(
        np.concatenate([first.detach().numpy(), second.detach().numpy()]), whole.detach().numpy(), rtol=1e-12
    )
    np.testing.assert_allclose(listed(end)[0].detach().numpy(), listed(last)[0].detach().numpy(), rtol=1e-12)
    second.sum().backward()
    assert not x.grad[:5].numpy().any()
    assert x.grad[5:].numpy().all()


LINEAR = [
    ([[1, 1], [1, 1], [2, 2]], [4, 12, 32]),
    ([[2, 2], [1, 1], [1, 1]], [8, 20, 44]),
    ([[1, 1], [2, 2], [1, 1]], [4, 16, 36]),
]


@pytest.mark.parametrize("inputs, outputs", LINEAR)
def test_a_linear_network_with_all_weights_one(inputs, outputs):
    """Memory starts at 0; the same inputs in another order give other outputs. (ReLU of positive numbers is linear.)"""
    layer = RNN(2, 2, nonlinearity="relu", bias=False, dtype=cr.float64)
    with cr.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
    top = double(np.ones((2, 2))).requires_grad_()
    hidden, _ = layer(double(inputs))
    y = hidden @ top.T
    assert y.tolist() == [[value, value] for value in outputs]
    y.sum().backward()
    if outputs == [4, 12, 32]:
        assert hidden[:, 0].tolist() == [2, 6, 16]
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0, top):
            assert weight.grad.tolist() == [[24, 24], [24, 24]]


def simple_lstm(x, gate):
    """A memory cell without feedback: input x1, gates driven by x2 (write, keep) and x3 (read), linear activations."""
    c, cells, outputs = cr.zeros((), dtype=cr.float64), [], []
    for x1, x2, x3 in double(x):
        c = x1 * gate(100 * x2 - 10) + c * gate(100 * x2 + 10)
        cells.append(c.item())
        outputs.append((c * gate(100 * x3 - 10)).item())
    return cells, outputs


def hard(z):
    return (z > 0).double()


def test_a_memory_cell_by_hand():
    x = [(3, 1, 0), (4, 1, 0), (2, 0, 0), (1, 0, 1), (3, -1, 0)]
    assert simple_lstm(x, hard) == ([3, 7, 7, 7, 0], [0, 0, 0, 7, 0])
    cells, outputs = simple_lstm(x, cr.sigmoid)
    np.testing.assert_allclose(cells, [3.0, 7.0, 6.999773, 6.999501, 0], atol=1e-6)
    np.testing.assert_allclose(outputs, [0.000136, 0.000318, 0.000318, 6.999501, 0], atol=1e-6)


def test_a_memory_cell_over_nine_steps():
    x = list(
        zip(
            [1, 3, 2, 4, 2, 1, 3, 6, 1],
            [0, 1, 0, 1, 0, 0, -1, 1, 0],
            [0, 0, 0, 0, 0, 1, 0, 0, 1],
            strict=True,
        )
    )
    assert simple_lstm(x, hard) == ([0, 3, 3, 7, 7, 7, 0, 6, 6], [0, 0, 0, 0, 0, 7, 0, 0, 6])


def halves(cls):
    """One unit, all weights 1/2, no bias."""
    layer = cls(1, 1, bias=False, dtype=cr.float64)
    with cr.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(0.5)
    return layer


def test_one_unit_with_all_weights_a_half():
    ones = double(np.ones((2, 1)))
    h, (_, c) = halves(LSTM)(ones)
    np.testing.assert_allclose(h.detach().numpy()[:, 0], [0.174269719, 0.309058931], atol=1e-9)
    assert math.isclose(c.item(), 0.524115723, abs_tol=1e-9)
    cell = halves(LSTMCell)
    assert math.isclose(cell(ones[:1])[1].item(), 0.287649137, abs_tol=1e-9)
    np.testing.assert_allclose(
        halves(GRU)(ones)[0].detach().numpy()[:, 0], [0.174468021, 0.292576456], atol=1e-9
    )
    np.testing.assert_allclose(
        halves(RNN)(ones)[0].detach().numpy()[:, 0], [0.462117157, 0.623712550], atol=1e-9
    )


def test_the_output_fed_back():
    """Jordan (1986): the state is the last output, h = tanh(x/2 + y/2), y' = tanh(h/2)."""
    cell, y, hidden, outputs = halves(RNNCell), double([[0.0]]), [], []
    for _ in range(2):
        h = cell(double([[1.0]]), y)
        y = (0.5 * h).tanh()
        hidden.append(h.item())
        outputs.append(y.item())
    np.testing.assert_allclose(hidden, [0.462117157, 0.546597579], atol=1e-9)
    np.testing.assert_allclose(outputs, [0.227032609, 0.266691687], atol=1e-9)


def test_a_slow_context_unit():
    """Structurally constrained network (Mikolov et al. 2014): s' = (1-a) B x + a s, h' = sigmoid(P s' + A x + R h), a = 0.95."""
    s, h, slow, hidden = double(0.0), double(0.0), [], []
    for _ in range(2):
        s = 0.05 * 0.5 + 0.95 * s
        h = cr.sigmoid(0.5 * s + 0.5 + 0.5 * h)
        slow.append(s.item())
        hidden.append(h.item())
    np.testing.assert_allclose(slow, [0.025, 0.04875], atol=1e-12)
    np.testing.assert_allclose(hidden, [0.625392350, 0.697848013], atol=1e-9)


@pytest.mark.parametrize("form", ["everything sees x, h and c", "gates see x and c, the candidate x"])
def test_peepholes(form):
    """Gates that look at the cell (Gers & Schmidhuber 2000), in two forms; x = 1 and all weights 1/2."""
    c, h, found = double(0.0), double(0.0), []
    for _ in range(2):
        if form.startswith("everything"):
            gate = candidate = 0.5 + 0.5 * h + 0.5 * c
        else:
            gate, candidate = 0.5 + 0.5 * c, double(0.5)
        gate = cr.sigmoid(gate)
        c = (
            gate * candidate.tanh() + gate * c
            if form.startswith("gates")
            else gate * cr.tanh(candidate) + gate * c
        )
        h = gate * c.tanh()
        found.append((c.item(), h.item()))
    second = (0.615142622, 0.369731110) if form.startswith("everything") else (0.491559901, 0.298603368)
    np.testing.assert_allclose(found, [(0.287649137, 0.174269719), second], atol=1e-9)
