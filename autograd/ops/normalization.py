"""Normalization to mean 0 and variance 1 over any axes: the core of batch, layer, instance and group norm, and RMS norm.

The statistics are outputs. Derivative rules are written in terms of them and nothing else but the input, so that a
derivative of the rules, and thereby every order, comes out right.
"""

import functools
import operator

from chainrule.autograd.op import op

from .blocks import in_float32, wide
from .shape import sum_to


def _count(shape, axes):
    count = 1
    for axis in axes:
        count *= shape[axis]
    return count


@op(a=lambda xp, g, b: g * b, b=lambda xp, g, a: g * a, tangent="linear")
@in_float32
def inner(xp, a, b, *, axes):
    """Sum of a * b over `axes`, which stay with length 1; a and b of one shape. The product is never written down."""
    letters = "abcdefghijklmnopqrstuvwxyz"[: a.ndim]
    kept = "".join(letter for axis, letter in enumerate(letters) if axis not in axes)
    return xp.einsum(f"{letters},{letters}->{kept}", a, b).reshape(_kept(a.shape, axes))


def _kept(shape, axes):
    return tuple(1 if axis in axes else length for axis, length in enumerate(shape))


@op(
    x=lambda xp, g, scale: g * scale,
    shift=lambda xp, g, scale: -g * scale,
    scale=lambda xp, g, x, shift: g * (x - shift),
    tangent="elementwise",
)
def shift_and_scale(xp, x, shift, scale):
    """(x - shift) * scale, all of one dtype; shift and scale broadcast to x."""
    y = x - shift
    y *= scale
    return y


@op(
    x=lambda xp, g, weight: g * weight,
    weight=lambda xp, g, x: g * x,
    bias=lambda xp, g: g,
    tangent="elementwise",
)
@in_float32
def scale_and_shift(xp, x, weight, bias):
    """x * weight + bias, of one dtype (to 16-bit x weight and bias may be float32); weight and bias broadcast to x."""
    y = x * weight
    y += bias
    return y


def _broadcast_axes(weight_shape, ndim):
    """The axes along which a weight of this shape is one number, in an array of ndim dimensions."""
    missing = ndim - len(weight_shape)
    return tuple(axis for axis in range(ndim) if axis < missing or weight_shape[axis - missing] == 1)


def _scaled_gradients(xp, needs, g, xhat, weight, weight_shape, bias_shape, axes):
    """What is common to all norms y = xhat * weight + bias.

    Returns the gradient of xhat up to a factor, that factor, its inner product with xhat over `axes`, and the gradients of
    weight and bias. The factor is the weight, where it is one number for all that is summed over: then the gradient need
    not be multiplied by it, and the inner product is the weight's gradient too.
    """
    gw = gb = None
    if weight is None or set(axes) <= set(_broadcast_axes(weight_shape, g.ndim)):
        gxhat, factor = g, weight
    else:
        gxhat, factor = g * weight, None
    product = inner(gxhat, xhat, axes=axes)
    if needs[1]:
        gw = product if gxhat is g else inner(g, xhat, axes=_broadcast_axes(weight_shape, g.ndim))
        gw = sum_to(gw, shape=weight_shape)
    if needs[2]:
        gb = sum_to(xp.sum(g, axis=_broadcast_axes(bias_shape, g.ndim), keepdims=True), shape=bias_shape)
    return gxhat, factor, product, gw, gb


