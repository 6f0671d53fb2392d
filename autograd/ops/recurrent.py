"""Recurrent layers over whole sequences: one layer, one direction.

The input's share of the pre-activations, W_ih x + b, is computed for all steps by one matrix product outside and comes in
as `gx`; only the part that cannot be done at once, W_hh h[t-1], is left to the loop. What the rules need of the forward
pass is given out as further outputs (the gates), so that the rules are expressed through it.

Each rule computes the slopes, the coefficients of the linear recurrence, for all steps at once and hands the recurrence itself
to `recurrence.py`. There the layout of the rows is explained: `sizes[t]` sequences at step t, R = sum(sizes) rows of `gx`, and
states with the sizes[0] rows of the initial state in front. Gates are in PyTorch's order.
"""

from chainrule.autograd.op import op
from chainrule.backends import cpu

from .blocks import PIECE
from .product import matmul
from .recurrence import (
    by_gate,
    gate_columns,
    gate_weights,
    memory_recurrence,
    memory_recurrence_transpose,
    previous,
    state_recurrence,
    state_recurrence_transpose,
    steps,
    weight_gradient,
)
from .shape import astype, pad


def _states(xp, initial, gx):
    """Room for the states of every step, the initial one in front."""
    states = xp.empty((initial.shape[0] + gx.shape[0], initial.shape[1]), dtype=gx.dtype)
    states[: initial.shape[0]] = initial
    return states


