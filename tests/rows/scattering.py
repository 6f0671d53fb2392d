"""Rows: scattering with a reduction, masked_scatter, put."""

import warnings

import numpy as np

import chainrule as cr
from tests.table import Row, fixed, ints, mask

ROWS_TO = np.array([[2, 0, 1, 2], [2, 0, 0, 1], [2, 2, 1, 1], [0, 2, 1, 2], [0, 2, 0, 2]])
LINES = np.array([2, 0, 2, 2, 0])
PLAIN = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}


def _reduced(how, include_self):
    """scatter_reduce along dimension 0, place by place."""

    def function(x, source):
        out = x.copy()
        for row, column in np.ndindex(x.shape):
            sent = [source[i, column] for i in range(len(source)) if ROWS_TO[i, column] == row]
            if sent:
                out[row, column] = PLAIN[how]([*([x[row, column]] if include_self else []), *sent])
        return out

    return function


def _row(how, include_self, inputs, tag, **extra):
    return Row(
        "scatter_reduce",
        lambda x, s: cr.scatter_reduce(
            x, 0, cr.tensor(ROWS_TO[:, : s.shape[-1]], device=x.device), s, how, include_self=include_self
        ),
        inputs,
        ref=_reduced(how, include_self),
        torch=lambda x, s: x.scatter_reduce(
            0, __import__("torch").tensor(ROWS_TO[:, : s.shape[-1]]), s, how, include_self=include_self
        ),
        tag=tag,
        **extra,
    )


def _lines(how, include_self, inputs, tag):
    return Row(
        "index_reduce",
        lambda x, s: cr.index_reduce(
            x, 1, cr.tensor(LINES, device=x.device), s, how, include_self=include_self
        ),
        inputs,
        torch=lambda x, s: _theirs(x, s, how, include_self),
        tag=tag,
    )


def _theirs(x, source, how, include_self):
    """PyTorch's, which warns that it may change."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return x.index_reduce(1, torch.tensor(LINES), source, how, include_self=include_self)


# Two zeros meet in the first column (with the input's, three in the second), one in the last: every partial product there is.
ZEROS = np.random.default_rng(0).uniform(0.5, 2, (5, 4))
ZEROS[[0, 1, 1, 3], [0, 0, 1, 3]] = 0.0
START = np.random.default_rng(1).uniform(0.5, 2, (3, 4))
START[0, 1] = 0.0

# Values no two of which are near each other, in the input and the source together.
APART = np.random.default_rng(2).permutation(32) * 0.37 - 5.0
DISTINCT = [fixed(APART[:12].reshape(3, 4)), fixed(APART[12:].reshape(5, 4))]
FLAT = [fixed(APART[:8].reshape(2, 4)), fixed(APART[12:22].reshape(2, 5))]

ROWS = [
    *[
        _row(how, with_self, [(3, 4), (5, 4)], f"{how}{'' if with_self else '-alone'}")
        for how in ("sum", "prod", "mean")
        for with_self in (True, False)
    ],
    *[
        _row(how, with_self, DISTINCT, f"{how}{'' if with_self else '-alone'}")
        for how in ("amax", "amin")
        for with_self in (True, False)
    ],
    Row(
        "scatter_reduce",
        lambda x, s: cr.scatter_reduce(x, 0, cr.tensor(ROWS_TO, device=x.device), s, "prod"),
        [fixed(START), fixed(ZEROS)],
        ref=_reduced("prod", True),
        torch=False,  # PyTorch refuses the second derivative at two zeros
        tag="zeros",
    ),
    Row(
        "scatter_reduce",
        lambda x, s: cr.scatter_reduce(x, 1, cr.tensor([[1, 1, 0]], device=x.device), s, "amax"),
        [DISTINCT[0], fixed(APART[12:18].reshape(2, 3))],
        torch=lambda x, s: x.scatter_reduce(1, __import__("torch").tensor([[1, 1, 0]]), s, "amax"),
        tag="corner",
        covers=("group_extreme",),
    ),
    *[_lines(how, True, FLAT, how) for how in ("prod", "mean", "amax", "amin")],
    _lines("prod", False, [(2, 4), (2, 5)], "prod-alone"),
    Row(
        "scatter",
        lambda x, s: cr.scatter(
            x, 1, cr.tensor([[2, 0], [1, 1], [0, 1]], device=x.device), s, reduce="multiply"
        ),
        [(3, 4), (3, 2)],
        torch=False,
        tag="multiply",
    ),
    Row(
        "masked_scatter",
        lambda x, m, s: cr.masked_scatter(x, m, s),
        [(3, 4), mask((4,)), (3, 5)],
        torch=lambda x, m, s: x.masked_scatter(m, s),
    ),
    Row(
        "put",
        lambda x, s: cr.put(x, cr.tensor([[5, -1], [0, 7]], device=x.device), s),
        [(3, 4), (4,)],
        torch=lambda x, s: x.put(__import__("torch").tensor([[5, -1], [0, 7]]), s),
    ),
    Row(
        "put",
        lambda x, i, s: cr.put(x, i, s, accumulate=True),
        [(3, 4), ints(-12, 12, (6,)), (2, 3)],
        torch=lambda x, i, s: x.put(i, s, accumulate=True),
        tag="accumulate",
    ),
    Row(
        "nonzero_static",
        lambda x: cr.nonzero_static(x, size=20),
        [ints(0, 2, (3, 4))],
        ref=lambda x: np.concatenate([np.argwhere(x), np.full((20 - np.count_nonzero(x), 2), -1)]),
        torch=lambda x: __import__("torch").nonzero_static(x, size=20),
        grad=False,
    ),
]
