"""Reductions of segments of unequal length."""

from chainrule.autograd import ops
from chainrule.backends import dtypes

from .common import index_array, tensor_of, wrap_dim
from .creation import arange
from .reduction import floating

# What reduces to itself, and so fills up short segments.
_NEUTRAL = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": float("-inf"), "min": float("inf")}


def segment_reduce(
    data, reduce, *, lengths=None, indices=None, offsets=None, axis=0, unsafe=False, initial=None
):
    """The sum, mean, max, min or prod of each segment of `data` along `axis`: (*B, N, *) -> (*B, S, *).

    lengths (*B, S): how long the segments are, one after the other; or offsets (*B, S + 1): where each begins and the last ends.
    `axis` is the number of dimensions B. initial: takes part in each reduction, and is the result of an empty segment, which
    otherwise is the neutral element (NaN for the mean). unsafe: the lengths are not checked. Ties share a gradient equally.

    The segments are laid side by side, filled up to the longest with the neutral element.
    """
    name = "segment_reduce"
    x = floating(data, None, name)
    if reduce not in _NEUTRAL:
        raise RuntimeError(f"{name}: reduce must be one of {tuple(_NEUTRAL)}, got {reduce!r}")
    if indices is not None:
        raise RuntimeError(f"{name}: indices are not supported, as in PyTorch; give lengths or offsets")
    if x.dtype.is_complex:
        raise RuntimeError(f"{name}: expected a real tensor, got {x.dtype}")
    axis = wrap_dim(axis, x.ndim, name)
    start, length = _bounds(x, lengths, offsets, axis, unsafe, name)
    neutral = x.new_full((), _NEUTRAL[reduce])
    rows = _side_by_side(x, start, length, axis, neutral)
    if reduce in ("max", "min"):
        found = (ops.amax if reduce == "max" else ops.amin)(rows, axis + 1)
    else:
        found = (ops.prod if reduce == "prod" else ops.sum)(rows, axis + 1)
    if initial is not None:
        found = _with_initial(found, initial, reduce)
    if reduce == "mean":
        count = length.reshape([*length.shape, *[1] * (x.ndim - axis - 1)]).to(x.dtype)
        empty = float("nan") if initial is None else initial
        found = ops.where(count == 0, empty, found / ops.maximum(count, 1))
    return found


def _with_initial(found, initial, reduce):
    if reduce == "prod":
        return found * initial
    if reduce in ("sum", "mean"):
        return found + initial
    return ops.where(found < initial if reduce == "max" else found > initial, initial, found)


def _bounds(x, lengths, offsets, axis, unsafe, name):
    """(start, length) of the segments, both (*B, S) and int64."""
    if lengths is None and offsets is None:
        raise RuntimeError(f"{name}: give lengths or offsets")
    given = tensor_of(offsets if offsets is not None else lengths, name)
    index_array(given, name)
    if tuple(given.shape[:-1]) != tuple(x.shape[:axis]) or given.ndim != axis + 1:
        raise RuntimeError(
            f"{name}: lengths or offsets of shape {tuple(given.shape)} do not fit data of shape {tuple(x.shape)} with "
            f"axis {axis}; expected {tuple(x.shape[:axis])} and one dimension more"
        )
    given = given.to(dtypes.int64)
    if offsets is not None:
        return given[..., :-1], given[..., 1:] - given[..., :-1]
    end = ops.cumsum(given, axis)
    if not unsafe and given.numel():
        if bool(ops.any(given < 0)):
            raise RuntimeError(f"{name}: lengths must not be negative")
        if bool(ops.any(end[..., -1] != x.shape[axis])):
            raise RuntimeError(
                f"{name}: lengths must sum to {x.shape[axis]}, data's length along axis {axis}; got {end[..., -1].tolist()}"
            )
    return end - given, given


def _side_by_side(x, start, length, axis, neutral):
    """(*B, N, *) -> (*B, S, L, *) with L the length of the longest segment, at least 1."""
    longest = max(int(ops.amax(length)) if length.numel() else 0, 1)
    step = arange(longest, device=x.device)
    present = step < ops.expand_dims(length, -1)
    places = ops.where(present, ops.expand_dims(start, -1) + step, 0)
    if not x.shape[axis]:
        return ops.broadcast_to(neutral, (*places.shape, *x.shape[axis + 1 :]))
    before = [
        arange(n, device=x.device).reshape([-1 if i == j else 1 for j in range(places.ndim)])
        for i, n in enumerate(x.shape[:axis])
    ]
    rows = ops.take(x, index=tuple(one._array for one in (*before, places)))
    present = present.reshape([*present.shape, *[1] * (x.ndim - axis - 1)])
    return ops.where(present, rows, neutral)
