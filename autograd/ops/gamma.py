"""The gamma function's family: its logarithm, the derivatives of that, its incomplete integrals, and Hurwitz' zeta function.

The values are SciPy's (CuPy's own on a GPU). The derivatives close among themselves: log Gamma leads to digamma, that to
polygamma, and each polygamma to the next. DLMF chapters 5, 8 and 25.
"""

from chainrule.autograd.op import op
from chainrule.backends import backend_of

from .blocks import in_float32
from .entropy import xlogy


def not_differentiable(name, argument):
    """The rule of an argument by which neither PyTorch nor this package differentiates."""

    def rule(xp, g):
        raise NotImplementedError(
            f"{name}: the derivative by {argument!r} is not implemented; detach it, .detach(), if it is a constant"
        )

    return rule


@op(input=lambda xp, g, input: g * digamma(input), cast="float", tangent="elementwise")
@in_float32
def lgamma(xp, input):
    """log |Gamma(x)|; infinite at 0, -1, -2, ... (*) -> (*)."""
    # SciPy gives -inf at -inf.
    x = xp.where(xp.isinf(input), xp.absolute(input), input)
    return backend_of(x).special("gammaln")(x)


@op(input=lambda xp, g, input: g * higher_polygamma(input, n=1), cast="float", tangent="elementwise")
@in_float32
def digamma(xp, input):
    """The derivative of log Gamma(x); -inf at 0, inf at -0.0, NaN at -1, -2, ... (*) -> (*)."""
    return backend_of(input).special("psi")(input)


@op(input=lambda xp, g, input, n: g * higher_polygamma(input, n=n + 1), cast="float", tangent="elementwise")
@in_float32
def higher_polygamma(xp, input, *, n):
    """The n-th derivative of digamma, n >= 1: (-1)^(n+1) n! zeta(n+1, x). (*) -> (*)."""
    factor = 1.0
    for k in range(1, n + 1):
        factor *= -k
    return backend_of(input).special("zeta")(float(n + 1), input) * -factor


def _density(xp, a, x):
    """x^(a-1) e^-x / Gamma(a), the derivative of the lower integral by its bound."""
    return xp.exp(xlogy(a - 1, x) - x - lgamma(a))


@op(
    input=not_differentiable("igamma", "input"),
    other=lambda xp, g, input, other: g * _density(xp, input, other),
    cast="float",
    tangent="elementwise",
)
@in_float32
def igamma(xp, input, other):
    """The integral of t^(a-1) e^-t from 0 to x, divided by Gamma(a): a = input, x = other, both >= 0. Broadcasts.

    Differentiable by x only.
    """
    return backend_of(input).special("gammainc")(input, other)


@op(
    input=not_differentiable("igammac", "input"),
    other=lambda xp, g, input, other: -g * _density(xp, input, other),
    cast="float",
    tangent="elementwise",
)
@in_float32
def igammac(xp, input, other):
    """The integral of t^(a-1) e^-t from x to infinity, divided by Gamma(a): 1 - igamma(a, x) without cancellation."""
    return backend_of(input).special("gammaincc")(input, other)


@op(
    input=not_differentiable("zeta", "input"),
    other=lambda xp, g, input, other: -g * (input * zeta(input + 1, other)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def zeta(xp, input, other):
    """Hurwitz' zeta function, the sum of (k + q)^-s over k = 0, 1, ...: s = input, q = other. Broadcasts.

    NaN for s < 1, infinite at s = 1. Differentiable by q only.
    """
    return backend_of(input).special("zeta")(input, other)
