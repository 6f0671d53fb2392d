"""Products and functions of matrices and vectors, tensor inverses, block and Kronecker products, and the older names of `torch`."""

import itertools
import math
from collections import namedtuple

from chainrule.autograd import inplace, ops
from chainrule.autograd.ops import linalg as basic
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from . import linalg, shape
from .common import tensor_of, wrap_dim
from .linalg import adjoint, inv, matrices, slogdet, solve
from .product import bmm, matmul, mv, outer

OlderSVD = namedtuple("svd", ["U", "S", "V"])


# --- functions of a matrix ---


def matrix_exp(A):
    """The exponential of each square matrix, sum_k A^k / k!."""
    return basic.matrix_exp(matrices(A, "linalg.matrix_exp", square=True))


def matrix_power(A, n):
    """A multiplied by itself n times; the inverse's power for negative n, the identity for n = 0."""
    name = "linalg.matrix_power"
    A = matrices(A, name, square=True)
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{name}: n must be an int, got {type(n).__name__}")
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:  # a constant, but part of the graph as for any other n
        return inplace.replace(A, linalg.identity_like(A))
    result, square = None, A
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        square = matmul(square, square) if n else square
    return ops.positive(result) if result is A else result


@precision("lower")
def multi_dot(tensors):
    """The product of two or more matrices in the order that takes the fewest multiplications; the first and last may be vectors."""
    name = "linalg.multi_dot"
    tensors = [tensor_of(one, name) for one in tensors]
    if len(tensors) < 2:
        raise RuntimeError(f"{name}: expected at least 2 tensors, got {len(tensors)}")
    for i, one in enumerate(tensors):
        if one.ndim != 2 and not (one.ndim == 1 and i in (0, len(tensors) - 1)):
            raise RuntimeError(
                f"{name}: expected matrices (the first and last may be vectors), tensor {i} has shape {tuple(one.shape)}"
            )
        if one.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"{name}: expected tensors of one dtype, got {tensors[0].dtype} and {one.dtype}"
            )
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    chain = list(tensors)
    chain[0] = ops.expand_dims(chain[0], 0) if first else chain[0]
    chain[-1] = ops.expand_dims(chain[-1], 1) if last else chain[-1]
    for left, right in itertools.pairwise(chain):
        if left.shape[1] != right.shape[0]:
            raise RuntimeError(
                f"{name}: shapes {tuple(left.shape)} and {tuple(right.shape)} cannot be multiplied"
            )
    out = _chained(chain)
    out = ops.squeeze(out, 0) if first else out
    return ops.squeeze(out, -1) if last else out


