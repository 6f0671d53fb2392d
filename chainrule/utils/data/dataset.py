"""Datasets: objects with `dataset[i]` and `len(dataset)`, or objects to iterate over, and ways of putting them together."""

import bisect
import itertools
import math
import types
import warnings

import numpy as np

from chainrule.autograd.functions.creation import as_tensor
from chainrule.backends.random import default_generator


class Dataset:
    """Samples by index: subclasses define `__getitem__` and, for samplers, `__len__`.

    A `__getitems__(indices)` that returns a list of samples is used for whole batches where it is defined.
    """

    __class_getitem__ = classmethod(types.GenericAlias)

    def __getitem__(self, index):
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other):
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """Samples one after the other: subclasses define `__iter__`.

    With several workers each iterates over its own copy; `get_worker_info()` lets `__iter__` give each worker its share.
    """

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")

    def __getitem__(self, index):
        raise TypeError(f"{type(self).__name__} is an IterableDataset: it is iterated over, not indexed")

    def __add__(self, other):
        return ChainDataset([self, other])


class TensorDataset(Dataset):
    """Tensors of equal first dimension: sample i is `(first[i], second[i], ...)`. Arrays are taken as Tensors."""

    def __init__(self, *tensors):
        self.tensors = tuple(as_tensor(one) for one in tensors)
        if not tensors or not all(one.ndim for one in self.tensors):
            raise ValueError("TensorDataset: give at least one Tensor, each of at least one dimension")
        if len({len(one) for one in self.tensors}) > 1:
            shapes = ", ".join(str(tuple(one.shape)) for one in self.tensors)
            raise ValueError(
                f"TensorDataset: all Tensors must have the same first dimension, got shapes {shapes}"
            )

    def __getitem__(self, index):
        return tuple(one[index] for one in self.tensors)

    def __len__(self):
        return len(self.tensors[0])


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index):
        if isinstance(index, list):
            return self.dataset[[self.indices[one] for one in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices):
        """The samples at several places, as a list."""
        return samples(self.dataset, [self.indices[one] for one in indices])

    def __len__(self):
        return len(self.indices)


class ConcatDataset(Dataset):
    """Datasets one after the other."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: give at least one dataset")
        if any(isinstance(one, IterableDataset) for one in self.datasets):
            raise TypeError("ConcatDataset: an IterableDataset has no indices; use ChainDataset")
        self.cumulative_sizes = list(itertools.accumulate(len(one) for one in self.datasets))

    def __getitem__(self, index):
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {size} samples")
        index %= size
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]

    def __len__(self):
        return self.cumulative_sizes[-1]


class StackDataset(Dataset):
    """Datasets side by side: sample i is the tuple (or, with names, the dict) of their samples i."""

    def __init__(self, *args, **kwargs):
        if bool(args) == bool(kwargs):
            raise ValueError("StackDataset: give datasets either all by position or all by name")
        self.datasets = args or kwargs
        sizes = [len(one) for one in (args or kwargs.values())]
        if len(set(sizes)) > 1:
            raise ValueError(f"StackDataset: all datasets must have the same length, got {sizes}")
        self._length = sizes[0]

    def __getitem__(self, index):
        if isinstance(self.datasets, dict):
            return {name: one[index] for name, one in self.datasets.items()}
        return tuple(one[index] for one in self.datasets)

    def __len__(self):
        return self._length


class ChainDataset(IterableDataset):
    """Iterable datasets one after the other."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        if not all(isinstance(one, IterableDataset) for one in self.datasets):
            raise TypeError(
                "ChainDataset: expected IterableDatasets; use ConcatDataset for datasets with indices"
            )

    def __iter__(self):
        return itertools.chain.from_iterable(self.datasets)

    def __len__(self):
        return sum(len(one) for one in self.datasets)


def random_split(dataset, lengths, generator=None):
    """Subsets of `dataset` without overlap, drawn at random.

    lengths: sample counts that add up to len(dataset), or fractions that add up to 1: then each subset gets the whole
    number below its share, and the samples left over go one each to the first subsets.
    """
    size = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        lengths = _shares(size, lengths)
    if sum(lengths) != size:
        raise ValueError(
            f"random_split: the lengths {list(lengths)} add up to {sum(lengths)}, the dataset has {size} samples; "
            f"give counts that add up to that, or fractions that add up to 1"
        )
    order = (generator or default_generator).permutation(size, np).tolist()
    ends = itertools.accumulate(lengths)
    return [Subset(dataset, order[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _shares(size, fractions):
    if any(not 0 <= one <= 1 for one in fractions):
        raise ValueError(f"random_split: fractions must lie between 0 and 1, got {list(fractions)}")
    lengths = [math.floor(size * one) for one in fractions]
    for place in range(size - sum(lengths)):
        lengths[place % len(lengths)] += 1
    if 0 in lengths:
        warnings.warn(
            f"random_split: {size} samples are too few for the fractions {list(fractions)}: a subset is empty",
            stacklevel=3,
        )
    return lengths


def samples(dataset, indices):
    """The samples of a dataset at `indices`, as a list; asked for all at once where the dataset can."""
    if hasattr(dataset, "__getitems__"):
        return dataset.__getitems__(indices)
    return [dataset[index] for index in indices]
