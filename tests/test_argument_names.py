"""The names of arguments: elementwise functions take theirs by PyTorch's, as functions and as methods."""

import inspect

import pytest

import chainrule as cr
from chainrule.autograd.op import registry

NAMES = {
    "input": """
        abs absolute acos acosh angle arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh bitwise_not ceil conj_physical cos
        cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 fix floor frac frexp i0 isfinite isinf isnan isneginf isposinf isreal lgamma log
        log10 log1p log2 logical_not neg negative positive rad2deg reciprocal relu rsqrt sgn sigmoid sign signbit sin sinc sinh sqrt square
        tan tanh trunc special.bessel_j0 special.bessel_j1 special.digamma special.entr special.erf special.erfc special.erfcx
        special.erfinv special.exp2 special.expit special.expm1 special.gammaln special.i0 special.i0e special.i1 special.i1e
        special.log1p special.log_ndtr special.ndtr special.ndtri special.psi special.sinc
    """,
    "input, other": """
        arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign eq equal floor_divide fmax fmin
        fmod gcd ge greater greater_equal gt hypot igamma igammac lcm ldexp le less less_equal logaddexp logaddexp2 logical_and logical_or
        logical_xor lt maximum minimum mul multiply ne nextafter not_equal remainder xlogy special.xlog1py special.xlogy
        special.zeta
    """,
    "input, other, alpha": "add rsub sub subtract",
    "input, other, rounding_mode": "div divide true_divide",
    "input, other, rtol, atol, equal_nan": "allclose isclose",
    "input, exponent": "float_power pow",
    "input, values": "heaviside",
    "input, decimals": "round",
    "input, eps": "logit",
    "input, nan, posinf, neginf": "nan_to_num",
    "input, min, max": "clamp clip",
    "input, min": "clamp_min",
    "input, max": "clamp_max",
    "input, end, weight": "lerp",
    "input, tensor1, tensor2, value": "addcdiv addcmul",
    "condition, input, other": "where",
}  # fmt: skip
TABLE = [(name, arguments) for arguments, names in NAMES.items() for name in names.split()]


def found(path):
    place = cr
    for part in path.split("."):
        place = getattr(place, part)
    return place


@pytest.mark.parametrize(("name", "arguments"), TABLE, ids=[name for name, _ in TABLE])
def test_functions_and_methods_name_their_arguments_as_pytorch(name, arguments):
    expected = arguments.split(", ")
    assert list(inspect.signature(found(name)).parameters) == expected
    method = getattr(cr.Tensor, name, None)
    if method is not None and name != "where":  # x.where(condition, other)
        # A method that is loaded when first called passes all it is given to the function.
        assert list(inspect.signature(method).parameters)[1:] in (expected[1:], ["args", "kwargs"])


def test_calls_by_name():
    x, y = cr.tensor([1.0, 2.0], requires_grad=True), cr.tensor([3.0, 0.5])
    assert cr.mul(other=y, input=x).tolist() == [3.0, 1.0]
    assert x.sub(other=y).tolist() == [-2.0, 1.5]
    assert x.maximum(other=y).tolist() == [3.0, 2.0]
    assert x.pow(exponent=2).tolist() == [1.0, 4.0]
    assert cr.vmap(lambda one: cr.mul(input=one, other=one))(x).tolist() == [1.0, 4.0]
    cr.square(input=x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    with pytest.raises(TypeError, match="exp"):
        cr.exp(x=x)


def test_names_of_no_operation_collide():
    for op in registry.values():
        assert len(op.parameters) == len(op.inputs) == len({*op.parameters}), op
        assert not {*op.parameters} & {*op.static, op.variadic}, op
