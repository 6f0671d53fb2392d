"""Trials that succeed or fail, and counts of them and of rare events."""

import chainrule as cr

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .gamma import Gamma
from .utils import OfOneProbability, broadcast_all, either, holds, softplus, uniform

_PROBS_OR_LOGITS = {"probs": constraints.unit_interval, "logits": constraints.real}


def _cross_entropy(logits, value):
    """-(y log p + (1 - y) log(1 - p)) from logits."""
    return softplus(logits) - value * logits


class Bernoulli(OfOneProbability, ExponentialFamily):
    """1 with probability `probs` (or the sigmoid of `logits`), else 0."""

    arg_constraints = _PROBS_OR_LOGITS
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, validate_args=None):
        name, value = either(probs, logits, "Bernoulli")
        (value,) = broadcast_all(value)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        """The likelier outcome; NaN where both are as likely."""
        return cr.where(self.probs == 0.5, cr.nan, (self.probs >= 0.5).to(self.probs.dtype))

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with cr.no_grad():
            return cr.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return -_cross_entropy(self.logits, value)

    def entropy(self):
        return _cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand=True):
        return self._enumerated(self.logits.new_tensor([0.0, 1.0]), expand)

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        return softplus(x)


class Geometric(OfOneProbability, Distribution):
    """How many trials of probability `probs` fail before the first success: 0, 1, 2, ..."""

    arg_constraints = _PROBS_OR_LOGITS
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        name, value = either(probs, logits, "Geometric")
        (value,) = broadcast_all(value)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not holds((value > 0).all()):
            raise ValueError("Geometric: probs must be positive; with probs = 0 no trial ever succeeds")

    @property
    def mean(self):
        return 1 / self.probs - 1

    @property
    def mode(self):
        return cr.zeros_like(self.probs)

    @property
    def variance(self):
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape=()):
        with cr.no_grad():
            drawn = uniform(self._extended_shape(sample_shape), like=self.probs)
            return (drawn.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        # With p = 1 no failure is certain: 0 log 0 = 0.
        return cr.special.xlog1py(value, -self.probs) + self.probs.log()

    def entropy(self):
        return _cross_entropy(self.logits, self.probs) / self.probs


class Binomial(OfOneProbability, Distribution):
    """How many of `total_count` trials succeed."""

    arg_constraints = {"total_count": constraints.nonnegative_integer, **_PROBS_OR_LOGITS}
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        name, value = either(probs, logits, "Binomial")
        self.total_count, value = broadcast_all(total_count, value)
        self.total_count = self.total_count.to(value.dtype)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return cr.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with cr.no_grad():
            shape = self._extended_shape(sample_shape)
            return cr.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        ways = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        return ways + value * self.logits - n * softplus(self.logits)

    def entropy(self):
        """The sum over the support; the same total_count is needed over the batch."""
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(log_prob.exp() * log_prob).sum(0)

    def enumerate_support(self, expand=True):
        most = int(self.total_count.max())
        if not most == int(self.total_count.min()):
            raise NotImplementedError(
                "Binomial: the support cannot be enumerated if total_count differs over the batch"
            )
        return self._enumerated(
            cr.arange(most + 1, dtype=self.total_count.dtype, device=self.total_count.device), expand
        )


class NegativeBinomial(OfOneProbability, Distribution):
    """How many trials of probability `probs` succeed before `total_count` have failed."""

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        name, value = either(probs, logits, "NegativeBinomial")
        self.total_count, value = broadcast_all(total_count, value)
        self.total_count = self.total_count.to(value.dtype)
        setattr(self, name, value)
        super().__init__(value.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.total_count * self.logits.exp()

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self):
        return self.mean / (-self.logits).sigmoid()

    def sample(self, sample_shape=()):
        """Poisson numbers whose rates are gamma-distributed."""
        with cr.no_grad():
            rate = Gamma(self.total_count, (-self.logits).exp(), validate_args=False).sample(sample_shape)
            return cr.poisson(rate)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        n = self.total_count
        unnormalized = n * -softplus(self.logits) - value * softplus(-self.logits)
        ways = (n + value).lgamma() - (value + 1).lgamma() - n.lgamma()
        # No failure at all, n = 0, leaves no room for a success.
        return unnormalized + cr.where(n + value == 0, 0.0, ways)


class Poisson(ExponentialFamily):
    """The number of events that come at a rate, independently of each other."""

    arg_constraints = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer

    def __init__(self, rate, validate_args=None):
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self):
        return self.rate

    @property
    def mode(self):
        return self.rate.floor()

    @property
    def variance(self):
        return self.rate

    def sample(self, sample_shape=()):
        with cr.no_grad():
            return cr.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return cr.xlogy(value, rate) - rate - (value + 1).lgamma()

    @property
    def _natural_params(self):
        return (self.rate.log(),)

    def _log_normalizer(self, x):
        return x.exp()


__all__ = ["Bernoulli", "Binomial", "Geometric", "NegativeBinomial", "Poisson"]
