"""NumPy's ufuncs and their kin. Integers become float64 where floats are needed; other dtypes meet as chainrule's do."""

import math

from chainrule.autograd import Tensor, ops
from chainrule.autograd.functions import arithmetic
from chainrule.autograd.functions import indexing as indexing_functions
from chainrule.backends import dtypes

from ._common import NUMBERS, floating, operands, tensor, together

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "add",
    "allclose",
    "angle",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "around",
    "array_equal",
    "asin",
    "asinh",
    "astype",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "degrees",
    "divide",
    "equal",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "fix",
    "float_power",
    "floor",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "greater_equal",
    "heaviside",
    "hypot",
    "imag",
    "invert",
    "isclose",
    "iscomplexobj",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "isrealobj",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "not_equal",
    "positive",
    "pow",
    "power",
    "rad2deg",
    "radians",
    "real",
    "reciprocal",
    "remainder",
    "rint",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip


def _named(function, name, text):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = text
    return function


def _unary(name, prepare=tensor):
    operation = getattr(ops, name)

    def function(x, /, *, dtype=None):
        return operation(prepare(x, dtype))

    return _named(function, name, operation.__doc__)


def _binary(name, prepare=operands):
    operation = getattr(ops, name)

    def function(x1, x2, /, *, dtype=None):
        if dtype is not None:
            x1, x2 = tensor(x1, dtype), tensor(x2, dtype)
        return operation(*prepare(x1, x2))

    return _named(function, name, operation.__doc__)


def _floats(*values):
    """As `operands`, with integers and bools made float64."""
    return [one if isinstance(one, NUMBERS) else floating(one) for one in operands(*values)]


absolute, negative, positive, sign, square = (
    _unary(name) for name in ("absolute", "negative", "positive", "sign", "square")
)
floor, ceil, trunc, conj = (_unary(name) for name in ("floor", "ceil", "trunc", "conj"))
isnan, isinf, isfinite, signbit, logical_not, invert = (
    _unary(name) for name in ("isnan", "isinf", "isfinite", "signbit", "logical_not", "invert")
)
sqrt, reciprocal, rint = (_unary(name, floating) for name in ("sqrt", "reciprocal", "rint"))
exp, exp2, expm1, log, log2, log10, log1p = (
    _unary(name, floating) for name in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p")
)
sin, cos, tan, sinh, cosh, tanh = (
    _unary(name, floating) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")
)
arcsin, arccos, arctan, arcsinh, arccosh, arctanh = (
    _unary(name, floating) for name in ("arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh")
)

add, subtract, multiply, floor_divide, remainder, fmod = (
    _binary(name) for name in ("add", "subtract", "multiply", "floor_divide", "remainder", "fmod")
)
maximum, minimum = _binary("maximum"), _binary("minimum")
equal, not_equal, less, less_equal, greater, greater_equal = (
    _binary(name) for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
)
logical_and, logical_or, logical_xor, bitwise_and, bitwise_or, bitwise_xor = (
    _binary(name)
    for name in ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor")
)
divide, logaddexp, arctan2, hypot = (
    _binary(name, _floats) for name in ("divide", "logaddexp", "arctan2", "hypot")
)


def power(x1, x2, /, *, dtype=None):
    """x1 ** x2; integers to integers stay integers, which takes x2 >= 0."""
    if dtype is not None:
        x1, x2 = tensor(x1, dtype), tensor(x2, dtype)
    base, exponent = operands(x1, x2)
    return arithmetic.pow(base, exponent)


abs, true_divide, mod, pow, conjugate, bitwise_not, bitwise_invert, fix = (
    absolute, divide, remainder, power, conj, invert, invert, trunc,
)  # fmt: skip
asin, acos, atan, asinh, acosh, atanh, atan2 = (
    arcsin,
    arccos,
    arctan,
    arcsinh,
    arccosh,
    arctanh,
    arctan2,
)


def fabs(x, /):
    """|x|, as floats."""
    return ops.absolute(floating(x))


def float_power(x1, x2, /):
    """x1 ** x2 in float64."""
    return ops.power(tensor(x1, dtypes.float64), tensor(x2, dtypes.float64))


def logaddexp2(x1, x2, /):
    """log2(2^a + 2^b) without overflow."""
    a, b = _floats(x1, x2)
    return ops.logaddexp(a * math.log(2), b * math.log(2)) / math.log(2)


def deg2rad(x, /):
    """Degrees to radians."""
    return floating(x) * (math.pi / 180)


def rad2deg(x, /):
    """Radians to degrees."""
    return floating(x) * (180 / math.pi)


radians, degrees = deg2rad, rad2deg


