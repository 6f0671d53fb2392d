"""Pooling layers: each window of the last 1, 2 or 3 dimensions becomes one number.

Without `stride` the windows lie side by side. Lengths: floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1, or with
`ceil_mode` the ceiling of the fraction, as long as the last window starts inside. A window never spans channels.
"""

from . import functional as F
from .convolution import each
from .module import Module


class _MaxPool(Module):
    def __init__(
        self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _pool(self, function, input):
        return function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The maximum of each window; its gradient goes to the first place that has it.

    Shape: (N, C, L) or (C, L) -> (N, C, L_out); with `return_indices` also the places, for MaxUnpool1d.

    >>> nn.MaxPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
    [[3.0, 2.0]]
    """

    def forward(self, input):
        """(N, C, L) -> (N, C, L_out)"""
        return self._pool(F.max_pool1d, input)


class MaxPool2d(_MaxPool):
    """The maximum of each window; its gradient goes to the first place that has it.

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, H_out, W_out); with `return_indices` also the places, for MaxUnpool2d.

    >>> nn.MaxPool2d(2)(cr.ones(1, 25, 26, 26)).shape
    chainrule.Size([1, 25, 13, 13])
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H_out, W_out)"""
        return self._pool(F.max_pool2d, input)


class MaxPool3d(_MaxPool):
    """The maximum of each window; its gradient goes to the first place that has it.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, D_out, H_out, W_out); with `return_indices` also the places.

    >>> nn.MaxPool3d(2)(cr.ones(1, 2, 4, 4, 4)).shape
    chainrule.Size([1, 2, 2, 2, 2])
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, D_out, H_out, W_out)"""
        return self._pool(F.max_pool3d, input)


class _MaxUnpool(Module):
    _n = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = each(kernel_size, self._n, f"{name}: kernel_size")
        self.stride = each(kernel_size if stride is None else stride, self._n, f"{name}: stride")
        self.padding = each(padding, self._n, f"{name}: padding")

    def _unpool(self, function, input, indices, output_size):
        return function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Put each maximum back where it came from, zeros elsewhere. Zeiler & Fergus (2014).

    Shape: (N, C, L), its indices -> (N, C, L_out), L_out = (L - 1) stride - 2 padding + kernel_size, or `output_size`.

    >>> y, where = nn.MaxPool1d(2, return_indices=True)(cr.tensor([[1.0, 3.0, 2.0, 0.0]]))
    >>> nn.MaxUnpool1d(2)(y, where).tolist()
    [[0.0, 3.0, 2.0, 0.0]]
    """

    _n = 1

    def forward(self, input, indices, output_size=None):
        """(N, C, L) -> (N, C, L_out)"""
        return self._unpool(F.max_unpool1d, input, indices, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Put each maximum back where it came from, zeros elsewhere. Zeiler & Fergus (2014).

    Shape: (N, C, H, W), its indices -> (N, C, H_out, W_out), lengths as in MaxUnpool1d.

    >>> nn.MaxUnpool2d(2)(*nn.MaxPool2d(2, return_indices=True)(cr.ones(1, 1, 4, 4))).sum().item()
    4.0
    """

    _n = 2

    def forward(self, input, indices, output_size=None):
        """(N, C, H, W) -> (N, C, H_out, W_out)"""
        return self._unpool(F.max_unpool2d, input, indices, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Put each maximum back where it came from, zeros elsewhere. Zeiler & Fergus (2014).

    Shape: (N, C, D, H, W), its indices -> (N, C, D_out, H_out, W_out), lengths as in MaxUnpool1d.

    >>> nn.MaxUnpool3d(2)(*nn.MaxPool3d(2, return_indices=True)(cr.ones(1, 1, 4, 4, 4))).sum().item()
    8.0
    """

    _n = 3

    def forward(self, input, indices, output_size=None):
        """(N, C, D, H, W) -> (N, C, D_out, H_out, W_out)"""
        return self._unpool(F.max_unpool3d, input, indices, output_size)


class AvgPool1d(Module):
    """The mean of each window; padded zeros count unless `count_include_pad` is False.

    Shape: (N, C, L) or (C, L) -> (N, C, L_out).

    >>> nn.AvgPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
    [[2.0, 1.0]]
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size = each(kernel_size, 1, "AvgPool1d: kernel_size")
        self.stride = each(kernel_size if stride is None else stride, 1, "AvgPool1d: stride")
        self.padding = each(padding, 1, "AvgPool1d: padding")
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input):
        """(N, C, L) -> (N, C, L_out)"""
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    def __init__(
        self,
        kernel_size,
        stride=None,
        padding=0,
        ceil_mode=False,
        count_include_pad=True,
        divisor_override=None,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def _pool(self, function, input):
        return function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window, or its sum over `divisor_override`; padded zeros count unless `count_include_pad` is False.

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, H_out, W_out).

    >>> nn.AvgPool2d(2)(cr.ones(1, 3, 4, 4)).shape
    chainrule.Size([1, 3, 2, 2])
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H_out, W_out)"""
        return self._pool(F.avg_pool2d, input)


class AvgPool3d(_AvgPool):
    """The mean of each window, or its sum over `divisor_override`; padded zeros count unless `count_include_pad` is False.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, D_out, H_out, W_out).

    >>> nn.AvgPool3d(2)(cr.ones(1, 3, 4, 4, 4)).shape
    chainrule.Size([1, 3, 2, 2, 2])
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, D_out, H_out, W_out)"""
        return self._pool(F.avg_pool3d, input)


class _LPPool(Module):
    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def _pool(self, function, input):
        return function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"


class LPPool1d(_LPPool):
    """(sum of x^p over each window)^(1/p), p = norm_type. Sermanet et al. (2012).

    Shape: (N, C, L) or (C, L) -> (N, C, L_out).

    >>> nn.LPPool1d(2, 2)(cr.tensor([[3.0, 4.0]])).tolist()
    [[5.0]]
    """

    def forward(self, input):
        """(N, C, L) -> (N, C, L_out)"""
        return self._pool(F.lp_pool1d, input)


class LPPool2d(_LPPool):
    """(sum of x^p over each window)^(1/p), p = norm_type. Sermanet et al. (2012).

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, H_out, W_out).

    >>> nn.LPPool2d(2, 2)(cr.ones(1, 1, 2, 2)).item()
    2.0
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H_out, W_out)"""
        return self._pool(F.lp_pool2d, input)


class LPPool3d(_LPPool):
    """(sum of x^p over each window)^(1/p), p = norm_type. Sermanet et al. (2012).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, D_out, H_out, W_out).

    >>> nn.LPPool3d(3, 2)(cr.ones(1, 1, 2, 2, 2)).item()
    2.0
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, D_out, H_out, W_out)"""
        return self._pool(F.lp_pool3d, input)


class _AdaptivePool(Module):
    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of windows chosen so that `output_size` come out: window i is from floor(i L / n) to ceil((i + 1) L / n).

    Shape: (N, C, L) or (C, L) -> (N, C, output_size).

    >>> nn.AdaptiveAvgPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
    [[2.0, 1.0]]
    """

    def forward(self, input):
        """(N, C, L) -> (N, C, n)"""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of windows chosen so that `output_size` come out; None in it keeps that length.

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, *output_size).

    >>> nn.AdaptiveAvgPool2d(1)(cr.ones(2, 3, 5, 7)).shape
    chainrule.Size([2, 3, 1, 1])
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, *output_size)"""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptivePool):
    """Means of windows chosen so that `output_size` come out; None in it keeps that length.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, *output_size).

    >>> nn.AdaptiveAvgPool3d(1)(cr.ones(2, 3, 2, 5, 7)).shape
    chainrule.Size([2, 3, 1, 1, 1])
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, *output_size)"""
        return F.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    def __init__(self, output_size, return_indices=False):
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of the windows of AdaptiveAvgPool1d.

    Shape: (N, C, L) or (C, L) -> (N, C, output_size); with `return_indices` also the places.

    >>> nn.AdaptiveMaxPool1d(2)(cr.tensor([[1.0, 3.0, 2.0, 0.0]])).tolist()
    [[3.0, 2.0]]
    """

    def forward(self, input):
        """(N, C, L) -> (N, C, n)"""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of the windows of AdaptiveAvgPool2d.

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, *output_size); with `return_indices` also the places.

    >>> nn.AdaptiveMaxPool2d((2, None))(cr.ones(2, 3, 5, 7)).shape
    chainrule.Size([2, 3, 2, 7])
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, *output_size)"""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of the windows of AdaptiveAvgPool3d.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, *output_size); with `return_indices` also the places.

    >>> nn.AdaptiveMaxPool3d(1)(cr.ones(2, 3, 2, 5, 7)).shape
    chainrule.Size([2, 3, 1, 1, 1])
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, *output_size)"""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)
