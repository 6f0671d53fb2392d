"""A device for tests: NumPy underneath, and as strict as CUDA through CuPy is.

Code that runs on it mixes in no host array, hands no device array to NumPy, and calls nothing that CuPy 14
lacks. `fake.counters` tells what it launched, how often the host had to wait for a value and what was copied;
`fake.set_memory_limit` and `fake.fail_allocation` make it run out of memory. One thing is kinder than CUDA:
an index out of range raises, where a GPU would read some other element.

`fake` is the namespace, under NumPy's names; the array class is in `fakearray.py`.
"""

import functools
import types
from importlib import import_module

import numpy as np

from . import devices, transfers
from .backend import Backend, register
from .fakearray import FakeArray, call, host_value, take_in, wrap
from .fakememory import counters, memory


def _names(text):
    return frozenset(text.split())


# What CuPy 14.2 does not have, found by comparing the two libraries; names below `numpy.`, and below `scipy.` for `special`.
_MISSING = _names("""
    asmatrix block bmat busday_count busday_offset busdaycalendar bytes_ char character clongdouble
    complex256 core ctypeslib datetime64 datetime_as_string datetime_data dtypes einsum_path emath
    errstate f2py flexible float128 frompyfunc fromregex geomspace get_include getbufsize geterr
    geterrcall histogram_bin_edges info insert is_busday isnat longdouble ma matrix matvec memmap
    nanpercentile nanquantile ndenumerate nditer nested_iters object_ polyder polydiv polyint random rec
    recarray record setbufsize seterr seterrcall show_runtime spacing str_ strings test timedelta64
    typecodes unstack vecdot vecmat void
    linalg.diagonal linalg.matrix_norm linalg.multi_dot linalg.outer linalg.svdvals linalg.tensordot
    linalg.trace linalg.vecdot linalg.vector_norm lib.array_utils lib.format lib.introspect lib.mixins
    lib.npyio lib.scimath lib.Arrayterator lib.NumpyVersion
    special.airy special.hyp0f1 special.iv special.jn special.jv special.kn special.kv special.spherical_jn
    """)
# Functions that give a host value in CuPy too; all others give arrays, also where NumPy gives a bool.
_HOST_VALUES = _names(
    """
    broadcast_shapes can_cast finfo iinfo iscomplexobj isrealobj isscalar issubdtype may_share_memory
    min_scalar_type ndim promote_types result_type shape shares_memory size
    """
)


def _take_host_data(value, name):
    """An argument of a function that makes a device array of host data, which is copied over: nothing is computed."""
    return value.copy() if isinstance(value, np.ndarray) else take_in(value, name)


def _memory(value, name):
    """What a function returns that computes nothing: memory that is empty, or was copied to."""
    return wrap(value)


class FakeUfunc:
    """A NumPy ufunc on device arrays."""

    def __init__(self, ufunc):
        self._ufunc = ufunc
        self.__name__ = ufunc.__name__
        self.__doc__ = ufunc.__doc__
        self.nin, self.nout, self.nargs = ufunc.nin, ufunc.nout, ufunc.nargs

    def __repr__(self):
        return f"<fake ufunc {self.__name__!r}>"

    def __call__(self, *args, **kwargs):
        for arg in args:
            if isinstance(arg, (list, tuple)):
                raise TypeError(f"{self.__name__}: expected arrays or numbers, got a {type(arg).__name__}")
        return self._call("__call__", args, kwargs)

    def at(self, *args):
        """Operate in place at the elements that an index names."""
        return self._call("at", args, {})

    def reduce(self, *args, **kwargs):
        """Apply along an axis to a single value."""
        return self._call("reduce", args, kwargs)

    def accumulate(self, *args, **kwargs):
        """Apply along an axis and keep what comes out on the way."""
        return self._call("accumulate", args, kwargs)

    def reduceat(self, *args, **kwargs):
        """Reduce slices of an axis."""
        return self._call("reduceat", args, kwargs)

    def outer(self, *args, **kwargs):
        """Apply to all pairs."""
        return self._call("outer", args, kwargs)

    def _call(self, method, args, kwargs):
        return call(self.__name__, getattr(self._ufunc, method), args, kwargs)


