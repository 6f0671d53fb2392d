"""Layer, RMS, instance, group and batch norm: `source/norm.cu`; batch norm is in `channels.py`.

The functions stand in for the operations `standardize` and `rms_standardize`, whose `axes` say which norm it is, and for
their gradients where only that of y has come.
"""

import functools
import math

import numpy as np

from chainrule.backends import layouts

from . import channels
from .columns import sums
from .registry import kernel, name_of, over_rows, over_strips, plain, wide_of


def _layer(shape, axes, weights):
    """(rows, n, 1, 1) if the axes are the last ones and the weights have one number for each place, else None."""
    ndim = len(shape)
    places = shape[ndim - len(axes) :]
    if not axes or axes != tuple(range(ndim - len(axes), ndim)):
        return None
    if any(w is not None and w != places for w in weights):
        return None
    n = math.prod(places)
    return math.prod(shape) // n, n, 1, 1


def _group(shape, axes, weights):
    """(rows, n, inner, groups) of (N, groups, channels, inner), normalized over the last two, weights (groups, channels, 1)."""
    if len(shape) != 4 or axes != (2, 3) or None in weights:
        return None
    samples, groups, channels, inner = shape
    if any(w != (groups, channels, 1) for w in weights):
        return None
    return samples * groups, channels * inner, inner, groups


def _instance(shape, axes, weights):
    """(rows, n, n, C) of (N, C, *places), normalized over the places, weights (C, 1...)."""
    ndim = len(shape)
    if ndim < 3 or axes != tuple(range(2, ndim)) or None in weights:
        return None
    if any(w != (shape[1],) + (1,) * (ndim - 2) for w in weights):
        return None
    n = math.prod(shape[2:])
    return (shape[0] * shape[1], n, n, shape[1]) if n > 1 else None


@functools.lru_cache(maxsize=4096)
def _row_layout(shape, axes, weights):
    """The layout of an array that is not empty, by its shape and those of the weights (None where there is none)."""
    found = _layer(shape, axes, weights) or _group(shape, axes, weights) or _instance(shape, axes, weights)
    return found if found and found[1] < 2**31 else None


def _shapes(weights):
    return tuple([None if w is None else w.shape for w in weights])


def _batch(x, axes, *weights):
    """`channels` where all but them is normalized over."""
    return channels.channels(x, *weights) if tuple(axes) == (0, *range(2, x.ndim)) else None


def _norm_layout(x, axes, *weights):
    """Which kernels: ("rows", ...) or ("batch", ...) with the layout; None if there are none for these."""
    if not channels.dense(x):
        return None
    rows = _row_layout(x.shape, tuple(axes), _shapes(weights)) if x.flags.c_contiguous else None
    if rows:
        return "rows", rows
    batch = _batch(x, axes, *weights)
    return batch and ("batch", batch)


def _guard(x, weight, bias, *, axes, eps):
    return channels.weights_fit(x, weight, bias) and bool(_norm_layout(x, axes, weight, bias))


@functools.lru_cache(maxsize=4096)
def _kept(shape, axes):
    return tuple(1 if axis in axes else length for axis, length in enumerate(shape))


