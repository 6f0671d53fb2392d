"""Linear recurrences in time: what the derivative of every recurrent layer is.

Whatever the cell, its first-order change obeys a recurrence that is linear in the change, with coefficients known from the
forward pass. Backpropagation through time is the transpose of that recurrence, run from the last step to the
first (Werbos 1990, "Backpropagation through time: what it does and how to do it"). The transpose of the transpose is the
recurrence itself, so each of the two is the other's derivative: the pair is closed, and recurrent layers have derivatives
of every order, each one loop over the steps in array code.

Rows. A batch of sequences is stored step after step without padding: `sizes[t]` sequences are still running at step t
(never more than at the step before), so per-step values have R = sum(sizes) rows. States have `sizes[0]` rows more, in
front: what was there before the first step.
"""

import functools

import numpy

from chainrule.autograd.op import op
from chainrule.backends import backend_of, get

from .product import matmul


@functools.lru_cache(maxsize=8)
def steps(sizes):
    """For each step: the slices of its own rows, of the states it reads and of the states it writes."""
    found, start, read = [], 0, 0
    for n in sizes:
        write = sizes[0] + start
        found.append((slice(start, start + n), slice(read, read + n), slice(write, write + n)))
        start, read = start + n, write
    return tuple(found)


@functools.lru_cache(maxsize=8)
def _reads(sizes):
    """Slices of the states that all steps read, as few as can be."""
    slices = []
    for _, read, _ in steps(sizes):
        if slices and slices[-1].stop == read.start:
            read = slice(slices.pop().start, read.stop)
        slices.append(read)
    return tuple(slices)


def previous(xp, states, sizes):
    """The states each row's step reads, (R, H): one slice, or a few where sequences end early."""
    slices = _reads(sizes)
    return states[slices[0]] if len(slices) == 1 else xp.concatenate([states[one] for one in slices], axis=0)


def last(xp, rows, sizes):
    """Each sequence's last row, (sizes[0], H); `rows` are per-step values, without initial states."""
    found, running = [], 0
    for mine, _, _ in reversed(steps(sizes)):
        if not found or mine.stop - mine.start > running:
            found.append(rows[mine.start + running : mine.stop])
            running = mine.stop - mine.start
    return found[0] if len(found) == 1 else xp.concatenate(found, axis=0)


@functools.lru_cache(maxsize=8)
def _reversal(sizes, device):
    """For each row, the row of the same sequence as far from its end as this one is from its start; an array on `device`."""
    starts = [mine.start for mine, _, _ in steps(sizes)]
    lengths = [sum(n > sequence for n in sizes) for sequence in range(sizes[0])]
    rows = [
        starts[lengths[sequence] - 1 - t] + sequence for t, n in enumerate(sizes) for sequence in range(n)
    ]
    return get(device).from_host(numpy.array(rows), device.index)


@op(x=lambda xp, g, sizes: reverse_rows(g, sizes=sizes))
def reverse_rows(xp, x, *, sizes):
    """Every sequence with its steps in opposite order; (R, H) -> (R, H), its own inverse and transpose."""
    if sizes[-1] < sizes[0]:
        return x[_reversal(sizes, backend_of(x).device_of(x))]
    steps_first = x.reshape(len(sizes), sizes[0], x.shape[1])
    return xp.ascontiguousarray(steps_first[::-1]).reshape(x.shape)


def weight_gradient(xp, u_a, h, sizes):
    """Sum over rows of the outer product of the gradient of W h[t-1] and h[t-1]: one matrix product for all steps."""
    return matmul(xp.swapaxes(u_a, axis1=0, axis2=1), previous(xp, h, sizes))


