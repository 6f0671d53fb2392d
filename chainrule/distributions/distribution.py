"""`Distribution`: what all probability distributions share, and `ExponentialFamily`."""

import warnings

import chainrule as cr

from . import constraints
from .utils import holds, lazy_property, sum_rightmost


class Distribution:
    """A batch of independent probability distributions of events.

    `batch_shape` is the shape of the parameters, `event_shape` that of one draw. `sample(shape)` gives a Tensor of
    shape + batch_shape + event_shape, of which `log_prob` gives shape + batch_shape.

    A subclass sets its parameters as attributes, named in `arg_constraints` (name -> constraint), and then calls this `__init__`.
    With `validate_args` (on by default, off under `python -O`), parameters and values are checked.
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value):
        """Whether distributions check their arguments if they are not told otherwise."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected True or False, got {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape=(), event_shape=(), validate_args=None):
        self._batch_shape, self._event_shape = cr.Size(batch_shape), cr.Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    def _check_parameters(self):
        try:
            declared = self.arg_constraints
        except NotImplementedError:
            declared = {}
            warnings.warn(
                f"{type(self).__name__} does not define arg_constraints; define them, or pass validate_args=False",
                stacklevel=4,
            )
        for name, constraint in declared.items():
            computed = name not in self.__dict__ and isinstance(
                getattr(type(self), name, None), lazy_property
            )
            if constraints.is_dependent(constraint) or computed:
                continue
            value = getattr(self, name)
            if not holds(constraint.check(value).all()):
                raise ValueError(
                    f"{type(self).__name__}: the parameter {name} of shape {tuple(value.shape)} "
                    f"does not satisfy the constraint {constraint!r}; it is\n{value}"
                )

    # Shapes and parameters

    @property
    def batch_shape(self):
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self):
        """The shape of one draw, without the batch."""
        return self._event_shape

    @property
    def arg_constraints(self):
        """Parameter name -> the constraint it has to satisfy."""
        raise self._missing("arg_constraints")

    @property
    def support(self):
        """The constraint that every draw satisfies."""
        raise self._missing("support")

    def expand(self, batch_shape, _instance=None):
        """This distribution with its parameters broadcast to `batch_shape`, as views."""
        batch_shape = cr.Size(batch_shape)
        new = self._get_checked_instance(type(self), _instance) if _instance is None else _instance
        # What a subclass has already put into its instance stays.
        new.__dict__.update({**self.__dict__, **new.__dict__})
        for name, constraint in self.arg_constraints.items():
            value = new.__dict__.get(name)
            if value is not None and value is self.__dict__.get(name) and isinstance(value, cr.Tensor):
                new.__dict__[name] = value.expand(
                    batch_shape + value.shape[value.ndim - constraint.event_dim :]
                )
        new._batch_shape = batch_shape
        self._expand_parts(new, batch_shape)
        return new

    def _expand_parts(self, new, batch_shape):
        """Expand what a distribution consists of besides its parameters; for subclasses."""

    def _get_checked_instance(self, cls, _instance=None):
        """The object that `expand` fills: `_instance`, or a bare one. For subclasses with an `expand` of their own."""
        return type(self).__new__(type(self)) if _instance is None else _instance

    def _extended_shape(self, sample_shape=()):
        return cr.Size(sample_shape) + self._batch_shape + self._event_shape

    # Moments

    @property
    def mean(self):
        """The expected value."""
        raise self._missing("mean")

    @property
    def mode(self):
        """The value of greatest probability or density."""
        raise self._missing("mode")

    @property
    def variance(self):
        """The variance, of vectors of each element."""
        raise self._missing("variance")

    @property
    def stddev(self):
        """The standard deviation."""
        return self.variance.sqrt()

    # Draws

    def sample(self, sample_shape=()):
        """Draws of shape `sample_shape` + batch shape + event shape, as constants."""
        with cr.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=()):
        """Draws that are differentiable functions of the parameters (where `has_rsample`)."""
        raise NotImplementedError(
            f"{type(self).__name__}: draws are no differentiable function of the parameters; use sample()"
        )

    def sample_n(self, n):
        """`sample((n,))`."""
        warnings.warn("sample_n is deprecated; use sample((n,))", UserWarning, stacklevel=2)
        return self.sample((n,))

    # Probabilities

    def log_prob(self, value):
        """The logarithm of the probability or density at `value`."""
        raise self._missing("log_prob")

    def cdf(self, value):
        """The probability of a draw up to `value`."""
        raise self._missing("cdf")

    def icdf(self, value):
        """The quantile: the inverse of `cdf`."""
        raise self._missing("icdf")

    def enumerate_support(self, expand=True):
        """All values a discrete distribution takes, in a new first dimension; with `expand=False` of batch shape (1, 1, ...)."""
        raise self._missing("enumerate_support")

    def _enumerated(self, values, expand):
        """The values (n,) or (n, *event) with batch dimensions."""
        values = values.reshape(len(values), *[1] * len(self._batch_shape), *values.shape[1:])
        return values.expand(len(values), *self._batch_shape, *self._event_shape) if expand else values

    def entropy(self):
        """The entropy in nats, of the batch shape."""
        raise self._missing("entropy")

    def perplexity(self):
        """exp(entropy)."""
        return self.entropy().exp()

    def _validate_sample(self, value):
        """ValueError unless `value` is a Tensor whose shape and elements a draw could have."""
        name = type(self).__name__
        if not isinstance(value, cr.Tensor):
            raise ValueError(f"{name}: expected a Tensor as value, got {type(value).__name__}")
        shape, expected = tuple(value.shape), tuple(self._batch_shape + self._event_shape)
        events = len(self._event_shape)
        if shape[len(shape) - events :] != tuple(self._event_shape):
            raise ValueError(
                f"{name}: expected a value that ends in the event shape {tuple(self._event_shape)}, got {shape}"
            )
        if any(1 not in (a, b) and a != b for a, b in zip(reversed(shape), reversed(expected), strict=False)):
            raise ValueError(
                f"{name}: a value of shape {shape} does not broadcast with batch and event shape {expected}"
            )
        try:
            support = self.support
        except NotImplementedError:
            return
        if not holds(support.check(value).all()):
            raise ValueError(
                f"{name}: the value of shape {shape} does not lie within the support {support!r}; it is\n{value}"
            )

    def _missing(self, what):
        return NotImplementedError(f"{type(self).__name__}: {what} is not defined")

    def __repr__(self):
        try:
            names = [name for name in self.arg_constraints if isinstance(self.__dict__.get(name), cr.Tensor)]
        except NotImplementedError:
            names = []
        values = [(name, self.__dict__[name]) for name in names]
        shown = ", ".join(f"{name}: {v.item() if v.numel() == 1 else tuple(v.shape)}" for name, v in values)
        return f"{type(self).__name__}({shown})"


