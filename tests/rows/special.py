"""Rows: special functions, against SciPy's."""

import numpy as np
import scipy.special

import chainrule as cr
from chainrule import special
from chainrule.autograd.ops import airy, error_function, gamma, reduced_bessel
from tests.table import Row, Spec, fixed, ints, within

# Of both signs, near 0 and far from it, and 0 itself.
AROUND = fixed([-7.3, -2.2, -0.9, -1e-3, 0.0, 0.4, 1.1, 3.7, 12.5])
NO_KINK = fixed([-7.3, -2.2, -0.9, -0.1, 0.4, 1.1, 3.7, 12.5])
ABOVE = fixed([0.2, 0.7, 1.3, 2.9, 5.5, 14.0])


def constant(low, high, shape):
    """Floats that take no gradient."""
    return Spec(lambda rng: rng.uniform(low, high, shape), shape=shape)


def in_one_dtype(function):
    """The function with its first argument, which takes no gradient, brought to the dtype of the second."""
    return lambda a, x: function(a.to(x.dtype), x)


def row(name, inputs, ref=None, torch=True, **extra):
    """A function of `special`, against SciPy's of that name; PyTorch's is compared where it has the derivative."""
    function = getattr(special, name)
    return Row(f"special.{name}", function, inputs, ref=ref or getattr(scipy.special, name),
               torch=None if torch else False, **extra)  # fmt: skip


def half_angle(sine, x, n):
    """The Chebyshev polynomials of the third and fourth kind, on (-1, 1)."""
    t = np.arccos(x)
    return np.sin((n + 0.5) * t) / np.sin(0.5 * t) if sine else np.cos((n + 0.5) * t) / np.cos(0.5 * t)


def polynomial(name, evaluate, low=-2.0, high=2.0):
    """A polynomial family at degrees from -1 on."""

    def ref(x, n):
        return np.where(n < 0, 0, evaluate(np.maximum(n, 0), x))

    return row(name, [within(low, high, (3, 4)), ints(-1, 7, (4,))], ref, torch=False)


def scipy_of(name):
    return lambda n, x: getattr(scipy.special, name)(n, x)


