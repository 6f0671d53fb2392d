"""Special functions at the ends of their domains, in every dtype, and where they refuse."""

import math
import sys

import numpy as np
import pytest
import scipy.special

import chainrule as cr
from chainrule import special
from chainrule.backends import cpu, fake

INF, NAN = math.inf, math.nan


def tensor(*values, dtype=cr.float64):
    return cr.tensor(values, dtype=dtype, requires_grad=True)


def gradients(function, x, orders):
    """The values of the function and of its derivatives up to an order."""
    found = [function(x)]
    for _ in range(orders):
        found.append(cr.autograd.grad(found[-1].sum(), x, create_graph=True)[0])
    return [one.detach().numpy() for one in found]


def close(got, want, rtol=1e-13, atol=0.0):
    got = got.detach().numpy() if isinstance(got, cr.Tensor) else got
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


# Logarithms


def test_xlogy_at_zero():
    x, y = tensor(0, 0, 0, 0, 2, NAN), tensor(0, -1, INF, NAN, 0, 0)
    close(cr.xlogy(x, y), [0, 0, 0, NAN, -INF, NAN])
    x, y = tensor(0, 0, 0, 3), tensor(0, -1, 2, 2)
    cr.xlogy(x, y).sum().backward()
    close(x.grad, [0, 0, math.log(2), math.log(2)])
    close(y.grad, [0, 0, 0, 1.5])


def test_xlog1py_at_zero_and_near_one():
    close(special.xlog1py(tensor(0, 0, 3), tensor(-1, NAN, 1e-20)), [0, NAN, 3e-20])
    x, y = tensor(0, 0), tensor(-1, -2)
    special.xlog1py(x, y).sum().backward()
    close(x.grad, [0, 0])
    close(y.grad, [0, 0])


def test_one_argument_may_be_a_number():
    y = cr.tensor([1, 2])
    assert cr.xlogy(2, y).dtype is cr.float32 and cr.xlogy(y.half(), 2.5).dtype is cr.float16
    close(special.xlog1py(2.0, y.double()), 2 * np.log1p([1, 2]))
    close(special.zeta(2.0, y.double()), scipy.special.zeta(2.0, [1, 2]))
    close(special.zeta(y.double() + 1, 2), scipy.special.zeta([2, 3], 2))
    for call in (lambda: cr.xlogy(1, 2), lambda: cr.xlogy(y, "2")):
        with pytest.raises(TypeError, match="xlogy"):
            call()


def test_entr():
    x = tensor(-1, 0, 1, INF, NAN)
    close(special.entr(x), [-INF, 0, 0, -INF, NAN])
    special.entr(x[1:3]).sum().backward()
    close(x.grad, [0, INF, -1, 0, 0])


def test_logit():
    close(cr.logit(tensor(-0.1, 0, 1, 1.1, NAN)), [NAN, -INF, INF, NAN, NAN])
    x = tensor(1e-300, 0.5 + 1e-12, 1 - 1e-15)
    close(cr.logit(x), scipy.special.logit(x.detach().numpy()))
    x = tensor(-0.5, 0.2, 0.5, 1.5)
    y = cr.logit(x, eps=0.2)
    close(y, [-math.log(4), -math.log(4), 0, math.log(4)], atol=1e-15)
    y.sum().backward()
    close(x.grad, [0, 6.25, 4, 0])
    assert cr.logit(cr.tensor([0, 1]), eps=1e-3).dtype is cr.float32


# The error function


