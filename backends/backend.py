"""What an array library has to offer, and the table of those that are there.

A `Backend` is what chainrule asks of an array library beyond the functions of its namespace: devices, copies,
who owns which memory, statistics. It also carries a table of kernels: a faster function for a named
operation, with a guard that says for which arrays it may be used. An operation that finds none runs its own
array code.
"""

from contextlib import nullcontext
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np

from . import devices, dtypes


class OutOfMemoryError(RuntimeError):
    """An allocation failed; `requested` is its size in bytes where that is known."""

    def __init__(self, message, requested=None):
        super().__init__(message)
        self.requested = requested

    def __reduce__(self):
        return OutOfMemoryError, (*self.args, self.requested)

    @classmethod
    def from_error(cls, error, where="cpu"):
        """The `OutOfMemoryError` that says what a MemoryError of NumPy's or CuPy's says, with the bytes."""
        # NumPy's error knows them as _total_size, CuPy's as _size; Python's own knows nothing.
        requested = getattr(error, "_total_size", None) or getattr(error, "_size", None)
        size = f"tried to allocate {requested:,} bytes" if requested else "an allocation failed"
        detail = f" ({error})" if str(error) else ""
        return cls(f"{where} out of memory: {size}{detail}; free tensors or use smaller batches", requested)


class Backend:
    """One array library. Subclasses set the four names and override what their library does differently.

    `name` ("numpy"), `device_type` ("cpu"), `xp` (the array namespace), `array_type` (its array class).
    """

    name: str
    device_type: str
    xp: Any
    array_type: type | None = None
    listed = True
    batched = False  # whether its arrays have the hidden axes of `vmap`
    special_module = "scipy.special"
    scratch_bytes = (
        2 << 20
    )  # how large the pieces of a big intermediate are best made: here, what fits a cache

    def __init__(self):
        self.kernels = {}

    def __repr__(self):
        return f"<backend {self.name} for device {self.device_type}>"

    def claims(self, cls):
        """Whether `cls` is the array class of this library, loaded by someone else; adopts it if so."""
        return False

    # --- availability and devices ---

    def why_not(self):
        """Why this backend cannot be used here, as a sentence; None if it can."""

    def available(self):
        """Whether arrays can be made and computed with, found out by doing it. Never raises."""
        return self.why_not() is None

    def device_count(self):
        """How many devices of this type can be used; 0 if none. Never raises."""
        return 1

    def current_device(self):
        """The index that a device without one stands for."""
        return 0

    def set_device(self, index):
        """Make `index` this thread's current device."""
        self.check_index(index)

    def check_index(self, index):
        """The index meant (None is the current device); RuntimeError if there is no such device."""
        if index is None:
            return self.current_device()
        count = self.device_count()
        if not 0 <= index < count:
            reason = self.why_not() or f"this machine has {count} device(s) of that type, numbered from 0"
            raise RuntimeError(f"device {self.device_type}:{index} cannot be used: {reason}")
        return index

    def device_of(self, array):
        """The `device` on which `array` lies."""
        raise NotImplementedError

    def synchronize(self, index=None):
        """Wait until the work queued on a device is done."""
        self.check_index(index)

    # --- copies and memory ---

    def from_host(self, array, index=None):
        """An array of this backend with the contents of a NumPy array; a copy unless the memory is shared."""
        raise NotImplementedError

    def to_host(self, array):
        """The contents as a NumPy array; a copy unless the memory is shared."""
        raise NotImplementedError

    def from_host_later(self, array, index=None):
        """As `from_host`, but from pinned memory the copy may still be under way when this returns."""
        return self.from_host(array, index)

    def to_host_later(self, array):
        """As `to_host`, but the copy may still be under way when this returns: the device is to be waited for."""
        return self.to_host(array)

    def copy_to(self, array, index=None):
        """A copy of `array` on another device of this type (on the current one by default)."""
        raise NotImplementedError

    def root(self, array):
        """The array object that owns `array`'s memory: itself unless it is a view."""
        base = array.base
        while base is not None:
            if isinstance(base, self.array_type):
                array = base
            # Not only arrays stand between a view and its owner: as_strided puts an object of its own there.
            base = getattr(base, "base", None)
        return array

    def shares_memory(self, a, b):
        """Whether a write to `a` may change `b`: never False if it does, maybe True for interleaved views."""
        raise NotImplementedError

    def memory(self, index=None):
        """Bytes under "allocated", "peak", "reserved", "free", "total", as far as the library keeps them."""
        return {}

    def reset_peak(self, index=None):
        """Start the account of peak memory anew."""

    def empty_cache(self):
        """Give memory that no array uses back to the system."""

    def out_of_memory(self, error):
        """The OutOfMemoryError for a MemoryError that this library raised."""
        return OutOfMemoryError.from_error(error, self.device_type)

    def stored(self, array):
        """The array that holds the values: `array` itself, but for those that `vmap` wraps."""
        return array

    def beside(self, array, new):
        """`new`, an array of the library's own, in the form in which it can be written with what is computed from `array`."""
        return new

    # --- where libraries differ ---

    def noticing_zero(self):
        """A context in which an integer divided by zero is a FloatingPointError, where the library notices without a check."""
        return nullcontext()

    def add_at(self, target, index, values):
        """target[index] += values in place, where an element named several times gets all its values."""
        raise NotImplementedError

    @cached_property
    def special_functions(self):
        """The namespace of special functions (gamma, Bessel, ...) under SciPy's names, imported when first asked for."""
        return import_module(self.special_module)

    def special(self, name):
        """SciPy's special function of that name, for arrays of this backend. RuntimeError where SciPy is missing."""
        try:
            functions = self.special_functions
        except ImportError as error:
            raise RuntimeError(
                f"{name}: its values come from {self.special_module}, which cannot be imported ({error}); "
                f'pip install "chainrule[special]"'
            ) from None
        return getattr(functions, name)

    # --- kernels ---

    def register_kernel(self, name, guard=None):
        """Decorator: use the function for operation `name` when `guard(*arrays, **static)` holds, or always
        without a guard. It is called as the operation's own code is, with the array namespace first.

        `name` may be "<operation>.gradient" too: the function is then called like a joint rule, with
        `(xp, g, needs, *saved, **static)`, where the gradient is computed on raw arrays, and its guard with
        `(g, *saved, **static)`. Of several kernels for one name the one registered last is asked first.
        """

        def register(function):
            kernels.add(name)
            self.kernels.setdefault(name, []).insert(0, (guard, function))
            return function

        return register

    def kernel(self, name, /, *arrays, **static):
        """The kernel to use for operation `name` on these arrays; None if its own array code is to run."""
        for guard, function in self.kernels.get(name, ()):
            if guard is None or guard(*arrays, **static):
                return function
        return None


