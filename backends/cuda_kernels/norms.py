"""Layer, RMS, group and batch norm, and column sums: `source/norm.cu`, `batch_norm.cu`, `columns.cu`.

The functions stand in for the operations `standardize` and `rms_standardize`, whose `axes` say which norm it is, and for
their gradients where only that of y has come.
"""

import math

import numpy as np

from .registry import kernel, name_of, over_columns, over_rows, plain, wide_of


def _layer(x, axes, *weights):
    """(rows, n, 1, 1) if the axes are the last ones and the weights have one number for each place, else None."""
    shape = x.shape[x.ndim - len(axes) :]
    if not axes or tuple(axes) != tuple(range(x.ndim - len(axes), x.ndim)):
        return None
    if any(w is not None and w.shape != shape for w in weights):
        return None
    n = math.prod(shape)
    return x.size // n, n, 1, 1


def _group(x, axes, *weights):
    """(rows, n, inner, groups) of (N, groups, channels, inner), normalized over the last two, weights (groups, channels, 1)."""
    if x.ndim != 4 or tuple(axes) != (2, 3) or any(w is None for w in weights):
        return None
    _, groups, channels, inner = x.shape
    if any(w.shape != (groups, channels, 1) for w in weights) or inner < 2:
        return None
    return x.size // (channels * inner), channels * inner, inner, groups


def _row_layout(x, axes, *weights):
    found = _layer(x, axes, *weights) or _group(x, axes, *weights)
    return found if found and found[1] < 2**31 else None


def _batch(x, axes, *weights):
    """(samples, channels, length) of (N, C, ...), normalized over all but C, long enough for a block a channel; else None."""
    if x.ndim < 3 or tuple(axes) != (0, *range(2, x.ndim)):
        return None
    length = math.prod(x.shape[2:])
    if length < 16 or any(w is not None and w.shape != (x.shape[1],) + (1,) * (x.ndim - 2) for w in weights):
        return None
    return x.shape[0], x.shape[1], length


def _guard(x, weight, bias, *, axes, eps):
    return plain(x, weight, bias) and bool(
        _row_layout(x, axes, weight, bias) or _batch(x, axes, weight, bias)
    )


def _kept(x, axes):
    return tuple(1 if axis in axes else length for axis, length in enumerate(x.shape))


