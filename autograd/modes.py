"""Grad mode and the other switches that hold for one thread.

Every thread owns one small `ThreadState`, so `no_grad` in one thread never reaches another. The state also
owns `run`: array code of an operation is called as `state.run(forward, ...)`, inside a private
`contextvars.Context` in which NumPy's floating point warnings are off. Infinities and NaNs then travel
silently as they do in PyTorch, at 30 ns a call, and the caller's own `np.errstate` is never touched.
"""

import contextlib
import contextvars
import functools
import inspect
import threading
import weakref

import numpy

from chainrule.backends import placement


class ThreadState:
    """The switches of one thread: `grad`, `inference`, `anomaly`; `autocast`, the mixed-precision block it is in, if any;
    `on_record`, called with every recorded node and its output; `walk`, the backward pass under way; `vmap`, the levels of the
    active `vmap`s."""

    __slots__ = (
        "__weakref__",
        "anomaly",
        "autocast",
        "grad",
        "inference",
        "no_saved_hooks",
        "on_record",
        "run",
        "vmap",
        "walk",
    )

    def __init__(self):
        quiet = contextvars.Context()
        quiet.run(numpy.seterr, all="ignore")
        self.run = placement.placed(quiet.run)
        _states.add(self)
        self.grad = True
        self.inference = False
        self.anomaly = False
        self.autocast = None
        self.on_record = None
        self.no_saved_hooks = None
        self.walk = None
        self.vmap = ()


_states = weakref.WeakSet()


@placement.when_several
def _on_the_card_of_their_arrays():
    """There are several CUDA cards: array code runs where its arrays lie."""
    for state in tuple(_states):
        state.run = placement.placed(state.run)


class _Local(threading.local):
    def __init__(self):
        self.state = ThreadState()


local = _Local()


class _Mode:
    """A context manager that also decorates functions and generator functions."""

    def __enter__(self):
        state = local.state
        # A stack, because one object may be entered again while it is active (as a decorator of a recursive function).
        self.__dict__.setdefault("_before", []).append((state.grad, state.inference))
        self._set(state)

    def __exit__(self, *_):
        state = local.state
        state.grad, state.inference = self._before.pop()

    def _copy(self):
        return type(self)()

    def __call__(self, function):
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def in_mode(*args, **kwargs):
            with self._copy():
                return function(*args, **kwargs)

        return in_mode

    def _wrap_generator(self, function):
        """Each resumption runs in the mode; between two of them the caller's own mode holds."""

        @functools.wraps(function)
        def in_mode(*args, **kwargs):
            generator = function(*args, **kwargs)
            resume, value = generator.send, None
            while True:
                try:
                    with self._copy():
                        produced = resume(value)
                except StopIteration as stop:
                    return stop.value
                try:
                    resume, value = generator.send, (yield produced)
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as error:
                    resume, value = generator.throw, error

        return in_mode


class no_grad(_Mode):
    """Operations inside record nothing: `with no_grad():` or `@no_grad()`."""

    def __new__(cls, function=None):
        mode = super().__new__(cls)
        return mode if function is None else mode(function)

    def _set(self, state):
        state.grad = False


class enable_grad(no_grad):
    """Operations inside are recorded, also within `no_grad`."""

    def _set(self, state):
        state.grad = True


class set_grad_enabled(_Mode):
    """Recording on or off; takes effect at once, and until the end of a `with` block if used as one."""

    def __init__(self, mode):
        self.mode = bool(mode)
        state = local.state
        self._outer = (state.grad, state.inference)
        state.grad = self.mode

    def __enter__(self):
        super().__enter__()
        # The call itself has switched already: the block's end goes back to what held before the call.
        self._before[-1] = self._outer

    def __call__(self, function):
        local.state.grad = self._outer[0]
        return super().__call__(function)

    def _copy(self):
        return set_grad_enabled(self.mode)

    def _set(self, state):
        state.grad = self.mode


class inference_mode(_Mode):
    """Like `no_grad`; `is_inference_mode_enabled()` tells that it is on."""

    def __new__(cls, mode=True):
        if callable(mode):
            return cls()(mode)
        return super().__new__(cls)

    def __init__(self, mode=True):
        self.mode = mode

    def _copy(self):
        return inference_mode(self.mode)

    def _set(self, state):
        if self.mode:
            state.grad, state.inference = False, True
        else:
            state.inference = False


@contextlib.contextmanager
def recording(callback):
    """Inside, `callback(node, output)` is called for every operation this thread records; outer callbacks still are."""
    state = local.state
    before = state.on_record

    def both(node, output):
        before(node, output)
        callback(node, output)

    state.on_record = callback if before is None else both
    try:
        yield
    finally:
        state.on_record = before


def is_grad_enabled():
    """Whether operations of this thread are recorded."""
    return local.state.grad


def is_inference_mode_enabled():
    """Whether this thread is inside `inference_mode`."""
    return local.state.inference
