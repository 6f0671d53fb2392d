"""Rows: interpolation, sampling at points, shuffles, and pooling over windows at given places."""

import numpy as np

import chainrule as cr
from chainrule.autograd.ops import fractional_pooling as windows
from chainrule.autograd.ops import resampling as ops
from chainrule.nn import functional as F
from tests.table import Row, apart, within


def resized(tag, shape, **kwargs):
    """A row of `interpolate`, compared with PyTorch's."""
    return Row("nn.functional.interpolate", F.interpolate, [shape], kwargs=kwargs, tag=tag)


def stretched(x, scale_factor):
    """What PyTorch has in place of a function that it warns of."""
    import torch

    return torch.nn.functional.interpolate(x, scale_factor=scale_factor, mode="bilinear", align_corners=True)


def sampled(tag, shape, grid, **kwargs):
    """A row of `grid_sample`, with points in and around the image."""
    kwargs = {"align_corners": False, **kwargs}
    return Row(
        "nn.functional.grid_sample", F.grid_sample, [shape, within(-1.4, 1.4, grid)], kwargs=kwargs, tag=tag
    )


def definition(x, taps):
    """The matrix written out, times x along its last axis."""
    matrix = np.zeros((taps.new_length, taps.length))
    np.add.at(matrix, (taps.rows, taps.sources), taps.weights)
    return x @ matrix.T


def located(grid, length, padding, corners):
    """By the definition: scaled to the line, then folded or cut at its ends."""
    x = (grid + 1) / 2 * (length - 1) if corners else ((grid + 1) * length - 1) / 2
    low, high = (0, length - 1) if corners else (-0.5, length - 0.5)
    if padding == "reflection":
        x = (x - low) % (2 * (high - low))
        x = np.where(x > high - low, 2 * (high - low) - x, x) + low
    return x if padding == "zeros" else np.clip(x, 0, length - 1)


def starts(u):
    """Four windows of 2 elements on a line of 10: steps of 8 / 3 from a random offset, rounded down."""
    step = 8 / 3
    return np.stack(
        [*(np.floor((i + u) * step) - np.floor(u * step) for i in range(3)), np.full(u.shape, 8.0)], axis=-1
    )


TAPS = ops.Taps(
    np.array([0, 2, 0, 3, 2, 2]), np.array([1, 0, 1, 4, 3, 3]), np.array([0.5, 2, -1, 3, 0.25, 1]), 4, 5
)
IMAGE = np.array([[[5.0, 1, 7, 2], [3, 9, 4, 8], [6, 0, 2, 1]]])[None]
STARTS = (np.array([[[0, 1]]]), np.array([[[0, 1, 2]]]))

ROWS = [
    resized("nearest", (2, 3, 5), size=8),
    resized("nearest-smaller", (1, 2, 5, 4), size=(3, 2)),
    resized("nearest-exact", (1, 2, 5, 4), scale_factor=1.7, mode="nearest-exact"),
    resized("nearest-3d", (1, 2, 3, 4, 3), scale_factor=2),
    resized("linear", (2, 3, 5), size=7, mode="linear"),
    resized("bilinear", (1, 2, 4, 5), size=(7, 3), mode="bilinear"),
    resized("corners", (1, 2, 4, 5), scale_factor=(2, 1.5), mode="bilinear", align_corners=True),
    resized("antialias", (1, 2, 9, 7), size=(3, 4), mode="bilinear", antialias=True),
    resized("bicubic", (1, 2, 4, 5), size=(7, 3), mode="bicubic"),
    resized("bicubic-antialias", (1, 2, 9, 7), size=(4, 9), mode="bicubic", antialias=True),
    resized("trilinear", (1, 2, 3, 4, 3), size=(2, 5, 4), mode="trilinear"),
    resized("area", (1, 2, 7, 5), size=(3, 4), mode="area"),
    Row("nn.functional.upsample_bilinear", F.upsample_bilinear, [(1, 2, 3, 4)], kwargs={"scale_factor": 2}, torch=stretched),
    Row(
        "resample", lambda x: ops.resample(x, taps=TAPS, axis=1), [(2, 5)], ref=lambda x: definition(x, TAPS), torch=False,
    ),
    sampled("bilinear", (2, 3, 4, 5), (2, 3, 2, 2)),
    sampled("border", (2, 3, 4, 5), (2, 3, 2, 2), padding_mode="border", align_corners=True),
    sampled("reflection", (2, 3, 4, 5), (2, 3, 2, 2), padding_mode="reflection"),
    sampled("nearest", (2, 3, 4, 5), (2, 3, 2, 2), mode="nearest"),
    sampled("bicubic", (1, 2, 4, 5), (1, 3, 2, 2), mode="bicubic"),
    sampled("bicubic-reflection", (1, 2, 4, 5), (1, 3, 2, 2), mode="bicubic", padding_mode="reflection"),
    sampled("3d", (2, 2, 3, 4, 3), (2, 2, 2, 2, 3), padding_mode="border"),
    *[
        Row(
            "locate", ops.locate, [within(-3, 3, (3, 4))],
            kwargs={"length": 4, "padding": padding, "corners": corners}, ref=located, torch=False, tag=f"{padding}-{corners}",
        )
        for padding in ("zeros", "border", "reflection")
        for corners in (True, False)
    ],
    Row(
        "locate_slope", ops.locate_slope, [within(-0.9, 0.9, (3, 4))],
        kwargs={"length": 4, "padding": "border", "corners": True}, ref=lambda x, **_: np.full((3, 4), 1.5), torch=False,
        grad=False, covers=("locate_slope",),
    ),
    Row("nn.functional.affine_grid", F.affine_grid, [(2, 2, 3)], kwargs={"size": (2, 1, 3, 4), "align_corners": False}),
    Row("nn.functional.affine_grid", F.affine_grid, [(1, 3, 4)], kwargs={"size": (1, 1, 2, 3, 2), "align_corners": True}, tag="3d"),
    Row("nn.functional.pixel_shuffle", F.pixel_shuffle, [(2, 8, 3, 2), 2]),
    Row("nn.functional.pixel_unshuffle", F.pixel_unshuffle, [(3, 4, 6), 2]),
    Row("nn.functional.channel_shuffle", F.channel_shuffle, [(2, 6, 3, 2), 3]),
    Row(
        "nn.functional.fractional_max_pool2d", F.fractional_max_pool2d, [apart((2, 2, 5, 6)), 2],
        kwargs={"output_size": (3, 4)}, torch=False,
    ),
    Row(
        "nn.functional.fractional_max_pool3d", F.fractional_max_pool3d, [apart((1, 2, 5, 4, 4)), 2],
        kwargs={"output_ratio": 0.6, "return_indices": True}, torch=False,
    ),
    Row(
        "window_starts", lambda u: windows.window_starts(u, length=10, kernel=2, size=4), [within(0, 1, (2, 3))],
        ref=starts, torch=False, grad=False, covers=("window_starts",),
    ),
    Row(
        "window_max_index",
        lambda x: windows.window_max_index(
            x, starts=tuple(cr.as_tensor(one, device=x.device)._array for one in STARTS), kernel=(2, 2)
        ),
        [IMAGE],
        torch=False,
        grad=False,
        covers=("window_max_index",),
    ),
]  # fmt: skip
