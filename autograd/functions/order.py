"""Order statistics: medians, quantiles, the k-th smallest, the most frequent.

Values are gathered through the indices found, so gradients follow the elements. Which of equal elements is named, and gets
the gradient, is not specified, except where a function says so; the derivative by the rank is nowhere taken.
"""

import operator

from chainrule.autograd import late, ops
from chainrule.autograd.op import op
from chainrule.autograd.ops.blocks import wide
from chainrule.autograd.ops.indexing import along
from chainrule.autograd.ops.reduction import extreme_rule
from chainrule.autograd.ops.scan import running_extreme
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from .common import holds, wrap_dim
from .creation import tensor
from .reduction import Extreme, not_empty
from .sorting import order, ordered, sort


@op()
def ranked(xp, x, *, axis, rank):
    """Where the element of this rank is along `axis`, which stays with length 1; found in linear time, without sorting."""
    places = xp.argpartition(wide(x), rank, axis=axis)
    return places[(slice(None),) * (axis % x.ndim) + (slice(rank, rank + 1),)].copy()


@op()
def middle(xp, x, *, axis, skip_nan):
    """Where the lower median is along `axis`, which stays with length 1; the first NaN if there is one, unless they are skipped."""
    x = wide(x)
    if skip_nan:
        ranks = xp.maximum(xp.sum(x == x, axis=axis, keepdims=True) - 1, 0) // 2
        return order(x, axis=axis)[along(xp, ranks, axis)]
    place = ranked(x, axis=axis, rank=(x.shape[axis] - 1) // 2)
    gap = xp.argmax(x != x, axis=axis, keepdims=True)
    return xp.where(xp.any(x != x, axis=axis, keepdims=True), gap, place)


@op(x=lambda xp, g, x, y: extreme_rule(xp, g, x, y, None, False))
def middle_of_all(xp, x, *, skip_nan):
    """The lower median of all elements."""
    flat = x.reshape(-1)
    return xp.take(flat, middle(flat, axis=0, skip_nan=skip_nan)[0])


@op()
def most_frequent(xp, x, *, axis):
    """Where the most frequent element is along `axis`, which stays with length 1: the last of the smallest such."""
    places = xp.moveaxis(order(x, axis=axis), axis, -1)
    x = xp.moveaxis(x, axis, -1)
    x = x[along(xp, places, -1)]
    changed = x[..., 1:] != x[..., :-1]
    edge = xp.ones((*x.shape[:-1], 1), dtype="bool")
    start, stop = xp.concatenate([edge, changed], axis=-1), xp.concatenate([changed, edge], axis=-1)
    here = xp.broadcast_to(xp.arange(x.shape[-1]), x.shape)
    length = here - running_extreme(xp.where(start, here, -1), axis=x.ndim - 1, largest=True)[1]
    found = xp.argmax(xp.where(stop, length, -1), axis=-1, keepdims=True)
    return xp.moveaxis(places[along(xp, found, -1)], -1, axis)


def _line(input, dim, name):
    """(x, axis) with x at least 1-d and elements along `axis`."""
    x = ordered(input, name)
    axis = wrap_dim(dim, x.ndim, name)
    not_empty(x, (axis,) if x.ndim else None, name)
    return x if x.ndim else x.reshape(1), axis


def _picked(name, input, line, places, axis, keepdim):
    """(values, indices) at `places`, whose axis has length 1."""
    values = ops.take_along_axis(line, index=places._array, axis=axis)
    if not keepdim or not input.ndim:
        values, places = ops.squeeze(values, axis), ops.squeeze(places, axis)
    return Extreme[name](values, places)


def _numbers(input, name):
    if ordered(input, name).dtype is dtypes.bool:
        raise RuntimeError(f"{name}: bool tensors have none; convert with .to(chainrule.uint8)")
    return input


def _median(input, dim, keepdim, name, skip_nan):
    x = _numbers(input, name)
    if dim is None:
        if not x.numel():
            if not x.dtype.is_floating_point:
                raise RuntimeError(f"{name}: integers have no NaN for no elements, shape {tuple(x.shape)}")
            return x.new_full((), float("nan"))
        return middle_of_all(x, skip_nan=skip_nan)
    line, axis = _line(x, dim, name)
    return _picked(name, x, line, middle(line, axis=axis, skip_nan=skip_nan), axis, keepdim)


def median(input, dim=None, keepdim=False):
    """The median, the lower of the two for an even number; NaN if there is one. With `dim`: (values, indices) along it.

    Without `dim` all elements equal to the median share the gradient equally; with it the one at the index gets it.
    """
    return _median(input, dim, keepdim, "median", False)


def nanmedian(input, dim=None, keepdim=False):
    """`median` of the elements that are not NaN; NaN where there are none."""
    return _median(input, dim, keepdim, "nanmedian", True)


def kthvalue(input, k, dim=-1, keepdim=False):
    """(values, indices) of the k-th smallest element along `dim`, counted from 1; NaN is the greatest."""
    x, k = _numbers(input, "kthvalue"), operator.index(k)
    line, axis = _line(x, dim, "kthvalue")
    if not 1 <= k <= line.shape[axis]:
        raise RuntimeError(
            f"kthvalue: k={k} is out of range for dimension {axis} of shape {tuple(x.shape)}; "
            f"1 <= k <= {line.shape[axis]}"
        )
    return _picked("kthvalue", x, line, ranked(line, axis=axis, rank=k - 1), axis, keepdim)


def mode(input, dim=-1, keepdim=False):
    """(values, indices) of the most frequent element along `dim`, the smallest of several; the last of its places.

    A NaN equals nothing.
    """
    line, axis = _line(input, dim, "mode")
    return _picked("mode", input, line, most_frequent(line, axis=axis), axis, keepdim)


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(input, q, dim, keepdim, interpolation, name, skip_nan):
    x = ordered(input, name)
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f"{name}: expected float32 or float64, got {x.dtype}; convert with .float()")
    if interpolation not in _INTERPOLATIONS:
        raise RuntimeError(f"{name}: interpolation must be one of {_INTERPOLATIONS}, got {interpolation!r}")
    given = q if isinstance(q, late.Tensor) else tensor(q, dtype=x.dtype, device="cpu")
    # A device is not asked: as in PyTorch, reading it would stop the queue.
    inside = given.device.type != "cpu" or holds(ops.all(ops.logical_and(given >= 0, given <= 1)))
    q = given if given is q else x.new_full((), q) if not given.ndim else given.to(x.device)
    if q.ndim > 1 or q.dtype is not x.dtype or q.device != x.device:
        raise RuntimeError(
            f"{name}: q must be a number or a vector of {x.dtype} on {x.device}, as input is; "
            f"got {q.dtype} of shape {tuple(q.shape)} on {q.device}"
        )
    if not inside:
        raise RuntimeError(f"{name}: q must lie in [0, 1], got {given.tolist()}")
    if not x.numel():
        raise RuntimeError(f"{name}: expected elements, got shape {tuple(x.shape)}")
    axis = None if dim is None else wrap_dim(dim, x.ndim, name)
    shape = [1] * x.ndim if axis is None else [n if i != axis else 1 for i, n in enumerate(x.shape)]
    lines = x.reshape(-1) if axis is None or not x.ndim else x.movedim(axis, -1)
    found = _at_ranks(lines, q.reshape(-1), interpolation, skip_nan).movedim(-1, 0)
    if not keepdim:
        shape = [] if axis is None else [n for i, n in enumerate(x.shape) if i != axis]
    return found.reshape([*q.shape, *shape])


