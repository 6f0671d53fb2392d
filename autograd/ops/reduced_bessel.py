"""Bessel functions divided by the power of x they begin with: J_n(x) / x^n and its relatives.

They are even, smooth at 0, and their derivatives close among themselves (DLMF 10.6.6, 10.29.4, 10.51.3):

    (J_n(x) / x^n)' = -x (J_{n+1}(x) / x^{n+1})

so they carry the derivatives of every order of the Bessel functions and of sin(x) / x, also through 0, where quotients such as
J_1(x) / x would give 0 / 0. Far from 0 they come from the two lowest by the recurrence in n, near 0 from the power series.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import backend_of

from .blocks import in_float32


def _reduced(xp, x, n, half, sign, first, before, value, weight=1):
    """The function number n of a family: `value` is number `first`, and `before` number first - 1.

    half: 0 for the cylindrical families, 1/2 for the spherical one. sign: -1 for the oscillating ones, 1 for the modified
    ones. weight: a factor that `before` and `value` already have.
    """
    square = x * x
    for k in range(first, n):
        before, value = value, (before - 2 * (k + half) * value) * sign / square
    near = power_series(square * (sign / 4), n + half + 1, terms=16 + n) * (_leading(n, half) * weight)
    return xp.where(xp.absolute(x) < n + 1, near, value)


def _leading(n, half):
    """The value at 0: 1 / (2^n (half+1) (half+2) ... (half+n))."""
    return 1 / math.prod(2 * (k + half) for k in range(1, n + 1))


def power_series(z, b, terms):
    """sum of z^k / (k! b (b+1) ... (b+k-1)), the function 0F1(b; z), by Horner's scheme."""
    y = 1
    for k in range(terms, 0, -1):
        y = 1 + z * y / (k * (k + b - 1))
    return y


@op(x=lambda xp, g, x, n: -g * (x * reduced_j(x, n=n + 1)), cast="float", tangent="elementwise")
@in_float32
def reduced_j(xp, x, *, n):
    """J_n(x) / x^n for n >= 1, J_n being the Bessel function of the first kind. (*) -> (*)."""
    special = backend_of(x).special
    return _reduced(xp, x, n, 0, -1, 1, special("j0")(x), special("j1")(x) / x)


@op(x=lambda xp, g, x, n: g * (x * reduced_i(x, n=n + 1)), cast="float", tangent="elementwise")
@in_float32
def reduced_i(xp, x, *, n):
    """I_n(x) / x^n for n >= 1, I_n being the modified Bessel function of the first kind. (*) -> (*)."""
    special = backend_of(x).special
    return _reduced(xp, x, n, 0, 1, 1, special("i0")(x), special("i1")(x) / x)


@op(
    x=lambda xp, g, x, n, y: g * (x * scaled_reduced_i(x, n=n + 1) - xp.sign(x) * y),
    cast="float",
    tangent="elementwise",
)
@in_float32
def scaled_reduced_i(xp, x, *, n):
    """e^-|x| I_n(x) / x^n for n >= 1. (*) -> (*)."""
    special = backend_of(x).special
    weight = xp.exp(-xp.absolute(x))
    return _reduced(xp, x, n, 0, 1, 1, special("i0e")(x), special("i1e")(x) / x, weight)


@op(
    x=lambda xp, g, x, n, scale: -g * (scale**2 * x * reduced_spherical_j(x, n=n + 1, scale=scale)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def reduced_spherical_j(xp, x, *, n=0, scale=1):
    """j_n(z) / z^n at z = scale * x, j_n being the spherical Bessel function: sin(z) / z for n = 0. (*) -> (*).

    Complex numbers too.
    """
    x = x * scale
    return _reduced(xp, x, n, 0.5, -1, 0, xp.cos(x), xp.sin(x) / x)
