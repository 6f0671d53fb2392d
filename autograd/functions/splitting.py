"""Cutting tensors into pieces and joining them along a fixed dimension, under PyTorch's names."""

import operator

from chainrule.autograd import late

from .common import tensor_of, wrap_dim
from .shape import cat, chunk, narrow, reshape, split, unsqueeze


def tensor_split(input, indices_or_sections, dim=0):
    """The tensor cut along `dim` into a number of pieces as equal as can be (the longer ones first), or before each index. Views."""
    x = tensor_of(input, "tensor_split")
    if x.ndim == 0:
        raise RuntimeError("tensor_split: a 0-d tensor cannot be split; use .reshape(1)")
    axis, where = wrap_dim(dim, x.ndim, "tensor_split"), indices_or_sections
    if isinstance(where, late.Tensor):
        if where.dtype.name != "int64" or where.ndim > 1:
            raise RuntimeError(
                f"tensor_split: indices must be an int64 tensor of at most 1 dimension, got {where.dtype} of shape {tuple(where.shape)}"
            )
        where = where.tolist()
    length = x.shape[axis]
    if isinstance(where, (list, tuple)):
        # As for slices: negative indices count from the end, and what lies beyond it is at the end.
        starts = [slice(operator.index(one), None).indices(length)[0] for one in where]
    else:
        pieces = operator.index(where)
        if pieces <= 0:
            raise RuntimeError(f"tensor_split: the number of sections must be positive, got {pieces}")
        least, longer = divmod(length, pieces)
        starts = [i * least + min(i, longer) for i in range(1, pieces)]
    bounds = zip([0, *starts], [*starts, length], strict=True)
    return tuple(narrow(x, axis, start, max(stop - start, 0)) for start, stop in bounds)


def _split_along(input, indices_or_sections, axis, least, name):
    x = tensor_of(input, name)
    if x.ndim < least:
        raise RuntimeError(
            f"{name}: expected at least {least} dimension{'s' * (least > 1)}, got shape {tuple(x.shape)}"
        )
    where = indices_or_sections
    if isinstance(where, int) and (where <= 0 or x.shape[axis] % where):
        raise RuntimeError(
            f"{name}: dimension {axis} of shape {tuple(x.shape)} cannot be split into {where} equal parts; use tensor_split"
        )
    return tensor_split(x, where, axis)


def hsplit(input, indices_or_sections):
    """`tensor_split` along dimension 1 (0 for a vector), into equal parts."""
    return _split_along(
        input, indices_or_sections, 0 if tensor_of(input, "hsplit").ndim == 1 else 1, 1, "hsplit"
    )


def vsplit(input, indices_or_sections):
    """`tensor_split` along dimension 0, into equal parts."""
    return _split_along(input, indices_or_sections, 0, 2, "vsplit")


def dsplit(input, indices_or_sections):
    """`tensor_split` along dimension 2, into equal parts."""
    return _split_along(input, indices_or_sections, 2, 3, "dsplit")


def split_with_sizes(input, split_sizes, dim=0):
    """The tensor cut along `dim` into pieces of the given sizes. Views."""
    return split(input, list(split_sizes), dim)


def unsafe_split(input, split_size, dim=0):
    """`split`; PyTorch's promise not to check writes to the pieces is not needed here: they are checked."""
    return split(input, split_size, dim)


def unsafe_split_with_sizes(input, split_sizes, dim=0):
    """`split_with_sizes`, checked all the same."""
    return split(input, list(split_sizes), dim)


def unsafe_chunk(input, chunks, dim=0):
    """`chunk`, checked all the same."""
    return chunk(input, chunks, dim)


def atleast_3d(*tensors):
    """Tensors of fewer than 3 dimensions as (1, N, 1) or (M, N, 1); others as they are."""
    if len(tensors) != 1 or isinstance(tensors[0], (list, tuple)):
        given = tensors[0] if len(tensors) == 1 else tensors
        return tuple(atleast_3d(one) for one in given)
    x = tensor_of(tensors[0], "atleast_3d")
    if x.ndim >= 3:
        return x
    return unsqueeze(x, -1) if x.ndim == 2 else reshape(x, (1, -1, 1) if x.numel() else (1, 0, 1))


def dstack(tensors):
    """Joined along dimension 2, tensors of fewer dimensions made (1, N, 1) or (M, N, 1) first."""
    return cat([atleast_3d(one) for one in tensors], 2)


def column_stack(tensors):
    """Joined along dimension 1, vectors as columns."""
    tensors = [tensor_of(one, "column_stack") for one in tensors]
    return cat([reshape(one, (one.numel(), 1)) if one.ndim < 2 else one for one in tensors], 1)
