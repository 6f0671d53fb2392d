"""Shape functions under PyTorch's names."""

import math

from chainrule.autograd import late, ops
from chainrule.autograd.ops import shape as shape_ops

from .common import sizes, tensor_of, wrap_dim, wrap_dims


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


def reshape(input, *shape):
    """The same elements under another shape; a view where the memory allows it. One length may be -1."""
    x = tensor_of(input, "reshape")
    return ops.reshape(x, _resolved(sizes(shape, "reshape"), x._array.size, "reshape", x.shape))


def view(input, *shape):
    """The same memory under another shape (or, given a dtype, read as other elements of the same size)."""
    x = tensor_of(input, "view")
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list)):
        return late.Tensor._wrap(x._array.view(shape[0].dtype))
    out = ops.reshape(x, _resolved(sizes(shape, "view"), x._array.size, "view", x.shape))
    if x._array.size and not out._is_view():
        raise RuntimeError(
            f"view: size {tuple(out.shape)} does not fit the strides of the input of shape {tuple(x.shape)}; use .reshape(...), which copies"
        )
    return out


def view_as(input, other):
    """`view` in the shape of `other`."""
    return view(input, other.shape)


def reshape_as(input, other):
    """`reshape` in the shape of `other`."""
    return reshape(input, other.shape)


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
    axis = wrap_dim(dim, input.ndim, "unflatten")
    inner = _resolved(tuple(sizes), input.shape[axis], "unflatten", (input.shape[axis],))
    return reshape(input, (*input.shape[:axis], *inner, *input.shape[axis + 1 :]))


def ravel(input):
    """All elements in one dimension."""
    return reshape(input, (-1,) if input._array.size else (0,))


def permute(input, *dims):
    """The dimensions reordered: dimension i of the result is dimension dims[i] of the input. A view."""
    x = tensor_of(input, "permute")
    dims = sizes(dims, "permute")
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
    if input.ndim > 2:
        raise RuntimeError(
            f"t: expected at most 2 dimensions, got shape {tuple(input.shape)}; use .transpose or .mT"
        )
    return transpose(input, 0, 1) if input.ndim == 2 else ops.reshape(input, input.shape)


def movedim(input, source, destination):
    """Dimensions moved to new places, the others keeping their order."""
    return ops.moveaxis(input, source, destination)


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


def expand(input, *size):
    """Dimensions of length 1 repeated, without copying, to `size`; -1 keeps a length."""
    x = tensor_of(input, "expand")
    size = sizes(size, "expand")
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
    """The shape to which all `shapes` broadcast."""
    from chainrule.autograd.tensor import Size

    length = max((len(shape) for shape in shapes), default=0)
    result = [1] * length
    for shape in shapes:
        for i, n in enumerate(shape, start=length - len(shape)):
            if n != 1 and result[i] not in (1, n):
                raise RuntimeError(
                    f"broadcast_shapes: shapes {[tuple(one) for one in shapes]} cannot be broadcast together"
                )
            result[i] = n if n != 1 else result[i]
    return Size(result)


def broadcast_tensors(*tensors):
    """The Tensors expanded to their common shape."""
    shape = broadcast_shapes(*(one.shape for one in tensors))
    return tuple(expand(one, shape) for one in tensors)


def repeat(input, *repeats):
    """The whole tensor repeated, `repeats[i]` times along dimension i."""
    counts = sizes(repeats, "repeat")
    if len(counts) < input.ndim:
        raise RuntimeError(
            f"repeat: {len(counts)} repeats for an input of {input.ndim} dimensions; give one for each"
        )
    return shape_ops.tile(input, reps=counts)


def tile(input, dims):
    """`repeat`; missing leading counts are 1."""
    return shape_ops.tile(input, reps=tuple(dims))


def repeat_interleave(input, repeats, dim=None):
    """Each element repeated along `dim` (of the flattened input by default); one count, or one for each element."""
    x = input if dim is not None else reshape(input, (-1,))
    axis = wrap_dim(0 if dim is None else dim, x.ndim, "repeat_interleave")
    counts = repeats.tolist() if isinstance(repeats, late.Tensor) else repeats
    return shape_ops.repeat(x, repeats=counts if isinstance(counts, int) else tuple(counts), axis=axis)


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
    return cat([atleast_1d(one) for one in tensors], 0 if tensors[0].ndim <= 1 else 1)


