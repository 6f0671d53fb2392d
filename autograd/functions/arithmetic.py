"""Elementwise functions under PyTorch's names, where more than the name differs from `ops`."""

from chainrule.autograd import late, ops
from chainrule.autograd.ops import elementwise
from chainrule.autograd.ops.elementwise import at_least, at_most, power, power_scalar
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from .common import tensor_of


def _scaled(input, other, alpha, name):
    """alpha * other, for an `alpha` that the dtypes of both can hold."""
    kinds = {one.dtype for one in (input, other) if isinstance(one, late.Tensor)}
    if isinstance(alpha, bool) and kinds != {dtypes.bool}:
        raise RuntimeError(f"{name}: alpha may be a bool only between bool tensors, got alpha={alpha}")
    if not isinstance(alpha, int) and not any(one.is_floating_point or one.is_complex for one in kinds):
        raise RuntimeError(f"{name}: alpha must be an int for integer tensors, got {alpha!r}")
    return ops.multiply(other, bool(alpha) if kinds == {dtypes.bool} else alpha)


def add(input, other, *, alpha=1):
    """input + alpha * other."""
    return ops.add(
        input, other if alpha.__class__ is int and alpha == 1 else _scaled(input, other, alpha, "add")
    )


def sub(input, other, *, alpha=1):
    """input - alpha * other. Bool tensors are refused: there is no telling what was meant."""
    if _is_bool(input) or _is_bool(other):
        raise RuntimeError(
            "sub: a bool tensor cannot be subtracted; use ~, ^ or logical_xor, or convert with .int()"
        )
    return ops.subtract(
        input, other if alpha.__class__ is int and alpha == 1 else _scaled(input, other, alpha, "sub")
    )


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
    whole = result_type(input, other)
    if whole.is_floating_point or whole.is_complex:
        return ops.trunc(ops.divide(input, other))
    quotient = ops.floor_divide(input, other)
    return quotient + ((quotient < 0) & (quotient * other != input))  # integers stay exact beyond 2**53


@precision(accelerator="float32")
def pow(input, exponent):
    """input ** exponent. A Python exponent of 2 or 0.5 takes the direct way."""
    if not isinstance(exponent, (int, float, complex)) or not isinstance(input, late.Tensor):
        return power(input, exponent)
    real = input._array.dtype.kind in "fV" and not isinstance(exponent, complex)
    kind = input.dtype if real else result_type(input, exponent)
    if kind.is_floating_point or kind.is_complex:
        x = input if input.dtype is kind else input.to(kind)
        if exponent == 2:
            return ops.square(x)
        return ops.sqrt(x) if exponent == 0.5 else power_scalar(x, exponent=exponent)
    if exponent < 0:
        raise RuntimeError(
            f"pow: integers to a negative integer power ({exponent}) are not allowed; use a float tensor"
        )
    return power_scalar(input if input.dtype is kind else input.to(kind), exponent=exponent)


def rpow(input, base):
    """base ** input."""
    return power(base, input)


def clamp(input, min=None, max=None):
    """input kept within [min, max], each a number, a Tensor or None; the gradient passes at the bounds themselves.

    NaN stays NaN. Where min > max the result is max.
    """
    x = tensor_of(input, "clamp")
    if min is None and max is None:
        raise RuntimeError("clamp: at least one of min and max must be given")
    if x.dtype.is_complex:
        raise NotImplementedError("clamp: complex numbers have no order; clamp .real and .imag")
    if isinstance(min, late.Tensor) or isinstance(max, late.Tensor):
        out = x if min is None else at_least(x, min)
        return out if max is None else at_most(out, max)
    kind = result_type(x, *(one for one in (min, max) if one is not None))
    return ops.clip(x if x.dtype is kind else x.to(kind), min, max)


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
    if tensor_of(condition, "where").dtype is dtypes.uint8:
        condition = condition != 0
    if condition.dtype is not dtypes.bool:
        raise RuntimeError(
            f"where: expected a condition of dtype bool, got {condition.dtype}; write condition != 0"
        )
    if not isinstance(input, late.Tensor) and not isinstance(other, late.Tensor):
        kind = dtypes.result_type(input, other)
        input = condition.new_full((), input, dtype=kind)
    return ops.where(condition, input, other)


