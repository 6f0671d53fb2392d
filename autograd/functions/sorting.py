"""Sorting and selection. Values are gathered through the indices found, so gradients follow the elements.

NaN counts as the greatest number. Complex numbers have no order and are refused.
"""

import operator

from chainrule.autograd import ops
from chainrule.autograd.op import op
from chainrule.autograd.ops.blocks import wide
from chainrule.autograd.ops.indexing import along

from .common import tensor_of, wrap_dim
from .reduction import Extreme


@op()
def order(xp, x, *, axis, descending=False):
    """The indices that sort x along `axis`, stable: equal elements keep their order."""
    x = wide(x)
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    # Reversed before and after, so that a descending sort is stable too.
    last = x.shape[axis] - 1
    return xp.ascontiguousarray(xp.flip(last - xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis))


@op()
def leading(xp, x, *, axis, count, largest):
    """The indices of the `count` largest (or smallest) elements along `axis`, in order: they are parted from the rest first,
    which takes linear time, and only they are sorted."""
    x, length = wide(x), x.shape[axis]
    if not 0 < count < length:
        return xp.take(order(x, axis=axis, descending=largest), xp.arange(count), axis=axis)
    parted = xp.argpartition(x, length - count if largest else count - 1, axis=axis)
    parted = xp.take(parted, xp.arange(length - count, length) if largest else xp.arange(count), axis=axis)
    inner = order(x[along(xp, parted, axis)], axis=axis, descending=largest)
    return parted[along(xp, inner, axis)]


def ordered(input, name):
    """`input`, a Tensor of real numbers."""
    x = tensor_of(input, name)
    if x.dtype.is_complex:
        raise RuntimeError(f"{name}: complex numbers have no order, got {x.dtype}; take .abs() or .real")
    return x


def argsort(input, dim=-1, descending=False, *, stable=False):
    """The indices that sort along `dim`; always stable."""
    x = ordered(input, "argsort")
    axis = wrap_dim(dim, x.ndim, "argsort")
    return order(x, axis, bool(descending)) if x.ndim else x.new_zeros((), dtype="int64")


def sort(input, dim=-1, descending=False, *, stable=False):
    """(values, indices) sorted along `dim`; always stable, in ascending order with NaN at the end."""
    x = ordered(input, "sort")
    axis = wrap_dim(dim, x.ndim, "sort")
    if not x.ndim:
        return Extreme["sort"](ops.copy(x), x.new_zeros((), dtype="int64"))
    index = order(x, axis, bool(descending))
    return Extreme["sort"](ops.take_along_axis(x, index=index._array, axis=axis), index)


def msort(input):
    """Values sorted along the first dimension."""
    return sort(input, 0).values


def topk(input, k, dim=-1, largest=True, sorted=True):
    """(values, indices) of the k largest (or smallest) elements along `dim`, always in order; NaN is the largest.

    Which of equal elements are taken is not specified.
    """
    x = ordered(input, "topk")
    axis, k = wrap_dim(dim, x.ndim, "topk"), operator.index(k)
    length = x.shape[axis] if x.ndim else 1
    if not 0 <= k <= length:
        raise RuntimeError(
            f"topk: k={k} is out of range for dimension {axis} of shape {tuple(x.shape)}; 0 <= k <= {length}"
        )
    if not x.ndim:
        return Extreme["topk"](*sort(x))
    index = leading(x, axis=axis, count=k, largest=bool(largest))
    return Extreme["topk"](ops.take_along_axis(x, index=index._array, axis=axis), index)
