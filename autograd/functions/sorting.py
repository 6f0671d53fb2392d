"""Sorting and selection. Values are gathered through the indices found, so gradients follow the elements."""

from chainrule.autograd import ops
from chainrule.autograd.op import op

from .common import tensor_of, wrap_dim
from .reduction import Extreme


@op()
def order(xp, x, *, axis, descending=False):
    """The indices that sort x along `axis`, stable: equal elements keep their order."""
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    # Reversed before and after, so that a descending sort is stable too.
    last = x.shape[axis] - 1
    return xp.ascontiguousarray(xp.flip(last - xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis))


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices that sort along `dim`."""
    x = tensor_of(input, "argsort")
    return (
        order(x, wrap_dim(dim, x.ndim, "argsort"), descending) if x.ndim else x.new_zeros((), dtype="int64")
    )


def sort(input, dim=-1, descending=False, stable=False):
    """(values, indices) sorted along `dim`."""
    x = tensor_of(input, "sort")
    if not x.ndim:
        return Extreme["sort"](ops.positive(x), x.new_zeros((), dtype="int64"))
    index = argsort(x, dim, descending)
    return Extreme["sort"](
        ops.take_along_axis(x, index=index._array, axis=wrap_dim(dim, x.ndim, "sort")), index
    )


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest (or smallest) elements along `dim`, in order."""
    x = tensor_of(input, "topk")
    if not x.ndim:
        return Extreme["topk"](*sort(x))
    axis = wrap_dim(dim, x.ndim, "topk")
    if not 0 <= k <= x.shape[axis]:
        raise RuntimeError(f"topk: k={k} is out of range for dimension {axis} of shape {tuple(x.shape)}")
    index = argsort(x, axis, largest).narrow(axis, 0, k)
    return Extreme["topk"](ops.take_along_axis(x, index=index._array, axis=axis), index)
