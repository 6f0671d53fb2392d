"""Elementwise arithmetic, powers, exponentials and comparison. (*) -> (*), broadcasting where there are several inputs.

Rules are holomorphic: `g * f'(x)`. PyTorch's conjugate convention for complex gradients is the conjugate of that
everywhere, so it is applied once, where gradients enter and leave the backward pass.
"""

import cmath
import math

from chainrule.autograd.op import op
from chainrule.backends import backend_of, namespaces

from .blocks import in_float32

LN2, LN10 = math.log(2), math.log(10)


def _no_bools(name, a, b):
    """Refuse bools, of which NumPy makes small integers. (Mixed dtypes have been promoted.)"""
    if (a if hasattr(a, "dtype") else b).dtype.kind == "b":
        raise NotImplementedError(f"{name}: not defined for bool tensors; convert with .int()")


def _ordered(name, a, b):
    """Refuse complex numbers, of which NumPy compares the real parts first."""
    if is_complex(a if hasattr(a, "dtype") else b):
        raise NotImplementedError(f"{name}: complex numbers have no order; compare .real, .imag or .abs()")


def _divided(name, function, a, b):
    """function(a, b) of a quotient or its rest. Integers by zero are refused where the library notices it as it computes; on a GPU,
    where asking would cost a synchronisation, they give what they give."""
    array = a if a.__class__ in namespaces else b
    _no_bools(name, a, b)
    if array.dtype.kind not in "iu" or (array is a and b.__class__ not in namespaces and b != 0):
        return function(a, b)
    try:
        with backend_of(array).noticing_zero():
            return function(a, b)
    except FloatingPointError:
        raise ZeroDivisionError("an integer divided by zero; use .float() for inf and NaN") from None


@op(a=lambda xp, g: g, b=lambda xp, g: g, cast="promote", tangent="elementwise")
def add(xp, a, b):
    """Elementwise sum."""
    return xp.add(a, b)


def _subtract_tangent(xp, t):
    a, b = t
    return a if b is None else -b if a is None else a - b


@op(a=lambda xp, g: g, b=lambda xp, g: -g, cast="promote", tangent=_subtract_tangent)
def subtract(xp, a, b):
    """Elementwise difference."""
    return xp.subtract(a, b)


@op(a=lambda xp, g, b: g * b, b=lambda xp, g, a: g * a, cast="promote", tangent="elementwise")
def multiply(xp, a, b):
    """Elementwise product."""
    return xp.multiply(a, b)


@op(a=lambda xp, g, b: g / b, b=lambda xp, g, b, y: -g * (y / b), cast="float", tangent="elementwise")
def divide(xp, a, b):
    """Elementwise quotient; integers divide to the default float."""
    return xp.divide(a, b)


@op(a=lambda xp, g: xp.zeros_like(g), b=lambda xp, g: xp.zeros_like(g), cast="promote", tangent="elementwise")
def floor_divide(xp, a, b):
    """Elementwise quotient rounded down; its derivative is 0 where it has one."""
    return _divided("floor_divide", xp.floor_divide, a, b)


@op(a=lambda xp, g: g, b=lambda xp, g, a, b: -g * xp.floor(a / b), cast="promote", tangent="elementwise")
def remainder(xp, a, b):
    """a - b * floor(a / b), with the sign of b."""
    return _divided("remainder", xp.remainder, a, b)


@op(a=lambda xp, g: g, b=lambda xp, g, a, b: -g * xp.trunc(a / b), cast="promote", tangent="elementwise")
def fmod(xp, a, b):
    """a - b * trunc(a / b), with the sign of a."""
    return _divided("fmod", xp.fmod, a, b)


@op(x=lambda xp, g: -g, tangent="elementwise")
def negative(xp, x):
    """-x."""
    return xp.negative(x)


@op(x=lambda xp, g: g, tangent="elementwise")
def positive(xp, x):
    """x, unchanged, as a new value."""
    return xp.positive(x)


