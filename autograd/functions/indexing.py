"""Indexing, gathering and scattering under PyTorch's names."""

import numpy

from chainrule.autograd import inplace, late, ops
from chainrule.autograd.ops import indexing as indexing_ops
from chainrule.autograd.writes import log
from chainrule.backends import namespaces

from .common import index_array, tensor_of, wrap_dim


def _parsed(x, index, name):
    """`index` as (a tuple of ints, slices, None, Ellipsis and raw arrays, whether any of them is an array)."""
    parts = index if isinstance(index, tuple) else (index,)
    parsed, arrays = [], False
    for part in parts:
        if isinstance(part, late.Tensor):
            part = part._array
            if part.dtype.kind not in "iub":
                raise IndexError(
                    f"{name}: tensors used as indices must be integer or bool, got {part.dtype}; convert with .long()"
                )
            # A 0-d integer Tensor is an int: the element is a view.
            part = part.item() if part.ndim == 0 and part.dtype.kind in "iu" else part
        elif isinstance(part, (list, range)) or (
            isinstance(part, numpy.ndarray) and not isinstance(x._array, numpy.ndarray)
        ):
            part = (
                late.Tensor._wrap(numpy.asarray(part)).to(x.device)._array
                if len(part)
                else x.new_zeros(0).long()._array
            )
        elif isinstance(part, numpy.generic):
            part = part.item()
        elif isinstance(part, slice):
            part = slice(
                *(
                    one.item() if isinstance(one, (late.Tensor, numpy.generic)) else one
                    for one in (part.start, part.stop, part.step)
                )
            )
            if part.step is not None and part.step < 0:
                raise ValueError(f"{name}: slice step must be positive, got {part.step}; use .flip(dim)")
        elif not (
            part is None or part is Ellipsis or isinstance(part, (int, bool)) or part.__class__ in namespaces
        ):
            raise TypeError(
                f"{name}: an index is an int, slice, None, Ellipsis, list or Tensor, not {type(part).__name__}"
            )
        if isinstance(part, bool):
            part = x.new_full((), part, dtype="bool")._array
        arrays = arrays or part.__class__ in namespaces
        parsed.append(part)
    _check_index(x, parsed, name)
    return tuple(parsed), arrays


def _check_index(x, parts, name):
    """Refuse, with the shapes, what goes beyond the tensor; a device would wrap around silently."""
    used = sum(
        part.ndim if _is_mask(part) else 1 for part in parts if part is not None and part is not Ellipsis
    )
    if used > x.ndim:
        raise IndexError(f"{name}: too many indices ({used}) for a tensor of shape {tuple(x.shape)}")
    axis = 0
    for part in parts:
        if part is None:
            continue
        if part is Ellipsis:
            axis += x.ndim - used
        elif _is_mask(part):
            if tuple(part.shape) != tuple(x.shape[axis : axis + part.ndim]):
                raise IndexError(
                    f"{name}: the mask of shape {tuple(part.shape)} does not match the tensor of shape {tuple(x.shape)} at dimension {axis}"
                )
            axis += part.ndim
        else:
            length = x.shape[axis]
            if isinstance(part, int) and not -length <= part < length:
                raise IndexError(
                    f"{name}: index {part} is out of range for dimension {axis} of shape {tuple(x.shape)}"
                )
            axis += 1


def _is_mask(part):
    return part.__class__ in namespaces and part.dtype.kind == "b"


def getitem(input, index):
    """input[index], as NumPy: a view for ints, slices, None and Ellipsis; a copy for integer and bool Tensors."""
    if index.__class__ is int:  # the commonest index, on the shortest way
        shape = input._array.shape
        if shape and -shape[0] <= index < shape[0]:
            return indexing_ops.getitem(input, (index,))
    parsed, arrays = _parsed(input, index, "getitem")
    if arrays:
        return indexing_ops.take(input, index=parsed)
    return indexing_ops.getitem(input, index=parsed)


def setitem(input, index, value):
    """input[index] = value, recorded: both `value` and the rest of `input` keep their gradients."""
    parsed, arrays = _parsed(input, index, "setitem")
    value = value if isinstance(value, late.Tensor) else _constant(input, value)
    if not arrays:
        inplace.assign(indexing_ops.getitem(input, index=parsed), _fitting(value, input), "setitem")
        return
    inplace.check_writable(input, "setitem")
    value = _fitting(value, input)
    node = indexing_ops.index_put.op.record((input, value), input._array, index=parsed, accumulate=False)
    log.wrote(input._array)
    input._array[parsed] = value._array
    if node is not None:
        node.epoch = log.epoch
        inplace.rebase(input, node)


def _constant(x, value):
    """A number, list or array as a Tensor like x."""
    from .creation import tensor

    return tensor(value, dtype=x.dtype, device=x.device)


def _fitting(value, x):
    """`value` in x's dtype, without leading dimensions of length 1, which assignment ignores."""
    if value._array.__class__ is not x._array.__class__:
        if value.ndim:
            raise RuntimeError(
                f"setitem: the value is on {value.device}, the tensor on {x.device}; move it with .to(...)"
            )
        value = value.to(x.device)
    value = value.to(x.dtype)
    while value.ndim > x.ndim and value.shape[0] == 1:
        value = value[0]
    return value


def gather(input, dim, index, *, sparse_grad=False):
    """out[i, j] = input[index[i, j], j] for dim 0, and so on. index has input's number of dimensions."""
    x, axis = tensor_of(input, "gather"), wrap_dim(dim, input.ndim, "gather")
    raw = _along(x, index, axis, "gather")
    return indexing_ops.take_along_axis(x, index=raw, axis=axis)


