"""Reversing and turning, writing into one slice of a copy, triangles' indices, under PyTorch's names."""

import numpy

from chainrule.autograd import ops
from chainrule.autograd.inplace import write_region
from chainrule.backends import dtypes

from . import creation
from .common import index_array, sizes, tensor_of, wrap_dim
from .shape import diag_embed, flip, reshape, transpose


def fliplr(input):
    """The order of the columns (dimension 1) reversed."""
    if tensor_of(input, "fliplr").ndim < 2:
        raise RuntimeError(f"fliplr: expected at least 2 dimensions, got shape {tuple(input.shape)}")
    return flip(input, 1)


def flipud(input):
    """The order of the rows (dimension 0) reversed."""
    if tensor_of(input, "flipud").ndim < 1:
        raise RuntimeError("flipud: expected at least 1 dimension, got a 0-d tensor")
    return flip(input, 0)


def rot90(input, k=1, dims=(0, 1)):
    """Turned by 90 degrees k times in the plane of two dimensions, from the first towards the second."""
    x = tensor_of(input, "rot90")
    dims = tuple(dims)
    if len(dims) != 2 or x.ndim < 2:
        raise RuntimeError(
            f"rot90: expected 2 dims of a tensor of at least 2 dimensions, got dims {dims} and shape {tuple(x.shape)}"
        )
    first, second = (wrap_dim(one, x.ndim, "rot90") for one in dims)
    if first == second:
        raise RuntimeError(f"rot90: expected two different dims, got {dims}")
    quarter = k % 4
    if quarter == 1:
        return transpose(flip(x, second), first, second)
    if quarter == 3:
        return flip(transpose(x, first, second), second)
    return flip(x, first, second) if quarter == 2 else ops.copy(x)


def diagflat(input, offset=0):
    """The elements of the input on a diagonal of a matrix of zeros."""
    return diag_embed(reshape(tensor_of(input, "diagflat"), (input.numel(),)), offset)


def written(input, src, path):
    """A copy of the input with `src` in the place that `path` (operations and their keywords) leads to."""
    return write_region(input, src.to(input.dtype), path)


def _fits(input, src, place, name):
    """Refuse a `src` that has not the shape of the slice it replaces."""
    if tuple(tensor_of(src, name).shape) != tuple(place.shape):
        raise RuntimeError(
            f"{name}: src has shape {tuple(src.shape)}, the slice of the input {tuple(place.shape)}; they must agree"
        )


def select_scatter(input, src, dim, index):
    """A copy of the input with `src` in the slice `index` along `dim`."""
    from .shape import select

    tensor_of(input, "select_scatter")
    _fits(input, src, select(input.detach(), dim, index), "select_scatter")
    axis = wrap_dim(dim, input.ndim, "select_scatter")
    return written(input, src, ((ops.getitem, {"index": (slice(None),) * axis + (index,)}),))


def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy of the input with `src` in the slices start, start + step, ... below end along `dim`."""
    axis = wrap_dim(dim, tensor_of(input, "slice_scatter").ndim, "slice_scatter")
    if step <= 0:
        raise RuntimeError(f"slice_scatter: step must be positive, got {step}")
    index = (slice(None),) * axis + (slice(start, end, step),)
    _fits(input, src, input.detach()[index], "slice_scatter")
    return written(input, src, ((ops.getitem, {"index": index}),))


def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy of the input with `src` on the diagonal of two dimensions."""
    from .shape import diagonal

    tensor_of(input, "diagonal_scatter")
    _fits(input, src, diagonal(input.detach(), offset, dim1, dim2), "diagonal_scatter")
    axes = {"axis1": wrap_dim(dim1, input.ndim, ""), "axis2": wrap_dim(dim2, input.ndim, "")}
    return written(input, src, ((ops.diagonal, {"offset": offset, **axes}),))


def constant_pad_nd(input, pad, value=0):
    """`value` added before and after each dimension: (before, after) of the last dimension first. Negative lengths cut off."""
    x, pad = tensor_of(input, "constant_pad_nd"), sizes((pad,), "constant_pad_nd")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise RuntimeError(
            f"constant_pad_nd: pad must hold 2 lengths for each of at most {x.ndim} dimensions, got {pad}"
        )
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[-2::-2], pad[::-2], strict=True))
    for (before, after), length in zip(pairs, x.shape, strict=True):
        if length + before + after < 0:
            raise RuntimeError(
                f"constant_pad_nd: pad {pad} would leave a negative length of the input of shape {tuple(x.shape)}"
            )
    if any(min(pair) < 0 for pair in pairs):
        kept = [
            slice(max(-before, 0), max(length + min(after, 0), 0))
            for (before, after), length in zip(pairs, x.shape, strict=True)
        ]
        x = ops.getitem(x, tuple(kept))
    return ops.pad(x, tuple((max(before, 0), max(after, 0)) for before, after in pairs), value)


def sum_to_size(input, *size):
    """The tensor summed over the dimensions along which `size` was broadcast to its shape."""
    x, size = tensor_of(input, "sum_to_size"), sizes(size, "sum_to_size")
    extra = x.ndim - len(size)
    if extra < 0 or any(want not in (1, have) for have, want in zip(x.shape[extra:], size, strict=True)):
        raise RuntimeError(
            f"sum_to_size: size {size} does not broadcast to the shape {tuple(x.shape)} of the input"
        )
    if size and size == tuple(x.shape):
        return x
    summed = x if x.dtype.is_floating_point or x.dtype.is_complex else x.to(dtypes.int64)
    return ops.sum_to(summed, size)


# Indices


def _triangle(name, inside):
    def make(row, col, offset=0, *, dtype=dtypes.int64, device=None, layout=None):
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}: row and col must not be negative, got {row} and {col}")
        places = inside(row, offset, col)
        return creation.tensor(numpy.stack(places), dtype=dtype, device=device)

    make.__name__ = make.__qualname__ = name
    return make


tril_indices = _triangle("tril_indices", numpy.tril_indices)
triu_indices = _triangle("triu_indices", numpy.triu_indices)
tril_indices.__doc__ = (
    "Rows and columns, (2, K), of the lower triangle of a row x col matrix, up to the diagonal `offset`."
)
triu_indices.__doc__ = (
    "Rows and columns, (2, K), of the upper triangle of a row x col matrix, from the diagonal `offset` on."
)


def unravel_index(indices, shape):
    """Positions in the flattened tensor as one index tensor for each dimension of `shape`."""
    index_array(indices, "unravel_index")
    shape = sizes((shape,) if not isinstance(shape, int) else ((shape,),), "unravel_index")
    if any(length < 0 for length in shape):
        raise ValueError(f"unravel_index: lengths must not be negative, got shape {shape}")
    found, indices = [], indices.to(dtypes.int64)
    for length in reversed(shape):
        found.append(ops.remainder(indices, length))
        indices = ops.floor_divide(indices, length)
    return tuple(reversed(found))


def scalar_tensor(s, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A 0-d tensor of one number, of the default dtype unless another is given."""
    return creation.full(
        (), s, dtype=dtype or dtypes.get_default_dtype(), device=device, requires_grad=requires_grad, pin_memory=pin_memory
    )  # fmt: skip
