"""Recurrent layers with one launch a step between the matrix products: `source/recurrent.cu`.

Shapes and the order of rows are those of `autograd/ops/recurrent.py` and `recurrence.py`, for which these stand in.
"""

import numpy as np

from .registry import kernel, name_of, over_elements, plain


def _steps(sizes):
    """For each step: the slices of its own rows, of the states it reads and of the states it writes."""
    start, read = 0, 0
    for n in sizes:
        write = sizes[0] + start
        yield slice(start, start + n), slice(read, read + n), slice(write, write + n)
        start, read = start + n, write


def _states(xp, initial, count):
    states = xp.empty((initial.shape[0] + count, initial.shape[1]), dtype=initial.dtype)
    states[: initial.shape[0]] = initial
    return states


def _product(xp, a, w):
    """a w in their own dtype: of bfloat16 some libraries give float32, which a kernel would read as something else."""
    return xp.matmul(a, w).astype(w.dtype, copy=False)


def _guard(*arrays, **static):
    return plain(*arrays) and all(one is None or one.size for one in arrays)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _rnn_reference(gx, w_hh, h0, sizes, nonlinearity="tanh"):
    h = _states(np, h0, len(gx))
    for rows, read, write in _steps(sizes):
        a = gx[rows] + h[read] @ w_hh.T
        h[write] = np.tanh(a) if nonlinearity == "tanh" else np.maximum(a, 0)
    return h


@kernel("recurrent", _rnn_reference, replaces="rnn", guard=_guard)
def rnn(launch, xp, gx, w_hh, h0, *, sizes, nonlinearity="tanh"):
    """h[t] = tanh or relu (gx[t] + W h[t-1]): all states, the initial one in front."""
    h = _states(xp, h0, gx.shape[0])
    for rows, read, write in _steps(sizes):
        a, count = _product(xp, h[read], w_hh.T), (rows.stop - rows.start) * h.shape[1]
        grid, block = over_elements(count)
        arrays = (a, gx[rows], h[write])
        launch(
            "recurrent",
            "rnn_step",
            name_of(h.dtype),
            grid,
            block,
            *arrays,
            count,
            int(nonlinearity != "tanh"),
        )
    return h


def _lstm_reference(gx, w_hh, h0, c0, sizes):
    h, c = _states(np, h0, len(gx)), _states(np, c0, len(gx))
    gates = np.empty((4, len(gx), h0.shape[1]))
    for rows, read, write in _steps(sizes):
        i, f, g, o = np.split(gx[rows] + h[read] @ w_hh.T, 4, axis=1)
        i, f, g, o = gates[:, rows] = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        c[write] = f * c[read] + i * g
        h[write] = o * np.tanh(c[write])
    return h, c, gates


@kernel("recurrent", _lstm_reference, replaces="lstm", guard=_guard)
def lstm(launch, xp, gx, w_hh, h0, c0, *, sizes):
    """All states h and c, the initial ones in front, and the gates i, f, g, o."""
    rows_all, hidden = gx.shape[0], w_hh.shape[1]
    h, c = _states(xp, h0, rows_all), _states(xp, c0, rows_all)
    gates = xp.empty((4, rows_all, hidden), dtype=gx.dtype)
    for rows, read, write in _steps(sizes):
        a, n = _product(xp, h[read], w_hh.T), rows.stop - rows.start
        grid, block = over_elements(n * hidden)
        arrays = (a, gx[rows], c[read], gates[0, rows], c[write], h[write])
        launch("recurrent", "lstm_step", name_of(h.dtype), grid, block, *arrays, n, hidden, rows_all * hidden)
    return h, c, gates


def _lstm_slopes_reference(gates, before, after):
    i, f, g, o = gates
    t = np.tanh(after)
    return i * (1 - i) * g, f * (1 - f) * before, (1 - g * g) * i, o * (1 - o) * t, o * (1 - t * t)


@kernel("recurrent", _lstm_slopes_reference, replaces="lstm_slopes", guard=_guard)
def lstm_slopes(launch, xp, gates, before, after):
    """dc/d(pre-activation of i, f, g), dh/d(pre-activation of o), dh/dc, for all steps at once."""
    slopes = xp.empty((5, *before.shape), dtype=gates.dtype)
    grid, block = over_elements(before.size)
    launch(
        "recurrent",
        "lstm_slopes",
        name_of(gates.dtype),
        grid,
        block,
        gates,
        before,
        after,
        slopes,
        before.size,
    )
    return tuple(slopes[k] for k in range(5))


def _filled(xp, given, rows, like):
    return xp.zeros((rows, like.shape[1]), dtype=like.dtype) if given is None else given.copy()