def vstack(tensors):
    """Joined along dimension 0, 1-d tensors as rows."""
    return cat([atleast_2d(one) for one in tensors], 0)


def atleast_1d(input):
    """A 0-d tensor as a 1-d one; others as they are."""
    return reshape(input, (1,)) if input.ndim == 0 else input


def atleast_2d(input):
    """A 0-d or 1-d tensor as a matrix of one row; others as they are."""
    return reshape(input, (1, -1)) if input.ndim < 2 else input


def narrow(input, dim, start, length):
    """`length` slices along `dim` from `start` on. A view."""
    axis = wrap_dim(dim, input.ndim, "narrow")
    start = start + input.shape[axis] if start < 0 else start
    if length < 0 or not 0 <= start <= input.shape[axis] - length:
        raise RuntimeError(
            f"narrow: start {start} and length {length} go beyond dimension {axis} of shape {tuple(input.shape)}"
        )
    return ops.getitem(input, (slice(None),) * axis + (slice(start, start + length),))


def select(input, dim, index):
    """One slice along `dim`, which is taken out. A view."""
    axis = wrap_dim(dim, input.ndim, "select")
    if not -input.shape[axis] <= index < input.shape[axis]:
        raise IndexError(
            f"select: index {index} is out of range for dimension {axis} of shape {tuple(input.shape)}"
        )
    return ops.getitem(input, (slice(None),) * axis + (index,))


def unbind(input, dim=0):
    """All slices along `dim`, as a tuple. Views."""
    axis = wrap_dim(dim, input.ndim, "unbind")
    return tuple(select(input, axis, i) for i in range(input.shape[axis]))


def split(input, split_size_or_sections, dim=0):
    """The tensor cut along `dim` into pieces of one size (the last may be smaller) or of the given sizes. Views."""
    axis = wrap_dim(dim, input.ndim, "split")
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
    length = input.shape[wrap_dim(dim, input.ndim, "chunk")]
    return split(input, max(-(-length // chunks), 1), dim)


def flip(input, *dims):
    """The order of the elements along `dims` reversed."""
    dims = wrap_dims(sizes(dims, "flip"), input.ndim, "flip")
    return ops.flip(input, dims) if dims else ops.copy(input)


def roll(input, shifts, dims=None):
    """Elements shifted along `dims` (of the flattened input by default), coming back at the other end."""
    dims = wrap_dims(dims, input.ndim, "roll")
    if dims is not None and len(dims) == 1:
        dims, shifts = dims[0], shifts if isinstance(shifts, int) else shifts[0]
    return ops.roll(input, shifts if isinstance(shifts, int) else tuple(shifts), dims)


def tril(input, diagonal=0):
    """The lower triangle of the last two dimensions, up to the given diagonal; 0 elsewhere."""
    return ops.tril(input, diagonal)


def triu(input, diagonal=0):
    """The upper triangle of the last two dimensions, from the given diagonal on; 0 elsewhere."""
    return ops.triu(input, diagonal)


def diagonal(input, offset=0, dim1=0, dim2=1):
    """The diagonal of two dimensions, as a new last one. A view."""
    return ops.diagonal(
        input, offset, wrap_dim(dim1, input.ndim, "diagonal"), wrap_dim(dim2, input.ndim, "diagonal")
    )


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """The last dimension put on the diagonal of two new ones, zeros elsewhere."""
    ndim, n = input.ndim + 1, input.shape[-1] + abs(offset)
    first, second = wrap_dim(dim1, ndim, "diag_embed"), wrap_dim(dim2, ndim, "diag_embed")
    rest = iter(input.shape[:-1])
    shape = tuple(n if axis in (first, second) else next(rest) for axis in range(ndim))
    return ops.diagonal_scatter(input, shape, offset, first, second)


def diag(input, diagonal=0):
    """A vector on the diagonal of a matrix, or the diagonal of a matrix as a vector."""
    if input.ndim not in (1, 2):
        raise RuntimeError(f"diag: expected 1 or 2 dimensions, got shape {tuple(input.shape)}")
    return diag_embed(input, diagonal) if input.ndim == 1 else ops.copy(ops.diagonal(input, diagonal, 0, 1))


def contiguous(input):
    """The tensor itself if its elements lie in row-major order without gaps, else a copy that does."""
    return input if input._array.flags.c_contiguous else ops.copy(input)


def clone(input):
    """A copy in memory of its own; gradients pass through."""
    return ops.copy(input)
