"""Rows: the factorisation of symmetric matrices that need not be definite."""

import numpy as np

from chainrule import linalg
from chainrule.autograd.functions.linalg_ldl import ldl_factor_ex
from tests.table import Row


def unpacked(packed, pivots):
    """P, L and D of one real matrix, from what LAPACK's sytrf stores: the exchanges of each step, before its column of L."""
    n = len(pivots)
    product, d, k = np.eye(n), np.zeros((n, n)), 0
    while k < n:
        width = 1 if pivots[k] > 0 else 2
        stop, other = k + width, abs(pivots[k]) - 1
        order = np.arange(n)
        order[[stop - 1, other]] = order[[other, stop - 1]]
        column = np.eye(n)
        column[stop:, k:stop] = packed[stop:, k:stop]
        product = product @ np.eye(n)[order] @ column
        block = np.tril(packed[k:stop, k:stop])
        d[k:stop, k:stop] = block + np.tril(block, -1).T
        k = stop
    return product, d


def again(found):
    """The matrices that were factored."""
    packed, pivots = (one.cpu().numpy() for one in found[:2])
    parts = [unpacked(*one) for one in zip(packed, pivots, strict=True)]
    return np.stack([p @ d @ p.T for p, d in parts])


def product(x):
    """What comes of a matrix that is factored and multiplied out."""
    return x.new_tensor(again(ldl_factor_ex(x.tril() + x.tril(-1).mT)))


def mirrored(x):
    """The lower triangle and its mirror image."""
    return np.tril(x) + np.tril(x, -1).swapaxes(-1, -2)


def solution(x, b):
    """Both steps of the solution of a system."""
    return linalg.ldl_solve(*linalg.ldl_factor(x.tril() + x.tril(-1).mT), b)


ROWS = [
    Row("linalg.ldl_factor", product, [(3, 6, 6)], ref=mirrored, torch=False, grad=False, covers=("ldl_factor",)),
    Row(
        "linalg.ldl_solve", solution, [(3, 6, 6), (6, 2)], ref=lambda x, b: np.linalg.solve(mirrored(x), b), torch=False,
        grad=False, covers=("ldl_solve",),
    ),
]  # fmt: skip
