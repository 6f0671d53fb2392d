"""What happens to the inputs' dtypes before an operation computes: PyTorch's type promotion, and the refusals.

Reached only when the inputs' classes or dtypes differ; inputs that already agree never come here.
"""

import numbers

import numpy

from chainrule.backends import backend_of, dtypes, namespaces, placement


def cast(op, *values):
    """The inputs of `op` (arrays and Python scalars) ready to compute together; dtypes as `op.cast` says."""
    values = [_operand(op, value) for value in values]
    arrays = [value for value in values if value.__class__ in namespaces]
    if not arrays:
        return _scalars_only(op, values)
    if any(array.__class__ is not arrays[0].__class__ for array in arrays):
        values = _on_one_device(op, values, arrays)
        arrays = [value for value in values if value.__class__ in namespaces]
    if op.cast == "same":
        return _agreeing(op, values, arrays)
    dtype = dtypes.result_type(*values).dtype
    if op.cast == "float" and dtype.kind in "iub":
        dtype = dtypes.get_default_dtype().dtype
    if dtype.kind in "iu" and op.cast != "compare":
        values = [_wrapped(op, value, dtype) for value in values]
    if placement.cards is not None:
        with placement.around(op.name, arrays):
            return tuple([_as(value, dtype) for value in values])
    return tuple([_as(value, dtype) for value in values])


def is_operand(value):
    """Whether operations take `value`: an array or a number."""
    return value.__class__ in namespaces or isinstance(value, (numbers.Number, numpy.generic, numpy.ndarray))


def refusal(op, value):
    """The error for an input that is none."""
    return TypeError(
        f"{op.name}: expected Tensors, arrays or numbers, got {type(value).__name__}; make a Tensor of it with chainrule.tensor(...)"
    )


def _operand(op, value):
    """A value an operation accepts: an array, or a Python scalar, which stays weak."""
    if value.__class__ in namespaces or value.__class__ in (float, int, bool, complex):
        return value
    if isinstance(value, numpy.generic):
        return value.item()
    if isinstance(value, numbers.Number):
        return (
            complex(value)
            if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)
            else float(value)
        )
    if isinstance(value, numpy.ndarray):
        return numpy.asarray(value)
    raise refusal(op, value)


def _as(value, dtype):
    """`value` in `dtype`. Scalars stay Python's where NumPy treats them as weak, which it does for its own dtypes."""
    if value.__class__ in namespaces:
        return value if value.dtype == dtype else value.astype(dtype)
    if dtype.kind == "V":
        return numpy.asarray(value, dtype)[()]
    return bool(value) if dtype.kind == "b" else value


def _wrapped(op, value, dtype):
    """A Python int that does not fit the integer `dtype` wraps round, as the results of integer operations do."""
    if value.__class__ is not int or 0 <= value < 128:
        return value
    if not -(2**63) <= value < 2**63:
        raise RuntimeError(f"{op.name}: the number {value} does not fit in 64 bits")
    return numpy.asarray(value).astype(dtype)[()]


def _scalars_only(op, values):
    raise TypeError(f"{op.name}: none of the inputs is a Tensor or an array: {values}")


def _agreeing(op, values, arrays):
    for array in arrays:
        if array.dtype != arrays[0].dtype:
            found = ", ".join(str(array.dtype) for array in arrays)
            raise RuntimeError(
                f"{op.name}: expected inputs of one dtype, got {found}; convert with .to(dtype)"
            )
    return tuple(values)


def _on_one_device(op, values, arrays):
    """0-d CPU values go where the others are, as in PyTorch; anything else on two devices is refused."""
    stored = [backend_of(array).stored(array) for array in arrays]
    if all(array.__class__ is stored[0].__class__ for array in stored):
        return values  # some are batched by vmap
    home = next((array for array in arrays if array.ndim), arrays[0])
    moved = []
    for value in values:
        if value.__class__ in namespaces and value.__class__ is not home.__class__:
            if value.ndim or value.__class__ is not numpy.ndarray:
                devices = ", ".join(str(backend_of(array).device_of(array)) for array in arrays)
                raise RuntimeError(
                    f"{op.name}: expected all tensors on the same device, got {devices}; move them with .to(device)"
                )
            backend = backend_of(home)
            value = backend.from_host(value, backend.device_of(home).index or 0)
        moved.append(value)
    return moved


def namespace_of(op, values):
    """The namespace for inputs among which no array was found: there is none, so say what was expected."""
    for value in values:
        if isinstance(value, numpy.generic):
            return numpy
    kinds = ", ".join(type(value).__name__ for value in values)
    raise TypeError(
        f"{op.name}: expected Tensors or arrays, got {kinds}; make a Tensor with chainrule.tensor(...)"
    )
