"""Rows: max, average, adaptive and p-norm pooling, unpooling, and the operations they are made of."""

import itertools
import math

import numpy as np

import chainrule as cr
from chainrule.autograd.ops import pooling as ops
from chainrule.nn.functional import pooling as F
from tests.table import Row, apart, fixed, ints, positive

from .convolution import each


def windows(x, kernel_size, stride, padding, dilation, ceil_mode):
    """By the definition: the output's shape, and for each place the elements of its window and their flat places."""
    n = x.ndim - 2
    lengths, kernel = x.shape[2:], each(kernel_size, n)
    stride = kernel if stride is None else each(stride, n)
    padding, dilation = each(padding, n), each(dilation, n)
    size = []
    for m, k, s, p, d in zip(lengths, kernel, stride, padding, dilation, strict=True):
        fits = (m + 2 * p - d * (k - 1) - 1) / s
        count = (math.ceil(fits) if ceil_mode else math.floor(fits)) + 1
        size.append(count - 1 if ceil_mode and (count - 1) * s >= m + p else count)
    flat = np.arange(math.prod(lengths)).reshape(lengths)
    found = []
    for place in itertools.product(*map(range, size)):
        geometry = zip(place, kernel, stride, padding, dilation, lengths, strict=True)
        grid = np.ix_(
            *(
                [i for i in range(o * s - p, o * s - p + d * k, d) if 0 <= i < m]
                for o, k, s, p, d, m in geometry
            )
        )
        geometry = zip(place, kernel, stride, padding, lengths, strict=True)
        padded = math.prod(min(o * s - p + k, m + p) - (o * s - p) for o, k, s, p, m in geometry)
        found.append((place, x[(..., *grid)].reshape(*x.shape[:2], -1), flat[grid].ravel(), padded))
    return (*x.shape[:2], *size), found


