"""LU factorisation, products of Householder reflectors and randomised factorisations, under PyTorch's names."""

from collections import namedtuple

from chainrule.autograd import late, ops
from chainrule.autograd.ops import linalg_factor as factor
from chainrule.autograd.precision import precision
from chainrule.backends import placement

from . import creation, draws
from .common import holds, tensor_of
from .linalg import adjoint, matrices, qr, solve_triangular, svd
from .product import matmul

LU = namedtuple("lu", ["P", "L", "U"])
LUFactor = namedtuple("lu_factor", ["LU", "pivots"])
LUFactorEx = namedtuple("lu_factor_ex", ["LU", "pivots", "info"])
GeQRF = namedtuple("geqrf", ["a", "tau"])
TriangularSolve = namedtuple("triangular_solve", ["solution", "cloned_coefficient"])
LowRank = namedtuple("svd_lowrank", ["U", "S", "V"])


# --- LU ---


def lu(A, *, pivot=True):
    """(P, L, U) with P L U = A: a permutation matrix, a lower triangle with ones on the diagonal, an upper triangle.

    With pivot=False no rows are exchanged, P is empty, and a leading minor of 0 gives infinities and NaNs. L and U are
    differentiable where the first min(m, n) columns of A are linearly independent.
    """
    packed, _, permutation = factor.lu_factor(matrices(A, "linalg.lu"), pivot=bool(pivot))
    return LU(_permutation(permutation, packed) if pivot else packed.new_empty(0), *_unpacked(packed))


@placement.on_their_card
def _permutation(permutation, like):
    return late.Tensor._wrap(factor.permutation_matrix(permutation, like))


def _unpacked(packed):
    """L and U from the matrix that holds both."""
    m, n = packed.shape[-2:]
    k = min(m, n)
    lower = ops.tril(packed[..., :, :k], -1) + _eye(m, k, packed)
    return lower, ops.triu(packed[..., :k, :])


@placement.on_their_card
def _eye(m, n, like):
    return creation.eye(m, n, dtype=like.dtype, device=like.device)


def lu_factor(A, *, pivot=True):
    """(LU, pivots): L without its diagonal of ones and U in one matrix; in step i row i changed places with row pivots[i],
    counted from 1. Differentiable where the first min(m, n) columns of A are linearly independent."""
    packed, pivots, _ = factor.lu_factor(matrices(A, "linalg.lu_factor"), pivot=bool(pivot))
    return LUFactor(packed, pivots)


@precision(cpu="float32")
def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """(LU, pivots, info): as `lu_factor`, with the step in which elimination met a pivot of 0, or 0."""
    packed, pivots, _ = factor.lu_factor(matrices(A, "linalg.lu_factor_ex"), pivot=bool(pivot))
    info = factor.first_zero(ops.diagonal(packed.detach(), 0, -2, -1))
    if check_errors and holds((info != 0).any()):
        raise factor.singular("linalg.lu_factor_ex", info._array)
    return LUFactorEx(packed, pivots, info)


@precision("unchanged")
def lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """X with A X = B (X A = B if not `left`; with A^H in place of A if `adjoint`), for A factored by `lu_factor`."""
    name = "linalg.lu_solve"
    packed, B = matrices(LU, name, square=True), matrices(B, name)
    if not left:
        turned = _adjoint(B)
        return _adjoint(lu_solve(packed, pivots, turned, adjoint=not adjoint))
    if B.shape[-2] != packed.shape[-1]:
        raise RuntimeError(f"{name}: shapes {tuple(packed.shape)} and {tuple(B.shape)} do not fit")
    permutation = _permutation(
        factor.pivots_to_permutation(_pivots(pivots, name), m=packed.shape[-1]), packed
    )
    if adjoint:
        half = solve_triangular(_adjoint(packed), B, upper=False)
        return matmul(permutation, solve_triangular(_adjoint(packed), half, upper=True, unitriangular=True))
    half = solve_triangular(
        packed, matmul(ops.swapaxes(permutation, -1, -2), B), upper=False, unitriangular=True
    )
    return solve_triangular(packed, half, upper=True)


_adjoint = adjoint


def _pivots(pivots, name):
    if tensor_of(pivots, name)._array.dtype.kind not in "iu":
        raise RuntimeError(f"{name}: pivots must be integers, as lu_factor gives them, got {pivots.dtype}")
    return pivots


def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """(P, L, U) from what `lu_factor` gives; those not asked for are empty."""
    packed, none = matrices(LU_data, "lu_unpack"), LU_data.new_empty(0)
    lower, upper = _unpacked(packed) if unpack_data else (none, none)
    if not unpack_pivots:
        return LU(none, lower, upper)
    rows = factor.pivots_to_permutation(_pivots(LU_pivots, "lu_unpack"), m=packed.shape[-2])
    return LU(_permutation(rows, packed), lower, upper)


def lu_with_infos(A, pivot=True, get_infos=False):
    """`torch.lu`: (LU, pivots), or with get_infos (LU, pivots, info); the older spelling of `lu_factor`."""
    packed, pivots, info = lu_factor_ex(A, pivot=pivot)
    return (packed, pivots, info) if get_infos else (packed, pivots)


@precision(cpu="float32")
def lu_solve_older(b, LU_data, LU_pivots):
    """`torch.lu_solve`: X with A X = b, for A factored by `lu_factor`; the older spelling of `linalg.lu_solve`."""
    return lu_solve(LU_data, LU_pivots, b)


