"""Elementwise functions under PyTorch's names, where more than the name differs from `ops`."""

from chainrule.autograd import late, ops
from chainrule.autograd.ops.elementwise import power, power_scalar
from chainrule.backends import dtypes

from .common import tensor_of


def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return ops.add(input, other if alpha == 1 else ops.multiply(other, alpha))


def sub(input, other, *, alpha=1):
    """input - alpha * other."""
    if _is_bool(input) and _is_bool(other):
        raise RuntimeError("sub: bool tensors cannot be subtracted; use ^ or logical_xor")
    return ops.subtract(input, other if alpha == 1 else ops.multiply(other, alpha))


def rsub(input, other, *, alpha=1):
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


def _is_bool(x):
    return isinstance(x, late.Tensor) and x.dtype is dtypes.bool


def div(input, other, *, rounding_mode=None):
    """input / other; rounding_mode None, "trunc" (towards 0) or "floor"."""
    if rounding_mode is None:
        return ops.divide(input, other)
    if rounding_mode == "floor":
        return ops.floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(f'div: rounding_mode must be None, "trunc" or "floor", got {rounding_mode!r}')
    quotient = ops.trunc(ops.divide(input, other))
    whole = dtypes.result_type(*(x._array if isinstance(x, late.Tensor) else x for x in (input, other)))
    return quotient if whole.is_floating_point else quotient.to(whole)


def pow(input, exponent):
    """input ** exponent. A Python exponent of 2, 0.5, -0.5 or -1 takes the direct way."""
    if isinstance(exponent, late.Tensor):
        return power(input, exponent)
    if not isinstance(input, late.Tensor):
        return power(input, exponent)
    if input.dtype.is_floating_point or input.dtype.is_complex:
        if exponent == 2:
            return ops.square(input)
        if exponent == 0.5:
            return ops.sqrt(input)
        return power_scalar(input, exponent=exponent)
    if isinstance(exponent, int):
        if exponent < 0:
            raise RuntimeError(
                f"pow: integers to a negative integer power ({exponent}) are not allowed; use a float tensor"
            )
        return power_scalar(input, exponent=exponent)
    return power_scalar(input.to(dtypes.get_default_dtype()), exponent=exponent)


def rpow(input, base):
    """base ** input."""
    return power(base, input)


def clamp(input, min=None, max=None):
    """input kept within [min, max], each a number, a Tensor or None; the gradient passes at the bounds themselves."""
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    if isinstance(min, late.Tensor) or isinstance(max, late.Tensor):
        out = input if min is None else ops.where(input >= min, input, min)
        return out if max is None else ops.where(out <= max, out, max)
    x = tensor_of(input, "clamp")
    if (
        x.dtype.is_floating_point
        or x.dtype is dtypes.bool
        or not (isinstance(min, float) or isinstance(max, float))
    ):
        return ops.clip(x, min, max)
    return ops.clip(x.to(dtypes.get_default_dtype()), min, max)


def clamp_min(input, min):
    """input, but at least `min`."""
    return clamp(input, min=min)


def clamp_max(input, max):
    """input, but at most `max`."""
    return clamp(input, max=max)


def where(condition, input=None, other=None):
    """input where condition, else other. With the condition alone: `nonzero(condition, as_tuple=True)`.

    A NaN or infinity that arises in the branch not taken still reaches the gradient of what made it (0 * inf): choose
    safe inputs first, `where(ok, f(where(ok, x, 1)), 0)`.
    """
    if input is None:
        from .indexing import nonzero

        return nonzero(condition, as_tuple=True)
    if condition.dtype is not dtypes.bool:
        raise RuntimeError(
            f"where: expected a condition of dtype bool, got {condition.dtype}; write condition != 0"
        )
    if not isinstance(input, late.Tensor) and not isinstance(other, late.Tensor):
        kind = dtypes.result_type(input, other)
        input = condition.new_full((), input, dtype=kind)
    return ops.where(condition, input, other)


def lerp(input, end, weight):
    """input + weight * (end - input)."""
    return input + weight * (end - input)


def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    return input + value * (tensor1 * tensor2)


def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2."""
    return input + value * (tensor1 / tensor2)


def round(input, *, decimals=0):
    """The nearest integer (or number of `decimals` digits), halves to even; the derivative is 0."""
    if decimals == 0:
        return ops.rint(input) if input.dtype.is_floating_point else input.clone()
    return ops.rint(input * 10.0**decimals) / 10.0**decimals


def frac(input):
    """The fraction: input - trunc(input)."""
    return input - ops.trunc(input)


def sigmoid(input):
    """1 / (1 + e^-x), without overflow."""
    from chainrule.autograd.ops import activation

    return activation.sigmoid(input)


def relu(input):
    """max(x, 0); the derivative at 0 is 0."""
    from chainrule.autograd.ops import activation

    return activation.relu(input)


def softmax(input, dim, dtype=None):
    """e^x / sum(e^x) along `dim`."""
    from chainrule.nn.functional import softmax as function

    return function(input, dim=dim, dtype=dtype)


def log_softmax(input, dim, dtype=None):
    """log(softmax(x)) along `dim`, without overflow."""
    from chainrule.nn.functional import log_softmax as function

    return function(input, dim=dim, dtype=dtype)


def isclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether |input - other| <= atol + rtol * |other|, elementwise; equal infinities are close."""
    with_tolerance = abs(input - other) <= atol + rtol * abs(other)
    close = (input == other) | (with_tolerance & ops.isfinite(input) & ops.isfinite(other))
    return close | (ops.isnan(input) & ops.isnan(other)) if equal_nan else close


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all elements are close; see `isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other):
    """Whether two Tensors have the same shape and the same elements, as a bool."""
    return tuple(input.shape) == tuple(other.shape) and bool((input == other).all())


def is_floating_point(input):
    """Whether the elements are floating point numbers."""
    return input.dtype.is_floating_point


def is_complex(input):
    """Whether the elements are complex numbers."""
    return input.dtype.is_complex


def numel(input):
    """The number of elements."""
    return tensor_of(input, "numel")._array.size


def result_type(tensor1, tensor2):
    """The dtype an operation between the two (Tensors or numbers) gives."""
    return dtypes.result_type(*(x._array if isinstance(x, late.Tensor) else x for x in (tensor1, tensor2)))
