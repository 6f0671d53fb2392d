"""What forward and backward cost, by operation: time, calls, bytes, floating point operations (`torch.autograd.profiler`).

    with cr.autograd.profiler.profile() as prof:
        loss = model(x).sum()
        loss.backward()
    print(prof.key_averages().table(sort_by="self_cpu_time_total", row_limit=10))
    prof.export_chrome_trace("trace.json")

While a profile is on, the function by which a thread runs array code (`ThreadState.run`) is replaced by one that looks at the
clock, and so are the methods that apply a node's rules and call a module. When it is off nothing is left of that, and nothing is paid.

Time is that of the array code (on an accelerator the device is waited for after each operation); what Python does around it is in
no row. `flops.py` says what is counted as a floating point operation. `events.py` is the tables and the trace.
"""

import functools
import sys
import threading
import time
import weakref

from chainrule.backends import backend_of, cpu, get, namespaces, transfers

from . import flops, late
from .events import Event, EventList
from .function import FunctionNode
from .modes import local
from .node import Node
from .op import owner

_current = threading.local()


class _Hooks:
    """The methods that are replaced while any thread watches, and how many do."""

    def __init__(self):
        self.lock, self.count, self.originals = threading.Lock(), 0, []

    def __enter__(self):
        with self.lock:
            self.count += 1
            if self.count == 1:
                self.replace(Node, "gradients", _rules)
                self.replace(Node, "add_to", _rules)
                self.replace(FunctionNode, "gradients", _rules)
                if "chainrule.nn.module" in sys.modules:
                    self.replace(sys.modules["chainrule.nn.module"].Module, "__call__", _call)

    def __exit__(self, *_):
        with self.lock:
            self.count -= 1
            while not self.count and self.originals:
                setattr(*self.originals.pop())

    def replace(self, owner, name, wrapper):
        """Put `wrapper(original)` in place of a method."""
        original = owner.__dict__[name]
        self.originals.append((owner, name, original))
        setattr(owner, name, functools.wraps(original)(wrapper(original)))


_hooks = _Hooks()


def _rules(original):
    def apply(node, *args):
        watcher = getattr(_current, "watcher", None)
        return original(node, *args) if watcher is None else watcher.rules(original, node, args)

    return apply


def _call(original):
    def call(module, *args, **kwargs):
        watcher = getattr(_current, "watcher", None)
        if watcher is None:
            return original(module, *args, **kwargs)
        with record_function(type(module).__name__, _kind="module"):
            return original(module, *args, **kwargs)

    return call


class _Watcher:
    """What stands around every operation of this thread: `start(name, kind)` before, `stop(event)` after."""

    def __enter__(self):
        if not self.enabled:
            return self
        if getattr(_current, "watcher", None) is not None:
            raise RuntimeError("profile: this thread is being profiled already; leave that block first")
        _hooks.__enter__()
        state = local.state
        self.before = state.run, state.on_record
        state.run, state.on_record = self.run, self.recorded
        _current.watcher = self
        return self

    def __exit__(self, *_):
        if self.enabled:
            state = local.state
            state.run, state.on_record = self.before
            _current.watcher = None
            _hooks.__exit__()

    def run(self, function, xp, *arrays, **static):
        """In place of `ThreadState.run`."""
        found = owner(function, arrays)
        event = self.start(found.name if found else function.__name__, "forward")
        try:
            y = self.before[0](function, xp, *arrays, **static)
            self.wait(xp, y)
        finally:
            self.stop(event)
        self.computed(event, arrays, y, static)
        return y

    def rules(self, original, node, args):
        """In place of `Node.gradients`."""
        event = self.start(node.name(), "backward")
        try:
            grads = original(node, *args)
            some = next((one for one in grads if one is not None), None)
            array = some._array if isinstance(some, late.Tensor) else some
            self.wait(namespaces.get(array.__class__, cpu.xp), array)
        finally:
            self.stop(event)
        self.differentiated(event, node, grads)
        return grads

    def wait(self, xp, y):
        """Let a device finish, so that an operation's time is its own."""
        if xp is not cpu.xp:
            array = y[0] if isinstance(y, (tuple, list)) else y
            with transfers.unheard():
                backend_of(array).synchronize()

    def recorded(self, node, out):
        """In place of `ThreadState.on_record`."""
        if self.before[1] is not None:
            self.before[1](node, out)

    def computed(self, event, arrays, y, static):
        """An operation has run."""

    def differentiated(self, event, node, grads):
        """A node's rules have run."""


