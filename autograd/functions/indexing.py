"""Indexing, gathering and scattering under PyTorch's names."""

import numpy

from chainrule.autograd import inplace, late, ops
from chainrule.autograd.modes import local
from chainrule.autograd.ops import indexing as indexing_ops
from chainrule.autograd.precision import precision
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, cpu, namespaces, placement

from .common import index_array, tensor_of, wrap_dim


def _parsed(x, index, name):
    """`index` as (basic, places): ints, slices, None and Ellipsis that give a view, then the arrays by which to read that, or None.

    As in PyTorch the basic part comes first: an int takes its dimension out before arrays are looked at, which in NumPy takes part
    in where the dimensions of the arrays go.
    """
    parts = [_part(x, part, name) for part in (index if isinstance(index, tuple) else (index,))]
    _check_index(x, parts, name)
    if not any(part.__class__ in namespaces for part in parts):
        return tuple(parts), None
    used = sum(_consumed(part) for part in parts)
    basic, places = [], []
    for part in parts:
        if part is Ellipsis:
            basic += [slice(None)] * (x.ndim - used)
            places += [slice(None)] * (x.ndim - used)
        elif part.__class__ in namespaces:
            flag = (
                part.ndim == 0 and part.dtype.kind == "b"
            )  # True or False: a new dimension of length 1 or 0
            basic += [None] if flag else [slice(None)] * _consumed(part)
            places.append(part.reshape(1) if flag else part)
        else:
            basic.append(part)
            places += [] if isinstance(part, int) else [slice(None)]
    return tuple(basic), tuple(places)


def _part(x, part, name):
    """One part of an index as an int, slice, None, Ellipsis or raw array."""
    if isinstance(part, late.Tensor):
        part = part._array
        # A 0-d integer Tensor is an int: the element is a view.
        if part.ndim == 0 and part.dtype.kind in "iu" and not backend_of(part).batched:
            part = part.item()
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
        if part.step is not None and part.step <= 0:
            raise ValueError(f"{name}: slice step must be positive, got {part.step}; use .flip(dim)")
    if isinstance(part, bool):
        part = x.new_full((), part, dtype="bool")._array
    if part.__class__ in namespaces:
        if part.dtype.kind not in "iub":
            raise IndexError(
                f"{name}: tensors used as indices must be integer or bool, got {part.dtype}; convert with .long()"
            )
        # PyTorch's masks were uint8 once, and such tensors still are masks.
        return part != 0 if part.dtype == "uint8" else part
    if not (part is None or part is Ellipsis or isinstance(part, (int, slice))):
        raise TypeError(
            f"{name}: an index is an int, slice, None, Ellipsis, list or Tensor, not {type(part).__name__}"
        )
    return part


