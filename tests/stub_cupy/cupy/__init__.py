"""What chainrule.cuda asks of CuPy, over the fake device: two cards, streams that note what they are asked, and graphs.

What is done on a stream that captures is recorded as on the fake device (`backends/fakegraph.py`): nothing of it is left, and
`Graph.launch` does it again, into the same memory. What CUDA refuses during a capture is refused here: matrix products, copies
from the host, reads by the host.
"""

import contextlib
import sys
import types

import numpy as np

from chainrule.backends import capturing, fakearray, fakedevice, get
from chainrule.backends.fakedevice import fake
from chainrule.backends.fakegraph import FakeCapture

__version__ = "14.2.0"
ndarray = fakearray.FakeArray
ndarray.device = types.SimpleNamespace(id=0)
log = []  # what was asked, in order
_capture = None  # the recorder of the capture under way
_capturing = None  # its stream
_device = 0
_streams = []  # the current stream of each card


def __getattr__(name):
    return getattr(fake, name)


# --- devices ---


class Device:
    mem_info = (1000, 5000)

    def __init__(self, device=None):
        self.id = _device if device is None else int(device)
        self._before = []

    def __enter__(self):
        self._before.append(_device)
        self.use()
        return self

    def __exit__(self, *_):
        Device(self._before.pop()).use()

    def use(self):
        global _device
        _device = self.id

    def synchronize(self):
        assert _capture is None, "synchronize during a capture"
        log.append(f"synchronize card {self.id}")


def _reads():
    return fakearray.counters.host_reads + fakearray.counters.copies_to_host


def _properties(index):
    return {"name": b"Stub card %d" % index, "major": 9 - 2 * index, "minor": 0, "totalGlobalMem": 5000,
            "multiProcessorCount": 132, "warpSize": 32}  # fmt: skip


# --- streams and events ---


class Stream:
    def __init__(self, non_blocking=False, priority=None):
        assert non_blocking
        self.ptr = Stream.made = Stream.made + 1
        self.device_id = _device
        self.priority = priority
        self.done = True

    def __enter__(self):
        assert self.device_id in (-1, _device), "a stream of another card"
        self._before = _streams[_device]
        self.use()
        return self

    def __exit__(self, *_):
        _streams[_device] = self._before

    def use(self):
        _streams[_device] = self

    def synchronize(self):
        log.append(f"synchronize stream {self.ptr}")

    def wait_event(self, event):
        log.append(f"stream {self.ptr} waits for event {event.number}")

    def is_capturing(self):
        return _capturing is self

    def begin_capture(self, mode):
        global _capture, _capturing
        assert self.ptr and _streams[_device] is self and _capture is None
        log.append(f"capture in mode {mode}")
        _capture, _capturing = FakeCapture(get("fake")), self
        self._reads = _reads()

    def end_capture(self):
        global _capture, _capturing
        made, _capture, _capturing = _capture, None, None
        made._undo()
        if _reads() != self._reads:
            raise RuntimeError("cudaErrorStreamCaptureInvalidated")
        return Graph(made)


Stream.made = 0
Stream.null = object.__new__(Stream)
vars(Stream.null).update(ptr=0, device_id=-1, priority=0, done=True)
_streams += [Stream.null, Stream.null]


class Event:
    made = 0

    def __init__(self, block=False, disable_timing=False):
        self.number = Event.made = Event.made + 1
        self.done = False
        log.append(f"event {self.number} on card {_device} block={block} disable_timing={disable_timing}")

    def record(self, stream):
        log.append(f"event {self.number} recorded on stream {stream.ptr}")

    def synchronize(self):
        log.append(f"synchronize event {self.number}")


class Graph:
    def __init__(self, made):
        self._made = made

    def launch(self):
        log.append(f"launch on stream {_streams[_device].ptr}")
        self._made.replay()


def _recording(operation):
    """`operation`, recorded while the current stream is capturing."""

    def run(*args, **kwargs):
        if _capturing is not _streams[_device]:
            return operation(*args, **kwargs)
        if args[0] in ("matmul", "dot", "einsum", "tensordot"):
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        before, capturing.local.capture = capturing.local.capture, _capture
        try:
            result = operation(*args, **kwargs)
        finally:
            capturing.local.capture = before
        return result

    return run


def _copy_to_device(what, host, copy=fakearray.counters.copy_to_device):
    if _capturing is _streams[_device]:
        raise RuntimeError("cudaErrorStreamCaptureUnsupported")
    copy(what, host)


fakearray.counters.copy_to_device = _copy_to_device


def _set(self, array, stream=None):
    assert self.dtype == array.dtype and self.shape == array.shape
    self._host[...] = array


ndarray.set = _set
fakearray.call = fakedevice.call = _recording(fakearray.call)
ndarray.__setitem__ = _recording(ndarray.__setitem__)
ndarray.__getitem__ = _recording(ndarray.__getitem__)


# --- memory ---


class Memory:
    def __init__(self, size):
        log.append(f"allocate {size}")


class MemoryPointer:
    def __init__(self, block, offset):
        self.block = block


class MemoryHook:
    entered = []

    def __enter__(self):
        MemoryHook.entered.append(self)

    def __exit__(self, *_):
        MemoryHook.entered.remove(self)


class MemoryPool:
    def __init__(self, allocate=lambda size: MemoryPointer(Memory(size), 0)):
        self._allocate = allocate
        self.used = self.total = 0

    def malloc(self, size):
        pointer = self._allocate(size)
        self.used += size
        self.total = max(self.total, self.used)
        for hook in MemoryHook.entered:
            hook.malloc_postprocess(device_id=_device, size=size, mem_size=size, mem_ptr=8, pmem_id=8)
        return pointer

    def free(self, size):
        self.used -= size
        for hook in MemoryHook.entered:
            hook.free_postprocess(device_id=_device, mem_size=size, mem_ptr=8, pmem_id=8)

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - self.used


_pool = MemoryPool()


def get_default_memory_pool():
    return _pool


@contextlib.contextmanager
def using_allocator(allocate):
    before, cuda.allocate = cuda.allocate, allocate
    try:
        yield
    finally:
        cuda.allocate = before


cuda = sys.modules["cupy.cuda"] = types.ModuleType("cupy.cuda")
for _one in (Device, Stream, Event, Memory, MemoryPointer, MemoryHook, MemoryPool, using_allocator):
    setattr(cuda, _one.__name__, _one)
cuda.allocate = None
cuda.get_allocator = lambda: cuda.allocate or _pool.malloc
cuda.get_current_stream = lambda index=-1: _streams[_device if index == -1 else index]
cuda.get_elapsed_time = lambda start, end: float(end.number - start.number)
cuda.runtime = types.SimpleNamespace(
    getDeviceCount=lambda: 2,
    getDevice=lambda: _device,
    getDeviceProperties=_properties,
    streamCaptureModeGlobal=0,
    streamCaptureModeThreadLocal=1,
    streamCaptureModeRelaxed=2,
)
