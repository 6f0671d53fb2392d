"""`Transform`: a function of Tensors with an inverse and the logarithm of its volume change; and those made of others."""

import functools
import operator

import chainrule as cr

from . import constraints
from .utils import sum_rightmost


class Transform:
    """A map from `domain` to `codomain` whose inverse `inv` and log |det Jacobian| are known.

    A subclass defines `_call`, `_inverse` and `log_abs_det_jacobian`. `bijective` says whether t.inv(t(x)) == x; if not, `inv`
    gives one of the preimages. `sign` is that of the derivative of a monotone map of numbers. With `cache_size=1` the last pair
    is kept, so that inverting what was just computed costs nothing and loses no digits.
    """

    bijective = False

    def __init__(self, cache_size=0):
        if cache_size not in (0, 1):
            raise ValueError(f"{type(self).__name__}: cache_size must be 0 or 1, got {cache_size}")
        self._cache_size = cache_size
        self._last = (None, None)

    @property
    def event_dim(self):
        """The dimensions of an event, where those of domain and codomain agree."""
        if self.domain.event_dim != self.codomain.event_dim:
            raise ValueError(
                f"{type(self).__name__}: domain and codomain have events of different dimensions; ask those"
            )
        return self.domain.event_dim

    @property
    def inv(self):
        """The inverse transform."""
        return _InverseTransform(self)

    @property
    def sign(self):
        """1 or -1 for a map that rises or falls."""
        raise NotImplementedError(f"{type(self).__name__}: has no sign")

    def with_cache(self, cache_size=1):
        """The same transform with this cache size."""
        if self._cache_size == cache_size:
            return self
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._cache_size, new._last = cache_size, (None, None)
        return new

    def __call__(self, x):
        if self._cache_size and x is self._last[0]:
            return self._last[1]
        y = self._call(x)
        if self._cache_size:
            self._last = x, y
        return y

    def _inv_call(self, y):
        if self._cache_size and y is self._last[1]:
            return self._last[0]
        x = self._inverse(y)
        if self._cache_size:
            self._last = x, y
        return x

    def _call(self, x):
        raise NotImplementedError(f"{type(self).__name__}: the forward map is not defined")

    def _inverse(self, y):
        raise NotImplementedError(f"{type(self).__name__}: the inverse is not defined")

    def log_abs_det_jacobian(self, x, y):
        """log |det dy/dx| of each event, for y = self(x)."""
        raise NotImplementedError(f"{type(self).__name__}: log_abs_det_jacobian is not defined")

    def forward_shape(self, shape):
        """The shape of the result for an argument of this shape."""
        return cr.Size(shape)

    def inverse_shape(self, shape):
        """The shape of the argument for a result of this shape."""
        return cr.Size(shape)

    # Equality, by which the divergence of two transformed distributions is known, is that of type and parameters.
    def __eq__(self, other):
        return type(self) is type(other) and _same(self._parameters(), other._parameters())

    __hash__ = object.__hash__

    def _parameters(self):
        return [value for name, value in sorted(vars(self).items()) if name not in ("_cache_size", "_last")]

    def __repr__(self):
        return f"{type(self).__name__}()"


def _same(a, b):
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(*pair) for pair in zip(a, b, strict=True))
    if isinstance(a, cr.Tensor) and isinstance(b, cr.Tensor) and a.shape != b.shape:
        return False
    return a is b or bool((a == b).all() if isinstance(a == b, cr.Tensor) else a == b)


class _InverseTransform(Transform):
    """The inverse of a transform; its cache is that transform's."""

    def __init__(self, transform):
        super().__init__(transform._cache_size)
        self._forward = transform

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return self._forward.codomain

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        return self._forward.domain

    @property
    def bijective(self):
        return self._forward.bijective

    @property
    def sign(self):
        return self._forward.sign

    @property
    def inv(self):
        return self._forward

    def with_cache(self, cache_size=1):
        return self._forward.with_cache(cache_size).inv

    def __call__(self, x):
        return self._forward._inv_call(x)

    def _inv_call(self, y):
        return self._forward(y)

    def log_abs_det_jacobian(self, x, y):
        return -self._forward.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape):
        return self._forward.inverse_shape(shape)

    def inverse_shape(self, shape):
        return self._forward.forward_shape(shape)

    def __repr__(self):
        return f"{self._forward!r}.inv"


