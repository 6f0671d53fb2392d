"""Softmax, log-softmax and cross-entropy, row by row or column by column: `source/softmax.cu`."""

import math

import numpy as np

from .registry import kernel, name_of, over_elements, over_rows, plain, wide_of


def _layout(x, axis):
    """(outer, n, inner) of a contiguous array, the axis in the middle; None if it is no axis."""
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        return None
    axis %= x.ndim
    return math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])


def _softmax_guard(x, *, axis):
    return plain(x) and _layout(x, axis) is not None


def _gradient_guard(g, y, *, axis):
    return plain(g, y) and g.shape == y.shape and _layout(y, axis) is not None


def _launch(launch, entry, layout, name, arguments, *after):
    """One launch for rows, of which `entry` takes the number and the length, or for columns, of which it takes the layout."""
    outer, n, inner = layout
    if inner == 1:
        grid, block = over_rows(outer, n)
        launch("softmax", entry, name, grid, block, *arguments, outer, n, *after)
    else:
        grid = (-(-outer * inner // 32), 1, 1)
        launch("softmax", COLUMNS[entry], name, grid, (32, 8, 1), *arguments, outer, n, inner, *after)


COLUMNS = {
    "softmax": "softmax_columns",
    "softmax_gradient": "softmax_gradient_columns",
    "cross_entropy": "cross_entropy_columns",
    "scale_slopes": "scale_slope_columns",
}


def _forward(launch, xp, x, axis, logarithm):
    y = xp.empty_like(x)
    _launch(launch, "softmax", _layout(x, axis), name_of(x.dtype), (x, y), logarithm)
    return y


def _backward(launch, xp, g, y, axis, logarithm):
    gx = xp.empty_like(y)
    _launch(launch, "softmax_gradient", _layout(y, axis), name_of(y.dtype), (g, y, gx), logarithm)
    return gx


def _softmax_reference(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@kernel("softmax", _softmax_reference, replaces="softmax", guard=_softmax_guard)
def softmax(launch, xp, x, *, axis):
    """Softmax: one read, one write."""
    return _forward(launch, xp, x, axis, 0)


@kernel(
    "softmax",
    lambda x, axis: np.log(_softmax_reference(x, axis)),
    replaces="log_softmax",
    guard=_softmax_guard,
)
def log_softmax(launch, xp, x, *, axis):
    """The logarithm of softmax."""
    return _forward(launch, xp, x, axis, 1)


@kernel(
    "softmax",
    lambda g, needs, y, axis: (y * (g - (g * y).sum(axis=axis, keepdims=True)),),
    replaces="softmax.gradient",
    guard=_gradient_guard,
)
def softmax_gradient(launch, xp, g, needs, y, *, axis):
    """y (g - sum(g y)): two reads, one write."""
    return (_backward(launch, xp, g, y, axis, 0),)


@kernel(
    "softmax",
    lambda g, needs, y, axis: (g - np.exp(y) * g.sum(axis=axis, keepdims=True),),
    replaces="log_softmax.gradient",
    guard=_gradient_guard,
)
def log_softmax_gradient(launch, xp, g, needs, y, *, axis):
    """g - exp(y) sum(g)."""
    return (_backward(launch, xp, g, y, axis, 1),)


# --- cross-entropy ---


def _samples(x, q):
    """(N, d...), one number for each sample."""
    return (x.shape[0], *x.shape[2:])


def _fits(one, shape, dtype, x):
    return one is None or (
        one.__class__ is x.__class__ and one.shape == shape and one.dtype == dtype and one.flags.c_contiguous
    )


def _divides(over, x):
    """Whether the losses are not added up, or what divides their sum is a number or a device's one."""
    return over is None or isinstance(over, (int, float)) or _fits(over, (), wide_of(x.dtype), x)


def _loss_guard(x, *, q, over=None, dtype=None):
    if not plain(x) or x.ndim < 2 or len(q.index) != x.ndim or not _divides(over, x):
        return False
    wide, samples, share = wide_of(x.dtype), _samples(x, q), (1, x.shape[1]) + (1,) * (x.ndim - 2)
    return (
        _fits(q.index[1], samples, "int64", x)
        and _fits(q.weight, samples, wide, x)
        and _fits(q.share, share, wide, x)
        and _fits(q.kept, samples, "bool", x)
        and dtype in (None, x.dtype, wide)
    )


def _loss_reference(x, q, over=None, dtype=None):
    """By the definition: q written out, and the logarithm of p."""
    n = x.shape[1]
    kept = np.ones(_samples(x, q)) if q.kept is None else q.kept
    full = np.moveaxis(np.eye(n)[q.index[1]], -1, 1) * np.expand_dims(
        1 if q.weight is None else q.weight, 1 if q.weight is not None else 0
    )
    if q.share is not None:
        full = full + q.share
    full = full * np.expand_dims(kept, 1)
    p = _softmax_reference(x, 1)
    loss = -(full * np.log(p)).sum(axis=1)
    slope = p * full.sum(axis=1, keepdims=True) - full
    return (loss, slope) if over is None else (loss.sum() / over, slope / over)


def _divisor(over):
    """What divides, as a pointer and as a number."""
    if over is None:
        return None, 1.0
    return (None, float(over)) if isinstance(over, (int, float)) else (over, 1.0)


@kernel("softmax", _loss_reference, replaces="cross_entropy", guard=_loss_guard)
def cross_entropy(launch, xp, x, *, q, over=None, dtype=None):
    """Loss and slope in one pass over the logits (a row is read again where it lies in a cache), in the logits' dtype."""
    outer, n, inner = layout = _layout(x, 1)
    wide, name, by = wide_of(x.dtype), name_of(x.dtype), _divisor(over)
    loss, slope = xp.empty(_samples(x, q), dtype=wide), xp.empty_like(x)
    smooth = None if q.share is None else xp.sum(q.share, keepdims=True)
    arguments = (x, q.index[1], q.weight, q.kept, q.share, smooth, *by, loss, slope)
    _launch(launch, "cross_entropy", layout, name, arguments)
    dtype = np.dtype(dtype or x.dtype)
    if over is None:
        return loss.astype(dtype, copy=False), slope
    y = xp.empty((), dtype=dtype)
    into = (y, None) if dtype == x.dtype else (None, y)
    _add_up(launch, xp, name, loss, by, into)
    return y, slope


_OF_A_BLOCK = 1 << 14  # losses that a block adds up, if there are many


def _add_up(launch, xp, name, loss, by, into):
    """The sum of the losses, divided; of many in two stages, for one block leaves most of a card idle."""
    count = loss.size
    if count > 4 * _OF_A_BLOCK:
        chunk = max(_OF_A_BLOCK, -(-count // 1024))
        blocks = -(-count // chunk)
        partial = xp.empty(blocks, dtype=loss.dtype)
        arguments = (loss, None, 1.0, None, partial, count, chunk)
        launch("softmax", "loss_total", name, (blocks, 1, 1), (1024, 1, 1), *arguments)
        loss, count = partial, blocks
    launch("softmax", "loss_total", name, (1, 1, 1), (1024, 1, 1), loss, *by, *into, count, count)


def _slope_guard(g, slope, *, q, over=None, dtype=None):
    g, gslope = g
    if g is None or gslope is not None or not plain(slope) or slope.ndim < 2:
        return False
    shape = _samples(slope, q) if over is None else ()
    fits = g.__class__ is slope.__class__ and g.shape == shape
    return fits and g.dtype in (slope.dtype, wide_of(slope.dtype))


@kernel(
    "softmax",
    lambda g, needs, slope, q, over=None, dtype=None, owned=False: (
        slope * (g[0] if over is not None else np.expand_dims(g[0], 1)),
    ),
    replaces="cross_entropy.gradient",
    guard=_slope_guard,
    consumes=True,
)
def cross_entropy_gradient(launch, xp, g, needs, slope, *, q, over=None, dtype=None, owned=False):
    """g times the slope, over the slope itself if nobody else has it: then a g of 1 costs nothing."""
    # That of a mean is one number, shown N times.
    g, gx, name = xp.ascontiguousarray(g[0]), slope if owned else xp.empty_like(slope), name_of(slope.dtype)
    outer, n, inner = layout = _layout(slope, 1)
    both = (g, None) if g.dtype == slope.dtype else (None, g)
    if over is None and inner > 1:
        _launch(launch, "scale_slopes", layout, name, (slope, *both, gx))
    else:
        rows = (outer, n * inner, 1)
        _launch(launch, "scale_slopes", rows, name, (slope, *both, int(over is None), gx))
    return (gx,)


# --- class numbers ---


def _numbers_guard(given, weight, *, classes, ignore_index, dtype):
    return (
        given.dtype == "int64"
        and given.size > 0
        and given.flags.c_contiguous
        and dtype in ("float32", "float64")
        and (
            weight is None
            or (
                weight.__class__ is given.__class__
                and weight.flags.c_contiguous
                and name_of(weight.dtype) is not None
                and wide_of(weight.dtype) == dtype
            )
        )
    )


def _numbers_reference(given, weight, classes, ignore_index, dtype):
    inside, kept = (given >= 0) & (given < classes), given != ignore_index
    valid = np.where(inside & kept, given, 0)
    factor = np.ones(given.shape) if weight is None else weight[valid]
    return valid, np.where(kept, np.where(inside, factor, np.nan), 0), kept


@kernel("softmax", _numbers_reference, replaces="class_numbers", guard=_numbers_guard)
def class_numbers(launch, xp, given, weight, *, classes, ignore_index, dtype):
    """(class, factor, kept) of each sample: a class that is valid, 0 for what is ignored and NaN for what is no class."""
    name, dtype = (
        (name_of(np.dtype(dtype)), dtype)
        if weight is None
        else (name_of(weight.dtype), wide_of(weight.dtype))
    )
    index, factor, kept = (xp.empty(given.shape, dtype=one) for one in ("int64", dtype, "bool"))
    grid, block = over_elements(given.size)
    arguments = (given, weight, index, factor, kept, given.size, classes, ignore_index)
    launch("softmax", "class_numbers", name, grid, block, *arguments)
    return index, factor, kept
