"""Teaches CuPy to tell what it does, while somebody watches (see `transfers.py`); afterwards all is as it was.

CuPy has no hook for what is asked of it, but its array class can be given methods, and the namespace that operations get, the methods
of the backend and what launches our own kernels can be replaced. What is counted as a launch is an array function that
computed something; CuPy may need several kernels for one (a sum over all of a large array takes two).
"""

import functools
import threading
import types
from importlib import import_module

import numpy as np

from . import transfers
from .backend import get, namespaces

_READING = "item tolist tobytes __bool__ __int__ __float__ __complex__ __repr__ __str__ __format__".split()
_COUNTING = "nonzero compress".split()
_BINARY = "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift".split()
_COMPUTING = [
    *(f"__{start}{name}__" for name in _BINARY for start in ("", "r", "i")),
    *(f"__{name}__" for name in "eq ne lt le gt ge neg pos abs invert setitem".split()),
    *"""all any argmax argmin argpartition argsort astype choose clip conj conjugate copy cumprod cumsum dot fill flatten max mean
    min partition prod ptp put ravel repeat reshape round searchsorted sort std sum take trace var""".split(),
]  # fmt: skip

_lock = threading.Lock()
_count = 0
_undo = []  # functions that put back what was replaced
_hooks = threading.local()


def start(watcher):
    """Let CuPy tell, and this thread's allocations too where `watcher` wants to know of them."""
    global _count
    with _lock:
        _count += 1
        if _count == 1:
            _replace_all(get("cuda"))
    if watcher.hears_allocations:
        _hooks.depth = getattr(_hooks, "depth", 0) + 1
        if _hooks.depth == 1:
            _hooks.hook = _hook(get("cuda")._xp.under)
            _hooks.hook.__enter__()


def stop(watcher):
    """Undo what `start` did, when the last one stops."""
    global _count
    if watcher.hears_allocations:
        _hooks.depth -= 1
        if not _hooks.depth:
            _hooks.hook.__exit__(None, None, None)
    with _lock:
        _count -= 1
        while not _count and _undo:
            _undo.pop()()


def _hook(cupy):
    class AllocationHook(cupy.cuda.MemoryHook):
        name = "chainrule counts"

        def malloc_postprocess(self, mem_size, mem_ptr, **_):
            if mem_ptr:  # 0 where the allocation failed
                transfers.allocated(mem_size, cupy.get_default_memory_pool().used_bytes())

    return AllocationHook()


def _replace_all(backend):
    cupy, array_type = backend._xp, backend.array_type
    for name in (*_READING, *_COUNTING, *_COMPUTING, "__getitem__", "get", "set"):
        if hasattr(array_type, name):
            _replace(array_type, name, _method(name, getattr(array_type, name)))
    _replace(backend, "_xp", Namespace(cupy))
    namespaces[array_type] = backend._xp
    _undo.append(lambda: namespaces.update({array_type: cupy}))
    for name, kind in (("from_host", "to_device"), ("to_host", "to_host"), ("synchronize", "wait")):
        _replace(backend, name, _telling(kind, name, getattr(backend, name)))
    streams, graphs, kernels, plans, gemm = (
        import_module(f"chainrule.{name}")
        for name in (
            "cuda.streams", "cuda.graphs", "backends.cuda_kernels.registry", "backends.cudnn.plans", "backends.gemm",
        )
    )  # fmt: skip
    for owner in (streams.Stream, streams.Event):
        _replace(owner, "synchronize", _telling("wait", "synchronize", owner.synchronize))
    _replace(graphs.CUDAGraph, "replay", _launching("a captured graph", graphs.CUDAGraph.replay))
    _replace(kernels.CupyLauncher, "__call__", _launching(None, kernels.CupyLauncher.__call__))
    _replace(plans.Plans, "run", _launching("a plan of cuDNN", plans.Plans.run))
    _replace(gemm.Gemm, "_run", _launching("a product of cuBLASLt", gemm.Gemm._run))


