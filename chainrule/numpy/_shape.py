"""Reshaping, joining, splitting, repeating, picking. Views where NumPy gives views."""

import operator

import numpy as np

from chainrule.autograd import ops
from chainrule.autograd.functions import indexing
from chainrule.autograd.functions import shape as shape_functions
from chainrule.autograd.functions.common import wrap_dims
from chainrule.autograd.ops import shape as shape_ops

from ._common import axis_of, promoted, tensor

__all__ = [
    "append", "argwhere", "array_split", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_to", "column_stack",
    "compress", "concat", "concatenate", "diagonal", "dsplit", "dstack", "expand_dims", "extract", "flatnonzero", "flip", "fliplr", "flipud",
    "hsplit", "hstack", "matrix_transpose", "moveaxis", "ndim", "nonzero", "pad", "permute_dims", "ravel", "repeat", "reshape", "roll",
    "rot90", "shape", "size", "split", "squeeze", "stack", "swapaxes", "take", "take_along_axis", "tile", "transpose", "tril", "triu",
    "vsplit", "vstack",
]  # fmt: skip


def ndim(a):
    """The number of axes."""
    return tensor(a).ndim


def shape(a):
    """The lengths of the axes."""
    return tuple(tensor(a).shape)


def size(a, axis=None):
    """The number of elements, or the length of one axis."""
    x = tensor(a)
    return x.numel() if axis is None else x.shape[axis]


def reshape(a, /, shape):
    """The same elements under another shape; one length may be -1. A view where the memory allows it."""
    return tensor(a).reshape(shape)


def ravel(a):
    """All elements along one axis."""
    return shape_functions.ravel(tensor(a))


def transpose(a, axes=None):
    """Axes reordered, reversed by default. A view."""
    x = tensor(a)
    return ops.transpose(x) if axes is None else shape_functions.permute(x, axes)


permute_dims = transpose


def matrix_transpose(x, /):
    """The last two axes exchanged. A view."""
    return tensor(x).mT


def swapaxes(a, axis1, axis2):
    """Two axes exchanged. A view."""
    return ops.swapaxes(tensor(a), axis1, axis2)


def moveaxis(a, source, destination):
    """Axes moved to new places, the others keeping their order. A view."""
    x = tensor(a)
    source, destination = (wrap_dims(one, x.ndim, "moveaxis") or () for one in (source, destination))
    if len(source) != len(destination):
        raise ValueError(f"moveaxis: source {source} and destination {destination} differ in length")
    return ops.moveaxis(x, source, destination)


def expand_dims(a, axis):
    """New axes of length 1 at the places `axis` of the result. A view."""
    return ops.expand_dims(tensor(a), axis)


def squeeze(a, axis=None):
    """Axes of length 1 taken out: all, or those in `axis`. A view."""
    return ops.squeeze(tensor(a), axis)


def broadcast_to(array, shape):
    """The array repeated, without copying, to `shape`."""
    return ops.broadcast_to(tensor(array), (shape,) if isinstance(shape, int) else tuple(shape))


def broadcast_arrays(*args):
    """The arrays broadcast against each other."""
    return shape_functions.broadcast_tensors(*(tensor(one) for one in args))


def atleast_1d(*arys):
    """0-d arrays as 1-d ones."""
    return _each(arys, shape_functions.atleast_1d)


def atleast_2d(*arys):
    """Vectors as matrices of one row."""
    return _each(arys, shape_functions.atleast_2d)


def atleast_3d(*arys):
    """Vectors as (1, n, 1), matrices as (m, n, 1)."""

    def three(x):
        return x.reshape((*shape_functions.atleast_2d(x).shape, 1)) if x.ndim < 3 else x

    return _each(arys, three)


def _each(arrays, function):
    found = tuple(function(tensor(one)) for one in arrays)
    return found[0] if len(found) == 1 else found


# --- joining and splitting ---


def concatenate(arrays, /, axis=0, *, dtype=None):
    """Arrays joined along an axis they have; along the only one of the flattened arrays if it is None."""
    parts = promoted(*(tensor(one, dtype) for one in arrays))
    if axis is None:
        parts, axis = [one.reshape(-1) for one in parts], 0
    return ops.concatenate(parts, axis)


concat = concatenate


def stack(arrays, axis=0, *, dtype=None):
    """Arrays of one shape joined along a new axis."""
    return ops.stack(promoted(*(tensor(one, dtype) for one in arrays)), axis)


def vstack(tup, *, dtype=None):
    """Joined along axis 0, vectors as rows."""
    return concatenate([shape_functions.atleast_2d(tensor(one)) for one in tup], 0, dtype=dtype)


def hstack(tup, *, dtype=None):
    """Joined along axis 1 (0 for vectors)."""
    parts = [shape_functions.atleast_1d(tensor(one)) for one in tup]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1, dtype=dtype)


def dstack(tup):
    """Joined along axis 2."""
    return concatenate([atleast_3d(one) for one in tup], 2)


def column_stack(tup):
    """Joined along axis 1, vectors as columns."""
    parts = [tensor(one) for one in tup]
    return concatenate([one.reshape(-1, 1) if one.ndim < 2 else one for one in parts], 1)


def append(arr, values, axis=None):
    """`values` after `arr` along `axis`, both flattened if it is None."""
    return concatenate([arr, values], axis)


