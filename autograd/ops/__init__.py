"""Every operation, under NumPy's name and with NumPy's order of arguments, for Tensors (and raw arrays).

This is the vocabulary of the derivative rules (`xp` when a graph of the gradient is asked for) and of
`chainrule.numpy`. One file for each part of mathematics.
"""

from .elementwise import (
    absolute,
    add,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    ceil,
    clip,
    divide,
    equal,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    fmod,
    greater,
    greater_equal,
    invert,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    positive,
    power,
    power_scalar,
    reciprocal,
    remainder,
    rint,
    rsqrt,
    sign,
    signbit,
    sqrt,
    square,
    subtract,
    trunc,
    where,
)
from .indexing import (
    getitem,
    index_add,
    index_put,
    nonzero,
    put_region,
    scatter,
    scatter_add,
    scatter_into,
    take,
    take_along_axis,
)
from .log_sums import logaddexp
from .product import einsum as _einsum
from .product import matmul
from .reduction import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    count_nonzero,
    cumprod,
    cumsum,
    logsumexp,
    mean,
    prod,
    sum,
    var,
    vector_norm,
)
from .shape import (
    astype,
    broadcast_to,
    conj,
    copy,
    diagonal,
    diagonal_scatter,
    expand_dims,
    flip,
    imag,
    pad,
    real,
    repeat,
    reshape,
    roll,
    squeeze,
    sum_to,
    swapaxes,
    tile,
    transpose,
    tril,
    triu,
)
from .shape import concatenate as _concatenate
from .shape import stack as _stack
from .trigonometry import (
    arccos,
    arccosh,
    arcsin,
    arcsinh,
    arctan,
    arctan2,
    arctanh,
    cos,
    cosh,
    hypot,
    sin,
    sinh,
    tan,
    tanh,
)

abs, max, min = absolute, amax, amin


def concatenate(arrays, axis=0):
    """Arrays joined along an axis they have."""
    return _concatenate(*arrays, axis=axis)


def stack(arrays, axis=0):
    """Arrays of one shape joined along a new axis."""
    return _stack(*arrays, axis=axis)


def einsum(equation, *operands):
    """Einstein summation, with an explicit equation."""
    return _einsum(*operands, equation=equation)


def moveaxis(x, source, destination):
    """Axes moved to new places, the others keeping their order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    source = [one % x.ndim for one in source]
    order = [axis for axis in range(x.ndim) if axis not in source]
    for place, axis in sorted(zip((one % x.ndim for one in destination), source, strict=True)):
        order.insert(place, axis)
    return transpose(x, tuple(order))


def zeros_like(x):
    """Zeros in the shape and dtype of x."""
    return x.new_zeros(x.shape)


def ones_like(x):
    """Ones in the shape and dtype of x."""
    return x.new_ones(x.shape)
