"""The exponential distribution and powers and exponentials of it, and the generalized Pareto and Kumaraswamy distributions.

N. L. Johnson, S. Kotz and N. Balakrishnan, "Continuous univariate distributions" 1 (1994), chapters 19 to 21.
"""

import chainrule as cr

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .location_scale import Uniform
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, ExpTransform, PowerTransform
from .utils import broadcast_all, euler_constant, uniform, where_inside


class Exponential(ExponentialFamily):
    """Density rate * exp(-rate x) on the positive numbers."""

    arg_constraints = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, rate, validate_args=None):
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.rate.reciprocal()

    @property
    def mode(self):
        return cr.zeros_like(self.rate)

    @property
    def stddev(self):
        return self.rate.reciprocal()

    @property
    def variance(self):
        return self.rate.pow(-2)

    def rsample(self, sample_shape=()):
        return -uniform(self._extended_shape(sample_shape), like=self.rate).log() / self.rate

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return -(-self.rate * value).expm1()

    def icdf(self, value):
        return -(-value).log1p() / self.rate

    def entropy(self):
        return 1 - self.rate.log()

    @property
    def _natural_params(self):
        return (-self.rate,)

    def _log_normalizer(self, x):
        return -(-x).log()


class Pareto(TransformedDistribution):
    """scale * exp(x), with x from Exponential(alpha): the probability of more than y is (scale / y)^alpha."""

    arg_constraints = {"alpha": constraints.positive, "scale": constraints.positive}

    def __init__(self, scale, alpha, validate_args=None):
        self.scale, self.alpha = broadcast_all(scale, alpha)
        base = Exponential(self.alpha, validate_args=validate_args)
        super().__init__(base, [ExpTransform(), AffineTransform(0, self.scale)], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        return constraints.greater_than_eq(self.scale)

    @property
    def mean(self):
        """Infinite for alpha up to 1."""
        a = self.alpha.clamp(min=1)
        return a * self.scale / (a - 1)

    @property
    def mode(self):
        return self.scale

    @property
    def variance(self):
        """Infinite for alpha up to 2."""
        a = self.alpha.clamp(min=2)
        return self.scale.square() * a / ((a - 1).square() * (a - 2))

    def entropy(self):
        return (self.scale / self.alpha).log() + 1 + self.alpha.reciprocal()


class Weibull(TransformedDistribution):
    """scale * x^(1 / concentration), with x from Exponential(1)."""

    arg_constraints = {"scale": constraints.positive, "concentration": constraints.positive}
    support = constraints.positive

    def __init__(self, scale, concentration, validate_args=None):
        self.scale, self.concentration = broadcast_all(scale, concentration)
        base = Exponential(cr.ones_like(self.scale), validate_args=validate_args)
        transforms = [PowerTransform(self.concentration.reciprocal()), AffineTransform(0, self.scale)]
        super().__init__(base, transforms, validate_args=validate_args)

    def _moment(self, order):
        """Gamma(1 + order / concentration)."""
        return (1 + order / self.concentration).lgamma().exp()

    @property
    def mean(self):
        return self.scale * self._moment(1)

    @property
    def mode(self):
        """0 for a concentration up to 1."""
        k = self.concentration.clamp(min=1)
        return self.scale * ((k - 1) / k).pow(k.reciprocal())

    @property
    def variance(self):
        return self.scale.square() * (self._moment(2) - self._moment(1).square())

    def entropy(self):
        inverse = self.concentration.reciprocal()
        return euler_constant * (1 - inverse) + (self.scale * inverse).log() + 1


class Kumaraswamy(TransformedDistribution):
    """(1 - (1 - u)^(1 / concentration0))^(1 / concentration1), with u uniform: much like Beta, with simple quantiles.

    P. Kumaraswamy, "A generalized probability density function for double-bounded random processes" (J. Hydrology 46, 1980).
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1, concentration0, validate_args=None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        one = cr.ones_like(self.concentration1)
        base = Uniform(0 * one, one, validate_args=validate_args)
        mirror = AffineTransform(one, -one)
        transforms = [
            PowerTransform(self.concentration0.reciprocal()),
            mirror,
            PowerTransform(self.concentration1.reciprocal()),
        ]
        super().__init__(base, transforms, validate_args=validate_args)

    def _moment(self, order):
        """E[x^order]: concentration0 times the beta function of 1 + order / concentration1 and concentration0."""
        a, b = 1 + order / self.concentration1, self.concentration0
        return b * (a.lgamma() + b.lgamma() - (a + b).lgamma()).exp()

    @property
    def mean(self):
        return self._moment(1)

    @property
    def mode(self):
        """NaN for concentrations below 1, and where both are 1."""
        a, b = self.concentration1, self.concentration0
        inside = (a >= 1) & (b >= 1) & ((a > 1) | (b > 1))
        a, b = cr.where(inside, a, 2.0), cr.where(inside, b, 2.0)
        return where_inside(inside, ((a - 1) / (a * b - 1)).pow(a.reciprocal()), cr.nan)

    @property
    def variance(self):
        return self._moment(2) - self._moment(1).square()

    def entropy(self):
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + euler_constant
        return (1 - b.reciprocal()) + (1 - a.reciprocal()) * harmonic - a.log() - b.log()


def _log1p_ratio(x):
    """log(1 + x) / x, by its series near 0."""
    near = x.abs() < 1e-3
    small, away = cr.where(near, x, 0.0), cr.where(near, 1.0, x)
    series = 1 - small * (1 / 2 - small * (1 / 3 - small * (1 / 4 - small / 5)))
    return cr.where(near, series, away.log1p() / away)


def _expm1_ratio(x):
    """(exp(x) - 1) / x, by its series near 0."""
    near = x.abs() < 1e-3
    small, away = cr.where(near, x, 0.0), cr.where(near, 1.0, x)
    series = 1 + small / 2 * (1 + small / 3 * (1 + small / 4 * (1 + small / 5)))
    return cr.where(near, series, away.expm1() / away)


class GeneralizedPareto(Distribution):
    """What exceeds a high threshold: the probability of more than x is (1 + c z)^(-1/c), z = (x - loc) / scale, c = concentration.

    exp(-z) for c = 0. J. Pickands, "Statistical inference using extreme order statistics" (Annals of Statistics 3, 1975).
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        """[loc, loc - scale / concentration] for a negative concentration, else all numbers from loc on."""
        negative = self.concentration < 0
        end = self.loc - self.scale / cr.where(negative, self.concentration, -1.0)
        return constraints.interval(self.loc, where_inside(negative, end, cr.inf))

    def rsample(self, sample_shape=()):
        return self.icdf(uniform(self._extended_shape(sample_shape), like=self.loc))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        z, c = (value - self.loc) / self.scale, self.concentration
        return -(c + 1) * z * _log1p_ratio(c * z) - self.scale.log()

    def log_survival_function(self, value):
        """The logarithm of the probability of more than `value`."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return -z * _log1p_ratio(self.concentration * z)

    def cdf(self, value):
        return -self.log_survival_function(value).expm1()

    def log_cdf(self, value):
        """The logarithm of the probability of up to `value`."""
        return self.cdf(value).log()

    def icdf(self, value):
        z = -(-value).log1p()
        return self.loc + self.scale * z * _expm1_ratio(self.concentration * z)

    @property
    def mean(self):
        """Infinite for a concentration of 1 or more."""
        c = self.concentration
        return where_inside(c < 1, self.loc + self.scale / (1 - cr.where(c < 1, c, 0.0)), cr.inf)

    @property
    def variance(self):
        """Infinite for a concentration of 1/2 or more."""
        narrow = self.concentration < 0.5
        c = cr.where(narrow, self.concentration, 0.0)
        return where_inside(narrow, self.scale.square() / ((1 - c).square() * (1 - 2 * c)), cr.inf)

    @property
    def mode(self):
        return self.loc

    def entropy(self):
        return self.scale.log() + self.concentration + 1


__all__ = ["Exponential", "GeneralizedPareto", "Kumaraswamy", "Pareto", "Weibull"]
