"""The log of in-place writes: how a saved value that was overwritten is noticed.

PyTorch gives every storage a version counter and reads it for each value an operation saves. Here the memory
itself is the key: a write notes the array that owns the memory, under a number (`epoch`) that grows with every
write anywhere. A node keeps the epoch at which it was recorded. As long as the number has not moved since,
nothing was overwritten and nothing need be looked up, so recording pays no more than reading one integer.
Views, `detach()` and `.data` share memory and are therefore covered without any bookkeeping.
"""

import threading
import weakref

from chainrule.backends import backend_of


class WriteLog:
    """Which memory was written in place, and when."""

    def __init__(self):
        self.epoch = 0
        self._lock = threading.Lock()
        self._entries = {}  # id of the owning array -> [last epoch, number of writes, weak reference]

    def wrote(self, array):
        """Note that `array`'s memory is being overwritten."""
        root = array if array.base is None else backend_of(array).root(array)
        key = id(root)
        with self._lock:
            self.epoch += 1
            entry = self._entries.get(key)
            if entry is None:
                entries = self._entries
                entry = entries[key] = [0, 0, weakref.ref(root, lambda _: entries.pop(key, None))]
            entry[0] = self.epoch
            entry[1] += 1

    def written_since(self, epoch):
        """What owns memory that was written after `epoch`, to be told to `wrote_again`."""
        with self._lock:
            found = [entry[2]() for entry in self._entries.values() if entry[0] > epoch]
        return [root for root in found if root is not None]

    def wrote_again(self, roots):
        """As `wrote` for many arrays, each of which owns its memory."""
        for root in roots:
            self.wrote(root)

    def last(self, array):
        """The epoch of the last write to `array`'s memory; 0 if there was none."""
        entry = self._entries.get(id(backend_of(array).root(array)))
        return 0 if entry is None else entry[0]

    def count(self, array):
        """How often `array`'s memory was written in place (PyTorch's `_version`)."""
        entry = self._entries.get(id(backend_of(array).root(array)))
        return 0 if entry is None else entry[1]


log = WriteLog()
