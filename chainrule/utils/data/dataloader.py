"""`DataLoader`: batches of a dataset, made in this process or by workers, always in the same order."""

import collections
import functools
import itertools

import numpy as np

from chainrule.backends.random import Generator, default_generator

from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .fetch import make_fetcher
from .pinning import Pinner, can_pin, pinned
from .sampler import BatchSampler, RandomSampler, SequentialSampler


class DataLoader:
    """Iterates over `dataset` in batches: `for x, y in DataLoader(dataset, batch_size=32, shuffle=True)`.

    batch_size: None gives single samples. shuffle: a new random order each epoch; or a `sampler` (of indices), or a
    `batch_sampler` (of lists of indices). drop_last: leave out a last batch that is not full. collate_fn: from a list of
    samples to a batch. generator: where the order is drawn from; the default generator if none is given.

    num_workers: processes that make batches ahead, `prefetch_factor` (2) each; 0 makes them here. The batches are the
    same for every number of workers, including what the dataset draws from chainrule's generator. With
    persistent_workers the processes live as long as the loader. worker_init_fn is called with the worker's number in each.
    timeout: seconds to wait for a batch. pin_memory: give batches in page-locked memory, which `x.to("cuda", non_blocking=True)`
    copies while the program goes on; with workers a thread puts them there. Without a card a warning says that it has no effect.

    `state_dict()` says where the loader is, in the middle of an epoch too, and `load_state_dict()` goes on from there.

    An error in a worker is raised here as what it was; a worker that dies is a RuntimeError.
    """

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
    ):
        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.batch_size, self.drop_last, self.generator = batch_size, drop_last, generator
        self.prefetch_factor, self.persistent_workers = prefetch_factor, persistent_workers
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self.pin_memory, self.pin_memory_device, self.in_order = pin_memory, pin_memory_device, in_order
        self._iterable = isinstance(dataset, IterableDataset)
        self._check_workers()
        self._check_order(shuffle, sampler, batch_sampler)
        if batch_sampler is not None:
            self.batch_size = None
        elif sampler is None and not self._iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_sampler is None and batch_size is not None and not self._iterable:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self._batched = batch_sampler is not None or (self._iterable and batch_size is not None)
        self.collate_fn = collate_fn or (default_collate if self._batched else default_convert)
        self._pool, self._epoch = None, 0
        self._progress = self._resumed = (
            None  # _Progress of the epoch that runs, and of the one to go on with
        )

    def _check_workers(self):
        if not isinstance(self.num_workers, int) or self.num_workers < 0:
            raise ValueError(
                f"DataLoader: num_workers must be an integer of at least 0, got {self.num_workers!r}"
            )
        if self.timeout < 0:
            raise ValueError(f"DataLoader: timeout must not be negative, got {self.timeout}")
        if self.num_workers == 0 and (self.prefetch_factor is not None or self.persistent_workers):
            raise ValueError(
                "DataLoader: prefetch_factor and persistent_workers need num_workers of at least 1"
            )
        if self.prefetch_factor is not None and self.prefetch_factor < 1:
            raise ValueError(f"DataLoader: prefetch_factor must be at least 1, got {self.prefetch_factor}")

    def _check_order(self, shuffle, sampler, batch_sampler):
        if self._iterable and (shuffle or sampler is not None or batch_sampler is not None):
            raise ValueError(
                "DataLoader: an IterableDataset has its own order; shuffle, sampler and batch_sampler are not for it"
            )
        if sampler is not None and shuffle:
            raise ValueError("DataLoader: give either a sampler or shuffle=True, not both")
        if batch_sampler is not None:
            if self.batch_size != 1 or shuffle or sampler is not None or self.drop_last:
                raise ValueError(
                    "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last"
                )
        elif self.batch_size is None:
            if self.drop_last:
                raise ValueError("DataLoader: drop_last has no meaning without batch_size")
        elif not isinstance(self.batch_size, int) or isinstance(self.batch_size, bool) or self.batch_size < 1:
            raise ValueError(
                f"DataLoader: batch_size must be an integer of at least 1 or None, got {self.batch_size!r}"
            )

    def __len__(self):
        """The number of batches. TypeError for an IterableDataset that has no length."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        if not self._iterable:
            return len(self.sampler)
        size = len(self.dataset)
        if self.batch_size is None:
            return size
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self):
        generators = [default_generator, *self._generators()]
        now = [one.get_state() for one in generators]
        resumed, self._resumed = self._resumed, None
        progress = self._progress = resumed or _Progress(now)
        # An epoch that is resumed begins as it began: with the same order and seed.
        _set_states(generators, progress.begun)
        seed = int((self.generator or default_generator).integers(0, 2**63, (), "int64", np))
        epoch = (_WithWorkers if self.num_workers else _InProcess)(self, seed, progress)
        if resumed:
            _set_states(generators, now)
        return epoch

    def state_dict(self):
        """The place in the epoch that runs, to be saved with `save`: what `load_state_dict` needs to go on from there.

        Save the default generator's state beside it (`get_rng_state`). A dataset or sampler that draws from somewhere
        else than chainrule's generators, or a sampler that draws while it is iterated over, is not brought back.
        """
        progress = self._resumed or self._progress
        return {
            "generators": [one.get_state() for one in self._generators()],
            "begun": progress and list(progress.begun),
            "batches": progress and progress.batches,
        }

    def load_state_dict(self, state_dict):
        """Let the next iteration go on where the loader of `state_dict` was: it gives the batches that were left.

        Of an IterableDataset the batches before are made again and dropped. The dataset, batch_size and samplers must be
        as they were; num_workers may differ, except for an IterableDataset.
        """
        generators = self._generators()
        if len(state_dict["generators"]) != len(generators):
            raise ValueError(
                f"DataLoader.load_state_dict: the state is of a loader with {len(state_dict['generators'])} generators of its "
                f"own, this one has {len(generators)}; make it as the other was made"
            )
        _set_states(generators, state_dict["generators"])
        begun = state_dict["begun"]
        self._resumed = None if begun is None else _Progress(begun, state_dict["batches"])
        self._progress = None

    def _generators(self):
        """The generators, other than the default one, that an epoch's order is drawn from."""
        sources = [self, self.sampler, self.batch_sampler, getattr(self.batch_sampler, "sampler", None)]
        found = {id(one): one for one in (getattr(source, "generator", None) for source in sources)}
        return [one for one in found.values() if isinstance(one, Generator) and one is not default_generator]

    def _questions(self):
        """What to ask a fetcher for, batch by batch."""
        if self._iterable:
            return itertools.repeat(self.batch_size)
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _recipe(self):
        return self.dataset, self.collate_fn, self._batched, self.drop_last

    def _workers(self):
        """The pool for a new epoch: the one that persists, or a new one."""
        if self._pool is None or self._pool.closed:
            import multiprocessing

            from .worker import Pool

            context = self.multiprocessing_context or "spawn"
            if isinstance(context, str):
                context = multiprocessing.get_context(context)
            pool = Pool(self.num_workers, context, self.timeout, *self._recipe(), self.worker_init_fn)
            if not self.persistent_workers:
                return pool
            self._pool = pool
        return self._pool


