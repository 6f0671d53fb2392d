"""Layers with more weights than usual: several pieces for each unit (maxout), or a kernel for each place (locally connected)."""

import math

from chainrule.autograd.functions.creation import empty

from . import functional as F
from . import init
from .convolution import each
from .linear import Linear
from .module import Module
from .parameter import Parameter


class Maxout(Linear):
    """y_i = max over j of (W x + b)_ij: each unit the largest of `pieces` linear functions, so convex and piecewise linear.

    Goodfellow et al. (2013). Shape: (*, in_features) -> (*, out_features); `weight` (out_features * pieces, in_features), the rows of
    one unit together; `bias` (out_features * pieces).
    Initial law: Linear's.

    >>> nn.Maxout(3, 4, pieces=2)(cr.ones(5, 3)).shape
    chainrule.Size([5, 4])
    """

    def __init__(self, in_features, out_features, pieces=2, bias=True, device=None, dtype=None):
        if not isinstance(pieces, int) or pieces < 1:
            raise ValueError(f"Maxout: pieces must be a positive int, got {pieces!r}")
        super().__init__(in_features, out_features * pieces, bias, device, dtype)
        self.pieces = pieces

    def forward(self, input):
        """(*, in_features) -> (*, out_features)"""
        return F.maxout(super().forward(input), self.pieces)

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features // self.pieces}, pieces={self.pieces}, "
            f"bias={self.bias is not None}"
        )


class _LocallyConnected(Module):
    """A convolution over `_n` dimensions with a kernel of its own at each place of an input of known size."""

    _n = 0

    def __init__(
        self, in_channels, out_channels, input_size, kernel_size, stride=1, padding=0, dilation=1, bias=True, device=None, dtype=None
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self._n
        self.in_channels, self.out_channels = in_channels, out_channels
        self.input_size = each(input_size, n, f"{name}: input_size")
        self.kernel_size = each(kernel_size, n, f"{name}: kernel_size")
        self.stride = each(stride, n, f"{name}: stride")
        self.padding = each(padding, n, f"{name}: padding")
        self.dilation = each(dilation, n, f"{name}: dilation")
        self.output_size = tuple(
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(
                self.input_size, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
            )
        )
        if min(self.output_size) < 1:
            raise ValueError(
                f"{name}: a kernel of size {self.kernel_size} does not fit an input of size {self.input_size}"
            )
        shape = (out_channels, in_channels, *self.kernel_size, *self.output_size)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        own = (
            Parameter(empty((out_channels, *self.output_size), device=device, dtype=dtype)) if bias else None
        )
        self.register_parameter("bias", own)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.in_channels * math.prod(self.kernel_size))
        for one in self.parameters():
            init.uniform_(one, -bound, bound)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, kernel_size={self.kernel_size}, "
        text += f"stride={self.stride}"
        for what, default in (("padding", 0), ("dilation", 1)):
            value = getattr(self, what)
            text += "" if value == (default,) * self._n else f", {what}={value}"
        return text if self.bias is not None else text + ", bias=False"


class LocallyConnected1d(_LocallyConnected):
    """Conv1d without shared weights: each place has a kernel and a bias of its own. LeCun (1989), Taigman et al. (2014).

    Shape: (N, C_in, L) or (C_in, L) -> (N, C_out, L_out), L = input_size, L_out as in Conv1d;
    `weight` (C_out, C_in, k, L_out), `bias` (C_out, L_out).
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_in k).

    >>> nn.LocallyConnected1d(2, 3, input_size=10, kernel_size=5)(cr.ones(1, 2, 10)).shape
    chainrule.Size([1, 3, 6])
    """

    _n = 1

    def forward(self, input):
        """(N, C_in, L) -> (N, C_out, L_out)"""
        return F.locally_connected1d(input, self.weight, self.bias, self.stride, self.padding, self.dilation)


class LocallyConnected2d(_LocallyConnected):
    """Conv2d without shared weights: each place has a kernel and a bias of its own. LeCun (1989), Taigman et al. (2014).

    Shape: (N, C_in, H, W) or (C_in, H, W) -> (N, C_out, H_out, W_out), (H, W) = input_size, lengths as in Conv1d;
    `weight` (C_out, C_in, kH, kW, H_out, W_out), `bias` (C_out, H_out, W_out).
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_in kH kW).

    >>> nn.LocallyConnected2d(1, 1, 6, 3, bias=False).weight.numel()
    144
    """

    _n = 2

    def forward(self, input):
        """(N, C_in, H, W) -> (N, C_out, H_out, W_out)"""
        return F.locally_connected2d(input, self.weight, self.bias, self.stride, self.padding, self.dilation)
