"""Signs, steps and neighbours of floating point numbers, elementwise. (*) -> (*)."""

from chainrule.autograd.op import op
from chainrule.backends import dtypes

from .elementwise import absolute, is_complex, sign
from .shape import astype


@op(
    a=lambda xp, g, a, b: g * (sign(a) * copysign(sign(a), b)),
    b=lambda xp, g: xp.zeros_like(g),
    cast="float",
)
def copysign(xp, a, b):
    """|a| with the sign of b, a negative zero being negative; the derivative is 0 where a is 0."""
    return xp.copysign(a, b)


def _sgn_rule(xp, g, x, y):
    """y = z / |z| is not holomorphic: dy/dz = 1 / 2|z| and dy/dz* = -y^2 / 2|z|. 0 at 0."""
    if not is_complex(x):
        return xp.zeros_like(g)
    size = absolute(x)
    safe = xp.where(size == 0, xp.ones_like(size), size)
    return xp.where(size == 0, xp.zeros_like(g), (g - xp.conj(g * y * y)) / (2 * safe))


@op(x=_sgn_rule)
def sgn(xp, x):
    """The sign; of a complex number, z / |z|. 0 at 0."""
    if x.dtype.kind != "c":
        return x.copy() if x.dtype.kind == "b" else xp.sign(x)
    size = xp.absolute(x)
    return x / xp.where(size == 0, 1, size)


@op(cast="same")
def heaviside(xp, x, values):
    """0 below 0, 1 above, `values` at 0."""
    return xp.where(x == 0, values, (x > 0).astype(x.dtype))


@op(
    a=lambda xp, g, a, b: xp.where(a == b, xp.zeros_like(g), g),
    b=lambda xp, g: xp.zeros_like(g),
    cast="float",
)
def nextafter(xp, a, b):
    """The floating point number next to a in the direction of b, which moves with a; 0 where they are equal, as PyTorch."""
    return xp.nextafter(a, b)


@op(
    x=lambda xp, g, exponent: g[0] / xp.exp2(astype(exponent, dtype=g[0].dtype)),
    outputs=("mantissa", "exponent"),
)
def frexp(xp, x):
    """(mantissa, exponent) with x = mantissa * 2^exponent and 1/2 <= |mantissa| < 1; the exponent is int32."""
    mantissa, exponent = xp.frexp(x)
    return mantissa, exponent.astype("int32")


@op(x=lambda xp, g, x: xp.where(xp.isfinite(x), g, xp.zeros_like(g)))
def nan_to_num(xp, x, *, nan=0.0, posinf=None, neginf=None):
    """x with NaN and the infinities replaced, these by the largest and the smallest number by default. Gradient 0 there."""
    if x.dtype.kind == "c":
        out = xp.empty(x.shape, dtype=x.dtype)
        for part, source in ((out.real, x.real), (out.imag, x.imag)):
            part[...] = _replaced(xp, source, nan, posinf, neginf)
        return out
    return x.copy() if x.dtype.kind in "iub" else _replaced(xp, x, nan, posinf, neginf)


def _replaced(xp, x, nan, posinf, neginf):
    limits = dtypes.finfo(dtypes.from_numpy(x.dtype))
    top = limits.max if posinf is None else posinf
    bottom = limits.min if neginf is None else neginf
    y = xp.where(xp.isnan(x), xp.full((), nan, dtype=x.dtype), x)
    y = xp.where(x == float("inf"), xp.full((), top, dtype=x.dtype), y)
    return xp.where(x == -float("inf"), xp.full((), bottom, dtype=x.dtype), y)


@op(
    a=lambda xp, g, a, b: xp.where(xp.logical_or(a >= b, b != b), g, xp.zeros_like(g)),
    b=lambda xp, g, a, b: xp.where(xp.logical_or(a >= b, b != b), xp.zeros_like(g), g),
    cast="promote",
)
def fmax(xp, a, b):
    """The larger of two, or the one that is no NaN; at a tie `a` gets the gradient."""
    return xp.fmax(a, b)


@op(
    a=lambda xp, g, a, b: xp.where(xp.logical_or(a <= b, b != b), g, xp.zeros_like(g)),
    b=lambda xp, g, a, b: xp.where(xp.logical_or(a <= b, b != b), xp.zeros_like(g), g),
    cast="promote",
)
def fmin(xp, a, b):
    """The smaller of two, or the one that is no NaN; at a tie `a` gets the gradient."""
    return xp.fmin(a, b)
