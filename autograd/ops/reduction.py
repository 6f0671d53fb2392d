"""Sums, products, extremes and statistics over axes; running sums.

`axis` is None (all axes), an int or a tuple; with `keepdims` the reduced axes stay with length 1.
"""

from chainrule.autograd.op import op

from .blocks import in_float32
from .elementwise import direction, is_complex, power_scalar
from .scan import linear_scan, part, side_by_side, together
from .shape import astype


def _spread(xp, g, shape, axis, keepdims):
    """A reduced gradient with the reduced axes back as length 1, ready to broadcast."""
    if axis is None:
        return xp.reshape(g, (1,) * len(shape))
    return g if keepdims else xp.expand_dims(g, axis=_axes(axis, len(shape)))


def _axes(axis, ndim):
    """`axis` as a tuple of non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(sorted(one % ndim for one in (axis if isinstance(axis, tuple) else (axis,)))) if ndim else ()


def _kept(x):
    """The dtype to sum in: x's own, where NumPy would widen small integers; bools are counted."""
    return None if x.dtype.kind == "b" else x.dtype


def _count(shape, axis):
    count = 1
    for one in _axes(axis, len(shape)):
        count *= shape[one]
    return count


@op(
    x=lambda xp, g, x_shape, axis, keepdims: xp.broadcast_to(
        _spread(xp, g, x_shape, axis, keepdims), shape=x_shape
    ),
    tangent="linear",
)
@in_float32
def sum(xp, x, *, axis=None, keepdims=False):
    """Sum."""
    return xp.sum(x, axis=axis, dtype=_kept(x), keepdims=keepdims)


@op(
    x=lambda xp, g, x_shape, axis, keepdims: xp.broadcast_to(
        _spread(xp, g, x_shape, axis, keepdims) / max(_count(x_shape, axis), 1), shape=x_shape
    ),
    tangent="linear",
)
@in_float32
def mean(xp, x, *, axis=None, keepdims=False):
    """Arithmetic mean; NaN over no elements."""
    if _count(x.shape, axis) == 0:
        return xp.sum(x, axis=axis, keepdims=keepdims) * float("nan")
    return xp.mean(x, axis=axis, keepdims=keepdims)


def _var_rule(xp, g, x, axis, correction, keepdims):
    count = _count(x.shape, axis)
    if count == 0:
        return xp.zeros_like(x)
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    scale = 2 / (count - correction) if count > correction else float("nan")
    if is_complex(centred):
        centred = xp.conj(centred)
    return _spread(xp, g, x.shape, axis, keepdims) * (scale * centred)


def _var_tangent(xp, t, x, axis, correction, keepdims):
    slope = _var_rule(
        xp, xp.ones_like(xp.sum(x, axis=axis, keepdims=keepdims)), x, axis, correction, keepdims
    )
    return xp.sum(slope * t[0], axis=axis, keepdims=keepdims)


@op(x=_var_rule, tangent=_var_tangent)
@in_float32
def var(xp, x, *, axis=None, correction=1, keepdims=False):
    """Variance, sum of squared deviations / (n - correction); NaN where n <= correction, as PyTorch's NaN or inf."""
    count = _count(x.shape, axis)
    if count == 0:
        return xp.sum(xp.absolute(x), axis=axis, keepdims=keepdims) * float("nan")
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    total = xp.sum(xp.square(xp.absolute(centred)), axis=axis, keepdims=keepdims)
    return total / max(count - correction, 0) if count > correction else total * float("nan")


