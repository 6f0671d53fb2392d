"""Recurrent layers over whole sequences: one layer, one direction.

The input's share of the pre-activations, W_ih x + b, is computed for all steps by one matrix product outside and comes in
as `gx`; only the part that cannot be done at once, W_hh h[t-1], is left to the loop. What the rules need of the forward
pass is given out as further outputs (the gates), so that the rules are expressed through it.

Each rule computes its coefficients for all steps at once and hands the recurrence itself to `recurrence.py`, where
also the layout of the rows is explained: `sizes[t]` sequences at step t, R = sum(sizes) rows of `gx`, and states with the
sizes[0] rows of the initial state in front. Gates are in PyTorch's order.
"""

from chainrule.autograd.op import op

from .recurrence import (
    memory_recurrence_transpose,
    previous,
    state_recurrence_transpose,
    steps,
    weight_gradient,
)
from .shape import astype


def _columns(x, hidden):
    """(R, G*H) as G blocks (R, H)."""
    return [x[:, start : start + hidden] for start in range(0, x.shape[1], hidden)]


def _states(xp, initial, gx):
    """Room for the states of every step, the initial one in front."""
    states = xp.empty((initial.shape[0] + gx.shape[0], initial.shape[1]), dtype=gx.dtype)
    states[: initial.shape[0]] = initial
    return states


def _scales(xp, kinds, hidden, dtype):
    """The row of factors (..., H) by which `_activate` makes a "tanh" or a "sigmoid" of each block of columns."""
    return xp.concatenate([xp.full(hidden, 1.0 if kind == "tanh" else 0.5, dtype=dtype) for kind in kinds])


def _activate(xp, a, scale):
    """All gates at once, in place: sigmoid(a) = 1/2 + 1/2 tanh(a/2), exact to the rounding of 1; tanh(a) where scale is 1."""
    a *= scale
    xp.tanh(a, out=a)
    a *= scale
    a += 1 - scale


def _rnn_rule(xp, g, needs, w_hh, h, sizes, nonlinearity):
    y = h[sizes[0] :]
    slope = 1 - y * y if nonlinearity == "tanh" else astype(y > 0, dtype=y.dtype)
    u_h, u_a = state_recurrence_transpose(g, None, slope, None, w_hh, sizes=sizes)
    return u_a, weight_gradient(xp, u_a, h, sizes) if needs[1] else None, u_h[: sizes[0]]


@op(joint=_rnn_rule, outputs=("h",), cast="same")
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


def _lstm_rule(xp, g, needs, w_hh, h, c, gates, sizes):
    g_h, g_c, g_gates = g
    hidden, first = w_hh.shape[1], sizes[0]
    i, f, z, o = _columns(gates, hidden)
    di, df, dz, do = i * (1 - i), f * (1 - f), 1 - z * z, o * (1 - o)
    tanh_c = xp.tanh(c[first:])
    slope = xp.concatenate([di * z, df * previous(xp, c, sizes), dz * i, do * tanh_c], axis=1)
    tilt = o * (1 - tanh_c * tanh_c)
    direct = None if g_gates is None else g_gates * xp.concatenate([di, df, dz, do], axis=1)
    u_h, u_c, u_a = memory_recurrence_transpose(g_h, g_c, direct, slope, f, tilt, w_hh, sizes=sizes)
    return u_a, weight_gradient(xp, u_a, h, sizes) if needs[1] else None, u_h[:first], u_c[:first]