def _consumed(part):
    """How many dimensions of the tensor a part of an index is for."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if _is_mask(part) else 1


def _check_index(x, parts, name):
    """Refuse, with the shapes, what goes beyond the tensor; a device would wrap around silently."""
    used = sum(_consumed(part) for part in parts)
    if used > x.ndim:
        raise IndexError(f"{name}: too many indices ({used}) for a tensor of shape {tuple(x.shape)}")
    axis = 0
    for part in parts:
        if part is Ellipsis:
            axis += x.ndim - used
        elif _is_mask(part):
            if tuple(part.shape) != tuple(x.shape[axis : axis + part.ndim]):
                raise IndexError(
                    f"{name}: the mask of shape {tuple(part.shape)} does not match the tensor of shape {tuple(x.shape)} at dimension {axis}"
                )
        elif isinstance(part, int) and not -x.shape[axis] <= part < x.shape[axis]:
            raise IndexError(
                f"{name}: index {part} is out of range for dimension {axis} of shape {tuple(x.shape)}"
            )
        axis += _consumed(part)


def _is_mask(part):
    return part.__class__ in namespaces and part.dtype.kind == "b"


def _region(x, basic):
    """The view x[basic], or x itself where that is all of it."""
    return x if all(part == slice(None) for part in basic) else indexing_ops.getitem(x, index=basic)


def getitem(input, index):
    """input[index], as PyTorch: a view for ints, slices, None and Ellipsis; a copy for integer and bool Tensors."""
    if index.__class__ is int:  # the commonest index, on the shortest way
        shape = input._array.shape
        if shape and -shape[0] <= index < shape[0]:
            return indexing_ops.getitem(input, (index,))
    elif (
        index.__class__ is late.Tensor
        and index._array.dtype.kind == "i"
        and index._array.ndim
        and input._array.ndim
    ):  # and the commonest array
        return indexing_ops.take(input, index=(index._array,))
    basic, places = _parsed(input, index, "getitem")
    if places is None:
        return indexing_ops.getitem(input, index=basic)
    return indexing_ops.take(_region(input, basic), index=places)


def setitem(input, index, value):
    """input[index] = value, recorded: both `value` and the rest of `input` keep their gradients."""
    value = value if isinstance(value, late.Tensor) else _constant(input, value)
    basic, places = _parsed(input, index, "setitem")
    if places is None:
        target = indexing_ops.getitem(input, index=basic)
        inplace.assign(target, _fitting(value, target, target._array.ndim), "setitem")
        return
    target = _region(input, basic)
    inplace.check_writable(target, "setitem")
    value, array = _fitting(value, target, 0), target._array
    node = indexing_ops.index_put.op.record((target, value), array, index=places, accumulate=False)
    log.wrote(array)
    try:
        with placement.around("setitem", (array,)):
            array[places] = value._array
    except (ValueError, IndexError) as error:
        kind = IndexError if isinstance(error, IndexError) else RuntimeError
        raise kind(
            f"setitem: {error} (tensor of shape {tuple(input.shape)}, value of shape {tuple(value.shape)})"
        ) from None
    if node is not None:
        node.epoch = log.epoch
        if local.state.on_record is not None:
            local.state.on_record(node, target)
        inplace.rebase(target, node)


def _constant(x, value):
    """A number, list or array as a Tensor like x."""
    from .creation import full, tensor

    if isinstance(value, (int, float)) and backend_of(x._array) is not cpu:  # filled there: nothing is copied
        return full((), value, dtype=x.dtype, device=x.device)
    return tensor(value, dtype=x.dtype, device=x.device)


def _fitting(value, x, ndim):
    """`value` in x's dtype, without the leading dimensions of length 1 beyond `ndim`, which assignment ignores."""
    if value._array.__class__ is not x._array.__class__:
        if value.ndim:
            raise RuntimeError(
                f"setitem: the value is on {value.device}, the tensor on {x.device}; move it with .to(...)"
            )
        value = value.to(x.device)
    value = value.to(x.dtype)
    while value.ndim > ndim and value.shape[0] == 1:
        value = value[0]
    return value


def gather(input, dim, index, *, sparse_grad=False):
    """out[i, j] = input[index[i, j], j] for dim 0, and so on. index has input's number of dimensions."""
    x, raw, _, axis = _aligned(tensor_of(input, "gather"), dim, index, "gather")
    if not raw.size:
        return ops.reshape(x, (-1,))[:0].reshape(tuple(index.shape))
    return _shaped(indexing_ops.take_along_axis(x, index=raw, axis=axis), index)


def _shaped(result, like):
    """The result in the shape of `like`, which it has already unless that is 0-d."""
    shape = like._array.shape
    return result if result._array.shape == shape else ops.reshape(result, shape)


def _aligned(x, dim, index, name, src=None):
    """(x, raw index, src, axis) for gathering and scattering along `dim`, checked; 0-d ones are made vectors."""
    axis = wrap_dim(dim, x.ndim, name)
    raw = index_array(index, name)
    if not raw.size:
        return x, raw, src, axis
    x = x if x.ndim else ops.reshape(x, (1,))
    raw = raw if raw.ndim else raw.reshape(1)
    if src is not None and not tensor_of(src, name).ndim:
        src = ops.reshape(src, (1,))
    for one, what in ((x, "input"), *([] if src is None else [(src, "src")])):
        if raw.ndim != one.ndim:
            raise RuntimeError(f"{name}: index has {raw.ndim} dimensions, {what} {one.ndim}; they must agree")
        over = [i for i in range(raw.ndim) if raw.shape[i] > one.shape[i] and (i != axis or what == "src")]
        if over:
            raise RuntimeError(
                f"{name}: index of shape {tuple(raw.shape)} is longer than {what} of shape {tuple(one.shape)} in dimension {over[0]}"
            )
    _in_range(raw, x.shape[axis], name)
    return x, raw, src, axis