class ComposeTransform(Transform):
    """Transforms one after the other, the first of `parts` first; of none, the identity."""

    def __init__(self, parts, cache_size=0):
        super().__init__(cache_size)
        self.parts = [part.with_cache(cache_size) for part in parts] if cache_size else list(parts)

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        """That of the first part, for events so large that every part gets whole ones of its own."""
        if not self.parts:
            return constraints.real
        needed = self.parts[-1].codomain.event_dim
        for part in reversed(self.parts):
            needed = max(needed + part.domain.event_dim - part.codomain.event_dim, part.domain.event_dim)
        return _of_dim(self.parts[0].domain, needed)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        """That of the last part, for events as large."""
        if not self.parts:
            return constraints.real
        given = self.parts[0].domain.event_dim
        for part in self.parts:
            given = max(given + part.codomain.event_dim - part.domain.event_dim, part.codomain.event_dim)
        return _of_dim(self.parts[-1].codomain, given)

    @property
    def bijective(self):
        return all(part.bijective for part in self.parts)

    @property
    def sign(self):
        return functools.reduce(operator.mul, [part.sign for part in self.parts], 1)

    @property
    def inv(self):
        return ComposeTransform([part.inv for part in reversed(self.parts)], self._cache_size)

    def with_cache(self, cache_size=1):
        return self if cache_size == self._cache_size else ComposeTransform(self.parts, cache_size)

    def __call__(self, x):
        for part in self.parts:
            x = part(x)
        return x

    def _inv_call(self, y):
        for part in reversed(self.parts):
            y = part._inv_call(y)
        return y

    def log_abs_det_jacobian(self, x, y):
        if not self.parts:
            return cr.zeros_like(x)
        event_dim, total = self.domain.event_dim, 0
        for index, part in enumerate(self.parts):
            after = y if index == len(self.parts) - 1 else part(x)
            total = total + sum_rightmost(
                part.log_abs_det_jacobian(x, after), event_dim - part.domain.event_dim
            )
            event_dim += part.codomain.event_dim - part.domain.event_dim
            x = after
        return total

    def forward_shape(self, shape):
        return functools.reduce(lambda shape, part: part.forward_shape(shape), self.parts, cr.Size(shape))

    def inverse_shape(self, shape):
        return functools.reduce(
            lambda shape, part: part.inverse_shape(shape), reversed(self.parts), cr.Size(shape)
        )

    def __repr__(self):
        return f"ComposeTransform({self.parts!r})"


def _of_dim(constraint, event_dim):
    """The constraint for events of more dimensions."""
    more = event_dim - constraint.event_dim
    return constraints.independent(constraint, more) if more > 0 else constraint


class IndependentTransform(Transform):
    """A transform whose last batch dimensions are made a part of the event, as `Independent` does with distributions."""

    def __init__(self, base_transform, reinterpreted_batch_ndims, cache_size=0):
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @constraints.dependent_property(is_discrete=False)
    def domain(self):
        return constraints.independent(self.base_transform.domain, self.reinterpreted_batch_ndims)

    @constraints.dependent_property(is_discrete=False)
    def codomain(self):
        return constraints.independent(self.base_transform.codomain, self.reinterpreted_batch_ndims)

    @property
    def bijective(self):
        return self.base_transform.bijective

    @property
    def sign(self):
        return self.base_transform.sign

    def _call(self, x):
        self._at_least(x, self.domain)
        return self.base_transform(x)

    def _inverse(self, y):
        self._at_least(y, self.codomain)
        return self.base_transform._inv_call(y)

    def _at_least(self, value, constraint):
        if value.ndim < constraint.event_dim:
            raise ValueError(
                f"IndependentTransform: expected at least {constraint.event_dim} dimensions, got shape {tuple(value.shape)}"
            )

    def log_abs_det_jacobian(self, x, y):
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.reinterpreted_batch_ndims)

    def forward_shape(self, shape):
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape):
        return self.base_transform.inverse_shape(shape)

    def __repr__(self):
        return f"IndependentTransform({self.base_transform!r}, {self.reinterpreted_batch_ndims})"


identity_transform = ComposeTransform([])