@op(joint=_lstm_rule, outputs=("h", "c", "gates"), cast="same")
def lstm(xp, gx, w_hh, h0, c0, *, sizes):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), with the forget gate of Gers et al. 2000.

    (i, f, g, o) = (sigmoid, sigmoid, tanh, sigmoid)(gx[t] + W_hh h[t-1]), c[t] = f c[t-1] + i g, h[t] = o tanh(c[t]).
    gx (R, 4H), w_hh (4H, H), h0 and c0 (sizes[0], H) -> h and c (sizes[0] + R, H), which start with h0 and c0, gates (R, 4H).
    """
    hidden, w_t = w_hh.shape[1], xp.ascontiguousarray(w_hh.T)
    scale = _scales(xp, ("sigmoid", "sigmoid", "tanh", "sigmoid"), hidden, gx.dtype)
    h, c, gates = _states(xp, h0, gx), _states(xp, c0, gx), xp.empty(gx.shape, dtype=gx.dtype)
    for rows, read, write in steps(sizes):
        a = gates[rows]
        xp.matmul(h[read], w_t, out=a)
        a += gx[rows]
        _activate(xp, a, scale)
        i, f, z, o = _columns(a, hidden)
        new = c[write]
        xp.multiply(f, c[read], out=new)
        new += i * z
        xp.multiply(o, xp.tanh(new), out=h[write])
    return h, c, gates


def _gru_rule(xp, g, needs, w_hh, h, gates, sizes):
    g_h, g_gates = g
    hidden, first = w_hh.shape[1], sizes[0]
    r, z, n, q = _columns(gates, hidden)
    dr, dz, dn = r * (1 - r), z * (1 - z), 1 - n * n
    h_before = previous(xp, h, sizes)
    to_n = (1 - z) * dn  # the change of h with the pre-activation of n
    slope = xp.concatenate([dr * (q * to_n), dz * (h_before - n), r * to_n], axis=1)
    direct = None
    if g_gates is not None:
        g_r, g_z, g_n, g_q = _columns(g_gates, hidden)
        g_n = g_n * dn
        direct = xp.concatenate([dr * (g_r + q * g_n), dz * g_z, r * g_n + g_q], axis=1)
    u_h, u_a = state_recurrence_transpose(g_h, direct, slope, z, w_hh, sizes=sizes)
    # r multiplies W_hn h + b_hn only: the input's own share of n's pre-activation does not have the factor r.
    u_n = u_h[first:] * to_n if g_gates is None else u_h[first:] * to_n + g_n
    return (
        xp.concatenate([u_a[:, : 2 * hidden], u_n], axis=1) if needs[0] else None,
        weight_gradient(xp, u_a, h, sizes) if needs[1] else None,
        u_h[:first],
        xp.sum(u_a, axis=0) if needs[3] else None,
    )


@op(joint=_gru_rule, outputs=("h", "gates"), cast="same", cast_inputs=("gx", "w_hh", "h0"))
def gru(xp, gx, w_hh, h0, b_hh, *, sizes):
    """Gated recurrent unit (Cho et al. 2014), with the reset gate after the matrix product, as in PyTorch.

    (r, z) = sigmoid(gx_rz[t] + W_rz h[t-1] + b_rz), q = W_n h[t-1] + b_n, n = tanh(gx_n[t] + r q), h[t] = (1 - z) n + z h[t-1].
    gx (R, 3H), w_hh (3H, H), h0 (sizes[0], H), b_hh (3H) or None -> h (sizes[0] + R, H), which starts with h0, gates r, z, n, q (R, 4H).
    """
    hidden, w_t = w_hh.shape[1], xp.ascontiguousarray(w_hh.T)
    h, gates = _states(xp, h0, gx), xp.empty((gx.shape[0], 4 * hidden), dtype=gx.dtype)
    for rows, read, write in steps(sizes):
        before, given = h[read], gx[rows]
        product = xp.matmul(before, w_t)
        if b_hh is not None:
            product += b_hh
        rz, n, q = gates[rows, : 2 * hidden], gates[rows, 2 * hidden : 3 * hidden], gates[rows, 3 * hidden :]
        xp.add(product[:, : 2 * hidden], given[:, : 2 * hidden], out=rz)
        _activate(xp, rz, 0.5)
        q[...] = product[:, 2 * hidden :]
        xp.multiply(rz[:, :hidden], q, out=n)
        n += given[:, 2 * hidden :]
        xp.tanh(n, out=n)
        new = h[write]
        xp.subtract(before, n, out=new)
        new *= rz[:, hidden:]
        new += n
    return h, gates
