"""Activation functions: fused forwards, stable at any argument, and their derivatives. (*) -> (*) unless said otherwise.

Every formula is arranged so that no large number meets its inverse: results and gradients are right from -inf to inf.
Where a slope is 0 or 1 to the last digit long before the argument is large, the argument is clipped for the slope's sake
only, lest 0 * inf appear.
"""

import math

from chainrule.autograd.op import op

from .blocks import elementwise, in_float32, wide
from .elementwise import clip
from .error_function import ndtr, normal
from .selection import masked, select

# Beyond this, a sigmoid and a hyperbolic tangent are 0, 1 or -1 in every floating point type.
_FAR = 1e3


@op(x=lambda xp, g, y: masked(g, y > 0), tangent="elementwise")
def relu(xp, x):
    """max(x, 0); the derivative at 0 is 0."""
    return xp.maximum(x, 0)


@op(x=lambda xp, g, x, slope: select(x > 0, g, g * slope), cast="float", tangent="elementwise")
@in_float32
def leaky_relu(xp, x, *, slope=0.01):
    """x where positive, else slope * x; the derivative at 0 is `slope`."""
    y = xp.minimum(x, 0) * slope
    y += xp.maximum(x, 0)
    return y


@op(
    x=lambda xp, g, x, weight: select(x > 0, g, g * weight),
    weight=lambda xp, g, x: masked(g * x, x <= 0),
    cast="float",
    tangent="elementwise",
)
@in_float32
def prelu(xp, x, weight):
    """x where positive, else weight * x; the weight broadcasts to x. He et al. 2015, "Delving deep into rectifiers"."""
    y = xp.minimum(x, 0) * weight
    y += xp.maximum(x, 0)
    return y


def _elu_rule(xp, g, x, alpha, scale, input_scale):
    slope = xp.exp(clip(x, high=0) * input_scale) * (alpha * scale * input_scale)
    return select(x > 0, g * scale, g * slope)


@op(x=_elu_rule, cast="float", tangent="elementwise")
@elementwise
def elu(xp, x, *, alpha=1.0, scale=1.0, input_scale=1.0):
    """scale * x where positive, else scale * alpha * (exp(input_scale * x) - 1): ELU, CELU and SELU in one.

    Clevert et al. 2015; Barron 2017 (CELU: input_scale = 1 / alpha); Klambauer et al. 2017 (SELU).
    """
    y = xp.expm1(xp.minimum(x, 0) * input_scale)
    y *= alpha * scale
    y += xp.maximum(x, 0) * scale
    return y


@op(x=lambda xp, g, y: g * (y * (1 - y)), cast="float", tangent="elementwise")
@elementwise
def sigmoid(xp, x):
    """1 / (1 + exp(-x))."""
    # exp may overflow: 1 / inf is the right 0.
    y = xp.exp(-x)
    y += 1
    return 1 / y


@op(x=lambda xp, g, x: g * sigmoid(-x), cast="float", tangent="elementwise")
@elementwise
def logsigmoid(xp, x):
    """log(sigmoid(x)), without cancellation or overflow."""
    return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.absolute(x)))


def _softplus_rule(xp, g, x, beta, threshold):
    z = x * beta
    return select(z > threshold, g, g * sigmoid(z))


