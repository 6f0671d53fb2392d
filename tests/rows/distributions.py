"""Rows: what carries the gradients of random numbers."""

import numpy as np
import scipy.integrate

from chainrule.autograd.ops import gamma_draw
from tests.table import Row, Spec, fixed

ABOVE = Spec(lambda rng: np.array([False, False, True, True, False]), shape=(5,))


def moment(a, log_x, above, k):
    """The integral itself."""

    def one(a, log_x, above):
        sign, x = 1 if above else -1, np.exp(log_x)
        return scipy.integrate.quad(
            lambda s: (sign * s) ** k * np.exp(sign * a * s - x * np.expm1(sign * s)), 0, 60, epsabs=1e-13
        )[0]

    return np.vectorize(one)(a, log_x, above)


ROWS = [
    # A draw moves with its shape although the draw itself is no function of it: nothing to compare with differences.
    Row("log_gamma_draw", gamma_draw.log_gamma_draw, [fixed([0.4, 1.5, 3.0]), fixed([-2.0, 0.3, 1.4])],
        ref=lambda a, log_x: log_x, grad=False),
    Row("log_gamma_moment", gamma_draw.log_gamma_moment,
        [fixed([0.8, 1.5, 1.2, 3.0, 9.0]), fixed([-2.0, 0.3, 0.4, 2.4, 1.4]), ABOVE], {"k": 1}, moment),
]  # fmt: skip
