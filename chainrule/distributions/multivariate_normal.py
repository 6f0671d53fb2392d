"""The multivariate normal distribution, with a full covariance matrix or one of low rank plus a diagonal.

C. M. Bishop, "Pattern recognition and machine learning" (2006), section 2.3; for the low rank, the Woodbury identity and the matrix
determinant lemma, K. B. Petersen and M. S. Pedersen, "The matrix cookbook" (2012), 3.2.
"""

import chainrule as cr

from . import constraints
from .distribution import Distribution
from .normal import LOG_SQRT_2PI
from .utils import lazy_property, normal


def log_det_diagonal(matrix):
    """The sum of the logarithms of the diagonal."""
    return matrix.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def scale_tril_of_precision(precision):
    """The Cholesky factor of the inverse of a positive definite matrix."""
    # P = U U^T with U upper triangular, by factoring P with rows and columns in reverse; then L = U^-T is lower triangular.
    upper = cr.linalg.cholesky(precision.flip((-2, -1))).flip((-2, -1))
    eye = cr.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return cr.linalg.solve_triangular(upper.mT, eye, upper=False)


def mahalanobis(scale_tril, away):
    """|L^-1 d|^2 for a batch of vectors, with matrices of a batch shape that broadcasts."""
    return (
        cr.linalg.solve_triangular(scale_tril, away.unsqueeze(-1), upper=False).squeeze(-1).square().sum(-1)
    )


