"""Shape functions under PyTorch's names."""

import math
import operator

from chainrule.autograd import late, ops
from chainrule.backends import dtypes

from .common import sizes, tensor_of, wrap_dim, wrap_dims

_INTEGERS = ("int64", "int32", "int16", "int8", "uint8")


def _resolved(shape, count, name, old):
    """`shape` with a -1 filled in, checked against the number of elements."""
    unknown = [i for i, length in enumerate(shape) if length == -1]
    known = math.prod(length for length in shape if length != -1)
    bad = len(unknown) > 1 or any(length < -1 for length in shape)
    if not bad and unknown:
        bad = known == 0 or count % known != 0
        if not bad:
            shape = (*shape[: unknown[0]], count // known, *shape[unknown[0] + 1 :])
    if bad or math.prod(shape) != count:
        raise RuntimeError(
            f"{name}: shape {tuple(shape)} is invalid for an input of {count} elements (shape {tuple(old)})"
        )
    return tuple(shape)


def given_sizes(args, named):
    """Lengths or dims given one by one, as one sequence or by their name."""
    return args if named is None else (named,)


def reshape(input, *args, shape=None):
    """The same elements under another shape; a view where the memory allows it. One length may be -1."""
    x, shape = tensor_of(input, "reshape"), sizes(given_sizes(args, shape), "reshape")
    return ops.reshape(x, _resolved(shape, x._array.size, "reshape", x.shape))


def view(input, *args, size=None, dtype=None):
    """The same memory under another shape, or, given a dtype, read as elements of that (outside the graph)."""
    x, given = tensor_of(input, "view"), given_sizes(args, size)
    if dtype is None and len(given) == 1 and isinstance(given[0], dtypes.dtype):
        dtype = given[0]
    if dtype is not None:
        return _viewed_as(x, dtype)
    out = ops.reshape(x, _resolved(sizes(given, "view"), x._array.size, "view", x.shape))
    if x._array.size and not out._is_view():
        raise RuntimeError(
            f"view: size {tuple(out.shape)} does not fit the strides of the input of shape {tuple(x.shape)}; use .reshape(...), which copies"
        )
    return out


def _viewed_as(x, dtype):
    """The memory of x read as elements of `dtype`, whose size changes the length of the last dimension."""
    try:
        return late.Tensor._wrap(x._array.view(dtypes.as_numpy(dtype)))
    except (ValueError, TypeError) as error:
        raise RuntimeError(
            f"view: a tensor of {x.dtype} and shape {tuple(x.shape)} cannot be read as {dtype} ({error}); use .to(dtype) to convert"
        ) from None


def view_as(input, other):
    """`view` in the shape of `other`."""
    return view(input, tensor_of(other, "view_as").shape)


def reshape_as(input, other):
    """`reshape` in the shape of `other`."""
    return reshape(input, tensor_of(other, "reshape_as").shape)


def flatten(input, start_dim=0, end_dim=-1):
    """The dimensions from start_dim to end_dim made one."""
    x = tensor_of(input, "flatten")
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = wrap_dim(start_dim, x.ndim, "flatten"), wrap_dim(end_dim, x.ndim, "flatten")
    if start > end:
        raise RuntimeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def unflatten(input, dim, sizes):
    """One dimension split into several; one of `sizes` may be -1."""
    axis = wrap_dim(dim, tensor_of(input, "unflatten").ndim, "unflatten")
    inner = _resolved(tuple(sizes), input.shape[axis], "unflatten", (input.shape[axis],))
    return reshape(input, (*input.shape[:axis], *inner, *input.shape[axis + 1 :]))


def ravel(input):
    """All elements in one dimension."""
    return reshape(input, (-1,) if tensor_of(input, "ravel")._array.size else (0,))


def permute(input, *args, dims=None):
    """The dimensions reordered: dimension i of the result is dimension dims[i] of the input. A view."""
    x = tensor_of(input, "permute")
    dims = sizes(given_sizes(args, dims), "permute")
    if len(dims) != x.ndim:
        raise RuntimeError(f"permute: got {len(dims)} dims {dims} for an input of {x.ndim} dimensions")
    return ops.transpose(x, wrap_dims(dims, x.ndim, "permute") or ())


def transpose(input, dim0, dim1):
    """Two dimensions exchanged. A view."""
    x = tensor_of(input, "transpose")
    if x.ndim == 0:
        return ops.reshape(x, ())
    return ops.swapaxes(x, wrap_dim(dim0, x.ndim, "transpose"), wrap_dim(dim1, x.ndim, "transpose"))


def t(input):
    """The transpose of a matrix; a vector or a 0-d tensor as it is."""
    if tensor_of(input, "t").ndim > 2:
        raise RuntimeError(
            f"t: expected at most 2 dimensions, got shape {tuple(input.shape)}; use .transpose or .mT"
        )
    return transpose(input, 0, 1) if input.ndim == 2 else ops.reshape(input, input.shape)


def movedim(input, source, destination):
    """Dimensions moved to new places, the others keeping their order. A view."""
    x = tensor_of(input, "movedim")
    source, destination = wrap_dims(source, x.ndim, "movedim"), wrap_dims(destination, x.ndim, "movedim")
    if len(source or ()) != len(destination or ()):
        raise RuntimeError(f"movedim: {source} and {destination} must name as many dimensions")
    return ops.moveaxis(x, source, destination) if source and x.ndim else permute(x, tuple(range(x.ndim)))


def squeeze(input, dim=None):
    """Dimensions of length 1 taken out: all, or those of `dim` that have length 1."""
    x = tensor_of(input, "squeeze")
    if dim is None:
        return ops.squeeze(x)
    dims = wrap_dims(dim, x.ndim, "squeeze")
    return ops.squeeze(x, tuple(one for one in dims or () if x.ndim and x.shape[one] == 1))


def unsqueeze(input, dim):
    """A new dimension of length 1 at `dim`."""
    return ops.expand_dims(tensor_of(input, "unsqueeze"), wrap_dim(dim, input.ndim + 1, "unsqueeze"))


def expand(input, *args, size=None, implicit=False):
    """Dimensions of length 1 repeated, without copying, to `size`; -1 keeps a length."""
    x = tensor_of(input, "expand")
    size = sizes(given_sizes(args, size), "expand")
    extra = len(size) - x.ndim
    wanted = tuple(
        x.shape[i - extra] if length == -1 and i >= extra else length for i, length in enumerate(size)
    )
    fits = extra >= 0 and all(
        have in (1, want) for have, want in zip(x.shape, wanted[max(extra, 0) :], strict=False)
    )
    if not fits or any(length < 0 for length in wanted):
        raise RuntimeError(
            f"expand: the input of shape {tuple(x.shape)} cannot be expanded to {size}: only dimensions of length 1 can grow, new ones come first"
        )
    return ops.broadcast_to(x, wanted)


def expand_as(input, other):
    """`expand` to the shape of `other`."""
    return expand(input, other.shape)


def broadcast_to(input, size):
    """`expand` under NumPy's name."""
    return expand(input, size)


def broadcast_shapes(*shapes):
    """The shape to which all `shapes` broadcast; an int is the shape of a vector."""
    from chainrule.autograd.tensor import Size

    shapes = [sizes((one,), "broadcast_shapes") for one in shapes]
    length = max((len(shape) for shape in shapes), default=0)
    result = [1] * length
    for shape in shapes:
        for i, n in enumerate(shape, start=length - len(shape)):
            if n < 0:
                raise RuntimeError(f"broadcast_shapes: negative length in shape {shape}")
            if n != 1 and result[i] not in (1, n):
                raise RuntimeError(f"broadcast_shapes: shapes {shapes} cannot be broadcast together")
            result[i] = n if n != 1 else result[i]
    return Size(result)


def broadcast_tensors(*tensors):
    """The Tensors expanded to their common shape."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tensors[0]
    shape = broadcast_shapes(*(tensor_of(one, "broadcast_tensors").shape for one in tensors))
    return tuple(expand(one, shape) for one in tensors)


def _same_rest(tensors, axis, name):
    """Whether tensors can be joined along `axis`; an error naming the shapes if not."""
    shapes = [tuple(one.shape) for one in tensors]
    rests = {shape[:axis] + shape[axis + 1 :] for shape in shapes}
    if len(rests) > 1 or len({len(shape) for shape in shapes}) > 1:
        raise RuntimeError(f"{name}: sizes must match except in dimension {axis}, got shapes {shapes}")


def cat(tensors, dim=0):
    """Tensors joined along a dimension they have."""
    tensors = [tensor_of(one, "cat") for one in tensors]
    if not tensors:
        raise RuntimeError("cat: expected a non-empty list of Tensors")
    if any(one.ndim == 0 for one in tensors):
        raise RuntimeError("cat: a 0-d tensor cannot be concatenated; use stack")
    # PyTorch's old exception: an empty 1-d tensor joins with anything.
    tensors = [one for one in tensors if tuple(one.shape) != (0,)] or tensors[:1]
    axis = wrap_dim(dim, tensors[0].ndim, "cat")
    _same_rest(tensors, axis, "cat")
    return ops.concatenate(tensors, axis)


def stack(tensors, dim=0):
    """Tensors of one shape joined along a new dimension."""
    tensors = [tensor_of(one, "stack") for one in tensors]
    if not tensors:
        raise RuntimeError("stack: expected a non-empty list of Tensors")
    shapes = [tuple(one.shape) for one in tensors]
    if len(set(shapes)) > 1:
        raise RuntimeError(f"stack: expected tensors of one shape, got {shapes}")
    return ops.stack(tensors, wrap_dim(dim, tensors[0].ndim + 1, "stack"))


def hstack(tensors):
    """Joined along dimension 1 (0 for 1-d tensors)."""
    tensors = [atleast_1d(one) for one in tensors]
    return cat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """Joined along dimension 0, 1-d tensors as rows."""
    return cat([atleast_2d(one) for one in tensors], 0)


def _of_each(function, tensors):
    """`function` of each of several tensors, given one by one or as one sequence."""
    given = tensors[0] if len(tensors) == 1 else tensors
    return tuple(function(one) for one in given)


def atleast_1d(*tensors):
    """A 0-d tensor as a 1-d one; others as they are."""
    if len(tensors) != 1 or isinstance(tensors[0], (list, tuple)):
        return _of_each(atleast_1d, tensors)
    x = tensor_of(tensors[0], "atleast_1d")
    return x if x.ndim else reshape(x, (1,))


def atleast_2d(*tensors):
    """A 0-d or 1-d tensor as a matrix of one row; others as they are."""
    if len(tensors) != 1 or isinstance(tensors[0], (list, tuple)):
        return _of_each(atleast_2d, tensors)
    x = tensor_of(tensors[0], "atleast_2d")
    return x if x.ndim >= 2 else reshape(x, (1, x.numel()))


def narrow(input, dim, start, length):
    """`length` slices along `dim` from `start` on. A view."""
    if tensor_of(input, "narrow").ndim == 0:
        raise RuntimeError("narrow: a 0-d tensor has no dimension to narrow")
    if isinstance(start, late.Tensor) and (start.ndim or start.dtype.name not in _INTEGERS):
        raise RuntimeError(
            f"narrow: start must be an int or a 0-d integer tensor, got {start.dtype} of shape {tuple(start.shape)}"
        )
    axis, start = wrap_dim(dim, input.ndim, "narrow"), operator.index(start)
    start = start + input.shape[axis] if start < 0 else start
    if length < 0 or not 0 <= start <= input.shape[axis] - length:
        raise RuntimeError(
            f"narrow: start {start} and length {length} go beyond dimension {axis} of shape {tuple(input.shape)}"
        )
    return ops.getitem(input, (slice(None),) * axis + (slice(start, start + length),))


def select(input, dim, index):
    """One slice along `dim`, which is taken out. A view."""
    axis = wrap_dim(dim, tensor_of(input, "select").ndim, "select")
    if not -input.shape[axis] <= index < input.shape[axis]:
        raise IndexError(
            f"select: index {index} is out of range for dimension {axis} of shape {tuple(input.shape)}"
        )
    return ops.getitem(input, (slice(None),) * axis + (index,))


def unbind(input, dim=0):
    """All slices along `dim`, as a tuple. Views."""
    axis = wrap_dim(dim, tensor_of(input, "unbind").ndim, "unbind")
    return tuple(select(input, axis, i) for i in range(input.shape[axis]))


def split(input, split_size_or_sections, dim=0):
    """The tensor cut along `dim` into pieces of one size (the last may be smaller) or of the given sizes. Views."""
    axis = wrap_dim(dim, tensor_of(input, "split").ndim, "split")
    length, pieces = input.shape[axis], split_size_or_sections
    if isinstance(pieces, int):
        if pieces <= 0:
            raise RuntimeError(f"split: split_size must be positive, got {pieces}")
        pieces = [min(pieces, length - start) for start in range(0, length, pieces)] or [0]
    if sum(pieces) != length:
        raise RuntimeError(
            f"split: sizes {list(pieces)} must add up to {length}, the length of dimension {axis}"
        )
    starts = [sum(pieces[:i]) for i in range(len(pieces))]
    return tuple(narrow(input, axis, start, size) for start, size in zip(starts, pieces, strict=True))


def chunk(input, chunks, dim=0):
    """The tensor cut along `dim` into at most `chunks` pieces of equal size (the last may be smaller). Views."""
    if chunks <= 0:
        raise RuntimeError(f"chunk: expected a positive number of chunks, got {chunks}")
    x = tensor_of(input, "chunk")
    length = x.shape[wrap_dim(dim, x.ndim, "chunk")]
    # Of nothing there are as many pieces as asked for.
    return split(x, -(-length // chunks) if length else [0] * chunks, dim)


def flip(input, *args, dims=None):
    """The order of the elements along `dims` reversed."""
    x = tensor_of(input, "flip")
    dims = wrap_dims(sizes(given_sizes(args, dims), "flip"), x.ndim, "flip") if x.ndim else ()
    return ops.flip(x, dims) if dims else ops.copy(x)


def roll(input, shifts, dims=None):
    """Elements shifted along `dims` (of the flattened input by default), coming back at the other end."""
    x, shifts = tensor_of(input, "roll"), sizes((shifts,), "roll")
    given = None if dims is None else sizes((dims,), "roll")
    if given and not x.ndim:
        raise IndexError(f"roll: a 0-d tensor has no dims to roll along, got {given}")
    # A dim may be named twice: its shifts add up.
    dims = tuple(wrap_dim(one, x.ndim, "roll") for one in given or ())
    if len(shifts) != (len(dims) or 1):
        raise RuntimeError(f"roll: {len(shifts)} shifts {shifts} for dims {given}; give one for each")
    if not dims:
        return ops.roll(x, shifts[0], None)
    return ops.roll(x, shifts[0], dims[0]) if len(dims) == 1 else ops.roll(x, shifts, dims)


def _matrices(input, name):
    if tensor_of(input, name).ndim < 2:
        raise RuntimeError(f"{name}: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    return input


def tril(input, diagonal=0):
    """The lower triangle of the last two dimensions, up to the given diagonal; 0 elsewhere."""
    return ops.tril(_matrices(input, "tril"), diagonal)


def triu(input, diagonal=0):
    """The upper triangle of the last two dimensions, from the given diagonal on; 0 elsewhere."""
    return ops.triu(_matrices(input, "triu"), diagonal)


def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of two dimensions, as a new last one. A view."""
    x = tensor_of(input, "diagonal")
    return ops.diagonal(x, offset, wrap_dim(dim1, x.ndim, "diagonal"), wrap_dim(dim2, x.ndim, "diagonal"))


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """The last dimension put on the diagonal of two new ones, zeros elsewhere."""
    x = tensor_of(input, "diag_embed")
    if not x.ndim:
        raise RuntimeError("diag_embed: expected at least 1 dimension, got a 0-d tensor; use .reshape(1)")
    ndim, n = x.ndim + 1, x.shape[-1] + abs(offset)
    first, second = wrap_dim(dim1, ndim, "diag_embed"), wrap_dim(dim2, ndim, "diag_embed")
    rest = iter(x.shape[:-1])
    shape = tuple(n if axis in (first, second) else next(rest) for axis in range(ndim))
    return ops.diagonal_scatter(x, shape, offset, first, second)


def diag(input, diagonal=0):
    """A vector on the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    if tensor_of(input, "diag").ndim not in (1, 2):
        raise RuntimeError(f"diag: expected 1 or 2 dimensions, got shape {tuple(input.shape)}")
    return diag_embed(input, diagonal) if input.ndim == 1 else ops.copy(ops.diagonal(input, diagonal, 0, 1))


def physical_order(memory_format):
    """Which dimension varies slowest in memory, and so on, in a channels_last format; None for row-major order."""
    ndim = {"channels_last": 4, "channels_last_3d": 5}.get(getattr(memory_format, "name", None))
    return None if ndim is None else (0, *range(2, ndim), 1)


def contiguous(input, memory_format=None):
    """The tensor itself if its elements lie in row-major order (or that of `memory_format`) without gaps, else a copy that does."""
    if input.is_contiguous(memory_format):
        return input
    order = physical_order(memory_format)
    if order is None:
        return ops.copy(input)
    if len(order) != input.ndim:
        raise RuntimeError(
            f"contiguous: {memory_format.name} is for {len(order)} dimensions, the input has shape {tuple(input.shape)}"
        )
    back = tuple(order.index(dim) for dim in range(input.ndim))
    return ops.transpose(ops.copy(ops.transpose(input, order)), back)


def clone(input, *, memory_format=None):
    """A copy in memory of its own; gradients pass through."""
    return ops.copy(input)
