"""Resizing: interpolation between the elements of a grid, one axis after the other.

Element i of a line of n' elements lies at x = scale (i + 1/2) - 1/2 of the old line of n, scale = n / n', so that the outer edges of
both lines meet; with `align_corners` at x = i (n - 1) / (n' - 1), so that the centres of first and last elements meet. Keys 1981,
"Cubic convolution interpolation for digital image processing", for the cubic kernel. Positions are computed in float64 for
float64 inputs and in float32 for others, as in PyTorch, which can decide which of two elements is the nearest.
"""

import functools
import math
import operator

import numpy

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops.resampling import Taps, resample

from .pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .windows import check_size

_NDIM = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}
_MODES = ("nearest", "nearest-exact", "area", *_NDIM)


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """`input` resized to `size`, or to floor(length * scale_factor). (N, C, *in) -> (N, C, *out), one to three spatial dimensions.

    mode: "nearest" (with PyTorch's older rule floor(i n / n')), "nearest-exact" (the element whose centre is nearest), "linear",
    "bilinear", "trilinear", "bicubic" for as many dimensions as the name says, "area" (adaptive average pooling).
    recompute_scale_factor: take the scale from the lengths, not the given one. antialias: when making an image smaller, widen the
    kernel to average over all it covers ("bilinear" and "bicubic"). Integers are rounded to the nearest.
    """
    x = tensor_of(input, "interpolate")
    _check_mode(x, mode, align_corners, antialias)
    if recompute_scale_factor and size is not None:
        raise ValueError("interpolate: recompute_scale_factor is for scale_factor, and size was given")
    size, scales = _target(x, size, scale_factor, recompute_scale_factor or mode == "area")
    check_size("interpolate", (*x.shape[:2], *size))
    if x.numel() == 0 and 0 in x.shape[1:]:
        raise RuntimeError(
            f"interpolate: expected an input with elements in every dimension but the batch, got shape {tuple(x.shape)}"
        )
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[x.ndim - 3](x, size)
    return _resized(x, mode, size, scales, bool(align_corners), antialias)


def _resized(x, mode, size, scales, corners, antialias):
    """All axes, one after the other. An integer image is resized in float32 and rounded at the end."""
    integer, y = not x.is_floating_point() and not mode.startswith("nearest"), x
    if integer:
        y = x.float()
    real = numpy.float64 if y.dtype.itemsize == 8 else numpy.float32
    for axis, (new, scale) in enumerate(zip(size, scales, strict=True), start=2):
        length = x.shape[axis]
        if mode.startswith("nearest"):
            taps = _nearest(length, new, scale, 0.5 if mode == "nearest-exact" else 0, real)
        elif antialias:
            taps = _antialiased(length, new, scale, mode == "bicubic", corners, real)
        else:
            taps = (_cubic if mode == "bicubic" else _linear)(length, new, scale, corners, real)
        y = resample(y, taps=taps, axis=axis)
    if integer:
        y = (
            ops.clip(ops.rint(y), 0, 255).to(x.dtype)
            if x._array.dtype.kind == "u"
            else ops.rint(y).to(x.dtype)
        )
    return y


# --- arguments ---


def _check_mode(x, mode, align_corners, antialias):
    if mode not in _MODES:
        raise NotImplementedError(f"interpolate: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if x.ndim not in (3, 4, 5):
        raise NotImplementedError(
            f"interpolate: expected an input (N, C, L), (N, C, H, W) or (N, C, D, H, W), got shape {tuple(x.shape)}"
        )
    if mode not in _NDIM and align_corners is not None:
        raise ValueError(
            f'interpolate: align_corners is for modes that interpolate between elements, not for "{mode}"'
        )
    if _NDIM.get(mode, x.ndim) != x.ndim:
        raise NotImplementedError(
            f'interpolate: mode "{mode}" needs an input of {_NDIM[mode]} dimensions, got shape {tuple(x.shape)}'
        )
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(
            'interpolate: antialias is for modes "bilinear" and "bicubic" on inputs (N, C, H, W)'
        )
    if x.dtype.is_complex or x._array.dtype.kind == "b" or (mode != "nearest" and x._array.dtype.kind == "i"):
        raise NotImplementedError(
            f'interpolate: not implemented for {x.dtype} with mode "{mode}"; convert with .float()'
        )


def _target(x, size, scale_factor, recompute):
    """The new spatial shape, and for each dimension the scale factor to compute positions with (None: from the lengths)."""
    n = x.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor, and not both")
    if size is not None:
        try:
            given = tuple(operator.index(one) for one in _each(size, n, "size"))
        except TypeError:
            raise TypeError(f"interpolate: size must be one int or {n}, got {size!r}") from None
        scales = (None,) * n
    else:
        scales = tuple(float(one) for one in _each(scale_factor, n, "scale_factor"))
        given = tuple(math.floor(length * one) for length, one in zip(x.shape[2:], scales, strict=True))
        scales = (None,) * n if recompute else scales
    if any(one < 1 for one in given):
        raise RuntimeError(
            f"interpolate: input and output sizes must be greater than 0, got {tuple(x.shape[2:])} to {given}"
        )
    return given, scales


def _each(value, n, name):
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,) * n
    if len(found) != n:
        raise ValueError(
            f"interpolate: {name} must be one number or {n}, for the spatial dimensions, got {value!r}"
        )
    return found