def _chained(chain):
    """The product of matrices, associated by dynamic programming over the cost of every part of the chain."""
    sizes = [one.shape[0] for one in chain] + [chain[-1].shape[1]]
    count = len(chain)
    cost = {(i, i): (0, i) for i in range(count)}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j] = min(
                (cost[i, k][0] + cost[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def multiplied(i, j):
        k = cost[i, j][1]
        return chain[i] if i == j else matmul(multiplied(i, k), multiplied(k + 1, j))

    return multiplied(0, count - 1)


@precision("lower")
def chain_matmul(*matrices):
    """The product of matrices in the cheapest order; the older spelling of `linalg.multi_dot`."""
    matrices = matrices[0] if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)) else matrices
    return multi_dot(matrices) if len(matrices) > 1 else ops.positive(matrices[0])


# --- vectors ---


@precision("lower")
def vecdot(x, y, *, dim=-1):
    """sum conj(x) y over `dim`; the other dimensions broadcast."""
    name = "linalg.vecdot"
    x, y = tensor_of(x, name), tensor_of(y, name)
    if x.dtype is not y.dtype:
        raise RuntimeError(f"{name}: expected tensors of one dtype, got {x.dtype} and {y.dtype}")
    if x.ndim == 0 or y.ndim == 0:
        raise RuntimeError(
            f"{name}: expected at least 1 dimension, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    terms = (ops.conj(x) if x.dtype.is_complex else x) * y
    return ops.sum(terms, wrap_dim(dim, terms.ndim, name))


@precision(cpu="unchanged", accelerator="widest")
def vdot(input, other):
    """sum conj(input) other, for two vectors."""
    x, y = tensor_of(input, "vdot"), tensor_of(other, "vdot")
    if x.ndim != 1 or x.shape != y.shape:
        raise RuntimeError(
            f"vdot: expected two vectors of one length, got shapes {tuple(input.shape)} and {tuple(other.shape)}"
        )
    return vecdot(input, other)


def linalg_cross(input, other, *, dim=-1):
    """The vector product of vectors of length 3 along `dim`; the other dimensions broadcast."""
    name = "linalg.cross"
    a, b = tensor_of(input, name), tensor_of(other, name)
    if a.ndim != b.ndim:
        raise RuntimeError(
            f"{name}: expected as many dimensions in both, got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    axis = wrap_dim(dim, a.ndim, name)
    if a.ndim == 0 or a.shape[axis] != 3 or b.shape[axis] != 3:
        raise RuntimeError(
            f"{name}: dimension {dim} must have length 3, got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    shape.broadcast_shapes(a.shape, b.shape)
    return basic.cross(a, b, axis=axis)


@precision(accelerator="widest")
def cross(input, other, dim=None):
    """The vector product along `dim`, by default along the first dimension of length 3; see `linalg.cross`."""
    if dim is None:
        lengths = shape.broadcast_shapes(tensor_of(input, "cross").shape, tensor_of(other, "cross").shape)
        if 3 not in lengths:
            raise RuntimeError(
                f"cross: no dimension of length 3 in shapes {tuple(input.shape)} and {tuple(other.shape)}"
            )
        dim = tuple(lengths).index(3)
    return linalg_cross(input, other, dim=dim)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonal of each matrix. A view."""
    return shape.diagonal(tensor_of(A, "linalg.diagonal"), offset, dim1, dim2)


def vander(x, N=None):
    """The powers x^0 ... x^(N-1) along a new last dimension; N is by default the length of x. (..., n) -> (..., n, N)."""
    x = shape.atleast_1d(tensor_of(x, "linalg.vander"))
    if N is not None and N <= 1:
        raise RuntimeError(f"linalg.vander: N must be greater than 1, got {N}")
    x = x.to(dtypes.int64) if x.dtype is dtypes.bool else x
    return basic.vander(x, n=x.shape[-1] if N is None else N)


def older_vander(x, N=None, increasing=False):
    """`torch.vander`: the powers of the elements of a vector as rows, highest first unless `increasing`."""
    if tensor_of(x, "vander").ndim != 1:
        raise RuntimeError(f"vander: expected a vector, got shape {tuple(x.shape)}")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError(f"vander: N must not be negative, got {N}")
    x = x.to(dtypes.int64) if x.dtype is dtypes.bool else x
    powers = basic.vander(x, n=n)
    return powers if increasing else ops.flip(powers, -1)


# --- tensors as matrices ---


@precision(cpu="float32")
def tensorinv(A, ind=2):
    """The inverse of A as a map: its first `ind` dimensions are the rows of a square matrix, the others its columns."""
    name = "linalg.tensorinv"
    A = tensor_of(A, name)
    rows, columns = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if ind <= 0 or math.prod(rows) != math.prod(columns):
        raise RuntimeError(
            f"{name}: expected as many elements in the first ind={ind} dimensions of {tuple(A.shape)} as in the others, ind > 0"
        )
    n = math.prod(rows)
    return inv(A.reshape(n, n)).reshape(*columns, *rows)


@precision(cpu="float32")
def tensorsolve(A, B, dims=None):
    """X with tensordot(A, X, X.ndim) = B; the dimensions `dims` of A are moved to its end first."""
    name = "linalg.tensorsolve"
    A, B = tensor_of(A, name), tensor_of(B, name)
    if dims is not None:
        dims = [wrap_dim(one, A.ndim, name) for one in dims]
        A = ops.moveaxis(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    n = math.prod(B.shape)
    result = tuple(A.shape[B.ndim :])
    if n != math.prod(result) or math.prod(A.shape) != n * n:
        raise RuntimeError(
            f"{name}: A of shape {tuple(A.shape)} is no square map to tensors of shape {tuple(B.shape)}: the dimensions after "
            f"the first {B.ndim} must have {n} elements"
        )
    return solve(A.reshape(n, n), B.reshape(n)).reshape(*result)


def kron(input, other):
    """The Kronecker product: every element of `input` times the whole of `other`, as one large tensor."""
    a, b = tensor_of(input, "kron"), tensor_of(other, "kron")
    ndim = max(a.ndim, b.ndim)
    left, right = ((1,) * (ndim - x.ndim) + tuple(x.shape) for x in (a, b))
    a = a.reshape([n for length in left for n in (length, 1)])
    b = b.reshape([n for length in right for n in (1, length)])
    return (a * b).reshape([m * n for m, n in zip(left, right, strict=True)])


def block_diag(*tensors):
    """Matrices (vectors as rows, numbers as 1 x 1) along the diagonal of a larger one, zeros elsewhere."""
    blocks = []
    for one in tensors:
        x = tensor_of(one, "block_diag")
        if x.ndim > 2:
            raise RuntimeError(f"block_diag: expected at most 2 dimensions, got shape {tuple(x.shape)}")
        blocks.append(shape.atleast_2d(x))
    if not blocks:
        raise RuntimeError("block_diag: expected at least one tensor")
    total = sum(one.shape[1] for one in blocks)
    rows, before = [], 0
    for one in blocks:
        after = total - before - one.shape[1]
        rows.append(ops.pad(one, ((0, 0), (before, after))))
        before += one.shape[1]
    return ops.concatenate(rows, 0)


@precision(cpu="float32", accelerator="unchanged")
def trace(input):
    """The sum of the diagonal of a matrix."""
    if tensor_of(input, "trace").ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, got shape {tuple(input.shape)}")
    return ops.diagonal(input, 0, 0, 1).sum()


# --- products added to something ---


def _plus(beta, input, alpha, product):
    """beta * input + alpha * product; with beta = 0 the input counts only through its shape, NaNs in it included."""
    if not (product.dtype.is_floating_point or product.dtype.is_complex):
        whole = bool if product.dtype.name == "bool" else int
        beta, alpha = whole(beta), whole(alpha)
    scaled = product if alpha == 1 else alpha * product
    if beta == 0:
        return scaled + ops.zeros_like(input) if input.ndim > scaled.ndim else scaled
    return (input if beta == 1 else beta * input) + scaled


@precision(accelerator="lower")
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * mat @ vec. (n), (n, m), (m) -> (n)."""
    return _plus(beta, tensor_of(input, "addmv"), alpha, mv(mat, vec))


@precision(accelerator="lower")
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * the outer product of two vectors. (n, m), (n), (m) -> (n, m)."""
    return _plus(beta, tensor_of(input, "addr"), alpha, outer(vec1, vec2))


@precision("lower")
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * the sum over the batch of batch1 @ batch2. (n, p), (b, n, m), (b, m, p) -> (n, p)."""
    return _plus(beta, tensor_of(input, "addbmm"), alpha, ops.sum(bmm(batch1, batch2), 0))


# --- older names of torch ---


def logdet(input):
    """The logarithm of the determinant: -inf where it is 0, NaN where it is negative. The gradient needs an invertible matrix."""
    sign, size = slogdet(input)
    if sign.dtype.is_complex:
        return ops.log(sign) + size
    return ops.where(sign == -1, float("nan"), size)


@precision(cpu="float32")
def pinverse(input, rcond=1e-15):
    """The pseudo-inverse; the older spelling of `linalg.pinv`."""
    return linalg.pinv(input, rcond)


def older_qr(input, some=True):
    """`torch.qr`: (Q, R), with square Q if not `some`; the older spelling of `linalg.qr`."""
    return linalg.qr(input, "reduced" if some else "complete")


def older_svd(input, some=True, compute_uv=True):
    """`torch.svd`: (U, S, V) with U diag(S) V^H = input, all columns of U and V if not `some`, zeros for them if not `compute_uv`."""
    if not compute_uv:
        m, n = matrices(input, "svd").shape[-2:]
        batch = tuple(input.shape[:-2])
        return OlderSVD(
            input.new_zeros((*batch, m, m)), linalg.svdvals(input), input.new_zeros((*batch, n, n))
        )
    U, S, Vh = linalg.svd(input, full_matrices=not some)
    return OlderSVD(U, S, adjoint(Vh))


@precision(cpu="float32")
def older_cholesky(input, upper=False):
    """`torch.cholesky`: the older spelling of `linalg.cholesky`."""
    return linalg.cholesky(input, upper=upper)
