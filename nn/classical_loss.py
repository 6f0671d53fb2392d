"""Losses of classical learning machines as layers; see `functional/classical_loss.py`. The logistic loss is SoftMarginLoss."""

from . import functional as F
from .loss import _Loss


class HingeLoss(_Loss):
    """max(0, margin - y f) for scores f and y = 1 or -1. Cortes & Vapnik (1995).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.HingeLoss(reduction="sum")(cr.tensor([0.5, -2.0]), cr.tensor([1.0, -1.0])).item()
    0.5
    """

    def __init__(self, margin=1.0, reduction="mean"):
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input, target):
        return F.hinge_loss(input, target, self.margin, self.reduction)


class PerceptronLoss(_Loss):
    """max(0, -y f) for scores f and y = 1 or -1: SGD with rate 1 is the perceptron's rule. Rosenblatt (1958).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.PerceptronLoss(reduction="sum")(cr.tensor([0.5, -2.0]), cr.tensor([1.0, 1.0])).item()
    2.0
    """

    def __init__(self, reduction="mean"):
        super().__init__(reduction=reduction)

    def forward(self, input, target):
        return F.perceptron_loss(input, target, self.reduction)


class EpsilonInsensitiveLoss(_Loss):
    """max(0, |x - y| - epsilon). Vapnik (1995).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.EpsilonInsensitiveLoss(0.5)(cr.tensor([2.0]), cr.tensor([0.0])).item()
    1.5
    """

    def __init__(self, epsilon=0.5, reduction="mean"):
        super().__init__(reduction=reduction)
        self.epsilon = epsilon

    def forward(self, input, target):
        return F.epsilon_insensitive_loss(input, target, self.epsilon, self.reduction)


class HalfSquaredLoss(_Loss):
    """(x - y)^2 / 2: least mean squares. Widrow & Hoff (1960).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.HalfSquaredLoss()(cr.tensor([3.0]), cr.tensor([1.0])).item()
    2.0
    """

    def __init__(self, reduction="mean"):
        super().__init__(reduction=reduction)

    def forward(self, input, target):
        return F.half_squared_loss(input, target, self.reduction)