def _in_range(raw, length, name, lowest=0):
    """IndexError for an index outside; a device is not asked: as in PyTorch, reading it would stop the queue."""
    raw = backend_of(raw).stored(raw)
    if raw.size and backend_of(raw) is cpu and (int(raw.min()) < lowest or int(raw.max()) >= length):
        worst = int(raw.min()) if int(raw.min()) < lowest else int(raw.max())
        raise IndexError(f"{name}: index {worst} is out of range for a dimension of length {length}")


def take_along_dim(input, indices, dim=None):
    """Values of `input` at `indices` along `dim`, other dimensions broadcast; of the flattened input without dim."""
    tensor_of(input, "take_along_dim")
    if index_array(indices, "take_along_dim").dtype.name not in ("int64", "int32"):
        raise RuntimeError(
            f"take_along_dim: indices must be int64, got {indices.dtype}; convert with .long()"
        )
    if dim is None:
        return take_along_dim(input.reshape(-1), indices.reshape(-1), 0)
    axis = wrap_dim(dim, input.ndim, "take_along_dim")
    if input.ndim != indices.ndim:
        raise RuntimeError(
            f"take_along_dim: input has {input.ndim} dimensions, indices {indices.ndim}; they must agree"
        )
    from .shape import broadcast_shapes

    have, want = list(input.shape), list(indices.shape)
    length = have[axis]
    have[axis] = want[axis] = 1
    shape = list(broadcast_shapes(have, want))
    _in_range(indices._array, length, "take_along_dim", lowest=-length)
    indices = ops.where(indices < 0, indices + length, indices).expand(
        *shape[:axis], indices.shape[axis], *shape[axis + 1 :]
    )
    return gather(input.expand(*shape[:axis], length, *shape[axis + 1 :]), axis, indices)


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """A copy of input with src[i, j] (or a number) written at [index[i, j], j] for dim 0, and so on.

    reduce: "add" or "multiply" to do that instead of writing.
    """
    x = tensor_of(input, "scatter")
    if isinstance(src, late.Tensor):
        x, raw, src, axis = _aligned(x, dim, index, "scatter", src)
        _same_dtype(x, src, "scatter")
    else:
        x, raw, _, axis = _aligned(x, dim, index, "scatter")
        src = _source(x, value if src is None else src)
    if not raw.size:
        return ops.copy(input)
    if reduce is None:
        return _shaped(indexing_ops.scatter(x, src, index=raw, axis=axis), input)
    if reduce not in ("add", "multiply"):
        raise RuntimeError(f'scatter: reduce must be None, "add" or "multiply", got {reduce!r}')
    from .scattering import scatter_reduce

    src = src if src.ndim else src.expand(raw.shape)
    how = "sum" if reduce == "add" else "prod"
    return _shaped(scatter_reduce(x, axis, late.Tensor._wrap(raw), src, how), input)


def _source(x, src):
    return src if isinstance(src, late.Tensor) else _constant(x, src)


def _same_dtype(x, source, name):
    if x.dtype != tensor_of(source, name).dtype:
        raise RuntimeError(
            f"{name}: the source must be of the input's dtype {x.dtype}, got {source.dtype}; convert it with .to(...)"
        )


@precision(accelerator="widest")
def scatter_add(input, dim, index, src):
    """A copy of input with src[i, j] added at [index[i, j], j] for dim 0, and so on; repeated places add up."""
    x, raw, src, axis = _aligned(tensor_of(input, "scatter_add"), dim, index, "scatter_add", src)
    _same_dtype(x, src, "scatter_add")
    if not raw.size:
        return ops.copy(input)
    return _shaped(indexing_ops.scatter_add(x, src, index=raw, axis=axis), input)


def _lines(input, dim, index, name, source=None):
    """(input, axis, raw index, source) for a vector of slices along `dim`, checked; 0-d ones are made vectors."""
    x = tensor_of(input, name)
    axis, raw = wrap_dim(dim, x.ndim, name), index_array(index, name)
    if raw.ndim > 1:
        raise IndexError(f"{name}: index must have at most 1 dimension, got shape {tuple(raw.shape)}")
    raw = raw.reshape(-1)
    if source is not None:
        _same_dtype(x, source, name)
        expected = (*x.shape[:axis], raw.size, *x.shape[axis + 1 :]) if x.ndim else (1,)
        if not (tuple(source.shape) == expected or (source.ndim == 0 and raw.size == 1 and x.ndim < 2)):
            raise RuntimeError(f"{name}: source has shape {tuple(source.shape)}, expected {expected}")
        source = source if source.ndim else ops.reshape(source, (1,))
    x = x if x.ndim else ops.reshape(x, (1,))
    _in_range(raw, x.shape[axis], name)
    return x, axis, raw, source


