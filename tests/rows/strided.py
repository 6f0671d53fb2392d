"""Rows: views by strides and windows, and copies with a strided region replaced."""

import numpy as np

import chainrule as cr
from chainrule.autograd.ops import strided
from tests.rows.indexing import written
from tests.table import Row


def _windows(x, axis, size, step):
    found = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    return np.take(found, range(0, found.shape[axis], step), axis)


def _strided(x, size, stride, offset):
    """as_strided of a contiguous array, by counting."""
    places = offset + sum(
        np.arange(n).reshape([-1 if i == axis else 1 for i in range(len(size))]) * step
        for axis, (n, step) in enumerate(zip(size, stride, strict=True))
    )
    return x.reshape(-1)[places]


def _strided_row(tag, shape, size, stride, offset):
    return Row(
        "as_strided",
        lambda x: cr.as_strided(x.contiguous(), size, stride, offset) * 1,
        [shape],
        ref=lambda x: _strided(x, size, stride, offset),
        torch=lambda x: x.as_strided(size, stride, offset),
        tag=tag,
        covers=("read_places", "add_places", "fold_windows"),
    )


def _write_strided(x):
    x.as_strided((2, 2), (5, 2), 1).mul_(3.0)


def _write_strided_array(x):
    x.reshape(-1)[_strided(np.arange(x.size), (2, 2), (5, 2), 1)] *= 3.0


def _write_windows(x):
    x.unfold(0, 2, 2)[0].mul_(3.0)


def _write_windows_array(x):
    x[:2] *= 3.0


ROWS = [
    _strided_row("corner", (3, 4), (2, 2), (4, 1), 5),
    _strided_row("overlapping", (3, 4), (3, 4, 2), (2, 1, 3), 1),
    _strided_row("repeated", (5,), (2, 3), (0, 2), 0),
    Row(
        "as_strided",
        lambda x: cr.as_strided(x.t().contiguous().t(), (3, 2), (2, 3), 1) * 1,
        [(3, 4)],
        ref=lambda x: _strided(x.T, (3, 2), (2, 3), 1),
        torch=lambda x: x.t().contiguous().t().as_strided((3, 2), (2, 3), 1),
        tag="columns",
    ),
    Row(
        "as_strided",
        lambda x: (x * 1.0).contiguous()[1].as_strided((3,), (4,), 2),
        [(3, 4)],
        ref=lambda x: x[:, 2],
        torch=False,
        tag="beyond",
    ),
    Row(
        "as_strided_scatter",
        lambda x, s: cr.as_strided_scatter(x.contiguous(), s, (2, 2), (4, 2), 1),
        [(3, 4), (2, 2)],
        ref=lambda x, s: np.stack([x[0], x[1], x[2]]) * (1 - _hole(x)) + _filled(x, s),
        torch=False,
    ),
    Row(
        "unfold",
        lambda x: x.unfold(1, 3, 1) * 1,
        [(2, 6)],
        ref=lambda x: _windows(x, 1, 3, 1),
        torch=lambda x: x.unfold(1, 3, 1),
    ),
    Row(
        "unfold",
        lambda x: x.unfold(0, 2, 3),
        [(7, 2)],
        ref=lambda x: _windows(x, 0, 2, 3),
        torch=lambda x: x.unfold(0, 2, 3),
        tag="apart",
        covers=("unfold_windows",),
    ),
    Row(
        "fold_windows",
        lambda x: strided.fold_windows(x, shape=(2, 5), axis=1, step=1),
        [(2, 3, 3)],
        torch=False,
    ),
    Row(
        "setitem",
        written(_write_strided),
        [(3, 4)],
        ref=written(_write_strided_array),
        torch=written(_write_strided),
        tag="strided",
        strided=False,
    ),
    Row(
        "setitem",
        written(_write_windows),
        [(5, 2)],
        ref=written(_write_windows_array),
        torch=written(_write_windows),
        tag="windows",
    ),
]


def _hole(x):
    out = np.zeros(x.size)
    out[[1, 3, 5, 7]] = 1
    return out.reshape(x.shape)


def _filled(x, s):
    out = np.zeros(x.size)
    out[[1, 3, 5, 7]] = s.reshape(-1)
    return out.reshape(x.shape)
