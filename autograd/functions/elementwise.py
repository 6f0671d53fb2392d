"""Elementwise functions under PyTorch's names that scripts use less often than those of `arithmetic.py`."""

import math
from collections import namedtuple

from chainrule.autograd import inplace, late, ops
from chainrule.autograd.ops import integers, log_sums, signs
from chainrule.backends import dtypes

from . import arithmetic
from .common import tensor_of

FrExp = namedtuple("frexp", ["mantissa", "exponent"])


def _exact(x, name):
    """Refuse complex numbers, which have no order."""
    if isinstance(x, complex) or (isinstance(x, late.Tensor) and x.dtype.is_complex):
        raise TypeError(f"{name}: complex numbers have no order; use .real, .imag or .abs()")
    return x


def _whole(name, *values):
    """Refuse all but integers: Tensors of an integer dtype, and ints."""
    for value in values:
        if isinstance(value, late.Tensor):
            kind = value._array.dtype.kind
            if kind not in "iu":
                raise NotImplementedError(
                    f"{name}: expected integer tensors, got {value.dtype}; convert with .long()"
                )
        elif not isinstance(value, int):
            raise TypeError(f"{name}: expected integers, got {type(value).__name__} {value!r}")


def copysign(input, other):
    """|input| with the sign of `other`, a Tensor or a number; -0. is negative. The derivative is 0 where input is 0."""
    return signs.copysign(_exact(tensor_of(input, "copysign"), "copysign"), _exact(other, "copysign"))


def nextafter(input, other):
    """The floating point number next to `input` in the direction of `other`; its derivative is 1 but where they are equal."""
    for one in (input, other):
        if not tensor_of(one, "nextafter").dtype.is_floating_point:
            raise NotImplementedError(f"nextafter: expected floating point tensors, got {one.dtype}")
    return signs.nextafter(input, other)


def heaviside(input, values):
    """0 where input is negative (or NaN), 1 where positive, `values` where 0. No derivative."""
    x, values = tensor_of(input, "heaviside"), tensor_of(values, "heaviside")
    if x.dtype.is_complex or values.dtype.is_complex:
        raise RuntimeError("heaviside: complex numbers have no order")
    return signs.heaviside(x, values)


def sgn(input):
    """The sign: -1, 0 or 1; of a complex number z / |z|, and 0 at 0, where the derivative is 0 as well."""
    return signs.sgn(tensor_of(input, "sgn"))


def deg2rad(input):
    """Degrees as radians."""
    return _exact(tensor_of(input, "deg2rad"), "deg2rad") * (math.pi / 180)


def rad2deg(input):
    """Radians as degrees."""
    return _exact(tensor_of(input, "rad2deg"), "rad2deg") * (180 / math.pi)


def float_power(input, exponent):
    """input ** exponent in float64, or complex128; each a Tensor or a number, not both numbers."""
    if not isinstance(input, late.Tensor) and not isinstance(exponent, late.Tensor):
        raise TypeError("float_power: expected a Tensor for input or exponent, got two numbers")
    wide = dtypes.complex128 if _is_complex(input) or _is_complex(exponent) else dtypes.float64

    def widened(x):
        return x.to(wide) if isinstance(x, late.Tensor) else complex(x) if wide.is_complex else float(x)

    return arithmetic.pow(widened(input), widened(exponent))


def float_power_(input, exponent):
    """`float_power`, written into a float64 or complex128 Tensor."""
    if tensor_of(input, "float_power_").dtype not in (dtypes.float64, dtypes.complex128):
        raise RuntimeError(
            f"float_power_: the result is float64 or complex128, which a tensor of {input.dtype} cannot hold; use float_power"
        )
    return inplace.apply(float_power, input, exponent)


def _is_complex(x):
    return isinstance(x, complex) or (isinstance(x, late.Tensor) and x.dtype.is_complex)


def fmax(input, other):
    """The larger of two; where one is NaN, the other. At a tie `input` gets the gradient."""
    return signs.fmax(_exact(tensor_of(input, "fmax"), "fmax"), _exact(tensor_of(other, "fmax"), "fmax"))


def fmin(input, other):
    """The smaller of two; where one is NaN, the other. At a tie `input` gets the gradient."""
    return signs.fmin(_exact(tensor_of(input, "fmin"), "fmin"), _exact(tensor_of(other, "fmin"), "fmin"))


