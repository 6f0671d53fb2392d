"""Least squares: the pseudo-inverse, and the solution of systems that have none or many.

Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate" (1973).
"""

from chainrule.autograd.op import op

from .linalg_common import adjoint, conjugate
from .linalg_spectral import cutoff, eigh, svd
from .product import matmul


@conjugate
def _pinv_rule(xp, g, x, y):
    """For matrices that keep their rank: -P dx P, and what turns the row and column spaces."""
    yh, gh = adjoint(xp, y), adjoint(xp, g)
    inner = matmul(gh, y)
    gx = -matmul(yh, matmul(g, yh))
    gx = gx + matmul(inner - matmul(x, matmul(y, inner)), yh)
    inner = matmul(y, gh)
    return gx + matmul(yh, inner - matmul(matmul(inner, y), x))


@op(x=_pinv_rule)
def pinv(xp, x, atol, rtol, *, hermitian=False):
    """The Moore-Penrose pseudo-inverse: singular values up to max(atol, rtol * the largest) count as 0.

    (..., m, n) -> (..., n, m). The gradient, of every order, is that for matrices which keep their rank; where the rank
    changes the pseudo-inverse is not continuous.
    """
    if x.size == 0:
        return xp.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), dtype=x.dtype)
    if hermitian:
        s, u = eigh(x)
        vh = adjoint(xp, u)
    else:
        u, s, vh = svd(x)
    size = abs(s)
    kept = size > cutoff(xp, size, atol, rtol)
    inverse = xp.where(kept, 1 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    return xp.matmul(adjoint(xp, vh) * inverse[..., None, :], adjoint(xp, u))


@conjugate
def _lstsq_rule(xp, g, needs, a, b, y, rcond):
    """gB = P^H G, and for A what moves the solution: the rule of `pinv`, with P B and B - A P B in place of P."""
    g, p = g[0], pinv(a, 0.0, rcond)
    ph = adjoint(xp, p)
    gb = matmul(ph, g)
    if not needs[0]:
        return None, gb
    gh = adjoint(xp, g)
    ga = -matmul(gb, adjoint(xp, y))
    ga = ga + matmul(matmul(b - matmul(a, y), matmul(gh, p)), ph)
    inner = matmul(y, gh)
    ga = ga + matmul(ph, inner - matmul(matmul(inner, p), a))
    return ga, gb if needs[1] else None


@op(joint=_lstsq_rule, cast="same", outputs=("y", "rank"))
def lstsq(xp, a, b, *, rcond):
    """The shortest X that minimises |A X - B|, and the rank of A: its singular values above rcond * the largest.

    (..., m, n), (..., m, k) -> (..., n, k), (...). The gradient is that for matrices which keep their rank.
    """
    u, s, vh = svd(a)
    kept = s > cutoff(xp, s, 0.0, rcond) if s.shape[-1] else s > 0
    inverse = xp.where(kept, 1 / xp.where(kept, s, xp.ones_like(s)), xp.zeros_like(s))
    y = xp.matmul(adjoint(xp, vh), inverse[..., None] * xp.matmul(adjoint(xp, u), b))
    return y, kept.sum(axis=-1).astype("int64")
