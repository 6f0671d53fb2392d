"""The von Mises distribution of angles.

D. J. Best and N. I. Fisher, "Efficient simulation of the von Mises distribution" (Applied Statistics 28, 1979): proposals from a
wrapped Cauchy distribution, of which what is rejected is drawn again.
"""

import math

import chainrule as cr
from chainrule.backends import dtypes, namespaces, placement, random

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all


class VonMises(Distribution):
    """Density proportional to exp(concentration cos(x - loc)) on a circle; draws lie in [-pi, pi)."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real

    def __init__(self, loc, concentration, validate_args=None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self):
        """The direction of the mean vector."""
        return self.loc

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        """The circular variance, 1 less the length of the mean vector."""
        return 1 - cr.special.i1e(self.concentration) / cr.special.i0e(self.concentration)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        log_bessel = cr.special.i0e(k).log() + k
        return k * (value - self.loc).cos() - math.log(2 * math.pi) - log_bessel

    def sample(self, sample_shape=()):
        with cr.no_grad():
            shape = self._extended_shape(sample_shape)
            angle = _angles(self.concentration.double().expand(shape))
            angle = (angle + self.loc.double() + math.pi) % (2 * math.pi) - math.pi
            return angle.to(self.loc.dtype)


@placement.on_their_card
def _angles(concentration):
    """Angles around 0, float64."""
    array = concentration._array
    xp = namespaces[array.__class__]
    k = array.reshape(-1)
    tau = 1 + xp.sqrt(1 + 4 * k * k)
    rho = (tau - xp.sqrt(2 * tau)) / (2 * xp.maximum(k, 1e-300))
    # For small k the difference above cancels; there rho is k, to first order.
    rho = xp.where(k < 1e-4, xp.maximum(k, 1e-8), rho)
    r = (1 + rho * rho) / (2 * rho)
    out, todo = xp.empty_like(k), xp.arange(k.size)
    while todo.size:
        u = random.default_generator.uniform((3, todo.size), dtypes.float64, xp)
        some = r[todo]
        z = xp.cos(math.pi * u[0])
        cosine = (1 + some * z) / (some + z)
        c = k[todo] * (some - cosine)
        accepted = (c * (2 - c) > u[1]) | (xp.log(c / xp.maximum(u[1], 1e-300)) + 1 - c >= 0)
        angle = xp.where(u[2] < 0.5, -1.0, 1.0) * xp.arccos(xp.clip(cosine, -1, 1))
        out[todo[accepted]] = angle[accepted]
        todo = todo[~accepted]
    return cr.Tensor._wrap(out.reshape(array.shape))
