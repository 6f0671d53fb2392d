"""Transforms of vectors and matrices: to the simplex, to triangular and positive definite matrices, of shapes and of parts."""

import math

import chainrule as cr
from chainrule.autograd.ops.activation import logsigmoid

from . import constraints
from .transform import Transform
from .utils import softplus, sum_rightmost, tril_matrix_to_vec, vec_to_tril_matrix


def _diagonal(x):
    return x.diagonal(dim1=-2, dim2=-1)


class SoftmaxTransform(Transform):
    """Vectors to the simplex by softmax; many to one, and the inverse gives log y."""

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x):
        return x.softmax(-1)

    def _inverse(self, y):
        return y.log()

    def forward_shape(self, shape):
        if not len(shape):
            raise ValueError("SoftmaxTransform: expected at least 1 dimension, got a shape without")
        return cr.Size(shape)

    inverse_shape = forward_shape


class StickBreakingTransform(Transform):
    """K - 1 numbers to the simplex of K: each says which fraction of what is left of a stick of length 1 is broken off.

    The fraction is sigmoid(x_k - log(K - k)), so that 0 goes to equal parts. "Stan Reference Manual", simplex transform.
    """

    domain, codomain = constraints.real_vector, constraints.simplex
    bijective = True

    def _call(self, x):
        z = x - self._offset(x)
        # What is left before each break, in logarithms: sums of log(1 - fraction).
        left = (-softplus(z)).cumsum(-1)
        zero = x.new_zeros((*x.shape[:-1], 1))
        return (cr.cat([logsigmoid(z), zero], -1) + cr.cat([zero, left], -1)).exp()

    def _inverse(self, y):
        # What is left after each break is the sum of the pieces that follow.
        left = y.flip(-1).cumsum(-1).flip(-1)[..., 1:]
        left = left.clamp(min=cr.finfo(y.dtype).tiny)
        head = y[..., :-1]
        return head.log() - left.log() + self._offset(head)

    def log_abs_det_jacobian(self, x, y):
        # Each piece is fraction * left, and changes with its own fraction by fraction (1 - fraction) * left.
        return (y[..., :-1].log() + logsigmoid(-(x - self._offset(x)))).sum(-1)

    def _offset(self, x):
        n = x.shape[-1]
        return cr.arange(n, 0, -1, dtype=x.dtype, device=x.device).log()

    def forward_shape(self, shape):
        return self._longer(shape, 1)

    def inverse_shape(self, shape):
        return self._longer(shape, -1)

    def _longer(self, shape, more):
        if not len(shape):
            raise ValueError("StickBreakingTransform: expected at least 1 dimension, got a shape without")
        return cr.Size((*shape[:-1], shape[-1] + more))


