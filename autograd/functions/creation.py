"""Making Tensors: from data, filled, counted, random."""

import builtins
import contextlib
import math

import numpy

from chainrule.autograd import late
from chainrule.backends import cpu, dtypes, get, namespaces
from chainrule.backends import devices as _devices
from chainrule.backends import random as _random

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
def _allocating(name, size, backend=cpu):
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
    return backend.from_host(host, where.index or 0)


def _finish(array, requires_grad):
    out = late.Tensor._wrap(array)
    return out.requires_grad_() if requires_grad else out


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
    if host.dtype.kind not in "biufcV":
        raise TypeError(f"tensor: cannot make a Tensor of {host.dtype} elements; numbers and bools only")
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
        return _finish(data.detach().clone().to(device=device, dtype=dtype)._array, requires_grad)
    if data.__class__ in namespaces and data.__class__ is not numpy.ndarray and device is None:
        array = data.copy()
        return _finish(array if dtype is None else array.astype(dtypes.as_numpy(dtype)), requires_grad)
    return _finish(put(_host(data, dtype), device), requires_grad)


def as_tensor(data, dtype=None, device=None):
    """`data` as a Tensor, sharing memory where nothing has to change."""
    if isinstance(data, late.Tensor):
        return data.to(device=device, dtype=dtype)
    if data.__class__ in namespaces:
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
    if ndarray.dtype.kind not in "biufcV":
        raise TypeError(
            f"from_numpy: cannot make a Tensor of {ndarray.dtype} elements; numbers and bools only"
        )
    return late.Tensor._wrap(numpy.asarray(ndarray))


def legacy_array(data, device):
    """The array of `Tensor(2, 3)` (uninitialised lengths) or `Tensor([1, 2])` (float32 data)."""
    if not data:
        return put(numpy.empty(0, _dtype(None)), device)
    if len(data) == 1 and not isinstance(data[0], int):
        return as_tensor(data[0], dtype=dtypes.get_default_dtype(), device=device)._array
    return empty(*data, device=device)._array


def _filled(name):
    def make(*size, dtype=None, device=None, requires_grad=False, out=None, layout=None, pin_memory=False):
        shape = sizes(size, name)
        if builtins.any(length < 0 for length in shape):
            raise RuntimeError(f"{name}: negative length in size {shape}")
        backend, where = place(device)
        with _allocating(name, shape, backend), _on(backend, where):
            return _finish(getattr(backend.xp, name)(shape, dtype=_dtype(dtype)), requires_grad)

    make.__name__ = make.__qualname__ = name
    return make


zeros, ones, empty = _filled("zeros"), _filled("ones"), _filled("empty")
zeros.__doc__ = "A Tensor of zeros. `zeros(2, 3)` or `zeros((2, 3))`."
ones.__doc__ = "A Tensor of ones. `ones(2, 3)` or `ones((2, 3))`."
empty.__doc__ = "A Tensor with whatever the memory holds."


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    """A Tensor of one value; its dtype follows the value (bool, int64, the default float)."""
    if isinstance(fill_value, late.Tensor):
        fill_value = fill_value.item()
    if dtype is None:
        dtype = {bool: dtypes.bool, int: dtypes.int64}.get(type(fill_value))
    if dtype is None and isinstance(fill_value, complex):
        dtype = dtypes.complex128 if dtypes.get_default_dtype() is dtypes.float64 else dtypes.complex64
    out = empty(sizes((size,), "full"), dtype=dtype, device=device)
    out._array[...] = fill_value
    return out.requires_grad_() if requires_grad else out


def _like(function):
    name = function.__name__ + "_like"

    def make(input, *args, dtype=None, device=None, requires_grad=False, memory_format=None):
        x = tensor_of(input, name)
        return function(
            x.shape, *args, dtype=dtype or x.dtype, device=device or x.device, requires_grad=requires_grad
        )

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`{function.__name__}` in the shape, dtype and device of `input`."
    return make


