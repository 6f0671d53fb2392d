"""What the operations of linear algebra share: transposes, the complex convention, and failures named by batch entry.

A matrix is the last two axes; all axes before them count the matrices of a batch.

The literature writes the gradient of a matrix function as G with dL = Re tr(G^H dY), PyTorch's convention. Rules of this
library carry its conjugate (see `elementwise.py`). A rule marked `@conjugate` is written in the literature's convention:
its gradients are conjugated on the way in and out, which for real matrices is nothing at all.
"""

import functools

from numpy.linalg import LinAlgError as ArrayLinAlgError

from chainrule.autograd import late
from chainrule.backends import backend_of, cpu, namespaces


class LinAlgError(RuntimeError):
    """A matrix that cannot be inverted, factored or diagonalised. `info` has a non-zero entry for each one in the batch."""

    def __init__(self, message, info=None):
        super().__init__(message)
        self.info = info


def raw(x):
    """The array of a Tensor; an array as it is."""
    return x._array if isinstance(x, late.Tensor) else x


def is_complex(x):
    """Whether an array or a Tensor holds complex numbers."""
    return raw(x).dtype.kind == "c"


def transpose(xp, x):
    """The transpose of each matrix."""
    return xp.swapaxes(x, axis1=-1, axis2=-2)


def conj(xp, x):
    """The complex conjugate; real x (and None) as it is, without a copy."""
    return xp.conj(x) if x is not None and is_complex(x) else x


def adjoint(xp, x):
    """The conjugate transpose of each matrix."""
    return conj(xp, transpose(xp, x))


def diagonal(xp, x):
    """The diagonal of each matrix."""
    return xp.diagonal(x, offset=0, axis1=-2, axis2=-1)


def diagonal_matrix(xp, x):
    """Matrices with x on the diagonal, of the dtype of x."""
    return x[..., None] * xp.eye(x.shape[-1], dtype=x.dtype)


def conjugate(rule):
    """A rule written for gradients G with dL = Re tr(G^H dY), as one for this library's; see the head of this module."""

    @functools.wraps(rule)
    def turned(xp, g, *saved):
        found = rule(xp, [conj(xp, one) for one in g] if isinstance(g, list) else conj(xp, g), *saved)
        if isinstance(found, tuple):
            return tuple(conj(xp, one) for one in found)
        return conj(xp, found)

    return turned


def compute(xp, name, function, arrays, fails, what, good=None, trust_numpy=True):
    """function(*arrays), or LinAlgError naming the entry of the batch that has no result.

    fails: (xp, first array) -> info, an int array over the batch: 0 where all is well, else the number of the step that failed.
    what: the sentence about a matrix that failed, in which `{step}` stands for that number.
    good: result -> a bool array, whether it looks like one; finite by default.
    trust_numpy: NumPy raises where this function fails, so that there its result needs no look. CuPy's never raise: they would
        have to wait for the GPU.
    """
    try:
        y = function(*arrays)
        if (trust_numpy and xp is cpu.xp) or y.size == 0 or bool(_whole((good or xp.isfinite)(y)).all()):
            return y
        failed = False
    except ArrayLinAlgError:
        y, failed = None, True
    info = _whole(fails(xp, arrays[0]))
    if failed or bool((info != 0).any()):
        raise LinAlgError(f"{name}: {describe(info, what)}", info)
    return y


def _whole(x):
    """The array with the axes that `vmap` hides, which count matrices as any others do."""
    return backend_of(x).stored(x) if x.__class__ in namespaces else x


def describe(info, what):
    """The sentence `what` about the first entry of the batch whose `info` is not 0."""
    flat = [int(step) for step in info.reshape(-1).tolist()]
    first = next((i for i, step in enumerate(flat) if step), 0)
    place = []
    for length in reversed(info.shape):
        place.insert(0, first % length)
        first //= length
    where = (
        f"entry ({', '.join(map(str, place))}) of the batch of shape {tuple(info.shape)}"
        if place
        else "the matrix"
    )
    step = next((step for step in flat if step), "?")
    return f"{where} {what.format(step=step)}"


def not_finite(xp, x):
    """An int array over the batch: 1 for each matrix that holds a NaN or an infinity."""
    return (~xp.isfinite(x).all(axis=(-2, -1))).astype("int32")


def check_gauge(name, imaginary):
    """Refuse a loss that depends on the phase of complex singular or eigenvectors: any phase is as good as another.

    imaginary: what the derivative of the loss in the direction of those phases is; 0 for a loss that has a meaning.
    """
    found = raw(imaginary)
    if found.size and bool((abs(found) > 1e-2).any()):
        raise RuntimeError(
            f"{name}: in the complex case the vectors are determined up to a factor e^(i phi) each, and this loss depends on that "
            f"factor, so it has no gradient; use a loss that does not, such as one of abs(vectors) or of vectors @ vectors.mH"
        )
