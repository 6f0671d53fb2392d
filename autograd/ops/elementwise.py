"""Elementwise arithmetic, powers, exponentials and comparison. (*) -> (*), broadcasting where there are several inputs.

Rules are holomorphic: `g * f'(x)`. PyTorch's conjugate convention for complex gradients is the conjugate of that
everywhere, so it is applied once, where gradients enter and leave the backward pass.
"""

import math

from chainrule.autograd.op import op

from .blocks import in_float32

LN2, LN10 = math.log(2), math.log(10)


@op(a=lambda xp, g: g, b=lambda xp, g: g, cast="promote")
def add(xp, a, b):
    """Elementwise sum."""
    return xp.add(a, b)


@op(a=lambda xp, g: g, b=lambda xp, g: -g, cast="promote")
def subtract(xp, a, b):
    """Elementwise difference."""
    return xp.subtract(a, b)


@op(a=lambda xp, g, b: g * b, b=lambda xp, g, a: g * a, cast="promote")
def multiply(xp, a, b):
    """Elementwise product."""
    return xp.multiply(a, b)


@op(a=lambda xp, g, b: g / b, b=lambda xp, g, b, y: -g * (y / b), cast="float")
def divide(xp, a, b):
    """Elementwise quotient; integers divide to the default float."""
    return xp.divide(a, b)


@op(a=lambda xp, g: xp.zeros_like(g), b=lambda xp, g: xp.zeros_like(g), cast="promote")
def floor_divide(xp, a, b):
    """Elementwise quotient rounded down; its derivative is 0 where it has one."""
    return xp.floor_divide(a, b)


@op(a=lambda xp, g: g, b=lambda xp, g, a, b: -g * xp.floor(a / b), cast="promote")
def remainder(xp, a, b):
    """a - b * floor(a / b), with the sign of b."""
    return xp.remainder(a, b)


@op(a=lambda xp, g: g, b=lambda xp, g, a, b: -g * xp.trunc(a / b), cast="promote")
def fmod(xp, a, b):
    """a - b * trunc(a / b), with the sign of a."""
    return xp.fmod(a, b)


@op(x=lambda xp, g: -g)
def negative(xp, x):
    """-x."""
    return xp.negative(x)


@op(x=lambda xp, g: g)
def positive(xp, x):
    """x, unchanged, as a new value."""
    return xp.positive(x)


def _power_exponent(xp, g, a, y):
    """y * log(a); 0 where a is 0, as PyTorch has it."""
    if isinstance(a, (int, float)):
        return g * y * (math.log(a) if a > 0 else 0.0 if a == 0 else math.nan)
    return xp.where(a == 0, xp.zeros_like(y), g * y * xp.log(xp.where(a == 0, xp.ones_like(a), a)))


@op(
    a=lambda xp, g, a, b: g * xp.where(b == 0, 0, b * xp.power(a, xp.where(b == 0, 1, b - 1))),
    b=_power_exponent,
    cast="promote",
)
def power(xp, a, b):
    """a ** b, both arrays. d/da = b a^(b-1), 0 where b is 0; d/db = y log a, 0 where a is 0."""
    return xp.power(a, b)


@op(
    x=lambda xp, g, x, exponent: (
        g * (exponent * power_scalar(x, exponent=exponent - 1)) if exponent else xp.zeros_like(g)
    )
)
@in_float32
def power_scalar(xp, x, *, exponent):
    """x ** exponent for a Python number."""
    return x**exponent


@op(x=lambda xp, g, x: g * (2 * x))
def square(xp, x):
    """x * x."""
    return xp.square(x)


@op(x=lambda xp, g, y: g / (2 * y), cast="float")
def sqrt(xp, x):
    """Square root; the derivative at 0 is infinite."""
    return xp.sqrt(x)


@op(x=lambda xp, g, y: -0.5 * g * (y * y * y), cast="float")
def rsqrt(xp, x):
    """1 / sqrt(x)."""
    return 1 / xp.sqrt(x)


@op(x=lambda xp, g, y: -g * (y * y), cast="float")
def reciprocal(xp, x):
    """1 / x."""
    return xp.reciprocal(x)


@op(x=lambda xp, g, y: g * y, cast="float")
def exp(xp, x):
    """e ** x."""
    return xp.exp(x)


@op(x=lambda xp, g, y: g * (y * LN2), cast="float")
def exp2(xp, x):
    """2 ** x."""
    return xp.exp2(x)


@op(x=lambda xp, g, y: g * (y + 1), cast="float")
def expm1(xp, x):
    """e ** x - 1, exact near 0."""
    return xp.expm1(x)


@op(x=lambda xp, g, x: g / x, cast="float")
def log(xp, x):
    """Natural logarithm."""
    return xp.log(x)


@op(x=lambda xp, g, x: g / (x * LN2), cast="float")
def log2(xp, x):
    """Logarithm to base 2."""
    return xp.log2(x)


