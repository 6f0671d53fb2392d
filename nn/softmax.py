"""Activations that look at a whole dimension: softmax and its kin, and the gated linear unit."""

from chainrule.autograd.functions.common import tensor_of

from . import functional as F
from .module import Module


class GLU(Module):
    """a sigmoid(b), where a and b are the halves of x along `dim`. Dauphin et al. (2017).

    Shape: (*, 2 D, *) -> (*, D, *).

    >>> nn.GLU()(cr.tensor([2.0, 0.0])).tolist()
    [1.0]
    """

    def __init__(self, dim=-1):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        """(*, 2 D) -> (*, D)"""
        return F.glu(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class _AlongDim(Module):
    """An activation that normalises along one dimension; None leaves the choice to the function, by PyTorch's old rule."""

    def __init__(self, dim=None):
        super().__init__()
        self.dim = dim

    def extra_repr(self):
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """e^x_i / sum over j of e^x_j, along `dim`. Bridle (1990).

    >>> nn.Softmax(dim=0)(cr.tensor([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    def forward(self, input):
        return F.softmax(input, self.dim)


class Softmin(_AlongDim):
    """The softmax of -x, along `dim`.

    >>> nn.Softmin(dim=0)(cr.tensor([1.0, 1.0])).tolist()
    [0.5, 0.5]
    """

    def forward(self, input):
        return F.softmin(input, self.dim)


class LogSoftmax(_AlongDim):
    """x_i - log(sum over j of e^x_j), along `dim`, without overflow.

    >>> round(nn.LogSoftmax(dim=0)(cr.tensor([1.0, 1.0]))[0].item(), 4)
    -0.6931
    """

    def forward(self, input):
        return F.log_softmax(input, self.dim)


class Softmax2d(Module):
    """The softmax over the channels at each place of an image.

    Shape: (N, C, H, W) or (C, H, W) -> the same.

    >>> nn.Softmax2d()(cr.ones(2, 1, 1)).flatten().tolist()
    [0.5, 0.5]
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H, W)"""
        if tensor_of(input, "Softmax2d").ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected (C, H, W) or (N, C, H, W), got shape {tuple(input.shape)}")
        return F.softmax(input, -3)
