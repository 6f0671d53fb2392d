"""Datasets, samplers and DataLoader: which samples come, in which order, and what happens when a worker goes wrong."""

import collections
import importlib
import itertools
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections import Counter, OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Prefetcher,
    RandomSampler,
    Sampler,
    SequentialSampler,
    StackDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    default_convert,
    get_worker_info,
    random_split,
)
from chainrule.utils.data.fetch import take

Point = namedtuple("Point", "x y")


class Squares(Dataset):
    """0, 1, 4, ... as tuples of number and square."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if not 0 <= index < self.size:
            raise IndexError(index)
        return index, cr.tensor(float(index * index))


class Count(IterableDataset):
    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return iter(range(self.size))

    def __len__(self):
        return self.size


def listed(batches):
    """Batches as nested lists, to compare them."""
    if isinstance(batches, cr.Tensor):
        return batches.tolist()
    if isinstance(batches, dict):
        return {name: listed(one) for name, one in batches.items()}
    return [listed(one) for one in batches] if isinstance(batches, (list, tuple)) else batches


# --- datasets ---


def test_tensor_dataset(device):
    x, y = cr.arange(12.0, device=device).reshape(6, 2), cr.arange(6, device=device)
    data = TensorDataset(x, y)
    assert len(data) == 6 and data.tensors[0] is x
    assert listed(data[2]) == [[4.0, 5.0], 2] and data[2][0].device == x.device
    with pytest.raises(ValueError, match=r"same first dimension.*\(6, 2\), \(5,\)"):
        TensorDataset(x, y[:5])
    with pytest.raises(ValueError, match="at least one dimension"):
        TensorDataset(cr.tensor(1.0))
    with pytest.raises(ValueError, match="at least one Tensor"):
        TensorDataset()


def test_datasets_by_index():
    data = Squares(5)
    subset = Subset(data, [3, 1])
    assert (
        len(subset) == 2 and [one[0] for one in subset.__getitems__([0, 1])] == [3, 1] and subset[0][0] == 3
    )
    both = data + Squares(2)
    assert isinstance(both, ConcatDataset) and len(both) == 7
    assert [both[place][0] for place in range(7)] == [0, 1, 2, 3, 4, 0, 1] and both[-1][0] == 1
    for wrong in (7, -8):
        with pytest.raises(IndexError, match="out of range for 7"):
            both[wrong]
    stacked = StackDataset(data, subset + subset + Subset(data, [0]))
    assert len(stacked) == 5 and [one[0] for one in stacked[1]] == [1, 1]
    named = StackDataset(a=data, b=data)
    assert named[2]["b"][0] == 2
    with pytest.raises(ValueError, match="same length"):
        StackDataset(data, subset)
    with pytest.raises(ValueError, match="by position or all by name"):
        StackDataset(data, b=data)
    with pytest.raises(ValueError, match="at least one"):
        ConcatDataset([])
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]


def test_iterable_datasets():
    chain = Count(2) + Count(3)
    assert isinstance(chain, ChainDataset) and list(chain) == [0, 1, 0, 1, 2] and len(chain) == 5
    with pytest.raises(TypeError, match="ConcatDataset"):
        ChainDataset([Squares(2)])
    with pytest.raises(TypeError, match="ChainDataset"):
        ConcatDataset([Count(2)])
    with pytest.raises(TypeError, match="not indexed"):
        Count(2)[0]


def test_dataset_is_generic():
    assert Dataset[int].__origin__ is Dataset and Sampler[int].__origin__ is Sampler


def test_random_split():
    parts = random_split(range(10), [7, 3], generator=cr.Generator().manual_seed(1))
    assert [len(one) for one in parts] == [7, 3]
    assert sorted(itertools.chain(*[[one[i] for i in range(len(one))] for one in parts])) == list(range(10))
    again = random_split(range(10), [7, 3], generator=cr.Generator().manual_seed(1))
    assert [one.indices for one in parts] == [one.indices for one in again]
    assert [len(one) for one in random_split(range(10), [0.34, 0.33, 0.33])] == [4, 3, 3]
    assert [len(one) for one in random_split(range(10), [0.1] * 10)] == [1] * 10
    with pytest.raises(ValueError, match="add up to 9"):
        random_split(range(10), [5, 4])
    with pytest.raises(ValueError, match="between 0 and 1"):
        random_split(range(10), [1.5, -0.5])
    with pytest.warns(UserWarning, match="a subset is empty"):
        random_split(range(1), [0.5, 0.5])


# --- samplers ---


def test_sequential_and_random_samplers():
    assert list(SequentialSampler(range(4))) == [0, 1, 2, 3]
    sampler = RandomSampler(range(100))
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(100)) and first != second
    assert type(first[0]) is int and len(sampler) == 100
    cr.manual_seed(0)
    assert list(RandomSampler(range(100))) == first
    several = list(RandomSampler(range(3), num_samples=7))
    assert Counter(several[:3]) == Counter(several[3:6]) == Counter(range(3)) and len(several) == 7
    drawn = Counter(RandomSampler(range(3), replacement=True, num_samples=3000))
    assert all(900 < drawn[place] < 1100 for place in range(3))
    assert list(RandomSampler([])) == []
    with pytest.raises(ValueError, match="empty dataset"):
        iter(RandomSampler([], num_samples=2))
    with pytest.raises(ValueError, match="num_samples"):
        RandomSampler(range(3), num_samples=-1)
    assert sorted(SubsetRandomSampler([5, 7, 9])) == [5, 7, 9]


def test_weighted_sampler():
    drawn = Counter(WeightedRandomSampler([0, 1, 3, 0], 4000))
    assert set(drawn) == {1, 2} and 900 < drawn[1] < 1100
    assert sorted(WeightedRandomSampler(cr.tensor([0.0, 1.0, 3.0]), 2, replacement=False)) == [1, 2]
    first = Counter(next(iter(WeightedRandomSampler([1, 3], 1, replacement=False))) for _ in range(2000))
    assert 400 < first[0] < 600
    for weights in ([-1, 2], [float("nan")], [[1]], [0, 0]):
        with pytest.raises(ValueError, match="weight"):
            WeightedRandomSampler(weights, 1)
    with pytest.raises(ValueError, match="3 samples cannot be drawn from 2"):
        WeightedRandomSampler([1, 2, 0], 3, replacement=False)


@pytest.mark.parametrize("drop", [False, True])
def test_distributed_sampler(drop):
    for size, count in itertools.product((0, 1, 5, 12), (1, 2, 5)):
        shares = [DistributedSampler(range(size), count, rank, drop_last=drop) for rank in range(count)]
        lists = [list(one) for one in shares]
        assert all(len(one) == len(share) for one, share in zip(lists, shares, strict=True))
        taken = Counter(sum(lists, []))
        if size and not drop:
            assert set(taken) == set(range(size))
        if drop:
            assert max(taken.values(), default=0) <= 1
    first = DistributedSampler(range(50), 2, 0)
    order = list(first)
    assert list(first) == order == list(DistributedSampler(range(50), 2, 0))
    first.set_epoch(1)
    assert list(first) != order
    assert list(DistributedSampler(range(5), 2, 1, shuffle=False)) == [1, 3, 0]
    assert (
        importlib.import_module("chainrule.utils.data.distributed").DistributedSampler is DistributedSampler
    )
    with pytest.raises(ValueError, match="no process group.*num_replicas"):
        DistributedSampler(range(5))
    with pytest.raises(ValueError, match="between 0 and 1, got 2"):
        DistributedSampler(range(5), 2, 2)


def test_a_curriculum():
    """The sampler of docs/data.md: the easy samples first, and in each epoch more of the hard ones."""

    class Curriculum(Sampler):
        def __init__(self, difficulty, epochs):
            self.order = np.argsort(difficulty, kind="stable").tolist()
            self.epochs, self.epoch = epochs, 0

        def __len__(self):
            return math.ceil(len(self.order) * min(1, (self.epoch + 1) / self.epochs))

        def __iter__(self):
            return iter(SubsetRandomSampler(self.order[: len(self)]))

    lengths = [5, 1, 4, 2, 3, 6]
    sampler = Curriculum(lengths, epochs=3)
    loader = DataLoader(lengths, batch_size=2, sampler=sampler)
    seen = []
    for sampler.epoch in range(4):
        seen.append(sorted(sum((batch.tolist() for batch in loader), [])))
    assert seen == [[1, 2], [1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]


def test_batch_sampler():
    assert list(BatchSampler(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    for size, drop in itertools.product(range(7), (False, True)):
        sampler = BatchSampler(range(size), 3, drop)
        assert len(list(sampler)) == len(sampler)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="batch_size"):
            BatchSampler(range(5), wrong)


# --- collate ---


def test_collate(device):
    batch = default_collate(
        [{"x": cr.ones(2, device=device), "n": 1}, {"x": cr.zeros(2, device=device), "n": 2}]
    )
    assert batch["x"].tolist() == [[1, 1], [0, 0]] and batch["x"].device.type == device
    assert batch["n"].dtype == cr.int64


def test_collate_kinds():
    assert default_collate([0.5, 1.5]).dtype == cr.float64
    assert default_collate([True, False]).dtype == cr.bool
    assert default_collate([np.float32(1), np.float32(2)]).dtype == cr.float32
    stacked = default_collate([np.zeros((2, 3), "int16")] * 4)
    assert stacked.shape == (4, 2, 3) and stacked.dtype == cr.int16
    assert default_collate(["a", "b"]) == ["a", "b"] and default_collate([b"a"]) == [b"a"]
    assert listed(default_collate([(1, "a"), (2, "b")])) == [[1, 2], ["a", "b"]]
    point = default_collate([Point(1, 2.0), Point(3, 4.0)])
    assert type(point) is Point and point.x.tolist() == [1, 3]
    assert type(default_collate([OrderedDict(a=1)])) is OrderedDict
    assert listed(default_collate([[[1, 2], [3]]])) == [[[1], [2]], [[3]]]
    with pytest.raises(RuntimeError, match=r"equal shapes, got \(2,\) for the first and \(3,\) for number 1"):
        default_collate([cr.zeros(2), cr.zeros(3)])
    with pytest.raises(RuntimeError, match=r"equal size, got sizes \[1, 2\]"):
        default_collate([[1], [1, 2]])
    with pytest.raises(TypeError, match="holds a object.*collate_fn"):
        default_collate([object()])
    with pytest.raises(TypeError, match="<U1"):
        default_collate([np.array(["a"])])
    with pytest.raises(ValueError, match="empty"):
        default_collate([])


def test_convert():
    data = default_convert({"a": np.ones(2), "b": (np.float32(1), "text", 3), "p": Point(np.zeros(1), None)})
    assert (
        isinstance(data["a"], cr.Tensor) and data["b"][0].dtype == cr.float32 and data["b"][1:] == ["text", 3]
    )
    assert type(data["p"]) is Point and isinstance(data["p"].x, cr.Tensor)


# --- DataLoader in this process ---


def test_batches():
    loader = DataLoader(Squares(5), batch_size=2)
    assert listed(list(loader)) == [[[0, 1], [0, 1]], [[2, 3], [4, 9]], [[4], [16]]]
    assert len(loader) == len(iter(loader)) == 3
    assert (
        len(DataLoader(Squares(5), 2, drop_last=True))
        == len(list(DataLoader(Squares(5), 2, drop_last=True)))
        == 2
    )
    assert listed(list(DataLoader(Squares(2), None))) == [[0, 0.0], [1, 1.0]]
    assert listed(list(DataLoader([1, 2, 3], batch_sampler=[[2, 0], [1]]))) == [[3, 1], [2]]
    assert listed(list(DataLoader([1, 2, 3], sampler=[2, 1], batch_size=2))) == [[3, 2]]
    assert list(DataLoader([1, 2, 3], batch_size=2, collate_fn=sum)) == [3, 3]
    assert list(DataLoader([], batch_size=2)) == []


def test_shuffle_is_seeded_and_new_each_epoch():
    loader = DataLoader(range(50), batch_size=10, shuffle=True)
    first, second = listed(list(loader)), listed(list(loader))
    assert sorted(sum(first, [])) == list(range(50)) and first != second
    cr.manual_seed(0)
    assert listed(list(loader)) == first
    own = DataLoader(range(50), batch_size=10, shuffle=True, generator=cr.Generator().manual_seed(3))
    state = cr.get_rng_state()
    once = listed(list(own))
    assert (np.asarray(cr.get_rng_state()) == np.asarray(state)).all()
    own.generator.manual_seed(3)
    assert listed(list(own)) == once


def test_the_order_is_drawn_when_the_epoch_begins():
    loader = DataLoader(range(50), batch_size=50, shuffle=True)
    cr.manual_seed(1)
    (expected,) = loader
    cr.manual_seed(1)
    epoch = iter(loader)
    cr.rand(3)
    assert next(epoch).tolist() == expected.tolist()


def test_iterable_batches():
    assert listed(list(DataLoader(Count(5), batch_size=2))) == [[0, 1], [2, 3], [4]]
    assert listed(list(DataLoader(Count(5), batch_size=2, drop_last=True))) == [[0, 1], [2, 3]]
    assert list(DataLoader(Count(3), batch_size=None)) == [0, 1, 2]
    assert len(DataLoader(Count(5), 2)) == 3 and len(DataLoader(Count(5), 2, drop_last=True)) == 2
    assert len(DataLoader(Count(5), None)) == 5


def test_an_epoch_goes_on_after_an_error():
    class Gap(Squares):
        def __getitem__(self, index):
            if index == 2:
                raise LookupError("no sample 2")
            return index

    epoch = iter(DataLoader(Gap(6), batch_size=2))
    assert next(epoch).tolist() == [0, 1]
    with pytest.raises(LookupError, match="no sample 2"):
        next(epoch)
    assert next(epoch).tolist() == [4, 5]


def test_stop_iteration_in_a_dataset_is_no_end():
    class Stop(Squares):
        def __getitem__(self, index):
            raise StopIteration

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        next(iter(DataLoader(Stop(3))))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"batch_size": 2.0}, "batch_size"),
        ({"batch_size": None, "drop_last": True}, "drop_last has no meaning"),
        ({"num_workers": -1}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"prefetch_factor": 2}, "need num_workers"),
        ({"persistent_workers": True}, "need num_workers"),
        ({"num_workers": 1, "prefetch_factor": 0}, "at least 1, got 0"),
        ({"sampler": [0], "shuffle": True}, "not both"),
        ({"batch_sampler": [[0]], "batch_size": 2}, "excludes"),
        ({"batch_sampler": [[0]], "shuffle": True}, "excludes"),
    ],
)
def test_contradictions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(Squares(3), **arguments)


def test_an_iterable_dataset_takes_no_order():
    for arguments in ({"shuffle": True}, {"sampler": [0]}, {"batch_sampler": [[0]]}):
        with pytest.raises(ValueError, match="own order"):
            DataLoader(Count(3), **arguments)


# --- whole batches at once ---


class Doubled(TensorDataset):
    def __getitem__(self, index):
        return tuple(2 * one for one in super().__getitem__(index))


def test_known_datasets_are_indexed_once_per_batch(device):
    x, y = cr.randn(20, 3, device=device), cr.arange(20, device=device)
    data = TensorDataset(x, y)
    subset = Subset(Subset(data, list(range(19, -1, -1))), cr.arange(5, 15).tolist())
    named = StackDataset(a=data, b=data)
    for dataset in (data, subset, StackDataset(data, data), named):
        indices = [3, 0, 7, 7]
        fast, slow = take(dataset, indices), default_collate([dataset[i] for i in indices])
        assert listed(fast) == listed(slow) and type(fast) is type(slow)
    assert take(data, [0])[0].device == x.device
    for other in (Doubled(x), ConcatDataset([data]), Subset(Doubled(x), [0]), StackDataset(data, Doubled(x))):
        assert take(other, [0]) is None
    (batch,) = next(iter(DataLoader(Doubled(x), 2)))
    assert batch.tolist() == (2 * x[:2]).tolist()


def test_indexing_at_once_checks_the_range(device):
    data = TensorDataset(cr.arange(3, device=device))
    assert take(data, [-1])[0].tolist() == [2]
    for wrong in (3, -4):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for 3"):
            take(data, [0, wrong])


def test_getitems_is_used():
    class Many(Squares):
        def __getitems__(self, indices):
            return [10 * index for index in indices]

    assert listed(list(DataLoader(Many(3), 2))) == [[0, 10], [20]]
    assert listed(list(DataLoader(Subset(Many(3), [2, 1]), 2))) == [[20, 10]]


# --- workers ---

# Workers import the datasets they get by name: those of these tests are put into a module of their own.
MODULE = """
    import os, time
    import numpy as np
    import chainrule as cr
    from chainrule.utils.data import Dataset, IterableDataset, get_worker_info

    class Noisy(Dataset):
        def __len__(self):
            return 12
        def __getitem__(self, index):
            return index, cr.rand(2), np.arange(index + 2)[-2:]

    class Faulty(Noisy):
        def __init__(self, **faults):
            self.faults = {index: kind for kind, index in faults.items()}
        def __getitem__(self, index):
            kind = self.faults.get(index)
            if kind == "key":
                raise KeyError("no such sample")
            if kind == "odd":
                raise UnicodeDecodeError("utf-8", b"", 0, 1, "odd")
            if kind == "lambda_":
                return lambda: 0
            if kind == "kill":
                os.kill(os.getpid(), 9)
            if kind == "exit":
                os._exit(3)
            if kind == "hang":
                time.sleep(60)
            return index

    class Shard(IterableDataset):
        def __iter__(self):
            info = get_worker_info()
            return iter(range(info.id if info else 0, 10, info.num_workers if info else 1))

    class Info(Dataset):
        def __len__(self):
            return 4
        def __getitem__(self, index):
            info = get_worker_info()
            same = info.dataset is self
            return (info.id, info.num_workers, same, int(os.environ.get("INIT", -1)), cr.initial_seed() != info.seed)

    def init(ident):
        os.environ["INIT"] = str(ident)

    def bad_init(ident):
        raise ValueError("bad init")

    def first(batch):
        return batch[0]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that workers can import."""
    (tmp_path / "worker_datasets.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    import worker_datasets

    yield worker_datasets
    del sys.modules["worker_datasets"]


def children():
    """The processes whose parent this process is, apart from multiprocessing's own helpers."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z" and "spawn_main" in command:
                found.append(int(entry.name))
    return found