def _lstm_back_reference(v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    rows_all = len(tilt)
    u_h, u_c = (_filled(np, v, sizes[0] + rows_all, w) for v in (v_h, v_c))
    u_a = np.zeros((rows_all, len(w))) if v_a is None else v_a.copy()
    for rows, read, write in reversed(list(_steps(sizes))):
        u_c[write] += tilt[rows] * u_h[write]
        drivers = (u_c[write],) * 3 + (u_h[write],)
        u_a[rows] += np.concatenate([s[rows] * d for s, d in zip(slopes, drivers, strict=True)], axis=1)
        u_h[read] += u_a[rows] @ w
        u_c[read] += carry[rows] * u_c[write]
    return u_h, u_c, u_a


def _back_guard(v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    return _guard(tilt, v_h, v_c, v_a, carry, w, *slopes) and len(slopes) == 4


@kernel("recurrent", _lstm_back_reference, replaces="memory_recurrence_transpose", guard=_back_guard)
def lstm_back(launch, xp, v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    """Backpropagation through time of a long short-term memory."""
    (rows_all, hidden), name = tilt.shape, name_of(w.dtype)
    u_h, u_c = (_filled(xp, v, sizes[0] + rows_all, w) for v in (v_h, v_c))
    u_a = xp.empty((rows_all, w.shape[0]), dtype=w.dtype)
    for rows, read, write in reversed(list(_steps(sizes))):
        n = rows.stop - rows.start
        grid, block = over_elements(n * hidden)
        given = (tilt[rows], carry[rows], *(slope[rows] for slope in slopes))
        v = None if v_a is None else v_a[rows]
        arrays = (*given, u_h[write], v, u_c[write], u_c[read], u_a[rows])
        launch("recurrent", "lstm_step_back", name, grid, block, *arrays, n, hidden)
        before = u_h[read]
        before += _product(xp, u_a[rows], w)
    return u_h, u_c, u_a


def _state_back_reference(v_h, v_a, carry, w, *slopes, sizes):
    rows_all = len(slopes[0])
    u_h = _filled(np, v_h, sizes[0] + rows_all, w)
    u_a = np.zeros((rows_all, len(w))) if v_a is None else v_a.copy()
    for rows, read, write in reversed(list(_steps(sizes))):
        u_a[rows] += np.concatenate([s[rows] * u_h[write] for s in slopes], axis=1)
        u_h[read] += u_a[rows] @ w + (0 if carry is None else carry[rows] * u_h[write])
    return u_h, u_a


def _state_back_guard(v_h, v_a, carry, w, *slopes, sizes):
    return _guard(slopes[0], v_h, v_a, carry, w, *slopes) and len(slopes) <= 3


@kernel("recurrent", _state_back_reference, replaces="state_recurrence_transpose", guard=_state_back_guard)
def state_back(launch, xp, v_h, v_a, carry, w, *slopes, sizes):
    """Backpropagation through time of a cell with one state: tanh, ReLU, gated recurrent units."""
    rows_all, hidden = slopes[0].shape
    u_h, u_a = _filled(xp, v_h, sizes[0] + rows_all, w), xp.empty((rows_all, w.shape[0]), dtype=w.dtype)
    for rows, read, write in reversed(list(_steps(sizes))):
        n = rows.stop - rows.start
        grid, block = over_elements(n * hidden)
        mine = [slope[rows] for slope in slopes] + [None] * (3 - len(slopes))
        c, v = (None if one is None else one[rows] for one in (carry, v_a))
        arrays = (c, *mine, u_h[write], v, u_h[read], u_a[rows])
        launch("recurrent", "state_step_back", name_of(w.dtype), grid, block, *arrays, n, hidden, len(slopes))
        before = u_h[read]
        before += _product(xp, u_a[rows], w)
    return u_h, u_a


def _gru_reference(gx, w_hh, h0, b_hh, sizes):
    h, gates = _states(np, h0, len(gx)), np.empty((4, len(gx), h0.shape[1]))
    for rows, read, write in _steps(sizes):
        a = h[read] @ w_hh.T + (0 if b_hh is None else b_hh)
        (a_r, a_z, q), (g_r, g_z, g_n) = np.split(a, 3, axis=1), np.split(gx[rows], 3, axis=1)
        r, z = _sigmoid(g_r + a_r), _sigmoid(g_z + a_z)
        n = np.tanh(g_n + r * q)
        gates[:, rows] = r, z, n, q
        h[write] = (1 - z) * n + z * h[read]
    return h, gates


@kernel("recurrent", _gru_reference, replaces="gru", guard=_guard)
def gru(launch, xp, gx, w_hh, h0, b_hh, *, sizes):
    """All states, the initial one in front, and the gates r, z, n, q."""
    rows_all, hidden = gx.shape[0], w_hh.shape[1]
    h, gates = _states(xp, h0, rows_all), xp.empty((4, rows_all, hidden), dtype=gx.dtype)
    for rows, read, write in _steps(sizes):
        a, n = _product(xp, h[read], w_hh.T), rows.stop - rows.start
        grid, block = over_elements(n * hidden)
        arrays = (a, gx[rows], b_hh, h[read], gates[0, rows], h[write])
        launch("recurrent", "gru_step", name_of(h.dtype), grid, block, *arrays, n, hidden, rows_all * hidden)
    return h, gates


def _gru_slopes_reference(gates, before):
    r, z, n, q = gates
    to_n = (1 - z) * (1 - n * n)
    return r * (1 - r) * q * to_n, z * (1 - z) * (before - n), r * to_n, to_n


@kernel("recurrent", _gru_slopes_reference, replaces="gru_slopes", guard=_guard)
def gru_slopes(launch, xp, gates, before):
    """dh/d(pre-activation of r, z), dh/dq, dh/d(pre-activation of n), for all steps at once."""
    slopes = xp.empty((4, *before.shape), dtype=gates.dtype)
    grid, block = over_elements(before.size)
    launch("recurrent", "gru_slopes", name_of(gates.dtype), grid, block, gates, before, slopes, before.size)
    return tuple(slopes[k] for k in range(4))