def _at_ranks(lines, q, interpolation, skip_nan):
    """Quantiles `q` (k) of the last dimension (..., n) -> (..., k)."""
    values = sort(lines, -1).values
    present = ops.sum(ops.equal(lines, lines).to(lines.dtype), -1, True)
    count = present if skip_nan else present * 0 + lines.shape[-1]
    ranks = q * ops.maximum(count - 1, 0)
    if not skip_nan:  # one NaN makes every quantile NaN, and the greatest element is one
        ranks = ops.where(present < count, count - 1, ranks)
    whole = {"lower": ops.floor, "higher": ops.ceil, "nearest": ops.rint}.get(interpolation)
    if whole is not None:
        return _gathered(values, whole(ranks))
    below = ops.floor(ranks)
    weight = ranks - below if interpolation == "linear" else 0.5
    low, high = _gathered(values, below), _gathered(values, ops.ceil(ranks))
    return low + (high - low) * weight


def _gathered(values, ranks):
    return ops.take_along_axis(values, index=ranks.detach().to(dtypes.int64)._array, axis=values.ndim - 1)


@precision(cpu="float32")
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The q-th quantiles along `dim` (of all elements by default), q in [0, 1]; NaN where there is a NaN.

    q is a number or a vector, whose dimension comes first in the result. Between two elements: "linear", "lower", "higher",
    "midpoint" or "nearest". With "linear" the result is differentiable in q too, from the right where the rank is whole.
    """
    return _quantile(input, q, dim, keepdim, interpolation, "quantile", False)


@precision(cpu="float32")
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of the elements that are not NaN; NaN where there are none."""
    return _quantile(input, q, dim, keepdim, interpolation, "nanquantile", True)
