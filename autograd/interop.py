"""NumPy's functions called on Tensors: recorded where `chainrule.numpy` has them, refused by name where not.

Without this NumPy would convert the Tensor to an array and lose its graph without a word. There is one list of what is
allowed: the names of `chainrule.numpy` and of its `linalg` and `fft`. The other way, `native` says which arrays a Tensor takes in.
"""

import functools
import inspect
from importlib import import_module

from chainrule.backends import dtypes


@functools.cache
def _table():
    """{NumPy's function: (its name, ours)}."""
    found = {}
    for part in ("", ".linalg", ".fft"):
        ours = import_module("chainrule.numpy" + part)
        theirs = import_module("numpy" + part)
        for name in ours.__all__:
            function = getattr(theirs, name, None)
            if callable(function) and not isinstance(function, type):
                found[function] = (f"numpy{part}.{name}", getattr(ours, name))
    return found


# What stands for the methods of ufuncs.
_METHODS = {
    "reduce": {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"},
    "accumulate": {"add": "cumsum", "multiply": "cumprod"},
    "outer": {"multiply": "outer"},
}  # fmt: skip


def array_ufunc(ufunc, method, inputs, kwargs):
    """`np.sin(t)`, `array + t`."""
    if method == "__call__":
        return _call(ufunc, f"numpy.{ufunc.__name__}", inputs, kwargs)
    name = f"numpy.{ufunc.__name__}.{method}"
    if method == "at":
        raise _refusal(name, "chainrule.index_put(t, (index,), values, accumulate=True)")
    other = _METHODS.get(method, {}).get(ufunc.__name__)
    raise _refusal(name, f"chainrule.numpy.{other}" if other else None)


def array_function(function, args, kwargs):
    """`np.sum(t)`, `np.concatenate([t, t])`."""
    module = (getattr(function, "__module__", None) or "numpy").removesuffix("._linalg")
    return _call(function, f"{module}.{function.__name__}", args, kwargs)


def _call(function, name, args, kwargs):
    """Our function of the same name, if there is one and it takes these arguments."""
    entry = _table().get(function)
    if entry is None:
        raise _refusal(name, _elsewhere(function.__name__))
    name, ours = entry
    try:
        inspect.signature(ours).bind(*args, **kwargs)
    except TypeError as error:
        ours_name = "chainrule." + name
        raise TypeError(
            f"{name}: {error}; called on a chainrule Tensor it takes the arguments of {ours_name}{inspect.signature(ours)}. For an "
            f"in-place result write t[...] = {ours_name}(...)"
        ) from None
    return ours(*args, **kwargs)


def _elsewhere(name):
    """Where chainrule has a function that `chainrule.numpy` lacks."""
    import chainrule

    return f"chainrule.{name}" if callable(getattr(chainrule, name, None)) else None


def _refusal(name, instead):
    """The error for what is not recorded."""
    advice = f"use {instead}" if instead else "chainrule.numpy has no function for it; compose those it has"
    return TypeError(
        f"{name} is not supported on a chainrule Tensor: {advice}, or tensor.detach().numpy() for a computation without gradient"
    )


def native(array, name, copy=True):
    """A NumPy array that came from outside, as one a Tensor can lie on: of a dtype we have, in this machine's byte order.

    TypeError for other dtypes, for masked arrays, whose mask would be lost, and without `copy` for a foreign byte order.
    """
    if getattr(array, "mask", None) is not None:
        raise TypeError(
            f"{name}: a masked array of shape {array.shape} would lose its mask; fill it first, array.filled(value)"
        )
    if copy and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    try:
        dtypes.from_numpy(array.dtype)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    return array
