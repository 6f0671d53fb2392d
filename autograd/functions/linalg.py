"""Linear algebra under the names of `torch.linalg`: inverses, systems of equations, factorisations, eigenvalues.

A matrix is the last two dimensions of a tensor; all dimensions before them are a batch, and batches broadcast. Where a function
has no derivative, its docstring says where and why; everywhere else it has derivatives of every order.
"""

from collections import namedtuple

from chainrule.autograd import late, ops
from chainrule.autograd.ops import linalg as basic
from chainrule.autograd.ops import linalg_det, linalg_factor, linalg_pinv, linalg_spectral
from chainrule.autograd.ops.linalg_common import LinAlgError
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from . import creation, product, shape
from .common import holds, tensor_of

CholeskyEx = namedtuple("cholesky_ex", ["L", "info"])
InvEx = namedtuple("inv_ex", ["inverse", "info"])
SolveEx = namedtuple("solve_ex", ["result", "info"])
SLogDet = namedtuple("slogdet", ["sign", "logabsdet"])
QR = namedtuple("qr", ["Q", "R"])
SVD = namedtuple("svd", ["U", "S", "Vh"])
Eigh = namedtuple("eigh", ["eigenvalues", "eigenvectors"])
Eig = namedtuple("eig", ["eigenvalues", "eigenvectors"])
LstSq = namedtuple("lstsq", ["solution", "residuals", "rank", "singular_values"])


def matrices(value, name, square=False):
    """`value` if it is a Tensor of matrices that can be computed with; else an error that says what to do."""
    x = tensor_of(value, name)
    if x.ndim < 2:
        raise RuntimeError(
            f"{name}: expected matrices, a tensor of at least 2 dimensions, got shape {tuple(x.shape)}; "
            f"a vector becomes a matrix with .unsqueeze(-1)"
        )
    if x.dtype not in (dtypes.float32, dtypes.float64, dtypes.complex64, dtypes.complex128):
        raise RuntimeError(
            f"{name}: expected float32, float64, complex64 or complex128, got {x.dtype}; convert with .to(dtype)"
        )
    if square and x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"{name}: expected square matrices (..., n, n), got shape {tuple(x.shape)}; "
            f"for others see linalg.pinv, linalg.lstsq and linalg.svd"
        )
    return x


def adjoint(x):
    """The conjugate transpose of each matrix."""
    x = ops.swapaxes(x, -1, -2)
    return ops.conj(x) if x.dtype.is_complex else x


def _together(a, b, name):
    """Refuse two matrices whose dtypes or batches do not go together."""
    if a.dtype is not b.dtype:
        raise RuntimeError(
            f"{name}: expected tensors of one dtype, got {a.dtype} and {b.dtype}; convert with .to(dtype)"
        )
    try:
        shape.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError:
        raise RuntimeError(
            f"{name}: batches of shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be broadcast together"
        ) from None


# --- inverses and systems of equations ---


@precision(cpu="float32")
def inv(A):
    """The inverse of each matrix. LinAlgError, naming the entry of the batch, where one is singular."""
    return basic.inv(matrices(A, "linalg.inv", square=True))


@precision(cpu="float32")
def inv_ex(A, *, check_errors=False):
    """(inverse, info): as `inv`, but a singular matrix gives NaNs and in `info` the elimination step that failed."""
    A = matrices(A, "linalg.inv_ex", square=True)
    found, info = _attempt(basic.inv, A, check_errors)
    return InvEx(found, info)


def _attempt(function, A, check_errors, ndim=2):
    """function(A) and a Tensor `info`, with NaNs for the matrices where the function fails, or the error itself; what it gives for
    each matrix has `ndim` dimensions."""
    try:
        return function(A), A.new_zeros(tuple(A.shape[:-2]), dtype=dtypes.int32)
    except LinAlgError as error:
        if check_errors:
            raise
        info = late.Tensor._wrap(error.info)
    bad = (info != 0).reshape((*info.shape, 1, 1))
    found = function(ops.where(bad, identity_like(A), A))
    return ops.where(bad if ndim == 2 else ops.squeeze(bad, -1), float("nan"), found), info


