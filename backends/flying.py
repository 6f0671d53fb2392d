"""Copies that are under way: their memory is kept until they are done.

The host goes on while a card still reads pinned memory, or another stream an array. Whoever lets go of such memory would have it
given to the next who asks, so it is held here, with an event that tells when the copy is done, and dropped at the next occasion.
"""

import collections
import threading
import weakref


class Flying:
    """What is held, oldest first."""

    def __init__(self):
        self._held = collections.deque()
        self._lock = threading.RLock()  # re-entered where the garbage collector ends an array in here

    def __len__(self):
        return len(self._held)

    def hold(self, event, *memory):
        """Hold `memory` until `event` has come."""
        with self._lock:
            self.drop()
            self._held.append((event, memory))

    def drop(self):
        """Let go of what has landed."""
        with self._lock:
            # Events of several streams come in any order.
            for _ in range(len(self._held)):
                entry = self._held.popleft()
                if not entry[0].done:
                    self._held.append(entry)

    def hold_after(self, array, stream, record):
        """When `array` ends, hold its memory until the work then queued on `stream` is done; `record(stream)` makes the event."""

        def ended(memory):
            self.hold(record(stream), memory)

        weakref.finalize(array, ended, array.data).atexit = False
