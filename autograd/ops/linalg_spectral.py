"""Eigenvalues, singular values and their vectors.

Vectors are differentiable only where the values are distinct: with F_ij = 1 / (value_j - value_i) a gradient that reaches
the vectors is infinite or NaN where two values coincide, as in PyTorch. Gradients of the values alone are finite there.

A loss of the vectors must not depend on the signs (real) or phases (complex) that the computation happens to choose; where
it depends on a complex phase the backward pass refuses. Giles, "An extended collection of matrix derivative results" (2008);
Wan and Zhang, "Automatic differentiation for complex valued SVD" (2019).
"""

from chainrule.autograd.op import op

from .linalg import solve
from .linalg_common import (
    adjoint,
    check_gauge,
    compute,
    conjugate,
    diagonal,
    diagonal_matrix,
    is_complex,
    not_finite,
)
from .product import matmul

_FAILED = "did not converge: it holds a NaN or an infinity, or is too ill-conditioned for the algorithm"


def _computed(xp, name, function, x):
    """function(x), or LinAlgError if what it returns is not finite."""
    return compute(xp, name, function, (x,), not_finite, _FAILED, trust_numpy=False)


def _imaginary(xp, x):
    return xp.real(x * -1j)


def _gaps(xp, values):
    """value_j - value_i at (i, j); ones on the diagonal, where nothing is divided."""
    gaps = values[..., None, :] - values[..., :, None]
    return gaps + xp.eye(values.shape[-1], dtype=values.dtype)


def _hollow(xp, x):
    """x with zeros on the diagonal: for complex vectors, the direction of their phases."""
    return x - diagonal_matrix(xp, diagonal(xp, x)) if is_complex(x) else x


# --- Hermitian matrices ---


@conjugate
def _eigh_rule(xp, g, w, v):
    """V (diag(gW) + F o skew(V^H gV)) V^H."""
    gw, gv = g
    left = adjoint(xp, v)
    if gv is None:
        return matmul(v * gw[..., None, :], left)
    inner = matmul(left, gv)
    if is_complex(inner):
        check_gauge("linalg.eigh", _imaginary(xp, diagonal(xp, inner)))
    inner = _hollow(xp, 0.5 * (inner - adjoint(xp, inner)) / _gaps(xp, w))
    if gw is not None:
        inner = inner + diagonal_matrix(xp, gw)
    return matmul(matmul(v, inner), left)


@op(x=_eigh_rule, outputs=("w", "v"))
def eigh(xp, x, *, UPLO="L"):
    """Eigenvalues, ascending, and orthonormal eigenvectors, as columns, of a Hermitian x, of which one triangle is read.

    (..., n, n) -> (..., n), (..., n, n). The gradient is Hermitian: that of a function of Hermitian matrices.
    """
    found = []

    def run(x):
        found[:] = xp.linalg.eigh(x, UPLO)
        return found[1]

    _computed(xp, "linalg.eigh", run, x)
    return tuple(found)


@conjugate
def _eigvalsh_rule(xp, g, x, UPLO):
    v = eigh(x, UPLO=UPLO)[1]
    return matmul(v * g[..., None, :], adjoint(xp, v))


@op(x=_eigvalsh_rule)
def eigvalsh(xp, x, *, UPLO="L"):
    """Eigenvalues, ascending, of a Hermitian x, of which one triangle is read. (..., n, n) -> (..., n)."""
    values = lambda x: xp.linalg.eigvalsh(x, UPLO)
    return _computed(xp, "linalg.eigvalsh", values, x)


# --- general square matrices ---


@conjugate
def _eig_rule(xp, g, w, v):
    """V^-H (diag(gW) + (V^H gV - V^H V diag(V^H gV)) / conj(w_j - w_i)) V^H."""
    gw, gv = g
    left = adjoint(xp, v)
    if gv is None:
        return solve(left, gw[..., :, None] * left)
    inner = matmul(left, gv)
    size = diagonal(xp, inner)
    check_gauge("linalg.eig", _imaginary(xp, size))
    # Eigenvectors keep their length: what would change it has no effect.
    inner = inner - matmul(left, v) * xp.real(size)[..., None, :]
    inner = _hollow(xp, inner / xp.conj(_gaps(xp, w)))
    if gw is not None:
        inner = inner + diagonal_matrix(xp, gw)
    return solve(left, matmul(inner, left))


@op(x=_eig_rule, outputs=("w", "v"))
def eig(xp, x):
    """Complex eigenvalues, in no order, and eigenvectors of length 1, as columns, of a square x.

    (..., n, n) -> (..., n), (..., n, n), both complex. Differentiable where the eigenvalues are distinct.
    """
    found = []

    def run(x):
        found[:] = xp.linalg.eig(x)
        return found[1]

    _computed(xp, "linalg.eig", run, x)
    kind = _complex_of(x.dtype)
    return tuple(one.astype(kind, copy=False) for one in found)


