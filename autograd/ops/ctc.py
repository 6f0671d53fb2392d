"""Connectionist temporal classification: the probability of a label sequence, summed over all its alignments with the input.

Graves, Fernández, Gomez and Schmidhuber 2006, "Connectionist temporal classification", section 4, in log space. A path moves through
the states "blank, label 1, blank, label 2, ..., blank": at each step it stays, moves on by one, or skips a blank between two
labels that differ. alpha is the log-probability of all beginnings that end in a state, beta that of all continuations from it.

The derivative of the log-likelihood for a log-emission is the probability of being there, the *occupancy* exp(alpha + beta - log Z).
The derivative of that is the Hessian of log Z, which is symmetric: its product with g is the change of the occupancies when the
emissions change by g. One more pass in each direction gives it, and being written in operations, all higher derivatives as well.
"""

from typing import Any, NamedTuple

from chainrule.autograd.op import op

from .reduction import logsumexp
from .shape import pad
from .softmax import softmax

# The log of no probability: finite, so that differences of two are no NaN, and far below what sums of real ones reach.
NOTHING = -1e30


class Trellis(NamedTuple):
    """Where paths may go, in raw arrays, for N sequences of T steps and S states.

    skip: whether a state is reached from that two before, (N, S). last: 0 for states a path may end in, else NOTHING, (N, S).
    running: whether step t belongs to the sequence, (T, N, 1). zero_infinity: whether what no path explains counts as 0.
    """

    skip: Any
    last: Any
    running: Any
    zero_infinity: bool


def _shifted(x, count, value):
    """x moved along the states, (N, S): by `count` to the right, or left if that is negative, with `value` moving in."""
    n = x.shape[1]
    kept = x[:, : max(n - count, 0)] if count > 0 else x[:, min(-count, n) :]
    moved = min(abs(count), n)
    return pad(kept, widths=((0, 0), (moved, 0) if count > 0 else (0, moved)), value=value)


def _arriving(xp, x, skip):
    """For each state what the states it is reached from hold: itself, the one before, the one two before. (3, N, S)"""
    two = xp.where(skip, _shifted(x, 2, NOTHING), NOTHING)
    return xp.stack([x, _shifted(x, 1, NOTHING), two])


def _leaving(xp, x, skip):
    """For each state what the states it leads to hold. (3, N, S)"""
    return xp.stack([x, _shifted(x, -1, NOTHING), _shifted(xp.where(skip, x, NOTHING), -2, NOTHING)])


def _alphas(xp, e, trellis):
    """alpha before the first step and after each, T + 1 arrays (N, S). Every path starts on the first blank, before time."""
    nowhere = xp.zeros(tuple(e.shape[1:]), dtype=e.dtype)
    found = [xp.where(xp.arange(e.shape[2]) > 0, NOTHING, nowhere)]
    for now, running in zip(e, trellis.running, strict=True):
        after = now + logsumexp(_arriving(xp, found[-1], trellis.skip), axis=0)
        found.append(xp.where(running, after, found[-1]))
    return found


def _betas(xp, e, trellis):
    """beta before the first step and after each, T + 1 arrays (N, S)."""
    found = [trellis.last]
    for now, running in zip(reversed(list(e)), reversed(list(trellis.running)), strict=True):
        before = logsumexp(_leaving(xp, found[-1] + now, trellis.skip), axis=0)
        found.append(xp.where(running, before, found[-1]))
    return found[::-1]


def _alpha_changes(xp, alphas, e, change, trellis):
    """How the alphas after each step change with the emissions: weighted means of how those before change."""
    moved = xp.zeros(tuple(e.shape[1:]), dtype=e.dtype)
    found = []
    for alpha, more, running in zip(alphas[:-1], change, trellis.running, strict=True):
        arriving = _arriving(xp, alpha, trellis.skip)
        shares = xp.exp(arriving - xp.expand_dims(logsumexp(arriving, axis=0), axis=0))
        after = more + xp.sum(shares * xp.stack([_shifted(moved, k, 0) for k in (0, 1, 2)]), axis=0)
        moved = xp.where(running, after, moved)
        found.append(moved)
    return xp.stack(found)


def _beta_changes(xp, betas, e, change, trellis):
    """How the betas after each step change with the emissions."""
    moved = xp.zeros(tuple(e.shape[1:]), dtype=e.dtype)
    found = [moved]
    steps = list(zip(betas[1:], e, change, trellis.running, strict=True))
    for beta, now, more, running in reversed(steps[1:]):
        leaving = _leaving(xp, beta + now, trellis.skip)
        shares = xp.exp(leaving - xp.expand_dims(logsumexp(leaving, axis=0), axis=0))
        before = xp.sum(shares * xp.stack([_shifted(moved + more, -k, 0) for k in (0, 1, 2)]), axis=0)
        moved = xp.where(running, before, moved)
        found.append(moved)
    return xp.stack(found[::-1])


def _occupancy(xp, e, alphas, betas, trellis):
    """exp(alpha + beta - log Z) where the sequence runs, (T, N, S); NaN (or 0) where no path explains it."""
    total = logsumexp(alphas[-1] + trellis.last, axis=-1)
    impossible = xp.less(total, NOTHING / 2)[:, None]
    # Their sum over the states is log Z at every step; taken anew at each, the rounding of long sums does not enter.
    paths = softmax(xp.stack(alphas[1:]) + xp.stack(betas[1:]), axis=-1)
    found = xp.where(impossible, 0.0 if trellis.zero_infinity else float("nan"), paths)
    return xp.where(trellis.running, found, 0.0)


def _occupancy_rule(xp, g, e, trellis):
    e = xp.maximum(e, NOTHING)
    alphas, betas = _alphas(xp, e, trellis), _betas(xp, e, trellis)
    here = _occupancy(xp, e, alphas, betas, trellis)
    g = xp.where(trellis.running, g, 0.0)
    change = _alpha_changes(xp, alphas, e, g, trellis) + _beta_changes(xp, betas, e, g, trellis)
    # log Z changes by the mean of this over the states, at any time.
    return here * (change - xp.sum(here * change, axis=-1, keepdims=True))


@op(e=_occupancy_rule)
def ctc_occupancy(xp, e, *, trellis):
    """The probability that a path is in a state at a time, given the labels. Log-emissions (T, N, S) -> (T, N, S)."""
    e = xp.maximum(e, NOTHING)
    return _occupancy(xp, e, _alphas(xp, e, trellis), _betas(xp, e, trellis), trellis)


@op(e=lambda xp, g, e, trellis: xp.expand_dims(g, axis=-1) * ctc_occupancy(e, trellis=trellis))
def ctc_likelihood(xp, e, *, trellis):
    """log Z, the log-probability of the labels: log-emissions (T, N, S) -> (N); -inf (or 0) if no path explains them."""
    total = logsumexp(_alphas(xp, xp.maximum(e, NOTHING), trellis)[-1] + trellis.last, axis=-1)
    impossible = 0.0 if trellis.zero_infinity else -float("inf")
    return xp.where(total < NOTHING / 2, impossible, total).astype(e.dtype, copy=False)
