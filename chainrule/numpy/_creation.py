"""Making arrays. Dtypes are NumPy's: floats are float64 unless `dtype` says otherwise."""

import builtins

import numpy as np

from chainrule.autograd import Tensor, ops
from chainrule.autograd.functions import creation
from chainrule.autograd.functions import shape as shape_functions
from chainrule.backends import dtypes

from ._common import floating, tensor, together

__all__ = [
    "arange", "array", "asanyarray", "asarray", "ascontiguousarray", "copy", "diag", "diagflat", "empty", "empty_like", "eye", "full",
    "full_like", "geomspace", "identity", "linspace", "logspace", "meshgrid", "ones", "ones_like", "tri", "vander", "zeros", "zeros_like",
]  # fmt: skip


def array(object, dtype=None, *, copy=True, ndmin=0):
    """A new Tensor with the numbers of an array-like; Tensors in it keep their gradients."""
    x = tensor(object, dtype)
    x = ops.copy(x) if copy else x
    return x.reshape((1,) * (ndmin - x.ndim) + tuple(x.shape)) if ndmin > x.ndim else x


def asarray(a, dtype=None, *, device=None, copy=None):
    """An array-like as a Tensor, which shares its memory if nothing has to change."""
    x = tensor(a, dtype).to(device=device)
    return ops.copy(x) if copy else x


def asanyarray(a, dtype=None):
    """`asarray`."""
    return tensor(a, dtype)


def ascontiguousarray(a, dtype=None):
    """A Tensor of at least one dimension whose elements lie in row-major order."""
    return shape_functions.contiguous(shape_functions.atleast_1d(tensor(a, dtype)))


def copy(a):
    """A copy in new memory, recorded."""
    return ops.copy(tensor(a))


def _shape(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _filled(name, text):
    make = getattr(creation, name)

    def function(shape, dtype=None, *, device=None):
        return make(_shape(shape), dtype=dtypes.float64 if dtype is None else dtype, device=device)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


zeros, ones = _filled("zeros", "Zeros; float64."), _filled("ones", "Ones; float64.")
empty = _filled("empty", "Whatever the memory holds; float64.")


def full(shape, fill_value, dtype=None, *, device=None):
    """`fill_value`, a number or an array-like that broadcasts, all over `shape`."""
    value = tensor(fill_value, dtype).to(device=device)
    return ops.copy(ops.broadcast_to(value, _shape(shape)))


def _like(function, text):
    def like(a, dtype=None, *, shape=None, device=None):
        x = tensor(a)
        return function(x.shape if shape is None else shape, dtype or x.dtype, device=device or x.device)

    like.__name__ = like.__qualname__ = f"{function.__name__}_like"
    like.__doc__ = text
    return like


zeros_like = _like(zeros, "Zeros in the shape, dtype and device of `a`.")
ones_like = _like(ones, "Ones in the shape, dtype and device of `a`.")


def empty_like(prototype, dtype=None, *, shape=None, device=None):
    """Whatever the memory holds, in the shape, dtype and device of `prototype`."""
    return zeros_like(prototype, dtype, shape=shape, device=device)


def full_like(a, fill_value, dtype=None, *, shape=None, device=None):
    """`fill_value` in the shape, dtype and device of `a`."""
    x = tensor(a)
    return full(x.shape if shape is None else shape, fill_value, dtype or x.dtype, device=device or x.device)


def _number(value):
    return value.item() if isinstance(value, Tensor) else value


def arange(start, stop=None, step=1, dtype=None, *, device=None):
    """start, start + step, ... below `stop` (0, 1, ... below `start` if it stands alone)."""
    start, stop, step = (_number(one) for one in (start, stop, step))
    bounds = (0, start, step) if stop is None else (start, stop, step)
    if step == 0:
        raise ValueError(f"arange: step must not be 0, got bounds {bounds[:2]}")
    with creation.allocating("arange", bounds):
        host = np.arange(*bounds, dtype=None if dtype is None else dtypes.as_numpy(dtype))
    return Tensor._wrap(creation.put(host, device))


def linspace(start, stop, num=50, endpoint=True, *, dtype=None, device=None):
    """`num` numbers from `start` to `stop`, evenly spaced, recorded for Tensors; without `endpoint`, `stop` itself left out."""
    if not isinstance(start, Tensor) and not isinstance(stop, Tensor):
        with creation.allocating("linspace", num):
            host = np.linspace(start, stop, num, endpoint)
        return tensor(Tensor._wrap(creation.put(host, device)), dtype)
    first, last = (floating(one) for one in together(start, stop))
    steps = Tensor._wrap(creation.put(np.linspace(0.0, 1.0, num, endpoint), device)).to(first.device)
    steps = steps.reshape((num,) + (1,) * builtins.max(first.ndim, last.ndim))
    return tensor(first + (last - first) * steps, dtype)


def logspace(start, stop, num=50, endpoint=True, base=10.0, dtype=None):
    """`num` numbers from base**start to base**stop, evenly spaced in the logarithm."""
    return tensor(ops.power(base, linspace(start, stop, num, endpoint)), dtype)


def geomspace(start, stop, num=50, endpoint=True, dtype=None):
    """`num` positive numbers from `start` to `stop`, each the same multiple of the one before."""
    return tensor(ops.exp(linspace(ops.log(floating(start)), ops.log(floating(stop)), num, endpoint)), dtype)


def eye(N, M=None, k=0, dtype=float, *, device=None):
    """Ones on the k-th diagonal of an N x M matrix, zeros elsewhere."""
    out = zeros((N, N if M is None else M), dtype, device=device)
    if -out.shape[0] < k < out.shape[1]:
        ops.diagonal(out, k, 0, 1).fill_(1)
    return out


def identity(n, dtype=None):
    """The n x n identity matrix; float64."""
    return eye(n, dtype=dtype or float)


def tri(N, M=None, k=0, dtype=float):
    """Ones at and below the k-th diagonal, zeros above."""
    return ops.tril(ones((N, N if M is None else M), dtype), k)


def diag(v, k=0):
    """A vector on the k-th diagonal of a matrix, or the k-th diagonal of a matrix."""
    return shape_functions.diag(tensor(v), k)


def diagflat(v, k=0):
    """The elements of `v` on the k-th diagonal of a matrix."""
    return shape_functions.diag(tensor(v).reshape(-1), k)


def vander(x, N=None, increasing=False):
    """The powers of a vector's elements as columns, descending unless `increasing`."""
    from chainrule.autograd.functions.linalg_products import older_vander

    return older_vander(tensor(x), N, increasing)


def meshgrid(*xi, indexing="xy"):
    """Vectors as arrays that vary along one axis each; "xy" has the first vary along axis 1, "ij" along axis 0."""
    return tuple(creation.meshgrid(*(tensor(one).reshape(-1) for one in xi), indexing=indexing))