# Names of operations for which any backend has a kernel: for all others nothing need be looked up.
kernels: set[str] = set()

# Array class -> namespace. Read on the engine's fast path, so a plain dict; CuPy's class comes in when first
# used.
namespaces: dict[type, Any] = {}
_by_class: dict[type, Backend] = {}
_by_device: dict[str, Backend] = {}
devices.know("fake", listed=False)


def register(backend):
    """Make a backend known: device strings may name its device type, operations take its arrays.

    A backend whose library is not loaded yet has no `array_type`; it calls `adopt` when it is.
    """
    _by_device[backend.device_type] = backend
    devices.know(backend.device_type, backend.listed)
    if backend.array_type is not None:
        adopt(backend)
    return backend


def adopt(backend):
    """Let operations take the arrays of `backend`, whose library has been loaded."""
    _by_class[backend.array_type] = backend
    namespaces[backend.array_type] = backend.xp


def disown(array_type):
    """Let operations refuse arrays of a class: its library can no longer be used."""
    _by_class.pop(array_type, None)
    namespaces.pop(array_type, None)


def registered():
    """The backends that listings show: all but the test device."""
    return [backend for backend in _by_device.values() if backend.listed]


def get(device_):
    """The backend of a device or device type ("cpu", "cuda:1")."""
    found = _by_device.get(device_) if device_.__class__ is str else None
    if found is None:
        kind = devices.device(device_).type
        if kind not in _by_device:
            import_module("chainrule.backends.fakedevice")  # the only one that registers itself so late
        found = _by_device[kind]
    return found


def kernel_for(xp, name):
    """The kernel that the backend with the array namespace `xp` has for `name`, whatever the arrays; None if it has none."""
    backend = _by_class.get(getattr(xp, "ndarray", None))
    return None if backend is None else backend.kernel(name)


def backend_of(array):
    """The backend whose array this is. TypeError if it is not an array of a known library."""
    found = _by_class.get(array.__class__)
    return _backend_of(array) if found is None else found


def _backend_of(array):
    """The slow way: a library that the user loaded before chainrule did, or an error."""
    cls = type(array)
    for backend in _by_device.values():
        if backend.claims(cls):
            return backend
    names = " or ".join(
        f"{one.array_type.__module__}.{one.array_type.__name__}" for one in registered() if one.array_type
    )
    raise TypeError(
        f"expected an array ({names}), got {cls.__module__}.{cls.__name__}; "
        f"convert it first (numpy.asarray gives a plain NumPy array, chainrule.tensor a Tensor)"
    )


def add_at(target, index, values):
    """target[index] += values in place, where an element named several times gets all its values.

    `index` is what indexing takes: an integer array, a tuple of them, slices, a mask. `values`, an array of
    the same backend or a number, broadcasts to target[index] and is cast to target's dtype. IndexError where
    out of range.
    """
    backend = backend_of(target)
    if isinstance(values, (int, float, complex, np.generic)):
        values = backend.xp.full((), values)  # no copy from the host, as `asarray` would be
    if values.__class__ is not target.__class__:
        raise TypeError(
            f"add_at: values must be a {type(target).__name__} like the target, got {type(values).__name__}"
        )
    dtype = target.dtype
    if values.dtype != dtype:
        if not dtypes.can_cast(values.dtype, dtype):
            raise TypeError(
                f"add_at: {values.dtype} values cannot be added to a {dtype} array; convert one of them first"
            )
        values = values.astype(dtype)
    if dtype.itemsize == 2 and dtype.kind not in "iu":
        # Many small terms vanish in a 16-bit sum: add them up in 32 bits and round once.
        wide = target.astype("float32")
        backend.add_at(wide, index, values.astype("float32"))
        target[...] = wide
    else:
        backend.add_at(target, index, values)