class ExponentialFamily(Distribution):
    """Densities exp(t(x) . η - F(η) + k(x)): a subclass gives its natural parameters η and the log-normalizer F.

    Entropy F(η) - η . ∇F(η) - E[k(x)], with the gradient by automatic differentiation. F. Nielsen and R. Nock, "Entropies and
    cross-entropies of exponential families" (ICIP 2010).
    """

    @property
    def _natural_params(self):
        raise self._missing("_natural_params")

    def _log_normalizer(self, *natural_params):
        raise self._missing("_log_normalizer")

    @property
    def _mean_carrier_measure(self):
        raise self._missing("_mean_carrier_measure")

    def entropy(self):
        carried = self._mean_carrier_measure
        natural, normalizer, gradients = bregman(self, self._natural_params)
        result = normalizer - carried
        for parameter, gradient in zip(natural, gradients, strict=True):
            product = parameter * gradient
            result = result - sum_rightmost(product, product.ndim - len(self._batch_shape))
        return result


def bregman(family, natural_params):
    """(η, F(η), ∇F(η)) of an exponential family, differentiable."""
    with cr.enable_grad():
        natural = [one if one.requires_grad else one.detach().requires_grad_() for one in natural_params]
        normalizer = family._log_normalizer(*natural)
        gradients = cr.autograd.grad(normalizer.sum(), natural, create_graph=True)
    return natural, normalizer, gradients
