"""Shapes and indices in ONNX. See `_onnx_operators`."""

import numpy as np

from ._onnx_operators import operator

# --- shapes ---


@operator
def reshape(g, x, *, shape):
    return g("Reshape", x, g.integers(*shape))


@operator
def transpose(g, x, *, axes=None):
    rank = len(g.shape())
    return g("Transpose", x, perm=list(range(rank))[::-1] if axes is None else [one % rank for one in axes])


@operator
def swapaxes(g, x, *, axis1, axis2):
    perm = list(range(len(g.shape())))
    perm[axis1], perm[axis2] = perm[axis2], perm[axis1]
    return g("Transpose", x, perm=perm)


@operator
def expand_dims(g, x, *, axis):
    return g("Unsqueeze", x, g.integers(*([axis] if isinstance(axis, int) else axis)))


@operator
def squeeze(g, x, *, axis=None):
    if axis is None:
        axis = [place for place, size in enumerate(g.shape()) if size == 1]
    axes = [axis] if isinstance(axis, int) else list(axis)
    return g("Squeeze", x, g.integers(*axes)) if axes else g("Identity", x)


@operator
def broadcast_to(g, x, *, shape):
    return g("Expand", x, g.integers(*shape))


@operator
def concatenate(g, *inputs, axis=0):
    return g("Concat", *inputs, axis=axis)


@operator
def stack(g, *inputs, axis=0):
    return g("Concat", *[g("Unsqueeze", one, g.integers(axis)) for one in inputs], axis=axis)


@operator
def flip(g, x, *, axis=None):
    axes = range(len(g.shape())) if axis is None else (axis,) if isinstance(axis, int) else axis
    return sliced(g, x, [(one, -1, -(2**62), -1) for one in axes])


@operator
def pad(g, x, *, widths, value=0):
    before, after = zip(*widths, strict=True)
    return g("Pad", x, g.integers(*before, *after), g.constant(np.asarray(value, g.dtype)))


@operator
def tril(g, x, *, k=0):
    return g("Trilu", x, g.constant(np.asarray(k, np.int64)), upper=0)


@operator
def triu(g, x, *, k=0):
    return g("Trilu", x, g.constant(np.asarray(k, np.int64)), upper=1)


@operator
def tile(g, x, *, reps):
    rank = len(g.shape())
    if len(reps) > rank:
        x = g("Unsqueeze", x, g.integers(*range(len(reps) - rank)))
    return g("Tile", x, g.integers(*(1,) * (rank - len(reps)), *reps))


# --- indexing ---


def sliced(g, x, cuts):
    """x cut by (axis, start, stop, step)."""
    axes, starts, stops, steps = zip(*cuts, strict=True)
    return g("Slice", x, g.integers(*starts), g.integers(*stops), g.integers(*axes), g.integers(*steps))


def _spelled_out(index, rank):
    """An index without its ellipsis."""
    index = index if isinstance(index, tuple) else (index,)
    used = sum(one is not None and one is not Ellipsis for one in index)
    if Ellipsis not in [one for one in index if one is None or one is Ellipsis]:
        index = (*index, Ellipsis)
    at = next(place for place, one in enumerate(index) if one is Ellipsis)
    return (*index[:at], *(slice(None),) * (rank - used), *index[at + 1 :])


@operator
def getitem(g, x, *, index):
    index = _spelled_out(index, len(g.shape()))
    cuts, gone, new, axis, place = [], [], [], 0, 0
    for one in index:
        if one is None:
            new.append(place)
            place += 1
            continue
        if isinstance(one, slice):
            if one != slice(None):
                back = (one.step or 1) < 0
                start = one.start if one.start is not None else -1 if back else 0
                stop = one.stop if one.stop is not None else -(2**62) if back else 2**62
                cuts.append((axis, start, stop, one.step or 1))
            place += 1
        else:
            stop = int(one) + 1
            cuts.append((axis, int(one), stop or 2**62, 1))
            gone.append(axis)
        axis += 1
    x = sliced(g, x, cuts) if cuts else x
    x = g("Squeeze", x, g.integers(*gone)) if gone else x
    x = g("Unsqueeze", x, g.integers(*new)) if new else x
    return x if cuts or new else g("Identity", x)


@operator
def take(g, x, *, index):
    index = _spelled_out(index, len(g.shape()))
    arrays = [place for place, one in enumerate(index) if one is not None and not isinstance(one, slice)]
    if len(arrays) != 1 or any(one != slice(None) for place, one in enumerate(index) if place not in arrays):
        raise NotImplementedError(
            "onnx.export: indexing with several arrays, or with arrays and slices together"
        )
    return g("Gather", x, _index(g, index[arrays[0]]), axis=arrays[0])


@operator
def take_along_axis(g, x, *, index, axis):
    return g("GatherElements", x, _index(g, index), axis=axis)


@operator
def embedding(g, weight, *, index, factor=None):
    return g("Gather", weight, _index(g, index), axis=0)


def _index(g, index):
    array = g._array(index)
    if array.dtype == bool:
        raise NotImplementedError("onnx.export: indexing with a mask, whose result has no fixed shape")
    return g.name(index)