def array_split(ary, indices_or_sections, axis=0):
    """A list of views along `axis`: that many parts, the first ones longer by 1 if need be, or cut at the given places."""
    x = tensor(ary)
    axis = axis_of(axis, x, "array_split")
    length = x.shape[axis]
    if isinstance(indices_or_sections, (list, tuple, np.ndarray)):
        cuts = [operator.index(one) for one in indices_or_sections]
    else:
        count = operator.index(indices_or_sections)
        if count <= 0:
            raise ValueError(f"array_split: the number of parts must be positive, got {count}")
        short, longer = divmod(length, count)
        cuts = [i * short + min(i, longer) for i in range(1, count)]
    before = (slice(None),) * axis
    ends = zip([0, *cuts], [*cuts, length], strict=True)
    return [x[(*before, slice(start, stop))] for start, stop in ends]


def split(ary, indices_or_sections, axis=0):
    """`array_split` that refuses parts of unequal length."""
    x = tensor(ary)
    if isinstance(indices_or_sections, int) and x.shape[axis] % indices_or_sections:
        raise ValueError(
            f"split: axis {axis} of shape {tuple(x.shape)} does not divide into {indices_or_sections} equal parts; use array_split"
        )
    return array_split(x, indices_or_sections, axis)


def vsplit(ary, indices_or_sections):
    """`split` along axis 0."""
    return split(ary, indices_or_sections, 0)


def hsplit(ary, indices_or_sections):
    """`split` along axis 1 (0 for a vector)."""
    return split(ary, indices_or_sections, min(1, tensor(ary).ndim - 1))


def dsplit(ary, indices_or_sections):
    """`split` along axis 2."""
    return split(ary, indices_or_sections, 2)


# --- repeating and rearranging ---


def tile(A, reps):
    """The whole array repeated, `reps[i]` times along axis i, counted from the last."""
    return shape_ops.tile(tensor(A), reps=(reps,) if isinstance(reps, int) else tuple(reps))


def repeat(a, repeats, axis=None):
    """Each element repeated along `axis`, of the flattened array if it is None."""
    if not isinstance(repeats, int):
        counts = np.atleast_1d(np.asarray(repeats.tolist() if hasattr(repeats, "tolist") else repeats))
        repeats = tuple(counts.tolist()) if counts.size > 1 else int(counts[0])
    x = tensor(a)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return shape_ops.repeat(x, repeats=repeats, axis=axis)


def roll(a, shift, axis=None):
    """Elements shifted along `axis`, those that fall off coming back at the other end."""
    return ops.roll(tensor(a), shift, axis)


def flip(m, axis=None):
    """The order of the elements along `axis` reversed."""
    return ops.flip(tensor(m), axis)


def fliplr(m):
    """Columns in reverse order."""
    return flip(m, 1)


def flipud(m):
    """Rows in reverse order."""
    return flip(m, 0)


def rot90(m, k=1, axes=(0, 1)):
    """Turned by k quarters from the first towards the second of two axes."""
    x = tensor(m)
    first, second = (axis_of(one, x, "rot90") for one in axes)
    if first == second:
        raise ValueError(f"rot90: the two axes must differ, got {tuple(axes)}")
    if k % 4 == 2:
        return ops.flip(x, (first, second))
    if k % 4 == 0:
        return ops.copy(x)
    return (
        ops.swapaxes(ops.flip(x, second), first, second)
        if k % 4 == 1
        else ops.flip(ops.swapaxes(x, first, second), second)
    )


def pad(array, pad_width, mode="constant", *, constant_values=0):
    """`pad_width` elements more at both ends of each axis: a number ("constant"), or copies of elements of the array
    ("edge", "reflect", "symmetric", "wrap")."""
    x = tensor(array)
    widths = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    if mode == "constant":
        return ops.pad(x, tuple(tuple(one) for one in widths), constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f'pad: mode must be "constant", "edge", "reflect", "symmetric" or "wrap", got {mode!r}'
        )
    for axis, width in enumerate(widths):
        if width != [0, 0]:
            x = take(x, np.pad(np.arange(x.shape[axis]), width, mode), axis)
    return x


def tril(m, k=0):
    """The last two axes' lower triangle, up to the k-th diagonal; 0 elsewhere."""
    return ops.tril(tensor(m), k)


def triu(m, k=0):
    """The last two axes' upper triangle, from the k-th diagonal; 0 elsewhere."""
    return ops.triu(tensor(m), k)


def diagonal(a, offset=0, axis1=0, axis2=1):
    """The diagonal of two axes, as a new last one. A view."""
    return shape_functions.diagonal(tensor(a), offset, axis1, axis2)


# --- picking ---


def take(a, indices, axis=None):
    """The elements (slices along `axis`) at `indices`, of the flattened array if axis is None."""
    x = tensor(a)
    index = tensor(indices).to(x.device)
    if axis is None:
        return x.reshape(-1)[index]
    return x[(slice(None),) * axis_of(axis, x, "take") + (index,)]


def take_along_axis(arr, indices, axis=-1):
    """arr[indices[i, j], j] for axis 0, and so on; other axes are broadcast."""
    x = tensor(arr)
    index = tensor(indices).to(x.device)
    if axis is None:
        return x.reshape(-1)[index]
    axis = axis_of(axis, x, "take_along_axis")
    length = x.shape[axis]
    return indexing.take_along_dim(x, ops.where(index < 0, index + length, index), axis)


def compress(condition, a, axis=None):
    """The slices along `axis` (elements of the flattened array) where the 1-d condition is true."""
    return take(a, flatnonzero(condition), axis)


def extract(condition, arr):
    """The elements where the condition is true, as a vector."""
    return take(arr, flatnonzero(condition))


def nonzero(a):
    """The indices of the elements that are not 0: a Tensor for each axis."""
    return indexing.nonzero(tensor(a), as_tuple=True)


def argwhere(a):
    """The positions of the elements that are not 0, one row each."""
    return indexing.nonzero(tensor(a))


def flatnonzero(a):
    """The indices of the elements of the flattened array that are not 0."""
    return nonzero(ravel(a))[0]
