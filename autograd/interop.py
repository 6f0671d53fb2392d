"""NumPy's functions called on Tensors: recorded where chainrule has the operation, refused by name where not.

Without this NumPy would convert the Tensor to an array and lose its graph without a word.
"""

from . import late


def array_ufunc(ufunc, method, inputs, kwargs):
    """`np.sin(t)`, `array + t`."""
    name = ufunc.__name__
    operation = getattr(
        late.ops, {"matmul": "", "conjugate": "conj", "pow": "power"}.get(name, name) or "_", None
    )
    if name == "matmul":
        from .functions.product import matmul

        operation = lambda a, b: matmul(_tensor(a), _tensor(b))
    if method != "__call__" or kwargs or operation is None:
        extra = f" with {', '.join(kwargs)}=" if kwargs else ("" if method == "__call__" else f".{method}")
        raise TypeError(
            f"numpy.{name}{extra} is not supported on a chainrule Tensor; use the chainrule function, or "
            f"tensor.detach().numpy() for a computation without gradient"
        )
    return operation(*inputs)


def _tensor(value):
    return value if isinstance(value, late.Tensor) else late.Tensor._wrap(value)


_covered = {
    "sum", "mean", "var", "prod", "cumsum", "cumprod", "argmax", "argmin", "all", "any", "concatenate", "stack", "where", "reshape",
    "transpose", "swapaxes", "expand_dims", "squeeze", "broadcast_to", "moveaxis", "flip", "roll", "tile", "tril", "triu", "diagonal",
    "clip", "amax", "amin", "max", "min", "einsum", "zeros_like", "ones_like", "copy", "count_nonzero",
}  # fmt: skip


def array_function(function, args, kwargs):
    """`np.sum(t)`, `np.concatenate([t, t])`."""
    name = function.__name__
    if name not in _covered:
        raise TypeError(
            f"numpy.{name} is not supported on a chainrule Tensor; use the chainrule function, or tensor.detach().numpy() for a "
            f"computation without gradient"
        )
    return getattr(late.ops, name)(*args, **kwargs)
