"""The gamma distribution and those made of gamma-distributed numbers: chi-squared, beta, Dirichlet, Student's t, Fisher's F.

Draws are differentiable functions of the shapes through implicit reparametrisation of each gamma-distributed number, as M. Figurnov,
S. Mohamed and A. Mnih do it, "Implicit reparameterization gradients" (NeurIPS 2018), section 4.
Densities and moments: N. L. Johnson, S. Kotz and N. Balakrishnan, "Continuous univariate distributions" (1994, 1995).
"""

import math

import chainrule as cr

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .standard_gamma import log_standard_gamma
from .transformed_distribution import TransformedDistribution
from .transforms import PowerTransform
from .utils import broadcast_all, normal, where_inside


class Gamma(ExponentialFamily):
    """Density proportional to x^(concentration - 1) exp(-rate x) on the positive numbers."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.square()

    def rsample(self, sample_shape=()):
        drawn = log_standard_gamma(self.concentration.expand(self._extended_shape(sample_shape)))
        # Not 0, so that the density of what was drawn is finite.
        lowest = math.log(cr.finfo(drawn.dtype).tiny)
        return cr.maximum(drawn - self.rate.log(), drawn.new_full((), lowest)).exp()

    def log_prob(self, value):
        value = cr.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device)
        if self._validate_args:
            self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return cr.xlogy(a, rate) + cr.xlogy(a - 1, value) - rate * value - a.lgamma()

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return cr.special.gammainc(self.concentration, self.rate * value)

    def entropy(self):
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()

    @property
    def _natural_params(self):
        return (self.concentration - 1, -self.rate)

    def _log_normalizer(self, x, y):
        return (x + 1).lgamma() - (x + 1) * (-y).log()


class Chi2(Gamma):
    """The sum of the squares of `df` standard normal numbers: Gamma(df / 2, 1 / 2)."""

    arg_constraints = {"df": constraints.positive}

    def __init__(self, df, validate_args=None):
        (df,) = broadcast_all(df)
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def _expand_parts(self, new, batch_shape):
        new.concentration, new.rate = self.concentration.expand(batch_shape), self.rate.expand(batch_shape)

    @property
    def df(self):
        return self.concentration * 2


class InverseGamma(TransformedDistribution):
    """1 / x, with x from Gamma(concentration, rate)."""

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, concentration, rate, validate_args=None):
        base = Gamma(concentration, rate, validate_args=validate_args)
        super().__init__(base, PowerTransform(-base.rate.new_ones(())), validate_args=validate_args)

    @property
    def concentration(self):
        return self.base_dist.concentration

    @property
    def rate(self):
        return self.base_dist.rate

    @property
    def mean(self):
        """Infinite for a concentration up to 1."""
        a = self.concentration
        return where_inside(a > 1, self.rate / (a - 1).clamp(min=0), cr.inf)

    @property
    def mode(self):
        return self.rate / (self.concentration + 1)

    @property
    def variance(self):
        """Infinite for a concentration up to 2."""
        a = self.concentration
        return where_inside(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), cr.inf)

    def entropy(self):
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


class Beta(ExponentialFamily):
    """Density proportional to x^(concentration1 - 1) (1 - x)^(concentration0 - 1) on (0, 1)."""

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration1, concentration0, validate_args=None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self):
        """As a limit for concentrations up to 1, NaN where two values or all are modes."""
        return self._dirichlet.mode[..., 0]

    @property
    def variance(self):
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total.square() * (total + 1))

    @property
    def _dirichlet(self):
        return Dirichlet(cr.stack([self.concentration1, self.concentration0], -1), validate_args=False)

    def rsample(self, sample_shape=()):
        return self._dirichlet.rsample(sample_shape)[..., 0]

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return self._dirichlet.log_prob(cr.stack([value, 1 - value], -1))

    def entropy(self):
        return self._dirichlet.entropy()

    @property
    def _natural_params(self):
        return (self.concentration1 - 1, self.concentration0 - 1)

    def _log_normalizer(self, x, y):
        return (x + 1).lgamma() + (y + 1).lgamma() - (x + y + 2).lgamma()


class Dirichlet(ExponentialFamily):
    """Density proportional to the product of x_k^(concentration_k - 1) on the simplex."""

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, validate_args=None):
        if concentration.ndim < 1:
            raise ValueError("Dirichlet: concentration must have at least 1 dimension, got a 0-d Tensor")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self):
        """Where no concentration exceeds 1: the corner of the greatest."""
        above = (self.concentration - 1).clamp(min=0.0)
        corner = self.concentration.argmax(-1, keepdim=True) == cr.arange(
            self._event_shape[0], device=above.device
        )
        inside = (self.concentration >= 1).any(-1, keepdim=True)
        return cr.where(inside, above / above.sum(-1, keepdim=True), corner.to(above.dtype))

    @property
    def variance(self):
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total.square() * (total + 1))

    def rsample(self, sample_shape=()):
        """Gamma-distributed numbers divided by their sum, from their logarithms."""
        shape = self._extended_shape(sample_shape)
        return log_standard_gamma(self.concentration.expand(shape)).softmax(-1)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        a = self.concentration
        return cr.xlogy(a - 1, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self):
        a, total, k = self.concentration, self.concentration.sum(-1), self._event_shape[0]
        return (
            a.lgamma().sum(-1)
            - total.lgamma()
            - (k - total) * total.digamma()
            - ((a - 1) * a.digamma()).sum(-1)
        )

    @property
    def _natural_params(self):
        return (self.concentration - 1,)

    def _log_normalizer(self, x):
        a = x + 1
        return a.lgamma().sum(-1) - a.sum(-1).lgamma()


class StudentT(Distribution):
    """loc + scale times z / sqrt(w / df), z standard normal and w of Chi2(df)."""

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def mean(self):
        """NaN for df up to 1."""
        return where_inside(self.df > 1, self.loc, cr.nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        """Infinite for df up to 2, NaN up to 1."""
        wide = self.df > 2
        finite = self.scale.square() * self.df / cr.where(wide, self.df - 2, 1.0)
        return where_inside(self.df > 1, where_inside(wide, finite, cr.inf), cr.nan)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        half = (0.5 * self.df).expand(shape)
        # sqrt(w / df), where w = 2 g and g is gamma-distributed of shape df / 2.
        log_spread = 0.5 * (log_standard_gamma(half) - half.log())
        return self.loc + self.scale * normal(shape, like=half) * (-log_spread).exp()

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        return -0.5 * (self.df + 1) * (y.square() / self.df).log1p() - self._log_normalizer()

    def _log_normalizer(self):
        half = 0.5 * self.df
        return (
            self.scale.log()
            + 0.5 * (self.df.log() + math.log(math.pi))
            + half.lgamma()
            - (half + 0.5).lgamma()
        )

    def entropy(self):
        half = 0.5 * self.df
        return self._log_normalizer() + (half + 0.5) * ((half + 0.5).digamma() - half.digamma())


class FisherSnedecor(Distribution):
    """(w1 / df1) / (w2 / df2), with w1 of Chi2(df1) and w2 of Chi2(df2)."""

    arg_constraints = {"df1": constraints.positive, "df2": constraints.positive}
    support = constraints.positive
    has_rsample = True

    def __init__(self, df1, df2, validate_args=None):
        self.df1, self.df2 = broadcast_all(df1, df2)
        super().__init__(self.df1.shape, validate_args=validate_args)

    @property
    def mean(self):
        """NaN for df2 up to 2."""
        return where_inside(self.df2 > 2, self.df2 / (self.df2 - 2), cr.nan)

    @property
    def mode(self):
        """NaN for df1 up to 2."""
        mode = (self.df1 - 2) / self.df1 * (self.df2 / (self.df2 + 2))
        return where_inside(self.df1 > 2, mode, cr.nan)

    @property
    def variance(self):
        """NaN for df2 up to 4."""
        a, b = self.df1, self.df2
        variance = 2 * b.square() * (a + b - 2) / (a * (b - 2).square() * (b - 4))
        return where_inside(b > 4, variance, cr.nan)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        above, below = ((0.5 * df).expand(shape) for df in (self.df1, self.df2))
        log_ratio = log_standard_gamma(above) - above.log() - log_standard_gamma(below) + below.log()
        return log_ratio.exp()

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        a, b, ratio = 0.5 * self.df1, 0.5 * self.df2, self.df1 / self.df2
        log_beta = a.lgamma() + b.lgamma() - (a + b).lgamma()
        return a * ratio.log() + cr.xlogy(a - 1, value) - (a + b) * (ratio * value).log1p() - log_beta


__all__ = ["Beta", "Chi2", "Dirichlet", "FisherSnedecor", "Gamma", "InverseGamma", "StudentT"]
