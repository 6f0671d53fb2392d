"""The factorisation of symmetric matrices that need not be positive-definite, under the names of `torch.linalg`."""

from collections import namedtuple

from chainrule.autograd import ops
from chainrule.autograd.ops import linalg_ldl as ldl
from chainrule.autograd.ops.linalg_common import LinAlgError, describe
from chainrule.backends import backend_of, placement

from .common import index_array
from .linalg import matrices
from .shape import broadcast_shapes

LDLFactor = namedtuple("ldl_factor", ["LD", "pivots"])
LDLFactorEx = namedtuple("ldl_factor_ex", ["LD", "pivots", "info"])

_SINGULAR = "has a block of D that is 0 in step {step}, so that no system with it can be solved"


@placement.on_their_card
def ldl_factor(A, *, hermitian=False):
    """(LD, pivots) with P L D L^T P^T = A, packed as LAPACK's sytrf does, or with L^H for hetrf if `hermitian`. LinAlgError if D is singular.

    A symmetric (Hermitian), of which the lower triangle is read. (..., n, n) -> (..., n, n), (..., n). Not differentiable.
    """
    found = ldl_factor_ex(A, hermitian=hermitian)
    if found.info._array.any():
        raise LinAlgError(f"linalg.ldl_factor: {describe(found.info._array, _SINGULAR)}", found.info)
    return LDLFactor(found.LD, found.pivots)


def ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """`ldl_factor` with `info`: for each matrix the step, from 1, of the first block of D that is 0, or 0 if there is none."""
    if check_errors:
        found = ldl_factor(A, hermitian=hermitian)
        return LDLFactorEx(*found, found.pivots.new_zeros(found.pivots.shape[:-1]))
    A = matrices(A, "linalg.ldl_factor", square=True)
    return LDLFactorEx(*ldl.ldl_factor(A, hermitian=bool(hermitian) and A.dtype.is_complex))


def ldl_solve(LD, pivots, B, *, hermitian=False):
    """X with A X = B for A factored by `ldl_factor`. (..., n, n), (..., n), (..., n, k) -> (..., n, k); batches broadcast."""
    name = "linalg.ldl_solve"
    LD, B, order = matrices(LD, name, square=True), matrices(B, name), index_array(pivots, name)
    if tuple(order.shape) != tuple(LD.shape[:-1]) or B.shape[-2] != LD.shape[-1]:
        raise RuntimeError(
            f"{name}: expected LD (..., n, n), pivots (..., n) and B (..., n, k), got shapes {tuple(LD.shape)}, "
            f"{tuple(order.shape)} and {tuple(B.shape)}"
        )
    if LD.dtype is not B.dtype or order.dtype != "int32":
        raise RuntimeError(
            f"{name}: expected LD and B of one dtype and int32 pivots, got {LD.dtype}, {B.dtype} and {pivots.dtype}"
        )
    batch = broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    order = ops.broadcast_to(pivots, shape=(*batch, order.shape[-1]))._array
    B = ops.broadcast_to(B, shape=(*batch, *B.shape[-2:]))
    host = backend_of(order).to_host(order)
    return ldl.ldl_solve(LD, B, pivots=host, hermitian=bool(hermitian) and B.dtype.is_complex)
