"""Making Tensors: from data, filled, counted."""

import builtins
import contextlib
import math

import numpy

from chainrule.autograd import late
from chainrule.autograd.interop import native
from chainrule.backends import backend_of, cpu, dtypes, get, layouts, namespaces, placement
from chainrule.backends import devices as _devices
from chainrule.backends.cupy_backend import is_pinned

from .common import sizes, tensor_of


def place(device):
    """(backend, device) for a device argument; None means the default device."""
    where = _devices.get_default_device() if device is None else _devices.device(device)
    return get(where.type), where


@contextlib.contextmanager
def _on(backend, where):
    """The backend's current device is `where` inside, where it names one."""
    before = backend.current_device()
    if where.index is None or where.index == before:
        yield
        return
    backend.set_device(where.index)
    try:
        yield
    finally:
        backend.set_device(before)


@contextlib.contextmanager
def allocating(name, size, backend=cpu):
    """Says in our words that there is no memory of that size."""
    try:
        yield
    except MemoryError as error:
        raise backend.out_of_memory(error) from error
    except (ValueError, OverflowError) as error:
        raise RuntimeError(f"{name}: size {size} is more than any memory can hold ({error})") from error


def put(host, device=None):
    """A raw array on `device` with the values of a NumPy array."""
    backend, where = place(device)
    return backend.from_host(host, where.index)


def _made(name, size, device, requires_grad, pin_memory, make):
    """A Tensor of the array that `make(xp)` computes where it is to lie: nothing is copied there."""
    backend, where = place(device)
    with allocating(name, size, backend), _on(backend, where):
        return _finish(make(backend.xp), requires_grad, pin_memory)


def _finish(array, requires_grad, pin_memory=False):
    out = late.Tensor._wrap(pinned(array) if pin_memory else array)
    return out.requires_grad_() if requires_grad else out


def pinned(array, copied=True):
    """The array in page-locked host memory, or, not `copied`, one like it with whatever that memory holds. RuntimeError without CUDA."""
    if not isinstance(array, numpy.ndarray):
        where = backend_of(array).device_of(array)
        raise RuntimeError(f"pin_memory: only a tensor on the cpu can be pinned, this one is on {where}")
    cuda = get("cuda")
    reason = cuda.why_not()
    if reason is not None:
        raise RuntimeError(f"pin_memory: page-locked memory needs CUDA, which is not available: {reason}")
    if is_pinned(array):
        return array
    out = cuda.empty_pinned(array.shape, array.dtype)
    if copied:
        out[...] = array
    return out


def _dtype(dtype):
    return dtypes.as_numpy(dtypes.get_default_dtype() if dtype is None else dtype)


def _host(data, dtype):
    """`data` (nested sequences, numbers, arrays, Tensors) as a NumPy array; Python floats get the default dtype."""
    if isinstance(data, (list, tuple)) and _holds_tensors(data):
        data = _unpack(data)
    try:
        host = numpy.array(data, dtype=None if dtype is None else dtypes.as_numpy(dtype))
    except ValueError as error:
        raise ValueError(f"tensor: expected a sequence of equal lengths at every level: {error}") from None
    except OverflowError as error:
        raise RuntimeError(f"tensor: a number does not fit the dtype: {error}") from None
    if getattr(data, "mask", None) is not None:
        native(data, "tensor")
    host = native(host, "tensor")
    if dtype is None and not isinstance(data, (numpy.ndarray, numpy.generic)):
        if host.dtype == numpy.float64:
            host = host.astype(_dtype(None)) if _made_of_python(data) else host
        elif host.dtype == numpy.complex128 and _made_of_python(data):
            host = host.astype(numpy.complex128 if _dtype(None) == numpy.float64 else numpy.complex64)
    return host


def _made_of_python(data):
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return not isinstance(data, (numpy.ndarray, numpy.generic))


def _holds_tensors(data):
    return any(
        isinstance(one, late.Tensor) or (isinstance(one, (list, tuple)) and _holds_tensors(one))
        for one in data
    )


def _unpack(data):
    if isinstance(data, late.Tensor):
        return data.tolist()
    return [_unpack(one) for one in data] if isinstance(data, (list, tuple)) else data


def tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False):
    """A new Tensor with a copy of `data`: numbers, nested lists, NumPy arrays, Tensors.

    Python floats get the default dtype, Python ints int64; arrays keep theirs. Errors: TypeError for elements that are
    no numbers, ValueError for ragged lists.
    """
    if isinstance(data, late.Tensor):
        return _finish(data.detach().clone().to(device=device, dtype=dtype)._array, requires_grad, pin_memory)
    if data.__class__ in namespaces and data.__class__ is not numpy.ndarray and device is None:
        array = data.copy()
        array = array if dtype is None else array.astype(dtypes.as_numpy(dtype))
        return _finish(array, requires_grad, pin_memory)
    return _finish(put(_host(data, dtype), device), requires_grad, pin_memory)


