"""Losses of single elements: each from a prediction and a target to what it costs, in one step. (*), (*) -> (*).

Sums and means over elements, and weights, are added by `nn.functional`.
"""

from chainrule.autograd.op import op

from .activation import logsigmoid, sigmoid
from .blocks import in_float32
from .elementwise import clip
from .selection import masked, select


@op(
    x=lambda xp, g, x, target: g * (2 * (x - target)),
    target=lambda xp, g, x, target: g * (-2 * (x - target)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def squared_error(xp, x, target):
    """(x - target)^2."""
    y = x - target
    y *= y
    return y


def _huber_slope(xp, g, x, target, delta, scale):
    return g * (clip(x - target, low=-delta, high=delta) * scale)


@op(
    x=_huber_slope,
    target=lambda xp, g, x, target, delta, scale: -_huber_slope(xp, g, x, target, delta, scale),
    cast="float",
    tangent="elementwise",
)
@in_float32
def huber(xp, x, target, *, delta=1.0, scale=1.0):
    """scale * (d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2)) for d = x - target. Huber 1964.

    scale = 1 / delta makes it the smooth L1 loss of Girshick 2015, "Fast R-CNN".
    """
    d = x - target
    near = xp.clip(d, -delta, delta)
    # near * (d - near / 2) is both branches at once; an infinite d keeps its sign from meeting 0 * inf.
    d -= 0.5 * near
    d *= near
    d *= scale
    return d


def _floored_log(xp, x):
    return xp.maximum(xp.log(x), -100)


@op(
    # The floor under x (1 - x) is PyTorch's: at x = 0 or 1 the slope is large and finite.
    x=lambda xp, g, x, target: g * ((x - target) / xp.maximum(x * (1 - x), 1e-12)),
    target=lambda xp, g, x: g * (_floored_log(xp, 1 - x) - _floored_log(xp, x)),
    cast="float",
    tangent="elementwise",
)
@in_float32
def binary_cross_entropy(xp, x, target):
    """-(target log x + (1 - target) log(1 - x)) for probabilities x, with logarithms never below -100."""
    return -(target * _floored_log(xp, x) + (1 - target) * xp.maximum(xp.log1p(-x), -100))


def _positive(target, pos_weight):
    return target if pos_weight is None else target * pos_weight


def _logits_rule(xp, g, x, target, pos_weight):
    positive = _positive(target, pos_weight)
    return g * ((positive + 1 - target) * sigmoid(x) - positive)


def _logits_target_rule(xp, g, x, pos_weight):
    return g * (-x if pos_weight is None else logsigmoid(-x) - pos_weight * logsigmoid(x))


@op(
    x=_logits_rule,
    target=_logits_target_rule,
    pos_weight=lambda xp, g, x, target: -g * (target * logsigmoid(x)),
    cast="float",
    cast_inputs=("x", "target"),
    tangent="elementwise",
)
@in_float32
def binary_cross_entropy_with_logits(xp, x, target, pos_weight):
    """-(pos_weight target log s + (1 - target) log(1 - s)) for s = sigmoid(x). x and target of one shape; pos_weight
    broadcasts to them, or is None for 1."""
    positive = _positive(target, pos_weight)
    # One of log s and log(1 - s) is -log1p(exp(-|x|)), the other less than that by |x|: whichever is on the wrong side.
    wrong = select(x > 0, 1 - target, positive)
    y = xp.absolute(x)
    common = xp.log1p(xp.exp(-y))
    common *= positive + 1 - target
    y *= wrong
    return common + masked(y, wrong != 0)