def by_gate(a, hidden):
    """Columns (n, G*H) as gates (G, n, H); a view where a's rows are contiguous."""
    return a.reshape(a.shape[0], a.shape[1] // hidden, hidden).swapaxes(0, 1)


def gate_columns(a, count):
    """Columns (n, G*H) as G blocks (n, H)."""
    width = a.shape[1] // count
    return [a[:, k * width : (k + 1) * width] for k in range(count)]


def gate_weights(xp, w):
    """w (G*H, H) as (G, H, H), each transposed: h @ gate_weights is (G, n, H). One product a gate runs faster than one for all."""
    return xp.ascontiguousarray(by_gate(w.T, w.shape[1]))


def _sources(xp, given, rows, like):
    """A fresh array to collect a state in: a copy of what was given, or zeros."""
    return xp.zeros((rows, like.shape[1]), dtype=like.dtype) if given is None else given.copy()


def _slope_gradients(needs, s_a, drivers):
    """For each gate, its columns of s_a times the state it acts on."""
    columns = gate_columns(s_a, len(drivers))
    return tuple(a * u if need else None for need, a, u in zip(needs, columns, drivers, strict=True))


# One state: tanh, ReLU and gated recurrent units. `slopes` has one array (R, H) for each gate.
#
#   forward    s_a[t] = v_a[t] + W s_h[t-1]                     s_h[t]   = v_h[t] + carry[t] s_h[t-1] + sum_gates slope[t] s_a[t]
#   transpose  u_a[t] = v_a[t] + slope[t] u_h[t] for each gate  u_h[t-1] = v_h[t-1] + carry[t] u_h[t] + W^T u_a[t]


def _state_coefficients(xp, needs, s, u, sizes):
    """Gradients of carry, w and slopes: products of the solution s of the recurrence and u of its transpose."""
    (s_h, s_a), (u_h, u_a) = s, u
    driver = u_h[sizes[0] :]
    return (
        driver * previous(xp, s_h, sizes) if needs[0] else None,
        weight_gradient(xp, u_a, s_h, sizes) if needs[1] else None,
        *_slope_gradients(needs[2:], s_a, [driver] * len(needs[2:])),
    )


def _state_transpose_rule(xp, g, needs, carry, w, slopes, u_h, u_a, sizes):
    s = state_recurrence(*g, carry, w, *slopes, sizes=sizes)
    return (*s, *_state_coefficients(xp, needs[2:], s, (u_h, u_a), sizes))


def _state_rule(xp, g, needs, carry, w, slopes, s_h, s_a, sizes):
    u = state_recurrence_transpose(*g, carry, w, *slopes, sizes=sizes)
    return (*u, *_state_coefficients(xp, needs[2:], (s_h, s_a), u, sizes))


@op(joint=_state_transpose_rule, outputs=("u_h", "u_a"))
def state_recurrence_transpose(xp, v_h, v_a, carry, w, *slopes, sizes):
    """Backpropagation through time of a cell with one state. Any of v_h, v_a, carry may be None (zeros).

    v_h (sizes[0] + R, H), v_a (R, G*H), carry and G slopes (R, H), w (G*H, H) -> u_h like v_h, u_a like v_a.
    """
    count = slopes[0].shape[0]
    u_h, u_a = _sources(xp, v_h, sizes[0] + count, w), xp.empty((count, w.shape[0]), dtype=w.dtype)
    for rows, read, write in reversed(steps(sizes)):
        h, a, before = u_h[write], u_a[rows], u_h[read]
        xp.concatenate([slope[rows] * h for slope in slopes], axis=1, out=a)
        if v_a is not None:
            a += v_a[rows]
        before += xp.matmul(a, w)
        if carry is not None:
            before += carry[rows] * h
    return u_h, u_a


@op(joint=_state_rule, outputs=("s_h", "s_a"))
def state_recurrence(xp, v_h, v_a, carry, w, *slopes, sizes):
    """The first-order change of a cell with one state, forward in time; shapes as in its transpose."""
    count = slopes[0].shape[0]
    s_h, s_a = _sources(xp, v_h, sizes[0] + count, w), xp.empty((count, w.shape[0]), dtype=w.dtype)
    w_t = xp.ascontiguousarray(w.T)
    for rows, read, write in steps(sizes):
        h, a, before = s_h[write], s_a[rows], s_h[read]
        xp.matmul(before, w_t, out=a)
        if v_a is not None:
            a += v_a[rows]
        for slope, gate in zip(slopes, gate_columns(a, len(slopes)), strict=True):
            h += slope[rows] * gate
        if carry is not None:
            h += carry[rows] * before
    return s_h, s_a


# Two states: the long short-term memory, where h = o tanh(c). The slopes of i, f and g act on c, that of o on h.
#
#   forward    s_a[t] = v_a[t] + W s_h[t-1]
#              s_c[t] = v_c[t] + carry[t] s_c[t-1] + sum_ifg slope[t] s_a[t]
#              s_h[t] = v_h[t] + tilt[t] s_c[t] + slope_o[t] s_a_o[t]
#   transpose  u_c[t] = (v_c[t] + carry[t+1] u_c[t+1]) + tilt[t] u_h[t]
#              u_a[t] = v_a[t] + (slope_ifg[t] u_c[t], slope_o[t] u_h[t])
#              u_h[t-1] = v_h[t-1] + W^T u_a[t]


def _memory_coefficients(xp, needs, s, u, sizes):
    """Gradients of carry, tilt, w and slopes, as in the case of one state."""
    (s_h, s_c, s_a), (u_h, u_c, u_a) = s, u
    cell, out = u_c[sizes[0] :], u_h[sizes[0] :]
    return (
        cell * previous(xp, s_c, sizes) if needs[0] else None,
        out * s_c[sizes[0] :] if needs[1] else None,
        weight_gradient(xp, u_a, s_h, sizes) if needs[2] else None,
        *_slope_gradients(needs[3:], s_a, (cell, cell, cell, out)),
    )


def _memory_transpose_rule(xp, g, needs, carry, tilt, w, slopes, u_h, u_c, u_a, sizes):
    s = memory_recurrence(*g, carry, tilt, w, *slopes, sizes=sizes)
    return (*s, *_memory_coefficients(xp, needs[3:], s, (u_h, u_c, u_a), sizes))


def _memory_rule(xp, g, needs, carry, tilt, w, slopes, s_h, s_c, s_a, sizes):
    u = memory_recurrence_transpose(*g, carry, tilt, w, *slopes, sizes=sizes)
    return (*u, *_memory_coefficients(xp, needs[3:], (s_h, s_c, s_a), u, sizes))


@op(joint=_memory_transpose_rule, outputs=("u_h", "u_c", "u_a"))
def memory_recurrence_transpose(xp, v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    """Backpropagation through time of a long short-term memory. Any of v_h, v_c, v_a may be None (zeros).

    v_h and v_c (sizes[0] + R, H), v_a (R, 4H), carry, tilt and four slopes (R, H), w (4H, H) -> u_h, u_c, u_a like the v's.
    """
    count = tilt.shape[0]
    u_h, u_c = (_sources(xp, v, sizes[0] + count, w) for v in (v_h, v_c))
    u_a = xp.empty((count, w.shape[0]), dtype=w.dtype)
    for rows, read, write in reversed(steps(sizes)):
        h, c, a = u_h[write], u_c[write], u_a[rows]
        c += tilt[rows] * h
        # Computed apart and then put side by side: NumPy takes several times as long over a few columns of rows as over an array.
        parts = [slope[rows] * driver for slope, driver in zip(slopes, (c, c, c, h), strict=True)]
        xp.concatenate(parts, axis=1, out=a)
        if v_a is not None:
            a += v_a[rows]
        h_before, c_before = u_h[read], u_c[read]
        h_before += xp.matmul(a, w)
        c_before += carry[rows] * c
    return u_h, u_c, u_a


@op(joint=_memory_rule, outputs=("s_h", "s_c", "s_a"))
def memory_recurrence(xp, v_h, v_c, v_a, carry, tilt, w, *slopes, sizes):
    """The first-order change of a long short-term memory, forward in time; shapes as in its transpose."""
    count = tilt.shape[0]
    s_h, s_c = (_sources(xp, v, sizes[0] + count, w) for v in (v_h, v_c))
    s_a, w_t = xp.empty((count, w.shape[0]), dtype=w.dtype), xp.ascontiguousarray(w.T)
    for rows, read, write in steps(sizes):
        h, c, a = s_h[write], s_c[write], s_a[rows]
        xp.matmul(s_h[read], w_t, out=a)
        if v_a is not None:
            a += v_a[rows]
        for slope, state, gate in zip(slopes, (c, c, c, h), gate_columns(a, len(slopes)), strict=True):
            state += slope[rows] * gate
        c += carry[rows] * s_c[read]
        h += tilt[rows] * c
    return s_h, s_c, s_a
