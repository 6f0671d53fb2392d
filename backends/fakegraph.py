"""Captured graphs on the fake device, as strict as CUDA's: what a step may do in a capture is found out without a card.

While a capture is under way every operation is done on the host's memory as always, and noted with that memory. At the end nothing
of it may be left, since a card would have done nothing: what was in memory from before is put back, and what was made is filled with
NaN. A replay does the operations again, into the same memory. What CUDA refuses while it captures (a value read by the host, data
copied from there) is refused where it happens, with the line of the program.

One thing is kinder than CUDA: memory made in a capture is not used for something else in the same graph.
"""

import contextlib
import functools

import numpy as np

from .backend import kernels
from .capturing import Capture, local
from .cuda_kernels import KERNELS
from .numpy_backend import cpu
from .refusing import Refuser


class FakeCapture(Capture):
    """A capture on the fake device, and the graph: `with FakeCapture(backend) as graph: ...`, then `graph.replay()`."""

    def __init__(self, backend, findings=None, generators=()):
        super().__init__(backend, findings)
        self._operations = []  # functions without arguments
        self._before_writes = {}  # id of an array of the host from before -> (it, a copy)
        self._made = {}  # id of an array that was made -> it
        self._generators = generators
        self._refuser = Refuser(self)

    def __enter__(self):
        if local.capture is not None:
            raise RuntimeError("a graph is being captured in this thread already; end it first")
        self._plain = _plain_kernels(self.backend)
        with contextlib.ExitStack() as undo:
            for generator in self._generators:
                generator.begin_capture(self.backend)
                undo.callback(generator.abandon_capture)
            self._plain.__enter__()
            undo.pop_all()
        self._refuser.watch()
        local.capture = self
        return self

    @property
    def capture(self):
        """What a step is recorded by: this."""
        return self

    def replay(self):
        """Do what was recorded, as one more step."""
        with np.errstate(all="ignore"):
            self.begin_replay()
            for again in self._operations:
                again()
            self.end_replay()

    def __exit__(self, kind, error, traceback):
        try:
            for generator in self._generators:
                if error is not None:
                    generator.abandon_capture()
                    continue
                moves = generator.end_capture()
                self.before_replay(moves.before_replay)
                self.after_replay(moves.after_replay)
        finally:
            local.capture = None
            self._refuser.unwatch()
            self._plain.__exit__(None, None, None)
            self._undo()
            if error is not None:
                self.abandon()

    # --- what the arrays tell ---

    def recorded(self, function):
        """`function` of host arrays, to be called once: noted with its arguments and what it gives."""

        def run(*args, **kwargs):
            roots = {id(root): root for root in map(cpu.root, _arrays((args, kwargs)))}
            for root in roots.values():
                self.touch(root)
            given = _as_arrays(function(*args, **kwargs))
            fresh = [one for one in map(cpu.root, _arrays(given)) if id(one) not in roots]
            self._made.update((id(one), one) for one in fresh)

            if function in (np.empty, np.empty_like):
                self._operations.append(lambda: [poison(one) for one in fresh])
                return given

            def again():
                results = map(cpu.root, _arrays(_as_arrays(function(*args, **kwargs))))
                made = [one for one in results if id(one) not in roots]
                for old, new in zip(fresh, made, strict=True):
                    old[...] = new

            self._operations.append(again)
            return given

        return run

    def launched(self, run, arrays):
        """Do `run()`, a kernel that reads and writes the memory of host arrays, and note it."""
        for one in arrays:
            self.touch(cpu.root(one))
        run()
        self._operations.append(run)
        self.keep(list(arrays))

    def touch(self, root):
        """Keep a copy of memory from before the capture, which may be written from here on."""
        if id(root) not in self._made and id(root) not in self._before_writes:
            self._before_writes[id(root)] = root, root.copy()

    def _undo(self):
        for root, copy in self._before_writes.values():
            if root.flags.writeable:
                root[...] = copy
        for root in self._made.values():
            if root.flags.writeable:
                poison(root)
        self._before_writes.clear()


@contextlib.contextmanager
def _plain_kernels(backend):
    """The kernels without which a step cannot be captured, in NumPy, where the tests have not installed the emulated ones."""
    missing = [name for name in _NEEDED if name not in backend.kernels]
    known = set(kernels)
    for name in missing:
        one = KERNELS[name]
        backend.register_kernel(one.replaces, one.guard)(functools.partial(_by_reference, one.reference))
    try:
        yield
    finally:
        for name in missing:
            del backend.kernels[name]
        kernels.intersection_update(known)


_NEEDED = ("adam", "sgd", "count_steps", "unscale", "adapt_scale")


def _by_reference(reference, xp, *args, **kwargs):
    """What a kernel's reference, which writes in place, does to device arrays, noted as one launch."""
    args, kwargs = _on_host(args), _on_host(kwargs)
    run = functools.partial(reference, *args, **kwargs)
    if local.capture is None:
        run()
    else:
        local.capture.launched(run, _arrays((args, kwargs)))


def _on_host(value):
    if isinstance(value, dict):
        return {key: _on_host(one) for key, one in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(_on_host, value))
    return getattr(value, "_host", value)


def poison(array):
    """Fill an array with what nobody takes for a result."""
    if array.dtype.kind in "fcV":
        array[...] = np.nan
    elif array.dtype.kind in "iu":
        array[...] = 119
    else:
        array[...] = True


def _arrays(value):
    """The host arrays in nested arguments or results."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [one for part in value for one in _arrays(part)] if isinstance(value, (tuple, list)) else []


def _as_arrays(value):
    """A result with its NumPy numbers as arrays, as the device gives them."""
    if isinstance(value, (np.generic, bool, int, float, complex)):
        return np.asarray(value)
    if isinstance(value, (tuple, list)):
        parts = map(_as_arrays, value)
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value
