"""Scattering with a reduction, and writing elements chosen by a mask or by their number, under PyTorch's names."""

import math

from chainrule.autograd import late, ops
from chainrule.autograd.ops import indexing as indexing_ops
from chainrule.autograd.ops import scatter_reduce as groups_ops
from chainrule.backends import add_at, backend_of, dtypes, placement

from .common import index_array, tensor_of, wrap_dim
from .indexing import _aligned, _in_range

REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """A copy of input where each place [index[i, j], j] (for dim 0, and so on) holds the reduction of all src[i, j] sent there.

    reduce: "sum", "prod", "mean", "amax" or "amin". include_self: whether the input's own value takes part. Places to which
    nothing is sent keep it. Values that tie for an extreme share its gradient equally.
    """
    x, source = tensor_of(input, "scatter_reduce"), tensor_of(src, "scatter_reduce")
    if reduce not in REDUCTIONS:
        raise RuntimeError(f"scatter_reduce: reduce must be one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    x, raw, source, axis = _aligned(x, dim, index, "scatter_reduce", source)
    if not raw.size:
        return ops.copy(input)
    if tuple(source.shape) != raw.shape:
        source = ops.getitem(source, tuple(slice(length) for length in raw.shape))
    return _reduced(x, raw, source, axis, reduce, include_self, "scatter_reduce").reshape(tuple(input.shape))


@placement.on_their_card
def _reduced(x, raw, source, axis, reduce, include_self, name):
    """`scatter_reduce` of inputs that fit each other, on the flattened tensors."""
    if x.dtype != source.dtype:
        raise RuntimeError(f"{name}: src must be of the input's dtype {x.dtype}, got {source.dtype}")
    if reduce in ("amax", "amin") and x.dtype.is_complex:
        raise RuntimeError(f"{name}: complex numbers have no order, so there is no {reduce} of {x.dtype}")
    xp = backend_of(raw).xp
    numbers = xp.arange(math.prod(x.shape)).reshape(tuple(x.shape))
    owner = numbers[indexing_ops.along(xp, raw, axis)].reshape(-1)
    flat, values = x.reshape(-1), source.reshape(-1)
    if reduce in ("sum", "mean"):
        total = _total(xp, flat, values, owner, include_self)
        result = total if reduce == "sum" else _divided(xp, total, owner, include_self)
    else:
        groups = groups_ops.Groups(xp, owner, include_self)
        own = (groups.present,)
        if include_self:
            values = ops.concatenate([values, ops.take(flat, own)])
        if reduce == "prod":
            found = groups_ops.group_product(ops, values, groups)
        else:
            found = groups_ops.group_extreme(values, groups, reduce == "amax")
        result = ops.index_put(flat, found, own)
    return ops.reshape(result, tuple(x.shape))


def _total(xp, flat, values, owner, include_self):
    if not include_self:
        flat = ops.index_put(flat, xp.zeros((), dtype=flat._array.dtype), (owner,))
    return ops.index_put(flat, values, (owner,), True)


def _divided(xp, total, owner, include_self):
    """Sums divided by the number of their terms; integers rounded down."""
    counts = xp.full(total.numel(), int(include_self), dtype="int64")
    add_at(counts, (owner,), 1)
    counts = xp.maximum(counts, 1)
    if total.dtype.is_floating_point or total.dtype.is_complex:
        return total / late.Tensor._wrap(counts).to(total.dtype)
    return ops.floor_divide(total, late.Tensor._wrap(counts)).to(total.dtype)


def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """A copy of input where slice i of `source` is reduced into slice index[i] along `dim`, as `scatter_reduce` does.

    reduce: "prod", "mean", "amax" or "amin".
    """
    x, source = tensor_of(input, "index_reduce"), tensor_of(source, "index_reduce")
    if reduce not in REDUCTIONS[1:]:
        raise RuntimeError(f"index_reduce: reduce must be prod, mean, amax or amin, got {reduce!r}")
    axis, raw = wrap_dim(dim, x.ndim, "index_reduce"), index_array(index, "index_reduce")
    if raw.ndim > 1:
        raise RuntimeError(f"index_reduce: index must be a vector, got shape {tuple(raw.shape)}")
    shape = tuple(input.shape)
    if not x.ndim:
        x, source = x.reshape(1), source.reshape(-1)
    expected = (*x.shape[:axis], raw.size, *x.shape[axis + 1 :])
    if tuple(source.shape) != expected:
        raise RuntimeError(f"index_reduce: source has shape {tuple(source.shape)}, expected {expected}")
    _in_range(raw, x.shape[axis], "index_reduce")
    if not source.numel():
        return ops.copy(input)
    xp = backend_of(raw).xp
    lines = raw.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    raw = xp.broadcast_to(lines, expected)
    return _reduced(x, raw, source, axis, reduce, include_self, "index_reduce").reshape(shape)


def masked_scatter(input, mask, source):
    """A copy of input with the elements of `source`, one after the other, in the places where `mask` is True."""
    x, source = tensor_of(input, "masked_scatter"), tensor_of(source, "masked_scatter")
    if tensor_of(mask, "masked_scatter").dtype is not dtypes.bool:
        raise RuntimeError(
            f"masked_scatter: expected a mask of dtype bool, got {mask.dtype}; write mask != 0"
        )
    if x.dtype != source.dtype:
        raise RuntimeError(
            f"masked_scatter: source must be of the input's dtype {x.dtype}, got {source.dtype}"
        )
    from .shape import broadcast_tensors

    x, mask = broadcast_tensors(x, mask)
    count = int(mask.sum())
    if count > source.numel():
        raise RuntimeError(
            f"masked_scatter: the mask has {count} places, the source only {source.numel()} elements"
        )
    if not x.ndim:
        x, mask = x.reshape(1), mask.reshape(1)
        return ops.index_put(x, source.reshape(-1)[:count], (mask._array,)).reshape(())
    return ops.index_put(x, source.reshape(-1)[:count], (mask._array,))


def put(input, index, source, accumulate=False):
    """A copy of input with the elements of `source` written (or added) at the places `index` of the flattened input."""
    x, source = tensor_of(input, "put"), tensor_of(source, "put")
    raw = index_array(index, "put")
    if x.dtype != source.dtype:
        raise RuntimeError(f"put: source must be of the input's dtype {x.dtype}, got {source.dtype}")
    if raw.size != source.numel():
        raise RuntimeError(
            f"put: index of shape {tuple(raw.shape)} and source of shape {tuple(source.shape)} must have as many elements"
        )
    if not raw.size:
        return ops.copy(x)
    length = x.numel()
    _in_range(raw, length, "put", lowest=-length)
    flat = ops.index_put(x.reshape(-1), source.reshape(-1), (raw.reshape(-1),), accumulate)
    return ops.reshape(flat, tuple(x.shape))


def nonzero_static(input, *, size, fill_value=-1):
    """The first `size` rows of `nonzero`, filled up with `fill_value`."""
    from .indexing import nonzero

    if size < 0:
        raise RuntimeError(f"nonzero_static: size must not be negative, got {size}")
    rows = nonzero(input)[:size]
    rest = rows.new_full((size - rows.shape[0], rows.shape[1]), fill_value)
    return ops.concatenate([rows, rest])