def _complex_of(dtype):
    """The complex dtype of the same precision."""
    return "complex64" if dtype.char in "fF" else "complex128"


@conjugate
def _eigvals_rule(xp, g, x):
    left = adjoint(xp, eig(x)[1])
    return solve(left, g[..., :, None] * left)


@op(x=_eigvals_rule)
def eigvals(xp, x):
    """Complex eigenvalues, in no order, of a square x. (..., n, n) -> (..., n). Differentiable where x can be diagonalised."""
    found = _computed(xp, "linalg.eigvals", xp.linalg.eigvals, x)
    return found.astype(_complex_of(x.dtype), copy=False)


# --- singular values ---


@conjugate
def _svd_rule(xp, g, u, s, vh):
    gu, gs, gvh = g
    k = s.shape[-1]
    # What lies beyond the first k vectors is one basis out of many: a meaningful loss cannot depend on it.
    u, vh = u[..., :, :k], vh[..., :k, :]
    gu = None if gu is None else gu[..., :, :k]
    gvh = None if gvh is None else gvh[..., :k, :]
    if gu is None and gvh is None:
        return matmul(u * gs[..., None, :], vh)
    inner = _svd_inner(xp, gu, gvh, u, s, vh)
    if gs is not None:
        inner = inner + diagonal_matrix(xp, gs)
    left = matmul(u, inner)
    if gu is not None and u.shape[-2] > k:
        left = left + (gu - matmul(u, matmul(adjoint(xp, u), gu))) / s[..., None, :]
    gx = matmul(left, vh)
    if gvh is not None and vh.shape[-1] > k:
        outside = (gvh - matmul(matmul(gvh, adjoint(xp, vh)), vh)) / s[..., :, None]
        gx = gx + matmul(u, outside)
    return gx


def _svd_inner(xp, gu, gvh, u, s, vh):
    """The gradient that reaches the vectors, between U and V^H: with A = U^H gU and B = V^H gV,
    (skew(A) s_j + s_i skew(B)) / (s_j^2 - s_i^2), and for complex vectors the phase's share on the diagonal."""
    a = None if gu is None else matmul(adjoint(xp, u), gu)
    b = None if gvh is None else matmul(vh, adjoint(xp, gvh))
    if is_complex(u):
        check_gauge("linalg.svd", _imaginary(xp, diagonal(xp, _total(a, b))))
    a = None if a is None else (a - adjoint(xp, a))
    b = None if b is None else (b - adjoint(xp, b))
    scaled = _total(
        None if a is None else a * s[..., None, :],
        None if b is None else s[..., :, None] * b,
    )
    eye = xp.eye(s.shape[-1], dtype=s.dtype)
    sums = s[..., None, :] + s[..., :, None]
    inner = scaled / (_gaps(xp, s) * (sums * (1 - eye) + eye))
    inner = _hollow(xp, inner)
    if a is not None and is_complex(u):
        inner = inner + diagonal_matrix(xp, diagonal(xp, a) / (2 * s))
    return inner


def _total(a, b):
    return a if b is None else b if a is None else a + b


@op(x=_svd_rule, outputs=("u", "s", "vh"))
def svd(xp, x, *, full_matrices=False):
    """U, singular values descending, and V^H, with U diag(s) V^H = x.

    (..., m, n) -> (..., m, k), (..., k), (..., k, n) with k = min(m, n); all m columns of U and n rows of V^H where
    `full_matrices`. A gradient that reaches U or V^H needs distinct singular values, none of them 0 unless x is square.
    """
    found = []

    def run(x):
        found[:] = xp.linalg.svd(x, full_matrices=full_matrices)
        return found[1]

    _computed(xp, "linalg.svd", run, x)
    return tuple(found)


@conjugate
def _svdvals_rule(xp, g, x):
    u, _, vh = svd(x)
    return matmul(u * g[..., None, :], vh)


@op(x=_svdvals_rule)
def svdvals(xp, x):
    """Singular values, descending. (..., m, n) -> (..., min(m, n))."""
    values = lambda x: xp.linalg.svd(x, compute_uv=False)
    return _computed(xp, "linalg.svdvals", values, x)


def cutoff(xp, values, atol, rtol):
    """max(atol, rtol * the largest value) for each set of values along the last axis; tolerances are numbers or one for each set."""
    atol, rtol = (one[..., None] if getattr(one, "ndim", 0) else one for one in (atol, rtol))
    return xp.maximum(atol, rtol * values.max(axis=-1, keepdims=True))


@op()
def count_above(xp, values, atol, rtol):
    """How many values along the last axis exceed max(atol, rtol * the largest)."""
    return (values > cutoff(xp, values, atol, rtol)).sum(axis=-1).astype("int64")