def as_tensor(data, dtype=None, device=None):
    """`data` as a Tensor, sharing memory where nothing has to change."""
    if isinstance(data, late.Tensor):
        return data.to(device=device, dtype=dtype)
    if data.__class__ in namespaces:
        data = native(data, "as_tensor") if isinstance(data, numpy.ndarray) else data
        return late.Tensor._wrap(data).to(device=device, dtype=dtype)
    return tensor(data, dtype=dtype, device=device)


def asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False):
    """`obj` as a Tensor; copies only if asked to or if something has to change."""
    out = as_tensor(obj, dtype=dtype, device=device)
    out = out.clone() if copy else out
    return out.requires_grad_() if requires_grad else out


def from_numpy(ndarray):
    """A Tensor that shares memory with a NumPy array."""
    if not isinstance(ndarray, numpy.ndarray):
        raise TypeError(f"from_numpy: expected a NumPy array, got {type(ndarray).__name__}")
    return late.Tensor._wrap(numpy.asarray(native(ndarray, "from_numpy", copy=False)))


def legacy_array(data, device):
    """The array of `Tensor(2, 3)` (uninitialised lengths) or `Tensor([1, 2])` (float32 data)."""
    if not data:
        return put(numpy.empty(0, _dtype(None)), device)
    if len(data) == 1 and not isinstance(data[0], int):
        return as_tensor(data[0], dtype=dtypes.get_default_dtype(), device=device)._array
    return empty(*data, device=device)._array


def _wanted(size, keyword, name):
    """The shape asked for, as positional lengths, one sequence, or `size=`; the layout must be the only one there is."""
    shape = sizes(size if keyword is None else (keyword,), name)
    if builtins.any(length < 0 for length in shape):
        raise RuntimeError(f"{name}: negative length in size {shape}")
    return shape


def _strided(name, layout):
    if layout is not None:
        layouts.check(name, layout)


def _filled(name, doc):
    def make(
        *sizes, size=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False, memory_format=None
    ):  # fmt: skip
        shape = _wanted(sizes, size, name)
        _strided(name, layout)
        backend, where = place(device)
        with allocating(name, shape, backend), _on(backend, where):
            array = getattr(backend.xp, name)(shape, dtype=_dtype(dtype))
            if pin_memory:
                array = pinned(array, copied=name != "empty")
            return _finish(array, requires_grad)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = doc
    return make


zeros = _filled("zeros", "A Tensor of zeros. `zeros(2, 3)` or `zeros((2, 3))`.")
ones = _filled("ones", "A Tensor of ones. `ones(2, 3)` or `ones((2, 3))`.")
empty = _filled("empty", "A Tensor with whatever the memory holds.")


def number(value, dtype, name):
    """`value`, a number or a Tensor of one element, as a NumPy scalar of `dtype`; integers wrap round."""
    value = value.item() if isinstance(value, late.Tensor) else value
    if isinstance(value, complex) and dtype.kind != "c":
        raise RuntimeError(f"{name}: the complex number {value} cannot be stored as {dtype}")
    with numpy.errstate(all="ignore"):
        return numpy.asarray(value).astype(dtype)[()]


