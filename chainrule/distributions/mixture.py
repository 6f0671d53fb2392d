"""Mixtures of distributions of one family."""

import chainrule as cr

from . import constraints
from .categorical import Categorical
from .distribution import Distribution


class MixtureSameFamily(Distribution):
    """Draws from one of several components of a family, chosen by a `Categorical`.

    The components are the last batch dimension of `component_distribution`.
    """

    arg_constraints = {}

    def __init__(self, mixture_distribution, component_distribution, validate_args=None):
        mixture, component = mixture_distribution, component_distribution
        if not isinstance(mixture, Categorical):
            raise ValueError(
                f"MixtureSameFamily: the mixture must be a Categorical, got {type(mixture).__name__}"
            )
        if not isinstance(component, Distribution):
            raise ValueError(
                f"MixtureSameFamily: the components must be a Distribution, got {type(component).__name__}"
            )
        batch, weights = component.batch_shape, mixture.batch_shape
        if not batch or batch[-1] != mixture.logits.shape[-1]:
            raise ValueError(
                f"MixtureSameFamily: {mixture.logits.shape[-1]} weights, but the components have the batch shape {tuple(batch)}"
            )
        for a, b in zip(reversed(batch[:-1]), reversed(weights), strict=False):
            if 1 not in (a, b) and a != b:
                raise ValueError(
                    f"MixtureSameFamily: batch shapes {tuple(weights)} and {tuple(batch[:-1])} do not broadcast"
                )
        self._mixture_distribution, self._component_distribution = mixture, component
        self._num_component = batch[-1]
        super().__init__(batch[:-1], component.event_shape, validate_args=validate_args)

    def _expand_parts(self, new, batch_shape):
        new._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        new._mixture_distribution = self._mixture_distribution.expand(batch_shape)

    @constraints.dependent_property
    def support(self):
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self):
        return self._mixture_distribution

    @property
    def component_distribution(self):
        return self._component_distribution

    def _weights(self):
        """Mixture probabilities, with dimensions of 1 for the event."""
        probs = self._mixture_distribution.probs
        return probs.reshape(*probs.shape, *[1] * len(self._event_shape))

    def _mixed(self, values):
        return (self._weights() * values).sum(-1 - len(self._event_shape))

    @property
    def mean(self):
        return self._mixed(self._component_distribution.mean)

    @property
    def variance(self):
        """The mean of the variances and the variance of the means."""
        means = self._component_distribution.mean
        around = means - self.mean.unsqueeze(-1 - len(self._event_shape))
        return self._mixed(self._component_distribution.variance) + self._mixed(around.square())

    def cdf(self, value):
        return (self._component_distribution.cdf(value.unsqueeze(-1)) * self._mixture_distribution.probs).sum(
            -1
        )

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        each = self._component_distribution.log_prob(value.unsqueeze(-1 - len(self._event_shape)))
        return (each + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape=()):
        with cr.no_grad():
            dim = len(sample_shape) + len(self._batch_shape)
            chosen = self._mixture_distribution.expand(self._batch_shape).sample(sample_shape)
            drawn = self._component_distribution.sample(sample_shape)
            index = chosen.reshape(*chosen.shape, *[1] * (1 + len(self._event_shape)))
            return drawn.take_along_dim(index, dim).squeeze(dim)

    def __repr__(self):
        return f"MixtureSameFamily(\n  {self._mixture_distribution!r},\n  {self._component_distribution!r})"
