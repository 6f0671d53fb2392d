"""Distributions of matrices: Wishart's of positive definite ones, and the LKJ distribution of Cholesky factors of correlations."""

import math

import chainrule as cr

from . import constraints
from .distribution import Distribution, ExponentialFamily
from .gamma import Beta
from .multivariate_normal import _cholesky_factor, _one_matrix, log_det_diagonal
from .standard_gamma import log_standard_gamma
from .utils import broadcast_all, holds, lazy_property, normal


def _multivariate_digamma(x, size):
    """The derivative of log of the multivariate gamma function."""
    return (x.unsqueeze(-1) - 0.5 * cr.arange(size, dtype=x.dtype, device=x.device)).digamma().sum(-1)


class Wishart(ExponentialFamily):
    """The sum of the outer products of `df` normal vectors of mean 0 and the given covariance (or its inverse or Cholesky factor).

    `df` may be any number above D - 1. Draws by the decomposition of M. S. Bartlett, "On the theory of statistical regression"
    (1933): L A, with the Cholesky factor L, chi-distributed numbers on the diagonal of A and normal ones below it.
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(
        self, df, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None
    ):
        matrix, name = _one_matrix("Wishart", covariance_matrix, precision_matrix, scale_tril)
        (df,) = broadcast_all(cr.as_tensor(df, dtype=matrix.dtype, device=matrix.device))
        size = matrix.shape[-1]
        batch_shape = cr.broadcast_shapes(df.shape, matrix.shape[:-2])
        self.df = df.expand(batch_shape)
        if not holds((df > size - 1).all()):
            raise ValueError(f"Wishart: df must exceed {size - 1}, the size of the matrices less 1, got {df}")
        setattr(self, name, matrix.expand((*batch_shape, size, size)))
        self._size = size
        super().__init__(batch_shape, (size, size), validate_args=validate_args)
        self._factor = _cholesky_factor(matrix, name)

    @property
    def arg_constraints(self):
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self._event_shape[-1] - 1),
        }

    @lazy_property
    def scale_tril(self):
        return self._factor.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def covariance_matrix(self):
        return (self._factor @ self._factor.mT).expand(self._batch_shape + self._event_shape)

    @lazy_property
    def precision_matrix(self):
        return cr.cholesky_inverse(self._factor).expand(self._batch_shape + self._event_shape)

    def _df(self):
        return self.df.reshape((*self._batch_shape, 1, 1))

    @property
    def mean(self):
        return self._df() * self.covariance_matrix

    @property
    def mode(self):
        """NaN for df up to D + 1."""
        factor = self._df() - self._size - 1
        return cr.where(factor > 0, factor, cr.nan) * self.covariance_matrix

    @property
    def variance(self):
        covariance = self.covariance_matrix
        diagonal = covariance.diagonal(dim1=-2, dim2=-1)
        return self._df() * (covariance.square() + diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2))

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        less = cr.arange(self._size, dtype=self.df.dtype, device=self.df.device)
        halves = (0.5 * (self.df.unsqueeze(-1) - less)).expand(shape[:-1])
        chi = (0.5 * (log_standard_gamma(halves) + math.log(2))).exp()
        root = self._factor @ (normal(shape, like=self.df).tril(-1) + chi.diag_embed())
        return root @ root.mT

    def _log_normalizer_of(self, half_df):
        """log of the integral of |X|^(df/2 - (D+1)/2) exp(-tr(V^-1 X) / 2)."""
        size = self._size
        return half_df * (size * math.log(2) + 2 * log_det_diagonal(self._factor)) + cr.mvlgamma(
            half_df, size
        )

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 * self.df
        root = cr.linalg.solve_triangular(self._factor, cr.linalg.cholesky(value), upper=False)
        log_det = 2 * log_det_diagonal(cr.linalg.cholesky(value))
        power = half - 0.5 * (self._size + 1)
        return power * log_det - 0.5 * root.square().sum((-2, -1)) - self._log_normalizer_of(half)

    def entropy(self):
        half, size = 0.5 * self.df, self._size
        power = half - 0.5 * (size + 1)
        mean_log_det = (
            _multivariate_digamma(half, size) + size * math.log(2) + 2 * log_det_diagonal(self._factor)
        )
        return self._log_normalizer_of(half) - power * mean_log_det + half * size

    @property
    def _natural_params(self):
        return (-0.5 * self.precision_matrix, 0.5 * (self.df - self._size - 1))

    def _log_normalizer(self, x, y):
        half, size = y + 0.5 * (self._size + 1), self._size
        return half * (size * math.log(2) - (-2 * x).slogdet()[1]) + cr.mvlgamma(half, size)


class LKJCholesky(Distribution):
    """Cholesky factors L of D x D correlation matrices, of density proportional to det(L L^T)^(concentration - 1).

    Uniform over the correlation matrices for a concentration of 1. Draws by the onion method, row by row.
    D. Lewandowski, D. Kurowicka and H. Joe, "Generating random correlation matrices" (J. Multivariate Analysis 100, 2009).
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if not isinstance(dim, int) or dim < 2:
            raise ValueError(f"LKJCholesky: dim must be an int of at least 2, got {dim!r}")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def sample(self, sample_shape=()):
        with cr.no_grad():
            n, shape = self.dim, self._extended_shape(sample_shape)
            row = cr.arange(1, n, dtype=self.concentration.dtype, device=self.concentration.device)
            # The squared length of a row before its diagonal, and a direction.
            rest = self.concentration.unsqueeze(-1) + 0.5 * (n - 1 - row)
            squared = Beta(0.5 * row, rest, validate_args=False).sample(sample_shape)
            below = normal(shape, like=self.concentration).tril(-1)[..., 1:, :]
            below = below / below.square().sum(-1, keepdim=True).sqrt() * squared.sqrt().unsqueeze(-1)
            lower = cr.cat([below.new_zeros((*shape[:-2], 1, n)), below], -2)
            diagonal = cr.cat([squared.new_ones((*shape[:-2], 1)), (1 - squared).sqrt()], -1)
            return lower + diagonal.clamp(min=cr.finfo(diagonal.dtype).tiny).diag_embed()

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        n, eta = self.dim, self.concentration
        row = cr.arange(2, n + 1, dtype=eta.dtype, device=eta.device)
        power = 2 * (eta.unsqueeze(-1) - 1) + n - row
        unnormalized = (power * value.diagonal(dim1=-2, dim2=-1)[..., 1:].log()).sum(-1)
        alpha = eta + 0.5 * (n - 1)
        log_integral = (
            0.5 * (n - 1) * math.log(math.pi) + cr.mvlgamma(alpha - 0.5, n - 1) - (n - 1) * alpha.lgamma()
        )
        return unnormalized - log_integral


__all__ = ["LKJCholesky", "Wishart"]