def identity_like(A):
    """The identity matrix of the size, dtype and device of A."""
    return creation.eye(A.shape[-1], dtype=A.dtype, device=A.device)


@precision(cpu="float32")
def solve(A, B, *, left=True):
    """X with A X = B (or X A = B if not `left`). B holds matrices, or vectors where its shape is that of A without a dimension.

    LinAlgError, naming the entry of the batch, where A is singular.
    """
    A = matrices(A, "linalg.solve", square=True)
    return _with_vectors(A, tensor_of(B, "linalg.solve"), left, "linalg.solve", basic.solve)


def solve_ex(A, B, *, left=True, check_errors=False):
    """(result, info): as `solve`, but a singular A gives NaNs and in `info` the elimination step that failed."""
    A = matrices(A, "linalg.solve_ex", square=True)
    B = tensor_of(B, "linalg.solve_ex")
    ndim = 1 if _are_vectors(A, B) else 2
    found, info = _attempt(lambda A: solve(A, B, left=left), A, check_errors, ndim)
    return SolveEx(found, info)


def _are_vectors(A, B):
    """Whether B holds vectors, not matrices: as `torch.linalg.solve` tells."""
    return B.ndim == 1 or (B.ndim == A.ndim - 1 and tuple(B.shape) == tuple(A.shape[:-1]))


def _with_vectors(A, B, left, name, function):
    """function(A, B) for matrices B; vectors become columns for it, and X A = B becomes A^T X^T = B^T."""
    if _are_vectors(A, B):
        if not left:
            raise RuntimeError(f"{name}: with left=False B must hold matrices, got shape {tuple(B.shape)}")
        return ops.squeeze(_with_vectors(A, ops.expand_dims(B, -1), True, name, function), -1)
    if B.ndim < 2 or B.shape[-2 if left else -1] != A.shape[-1]:
        side = (
            "A X = B needs as many rows of B as A has"
            if left
            else "X A = B needs as many columns of B as A has"
        )
        raise RuntimeError(f"{name}: {side}, got shapes {tuple(A.shape)} and {tuple(B.shape)}")
    _together(A, B, name)
    if left:
        return function(A, B)
    return ops.swapaxes(function(ops.swapaxes(A, -1, -2), ops.swapaxes(B, -1, -2)), -1, -2)


def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """X with A X = B (X A = B if not `left`), reading only one triangle of A; its diagonal counts as ones if `unitriangular`.

    A zero on the diagonal gives infinities and NaNs, not an error.
    """
    name = "linalg.solve_triangular"
    A, B = matrices(A, name, square=True), matrices(B, name)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(f"{name}: shapes {tuple(A.shape)} and {tuple(B.shape)} do not fit")
    _together(A, B, name)
    if left:
        return linalg_factor.solve_triangular(A, B, upper=bool(upper), unitriangular=bool(unitriangular))
    turned = linalg_factor.solve_triangular(
        ops.swapaxes(A, -1, -2), ops.swapaxes(B, -1, -2), upper=not upper, unitriangular=bool(unitriangular)
    )
    return ops.swapaxes(turned, -1, -2)


@precision(cpu="float32")
def cholesky_solve(B, L, upper=False):
    """X with A X = B, where L is the Cholesky factor of A: A = L L^H, or L^H L if `upper`."""
    first = adjoint(L) if upper else L
    half = solve_triangular(first, B, upper=False)
    return solve_triangular(adjoint(first), half, upper=True)


@precision(cpu="float32")
def cholesky_inverse(L, upper=False):
    """The inverse of the matrix whose Cholesky factor is L: of L L^H, or of L^H L if `upper`."""
    L = matrices(L, "cholesky_inverse", square=True)
    return cholesky_solve(ops.broadcast_to(identity_like(L), tuple(L.shape)), L, upper)


