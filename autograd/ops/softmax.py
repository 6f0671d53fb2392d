"""Softmax and cross-entropy, each one fused forward and one fused backward.

The largest element is subtracted before exponentials are taken (and its effect cancels), so no argument overflows. The
softmax is its own derivative's only ingredient: its outputs are all that is kept.
"""

import math

from chainrule.autograd.op import op

from .blocks import in_float32, wide
from .selection import masked


def _exponentials(xp, x, axis):
    """x minus its largest element along the axis, the exponential of that, and its sum."""
    z = x - xp.max(x, axis=axis, keepdims=True)
    e = xp.exp(z)
    return z, e, xp.sum(e, axis=axis, keepdims=True)


def _softmax_rule(xp, g, y, axis):
    gy = g * y
    return gy - y * xp.sum(gy, axis=axis, keepdims=True)


@op(x=_softmax_rule, cast="float")
@in_float32
def softmax(xp, x, *, axis):
    """exp(x) / sum(exp(x)) along `axis`; NaN where every element is -inf. (*) -> (*)."""
    if not x.size:
        return x.copy()
    _, y, total = _exponentials(xp, x, axis)
    y /= total
    return y


@op(x=lambda xp, g, y, axis: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True), cast="float")
@in_float32
def log_softmax(xp, x, *, axis):
    """x - log(sum(exp(x))) along `axis`. (*) -> (*)."""
    if not x.size:
        return x.copy()
    y, _, total = _exponentials(xp, x, axis)
    y -= xp.log(total)
    return y


def at_class(xp, target, classes):
    """The index that reads element `target[n, i, ...]` of axis 1: (N, d...) integers, into (N, C, d...).

    A class that is out of range is read as the nearest one: what comes of it must be masked.
    """
    grid = []
    for dim, length in enumerate(target.shape):
        shape = [1] * target.ndim
        shape[dim] = length
        grid.append(xp.arange(length).reshape(shape))
    return (grid[0], xp.clip(target, 0, classes - 1), *grid[1:])


# Cross-entropy with the class numbers `target`. The target distribution of a sample is
#     q[c] = weight * [c == target] + kept * share[c],
# with weight and kept one number per sample (kept: 0 for the ignored) and share one per class (label smoothing); a missing
# weight or kept is 1, a missing share 0. The loss is sum_c q[c] * -log p[c], its gradient p * sum(q) - q.


def _along_classes(share, ndim):
    return share.reshape((1, -1) + (1,) * (ndim - 2))


def _total(xp, weight, share, kept):
    """sum_c q[c] for each sample; a number if it is the same for all."""
    total = 1 if weight is None else weight
    if share is not None:
        smooth = xp.sum(share)
        total = total + (smooth if kept is None else kept * smooth)
    return total


def _less_target(xp, y, g, target, weight, share, kept):
    """y - g * q, in y's own memory."""
    if share is not None:
        spread = g if kept is None else g * kept
        y -= xp.expand_dims(spread, axis=1) * _along_classes(share, y.ndim)
    y[at_class(xp, target, y.shape[1])] -= g if weight is None else g * weight
    return y


def _cross_entropy_rule(xp, g, p, x_dtype, target, weight, share, kept):
    g, gp = g
    gx = None
    if g is not None:
        gx = cross_entropy_input(p, g, target=target, weight=weight, share=share, kept=kept)
    if gp is not None:
        through_p = _softmax_rule(xp, gp, p, 1)
        gx = through_p if gx is None else gx + through_p
    return gx


@op(x=_cross_entropy_rule, outputs=("y", "p"), cast="float")
def cross_entropy(xp, x, *, target, weight=None, share=None, kept=None):
    """The loss of each sample from its logits, and the softmax of the logits. (N, C, d...) -> (N, d...), (N, C, d...)."""
    dtype, x = x.dtype, wide(x)
    if not x.size:
        return xp.zeros(target.shape, dtype=dtype), x.copy()
    z, p, total = _exponentials(xp, x, 1)
    p /= total
    hit = z[at_class(xp, target, x.shape[1])]
    if weight is not None:
        hit = xp.where(weight == 0, 0, hit * weight)
    y = xp.log(xp.squeeze(total, axis=1)) * _total(xp, weight, share, kept) - hit
    if share is not None:
        smooth = xp.sum(z * _along_classes(share, z.ndim), axis=1)
        y -= smooth if kept is None else xp.where(kept == 0, 0, smooth)
    return y.astype(dtype), p


def _cross_entropy_input_rule(xp, g, needs, p, incoming, target, weight, share, kept):
    total = _total(xp, weight, share, kept)
    gp = g * xp.expand_dims(incoming * total, axis=1) if needs[0] else None
    gi = None
    if needs[1]:
        gi = xp.sum(g * p, axis=1) * total - _expected(xp, g, target, weight, share, kept)
    return gp, gi


def _expected(xp, g, target, weight, share, kept):
    """sum_c g[c] q[c] for each sample."""
    raw = target.__class__
    found = g[at_class(_namespace(raw), target, g.shape[1])]
    if weight is not None:
        found = found * weight
    if share is not None:
        smooth = xp.sum(g * _along_classes(share, g.ndim), axis=1)
        found = found + (smooth if kept is None else smooth * kept)
    return found


@op(joint=_cross_entropy_input_rule)
def cross_entropy_input(xp, p, incoming, *, target, weight=None, share=None, kept=None):
    """incoming * (p * sum(q) - q): the gradient of cross-entropy for the logits. (N, C, d...), (N, d...) -> (N, C, d...)."""
    incoming = incoming.astype(p.dtype)
    y = p * xp.expand_dims(incoming * _total(xp, weight, share, kept), axis=1)
    return _less_target(xp, y, incoming, target, weight, share, kept) if y.size else y
