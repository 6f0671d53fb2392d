"""Rows: recurrent layers over a sequence, the linear recurrences that are their derivatives, and the cells."""

from functools import partial

import numpy as np

from chainrule.autograd.ops import recurrence, recurrent
from chainrule.nn.functional import recurrent as F
from tests.table import Row, within

EQUAL, RAGGED = (2, 2, 2), (3, 2, 2, 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def scan(gx, w, states, sizes, step):
    """The rows of every state and of what else `step(pre-activation from x, W h, states)` gives, written plainly."""
    rows, extra, start = [[one] for one in states], [], 0
    for n in sizes:
        states = [one[:n] for one in states]
        states, more = step(gx[start : start + n], states[0] @ w.T, states)
        for row, one in zip(rows, states, strict=True):
            row.append(one)
        extra.append(more)
        start += n
    return *(np.concatenate(row) for row in rows), *(
        [np.concatenate(extra, axis=1)] if extra[0] is not None else []
    )


def rnn_reference(gx, w, h, sizes, activation):
    return scan(gx, w, [h], sizes, lambda x, p, s: ([activation(x + p)], None))[0]


def lstm_reference(gx, w, h, c, sizes):
    def step(x, product, states):
        i, f, g, o = np.split(x + product, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * states[1] + i * g
        return [o * np.tanh(c), c], np.stack([i, f, g, o])

    return scan(gx, w, [h, c], sizes, step)


def gru_reference(gx, w, h, b, sizes):
    def step(x, product, states):
        (xr, xz, xn), (hr, hz, hn) = (
            np.split(x, 3, axis=1),
            np.split(product + (0 if b is None else b), 3, axis=1),
        )
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = np.tanh(xn + r * hn)
        return [(1 - z) * n + z * states[0]], np.stack([r, z, n, hn])

    return scan(gx, w, [h], sizes, step)


def state_reference(v_h, v_a, carry, w, *slopes, sizes):
    s_h, s_a = v_h.copy(), v_a.copy()
    for rows, read, write in recurrence.steps(sizes):
        s_a[rows] += s_h[read] @ w.T
        s_h[write] += carry[rows] * s_h[read]
        s_h[write] += sum(
            slope[rows] * a for slope, a in zip(slopes, np.split(s_a[rows], len(slopes), axis=1), strict=True)
        )
    return s_h, s_a


def memory_reference(v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    s_h, s_c, s_a = v_h.copy(), v_c.copy(), v_a.copy()
    for rows, read, write in recurrence.steps(sizes):
        s_a[rows] += s_h[read] @ w.T
        i, f, g, o = (
            slope[rows] * a for slope, a in zip(slopes, np.split(s_a[rows], 4, axis=1), strict=True)
        )
        s_c[write] += carry[rows] * s_c[read] + i + f + g
        s_h[write] += tilt[rows] * s_c[write] + o
    return s_h, s_c, s_a


def sequences(sizes, tag):
    """Rows for every operation over sequences, with H = 3 (GRU and linear recurrences: 2)."""
    n, r = sizes[0], sum(sizes)
    weight = within(-0.8, 0.8, (3, 3))
    one_state = [(n + r, 2), (r, 4), (r, 2), (4, 2), (r, 2), (r, 2)]
    two_states = [(n + r, 2), (n + r, 2), (r, 8), (r, 2), (r, 2), (8, 2), *[(r, 2)] * 4]

    def row(name, inputs, ref=None, **static):
        function = getattr(recurrent, name, None) or getattr(recurrence, name)
        label = "-".join([tag, *static.values()])
        return Row(
            name,
            partial(function, sizes=sizes, **static),
            inputs,
            ref=ref and partial(ref, sizes=sizes),
            torch=False,
            tag=label,
        )

    return [
        row("rnn", [(r, 3), weight, (n, 3)], partial(rnn_reference, activation=np.tanh), nonlinearity="tanh"),
        row(
            "rnn",
            [(r, 3), weight, (n, 3)],
            partial(rnn_reference, activation=lambda x: np.maximum(x, 0)),
            nonlinearity="relu",
        ),
        row("lstm", [(r, 12), (12, 3), (n, 3), (n, 3)], lstm_reference),
        row("gru", [(r, 6), (6, 2), (n, 2), (6,)], gru_reference),
        row("state_recurrence", one_state, state_reference),
        row("state_recurrence_transpose", one_state),
        row("memory_recurrence", two_states, memory_reference),
        row("memory_recurrence_transpose", two_states),
        row("reverse_rows", [(r, 2)]),
    ]


def lstm_slopes_reference(gates, before, after):
    i, f, g, o = gates
    y = np.tanh(after)
    return i * (1 - i) * g, f * (1 - f) * before, i * (1 - g**2), o * (1 - o) * y, o * (1 - y**2)


def gru_slopes_reference(gates, before):
    r, z, n, q = gates
    inner = (1 - z) * (1 - n**2)
    return inner * q * r * (1 - r), z * (1 - z) * (before - n), r * inner, inner


def paired(cell):
    """A cell that takes (h, c), as a function of h and c."""
    return lambda x, h, c, *weights: cell(x, (h, c), *weights)


def torch_paired(x, h, c, *weights):
    import torch

    return torch.lstm_cell(x, (h, c), *weights)


ROWS = [
    *sequences(EQUAL, "equal"),
    *sequences(RAGGED, "ragged"),
    Row("gru", lambda gx, w, h: recurrent.gru(gx, w, h, None, sizes=EQUAL), [(6, 6), (6, 2), (2, 2)], torch=False, tag="no-bias",
        ref=lambda gx, w, h: gru_reference(gx, w, h, None, EQUAL)),
    Row("lstm_slopes", recurrent.lstm_slopes, [(4, 3, 2), (3, 2), (3, 2)], ref=lstm_slopes_reference, torch=False),
    Row("gru_slopes", recurrent.gru_slopes, [(4, 3, 2), (3, 2)], ref=gru_slopes_reference, torch=False),
    Row("rnn_tanh_cell", F.rnn_tanh_cell, [(2, 3), (2, 4), (4, 3), (4, 4), (4,), (4,)]),
    Row("rnn_tanh_cell", F.rnn_tanh_cell, [(2, 3), (2, 4), (4, 3), (4, 4)], tag="no-bias"),
    Row("rnn_relu_cell", F.rnn_relu_cell, [(2, 3), (2, 4), (4, 3), (4, 4), (4,), (4,)]),
    Row("lstm_cell", paired(F.lstm_cell), [(2, 3), (2, 4), (2, 4), (16, 3), (16, 4), (16,), (16,)], torch=torch_paired),
    Row("gru_cell", F.gru_cell, [(2, 3), (2, 4), (12, 3), (12, 4), (12,), (12,)]),
    Row("gru_cell", F.gru_cell, [(2, 3), (2, 4), (12, 3), (12, 4)], tag="no-bias"),
]  # fmt: skip
