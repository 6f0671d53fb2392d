"""Tensors of random numbers, and the default generator. Numbers of other distributions are in `random.py`."""

from chainrule.autograd import late
from chainrule.backends import dtypes
from chainrule.backends import random as _random_numbers

from .common import tensor_of
from .creation import _dtype, _endpoint, _finish, _like, _on, _strided, _wanted, allocating, place


def _draw(shape, dtype, device, generator, how, *args):
    backend, where = place(device)
    source = generator if generator is not None else _random_numbers.default_generator
    with allocating(how, shape, backend), _on(backend, where):
        return getattr(source, how)(*args, shape, _dtype(dtype), backend.xp)


def _random(name, how, doc):
    def make(
        *sizes, size=None, generator=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
    ):  # fmt: skip
        _strided(name, layout)
        array = _draw(_wanted(sizes, size, name), dtype, device, generator, how)
        return _finish(array, requires_grad, pin_memory)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = doc
    return make


rand = _random("rand", "uniform", "Uniform in [0, 1).")
randn = _random("randn", "normal", "Normal with mean 0 and variance 1.")


def randint(
    low=0, high=None, size=None, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """Integers in [low, high), int64 by default. `randint(high, size)` starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:
        low, high = 0, low
    _strided("randint", layout)
    low, high = (int(_endpoint(one, "randint")) for one in (low, high))
    if high <= low:
        raise RuntimeError(f"randint: expected low < high, got low={low}, high={high}")
    shape = _wanted((size,), None, "randint")
    array = _draw(shape, dtype or dtypes.int64, device, generator, "integers", low, high)
    return _finish(array, requires_grad, pin_memory)


def randint_like(input, low=0, high=None, *, dtype=None, **more):
    """Integers in [low, high), in the shape, dtype and device of `input`. `randint_like(input, high)` starts at 0."""
    if high is None:
        low, high = 0, low
    x = tensor_of(input, "randint_like")
    more.pop("memory_format", None)
    return randint(low, high, x.shape, dtype=dtype or x.dtype, **{"device": x.device, **more})


def randperm(
    n, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """The integers 0 to n - 1 in random order."""
    _strided("randperm", layout)
    backend, where = place(device)
    source = generator if generator is not None else _random_numbers.default_generator
    with _on(backend, where), allocating("randperm", n, backend):
        array = source.permutation(n, backend.xp).astype(_dtype(dtype or dtypes.int64))
    return _finish(array, requires_grad, pin_memory)


rand_like, randn_like = _like(rand), _like(randn)


def manual_seed(seed):
    """Seed the default generator; returns it."""
    return _random_numbers.manual_seed(seed)


def seed():
    """Seed the default generator from the system's entropy; returns the seed."""
    return _random_numbers.default_generator.seed()


def initial_seed():
    """The seed the default generator started from."""
    return _random_numbers.default_generator.initial_seed()


def get_rng_state():
    """The default generator's state, a uint8 Tensor."""
    return late.Tensor._wrap(_random_numbers.default_generator.get_state())


def set_rng_state(new_state):
    """Put the default generator into a state that `get_rng_state` gave."""
    _random_numbers.default_generator.set_state(
        new_state._array if isinstance(new_state, late.Tensor) else new_state
    )
