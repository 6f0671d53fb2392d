"""The continuous Bernoulli distribution on [0, 1], and the relaxations of the Bernoulli and the categorical distribution."""

import math

import chainrule as cr

from . import constraints
from .binomial import _PROBS_OR_LOGITS
from .categorical import Categorical
from .distribution import Distribution, ExponentialFamily
from .transformed_distribution import TransformedDistribution
from .transforms import ExpTransform, SigmoidTransform
from .utils import OfOneProbability, broadcast_all, clamp_probs, either, holds, softplus, uniform


class ContinuousBernoulli(OfOneProbability, ExponentialFamily):
    """Density proportional to p^x (1 - p)^(1 - x), that is to exp(l x) with the logit l of p, on [0, 1].

    Formulas that are 0 / 0 at p = 1/2 are replaced by their series where p lies within `lims`.
    G. Loaiza-Ganem and J. P. Cunningham, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders" (2019).
    """

    arg_constraints = _PROBS_OR_LOGITS
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        name, value = either(probs, logits, "ContinuousBernoulli")
        (value,) = broadcast_all(value)
        self._lims = lims
        if name == "probs":
            checked = self._validate_args if validate_args is None else validate_args
            if checked and not holds(constraints.unit_interval.check(value).all()):
                raise ValueError(f"ContinuousBernoulli: the parameter probs must lie in [0, 1], got\n{value}")
            value = clamp_probs(value)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)

    def _by_logits(self, series, formula):
        """A function of the logits: `series` near 0, else `formula`, of which the argument is kept off 0."""
        low, high = (math.log(p / (1 - p)) for p in self._lims)
        near = (self.logits >= low) & (self.logits <= high)
        small, away = cr.where(near, self.logits, 0.0), cr.where(near, 1.0, self.logits)
        return cr.where(near, series(small), formula(away))

    def _log_integral(self):
        """log of the integral of exp(l x) over [0, 1], (e^l - 1) / l."""
        return self._by_logits(
            lambda small: small / 2 + small.square() / 24 - small.pow(4) / 2880,
            lambda away: away.clamp(min=0) + (-(-away.abs()).expm1() / away.abs()).log(),
        )

    def _cont_bern_log_norm(self):
        """The logarithm of the constant before p^x (1 - p)^(1 - x)."""
        return softplus(self.logits) - self._log_integral()

    @property
    def mean(self):
        return self._by_logits(
            lambda small: 0.5 + small / 12 - small.pow(3) / 720,
            lambda away: -(-away).expm1().reciprocal() - away.reciprocal(),
        )

    @property
    def variance(self):
        return self._by_logits(
            lambda small: 1 / 12 - small.square() / 240 + small.pow(4) / 6048,
            lambda away: away.pow(-2) - (2 * (away / 2).sinh()).pow(-2),
        )

    def rsample(self, sample_shape=()):
        return self.icdf(uniform(self._extended_shape(sample_shape), like=self.logits))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return self.logits * value - self._log_integral()

    def cdf(self, value):
        if self._validate_args:
            self._validate_sample(value)
        value = cr.as_tensor(value, dtype=self.logits.dtype, device=self.logits.device)
        inside = self._by_logits(lambda small: value, lambda away: (away * value).expm1() / away.expm1())
        return cr.where(value <= 0, 0.0, cr.where(value >= 1, 1.0, inside))

    def icdf(self, value):
        return self._by_logits(lambda small: value, lambda away: (value * away.expm1()).log1p() / away)

    def entropy(self):
        return self._log_integral() - self.logits * self.mean

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        return ContinuousBernoulli(logits=x, lims=self._lims, validate_args=False)._log_integral()


class LogitRelaxedBernoulli(OfOneProbability, Distribution):
    """The logit of `RelaxedBernoulli`: (logits + logistic noise) / temperature."""

    arg_constraints = _PROBS_OR_LOGITS
    support = constraints.real
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        name, value = either(probs, logits, "LogitRelaxedBernoulli")
        (value,) = broadcast_all(value)
        self.temperature = cr.as_tensor(temperature, dtype=value.dtype, device=value.device)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)

    def rsample(self, sample_shape=()):
        noise = clamp_probs(uniform(self._extended_shape(sample_shape), like=self.logits)).logit()
        return (self.logits + noise) / self.temperature

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        away = self.logits - value * self.temperature
        return self.temperature.log() + away - 2 * softplus(away)


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in (0, 1) that tend to Bernoulli's 0 and 1 as the temperature tends to 0.

    C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution" (ICLR 2017); E. Jang, S. Gu and B. Poole, "Categorical
    reparameterization with Gumbel-softmax" (ICLR 2017).
    """

    arg_constraints = _PROBS_OR_LOGITS
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)

    @property
    def temperature(self):
        return self.base_dist.temperature

    @property
    def logits(self):
        return self.base_dist.logits

    @property
    def probs(self):
        return self.base_dist.probs


class ExpRelaxedCategorical(Distribution):
    """The logarithm of `RelaxedOneHotCategorical`: log softmax of (logits + Gumbel noise) / temperature."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        like = self._categorical.logits
        self.temperature = cr.as_tensor(temperature, dtype=like.dtype, device=like.device)
        super().__init__(self._categorical.batch_shape, like.shape[-1:], validate_args=validate_args)

    def _expand_parts(self, new, batch_shape):
        new._categorical = self._categorical.expand(batch_shape)

    @property
    def logits(self):
        return self._categorical.logits

    @property
    def probs(self):
        return self._categorical.probs

    @property
    def param_shape(self):
        return self._categorical.param_shape

    def rsample(self, sample_shape=()):
        u = clamp_probs(uniform(self._extended_shape(sample_shape), like=self.logits))
        return ((self.logits - (-u.log()).log()) / self.temperature).log_softmax(-1)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        k = self._event_shape[0]
        score = (self.logits - value * self.temperature).log_softmax(-1)
        return math.lgamma(k) + (k - 1) * self.temperature.log() + score.sum(-1)


class RelaxedOneHotCategorical(TransformedDistribution):
    """Points of the simplex that tend to one-hot vectors as the temperature tends to 0; see `RelaxedBernoulli`."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, temperature, probs=None, logits=None, validate_args=None):
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)

    @property
    def temperature(self):
        return self.base_dist.temperature

    @property
    def logits(self):
        return self.base_dist.logits

    @property
    def probs(self):
        return self.base_dist.probs


__all__ = [
    "ContinuousBernoulli",
    "ExpRelaxedCategorical",
    "LogitRelaxedBernoulli",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
]
