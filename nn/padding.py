"""Padding layers: a margin around the last 1, 2 or 3 dimensions.

`padding` is one number for all sides or (left, right, top, bottom, front, back), as far as there are such sides. Each length L
becomes left + L + right.
"""

from chainrule.autograd.functions.common import tensor_of

from . import functional as F
from .module import Module


class _Pad(Module):
    """Pads `_n` dimensions in `_mode`."""

    _n = 0
    _mode = "constant"

    def __init__(self, padding):
        super().__init__()
        self.padding = (padding,) * (2 * self._n) if isinstance(padding, int) else tuple(padding)
        if len(self.padding) != 2 * self._n:
            raise ValueError(
                f"{type(self).__name__}: padding must be one number or {2 * self._n}, two for each dimension, got {padding}"
            )

    def forward(self, input):
        """(N, C, *) -> (N, C, *) with longer *"""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self):
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        """(N, C, *) -> (N, C, *) with longer *"""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class ConstantPad1d(_ConstantPad):
    """A margin of `value`.

    Shape: (N, C, L) or (C, L) -> the same, longer.

    >>> nn.ConstantPad1d(1, 7.0)(cr.tensor([[[1.0, 2.0]]]))[0, 0].tolist()
    [7.0, 1.0, 2.0, 7.0]
    """

    _n = 1


class ConstantPad2d(_ConstantPad):
    """A margin of `value`.

    Shape: (N, C, H, W) or (C, H, W) -> the same, longer.

    >>> nn.ConstantPad2d(1, 7.0)(cr.ones(1, 1, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6])
    """

    _n = 2


class ConstantPad3d(_ConstantPad):
    """A margin of `value`.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same, longer.

    >>> nn.ConstantPad3d(1, 7.0)(cr.ones(1, 1, 4, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6, 6])
    """

    _n = 3


class ZeroPad1d(_ZeroPad):
    """A margin of zeros.

    Shape: (N, C, L) or (C, L) -> the same, longer.

    >>> nn.ZeroPad1d(1)(cr.tensor([[[1.0, 2.0]]]))[0, 0].tolist()
    [0.0, 1.0, 2.0, 0.0]
    """

    _n = 1


class ZeroPad2d(_ZeroPad):
    """A margin of zeros.

    Shape: (N, C, H, W) or (C, H, W) -> the same, longer.

    >>> nn.ZeroPad2d(1)(cr.ones(1, 1, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6])
    """

    _n = 2


class ZeroPad3d(_ZeroPad):
    """A margin of zeros.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same, longer.

    >>> nn.ZeroPad3d(1)(cr.ones(1, 1, 4, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6, 6])
    """

    _n = 3


class ReflectionPad1d(_Pad):
    """The margin mirrors the inside, without its border; it must be smaller than the inside.

    Shape: (N, C, L) or (C, L) -> the same, longer.

    >>> nn.ReflectionPad1d(1)(cr.tensor([[[1.0, 2.0]]]))[0, 0].tolist()
    [2.0, 1.0, 2.0, 1.0]
    """

    _n = 1
    _mode = "reflect"


class ReflectionPad2d(_Pad):
    """The margin mirrors the inside, without its border; it must be smaller than the inside.

    Shape: (N, C, H, W) or (C, H, W) -> the same, longer.

    >>> nn.ReflectionPad2d(1)(cr.ones(1, 1, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6])
    """

    _n = 2
    _mode = "reflect"


class ReflectionPad3d(_Pad):
    """The margin mirrors the inside, without its border; it must be smaller than the inside.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same, longer.

    >>> nn.ReflectionPad3d(1)(cr.ones(1, 1, 4, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6, 6])
    """

    _n = 3
    _mode = "reflect"


class ReplicationPad1d(_Pad):
    """The margin repeats the border.

    Shape: (N, C, L) or (C, L) -> the same, longer.

    >>> nn.ReplicationPad1d(1)(cr.tensor([[[1.0, 2.0]]]))[0, 0].tolist()
    [1.0, 1.0, 2.0, 2.0]
    """

    _n = 1
    _mode = "replicate"


class ReplicationPad2d(_Pad):
    """The margin repeats the border.

    Shape: (N, C, H, W) or (C, H, W) -> the same, longer.

    >>> nn.ReplicationPad2d(1)(cr.ones(1, 1, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6])
    """

    _n = 2
    _mode = "replicate"


class ReplicationPad3d(_Pad):
    """The margin repeats the border.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same, longer.

    >>> nn.ReplicationPad3d(1)(cr.ones(1, 1, 4, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6, 6])
    """

    _n = 3
    _mode = "replicate"


class _CircularPad(_Pad):
    _mode = "circular"

    def forward(self, input):
        """(N, C, *) or (C, *) -> the same with longer *"""
        if tensor_of(input, type(self).__name__).ndim not in (self._n + 1, self._n + 2):
            raise ValueError(
                f"{type(self).__name__}: expected {self._n + 1} or {self._n + 2} dimensions, got shape {tuple(input.shape)}"
            )
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """The margin continues with the opposite side; it must not be larger than the inside.

    Shape: (N, C, L) or (C, L) -> the same, longer.

    >>> nn.CircularPad1d(1)(cr.tensor([[[1.0, 2.0]]]))[0, 0].tolist()
    [2.0, 1.0, 2.0, 1.0]
    """

    _n = 1


class CircularPad2d(_CircularPad):
    """The margin continues with the opposite side; it must not be larger than the inside.

    Shape: (N, C, H, W) or (C, H, W) -> the same, longer.

    >>> nn.CircularPad2d(1)(cr.ones(1, 1, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6])
    """

    _n = 2


class CircularPad3d(_CircularPad):
    """The margin continues with the opposite side; it must not be larger than the inside.

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same, longer.

    >>> nn.CircularPad3d(1)(cr.ones(1, 1, 4, 4, 4)).shape
    chainrule.Size([1, 1, 6, 6, 6])
    """

    _n = 3
