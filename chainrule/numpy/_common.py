"""What the families share: array-likes as Tensors, NumPy's dtypes, axes of any sign."""

import numpy as np

from chainrule.autograd import Tensor, ops
from chainrule.autograd.functions.common import wrap_dim
from chainrule.autograd.interop import native
from chainrule.backends import dtypes, namespaces

NUMBERS = (bool, int, float, complex)


def _holds_tensors(data):
    return isinstance(data, Tensor) or (
        isinstance(data, (list, tuple)) and any(_holds_tensors(one) for one in data)
    )


def tensor(value, dtype=None):
    """An array-like as a Tensor, with the dtype NumPy gives it; Tensors in nested lists keep their gradients."""
    if not isinstance(value, Tensor):
        if isinstance(value, (list, tuple)) and _holds_tensors(value):
            value = ops.stack([tensor(one) for one in value])
        elif value.__class__ in namespaces and value.__class__ is not np.ndarray:
            value = Tensor._wrap(value)
        elif getattr(value, "mask", None) is not None:
            native(value, "asarray")
        else:
            host = np.asarray(value, None if dtype is None else dtypes.as_numpy(dtype))
            value = Tensor._wrap(native(host, "asarray"))
    return value if dtype is None else value.to(dtypes.as_dtype(dtype))


def floating(value, dtype=None):
    """An array-like as a Tensor of floats: integers and bools become float64, as in NumPy."""
    x = tensor(value, dtype)
    return x if x.dtype.is_floating_point or x.dtype.is_complex else x.to(dtypes.float64)


def integers_to_int64(value, dtype=None):
    """An array-like ready to be summed: small integers and bools become int64."""
    x = tensor(value, dtype)
    return x if dtype is not None or x.dtype.is_floating_point or x.dtype.is_complex else x.to(dtypes.int64)


def together(*values):
    """Array-likes and numbers as Tensors; those that are none yet go to the device of those that are."""
    device = next((one.device for one in values if isinstance(one, Tensor)), None)
    return [one if isinstance(one, Tensor) else tensor(one).to(device=device) for one in values]


def operands(*values):
    """Array-likes that meet in one operation. Numbers stay numbers, which take the others' dtype, unless all are."""
    values = [one.item() if isinstance(one, np.generic) else one for one in values]
    if all(isinstance(one, NUMBERS) for one in values):
        return [tensor(one) for one in values]
    found = together(*(one for one in values if not isinstance(one, NUMBERS)))[::-1]
    found = [one if isinstance(one, NUMBERS) else found.pop() for one in values]
    inexact = any(isinstance(one, Tensor) and one._array.dtype.kind in "fcV" for one in found)
    if not inexact and any(isinstance(one, (float, complex)) for one in found):
        found = [one if isinstance(one, NUMBERS) else one.to(dtypes.float64) for one in found]
    return found


def promoted(*values):
    """Array-likes as Tensors of their common dtype."""
    tensors = together(*values)
    common = dtypes.result_type(*(one._array for one in tensors))
    return [one.to(common) for one in tensors]


def axis_of(axis, x, name):
    """One axis, as a non-negative int."""
    return wrap_dim(axis, x.ndim, name)