def _prod_rule(xp, g, x, axis, keepdims):
    """The product of all the others, exact also where elements are 0: running products from the left and the right."""
    axes = _axes(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    lined = xp.transpose(x, axes=(*rest, *axes))
    flat = xp.reshape(lined, (*(x.shape[i] for i in rest), _count(x.shape, axis)))
    one = xp.ones_like(flat[..., :1])
    left = xp.cumprod(xp.concatenate([one, flat[..., :-1]], axis=-1), axis=-1)
    right = xp.flip(
        xp.cumprod(xp.flip(xp.concatenate([flat[..., 1:], one], axis=-1), axis=-1), axis=-1), axis=-1
    )
    others = xp.reshape(left * right, lined.shape)
    back = tuple(sorted(range(x.ndim), key=(*rest, *axes).__getitem__))
    return _spread(xp, g, x.shape, axis, keepdims) * xp.transpose(others, axes=back)


@op(x=_prod_rule)
@in_float32
def prod(xp, x, *, axis=None, keepdims=False):
    """Product; the gradient is right also where elements are 0."""
    return xp.prod(x, axis=axis, dtype=_kept(x), keepdims=keepdims)


def extreme_rule(xp, g, x, y, axis, keepdims):
    """Ties share the gradient equally; a NaN result sends it to the NaNs."""
    y = _spread(xp, y, x.shape, axis, keepdims)
    hit = astype(xp.logical_or(x == y, xp.logical_and(xp.isnan(x), xp.isnan(y))), dtype=g.dtype)
    return _spread(xp, g, x.shape, axis, keepdims) * (hit / xp.sum(hit, axis=axis, keepdims=True))


@op(x=extreme_rule)
def amax(xp, x, *, axis=None, keepdims=False):
    """Largest element; ties share the gradient equally."""
    return xp.max(x, axis=axis, keepdims=keepdims)


@op(x=extreme_rule)
def amin(xp, x, *, axis=None, keepdims=False):
    """Smallest element; ties share the gradient equally."""
    return xp.min(x, axis=axis, keepdims=keepdims)


@op()
def argmax(xp, x, *, axis=None, keepdims=False):
    """Index of the largest element, the first at a tie; into the flattened x if axis is None."""
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@op()
def argmin(xp, x, *, axis=None, keepdims=False):
    """Index of the smallest element, the first at a tie; into the flattened x if axis is None."""
    return xp.argmin(x, axis=axis, keepdims=keepdims)


@op()
def all(xp, x, *, axis=None, keepdims=False):
    """Whether every element is true (not 0)."""
    return xp.all(x, axis=axis, keepdims=keepdims)


@op()
def any(xp, x, *, axis=None, keepdims=False):
    """Whether some element is true (not 0)."""
    return xp.any(x, axis=axis, keepdims=keepdims)


@op()
def count_nonzero(xp, x, *, axis=None):
    """How many elements are not 0."""
    return xp.count_nonzero(x, axis=axis)


def _logsumexp_rule(xp, g, x, y, axis, keepdims):
    """The softmax; equal infinities share equally. e^(x - y) alone is no better than the spacing of y, so it is divided by its sum."""
    y = _spread(xp, y, x.shape, axis, keepdims)
    infinite = x == xp.where(xp.isinf(y), y, float("nan"))
    share = xp.exp(xp.where(infinite, 0, x - y))
    return share * (_spread(xp, g, x.shape, axis, keepdims) / xp.sum(share, axis=axis, keepdims=True))


def _logsumexp_tangent(xp, t, x, y, axis, keepdims):
    """The mean of the tangents under the softmax."""
    share = _logsumexp_rule(xp, xp.ones_like(y), x, y, axis, keepdims)
    return xp.sum(share * t[0], axis=axis, keepdims=keepdims)


@op(x=_logsumexp_rule, cast="float", tangent=_logsumexp_tangent)
@in_float32
def logsumexp(xp, x, *, axis=None, keepdims=False):
    """log(sum(exp(x))) without overflow; -inf where every element is -inf."""
    if _count(x.shape, axis) == 0:
        return xp.sum(x, axis=axis, keepdims=keepdims) - float("inf")
    top = xp.max(x.real, axis=axis, keepdims=True)
    safe = xp.where(xp.isinf(top), xp.zeros_like(top), top)
    total = xp.log(xp.sum(xp.exp(x - safe), axis=axis, keepdims=True)) + safe
    return (
        total
        if keepdims
        else xp.reshape(total, tuple(n for i, n in enumerate(x.shape) if i not in _axes(axis, x.ndim)))
    )


@op(x=lambda xp, g, axis: xp.flip(xp.cumsum(xp.flip(g, axis=axis), axis=axis), axis=axis), tangent="linear")
@in_float32
def cumsum(xp, x, *, axis):
    """Running sum."""
    if x.dtype.kind != "b" and side_by_side(xp, x, axis):
        return together(xp, xp.add, x, axis)
    return xp.cumsum(x, axis=axis, dtype=_kept(x))


def _cumprod_rule(xp, g, x, y, axis):
    """The product of what lies before, times the sum over j of g[j] and what lies between: the latter is a linear recurrence.
    No division, so it is exact also where elements are 0."""
    if not x.shape[axis]:
        return g
    one = xp.ones_like(part(x, axis, 0, 1))
    before = xp.concatenate([one, part(y, axis, 0, -1)], axis=axis)
    following = xp.concatenate([part(x, axis, 1, None), one], axis=axis)
    return before * linear_scan(following, g, axis=axis, reverse=True)


@op(x=_cumprod_rule)
@in_float32
def cumprod(xp, x, *, axis):
    """Running product."""
    if x.dtype.kind != "b" and side_by_side(xp, x, axis):
        return together(xp, xp.multiply, x, axis)
    return xp.cumprod(x, axis=axis, dtype=_kept(x))


def _norm_rule(xp, g, x, y, axis, ord, keepdims):
    """d|x|_p/dx = sign(x) (|x|/|x|_p)^(p-1), 0 at x = 0."""
    y, g = _spread(xp, y, x.shape, axis, keepdims), _spread(xp, g, x.shape, axis, keepdims)
    safe = xp.where(y == 0, xp.ones_like(y), y)
    if ord == 2:
        return g * xp.where(y == 0, xp.zeros_like(x), (xp.conj(x) if is_complex(x) else x) / safe)
    if ord == 1:
        return g * direction(xp, x)
    size = xp.absolute(x)
    if ord in (float("inf"), -float("inf")):
        hit = astype(size == y, dtype=g.dtype)
        return g * direction(xp, x) * (hit / xp.sum(hit, axis=axis, keepdims=True))
    if ord == 0:
        return xp.zeros_like(x) * g
    ratio = xp.where(x == 0, xp.ones_like(x), size / safe)
    return g * direction(xp, x) * power_scalar(ratio, exponent=ord - 1)


@op(x=_norm_rule, cast="float")
@in_float32
def vector_norm(xp, x, *, axis=None, ord=2, keepdims=False):
    """(sum |x|^ord)^(1/ord); ord inf, -inf: the largest, smallest |x|; 0: the count of non-zeros. Gradient 0 at 0.

    Large and tiny elements neither overflow nor vanish: they are scaled by the largest first.
    """
    size = xp.absolute(x)
    if _count(x.shape, axis) == 0:
        if ord < 0 or ord == float("inf"):
            raise RuntimeError(
                f"linalg.vector_norm: the {ord}-norm of no elements is not defined (shape {tuple(x.shape)}, axis {axis})"
            )
        return xp.sum(size, axis=axis, keepdims=keepdims)
    if ord == float("inf"):
        return xp.max(size, axis=axis, keepdims=keepdims)
    if ord == -float("inf"):
        return xp.min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return xp.sum((size != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return xp.sum(size, axis=axis, keepdims=keepdims)
    top = xp.max(size, axis=axis, keepdims=True)
    scale = xp.where((top == 0) | xp.isinf(top), xp.ones_like(top), top)
    if ord == 2:
        total = xp.sqrt(xp.sum(xp.square(size / scale), axis=axis, keepdims=True)) * scale
    else:
        total = xp.sum((size / scale) ** ord, axis=axis, keepdims=True) ** (1 / ord) * scale
    return (
        total
        if keepdims
        else xp.reshape(total, tuple(n for i, n in enumerate(x.shape) if i not in _axes(axis, x.ndim)))
    )
