"""Work on a device that is recorded once and launched again as a whole: what the parts of the library have to know of it.

While `local.capture` is a `Capture`, this thread's operations are recorded, not done. A replay does them again with the same memory and
the same numbers of Python. A part of the library whose host side moves on from step to step therefore

- keeps alive what the graph will read or write: `capture.keep(workspace)`;
- has what must not be recorded done at once, in memory that the graph does not use for anything else: `with capture.outside(): ...`
  (tables of addresses, state that is to be made once, plans to be built);
- has its numbers read from the device: `capture.numbers(lambda: (lr, eps))` is a float64 array there, written anew before a replay
  when the function gives others;
- registers what the host does around each replay: `capture.before_replay(function)`, `capture.after_replay(function)`;
- says which arrays a graph must find where they were: `capture.rely_on(tensor, "the weight of Linear")`;
- refuses what cannot be right: `refuse("what happened", "what to do instead")` raises `CaptureError` with the line of the user's code,
  or notes it where findings are collected. It does nothing outside a capture.

None of this knows of CUDA: `chainrule.cuda.graphs` captures there, `fakegraph.py` on the stand-in.
"""

import contextlib
import threading
import weakref
from typing import NamedTuple

import numpy as np

from . import transfers
from .backend import backend_of


class _Local(threading.local):
    capture = None


# `local.capture` is the Capture under way in this thread, None if there is none.
local = _Local()


class CaptureError(RuntimeError):
    """A step does what a captured graph cannot repeat, or a graph was used for what it was not captured for."""


class Finding(NamedTuple):
    """What a step does that a graph cannot repeat: its kind, what it is, the user's line, what to do instead."""

    kind: str
    what: str
    line: str
    instead: str

    def __str__(self):
        where = f" ({self.line})" if self.line != "?" else ""
        return f"{self.what}{where}, which a captured graph does not repeat: {self.instead}"


class Capture:
    """One capture, and then what belongs to the graph that came of it.

    `findings` is a list to collect refusals in, None where the first one is to be raised.
    """

    def __init__(self, backend, findings=None):
        self.backend = backend
        self.findings = findings
        self.relied = {}  # id of a Tensor -> (the Tensor, its array, its name, the table where it is found and its key there)
        self.leaves = {}  # id of a leaf that a backward pass reached -> (it, its .grad before)
        self.zeroed = set()  # ids of leaves whose .grad was set to None
        self.lent_places = (
            set()
        )  # (id of a module's table, key): where functional_call puts other Tensors for a while
        self.host_writes = []  # (weak reference to a host array that a Tensor's method wrote, the method, the user's line)
        self._kept = []
        self._before, self._after, self._abandoned = [], [], []

    def keep(self, thing):
        """Let `thing` live as long as the graph; returns it."""
        self._kept.append(thing)
        return thing

    def rely_on(self, tensor, name, table=None, key=None):
        """Let a replay be refused, in words that call it `name`, if the Tensor's array is no longer the one it has now, or if
        table[key], where a table is given, is another Tensor."""
        known = self.relied.get(id(tensor))
        if known is None or (known[3] is None and table is not None):
            self.relied[id(tensor)] = tensor, tensor._array, name, table, key

    def writes(self, array, name):
        """Note an in-place write, by the method of that name, to an array that is perhaps the host's: no replay repeats that."""
        if isinstance(array, np.ndarray):
            before, place = array.copy(), weakref.ref(array)
            self.host_writes.append(
                (weakref.ref(backend_of(array).root(array)), name, transfers.users_line())
            )

            def restore():
                if (one := place()) is not None:
                    one[...] = before

            self.if_abandoned(restore)

    def reach(self, leaf):
        """Note a leaf before a backward pass adds to its `.grad`."""
        if id(leaf) not in self.leaves:
            before, place = leaf._grad, weakref.ref(leaf)
            self.leaves[id(leaf)] = leaf, before

            def restore():
                if (one := place()) is not None:
                    one._grad = before

            self.if_abandoned(restore)

    def before_replay(self, function):
        """Have `function()` called before each replay, on the stream of the replay."""
        self._before.append(function)

    def after_replay(self, function):
        """Have `function()` called after each replay was launched."""
        self._after.append(function)

    def if_abandoned(self, function):
        """Have `function()` called if the capture fails: nothing of it was computed, and the host is to forget it."""
        self._abandoned.append(function)

    def abandon(self):
        """Call what was registered with `if_abandoned`."""
        for function in reversed(self._abandoned):
            function()

    @contextlib.contextmanager
    def outside(self):
        """A context in which operations are done, not recorded; its arrays share no memory with the graph's. Keep those the graph uses.

        What was recorded so far has not been computed: only what existed before the capture can be read. What is copied here is the
        graph's own affair: `no_transfer` and `count` do not hear of it.
        """
        before, local.capture = local.capture, None
        try:
            with transfers.unheard():
                yield
        finally:
            local.capture = before

    def numbers(self, read):
        """A device array, float64, of the numbers that `read()` gives before each replay: always equally many.

        They are written there when they differ from what was written last; the array is not to be written by others.
        """
        written = tuple(map(float, read()))
        with self.outside():
            array = self.keep(self.backend.from_host(np.array(written)))

        def refresh():
            nonlocal written
            now = tuple(map(float, read()))
            if now != written:
                array[...] = self.backend.from_host(np.array(now))
                written = now

        self.before_replay(refresh)
        return array

    def refuse(self, kind, what, instead, line=None):
        """Raise, or collect, the error that says what the step did, where, and what to do."""
        found = Finding(kind, what, transfers.users_line() if line is None else line, instead)
        if self.findings is None:
            raise CaptureError(str(found))
        if found not in self.findings:
            self.findings.append(found)

    # What a graph does around each replay

    def begin_replay(self):
        """Call what was registered with `before_replay`."""
        with transfers.unheard():
            for function in self._before:
                function()

    def end_replay(self):
        """Call what was registered with `after_replay`."""
        for function in self._after:
            function()


def at_once(make):
    """What `make()` gives; in a capture it is made outside of it and kept for the graph."""
    capture = local.capture
    if capture is None:
        return make()
    with capture.outside():
        return capture.keep(make())


def refuse(kind, what, instead):
    """Refuse what happens now if a capture is under way; see `Capture.refuse`."""
    if local.capture is not None:
        local.capture.refuse(kind, what, instead)
