"""Sums down columns and along rows: `source/columns.cu`."""

import math

from .registry import kernel, name_of, over_columns, over_rows, over_strips, plain, wide_of


def sums(launch, xp, x):
    """The sums down the columns of a `wide` (rows, n)."""
    while x.shape[0] > 1:
        rows, n = x.shape
        grid, block, chunk = over_columns(rows, n)
        partial = xp.empty((grid[1], n), dtype=x.dtype)
        launch("columns", "column_sums_wide", name_of(x.dtype), grid, block, x, partial, rows, n, chunk)
        x = partial
    return x.reshape(-1)


@kernel("columns", lambda x: x.sum(axis=0))
def column_sums(launch, xp, x):
    """The sums down the columns of (rows, n), in the dtype that is computed in."""
    grid, block, strips = over_strips(*x.shape, x.dtype.itemsize)
    partial = xp.empty((grid[1], x.shape[1]), dtype=wide_of(x.dtype))
    launch("columns", "column_sums", name_of(x.dtype), grid, block, x, partial, *strips)
    return sums(launch, xp, partial)


def _layout(shape, summed):
    """(before, kept, after) for a sum over the first axes, the last ones, or both; None if it is another, or over everything."""
    ndim = len(shape)
    first = next((axis for axis in range(ndim) if axis not in summed), ndim)
    last = next((axis for axis in range(ndim, first, -1) if axis - 1 not in summed), first)
    if not summed or any(first <= axis < last for axis in summed):
        return None
    before, kept, after = (math.prod(shape[a:b]) for a, b in ((0, first), (first, last), (last, ndim)))
    if kept == 1 or (
        after > 1 and before * kept < 64
    ):  # too few rows to fill a card: CuPy's way is a better one
        return None
    return before, kept, after


def _summed(launch, xp, x, layout):
    before, kept, after = layout
    if after == 1:
        return column_sums(launch, xp, x.reshape(before, kept))
    rows = xp.empty((before, kept), dtype=wide_of(x.dtype))
    grid, block = over_rows(rows.size, after)
    launch("columns", "row_sums", name_of(x.dtype), grid, block, x, rows, rows.size, after)
    return sums(launch, xp, rows)


def _axes(x, axis):
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return {one % x.ndim for one in axes} if x.ndim else set()


def _sum_guard(x, *, axis=None, keepdims=False):
    return plain(x) and _layout(x.shape, _axes(x, axis)) is not None


@kernel(
    "columns",
    lambda x, axis, keepdims=False: x.sum(axis=axis, keepdims=keepdims),
    replaces="sum",
    guard=_sum_guard,
)
def axis_sums(launch, xp, x, *, axis=None, keepdims=False):
    """The sum over the first axes, the last ones, or both: fast also where a sum runs across memory."""
    axes = _axes(x, axis)
    shape = [1 if k in axes else n for k, n in enumerate(x.shape) if keepdims or k not in axes]
    return _summed(launch, xp, x, _layout(x.shape, axes)).reshape(shape).astype(x.dtype, copy=False)


def _spread(x, shape):
    """The axes over which a `shape` was spread to that of x."""
    extra = x.ndim - len(shape)
    return {axis for axis in range(x.ndim) if axis < extra or shape[axis - extra] == 1 != x.shape[axis]}


def _to_guard(x, *, shape):
    return plain(x) and _layout(x.shape, _spread(x, shape)) is not None


def _to_reference(x, shape):
    return x.sum(axis=tuple(_spread(x, shape))).reshape(shape)


@kernel("columns", _to_reference, replaces="sum_to", guard=_to_guard)
def sum_to(launch, xp, x, *, shape):
    """What was spread, added up again: the gradient of a bias."""
    return (
        _summed(launch, xp, x, _layout(x.shape, _spread(x, shape))).reshape(shape).astype(x.dtype, copy=False)
    )
