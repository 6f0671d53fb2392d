"""A linear map with an activation after it, as one operation: a matrix product can apply both before it stores its result.

ReLU's slope is read off its output. That of GELU needs what went in, which is an output of its own (z) and kept.
"""

from chainrule.autograd.op import op

from .activation import gelu_tanh, gelu_tanh_rule
from .linear import bias_rule, input_rule, linear, weight_rule
from .selection import masked


def _through_linear(xp, g, needs, x, weight, x_shape, bias_shape):
    """The gradients of x, weight and bias from that of the linear map."""
    return (
        input_rule(xp, g, weight, x_shape) if needs[0] else None,
        weight_rule(xp, g, x) if needs[1] else None,
        bias_rule(xp, g, bias_shape) if needs[2] else None,
    )


def _relu_rule(xp, g, needs, x, weight, y, x_shape, bias_shape):
    return _through_linear(xp, masked(g, y > 0), needs, x, weight, x_shape, bias_shape)


@op(joint=_relu_rule, cast="same", cast_inputs=("x", "weight"))
def linear_relu(xp, x, weight, bias):
    """max(x weight^T + bias, 0). (..., in), (out, in), (out) or None -> (..., out)."""
    return xp.maximum(linear(x, weight, bias), 0)


def _gelu_rule(xp, g, needs, x, weight, z, x_shape, bias_shape):
    gy, gz = g
    if gy is not None:
        through = gelu_tanh_rule(xp, gy, z)
        gz = through if gz is None else gz + through
    return _through_linear(xp, gz, needs, x, weight, x_shape, bias_shape)


@op(joint=_gelu_rule, outputs=("y", "z"), cast="same", cast_inputs=("x", "weight"))
def linear_gelu_tanh(xp, x, weight, bias):
    """y = gelu_tanh(z) and z = x weight^T + bias. (..., in), (out, in), (out) or None -> (..., out) twice."""
    z = linear(x, weight, bias)
    return gelu_tanh(z), z