def test_the_batches_are_the_same_for_every_number_of_workers(module):
    results = []
    for workers in (0, 1, 4):
        cr.manual_seed(5)
        loader = DataLoader(
            module.Noisy(), batch_size=2, shuffle=True, num_workers=workers, persistent_workers=workers == 4
        )
        results.append((listed(list(loader)), listed(list(loader)), cr.rand(3).tolist()))
    assert results[0] == results[1] == results[2]
    first, second, _ = results[0]
    noise = [tuple(row) for batch in first + second for row in batch[1]]
    assert first != second and len(set(noise)) == 24
    workers = children()
    assert len(workers) == 4
    abandoned = iter(loader)
    next(abandoned)
    assert sorted(sum((batch[0].tolist() for batch in loader), [])) == list(range(12))
    assert children() == workers
    with pytest.raises(RuntimeError, match="one iterator"):
        next(abandoned)
    del loader, abandoned
    assert not children()


def test_leaving_an_epoch_early_ends_the_workers(module):
    for _ in DataLoader(module.Noisy(), num_workers=1, prefetch_factor=3):
        assert len(children()) == 1
        break
    assert not children()


def test_worker_info_and_init(module):
    assert get_worker_info() is None
    loader = DataLoader(module.Info(), None, num_workers=2, worker_init_fn=module.init)
    assert listed(list(loader)) == [[place % 2, 2, True, place % 2, True] for place in range(4)]


