"""Indexing arrays with hidden batch axes, to read, to write and to add: one index for the stored array.

Slices and ints need only a full slice for each hidden axis in front. Where integer arrays take part, and one of them differs
between samples, each hidden axis gets an index of its own that counts the samples. Integer arrays put their axes first when
something stands between them, and then in front of the hidden axes: these are moved to where they belong.
"""

import numpy as np

from .backend import namespaces
from .batched import DataDependent, is_batched, levels_of, lifted, merged, wrap


def read(x, index):
    """x[index]."""
    x = lifted(x, merged(x.levels, levels_of(index if isinstance(index, tuple) else (index,))))
    place, _, arrays, first = _place(x, index)
    if arrays is None:
        x._viewed = True
        return wrap(x._stored[place], x.levels)
    return wrap(_visible(x, x._stored[place], arrays, first), x.levels)


def write(x, index, value):
    """x[index] = value, where x has memory enough."""
    mask = _mask(x, index, value)
    if mask is not None:
        xp = namespaces[x.__class__]
        x[...] = xp.where(mask, value, x)
        return
    place, *layout = _place(x, index)
    x._stored[place] = _values(x, *layout, value)


def _mask(x, index, value):
    """The mask, laid along the axes of x, where `index` is one mask of each sample's own and `value` fits any count of places."""
    index = index if isinstance(index, tuple) else (index,)
    masks = [i for i, part in enumerate(index) if is_batched(part) and part.dtype.kind == "b" and part.ndim]
    if len(masks) != 1 or any(part != slice(None) for i, part in enumerate(index) if i != masks[0]):
        return None
    mask = index[masks[0]]
    after = x.ndim - masks[0] - mask.ndim
    if getattr(value, "ndim", 0) > after:
        return None
    return mask.reshape((*mask.shape, *(1,) * after))


def add(backend, x, index, value):
    """x[index] += value, for every time a place is named."""
    place, *layout = _place(x, index)
    backend.add_at(x._stored, place, _values(x, *layout, value))


def _place(x, index):
    """The index of the stored array; and of what it reads, the number of visible axes, how many of them integer arrays make (None
    if there are no such arrays), and where those stand: at a visible axis though NumPy puts them in front of all visible
    axes (a number), in front of the hidden axes though they belong behind them (-1), or where they belong (None)."""
    parts = _explicit(x, index)
    k = len(x.levels)
    at = [i for i, part in enumerate(parts) if _advances(part)]
    count = sum(part is None or isinstance(part, slice) for part in parts)
    if not any(_is_array(parts[i]) for i in at):
        return (*(slice(None),) * k, *parts, Ellipsis), count, None, None
    together = at == list(range(at[0], at[-1] + 1))
    arrays = max(getattr(parts[i], "ndim", 0) for i in at)
    before = at[0] if together else 0  # each part before the first takes or makes one axis
    if not any(is_batched(parts[i]) for i in at):
        lead = (slice(None),) * k
        # NumPy's own result has the arrays' axes in place when they stand together, else first of all.
        return (*lead, *parts), count + arrays, arrays, None if together else -1
    xp = namespaces[x._stored.__class__]
    parts = [_aligned(part, x.levels, arrays) if i in at else part for i, part in enumerate(parts)]
    counts = []
    for i, length in enumerate(x._stored.shape[:k]):
        counts.append(xp.arange(length).reshape((1,) * i + (length,) + (1,) * (k - i - 1 + arrays)))
    return (*counts, *parts), count + arrays, arrays, before or None


def _explicit(x, index):
    """`index` as a list with one entry for each axis of x (and None for new ones), masks as integer arrays."""
    parts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, (list, np.ndarray)) or part.__class__ in namespaces:
            parts.extend(_integers(x, part))
        else:
            parts.append(part)
    used = sum(part is not None and part is not Ellipsis for part in parts)
    if used > x.ndim:
        raise IndexError(f"too many indices: {used} for an array of shape {tuple(x.shape)}")
    rest = [slice(None)] * (x.ndim - used)
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if dots:
        return parts[: dots[0]] + rest + parts[dots[0] + 1 :]
    return parts + rest


def _integers(x, part):
    """An array in an index as integer arrays: itself, or the places where a mask is true."""
    if isinstance(part, list):
        part = namespaces[x._stored.__class__].asarray(part, dtype=None if part else "int64")
    if is_batched(part):
        lengths = part._stored.shape[: len(part.levels)]
        if all(length == 1 for length in lengths):
            part = part._stored.reshape(tuple(part.shape))
        elif part.dtype.kind == "b":
            raise DataDependent(
                "vmap: the shape of x[mask] depends on the mask, which differs between samples; use where(mask, x, other)"
            )
    if part.dtype.kind != "b":
        return [part]
    if part.ndim == 0:
        raise DataDependent("vmap: an index of a single bool is not supported")
    return list(part.nonzero())


def _is_array(part):
    return part.__class__ in namespaces


def _advances(part):
    """Whether an index is advanced where there are arrays: arrays themselves, and ints beside them."""
    return _is_array(part) or isinstance(part, (int, np.integer))


def _aligned(part, levels, arrays):
    """An index with the hidden axes in front of `arrays` visible ones."""
    if not _is_array(part):
        return part
    part = lifted(part, levels)
    raw, k = part._stored, len(levels)
    return raw.reshape((*raw.shape[:k], *(1,) * (arrays - part.ndim), *part.shape))


def _visible(x, raw, arrays, first):
    """What the stored array gave, with the axes that integer arrays made moved from the front to their place."""
    if first is None:
        return raw
    k = len(x.levels)
    xp = namespaces[raw.__class__]
    if first == -1:  # they stand before the hidden axes
        return xp.moveaxis(raw, tuple(range(arrays)), tuple(range(k, k + arrays)))
    return xp.moveaxis(raw, tuple(range(k, k + arrays)), tuple(range(k + first, k + first + arrays)))


def _values(x, count, arrays, first, value):
    """`value` in the layout in which the stored array wants it."""
    if not _is_array(value):
        return value
    k = len(x.levels)
    value = lifted(value, x.levels)
    raw = value._stored
    if value.ndim > count:
        # Leading axes of length 1 are ignored, as in any assignment.
        raw = raw.reshape((*raw.shape[:k], *value.shape[value.ndim - count :]))
    else:
        raw = raw.reshape((*raw.shape[:k], *(1,) * (count - value.ndim), *value.shape))
    if first is None:
        return raw
    xp = namespaces[raw.__class__]
    if first == -1:
        return xp.moveaxis(raw, tuple(range(k, k + arrays)), tuple(range(arrays)))
    return xp.moveaxis(raw, tuple(range(k + first, k + first + arrays)), tuple(range(k, k + arrays)))
