"""`numpy.linalg` on Tensors, recorded: NumPy's names, arguments and results."""

from chainrule.autograd import ops
from chainrule.autograd.functions import linalg as functions
from chainrule.autograd.functions import linalg_norms as norms
from chainrule.autograd.functions import linalg_products as products
from chainrule.autograd.ops.linalg_common import LinAlgError

from . import _product
from ._common import floating, promoted, tensor
from ._product import matmul, vecdot
from ._shape import matrix_transpose

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "svd",
    "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def _of_floats(name, text, function):
    """A function of one array that has NumPy's arguments already."""

    def converted(a, /):
        return function(floating(a))

    converted.__name__ = converted.__qualname__ = name
    converted.__doc__ = text
    return converted


inv = _of_floats("inv", "The inverse of each matrix.", functions.inv)
det = _of_floats("det", "The determinant of each matrix.", functions.det)
slogdet = _of_floats(
    "slogdet", "(sign, logarithm of the absolute value) of each determinant.", functions.slogdet
)
eig = _of_floats("eig", "(eigenvalues, eigenvectors), complex.", functions.eig)
eigvals = _of_floats("eigvals", "The eigenvalues of each matrix, complex.", functions.eigvals)
svdvals = _of_floats("svdvals", "The singular values of each matrix, descending.", functions.svdvals)


def eigh(a, UPLO="L"):
    """(eigenvalues, eigenvectors) of Hermitian matrices, ascending; the triangle UPLO is read."""
    return functions.eigh(floating(a), UPLO)


def eigvalsh(a, UPLO="L"):
    """The eigenvalues of Hermitian matrices, ascending; the triangle UPLO is read."""
    return functions.eigvalsh(floating(a), UPLO)


def cond(x, p=None):
    """The condition number |x|_p |x^-1|_p of each matrix."""
    return norms.cond(floating(x), p)


def matrix_power(a, n):
    """Square matrices to an integer power, which may be negative."""
    return products.matrix_power(floating(a), n)


def tensorinv(a, ind=2):
    """The inverse of `a` as a map from its last axes to its first `ind`."""
    return products.tensorinv(floating(a), ind)


def _floats(*values):
    return promoted(*(floating(one) for one in values))


def solve(a, b):
    """x with a x = b; b is a vector only if it is 1-d, else a batch of matrices."""
    a, b = _floats(a, b)
    if b.ndim == 1:
        return ops.squeeze(functions.solve(a, ops.expand_dims(b, -1)), -1)
    return functions.solve(a, b.reshape((1,) * (a.ndim - b.ndim) + tuple(b.shape)) if b.ndim < a.ndim else b)


def lstsq(a, b, rcond=None):
    """(x, residuals, rank, singular values) of the least squares problem; x and residuals are differentiable."""
    a, b = _floats(a, b)
    x, residuals, rank, values = functions.lstsq(a, b, rcond, driver="gelsd")
    return x, residuals.reshape(-1), int(rank), values


def cholesky(a, /, *, upper=False):
    """The triangular L with L L^H = a, or U with U^H U = a."""
    return functions.cholesky(floating(a), upper=upper)


def qr(a, mode="reduced"):
    """(Q, R); R alone in mode "r"."""
    found = functions.qr(floating(a), mode)
    return found.R if mode == "r" else found


def svd(a, full_matrices=True, compute_uv=True):
    """(U, S, Vh), or the singular values alone."""
    a = floating(a)
    return functions.svd(a, full_matrices) if compute_uv else functions.svdvals(a)


def pinv(a, rcond=None, hermitian=False, *, rtol=None):
    """The Moore-Penrose inverse; singular values up to rcond times the largest count as 0 (1e-15 by default)."""
    tolerance = rtol if rcond is None else rcond
    return functions.pinv(floating(a), hermitian=hermitian, rtol=1e-15 if tolerance is None else tolerance)


def matrix_rank(A, tol=None, hermitian=False, *, rtol=None):
    """How many singular values exceed `tol`, or rtol times the largest."""
    return norms.matrix_rank(floating(A), tol, hermitian, rtol=rtol)


def norm(x, ord=None, axis=None, keepdims=False):
    """A vector norm along one axis, a matrix norm along two; without `ord` the 2-norm of all elements."""
    return norms.norm(floating(x), ord, axis, keepdims)


def vector_norm(x, /, *, axis=None, keepdims=False, ord=2):
    """(sum |x|^ord)^(1/ord) along `axis`."""
    return norms.vector_norm(floating(x), ord, axis, keepdims)


def matrix_norm(x, /, *, keepdims=False, ord="fro"):
    """A matrix norm of the last two axes."""
    return norms.matrix_norm(floating(x), ord, (-2, -1), keepdims)


def multi_dot(arrays):
    """The product of several matrices, in the order that costs least."""
    return products.multi_dot(promoted(*arrays))


def tensorsolve(a, b, axes=None):
    """x with tensordot(a, x, x.ndim) = b; the axes `axes` of a are moved to its end first."""
    a, b = _floats(a, b)
    return products.tensorsolve(a, b, axes)


def diagonal(x, /, *, offset=0):
    """The diagonal of the last two axes, as a new last one. A view."""
    return products.diagonal(tensor(x), offset=offset)


def trace(x, /, *, offset=0):
    """The sum of the diagonal of the last two axes."""
    return diagonal(x, offset=offset).sum(-1)


def outer(x1, x2, /):
    """All products of the elements of two vectors."""
    return _product.outer(x1, x2)


def tensordot(x1, x2, /, *, axes=2):
    """Sums of products over the last `axes` axes of x1 and the first ones of x2, or over two lists of axes."""
    return _product.tensordot(x1, x2, axes)


def cross(x1, x2, /, *, axis=-1):
    """The cross product of vectors of length 3 along `axis`."""
    return _product.cross(x1, x2, axis=axis)
