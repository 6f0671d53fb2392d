"""log(e^a + e^b), and the shares of a and b in it, which are its derivatives. (*), (*) -> (*)."""

import math

from chainrule.autograd.op import op

from .blocks import in_float32
from .elementwise import LN2, is_complex


@op(
    a=lambda xp, g, y, scale: g * (scale * (y * (1 - y))),
    b=lambda xp, g, y, scale: -g * (scale * (y * (1 - y))),
    cast="promote",
    tangent="elementwise",
)
@in_float32
def share(xp, a, b, *, scale=1):
    """e^(scale a) / (e^(scale a) + e^(scale b)), without overflow; half where both are the same infinity."""
    gap = scale * xp.where((a == b) & (abs(a) == math.inf), 0, b - a)
    behind = gap.real > 0
    ratio = xp.exp(xp.where(behind, -gap, gap))
    return xp.where(behind, ratio, 1) / (1 + ratio)


@op(
    a=lambda xp, g, a, b: g * share(a, b),
    b=lambda xp, g, a, b: g * share(b, a),
    cast="float",
    tangent="elementwise",
)
def logaddexp(xp, a, b):
    """log(e^a + e^b) without overflow."""
    if not is_complex(a if hasattr(a, "dtype") else b):
        return xp.logaddexp(a, b)
    larger = a.real >= b.real
    return xp.where(larger, a, b) + xp.log1p(xp.exp(xp.where(larger, b - a, a - b)))


@op(
    a=lambda xp, g, a, b: g * share(a, b, scale=LN2),
    b=lambda xp, g, a, b: g * share(b, a, scale=LN2),
    cast="float",
    tangent="elementwise",
)
def logaddexp2(xp, a, b):
    """log2(2^a + 2^b) without overflow."""
    return xp.logaddexp2(a, b)
