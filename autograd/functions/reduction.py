"""Reductions under PyTorch's names: `dim` and `keepdim`, named tuples, integer inputs."""

from collections import namedtuple

from chainrule.autograd import late, ops
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from .common import reduced, tensor_of, wrap_dim

Extreme = {
    name: namedtuple(name, ["values", "indices"])
    for name in (
        "max", "min", "topk", "sort", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin"
    )
}  # fmt: skip
MinMax = namedtuple("aminmax", ["min", "max"])


def _summed(x, dtype, op, *args):
    """op(x, *args) in `dtype`; without it, integers and bools as int64."""
    if dtype is not None:
        return op(x.to(dtype), *args).to(dtype)  # bools were counted
    return op(x if x._array.dtype.kind in "fcV" else x.to(dtypes.int64), *args)


def floating(x, dtype, name):
    """x in `dtype`, if that is given; an error where the result is neither floating point nor complex."""
    x = tensor_of(x, name)
    if dtype is not None:
        x = x.to(dtype)
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        raise RuntimeError(
            f"{name}: expected a floating point or complex tensor, got {x.dtype}; convert with .float()"
        )
    return x


@precision(accelerator="float32")
def sum(input, dim=None, keepdim=False, *, dtype=None):
    """Sum over `dim` (all by default); integers and bools sum to int64."""
    x = tensor_of(input, "sum")
    return _summed(x, dtype, ops.sum, reduced(dim, x.ndim, "sum"), keepdim)


def mean(input, dim=None, keepdim=False, *, dtype=None):
    """Arithmetic mean over `dim` (all by default); NaN over no elements."""
    x = floating(input, dtype, "mean")
    return ops.mean(x, reduced(dim, x.ndim, "mean"), keepdim)


