"""From indices to a batch, in the main process and in workers alike."""

import itertools

import numpy as np

from chainrule.autograd.tensor import Tensor
from chainrule.backends import backend_of, devices
from chainrule.backends.random import Generator, default_generator

from .collate import default_collate
from .dataset import IterableDataset, StackDataset, Subset, TensorDataset, samples


class MapFetcher:
    """Batches of a dataset with indices: call with (number of the batch, indices).

    While a batch is made, the default generator is at a place that depends on `seed` and the batch's number only: random
    numbers drawn by the dataset are the same whichever process makes it. Afterwards the generator is where it was.
    """

    def __init__(self, dataset, collate, batched, seed):
        self.dataset, self.collate, self.batched, self.seed = dataset, collate, batched, seed

    def __call__(self, number, indices):
        if self.batched and self.collate is default_collate:
            batch = take(self.dataset, indices)
            if batch is not None:
                return batch
        state = default_generator.get_state()
        default_generator.manual_seed((self.seed + ((number + 1) << 32)) % 2**64)
        try:
            return self.collate(samples(self.dataset, indices) if self.batched else self.dataset[indices])
        except StopIteration as error:  # would pass for the end of the epoch
            raise RuntimeError("DataLoader: the dataset or collate_fn raised StopIteration") from error
        finally:
            default_generator.set_state(state)


class IterableFetcher:
    """Batches of an IterableDataset: call with (anything, number of samples). StopIteration at its end.

    The dataset draws from a stream of its own, that of `seed`, wherever the default generator is.
    """

    def __init__(self, dataset, collate, batched, drop_last, seed):
        self.collate, self.batched, self.drop_last = collate, batched, drop_last
        self.stream = Generator().manual_seed(seed % 2**64).get_state()
        self.samples = self._drawing(lambda: iter(dataset))

    def __call__(self, _, count):
        return self._drawing(lambda: self._batch(count))

    def _batch(self, count):
        if not self.batched:
            return self.collate(next(self.samples))
        batch = list(itertools.islice(self.samples, count))
        if not batch or (len(batch) < count and self.drop_last):
            raise StopIteration
        return self.collate(batch)

    def _drawing(self, function):
        state = default_generator.get_state()
        default_generator.set_state(self.stream)
        try:
            return function()
        finally:
            self.stream = default_generator.get_state()
            default_generator.set_state(state)


def make_fetcher(dataset, collate, batched, drop_last, seed, worker=0):
    """The fetcher for a kind of dataset."""
    if isinstance(dataset, IterableDataset):
        return IterableFetcher(dataset, collate, batched, drop_last, seed + worker)
    return MapFetcher(dataset, collate, batched, seed)


def take(dataset, indices):
    """`default_collate([dataset[i] for i in indices])` with one indexing operation per Tensor.

    None for datasets of other kinds, and for subclasses that define samples their own way.
    """
    samples_by = type(dataset).__getitem__
    if samples_by is TensorDataset.__getitem__ and not hasattr(dataset, "__getitems__"):
        return _take_rows(dataset.tensors, indices)
    if samples_by is Subset.__getitem__ and type(dataset).__getitems__ is Subset.__getitems__:
        return take(dataset.dataset, [dataset.indices[one] for one in indices])
    if samples_by is StackDataset.__getitem__ and not hasattr(dataset, "__getitems__"):
        named = isinstance(dataset.datasets, dict)
        columns = [take(one, indices) for one in (dataset.datasets.values() if named else dataset.datasets)]
        if any(column is None for column in columns):
            return None
        return dict(zip(dataset.datasets, columns, strict=True)) if named else columns
    return None


def _take_rows(tensors, indices):
    indices = np.fromiter(map(int, indices), np.int64, len(indices))
    size = len(tensors[0])
    # Checked here, because CUDA wraps an index that is out of range instead of refusing it.
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        bad = indices[(indices < -size) | (indices >= size)][0]
        raise IndexError(f"TensorDataset: index {bad} is out of range for {size} samples")
    placed = {devices.CPU: Tensor._wrap(indices)}
    batch = []
    for one in tensors:
        device = one.device
        if device not in placed:
            placed[device] = Tensor._wrap(backend_of(one._array).from_host(indices, device.index))
        batch.append(one[placed[device]])
    return batch