class MultivariateNormal(Distribution):
    """The normal distribution of vectors of mean `loc`, and one of covariance matrix, its inverse, or its Cholesky factor."""

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None
    ):
        matrix, name = _one_matrix("MultivariateNormal", covariance_matrix, precision_matrix, scale_tril)
        if loc.ndim < 1:
            raise ValueError("MultivariateNormal: loc must have at least 1 dimension, got a 0-d Tensor")
        batch_shape = cr.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        setattr(self, name, matrix.expand((*batch_shape, *matrix.shape[-2:])))
        self.loc = loc.expand((*batch_shape, loc.shape[-1]))
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        self._factor = _cholesky_factor(matrix, name)

    # `_factor` is the Cholesky factor before it was broadcast to the batch: less to solve with.

    @lazy_property
    def scale_tril(self):
        """L of the covariance matrix L L^T."""
        return self._factor.expand((*self._batch_shape, *self._factor.shape[-2:]))

    @lazy_property
    def covariance_matrix(self):
        return (self._factor @ self._factor.mT).expand((*self._batch_shape, *self._factor.shape[-2:]))

    @lazy_property
    def precision_matrix(self):
        return cr.cholesky_inverse(self._factor).expand((*self._batch_shape, *self._factor.shape[-2:]))

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return self._factor.square().sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape=()):
        z = normal(self._extended_shape(sample_shape), like=self.loc)
        return self.loc + (self._factor @ z.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        squared = mahalanobis(self._factor, value - self.loc)
        return -0.5 * squared - log_det_diagonal(self._factor) - self._event_shape[0] * LOG_SQRT_2PI

    def entropy(self):
        entropy = log_det_diagonal(self._factor) + self._event_shape[0] * (0.5 + LOG_SQRT_2PI)
        return entropy.expand(self._batch_shape)


def _one_matrix(owner, covariance_matrix, precision_matrix, scale_tril):
    """The one matrix that is given, and its name."""
    given = {
        "covariance_matrix": covariance_matrix,
        "precision_matrix": precision_matrix,
        "scale_tril": scale_tril,
    }
    given = [(matrix, name) for name, matrix in given.items() if matrix is not None]
    if len(given) != 1:
        raise ValueError(
            f"{owner}: give one of covariance_matrix, precision_matrix and scale_tril, got {len(given)}"
        )
    if given[0][0].ndim < 2:
        raise ValueError(
            f"{owner}: {given[0][1]} must have at least 2 dimensions, got shape {tuple(given[0][0].shape)}"
        )
    return given[0]


def _cholesky_factor(matrix, name):
    if name == "scale_tril":
        return matrix
    return cr.linalg.cholesky(matrix) if name == "covariance_matrix" else scale_tril_of_precision(matrix)


class LowRankMultivariateNormal(Distribution):
    """The normal distribution of covariance matrix W W^T + diag(d), with W = `cov_factor` of few columns and d = `cov_diag`.

    Time and memory grow linearly with the size of the vectors.
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, cov_factor, cov_diag, validate_args=None):
        if loc.ndim < 1 or cov_factor.ndim < 2 or cov_diag.ndim < 1:
            raise ValueError(
                "LowRankMultivariateNormal: loc and cov_diag must be vectors and cov_factor a matrix, at least"
            )
        size = loc.shape[-1]
        if cov_factor.shape[-2] != size or cov_diag.shape[-1] != size:
            raise ValueError(
                f"LowRankMultivariateNormal: loc has {size} elements, cov_factor {cov_factor.shape[-2]} rows "
                f"and cov_diag {cov_diag.shape[-1]} elements"
            )
        batch_shape = cr.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        self.loc, self.cov_diag = loc.expand((*batch_shape, size)), cov_diag.expand((*batch_shape, size))
        self.cov_factor = cov_factor.expand((*batch_shape, *cov_factor.shape[-2:]))
        self._factor, self._diag = cov_factor, cov_diag
        # The Cholesky factor of the capacitance matrix I + W^T diag(d)^-1 W.
        inner = cov_factor.mT @ (cov_factor / cov_diag.unsqueeze(-1))
        self._capacitance_tril = cr.linalg.cholesky(
            inner + cr.eye(inner.shape[-1], dtype=inner.dtype, device=inner.device)
        )
        super().__init__(batch_shape, (size,), validate_args=validate_args)

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @lazy_property
    def variance(self):
        return (self._factor.square().sum(-1) + self._diag).expand(self._batch_shape + self._event_shape)

    @property
    def covariance_matrix(self):
        covariance = self._factor @ self._factor.mT + self._diag.diag_embed()
        return covariance.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    @property
    def scale_tril(self):
        """The Cholesky factor of the covariance matrix."""
        return cr.linalg.cholesky(self.covariance_matrix)

    @property
    def precision_matrix(self):
        """D^-1 - D^-1 W C^-1 W^T D^-1, with the capacitance matrix C."""
        scaled = self._factor.mT / self._diag.unsqueeze(-2)
        half = cr.linalg.solve_triangular(self._capacitance_tril, scaled, upper=False)
        precision = self._diag.reciprocal().diag_embed() - half.mT @ half
        return precision.expand((*self._batch_shape, *self._event_shape, *self._event_shape))

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        few = normal((*shape[:-1], self.cov_factor.shape[-1]), like=self.loc)
        spread = (self._factor @ few.unsqueeze(-1)).squeeze(-1)
        return self.loc + spread + self._diag.sqrt() * normal(shape, like=self.loc)

    def _root(self):
        """A matrix whose product with its transpose is the covariance matrix: W beside diag(sqrt d)."""
        return cr.cat([self.cov_factor, self.cov_diag.sqrt().diag_embed()], -1)

    def log_det(self):
        """log det of the covariance matrix."""
        return 2 * log_det_diagonal(self._capacitance_tril) + self._diag.log().sum(-1)

    def squared_distance(self, away):
        """d^T covariance^-1 d."""
        projected = (self._factor.mT @ (away / self._diag).unsqueeze(-1)).squeeze(-1)
        return (away.square() / self._diag).sum(-1) - mahalanobis(self._capacitance_tril, projected)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        squared = self.squared_distance(value - self.loc)
        return -0.5 * (squared + self.log_det()) - self._event_shape[0] * LOG_SQRT_2PI

    def entropy(self):
        entropy = 0.5 * self.log_det() + self._event_shape[0] * (0.5 + LOG_SQRT_2PI)
        return entropy.expand(self._batch_shape)


__all__ = ["LowRankMultivariateNormal", "MultivariateNormal"]