def _standardize_reference(x, weight, bias, axes, eps):
    mean = x.mean(axis=axes, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    y = (x - mean) / np.sqrt(var + eps)
    y = y if weight is None else y * weight
    return y if bias is None else y + bias, mean, var


@kernel("norm", _standardize_reference, replaces="standardize", guard=_guard)
def standardize(launch, xp, x, weight, bias, *, axes, eps):
    """Any of the norms with a mean: y, and the mean and variance that `axes` keep with length 1."""
    kept, wide = _kept(x.shape, tuple(axes)), wide_of(x.dtype)
    mean, var = xp.empty(kept, dtype=wide), xp.empty(kept, dtype=wide)
    kind, layout = _norm_layout(x, axes, weight, bias)
    if kind == "batch":
        return channels.normalize(launch, xp, x, weight, bias, mean, var, layout, float(eps)), mean, var
    y = xp.empty_like(x)
    grid, block = over_rows(*layout[:2])
    arrays = (x, weight, bias, channels.in_wide(weight, bias), y, mean, var)
    launch("norm", "norm_rows", name_of(x.dtype), grid, block, *arrays, *layout, float(eps), 1)
    return y, mean, var


def _gradient_guard(g, x, weight, mean, var, weight_shape, bias_shape, *, axes, eps):
    g, g_mean, g_var = g
    if g is None or g_mean is not None or g_var is not None or not _same(g, x):
        return False
    like = _Shape(weight_shape), _Shape(bias_shape)
    return channels.weights_fit(x, weight) and bool(_norm_layout(x, axes, *like))


def _same(g, x):
    """Whether they could be added up: a gradient may lie in memory as it likes, and is laid out like x."""
    return g.__class__ is x.__class__ and g.dtype == x.dtype and g.shape == x.shape


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
    eps = float(eps)
    kind, layout = _norm_layout(x, axes, _Shape(weight_shape), _Shape(bias_shape))
    g = layouts.arranged(xp, g[0], not x.flags.c_contiguous)
    if kind == "batch":
        gx, along, plain_sum = channels.gradient(launch, xp, g, x, weight, mean, var, layout, eps, needs[0])
    else:
        gx = _row_gradient(launch, xp, g, x, weight, mean, var, layout, eps, True) if needs[0] else None
        along, plain_sum = (
            _row_weights(launch, xp, g, x, mean, var, layout, eps, True)
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
    arrays = (g, x, weight, channels.in_wide(weight), mean, var, gx)
    launch("norm", "norm_gradient", name_of(x.dtype), grid, block, *arrays, *rows, eps, int(centred))
    return gx


def _row_weights(launch, xp, g, x, mean, var, layout, eps, centred):
    """The sums of g xhat and of g over everything that shares a weight."""
    (rows, n, inner, groups), name, wide = layout, name_of(x.dtype), wide_of(x.dtype)
    if inner == 1:
        grid, block, strips = over_strips(rows // groups, groups * n, x.dtype.itemsize)
        along, total = (xp.empty((grid[1], groups * n), dtype=wide) for _ in range(2))
        arrays = (g, x, mean, var, along, total)
        launch("norm", "norm_weight_columns", name, grid, block, *arrays, *strips, n, eps, int(centred))
    else:
        stretches = rows * n // inner
        along, total = (xp.empty((rows // groups, groups * n // inner), dtype=wide) for _ in range(2))
        grid, block = over_rows(stretches, inner)
        arrays = (g, x, mean, var, along, total)
        launch("norm", "norm_weight_stretches", name, grid, block, *arrays, stretches, n, inner, eps)
    return sums(launch, xp, along), sums(launch, xp, total)


# --- RMS norm ---


def _layer_of(x, axes, *weights):
    return _layer(x.shape, tuple(axes), _shapes(weights))


def _rms_guard(x, weight, *, axes, eps):
    return plain(x) and channels.weights_fit(x, weight) and _layer_of(x, axes, weight) is not None


def _rms_reference(x, weight, axes, eps):
    square = (x * x).mean(axis=axes, keepdims=True)
    y = x / np.sqrt(square + eps)
    return y if weight is None else y * weight, square


@kernel("norm", _rms_reference, replaces="rms_standardize", guard=_rms_guard)
def rms_standardize(launch, xp, x, weight, *, axes, eps):
    """y and the mean square, which `axes` keep with length 1."""
    y, square = xp.empty_like(x), xp.empty(_kept(x.shape, tuple(axes)), dtype=wide_of(x.dtype))
    rows = _layer_of(x, axes, weight)
    grid, block = over_rows(*rows[:2])
    arrays = (x, weight, None, channels.in_wide(weight), y, None, square)
    launch("norm", "norm_rows", name_of(x.dtype), grid, block, *arrays, *rows, float(eps), 0)
    return y, square


def _rms_gradient_guard(g, x, weight, square, weight_shape, *, axes, eps):
    g, gsquare = g
    if g is None or gsquare is not None or not _same(g, x):
        return False
    fits = plain(x) and channels.weights_fit(x, weight)
    return fits and _layer_of(x, axes, _Shape(weight_shape)) is not None


def _rms_gradient_reference(g, needs, x, weight, square, weight_shape, axes, eps):
    g = g[0]
    scale = 1 / np.sqrt(square + eps)
    xhat = x * scale
    gw = g if weight is None else g * weight
    return scale * (gw - xhat * (gw * xhat).mean(axis=axes, keepdims=True)), _to_shape(g * xhat, weight_shape)


@kernel("norm", _rms_gradient_reference, replaces="rms_standardize.gradient", guard=_rms_gradient_guard)
def rms_standardize_gradient(launch, xp, g, needs, x, weight, square, weight_shape, *, axes, eps):
    """The gradients of x and weight from that of y."""
    g, eps, rows = xp.ascontiguousarray(g[0]), float(eps), _layer_of(x, axes)
    gx = _row_gradient(launch, xp, g, x, weight, None, square, rows, eps, False) if needs[0] else None
    if not needs[1]:
        return gx, None
    along, _ = _row_weights(launch, xp, g, x, None, square, rows, eps, False)
    return gx, along.reshape(weight_shape)