class _Progress:
    """How far an epoch is: the states of the generators when it began, and how many batches have been given."""

    def __init__(self, begun, batches=0):
        self.begun, self.batches = begun, batches


def _set_states(generators, states):
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state)


class _Iterator:
    """One epoch. A map-style dataset is not asked for the batches that were given before; an iterable one is."""

    def __init__(self, loader, seed, progress):
        self._loader, self._progress = loader, progress
        self._questions = enumerate(loader._questions())
        given, progress.batches = progress.batches, 0
        if not loader._iterable:
            progress.batches = given
            collections.deque(itertools.islice(self._questions, given), maxlen=0)
        self._pin = loader.pin_memory and can_pin()
        self._begin(seed)
        if loader._iterable:
            collections.deque(itertools.islice(self, given), maxlen=0)

    def _end(self):
        if self._loader._progress is self._progress:
            self._loader._progress = None
        raise StopIteration

    def __iter__(self):
        return self

    def __len__(self):
        return len(self._loader)


class _InProcess(_Iterator):
    def _begin(self, seed):
        self._fetch = make_fetcher(*self._loader._recipe(), seed)

    def __next__(self):
        number, question = next(self._questions, (None, None))
        if number is None:
            self._end()
        try:
            batch = self._fetch(number, question)
        except StopIteration:  # of an IterableDataset
            self._questions = iter(())
            self._end()
        except Exception:
            self._progress.batches += 1
            raise
        self._progress.batches += 1
        return pinned(batch) if self._pin else batch


class _WithWorkers(_Iterator):
    def _begin(self, seed):
        loader = self._loader
        loader._epoch += 1
        self._epoch = loader._epoch
        self._pool = loader._workers()
        self._pool.start(seed)
        self._ahead = loader.num_workers * (loader.prefetch_factor or 2)
        self._pinner = Pinner() if self._pin else None
        self._ask()

    def _ask(self):
        """Keep the workers busy."""
        pool = self._pool
        while pool.outstanding < self._ahead:
            question = next(self._questions, None)
            if question is None or not pool.submit(*question):
                return

    def __next__(self):
        from .worker import unpack

        if self._loader.persistent_workers and self._epoch != self._loader._epoch:
            raise RuntimeError(
                "DataLoader: with persistent_workers one iterator can be used at a time, and a newer one was made"
            )
        pinner = self._pinner
        while self._pool is not None and self._pool.outstanding:
            if pinner and (pinner.full or not self._pool.ready):
                break  # there is one to give; the next is fetched when it is there
            answer = self._pool.receive()
            self._ask()
            if answer[0] == "end":
                continue
            if pinner is None:
                self._progress.batches += 1
                return unpack(answer)
            pinner.put(functools.partial(unpack, answer))
        if pinner:
            self._progress.batches += 1
            return pinner.take()
        if self._pool is not None and not self._loader.persistent_workers:
            self._pool.close()
        if pinner is not None:
            pinner.close()
        self._pool = None
        self._end()