@precision(cpu="float32")
def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """(X, A) with A X = b, or A^T X = b if `transpose`; the older spelling of `linalg.solve_triangular`."""
    turned = ops.swapaxes(A, -1, -2) if transpose else A
    found = solve_triangular(turned, b, upper=upper != transpose, unitriangular=unitriangular)
    return TriangularSolve(found, ops.copy(A))


# --- Householder reflectors ---


@precision(cpu="float32")
def geqrf(input):
    """(a, tau): the QR factorisation as LAPACK stores it, R above Householder vectors. Not differentiable: see `linalg.qr`."""
    return GeQRF(*factor.geqrf(matrices(input, "geqrf")))


@precision(cpu="float32")
def householder_product(A, tau):
    """The first n columns of H_1 H_2 ... H_k, H_i = 1 - tau_i v_i v_i^H; v_i is column i of A below a 1 on its diagonal.

    (..., m, n), (..., k) -> (..., m, n) with m >= n >= k. What A holds on and above its diagonal is not read.
    """
    A, tau = _reflectors(A, tau, "linalg.householder_product")
    m, n = A.shape[-2:]
    if m < n:
        raise RuntimeError(
            f"linalg.householder_product: expected no more columns than rows, got shape {tuple(A.shape)}"
        )
    start = _eye(m, n, A)
    start = ops.broadcast_to(start, (*A.shape[:-2], m, n)) if A.ndim > 2 else start
    return _reflect(A, tau, start, False)


@precision(cpu="float32", accelerator="unchanged")
def ormqr(input, tau, other, left=True, transpose=False):
    """Q other, or with left=False other Q, or with Q^H in place of Q if `transpose`, Q being the product of the reflectors that
    `householder_product` multiplies, all m columns of it."""
    A, tau = _reflectors(input, tau, "ormqr")
    other = matrices(other, "ormqr")
    if other.shape[-2 if left else -1] != A.shape[-2]:
        raise RuntimeError(f"ormqr: shapes {tuple(A.shape)} and {tuple(other.shape)} do not fit")
    if left:
        return _reflect(A, tau, other, transpose)
    return adjoint(_reflect(A, tau, adjoint(other), not transpose))


def _reflectors(A, tau, name):
    A, tau = matrices(A, name), tensor_of(tau, name)
    if tau.ndim != A.ndim - 1 or tau.shape[:-1] != A.shape[:-2] or tau.shape[-1] > A.shape[-1]:
        raise RuntimeError(
            f"{name}: expected tau of shape (..., k) with k <= {A.shape[-1]} for vectors of shape {tuple(A.shape)}, got {tuple(tau.shape)}"
        )
    if tau.dtype is not A.dtype:
        raise RuntimeError(f"{name}: expected tensors of one dtype, got {A.dtype} and {tau.dtype}")
    return A, tau


def _reflect(A, tau, x, conjugate):
    """Q x, or Q^H x, with all reflectors at once: Q = 1 - V T V^H, T^-1 = diag(1 / tau) + the strict upper triangle of V^H V."""
    k = tau.shape[-1]
    vectors = ops.tril(A[..., :, :k], -1) + _eye(A.shape[-2], k, A)
    products = ops.triu(matmul(adjoint(vectors), vectors), 1)
    # T = (1 + diag(tau) S)^-1 diag(tau) needs no 1 / tau.
    weights, inner = ops.expand_dims(tau, -1), matmul(adjoint(vectors), x)
    if not conjugate:
        inner = solve_triangular(weights * products, weights * inner, upper=True, unitriangular=True)
    else:
        inner = solve_triangular(adjoint(weights * products), inner, upper=False, unitriangular=True)
        inner = (ops.conj(weights) if weights.dtype.is_complex else weights) * inner
    return x - matmul(vectors, inner)


# --- randomised factorisations ---


def svd_lowrank(A, q=6, niter=2, M=None):
    """(U, S, V) with U diag(S) V^H near A (or A - M), of rank q, by `niter` rounds of subspace iteration from a random start.

    Halko, Martinsson and Tropp, "Finding structure with randomness" (2011). Random, from the default generator.
    """
    A = matrices(A, "svd_lowrank")
    A = A if M is None else A - M
    m, n = A.shape[-2:]
    if not 0 <= q <= min(m, n):
        raise RuntimeError(f"svd_lowrank: q must lie between 0 and min(m, n) = {min(m, n)}, got {q}")
    if m < n:
        found = svd_lowrank(adjoint(A), q, niter)
        return LowRank(found.V, found.S, found.U)
    start = draws.randn(n, q, dtype=A.dtype, device=A.device)
    basis = qr(matmul(A, start)).Q
    for _ in range(niter):
        basis = qr(matmul(A, qr(matmul(adjoint(A), basis)).Q)).Q
    U, S, Vh = svd(matmul(adjoint(basis), A), full_matrices=False)
    return LowRank(matmul(basis, U), S, adjoint(Vh))


def pca_lowrank(A, q=None, center=True, niter=2):
    """Principal components: (U, S, V) of `svd_lowrank` for A, by default with the mean of each column taken off first."""
    A = matrices(A, "pca_lowrank")
    q = min(6, *A.shape[-2:]) if q is None else q
    if not 0 <= q <= min(A.shape[-2:]):
        raise ValueError(f"pca_lowrank: q must lie between 0 and min(m, n) = {min(A.shape[-2:])}, got {q}")
    return svd_lowrank(A - ops.mean(A, -2, True) if center else A, q, niter)
