"""Special functions under PyTorch's names, where the arguments need more than their operation does.

Those of one Tensor are operations themselves, in `ops/gamma.py`, `bessel.py`, `airy.py`, `normal.py`, `error_function.py` and
`entropy.py`. Integers are taken to the default float; 16-bit floats are computed in float32.
"""

import math
import operator

from chainrule.autograd import late, ops
from chainrule.autograd.ops import entropy
from chainrule.autograd.ops import gamma as _gamma
from chainrule.autograd.ops.orthogonal_polynomials import orthogonal_polynomial
from chainrule.autograd.ops.reduced_bessel import reduced_spherical_j
from chainrule.backends import dtypes

from .common import tensor_of


def _pair(input, other, name):
    """Two arguments of which one may be a number, as Tensors: a number takes the other's dtype."""
    if not isinstance(input, late.Tensor):
        return _like(input, tensor_of(other, name), name), other
    return input, other if isinstance(other, late.Tensor) else _like(other, input, name)


def _like(number, tensor, name):
    if not isinstance(number, (int, float)):
        raise TypeError(f"{name}: expected a Tensor or a number, got {type(number).__name__}")
    floating = tensor.dtype.is_floating_point
    return tensor.new_full((), number, dtype=tensor.dtype if floating else dtypes.get_default_dtype())


# Logarithms


def xlogy(input, other):
    """x log y, and 0 where x is 0, unless y is NaN; one of x = input and y = other may be a number. Broadcasts.

    Where x is 0, the derivative by y is 0, and so is that by x where y <= 0.
    """
    return entropy.xlogy(*_pair(input, other, "xlogy"))


def xlog1py(input, other):
    """x log(1 + y), exact for small y, and 0 where x is 0, unless y is NaN; otherwise as `xlogy`."""
    return entropy.xlog1py(*_pair(input, other, "xlog1py"))


def logit(input, eps=None):
    """log(p / (1 - p)) for p in [0, 1], NaN elsewhere. With `eps`, p is first kept within [eps, 1 - eps]. (*) -> (*).

    The derivative at 0 and 1 is infinite, and 0 where `eps` holds p at a bound.
    """
    if eps is not None:
        x = tensor_of(input, "logit")
        x = x if x.dtype.is_floating_point else x.to(dtypes.get_default_dtype())
        input = ops.clip(x, eps, 1 - eps)
    return entropy.logit(input)


# sin(x) / x


def sinc(input):
    """sin(pi x) / (pi x), 1 at 0; complex numbers too. (*) -> (*). Smooth, and so differentiated, at 0."""
    return reduced_spherical_j(tensor_of(input, "sinc"), scale=math.pi)


def spherical_bessel_j0(input):
    """sin(x) / x, 1 at 0 and 0 at infinity. (*) -> (*). Smooth, and so differentiated, at 0."""
    x = tensor_of(input, "spherical_bessel_j0")
    endless = ops.isinf(x)
    return ops.where(endless, 0.0, reduced_spherical_j(ops.where(endless, 1.0, x)))


# Gamma


def polygamma(n, input):
    """The n-th derivative of digamma, n >= 0 an int. (*) -> (*)."""
    try:
        n = operator.index(n)
    except TypeError:
        raise TypeError(
            f"polygamma: the order n comes first and must be an int, got {type(n).__name__}"
        ) from None
    if n < 0:
        raise RuntimeError(f"polygamma: the order n must be at least 0, got {n}")
    return _gamma.higher_polygamma(input, n=n) if n else _gamma.digamma(input)


def polygamma_of(input, n):
    """`polygamma` with the Tensor first, as the method has it."""
    return polygamma(n, input)


def mvlgamma(input, p):
    """The logarithm of the multivariate gamma function of dimension p >= 1, for x > (p - 1) / 2. (*) -> (*).

    p (p-1) / 4 log pi plus the sum of lgamma(x - j/2) over j = 0 ... p-1.
    """
    x = tensor_of(input, "mvlgamma")
    if not isinstance(p, int) or isinstance(p, bool):
        raise TypeError(f"mvlgamma: p must be an int, got {type(p).__name__}")
    if p < 1:
        raise RuntimeError(f"mvlgamma: p must be at least 1, got {p}")
    total = _gamma.lgamma(x)
    for j in range(1, p):
        total = total + _gamma.lgamma(x - j / 2)
    return total + p * (p - 1) / 4 * math.log(math.pi)


def _floats(input, other, name):
    """The two Tensors; RuntimeError where neither holds floats."""
    a, b = tensor_of(input, name), tensor_of(other, name)
    if not (a.dtype.is_floating_point or b.dtype.is_floating_point):
        raise RuntimeError(
            f"{name}: expected Tensors of floats, got {a.dtype} and {b.dtype}; convert one with .float()"
        )
    return a, b


def igamma(input, other):
    """The integral of t^(a-1) e^-t from 0 to x, divided by Gamma(a): a = input, x = other, both >= 0. Broadcasts.

    Differentiable by x only.
    """
    return _gamma.igamma(*_floats(input, other, "igamma"))


def igammac(input, other):
    """The integral of t^(a-1) e^-t from x to infinity, divided by Gamma(a): 1 - igamma(a, x) without cancellation."""
    return _gamma.igammac(*_floats(input, other, "igammac"))


def zeta(input, other):
    """Hurwitz' zeta function, the sum of (k + q)^-s over k = 0, 1, ...: s = input, q = other, one of them maybe a number.

    NaN for s < 1, infinite at s = 1. Broadcasts. Differentiable by q only.
    """
    return _gamma.zeta(*_pair(input, other, "zeta"))


# Polynomials


def _polynomial(name, family, title, shifted=False):
    """The function of the polynomials of a family."""

    def function(input, n):
        x, degree = (
            (input, n) if isinstance(input, late.Tensor) else (_like(input, tensor_of(n, name), name), n)
        )
        if not isinstance(degree, (late.Tensor, int, float)):
            raise TypeError(f"{name}: the degree n must be a Tensor or a number, got {type(n).__name__}")
        return orthogonal_polynomial(2 * x - 1 if shifted else x, degree, family=family)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (
        f"The {title} of degree n at input{', shifted to [0, 1]' if shifted else ''}; either may be a number, not both. Broadcasts."
        f"\n\n    0 for n < 0; of a fraction in n only the whole part counts. Differentiable by input only."
    )
    return function


def _chebyshev(kind, title):
    family = f"chebyshev_{kind}"
    title = f"Chebyshev polynomial of the {title} kind"
    return (
        _polynomial(f"chebyshev_polynomial_{kind}", family, title),
        _polynomial(f"shifted_chebyshev_polynomial_{kind}", family, title, shifted=True),
    )


chebyshev_polynomial_t, shifted_chebyshev_polynomial_t = _chebyshev("t", "first")
chebyshev_polynomial_u, shifted_chebyshev_polynomial_u = _chebyshev("u", "second")
chebyshev_polynomial_v, shifted_chebyshev_polynomial_v = _chebyshev("v", "third")
chebyshev_polynomial_w, shifted_chebyshev_polynomial_w = _chebyshev("w", "fourth")
hermite_polynomial_h = _polynomial("hermite_polynomial_h", "hermite_h", "physicists' Hermite polynomial")
hermite_polynomial_he = _polynomial("hermite_polynomial_he", "hermite_he", "probabilists' Hermite polynomial")
laguerre_polynomial_l = _polynomial("laguerre_polynomial_l", "laguerre_l", "Laguerre polynomial")
legendre_polynomial_p = _polynomial("legendre_polynomial_p", "legendre_p", "Legendre polynomial")