def adaptive_windows(x, output_size):
    """The same for adaptive pooling."""
    n = x.ndim - 2
    lengths = x.shape[2:]
    size = [m if one is None else one for m, one in zip(lengths, each(output_size, n), strict=True)]
    flat = np.arange(math.prod(lengths)).reshape(lengths)
    found = []
    for place in itertools.product(*map(range, size)):
        bounds = zip(place, size, lengths, strict=True)
        grid = np.ix_(*(range(i * m // s, math.ceil((i + 1) * m / s)) for i, s, m in bounds))
        seen = x[(..., *grid)].reshape(*x.shape[:2], -1)
        found.append((place, seen, flat[grid].ravel(), seen.shape[2]))
    return (*x.shape[:2], *size), found


def largest(shape, found, indices):
    y, where = np.zeros(shape), np.zeros(shape, int)
    for place, seen, flat, _ in found:
        y[(..., *place)] = seen.max(2)
        where[(..., *place)] = flat[seen.argmax(2)]
    return (y, where) if indices else y


def max_pool(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    return largest(*windows(x, kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def adaptive_max_pool(x, output_size, return_indices=False):
    return largest(*adaptive_windows(x, output_size), return_indices)


def avg_pool(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    shape, found = windows(x, kernel_size, stride, padding, 1, ceil_mode)
    y = np.zeros(shape)
    for place, seen, _, padded in found:
        y[(..., *place)] = seen.sum(2) / (
            divisor_override or (padded if count_include_pad else seen.shape[2])
        )
    return y


def adaptive_avg_pool(x, output_size):
    shape, found = adaptive_windows(x, output_size)
    y = np.zeros(shape)
    for place, seen, _, _ in found:
        y[(..., *place)] = seen.mean(2)
    return y


def lp_pool(x, norm_type, kernel_size, stride=None):
    shape, found = windows(x, kernel_size, stride, 0, 1, False)
    y = np.zeros(shape)
    for place, seen, _, _ in found:
        y[(..., *place)] = (seen**norm_type).sum(2) ** (1 / norm_type)
    return y


def row(name, shape, tag="", **kwargs):
    """A row of one of the functions with its definition, on elements that are all distinct."""
    ref = globals()[name[:-2]]
    return Row(f"nn.functional.{name}", getattr(F, name), [apart(shape)], kwargs=kwargs, ref=ref, tag=tag)


POSITIONS = np.array([[[[3, 1], [6, 11]], [[0, 5], [10, 9]]]])
REPEATED = np.array([[[[3, 3], [3, 11]], [[0, 5], [0, 9]]]])
OVERLAPPING = {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}

ROWS = [
    row("max_pool1d", (2, 3, 8), kernel_size=2),
    row(
        "max_pool1d",
        (2, 2, 9),
        "dilated",
        kernel_size=3,
        stride=2,
        padding=1,
        dilation=2,
        return_indices=True,
    ),
    row("max_pool2d", (2, 3, 4, 6), kernel_size=2),
    row("max_pool2d", (1, 2, 5, 7), "indices", kernel_size=2, return_indices=True),
    row("max_pool2d", (1, 2, 6, 7), "overlapping", kernel_size=3, stride=(2, 1), padding=1),
    row("max_pool2d", (1, 2, 6, 7), "ceil", kernel_size=(3, 2), stride=2, padding=(1, 0), ceil_mode=True),
    row("max_pool2d", (1, 2, 5, 4), "gaps", kernel_size=1, stride=(3, 2)),
    row("max_pool3d", (1, 2, 4, 4, 5), kernel_size=(2, 2, 3), return_indices=True),
    row("max_pool3d", (1, 2, 3, 4, 4), "overlapping", kernel_size=2, stride=1, padding=1, ceil_mode=True),
    Row(
        "nn.functional.max_unpool1d",
        F.max_unpool1d,
        [(1, 2, 3), np.array([[[1, 2, 5], [0, 3, 4]]]), 2],
        ref=None,
    ),
    Row(
        "nn.functional.max_unpool2d",
        F.max_unpool2d,
        [(1, 2, 2, 2), POSITIONS, 2],
        kwargs={"output_size": (3, 4)},
    ),
    Row("nn.functional.max_unpool3d", F.max_unpool3d, [(1, 2, 1, 2, 2), POSITIONS[:, :, None], 2, 2]),
    row("avg_pool1d", (2, 3, 8), kernel_size=3, stride=2, padding=1),
    row(
        "avg_pool1d",
        (2, 3, 8),
        "ceil",
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    row("avg_pool2d", (2, 3, 4, 6), kernel_size=2),
    row("avg_pool2d", (1, 2, 6, 7), "ceil", kernel_size=3, stride=(2, 3), padding=1, ceil_mode=True),
    row("avg_pool2d", (1, 2, 6, 5), "uncounted", kernel_size=3, stride=2, padding=1, count_include_pad=False),
    row("avg_pool2d", (1, 2, 6, 5), "divisor", kernel_size=(2, 3), stride=1, divisor_override=4),
    row("avg_pool3d", (1, 2, 4, 3, 5), kernel_size=2, padding=(0, 1, 1)),
    row("adaptive_avg_pool1d", (2, 3, 7), output_size=3),
    row("adaptive_avg_pool1d", (1, 2, 20), "long", output_size=3),
    row("adaptive_avg_pool2d", (1, 2, 6, 5), output_size=(4, None)),
    row("adaptive_avg_pool2d", (1, 2, 6, 4), "even", output_size=(3, 2)),
    row("adaptive_avg_pool2d", (2, 3, 4, 5), "global", output_size=1),
    row("adaptive_avg_pool2d", (1, 2, 2, 3), "larger", output_size=(3, 5)),
    row("adaptive_avg_pool3d", (1, 2, 3, 4, 5), output_size=(2, 2, 3)),
    row("adaptive_max_pool1d", (2, 3, 7), output_size=3),
    row("adaptive_max_pool2d", (1, 2, 6, 5), output_size=(4, None), return_indices=True),
    row("adaptive_max_pool2d", (1, 2, 6, 4), "even", output_size=(3, 2), return_indices=True),
    row("adaptive_max_pool2d", (2, 3, 4, 5), "global", output_size=1),
    row("adaptive_max_pool3d", (1, 2, 3, 4, 5), output_size=(2, 2, 3), return_indices=True),
    Row(
        "nn.functional.lp_pool1d", F.lp_pool1d, [positive((2, 3, 7)), 2, 3], kwargs={"stride": 2}, ref=lp_pool
    ),
    Row("nn.functional.lp_pool2d", F.lp_pool2d, [positive((1, 2, 5, 6)), 3, 2], ref=lp_pool),
    Row(
        "avg_unpool",
        lambda v: ops.avg_unpool(v, size=(5, 4), count_padding=False, **OVERLAPPING),
        [(1, 2, 3, 3)],
        torch=False,
    ),
    Row(
        "adaptive_avg_unpool", lambda v: ops.adaptive_avg_unpool(v, size=(7, 4)), [(1, 2, 3, 3)], torch=False
    ),
    Row(
        "pool_gather",
        lambda x: ops.pool_gather(x, cr.as_tensor(REPEATED, device=x.device)),
        [(1, 2, 3, 4)],
        ref=lambda x: np.take_along_axis(x.reshape(1, 2, 12), REPEATED.reshape(1, 2, 4), 2).reshape(
            1, 2, 2, 2
        ),
        torch=False,
    ),
    Row(
        "unpool",
        lambda x: ops.unpool(x, cr.as_tensor(REPEATED, device=x.device), size=(3, 4)),
        [fixed([[[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]])],
        ref=lambda x: np.array(
            [0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 4, 12, 0, 0, 0, 0, 6, 0, 0, 0, 8, 0, 0.0]
        ).reshape(1, 2, 3, 4),
        torch=False,
    ),
    Row(
        "max_pool_index",
        lambda x: ops.max_pool_index(x, dilation=(1, 1), size=(2, 3), **OVERLAPPING),
        [ints(0, 3, (2, 2, 3, 4))],
        ref=lambda x: max_pool(x, (3, 2), (2, 1), (1, 0), return_indices=True)[1],
        torch=False,
        grad=False,
        covers=("max_pool_index",),
    ),
    Row(
        "adaptive_max_index",
        lambda x: ops.adaptive_max_index(x, size=(2, 3)),
        [ints(0, 3, (2, 2, 3, 4))],
        ref=lambda x: adaptive_max_pool(x, (2, 3), True)[1],
        torch=False,
        grad=False,
        covers=("adaptive_max_index",),
    ),
]