def _replace(owner, name, value):
    """Set an attribute until all is put back."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    _undo.append(lambda: setattr(owner, name, before) if own else delattr(owner, name))


def _telling(kind, name, function):
    """`function`, which copies or waits."""

    @functools.wraps(function)
    def tell(*args, **kwargs):
        if not transfers.watched():
            return function(*args, **kwargs)
        array = next((one for one in args if hasattr(one, "nbytes")), None)
        transfers.crossing(kind, name, getattr(array, "shape", ()), getattr(array, "nbytes", 0))
        with transfers.unheard():
            return function(*args, **kwargs)

    return tell


def _launching(name, function):
    """`function`, which launches once; what our launcher launches it is told second."""

    @functools.wraps(function)
    def launch(self, *args, **kwargs):
        transfers.launched(name or args[1])
        with transfers.unheard():
            return function(self, *args, **kwargs)

    return launch


def _method(name, function):
    """A method of the array class."""

    def method(self, *args, **kwargs):
        if not transfers.watched():
            return function(self, *args, **kwargs)
        if name in _READING:
            transfers.crossing("value", name, self.shape, self.nbytes)
        elif name in _COUNTING:
            transfers.crossing("shape", name, self.shape)
        elif name == "get":
            transfers.crossing("to_host", name, self.shape, self.nbytes)
        elif name == "set":
            transfers.crossing("to_device", name, self.shape, self.nbytes)
        elif name in ("__getitem__", "__setitem__"):
            _tell_index(name, args[0], self.__class__)
        with transfers.unheard():
            result = function(self, *args, **kwargs)
        if name not in _READING and name not in ("get", "set"):
            _tell_launches(name.strip("_"), (self, *args), kwargs, result)
        return result

    return functools.wraps(function)(method)


def _tell_index(name, index, array_type):
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, (list, np.ndarray)):
            host = np.asarray(part)
            transfers.crossing("to_device", "indexing by a list", host.shape, host.nbytes)
        elif name == "__getitem__" and part.__class__ is array_type and part.dtype.kind == "b":
            transfers.crossing("shape", "indexing by a mask", part.shape)


def _tell_launches(name, args, kwargs, result):
    """One launch for each array that was computed into memory of its own, or for what was written."""
    if result is NotImplemented:
        return
    written = result is None or kwargs.get("out") is not None or (name[0] == "i" and result is args[0])
    if written:
        transfers.launched(name)
        return
    given = {id(_root(one)) for one in args if _is_array(one)}
    for one in result if isinstance(result, (tuple, list)) else (result,):
        if _is_array(one) and id(_root(one)) not in given:
            transfers.launched(name)


def _is_array(value):
    return hasattr(value, "base") and hasattr(value, "nbytes")


def _root(array):
    """What owns an array's memory."""
    while array.base is not None:
        array = array.base
    return array


class Namespace:
    """The functions of CuPy, telling what they do."""

    def __init__(self, under, path=""):
        self.under, self._path = under, path

    def __repr__(self):
        return f"<watched {self.under!r}>"

    def __getattr__(self, name):
        found, path = getattr(self.under, name), f"{self._path}.{name}" if self._path else name
        if name.startswith("_") or isinstance(found, type) or not callable(found):
            inner = isinstance(found, types.ModuleType) and path in ("linalg", "fft")
            return Namespace(found, path) if inner else found
        made = Function(found, path)
        setattr(self, name, made)
        return made


class Function:
    """A function or ufunc of CuPy, telling what it does."""

    def __init__(self, under, path):
        self.under, self._path = under, path
        functools.update_wrapper(self, under, updated=())

    def __getattr__(self, name):
        found = getattr(self.under, name)
        return (
            Function(found, self._path)
            if name in ("at", "reduce", "accumulate", "outer", "reduceat")
            else found
        )

    def __call__(self, *args, **kwargs):
        if not transfers.watched():
            return self.under(*args, **kwargs)
        path, first = self._path, args[0] if args else None
        array_type = get("cuda").array_type
        copies = path in transfers.TAKE_HOST_DATA and not transfers.holds(first, array_type)
        if copies:
            host = np.asarray(first, kwargs.get("dtype"))
            transfers.crossing("to_device", path, host.shape, host.nbytes)
        elif path == "asnumpy":
            transfers.crossing("to_host", path, first.shape, first.nbytes)
        elif transfers.synchronizes(path, args):
            transfers.crossing("shape", path, getattr(first, "shape", ()))
        with transfers.unheard():
            result = self.under(*args, **kwargs)
        if not copies and path not in transfers.COMPUTE_NOTHING:
            _tell_launches(path, args, kwargs, result)
        return result
