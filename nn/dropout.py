"""Dropout: in training, each element (or each channel) is zeroed with probability p and the rest scaled by 1 / (1 - p).

The expectation is then the input itself, so evaluation does nothing. Hinton et al. (2012), Srivastava et al. (2014).
"""

from . import functional as F
from .module import Module


class _Dropout(Module):
    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be a probability, between 0 and 1, got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability p. Srivastava et al. (2014).

    Shape: (*) -> (*).

    >>> nn.Dropout(0.5).eval()(cr.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    def forward(self, input):
        """(*) -> (*)"""
        return F.dropout(input, self.p, self.training, self.inplace)


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