class FakeNamespace:
    """NumPy's functions for device arrays, looked up by name on first use; without those that CuPy lacks."""

    def __init__(self, module=np, path=""):
        self._module = module
        self._path = path

    def __repr__(self):
        return f"<fake namespace {self._path or 'numpy'}>"

    def __getattr__(self, name):
        path = f"{self._path}.{name}" if self._path else name
        if path in _MISSING or name.startswith("_") or not hasattr(self._module, name):
            raise AttributeError(f"the fake device has no {path!r}, as CuPy has none")
        made = _make(path, getattr(self._module, name))
        setattr(self, name, made)
        return made


def _make(path, found):
    """What the namespace holds under `path`, where NumPy holds `found`."""
    if isinstance(found, types.ModuleType):
        return FakeNamespace(found, path)
    if isinstance(found, np.ufunc):
        return FakeUfunc(found)
    if isinstance(found, type) or not callable(found):
        return found  # dtypes and constants
    if path in _HOST_VALUES:
        return _function(path, found, give=host_value)
    if path in transfers.COMPUTE_NOTHING:
        return _function(path, found, give=_memory)
    return _function(path, found)


def _function(path, found, **options):
    name = found.__name__

    @functools.wraps(found)
    def function(*args, **kwargs):
        if transfers.synchronizes(path, args):
            counters.count(name, next((one._host for one in args if one.__class__ is FakeArray), np.empty(0)))
        if path in transfers.TAKE_HOST_DATA and args and not transfers.holds(args[0], FakeArray):
            counters.copy_to_device(name, np.asarray(args[0], kwargs.get("dtype")))
            return call(name, found, args, kwargs, _take_host_data, _memory)
        return call(name, found, args, kwargs, **options)

    return function


class Fake(FakeNamespace):
    """The namespace `fake`, with the switches of the device."""

    ndarray = FakeArray
    counters = counters

    def set_memory_limit(self, size):
        """Let allocations fail that would bring the memory in use above `size` bytes; None for no limit."""
        memory.limit = size

    def fail_allocation(self, n):
        """Let the n-th allocation from now fail (1 is the next one); None for no failure."""
        memory.fail_in = n

    def asnumpy(self, array):
        """A copy on the host."""
        return array.get()


fake = Fake()


class FakeBackend(Backend):
    """The backend of the fake device: `device("fake")`, always there and never listed."""

    name = "fake"
    device_type = "fake"
    xp = fake
    array_type = FakeArray
    listed = False

    def device_of(self, array):
        return _DEVICE

    def from_host(self, array, index=None):
        self.check_index(index)
        counters.copy_to_device("from_host", array)
        return wrap(array.copy())

    def to_host(self, array):
        return array.get()

    def copy_to(self, array, index=None):
        self.check_index(index)
        return array.copy()

    def shares_memory(self, a, b):
        return self.root(a) is self.root(b) and np.may_share_memory(a._host, b._host)

    def memory(self, index=None):
        self.check_index(index)
        account = {"allocated": counters.allocated, "peak": counters.peak, "reserved": counters.allocated}
        if memory.limit is not None:
            account |= {"total": memory.limit, "free": memory.limit - counters.allocated}
        return account

    def reset_peak(self, index=None):
        self.check_index(index)
        counters.peak = counters.allocated

    def add_at(self, target, index, values):
        call(
            "add_at", np.add.at, (target, index, values), {}
        )  # CUDA's makes do with the dtypes that CuPy adds

    @functools.cached_property
    def special_functions(self):
        return FakeNamespace(import_module(self.special_module), "special")


register(FakeBackend())
_DEVICE = devices.device("fake", 0)
