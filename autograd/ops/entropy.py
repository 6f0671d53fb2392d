"""Logarithms as entropies and likelihoods have them: x log y with 0 log 0 = 0, and log(p / (1 - p))."""

from chainrule.autograd.op import op

from .blocks import in_float32


def _slope(xp, input, other, zero):
    """`other`, but 1 + zero, of logarithm 0, where x = 0 keeps x log y at 0 although log y is not finite."""
    return xp.where(xp.logical_and(input == 0, other <= zero), zero + 1, other)


def _quotient(xp, a, b):
    """a / b, and 0 where both are 0."""
    return a / xp.where(xp.logical_and(a == 0, b == 0), 1, b)


@op(
    input=lambda xp, g, input, other: xlogy(g, _slope(xp, input, other, 0)),
    other=lambda xp, g, input, other: g * _quotient(xp, input, other),
    cast="float",
    tangent="elementwise",
)
@in_float32
def xlogy(xp, input, other):
    """x log y, and 0 where x is 0, unless y is NaN. Broadcasts.

    Where x is 0, the derivative by y is 0, and so is that by x where y <= 0.
    """
    nothing = xp.logical_and(input == 0, xp.logical_not(xp.isnan(other)))
    return xp.where(nothing, 0, input * xp.log(other))


@op(
    input=lambda xp, g, input, other: xlog1py(g, _slope(xp, input, other, -1)),
    other=lambda xp, g, input, other: g * _quotient(xp, input, 1 + other),
    cast="float",
    tangent="elementwise",
)
@in_float32
def xlog1py(xp, input, other):
    """x log(1 + y), exact for small y, and 0 where x is 0, unless y is NaN. Broadcasts. Derivatives as of `xlogy`."""
    nothing = xp.logical_and(input == 0, xp.logical_not(xp.isnan(other)))
    return xp.where(nothing, 0, input * xp.log1p(other))


@op(input=lambda xp, g, input: -g * (1 + xp.log(input)), cast="float", tangent="elementwise")
@in_float32
def entr(xp, input):
    """-x log x where x > 0, 0 at 0, -inf below. (*) -> (*). The derivative at 0 is infinite."""
    return xp.where(input < 0, float("-inf"), -xlogy(input, input))


@op(input=lambda xp, g, input: g / (input * (1 - input)), cast="float", tangent="elementwise")
@in_float32
def logit(xp, input):
    """log(p / (1 - p)) for p in [0, 1], NaN elsewhere. (*) -> (*). The derivatives at 0 and 1 are infinite."""
    # Near 1/2 the quotient is almost 1; there 2p - 1 is exact, and so is the small logarithm.
    rest = 1 - input
    return xp.where(input < 0.25, xp.log(input / rest), xp.log1p((2 * input - 1) / rest))
