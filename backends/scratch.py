"""Scratch memory: how much of it to use at a time, and how to cut the work accordingly."""

from .backend import backend_of


def scratch_bytes(x):
    """How large a piece of scratch memory to work in: on a CPU what its caches hold, on a card what fills it."""
    return backend_of(x).scratch_bytes


def pieces(batch, rows, row_bytes, limit):
    """A batch of outputs of `rows` rows each, cut so that a piece needs at most `limit` bytes: (samples, rows) slices.

    Pieces with the same rows follow each other. One row of one sample is the least.
    """
    lines = max(1, min(rows, limit // max(row_bytes, 1)))
    lines = _even(rows, lines)
    together = _even(batch, max(1, min(batch, limit // max(row_bytes * lines, 1))))
    for top in range(0, rows, lines):
        for first in range(0, batch, together):
            yield slice(first, min(first + together, batch)), slice(top, min(top + lines, rows))


def _even(total, most):
    """The length of the pieces when `total` is cut into as few pieces of at most `most` as possible, all about equal."""
    return max(1, -(-total // max(1, -(-total // most))))