def copysign(x1, x2, /):
    """|x1| with the sign of x2, in which it has no derivative."""
    a, b = _floats(x1, x2)
    size = ops.absolute(tensor(a))
    return ops.where(ops.signbit(tensor(b).detach()), -size, size)


def heaviside(x1, x2, /):
    """0 below 0, 1 above, x2 at 0."""
    a, b = together(*_floats(x1, x2))
    step = ops.where(ops.isnan(a), a, ops.astype(a > 0, a._array.dtype))
    return ops.where(a == 0, b, step)


def fmax(x1, x2, /):
    """The larger of two; NaN only where both are."""
    a, b = together(*operands(x1, x2))
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, ops.maximum(a, b)))


def fmin(x1, x2, /):
    """The smaller of two; NaN only where both are."""
    a, b = together(*operands(x1, x2))
    return ops.where(ops.isnan(a), b, ops.where(ops.isnan(b), a, ops.minimum(a, b)))


def sinc(x):
    """sin(pi x) / (pi x), 1 at 0."""
    y = math.pi * floating(x)
    zero = y == 0
    return ops.where(zero, 1 - y * y / 6, ops.sin(y) / ops.where(zero, 1, y))


def round(a, decimals=0):
    """The nearest number of `decimals` digits, halves to even; the derivative is 0."""
    return arithmetic.round(tensor(a), decimals=decimals)


around = round


def clip(a, a_min=None, a_max=None, *, min=None, max=None):
    """a kept within [a_min, a_max], which are None, numbers or array-likes; the gradient passes at the bounds."""
    low, high = (a_min if min is None else min), (a_max if max is None else max)
    x = tensor(a)
    low, high = (
        one if one is None or isinstance(one, NUMBERS) else together(x, one)[1] for one in (low, high)
    )
    return ops.positive(x) if low is None and high is None else arithmetic.clamp(x, low, high)


def where(condition, x=None, y=None, /):
    """x where the condition is true, else y; the condition alone: the indices where it is, a Tensor for each axis."""
    if (x is None) != (y is None):
        raise ValueError("where: give both x and y, or neither")
    branches = [] if x is None else operands(x, y)
    condition = together(condition, *branches)[0]
    if condition.dtype is not dtypes.bool:
        condition = condition != 0
    return (
        ops.where(condition, *branches) if branches else indexing_functions.nonzero(condition, as_tuple=True)
    )


def real(val):
    """The real part."""
    return ops.real(tensor(val))


def imag(val):
    """The imaginary part; 0 for real numbers."""
    x = tensor(val)
    return ops.imag(x) if x.dtype.is_complex else x.new_zeros(x.shape)


def angle(z, deg=False):
    """The angle of complex numbers, in radians or degrees."""
    z = floating(z)
    found = ops.arctan2(imag(z), ops.real(z))
    return rad2deg(found) if deg else found


def astype(x, dtype, /, *, copy=True):
    """x in another dtype."""
    x = tensor(x)
    out = x.to(dtypes.as_dtype(dtype))
    return ops.copy(out) if copy and out is x else out


def nan_to_num(x, copy=True, nan=0.0, posinf=None, neginf=None):
    """x with NaN and the infinities replaced, by the largest finite numbers unless said otherwise."""
    x = tensor(x)
    if not x.dtype.is_floating_point:
        return ops.copy(x)
    limits = dtypes.finfo(x.dtype)
    out = ops.where(ops.isnan(x), nan, x)
    out = ops.where(isposinf(x), limits.max if posinf is None else posinf, out)
    return ops.where(isneginf(x), limits.min if neginf is None else neginf, out)


def isposinf(x):
    """Whether x is +inf."""
    return tensor(x) == math.inf


def isneginf(x):
    """Whether x is -inf."""
    return tensor(x) == -math.inf


def isclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether |a - b| <= atol + rtol |b|, elementwise."""
    return arithmetic.isclose(*(tensor(one) for one in _floats(a, b)), rtol, atol, equal_nan)


def allclose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all elements are close, as a bool; see `isclose`."""
    return bool(isclose(a, b, rtol, atol, equal_nan).all())


def array_equal(a1, a2, equal_nan=False):
    """Whether shapes and elements are equal, as a bool."""
    a, b = tensor(a1), tensor(a2)
    if a.shape != b.shape:
        return False
    same = a == b
    return bool((same | (ops.isnan(a) & ops.isnan(b)) if equal_nan else same).all())


def iscomplexobj(x):
    """Whether the dtype is complex."""
    return tensor(x).dtype.is_complex


def isrealobj(x):
    """Whether the dtype is not complex."""
    return not isinstance(x, Tensor) or not x.dtype.is_complex