def _along(x, index, axis, name, source=None):
    raw = index_array(index, name)
    if raw.ndim != x.ndim:
        raise RuntimeError(f"{name}: index has {raw.ndim} dimensions, input {x.ndim}; they must agree")
    for limit, what in (
        (x.shape, "input"),
        *(((source.shape, "src"),) if source is not None and source.ndim else ()),
    ):
        over = [i for i in range(raw.ndim) if raw.shape[i] > limit[i] and (i != axis or what == "src")]
        if over:
            raise RuntimeError(
                f"{name}: index of shape {tuple(raw.shape)} is longer than {what} of shape {tuple(limit)} in dimension {over[0]}"
            )
    _in_range(raw, x.shape[axis] if x.ndim else 1, name)
    return raw


def _in_range(raw, length, name):
    if raw.size and (int(raw.min()) < 0 or int(raw.max()) >= length):
        worst = int(raw.min()) if int(raw.min()) < 0 else int(raw.max())
        raise IndexError(f"{name}: index {worst} is out of range for a dimension of length {length}")


def take_along_dim(input, indices, dim=None):
    """Values of `input` at `indices` along `dim`, other dimensions broadcast; of the flattened input without dim."""
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    axis = wrap_dim(dim, input.ndim, "take_along_dim")
    shape = [
        max(a, b) if i != axis else None
        for i, (a, b) in enumerate(zip(input.shape, indices.shape, strict=True))
    ]
    x = input.expand([input.shape[axis] if n is None else n for n in shape])
    return gather(x, axis, indices.expand([indices.shape[axis] if n is None else n for n in shape]))


def _source(x, src):
    return src if isinstance(src, late.Tensor) else _constant(x, src)


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """A copy of input with src[i, j] (or a number) written at [index[i, j], j] for dim 0, and so on."""
    axis = wrap_dim(dim, input.ndim, "scatter")
    src = _source(input, value if src is None else src)
    raw = _along(input, index, axis, "scatter", src)
    if reduce == "add":
        return indexing_ops.scatter_add(
            input, src.expand(raw.shape) if not src.ndim else src, index=raw, axis=axis
        )
    if reduce is not None:
        raise RuntimeError(f'scatter: reduce must be None or "add", got {reduce!r}')
    return indexing_ops.scatter(input, src, index=raw, axis=axis)


def scatter_add(input, dim, index, src):
    """A copy of input with src[i, j] added at [index[i, j], j] for dim 0, and so on; repeated places add up."""
    axis = wrap_dim(dim, input.ndim, "scatter_add")
    raw = _along(input, index, axis, "scatter_add", src)
    return indexing_ops.scatter_add(input, src, index=raw, axis=axis)


def _lines(input, dim, index, name):
    axis, raw = wrap_dim(dim, input.ndim, name), index_array(index, name)
    if raw.ndim > 1:
        raise IndexError(f"{name}: index must have at most 1 dimension, got shape {tuple(raw.shape)}")
    _in_range(raw, input.shape[axis] if input.ndim else 1, name)
    return axis, raw.reshape(-1)


def index_select(input, dim, index):
    """The slices along `dim` at the positions of the 1-d `index`."""
    axis, raw = _lines(input, dim, index, "index_select")
    return indexing_ops.take(input, index=(slice(None),) * axis + (raw,))


def index_add(input, dim, index, source, *, alpha=1):
    """A copy of input with slice i of alpha * source added to slice index[i] along `dim`."""
    axis, raw = _lines(input, dim, index, "index_add")
    expected = (*input.shape[:axis], raw.size, *input.shape[axis + 1 :])
    if tuple(source.shape) != expected:
        raise RuntimeError(f"index_add: source has shape {tuple(source.shape)}, expected {expected}")
    return indexing_ops.index_add(input, source if alpha == 1 else source * alpha, index=raw, axis=axis)


def index_copy(input, dim, index, source):
    """A copy of input with slice index[i] along `dim` replaced by slice i of source."""
    axis, raw = _lines(input, dim, index, "index_copy")
    return indexing_ops.index_put(input, source, index=(slice(None),) * axis + (raw,))


def index_fill(input, dim, index, value):
    """A copy of input with the slices at `index` along `dim` set to `value`."""
    axis, raw = _lines(input, dim, index, "index_fill")
    return indexing_ops.index_put(input, _source(input, value), index=(slice(None),) * axis + (raw,))


def index_put(input, indices, values, accumulate=False):
    """A copy of input with `values` written (or added) at input[indices]."""
    parsed, _ = _parsed(input, tuple(indices), "index_put")
    return indexing_ops.index_put(input, _source(input, values), index=parsed, accumulate=accumulate)


def masked_fill(input, mask, value):
    """A copy of input with `value` where `mask` is True."""
    if mask.dtype.name != "bool":
        raise RuntimeError(f"masked_fill: expected a mask of dtype bool, got {mask.dtype}; write mask != 0")
    return ops.where(
        mask, _constant(input, value) if not isinstance(value, late.Tensor) else value.to(input.dtype), input
    )


def masked_select(input, mask):
    """The elements where `mask` is True, in row-major order, as a 1-d tensor."""
    if mask.dtype.name != "bool":
        raise RuntimeError(f"masked_select: expected a mask of dtype bool, got {mask.dtype}; write mask != 0")
    from .shape import broadcast_tensors

    input, mask = broadcast_tensors(input, mask)
    return getitem(input, mask)


def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not 0: one row each, or, as a tuple, one index tensor per dimension."""
    rows = indexing_ops.nonzero(input)
    return tuple(rows[:, i] for i in range(rows.shape[1])) if as_tuple else rows


def take(input, index):
    """Elements of the flattened input at `index`, in the shape of index."""
    raw = index_array(index, "take")
    return indexing_ops.take(input.reshape(-1), index=(raw,))
