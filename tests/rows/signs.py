"""Rows: signs, steps, neighbours of floating point numbers, integers' divisors and shifts, and the pieces of `arithmetic`."""

import numpy as np

import chainrule as cr
from tests.table import Row, apart, fixed, ints, mask, positive, within

HOLES = [1.5, np.nan, -0.5, np.inf, -np.inf, 2.0]

ROWS = [
    Row("copysign", cr.copysign, [apart((3, 4)), apart((4,))], ref=np.copysign),
    Row("copysign", cr.copysign, [apart((3, 4)), -2.0], ref=np.copysign, tag="scalar"),
    Row("sgn", cr.sgn, [apart((3, 4))], ref=np.sign, torch=False),
    Row("heaviside", cr.heaviside, [ints(-2, 3, (3, 4)), ints(5, 9, (4,))], grad=False),
    Row("nextafter", cr.nextafter, [apart((3, 4)), positive((4,))], ref=np.nextafter),
    Row("frexp", cr.frexp, [apart((3, 4))], ref=np.frexp),
    Row("ldexp", lambda x, n: cr.ldexp(x, n).to(x.dtype), [(3, 4), ints(-3, 4, (4,))], ref=lambda x, n: x * 2.0**n,
        torch=lambda x, n: x * 2.0**n),
    Row("nan_to_num", cr.nan_to_num, [(3, 4)], ref=np.nan_to_num),
    Row(
        "nan_to_num",
        cr.nan_to_num,
        [fixed(HOLES)],
        kwargs={"nan": 0.5, "posinf": 7.0},
        ref=lambda x, nan, posinf: np.nan_to_num(x, nan=nan, posinf=posinf),
        grad=False,
        tag="holes",
    ),
    Row("fmax", cr.fmax, [apart((3, 4)), (4,)], ref=np.fmax),
    Row("fmin", cr.fmin, [apart((3, 4)), (4,)], ref=np.fmin),
    Row("fmin", cr.fmin, [fixed(HOLES), fixed(HOLES[::-1])], ref=np.fmin, grad=False, tag="NaN"),
    Row("logaddexp2", cr.logaddexp2, [(3, 4), (4,)], ref=np.logaddexp2),
    Row("float_power", lambda x, y: cr.float_power(x, y).to(x.dtype), [positive((3, 4)), (4,)], ref=np.float_power),
    Row("deg2rad", cr.deg2rad, [(3, 4)], ref=np.deg2rad),
    Row("rad2deg", cr.rad2deg, [(3, 4)], ref=np.rad2deg),
    Row("rsub", cr.rsub, [(3, 4), (4,)], kwargs={"alpha": 2}, ref=lambda a, b, alpha: b - alpha * a),
    Row("gcd", cr.gcd, [ints(-30, 30, (3, 4)), ints(-30, 30, (4,))], ref=np.gcd, grad=False),
    Row("lcm", cr.lcm, [ints(-30, 30, (3, 4)), ints(-30, 30, (4,))], ref=np.lcm, grad=False),
    Row(
        "bitwise_left_shift",
        cr.bitwise_left_shift,
        [ints(-9, 9, (3, 4)), ints(0, 5, (4,))],
        ref=np.left_shift,
        grad=False,
        covers=("left_shift",),
    ),
    Row(
        "bitwise_right_shift",
        cr.bitwise_right_shift,
        [ints(-90, 90, (3, 4)), ints(0, 5, (4,))],
        ref=np.right_shift,
        grad=False,
        covers=("right_shift",),
    ),
    Row("isposinf", cr.isposinf, [fixed(HOLES)], ref=np.isposinf, grad=False),
    Row("isneginf", cr.isneginf, [fixed(HOLES)], ref=np.isneginf, grad=False),
    Row("isreal", cr.isreal, [(3, 4)], ref=np.isreal, grad=False),
    Row("fill", cr.fill, [(3, 4), ()], ref=lambda x, value: np.full_like(x, value)),
    Row("clamp", cr.clamp, [apart((3, 4)), within(-1, 1, (4,))], ref=np.maximum, tag="low", covers=("at_least",)),
    Row(
        "clamp",
        lambda x, high: cr.clamp(x, max=high),
        [apart((3, 4)), within(-1, 1, (4,))],
        ref=np.minimum,
        torch=lambda x, high: x.clamp(max=high),
        tag="high",
        covers=("at_most",),
    ),
    Row("lerp", cr.lerp, [(3, 4), (4,), 0.3], ref=lambda a, b, w: a + w * (b - a), tag="number"),
    Row("where", lambda m, x: cr.where(m, 1.0, x), [mask((3, 4)), (4,)], ref=lambda m, x: np.where(m, 1.0, x),
        torch=lambda m, x: __import__("torch").where(m, 1.0, x), tag="first scalar"),
]  # fmt: skip
