"""Rows: convolution, transposed convolution, and the columns they are made of."""

import itertools
import warnings

import numpy as np

from chainrule.autograd.ops import convolution as ops
from chainrule.nn.functional import convolution as F
from tests.table import Row


def each(value, n):
    return (value,) * n if isinstance(value, int) else tuple(value)


def meetings(size, kernel, stride, padding, dilation):
    """(place of the output, tap of the kernel, place of the input, which may lie outside) by the definition."""
    for place in itertools.product(*map(range, size)):
        for tap in itertools.product(*map(range, kernel)):
            geometry = zip(place, stride, tap, dilation, padding, strict=True)
            yield place, tap, tuple(o * s + t * d - p for o, s, t, d, p in geometry)


def inside(place, lengths):
    return all(0 <= one < length for one, length in zip(place, lengths, strict=True))


def correlate(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolution written out, one product of numbers after the other."""
    n = x.ndim - 2
    kernel, lengths = w.shape[2:], x.shape[2:]
    stride, dilation = each(stride, n), each(dilation, n)
    extents = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "same":
        before, size = [one // 2 for one in extents], lengths
    else:
        before = each(padding, n)
        size = [
            (m + 2 * p - e - 1) // s + 1 for m, p, e, s in zip(lengths, before, extents, stride, strict=True)
        ]
    y = np.zeros((len(x), len(w), *size))
    seen, made = w.shape[1], len(w) // groups
    for place, tap, source in meetings(size, kernel, stride, before, dilation):
        if inside(source, lengths):
            for o in range(len(w)):
                channels = slice(o // made * seen, (o // made + 1) * seen)
                y[(slice(None), o, *place)] += x[(slice(None), channels, *source)] @ w[(o, slice(None), *tap)]
    return y if b is None else y + b.reshape(-1, *[1] * n)


def spread(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Transposed convolution written out: every element adds its multiple of the kernel."""
    n = x.ndim - 2
    kernel, stride, dilation, padding = w.shape[2:], each(stride, n), each(dilation, n), each(padding, n)
    size = [
        (m - 1) * s - 2 * p + d * (k - 1) + e + 1
        for m, s, p, d, k, e in zip(
            x.shape[2:], stride, padding, dilation, kernel, each(output_padding, n), strict=True
        )
    ]
    made, seen = w.shape[1], len(w) // groups
    y = np.zeros((len(x), made * groups, *size))
    for place, tap, target in meetings(x.shape[2:], kernel, stride, padding, dilation):
        if inside(target, size):
            for c in range(len(w)):
                channels = slice(c // seen * made, (c // seen + 1) * made)
                y[(slice(None), channels, *target)] += np.outer(
                    x[(slice(None), c, *place)], w[(c, slice(None), *tap)]
                )
    return y if b is None else y + b.reshape(-1, *[1] * n)


def columns(x, kernel_size, dilation=1, padding=0, stride=1):
    """`unfold` written out."""
    kernel, stride, dilation, padding = (each(one, 2) for one in (kernel_size, stride, dilation, padding))
    size = [
        (m + 2 * p - d * (k - 1) - 1) // s + 1
        for m, p, d, k, s in zip(x.shape[2:], padding, dilation, kernel, stride, strict=True)
    ]
    y = np.zeros((*x.shape[:2], *kernel, *size))
    for place, tap, source in meetings(size, kernel, stride, padding, dilation):
        if inside(source, x.shape[2:]):
            y[(slice(None), slice(None), *tap, *place)] = x[(slice(None), slice(None), *source)]
    return y.reshape(len(x), x.shape[1] * kernel[0] * kernel[1], size[0] * size[1])


def row(name, inputs, tag="", torch=None, **kwargs):
    """A row of one of the functions with its definition."""
    ref = spread if "transpose" in name else correlate
    return Row(
        f"nn.functional.{name}", getattr(F, name), inputs, kwargs=kwargs, ref=ref, torch=torch, tag=tag
    )


def torch_same(x, w, padding, dilation=1):
    """PyTorch's conv2d without its warning that it copies the input."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.nn.functional.conv2d(x, w, padding=padding, dilation=dilation)


WINDOW = {"kernel": (2, 3), "stride": (2, 1), "padding": (1, 1), "dilation": (1, 2)}
GEOMETRY = {"stride": (2, 1), "padding": (1, -1), "dilation": (1, 2), "groups": 2}

ROWS = [
    row("conv1d", [(2, 3, 7), (4, 3, 3), (4,)]),
    row("conv1d", [(2, 4, 9), (6, 2, 2)], "grouped", stride=3, padding=2, dilation=2, groups=2),
    row("conv1d", [(1, 16, 6), (2, 16, 3)], "wide", padding=1),
    row("conv2d", [(2, 3, 5, 6), (4, 3, 3, 2), (4,)]),
    row(
        "conv2d",
        [(1, 2, 6, 7), (3, 2, 3, 3), (3,)],
        "strided",
        stride=(2, 3),
        padding=(1, 2),
        dilation=(2, 1),
    ),
    row("conv2d", [(1, 2, 5, 4), (3, 2, 2, 3)], "same", torch_same, padding="same"),
    row("conv2d", [(1, 2, 5, 5), (2, 2, 2, 4)], "same-dilated", torch_same, padding="same", dilation=(3, 1)),
    row("conv2d", [(2, 4, 4, 5), (4, 1, 3, 3)], "depthwise", padding=1, groups=4),
    row("conv2d", [(2, 3, 3, 4), (5, 3, 1, 1), (5,)], "pointwise"),
    row("conv2d", [(2, 4, 3, 4), (4, 2, 1, 1)], "pointwise-strided", stride=2, groups=2),
    row("conv2d", [(2, 12, 5, 4), (3, 12, 3, 3)], "wide", padding=1),
    row(
        "conv2d",
        [(1, 12, 8, 5), (3, 12, 3, 3)],
        "wide-dilated",
        padding=(2, 1),
        dilation=(2, 1),
        stride=(1, 2),
    ),
    row("conv2d", [(1, 1, 4, 4), (7, 1, 2, 2)], "many-filters"),
    row("conv3d", [(1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (2,)]),
    row(
        "conv3d", [(1, 2, 4, 3, 5), (4, 1, 2, 1, 3)], "grouped", stride=(2, 1, 2), padding=(1, 0, 2), groups=2
    ),
    row("conv_transpose1d", [(2, 3, 4), (3, 2, 3), (2,)]),
    row("conv_transpose1d", [(1, 2, 4), (2, 3, 2)], "dilated", dilation=3, output_padding=2, padding=1),
    row("conv_transpose2d", [(2, 3, 3, 4), (3, 2, 3, 3), (2,)], stride=2, padding=1, output_padding=1),
    row(
        "conv_transpose2d", [(1, 4, 3, 3), (4, 2, 2, 3)], "grouped", stride=(1, 2), groups=2, dilation=(2, 1)
    ),
    row("conv_transpose2d", [(1, 3, 3, 4), (3, 2, 1, 1), (2,)], "pointwise"),
    row("conv_transpose3d", [(1, 2, 2, 2, 2), (2, 2, 2, 1, 3), (2,)], stride=(2, 1, 1), padding=(0, 0, 1)),
    Row(
        "conv_weight",
        lambda x, v: ops.conv_weight(x, v, size=(3, 2), **GEOMETRY),
        [(2, 4, 7, 6), (2, 6, 4, 2)],
        torch=False,
    ),
    Row(
        "conv_input",
        lambda v, w: ops.conv_input(v, w, size=(7, 6), **GEOMETRY),
        [(2, 6, 4, 2), (6, 2, 3, 2)],
        torch=False,
    ),
    Row("nn.functional.unfold", F.unfold, [(2, 2, 4, 5)], kwargs={"kernel_size": (2, 3)}, ref=columns),
    Row(
        "nn.functional.unfold",
        F.unfold,
        [(1, 2, 5, 6)],
        kwargs={"kernel_size": 3, "dilation": (1, 2), "padding": (2, 1), "stride": (2, 1)},
        ref=columns,
        tag="strided",
    ),
    Row("nn.functional.fold", F.fold, [(2, 12, 9)], kwargs={"output_size": (4, 5), "kernel_size": (2, 3)}),
    Row(
        "nn.functional.fold",
        F.fold,
        [(1, 9, 16)],
        kwargs={
            "output_size": (5, 6),
            "kernel_size": 3,
            "dilation": (1, 2),
            "padding": (2, 1),
            "stride": (2, 1),
        },
        tag="strided",
    ),
    Row("im2col", lambda x: ops.im2col(x, size=(3, 4), **WINDOW), [(1, 2, 5, 6)], torch=False),
    Row(
        "col2im",
        lambda x: ops.col2im(x, size=(5, 6), places=(3, 4), **WINDOW),
        [(1, 12, 12)],
        torch=False,
    ),
]
