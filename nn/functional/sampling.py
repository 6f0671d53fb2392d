"""Reading an image at any points: the sampler of spatial transformers. Jaderberg et al. 2015.

A grid holds for each output element where to read, as (x, y) or (x, y, z) with x along the last axis of the image; -1 and 1 are the
ends of every axis. The value there is a weighted sum of its neighbours.
"""

import itertools
import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops.indexing import take
from chainrule.autograd.ops.resampling import locate
from chainrule.autograd.ops.selection import masked
from chainrule.autograd.precision import precision
from chainrule.backends import namespaces, placement

from .interpolation import keys

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


@placement.on_their_card
@precision(cpu="float32", accelerator="widest")
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """`input` read at the points of `grid`. (N, C, H, W), (N, H', W', 2) -> (N, C, H', W'), or the same with three dimensions.

    mode: "bilinear" (trilinear in 3-d), "nearest" or "bicubic" (2-d). padding_mode: outside are "zeros", the nearest "border"
    element, or the image mirrored. align_corners: -1 and 1 are the centres of the outermost elements instead of their edges.
    The gradient for the grid is 0 with "nearest"; at the corners of the other modes it is the slope on the right.
    """
    x, points = tensor_of(input, "grid_sample"), tensor_of(grid, "grid_sample")
    _check(x, points, mode, padding_mode)
    if x.dtype.itemsize == 2:
        return grid_sample(x.float(), points.float(), mode, padding_mode, align_corners).to(x.dtype)
    corners, n, lengths = bool(align_corners), x.ndim - 2, tuple(x.shape[2:])
    size, count = tuple(points.shape[1:-1]), math.prod(points.shape[1:-1])
    neighbours = []
    for axis, length in enumerate(lengths):
        place = ops.reshape(points[..., n - 1 - axis], (x.shape[0], count))
        neighbours.append(_neighbours(place, length, mode, padding_mode, corners))
    lines = ops.reshape(ops.moveaxis(x, 1, -1), (x.shape[0], math.prod(lengths), x.shape[1]))
    total = _gathered(lines, lengths, neighbours)
    return ops.moveaxis(ops.reshape(total, (x.shape[0], *size, x.shape[1])), -1, 1)


def _neighbours(place, length, mode, padding_mode, corners):
    """Along one axis: [(index, inside, weight)] of the elements read, raw arrays but the weight, a Tensor."""
    padding = "zeros" if mode == "bicubic" else padding_mode
    position = locate(place, length=length, padding=padding, corners=corners)
    raw = position._array
    xp = namespaces[raw.__class__]
    if mode == "nearest":
        nearest = ops.rint(position)
        # A weight of 1 whose gradient is the 0 of rounding.
        return [_element(xp, nearest._array, length, nearest - nearest.detach() + 1)]
    left = xp.floor(raw)
    t = position - position._wrap(left)
    if mode == "bilinear":
        return [_element(xp, left, length, 1 - t), _element(xp, left + 1, length, t)]
    found = []
    for k in (-1, 0, 1, 2):
        index = left + k
        if padding_mode != "zeros":
            # A whole number as the grid has it, so that padding treats elements as it treats points.
            grid = (index - (length - 1) / 2) * (2 / max(length - 1 if corners else length, 1))
            index = xp.rint(locate(grid, length=length, padding=padding_mode, corners=corners))
        found.append(_element(xp, index, length, keys(ops, t - k, -0.75)))
    return found


def _element(xp, index, length, weight):
    inside = (index >= 0) & (index < length)
    return xp.where(inside, index, 0).astype("int64"), inside, weight


def _gathered(lines, lengths, neighbours):
    """The sum over all combinations of neighbours. (N, elements, C) -> (N, points, C)."""
    total = None
    for chosen in itertools.product(*neighbours):
        index, inside, weight = 0, True, 1
        for length, (one, within, factor) in zip(lengths, chosen, strict=True):
            index, inside = index * length + one, within & inside
            weight = factor * weight
        xp = namespaces[index.__class__]
        samples = xp.arange(index.shape[0])[:, None]
        value = masked(take(lines, index=(samples, index)), inside[..., None])
        part = value * ops.expand_dims(weight, axis=-1)
        total = part if total is None else total + part
    return total


