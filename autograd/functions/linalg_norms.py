"""Norms, condition numbers and ranks under the names of `torch.linalg`."""

from chainrule.autograd import ops
from chainrule.autograd.ops import linalg_spectral
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from .common import holds, reduced, tensor_of, wrap_dims
from .linalg import inv_ex, matrices, svdvals, tolerances

_INF = float("inf")


def _floating(x, dtype, name):
    """x as numbers that have a norm, converted to `dtype` first."""
    x = tensor_of(x, name)
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(
            f"{name}: expected a floating point or complex tensor, got {x.dtype}; convert with .float()"
        )
    if dtype is None:
        return x
    if dtype.is_complex != x.dtype.is_complex or not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(
            f"{name}: dtype must be {'complex' if x.dtype.is_complex else 'floating point'}, as the input is, got {dtype}"
        )
    if dtype.itemsize < x.dtype.itemsize:
        raise RuntimeError(
            f"{name}: an input of {x.dtype} would lose precision in {dtype}; convert it with .to(dtype) first"
        )
    return x.to(dtype)


def _parts(x):
    """Real and imaginary parts along a new last dimension."""
    return ops.stack([ops.real(x), ops.real(x * -1j)], -1)


def _size(x):
    """|x| elementwise; the gradient at 0 is 0."""
    return ops.vector_norm(_parts(x), axis=-1) if x.dtype.is_complex else ops.absolute(x)


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """(sum |x|^ord)^(1/ord) over `dim` (all elements by default).

    ord: any number; inf and -inf are the largest and the smallest |x|, 0 the count of non-zeros. The gradient at 0 is 0.
    """
    name = "linalg.vector_norm"
    x = _floating(x, dtype, name)
    if isinstance(ord, (bool, str)) or not isinstance(ord, (int, float)):
        raise RuntimeError(f"{name}: ord must be a number, got {ord!r}; matrix_norm takes names")
    axis = reduced(dim, x.ndim, name)
    if x.dtype.is_complex:
        axis = tuple(range(x.ndim)) if axis is None else axis
        if ord == 2:  # one norm of all the parts is smooth also where single elements are 0
            return _squeezed(
                ops.vector_norm(_parts(x), axis=(*axis, x.ndim), ord=2, keepdims=True), x, axis, keepdim
            )
        x = _size(x)
    return ops.vector_norm(x, axis=axis, ord=ord, keepdims=keepdim)


def _squeezed(y, x, axis, keepdim):
    """A norm over `axis` of x and its parts, without the dimension of the parts, and without `axis` unless keepdim."""
    return ops.squeeze(y, (x.ndim,) if keepdim else (*axis, x.ndim))


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """The norm of each matrix, whose rows and columns are the two dimensions `dim`.

    ord: "fro" (root of the sum of squares), "nuc" (sum of the singular values), 2 and -2 (the largest and smallest of them), 1 and -1
    (the largest and smallest sum of |A| down a column), inf and -inf (along a row). Where two candidates for the largest or
    smallest are equal they share the gradient.
    """
    name = "linalg.matrix_norm"
    A = _floating(A, dtype, name)
    dims = _two_dims(A, dim, name)
    if ord == "fro":
        return vector_norm(A, 2, dims, keepdim)
    if ord not in ("nuc", 1, -1, 2, -2, _INF, -_INF):
        raise RuntimeError(f'{name}: ord must be "fro", "nuc", inf, -inf, 1, -1, 2 or -2, got {ord!r}')
    last = ops.moveaxis(A, dims, (-2, -1))
    if ord in ("nuc", 2, -2):
        values = svdvals(last)
        summary = ops.sum if ord == "nuc" else _extreme(values, -1, ord, name)
        found = summary(values, -1)
    else:
        sums = ops.sum(_size(last), -2 if ord in (1, -1) else -1)
        found = _extreme(sums, -1, ord, name)(sums, -1)
    return ops.expand_dims(found, tuple(sorted(dims))) if keepdim else found


def _two_dims(A, dim, name):
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be two ints, got {dim!r}")
    if A.ndim < 2:
        raise RuntimeError(f"{name}: expected a tensor of at least 2 dimensions, got shape {tuple(A.shape)}")
    return wrap_dims(tuple(dim), A.ndim, name)


def _extreme(x, axis, ord, name):
    """The largest or the smallest, as the sign of `ord` says; the largest of no sizes is 0."""
    if x.shape[axis] == 0 and ord < 0:
        raise RuntimeError(f"{name}: the {ord}-norm of matrices without elements is not defined")
    if x.shape[axis] == 0:
        return ops.sum
    return ops.amax if ord > 0 else ops.amin


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """A vector norm if `dim` is one dimension, a matrix norm if two; without `ord` the 2-norm of all elements or of `dim`.

    With `ord` but without `dim`, A must be a vector or a matrix. See `vector_norm` and `matrix_norm`.
    """
    name = "linalg.norm"
    A = tensor_of(A, name)
    dims = dim if dim is None or isinstance(dim, (tuple, list)) else (dim,)
    if ord is None:
        return vector_norm(A, 2, dims, keepdim, dtype=dtype)
    if dims is None:
        if A.ndim not in (1, 2):
            raise RuntimeError(
                f"{name}: with ord but without dim, A must have 1 or 2 dimensions, got shape {tuple(A.shape)}"
            )
        dims = tuple(range(A.ndim))
    if len(dims) == 2:
        return matrix_norm(A, ord, dims, keepdim, dtype=dtype)
    if len(dims) != 1:
        raise RuntimeError(f"{name}: dim must be one or two dimensions, got {dim!r}")
    return vector_norm(A, ord, dims, keepdim, dtype=dtype)


@precision(cpu="float32")
def cond(A, p=None):
    """The condition number |A|_p |A^-1|_p; infinite for a singular matrix.

    p: None or 2 (largest over smallest singular value, for matrices of any shape), -2 (its inverse), or one of the other names of
    `matrix_norm` for square ones.
    """
    name = "linalg.cond"
    if p not in (None, 2, -2, "fro", "nuc", 1, -1, _INF, -_INF):
        raise RuntimeError(f'{name}: p must be None, "fro", "nuc", inf, -inf, 1, -1, 2 or -2, got {p!r}')
    A = matrices(A, name, square=p not in (None, 2, -2))
    if A._array.size == 0:
        return A.new_zeros(tuple(A.shape[:-2]), dtype=A.dtype.to_real())
    if p in (None, 2, -2):
        values = svdvals(A)
        largest, smallest = values[..., 0], values[..., -1]
        return smallest / largest if p == -2 else largest / smallest
    inverse, info = inv_ex(A)
    found = matrix_norm(A, p) * matrix_norm(inverse, p)
    return ops.where(info != 0, _INF, found) if holds((info != 0).any()) else found


@precision(cpu="float32")
def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values (|eigenvalues| if `hermitian`) exceed max(atol, rtol * the largest); an integer, not differentiable.

    rtol is by default max(m, n) times the precision of the dtype, or 0 where atol (or its older name tol) is given.
    """
    A = matrices(A, "linalg.matrix_rank", square=hermitian).detach()
    atol, rtol = tolerances(A, tol if atol is None else atol, rtol)
    if 0 in tuple(A.shape[-2:]):
        return A.new_zeros(tuple(A.shape[:-2]), dtype=dtypes.int64)
    values = ops.absolute(linalg_spectral.eigvalsh(A)) if hermitian else linalg_spectral.svdvals(A)
    return linalg_spectral.count_above(values, atol, rtol)