def _standardize_rule(xp, g, needs, x, weight, mean, var, weight_shape, bias_shape, axes, eps):
    g, gmean, gvar = g
    gx = gw = gb = None
    count = _count(x.shape, axes)
    rstd = 1 / xp.sqrt(var + eps)
    if g is not None:
        xhat = shift_and_scale(x, mean, rstd)
        gxhat, factor, product, gw, gb = _scaled_gradients(
            xp, needs, g, xhat, weight, weight_shape, bias_shape, axes
        )
        if needs[0]:
            scale = rstd if factor is None else rstd * factor
            centre = xp.sum(gxhat, axis=axes, keepdims=True) * (scale / -count)
            gx = scale_and_shift(xhat, product * (scale / -count), centre) + gxhat * scale
    if needs[0] and gmean is not None:
        part = xp.broadcast_to(gmean / count, shape=tuple(x.shape))
        gx = part if gx is None else gx + part
    if needs[0] and gvar is not None:
        part = (x - mean) * (gvar * (2 / count))
        gx = part if gx is None else gx + part
    return gx, gw, gb


def _standardize_tangent(xp, t, x, weight, mean, var, axes, eps):
    tx, tweight, tbias = t
    tmean = tvar = None
    rstd = 1 / xp.sqrt(var + eps)
    xhat = shift_and_scale(x, mean, rstd)
    parts = [] if tweight is None else [xhat * tweight]
    if tx is not None:
        count = _count(x.shape, axes)
        tmean = xp.mean(tx, axis=axes, keepdims=True)
        moved = tx - tmean
        share = inner(xhat, moved, axes=axes) / count
        tvar = share * 2 / rstd
        moved = (moved - xhat * share) * (rstd if weight is None else rstd * weight)
        parts.append(moved)
    if tbias is not None:
        parts.append(tbias)
    return functools.reduce(operator.add, parts), tmean, tvar


@op(
    joint=_standardize_rule,
    outputs=("y", "mean", "var"),
    cast="float",
    cast_inputs=("x",),
    tangent=_standardize_tangent,
)
def standardize(xp, x, weight, bias, *, axes, eps):
    """(x - mean) / sqrt(var + eps) * weight + bias, and mean and variance over `axes`, which they keep with length 1.

    weight and bias broadcast to x, or are None. var is the average of the squared deviations (Ioffe and Szegedy 2015;
    Ba et al. 2016). The statistics of 16-bit floats are float32.
    """
    dtype, x = x.dtype, wide(x)
    mean = xp.mean(x, axis=axes, keepdims=True) if x.size else xp.zeros(_kept(x.shape, axes), dtype=x.dtype)
    y = x - mean
    var = inner(y, y, axes=axes) / max(_count(x.shape, axes), 1)
    rstd = 1 / xp.sqrt(var + eps)
    if weight is None:
        y *= rstd
    elif weight.size == rstd.size:
        y *= rstd * weight
    else:
        y *= rstd
        y *= weight
    if bias is not None:
        y += bias
    return y.astype(dtype, copy=False), mean, var


def _rms_rule(xp, g, needs, x, weight, square, weight_shape, axes, eps):
    g, gsquare = g
    gx = gw = None
    count = _count(x.shape, axes)
    if g is not None:
        scale = 1 / xp.sqrt(square + eps)
        xhat = x * scale
        gxhat, factor, product, gw, _ = _scaled_gradients(
            xp, (*needs, False), g, xhat, weight, weight_shape, None, axes
        )
        if needs[0]:
            scale = scale if factor is None else scale * factor
            gx = xhat * (product * (scale / -count)) + gxhat * scale
    if needs[0] and gsquare is not None:
        part = x * (gsquare * (2 / count))
        gx = part if gx is None else gx + part
    return gx, gw


@op(joint=_rms_rule, outputs=("y", "square"), cast="float", cast_inputs=("x",))
def rms_standardize(xp, x, weight, *, axes, eps):
    """x / sqrt(square + eps) * weight with `square` the mean square over `axes`, which it keeps with length 1; and that.

    Zhang and Sennrich 2019, "Root mean square layer normalization". weight broadcasts to x, or is None.
    """
    dtype, x = x.dtype, wide(x)
    square = inner(x, x, axes=axes) / max(_count(x.shape, axes), 1)
    y = x * (1 / xp.sqrt(square + eps))
    if weight is not None:
        y *= weight
    return y.astype(dtype, copy=False), square
