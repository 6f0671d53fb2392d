"""Inverses, systems of equations, the matrix exponential, and small products.

A rule here is a formula of matrices; where it needs an inverse it calls the operation, and so has derivatives of its own.
"""

import math

from chainrule.autograd.op import op

from .linalg_common import compute, raw, transpose
from .linalg_factor import SINGULAR, solve_batches, zero_pivots
from .product import matmul


@op(x=lambda xp, g, y: -matmul(transpose(xp, y), matmul(g, transpose(xp, y))))
def inv(xp, x):
    """The inverse. (..., n, n) -> (..., n, n)."""
    return compute(xp, "linalg.inv", xp.linalg.inv, (x,), zero_pivots, SINGULAR)


def _solve_rule(xp, g, needs, a, y):
    gb = solve(transpose(xp, a), g)
    return -matmul(gb, transpose(xp, y)) if needs[0] else None, gb if needs[1] else None


@op(joint=_solve_rule, cast="same")
def solve(xp, a, b):
    """X with A X = B. (..., n, n), (..., n, k) -> (..., n, k)."""
    return compute(xp, "linalg.solve", lambda a, b: solve_batches(xp, a, b), (a, b), zero_pivots, SINGULAR)


# --- the matrix exponential ---


def _matrix_exp_rule(xp, g, x):
    """exp([[A, E], [0, A]]) holds in its corner the derivative of exp at A in the direction E; transposed, its adjoint."""
    n, turned = x.shape[-1], transpose(xp, x)
    top = xp.concatenate([turned, g], axis=-1)
    bottom = xp.concatenate([xp.zeros_like(turned), turned], axis=-1)
    return matrix_exp(xp.concatenate([top, bottom], axis=-2))[..., :n, n:]


# Pade's approximant of degree 13 is exact to double precision for matrices of this 1-norm (Higham, 2005).
_DEGREE, _NORM = 13, 5.37
_PADE = [
    math.factorial(2 * _DEGREE - j) * math.comb(_DEGREE, j) / math.factorial(2 * _DEGREE)
    for j in range(_DEGREE + 1)
]


@op(x=_matrix_exp_rule)
def matrix_exp(xp, x):
    """The matrix exponential, by scaling and squaring. (..., n, n) -> (..., n, n).

    The gradient is the corner of the exponential of a matrix of twice the size (Mathias, 1996), and so has every order.
    """
    if x.size == 0:
        return x.copy()
    norm = abs(x).sum(axis=-2).max(axis=-1)
    norm = xp.where(xp.isfinite(norm), norm, xp.zeros_like(norm))
    halvings = xp.ceil(xp.log2(xp.maximum(norm / _NORM, 1)))
    y = _pade(xp, x * xp.exp2(-halvings)[..., None, None].astype(x.dtype))
    most = int(halvings.max())
    for i in range(most):
        squared = xp.matmul(y, y)
        y = squared if x.ndim == 2 else xp.where((halvings > i)[..., None, None], squared, y)
    return y


def _pade(xp, a):
    """(V - U)^-1 (V + U): the even and odd terms of the approximant, with six products of matrices."""
    c, one = _PADE, xp.eye(a.shape[-1], dtype=a.dtype)
    a2 = xp.matmul(a, a)
    a4 = xp.matmul(a2, a2)
    a6 = xp.matmul(a4, a2)
    odd = xp.matmul(a6, c[13] * a6 + c[11] * a4 + c[9] * a2) + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one
    even = xp.matmul(a6, c[12] * a6 + c[10] * a4 + c[8] * a2) + c[6] * a6 + c[4] * a4 + c[2] * a2 + c[0] * one
    odd = xp.matmul(a, odd)
    return xp.linalg.solve(even - odd, even + odd)


# --- products ---


@op(
    a=lambda xp, g, b, axis: cross(b, g, axis=axis),
    b=lambda xp, g, a, axis: cross(g, a, axis=axis),
    cast="promote",
    tangent="linear",
)
def cross(xp, a, b, *, axis=-1):
    """The vector product of vectors of length 3 along `axis`, the other axes broadcast."""
    return xp.cross(a, b, axis=axis)


@op(x=lambda xp, g, x, n: _vander_rule(xp, g, x, n))
def vander(xp, x, *, n):
    """The powers x^0 ... x^(n-1) along a new last axis. (..., m) -> (..., m, n)."""
    powers = xp.zeros((*x.shape, n), dtype=x.dtype)
    powers[..., :1] = 1
    powers[..., 1:] = x[..., None]
    return xp.cumprod(powers, axis=-1, dtype=x.dtype)


def _vander_rule(xp, g, x, n):
    """d x^k / dx = k x^(k-1)."""
    if n < 2:
        return xp.zeros_like(x)
    weights = xp.arange(1, n, dtype=raw(x).real.dtype)
    return xp.sum(g[..., 1:] * (weights * vander(x, n=n - 1)), axis=-1)
