"""The Airy function Ai and its derivative, in array code: CuPy has none.

For large |x|, Ai(x) is a Bessel function K_{1/3} of zeta = 2/3 x^(3/2), and Ai'(x) a K_{2/3} (DLMF 9.6.2, 9.6.3), whose integral
(DLMF 10.32.8)

    K_v(z) ~ integral of t^(v-1/2) e^-t (1 + t / 2z)^(v-1/2) from 0 to infinity

is a Gauss-Laguerre sum of few terms; for negative x, z is imaginary and Ai the sum of two conjugate terms (DLMF 9.2.10). Gil,
Segura and Temme 2002, "Computing complex Airy functions by numerical quadrature". Near 0 the power series is summed. Computed in
float64 for every dtype, as the phase of the oscillation, 2/3 |x|^(3/2), needs digits.
"""

import functools
import math

import numpy

from chainrule.autograd.op import op

from .blocks import elementwise
from .reduced_bessel import power_series

# Ai(0) and Ai'(0).
_VALUE = 3 ** (-2 / 3) / math.gamma(2 / 3)
_SLOPE = -(3 ** (-1 / 3)) / math.gamma(1 / 3)


@functools.cache
def _laguerre(exponent, count=32):
    """Nodes and weights of the mean by the density t^a e^-t / Gamma(a + 1): Golub and Welsch 1969."""
    k = numpy.arange(count)
    off = numpy.sqrt(k[1:] * (k[1:] + exponent))
    nodes, vectors = numpy.linalg.eigh(
        numpy.diag(2 * k + 1 + exponent) + numpy.diag(off, 1) + numpy.diag(off, -1)
    )
    weights = vectors[0] ** 2
    return [(float(t), float(w)) for t, w in zip(nodes, weights, strict=True) if w > 1e-18]


def _far(xp, x, exponent):
    """Re[c e^-zeta mean], which times |x|^(-1/4) is Ai(x), and times -|x|^(1/4) is Ai'(x)."""
    a = xp.absolute(x)
    zeta = a * xp.sqrt(a) * (2 / 3)
    step = 0.5 / zeta
    step = xp.where(x > 0, step, -1j * step)
    total = 0
    for node, weight in _laguerre(exponent):
        total = total + weight * (1 + node * step) ** exponent
    turned = xp.exp(-1j * (zeta + 1.5 * math.pi * exponent))
    return (xp.where(x > 0, 0.5 * xp.exp(-zeta), turned) * total).real / math.sqrt(math.pi)


@op(input=lambda xp, g, input: g * airy_ai_slope(input), cast="float", tangent="elementwise")
@elementwise
def airy_ai(xp, input):
    """Ai(x), the solution of y'' = x y that vanishes at infinity. (*) -> (*)."""
    x = input.astype("float64")
    z = x * x * x / 9
    near = _VALUE * power_series(z, 2 / 3, 18) + _SLOPE * x * power_series(z, 4 / 3, 18)
    far = _far(xp, x, -1 / 6) / xp.sqrt(xp.sqrt(xp.absolute(x)))
    return xp.where(xp.logical_and(x > -3, x < 1.5), near, far).astype(input.dtype)


@op(input=lambda xp, g, input: g * (input * airy_ai(input)), cast="float", tangent="elementwise")
@elementwise
def airy_ai_slope(xp, input):
    """Ai'(x). (*) -> (*)."""
    x = input.astype("float64")
    z = x * x * x / 9
    near = _VALUE / 2 * x * x * power_series(z, 5 / 3, 18) + _SLOPE * power_series(z, 1 / 3, 18)
    far = -_far(xp, x, 1 / 6) * xp.sqrt(xp.sqrt(xp.absolute(x)))
    return xp.where(xp.logical_and(x > -3, x < 1.5), near, far).astype(input.dtype)