def lerp(input, end, weight):
    """input + weight * (end - input), `weight` a Tensor or a number."""
    if not (tensor_of(input, "lerp").dtype.is_floating_point or input.dtype.is_complex):
        raise NotImplementedError(f"lerp: expected floating point or complex tensors, got {input.dtype}")
    return elementwise.lerp(input, tensor_of(end, "lerp"), weight)


@precision(accelerator="widest")
def addcmul(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 * tensor2."""
    kind = result_type(input, tensor1, tensor2)
    if isinstance(value, float) and not (kind.is_floating_point or kind.is_complex):
        value = int(value)  # as PyTorch: the arithmetic is that of integers
    return elementwise.addcmul(tensor_of(input, "addcmul"), tensor1, tensor2, value=value)


@precision(accelerator="widest")
def addcdiv(input, tensor1, tensor2, *, value=1):
    """input + value * tensor1 / tensor2. Two integer tensors are refused: whether to round would be a guess."""
    factors = (tensor_of(tensor1, "addcdiv"), tensor_of(tensor2, "addcdiv"))
    if not any(one.dtype.is_floating_point or one.dtype.is_complex for one in factors):
        raise RuntimeError(
            f"addcdiv: cannot divide {tensor1.dtype} by {tensor2.dtype}; use input + value * div(tensor1, tensor2), with the "
            f"rounding_mode you want, or convert with .float()"
        )
    return elementwise.addcdiv(tensor_of(input, "addcdiv"), tensor1, tensor2, value=value)


def round(input, *, decimals=0):
    """The nearest integer (or number of `decimals` digits), halves to even; the derivative is 0."""
    x = tensor_of(input, "round")
    if x.dtype.is_complex or x.dtype is dtypes.bool or (decimals and not x.dtype.is_floating_point):
        raise NotImplementedError(
            f"round: cannot round {x.dtype} to {decimals} digits; convert with .float()"
        )
    if not x.dtype.is_floating_point:
        return x.clone()
    if not decimals:
        return ops.rint(x)
    ten = 10.0 ** abs(decimals)
    return ops.rint(x * ten) / ten if decimals > 0 else ops.rint(x / ten) * ten


def frac(input):
    """The fraction: input - trunc(input)."""
    return tensor_of(input, "frac") - ops.trunc(input)


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
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"isclose: rtol and atol must not be negative, got rtol={rtol}, atol={atol}")
    close = tensor_of(input, "isclose") == tensor_of(other, "isclose")
    if input.dtype is dtypes.bool and other.dtype is dtypes.bool:
        return close
    near = ops.absolute(ops.subtract(input, other)) <= atol + rtol * ops.absolute(other)
    close = close | (near & ops.isfinite(input) & ops.isfinite(other))
    return close | (ops.isnan(input) & ops.isnan(other)) if equal_nan else close


def allclose(input, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all elements are close; see `isclose`."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input, other):
    """Whether two Tensors have the same shape and the same elements, as a bool."""
    x, y = tensor_of(input, "equal"), tensor_of(other, "equal")
    return tuple(x.shape) == tuple(y.shape) and bool((x == y).all())


def is_floating_point(input):
    """Whether the elements are floating point numbers."""
    return tensor_of(input, "is_floating_point").dtype.is_floating_point


def is_complex(input):
    """Whether the elements are complex numbers."""
    return tensor_of(input, "is_complex").dtype.is_complex


def numel(input):
    """The number of elements."""
    return tensor_of(input, "numel")._array.size


def result_type(*tensors):
    """The dtype an operation between these (Tensors or numbers) gives."""
    return dtypes.result_type(*[x._array if isinstance(x, late.Tensor) else x for x in tensors])
