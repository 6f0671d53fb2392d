"""Rows: splitting, stacking, turning, writing into a slice of a copy, copies of views."""

import numpy as np

import chainrule as cr
from tests.table import Row, ints


def _torch(name):
    """PyTorch's function of that name, looked up when it is called."""

    def function(*args, **kwargs):
        import torch

        return getattr(torch, name)(*args, **kwargs)

    return function


def _put(index):
    """A copy of x with s at x[index]."""

    def function(x, s):
        out = x.copy()
        out[index] = s
        return out

    return function


def _diagonal_put(x, s):
    out = x.copy()
    out[np.arange(3), np.arange(3) + 1] = s
    return out


def simple(name, inputs, ref, *args, tag="", **extra):
    """A row of a function of all inputs (or, for a stack, of their list) and fixed further arguments."""
    return Row(
        name,
        lambda *xs: getattr(cr, name)(*xs, *args),
        inputs,
        ref=ref,
        torch=lambda *xs: _torch(name)(*xs, *args),
        tag=tag,
        **extra,
    )


def stacked(name, inputs, ref):
    return Row(
        name,
        lambda *xs: getattr(cr, name)(xs),
        inputs,
        ref=lambda *xs: ref(xs),
        torch=lambda *xs: _torch(name)(xs),
    )


ROWS = [
    simple("tensor_split", [(3, 7)], lambda x: tuple(np.array_split(x, 3, 1)), 3, 1),
    simple("tensor_split", [(7, 2)], lambda x: (x[:2], x[2:5], x[5:]), (2, 5), tag="places"),
    simple("hsplit", [(3, 4)], lambda x: tuple(np.hsplit(x, 2)), 2),
    simple("vsplit", [(4, 3)], lambda x: tuple(np.vsplit(x, 2)), 2),
    simple("dsplit", [(2, 3, 4)], lambda x: tuple(np.dsplit(x, [1, 3])), [1, 3]),
    simple("split_with_sizes", [(3, 4)], lambda x: (x[:, :1], x[:, 1:]), [1, 3], 1),
    simple("unsafe_chunk", [(4, 3)], lambda x: (x[:2], x[2:]), 2),
    stacked("dstack", [(2, 3), (2, 3)], np.dstack),
    stacked("column_stack", [(3,), (3, 2)], np.column_stack),
    stacked("row_stack", [(3,), (2, 3)], np.vstack),
    simple("atleast_3d", [(2, 3)], np.atleast_3d),
    simple("fliplr", [(3, 4)], np.fliplr),
    simple("flipud", [(3, 4)], np.flipud),
    simple("rot90", [(2, 3, 4)], lambda x: np.rot90(x, 3, (0, 2)), 3, (0, 2)),
    simple("rot90", [(3, 4)], lambda x: np.rot90(x, -6), -6, tag="half"),
    simple("diagflat", [(2, 2)], lambda x: np.diagflat(x, -1), -1),
    simple("select_scatter", [(3, 4), (3,)], _put((slice(None), -2)), 1, -2),
    simple("slice_scatter", [(3, 7), (3, 3)], _put((slice(None), slice(1, 7, 2))), 1, 1, None, 2),
    simple("diagonal_scatter", [(4, 4), (3,)], _diagonal_put, 1),
    simple(
        "constant_pad_nd",
        [(3, 4)],
        lambda x: np.pad(x[1:], ((0, 1), (2, 0)), constant_values=1.5),
        (2, 0, -1, 1),
        1.5,
    ),
    Row(
        "sum_to_size",
        lambda x: x.sum_to_size(3, 1),
        [(2, 3, 4)],
        ref=lambda x: x.sum((0, 2)).reshape(3, 1),
        torch=lambda x: x.sum_to_size(3, 1),
    ),
    simple("narrow_copy", [(3, 4)], lambda x: x[:, 1:3], 1, 1, 2),
    simple("permute_copy", [(2, 3, 4)], lambda x: x.transpose(2, 0, 1), (2, 0, 1)),
    simple("unbind_copy", [(3, 2)], lambda x: (x[:, 0], x[:, 1]), 1),
    simple(
        "unravel_index",
        [ints(0, 24, (5,))],
        lambda i: np.unravel_index(i, (2, 3, 4)),
        (2, 3, 4),
        grad=False,
    ),
]