@precision(cpu="float32")
def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The Moore-Penrose pseudo-inverse: singular values up to max(atol, rtol * the largest) count as 0.

    rtol is by default max(m, n) times the precision of the dtype, or 0 where atol is given; both may be tensors, one number
    for each matrix. hermitian: A is Hermitian, and only its lower triangle read. The derivatives are those for matrices that
    keep their rank; where the rank changes the pseudo-inverse is not even continuous.
    """
    A = matrices(A, "linalg.pinv", square=hermitian)
    atol, rtol = tolerances(A, atol, rcond if rtol is None else rtol)
    return linalg_pinv.pinv(A, atol, rtol, hermitian=bool(hermitian))


def tolerances(A, atol, rtol):
    """The absolute and the relative tolerance below which a singular value counts as 0, with PyTorch's defaults."""
    for one in (atol, rtol):
        if isinstance(one, late.Tensor) and one.dtype.is_complex:
            raise RuntimeError(f"linalg: a tolerance must be real, got {one.dtype}")
    if rtol is None:
        default = max(A.shape[-2:]) * dtypes.finfo(A.dtype).eps
        if isinstance(atol, late.Tensor):
            rtol = ops.where(atol.detach() > 0, 0.0, atol.new_tensor(default))
        else:
            rtol = 0.0 if atol else default
    return tuple(_number_or_array(one, A) for one in (atol, rtol))


def _number_or_array(tolerance, A):
    if tolerance is None:
        return 0.0
    if not isinstance(tolerance, late.Tensor):
        return float(tolerance)
    return tolerance.detach().to(A.dtype.to_real())._array


@precision(cpu="float32")
def lstsq(A, B, rcond=None, *, driver=None):
    """The shortest X that minimises |A X - B|, as (solution, residuals, rank, singular_values).

    rank: of each A, the number of singular values above rcond times the largest (rcond: precision times max(m, n) by default).
    The driver, in PyTorch the choice of a LAPACK routine, decides as there what else is computed. "gelsy" (None): nothing.
    "gels": A counts as of full rank, rank is empty, and residuals, the squared lengths of the columns of A X - B, are given where A
    has more rows than columns. "gelsd" and "gelss": residuals where A also has full rank throughout the batch, and singular_values.
    Solution and residuals are differentiable where A keeps its rank.
    """
    name = "linalg.lstsq"
    A, B = matrices(A, name), tensor_of(B, name)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise RuntimeError(
            f'{name}: driver must be None, "gels", "gelsy", "gelsd" or "gelss", got {driver!r}'
        )
    vectors = _are_vectors(A, B)
    columns = ops.expand_dims(B, -1) if vectors else B
    if columns.ndim < 2 or columns.shape[-2] != A.shape[-2]:
        raise RuntimeError(
            f"{name}: A X = B needs as many rows of B as A has, got shapes {tuple(A.shape)} and {tuple(B.shape)}"
        )
    _together(A, columns, name)
    m, n = A.shape[-2:]
    if rcond is None:
        rcond = 0.0 if driver == "gels" else dtypes.finfo(A.dtype).eps * max(m, n)
    X, rank = linalg_pinv.lstsq(A, columns, rcond=float(rcond))
    residuals = A.new_empty(0, dtype=A.dtype.to_real())
    if driver in ("gels", "gelsd", "gelss") and m > n and holds((rank == n).all()):
        off = product.matmul(A, X) - columns
        residuals = ops.sum(ops.real(off * ops.conj(off)) if off.dtype.is_complex else ops.square(off), -2)
    with_values = driver in ("gelsd", "gelss")
    values = linalg_spectral.svdvals(A.detach()) if with_values else A.new_empty(0, dtype=A.dtype.to_real())
    rank = A.new_empty(0, dtype=dtypes.int64) if driver == "gels" else rank
    return LstSq(ops.squeeze(X, -1) if vectors else X, residuals, rank, values)


# --- determinants ---


def det(A):
    """The determinant of each matrix; differentiable to every order everywhere, singular matrices included."""
    return linalg_det.det(matrices(A, "linalg.det", square=True))


def slogdet(A):
    """(sign, logabsdet): the sign, or complex phase, of the determinant and the logarithm of its absolute value.

    For a singular matrix they are 0 and -inf, and there is no gradient: the backward pass raises LinAlgError.
    """
    return SLogDet(*linalg_det.slogdet(matrices(A, "linalg.slogdet", square=True)))


# --- factorisations ---


