"""Distributions over K outcomes: the number of one, its one-hot vector, and the counts of several draws."""

import chainrule as cr

from . import constraints
from .binomial import Binomial
from .distribution import Distribution
from .utils import OfProbabilities, either, probs_to_logits


class _Outcomes(OfProbabilities, Distribution):
    """`probs` (normalized if they do not sum to 1) or `logits` (up to a constant), with the outcomes in the last dimension."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def _set_outcomes(self, probs, logits):
        """Set the parameter; returns its shape without the outcomes, and their number."""
        name, value = either(probs, logits, type(self).__name__)
        if value.ndim < 1:
            raise ValueError(
                f"{type(self).__name__}: {name} must have at least 1 dimension, the outcomes, got a 0-d Tensor"
            )
        if name == "probs":
            self.probs = value / value.sum(-1, keepdim=True)
        else:
            self.logits = value - value.logsumexp(-1, keepdim=True)
        return value.shape[:-1], value.shape[-1]


class Categorical(_Outcomes):
    """The number 0 ... K - 1 of an outcome, as int64."""

    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        batch_shape, self._num_events = self._set_outcomes(probs, logits)
        super().__init__(batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self):
        """NaN: the numbers of outcomes are names."""
        return self.probs.new_full(self._batch_shape, cr.nan)

    @property
    def mode(self):
        return self.probs.argmax(-1)

    @property
    def variance(self):
        """NaN."""
        return self.mean

    def sample(self, sample_shape=()):
        with cr.no_grad():
            sample_shape = cr.Size(sample_shape)
            probs = self.probs.reshape(-1, self._num_events)
            drawn = cr.multinomial(probs, max(sample_shape.numel(), 1), True).mT
            return drawn[: sample_shape.numel()].reshape(self._extended_shape(sample_shape))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        index = value.long().unsqueeze(-1)
        index, logits = cr.broadcast_tensors(index, self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self):
        # A logit of -inf belongs to a probability 0 and adds 0.
        return -(self.logits.clamp(min=cr.finfo(self.logits.dtype).min) * self.probs).sum(-1)

    def enumerate_support(self, expand=True):
        return self._enumerated(cr.arange(self._num_events, device=self._place()), expand)

    def _place(self):
        return next(self.__dict__[name].device for name in ("probs", "logits") if name in self.__dict__)


class OneHotCategorical(_Outcomes):
    """The one-hot vector of an outcome."""

    support = constraints.one_hot
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        batch_shape, count = self._set_outcomes(probs, logits)
        super().__init__(batch_shape, (count,), validate_args=validate_args)

    @property
    def _categorical(self):
        if "probs" in self.__dict__:
            return Categorical(probs=self.probs, validate_args=False)
        return Categorical(logits=self.logits, validate_args=False)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        return self._hot(self.probs.argmax(-1))

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def _hot(self, index):
        return (index.unsqueeze(-1) == cr.arange(self._event_shape[0], device=index.device)).to(
            self.probs.dtype
        )

    def sample(self, sample_shape=()):
        with cr.no_grad():
            return self._hot(self._categorical.sample(sample_shape))

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        return self._categorical.log_prob(value.argmax(-1))

    def entropy(self):
        return self._categorical.entropy()

    def enumerate_support(self, expand=True):
        return self._enumerated(
            cr.eye(self._event_shape[0], dtype=self.probs.dtype, device=self.probs.device), expand
        )


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """One-hot vectors that pass their gradient to the probabilities as if they were these.

    Y. Bengio, N. Léonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for conditional
    computation" (2013).
    """

    has_rsample = True

    def rsample(self, sample_shape=()):
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


class Multinomial(_Outcomes):
    """How often each outcome comes in `total_count` draws, an int."""

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError(
                f"Multinomial: total_count must be an int, got {type(total_count).__name__}"
            )
        self.total_count = total_count
        batch_shape, count = self._set_outcomes(probs, logits)
        super().__init__(batch_shape, (count,), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with cr.no_grad():
            drawn = Categorical(probs=self.probs, validate_args=False).sample(
                (self.total_count, *sample_shape)
            )
            outcomes = cr.arange(self._event_shape[0], device=drawn.device)
            return (drawn.unsqueeze(-1) == outcomes).sum(0).to(self.probs.dtype)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        logits, value = cr.broadcast_tensors(self.logits, value)
        # No draw of probability 0 adds 0.
        terms = cr.where((value == 0) & (logits == -cr.inf), 0.0, logits) * value
        return (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1) + terms.sum(-1)

    def entropy(self):
        """n H(p) - log n! + sum over the outcomes of E[log x_k!], each x_k being binomial."""
        n = cr.tensor(float(self.total_count), dtype=self.probs.dtype, device=self.probs.device)
        single = -(probs_to_logits(self.probs) * self.probs).sum(-1)
        counts = Binomial(self.total_count, self.probs, validate_args=False)
        support = counts.enumerate_support(expand=False)[1:]
        expected = (counts.log_prob(support).exp() * (support + 1).lgamma()).sum((0, -1))
        return n * single - (n + 1).lgamma() + expected


__all__ = ["Categorical", "Multinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough"]