def frexp(input):
    """(mantissa, exponent): input = mantissa * 2**exponent with 1/2 <= |mantissa| < 1, the exponent as int32."""
    x = tensor_of(input, "frexp")
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            f"frexp: expected a floating point tensor, got {x.dtype}; convert with .float() or .double()"
        )
    return FrExp(*signs.frexp(x))


def ldexp(input, other):
    """input * 2**other."""
    return ops.multiply(
        tensor_of(input, "ldexp"),
        arithmetic.pow(2.0, other) if isinstance(other, late.Tensor) else 2.0**other,
    )


def logaddexp2(input, other):
    """log2(2**input + 2**other), without overflow."""
    x, y = tensor_of(input, "logaddexp2"), tensor_of(other, "logaddexp2")
    return log_sums.logaddexp2(_exact(x, "logaddexp2"), _exact(y, "logaddexp2"))


def gcd(input, other):
    """Greatest common divisor of integers; gcd(0, 0) is 0."""
    _whole("gcd", tensor_of(input, "gcd"), tensor_of(other, "gcd"))
    return integers.gcd(input, other)


def lcm(input, other):
    """Least common multiple of integers; 0 where either is 0."""
    _whole("lcm", tensor_of(input, "lcm"), tensor_of(other, "lcm"))
    return integers.lcm(input, other)


def bitwise_left_shift(input, other):
    """input * 2**other for integers, the bits that leave being lost."""
    _whole("bitwise_left_shift", input, other)
    return integers.left_shift(input, other)


def bitwise_right_shift(input, other):
    """floor(input / 2**other) for integers."""
    _whole("bitwise_right_shift", input, other)
    return integers.right_shift(input, other)


def rlshift(input, other):
    """other << input."""
    return bitwise_left_shift(other, input)


def rrshift(input, other):
    """other >> input."""
    return bitwise_right_shift(other, input)


def ilshift(input, other):
    """input <<= other."""
    return inplace.apply(bitwise_left_shift, input, other)


def irshift(input, other):
    """input >>= other."""
    return inplace.apply(bitwise_right_shift, input, other)


def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """NaN and the infinities replaced: by `nan`, `posinf` and `neginf`, these by default the dtype's limits. Gradient 0 there."""
    return signs.nan_to_num(
        tensor_of(input, "nan_to_num"), nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf
    )


def isreal(input):
    """Whether the imaginary part is 0."""
    x = tensor_of(input, "isreal")
    return x.imag == 0 if x.dtype.is_complex else x.new_ones(x.shape, dtype=dtypes.bool)


def isposinf(input):
    """Whether an element is +inf."""
    if tensor_of(input, "isposinf").dtype.is_complex:
        raise RuntimeError("isposinf: complex numbers have no order; test .real and .imag")
    return input == math.inf


def isneginf(input):
    """Whether an element is -inf."""
    if tensor_of(input, "isneginf").dtype.is_complex:
        raise RuntimeError("isneginf: complex numbers have no order; test .real and .imag")
    return input == -math.inf


def is_nonzero(input):
    """Whether the only element of a Tensor is not 0, as a bool."""
    if tensor_of(input, "is_nonzero").numel() != 1:
        raise RuntimeError(
            f"is_nonzero: expected one element, got shape {tuple(input.shape)}; use .any() or .all()"
        )
    return bool(input)


def is_signed(input):
    """Whether the dtype holds negative numbers."""
    return tensor_of(input, "is_signed").dtype.is_signed


def is_same_size(input, other):
    """Whether two Tensors have the same shape."""
    return tuple(tensor_of(input, "is_same_size").shape) == tuple(tensor_of(other, "is_same_size").shape)


def fill(input, value):
    """A Tensor like `input` with every element `value`, a number or a 0-d Tensor, which gets the gradient."""
    x = tensor_of(input, "fill")
    if isinstance(value, late.Tensor) and value.ndim:
        raise RuntimeError(f"fill: expected a number or a 0-d tensor, got shape {tuple(value.shape)}")
    if not isinstance(value, late.Tensor):
        value = x.new_full((), value)
    return inplace.replace(x, value.to(x.dtype)).clone()


def zero_(input):
    """`input` with every element set to 0, in place."""
    return tensor_of(input, "zero_").zero_()
