"""Poisson and binomial numbers from uniform ones, on flat float64 arrays.

Small means by inversion: one uniform number is compared with the running sum of the probabilities. Larger ones by
transformed rejection, W. Hörmann, "The transformed rejection method for generating Poisson random variables" (1993) and "The
generation of binomial random variates" (1993): a proposal from a table-mountain hat, accepted in most cases without computing
a logarithm. Elements that are rejected are drawn again until none is left.
"""

import math

_LARGE = 10  # the mean from which rejection is valid
_LONGEST = 110  # more successes than any mean below _LARGE gives


def poisson(xp, uniform, rate):
    """One number for each rate."""
    return _by_size(xp, uniform, rate, (rate,), _poisson_inverted, _poisson_proposed)


def binomial(xp, uniform, count, prob):
    """The number of successes in `count` trials, for each pair; of the rarer outcome, then turned round."""
    count = xp.floor(count)
    rare = xp.minimum(prob, 1 - prob)
    drawn = _by_size(xp, uniform, count * rare, (count, rare), _binomial_inverted, _binomial_proposed)
    return xp.where(prob > 0.5, count - drawn, drawn)


def _by_size(xp, uniform, mean, parameters, inverted, proposed):
    """Inversion where the mean is small, rejection elsewhere."""
    out = xp.zeros_like(mean)
    small, todo = xp.nonzero(mean < _LARGE)[0], xp.nonzero(mean >= _LARGE)[0]
    out[small] = inverted(xp, uniform(small.size), *[one[small] for one in parameters])
    while todo.size:
        half = uniform(todo.size) - 0.5
        k, accepted = proposed(xp, half, uniform(todo.size), *[one[todo] for one in parameters])
        out[todo[accepted]] = k[accepted]
        todo = todo[~accepted]
    return out


def _inverted(xp, u, first, ratio):
    """The smallest k with P(0) + ... + P(k) >= u, where P(0) = first and P(j) = P(j - 1) * ratio(j)."""
    k, probability, total = xp.zeros_like(u), first, first
    for j in range(1, _LONGEST):
        k = k + (u > total)
        probability = probability * ratio(j)
        total = total + probability
    return k


def _poisson_inverted(xp, u, rate):
    return _inverted(xp, u, xp.exp(-rate), lambda j: rate / j)


def _binomial_inverted(xp, u, count, prob):
    odds = prob / (1 - prob)
    return _inverted(xp, u, (1 - prob) ** count, lambda j: xp.maximum(count - j + 1, 0) / j * odds)


def _poisson_proposed(xp, half, v, rate):
    b = 0.931 + 2.53 * xp.sqrt(rate)
    a = -0.059 + 0.02483 * b
    room = 0.5 - xp.absolute(half)
    k = xp.floor((2 * a / room + b) * half + rate + 0.43)
    quick = (room >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
    height = xp.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (room * room) + b))
    k_safe = xp.maximum(k, 0)
    exact = height <= k_safe * xp.log(rate) - rate - _log_factorial(xp, k_safe)
    return k, (k >= 0) & (quick | exact)


def _binomial_proposed(xp, half, v, count, prob):
    spread = xp.sqrt(count * prob * (1 - prob))
    b = 1.15 + 2.53 * spread
    a = -0.0873 + 0.0248 * b + 0.01 * prob
    room = 0.5 - xp.absolute(half)
    k = xp.floor((2 * a / room + b) * half + count * prob + 0.5)
    quick = (room >= 0.07) & (v <= 0.92 - 4.2 / b)
    height = xp.log(v * (2.83 + 5.1 / b) * spread / (a / (room * room) + b))
    mode = xp.floor((count + 1) * prob)
    inside = (k >= 0) & (k <= count)
    k_safe = xp.where(inside, k, mode)
    exact = height <= (
        _log_factorial(xp, mode) + _log_factorial(xp, count - mode)
        - _log_factorial(xp, k_safe) - _log_factorial(xp, count - k_safe)
        + (k_safe - mode) * xp.log(prob / (1 - prob))
    )  # fmt: skip
    return k, inside & (quick | exact)


def _log_factorial(xp, k):
    """log k!, by Stirling's series at k + 8, whose error is below 1e-12, and eight divisions back."""
    product = xp.ones_like(k)
    for j in range(1, 9):
        product = product * (k + j)
    n = k + 8
    series = (1 / 12 - (1 / 360 - 1 / (1260 * n * n)) / (n * n)) / n
    return (n + 0.5) * xp.log(n) - n + 0.5 * math.log(2 * math.pi) + series - xp.log(product)
