"""Samplers: in which order the samples of a dataset are visited. A sampler is iterated over and gives indices.

Whatever is random is drawn when the iteration begins, from chainrule's generators: the seed says the order.
"""

import itertools
import types

import numpy as np

from chainrule.autograd.tensor import Tensor
from chainrule.backends.random import Generator, default_generator


class Sampler:
    """Base class: subclasses define `__iter__`, and `__len__` where the number of indices is known."""

    __class_getitem__ = classmethod(types.GenericAlias)

    def __iter__(self):
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")


class SequentialSampler(Sampler):
    """0, 1, 2, ..."""

    def __init__(self, data_source):
        self.data_source = data_source

    def __iter__(self):
        return iter(range(len(self.data_source)))

    def __len__(self):
        return len(self.data_source)


class RandomSampler(Sampler):
    """Indices in random order; with `replacement`, each drawn from all.

    num_samples: how many (len(data_source) by default); without replacement, more of them means several rounds.
    """

    def __init__(self, data_source, replacement=False, num_samples=None, generator=None):
        _check_count("RandomSampler", num_samples, optional=True)
        self.data_source, self.replacement, self.generator = data_source, replacement, generator
        self._num_samples = num_samples

    @property
    def num_samples(self):
        """The number of indices that one iteration gives."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self):
        generator, size, count = self.generator or default_generator, len(self.data_source), self.num_samples
        if count and not size:
            raise ValueError(f"RandomSampler: {count} samples were asked for from an empty dataset")
        if not count:
            return iter(())
        if self.replacement:
            return iter(generator.integers(0, size, (count,), "int64", np).tolist())
        rounds = [generator.permutation(size, np) for _ in range(-(-count // size))]
        return iter(np.concatenate(rounds)[:count].tolist())

    def __len__(self):
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices in random order."""

    def __init__(self, indices, generator=None):
        self.indices, self.generator = indices, generator

    def __iter__(self):
        order = (self.generator or default_generator).permutation(len(self.indices), np)
        return iter([self.indices[place] for place in order.tolist()])

    def __len__(self):
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Indices drawn with probability proportional to their weight.

    Without replacement as an exponential race: each index arrives after an exponential time at its weight's rate,
    and the first `num_samples` to arrive are taken (Efraimidis and Spirakis 2006).
    """

    def __init__(self, weights, num_samples, replacement=True, generator=None):
        _check_count("WeightedRandomSampler", num_samples)
        weights = weights.tolist() if isinstance(weights, Tensor) else weights
        self.weights = np.asarray(weights, dtype=np.float64)
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ValueError(
                "WeightedRandomSampler: weights must be a sequence of finite numbers of at least 0"
            )
        positive = np.count_nonzero(self.weights)
        if positive == 0 or (not replacement and num_samples > positive):
            raise ValueError(
                f"WeightedRandomSampler: {num_samples} samples cannot be drawn from {positive} indices of positive weight"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self):
        generator = self.generator or default_generator
        (candidates,) = np.nonzero(self.weights)
        weights = self.weights[candidates]
        if self.replacement:
            edges = np.cumsum(weights / weights.max())
            draws = generator.uniform((self.num_samples,), "float64", np) * edges[-1]
            # Rounding may carry a draw onto the last edge.
            chosen = np.minimum(np.searchsorted(edges, draws, side="right"), len(candidates) - 1)
        else:
            arrival = -np.log1p(-generator.uniform(weights.shape, "float64", np)) / weights
            chosen = np.argsort(arrival, kind="stable")[: self.num_samples]
        return iter(candidates[chosen].tolist())

    def __len__(self):
        return self.num_samples


class BatchSampler(Sampler):
    """The indices of another sampler in lists of `batch_size`; a shorter last one is kept unless `drop_last`."""

    def __init__(self, sampler, batch_size, drop_last=False):
        _check_count("BatchSampler", batch_size, "batch_size")
        if batch_size == 0:
            raise ValueError("BatchSampler: batch_size must be at least 1, got 0")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self):
        # Not a generator itself: the sampler draws its order now, not when the first batch is asked for.
        return self._batches(iter(self.sampler))

    def _batches(self, indices):
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self):
        whole, rest = divmod(len(self.sampler), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)


class DistributedSampler(Sampler):
    """The share of one of several processes that train together: every `num_replicas`-th index, from `rank` on.

    shuffle: the order is drawn from `seed` and the epoch's number, the same in all of them: call `set_epoch(epoch)` before
    each. All shares are equally long: the first indices come again at the end, or with `drop_last` some are left out.
    """

    def __init__(self, dataset, num_replicas=None, rank=None, shuffle=True, seed=0, drop_last=False):
        if num_replicas is None or rank is None:
            raise ValueError(
                "DistributedSampler: chainrule has no process group to ask; give num_replicas (how many processes) and rank "
                "(which of them this is)"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(f"DistributedSampler: rank must be between 0 and {num_replicas - 1}, got {rank}")
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0

    def set_epoch(self, epoch):
        """Say which epoch comes next, so that its order is a new one."""
        self.epoch = epoch

    def __iter__(self):
        size, share = len(self.dataset), len(self)
        order = np.arange(size)
        if self.shuffle:
            order = Generator().manual_seed(self.seed + self.epoch).permutation(size, np)
        return iter(np.resize(order, share * self.num_replicas)[self.rank :: self.num_replicas].tolist())

    def __len__(self):
        size = len(self.dataset)
        return size // self.num_replicas if self.drop_last else -(-size // self.num_replicas)


def _check_count(sampler, count, name="num_samples", optional=False):
    if optional and count is None:
        return
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ValueError(f"{sampler}: {name} must be an integer of at least 0, got {count!r}")