# --- the matrix of each mode ---


def _step(length, new, scale, corners, real):
    """How far apart the new elements lie on the old line."""
    if corners:
        return real(length - 1) / real(new - 1) if new > 1 else real(0)
    return real(1 / scale) if scale else real(length) / real(new)


def _positions(length, new, scale, corners, real):
    i = numpy.arange(new, dtype=real)
    step = _step(length, new, scale, corners, real)
    return step * i if corners else step * (i + real(0.5)) - real(0.5)


@functools.lru_cache(maxsize=64)
def _nearest(length, new, scale, offset, real):
    i = numpy.arange(new)
    x = numpy.floor((i.astype(real) + real(offset)) * _step(length, new, scale, False, real))
    return Taps(i, numpy.minimum(x.astype("int64"), length - 1), None, new, length)


@functools.lru_cache(maxsize=64)
def _linear(length, new, scale, corners, real):
    x = numpy.maximum(_positions(length, new, scale, corners, real), 0)
    left = numpy.minimum(x.astype("int64"), length - 1)
    t = numpy.clip(x - left.astype(real), 0, 1)
    return _gathered([left, numpy.minimum(left + 1, length - 1)], [1 - t, t], new, length)


@functools.lru_cache(maxsize=64)
def _cubic(length, new, scale, corners, real):
    x = _positions(length, new, scale, corners, real)
    left = numpy.minimum(numpy.floor(x).astype("int64"), length - 1)
    t = numpy.clip(x - left.astype(real), 0, 1)
    sources = [numpy.clip(left + k, 0, length - 1) for k in (-1, 0, 1, 2)]
    return _gathered(sources, [keys(numpy, t - k, real(-0.75)) for k in (-1, 0, 1, 2)], new, length)


def _gathered(sources, weights, new, length):
    rows = numpy.tile(numpy.arange(new), len(sources))
    return Taps(rows, numpy.concatenate(sources), numpy.concatenate(weights), new, length)


def keys(xp, x, a):
    """Keys' cubic kernel with slope `a` at 1, for |x| <= 2."""
    x = xp.absolute(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return xp.where(x <= 1, near, far)


@functools.lru_cache(maxsize=64)
def _antialiased(length, new, scale, cubic, corners, real):
    """The kernel stretched by the scale where that makes the line shorter, cut at the ends and brought to sum 1."""
    step = _step(length, new, scale, corners, real)
    stretch = max(step, real(1))
    support = real(2 if cubic else 1) * stretch
    centre = step * (numpy.arange(new, dtype=real) + real(0.5))
    first = numpy.maximum((centre - support + real(0.5)).astype("int64"), 0)
    last = numpy.minimum((centre + support + real(0.5)).astype("int64"), length)
    counts = last - first
    rows = numpy.repeat(numpy.arange(new), counts)
    sources = numpy.arange(len(rows)) - numpy.repeat(numpy.cumsum(counts) - counts - first, counts)
    x = (sources.astype(real) - centre[rows] + real(0.5)) / stretch
    inside = numpy.absolute(x) < (2 if cubic else 1)
    weights = numpy.where(inside, keys(numpy, x, real(-0.5)) if cubic else 1 - numpy.absolute(x), 0).astype(
        real
    )
    total = numpy.bincount(rows, weights, minlength=new).astype(real)
    return Taps(rows, sources, weights / numpy.where(total == 0, 1, total)[rows], new, length)


# --- older names ---


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The older name of `interpolate`."""
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """`interpolate` with mode "nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """`interpolate` with mode "bilinear" and align_corners."""
    return interpolate(input, size, scale_factor, "bilinear", True)
