"""NumPy: the CPU, always there, and the reference for every other backend."""

import math

import numpy as np

from . import devices
from .backend import Backend, register

# Positions handled per call when rows are spread into single elements: their index stays in the cache.
_CHUNK = 1 << 16


class NumpyBackend(Backend):
    """Arrays in host memory. There is one device, `cpu`, and nothing to wait for."""

    name = "numpy"
    device_type = "cpu"
    xp = np
    array_type = np.ndarray

    def device_of(self, array):
        return devices.CPU

    def from_host(self, array, index=None):
        self.check_index(index)
        return array

    def to_host(self, array):
        return array

    def copy_to(self, array, index=None):
        self.check_index(index)
        return array.copy()

    def shares_memory(self, a, b):
        try:
            return np.shares_memory(a, b, max_work=1000)
        except np.exceptions.TooHardError:  # exact overlap of strided views is a hard problem in general
            return True

    def add_at(self, target, index, values):
        rows = _leading_integers(index)
        if rows is None or not target.flags.c_contiguous:
            _add_at_positions(target, index, values)
        else:
            _add_rows(target, rows, values)


def _leading_integers(index):
    """`index` as a tuple of integer arrays over the first axes; None if it is anything else."""
    if not isinstance(index, tuple):
        index = (index,)
    if index and all(isinstance(one, np.ndarray) and one.dtype.kind in "iu" for one in index):
        return index
    return None


def _add_rows(target, rows, values):
    """Add values[n] to target[rows[0][n], rows[1][n], ...], each a row of the remaining axes.

    `np.add.at` is quick for one index into one axis and ten times slower for everything else, so rows
    are spread into their elements.
    """
    count = len(rows)
    lengths, row_shape = target.shape[:count], target.shape[count:]
    for axis, (one, length) in enumerate(zip(rows, lengths, strict=False)):
        if one.size and not (-length <= one.min() and one.max() < length):
            bad = one[(one < -length) | (one >= length)].flat[0]
            raise IndexError(
                f"add_at: index {bad} is out of range for axis {axis} of an array of shape {target.shape}"
            )
    if count > target.ndim:
        raise IndexError(f"add_at: {count} index arrays for an array of shape {target.shape}")
    start = 0  # of each row, counted in rows; negative indices count from the end
    for one, length in zip(rows, lengths, strict=True):
        start = start * length + np.where(one < 0, one + length, one).astype(np.intp)
    values = np.broadcast_to(values, start.shape + row_shape)
    start, flat = start.reshape(-1), target.reshape(-1)
    size = math.prod(row_shape)
    if size == 1:
        np.add.at(flat, start, values.reshape(-1))
        return
    values = values.reshape(len(start), size)
    columns = np.arange(size)
    step = max(1, _CHUNK // max(1, size))
    for first in range(0, len(start), step):
        chunk = slice(first, first + step)
        positions = start[chunk, None] * size + columns
        np.add.at(flat, positions.reshape(-1), values[chunk].reshape(-1))


def _add_at_positions(target, index, values):
    """The general case: let indexing itself say which elements are meant, unless there are far too many."""
    if not target.flags.c_contiguous or 4 * values.size < target.size:
        np.add.at(target, index, values)
        return
    positions = np.arange(target.size).reshape(target.shape)[index]
    values = np.broadcast_to(values, np.shape(positions))
    np.add.at(target.reshape(-1), np.reshape(positions, -1), values.reshape(-1))


cpu = register(NumpyBackend())
