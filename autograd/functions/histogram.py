"""Positions in sorted sequences, and counts of what falls between: searchsorted, bincount, histograms.

Positions and counts have no derivative; sums of weights have one by the weights.
"""

import math
from collections import namedtuple

from chainrule.autograd import late, ops
from chainrule.autograd.op import op
from chainrule.autograd.ops.indexing import along
from chainrule.backends import dtypes

from .common import index_array, tensor_of
from .creation import linspace

Histogram = {name: namedtuple(name, ["hist", "bin_edges"]) for name in ("histogram", "histogramdd")}


def beside(value, tensor):
    """`value` if it is a Tensor; a number becomes one of the dtype in which it meets `tensor`."""
    if isinstance(value, late.Tensor):
        return value
    return tensor.new_tensor(value, dtype=dtypes.result_type(tensor._array, value))


@op(cast="compare")
def bisect(xp, sequence, values, *, right):
    """Where `values` (..., m) belong in the ascending last axis of `sequence` (..., n), or (n) for all.

    The binary search of all values at once: log2(n) steps for whole arrays.
    """
    if sequence.ndim == 1:
        return xp.searchsorted(sequence, values.reshape(-1), side="right" if right else "left").reshape(
            values.shape
        )
    low = xp.zeros(values.shape, dtype="int64")
    high = low + sequence.shape[-1]
    for _ in range(sequence.shape[-1].bit_length()):
        half = (low + high) // 2
        found = sequence[along(xp, xp.minimum(half, sequence.shape[-1] - 1), -1)]
        go_right = (low < high) & ~((found > values) if right else (found >= values))
        low, high = xp.where(go_right, half + 1, low), xp.where(go_right, high, half)
    return low


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each value belongs in the ascending last dimension of `sorted_sequence`: before equals, or after with right=True.

    sorted_sequence (..., n) and input (..., m), or (n) and any shape or number. side: "left" or "right", another way to
    say `right`. sorter: the indices that sort sorted_sequence, if it is not.
    """
    name = "searchsorted"
    sequence = tensor_of(sorted_sequence, name)
    values = beside(input, sequence)
    if side not in (None, "left", "right"):
        raise RuntimeError(f'{name}: side must be "left" or "right", got {side!r}')
    if side == "left" and right:
        raise RuntimeError(f'{name}: side="left" contradicts right=True; give one of them')
    if sequence.ndim == 0:
        raise RuntimeError(f"{name}: sorted_sequence must have at least 1 dimension")
    if sequence.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError(f"{name}: complex numbers have no order")
    if sequence.ndim > 1 and (values.ndim != sequence.ndim or values.shape[:-1] != sequence.shape[:-1]):
        raise RuntimeError(
            f"{name}: sorted_sequence of shape {tuple(sequence.shape)} must be 1-d, or agree with input of shape "
            f"{tuple(values.shape)} in all dimensions but the last"
        )
    if sorter is not None:
        sequence = _in_order(sequence, sorter, name)
    found = bisect(sequence.detach(), values.detach(), right=right or side == "right")
    return found.to(dtypes.int32 if out_int32 else dtypes.int64)


def _in_order(sequence, sorter, name):
    raw = index_array(sorter, name)
    if raw.shape != sequence.shape or raw.dtype.name != "int64":
        raise RuntimeError(
            f"{name}: sorter must be int64 of sorted_sequence's shape {tuple(sequence.shape)}, got "
            f"{raw.dtype.name} of shape {raw.shape}"
        )
    if raw.size and (int(raw.min()) < 0 or int(raw.max()) >= sequence.shape[-1]):
        raise RuntimeError(f"{name}: sorter must hold indices below {sequence.shape[-1]}")
    return ops.take_along_axis(sequence, index=raw, axis=sequence.ndim - 1)


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """The number of the bucket between ascending `boundaries` (n) in which each value lies: b[i-1] < value <= b[i], or with
    right=True b[i-1] <= value < b[i]."""
    if tensor_of(boundaries, "bucketize").ndim != 1:
        raise RuntimeError(f"bucketize: boundaries must be a vector, got shape {tuple(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@op()
def count_places(xp, x, *, length):
    """How often each of 0 .. length - 1 occurs in the vector x."""
    return xp.bincount(x, minlength=length)[:length]


def _summed(places, weights, length):
    """The weights at each place, (length)."""
    return ops.index_add(weights.new_zeros(length), weights, index=places._array, axis=0)


def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, ... max(input) occurs, at least `minlength` numbers; or the sums of the weights there, which
    are differentiable by the weights."""
    x = tensor_of(input, "bincount")
    if index_array(x, "bincount").ndim != 1 or bool(ops.any(x < 0)):
        raise RuntimeError(
            f"bincount: expected a vector of non-negative integers, got shape {tuple(x.shape)}"
            + (f" and {int(ops.amin(x))}" if x.ndim == 1 else "")
        )
    if minlength < 0:
        raise RuntimeError(f"bincount: minlength must not be negative, got {minlength}")
    length = max(minlength, int(ops.amax(x)) + 1 if x.numel() else 0)
    if weights is None:
        return count_places(x.to(dtypes.int64), length=length) if length else x.new_zeros(0, dtype="int64")
    if tensor_of(weights, "bincount").shape != x.shape or weights.dtype.is_complex:
        raise RuntimeError(
            f"bincount: weights must be real and have input's shape {tuple(x.shape)}, got {weights.dtype} of shape "
            f"{tuple(weights.shape)}"
        )
    return _summed(x, weights if weights.dtype is dtypes.float32 else weights.to(dtypes.float64), length)


