"""The books of the fake device: what it was asked to do, and how much memory is in use.

All of its memory comes from `memory`, which can be given a limit or be told to fail; everything else it does
is counted in `counters`, and told to whoever watches the thread (`transfers.py`), who may refuse it.
"""

import threading

from . import transfers
from .backend import OutOfMemoryError


class Counters:
    """What the device did since the last `reset`.

    `launches` (operations that computed something), `host_reads` (times the host waited for a value or a shape),
    `copies_to_device`, `copies_to_host`, `allocations`; and bytes: `bytes_to_device`, `bytes_to_host`, `allocated` now,
    `peak` at most.
    """

    def __init__(self):
        self.allocated = 0
        self.reset()

    def reset(self):
        """Start counting anew. Memory in use stays counted."""
        self.launches = self.host_reads = 0
        self.copies_to_device = self.copies_to_host = 0
        self.bytes_to_device = self.bytes_to_host = 0
        self.allocations = 0
        self.peak = self.allocated

    def launch(self, what):
        """The device computes something."""
        transfers.launched(what)
        self.launches += 1

    def read(self, what, host):
        """Python reads a value of the array over `host`, and waits for it."""
        transfers.crossing("value", what, host.shape, host.nbytes)
        self.host_reads += 1

    def count(self, what, host):
        """The host waits to learn how many elements of the array over `host` are meant."""
        transfers.crossing("shape", what, host.shape)
        self.host_reads += 1

    def copy_to_device(self, what, host):
        """Host data goes to the device."""
        transfers.crossing("to_device", what, host.shape, host.nbytes)
        self.copies_to_device += 1
        self.bytes_to_device += host.nbytes

    def copy_to_host(self, what, host):
        """The contents of the array over `host` go to the host."""
        transfers.crossing("to_host", what, host.shape, host.nbytes)
        self.copies_to_host += 1
        self.bytes_to_host += host.nbytes

    def __repr__(self):
        return f"Counters({', '.join(f'{name}={value}' for name, value in vars(self).items())})"


class Memory:
    """The allocator: an account of bytes, a limit, and failures on request."""

    def __init__(self):
        self.limit = None
        self.fail_in = None
        # Re-entered where the garbage collector frees an array in the middle of an allocation.
        self.lock = threading.RLock()

    def take(self, size):
        with self.lock:
            if self.fail_in is not None:
                self.fail_in -= 1
                if self.fail_in <= 0:
                    self.fail_in = None
                    raise self._failure(size, "failing as asked by fail_allocation")
            if self.limit is not None and counters.allocated + size > self.limit:
                raise self._failure(size, f"limit set to {self.limit:,} bytes")
            counters.allocations += 1
            counters.allocated += size
            counters.peak = max(counters.peak, counters.allocated)
        transfers.allocated(size, counters.allocated)

    def release(self, size):
        with self.lock:
            if counters is not None:  # when Python ends, this module may have ended before
                counters.allocated -= size

    def _failure(self, size, why):
        return OutOfMemoryError(
            f"fake out of memory: tried to allocate {size:,} bytes ({counters.allocated:,} in use, {why}); "
            f"free tensors or use smaller batches",
            size,
        )


counters = Counters()
memory = Memory()