class profile(_Watcher):
    """`with profile() as prof:` notes every operation of this thread, forward and backward.

    Where a device is in use, `prof.device` counts what was asked of it (see `cuda.count`), and tables end with a line of that.
    record_shapes: keep the shapes of the inputs. with_stack: keep the lines of the caller's code. Time, bytes, floating point
    operations and modules are always kept. The other arguments are PyTorch's and change nothing: there is one clock.
    """

    def __init__(
        self, enabled=True, *, activities=None, use_cuda=False, use_device=None, use_cpu=True, record_shapes=False, with_flops=True,
        profile_memory=True, with_stack=False, with_modules=True, on_trace_ready=None,
    ):  # fmt: skip
        self.enabled = enabled
        self.record_shapes, self.with_stack = record_shapes, with_stack
        self.on_trace_ready = on_trace_ready
        self._events, self._stack, self._last = [], [], None
        self._costs = weakref.WeakKeyDictionary()  # node -> the event of its forward
        self.device = None

    def __enter__(self):
        super().__enter__()
        if self.enabled and transfers.in_use():
            from chainrule.backends.counting import count

            self.device = count().__enter__()
        return self

    def __exit__(self, *exception):
        if self.device is not None:
            self.device.unwatch()
        super().__exit__(*exception)
        if self.enabled and self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def start(self, name, kind):
        """An operation, its rules or a span of the user's begins."""
        event = Event(name, kind, len(self._stack), threading.get_ident())
        if self.with_stack and kind == "forward":
            event.stack = _user_lines()
        self._stack.append(event)
        event.start = time.perf_counter_ns()
        return event

    def stop(self, event):
        """It ends."""
        event.end = time.perf_counter_ns()
        self._stack.pop()
        if self._stack:
            self._stack[-1].inner += event.end - event.start
        self._events.append(event)

    def computed(self, event, arrays, y, static):
        """Note what an operation took and gave."""
        made = y if isinstance(y, (tuple, list)) else (y,)
        event.flops = flops.count(event.name, arrays, made[0], static)
        arrays = [one for one in arrays if one.__class__ in namespaces]
        event.bytes = _fresh(made, arrays)
        if self.record_shapes:
            event.shapes = [tuple(one.shape) for one in arrays]
        self._last = event

    def recorded(self, node, out):
        """Note what the node of the operation that has just run keeps for backward."""
        super().recorded(node, out)
        if self._last is not None:
            self._last.saved = sum(one.nbytes for one in _arrays(node.saved))
            self._costs[node], self._last = self._last, None

    def differentiated(self, event, node, grads):
        """Note what a node's rules gave."""
        found = [one._array if isinstance(one, late.Tensor) else one for one in grads if one is not None]
        event.bytes = _fresh(found, ())
        forward = self._costs.get(node)
        if forward is not None:
            event.flops = flops.backward(forward.name, forward.flops, [one.ndim for one in found])
            event.shapes, event.stack = forward.shapes, forward.stack

    def step(self):
        """The end of a training step; there is no schedule, so it does nothing."""

    def events(self):
        """Every event, in the order they ended."""
        return EventList(self._events, self.device)

    @property
    def function_events(self):
        """As `events()`."""
        return self.events()

    def key_averages(self, group_by_input_shape=False, group_by_stack_n=0):
        """One row for each operation (and shapes, and caller's lines, where asked for): see `EventList.table`."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n)

    def total_average(self):
        """All operations in one row."""
        return self.events().total_average()

    def table(self, *args, **kwargs):
        """The events one by one, as a text table."""
        return self.events().table(*args, **kwargs)

    @property
    def self_cpu_time_total(self):
        """Microseconds of all operations together."""
        return self.events().self_cpu_time_total

    def export_chrome_trace(self, path):
        """Write a trace for chrome://tracing or ui.perfetto.dev."""
        self.events().export_chrome_trace(path)

    def __repr__(self):
        return f"<profile of {len(self._events)} events>"


def _fresh(made, given):
    """Bytes of the arrays in `made` that lie in memory of their own."""
    seen = {id(backend_of(one).root(one)) for one in given}
    total = 0
    for one in made:
        if one.__class__ in namespaces:
            root = id(backend_of(one).root(one))
            total += 0 if root in seen else one.nbytes
            seen.add(root)
        else:
            total += getattr(one, "nbytes", 0)
    return total


def _arrays(saved):
    for one in saved or ():
        if isinstance(one, (tuple, list)):
            yield from _arrays(one)
        elif one.__class__ in namespaces:
            yield one


def _user_lines():
    """The lines of the caller's own code that are being run, innermost first."""
    found, frame = [], sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        own = module == "chainrule" or module.startswith("chainrule.")
        if not own and not frame.f_code.co_filename.startswith("<"):
            found.append(f"{frame.f_code.co_filename}({frame.f_lineno}): {frame.f_code.co_name}")
        frame = frame.f_back
    return found


class record_function:
    """`with record_function("name"):` (or as a decorator) a span of the user's own in the profile; nothing outside of one."""

    def __init__(self, name, args=None, *, _kind="span"):
        self.name, self._kind = name, _kind

    def __enter__(self):
        self._watcher = getattr(_current, "watcher", None)
        if self._watcher is not None:
            self._event = self._watcher.start(self.name, self._kind)
        return self

    def __exit__(self, *_):
        if self._watcher is not None:
            self._watcher.stop(self._event)

    def __call__(self, function):
        @functools.wraps(function)
        def spanned(*args, **kwargs):
            with record_function(self.name):
                return function(*args, **kwargs)

        return spanned


class emit_nvtx(_Watcher):
    """Marks every operation, forward and backward, and every call of a module as a range that NVIDIA's profilers show. Needs a card."""

    def __init__(self, enabled=True, record_shapes=False):
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self):
        if self.enabled:
            if not get("cuda").available():
                raise RuntimeError(
                    "emit_nvtx: needs a CUDA card and CuPy, and none is available; use profiler.profile() instead"
                )
            self._nvtx = get("cuda").xp.cuda.nvtx
        return super().__enter__()

    def run(self, function, xp, *arrays, **static):
        """In place of `ThreadState.run`."""
        found = owner(function, arrays)
        name = found.name if found else function.__name__
        if self.record_shapes:
            shapes = [list(one.shape) for one in arrays if one.__class__ in namespaces]
            name += f", sizes = {shapes}"
        self.start(name, "forward")
        try:
            return self.before[0](function, xp, *arrays, **static)
        finally:
            self.stop(None)

    def wait(self, xp, y):
        """NVIDIA's profiler has its own clock."""

    def start(self, name, kind):
        """Open a range."""
        self._nvtx.RangePush(name)

    def stop(self, event):
        """Close it."""
        self._nvtx.RangePop()
