"""Elementwise functions at their edges: dtypes, wrapping integers, NaN, ties, in-place forms, complex parts, bad calls."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.ops import power

INF, NAN = math.inf, math.nan


def values(tensor):
    return tensor.detach().numpy()


def leaf(*numbers, dtype=None):
    return cr.tensor(list(numbers), dtype=dtype or cr.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("compute", "expected", "dtype"),
    [
        (lambda u: u * -3, [253, 168], "uint8"),
        (lambda u: u + 300, [45, 244], "uint8"),
        (lambda u: cr.add(u, u, alpha=-1), [0, 0], "uint8"),
        (lambda u: u + 1.5, [2.5, 201.5], "float32"),
        (lambda u: u == 300, [False, False], "bool"),
        (lambda u: u > -1, [True, True], "bool"),
        (lambda u: cr.full_like(u, -9), [247, 247], "uint8"),
        (lambda u: u.clone().fill_(-3), [253, 253], "uint8"),
    ],
)
def test_numbers_that_do_not_fit_wrap_round_and_comparisons_stay_exact(compute, expected, dtype):
    out = compute(cr.tensor([1, 200], dtype=cr.uint8))
    assert out.dtype.name == dtype
    np.testing.assert_array_equal(values(out), expected)


def test_a_number_beyond_64_bits_is_refused():
    with pytest.raises(RuntimeError, match="64 bits"):
        cr.tensor([1]) + 2**70


def test_integers_to_negative_powers():
    base, power = cr.tensor([2, 1, -1, -1, 0]), cr.tensor([-1, -5, -3, -2, -1])
    assert (base**power).tolist() == [0, 1, -1, 1, 0]
    assert (2 ** cr.tensor([3, -1])).tolist() == [8, 0]
    with pytest.raises(RuntimeError, match="negative integer power"):
        base**-1


def test_integer_division_is_exact_beyond_float64():
    big = cr.tensor([2**62 + 1, -(2**62) - 1])
    assert cr.div(big, 1, rounding_mode="trunc").tolist() == big.tolist()
    assert cr.div(cr.tensor([7, -7, 7, -7]), cr.tensor([2, 2, -2, -2]), rounding_mode="trunc").tolist() == [
        3,
        -3,
        -3,
        3,
    ]
    assert cr.div(cr.tensor([7, -7]), 2, rounding_mode="floor").tolist() == [3, -4]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda t: cr.sub(t, t > 0), RuntimeError, "bool tensor cannot be subtracted"),
        (lambda t: 1 - (t > 0), RuntimeError, "bool tensor cannot be subtracted"),
        (lambda t: (t > 0) // (t > 0), NotImplementedError, "bool"),
        (lambda t: (t > 0) ** (t > 0), NotImplementedError, "bool"),
        (lambda t: cr.add(t.long(), t.long(), alpha=0.5), RuntimeError, "alpha must be an int"),
        (lambda t: cr.add(t, t, alpha=True), RuntimeError, "alpha may be a bool"),
        (lambda t: cr.addcdiv(t, t.long(), t.long()), RuntimeError, "rounding_mode"),
        (lambda t: cr.lerp(t.long(), t.long(), 0.5), NotImplementedError, "lerp"),
        (lambda t: cr.clamp(t), RuntimeError, "min and max"),
        (lambda t: t.cfloat().clamp(0), NotImplementedError, "no order"),
        (lambda t: t.cfloat() < t.cfloat(), NotImplementedError, "no order"),
        (lambda t: cr.maximum(t.cfloat(), t), NotImplementedError, "no order"),
        (lambda t: cr.sign(t.cfloat()), RuntimeError, "sgn"),
        (lambda t: cr.where(t, t, t), RuntimeError, "condition of dtype bool"),
        (lambda t: cr.isclose(t, t, rtol=-1), RuntimeError, "rtol=-1"),
        (lambda t: cr.heaviside(t, t.double()), RuntimeError, "one dtype"),
        (lambda t: cr.gcd(t, t), NotImplementedError, "integer"),
        (lambda t: t << 1, NotImplementedError, "integer"),
        (lambda t: cr.frexp(t.long()), RuntimeError, "floating point"),
        (lambda t: cr.float_power(2, 3), TypeError, "two numbers"),
        (lambda t: cr.is_nonzero(t), RuntimeError, "one element"),
        (lambda t: cr.complex(t, t.double()), RuntimeError, "one dtype"),
        (lambda t: cr.complex(t.half(), t.half()), RuntimeError, "float16"),
        (lambda t: cr.view_as_real(t), RuntimeError, "complex"),
        (lambda t: cr.view_as_complex(cr.zeros(3)), RuntimeError, "length 2"),
        (lambda t: cr.view_as_complex(cr.zeros(2, 3).T), RuntimeError, "contiguous"),
        (lambda t: cr.round(t > 0), NotImplementedError, "bool"),
        (lambda t: cr.fill(t, cr.zeros(2)), RuntimeError, "0-d"),
        (lambda t: t.zero_().fill_(1j), RuntimeError, "complex number"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call(cr.tensor([1.0, 2.0]))


def test_clamp_with_tensors_keeps_nan_and_sends_each_gradient_to_its_bound():
    x, low, high = leaf(NAN, -5, 0.5, 9, 1), leaf(0, 0, 0, 0, 1), leaf(1, 1, 1, 1, 2)
    y = x.clamp(low, high)
    np.testing.assert_array_equal(values(y), [NAN, 0, 0.5, 1, 1])
    y.sum().backward()
    assert [one.grad.tolist() for one in (x, low, high)] == [
        [0, 0, 1, 0, 1],
        [0, 1, 0, 0, 0],
        [0, 0, 0, 1, 0],
    ]
    assert cr.tensor([0.0]).clamp(min=1, max=-1).item() == -1


def test_lerp_meets_both_ends():
    start, end = cr.tensor([1e8, 3.0]), cr.tensor([1.0, 7.0])
    assert (
        cr.lerp(start, end, 1.0).tolist() == end.tolist()
        and cr.lerp(start, end, 0.0).tolist() == start.tolist()
    )


def test_extremes_that_ignore_nan():
    x, y = leaf(NAN, 1, 2, NAN), leaf(0, NAN, 2, NAN)
    np.testing.assert_array_equal(values(cr.fmax(x, y)), [0, 1, 2, NAN])
    cr.fmin(x, y)[:3].sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0] and y.grad.tolist() == [1, 0, 0, 0]


def test_log_of_a_sum_at_ties_and_infinities():
    for function, log in ((cr.logaddexp, 1.0), (cr.logaddexp2, math.log(2))):
        x, y = leaf(1, INF, -INF, INF, -INF, 3), leaf(1, INF, -INF, 0, INF, -INF)
        gx, gy = cr.autograd.grad(function(x, y).sum(), (x, y), create_graph=True)
        np.testing.assert_allclose(values(gx), [0.5, 0.5, 0.5, 1, 0, 1])
        np.testing.assert_allclose(values(gy), [0.5, 0.5, 0.5, 0, 1, 0])
        (second,) = cr.autograd.grad(gx[0], x)
        assert second[0].item() == pytest.approx(0.25 * log)


def test_a_power_by_a_number_is_differentiable_twice():
    for n in (2.5, 3, 1, 0, True):
        x = leaf(0.5, 2)
        (first,) = cr.autograd.grad(power(x, n).sum(), x, create_graph=True)
        np.testing.assert_allclose(values(first), [n * 0.5 ** (n - 1), n * 2.0 ** (n - 1)])
        if n > 1:
            (second,) = cr.autograd.grad(first.sum(), x)
            np.testing.assert_allclose(values(second), [n * (n - 1) * z ** (n - 2) for z in (0.5, 2.0)])


def test_the_exponent_of_a_zero():
    x, n = leaf(0, 0, 0, 2), leaf(-1, 0, 2, 3)
    x.pow(n).sum().backward()
    np.testing.assert_allclose(values(n.grad), [-INF, 0, 0, 8 * math.log(2)])
    m = leaf(-1, 0, 2)
    (0.0**m).sum().backward()
    np.testing.assert_array_equal(values(m.grad), [-INF, 0, 0])
    k = leaf(2)
    ((1j) ** k).real.sum().backward()  # cos(pi k / 2)
    np.testing.assert_allclose(values(k.grad), [0], atol=1e-15)
    (((-2 + 0j) ** k).imag).sum().backward()
    np.testing.assert_allclose(values(k.grad), [4 * math.pi])


def test_zeros_and_holes_have_gradient_zero():
    x = leaf(NAN, INF, -INF, 2)
    cr.nan_to_num(x, posinf=1.0).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 1]
    z = cr.tensor([0j, 3 + 4j], dtype=cr.complex128, requires_grad=True)
    cr.angle(z).sum().backward()
    np.testing.assert_allclose(values(z.grad), [0, (-4 + 3j) / 25])
    w = cr.tensor([0j], requires_grad=True)
    (cr.sgn(w) * (1 + 2j)).real.sum().backward()
    assert w.grad.tolist() == [0]
    assert cr.angle(cr.tensor([-0.0, 0.0, -1.0])).tolist() == pytest.approx([0, 0, math.pi])


def test_signs_of_zero_and_nan_steps():
    assert cr.copysign(cr.tensor([1.0, 1.0]), cr.tensor([-0.0, 0.0])).tolist() == [-1, 1]
    assert cr.heaviside(cr.tensor([NAN, 0.0, -1.0]), cr.tensor([5.0])).tolist() == [0, 5, 0]
    assert cr.heaviside(cr.tensor([0, 2]), cr.tensor([7])).tolist() == [7, 1]


def test_frexp_and_shifts():
    mantissa, exponent = cr.frexp(cr.tensor([0.0, 8.0, -3.25]))
    assert (
        mantissa.tolist() == [0, 0.5, -0.8125]
        and exponent.tolist() == [0, 4, 2]
        and exponent.dtype is cr.int32
    )
    x = cr.tensor([3, -5])
    assert (
        (x << 2).tolist() == [12, -20]
        and (x >> 1).tolist() == [1, -3]
        and (1 << cr.tensor([4])).tolist() == [16]
    )
    assert (256 >> cr.tensor([4])).tolist() == [16]
    x <<= 1
    x >>= 2
    assert x.tolist() == [1, -3]
    assert cr.bitwise_left_shift(cr.tensor([1], dtype=cr.uint8), 9).tolist() == [0]


IN_PLACE = """absolute acos acosh arccos arcsin arctan asin asinh atan atanh ceil cos cosh deg2rad exp exp2 expm1 fix floor frac log log10
    log1p log2 logical_not nan_to_num neg negative rad2deg reciprocal round rsqrt sgn sigmoid sign sin sinh sqrt square tan tanh
    trunc""".split()
IN_PLACE_TWO = """atan2 copysign eq float_power floor_divide fmod ge greater gt heaviside hypot ldexp le less lt logical_and logical_or
    logical_xor ne nextafter not_equal pow remainder true_divide""".split()


@pytest.mark.parametrize("name", IN_PLACE + IN_PLACE_TWO)
def test_in_place_forms_are_the_function_and_differentiable(name):
    start = np.array([0.3, 0.7, 0.9]) if name not in ("acosh",) else np.array([1.3, 1.7, 1.9])
    others = (cr.tensor([0.5, 2.0, 1.5], dtype=cr.float64),) if name in IN_PLACE_TWO else ()
    x, y = (cr.tensor(start, requires_grad=True) for _ in range(2))
    expected = getattr(x * 1, name)(*others).to(cr.float64)
    target = y * 1
    assert getattr(target, name + "_")(*others) is target
    np.testing.assert_array_equal(values(target), values(expected))
    if expected.requires_grad:
        (expected * cr.tensor([1.0, 2.0, 3.0])).sum().backward()
        (target * cr.tensor([1.0, 2.0, 3.0])).sum().backward()
        np.testing.assert_array_equal(values(x.grad), values(y.grad))


def test_in_place_forms_refuse_a_result_the_dtype_cannot_hold_and_take_empty_tensors():
    with pytest.raises(RuntimeError, match="can't be cast"):
        cr.tensor([1, 2]).sin_()
    with pytest.raises(RuntimeError, match="float64"):
        cr.tensor([1.0]).float_power_(2)
    assert cr.zeros(1, 0, 3).cos_().shape == (1, 0, 3)
    assert cr.tensor([True]).zero_().tolist() == [False]


def test_views_of_complex_numbers_write_through_with_the_right_gradient():
    """z' = conj-free: writing b to the imaginary part leaves dL/dz real where z' depends on its real part only."""
    for view in (lambda z: z.imag, lambda z: cr.view_as_real(z)[..., 1]):
        z = cr.tensor([1 + 2j, 3 - 1j], dtype=cr.complex128, requires_grad=True)
        w = z * (1 + 1j)
        view(w).mul_(cr.tensor([2.0, 3.0], dtype=cr.float64))
        (w * cr.tensor([1 - 1j, 2 + 3j])).sum().real.backward()
        np.testing.assert_allclose(values(z.grad), [3 + 1j, -7 - 11j])
    pairs = cr.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=cr.float64, requires_grad=True)
    twice = pairs * 2
    cr.view_as_complex(twice).mul_(1j)
    np.testing.assert_array_equal(values(twice), [[-4, 2], [-8, 6]])
    (twice * cr.tensor([[1.0, 10.0], [100.0, 1000.0]])).sum().backward()
    np.testing.assert_allclose(values(pairs.grad), [[20, -2], [2000, -200]])


@pytest.mark.cpu_only
def test_conversions():
    x = cr.tensor([1.5, -2.0])
    assert x.to(cr.float32, False, True) is not x and x.to(cr.float32) is x and x.to() is x
    assert x.to("cpu", cr.float64).dtype is cr.float64 and x.to("complex64").dtype is cr.complex64
    assert x.to(cr.int32, memory_format=cr.contiguous_format).tolist() == [1, -2]
    assert cr.tensor([1 + 2j, 0]).long().tolist() == [1, 0] and cr.tensor([1j, 0]).bool().tolist() == [
        True,
        False,
    ]
    assert cr.tensor([NAN, INF]).bool().tolist() == [True, True]
    assert x.type() == "chainrule.FloatTensor" and x.type("torch.LongTensor").dtype is cr.int64
    assert x.layout is cr.strided and cr.result_type(x, 1j) is cr.complex64


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: cr.arange(-0.9, 2.1, 2, dtype=cr.int64), [0]),
        (lambda: cr.arange(2.1, -2.9, -1, dtype=cr.int32), [2, 1, 0, -1, -2]),
        (lambda: cr.arange(end=3), [0, 1, 2]),
        (lambda: cr.linspace(4.3, 0, 5, dtype=cr.int64), [4, 3, 2, 1, 0]),
        (lambda: cr.linspace(cr.tensor(1), cr.tensor(2.0), 3), [1, 1.5, 2]),
        (lambda: cr.linspace(0, 1, 0), []),
        (lambda: cr.linspace(0, 1j, 2), [0, 1j]),
        (lambda: cr.logspace(cr.tensor(0), 2, 3, base=2, dtype=cr.int64), [1, 2, 4]),
        (lambda: cr.full((2,), 2.7, dtype=cr.int64), [2, 2]),
        (lambda: cr.full(size=(1,), fill_value=True), [True]),
        (lambda: cr.scalar_tensor(2), 2.0),
        (lambda: cr.zeros(size=(2,), layout=cr.strided, pin_memory=False), [0, 0]),
        (lambda: cr.tensor([1]).new_full((2,), 2.7), [2, 2]),
        (lambda: cr.eye(0), []),
    ],
)
def test_creation(call, expected):
    assert call().tolist() == expected


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: cr.arange(0, INF), RuntimeError, "finite"),
        (lambda: cr.arange(1, 0), RuntimeError, "wrong side"),
        (lambda: cr.linspace(0, 1, -1), RuntimeError, "steps"),
        (lambda: cr.linspace(cr.zeros(2), 1, 3), RuntimeError, "0-d"),
        (lambda: cr.eye(-1), RuntimeError, "negative"),
        (lambda: cr.full((2,), 1j, dtype=cr.float32), RuntimeError, "complex"),
        (lambda: cr.zeros(2, layout="sparse"), NotImplementedError, "strided"),
        (lambda: cr.tensor([300], dtype=cr.uint8), RuntimeError, "fit"),
        (lambda: cr.randint(3, 3, (2,)), RuntimeError, "low < high"),
        (lambda: cr.normal(cr.zeros(2), -1.0), RuntimeError, "negative"),
        (lambda: cr.normal(0.0, 1.0), TypeError, "size"),
        (lambda: cr.bernoulli(cr.tensor([2.0])), RuntimeError, r"\[0, 1\]"),
        (lambda: cr.poisson(-cr.ones(2)), RuntimeError, "negative"),
        (lambda: cr.poisson(cr.tensor([1])), NotImplementedError, "floating"),
        (lambda: cr.multinomial(cr.tensor([INF, 1.0]), 1), RuntimeError, "finite"),
        (lambda: cr.multinomial(cr.tensor([1.0]), 0), RuntimeError, "num_samples"),
        (lambda: cr.zeros(2).uniform_(3, -1), RuntimeError, "from=3"),
        (lambda: cr.zeros(2).uniform_(frm=3), TypeError, "frm"),
        (lambda: cr.zeros(2).normal_(0, -1), RuntimeError, "std"),
        (lambda: cr.zeros(2).exponential_(0), RuntimeError, "lambd"),
        (lambda: cr.zeros(2).geometric_(0), RuntimeError, "p must"),
        (lambda: cr.zeros(2).random_(3, 2), RuntimeError, "from=3"),
        (lambda: cr.zeros(2, dtype=cr.int64).normal_(), NotImplementedError, "int64"),
        (lambda: cr.hann_window(-1), RuntimeError, "negative"),
        (lambda: cr.hann_window(3, dtype=cr.int64), ValueError, "int64"),
        (lambda: cr.signal.windows.exponential(3, center=1.0), ValueError, "centre"),
        (lambda: cr.signal.windows.gaussian(3, std=0), ValueError, "std"),
    ],
)
def test_bad_creation_says_what_is_wrong(call, error, match):
    with pytest.raises(error, match=match):
        call()


N = 40_000


def drawn(name, *args, dtype=cr.float64, **kwargs):
    cr.manual_seed(3)
    return values(getattr(cr.zeros(N, dtype=dtype), name)(*args, **kwargs))


@pytest.mark.parametrize(
    ("sample", "mean", "std"),
    [
        (lambda: drawn("uniform_", -1, 3), 1, 4 / math.sqrt(12)),
        (lambda: drawn("uniform_", **{"from": 1, "to": 2}), 1.5, 1 / math.sqrt(12)),
        (lambda: drawn("normal_", 2, 3), 2, 3),
        (lambda: np.log(drawn("log_normal_", 0.5, 0.25)), 0.5, 0.25),
        (lambda: drawn("exponential_", 0.5), 2, 2),
        (lambda: drawn("geometric_", 0.25), 4, math.sqrt(12)),
        (lambda: drawn("geometric_", 0.25, dtype=cr.int64), 4, math.sqrt(12)),
        (lambda: np.arctan((drawn("cauchy_", 1, 2) - 1) / 2), 0, math.pi / math.sqrt(12)),
        (lambda: drawn("bernoulli_", 0.3), 0.3, math.sqrt(0.21)),
        (lambda: drawn("bernoulli_", cr.tensor(0.3)), 0.3, math.sqrt(0.21)),
        (lambda: drawn("random_", 0, 10, dtype=cr.uint8).astype(float), 4.5, math.sqrt(99 / 12)),
        (lambda: drawn("random_", dtype=cr.uint8).astype(float), 127.5, math.sqrt((256**2 - 1) / 12)),
        (lambda: values(cr.normal(cr.full((N, 1), 2.0), cr.tensor([3.0]))), 2, 3),
        (lambda: values(cr.poisson(cr.full((N,), 3.5))), 3.5, math.sqrt(3.5)),
        (lambda: values(cr.poisson(cr.full((N,), 80.0))), 80, math.sqrt(80)),
        (lambda: values(cr.binomial(cr.full((N,), 9.0), cr.tensor(0.3))), 2.7, math.sqrt(1.89)),
        (lambda: values(cr.binomial(cr.full((N,), 200.0), cr.tensor(0.7))), 140, math.sqrt(42)),
    ],
)
def test_distributions_have_their_mean_and_deviation(sample, mean, std):
    cr.manual_seed(3)
    found = sample()
    assert abs(found.mean() - mean) < 5 * std / math.sqrt(N)
    assert abs(found.std() / std - 1) < 0.05


def test_counts_are_whole_within_bounds_and_the_same_on_every_device():
    rates = cr.tensor([0.0, 0.5, 9.9, 10.0, 50.0, 1e5], dtype=cr.float64)
    cr.manual_seed(1)
    here = cr.poisson(rates.expand(50, 6))
    cr.manual_seed(1)
    there = cr.poisson(rates.expand(50, 6).to("fake")).cpu()
    assert here.tolist() == there.tolist()
    assert bool((here == here.floor()).all()) and not here[:, 0].any()
    heads = cr.binomial(cr.full((50,), 30.0), cr.full((50,), 0.99))
    assert bool((heads <= 30).all()) and heads.mean().item() > 28
    assert cr.binomial(cr.tensor([5.0, 5.0]), cr.tensor([0.0, 1.0])).tolist() == [0, 5]


def test_no_gradient_passes_a_random_fill():
    x = cr.ones(3, requires_grad=True)
    y = x * 2
    y.uniform_()
    y.sum().backward()
    assert x.grad.tolist() == [0, 0, 0]
    with pytest.raises(RuntimeError, match="leaf"):
        x.normal_()


@pytest.mark.parametrize(
    "name", ["hann", "hamming", "blackman", "bartlett", "nuttall", "cosine", "gaussian", "kaiser"]
)
def test_windows_mirror_and_periodic_ones_are_a_longer_one_cut(name):
    window = getattr(cr.signal.windows, name)
    whole = values(window(9, dtype=cr.float64))
    np.testing.assert_allclose(whole, whole[::-1], atol=1e-15)
    np.testing.assert_allclose(values(window(8, sym=False, dtype=cr.float64)), whole[:-1], atol=1e-15)
    assert whole[4] == pytest.approx(1) and window(1).tolist() == [1] and window(0).shape == (0,)


def test_windows_are_numpys():
    for name in ("hanning", "hamming", "blackman", "bartlett"):
        ours = getattr(cr, name.replace("nning", "nn") + "_window")(7, periodic=False, dtype=cr.float64)
        np.testing.assert_allclose(values(ours), getattr(np, name)(7), atol=1e-15)
    np.testing.assert_allclose(
        values(cr.kaiser_window(7, False, 5.0, dtype=cr.float64)), np.kaiser(7, 5.0), rtol=1e-14
    )
    assert cr.hann_window(6).dtype is cr.float32 and cr.hann_window(6, dtype=cr.float16).dtype is cr.float16
