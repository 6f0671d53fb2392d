"""The registered Kullback-Leibler divergences.

Of a pair of one family, the closed form in which nothing cancels. Of two continuous families, -entropy(p) - E[log q], where the mean
takes a few moments of p: of x, x^2, log x and exp(-t x). M. Gil, F. Alajaji and T. Linder, "Rényi divergence measures for commonly
used univariate continuous distributions" (Information Sciences 249, 2013) collects many.
"""

import math

import chainrule as cr

from .binomial import Bernoulli, Binomial, Geometric, Poisson
from .categorical import Categorical, OneHotCategorical
from .continuous_bernoulli import ContinuousBernoulli
from .gamma import Beta, Dirichlet, Gamma
from .kl import infinite, register_kl
from .location_scale import Cauchy, Gumbel, Laplace, Uniform
from .multivariate_normal import LowRankMultivariateNormal, MultivariateNormal, log_det_diagonal, mahalanobis
from .normal import LOG_SQRT_2PI, HalfNormal, Normal
from .power_laws import Exponential, Pareto
from .utils import euler_constant, holds, softplus, where_inside

# Pairs of one family


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p, q):
    # Each outcome of probability 0 adds 0.
    happens = cr.xlogy(p.probs, p.probs) + _times(p.probs, softplus(-q.logits))
    fails = cr.xlogy(1 - p.probs, 1 - p.probs) + _times(1 - p.probs, softplus(q.logits))
    impossible = ((q.probs == 0) & (p.probs > 0)) | ((q.probs == 1) & (p.probs < 1))
    return where_inside(~impossible, happens + fails, cr.inf)


def _times(weight, value):
    """weight * value, and 0 where the weight is 0."""
    return cr.where(weight == 0, 0.0, weight * value)


@register_kl(Binomial, Binomial)
def _binomial(p, q):
    """Infinite where p has more trials; not known where q has more."""
    if holds((p.total_count < q.total_count).any()):
        raise NotImplementedError(
            "kl_divergence: binomial distributions of fewer trials from ones of more are not implemented"
        )
    odds = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return where_inside(p.total_count <= q.total_count, p.total_count * odds, cr.inf)


@register_kl(Categorical, Categorical)
def _categorical(p, q):
    each = p.probs * (p.logits - q.logits)
    each = where_inside((q.probs != 0).expand(each.shape), each, cr.inf)
    return cr.where(p.probs == 0, 0.0, each).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p, q):
    return _categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric(p, q):
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Beta, Beta)
def _beta(p, q):
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p, q):
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    normalizers = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return normalizers + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Gamma, Gamma)
def _gamma(p, q):
    a, b = p.concentration, q.concentration
    return (
        b * (p.rate / q.rate).log()
        + b.lgamma()
        - a.lgamma()
        + (a - b) * a.digamma()
        + (q.rate - p.rate) * (a / p.rate)
    )


@register_kl(Exponential, Exponential)
def _exponential(p, q):
    ratio = q.rate / p.rate
    return ratio - ratio.log() - 1


@register_kl(Normal, Normal)
def _normal(p, q):
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p, q):
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p, q):
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + ratio * (-away / p.scale).exp() + away / q.scale - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p, q):
    """F. Chyzak and F. Nielsen, "A closed-form formula for the Kullback-Leibler divergence between Cauchy distributions" (2019)."""
    return ((p.scale + q.scale).square() + (p.loc - q.loc).square()).log() - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p, q):
    ratio, shift = p.scale / q.scale, (q.loc - p.loc) / q.scale
    return -ratio.log() + euler_constant * (ratio - 1) + (shift + (1 + ratio).lgamma()).exp() - shift - 1


@register_kl(Pareto, Pareto)
def _pareto(p, q):
    """Infinite where q begins above p."""
    ratio = q.alpha / p.alpha
    result = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return where_inside((p.scale >= q.scale).expand(result.shape), result, cr.inf)


