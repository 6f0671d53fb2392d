"""Losses that ask for a margin: between classes, between signs, or between a near and a far example."""

from . import functional as F
from .loss import _Loss, _WeightedLoss
from .module import Module


class MarginRankingLoss(_Loss):
    """max(0, margin - y (x1 - x2)): for y = 1 the first should be larger by `margin`, for y = -1 the second.

    Shape: (*), (*), (*) -> () or, unreduced, (*).

    >>> nn.MarginRankingLoss()(cr.tensor([1.0]), cr.tensor([3.0]), cr.tensor([1.0])).item()
    2.0
    """

    def __init__(self, margin=0.0, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """x where y = 1, max(0, margin - x) where y = -1.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> nn.HingeEmbeddingLoss()(cr.tensor([0.25, 0.25]), cr.tensor([1.0, -1.0])).item()
    0.5
    """

    def __init__(self, margin=1.0, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input, target):
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + e^(-y x)) for y = 1 or -1.

    Shape: (*), (*) -> () or, unreduced, (*).

    >>> round(nn.SoftMarginLoss()(cr.tensor([0.0]), cr.tensor([1.0])).item(), 4)
    0.6931
    """

    def forward(self, input, target):
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """sum over c other than y of max(0, margin - x_y + x_c)^p / C. Crammer & Singer (2001).

    Shape: (N, C) and (N), or (C) and () -> () or, unreduced, the target's.

    >>> nn.MultiMarginLoss()(cr.tensor([[0.0, 1.0]]), cr.tensor([0])).item()
    1.0
    """

    def __init__(self, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"):
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ValueError(f"MultiMarginLoss: p must be 1 or 2, got {p}")
        self.p = p
        self.margin = margin

    def forward(self, input, target):
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(_Loss):
    """sum over labels y and other classes c of max(0, 1 - x_y + x_c) / C; the labels of a sample end at the first -1.

    Shape: (N, C) and (N, C), or (C) and (C) -> () or, unreduced, (N).

    >>> nn.MultiLabelMarginLoss()(cr.tensor([0.0, 1.0]), cr.tensor([0, -1])).item()
    1.0
    """

    def forward(self, input, target):
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The mean over classes of the binary cross-entropy of sigmoid(x).

    Shape: (N, C) and (N, C) -> () or, unreduced, (N).

    >>> round(nn.MultiLabelSoftMarginLoss()(cr.zeros(1, 2), cr.ones(1, 2)).item(), 4)
    0.6931
    """

    def forward(self, input, target):
        return F.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1.

    Shape: (N, D), (N, D), (N) or (D), (D), () -> () or, unreduced, (N).

    >>> nn.CosineEmbeddingLoss()(cr.tensor([1.0, 0.0]), cr.tensor([0.0, 1.0]), cr.tensor(1.0)).item()
    1.0
    """

    def __init__(self, margin=0.0, size_average=None, reduce=None, reduction="mean"):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return F.cosine_embedding_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(a, p) - d(a, n) + margin) with the p-norm distance d of anchor, positive and negative. Balntas et al. (2016).

    swap: the distance of positive and negative counts where it is less than that of anchor and negative.
    Shape: (N, D), (N, D), (N, D) or (D), (D), (D) -> () or, unreduced, (N).

    >>> round(nn.TripletMarginLoss()(cr.tensor([0.0]), cr.tensor([2.0]), cr.tensor([1.0])).item(), 4)
    2.0
    """

    def __init__(
        self, margin=1.0, p=2.0, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"
    ):
        super().__init__(size_average, reduce, reduction)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor, positive, negative):
        return F.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


class TripletMarginWithDistanceLoss(_Loss):
    """The triplet loss with a distance of the user's, a function of two Tensors (N, D) -> (N).

    Shape: (N, D), (N, D), (N, D) -> () or, unreduced, (N).

    >>> loss = nn.TripletMarginWithDistanceLoss(distance_function=lambda a, b: (a - b).abs().sum(-1))
    >>> loss(cr.tensor([[0.0]]), cr.tensor([[2.0]]), cr.tensor([[1.0]])).item()
    2.0
    """

    def __init__(self, *, distance_function=None, margin=1.0, swap=False, reduction="mean"):
        super().__init__(reduction=reduction)
        self.distance_function = F.pairwise_distance if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor, positive, negative):
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function, margin=self.margin, swap=self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class CosineSimilarity(Module):
    """x1 . x2 / (|x1| |x2|) along `dim`; each norm counts as at least eps.

    Shape: (*, D, *), (*, D, *) -> (*, *).

    >>> nn.CosineSimilarity(dim=0)(cr.tensor([1.0, 0.0]), cr.tensor([2.0, 0.0])).item()
    1.0
    """

    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1, x2):
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last dimension.

    Shape: (N, D), (N, D) -> (N), or (N, 1) with `keepdim`.

    >>> round(nn.PairwiseDistance()(cr.tensor([[3.0, 4.0]]), cr.zeros(1, 2)).item(), 4)
    5.0
    """

    def __init__(self, p=2.0, eps=1e-6, keepdim=False):
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1, x2):
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
