"""Moves of elements between channels and space; permutations all, and so are their derivatives."""

import math
import operator

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of


def _image(input, factor, name, what):
    x = tensor_of(input, name)
    try:
        factor = operator.index(factor)
    except TypeError:
        raise TypeError(f"{name}: {what} must be an int, got {factor!r}") from None
    if x.ndim < 3:
        raise RuntimeError(f"{name}: expected an input (*, C, H, W), got shape {tuple(x.shape)}")
    if factor < 1:
        raise RuntimeError(f"{name}: {what} must be positive, got {factor}")
    return x, factor, tuple(x.shape[:-3]), tuple(x.shape[-3:])


def pixel_shuffle(input, upscale_factor):
    """Channels made into finer pixels, r = upscale_factor. (*, C r^2, H, W) -> (*, C, H r, W r). Shi et al. 2016.

    out[c, h r + i, w r + j] = in[c r^2 + i r + j, h, w].
    """
    x, r, lead, (c, h, w) = _image(input, upscale_factor, "pixel_shuffle", "upscale_factor")
    if c % (r * r):
        raise RuntimeError(
            f"pixel_shuffle: the number of channels must be divisible by upscale_factor^2 = {r * r}, got shape {tuple(x.shape)}"
        )
    n = len(lead)
    blocks = ops.reshape(x, (*lead, c // (r * r), r, r, h, w))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return ops.reshape(ops.transpose(blocks, order), (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input, downscale_factor):
    """The inverse of `pixel_shuffle`, r = downscale_factor. (*, C, H r, W r) -> (*, C r^2, H, W)."""
    x, r, lead, (c, h, w) = _image(input, downscale_factor, "pixel_unshuffle", "downscale_factor")
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle: height and width must be divisible by downscale_factor={r}, got shape {tuple(x.shape)}"
        )
    n = len(lead)
    blocks = ops.reshape(x, (*lead, c, h // r, r, w // r, r))
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return ops.reshape(ops.transpose(blocks, order), (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input, groups):
    """Channels of `groups` groups dealt out in turn: the first of every group, then the second. (N, C, *) -> (N, C, *).

    Zhang et al. 2018, "ShuffleNet".
    """
    x = tensor_of(input, "channel_shuffle")
    if x.ndim < 3:
        raise RuntimeError(f"channel_shuffle: expected an input (N, C, *), got shape {tuple(x.shape)}")
    if groups < 1 or x.shape[1] % groups:
        raise RuntimeError(
            f"channel_shuffle: groups must divide the number of channels {x.shape[1]} (shape {tuple(x.shape)}), got {groups}"
        )
    n, c = x.shape[:2]
    parts = ops.reshape(x, (n, groups, c // groups, math.prod(x.shape[2:])))
    return ops.reshape(ops.swapaxes(parts, 1, 2), tuple(x.shape))


def native_channel_shuffle(input, groups):
    """`channel_shuffle`."""
    return channel_shuffle(input, groups)
