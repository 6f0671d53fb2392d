"""The linear map of a layer, over any number of leading dimensions, as one matrix product."""

import math

from chainrule.autograd.op import op

from .blocks import in_float32
from .product import matmul
from .shape import sum_to


def _rows(xp, x):
    """x as a matrix: all but the last dimension in one."""
    return x if x.ndim == 2 else xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def input_rule(xp, g, weight, x_shape):
    """The gradient of x."""
    gx = matmul(_rows(xp, g), weight)
    return gx if len(x_shape) == 2 else xp.reshape(gx, tuple(x_shape))


def weight_rule(xp, g, x):
    """The gradient of the weight."""
    return matmul(xp.swapaxes(_rows(xp, g), axis1=0, axis2=1), _rows(xp, x))


def bias_rule(xp, g, bias_shape):
    """The gradient of the bias."""
    return sum_to(xp.sum(_rows(xp, g), axis=0), shape=tuple(bias_shape))


def _tangent(xp, t, x, weight):
    """Linear in x with the weight held and in the weight with x held; the bias is added."""
    tx, tw, tb = t
    parts = [tb] if tx is None and tw is None else []
    if tx is not None:
        parts.append(linear(tx, weight, tb))
    if tw is not None:
        parts.append(linear(x, tw, tb if tx is None else None))
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


@op(
    x=input_rule,
    weight=weight_rule,
    bias=bias_rule,
    cast="same",
    cast_inputs=("x", "weight"),
    tangent=_tangent,
)
@in_float32
def linear(xp, x, weight, bias):
    """x weight^T + bias. (..., in), (out, in), (out) or None -> (..., out)."""
    y = xp.matmul(_rows(xp, x), weight.T)
    if bias is not None:
        y += bias
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[0])