@register_kl(Uniform, Uniform)
def _uniform(p, q):
    result = ((q.high - q.low) / (p.high - p.low)).log()
    return where_inside((q.low <= p.low) & (q.high >= p.high), result, cr.inf)


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _multivariate_normal(p, q):
    _same_event(p, q)
    root, half_log_det = _root(p)
    solved = cr.linalg.solve_triangular(q.scale_tril, root, upper=False)
    spread = solved.square().sum((-2, -1)) + mahalanobis(q._factor, q.loc - p.loc)
    return log_det_diagonal(q._factor) - half_log_det + 0.5 * (spread - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _to_low_rank(p, q):
    """The trace of q's inverse covariance times p's is the squared distance of the columns of a root of p's covariance."""
    _same_event(p, q)
    root, half_log_det = _root(p)
    columns = root.movedim(-1, 0)
    spread = q.squared_distance(columns).sum(0) + q.squared_distance(q.loc - p.loc)
    return 0.5 * (q.log_det() + spread - p.event_shape[0]) - half_log_det


def _root(p):
    """A matrix whose product with its transpose is the covariance matrix, and half the logarithm of the determinant of that."""
    if isinstance(p, MultivariateNormal):
        return p.scale_tril, log_det_diagonal(p._factor)
    return p._root(), 0.5 * p.log_det()


def _same_event(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"kl_divergence: multivariate normal distributions of event shapes {tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )


# Pairs of two families: -entropy(p) - E[log q]


def _mean_log(p):
    """E[log x]."""
    if isinstance(p, Beta):
        return p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma()
    if isinstance(p, Exponential):
        return -euler_constant - p.rate.log()
    if isinstance(p, Gamma):
        return p.concentration.digamma() - p.rate.log()
    if isinstance(p, Pareto):
        return p.scale.log() + p.alpha.reciprocal()
    return (cr.xlogy(p.high, p.high) - cr.xlogy(p.low, p.low)) / (p.high - p.low) - 1  # Uniform


def _mean_exp(p, t):
    """E[exp(-t x)]."""
    if isinstance(p, Exponential):
        return p.rate / (p.rate + t)
    if isinstance(p, Gamma):
        return (-p.concentration * (t / p.rate).log1p()).exp()
    if isinstance(p, Normal):
        return (0.5 * (t * p.scale).square() - t * p.loc).exp()
    return ((-t * p.low).exp() - (-t * p.high).exp()) / (t * (p.high - p.low))  # Uniform


def _register(types, target):
    """Register a function E[log q] of (p, q) as the divergence of each of these from `target`."""

    def declare(mean_log_density):
        def divergence(p, q):
            return -p.entropy() - mean_log_density(p, q)

        for one in types:
            register_kl(one, target)(divergence)
        return mean_log_density

    return declare


@_register([Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform], Normal)
def _log_normal(p, q):
    squared = p.variance + (p.mean - q.loc).square()
    return -0.5 * squared / q.scale.square() - q.scale.log() - LOG_SQRT_2PI


@_register([Beta, ContinuousBernoulli, Gamma, Pareto], Exponential)
def _log_exponential(p, q):
    return q.rate.log() - q.rate * p.mean


@_register([Beta, Exponential, Pareto], Gamma)
def _log_gamma(p, q):
    a = q.concentration
    return a * q.rate.log() - a.lgamma() + (a - 1) * _mean_log(p) - q.rate * p.mean


@_register([Exponential, Gamma, Normal, Uniform], Gumbel)
def _log_gumbel(p, q):
    shift = q.loc / q.scale
    return shift - p.mean / q.scale - shift.exp() * _mean_exp(p, q.scale.reciprocal()) - q.scale.log()


@_register([Beta], ContinuousBernoulli)
def _log_continuous_bernoulli(p, q):
    return q.logits * p.mean - q._log_integral()


@register_kl(Normal, Laplace)
def _normal_laplace(p, q):
    """E|x - loc| of a normal x is that of a folded normal distribution."""
    away = (p.loc - q.loc) / p.scale
    folded = math.sqrt(2 / math.pi) * p.scale * (-0.5 * away.square()).exp()
    folded = folded + (p.loc - q.loc) * cr.erf(away / math.sqrt(2))
    return -p.entropy() + (2 * q.scale).log() + folded / q.scale


# Where q misses a part of p for some parameters


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _unit_interval_uniform(p, q):
    result = -p.entropy() + (q.high - q.low).log()
    return where_inside(((q.low <= 0) & (q.high >= 1)).expand(result.shape), result, cr.inf)


def _within(low, high, mean_log_density):
    """The divergence of Uniform from a family on [low, high], given E[log q]; infinite where the interval sticks out."""

    def divergence(p, q):
        inside = (p.low >= low(q)) & (p.high <= high(q))
        # The formula is taken of an interval that lies inside, [low + 1/4, low + 3/4], where p does not.
        start = low(q) + 0.25
        safe = Uniform(
            cr.where(inside, p.low, start), cr.where(inside, p.high, start + 0.5), validate_args=False
        )
        return where_inside(inside, -safe.entropy() - mean_log_density(safe, q), cr.inf)

    return divergence


def _log_beta(p, q):
    mirrored = Uniform(1 - p.high, 1 - p.low, validate_args=False)
    a, b = q.concentration1, q.concentration0
    return (a - 1) * _mean_log(p) + (b - 1) * _mean_log(mirrored) + (a + b).lgamma() - a.lgamma() - b.lgamma()


def _log_pareto(p, q):
    return q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _mean_log(p)


register_kl(Uniform, Beta)(_within(lambda q: 0.0, lambda q: 1.0, _log_beta))
register_kl(Uniform, ContinuousBernoulli)(_within(lambda q: 0.0, lambda q: 1.0, _log_continuous_bernoulli))
register_kl(Uniform, Exponential)(_within(lambda q: 0.0, lambda q: cr.inf, _log_exponential))
register_kl(Uniform, Gamma)(_within(lambda q: 0.0, lambda q: cr.inf, _log_gamma))
register_kl(Uniform, Pareto)(_within(lambda q: q.scale, lambda q: cr.inf, _log_pareto))


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p, q):
    return -p.entropy() - _log_continuous_bernoulli(p, q)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p, q):
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


# Where q misses a part of p always

_MISSED: list[tuple[type, list[type]]] = [
    (Beta, [Pareto]),
    (ContinuousBernoulli, [Pareto]),
    (Exponential, [Beta, ContinuousBernoulli, Pareto, Uniform]),
    (Gamma, [Beta, ContinuousBernoulli, Pareto, Uniform]),
    (Gumbel, [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform]),
    (Laplace, [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform]),
    (Normal, [Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform]),
    (Pareto, [Beta, ContinuousBernoulli, Uniform]),
    (Poisson, [Bernoulli, Binomial]),
]
for _p, _several in _MISSED:
    for _q in _several:
        register_kl(_p, _q)(infinite)
