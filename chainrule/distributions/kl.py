"""Kullback-Leibler divergence: a table of pairs of classes, and the choice of the function that fits a pair best."""

import warnings

import chainrule as cr

from .distribution import Distribution, ExponentialFamily, bregman
from .transformed_distribution import Independent, TransformedDistribution
from .utils import sum_rightmost

_pairs = {}  # (class of p, class of q) -> function


def register_kl(type_p, type_q):
    """A decorator that registers `f(p, q)` as the divergence of a pair of classes; of several that fit, the most special is taken."""
    for kind in (type_p, type_q):
        if not (isinstance(kind, type) and issubclass(kind, Distribution)):
            raise TypeError(f"register_kl: expected subclasses of Distribution, got {kind!r}")

    def register(function):
        _pairs[type_p, type_q] = function
        return function

    return register


def _best(type_p, type_q):
    """The registered function for these classes or their nearest bases; those of p count first."""
    of_p, of_q = type_p.__mro__, type_q.__mro__
    p_first = [_pairs[p, q] for p in of_p for q in of_q if (p, q) in _pairs]
    q_first = [_pairs[p, q] for q in of_q for p in of_p if (p, q) in _pairs]
    if not p_first:
        raise NotImplementedError(
            f"kl_divergence: no divergence of {type_p.__name__} from {type_q.__name__} is registered; register_kl makes one known"
        )
    if p_first[0] is not q_first[0]:
        warnings.warn(
            f"kl_divergence: several registered pairs fit ({type_p.__name__}, {type_q.__name__}) equally; register that pair",
            RuntimeWarning,
            stacklevel=3,
        )
    return p_first[0]


def kl_divergence(p, q):
    """KL(p || q), the mean of log p(x) - log q(x) over draws x of p; of the batch shape, infinite where q misses a part of p."""
    return _best(type(p), type(q))(p, q)


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_families(p, q):
    """Of one family: the Bregman divergence of the log-normalizer. F. Nielsen and R. Nock (2010)."""
    if type(p) is not type(q):
        raise NotImplementedError(
            f"kl_divergence: no divergence of {type(p).__name__} from {type(q).__name__} is registered; register_kl makes one known"
        )
    natural_p, normalizer_p, gradients = bregman(p, p._natural_params)
    natural_q = q._natural_params
    result = q._log_normalizer(*natural_q) - normalizer_p
    for of_q, of_p, gradient in zip(natural_q, natural_p, gradients, strict=True):
        term = (of_q - of_p) * gradient
        result = result - sum_rightmost(term, term.ndim - len(q.batch_shape))
    return result


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p, q):
    """A bijection changes no divergence."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError(
            "kl_divergence: two transformed distributions need the same transforms and event shape"
        )
    extra = len(p.event_shape) - len(p.base_dist.event_shape)
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), extra)


@register_kl(Independent, Independent)
def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "kl_divergence: two Independent distributions need as many reinterpreted dimensions"
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


def infinite(p, q):
    """The divergence of distributions of which p takes values that q does not."""
    like = next(value for value in vars(p).values() if isinstance(value, cr.Tensor))
    return cr.full(
        cr.broadcast_shapes(p.batch_shape, q.batch_shape), cr.inf, dtype=like.dtype, device=like.device
    )


__all__ = ["kl_divergence", "register_kl"]