def test_iterable_datasets_with_workers(module):
    loader = DataLoader(module.Shard(), 2, num_workers=2, persistent_workers=True)
    for _ in range(2):
        assert listed(list(loader)) == [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]


def test_exceptions_in_workers_come_through(module):
    loader = DataLoader(module.Faulty(key=4, odd=6, lambda_=8), num_workers=2, collate_fn=module.first)
    epoch, seen = iter(loader), []
    for _ in range(12):
        try:
            seen.append(next(epoch))
        except Exception as error:
            seen.append((type(error), str(error)))
    assert [one for one in seen if isinstance(one, int)] == [0, 1, 2, 3, 5, 7, 9, 10, 11]
    kind, text = seen[4]
    assert (
        kind is KeyError
        and text.startswith("in DataLoader worker 0: 'no such sample'")
        and "in __getitem__" in text
    )
    kind, text = seen[6]
    assert kind is RuntimeError and text.startswith("UnicodeDecodeError in DataLoader worker 0")
    assert "pickle" in seen[8][1]
    assert next(epoch, None) is None and not children()


def test_an_error_in_worker_init_fn_comes_through(module):
    with pytest.raises(ValueError, match="bad init"):
        list(DataLoader(module.Noisy(), num_workers=1, worker_init_fn=module.bad_init))
    assert not children()