def _power_base(xp, g, a, b):
    """b a^(b-1), 0 where b is 0."""
    if isinstance(b, (int, float, complex)):
        return g * (b * xp.power(a, b - 1)) if b else xp.zeros_like(g)
    return g * xp.where(b == 0, 0, b * xp.power(a, xp.where(b == 0, 1, b - 1)))


def _power_exponent(xp, g, a, b, y):
    """y * log(a); where a is 0, 0 for the powers that are 0 (or 1) there, and -inf for the infinite ones."""
    if isinstance(a, (int, float, complex)):
        if a:
            return g * y * (cmath.log(a) if is_complex(y) else math.log(a) if a > 0 else math.nan)
        return xp.zeros_like(y) if is_complex(y) else xp.where(b < 0, -g * y, xp.zeros_like(y))
    zero = a == 0 if is_complex(y) else xp.logical_and(a == 0, b >= 0)
    return xp.where(zero, xp.zeros_like(y), g * y * xp.log(xp.where(zero, xp.ones_like(a), a)))


@op(
    a=_power_base,
    b=_power_exponent,
    cast="promote",
    tangent="elementwise",
)
def power(xp, a, b):
    """a ** b, both arrays. d/da = b a^(b-1), 0 where b is 0; d/db = y log a, 0 where a is 0.

    An integer to a negative power is rounded towards 0: it is 0, except of 1 and -1.
    """
    _no_bools("power", a, b)
    if not hasattr(b, "dtype") or b.dtype.kind != "i":
        return xp.power(a, b)
    whole = xp.power(a, xp.where(b < 0, b & 1, b))
    return xp.where((b < 0) & (xp.absolute(a) != 1), 0, whole).astype(whole.dtype)


@op(
    x=lambda xp, g, x, exponent: (
        g * (exponent * power_scalar(x, exponent=exponent - 1)) if exponent else xp.zeros_like(g)
    ),
    tangent="elementwise",
)
@in_float32
def power_scalar(xp, x, *, exponent):
    """x ** exponent for a Python number."""
    return x**exponent


@op(x=lambda xp, g, x: g * (2 * x), tangent="elementwise")
def square(xp, x):
    """x * x; of bools as int64."""
    return xp.square(x.astype("int64") if x.dtype.kind == "b" else x)


@op(x=lambda xp, g, y: g / (2 * y), cast="float", tangent="elementwise")
def sqrt(xp, x):
    """Square root; the derivative at 0 is infinite."""
    return xp.sqrt(x)


