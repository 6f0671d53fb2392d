"""The normal distribution: the logarithm of its distribution function, and the inverses. (*) -> (*).

The inverses are SciPy's (CuPy's own on a GPU).
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import backend_of

from .blocks import elementwise, in_float32
from .elementwise import clip
from .error_function import erfc, erfcx, ndtr


@op(input=lambda xp, g, y: g * (math.sqrt(math.pi) / 2 * xp.exp(y * y)), cast="float", tangent="elementwise")
@in_float32
def erfinv(xp, input):
    """The inverse of the error function on [-1, 1], NaN elsewhere; the derivatives at -1 and 1 are infinite."""
    return backend_of(input).special("erfinv")(input)


@op(
    input=lambda xp, g, y: g * (math.sqrt(2 * math.pi) * xp.exp(0.5 * (y * y))),
    cast="float",
    tangent="elementwise",
)
@in_float32
def ndtri(xp, input):
    """The inverse of `ndtr` on [0, 1], NaN elsewhere; the derivatives at 0 and 1 are infinite."""
    return backend_of(input).special("ndtri")(input)


def _hazard(xp, x):
    """The normal density divided by ndtr(x), each side of 0 by a formula that is finite there."""
    low, high = clip(x, high=0), clip(x, low=0)
    left = 2 / erfcx(low * -math.sqrt(0.5))
    right = xp.exp(-0.5 * (high * high)) / ndtr(high)
    return xp.where(x < 0, left, right) / math.sqrt(2 * math.pi)


@op(input=lambda xp, g, input: g * _hazard(xp, input), cast="float", tangent="elementwise")
@elementwise
def log_ndtr(xp, input):
    """log(ndtr(x)), exact also where ndtr(x) is 0 or 1 to the last digit."""
    z = input * math.sqrt(0.5)
    left = xp.log(0.5 * erfcx(-xp.minimum(z, 0))) - z * z
    return xp.where(input < -1, left, xp.log1p(-0.5 * erfc(z)))