@precision(cpu="float32")
def cholesky(A, *, upper=False):
    """The lower triangular L with L L^H = A (or the upper triangular one with L^H L = A) for Hermitian positive-definite A.

    Only one triangle of A is read. The gradient is Hermitian. LinAlgError, naming the entry of the batch, where A is not
    positive-definite.
    """
    A = matrices(A, "linalg.cholesky", square=True)
    return linalg_factor.cholesky(A, upper=bool(upper))


@precision(cpu="float32")
def cholesky_ex(A, *, upper=False, check_errors=False):
    """(L, info): as `cholesky`, but where A is not positive-definite L is NaN, and `info` the order of the first leading minor
    that is not."""
    A = matrices(A, "linalg.cholesky_ex", square=True)
    L, info = _attempt(lambda A: cholesky(A, upper=upper), A, check_errors)
    return CholeskyEx(L, info)


@precision(cpu="float32")
def qr(A, mode="reduced"):
    """(Q, R) with Q R = A, Q with orthonormal columns, R upper triangular.

    mode: "reduced", "complete" (a square Q) or "r" (R alone, Q empty). Differentiable where the first min(m, n) columns of A are
    linearly independent; in mode "complete" not for more rows than columns, where the last columns of Q are arbitrary.
    """
    A = matrices(A, "linalg.qr")
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f'linalg.qr: mode must be "reduced", "complete" or "r", got {mode!r}')
    Q, R = linalg_factor.qr(A, mode="complete" if mode == "complete" else "reduced")
    return QR(A.new_empty(0) if mode == "r" else Q, R)


@precision(cpu="float32")
def svd(A, full_matrices=True, *, driver=None):
    """(U, S, Vh) with U diag(S) Vh = A and S descending.

    U and Vh are square, or with full_matrices=False have min(m, n) columns and rows. The gradient of S exists everywhere; that of
    U and Vh only where the singular values are distinct (and not 0, for a rectangular A), and it is infinite or NaN elsewhere. The
    vectors beyond min(m, n) are arbitrary, and gradients that reach them are not used. For complex A a loss that depends on the
    phases of the vectors is refused. `driver`, PyTorch's choice of a CUDA routine, changes nothing.
    """
    return SVD(*linalg_spectral.svd(matrices(A, "linalg.svd"), full_matrices=bool(full_matrices)))


@precision(cpu="float32")
def svdvals(A, *, driver=None):
    """The singular values of each matrix, descending. Differentiable everywhere; to second order where they are distinct."""
    return linalg_spectral.svdvals(matrices(A, "linalg.svdvals"))


# --- eigenvalues ---


def _triangle(UPLO, name):
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f'{name}: UPLO must be "L" or "U", got {UPLO!r}')
    return UPLO.upper()


@precision(cpu="float32")
def eigh(A, UPLO="L"):
    """(eigenvalues, eigenvectors) of Hermitian A, of which the lower ("L") or upper triangle is read; eigenvalues ascending.

    The gradient is Hermitian. That of the eigenvectors exists only where the eigenvalues are distinct, and is infinite or NaN
    elsewhere. For complex A a loss that depends on the phases of the vectors is refused.
    """
    return Eigh(
        *linalg_spectral.eigh(matrices(A, "linalg.eigh", square=True), UPLO=_triangle(UPLO, "linalg.eigh"))
    )


@precision(cpu="float32")
def eigvalsh(A, UPLO="L"):
    """The eigenvalues of Hermitian A, ascending. Differentiable everywhere; to second order where they are distinct."""
    return linalg_spectral.eigvalsh(
        matrices(A, "linalg.eigvalsh", square=True), UPLO=_triangle(UPLO, "linalg.eigvalsh")
    )


@precision(cpu="float32")
def eig(A):
    """(eigenvalues, eigenvectors) of square A, complex and in no order; the eigenvectors, columns, have length 1.

    Differentiable where the eigenvalues are distinct. A loss that depends on the phases of the vectors is refused.
    """
    return Eig(*linalg_spectral.eig(matrices(A, "linalg.eig", square=True)))


@precision(cpu="float32")
def eigvals(A):
    """The eigenvalues of square A, complex and in no order. Differentiable where A can be diagonalised."""
    return linalg_spectral.eigvals(matrices(A, "linalg.eigvals", square=True))
