"""From samples to a batch: what stands at the same place in each sample becomes one Tensor with a batch dimension first."""

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.autograd.functions.creation import as_tensor, tensor
from chainrule.autograd.functions.shape import stack
from chainrule.autograd.tensor import Tensor
from chainrule.backends import dtypes


def default_collate(batch):
    """A batch from a list of samples of equal structure.

    Tensors and arrays are stacked; Python floats become a float64 Tensor, ints an int64 one; text stays a list; dicts and
    named tuples stay what they are, tuples and lists become lists, with their entries collated.
    RuntimeError for samples of unequal size, TypeError for elements that cannot be put into a Tensor.
    """
    batch = list(batch)
    if not batch:
        raise ValueError("default_collate: the batch is empty")
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        if first.dtype.kind not in "biufcV":
            raise TypeError(f"default_collate: NumPy arrays of {first.dtype} cannot be put into a Tensor")
        return _stack([as_tensor(one) for one in batch])
    if isinstance(first, float):
        return tensor(batch, dtype=dtypes.float64)
    if isinstance(first, int):
        return tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([one[key] for one in batch]) for key in first})
    if isinstance(first, Sequence):
        if any(len(one) != len(first) for one in batch):
            sizes = sorted({len(one) for one in batch})
            raise RuntimeError(
                f"default_collate: the samples of a batch must be of equal size, got sizes {sizes}"
            )
        return _like(first, [default_collate(column) for column in zip(*batch, strict=True)])
    raise TypeError(
        f"default_collate: a sample holds a {type(first).__name__}; it must hold Tensors, arrays, numbers, text, dicts, "
        f"tuples or lists. Give DataLoader a collate_fn for anything else"
    )


def default_convert(data):
    """`data` with NumPy arrays as Tensors, at any depth of dicts, tuples and lists; everything else as it is."""
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind in "biufcV":
        return as_tensor(data)
    if isinstance(data, (str, bytes, Tensor)):
        return data
    if isinstance(data, Mapping):
        return _like(data, {key: default_convert(one) for key, one in data.items()})
    if isinstance(data, Sequence):
        return _like(data, [default_convert(one) for one in data])
    return data


def _stack(tensors):
    first = tensors[0].shape
    for place, one in enumerate(tensors):
        if one.shape != first:
            raise RuntimeError(
                f"default_collate: the samples of a batch must have equal shapes, got {tuple(first)} for the first and "
                f"{tuple(one.shape)} for number {place}; pad them, or give DataLoader a collate_fn"
            )
    return stack(tensors)


def _like(original, entries):
    """`entries` in a container like `original`, where such a one can be made; tuples become lists, as in PyTorch."""
    kind = type(original)
    if kind in (dict, list, tuple):
        return entries
    if hasattr(original, "_fields"):
        return kind(*entries)
    if isinstance(original, tuple):
        return entries
    try:
        return kind(entries)
    except TypeError:
        return entries
