"""A pytest plugin, `-p tests.kernels.cupy_replay`: what tests ask of the fake device is asked of the real CuPy too.

Every function, method, operator and index that array code uses on the fake device is done once more, the first time its arguments
are of these kinds, by CuPy over `cupy_without_card.py`: what CuPy refuses, or gives in another dtype or shape, is told at the end.
"""

import os
import sys
import traceback
from pathlib import Path

from tests.kernels import cupy_without_card

cuda = cupy_without_card.connect()

import numpy as np  # noqa: E402 - CuPy is to be found as it is made above

from chainrule.backends import fakearray, fakedevice  # noqa: E402
from chainrule.backends.numpy_backend import cpu  # noqa: E402

ROOT = str(Path(__file__).parents[2])
# Shapes of results that depend on values, which are none here; and what gives a host value in one and an array in the other.
_BY_VALUE = (
    "nonzero argwhere flatnonzero unique extract compress bincount indexing setitem delete repeat intersect1d linalg.matrix_rank "
    "isclose allclose array_equal where lstsq linalg.lstsq percentile quantile histogram histogramdd get trim_zeros union1d setdiff1d"
).split()
seen = set()
found = {}  # what is wrong -> where it was asked
_paths = {}  # id of a NumPy function -> its path
_busy = False


def _kind(value):
    """What two arguments have in common that CuPy takes in the same way."""
    if isinstance(value, fakearray.FakeArray):
        return value.dtype.name, min(value.ndim, 3), value.size == 0, value.flags.c_contiguous
    if isinstance(value, (tuple, list)):
        return type(value).__name__, tuple(_kind(one) for one in value[:4])
    if isinstance(value, np.generic):
        return "scalar", value.dtype.name
    if value is None or isinstance(value, (str, bool, np.dtype, type)):
        return str(value)
    return type(value).__name__


def _there(value):
    """An argument as CuPy is given it: arrays with the strides they have, in memory of their own."""
    if isinstance(value, fakearray.FakeArray):
        host = value._host
        root = cpu.root(host)
        start, end = (
            np.lib.array_utils.byte_bounds(root) if root.size else (root.ctypes.data, root.ctypes.data)
        )
        whole = np.zeros(end - start + 16, "uint8")
        if end > start:
            whole[: end - start] = np.ndarray((end - start,), "uint8", _Bytes(start, end - start))
        module = sys.modules["cupy"]
        held = module.cuda.UnownedMemory(whole.ctypes.data, whole.nbytes, whole, 0)
        pointer = module.cuda.MemoryPointer(held, max(0, host.ctypes.data - start) if host.size else 0)
        return module.ndarray(host.shape, host.dtype, pointer, strides=host.strides)
    if isinstance(value, (tuple, list)):
        return type(value)([_there(one) for one in value])
    return value


class _Bytes:
    def __new__(cls, start, size):
        import ctypes

        return (ctypes.c_char * size).from_address(start)


def _place():
    """The line of the library that asked."""
    outside = ("/tests/kernels/", "/backends/fake", "site-packages")
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(ROOT) and not any(one in frame.filename for one in outside):
            return f"{frame.filename[len(ROOT) + 1 :]}:{frame.lineno} {frame.line}"
    return "?"


def _replay(path, target, args, kwargs, result):
    """Do it with CuPy, if nothing like it was done before."""
    global _busy
    key = path, tuple(map(_kind, args)), tuple(sorted((k, str(_kind(v))) for k, v in kwargs.items()))
    if _busy or key in seen:
        return
    seen.add(key)
    _busy = True
    try:
        got = target(*map(_there, args), **{k: _there(v) for k, v in kwargs.items()})
    except Exception as error:
        # Libraries that find no card, and matrices that are singular because nothing is in them.
        if (
            not any(one in str(error) for one in ("cudaError", "CUSOLVER"))
            and "LinAlgError" not in type(error).__name__
        ):
            _note(path, args, kwargs, f"{type(error).__name__}: {str(error)[:150]}")
    else:
        wrong = _difference(result, got)
        if wrong and path not in _BY_VALUE:
            _note(path, args, kwargs, wrong)
    finally:
        _busy = False


def _note(path, args, kwargs, wrong):
    text = ", ".join([*(str(_kind(one)) for one in args), *(f"{k}={_kind(v)}" for k, v in kwargs.items())])
    found.setdefault((path, wrong), (text[:160], _place()))


def _difference(want, got):
    if isinstance(want, fakearray.FakeArray):
        if not hasattr(got, "shape"):
            return f"gives a {type(got).__name__} where NumPy gives an array"
        if isinstance(got, (np.ndarray, np.generic)):
            return "gives a host array"
        if got.dtype != want.dtype or got.shape != want.shape:
            return f"gives {got.dtype} {got.shape} where NumPy gives {want.dtype} {want.shape}"
    if isinstance(want, (tuple, list)) and isinstance(got, (tuple, list)):
        return next((wrong for pair in zip(want, got, strict=False) if (wrong := _difference(*pair))), None)
    return None


def _resolved(path):
    target = cuda.xp
    if path.startswith("special."):
        target, path = cuda.special_functions, path[8:]
    for part in path.split("."):
        target = getattr(target, part)
    return target


def _installed():
    plain, make = fakearray.call, fakedevice._make

    def call(name, function, args, kwargs, *rest, **options):
        if _busy or name.startswith("ndarray.get"):
            return plain(name, function, args, kwargs, *rest, **options)
        before = [one.copy() if isinstance(one, np.ndarray) else one for one in args]
        result = plain(name, function, args, kwargs, *rest, **options)
        owner = getattr(function, "__self__", None)
        if name.startswith("ndarray."):
            path = name
            target = lambda x, *more, **given: getattr(x, name[8:])(*more, **given)
        elif isinstance(owner, np.ufunc):
            path, target = _paths.get(id(owner), owner.__name__), None
            if function.__name__ != "__call__":
                path = f"{path}.{function.__name__}"
        else:
            path, target = _paths.get(id(function), name), None
        try:
            target = target or _resolved(path)
        except AttributeError as error:
            _note(path, args, kwargs, f"AttributeError: {error}")
        else:
            _replay(path, target, before, kwargs, result)
        return result

    def made(path, one):
        _paths[id(one)] = path
        return make(path, one)

    fakearray.call = fakedevice.call = call
    fakedevice._make = made
    for name in list(vars(fakedevice.fake)):
        if not name.startswith("_"):
            delattr(fakedevice.fake, name)
    get, put = fakearray.FakeArray.__getitem__, fakearray.FakeArray.__setitem__

    def getitem(self, index):
        result = get(self, index)
        _replay("indexing", lambda x, i: x[i], (self, index), {}, result)
        return result

    def setitem(self, index, value):
        put(self, index, value)
        _replay("setitem", lambda x, i, v: x.__setitem__(i, v), (self, index, value), {}, None)

    fakearray.FakeArray.__getitem__, fakearray.FakeArray.__setitem__ = getitem, setitem


def pytest_configure(config):
    _installed()


def pytest_sessionfinish(session, exitstatus):
    session.config.exit_status = exitstatus


def pytest_unconfigure(config):
    # Without the end of the interpreter, in which CuPy gives back to the card what never was on one.
    sys.stdout.flush()
    os._exit(getattr(config, "exit_status", 0))


def pytest_terminal_summary(terminalreporter):
    for (path, wrong), (given, place) in sorted(found.items()):
        terminalreporter.write_line(f"{path}({given}): {wrong}\n    {place}")
    terminalreporter.write_line(f"{len(seen)} kinds of calls, {len(found)} that CuPy does otherwise")
