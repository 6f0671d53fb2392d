"""Batches on their way to a card: put into page-locked memory by a thread, and copied while the one before is worked on."""

import collections
import copy
import warnings
from collections.abc import Mapping, MutableMapping, Sequence

from chainrule.autograd.tensor import Tensor
from chainrule.backends import devices, get

_AHEAD = 2  # batches that are pinned, or being pinned, at a time


def converted(data, convert):
    """`data` with every Tensor replaced by `convert(tensor)`, at any depth of dicts, tuples and lists.

    An object with a method `pin_memory` is asked by `pinned` to pin itself, as in PyTorch; all else stays as it is.
    """
    if isinstance(data, Tensor):
        return convert(data)
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        parts = {key: converted(one, convert) for key, one in data.items()}
        if type(data) is dict:
            return parts
        if isinstance(data, MutableMapping):  # its class may want other arguments, as defaultdict does
            made = copy.copy(data)
            made.update(parts)
            return made
        return type(data)(parts)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[converted(one, convert) for one in data])
    if isinstance(data, Sequence):
        parts = [converted(one, convert) for one in data]
        return tuple(parts) if isinstance(data, tuple) else parts
    return data


def pinned(data):
    """`data` with its Tensors that lie on the CPU in page-locked memory."""
    if not isinstance(data, (Tensor, Mapping, Sequence)) and hasattr(data, "pin_memory"):
        return data.pin_memory()
    return converted(data, lambda one: one.pin_memory() if one.device.type == "cpu" else one)


def can_pin(name="DataLoader"):
    """Whether there is a card for which to pin; a warning if there is none, as PyTorch gives."""
    if get("cuda").available():
        return True
    warnings.warn(
        f"{name}: pin_memory=True was asked for and there is no CUDA device: memory is not pinned",
        stacklevel=4,
    )
    return False


class Pinner:
    """Pins batches in a thread, in order. `put` the batches, `take` them pinned."""

    def __init__(self):
        from concurrent.futures import ThreadPoolExecutor

        self._thread = ThreadPoolExecutor(1, "chainrule pins memory")
        self._jobs = collections.deque()

    @property
    def full(self):
        """Whether as many are under way as should be."""
        return len(self._jobs) >= _AHEAD

    def __len__(self):
        return len(self._jobs)

    def put(self, make):
        """Pin what `make()` gives; what it raises is raised by `take`."""
        self._jobs.append(self._thread.submit(lambda: pinned(make())))

    def take(self):
        """The batch that was put first."""
        return self._jobs.popleft().result()

    def close(self):
        """End the thread."""
        self._jobs.clear()
        self._thread.shutdown(wait=False)


class Prefetcher:
    """The batches of `loader` on `device`, each copied there while the program works on the one before.

        for x, y in Prefetcher(DataLoader(data, batch_size=256, num_workers=4, pin_memory=True), "cuda"):

    Copies run on a stream of their own; from pinned memory they cost the program no time. The batch that is given out may be used
    like any other: the current stream waits for its copy, and its memory is not used again before what reads it is done.
    Other devices get the batches one by one. The loader is one batch further than the program, also in its `state_dict()`.
    """

    def __init__(self, loader, device="cuda"):
        self.loader, self.device = loader, devices.device(device)

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        if self.device.type != "cuda":
            for batch in self.loader:
                yield converted(batch, lambda one: one.to(self.device))
            return
        from chainrule import cuda

        side, ahead = cuda.Stream(self.device), None
        for batch in self.loader:
            with cuda.stream(side):
                copy = converted(batch, lambda one: one.to(self.device, non_blocking=True))
            if ahead is not None:
                yield ahead[0]
            # What the copy reads and writes is settled on the side stream; who works with it comes after.
            ahead = self._ready(cuda, side, copy)
        if ahead is not None:
            yield ahead[0]

    def _ready(self, cuda, side, copy):
        """The copy, once the current stream is told to wait for it."""
        current = cuda.current_stream(self.device)
        current.wait_stream(side)
        converted(copy, lambda one: one.record_stream(current) or one)
        return (copy,)
