"""Sets of values that parameters and samples must lie in: `constraint.check(value)` is True where an event does.

An event is the last `event_dim` dimensions of a value: 0 for numbers, 1 for vectors, 2 for matrices.
"""

import chainrule as cr
from chainrule.autograd.functions.common import holds


class Constraint:
    """A set of events, `event_dim` dimensions each; `is_discrete` if it consists of separate points."""

    is_discrete = False
    event_dim = 0

    def check(self, value):
        """A bool Tensor of the batch shape of `value`: whether each event lies in the set."""
        raise NotImplementedError(f"{type(self).__name__}: no check of values is defined")

    def __repr__(self):
        return f"{type(self).__name__.lstrip('_')}()"


class _Dependent(Constraint):
    """A set that depends on the parameters of the distribution, so nothing can be checked without one."""

    def __init__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        self._is_discrete, self._event_dim = is_discrete, event_dim

    @property
    def is_discrete(self):
        return self._known(self._is_discrete, "is_discrete")

    @property
    def event_dim(self):
        return self._known(self._event_dim, "event_dim")

    def _known(self, value, name):
        if value is NotImplemented:
            raise NotImplementedError(
                f"{type(self).__name__.lstrip('_')}: {name} depends on the distribution"
            )
        return value

    def __call__(self, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        """The same with what is known about it."""
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is NotImplemented else is_discrete,
            event_dim=self._event_dim if event_dim is NotImplemented else event_dim,
        )

    def check(self, value):
        raise ValueError("a constraint that depends on parameters checks nothing without a distribution")


class _DependentProperty(property, _Dependent):
    """A property of distributions that gives a constraint; read off the class it says what is known without parameters.

    Used plainly or with what is known: `@dependent_property(is_discrete=False, event_dim=0)`.
    """

    def __init__(self, function=None, *, is_discrete=NotImplemented, event_dim=NotImplemented):
        super().__init__(function)
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def __call__(self, function):
        return _DependentProperty(function, is_discrete=self._is_discrete, event_dim=self._event_dim)


def is_dependent(constraint):
    """Whether the constraint depends on parameters."""
    return isinstance(constraint, _Dependent)


class _Bounded(Constraint):
    """A set of numbers given by bounds, which are numbers or Tensors."""

    def __repr__(self):
        bounds = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"{type(self).__name__.lstrip('_')}({bounds})"


class _From(_Bounded):
    def __init__(self, lower_bound):
        self.lower_bound = lower_bound


class _UpTo(_Bounded):
    def __init__(self, upper_bound):
        self.upper_bound = upper_bound


class _Between(_Bounded):
    def __init__(self, lower_bound, upper_bound):
        self.lower_bound, self.upper_bound = lower_bound, upper_bound


class _GreaterThan(_From):
    def check(self, value):
        return value > self.lower_bound


class _GreaterThanEq(_From):
    def check(self, value):
        return value >= self.lower_bound


class _LessThan(_UpTo):
    def check(self, value):
        return value < self.upper_bound


class _Interval(_Between):
    def check(self, value):
        return (value >= self.lower_bound) & (value <= self.upper_bound)


class _HalfOpenInterval(_Between):
    def check(self, value):
        return (value >= self.lower_bound) & (value < self.upper_bound)


class _Real(Constraint):
    def check(self, value):
        return value == value  # all but NaN


class _Boolean(Constraint):
    is_discrete = True

    def check(self, value):
        return (value == 0) | (value == 1)


def _whole(value):
    return value % 1 == 0


class _IntegerInterval(_Between):
    is_discrete = True

    def check(self, value):
        return _whole(value) & (value >= self.lower_bound) & (value <= self.upper_bound)


class _IntegerGreaterThan(_From):
    """The whole numbers from the lower bound on."""

    is_discrete = True

    def check(self, value):
        return _whole(value) & (value >= self.lower_bound)


class _IntegerLessThan(_UpTo):
    """The whole numbers up to the upper bound."""

    is_discrete = True

    def check(self, value):
        return _whole(value) & (value <= self.upper_bound)


# Vectors


class _Simplex(Constraint):
    """Vectors without negative elements that sum to 1."""

    event_dim = 1

    def check(self, value):
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-6)


class _OneHot(Constraint):
    """Vectors with a 1 and else zeros."""

    is_discrete = True
    event_dim = 1

    def check(self, value):
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == 1)


class _Multinomial(_UpTo):
    """Vectors of counts that sum to the upper bound at most."""

    is_discrete = True
    event_dim = 1

    def check(self, value):
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


# Matrices


class _Matrix(Constraint):
    event_dim = 2


class _Square(_Matrix):
    def check(self, value):
        square = value.ndim >= 2 and value.shape[-1] == value.shape[-2]
        return cr.full(value.shape[:-2], square, dtype=cr.bool, device=value.device)


