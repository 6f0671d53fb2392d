"""Rows: basic, integer and bool indexing, gather and scatter, in-place writes."""

import numpy as np

import chainrule as cr
from chainrule.autograd import ops
from tests.table import Row, ints, mask

I3 = cr.tensor([2, 0, 2])


def read(index, **extra):
    """A row that reads x[index]."""
    return Row(
        "getitem", lambda x: x[index], [(3, 4)], ref=lambda x: x[index], torch=lambda x: x[index], **extra
    )


def written(write):
    """`write` done to a copy, in place; the copy is the result."""

    def function(x, *others):
        y = x.clone() if hasattr(x, "clone") else x.copy()
        write(y, *others)
        return y

    return function


def write(tag, action, inputs, **extra):
    return Row(
        "setitem", written(action), inputs, ref=written(action), torch=written(action), tag=tag, **extra
    )


def _set(index):
    def action(x, value):
        x[index] = value

    return action


def _through_views(x, value):
    x[0][1:] = value
    x[2] *= 3


def _transposed(x, value):
    x.T[1] = value


ROWS = [
    read((1, slice(None, None, 2)), tag="basic"),
    read((Ellipsis, None, 0), tag="ellipsis"),
    read((0, 1), tag="element"),
    Row(
        "getitem",
        lambda x, i: x[i.long()] if isinstance(i, cr.Tensor) else x[i],
        [(3, 4), ints(-3, 3, (5,))],
        ref=lambda x, i: x[i],
        torch=lambda x, i: x[i],
        tag="integers",
        covers=("take", "scatter_into"),
    ),
    Row(
        "getitem",
        lambda x, i, j: x[i, j],
        [(3, 4), ints(0, 3, (2, 1)), ints(0, 4, (3,))],
        ref=lambda x, i, j: x[i, j],
        torch=lambda x, i, j: x[i, j],
        tag="pairs",
    ),
    Row(
        "getitem",
        lambda x, m: x[m],
        [(3, 4), mask((3, 4))],
        ref=lambda x, m: x[m],
        torch=lambda x, m: x[m],
        tag="mask",
    ),
    Row(
        "getitem",
        lambda x, m: x[:, m],
        [(3, 4), mask((4,))],
        ref=lambda x, m: x[:, m],
        torch=lambda x, m: x[:, m],
        tag="columns",
    ),
    write("slice", _set((slice(None), 1)), [(3, 4), (3,)]),
    write("broadcast", _set(slice(1, None)), [(3, 4), (4,)]),
    write("scalar", lambda x: _set((0, 0))(x, 5.0), [(3, 4)]),
    write("views", _through_views, [(3, 4), (3,)]),
    write("transposed", _transposed, [(3, 4), (3,)]),
    Row(
        "setitem",
        written(lambda x, v, m: _set(m)(x, v[m])),
        [(3, 4), (3, 4), mask((3, 4))],
        ref=written(lambda x, v, m: _set(m)(x, v[m])),
        torch=written(lambda x, v, m: _set(m)(x, v[m])),
        tag="mask",
    ),
    Row(
        "setitem",
        written(lambda x, v: _set(([2, 0],))(x, v)),
        [(3, 4), (2, 4)],
        ref=written(lambda x, v: _set(([2, 0],))(x, v)),
        torch=written(lambda x, v: _set(([2, 0],))(x, v)),
        tag="rows",
        covers=("index_put",),
    ),
    Row(
        "replace",
        lambda x, v: x.clone().copy_(v),
        [(3, 4), (4,)],
        ref=lambda x, v: np.broadcast_to(v, x.shape),
        torch=lambda x, v: x.clone().copy_(v),
        covers=("write_region",),
    ),
    Row(
        "gather",
        lambda x, i: cr.gather(x, 1, i),
        [(3, 4), ints(0, 4, (3, 2))],
        ref=lambda x, i: np.take_along_axis(x, i, 1),
        torch=lambda x, i: x.gather(1, i),
    ),
    Row(
        "gather",
        lambda x, i: cr.gather(x, 0, i),
        [(3, 4), ints(0, 3, (5, 2))],
        torch=lambda x, i: x.gather(0, i),
        tag="corner",
    ),
    Row(
        "take_along_dim",
        lambda x, i: cr.take_along_dim(x, i, 1),
        [(3, 4), ints(0, 4, (1, 2))],
        torch=lambda x, i: x.take_along_dim(i, 1),
    ),
    Row(
        "scatter",
        lambda x, s: cr.scatter(x, 1, cr.tensor([[2, 0], [1, 3], [0, 1]], device=x.device), s),
        [(3, 4), (3, 2)],
        torch=lambda x, s: x.scatter(1, __import__("torch").tensor([[2, 0], [1, 3], [0, 1]]), s),
    ),
    Row(
        "scatter",
        lambda x, s: cr.scatter(x, 1, cr.tensor([[2, 0], [1, 3], [0, 1]], device=x.device), s),
        [(3, 4), (4, 3)],
        torch=False,
        tag="corner",
    ),
    Row(
        "scatter_add",
        lambda x, i, s: cr.scatter_add(x, 0, i, s),
        [(3, 4), ints(0, 3, (5, 2)), (5, 2)],
        torch=lambda x, i, s: x.scatter_add(0, i, s),
    ),
    Row(
        "scatter_add",
        lambda x, i, s: cr.scatter_add(x, 0, i, s),
        [(3, 4), ints(0, 3, (5, 2)), (5, 4)],
        torch=False,
        tag="corner",
    ),
    Row(
        "index_select",
        lambda x, i: cr.index_select(x, 1, i),
        [(3, 4), ints(0, 4, (5,))],
        ref=lambda x, i: x[:, i],
        torch=lambda x, i: x.index_select(1, i),
    ),
    Row(
        "index_add",
        lambda x, i, s: cr.index_add(x, 1, i, s),
        [(3, 4), ints(0, 4, (5,)), (3, 5)],
        torch=lambda x, i, s: x.index_add(1, i, s),
    ),
    Row(
        "index_copy",
        lambda x, s: cr.index_copy(x, 0, cr.tensor([2, 0], device=x.device), s),
        [(3, 4), (2, 4)],
        torch=lambda x, s: x.index_copy(0, __import__("torch").tensor([2, 0]), s),
    ),
    Row(
        "index_fill",
        lambda x, i: cr.index_fill(x, 1, i, 3.0),
        [(3, 4), ints(0, 4, (2,))],
        torch=lambda x, i: x.index_fill(1, i, 3.0),
    ),
    Row(
        "index_put",
        lambda x, i, v: cr.index_put(x, (i,), v, accumulate=True),
        [(3, 4), ints(0, 3, (5,)), (5, 4)],
        torch=lambda x, i, v: x.index_put((i,), v, accumulate=True),
        tag="accumulate",
    ),
    Row(
        "masked_fill",
        lambda x, m: cr.masked_fill(x, m, -1.0),
        [(3, 4), mask((4,))],
        ref=lambda x, m: np.where(m, -1.0, x),
        torch=lambda x, m: x.masked_fill(m, -1.0),
    ),
    Row("masked_select", cr.masked_select, [(3, 4), mask((3, 4))], ref=lambda x, m: x[m]),
    Row("take", cr.take, [(3, 4), ints(0, 12, (2, 3))], ref=np.take),
    Row("nonzero", cr.nonzero, [ints(0, 2, (3, 4))], ref=lambda x: np.argwhere(x), grad=False),
    Row(
        "put_region",
        lambda x: ops.put_region(x, index=(slice(1, 3),), shape=(4,)),
        [(2,)],
        ref=lambda x: np.array([0, *x, 0]),
        torch=False,
    ),
]
