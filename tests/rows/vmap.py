"""Rows: `vmap`, whose border operations put a batch axis out of sight and back."""

import numpy as np

import chainrule as cr
from tests.table import Row

ROWS = [
    Row(
        "vmap",
        lambda x, w: cr.vmap(lambda a: (a * w).sin().sum())(x),
        [(3, 4), (4,)],
        ref=lambda x, w: np.sin(x * w).sum(1),
        torch=False,
        covers=("add_batch", "remove_batch", "to_levels"),
    ),
    Row(
        "vmap",
        lambda x: cr.vmap(lambda a: (a @ a.T).exp(), in_dims=1, out_dims=-1)(x),
        [(2, 3, 4)],
        ref=lambda x: np.exp(np.einsum("ibk,jbk->ijb", x, x)),
        torch=False,
        domain=(-0.7, 0.7),
        tag="dims",
    ),
    Row(
        "vmap",
        lambda x, y: cr.vmap(lambda a: cr.vmap(lambda b: a.tanh() * b.sum())(y))(x),
        [(2, 3), (4, 3)],
        ref=lambda x, y: np.tanh(x)[:, None] * y.sum(1)[:, None],
        torch=False,
        tag="nested",
    ),
]
