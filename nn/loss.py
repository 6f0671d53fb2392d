"""Losses: how far an output is from its target.

`reduction` says what becomes of the losses of the elements: "mean", "sum", or "none", which leaves them as they are. The older
flags `size_average` and `reduce` are accepted where PyTorch still has them.
"""

import math

from . import functional as F
from .functional.common import reduction_of
from .linear import Linear
from .module import Module


class _Loss(Module):
    def __init__(self, size_average=None, reduce=None, reduction="mean"):
        super().__init__()
        self.reduction = reduction_of(size_average, reduce, reduction, type(self).__name__)


class _WeightedLoss(_Loss):
    """A loss with fixed weights, kept as a buffer."""

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class L1Loss(_Loss):
    """|x - y|.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.L1Loss()(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0])).item()
    1.0
    """

    def forward(self, input, target):
        return F.l1_loss(input, target, reduction=self.reduction)


class MSELoss(_Loss):
    """(x - y)^2.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.MSELoss()(cr.tensor([1.0, 2.0]), cr.tensor([1.0, 4.0])).item()
    2.0
    """

    def forward(self, input, target):
        return F.mse_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d^2 / (2 beta) where d = |x - y| < beta, else d - beta / 2. Girshick (2015).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.SmoothL1Loss()(cr.tensor([0.0]), cr.tensor([3.0])).item()
    2.5
    """

    def __init__(self, size_average=None, reduce=None, reduction="mean", beta=1.0):
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d^2 / 2 where d = |x - y| < delta, else delta (d - delta / 2). Huber (1964).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.HuberLoss()(cr.tensor([0.0]), cr.tensor([3.0])).item()
    2.5
    """

    def __init__(self, reduction="mean", delta=1.0):
        if isinstance(delta, bool) or not isinstance(delta, (int, float)):
            raise TypeError(f"HuberLoss: delta must be a number, got {type(delta).__name__}")
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input, target):
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class NLLLoss(_WeightedLoss):
    """-w_y x_y for log-probabilities x and class y; the mean is over the sum of the weights w_y.

    Targets equal to `ignore_index` do not count.
    Shape: (N, C) and (N), or (N, C, *) and (N, *) -> () or, unreduced, the target's; (C) and () for one sample.

    >>> nn.NLLLoss()(cr.tensor([[-1.0, -2.0]]), cr.tensor([1])).item()
    2.0
    """

    def __init__(self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(_WeightedLoss):
    """-w_y log softmax(x)_y for scores x and class y, or -sum over c of w_c y_c log softmax(x)_c for probabilities y.

    Label smoothing s mixes the target with the uniform distribution: (1 - s) y + s / C. Szegedy et al. (2016).
    Shape: (N, C) and (N), or (N, C, *) and (N, *) -> () or, unreduced, (N, *); (C) and () for one sample; targets of
    the input's shape are probabilities.

    >>> round(nn.CrossEntropyLoss()(cr.zeros(4, 10), cr.tensor([0, 1, 2, 3])).item(), 4)
    2.3026
    """

    def __init__(
        self,
        weight=None,
        size_average=None,
        ignore_index=-100,
        reduce=None,
        reduction="mean",
        label_smoothing=0.0,
    ):
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input, target):
        return F.cross_entropy(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


class BCELoss(_WeightedLoss):
    """-w (y log x + (1 - y) log(1 - x)) for probabilities x; logarithms are kept above -100.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> round(nn.BCELoss()(cr.tensor([0.5]), cr.tensor([1.0])).item(), 4)
    0.6931
    """

    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """The BCELoss of sigmoid(x), without overflow; `pos_weight` multiplies the term of y = 1.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> round(nn.BCEWithLogitsLoss()(cr.tensor([0.0]), cr.tensor([1.0])).item(), 4)
    0.6931
    """

    def __init__(self, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None):
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class KLDivLoss(_Loss):
    """y (log y - x) for log-probabilities x; reduction "batchmean" is the divergence itself. Kullback & Leibler (1951).

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.KLDivLoss(reduction="sum", log_target=True)(cr.zeros(2), cr.zeros(2)).item()
    0.0
    """

    def __init__(self, size_average=None, reduce=None, reduction="mean", log_target=False):
        super().__init__(size_average, reduce, "mean" if reduction == "batchmean" else reduction)
        if reduction == "batchmean":
            self.reduction = reduction
        self.log_target = log_target

    def forward(self, input, target):
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """e^x - y x (or x - y log(x + eps) unless `log_input`), plus with `full` Stirling's log y! where y > 1.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.PoissonNLLLoss()(cr.tensor([0.0]), cr.tensor([2.0])).item()
    1.0
    """

    def __init__(
        self, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
    ):
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input, target):
        return F.poisson_nll_loss(
            log_input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class GaussianNLLLoss(_Loss):
    """(log v + (x - y)^2 / v) / 2 with the variance v at least eps, plus log(2 pi) / 2 with `full`. Nix & Weigend (1994).

    Shape: (*), (*), (*) -> () or, unreduced, (*); the variance may lack the last dimension or have length 1 there.

    >>> nn.GaussianNLLLoss()(cr.tensor([1.0]), cr.tensor([3.0]), cr.tensor([1.0])).item()
    2.0
    """

    def __init__(self, *, full=False, eps=1e-6, reduction="mean"):
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input, target, var):
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class CTCLoss(_Loss):
    """-log p(labels | input), summed over all alignments of the labels with the input; class `blank` separates them. Graves et al. (2006).

    Shape: log-probabilities (T, N, C), labels (N, S) or all in one row, their lengths (N), (N) -> () or, unreduced, (N); also without N.

    >>> steps = cr.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    >>> round(nn.CTCLoss()(steps, cr.tensor([1]), cr.tensor(2), cr.tensor(1)).exp().item(), 4)
    1.5625
    """

    def __init__(self, blank=0, reduction="mean", zero_infinity=False):
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, log_probs, targets, input_lengths, target_lengths):
        """(T, N, C), (N, S), (N), (N) -> ()"""
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )


class LinearCrossEntropyLoss(_WeightedLoss):
    """A Linear layer to `num_classes` logits (times `out_features`, at more than one place), and CrossEntropyLoss of these.

    Shape: (N, in_features) or (in_features), class numbers (N) or () -> () or, unreduced, (N). `options` changes no number.
    Initial law: that of Linear.

    >>> nn.LinearCrossEntropyLoss(3, 5)(cr.ones(2, 3), cr.tensor([0, 4])).shape
    chainrule.Size([])
    """

    def __init__(
        self,
        in_features,
        num_classes,
        *,
        out_features=(),
        bias=False,
        device=None,
        dtype=None,
        reduction="mean",
        weight=None,
        ignore_index=None,
        label_smoothing=0.0,
        options=None,
    ):
        super().__init__(weight, reduction=reduction)
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(
                f"LinearCrossEntropyLoss: weight must have shape ({num_classes},), one number a class, got {tuple(weight.shape)}"
            )
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(
                f"LinearCrossEntropyLoss: label_smoothing must be between 0 and 1, got {label_smoothing}"
            )
        self.num_classes, self.out_features = num_classes, tuple(out_features)
        self.ignore_index, self.label_smoothing, self.options = ignore_index, label_smoothing, options
        count = math.prod(self.out_features, start=num_classes)
        self.linear = Linear(in_features, count, bias=bias, device=device, dtype=dtype)

    def forward(self, input, target):
        """(N, in_features), (N) -> ()"""
        out, bias = (self.num_classes, *self.out_features), self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape((*out, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else bias.reshape(out),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self):
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