def _standardize_reference(x, weight, bias, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, var


@kernel("norm", _standardize_reference, replaces="standardize", guard=_guard)
def standardize(launch, xp, x, weight, bias, *, axes, eps):
    """Any of the norms with a mean: y, and the mean and variance that `axes` keep with length 1."""
    wide, name = wide_of(x.dtype), name_of(x.dtype)
    y = xp.empty_like(x)
    mean, var = (xp.empty(_kept(x, axes), dtype=wide) for _ in range(2))
    rows = _row_layout(x, axes, weight, bias)
    if rows:
        grid, block = over_rows(*rows[:2])
        launch("norm", "norm_rows", name, grid, block, x, weight, bias, y, mean, var, *rows, float(eps), 1)
        return y, mean, var
    samples, channels, length = shape = _batch(x, axes, weight, bias)
    chunk, chunks = _chunks(samples, channels, length)
    found = xp.empty((chunks, channels, 3), dtype=wide)
    grid = (channels, chunks, 1)
    launch("batch_norm", "channel_moments", name, grid, (256, 1, 1), x, found, *shape, chunk)
    joined = (-(-channels // 4), 1, 1)
    launch("batch_norm", "join_moments", name, joined, (32, 4, 1), found, mean, var, channels, chunks)
    grid, block = over_rows(samples * channels, length)
    launch("batch_norm", "channel_norm", name, grid, block, x, weight, bias, mean, var, y, *shape, float(eps))
    return y, mean, var


def _chunks(samples, channels, length):
    """How many samples a block takes, and how many blocks a channel has: enough of them, none with too little to do."""
    wanted = max(1, min(-(-1024 // channels), samples * length // 4096))
    chunk = -(-samples // min(wanted, samples))
    return chunk, -(-samples // chunk)


def _gradient_guard(g, x, weight, mean, var, weight_shape, bias_shape, *, axes, eps):
    g, *others = g
    if g is None or any(one is not None for one in others):
        return False
    like = _Shape(weight_shape), _Shape(bias_shape)
    return plain(x, g, weight) and bool(_row_layout(x, axes, *like) or _batch(x, axes, *like))


class _Shape:
    """What stands for an array of which only the shape is known."""

    def __new__(cls, shape):
        return None if shape is None else super().__new__(cls)

    def __init__(self, shape):
        self.shape = tuple(shape)


def _standardize_gradient_reference(g, needs, x, weight, mean, var, weight_shape, bias_shape, axes, eps):
    g = g[0]
    rstd = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * rstd
    gw = g if weight is None else g * weight
    gx = rstd * (gw - gw.mean(axis=axes, keepdims=True) - xhat * (gw * xhat).mean(axis=axes, keepdims=True))
    return gx, _to_shape(g * xhat, weight_shape), _to_shape(g, bias_shape)


def _to_shape(a, shape):
    if shape is None:
        return None
    a = a.sum(axis=tuple(range(a.ndim - len(shape))))
    return a.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


@kernel("norm", _standardize_gradient_reference, replaces="standardize.gradient", guard=_gradient_guard)
def standardize_gradient(launch, xp, g, needs, x, weight, mean, var, weight_shape, bias_shape, *, axes, eps):
    """The gradients of x, weight and bias from that of y."""
    g, eps = g[0], float(eps)
    like = _Shape(weight_shape), _Shape(bias_shape)
    rows = _row_layout(x, axes, *like)
    if not rows:
        shape = _batch(x, axes, *like)
        gx, along, plain_sum = _batch_gradient(launch, xp, g, x, weight, mean, var, shape, eps, needs[0])
    else:
        gx = _row_gradient(launch, xp, g, x, weight, mean, var, rows, eps, True) if needs[0] else None
        along, plain_sum = (
            _row_weights(launch, xp, g, x, mean, var, rows, eps, True)
            if needs[1] or needs[2]
            else (None, None)
        )
    return (
        gx,
        along.reshape(weight_shape) if needs[1] else None,
        plain_sum.reshape(bias_shape) if needs[2] else None,
    )


def _row_gradient(launch, xp, g, x, weight, mean, var, rows, eps, centred):
    gx = xp.empty_like(x)
    grid, block = over_rows(*rows[:2])
    arrays = (g, x, weight, mean, var, gx)
    launch("norm", "norm_gradient", name_of(x.dtype), grid, block, *arrays, *rows, eps, int(centred))
    return gx


def _row_weights(launch, xp, g, x, mean, var, layout, eps, centred):
    """The sums of g xhat and of g over everything that shares a weight."""
    (rows, n, inner, groups), name, wide = layout, name_of(x.dtype), wide_of(x.dtype)
    if inner == 1:
        grid, block, chunk = over_columns(rows, n)
        along, total = (xp.empty((grid[1], n), dtype=wide) for _ in range(2))
        arrays = (g, x, mean, var, along, total)
        launch("norm", "norm_weight_columns", name, grid, block, *arrays, rows, n, chunk, eps, int(centred))
    else:
        stretches = rows * n // inner
        along, total = (xp.empty((rows // groups, groups * n // inner), dtype=wide) for _ in range(2))
        grid, block = over_rows(stretches, inner)
        arrays = (g, x, mean, var, along, total)
        launch("norm", "norm_weight_stretches", name, grid, block, *arrays, stretches, n, inner, eps)
    return _sums(launch, xp, along), _sums(launch, xp, total)


def _batch_gradient(launch, xp, g, x, weight, mean, var, shape, eps, needs_x):
    (samples, channels, length), name, wide = shape, name_of(x.dtype), wide_of(x.dtype)
    chunk, chunks = _chunks(*shape)
    along, total = (xp.empty((chunks, channels), dtype=wide) for _ in range(2))
    grid = (channels, chunks, 1)
    arrays = (g, x, mean, var, along, total)
    launch("batch_norm", "channel_sums", name, grid, (256, 1, 1), *arrays, *shape, chunk, eps)
    along, total = _sums(launch, xp, along), _sums(launch, xp, total)
    if not needs_x:
        return None, along, total
    gx = xp.empty_like(x)
    grid, block = over_rows(samples * channels, length)
    arrays = (g, x, weight, mean, var, along, total, gx)
    launch("batch_norm", "channel_norm_gradient", name, grid, block, *arrays, *shape, eps)
    return gx, along, total


def _sums(launch, xp, x):
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
    rows, n = x.shape
    grid, block, chunk = over_columns(rows, n)
    partial = xp.empty((grid[1], n), dtype=wide_of(x.dtype))
    launch("columns", "column_sums", name_of(x.dtype), grid, block, x, partial, rows, n, chunk)
    return _sums(launch, xp, partial)


# --- RMS norm ---


def _rms_guard(x, weight, *, axes, eps):
    return plain(x, weight) and _layer(x, axes, weight) is not None


def _rms_reference(x, weight, axes, eps):
    square = (x * x).mean(axis=axes, keepdims=True)
    y = x / np.sqrt(square + eps)
    return y if weight is None else y * weight, square


@kernel("norm", _rms_reference, replaces="rms_standardize", guard=_rms_guard)
def rms_standardize(launch, xp, x, weight, *, axes, eps):
    """y and the mean square, which `axes` keep with length 1."""
    y, square = xp.empty_like(x), xp.empty(_kept(x, axes), dtype=wide_of(x.dtype))
    rows = _layer(x, axes, weight)
    grid, block = over_rows(*rows[:2])
    arrays = (x, weight, None, y, None, square)
    launch("norm", "norm_rows", name_of(x.dtype), grid, block, *arrays, *rows, float(eps), 0)
    return y, square


def _rms_gradient_guard(g, x, weight, square, weight_shape, *, axes, eps):
    g, gsquare = g
    if g is None or gsquare is not None:
        return False
    return plain(x, g, weight) and _layer(x, axes, _Shape(weight_shape)) is not None


def _rms_gradient_reference(g, needs, x, weight, square, weight_shape, axes, eps):
    g = g[0]
    scale = 1 / np.sqrt(square + eps)
    xhat = x * scale
    gw = g if weight is None else g * weight
    return scale * (gw - xhat * (gw * xhat).mean(axis=axes, keepdims=True)), _to_shape(g * xhat, weight_shape)


@kernel("norm", _rms_gradient_reference, replaces="rms_standardize.gradient", guard=_rms_gradient_guard)
def rms_standardize_gradient(launch, xp, g, needs, x, weight, square, weight_shape, *, axes, eps):
    """The gradients of x and weight from that of y."""
    g, eps, rows = g[0], float(eps), _layer(x, axes)
    gx = _row_gradient(launch, xp, g, x, weight, None, square, rows, eps, False) if needs[0] else None
    if not needs[1]:
        return gx, None
    along, _ = _row_weights(launch, xp, g, x, None, square, rows, eps, False)
    return gx, along.reshape(weight_shape)