@pytest.mark.parametrize(("kind", "reason"), [("kill", "killed by signal 9"), ("exit", "exit code 3")])
def test_a_worker_that_dies_is_reported_at_once(module, kind, reason):
    loader = DataLoader(module.Faulty(**{kind: 4}), 2, num_workers=1, persistent_workers=True)
    with pytest.raises(RuntimeError, match=rf"worker 0 \(process \d+\) ended unexpectedly, .*{reason}"):
        list(loader)
    assert not children()
    loader.dataset.faults.clear()
    assert len(list(loader)) == 6  # with a new worker


def test_a_worker_killed_from_outside(module):
    epoch = iter(DataLoader(module.Faulty(hang=4), 2, num_workers=2))
    next(epoch)
    os.kill(children()[0], signal.SIGKILL)
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match="killed by signal 9"):
        list(epoch)
    print(f"noticed after {time.monotonic() - begin:.2f} s")
    assert time.monotonic() - begin < 5 and not children()


def test_timeout(module):
    with pytest.raises(RuntimeError, match="sent no batch within timeout=0.5 seconds"):
        list(DataLoader(module.Faulty(hang=0), 2, num_workers=1, timeout=0.5))
    assert not children()


def test_what_cannot_be_pickled_is_refused():
    with pytest.raises(TypeError, match="cannot be pickled.*num_workers=0"):
        iter(DataLoader(range(4), num_workers=1, collate_fn=lambda batch: batch))
    assert not children()