def _sigmoid(xp, a):
    """tanh(a / 2) / 2 + 1 / 2, in place. Near 0 it is exact to the rounding of 1, not of itself."""
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def _pieces(xp, x):
    """Slices of rows that fit the cache together with what is computed from them; on a GPU, all rows at once."""
    step = max(1, PIECE // 2 // max(1, x.shape[1])) if xp is cpu.xp else max(1, x.shape[0])
    return [slice(start, start + step) for start in range(0, x.shape[0], step)]


def _present(g):
    """Gradients of several outputs, with 0 for those that got none."""
    return [0 if one is None else one for one in g]


def _rnn_rule(xp, g, needs, w_hh, h, sizes, nonlinearity):
    slope = _rnn_slope(xp, h[sizes[0] :], nonlinearity)
    u_h, u_a = state_recurrence_transpose(g, None, None, w_hh, slope, sizes=sizes)
    return u_a, weight_gradient(xp, u_a, h, sizes) if needs[1] else None, u_h[: sizes[0]]


def _driven(xp, t_gx, t_w, h, sizes):
    """What moves the pre-activations from outside the recurrence: the tangents of the input's share and of the weight."""
    if t_w is None:
        return t_gx
    moved = matmul(previous(xp, h, sizes), xp.swapaxes(t_w, axis1=0, axis2=1))
    return moved if t_gx is None else moved + t_gx


def _started(t, h):
    """The tangent of an initial state as one of all states."""
    return None if t is None else pad(t, widths=((0, h.shape[0] - t.shape[0]), (0, 0)))


def _rnn_slope(xp, y, nonlinearity):
    return 1 - y * y if nonlinearity == "tanh" else astype(y > 0, dtype=y.dtype)


def _rnn_tangent(xp, t, w_hh, h, sizes, nonlinearity):
    t_gx, t_w, t_h = t
    driven, slope = _driven(xp, t_gx, t_w, h, sizes), _rnn_slope(xp, h[sizes[0] :], nonlinearity)
    return state_recurrence(_started(t_h, h), driven, None, w_hh, slope, sizes=sizes)[0]


@op(joint=_rnn_rule, outputs=("h",), cast="same", tangent=_rnn_tangent)
def rnn(xp, gx, w_hh, h0, *, sizes, nonlinearity="tanh"):
    """Simple recurrent layer (Elman 1990, "Finding structure in time"): h[t] = tanh or relu (gx[t] + W_hh h[t-1]).

    gx (R, H), w_hh (H, H), h0 (sizes[0], H) -> h (sizes[0] + R, H), which starts with h0.
    """
    h, w_t = _states(xp, h0, gx), xp.ascontiguousarray(w_hh.T)
    for rows, read, write in steps(sizes):
        a = h[write]
        xp.matmul(h[read], w_t, out=a)
        a += gx[rows]
        if nonlinearity == "tanh":
            xp.tanh(a, out=a)
        else:
            xp.maximum(a, 0, out=a)
    return h


def _lstm_slopes_rule(xp, g, needs, gates, before, after):
    g_i, g_f, g_z, g_o, g_tilt = _present(g)
    i, f, z, o = (gates[k] for k in range(4))
    tanh_c = xp.tanh(after)
    dz, dc = 1 - z * z, 1 - tanh_c * tanh_c
    parts = (
        g_i * z * (1 - 2 * i) + g_z * dz,
        g_f * before * (1 - 2 * f),
        g_i * (i * (1 - i)) - g_z * (2 * z * i),
        g_o * tanh_c * (1 - 2 * o) + g_tilt * dc,
    )
    return (
        xp.stack(list(parts), axis=0) if needs[0] else None,
        g_f * (f * (1 - f)) if needs[1] else None,
        (g_o * (o * (1 - o)) - g_tilt * (2 * o * tanh_c)) * dc if needs[2] else None,
    )


@op(joint=_lstm_slopes_rule, outputs=("i", "f", "g", "o", "tilt"))
def lstm_slopes(xp, gates, before, after):
    """dc/d(pre-activation of i, f, g), dh/d(pre-activation of o) and dh/dc. gates (4, R, H), c before and after the step (R, H)."""
    slopes = xp.empty((5, *before.shape), dtype=gates.dtype)
    for rows in _pieces(xp, before):
        i, f, z, o = (gates[k, rows] for k in range(4))
        tanh_c = xp.tanh(after[rows])
        slopes[0, rows] = i * (1 - i) * z
        slopes[1, rows] = f * (1 - f) * before[rows]
        slopes[2, rows] = (1 - z * z) * i
        slopes[3, rows] = o * (1 - o) * tanh_c
        slopes[4, rows] = o * (1 - tanh_c * tanh_c)
    return tuple(slopes[k] for k in range(5))


def _lstm_gate_slopes(gates):
    """The derivative of each gate by its pre-activation."""
    return [gates[k] * (1 - gates[k]) if k != 2 else 1 - gates[k] * gates[k] for k in range(4)]


def _lstm_rule(xp, g, needs, w_hh, h, c, gates, sizes):
    g_h, g_c, g_gates = g
    first = sizes[0]
    *slopes, tilt = lstm_slopes(gates, previous(xp, c, sizes), c[first:])
    direct = None
    if g_gates is not None:
        inner = _lstm_gate_slopes(gates)
        direct = xp.concatenate([g_gates[k] * inner[k] for k in range(4)], axis=1)
    u_h, u_c, u_a = memory_recurrence_transpose(g_h, g_c, direct, gates[1], tilt, w_hh, *slopes, sizes=sizes)
    return u_a, weight_gradient(xp, u_a, h, sizes) if needs[1] else None, u_h[:first], u_c[:first]


def _lstm_tangent(xp, t, w_hh, h, c, gates, sizes):
    t_gx, t_w, t_h, t_c = t
    *slopes, tilt = lstm_slopes(gates, previous(xp, c, sizes), c[sizes[0] :])
    driven, t_h, t_c = _driven(xp, t_gx, t_w, h, sizes), _started(t_h, h), _started(t_c, c)
    s_h, s_c, s_a = memory_recurrence(t_h, t_c, driven, gates[1], tilt, w_hh, *slopes, sizes=sizes)
    moved = zip(_lstm_gate_slopes(gates), gate_columns(s_a, 4), strict=True)
    return s_h, s_c, xp.stack([slope * a for slope, a in moved], axis=0)


@op(joint=_lstm_rule, outputs=("h", "c", "gates"), cast="same", tangent=_lstm_tangent)
def lstm(xp, gx, w_hh, h0, c0, *, sizes):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), with the forget gate of Gers et al. 2000.

    (i, f, g, o) = (sigmoid, sigmoid, tanh, sigmoid)(gx[t] + W_hh h[t-1]), c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]).
    gx (R, 4H), w_hh (4H, H), h0 and c0 (sizes[0], H) -> h and c (sizes[0] + R, H), which start with h0 and c0, gates (4, R, H).
    """
    hidden, w_t = w_hh.shape[1], xp.ascontiguousarray(w_hh.T)
    gates = xp.empty((4, gx.shape[0], hidden), dtype=gx.dtype)
    pre = xp.empty((sizes[0], 4 * hidden), dtype=gx.dtype)
    scale = xp.full(pre.shape, 0.5, dtype=gx.dtype)
    scale[:, 2 * hidden : 3 * hidden] = 1
    shift = by_gate(1 - scale, hidden)
    h, c = _states(xp, h0, gx), _states(xp, c0, gx)
    for rows, read, write in steps(sizes):
        n, mine, new = rows.stop - rows.start, gates[:, rows], c[write]
        # scale tanh(scale a) + shift is tanh(a) for g, and for i, f and o the sigmoid: one chain for all gates, in one array
        # without gaps, over which NumPy passes several times as fast as over its columns.
        a, by = pre[:n], scale[:n]
        xp.matmul(h[read], w_t, out=a)
        a += gx[rows]
        a *= by
        xp.tanh(a, out=a)
        a *= by
        xp.add(by_gate(a, hidden), shift[:, :n], out=mine)
        i, f, g, o = mine
        xp.multiply(f, c[read], out=new)
        new += i * g
        xp.multiply(o, xp.tanh(new), out=h[write])
    return h, c, gates


def _gru_slopes_rule(xp, g, needs, gates, before):
    g_r, g_z, g_q, g_n = _present(g)
    r, z, n, q = (gates[k] for k in range(4))
    dr, dz, dn = r * (1 - r), z * (1 - z), 1 - n * n
    to_n = (1 - z) * dn
    g_n = g_n + g_q * r + g_r * (dr * q)
    parts = (
        g_q * to_n + g_r * (q * to_n) * (1 - 2 * r),
        g_z * (before - n) * (1 - 2 * z) - g_n * dn,
        -g_z * dz - g_n * (2 * n * (1 - z)),
        g_r * (dr * to_n),
    )
    return xp.stack(list(parts), axis=0) if needs[0] else None, g_z * dz if needs[1] else None


@op(joint=_gru_slopes_rule, outputs=("r", "z", "q", "n"))
def gru_slopes(xp, gates, before):
    """dh/d(pre-activation of r, z), dh/dq and dh/d(pre-activation of n). gates r, z, n, q (4, R, H), h before the step (R, H)."""
    slopes = xp.empty((4, *before.shape), dtype=gates.dtype)
    for rows in _pieces(xp, before):
        r, z, n, q = (gates[k, rows] for k in range(4))
        to_n = (1 - z) * (1 - n * n)
        slopes[0, rows] = r * (1 - r) * q * to_n
        slopes[1, rows] = z * (1 - z) * (before[rows] - n)
        slopes[2, rows] = r * to_n
        slopes[3, rows] = to_n
    return tuple(slopes[k] for k in range(4))


def _gru_rule(xp, g, needs, w_hh, h, gates, sizes):
    g_h, g_gates = g
    first = sizes[0]
    *slopes, to_n = gru_slopes(gates, previous(xp, h, sizes))
    direct = None
    if g_gates is not None:
        r, z, n, q = (gates[k] for k in range(4))
        g_n = g_gates[2] * (1 - n * n)
        g_r, g_z = (g_gates[0] + q * g_n) * (r * (1 - r)), g_gates[1] * (z * (1 - z))
        direct = xp.concatenate([g_r, g_z, r * g_n + g_gates[3]], axis=1)
    u_h, u_a = state_recurrence_transpose(g_h, direct, gates[1], w_hh, *slopes, sizes=sizes)
    # r multiplies W_hn h + b_hn only: the input's own share of n's pre-activation does not have the factor r.
    u_n = u_h[first:] * to_n if g_gates is None else u_h[first:] * to_n + g_n
    return (
        xp.concatenate([u_a[:, : -u_n.shape[1]], u_n], axis=1) if needs[0] else None,
        weight_gradient(xp, u_a, h, sizes) if needs[1] else None,
        u_h[:first],
        xp.sum(u_a, axis=0) if needs[3] else None,
    )


def _gru_tangent(xp, t, w_hh, h, gates, sizes):
    t_gx, t_w, t_h, t_b = t
    first, (r, z, n, q) = sizes[0], (gates[k] for k in range(4))
    *slopes, to_n = gru_slopes(gates, previous(xp, h, sizes))
    t_n, moved = None, _started(t_h, h)
    if t_gx is not None:
        # The input's own share of n's pre-activation reaches h past the recurrence.
        t_r, t_z, t_n = gate_columns(t_gx, 3)
        direct = pad(to_n * t_n, widths=((first, 0), (0, 0)))
        moved = direct if moved is None else moved + direct
        t_gx = xp.concatenate([t_r, t_z, xp.zeros_like(t_n)], axis=1)
    driven = _driven(xp, t_gx, t_w, h, sizes)
    if t_b is not None:
        t_b = xp.broadcast_to(t_b, shape=(n.shape[0], w_hh.shape[0]))
        driven = t_b if driven is None else driven + t_b
    s_h, s_a = state_recurrence(moved, driven, z, w_hh, *slopes, sizes=sizes)
    s_r, s_z, s_q = gate_columns(s_a, 3)
    s_r, s_z = s_r * (r * (1 - r)), s_z * (z * (1 - z))
    s_n = s_r * q + r * s_q
    s_n = (s_n if t_n is None else s_n + t_n) * (1 - n * n)
    return s_h, xp.stack([s_r, s_z, s_n, s_q], axis=0)


@op(
    joint=_gru_rule,
    outputs=("h", "gates"),
    cast="same",
    cast_inputs=("gx", "w_hh", "h0"),
    tangent=_gru_tangent,
)
def gru(xp, gx, w_hh, h0, b_hh, *, sizes):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the matrix product, as in PyTorch.

    (r, z) = sigmoid(gx_rz[t] + W_rz h[t-1] + b_rz), q = W_n h[t-1] + b_n, n = tanh(gx_n[t] + r q), h[t] = (1 - z) n + z h[t-1].
    gx (R, 3H), w_hh (3H, H), h0 (sizes[0], H), b_hh (3H) or None -> h (sizes[0] + R, H), which starts with h0, r, z, n, q (4, R, H).
    """
    hidden, w = w_hh.shape[1], gate_weights(xp, w_hh)
    given, gates = by_gate(gx, hidden), xp.empty((4, gx.shape[0], hidden), dtype=gx.dtype)
    h, bias = _states(xp, h0, gx), None if b_hh is None else b_hh.reshape(3, 1, hidden)
    for rows, read, write in steps(sizes):
        before, new, product = h[read], h[write], xp.matmul(h[read], w)
        if bias is not None:
            product += bias
        rz, n, q = gates[:2, rows], gates[2, rows], gates[3, rows]
        xp.add(product[:2], given[:2, rows], out=rz)
        _sigmoid(xp, rz)
        q[...] = product[2]
        xp.multiply(rz[0], q, out=n)
        n += given[2, rows]
        xp.tanh(n, out=n)
        xp.subtract(before, n, out=new)
        new *= rz[1]
        new += n
    return h, gates