ROWS = [
    Row("xlogy", cr.xlogy, [(3, 4), within(0.3, 3, (4,))], ref=scipy.special.xlogy),
    Row("xlogy", cr.xlogy, [2.5, within(0.3, 3, (4,))], ref=scipy.special.xlogy, tag="number"),
    row("xlog1py", [(3, 4), within(-0.7, 3, (4,))]),
    row("entr", [within(0.2, 3, (3, 4))]),
    Row("logit", cr.logit, [fixed([0.01, 0.2, 0.4999, 0.6, 0.97])], ref=scipy.special.logit),
    Row("logit", cr.logit, [fixed([-0.2, 0.05, 0.3, 0.6, 1.4])], {"eps": 0.1},
        lambda x, eps: scipy.special.logit(np.clip(x, eps, 1 - eps)), tag="eps"),
    row("expit", [(3, 4)]),
    Row("sinc", cr.sinc, [NO_KINK], ref=np.sinc, tol=1e-9),
    Row("special.spherical_bessel_j0", special.spherical_bessel_j0, [AROUND],
        ref=lambda x: scipy.special.spherical_jn(0, x), torch=False),
    row("erfcx", [fixed([-2.2, -0.5, 0.0, 0.6, 1.4, 2.1, 7.0, 31.0])]),
    row("erfinv", [within(-0.95, 0.95, (3, 4))]),
    row("ndtr", [AROUND]),
    row("ndtri", [within(0.03, 0.97, (3, 4))]),
    row("log_ndtr", [AROUND]),
    row("gammaln", [fixed([-3.3, -0.4, 0.3, 1.0, 2.6, 9.0])]),
    Row("lgamma", cr.lgamma, [within(0.3, 5, (3, 4))], ref=scipy.special.gammaln),
    Row("digamma", cr.digamma, [fixed([-3.3, -0.4, 0.3, 1.0, 2.6, 9.0])], ref=scipy.special.psi),
    Row("polygamma", lambda x: cr.polygamma(2, x), [within(0.5, 5, (3, 4))],
        ref=lambda x: scipy.special.polygamma(2, x), torch=lambda x: __import__("torch").polygamma(2, x)),
    Row("mvlgamma", cr.mvlgamma, [within(1.5, 5, (3, 4))], {"p": 3},
        lambda x, p: np.vectorize(lambda one: scipy.special.multigammaln(one, p))(x)),
    Row("igamma", in_one_dtype(cr.igamma), [constant(0.5, 4, (3, 4)), within(0.2, 5, (4,))], ref=scipy.special.gammainc),
    Row("igammac", in_one_dtype(cr.igammac), [constant(0.5, 4, (3, 1)), within(0.2, 5, (4,))], ref=scipy.special.gammaincc),
    Row("special.zeta", in_one_dtype(special.zeta), [constant(1.5, 4, (3, 4)), within(0.3, 5, (4,))],
        ref=scipy.special.zeta),
    row("i0", [AROUND]),
    row("i1", [AROUND]),
    row("i0e", [NO_KINK]),
    row("i1e", [NO_KINK]),
    row("bessel_j0", [AROUND], scipy.special.j0, torch=False),
    row("bessel_j1", [AROUND], scipy.special.j1, torch=False),
    row("bessel_y0", [ABOVE], scipy.special.y0, torch=False),
    row("bessel_y1", [ABOVE], scipy.special.y1, torch=False),
    row("modified_bessel_k0", [ABOVE], scipy.special.k0, torch=False),
    row("modified_bessel_k1", [ABOVE], scipy.special.k1, torch=False),
    row("scaled_modified_bessel_k0", [ABOVE], scipy.special.k0e, torch=False),
    row("scaled_modified_bessel_k1", [ABOVE], scipy.special.k1e, torch=False),
    row("airy_ai", [AROUND], lambda x: scipy.special.airy(x)[0], torch=False),
    polynomial("chebyshev_polynomial_t", scipy_of("eval_chebyt")),
    polynomial("chebyshev_polynomial_u", scipy_of("eval_chebyu")),
    polynomial("chebyshev_polynomial_v", lambda n, x: half_angle(False, x, n), -0.9, 0.9),
    polynomial("chebyshev_polynomial_w", lambda n, x: half_angle(True, x, n), -0.9, 0.9),
    polynomial("shifted_chebyshev_polynomial_t", scipy_of("eval_sh_chebyt")),
    polynomial("shifted_chebyshev_polynomial_u", scipy_of("eval_sh_chebyu")),
    polynomial("shifted_chebyshev_polynomial_v", lambda n, x: half_angle(False, 2 * x - 1, n), 0.05, 0.95),
    polynomial("shifted_chebyshev_polynomial_w", lambda n, x: half_angle(True, 2 * x - 1, n), 0.05, 0.95),
    polynomial("hermite_polynomial_h", scipy_of("eval_hermite")),
    polynomial("hermite_polynomial_he", scipy_of("eval_hermitenorm")),
    polynomial("laguerre_polynomial_l", scipy_of("eval_laguerre")),
    polynomial("legendre_polynomial_p", scipy_of("eval_legendre")),
    # What carries the derivatives of others.
    Row("airy_ai_slope", airy.airy_ai_slope, [AROUND], ref=lambda x: scipy.special.airy(x)[1]),
    Row("reduced_j", reduced_bessel.reduced_j, [NO_KINK], {"n": 3},
        lambda x, n: scipy.special.jv(n, x) / x**n),
    Row("reduced_i", reduced_bessel.reduced_i, [NO_KINK], {"n": 3},
        lambda x, n: scipy.special.iv(n, x) / x**n),
    Row("scaled_reduced_i", reduced_bessel.scaled_reduced_i, [NO_KINK], {"n": 2},
        lambda x, n: scipy.special.ive(n, x) / x**n),
    Row("reduced_spherical_j", reduced_bessel.reduced_spherical_j, [fixed([0.4, 1.1, 3.7, 12.5])], {"n": 2, "scale": 0.7},
        lambda x, n, scale: scipy.special.spherical_jn(n, scale * x) / (scale * x) ** n),
    Row("erfcx_integral", error_function.erfcx_integral, [fixed([-1.2, 0.0, 0.6, 1.9, 2.1, 7.0])], {"n": 1},
        lambda x, n: 1 / np.sqrt(np.pi) - x * scipy.special.erfcx(x)),
    Row("higher_polygamma", gamma.higher_polygamma, [within(0.5, 5, (3, 4))], {"n": 4},
        lambda x, n: scipy.special.polygamma(n, x)),
]  # fmt: skip
