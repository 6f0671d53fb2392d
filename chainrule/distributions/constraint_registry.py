"""From all real numbers into a constraint: `biject_to(constraint)` gives a bijection, `transform_to(constraint)` any map onto it.

`biject_to` suits changes of variables, as in Hamiltonian Monte Carlo; `transform_to` suits optimization, where a softmax of as many
numbers as probabilities is better conditioned than a bijection.
"""

import numbers

from . import constraints, transforms


class ConstraintRegistry:
    """Constraint class -> a function from a constraint of it to a `Transform`; calling it looks the transform up."""

    def __init__(self):
        self._registry = {}

    def register(self, constraint, factory=None):
        """Register a factory for a class of constraints (or that of a given one); without a factory, a decorator."""
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        kind = type(constraint) if isinstance(constraint, constraints.Constraint) else constraint
        if not isinstance(kind, type) or not issubclass(kind, constraints.Constraint):
            raise TypeError(
                f"register: expected a constraint or a subclass of Constraint, got {constraint!r}"
            )
        self._registry[kind] = factory
        return factory

    def __call__(self, constraint):
        if type(constraint) not in self._registry:
            raise NotImplementedError(
                f"no transform to {type(constraint).__name__.lstrip('_')} constraints is known; register one"
            )
        return self._registry[type(constraint)](constraint)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _both(*kinds):
    def declare(factory):
        for kind in kinds:
            biject_to.register(kind, factory)
            transform_to.register(kind, factory)
        return factory

    return declare


@_both(constraints._Real)
def _to_real(constraint):
    return transforms.identity_transform


@_both(constraints._GreaterThan, constraints._GreaterThanEq)
def _to_greater_than(constraint):
    if constraint is constraints.positive or _is_number(constraint.lower_bound, 0):
        return transforms.ExpTransform()
    shift = transforms.AffineTransform(constraint.lower_bound, 1)
    return transforms.ComposeTransform([transforms.ExpTransform(), shift])


@_both(constraints._LessThan)
def _to_less_than(constraint):
    mirror = transforms.AffineTransform(constraint.upper_bound, -1)
    return transforms.ComposeTransform([transforms.ExpTransform(), mirror])


@_both(constraints._Interval, constraints._HalfOpenInterval)
def _to_interval(constraint):
    low, high = constraint.lower_bound, constraint.upper_bound
    if _is_number(low, 0) and _is_number(high, 1):
        return transforms.SigmoidTransform()
    return transforms.ComposeTransform(
        [transforms.SigmoidTransform(), transforms.AffineTransform(low, high - low)]
    )


def _is_number(bound, value):
    return isinstance(bound, numbers.Number) and bound == value


@biject_to.register(constraints._Simplex)
def _biject_to_simplex(constraint):
    return transforms.StickBreakingTransform()


@transform_to.register(constraints._Simplex)
def _transform_to_simplex(constraint):
    return transforms.SoftmaxTransform()


@transform_to.register(constraints._LowerCholesky)
def _to_lower_cholesky(constraint):
    return transforms.LowerCholeskyTransform()


@transform_to.register(constraints._PositiveSemidefinite)
@transform_to.register(constraints._PositiveDefinite)
def _to_positive_definite(constraint):
    return transforms.PositiveDefiniteTransform()


@_both(constraints._CorrCholesky)
def _to_corr_cholesky(constraint):
    return transforms.CorrCholeskyTransform()


def _of_parts(registry):
    """Constraints made of others go to transforms made of theirs."""

    @registry.register(constraints._IndependentConstraint)
    def to_independent(constraint):
        base = registry(constraint.base_constraint)
        return transforms.IndependentTransform(base, constraint.reinterpreted_batch_ndims)

    @registry.register(constraints._Cat)
    def to_cat(constraint):
        return transforms.CatTransform(
            [registry(one) for one in constraint.cseq], constraint.dim, constraint.lengths
        )

    @registry.register(constraints._Stack)
    def to_stack(constraint):
        return transforms.StackTransform([registry(one) for one in constraint.cseq], constraint.dim)


_of_parts(biject_to)
_of_parts(transform_to)

__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]