def _limits(x, low, high, name):
    """The ends of the bins, of x where they are equal; one apart at least."""
    if low == high and x.numel():
        low, high = float(ops.amin(x)), float(ops.amax(x))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RuntimeError(f"{name}: the range [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError(f"{name}: max must not be less than min, got [{low}, {high}]")
    return (low, high) if low < high else (low - 1, high + 1)


def histc(input, bins=100, min=0, max=0):
    """How many elements lie in each of `bins` bins of equal width in [min, max], of the data where the two are equal.

    Elements outside and NaN count nowhere; `max` itself is in the last bin.
    """
    x = _measured(input, "histc").detach().reshape(-1)
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be positive, got {bins}")
    low, high = _limits(x, min, max, "histc")
    inside = ops.logical_and(x >= low, x <= high)
    place = ops.floor((ops.where(inside, x, low) - low) * bins / (high - low))
    place = ops.where(inside, ops.minimum(place, bins - 1), bins).to(dtypes.int64)
    return count_places(place, length=bins).to(x.dtype)


def _measured(input, name):
    x = tensor_of(input, name)
    if not x.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating point tensor, got {x.dtype}; convert with .float()")
    return x


def histogram(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges): how many elements, or how much weight, lies in each bin.

    bins: a number of equal bins in `range` (of the data by default), or a vector of ascending edges. The last bin holds its right
    edge too. density: divided by the total and the width. hist is differentiable by the weights.
    """
    x = _measured(input, "histogram")
    edges = bins if isinstance(bins, late.Tensor) else [bins]
    hist, edges = _histogram(
        x.reshape(-1, 1), [edges] if edges is bins else edges, range, weight, density, "histogram"
    )
    return Histogram["histogram"](hist, edges[0])


def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """(hist, bin_edges) in several dimensions: input (..., N) is a list of points.

    bins: one number of bins for all dimensions, N numbers, or N vectors of ascending edges; range: N pairs (min, max), one after
    the other. See `histogram`.
    """
    x = _measured(input, "histogramdd")
    if x.ndim < 2:
        raise RuntimeError(f"histogramdd: expected an input (..., N), got shape {tuple(x.shape)}")
    count = x.shape[-1]
    each = [bins] * count if isinstance(bins, int) else list(bins)
    hist, edges = _histogram(x.reshape(-1, count), each, range, weight, density, "histogramdd")
    return Histogram["histogramdd"](hist, tuple(edges))


def _histogram(points, bins, range, weight, density, name):
    """Points (n, N) -> the counts in N dimensions, and the edges along each."""
    count = points.shape[1]
    if len(bins) != count:
        raise RuntimeError(f"{name}: expected bins for {count} dimensions, got {len(bins)}")
    if range is not None and len(range) != 2 * count:
        raise RuntimeError(
            f"{name}: range must have {2 * count} numbers, two for each dimension, got {len(range)}"
        )
    points = points.detach()
    edges = []
    for i, one in enumerate(bins):
        ends = (0, 0) if range is None else range[2 * i : 2 * i + 2]
        edges.append(_edges(points[:, i], one, ends, range is None, name))
    lengths = [one.numel() - 1 for one in edges]
    flat, outside = 0, False
    for i, (edge, length) in enumerate(zip(edges, lengths, strict=True)):
        x = points[:, i]
        place = bisect(edge, x, right=True) - (x != edge[-1]).to(dtypes.int64)
        place = ops.where(x == edge[-1], length - 1, place)
        outside = ops.logical_or(ops.logical_not(ops.logical_and(x >= edge[0], x <= edge[-1])), outside)
        flat = flat * length + place
    total = math.prod(lengths)
    flat = ops.where(outside, total, flat)
    if weight is None:
        hist = count_places(flat, length=total).to(points.dtype)
    else:
        hist = _summed(flat, _weights(weight, points, name), total + 1)[:total]
    hist = hist.reshape(lengths)
    return _density(hist, edges) if density else hist, edges


def _edges(x, bins, ends, from_data, name):
    if isinstance(bins, late.Tensor):
        if bins.ndim != 1 or bins.numel() < 2 or bins.dtype is not x.dtype:
            raise RuntimeError(
                f"{name}: edges must be a vector of at least 2 {x.dtype}, as input is, got {bins.dtype} of shape {tuple(bins.shape)}"
            )
        return bins.detach()
    if bins <= 0:
        raise RuntimeError(f"{name}: the number of bins must be positive, got {bins}")
    low, high = ends
    if from_data:
        low, high = (float(ops.amin(x)), float(ops.amax(x))) if x.numel() else (0.0, 1.0)
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise RuntimeError(f"{name}: the range must be finite and ascending, got [{low}, {high}]")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return linspace(low, high, bins + 1, dtype=x.dtype, device=x.device)


def _weights(weight, points, name):
    if tensor_of(weight, name).numel() != points.shape[0] or weight.dtype is not points.dtype:
        raise RuntimeError(
            f"{name}: weight must hold {points.shape[0]} numbers of {points.dtype}, one for each point, got "
            f"{weight.dtype} of shape {tuple(weight.shape)}"
        )
    return weight.reshape(-1)


def _density(hist, edges):
    hist = hist / ops.sum(hist)
    for i, edge in enumerate(edges):
        width = edge[1:] - edge[:-1]
        hist = hist / width.reshape([-1 if i == j else 1 for j in range(len(edges))])
    return hist
