"""Rows: matrix products and einsum."""

import numpy as np

import chainrule as cr
from tests.table import Row


def es(equation, *shapes, tag=None):
    return Row(
        "einsum",
        lambda *xs: cr.einsum(equation, *xs),
        list(shapes),
        ref=lambda *xs: np.einsum(equation, *xs),
        torch=lambda *xs: __import__("torch").einsum(equation, *xs),
        tag=tag or equation,
    )


ROWS = [
    Row("matmul", cr.matmul, [(3, 4), (4, 2)], ref=np.matmul),
    Row("matmul", cr.matmul, [(2, 1, 3, 4), (5, 4, 2)], ref=np.matmul, tag="batched"),
    Row("matmul", cr.matmul, [(4,), (4, 2)], ref=np.matmul, tag="vector-matrix"),
    Row("matmul", cr.matmul, [(2, 3, 4), (4,)], ref=np.matmul, tag="matrix-vector"),
    Row("matmul", cr.matmul, [(4,), (4,)], ref=np.matmul, tag="vectors"),
    Row("mm", cr.mm, [(3, 4), (4, 2)], ref=np.matmul),
    Row("bmm", cr.bmm, [(2, 3, 4), (2, 4, 2)], ref=np.matmul),
    Row("mv", cr.mv, [(3, 4), (4,)], ref=np.matmul),
    Row("dot", cr.dot, [(4,), (4,)], ref=np.dot),
    Row("outer", cr.outer, [(3,), (4,)], ref=np.outer),
    Row("inner", cr.inner, [(2, 4), (3, 4)], ref=np.inner),
    Row("addmm", cr.addmm, [(2,), (3, 4), (4, 2)], kwargs={"beta": 0.5, "alpha": 2}),
    Row("baddbmm", cr.baddbmm, [(2, 3, 2), (2, 3, 4), (2, 4, 2)]),
    Row("tensordot", cr.tensordot, [(2, 3, 4), (3, 4, 5)], ref=lambda a, b: np.tensordot(a, b, 2)),
    Row(
        "tensordot",
        lambda a, b: cr.tensordot(a, b, ([0, 2], [1, 0])),
        [(2, 3, 4), (4, 2, 5)],
        ref=lambda a, b: np.tensordot(a, b, ([0, 2], [1, 0])),
        torch=lambda a, b: __import__("torch").tensordot(a, b, ([0, 2], [1, 0])),
        tag="dims",
    ),
    es("ij,jk->ik", (3, 4), (4, 2)),
    es("bij,bjk", (2, 3, 4), (2, 4, 2), tag="implicit"),
    es("...ij,...j->...i", (2, 1, 3, 4), (5, 4), tag="ellipsis"),
    es("ii->i", (3, 3)),
    es("iij->j", (3, 3, 2)),
    es("ij->", (3, 4)),
    es("i,j,k->kij", (2,), (3,), (4,)),
    es("ij,ij,jk->i", (2, 3), (2, 3), (3, 2)),
]
