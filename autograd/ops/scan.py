"""Running extremes, running log-sum-exp, and the linear recurrence behind the derivatives of running products.

A running fold of an associative operation takes log2(n) passes over the whole axis: pass k joins each element with what lies
2^k before it (Hillis & Steele 1986, "Data parallel algorithms"). NumPy's ufuncs fold in one pass; CuPy's only add and multiply.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import cpu

from .blocks import in_float32, wide
from .elementwise import is_complex
from .indexing import scatter_add, take_along_axis
from .linalg_common import raw


def side_by_side(xp, x, axis):
    """Whether NumPy should fold the lines along `axis` by `together`: its own scans take one line after the other, in large strides."""
    if xp is not cpu.xp or x.ndim < 2 or not x.size:
        return False
    return x.size >= 256 * x.shape[axis] and math.prod(x.shape[axis % x.ndim + 1 :]) >= 32


def together(xp, join, x, axis):
    """join(join(x[0], x[1]), x[2]), ... along `axis`, of all lines step by step."""
    y = xp.empty_like(x)
    lines, folded = xp.moveaxis(x, axis, 0), xp.moveaxis(y, axis, 0)
    folded[0] = lines[0]
    for i in range(1, len(lines)):
        join(folded[i - 1], lines[i], out=folded[i])
    return y


def _fold(xp, join, x, axis):
    """The same in the way that is fastest; `join` is associative and elementwise."""
    if xp is cpu.xp and hasattr(join, "accumulate"):
        return together(xp, join, x, axis) if side_by_side(xp, x, axis) else join.accumulate(x, axis=axis)
    y, step = xp.moveaxis(x, axis, -1), 1
    while step < y.shape[-1]:
        y = xp.concatenate([y[..., :step], join(y[..., :-step], y[..., step:])], axis=-1)
        step *= 2
    return xp.moveaxis(y, -1, axis)


def part(x, axis, start, stop):
    """x[start:stop] along `axis`."""
    return x[(*(slice(None),) * (axis % x.ndim), slice(start, stop))]


def _running_rule(xp, g, places, x_shape, axis):
    return scatter_add(xp.zeros(x_shape, dtype=g[0].dtype), g[0], index=raw(places), axis=axis)


def _running_tangent(xp, t, places, axis):
    return take_along_axis(t[0], index=raw(places), axis=axis), None


@op(x=_running_rule, outputs=("values", "places"), tangent=_running_tangent)
def running_extreme(xp, x, *, axis, largest):
    """The largest (or smallest) element so far along `axis` and where it is, the last of equals; NaN is beyond all."""
    wider = wide(x)
    best = _fold(xp, xp.maximum if largest else xp.minimum, wider, axis)
    return best.astype(x.dtype, copy=False), _last(xp, (wider == best) | (wider != wider), axis)


def _last(xp, marked, axis):
    """Where the last marked element so far is along `axis`; the first element is marked."""
    length = marked.shape[axis]
    if xp is cpu.xp and axis in (-1, marked.ndim - 1) and marked.size:
        found = xp.flatnonzero(marked)
        return xp.repeat(found % length, xp.diff(found, append=marked.size)).reshape(marked.shape)
    line = [1] * marked.ndim
    line[axis] = length
    return _fold(xp, xp.maximum, xp.where(marked, xp.arange(length).reshape(line), 0), axis)


def _next(xp, x, axis, reverse, last):
    """Each element's successor in the order of a scan; that of the final element is `last`, of length 1 along `axis`."""
    if reverse:
        return xp.concatenate([last, part(x, axis, 0, -1)], axis=axis)
    return xp.concatenate([part(x, axis, 1, None), last], axis=axis)


def _scan_rule(xp, g, needs, a, y, axis, reverse):
    """The transpose is the recurrence with the coefficients one step on, run from the other end."""
    if not y.shape[axis]:
        return g, g
    nothing = xp.zeros_like(part(y, axis, 0, 1))
    gb = linear_scan(_next(xp, a, axis, reverse, nothing), g, axis=axis, reverse=not reverse)
    return gb * _next(xp, y, axis, not reverse, nothing) if needs[0] else None, gb


@op(joint=_scan_rule, cast="same")
@in_float32
def linear_scan(xp, a, b, *, axis, reverse=False):
    """y[i] = a[i] y[i-1] + b[i] along `axis`, starting from 0; with `reverse` from the end, y[i] = a[i] y[i+1] + b[i].

    Steps (a, b) compose to steps again, so this is a running fold. Its derivatives are recurrences of the same form.
    """
    a, b = xp.moveaxis(a, axis, -1), xp.moveaxis(b, axis, -1)
    if reverse:
        a, b = a[..., ::-1], b[..., ::-1]
    step = 1
    while step < b.shape[-1]:
        b = xp.concatenate([b[..., :step], a[..., step:] * b[..., :-step] + b[..., step:]], axis=-1)
        a = xp.concatenate([a[..., :step], a[..., step:] * a[..., :-step]], axis=-1)
        step *= 2
    return xp.ascontiguousarray(xp.moveaxis(b[..., ::-1] if reverse else b, -1, axis))


def _gap(xp, a, b):
    """a - b; 0 where both are the same infinity."""
    same = xp.logical_and(a == b, xp.isinf(a))
    return xp.where(same, xp.zeros_like(a), a - b)


def _logcumsumexp_rule(xp, g, x, y, axis):
    """The sum over j >= i of g[j] e^(x[i] - y[j]). As y grows, that is a recurrence with factors e^(y[i] - y[i+1]) of at most
    1, which neither overflows nor takes the logarithm of a gradient."""
    if not y.shape[axis]:
        return g
    after = _next(xp, y, axis, False, part(y, axis, -1, None))
    return xp.exp(_gap(xp, x, y)) * linear_scan(xp.exp(_gap(xp, y, after)), g, axis=axis, reverse=True)


@op(x=_logcumsumexp_rule)
@in_float32
def logcumsumexp(xp, x, *, axis):
    """log(cumsum(exp(x))) along `axis`, without overflow."""
    if not is_complex(x):
        return _fold(xp, xp.logaddexp, x, axis)
    return _fold(xp, lambda a, b: _complex_logaddexp(xp, a, b), x, axis)


def _complex_logaddexp(xp, a, b):
    first = a.real >= b.real
    high, low = xp.where(first, a, b), xp.where(first, b, a)
    both = xp.isinf(high.real) & (high.real == low.real)
    return high + xp.log1p(xp.exp(xp.where(both, -xp.inf, low - high)))