@op(x=_softplus_rule, cast="float", tangent="elementwise")
@elementwise
def softplus(xp, x, *, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""
    z = x * beta
    y = masked(xp.log1p(xp.exp(-xp.absolute(z))), z <= threshold)
    y += xp.maximum(z, 0) if threshold >= 0 else xp.where(z > threshold, z, 0)
    y /= beta
    return y


def _silu_rule(xp, g, x):
    s = sigmoid(x)
    return g * (s * (1 + clip(x, low=-_FAR, high=_FAR) * (1 - s)))


@op(x=_silu_rule, cast="float", tangent="elementwise")
@elementwise
def silu(xp, x):
    """x * sigmoid(x). Hendrycks and Gimpel 2016; Ramachandran et al. 2017 (swish)."""
    y = sigmoid(x)
    y *= xp.maximum(x, -_FAR)
    return y


def _mish_rule(xp, g, x):
    c = clip(x, low=-_FAR, high=20)
    e = xp.exp(c)
    n = e * (e + 2)
    return g * (n + c * 4 * e * (1 + e) / (n + 2)) / (n + 2)


@op(x=_mish_rule, cast="float", tangent="elementwise")
@elementwise
def mish(xp, x):
    """x * tanh(softplus(x)). Misra 2019."""
    # tanh(log(1 + e)) = n / (n + 2) with n = e (e + 2): one exponential, and 1 to the last digit from x = 20 on.
    e = xp.exp(xp.minimum(x, 20))
    y = e * (e + 2)
    y /= y + 2
    y *= xp.maximum(x, -_FAR)
    return y


def _gelu_bend(xp, g, x):
    c = clip(x, low=-40, high=40)
    return g * (xp.exp(-0.5 * (c * c)) * (2 - c * c) * (1 / math.sqrt(2 * math.pi)))


@op(x=_gelu_bend, cast="float", tangent="elementwise")
@elementwise
def gelu_slope(xp, x):
    """The derivative of `gelu`, P(Z <= x) + x exp(-x^2 / 2) / sqrt(2 pi)."""
    y, bell = normal(xp, x)
    bell *= 1 / math.sqrt(2 * math.pi)
    bell *= xp.clip(x, -40, 40)
    y += bell
    return y


@op(x=lambda xp, g, x: g * gelu_slope(x), cast="float", tangent="elementwise")
@elementwise
def gelu(xp, x):
    """x * P(Z <= x) for a standard normal Z. Hendrycks and Gimpel 2016."""
    y = ndtr(x)
    y *= xp.maximum(x, -40)  # from there on P is 0
    return y


_GELU_TANH = 2 * math.sqrt(2 / math.pi)
_GELU_CUBE = 0.044715


def gelu_tanh_rule(xp, g, x):
    """g times the slope of `gelu_tanh`."""
    c = clip(x, low=-_FAR, high=_FAR)
    square = c * c
    s = sigmoid(_GELU_TANH * c * (1 + _GELU_CUBE * square))
    return g * (s + s * (1 - s) * c * _GELU_TANH * (1 + 3 * _GELU_CUBE * square))


@op(x=gelu_tanh_rule, cast="float", tangent="elementwise")
@elementwise
def gelu_tanh(xp, x):
    """GELU's approximation x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    # (1 + tanh(u)) / 2 is sigmoid(2 u), which keeps its digits where it is small.
    c = xp.clip(x, -_FAR, _FAR)
    y = c * c
    y *= _GELU_TANH * _GELU_CUBE
    y += _GELU_TANH
    y *= c
    y = sigmoid(y)
    y *= xp.maximum(x, -_FAR)
    return y


@op(
    x=lambda xp, g, x, low, high: masked(g, xp.logical_and(x > low, x < high)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def hardtanh(xp, x, *, low=-1.0, high=1.0):
    """x kept within [low, high]; the derivative at both bounds is 0."""
    return xp.clip(x, low, high)


@op(x=lambda xp, g, x: masked(g / 6, xp.logical_and(x > -3, x < 3)), cast="float", tangent="elementwise")
@in_float32
def hardsigmoid(xp, x):
    """x / 6 + 1 / 2 kept within [0, 1]; the derivative at both bounds is 0."""
    y = xp.clip(x, -3, 3)
    y += 3
    y /= 6
    return y


def _hardswish_rule(xp, g, x):
    slope = clip(x, low=-3, high=3) / 3 + 0.5
    return select(x >= 3, g, masked(g * slope, x > -3))


@op(x=_hardswish_rule, cast="float", tangent="elementwise")
@in_float32
def hardswish(xp, x):
    """x * hardsigmoid(x); the derivative is 0 at -3 and 1 at 3. Howard et al. 2019, "Searching for MobileNetV3"."""
    y = xp.clip(x, -3, 3)
    y += 3
    y /= 6
    y *= xp.maximum(x, -3)
    return y


@op(x=lambda xp, g, x: g / xp.square(1 + xp.absolute(x)), cast="float", tangent="elementwise")
@in_float32
def softsign(xp, x):
    """x / (1 + |x|)."""
    c = xp.clip(x, -1e30, 1e30)  # whose quotient is 1 already
    y = xp.absolute(c)
    y += 1
    return c / y


@op(x=lambda xp, g, x: g * xp.square(xp.tanh(x)), cast="float", tangent="elementwise")
@in_float32
def tanhshrink(xp, x):
    """x - tanh(x)."""
    return x - xp.tanh(x)


@op(x=lambda xp, g, y: masked(g, y != 0), cast="float", tangent="elementwise")
@in_float32
def softshrink(xp, x, *, lambd=0.5):
    """x moved towards 0 by `lambd`, and 0 within [-lambd, lambd]."""
    return x - xp.clip(x, -lambd, lambd)


@op(x=lambda xp, g, x, lambd: masked(g, xp.absolute(x) > lambd), cast="float", tangent="elementwise")
def hardshrink(xp, x, *, lambd=0.5):
    """x, and 0 within [-lambd, lambd]."""
    return masked(x, xp.logical_not(xp.absolute(x) <= lambd))


@op(x=lambda xp, g, x, threshold: masked(g, x > threshold), tangent="elementwise")
def threshold(xp, x, *, threshold, value):
    """x where it exceeds `threshold`, else `value`."""
    return xp.where(x <= threshold, xp.full((), value, dtype=x.dtype), x)


def _glu_rule(xp, g, x, axis):
    a, b = _halves(x, axis)
    s = sigmoid(b)
    return xp.concatenate([g * s, g * a * (s * (1 - s))], axis=axis)


@op(x=_glu_rule, cast="float")
def glu(xp, x, *, axis=-1):
    """First half times the sigmoid of the second half. (..., 2 n, ...) -> (..., n, ...). Dauphin et al. 2017."""
    a, b = _halves(wide(x), axis)
    y = sigmoid(b)
    y *= a
    return y.astype(x.dtype) if y.dtype != x.dtype else y


def _halves(x, axis):
    lead, half = (slice(None),) * (axis % x.ndim), x.shape[axis] // 2
    return x[(*lead, slice(0, half))], x[(*lead, slice(half, None))]
