"""Checks of arguments that the PyTorch-named functions share; each error names the function, the value and the fix."""

import operator

from chainrule.autograd import late


def wrap_dim(dim, ndim, name):
    """`dim` as a non-negative int, for a tensor of `ndim` dimensions (a 0-d one takes 0 and -1, as in PyTorch)."""
    try:
        dim = operator.index(dim)
    except TypeError:
        raise TypeError(f"{name}: dim must be an int, got {type(dim).__name__}") from None
    limit = max(ndim, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            f"{name}: dimension out of range: expected dim in [{-limit}, {limit - 1}], got {dim}"
        )
    return dim % limit


def wrap_dims(dim, ndim, name):
    """`dim` (None, int or several) as None or a tuple of distinct non-negative ints."""
    if dim is None:
        return None
    if isinstance(dim, (tuple, list)):
        dims = tuple(wrap_dim(one, ndim, name) for one in dim)
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"{name}: a dim appears more than once in {tuple(dim)}")
        return dims if dims else None
    return (wrap_dim(dim, ndim, name),)


def reduced(dim, ndim, name):
    """`dim` as the `axis` of a reduction: None where there is nothing to name."""
    dims = wrap_dims(dim, ndim, name)
    return None if ndim == 0 else dims


def sizes(args, name):
    """Lengths given one by one or as one sequence, as a tuple of ints."""
    if len(args) == 1 and not isinstance(args[0], int) and hasattr(args[0], "__iter__"):
        args = tuple(args[0])
    try:
        return tuple(operator.index(one) for one in args)
    except TypeError:
        raise TypeError(f"{name}: sizes must be ints, got {args}") from None


def tensor_of(value, name):
    """`value` if it is a Tensor; otherwise an error that says what to do."""
    if not isinstance(value, late.Tensor):
        raise TypeError(
            f"{name}: expected a Tensor, got {type(value).__name__}; make one with chainrule.tensor(...)"
        )
    return value


def holds(condition):
    """Whether `condition`, a Tensor of one element, is true: for checks, which inside `vmap` all samples have to pass alike."""
    return bool(condition._array)


def index_array(value, name):
    """The raw integer array of an index Tensor."""
    array = tensor_of(value, name)._array
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: index must be an integer Tensor, got {value.dtype}; convert with .long()")
    return array
