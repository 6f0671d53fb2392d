"""What crosses between host and device, and what the host waits for: told to whoever watches a thread.

A device says what it does by the functions at the end of this file. The fake device always does; CuPy is taught to by
`cupy_watch.py` while somebody watches, and is left as it was afterwards. Who watches is a `Watcher`, for the thread that entered
it: `Counts` adds up (`cr.cuda.count`), `no_transfer` refuses.

Whether a copy was asked for by name is read off the call stack when somebody wants to know: the function of ours that the program
called is `.to(...)`, or it is an index that happened to be a list. So nothing has to be handed down, and nobody pays who does not ask.
"""

import linecache
import sys
import threading
from typing import NamedTuple

from .backend import get, namespaces

# Functions that stand for a copy: who calls one knows that it copies.
ASKED = frozenset(
    """
    to cpu cuda copy_ type type_as numpy_array tensor as_tensor asarray new_tensor from_numpy save load state_dict load_state_dict
    synchronize pin_memory get asnumpy from_host to_host copy_to __reduce__ __reduce_ex__
    """.split()
)
# Our functions that lie between a program's call and the function it called.
_WRAPPERS = frozenset(
    "method operation <lambda> in_mode look declared reflected compare function apply".split()
)
# Parts of the library that are programs themselves: what they call `.to` for, they ask for by name.
_PROGRAMS = ("chainrule.training", "chainrule.utils", "chainrule.datasets")
# What tells of a crossing, or does it.
_DEVICES = tuple(f"chainrule.backends.{one}" for one in ("fake", "cupy", "transfers"))
_BETWEEN = ("numpy", "cupy", "contextlib", "functools", "importlib", "copy", "threading")


# Array functions that make device arrays of host data; that only take memory; and for which CuPy waits for a value, mostly to know a
# shape.
TAKE_HOST_DATA = frozenset("array asanyarray asarray ascontiguousarray asfortranarray".split())
COMPUTE_NOTHING = frozenset("empty empty_like ndarray".split())
_SYNCHRONIZING = frozenset(
    """
    argwhere asarray_chkfinite average bincount compress delete extract flatnonzero histogram histogram2d histogramdd
    intersect1d nonzero percentile place quantile setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts
    unique_inverse unique_values
    """.split()
)


def synchronizes(function, args):
    """Whether CuPy's function of that name waits for the device when it is given `args`."""
    return function in _SYNCHRONIZING or (function == "where" and len(args) == 1)


def holds(value, array_type):
    """Whether `value` is an array of that class, or has some among its elements."""
    if isinstance(value, (list, tuple)):
        return any(holds(one, array_type) for one in value)
    return value.__class__ is array_type


class Crossing(NamedTuple):
    """One copy or wait. kind: "to_device", "to_host", "value" (Python reads one), "shape" (only the device knows it), "wait".

    what: the array function. shape, nbytes: of what is copied. by: our function that the program called. line: where, as
    "file.py:12: source".
    """

    kind: str
    what: str
    shape: tuple
    nbytes: int
    by: str
    line: str

    @property
    def asked(self):
        """Whether the program asked for this copy by name."""
        return self.kind in ("to_device", "to_host", "wait") and self.by in ASKED

    @property
    def waits(self):
        """Whether the host waits for the device."""
        return self.kind != "to_device"


class Watcher:
    """Hears what devices do in the thread that entered it; what it does not override passes by."""

    hears_allocations = False

    def crossing(self, found):
        """A copy or a wait is about to be made: `found` is a `Crossing`."""

    def launched(self, what):
        """The device was given something to compute."""

    def allocated(self, nbytes, in_use):
        """Memory was taken; `in_use` bytes now are."""

    def watch(self):
        """Begin to hear."""
        _cupy("start", self)
        _local.watchers = (*_local.watchers, self)

    def unwatch(self):
        """Hear no more."""
        watchers = list(_local.watchers)
        del watchers[len(watchers) - 1 - watchers[::-1].index(self)]
        _local.watchers = tuple(watchers)
        _cupy("stop", self)


class _Local(threading.local):
    watchers = ()
    silent = False


_local = _Local()


def _cupy(what, watcher):
    """Teach CuPy to tell, or let it be, where it is in use."""
    if get("cuda").available():
        from . import cupy_watch

        getattr(cupy_watch, what)(watcher)


class unheard:
    """Inside, what the thread does is not told: it is part of something that was."""

    def __enter__(self):
        self.before, _local.silent = _local.silent, True

    def __exit__(self, *_):
        _local.silent = self.before


def watched():
    """Whether somebody hears what this thread does."""
    return bool(_local.watchers) and not _local.silent


def in_use():
    """Whether operations take arrays of a device."""
    return len(namespaces) > 1  # the first are NumPy's


def watchers():
    """Who hears what this thread does, the innermost last."""
    return _local.watchers


# --- what devices tell ---


def launched(what):
    """The device was given something to compute."""
    if _local.watchers and not _local.silent:
        for watcher in _local.watchers:
            watcher.launched(what)


def allocated(nbytes, in_use):
    """Memory was taken."""
    for watcher in _local.watchers:
        watcher.allocated(nbytes, in_use)


def crossing(kind, what, shape=(), nbytes=0):
    """A copy or a wait is about to be made; raises if a watcher refuses."""
    if _local.watchers and not _local.silent:
        by, line = _place()
        found = Crossing(kind, what, tuple(shape), nbytes, by or what, line)
        for watcher in _local.watchers:
            watcher.crossing(found)


# --- where in the program it happened ---


def users_line():
    """The line of the program that is being run, as in `Crossing`; "?" outside any."""
    return _place()[1]


def _place():
    """(our function that the program called, the program's line); the function is None where it is a device's own."""
    frame, by = sys._getframe(2), None
    while frame is not None and (frame.f_globals.get("__name__") or "").startswith(_DEVICES):
        frame = frame.f_back
    while frame is not None and _ours(frame, _PROGRAMS):
        name = frame.f_code.co_name
        if name in ("forward", "__call__") and "self" in frame.f_locals:
            name = type(frame.f_locals["self"]).__name__
        if name not in _WRAPPERS and not _between(frame):
            by = name
        frame = frame.f_back
    while frame is not None and _ours(frame):
        frame = frame.f_back
    if frame is None:
        return by, "an unknown line"
    file, number = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, number, frame.f_globals).strip()
    return by, f"{file}:{number}: {text}" if text else f"{file}:{number}"


def _ours(frame, programs=()):
    """Whether a frame belongs to the library (but not to its `programs`) or to what it calls through."""
    module = frame.f_globals.get("__name__") or ""
    if module == "chainrule" or module.startswith("chainrule."):
        return not module.startswith(programs) if programs else True
    return frame.f_code.co_filename.startswith("<chainrule") or _between(frame)


def _between(frame):
    return (frame.f_globals.get("__name__") or "").partition(".")[0] in _BETWEEN
