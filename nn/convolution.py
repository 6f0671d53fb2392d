"""Convolution layers: the weight slides over the last 1, 2 or 3 dimensions. LeCun et al. (1989); transposed: Zeiler et al. (2010)."""

import math

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def each(value, n, name):
    """`value` as a tuple with an entry for each of `n` dimensions."""
    if isinstance(value, (tuple, list)):
        if len(value) != n:
            raise ValueError(f"{name}: expected one number or {n}, got {tuple(value)}")
        return tuple(value)
    return (value,) * n


class _ConvNd(Module):
    """The parameters and settings of a convolution over `_n` dimensions."""

    _n = 0
    _transposed = False

    def __init__(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype,
        output_padding=0,
    ):  # fmt: skip
        super().__init__()
        name, n = type(self).__name__, self._n
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = each(kernel_size, n, f"{name}: kernel_size")
        self.stride = each(stride, n, f"{name}: stride")
        self.dilation = each(dilation, n, f"{name}: dilation")
        self.output_padding = each(output_padding, n, f"{name}: output_padding")
        self.padding = padding if isinstance(padding, str) else each(padding, n, f"{name}: padding")
        self.padding_mode = padding_mode
        self._check(name)
        self.weight = Parameter(empty(self._weight_shape(), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self, name):
        if self.groups <= 0:
            raise ValueError(f"{name}: groups must be positive, got {self.groups}")
        for what, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name}: {what}={channels} must be divisible by groups={self.groups}")
        if self.padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"{name}: padding_mode must be one of {', '.join(_PADDING_MODES)}, got {self.padding_mode!r}"
            )
        if self._transposed and self.padding_mode != "zeros":
            raise ValueError(f'{name}: only padding_mode "zeros" is supported, got {self.padding_mode!r}')
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid") or self._transposed:
                raise ValueError(
                    f"{name}: padding must be numbers, or in a plain convolution 'same' or 'valid', got {self.padding!r}"
                )
            if self.padding == "same" and any(one != 1 for one in self.stride):
                raise ValueError(f"{name}: padding='same' needs stride 1, got {self.stride}")

    def _weight_shape(self):
        """(out, in / groups, *kernel); a transposed convolution's is that of the convolution it transposes."""
        into, out = self.in_channels, self.out_channels
        into, out = (out, into) if self._transposed else (into, out)
        return (out, into // self.groups, *self.kernel_size)

    def reset_parameters(self):
        """Draw the parameters anew."""
        if 0 in self.weight.shape:
            return
        fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
        bound = 1 / math.sqrt(fan_in)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def _pads(self):
        """What each side is padded with where the padding is not zeros: last dimension first, as `F.pad` takes it."""
        pads = []
        for i in reversed(range(self._n)):
            if self.padding == "same":
                total = self.dilation[i] * (self.kernel_size[i] - 1)
                pads += [total // 2, total - total // 2]
            else:
                pads += [0, 0] if self.padding == "valid" else [self.padding[i]] * 2
        return tuple(pads)

    def _convolve(self, function, input):
        if self.padding_mode == "zeros":
            padding = self.padding
        else:
            input = F.pad(input, self._pads(), mode=self.padding_mode)
            padding = 0
        return function(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _output_padding(self, input, output_size):
        """The output padding that makes the output `output_size` (its last dimensions, or all of them) large."""
        if output_size is None:
            return self.output_padding
        n = self._n
        wanted = tuple(output_size)[-n:]
        if len(output_size) not in (n, tensor_of(input, type(self).__name__).ndim):
            raise ValueError(
                f"{type(self).__name__}: output_size must have {n} or {input.ndim} lengths, got {tuple(output_size)}"
            )
        smallest = [
            (input.shape[i - n] - 1) * self.stride[i]
            - 2 * self.padding[i]
            + self.dilation[i] * (self.kernel_size[i] - 1)
            + 1
            for i in range(n)
        ]
        for i in range(n):
            if not smallest[i] <= wanted[i] < smallest[i] + self.stride[i]:
                largest = tuple(low + step - 1 for low, step in zip(smallest, self.stride, strict=True))
                raise ValueError(
                    f"{type(self).__name__}: output_size {wanted} is out of reach for an input of shape {tuple(input.shape)}: "
                    f"it must be from {tuple(smallest)} to {largest}"
                )
        return tuple(want - low for want, low in zip(wanted, smallest, strict=True))

    def _convolve_transposed(self, function, input, output_size):
        extra = self._output_padding(input, output_size)
        return function(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def extra_repr(self):
        n = self._n
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        if self.padding != (0,) * n:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * n:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * n:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Plain(_ConvNd):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )


class _Transposed(_ConvNd):
    _transposed = True

    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype,
            output_padding,
        )  # fmt: skip


class Conv1d(_Plain):
    """y[n, o, i] = b[o] + sum over c, k of W[o, c, k] x[n, c, stride i + dilation k - padding].

    Shape: (N, C_in, L) or (C_in, L) -> (N, C_out, L_out), L_out = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1;
    `weight` (C_out, C_in / groups, k), `bias` (C_out).
    padding: numbers, "valid" or "same"; padding_mode: zeros, reflect, replicate, circular.
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_in / groups * k).

    >>> nn.Conv1d(2, 3, 5, padding=2)(cr.ones(1, 2, 10)).shape
    chainrule.Size([1, 3, 10])
    """

    _n = 1

    def forward(self, input):
        """(N, C_in, L) -> (N, C_out, L_out)"""
        return self._convolve(F.conv1d, input)


class Conv2d(_Plain):
    """y[n, o, i, j] = b[o] + sum over c, k, l of W[o, c, k, l] x[n, c, stride i + dilation k - padding, ... l ...].

    Shape: (N, C_in, H, W) or (C_in, H, W) -> (N, C_out, H_out, W_out), lengths as in Conv1d;
    `weight` (C_out, C_in / groups, kH, kW), `bias` (C_out).
    padding: numbers, "valid" or "same"; padding_mode: zeros, reflect, replicate, circular.
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_in / groups * kH kW). LeCun et al. (1989).

    >>> nn.Conv2d(1, 25, 3)(cr.ones(1, 1, 28, 28)).shape
    chainrule.Size([1, 25, 26, 26])
    """

    _n = 2

    def forward(self, input):
        """(N, C_in, H, W) -> (N, C_out, H_out, W_out)"""
        return self._convolve(F.conv2d, input)


class Conv3d(_Plain):
    """The convolution of Conv2d over three dimensions.

    Shape: (N, C_in, D, H, W) or (C_in, D, H, W) -> (N, C_out, D_out, H_out, W_out), lengths as in Conv1d;
    `weight` (C_out, C_in / groups, kD, kH, kW), `bias` (C_out).
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_in / groups * kD kH kW).

    >>> nn.Conv3d(1, 2, 3)(cr.ones(1, 1, 5, 5, 5)).shape
    chainrule.Size([1, 2, 3, 3, 3])
    """

    _n = 3

    def forward(self, input):
        """(N, C_in, D, H, W) -> (N, C_out, D_out, H_out, W_out)"""
        return self._convolve(F.conv3d, input)


class ConvTranspose1d(_Transposed):
    """The gradient of Conv1d with respect to its input, as a layer: each element of x adds a scaled copy of the weight to y.

    Shape: (N, C_in, L) or (C_in, L) -> (N, C_out, L_out), L_out = (L - 1) stride - 2 padding + dilation (k - 1) +
    output_padding + 1; `weight` (C_in, C_out / groups, k), `bias` (C_out). Given `output_size`, forward chooses the output padding.
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_out / groups * k).

    >>> nn.ConvTranspose1d(2, 3, 4, stride=2, padding=1)(cr.ones(1, 2, 5)).shape
    chainrule.Size([1, 3, 10])
    """

    _n = 1

    def forward(self, input, output_size=None):
        """(N, C_in, L) -> (N, C_out, L_out)"""
        return self._convolve_transposed(F.conv_transpose1d, input, output_size)


class ConvTranspose2d(_Transposed):
    """The gradient of Conv2d with respect to its input, as a layer. Zeiler et al. (2010).

    Shape: (N, C_in, H, W) or (C_in, H, W) -> (N, C_out, H_out, W_out), lengths as in ConvTranspose1d;
    `weight` (C_in, C_out / groups, kH, kW), `bias` (C_out).
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_out / groups * kH kW).

    >>> nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)(cr.ones(1, 2, 5, 5)).shape
    chainrule.Size([1, 3, 10, 10])
    """

    _n = 2

    def forward(self, input, output_size=None):
        """(N, C_in, H, W) -> (N, C_out, H_out, W_out)"""
        return self._convolve_transposed(F.conv_transpose2d, input, output_size)


class ConvTranspose3d(_Transposed):
    """The gradient of Conv3d with respect to its input, as a layer.

    Shape: (N, C_in, D, H, W) or (C_in, D, H, W) -> (N, C_out, D_out, H_out, W_out), lengths as in ConvTranspose1d;
    `weight` (C_in, C_out / groups, kD, kH, kW), `bias` (C_out).
    Initial law: weight and bias uniform on (-b, b), b = 1 / sqrt(C_out / groups * kD kH kW).

    >>> nn.ConvTranspose3d(2, 3, 2, stride=2)(cr.ones(1, 2, 2, 2, 2)).shape
    chainrule.Size([1, 3, 4, 4, 4])
    """

    _n = 3

    def forward(self, input, output_size=None):
        """(N, C_in, D, H, W) -> (N, C_out, D_out, H_out, W_out)"""
        return self._convolve_transposed(F.conv_transpose3d, input, output_size)