def _at(axis, raw):
    return (slice(None),) * axis + (raw,)


def index_select(input, dim, index):
    """The slices along `dim` at the positions of the 1-d `index`."""
    x, axis, raw, _ = _lines(input, dim, index, "index_select")
    if not input.ndim and raw.size != 1:
        raise RuntimeError(f"index_select: a 0-d tensor has one element; got {raw.size} indices")
    found = indexing_ops.take(x, index=_at(axis, raw))
    return found if input.ndim else ops.reshape(found, ())


def index_add(input, dim, index, source, *, alpha=1):
    """A copy of input with slice i of alpha * source added to slice index[i] along `dim`."""
    x, axis, raw, source = _lines(input, dim, index, "index_add", source)
    source = source if alpha == 1 else (source * alpha).to(source.dtype)
    return _shaped(indexing_ops.index_add(x, source, index=raw, axis=axis), input)


@precision(cpu="widest")
def index_copy(input, dim, index, source):
    """A copy of input with slice index[i] along `dim` replaced by slice i of source."""
    x, axis, raw, source = _lines(input, dim, index, "index_copy", source)
    return _shaped(indexing_ops.index_put(x, source, index=_at(axis, raw)), input)


@placement.on_their_card
def index_fill(input, dim, index, value):
    """A copy of input with the slices at `index` along `dim` set to `value`."""
    x, axis, raw, _ = _lines(input, dim, index, "index_fill")
    value, xp = _single(x, value, "index_fill"), namespaces[raw.__class__]
    chosen = xp.zeros(x.shape[axis], dtype="bool")
    chosen[raw] = True
    chosen = chosen.reshape(-1, *[1] * (x.ndim - axis - 1))
    return _shaped(ops.where(late.Tensor._wrap(chosen), value, x), input)


def _single(x, value, name):
    """A number or a 0-d Tensor, as a 0-d Tensor of x's dtype."""
    if isinstance(value, complex):
        value = late.Tensor._wrap(numpy.asarray(value))
    value = _source(x, value)
    if value.ndim:
        raise RuntimeError(f"{name}: value must be a number or a 0-d tensor, got shape {tuple(value.shape)}")
    if value.dtype.is_complex and not x.dtype.is_complex:
        raise RuntimeError(f"{name}: a {value.dtype} value does not fit a tensor of {x.dtype}")
    return value.to(device=x.device, dtype=x.dtype)


@precision(accelerator="widest")
def index_put(input, indices, values, accumulate=False):
    """A copy of input with `values` written (or added) at input[indices]."""
    values = _source(tensor_of(input, "index_put"), values)
    _same_dtype(input, values, "index_put")
    _, places = _parsed(input, tuple(indices), "index_put")
    return indexing_ops.index_put(input, values, index=places or (), accumulate=accumulate)


def masked_fill(input, mask, value):
    """A copy of input with `value` where `mask` is True."""
    tensor_of(input, "masked_fill")
    if tensor_of(mask, "masked_fill").dtype.name != "bool":
        raise RuntimeError(f"masked_fill: expected a mask of dtype bool, got {mask.dtype}; write mask != 0")
    return ops.where(mask, _single(input, value, "masked_fill"), input)


def masked_select(input, mask):
    """The elements where `mask` is True, in row-major order, as a 1-d tensor."""
    tensor_of(input, "masked_select")
    if tensor_of(mask, "masked_select").dtype.name != "bool":
        raise RuntimeError(f"masked_select: expected a mask of dtype bool, got {mask.dtype}; write mask != 0")
    from .shape import broadcast_tensors

    input, mask = broadcast_tensors(input, mask)
    return getitem(input, mask)


def nonzero(input, *, as_tuple=False):
    """The positions of the elements that are not 0: one row each, or, as a tuple, one index tensor per dimension."""
    x = tensor_of(input, "nonzero")
    x = x.reshape(1) if as_tuple and not x.ndim else x
    rows = indexing_ops.nonzero(x)
    return tuple(rows[:, i] for i in range(rows.shape[1])) if as_tuple else rows


def take(input, index):
    """Elements of the flattened input at `index`, in the shape of index."""
    x, raw = tensor_of(input, "take"), index_array(index, "take")
    _in_range(raw, x.numel(), "take", lowest=-x.numel())
    return indexing_ops.take(x.reshape(-1), index=(raw,))
