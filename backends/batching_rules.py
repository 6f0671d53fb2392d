"""The rules by which hidden batch axes come along, for the functions of arrays under NumPy's names.

Hidden axes lie in front, so a rule seldom has more to do than to count visible axes from the end: `axis - ndim` is the same
place with and without them. A rule gets `(ns, function, *arguments)`: the batched namespace, and the function of the array
library below; at least one argument is a batched array.
"""

import math
import operator

import numpy as np

from .batched import DataDependent, is_batched, levels_of, lifted, merged, wrap
from .batching import one_by_one, rule


def _raw_ndim(x):
    return getattr(x, "ndim", 0)


def padded(x, levels, ndim):
    """The stored array with axes of all `levels`, and with the visible axes made up to `ndim` by ones in front."""
    if not is_batched(x):
        return x
    x = lifted(x, levels)
    if x.ndim == ndim:
        return x._stored
    k = len(levels)
    raw = x._stored
    return raw.reshape((*raw.shape[:k], *(1,) * (ndim - x.ndim), *x.shape))


def axis_from_end(axis, ndim):
    """A visible axis counted from the end."""
    axis = operator.index(axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(axis, ndim)
    return axis - ndim if axis >= 0 else axis


def _axes(axis, ndim):
    """Visible axes (None: all of them) as a tuple of axes counted from the end."""
    if axis is None:
        return tuple(range(-ndim, 0))
    return tuple(axis_from_end(one, ndim) for one in (axis if isinstance(axis, (tuple, list)) else (axis,)))


def _view(x, raw):
    """The result of a function that may give a view of x."""
    x._viewed = True
    return wrap(raw, x.levels)


def hidden_lengths(x):
    return x._stored.shape[: len(x.levels)]


def flat(x):
    return x if x.ndim == 1 else x.reshape(-1)


def matching(xp, raws, count):
    """Arrays with their first `count` axes broadcast to each other."""
    lead = np.broadcast_shapes(*(one.shape[:count] for one in raws))
    return [xp.broadcast_to(one, (*lead, *one.shape[count:])) for one in raws]


# --- elementwise ---


@rule(
    "elementwise where clip nan_to_num real imag conj conjugate angle isclose round around sinc i0 real_if_close"
)
def elementwise(ns, function, *args, out=None, **kwargs):
    """Functions of elements; operands broadcast by their visible axes."""
    if out is not None:
        return _elementwise_into(function, args, out, kwargs)
    levels, ndim = (), 0
    for one in args:
        if is_batched(one):
            levels = merged(levels, one.levels)
        ndim = max(ndim, _raw_ndim(one))
    raws = [padded(one, levels, ndim) for one in args]
    found = function(*raws, **kwargs)
    if function.__name__ in ("real", "imag", "conj", "conjugate"):
        args[0]._viewed = True
    return tuple(wrap(one, levels) for one in found) if isinstance(found, tuple) else wrap(found, levels)


def _elementwise_into(function, args, out, kwargs):
    if not is_batched(out):
        out.__array__()
    out._make_room(levels_of(args), *args)
    ndim = max(out.ndim, *(_raw_ndim(one) for one in args))
    function(*(padded(one, out.levels, ndim) for one in args), out=out._stored, **kwargs)
    return out


# --- reductions, running sums, order ---


@rule(
    "sum prod mean max min amax amin all any var std nansum nanmean nanmax nanmin median nanmedian count_nonzero ptp linalg.norm"
)
def reduction(ns, function, x, axis=None, *args, **kwargs):
    """Over some visible axes, or all."""
    return wrap(function(x._stored, *args, axis=_axes(axis, x.ndim), **kwargs), x.levels)


@rule("argmax argmin")
def arg_reduction(ns, function, x, axis=None, *, keepdims=False):
    if axis is None:
        found = function(flat(x)._stored, axis=-1)
        return wrap(found.reshape((*found.shape, *(1,) * x.ndim * keepdims)), x.levels)
    return wrap(function(x._stored, axis=axis_from_end(axis, x.ndim), keepdims=keepdims), x.levels)


@rule("cumsum cumprod nancumsum nancumprod")
def running(ns, function, x, axis=None, **kwargs):
    if axis is None:
        x, axis = flat(x), 0
    return wrap(function(x._stored, axis=axis_from_end(axis, x.ndim), **kwargs), x.levels)


@rule("sort argsort")
def ordering(ns, function, x, axis=-1, **kwargs):
    if axis is None:
        x, axis = flat(x), 0
    return wrap(function(x._stored, axis=axis_from_end(axis, x.ndim), **kwargs), x.levels)


@rule("argpartition partition")
def parting(ns, function, x, kth, axis=-1, **kwargs):
    if axis is None:
        x, axis = flat(x), 0
    return wrap(function(x._stored, kth, axis=axis_from_end(axis, x.ndim), **kwargs), x.levels)


@rule("diff")
def diff(ns, function, x, n=1, axis=-1):
    return wrap(function(x._stored, n=n, axis=axis_from_end(axis, x.ndim)), x.levels)


@rule("searchsorted")
def searchsorted(ns, function, a, v, side="left", **kwargs):
    if is_batched(a):
        return one_by_one("searchsorted", ns, function, a, v, side=side, **kwargs)
    return wrap(function(a, v._stored, side=side), v.levels)


# --- shapes ---


@rule("reshape")
def reshape(ns, function, x, shape, **kwargs):
    shape = (shape,) if not isinstance(shape, (tuple, list)) else tuple(shape)
    if -1 in shape and x.size == 0 == math.prod(one for one in shape if one != -1):
        raise ValueError(f"cannot reshape array of size 0 into shape {shape}")
    if -1 in shape:
        rest = math.prod(one for one in shape if one != -1)
        if rest == 0 or x.size % rest:
            raise ValueError(f"cannot reshape array of size {x.size} into shape {shape}")
        shape = tuple(x.size // rest if one == -1 else one for one in shape)
    if math.prod(shape) != x.size:
        raise ValueError(f"cannot reshape array of size {x.size} into shape {shape}")
    return _view(x, x._stored.reshape((*hidden_lengths(x), *shape)))


@rule("ravel")
def ravel(ns, function, x, **kwargs):
    return ns.reshape(x, (-1,) if x.size else (0,))


@rule("transpose permute_dims")
def transpose(ns, function, x, axes=None):
    k, n = len(x.levels), x.ndim
    order = range(n)[::-1] if axes is None else [axis_from_end(one, n) + n for one in axes]
    if sorted(order) != list(range(n)):
        raise ValueError(f"axes {axes} do not fit an array of {n} dimensions")
    return _view(x, x._stored.transpose((*range(k), *(k + one for one in order))))


@rule("swapaxes")
def swapaxes(ns, function, x, axis1, axis2):
    return _view(x, function(x._stored, axis_from_end(axis1, x.ndim), axis_from_end(axis2, x.ndim)))


@rule("moveaxis")
def moveaxis(ns, function, x, source, destination):
    return _view(x, function(x._stored, _axes(source, x.ndim), _axes(destination, x.ndim)))


@rule("expand_dims")
def expand_dims(ns, function, x, axis):
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return _view(x, function(x._stored, _axes(axes, x.ndim + len(axes))))


@rule("squeeze")
def squeeze(ns, function, x, axis=None):
    if axis is None:
        axis = tuple(i for i, length in enumerate(x.shape) if length == 1)
    return _view(x, function(x._stored, _axes(axis, x.ndim)))


@rule("broadcast_to")
def broadcast_to(ns, function, x, shape, **kwargs):
    shape = (shape,) if not isinstance(shape, (tuple, list)) else tuple(shape)
    if len(shape) < x.ndim:
        raise ValueError(f"cannot broadcast shape {tuple(x.shape)} to {shape}")
    return _view(x, function(padded(x, x.levels, len(shape)), (*hidden_lengths(x), *shape)))


@rule("broadcast_arrays")
def broadcast_arrays(ns, function, *arrays):
    shape = np.broadcast_shapes(*(one.shape for one in arrays))
    return tuple(ns.broadcast_to(one, shape) for one in arrays)


@rule("flip")
def flip(ns, function, x, axis=None):
    return _view(x, function(x._stored, _axes(axis, x.ndim)))


@rule("roll")
def roll(ns, function, x, shift, axis=None):
    if axis is None:
        return ns.reshape(ns.roll(flat(x), shift, 0), tuple(x.shape))
    return wrap(function(x._stored, shift, _axes(axis, x.ndim)), x.levels)


@rule("repeat")
def repeat(ns, function, x, repeats, axis=None):
    if is_batched(repeats):
        raise DataDependent("vmap: repeat with counts that differ between samples")
    if axis is None:
        x, axis = flat(x), 0
    return wrap(function(x._stored, repeats, axis_from_end(axis, x.ndim)), x.levels)


@rule("tile")
def tile(ns, function, x, reps):
    reps = (reps,) if isinstance(reps, int) else tuple(reps)
    ndim = max(x.ndim, len(reps))
    full = (*(1,) * len(x.levels), *(1,) * (ndim - len(reps)), *reps)
    return wrap(function(padded(x, x.levels, ndim), full), x.levels)


@rule("pad")
def pad(ns, function, x, widths, mode="constant", **kwargs):
    widths = np.broadcast_to(np.asarray(widths), (x.ndim, 2)).tolist()
    return wrap(function(x._stored, [(0, 0)] * len(x.levels) + widths, mode, **kwargs), x.levels)


@rule("diagonal")
def diagonal(ns, function, x, offset=0, axis1=0, axis2=1):
    return _view(x, function(x._stored, offset, axis_from_end(axis1, x.ndim), axis_from_end(axis2, x.ndim)))


@rule("trace")
def trace(ns, function, x, offset=0, axis1=0, axis2=1):
    return ns.sum(ns.diagonal(x, offset, axis1, axis2), axis=-1)


@rule("concatenate concat")
def concatenate(ns, function, arrays, axis=0, out=None):
    if out is not None:
        out[...] = ns.concatenate(arrays, axis)
        return out
    arrays = [_with(one, arrays) for one in arrays]
    if axis is None:
        arrays, axis = [flat(one) for one in arrays], 0
    k, axis = len(arrays[0].levels), axis_from_end(axis, arrays[0].ndim)
    return wrap(function(matching(ns.xp, [one._stored for one in arrays], k), axis), arrays[0].levels)


@rule("stack")
def stack(ns, function, arrays, axis=0):
    arrays = [_with(one, arrays) for one in arrays]
    if any(tuple(one.shape) != tuple(arrays[0].shape) for one in arrays):
        raise ValueError("all input arrays must have the same shape")
    k, axis = len(arrays[0].levels), axis_from_end(axis, arrays[0].ndim + 1)
    return wrap(function(matching(ns.xp, [one._stored for one in arrays], k), axis), arrays[0].levels)


def _with(one, others):
    return lifted(one, levels_of(tuple(others)))


@rule("ascontiguousarray asarray asanyarray array")
def asarray(ns, function, x, dtype=None, **kwargs):
    if not is_batched(x):
        raise DataDependent("vmap: an array is made of numbers that differ between samples")
    return wrap(function(x._stored, dtype=dtype, **kwargs), x.levels)


@rule("copy")
def copy(ns, function, x, **kwargs):
    return x.copy()


# --- reading by position ---


@rule("take")
def take(ns, function, x, index, axis=None, **kwargs):
    x = lifted(x, merged(levels_of(x), levels_of(index)))
    if axis is None:
        x, axis = flat(x), 0
    return x[(*(slice(None),) * (axis_from_end(axis, x.ndim) + x.ndim), index)]


@rule("take_along_axis")
def take_alongaxis_from_end(ns, function, x, index, axis=-1):
    levels = merged(levels_of(x), levels_of(index))
    x, index = lifted(x, levels), lifted(index, levels)
    return wrap(function(x._stored, index._stored, axis=axis_from_end(axis, x.ndim)), levels)


@rule("nonzero flatnonzero argwhere unique compress extract bincount histogram")
def counted(ns, function, *args, **kwargs):
    raise DataDependent(
        f"vmap: the shape of {function.__name__}(...) depends on the values, which differ between samples; use where() or a mask"
    )


@rule("lib.stride_tricks.as_strided")
def as_strided(ns, function, x, shape, strides):
    k = len(x.levels)
    return _view(x, function(x._stored, (*hidden_lengths(x), *shape), (*x._stored.strides[:k], *strides)))


@rule("lib.stride_tricks.sliding_window_view")
def sliding_window_view(ns, function, x, window_shape, axis=None, **kwargs):
    return _view(x, function(x._stored, window_shape, _axes(axis, x.ndim), **kwargs))


# --- Fourier transforms ---


@rule("fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft")
def transform(ns, function, x, n=None, axis=-1, **kwargs):
    return wrap(function(x._stored, n=n, axis=axis_from_end(axis, x.ndim), **kwargs), x.levels)


@rule("fft.fftn fft.ifftn fft.rfftn fft.irfftn fft.fft2 fft.ifft2")
def transforms(ns, function, x, s=None, axes=None, **kwargs):
    return wrap(function(x._stored, s=s, axes=_axes(axes, x.ndim), **kwargs), x.levels)


@rule("fft.fftshift fft.ifftshift")
def shifts(ns, function, x, axes=None):
    return wrap(function(x._stored, axes=_axes(axes, x.ndim)), x.levels)
