"""Repeating a tensor or its elements, under PyTorch's names."""

from chainrule.autograd import late
from chainrule.autograd.ops import shape as shape_ops
from chainrule.backends import dtypes

from .common import sizes, tensor_of, wrap_dim
from .shape import given_sizes, reshape


def repeat(input, *args, repeats=None):
    """The whole tensor repeated, `repeats[i]` times along dimension i."""
    counts = sizes(given_sizes(args, repeats), "repeat")
    if len(counts) < tensor_of(input, "repeat").ndim:
        raise RuntimeError(
            f"repeat: {len(counts)} repeats for an input of {input.ndim} dimensions; give one for each"
        )
    if any(count < 0 for count in counts):
        raise RuntimeError(f"repeat: repeats must not be negative, got {counts}")
    return shape_ops.tile(input, reps=counts)


def tile(input, *args, dims=None):
    """`repeat`; missing leading counts are 1."""
    counts = sizes(given_sizes(args, dims), "tile")
    return repeat(input, (1,) * (tensor_of(input, "tile").ndim - len(counts)) + counts)


def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element repeated along `dim` (of the flattened input by default); one count, or one for each element.

    Given counts alone, the positions 0, 1, ..., each as often as its count says.
    """
    tensor_of(input, "repeat_interleave")
    if repeats is None:
        positions = input.new_tensor(range(input.numel()), dtype=dtypes.int64)
        return repeat_interleave(positions, input, 0, output_size=output_size)
    x = input if dim is not None else reshape(input, (input.numel(),))
    x = x if x.ndim else reshape(x, (1,))
    axis = wrap_dim(0 if dim is None else dim, x.ndim, "repeat_interleave")
    counts = _counts(repeats, x.shape[axis])
    total = counts * x.shape[axis] if isinstance(counts, int) else sum(counts)
    if output_size is not None and output_size != total:
        raise RuntimeError(
            f"repeat_interleave: the repeats add up to {total}, not to output_size {output_size}"
        )
    return shape_ops.repeat(x, repeats=counts, axis=axis)


def _counts(repeats, length):
    """How often each of `length` elements is repeated: an int for all, or a tuple."""
    if isinstance(repeats, late.Tensor):
        if repeats.dtype.name not in ("int64", "int32") or repeats.ndim > 1:
            raise RuntimeError(
                f"repeat_interleave: repeats must be int64 or int32 and at most 1-d, got {repeats.dtype} of shape {tuple(repeats.shape)}"
            )
        repeats = repeats.tolist()
    counts = repeats if isinstance(repeats, int) else tuple(repeats)
    if isinstance(counts, tuple) and len(counts) == 1:
        counts = counts[0]
    if not isinstance(counts, int) and len(counts) != length:
        raise RuntimeError(f"repeat_interleave: got {len(counts)} repeats for a dimension of length {length}")
    if min((counts,) if isinstance(counts, int) else counts, default=0) < 0:
        raise RuntimeError(f"repeat_interleave: repeats must not be negative, got {counts}")
    return counts
