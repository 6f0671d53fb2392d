"""Softmax and cross-entropy, each one fused forward and one fused backward.

The largest element is subtracted before exponentials are taken (its effect cancels), so no argument overflows. The
softmax is the only thing its own derivative needs: outputs are all that is kept.
"""

from typing import Any, NamedTuple

from chainrule.autograd.op import op

from .blocks import in_float32, wide
from .indexing import take


def _below_largest(xp, x, axis):
    """x minus its largest element along the axis."""
    return x - xp.max(x, axis=axis, keepdims=True)


def _softmax_rule(xp, g, y, axis):
    gy = g * y
    return gy - y * xp.sum(gy, axis=axis, keepdims=True)


# The Jacobian is its own transpose.
@op(x=_softmax_rule, cast="float", tangent=lambda xp, t, y, axis: _softmax_rule(xp, t[0], y, axis))
@in_float32
def softmax(xp, x, *, axis):
    """exp(x) / sum(exp(x)) along `axis`; NaN where every element is -inf. (*) -> (*)."""
    if not x.size:
        return x.copy()
    y = _below_largest(xp, x, axis)
    xp.exp(y, out=y)
    y /= xp.sum(y, axis=axis, keepdims=True)
    return y


@op(
    x=lambda xp, g, y, axis: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True),
    cast="float",
    tangent=lambda xp, t, y, axis: t[0] - xp.sum(xp.exp(y) * t[0], axis=axis, keepdims=True),
)
@in_float32
def log_softmax(xp, x, *, axis):
    """x - log(sum(exp(x))) along `axis`. (*) -> (*)."""
    if not x.size:
        return x.copy()
    y = _below_largest(xp, x, axis)
    y -= xp.log(xp.sum(xp.exp(y), axis=axis, keepdims=True))
    return y


class Targets(NamedTuple):
    """The distribution q that a prediction is compared with, where it is made of class numbers, in raw arrays.

    q[n, c] = weight[n] * [c is the class of sample n] + kept[n] * share[c]

    index: reads the element of the true class of every sample out of (N, C, d...).
    weight: one number per sample, (N, d...), or None for 1.
    share: what label smoothing gives to each class, (1, C, 1...), or None for 0.
    kept: 0 for samples that are ignored, else 1, (N, d...), or None for 1.
    """

    index: tuple
    weight: Any = None
    share: Any = None
    kept: Any = None

    def total(self):
        """sum_c q[n, c]: one number per sample, or one for all."""
        total = 1 if self.weight is None else self.weight
        if self.share is None:
            return total
        smooth = self.share.sum()
        return total + (smooth if self.kept is None else self.kept * smooth)

    def expectation(self, xp, x):
        """sum_c q[n, c] x[n, c] for arrays and Tensors, 0 for an ignored sample whatever its x."""
        y = take(x, index=self.index)
        if self.weight is not None:
            y = xp.where(self.weight == 0, 0, y * self.weight)
        if self.share is not None:
            smooth = xp.sum(x * self.share, axis=1)
            y = y + (smooth if self.kept is None else xp.where(self.kept == 0, 0, smooth))
        return y

    def subtract_from(self, xp, y, g):
        """y -= g[n] q[n, c], in the raw array y."""
        if self.share is not None:
            spread = g if self.kept is None else g * self.kept
            y -= xp.expand_dims(spread, axis=1) * self.share
        y[self.index] -= g if self.weight is None else g * self.weight


def _cross_entropy_rule(xp, g, p, q):
    g, gp = g
    if gp is None:
        return cross_entropy_input(p, g, q=q)
    through_p = _softmax_rule(xp, gp, p, 1)
    return through_p if g is None else through_p + cross_entropy_input(p, g, q=q)


def _cross_entropy_tangent(xp, t, p, q):
    (t,) = t
    y = xp.sum(p * t, axis=1) * q.total() - q.expectation(xp, t)
    return y, _softmax_rule(xp, t, p, 1)


@op(x=_cross_entropy_rule, outputs=("y", "p"), cast="float", tangent=_cross_entropy_tangent)
def cross_entropy(xp, x, *, q):
    """-sum_c q[c] log p[c] of each sample, with p the softmax of its logits x: the loss, and p.

    q: Targets. (N, C, d...) -> (N, d...), (N, C, d...).
    """
    dtype, x = x.dtype, wide(x)
    if not x.size:
        return xp.zeros((x.shape[0], *x.shape[2:]), dtype=dtype), x.copy()
    p = _below_largest(xp, x, 1)
    expected = q.expectation(xp, p)
    xp.exp(p, out=p)
    total = xp.sum(p, axis=1, keepdims=True)
    p /= total
    y = xp.log(xp.squeeze(total, axis=1)) * q.total() - expected
    return y.astype(dtype, copy=False), p


def _cross_entropy_input_rule(xp, g, needs, p, incoming, q):
    gp = g * xp.expand_dims(incoming * q.total(), axis=1) if needs[0] else None
    gi = xp.sum(g * p, axis=1) * q.total() - q.expectation(xp, g) if needs[1] else None
    return gp, gi


@op(joint=_cross_entropy_input_rule)
def cross_entropy_input(xp, p, incoming, *, q):
    """incoming * (p * sum(q) - q): the gradient of cross-entropy for the logits. (N, C, d...), (N, d...) -> (N, C, d...)."""
    incoming = incoming.astype(p.dtype, copy=False)
    y = p * xp.expand_dims(incoming * q.total(), axis=1)
    if y.size:
        q.subtract_from(xp, y, incoming)
    return y


@op(
    logp=lambda xp, g, q, axis: -xp.expand_dims(g, axis=axis) * q,
    q=lambda xp, g, logp, axis: -xp.expand_dims(g, axis=axis) * logp,
    cast="promote",
)
def expected_loss(xp, logp, q, *, axis):
    """-sum q log p along `axis`, where q = 0 makes a 0 of any log p. (*), (*) -> (*) without the axis."""
    return -xp.sum(xp.where(q == 0, 0, q * logp), axis=axis)
