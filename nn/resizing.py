"""Layers that resize images, and layers that move elements between channels and space."""

from . import functional as F
from .module import Module


class Upsample(Module):
    """Resize to `size`, or by `scale_factor`; see `functional.interpolate` for the modes.

    Shape: (N, C, *in) -> (N, C, *out), with one to three spatial dimensions.

    >>> nn.Upsample(scale_factor=2)(cr.tensor([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """

    def __init__(
        self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
    ):
        super().__init__()
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(float(one) for one in scale_factor)
        else:
            self.scale_factor = None if scale_factor is None else float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input):
        """(N, C, *in) -> (N, C, *out)"""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self):
        size = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{size}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Upsample with mode "nearest".

    Shape: (N, C, H, W) -> (N, C, H_out, W_out).

    >>> nn.UpsamplingNearest2d(4)(cr.ones(1, 3, 2, 2)).shape
    chainrule.Size([1, 3, 4, 4])
    """

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """Upsample with mode "bilinear" and align_corners.

    Shape: (N, C, H, W) -> (N, C, H_out, W_out).

    >>> nn.UpsamplingBilinear2d((1, 3))(cr.tensor([[[[1.0, 2.0]]]])).tolist()
    [[[[1.0, 1.5, 2.0]]]]
    """

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)


class PixelShuffle(Module):
    """Channels made into finer pixels. Shi et al. (2016).

    Shape: (*, C r^2, H, W) -> (*, C, H r, W r) with r = upscale_factor.

    >>> nn.PixelShuffle(2)(cr.tensor([[[1.0]], [[2.0]], [[3.0]], [[4.0]]])).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        """(*, C r^2, H, W) -> (*, C, H r, W r)"""
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """The inverse of PixelShuffle.

    Shape: (*, C, H r, W r) -> (*, C r^2, H, W) with r = downscale_factor.

    >>> nn.PixelUnshuffle(2)(cr.ones(3, 4, 6)).shape
    chainrule.Size([12, 2, 3])
    """

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        """(*, C, H r, W r) -> (*, C r^2, H, W)"""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of `groups` groups dealt out in turn: the first of every group, then the second. Zhang et al. (2018).

    Shape: (N, C, *) -> the same.

    >>> nn.ChannelShuffle(2)(cr.arange(4.0).reshape(1, 4, 1)).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        """(N, C, *) -> (N, C, *)"""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"