zeros_like, ones_like, empty_like, full_like = _like(zeros), _like(ones), _like(empty), _like(full)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """start, start + step, ... below `end`; int64 if all three are ints, else the default float."""
    if end is None:
        start, end = 0, start
    start, end, step = (one.item() if isinstance(one, late.Tensor) else one for one in (start, end, step))
    if step == 0:
        raise RuntimeError("arange: step must not be 0")
    if (end - start) * step < 0:
        raise RuntimeError(f"arange: end {end} lies on the wrong side of start {start} for step {step}")
    if dtype is None:
        dtype = dtypes.int64 if builtins.all(isinstance(one, int) for one in (start, end, step)) else None
    count = math.ceil((end - start) / step)
    with _allocating("arange", count):
        host = (start + numpy.arange(count) * step).astype(_dtype(dtype))
    return _finish(put(host, device), requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` numbers from `start` to `end`, both included, evenly spaced."""
    start, end = (one.item() if isinstance(one, late.Tensor) else one for one in (start, end))
    with _allocating("linspace", steps):
        host = numpy.linspace(start, end, steps).astype(_dtype(dtype))
    return _finish(put(host, device), requires_grad)


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    """`steps` numbers from base**start to base**end, evenly spaced in the logarithm."""
    with _allocating("logspace", steps):
        host = numpy.logspace(start, end, steps, base=base).astype(_dtype(dtype))
    return _finish(put(host, device), requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """The identity matrix of n rows and m (by default n) columns."""
    with _allocating("eye", (n, m)):
        host = numpy.eye(n, m, dtype=_dtype(dtype))
    return _finish(put(host, device), requires_grad)


# Random numbers


def _draw(shape, dtype, device, generator, how, *args):
    backend, where = place(device)
    source = generator if generator is not None else _random.default_generator
    with _allocating(how, shape, backend), _on(backend, where):
        return getattr(source, how)(*args, shape, _dtype(dtype), backend.xp)


def rand(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Uniform in [0, 1)."""
    return _finish(_draw(sizes(size, "rand"), dtype, device, generator, "uniform"), requires_grad)


def randn(*size, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal with mean 0 and variance 1."""
    return _finish(_draw(sizes(size, "randn"), dtype, device, generator, "normal"), requires_grad)


def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Integers in [low, high), int64 by default. `randint(high, size)` starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    if high <= low:
        raise RuntimeError(f"randint: expected low < high, got low={low}, high={high}")
    shape = sizes((size,), "randint")
    return _finish(
        _draw(shape, dtype or dtypes.int64, device, generator, "integers", low, high), requires_grad
    )


def randperm(n, *, generator=None, dtype=None, device=None, requires_grad=False):
    """The integers 0 to n - 1 in random order."""
    backend, where = place(device)
    source = generator if generator is not None else _random.default_generator
    with _on(backend, where):
        array = source.permutation(n, backend.xp).astype(_dtype(dtype or dtypes.int64))
    return _finish(array, requires_grad)


rand_like, randn_like = _like(rand), _like(randn)


def normal(mean=0.0, std=1.0, size=None, *, generator=None, dtype=None, device=None):
    """Normal numbers of the given mean and standard deviation, each a number or a Tensor."""
    if size is None:
        like = mean if isinstance(mean, late.Tensor) else std
        noise = randn(
            tensor_of(like, "normal").shape, generator=generator, dtype=like.dtype, device=like.device
        )
    else:
        noise = randn(size, generator=generator, dtype=dtype, device=device)
    return noise * std + mean


def bernoulli(input, *, generator=None):
    """1 with the probability `input` holds at each place, else 0, in its dtype."""
    p = tensor_of(input, "bernoulli")
    drawn = rand(
        p.shape,
        generator=generator,
        dtype=dtypes.float64 if p.dtype is dtypes.float64 else dtypes.float32,
        device=p.device,
    )
    return (drawn < p.detach()).to(p.dtype)


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """`num_samples` indices drawn with the (unnormalised) probabilities in the last dimension of `input`. (K) or (N, K).

    Without replacement by the exponential race (Efraimidis & Spirakis 2006): the smallest E / p win.
    """
    p = tensor_of(input, "multinomial").detach()
    if p.ndim not in (1, 2):
        raise RuntimeError(f"multinomial: expected 1 or 2 dimensions, got shape {tuple(p.shape)}")
    if bool((p < 0).any()) or not bool((p.sum(-1) > 0).all()):
        raise RuntimeError(
            "multinomial: probabilities must be non-negative and each row must have a positive sum"
        )
    if not replacement and num_samples > int((p > 0).sum(-1).min()):
        raise RuntimeError(
            f"multinomial: cannot draw {num_samples} samples without replacement from fewer non-zero probabilities"
        )
    from . import sorting

    if replacement:
        cumulative = (p / p.sum(-1, keepdim=True)).cumsum(-1)
        drawn = rand(*p.shape[:-1], num_samples, generator=generator, dtype=p.dtype, device=p.device)
        index = (drawn.unsqueeze(-1) >= cumulative.unsqueeze(-2)).sum(-1)
        return index.clamp(max=p.shape[-1] - 1)
    race = -rand(p.shape, generator=generator, dtype=p.dtype, device=p.device).neg().log1p() / p
    return sorting.argsort(race, dim=-1)[..., :num_samples]


def manual_seed(seed):
    """Seed the default generator; returns it."""
    return _random.manual_seed(seed)


def seed():
    """Seed the default generator from the system's entropy; returns the seed."""
    return _random.default_generator.seed()


def initial_seed():
    """The seed the default generator started from."""
    return _random.default_generator.initial_seed()


def get_rng_state():
    """The default generator's state, a uint8 Tensor."""
    return late.Tensor._wrap(_random.default_generator.get_state())


def set_rng_state(new_state):
    """Put the default generator into a state that `get_rng_state` gave."""
    _random.default_generator.set_state(new_state._array if isinstance(new_state, late.Tensor) else new_state)


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
    shape = tuple(one.numel() for one in tensors)
    grids = [
        one.reshape(tuple(-1 if i == axis else 1 for i in range(len(shape)))).expand(shape)
        for axis, one in enumerate(tensors)
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)
