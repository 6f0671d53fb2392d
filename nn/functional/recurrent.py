"""Recurrent cells and whole recurrent networks as functions of their weights.

Everything runs on rows: a batch of sequences stored step after step, `sizes[t]` of them still running at step t (see
`autograd/ops/recurrence.py`). For a batch of equal lengths this is just (L, N, D) seen as (L*N, D); for a PackedSequence it
is its `data`. A cell is a sequence of one step. Gates are in PyTorch's order: i, f, g, o and r, z, n.
"""

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops import recurrence
from chainrule.autograd.ops import recurrent as layers
from chainrule.autograd.precision import precision

from .dropout import dropout as _dropout
from .linear import linear

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def check_shape(name, what, tensor, expected):
    """RuntimeError that names both shapes unless they are the same; TypeError for what is no Tensor."""
    if tuple(tensor_of(tensor, name).shape) != tuple(expected):
        raise RuntimeError(f"{name}: expected {what} of shape {tuple(expected)}, got {tuple(tensor.shape)}")


def _sum(a, b):
    """The sum of two biases, either of which may be missing."""
    return b if a is None else a if b is None else a + b


def _scan(mode, rows, sizes, hx, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None):
    """One layer in one direction: rows (R, D) and initial states -> each state, (sizes[0] + R, H), the initial one in front.

    With w_hr (P, H) the hidden state is projected, h = W_hr (o tanh c), and has P columns. The recurrence then runs
    on what is projected, m = o tanh c, with W_hh W_hr for its weight: the same function, and one matrix product a step.
    """
    h = hx[0]
    if mode == "GRU":
        return layers.gru(linear(rows, w_ih, b_ih), w_hh, h, b_hh, sizes=sizes)[:1]
    gx = linear(rows, w_ih, _sum(b_ih, b_hh))
    if mode != "LSTM":
        return (layers.rnn(gx, w_hh, h, sizes=sizes, nonlinearity=mode[4:].lower()),)
    if w_hr is None:
        return layers.lstm(gx, w_hh, h, hx[1], sizes=sizes)[:2]
    first = sizes[0]
    gx = ops.concatenate([gx[:first] + linear(h, w_hh), gx[first:]], axis=0)
    m, c, _ = layers.lstm(gx, ops.matmul(w_hh, w_hr), ops.zeros_like(hx[1]), hx[1], sizes=sizes)
    return ops.concatenate([h, linear(m[first:], w_hr)], axis=0), c


def scan(mode, rows, sizes, hx, *weights):
    """`_scan`, in float32 if the rows are of a 16-bit type: an error made at one step is carried to all later ones."""
    dtype = rows.dtype
    if dtype.itemsize != 2:
        return _scan(mode, rows, sizes, hx, *weights)
    wide = [None if one is None else one.float() for one in weights]
    states = _scan(mode, rows.float(), sizes, [one.float() for one in hx], *wide)
    return tuple(one.to(dtype) for one in states)


@precision("lower")
def network(mode, rows, sizes, hx, weights, *, bidirectional=False, dropout=0.0):
    """Stacked layers: rows (R, D) -> the last layer's rows (R, directions * H) and each state's last values.

    mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU". hx: the initial states, one Tensor (layers * directions, N, H) for each.
    weights: for each layer and direction (w_ih, w_hh, b_ih, b_hh, w_hr), None where there is none. Dropout acts between layers.
    """
    directions = 2 if bidirectional else 1
    final = []
    for number, mine in enumerate(weights):
        backward = number % directions == 1
        if number % directions == 0:
            if number and dropout:
                rows = _dropout(rows, dropout)
            given, outputs = rows, []
        source = recurrence.reverse_rows(given, sizes=sizes) if backward else given
        states = scan(mode, source, sizes, [one[number] for one in hx], *mine)
        states = [state[sizes[0] :] for state in states]
        final.append([recurrence.last(ops, state, sizes) for state in states])
        outputs.append(recurrence.reverse_rows(states[0], sizes=sizes) if backward else states[0])
        rows = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=1)
    return rows, tuple(ops.stack(list(state), axis=0) for state in zip(*final, strict=True))


def _cell(mode, name, input, hx, *weights):
    """One step: input (N, D) and states (N, H) -> the new states."""
    tensor_of(input, name)
    w_ih, w_hh = (tensor_of(one, name) for one in weights[:2])
    for matrix in (w_ih, w_hh):
        if matrix.ndim != 2:
            raise RuntimeError(f"{name}: expected weights that are matrices, got shape {tuple(matrix.shape)}")
    count, hidden = input.shape[0] if input.ndim else 0, w_hh.shape[1]
    if input.ndim != 2 or input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"{name}: expected input of shape (N, {w_ih.shape[1]}), got {tuple(input.shape)}")
    if tuple(w_hh.shape) != (GATES[mode] * hidden, hidden) or w_ih.shape[0] != w_hh.shape[0]:
        raise RuntimeError(
            f"{name}: expected weights of shape ({GATES[mode]} * H, D) and ({GATES[mode]} * H, H), got {tuple(w_ih.shape)} and "
            f"{tuple(w_hh.shape)}"
        )
    for state in hx:
        check_shape(name, "hidden states", state, (count, hidden))
    for bias in weights[2:]:
        if bias is not None:
            check_shape(name, "biases", bias, (GATES[mode] * hidden,))
    return [state[count:] for state in scan(mode, input, (count,), hx, *weights)]


@precision("lower")
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh). input (N, D), hx (N, H), w_ih (H, D), w_hh (H, H) -> (N, H)."""
    return _cell("RNN_TANH", "rnn_tanh_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


@precision("lower")
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh). input (N, D), hx (N, H), w_ih (H, D), w_hh (H, H) -> (N, H)."""
    return _cell("RNN_RELU", "rnn_relu_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


@precision("lower")
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a long short-term memory; hx is (h, c). See `nn.LSTMCell`.

    input (N, D), h and c (N, H), w_ih (4H, D), w_hh (4H, H) -> (h', c').
    """
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise TypeError(f"lstm_cell: hx must be the pair (h, c), got {type(hx).__name__}")
    return tuple(_cell("LSTM", "lstm_cell", input, list(hx), w_ih, w_hh, b_ih, b_hh))


@precision("lower")
def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a gated recurrent unit; see `nn.GRUCell`. input (N, D), hx (N, H), w_ih (3H, D), w_hh (3H, H) -> (N, H)."""
    return _cell("GRU", "gru_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]