@op(
    x=lambda xp, g, y: -0.5 * g * (y * y * y),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def rsqrt(xp, x):
    """1 / sqrt(x)."""
    return 1 / xp.sqrt(x)


@op(
    x=lambda xp, g, y: -g * (y * y), cast="float", tangent="elementwise", precision={"accelerator": "float32"}
)
def reciprocal(xp, x):
    """1 / x."""
    return xp.reciprocal(x)


@op(x=lambda xp, g, y: g * y, cast="float", tangent="elementwise", precision={"accelerator": "float32"})
def exp(xp, x):
    """e ** x."""
    return xp.exp(x)


@op(x=lambda xp, g, y: g * (y * LN2), cast="float", tangent="elementwise")
def exp2(xp, x):
    """2 ** x."""
    return xp.exp2(x)


@op(x=lambda xp, g, y: g * (y + 1), cast="float", tangent="elementwise", precision={"accelerator": "float32"})
def expm1(xp, x):
    """e ** x - 1, exact near 0."""
    return xp.expm1(x)


@op(x=lambda xp, g, x: g / x, cast="float", tangent="elementwise", precision={"accelerator": "float32"})
def log(xp, x):
    """Natural logarithm."""
    return xp.log(x)


@op(
    x=lambda xp, g, x: g / (x * LN2),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def log2(xp, x):
    """Logarithm to base 2."""
    return xp.log2(x)


@op(
    x=lambda xp, g, x: g / (x * LN10),
    cast="float",
    tangent="elementwise",
    precision={"accelerator": "float32"},
)
def log10(xp, x):
    """Logarithm to base 10."""
    return xp.log10(x)


@op(x=lambda xp, g, x: g / (1 + x), cast="float", tangent="elementwise", precision={"accelerator": "float32"})
def log1p(xp, x):
    """log(1 + x), exact near 0."""
    return xp.log1p(x)


def direction(xp, x):
    """d|x|/dx: the sign; for a complex number the conjugate of x / |x|. 0 at 0."""
    if not is_complex(x):
        return sign(x)
    size = absolute(x)
    return xp.conj(x) / xp.where(size == 0, xp.ones_like(size), size)


def refuse_complex(name, x):
    """For functions that are computed for real numbers only."""
    if x.dtype.kind == "c":
        raise NotImplementedError(
            f"{name}: expected a real tensor, got {x.dtype}; use .real, .imag or .abs()"
        )


def is_complex(x):
    return getattr(x.dtype, "dtype", x.dtype).kind == "c"


@op(x=lambda xp, g, x: g * direction(xp, x), tangent="elementwise")
def absolute(xp, x):
    """|x|; the derivative at 0 is 0."""
    return xp.absolute(x)


@op(x=lambda xp, g: xp.zeros_like(g), tangent="elementwise")
def sign(xp, x):
    """-1, 0 or 1; the derivative is 0. For complex numbers see `sgn`."""
    if x.dtype.kind == "c":
        raise RuntimeError("sign: a complex number has no sign; use sgn for z / |z|")
    return x.copy() if x.dtype.kind == "b" else xp.sign(x)


@op(x=lambda xp, g: xp.zeros_like(g), tangent="elementwise")
def floor(xp, x):
    """The largest integer <= x; the derivative is 0."""
    return xp.floor(x)


@op(x=lambda xp, g: xp.zeros_like(g), tangent="elementwise")
def ceil(xp, x):
    """The smallest integer >= x; the derivative is 0."""
    return xp.ceil(x)


@op(x=lambda xp, g: xp.zeros_like(g), tangent="elementwise")
def trunc(xp, x):
    """x without its fraction; the derivative is 0."""
    return xp.trunc(x)


@op(x=lambda xp, g: xp.zeros_like(g), tangent="elementwise")
def rint(xp, x):
    """The nearest integer, halves to even; the derivative is 0."""
    return xp.rint(x)


@op(
    a=lambda xp, g, a, b: _to_winner(xp, g, a, b, a < b),
    b=lambda xp, g, a, b: _to_winner(xp, g, a, b, b < a),
    cast="promote",
    tangent="elementwise",
)
def maximum(xp, a, b):
    """The larger of two, NaN if either is; at a tie each input gets half the gradient."""
    _ordered("maximum", a, b)
    return xp.maximum(a, b)


@op(
    a=lambda xp, g, a, b: _to_winner(xp, g, a, b, a > b),
    b=lambda xp, g, a, b: _to_winner(xp, g, a, b, b > a),
    cast="promote",
    tangent="elementwise",
)
def minimum(xp, a, b):
    """The smaller of two, NaN if either is; at a tie each input gets half the gradient."""
    _ordered("minimum", a, b)
    return xp.minimum(a, b)


def _to_winner(xp, g, a, b, lost):
    """The gradient for the one that has not lost: half of it at a tie, all of it next to a NaN, for both, as in PyTorch."""
    return xp.where(lost, xp.zeros_like(g), xp.where(a == b, g / 2, g))


@op(
    x=lambda xp, g, x, low, high: xp.where(_inside(xp, x, low, high), g, xp.zeros_like(g)),
    tangent="elementwise",
)
@in_float32
def clip(xp, x, *, low=None, high=None):
    """x kept within Python numbers [low, high]; the gradient passes at the bounds themselves, as in PyTorch."""
    return xp.clip(x, low, high)


def _inside(xp, x, low, high):
    if low is None:
        return x <= high
    return x >= low if high is None else xp.logical_and(x >= low, x <= high)


@op(
    x=lambda xp, g, x, bound: xp.where(x >= bound, g, xp.zeros_like(g)),
    bound=lambda xp, g, x, bound: xp.where(x < bound, g, xp.zeros_like(g)),
    cast="promote",
)
def at_least(xp, x, bound):
    """The larger of two, NaN if either is; unlike `maximum` gives x the whole gradient at a tie."""
    return xp.maximum(x, bound)


@op(
    x=lambda xp, g, x, bound: xp.where(x <= bound, g, xp.zeros_like(g)),
    bound=lambda xp, g, x, bound: xp.where(x > bound, g, xp.zeros_like(g)),
    cast="promote",
)
def at_most(xp, x, bound):
    """The smaller of two, NaN if either is; unlike `minimum` gives x the whole gradient at a tie."""
    return xp.minimum(x, bound)


@op(
    start=lambda xp, g, weight: g * (1 - weight),
    end=lambda xp, g, weight: g * weight,
    weight=lambda xp, g, start, end: g * (end - start),
    cast="promote",
)
@in_float32
def lerp(xp, start, end, weight):
    """start + weight * (end - start), counted from the nearer end so that both ends are met exactly."""
    way = end - start
    if weight.__class__ not in namespaces:  # a number: CuPy's `where` takes an array
        return start + weight * way if abs(weight) < 0.5 else end - (1 - weight) * way
    return xp.where(abs(weight) < 0.5, start + weight * way, end - (1 - weight) * way)


@op(
    x=lambda xp, g: g,
    a=lambda xp, g, b, value: g * (value * b),
    b=lambda xp, g, a, value: g * (value * a),
    cast="promote",
)
@in_float32
def addcmul(xp, x, a, b, *, value=1):
    """x + value * a * b."""
    return x + value * a * b


@op(
    x=lambda xp, g: g,
    a=lambda xp, g, b, value: g * value / b,
    b=lambda xp, g, a, b, value: -g * (value * a) / (b * b),
    cast="promote",
)
@in_float32
def addcdiv(xp, x, a, b, *, value=1):
    """x + value * a / b."""
    return x + value * a / b


@op(
    a=lambda xp, g, condition: xp.where(condition, g, xp.zeros_like(g)),
    b=lambda xp, g, condition: xp.where(condition, xp.zeros_like(g), g),
    cast="promote",
    cast_inputs=("a", "b"),
    tangent="elementwise",
)
def where(xp, condition, a, b):
    """`a` where `condition`, else `b`. A NaN or infinity that arises in the branch not taken still reaches the gradient
    of what made it (0 * inf): choose safe inputs first, `where(ok, f(where(ok, x, 1)), 0)`."""
    return xp.where(condition, a, b)


def _comparison(name, text, ordered=False):
    def forward(xp, a, b):
        if ordered:
            _ordered(name, a, b)
        return getattr(xp, name)(a, b)

    forward.__name__ = name
    forward.__doc__ = f"{text}, elementwise, as bool."
    return op(cast="compare")(forward)


equal = _comparison("equal", "a == b")
not_equal = _comparison("not_equal", "a != b")
less = _comparison("less", "a < b", ordered=True)
less_equal = _comparison("less_equal", "a <= b", ordered=True)
greater = _comparison("greater", "a > b", ordered=True)
greater_equal = _comparison("greater_equal", "a >= b", ordered=True)
logical_and = _comparison("logical_and", "a and b")
logical_or = _comparison("logical_or", "a or b")
logical_xor = _comparison("logical_xor", "either a or b")
bitwise_and = _comparison("bitwise_and", "Bits set in both")
bitwise_or = _comparison("bitwise_or", "Bits set in either")
bitwise_xor = _comparison("bitwise_xor", "Bits set in one")


def _test(name, text):
    def forward(xp, x):
        return getattr(xp, name)(x)

    forward.__name__ = name
    forward.__doc__ = text
    return op()(forward)


logical_not = _test("logical_not", "Whether x is 0 or False.")
invert = _test("invert", "Every bit flipped; `not` for bool.")
isnan = _test("isnan", "Whether x is NaN.")
isinf = _test("isinf", "Whether x is infinite.")
isfinite = _test("isfinite", "Whether x is neither infinite nor NaN.")
signbit = _test("signbit", "Whether the sign bit is set.")