def test_large_requests_do_not_block(module):
    """Neither side waits for the other to read: indices and batches larger than a pipe's buffer."""
    data = TensorDataset(cr.arange(100_000))
    loader = DataLoader(data, batch_size=50_000, shuffle=True, num_workers=1, prefetch_factor=4)
    assert sorted(sum((batch[0].tolist() for batch in loader), [])) == list(range(100_000))


@pytest.mark.slow
@pytest.mark.parametrize("context", ["forkserver", "fork"])
def test_other_ways_to_start_workers(module, context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of fork where there are threads
        loader = DataLoader(module.Noisy(), 4, num_workers=2, multiprocessing_context=context)
        with_workers = listed(list(loader))
    cr.manual_seed(0)
    assert with_workers == listed(list(DataLoader(module.Noisy(), 4)))


SCRIPT = """
    import sys
    from chainrule.utils.data import DataLoader
    import worker_datasets
    epoch = iter(DataLoader(worker_datasets.Faulty(hang=4), 1, num_workers=1))
    next(epoch)
    import multiprocessing
    print(multiprocessing.active_children()[0].pid, flush=True)
    {then}
"""


def alive(pid):
    """Whether a process runs (one that has ended and waits to be collected does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "then",
    [
        "sys.stdin.read()",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("sys.exit(0)", "raise KeyboardInterrupt")),
    ],
)
def test_no_worker_outlives_its_parent(module, tmp_path, environment, then):
    script = "if __name__ == '__main__':\n" + textwrap.indent(
        textwrap.dedent(SCRIPT.format(then=then)), "    "
    )
    (tmp_path / "script.py").write_text(script)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
    ) as process:  # fmt: skip
        pid = int(process.stdout.readline())
        if "stdin" in then:
            process.kill()
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_so(module, tmp_path, environment):
    script = """
        from chainrule.utils.data import DataLoader
        import worker_datasets
        list(DataLoader(worker_datasets.Noisy(), num_workers=1))
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and 'if __name__ == "__main__"' in done.stderr.splitlines()[-1]


def test_without_a_card_nothing_is_pinned_and_a_warning_says_so():
    if cr.cuda.is_available():
        pytest.skip("there is a card")
    data = TensorDataset(cr.arange(6.0))
    with pytest.warns(UserWarning, match="no CUDA device: memory is not pinned"):
        batches = list(DataLoader(data, batch_size=4, pin_memory=True))
    assert [x.tolist() for (x,) in batches] == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0]] and not batches[0][
        0
    ].is_pinned()


def test_prefetched_batches_are_those_of_the_loader(device):
    loader = DataLoader(TensorDataset(cr.arange(6.0), cr.arange(6)), batch_size=4)
    ahead = Prefetcher(loader, device)
    assert len(ahead) == 2
    for _ in range(2):
        got = list(ahead)
        assert [x.tolist() for x, _ in got] == [x.tolist() for x, _ in loader]
        assert all(one.device.type == device.split(":")[0] for batch in got for one in batch)
    mixed = [{"x": cr.ones(2), "name": ["a", "b"], "pair": (cr.zeros(1), 3)}]
    (grouped,) = Prefetcher([collections.defaultdict(list, x=cr.ones(2))], device)
    assert grouped["x"].device.type == device.split(":")[0] and grouped["other"] == []
    (batch,) = Prefetcher(mixed, device)
    assert (
        batch["name"] == ["a", "b"]
        and batch["pair"][1] == 3
        and batch["x"].device.type == device.split(":")[0]
    )