class LowerCholeskyTransform(Transform):
    """Square matrices to lower triangular ones of positive diagonal: exp of the diagonal, and what is above it dropped."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.lower_cholesky

    def _call(self, x):
        return x.tril(-1) + _diagonal(x).exp().diag_embed()

    def _inverse(self, y):
        return y.tril(-1) + _diagonal(y).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """Square matrices to positive definite ones, L L^T with L by `LowerCholeskyTransform`."""

    domain, codomain = constraints.independent(constraints.real, 2), constraints.positive_definite

    def _call(self, x):
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y):
        return LowerCholeskyTransform().inv(cr.linalg.cholesky(y))


class CorrCholeskyTransform(Transform):
    """D (D - 1) / 2 numbers to the Cholesky factor of a D x D correlation matrix, whose rows lie on unit half spheres.

    tanh of each number is a canonical partial correlation: which part of what is left of the length of its row an element takes.
    D. Lewandowski, D. Kurowicka and H. Joe, "Generating random correlation matrices" (J. Multivariate Analysis, 2009).
    """

    domain, codomain = constraints.real_vector, constraints.corr_cholesky
    bijective = True

    def _call(self, x):
        eps = cr.finfo(x.dtype).eps
        partial = vec_to_tril_matrix(x.tanh().clamp(min=eps - 1, max=1 - eps), diag=-1)
        left = (1 - partial.square()).sqrt().cumprod(-1)
        left = cr.cat([cr.ones_like(left[..., :1]), left[..., :-1]], -1)
        eye = cr.eye(partial.shape[-1], dtype=x.dtype, device=x.device)
        return (partial + eye) * left

    def _inverse(self, y):
        squared = 1 - y.square().cumsum(-1)
        left = cr.cat([cr.ones_like(squared[..., :1]), squared[..., :-1]], -1)
        # On and above the diagonal nothing is left: there, only what is thrown away is computed.
        left = cr.where(cr.ones_like(left).tril(-1) > 0, left, cr.ones_like(left))
        return tril_matrix_to_vec(y.tril(-1) / left.sqrt(), diag=-1).atanh()

    def log_abs_det_jacobian(self, x, y):
        left = 1 - y.square().cumsum(-1)
        # An element's own slope is 1 - tanh(x)^2, times the length that its row had left before it.
        taken = 0.5 * tril_matrix_to_vec(left, diag=-2).log().sum(-1) if y.shape[-1] > 2 else 0
        return taken - 2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)

    def forward_shape(self, shape):
        if not len(shape):
            raise ValueError("CorrCholeskyTransform: expected at least 1 dimension, got a shape without")
        n = round((0.25 + 2 * shape[-1]) ** 0.5 + 0.5)
        if n * (n - 1) // 2 != shape[-1]:
            raise ValueError(
                f"CorrCholeskyTransform: {shape[-1]} elements do not fill the triangle below a diagonal"
            )
        return cr.Size((*shape[:-1], n, n))

    def inverse_shape(self, shape):
        if len(shape) < 2 or shape[-1] != shape[-2]:
            raise ValueError(
                f"CorrCholeskyTransform: expected the shape of square matrices, got {tuple(shape)}"
            )
        return cr.Size((*shape[:-2], shape[-1] * (shape[-1] - 1) // 2))


class ReshapeTransform(Transform):
    """Events of one shape to another of as many elements."""

    bijective = True

    def __init__(self, in_shape, out_shape, cache_size=0):
        super().__init__(cache_size)
        self.in_shape, self.out_shape = cr.Size(in_shape), cr.Size(out_shape)
        if math.prod(in_shape) != math.prod(out_shape):
            raise ValueError(
                f"ReshapeTransform: {tuple(in_shape)} and {tuple(out_shape)} hold different numbers of elements"
            )

    @constraints.dependent_property
    def domain(self):
        return constraints.independent(constraints.real, len(self.in_shape))

    @constraints.dependent_property
    def codomain(self):
        return constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x):
        return x.reshape(self.forward_shape(x.shape))

    def _inverse(self, y):
        return y.reshape(self.inverse_shape(y.shape))

    def log_abs_det_jacobian(self, x, y):
        return x.new_zeros(x.shape[: x.ndim - len(self.in_shape)])

    def forward_shape(self, shape):
        return self._exchanged(shape, self.in_shape, self.out_shape)

    def inverse_shape(self, shape):
        return self._exchanged(shape, self.out_shape, self.in_shape)

    def _exchanged(self, shape, old, new):
        cut = len(shape) - len(old)
        if cut < 0 or tuple(shape[cut:]) != tuple(old):
            raise ValueError(
                f"ReshapeTransform: expected a shape that ends in {tuple(old)}, got {tuple(shape)}"
            )
        return cr.Size((*shape[:cut], *new))


class _PartsTransform(Transform):
    """Transforms of parts of a Tensor along `dim`, each its own; a subclass says how parts are taken and put together."""

    def __init__(self, tseq, dim, cache_size):
        super().__init__(cache_size)
        self.transforms = [one.with_cache(cache_size) for one in tseq]
        self.dim = dim

    @property
    def bijective(self):
        return all(one.bijective for one in self.transforms)

    def _call(self, x):
        return self._together([one(part) for one, part in zip(self.transforms, self._parts(x), strict=True)])

    def _inverse(self, y):
        return self._together(
            [one.inv(part) for one, part in zip(self.transforms, self._parts(y), strict=True)]
        )

    def log_abs_det_jacobian(self, x, y):
        triples = zip(self.transforms, self._parts(x), self._parts(y), strict=True)
        return self._together([one.log_abs_det_jacobian(*parts) for one, *parts in triples])


class CatTransform(_PartsTransform):
    """Transforms of consecutive pieces of these lengths (1 by default) along `dim`."""

    def __init__(self, tseq, dim=0, lengths=None, cache_size=0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise ValueError(
                f"CatTransform: expected {len(self.transforms)} lengths, got {len(self.lengths)}"
            )

    @property
    def event_dim(self):
        return max(one.event_dim for one in self.transforms)

    @property
    def length(self):
        """The length that is transformed."""
        return sum(self.lengths)

    def _parts(self, x):
        if x.shape[self.dim] != self.length:
            raise ValueError(
                f"CatTransform: expected the length {self.length} in dim {self.dim}, got shape {tuple(x.shape)}"
            )
        return x.split(self.lengths, self.dim)

    def _together(self, parts):
        return cr.cat(parts, self.dim)

    def log_abs_det_jacobian(self, x, y):
        volumes = [
            sum_rightmost(one.log_abs_det_jacobian(*parts), self.event_dim - one.event_dim)
            for one, *parts in zip(self.transforms, self._parts(x), self._parts(y), strict=True)
        ]
        # Counted from the end, in what is left once the event dimensions have been summed over.
        dim = (self.dim - x.ndim if self.dim >= 0 else self.dim) + self.event_dim
        return cr.cat(volumes, dim) if dim < 0 else sum(volumes)

    @constraints.dependent_property
    def domain(self):
        return constraints.cat([one.domain for one in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self):
        return constraints.cat([one.codomain for one in self.transforms], self.dim, self.lengths)


class StackTransform(_PartsTransform):
    """A transform for each slice along `dim`."""

    def __init__(self, tseq, dim=0, cache_size=0):
        super().__init__(tseq, dim, cache_size)

    def _parts(self, x):
        if x.shape[self.dim] != len(self.transforms):
            raise ValueError(
                f"StackTransform: expected the length {len(self.transforms)} in dim {self.dim}, got shape {tuple(x.shape)}"
            )
        return x.unbind(self.dim)

    def _together(self, parts):
        return cr.stack(parts, self.dim)

    @constraints.dependent_property
    def domain(self):
        return constraints.stack([one.domain for one in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self):
        return constraints.stack([one.codomain for one in self.transforms], self.dim)
