"""A gamma-distributed number as a differentiable function of its shape: implicit reparametrisation.

M. Figurnov, S. Mohamed and A. Mnih, "Implicit reparameterization gradients" (NeurIPS 2018): if x is drawn from the distribution
function F(x; a), then moving `a` while F(x; a) is held moves x by dx/da = -(dF/da) / (dF/dx), however x was drawn.

For the gamma distribution, with t = x e^(±s) in the incomplete gamma integrals (DLMF 8.2.1, 8.2.2), below or above x,

    d log x / da = ±((log x - digamma(a)) J_0 + J_1),    J_k(a, x) = integral of (±s)^k exp(±a s - x (e^(±s) - 1)) over s > 0.

Both terms have one sign when the lower integral is taken for x < a and the upper one for x > a, so nothing cancels. The J_k are
closed under differentiation (by parts), so derivatives of every order follow.
"""

import math

from numpy.polynomial.legendre import leggauss

from chainrule.autograd.op import op

from .blocks import in_float32
from .elementwise import exp, log
from .gamma import digamma
from .shape import astype

# Gauss-Legendre nodes and weights on [-1, 1]. The exponent reaches -_DEPTH at the end of the interval.
_NODES = [(float(node), float(weight)) for node, weight in zip(*leggauss(48), strict=True)]
_DEPTH = 40.0
# Terms of the series for x <= 1: 1 / 20! is below float64's rounding.
_TERMS = 20


@op(
    concentration=lambda xp, g, concentration, y: g * log_gamma_slope(xp, concentration, y),
    cast="promote",
    tangent="elementwise",
)
def log_gamma_draw(xp, concentration, log_draw):
    """log_draw itself, known to be the logarithm of a number drawn from the gamma distribution of this shape and rate 1.

    Differentiable by the shape (`concentration`), as if the draw moved with it at a fixed quantile.
    """
    return xp.positive(log_draw)


def _sign(above):
    return astype(above, dtype="float64") * 2 - 1


def log_gamma_slope(xp, concentration, log_x):
    """d log x / da at a fixed quantile of the gamma distribution of shape a; in float64, for the difference of two logarithms."""
    a, y = astype(concentration, dtype="float64"), astype(log_x, dtype="float64")
    above = (y > 0) & (y > log(a))
    return _sign(above) * (
        (y - digamma(a)) * log_gamma_moment(a, y, above, k=0) + log_gamma_moment(a, y, above, k=1)
    )


def _by_log_x(xp, g, a, log_x, above, y, k):
    """x dJ_k/dx = (x - a) J_k - k J_(k-1), and -(±1) for k = 0, from integrating by parts."""
    rest = k * log_gamma_moment(a, log_x, above, k=k - 1) if k else _sign(above)
    return g * ((exp(log_x) - a) * y - rest)


@op(
    a=lambda xp, g, a, log_x, above, k: g * log_gamma_moment(a, log_x, above, k=k + 1),
    log_x=_by_log_x,
    cast="promote",
    cast_inputs=("a", "log_x"),
    tangent="elementwise",
)
@in_float32
def log_gamma_moment(xp, a, log_x, above, *, k):
    """J_k(a, x), upper where `above` and else lower; see the head of this module. (*), (*), (*) -> (*).

    For x <= 1, where `above` has to be False, by the series of DLMF 8.7.1; elsewhere by Gauss-Legendre quadrature.
    """
    small = log_x <= 0
    x = xp.exp(log_x)
    return xp.where(
        small, _series(xp, a, xp.minimum(x, 1.0), k), _quadrature(xp, a, xp.maximum(x, 1.0), above, k)
    )


def _series(xp, a, x, k):
    """e^x (-1)^k k! times the sum of (-x)^m / (m! (a + m)^(k+1))."""
    power, total = xp.exp(x) * ((-1) ** k * math.factorial(k)), 0
    for m in range(_TERMS):
        total = total + power / (a + m) ** (k + 1)
        power = power * (-x / (m + 1))
    return total


def _quadrature(xp, a, x, above, k):
    """The integral over [0, end], where `end` makes the exponent -_DEPTH or less.

    The exponent is -(|x - a| s + x h) with h = e^s - 1 - s > s^2 / 2 above and h = e^-s - 1 + s > s^2 / (2 + s) below. With these
    in place of h, the end is the root of a quadratic equation.
    """
    sign = above.astype(x.dtype) * 2 - 1
    away = xp.maximum(sign * (x - a), 0)
    b = xp.where(above, away, away - _DEPTH / 2)
    c = xp.where(above, x, away + x)
    end = 2 * _DEPTH / (b + xp.sqrt(b * b + 2 * _DEPTH * c))
    total = 0
    for node, weight in _NODES:
        s = sign * end * ((1 + node) / 2)
        total = total + (weight / 2) * s**k * xp.exp(a * s - x * xp.expm1(s))
    return total * end
