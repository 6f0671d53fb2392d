"""Losses of classical learning machines. For two classes, y = 1 or -1 and the input is the score f: the margin is y f.

Shapes: input and target (*) -> () or, unreduced, (*). The logistic loss log(1 + exp(-y f)) is `soft_margin_loss`.
"""

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops import activation

from .common import reduced, reduction_of
from .loss import _pair


def _margins(input, target, name):
    f, y = tensor_of(input, name), tensor_of(target, name)
    if f.shape != y.shape:
        raise RuntimeError(
            f"{name}: target of shape {tuple(y.shape)} must have the shape of the input, {tuple(f.shape)}"
        )
    return f * y


def hinge_loss(input, target, margin=1.0, reduction="mean"):
    """max(0, margin - y f): the support vector machine's. Cortes and Vapnik 1995. The gradient at the kink is 0."""
    reduction = reduction_of(None, None, reduction, "hinge_loss")
    return reduced(activation.relu(margin - _margins(input, target, "hinge_loss")), reduction)


def perceptron_loss(input, target, reduction="mean"):
    """max(0, -y f). Rosenblatt 1958. At y f = 0 the gradient is -y, so that the perceptron, which starts at 0, can learn.

    Stochastic gradient descent on it with rate 1 is the perceptron's rule: w += y x where y f <= 0.
    """
    reduction = reduction_of(None, None, reduction, "perceptron_loss")
    # `clip` passes the gradient at its bound.
    return reduced(ops.clip(-_margins(input, target, "perceptron_loss"), low=0), reduction)


def epsilon_insensitive_loss(input, target, epsilon=0.5, reduction="mean"):
    """max(0, |x - y| - epsilon): errors within epsilon cost nothing. Vapnik 1995. The gradient at the kinks is 0."""
    reduction = reduction_of(None, None, reduction, "epsilon_insensitive_loss")
    x, y = _pair(input, target, "epsilon_insensitive_loss")
    if epsilon < 0:
        raise ValueError(f"epsilon_insensitive_loss: epsilon must be at least 0, got {epsilon}")
    return reduced(activation.relu(ops.absolute(x - y) - epsilon), reduction)


def half_squared_loss(input, target, reduction="mean"):
    """(x - y)^2 / 2, whose gradient is the error x - y: least mean squares. Widrow and Hoff 1960."""
    reduction = reduction_of(None, None, reduction, "half_squared_loss")
    x, y = _pair(input, target, "half_squared_loss")
    return reduced(ops.square(x - y) / 2, reduction)
