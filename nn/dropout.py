"""Dropout: in training, each element (or each channel) is zeroed with probability p and the rest scaled by 1 / (1 - p).

The expectation is then the input itself, so evaluation does nothing. Hinton et al. (2012), Srivastava et al. (2014).
"""

import numbers

from chainrule.autograd.functions.common import tensor_of

from . import functional as F
from .module import Module


class _Dropout(Module):
    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not isinstance(p, numbers.Real):
            raise TypeError(f"{type(self).__name__}: p must be a number, got {type(p).__name__}")
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be a probability, between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability p. Srivastava et al. (2014).

    rescale: "train" divides what is kept by 1 - p, "test" multiplies by 1 - p in evaluation instead, as in the paper.
    shared: a dimension, or several, along which all elements have one mask: 0 is one mask for the mini-batch, (N, *), or the same mask
    at every step of a sequence, (L, N, *), variational dropout (Gal & Ghahramani 2016).
    Shape: (*) -> (*).

    >>> nn.Dropout(0.5).eval()(cr.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    >>> nn.Dropout(0.5, rescale="test").eval()(cr.ones(3)).tolist()
    [0.5, 0.5, 0.5]
    """

    def __init__(self, p=0.5, inplace=False, *, rescale="train", shared=()):
        super().__init__(p, inplace)
        if rescale not in ("train", "test"):
            raise ValueError(f"Dropout: rescale must be 'train' or 'test', got {rescale!r}")
        self.rescale = rescale
        self.shared = (shared,) if isinstance(shared, int) else tuple(shared)

    def forward(self, input):
        """(*) -> (*)"""
        if self.rescale == "train" and not self.shared:
            return F.dropout(input, self.p, self.training, self.inplace)
        if not self.training:
            return input * (1 - self.p) if self.rescale == "test" else input
        shape = list(tensor_of(input, "Dropout").shape)
        for dim in self.shared:
            shape[dim] = 1
        mask = F.dropout(input.new_ones(shape), self.p)
        mask = mask.ne(0).to(mask.dtype) if self.rescale == "test" else mask
        return input.mul_(mask) if self.inplace else input * mask

    def extra_repr(self):
        more = "" if self.rescale == "train" else f", rescale={self.rescale!r}"
        return super().extra_repr() + more + (f", shared={self.shared}" if self.shared else "")


class Dropout1d(_Dropout):
    """Zero each channel with probability p. Tompson et al. (2015).

    Shape: (N, C, L) or (C, L) -> the same.

    >>> nn.Dropout1d(1.0)(cr.ones(2, 3, 4)).sum().item()
    0.0
    """

    def forward(self, input):
        """(N, C, L) -> (N, C, L)"""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Zero each channel with probability p. Tompson et al. (2015).

    Shape: (N, C, H, W) or (C, H, W) -> the same.

    >>> nn.Dropout2d(1.0)(cr.ones(2, 3, 4, 4)).sum().item()
    0.0
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H, W)"""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Zero each channel with probability p. Tompson et al. (2015).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same.

    >>> nn.Dropout3d(1.0)(cr.ones(2, 3, 4, 4, 4)).sum().item()
    0.0
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, D, H, W)"""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout to the value that SELU saturates at, scaled and shifted so that mean and variance stay.

    Klambauer et al. (2017).

    Shape: (*) -> (*).

    >>> nn.AlphaDropout(0.2).eval()(cr.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def forward(self, input):
        """(*) -> (*)"""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels. Klambauer et al. (2017).

    Shape: (N, C, *) -> (N, C, *).

    >>> nn.FeatureAlphaDropout(0.2).eval()(cr.ones(1, 3)).tolist()
    [[1.0, 1.0, 1.0]]
    """

    def forward(self, input):
        """(N, C, *) -> (N, C, *)"""
        return F.feature_alpha_dropout(input, self.p, self.training)