@op(x=lambda xp, g, x: g / (x * LN10), cast="float")
def log10(xp, x):
    """Logarithm to base 10."""
    return xp.log10(x)


@op(x=lambda xp, g, x: g / (1 + x), cast="float")
def log1p(xp, x):
    """log(1 + x), exact near 0."""
    return xp.log1p(x)


def _log_share(xp, g, a, b, y):
    """e^(a-y): the share of `a` in log(e^a + e^b); half where both are the same infinity."""
    equal = a == b
    return g * xp.where(equal, 0.5, xp.exp(xp.where(equal, 0, a - y)))


@op(
    a=lambda xp, g, a, b, y: _log_share(xp, g, a, b, y),
    b=lambda xp, g, a, b, y: _log_share(xp, g, b, a, y),
    cast="float",
)
def logaddexp(xp, a, b):
    """log(e^a + e^b) without overflow."""
    return xp.logaddexp(a, b)


def direction(xp, x):
    """d|x|/dx: the sign; for a complex number the conjugate of x / |x|. 0 at 0."""
    if not is_complex(x):
        return sign(x)
    size = absolute(x)
    return xp.conj(x) / xp.where(size == 0, xp.ones_like(size), size)


def is_complex(x):
    return getattr(x.dtype, "dtype", x.dtype).kind == "c"


@op(x=lambda xp, g, x: g * direction(xp, x))
def absolute(xp, x):
    """|x|; the derivative at 0 is 0."""
    return xp.absolute(x)


@op(x=lambda xp, g: xp.zeros_like(g))
def sign(xp, x):
    """-1, 0 or 1; the derivative is 0."""
    return xp.sign(x)


@op(x=lambda xp, g: xp.zeros_like(g))
def floor(xp, x):
    """The largest integer <= x; the derivative is 0."""
    return xp.floor(x)


@op(x=lambda xp, g: xp.zeros_like(g))
def ceil(xp, x):
    """The smallest integer >= x; the derivative is 0."""
    return xp.ceil(x)


@op(x=lambda xp, g: xp.zeros_like(g))
def trunc(xp, x):
    """x without its fraction; the derivative is 0."""
    return xp.trunc(x)


@op(x=lambda xp, g: xp.zeros_like(g))
def rint(xp, x):
    """The nearest integer, halves to even; the derivative is 0."""
    return xp.rint(x)


@op(
    a=lambda xp, g, a, b: _to_winner(xp, g, a, b, a > b),
    b=lambda xp, g, a, b: _to_winner(xp, g, a, b, b > a),
    cast="promote",
)
def maximum(xp, a, b):
    """The larger of two, NaN if either is; at a tie each input gets half the gradient."""
    return xp.maximum(a, b)


@op(
    a=lambda xp, g, a, b: _to_winner(xp, g, a, b, a < b),
    b=lambda xp, g, a, b: _to_winner(xp, g, a, b, b < a),
    cast="promote",
)
def minimum(xp, a, b):
    """The smaller of two, NaN if either is; at a tie each input gets half the gradient."""
    return xp.minimum(a, b)


def _to_winner(xp, g, a, b, won):
    return xp.where(won, g, xp.where(a == b, g / 2, xp.zeros_like(g)))


@op(x=lambda xp, g, x, low, high: xp.where(_inside(xp, x, low, high), g, xp.zeros_like(g)))
@in_float32
def clip(xp, x, *, low=None, high=None):
    """x kept within Python numbers [low, high]; the gradient passes at the bounds themselves, as in PyTorch."""
    return xp.clip(x, low, high)


def _inside(xp, x, low, high):
    if low is None:
        return x <= high
    return x >= low if high is None else xp.logical_and(x >= low, x <= high)


@op(
    a=lambda xp, g, condition: xp.where(condition, g, xp.zeros_like(g)),
    b=lambda xp, g, condition: xp.where(condition, xp.zeros_like(g), g),
    cast="promote",
    cast_inputs=("a", "b"),
)
def where(xp, condition, a, b):
    """`a` where `condition`, else `b`. A NaN or infinity that arises in the branch not taken still reaches the gradient
    of what made it (0 * inf): choose safe inputs first, `where(ok, f(where(ok, x, 1)), 0)`."""
    return xp.where(condition, a, b)


def _comparison(name, text):
    def forward(xp, a, b):
        return getattr(xp, name)(a, b)

    forward.__name__ = name
    forward.__doc__ = f"{text}, elementwise, as bool."
    return op(cast="compare")(forward)


equal = _comparison("equal", "a == b")
not_equal = _comparison("not_equal", "a != b")
less = _comparison("less", "a < b")
less_equal = _comparison("less_equal", "a <= b")
greater = _comparison("greater", "a > b")
greater_equal = _comparison("greater_equal", "a >= b")
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