def var(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """Variance over `dim`: squared deviations / (n - correction), correction 1 by default."""
    if isinstance(dim, bool):  # the older call var(input, unbiased)
        dim, unbiased = None, dim
    x = floating(input, None, "var")
    return ops.var(
        x, reduced(dim, x.ndim, "var"), int(unbiased) if correction is None else correction, keepdim
    )


def std(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """Standard deviation: the square root of `var`. Where all elements are equal it has no derivative, and gives NaN."""
    return ops.sqrt(var(floating(input, None, "std"), dim, unbiased, keepdim, correction=correction))


def var_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """(variance, mean) over `dim`."""
    over = None if isinstance(dim, bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def std_mean(input, dim=None, unbiased=True, keepdim=False, *, correction=None):
    """(standard deviation, mean) over `dim`."""
    over = None if isinstance(dim, bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


@precision("float32")
def prod(input, dim=None, keepdim=False, *, dtype=None):
    """Product over `dim` (all by default); the gradient is right also where elements are 0."""
    x = tensor_of(input, "prod")
    axis = None if dim is None else wrap_dim(dim, x.ndim, "prod")
    return _summed(x, dtype, ops.prod, axis if x.ndim else None, keepdim)


def not_empty(x, dims, name):
    """An error if a reduced dimension has no element."""
    lengths = x.shape if dims is None else [x.shape[one] for one in dims]
    if 0 in lengths:
        raise IndexError(
            f"{name}: cannot reduce over a dimension of length 0 (shape {tuple(x.shape)}); there is no element to return"
        )


def amax(input, dim=None, keepdim=False):
    """Largest element over `dim`; ties share the gradient equally."""
    x = tensor_of(input, "amax")
    dims = reduced(dim, x.ndim, "amax")
    not_empty(x, dims, "amax")
    return ops.amax(x, dims, keepdim)


def amin(input, dim=None, keepdim=False):
    """Smallest element over `dim`; ties share the gradient equally."""
    x = tensor_of(input, "amin")
    dims = reduced(dim, x.ndim, "amin")
    not_empty(x, dims, "amin")
    return ops.amin(x, dims, keepdim)


def _extreme(x, dim, keepdim, name, arg):
    if x.ndim == 0:
        return Extreme[name](ops.copy(x), x.new_zeros((), dtype=dtypes.int64))
    axis = wrap_dim(dim, x.ndim, name)
    not_empty(x, (axis,), name)
    index = arg(x, axis, True)
    values = ops.take_along_axis(x, index=index._array, axis=axis)
    if not keepdim:
        values, index = values.squeeze(axis), index.squeeze(axis)
    return Extreme[name](values, index)


def max(input, dim=None, keepdim=False):
    """Without `dim`: the largest element. With an int `dim`: (values, indices), the first at a tie, which gets all the
    gradient. With a Tensor: `maximum`."""
    x = tensor_of(input, "max")
    if isinstance(dim, late.Tensor):
        return ops.maximum(x, dim)
    if dim is None:
        not_empty(x, None, "max")
        return ops.amax(x)
    return _extreme(x, dim, keepdim, "max", ops.argmax)


def min(input, dim=None, keepdim=False):
    """Without `dim`: the smallest element. With an int `dim`: (values, indices), the first at a tie, which gets all the
    gradient. With a Tensor: `minimum`."""
    x = tensor_of(input, "min")
    if isinstance(dim, late.Tensor):
        return ops.minimum(x, dim)
    if dim is None:
        not_empty(x, None, "min")
        return ops.amin(x)
    return _extreme(x, dim, keepdim, "min", ops.argmin)


def _arg(name, op):
    def function(input, dim=None, keepdim=False):
        x = tensor_of(input, name)
        if x.ndim == 0:
            return x.new_zeros((), dtype=dtypes.int64)
        axis = None if dim is None else wrap_dim(dim, x.ndim, name)
        not_empty(x, None if axis is None else (axis,), name)
        return op(x, axis, keepdim)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Index of the {'largest' if name == 'argmax' else 'smallest'} element along `dim` (of the flattened input by default), the first at a tie."
    return function


argmax, argmin = _arg("argmax", ops.argmax), _arg("argmin", ops.argmin)


def aminmax(input, *, dim=None, keepdim=False):
    """(min, max) along `dim` (of all elements by default); ties share the gradient equally."""
    x = tensor_of(input, "aminmax")
    axis = None if dim is None or not x.ndim else (wrap_dim(dim, x.ndim, "aminmax"),)
    not_empty(x, axis, "aminmax")
    return MinMax(ops.amin(x, axis, keepdim), ops.amax(x, axis, keepdim))


def _truth(x, found):
    """Tests of bytes give bytes, those of all else bool."""
    return found.to(dtypes.uint8) if x.dtype is dtypes.uint8 else found


def all(input, dim=None, keepdim=False):
    """Whether every element along `dim` is true."""
    x = tensor_of(input, "all")
    return _truth(x, ops.all(x, reduced(dim, x.ndim, "all"), keepdim))


def any(input, dim=None, keepdim=False):
    """Whether some element along `dim` is true."""
    x = tensor_of(input, "any")
    return _truth(x, ops.any(x, reduced(dim, x.ndim, "any"), keepdim))


def count_nonzero(input, dim=None):
    """How many elements along `dim` are not 0."""
    x = tensor_of(input, "count_nonzero")
    return ops.count_nonzero(x, reduced(dim, x.ndim, "count_nonzero"))


@precision(accelerator="float32")
def logsumexp(input, dim, keepdim=False):
    """log(sum(exp(x))) along `dim`, without overflow."""
    x = tensor_of(input, "logsumexp")
    return ops.logsumexp(x, reduced(dim, x.ndim, "logsumexp"), keepdim)


def _scan(name, op):
    @precision(accelerator="float32")
    def function(input, dim, *, dtype=None):
        x = tensor_of(input, name)
        axis = wrap_dim(dim, x.ndim, name)
        return _summed(x.reshape(1), dtype, op, 0).reshape(()) if not x.ndim else _summed(x, dtype, op, axis)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Running {'sum' if name == 'cumsum' else 'product'} along `dim`."
    return function


cumsum, cumprod = _scan("cumsum", ops.cumsum), _scan("cumprod", ops.cumprod)


@precision(accelerator="float32")
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The vector p-norm (sum |x|^p)^(1/p) over `dim` (all by default); "fro" is p = 2. The gradient at 0 is 0."""
    x = floating(input, dtype, "norm")
    if p == "nuc":
        from .linalg_norms import matrix_norm

        return matrix_norm(x, "nuc", (-2, -1) if dim is None else dim, keepdim)
    if p is None or p == "fro":
        p = 2
    if not isinstance(p, (int, float)):
        raise RuntimeError(
            f'norm: p must be a number, "fro" or "nuc", got {p!r}; matrix norms are in chainrule.linalg'
        )
    return ops.vector_norm(
        x, reduced(dim, x.ndim, "norm"), float(p) if p in (float("inf"), -float("inf")) else p, keepdim
    )


@precision(accelerator="float32")
def dist(input, other, p=2):
    """The p-norm of input - other."""
    return norm(input - other, p)