def test_erfcx_and_log_ndtr_far_out():
    close(
        special.erfcx(tensor(1e9, 1e300, INF, -INF, NAN)),
        [1e-9 / math.sqrt(math.pi), 1e-300 / math.sqrt(math.pi), 0, INF, NAN],
    )
    x = tensor(-1e8, -1e4, -40, 8, 40, INF, -INF)
    close(special.log_ndtr(x), scipy.special.log_ndtr(x.detach().numpy()))
    x = tensor(-1e8, -1e4, -40, 0, 40)
    _, first, second = gradients(special.log_ndtr, x, 2)
    hazard = math.sqrt(2 / math.pi)
    close(first, [1e8, 1e4 + 1e-4 - 2e-12, 40.024968847207264, hazard, 0], rtol=1e-12, atol=1e-300)
    close(second, [-1, -0.99999999, -0.99937733162140861, -(hazard**2), 0], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_derivatives_of_erfcx_do_not_cancel(n):
    """erfcx(x) is 1 / (sqrt(pi) x) far out, and so are its derivatives."""
    found = gradients(special.erfcx, tensor(1e6), n)[-1]
    close(found, (-1) ** n * math.factorial(n) * 1e-6 ** (n + 1) / math.sqrt(math.pi), rtol=1e-9)


def test_inverses_at_their_ends():
    close(cr.erfinv(tensor(-1, 1, 1.1, 0)), [-INF, INF, NAN, 0])
    close(special.ndtri(tensor(0, 1, -0.1, 0.5)), [-INF, INF, NAN, 0])


# The gamma function


def test_lgamma_and_digamma_at_their_poles():
    close(cr.lgamma(tensor(0, -1, -INF, INF, 1e300)), [INF, INF, INF, INF, scipy.special.gammaln(1e300)])
    close(cr.digamma(tensor(0, -0.0, -1, INF)), [-INF, INF, NAN, INF])
    close(cr.polygamma(1, tensor(0, 0.5, INF)), [INF, math.pi**2 / 2, 0])


def test_polygamma_in_its_three_forms():
    x = cr.tensor([0.5, 2.0], dtype=cr.float64)
    want = scipy.special.polygamma(3, [0.5, 2.0])
    close(cr.polygamma(3, x), want)
    close(x.polygamma(3), want)
    close(x.clone().polygamma_(3), want)
    close(special.polygamma(0, x), scipy.special.psi([0.5, 2.0]))
    with pytest.raises(RuntimeError, match="at least 0, got -1"):
        cr.polygamma(-1, x)
    with pytest.raises(TypeError, match="n comes first"):
        cr.polygamma(x, 2)


def test_mvlgamma():
    x = tensor(3.0, 4.5)
    close(special.multigammaln(x, 1), scipy.special.gammaln([3.0, 4.5]))
    close(x.mvlgamma(p=4), [scipy.special.multigammaln(one, 4) for one in (3.0, 4.5)])
    assert cr.mvlgamma(cr.tensor([5]), 2).dtype is cr.float32
    with pytest.raises(RuntimeError, match="p must be at least 1, got 0"):
        cr.mvlgamma(x, 0)
    with pytest.raises(TypeError, match="float"):
        cr.mvlgamma(x, 2.0)


def test_incomplete_gamma_functions():
    a, x = cr.tensor([1.0, 2.0, 0.5], dtype=cr.float64), tensor(0, 0, 0)
    close(cr.igamma(a, x), [0, 0, 0])
    cr.igamma(a, x).sum().backward()
    close(x.grad, [1, 0, INF])
    close(special.gammaincc(a, tensor(0, INF, 800)), [1, 0, 0])
    with pytest.raises(RuntimeError, match="floats, got chainrule.int64 and chainrule.int64"):
        cr.igamma(cr.tensor([1]), cr.tensor([2]))
    with pytest.raises(TypeError, match="igammac: expected a Tensor"):
        cr.igammac(a, 2.0)


@pytest.mark.parametrize("function", [cr.igamma, cr.igammac, special.zeta])
def test_the_first_argument_is_not_differentiated(function):
    a = tensor(1.5, 2.5)
    with pytest.raises(NotImplementedError, match="by 'input' is not implemented"):
        function(a, cr.tensor([1.0, 2.0])).sum().backward()


# Bessel functions and their like: every derivative at 0


@pytest.mark.parametrize(
    "function, at_zero",
    [
        (special.bessel_j0, [1, 0, -1 / 2, 0, 3 / 8]),
        (special.bessel_j1, [0, 1 / 2, 0, -3 / 8, 0]),
        (special.i0, [1, 0, 1 / 2, 0, 3 / 8]),
        (special.i1, [0, 1 / 2, 0, 3 / 8, 0]),
        (special.spherical_bessel_j0, [1, 0, -1 / 3, 0, 1 / 5]),
        (cr.sinc, [1, 0, -(math.pi**2) / 3, 0, math.pi**4 / 5]),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_derivatives_at_zero(function, at_zero):
    close(np.ravel(gradients(function, tensor(0.0), 4)), at_zero, atol=1e-15)
    near = np.ravel(gradients(function, tensor(1e-5), 4))
    close(near, at_zero, rtol=1e-4, atol=1e-3)


def test_bessel_functions_at_their_ends():
    close(special.bessel_y0(tensor(-1, 0)), [NAN, -INF])
    close(special.modified_bessel_k1(tensor(-1, 0, INF)), [NAN, INF, 0])
    close(special.scaled_modified_bessel_k0(tensor(1e6)), [math.sqrt(math.pi / 2e6)], rtol=1e-6)
    x = tensor(-900, 900)
    value, slope = gradients(special.i1e, x, 1)
    close(value, scipy.special.i1e([-900, 900]))
    assert np.isfinite(slope).all()
    close(special.spherical_bessel_j0(tensor(INF, -INF, NAN)), [0, 0, NAN])


def test_sinc_of_complex_numbers():
    z = cr.tensor([0.3 + 1j, 4 - 0.5j, 0j], requires_grad=True)
    close(cr.sinc(z), np.sinc(np.array([0.3 + 1j, 4 - 0.5j, 0])), rtol=1e-5)
    assert cr.autograd.gradcheck(cr.sinc, z.detach().to(cr.complex128).requires_grad_())


def test_airy_function():
    x = np.concatenate([np.linspace(-30, 30, 241), [-3.0, -2.999, 1.499, 1.5]])
    close(special.airy_ai(cr.tensor(x)), scipy.special.airy(x)[0], rtol=1e-12, atol=1e-13)
    close(special.airy_ai(tensor(INF, 200, NAN)), [0, 0, NAN])
    single = cr.tensor(x, dtype=cr.float32)
    close(special.airy_ai(single), scipy.special.airy(single.numpy())[0], rtol=1e-6, atol=1e-37)


# Polynomials


def test_polynomials_of_numbers_and_degrees_that_broadcast():
    x = cr.tensor([[0.5], [-0.3]], dtype=cr.float64)
    n = cr.arange(5)
    close(special.legendre_polynomial_p(x, n), scipy.special.eval_legendre(np.arange(5), x.numpy()))
    close(special.hermite_polynomial_h(x, 3), scipy.special.eval_hermite(3, x.numpy()))
    close(special.hermite_polynomial_h(0.5, n), scipy.special.eval_hermite(np.arange(5), 0.5), rtol=1e-6)
    close(special.laguerre_polynomial_l(x, 2.9), scipy.special.eval_laguerre(2, x.numpy()))
    close(special.chebyshev_polynomial_t(x, -1), [[0], [0]])
    close(special.chebyshev_polynomial_t(x, n - 7), np.zeros((2, 5)))
    assert special.chebyshev_polynomial_u(cr.zeros(0), cr.zeros(0, dtype=cr.int64)).shape == (0,)
    assert special.chebyshev_polynomial_u(cr.tensor([2]), 2).dtype is cr.float32
    with pytest.raises(TypeError, match="chebyshev_polynomial_t"):
        special.chebyshev_polynomial_t(0.5, 3)
    with pytest.raises(TypeError, match="degree n must be a Tensor or a number, got str"):
        special.chebyshev_polynomial_t(x, "3")


def test_derivatives_of_polynomials_at_the_ends():
    """T_n' is n^2 and P_n'' (n-1) n (n+1) (n+2) / 8 at 1, where formulas with 1 / (1 - x^2) fail."""
    n = np.arange(6)
    x = cr.ones(6, dtype=cr.float64, requires_grad=True)
    close(gradients(lambda x: special.chebyshev_polynomial_t(x, cr.tensor(n)), x, 1)[1], n**2)
    close(
        gradients(lambda x: special.legendre_polynomial_p(x, cr.tensor(n)), x, 2)[2],
        (n - 1) * n * (n + 1) * (n + 2) / 8,
    )


# Dtypes, devices, and without SciPy


@pytest.mark.parametrize("name", ["lgamma", "digamma", "erfinv", "i0", "logit", "sinc", "erf", "erfc"])
def test_methods_and_their_in_place_forms(name):
    x = cr.tensor([0.2, 0.6], dtype=cr.float64)
    want = getattr(cr, name)(x)
    close(getattr(x, name)(), want.numpy())
    close(getattr(x.clone(), name + "_")(), want.numpy())
    assert getattr(cr.tensor([0, 1]), name)().dtype is cr.float32


def test_methods_of_two():
    x, y = cr.tensor([0.2, 0.6], dtype=cr.float64), cr.tensor([0.5, 2.0], dtype=cr.float64)
    for name in ("igamma", "igammac", "xlogy"):
        want = getattr(cr, name)(x, y).numpy()
        close(getattr(x, name)(y), want)
        close(getattr(x.clone(), name + "_")(y), want)


@pytest.mark.parametrize("dtype", [cr.float16, cr.float32])
def test_narrow_floats_are_rounded_once(dtype):
    x = cr.tensor([0.7, 1.9, 3.1], dtype=dtype)
    exact = x.double()
    for name in ("gammaln", "psi", "i0e", "bessel_j1", "erfcx", "log_ndtr", "spherical_bessel_j0"):
        got, want = (getattr(special, name)(one).numpy() for one in (x, exact))
        np.testing.assert_allclose(got, want, rtol=3 * cr.finfo(dtype).eps)


def test_sinc_of_half_precision_multiplies_by_pi_in_float32():
    x = cr.tensor([3.1, 20.3], dtype=cr.float16)
    np.testing.assert_allclose(cr.sinc(x).numpy(), np.sinc(x.double().numpy()), rtol=1e-3)


def test_without_scipy(monkeypatch):
    x = cr.tensor([1.5])
    for backend in (cpu, cr.backends.get("fake")):
        monkeypatch.delitem(vars(backend), "special_functions", raising=False)
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    for one in (x, x.to("fake")):
        with pytest.raises(RuntimeError, match=r'gammaln: .*pip install "chainrule\[special\]"'):
            cr.lgamma(one)
        for name in ("erfcx", "log_ndtr", "logit", "sinc", "entr", "airy_ai", "spherical_bessel_j0"):
            getattr(special, name)(one)
        special.legendre_polynomial_p(one, 3)


def test_the_fake_device_lacks_what_cupy_lacks():
    with pytest.raises(AttributeError, match="special.airy"):
        cr.backends.get("fake").special("airy")
    assert cr.backends.get("fake").special("j0")(fake.zeros(2)).shape == (2,)
