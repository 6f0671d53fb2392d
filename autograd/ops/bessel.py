"""Bessel functions of the orders 0 and 1. (*) -> (*).

The values are SciPy's (CuPy's own on a GPU). The derivatives follow from C_0' = -C_1 and C_1' = C_0 - C_1 / x and their
modified forms (DLMF 10.6 and 10.29). Where a function is smooth at 0, the quotient is that of `reduced_bessel.py`, which is
smooth there too. J and I are defined everywhere; Y and K are NaN below 0 and infinite at 0.
"""

from chainrule.autograd.op import op
from chainrule.backends import backend_of

from .blocks import in_float32
from .reduced_bessel import reduced_i, reduced_j, scaled_reduced_i


@op(input=lambda xp, g, input: -g * bessel_j1(input), cast="float", tangent="elementwise")
@in_float32
def bessel_j0(xp, input):
    """J_0, of the first kind."""
    return backend_of(input).special("j0")(input)


@op(
    input=lambda xp, g, input: g * (bessel_j0(input) - reduced_j(input, n=1)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def bessel_j1(xp, input):
    """J_1, of the first kind."""
    return backend_of(input).special("j1")(input)


@op(input=lambda xp, g, input: -g * bessel_y1(input), cast="float", tangent="elementwise")
@in_float32
def bessel_y0(xp, input):
    """Y_0, of the second kind."""
    return backend_of(input).special("y0")(input)


@op(input=lambda xp, g, input, y: g * (bessel_y0(input) - y / input), cast="float", tangent="elementwise")
@in_float32
def bessel_y1(xp, input):
    """Y_1, of the second kind."""
    return backend_of(input).special("y1")(input)


@op(input=lambda xp, g, input: g * i1(input), cast="float", tangent="elementwise")
@in_float32
def i0(xp, input):
    """I_0, modified, of the first kind."""
    return backend_of(input).special("i0")(input)


@op(input=lambda xp, g, input: g * (i0(input) - reduced_i(input, n=1)), cast="float", tangent="elementwise")
@in_float32
def i1(xp, input):
    """I_1, modified, of the first kind."""
    return backend_of(input).special("i1")(input)


@op(input=lambda xp, g, input, y: g * (i1e(input) - xp.sign(input) * y), cast="float", tangent="elementwise")
@in_float32
def i0e(xp, input):
    """e^-|x| I_0(x), without overflow; the derivative at the kink at 0 is 0."""
    return backend_of(input).special("i0e")(input)


@op(
    input=lambda xp, g, input, y: g * (i0e(input) - scaled_reduced_i(input, n=1) - xp.sign(input) * y),
    cast="float",
    tangent="elementwise",
)
@in_float32
def i1e(xp, input):
    """e^-|x| I_1(x), without overflow."""
    return backend_of(input).special("i1e")(input)


@op(input=lambda xp, g, input: -g * modified_bessel_k1(input), cast="float", tangent="elementwise")
@in_float32
def modified_bessel_k0(xp, input):
    """K_0, modified, of the second kind."""
    return backend_of(input).special("k0")(input)


@op(
    input=lambda xp, g, input, y: -g * (modified_bessel_k0(input) + y / input),
    cast="float",
    tangent="elementwise",
)
@in_float32
def modified_bessel_k1(xp, input):
    """K_1, modified, of the second kind."""
    return backend_of(input).special("k1")(input)


@op(
    input=lambda xp, g, input, y: g * (y - scaled_modified_bessel_k1(input)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def scaled_modified_bessel_k0(xp, input):
    """e^x K_0(x), without underflow."""
    return backend_of(input).special("k0e")(input)


@op(
    input=lambda xp, g, input, y: g * (y - scaled_modified_bessel_k0(input) - y / input),
    cast="float",
    tangent="elementwise",
)
@in_float32
def scaled_modified_bessel_k1(xp, input):
    """e^x K_1(x), without underflow."""
    return backend_of(input).special("k1e")(input)
