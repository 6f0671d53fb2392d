"""Images as columns of patches, and back."""

from . import functional as F
from .module import Module


class Unfold(Module):
    """Each window of an image as a column: the matrix that turns convolution into a product (im2col).

    Shape: (N, C, H, W) or (C, H, W) -> (N, C kH kW, windows).

    >>> nn.Unfold(2)(cr.ones(1, 3, 4, 5)).shape
    chainrule.Size([1, 12, 12])
    """

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        """(N, C, H, W) -> (N, C kH kW, windows)"""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns of patches added into an image, overlaps summed: the adjoint of Unfold.

    Shape: (N, C kH kW, windows) or (C kH kW, windows) -> (N, C, *output_size).

    >>> nn.Fold((4, 5), 2)(cr.ones(1, 12, 12)).shape
    chainrule.Size([1, 3, 4, 5])
    """

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        """(N, C kH kW, windows) -> (N, C, *output_size)"""
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
