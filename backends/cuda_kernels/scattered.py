"""The gradient of an embedding: `source/embedding.cu`."""

import numpy as np

from chainrule.backends.determinism import are_deterministic_algorithms_enabled

from .registry import kernel, name_of, over_elements, plain, wide_of


def _guard(g, *, index, rows, factor):
    return (
        plain(g, factor)
        and index.size > 0
        and index.__class__ is g.__class__
        and (factor is None or factor.shape == (*index.shape, 1))
    )


def _reference(g, index, rows, factor=None):
    out = np.zeros((rows, g.shape[-1]))
    np.add.at(out, (index,), g if factor is None else g * factor)
    return out


@kernel("embedding", _reference, replaces="embedding_weight", guard=_guard)
def embedding_weight(launch, xp, g, *, index, rows, factor=None):
    """Zeros (rows, n) with each row of g, (*, n), added to the row its index names; in a fixed order if that is asked for."""
    way = embedding_sorted if are_deterministic_algorithms_enabled() else embedding_atomic
    return way(launch, xp, g, index=index, rows=rows, factor=factor)


def _flat(index, rows):
    return (
        index.reshape(-1).astype("int64") % rows
    )  # an index out of range names some row, as everywhere in CuPy


@kernel("embedding", _reference)
def embedding_sorted(launch, xp, g, *, index, rows, factor=None):
    """The same bits in every run."""
    n, index = g.shape[-1], _flat(index, rows)
    order = xp.argsort(index, kind="stable")
    out = xp.zeros((rows, n), dtype=g.dtype)
    arrays = (g, factor, xp.take(index, order), order, out)
    grid = (index.size, min(-(-n // 128), 1024), 1)
    launch("embedding", "embedding_sorted", name_of(g.dtype), grid, (128, 1, 1), *arrays, index.size, n)
    return out


@kernel("embedding", _reference)
def embedding_atomic(launch, xp, g, *, index, rows, factor=None):
    """By atomic additions, in the order in which they come."""
    n, index = g.shape[-1], _flat(index, rows)
    out = xp.zeros((rows, n), dtype=wide_of(g.dtype))
    grid, block = over_elements(g.size)
    launch(
        "embedding", "embedding_atomic", name_of(g.dtype), grid, block, g, factor, index, out, index.size, n
    )
    return out.astype(g.dtype, copy=False)
