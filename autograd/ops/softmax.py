"""Softmax and cross-entropy, each one fused forward and one fused backward.

The largest element is subtracted before exponentials are taken (its effect cancels), so no argument overflows. The
softmax is the only thing its own derivative needs: outputs are all that is kept.
"""

from typing import Any, NamedTuple

from chainrule.autograd.op import op
from chainrule.backends import namespaces

from .blocks import in_float32, wide


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


def at_class(index):
    """The advanced index that reads element index[n, i, ...] of axis 1."""
    xp = namespaces[index.__class__]
    grid = [
        xp.arange(length).reshape((1,) * dim + (-1,) + (1,) * (index.ndim - dim - 1))
        for dim, length in enumerate(index.shape)
    ]
    return (grid[0], index, *grid[1:])


class Targets(NamedTuple):
    """The distribution q that a prediction is compared with, where it is made of class numbers, in raw arrays.

    q[n, c] = weight[n] * [c is the class of sample n] + kept[n] * share[c]

    index: reads the element of the true class of every sample out of (N, C, d...); or has the class numbers alone, the second of its
        entries, and None for the others.
    weight: one number per sample, (N, d...), or None for 1.
    share: what label smoothing gives to each class, (1, C, 1...), or None for 0.
    kept: 0 for samples that are ignored, else 1, (N, d...), or None for 1.
    """

    index: tuple
    weight: Any = None
    share: Any = None
    kept: Any = None

    def _at_class(self):
        return at_class(self.index[1]) if self.index[0] is None else self.index

    def total(self):
        """sum_c q[n, c]: one number per sample, or one for all."""
        total = 1 if self.weight is None else self.weight
        if self.share is None:
            return total
        smooth = self.share.sum()
        return total + (smooth if self.kept is None else self.kept * smooth)

    def expectation(self, xp, x):
        """sum_c q[n, c] x[n, c], 0 for an ignored sample whatever its x."""
        y = x[self._at_class()]
        if self.weight is not None:
            y = xp.where(self.weight == 0, 0, y * self.weight)
        if self.share is not None:
            smooth = xp.sum(x * self.share, axis=1)
            y = y + (smooth if self.kept is None else xp.where(self.kept == 0, 0, smooth))
        return y

    def add_to(self, xp, y, g):
        """y += g q[n, c], in the raw array y."""
        if self.share is not None:
            spread = g if self.kept is None else xp.expand_dims(self.kept * g, axis=1)
            y += spread * self.share
        y[self._at_class()] += g if self.weight is None else g * self.weight


# The gradient for logits of cross-entropy, slope = (sum_c q p - q) / over, is all that is kept: p is found in it again. For it a
# loss that is summed is divided at once by what makes it a mean.


def _probabilities(xp, slope, q, over):
    """sum_c q p."""
    return with_targets(slope * over, q=q)


@op(y=lambda xp, g: g)
def with_targets(xp, y, *, q):
    """y + q, in y's shape. (N, C, d...) -> (N, C, d...)."""
    y = y.copy()
    if y.size:
        q.add_to(xp, y, 1)
    return y


def _through_slope(xp, t, slope, q, over):
    """The derivative of the slope by the logits, applied to t: (diag(r) - r r^T / sum(q)) / over for r = p sum(q), its own transpose."""
    divisor = 1 if over is None else over
    r, total = _probabilities(xp, slope, q, divisor), q.total()
    if not isinstance(total, int):
        # A sample of weight 0 has r = 0.
        total = xp.expand_dims(total + (total == 0), axis=1) if total.ndim else total
    rt = r * t
    return (rt - r * (xp.sum(rt, axis=1, keepdims=True) / total)) / divisor


def _cross_entropy_rule(xp, g, slope, q, over):
    g, gslope = g
    found = None
    if g is not None:
        found = slope * (xp.expand_dims(g, axis=1) if over is None else g)
    if gslope is not None:
        through = _through_slope(xp, gslope, slope, q, over)
        found = through if found is None else found + through
    return found


def _cross_entropy_tangent(xp, t, slope, q, over):
    (t,) = t
    return xp.sum(slope * t, axis=1 if over is None else None), _through_slope(xp, t, slope, q, over)


@op(x=_cross_entropy_rule, outputs=("y", "slope"), cast="float", tangent=_cross_entropy_tangent)
def cross_entropy(xp, x, *, q, over=None, dtype=None):
    """-sum_c q[c] log p[c] of each sample, with p the softmax of its logits x, and the derivative of that by the logits.

    q: Targets. over: a number or a 0-d array; then the losses are added up and divided by it. dtype: that of the loss, if not x's.
    Samples that are not kept have loss and derivative 0, whatever their x. (N, C, d...) -> (N, d...) or (), (N, C, d...).
    """
    dtype, x = dtype or x.dtype, wide(x)
    if x.size:
        slope = _below_largest(xp, x, 1)
        expected, total = q.expectation(xp, slope), q.total()
        xp.exp(slope, out=slope)
        sums = xp.sum(slope, axis=1)
        y = xp.log(sums) * total - expected
        part = 1 if over is None else 1 / over
        slope *= xp.expand_dims(part * total / sums, axis=1)
        q.add_to(xp, slope, -part)
        if q.kept is not None:
            y = xp.where(q.kept, y, 0)
            slope = xp.where(xp.expand_dims(q.kept, axis=1), slope, 0)
    else:
        y, slope = xp.zeros((x.shape[0], *x.shape[2:]), dtype=x.dtype), x.copy()
    if over is not None:
        y = xp.sum(y) / over
    return y.astype(dtype, copy=False), slope


@op(
    logp=lambda xp, g, q, axis: -xp.expand_dims(g, axis=axis) * q,
    q=lambda xp, g, logp, axis: -xp.expand_dims(g, axis=axis) * logp,
    cast="promote",
)
def expected_loss(xp, logp, q, *, axis):
    """-sum q log p along `axis`, where q = 0 makes a 0 of any log p. (*), (*) -> (*) without the axis."""
    return -xp.sum(xp.where(q == 0, 0, q * logp), axis=axis)