class _Symmetric(_Square):
    def check(self, value):
        square = super().check(value)
        if not holds(square.all()):
            return square
        return cr.isclose(value, value.mT, atol=1e-6).all(-2).all(-1)


class _PositiveSemidefinite(_Symmetric):
    def check(self, value):
        symmetric = super().check(value)
        if not holds(symmetric.all()):
            return symmetric
        return (cr.linalg.eigvalsh(value) >= 0).all(-1)


class _PositiveDefinite(_Symmetric):
    def check(self, value):
        symmetric = super().check(value)
        if not holds(symmetric.all()):
            return symmetric
        return cr.linalg.cholesky_ex(value).info == 0


class _LowerTriangular(_Matrix):
    def check(self, value):
        return (value == value.tril()).all(-2).all(-1)


class _LowerCholesky(_LowerTriangular):
    """Lower triangular matrices of positive diagonal."""

    def check(self, value):
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(_LowerCholesky):
    """Cholesky factors of correlation matrices: their rows have length 1."""

    def check(self, value):
        slack = cr.finfo(value.dtype).eps * value.shape[-1] * 10
        unit = (value.square().sum(-1) - 1).abs() < slack
        return super().check(value) & unit.all(-1)


# Made of others


def _too_few(constraint, value):
    return ValueError(f"expected at least {constraint.event_dim} dimensions, got shape {tuple(value.shape)}")


class _IndependentConstraint(Constraint):
    """Events of which the last dimensions of the batch are a part: a constraint on each, and all have to satisfy it."""

    def __init__(self, base_constraint, reinterpreted_batch_ndims):
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def is_discrete(self):
        return self.base_constraint.is_discrete

    @property
    def event_dim(self):
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value):
        result = self.base_constraint.check(value)
        count = self.reinterpreted_batch_ndims
        if result.ndim < count:
            raise _too_few(self, value)
        return result.reshape(*result.shape[: result.ndim - count], -1).all(-1) if count else result

    def __repr__(self):
        return f"IndependentConstraint({self.base_constraint}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """The values that lie in the support of every component; `base_constraint` has the components in its last batch dimension."""

    def __init__(self, base_constraint):
        self.base_constraint = base_constraint

    @property
    def is_discrete(self):
        return self.base_constraint.is_discrete

    @property
    def event_dim(self):
        return self.base_constraint.event_dim

    def check(self, value):
        if value.ndim < self.event_dim:
            raise _too_few(self, value)
        return self.base_constraint.check(value.unsqueeze(-1 - self.event_dim)).all(-1)

    def __repr__(self):
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


class _Several(Constraint):
    """Constraints on parts of a value along `dim`."""

    @property
    def is_discrete(self):
        return any(one.is_discrete for one in self.cseq)

    @property
    def event_dim(self):
        return max(one.event_dim for one in self.cseq)


class _Cat(_Several):
    """Constraints on consecutive pieces of these lengths (1 by default)."""

    def __init__(self, cseq, dim=0, lengths=None):
        self.cseq, self.dim = list(cseq), dim
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise ValueError(f"cat: expected {len(self.cseq)} lengths, got {len(self.lengths)}")

    def check(self, value):
        pieces = value.split(self.lengths, self.dim)
        return cr.cat([one.check(piece) for one, piece in zip(self.cseq, pieces, strict=True)], self.dim)


class _Stack(_Several):
    """A constraint for each slice."""

    def __init__(self, cseq, dim=0):
        self.cseq, self.dim = list(cseq), dim

    def check(self, value):
        slices = value.unbind(self.dim)
        return cr.stack([one.check(part) for one, part in zip(self.cseq, slices, strict=True)], self.dim)


dependent, dependent_property = _Dependent(), _DependentProperty
independent, cat, stack = _IndependentConstraint, _Cat, _Stack
real, boolean, nonnegative, positive = _Real(), _Boolean(), _GreaterThanEq(0.0), _GreaterThan(0.0)
real_vector = independent(real, 1)
nonnegative_integer, positive_integer, integer_interval = (
    _IntegerGreaterThan(0),
    _IntegerGreaterThan(1),
    _IntegerInterval,
)
greater_than, greater_than_eq, less_than = _GreaterThan, _GreaterThanEq, _LessThan
interval, half_open_interval, unit_interval = _Interval, _HalfOpenInterval, _Interval(0.0, 1.0)
simplex, one_hot, multinomial = _Simplex(), _OneHot(), _Multinomial
square, symmetric, lower_triangular, lower_cholesky = (
    _Square(),
    _Symmetric(),
    _LowerTriangular(),
    _LowerCholesky(),
)
positive_definite, positive_semidefinite, corr_cholesky = (
    _PositiveDefinite(),
    _PositiveSemidefinite(),
    _CorrCholesky(),
)

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]
