"""Views by strides: `as_strided`, which names elements by where they lie in memory, and sliding windows (`unfold`).

An index i of `as_strided` is the element `offset + sum(i * stride)` places after the first one of x, counted in memory. Which element
of x lies there follows from the strides x had when the view was made, its `layout`. With them the same operation can be done to a
gradient of x, whose elements lie elsewhere: there the elements are looked up one by one.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import add_at, backend_of


def layout_of(array):
    """The strides of an array, counted in elements."""
    return tuple(step // array.itemsize for step in array.strides)


def reach(size, stride):
    """How many places after the first element of an array the last one lies."""
    return sum((length - 1) * step for length, step in zip(size, stride, strict=True))


def offset_of(array):
    """How many places after the start of its memory an array begins."""
    root = backend_of(array).root(array)
    return (_address(array) - _address(root)) // max(array.itemsize, 1)


def _address(array):
    return array.ctypes.data if hasattr(array, "ctypes") else array.data.ptr


def strided(xp, x, size, stride):
    """The array that begins where x does, with the given strides (counted in elements)."""
    found = xp.lib.stride_tricks.as_strided(x, size, tuple(step * x.itemsize for step in stride))
    backend = backend_of(x)
    # CuPy forgets whose memory this is, and then a write to it would go unnoticed.
    return found if backend.root(found) is backend.root(x) else found.copy()


def _memory(x):
    """All of the memory that x lies in, as a vector of x's dtype; None if it has gaps."""
    root = backend_of(x).root(x)
    flat = root.transpose(sorted(range(root.ndim), key=lambda axis: -root.strides[axis]))
    return flat.reshape(-1).view(x.dtype) if flat.flags.c_contiguous else None


@op(
    x=lambda xp, g, x_shape, size, stride, offset, layout: add_places(
        g, shape=x_shape, size=size, stride=stride, offset=offset, layout=layout
    ),
    view=True,
    tangent="linear",
)
def as_strided(xp, x, *, size, stride, offset, layout):
    """The elements `offset + sum(i * stride)` places after x's first one; a view where x lies as `layout` says."""
    if math.prod(size) == 0:
        return xp.empty(size, dtype=x.dtype)
    memory = _memory(x) if layout_of(x) == layout and not backend_of(x).batched else None
    if memory is None:
        return read_places(x, size=size, stride=stride, offset=offset, layout=layout, strict=True)
    first = offset_of(x) + offset
    if first < 0 or first + reach(size, stride) >= memory.size:
        raise ValueError(
            f"size {size}, stride {stride} and offset {first} go beyond a memory of {memory.size} elements"
        )
    return strided(xp, memory[first:], size, stride)


def _positions(xp, size, stride, offset):
    """How far from the first element each element lies in memory, in an array of shape `size`."""
    found = xp.full((1,) * len(size), offset, dtype="int64")
    for axis, (length, step) in enumerate(zip(size, stride, strict=True)):
        ladder = xp.arange(length, dtype="int64") * step
        found = found + ladder.reshape([length if axis == one else 1 for one in range(len(size))])
    return found


def _places(xp, shape, layout, size, stride, offset):
    """Which element of an array of `shape` lying as `layout` says (in row-major order; their number for none) each one is."""
    count = math.prod(shape)
    table = xp.full(reach(shape, layout) + 1 if count else 1, count, dtype="int64")
    table[_positions(xp, shape, layout, 0).reshape(-1)] = xp.arange(count)
    wanted = _positions(xp, size, stride, offset)
    inside = (wanted >= 0) & (wanted < table.size)
    return xp.where(inside, table[xp.where(inside, wanted, 0)], count)


@op(
    x=lambda xp, g, x_shape, size, stride, offset, layout: add_places(
        g, shape=x_shape, size=size, stride=stride, offset=offset, layout=layout
    ),
    tangent="linear",
)
def read_places(xp, x, *, size, stride, offset, layout, strict=False):
    """What `as_strided` gives, looked up; 0 (or, if `strict`, an error) for memory between and beyond the elements of x."""
    places = _places(xp, x.shape, layout, size, stride, offset)
    if strict and bool((places == x.size).any()):
        raise ValueError(
            f"size {size}, stride {stride} and offset {offset} name memory that is no element of the tensor"
        )
    return xp.concatenate([x.reshape(-1), xp.zeros(1, dtype=x.dtype)])[places]


@op(
    x=lambda xp, g, size, stride, offset, layout: read_places(
        g, size=size, stride=stride, offset=offset, layout=layout
    ),
    tangent="linear",
)
def add_places(xp, x, *, shape, size, stride, offset, layout):
    """Zeros of `shape` with x added where `read_places` reads: its transpose."""
    out = xp.zeros(math.prod(shape) + 1, dtype=x.dtype)
    add_at(out, (_places(xp, shape, layout, size, stride, offset),), x)
    return out[:-1].reshape(shape)


@op(
    x=lambda xp, g, x_shape, axis, step: fold_windows(g, shape=x_shape, axis=axis, step=step),
    view=True,
    tangent="linear",
)
def unfold_windows(xp, x, *, axis, size, step):
    """All windows of `size` elements along `axis`, `step` apart: the axis counts them, a new last axis runs inside. A view."""
    count = (x.shape[axis] - size) // step + 1
    layout = layout_of(x)
    inner = (*x.shape[:axis], count, *x.shape[axis + 1 :], size)
    return strided(xp, x, inner, (*layout[:axis], layout[axis] * step, *layout[axis + 1 :], layout[axis]))


@op(
    x=lambda xp, g, x_shape, axis, step: unfold_windows(g, axis=axis, size=x_shape[-1], step=step),
    tangent="linear",
)
def fold_windows(xp, x, *, shape, axis, step):
    """Zeros of `shape` with each window added in its place: the transpose of `unfold_windows`."""
    wide = "float32" if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x.dtype
    out = xp.zeros(shape, dtype=wide)
    last = (x.shape[axis] - 1) * step
    for tap in range(x.shape[-1]):
        out[(slice(None),) * axis + (slice(tap, tap + last + 1, step),)] += x[..., tap]
    return out.astype(x.dtype, copy=False)
