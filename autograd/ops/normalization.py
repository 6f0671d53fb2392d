"""Normalization to mean 0 and variance 1 over any axes: the core of batch, layer, instance and group norm, and RMS norm.

The statistics are outputs. Derivative rules are written in terms of them and nothing else but the input, so that a
derivative of the rules, and thereby every order, comes out right.
"""

from chainrule.autograd.op import op

from .blocks import wide
from .shape import sum_to


def _count(shape, axes):
    count = 1
    for axis in axes:
        count *= shape[axis]
    return count


def _mean(xp, x, axes):
    return xp.mean(x, axis=axes, keepdims=True)


def _affine_gradients(xp, needs, g, xhat, weight_shape, bias_shape):
    """Gradients of a scale and a shift, in their own shapes: the incoming one itself may be in other hands."""
    return (
        sum_to(g * xhat, shape=weight_shape) if needs[1] else None,
        sum_to(g, shape=bias_shape) if needs[2] else None,
    )


def _standardize_rule(xp, g, needs, x, weight, mean, var, weight_shape, bias_shape, axes, eps):
    g, gmean, gvar = g
    gx = gw = gb = None
    centred = x - mean
    if g is not None:
        rstd = 1 / xp.sqrt(var + eps)
        xhat = centred * rstd
        gw, gb = _affine_gradients(xp, needs, g, xhat, weight_shape, bias_shape)
        if needs[0]:
            gxhat = g if weight is None else g * weight
            gx = (gxhat - _mean(xp, gxhat, axes) - xhat * _mean(xp, gxhat * xhat, axes)) * rstd
    if needs[0]:
        count = _count(x.shape, axes)
        if gmean is not None:
            part = xp.broadcast_to(gmean / count, shape=tuple(x.shape))
            gx = part if gx is None else gx + part
        if gvar is not None:
            part = gvar * (2 / count) * centred
            gx = part if gx is None else gx + part
    return gx, gw, gb


@op(joint=_standardize_rule, outputs=("y", "mean", "var"), cast="float", cast_inputs=("x",))
def standardize(xp, x, weight, bias, *, axes, eps):
    """(x - mean) / sqrt(var + eps) * weight + bias, and mean and variance over `axes`, which they keep with length 1.

    weight and bias broadcast to x, or are None. var is the average of the squared deviations (Ioffe and Szegedy 2015;
    Ba et al. 2016). The statistics of 16-bit floats are float32.
    """
    dtype, x = x.dtype, wide(x)
    mean = xp.mean(x, axis=axes, keepdims=True) if x.size else xp.zeros(_kept(x.shape, axes), dtype=x.dtype)
    y = x - mean
    var = xp.mean(xp.square(y), axis=axes, keepdims=True) if x.size else xp.zeros_like(mean)
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


def _kept(shape, axes):
    return tuple(1 if axis in axes else length for axis, length in enumerate(shape))


def _rms_rule(xp, g, needs, x, weight, square, weight_shape, axes, eps):
    g, gsquare = g
    gx = gw = None
    if g is not None:
        scale = 1 / xp.sqrt(square + eps)
        xhat = x * scale
        gw = sum_to(g * xhat, shape=weight_shape) if needs[1] else None
        if needs[0]:
            gxhat = g if weight is None else g * weight
            gx = (gxhat - xhat * _mean(xp, gxhat * xhat, axes)) * scale
    if needs[0] and gsquare is not None:
        part = gsquare * (2 / _count(x.shape, axes)) * x
        gx = part if gx is None else gx + part
    return gx, gw


@op(joint=_rms_rule, outputs=("y", "square"), cast="float", cast_inputs=("x",))
def rms_standardize(xp, x, weight, *, axes, eps):
    """x / sqrt(square + eps) * weight with `square` the mean square over `axes`, which it keeps with length 1; and that.

    Zhang and Sennrich 2019, "Root mean square layer normalization". weight broadcasts to x, or is None.
    """
    dtype, x = x.dtype, wide(x)
    square = xp.mean(xp.square(x), axis=axes, keepdims=True) if x.size else xp.zeros(_kept(x.shape, axes), dtype=x.dtype)
    y = x * (1 / xp.sqrt(square + eps))
    if weight is not None:
        y *= weight
    return y.astype(dtype, copy=False), square


@op(
    x=lambda xp, g, weight: g * weight,
    weight=lambda xp, g, x: g * x,
    bias=lambda xp, g: g,
    cast="promote",
)
def scale_and_shift(xp, x, weight, bias):
    """x * weight + bias; weight and bias broadcast to x."""
    y = x * weight
    y += bias
    return y