def full(
    size, fill_value, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """A Tensor of one value; its dtype follows the value (bool, int64, the default float)."""
    if isinstance(fill_value, late.Tensor):
        fill_value = fill_value.item()
    if dtype is None:
        dtype = dtypes.result_type(fill_value)
    out = empty(size=size, dtype=dtype, layout=layout, device=device, pin_memory=pin_memory)
    with placement.around("full", (out._array,)):
        out._array[...] = number(fill_value, out._array.dtype, "full")
    return out.requires_grad_() if requires_grad else out


def scalar_tensor(s, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A 0-d Tensor of one number, of the default float dtype unless `dtype` says otherwise."""
    _strided("scalar_tensor", layout)
    dtype = dtype or (dtypes.result_type(s) if isinstance(s, complex) else dtypes.get_default_dtype())
    return full((), s, dtype=dtype, device=device, requires_grad=requires_grad, pin_memory=pin_memory)


def _beside(x, made):
    """`made`, a new Tensor, in the form in which it can be written with what is computed from x (inside `vmap`, a batch)."""
    backend = backend_of(x._array)
    if backend.batched and made._array.__class__ is not x._array.__class__:
        made._array = backend.beside(x._array, made._array)
    return made


def _like(function):
    name = function.__name__ + "_like"

    def make(
        input, *args, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False, memory_format=None, **more
    ):  # fmt: skip
        x = tensor_of(input, name)
        made = function(
            x.shape, *args, dtype=dtype or x.dtype, layout=layout, device=device or x.device, requires_grad=requires_grad,
            pin_memory=pin_memory, **more
        )  # fmt: skip
        return _beside(x, made)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`{function.__name__}` in the shape, dtype and device of `input`."
    return make


zeros_like, ones_like, empty_like, full_like = _like(zeros), _like(ones), _like(empty), _like(full)


def _new(function):
    def make(input, *args, dtype=None, device=None, **more):
        return _beside(
            input, function(*args, dtype=dtype or input.dtype, device=device or input.device, **more)
        )

    make.__name__ = make.__qualname__ = "new_" + function.__name__
    make.__doc__ = f"`{function.__name__}` in the dtype and on the device of this tensor."
    return make


new_zeros, new_ones, new_empty, new_full = _new(zeros), _new(ones), _new(empty), _new(full)


def _endpoint(value, name):
    """An end of a range as a Python number."""
    if isinstance(value, late.Tensor):
        if value.ndim:
            raise RuntimeError(
                f"{name}: start and end must be numbers or 0-d tensors, got shape {tuple(value.shape)}"
            )
        value = value.item()
    if not isinstance(value, (int, float, complex)):
        raise TypeError(f"{name}: expected numbers, got {type(value).__name__}")
    return value


def arange(
    start=0, end=None, step=1, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """start, start + step, ... below `end`; int64 if all three are ints, else the default float.

    For an integer dtype the numbers are truncated first, so that equal steps are taken.
    """
    if end is None:
        start, end = 0, start
    _strided("arange", layout)
    start, end, step = (_endpoint(one, "arange") for one in (start, end, step))
    if step == 0:
        raise RuntimeError("arange: step must not be 0")
    if builtins.any(isinstance(one, complex) or one - one != 0 for one in (start, end, step)):
        raise RuntimeError(
            f"arange: start, end and step must be finite real numbers, got {start}, {end}, {step}"
        )
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: end {end} lies on the wrong side of start {start} for step {step}")
    if dtype is None:
        dtype = dtypes.int64 if builtins.all(isinstance(one, int) for one in (start, end, step)) else None
    dtype = _dtype(dtype)
    whole = (int(start), int(end), int(step))
    if dtype == numpy.int64:
        start, end, step = whole
        if step == 0:
            raise RuntimeError("arange: step must not be 0 after truncation to int64")
    count = builtins.max(math.ceil((end - start) / step), 0)
    if dtype.kind in "iu":
        start, _, step = whole
    make = lambda xp: (start + xp.arange(count) * step).astype(dtype)
    return _made("arange", count, device, requires_grad, pin_memory, make)


def _spaced(name, start, end, steps, dtype, layout, device, requires_grad, pin_memory, then=None):
    """`steps` numbers from start to end, computed in float64 or complex128, the ends rounded to the dtype meant first."""
    _strided(name, layout)
    start, end = _endpoint(start, name), _endpoint(end, name)
    if not isinstance(steps, int) or steps < 0:
        raise RuntimeError(f"{name}: steps must be an int of at least 0, got {steps!r}")
    complex_ends = isinstance(start, complex) or isinstance(end, complex)
    default = dtypes.get_default_dtype()
    dtype = dtypes.as_numpy(dtype or (default.to_complex() if complex_ends else default))
    wide = "complex128" if dtype.kind == "c" else "float64"
    first, last = (number(one, dtype, name).astype(wide).item() for one in (start, end))

    def make(xp):
        if wide == "complex128" and xp is not numpy:  # CuPy's linspace has no complex numbers
            found = xp.linspace(first.real, last.real, steps) + 1j * xp.linspace(first.imag, last.imag, steps)
        else:
            found = xp.linspace(first, last, steps)
        return (found if then is None else then(xp, found)).astype(dtype)

    with numpy.errstate(all="ignore"):
        return _made(name, steps, device, requires_grad, pin_memory, make)


def linspace(
    start, end, steps, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """`steps` numbers from `start` to `end`, both included, evenly spaced."""
    return _spaced("linspace", start, end, steps, dtype, layout, device, requires_grad, pin_memory)


def logspace(
    start, end, steps, base=10.0, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """`steps` numbers from base**start to base**end, evenly spaced in the logarithm."""
    power = lambda xp, exponents: xp.power(base, exponents)
    return _spaced("logspace", start, end, steps, dtype, layout, device, requires_grad, pin_memory, power)


def eye(n, m=None, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """The identity matrix of n rows and m (by default n) columns."""
    _strided("eye", layout)
    if n < 0 or (m is not None and m < 0):
        raise RuntimeError(f"eye: n and m must not be negative, got n={n}, m={m}")
    make = lambda xp: xp.eye(n, m, dtype=_dtype(dtype))
    return _made("eye", (n, m), device, requires_grad, pin_memory, make)


def is_tensor(obj):
    """Whether `obj` is a Tensor."""
    return isinstance(obj, late.Tensor)


def meshgrid(*tensors, indexing="ij"):
    """The coordinates of a grid whose axes are the given 1-d Tensors; `indexing` "ij" or "xy"."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f'meshgrid: indexing must be "ij" or "xy", got {indexing!r}')
    swap = indexing == "xy" and len(tensors) > 1
    if swap:
        tensors = (tensors[1], tensors[0], *tensors[2:])
    shape = tuple(tensor_of(one, "meshgrid").numel() for one in tensors)
    grids = [
        one.reshape(tuple(-1 if i == axis else 1 for i in range(len(shape)))).expand(shape)
        for axis, one in enumerate(tensors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)