def _check(x, grid, mode, padding_mode):
    if mode not in _MODES:
        raise ValueError(f"grid_sample: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if padding_mode not in _PADDINGS:
        raise ValueError(
            f"grid_sample: padding_mode must be one of {', '.join(_PADDINGS)}, got {padding_mode!r}"
        )
    if (
        x.ndim not in (4, 5)
        or grid.ndim != x.ndim
        or grid.shape[0] != x.shape[0]
        or grid.shape[-1] != x.ndim - 2
    ):
        raise RuntimeError(
            f"grid_sample: expected an input (N, C, H, W) and a grid (N, H', W', 2), or (N, C, D, H, W) and (N, D', H', W', 3), got "
            f"shapes {tuple(x.shape)} and {tuple(grid.shape)}"
        )
    if x.dtype is not grid.dtype or not x.is_floating_point():
        raise RuntimeError(
            f"grid_sample: expected input and grid of one floating point dtype, got {x.dtype} and {grid.dtype}"
        )
    if x.device != grid.device:
        raise RuntimeError(
            f"grid_sample: expected input and grid on one device, got {x.device} and {grid.device}"
        )
    if 0 in x.shape[2:]:
        raise RuntimeError(
            f"grid_sample: expected an input with elements in every spatial dimension, got shape {tuple(x.shape)}"
        )
    if mode == "bicubic" and x.ndim == 5:
        raise RuntimeError(
            'grid_sample: mode "bicubic" is for inputs (N, C, H, W); use "bilinear" in three dimensions'
        )


@placement.on_their_card
def affine_grid(theta, size, align_corners=None):
    """The grid for `grid_sample` that moves an image by the affine map theta. (N, 2, 3), size (N, C, H, W) -> (N, H, W, 2).

    In three dimensions (N, 3, 4), (N, C, D, H, W) -> (N, D, H, W, 3).
    """
    t, size = tensor_of(theta, "affine_grid"), tuple(size)
    if not t.is_floating_point():
        raise ValueError(f"affine_grid: expected theta of a floating point dtype, got {t.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(f"affine_grid: size must be (N, C, H, W) or (N, C, D, H, W), got {size}")
    if t.ndim != 3 or tuple(t.shape) != (size[0], n, n + 1):
        raise ValueError(
            f"affine_grid: expected theta of shape {(size[0], n, n + 1)} for size {size}, got {tuple(t.shape)}"
        )
    if min(size) <= 0:
        raise ValueError(f"affine_grid: expected lengths of at least 1, got {size}")
    lengths = size[2:]
    xp = namespaces[t._array.__class__]
    base = xp.ones((*lengths, n + 1), dtype="float64")
    for axis, length in enumerate(lengths):
        line = (xp.arange(length) * 2 + 1 - length) / max(length - 1 if align_corners else length, 1)
        base[..., n - 1 - axis] = line.reshape(-1, *[1] * (n - 1 - axis))
    base = t._wrap(base.reshape(-1, n + 1).astype(t._array.dtype))
    return ops.reshape(ops.matmul(base, ops.swapaxes(t, -1, -2)), (size[0], *lengths, n))


def grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` with numbers for the modes: 0 bilinear, 1 nearest, 2 bicubic; 0 zeros, 1 border, 2 reflection."""
    if interpolation_mode not in (0, 1, 2) or padding_mode not in (0, 1, 2):
        raise ValueError(
            f"grid_sampler: interpolation_mode and padding_mode must be 0, 1 or 2, got {interpolation_mode} and {padding_mode}"
        )
    return grid_sample(input, grid, _MODES[interpolation_mode], _PADDINGS[padding_mode], align_corners)


def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sampler` for inputs (N, C, H, W)."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)


def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sampler` for inputs (N, C, D, H, W)."""
    return grid_sampler(input, grid, interpolation_mode, padding_mode, align_corners)
