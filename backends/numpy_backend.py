"""NumPy: the CPU, always there, and the reference for every other backend."""

import math

import numpy as np

from . import devices
from .backend import Backend, register

# Positions handled per call when rows are spread into single elements: their index stays in the cache.
_CHUNK = 1 << 16
# Below this many elements `np.add.at` is done before anything cleverer has begun.
_FEW = 512


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

    def noticing_zero(self):
        return np.errstate(divide="raise")

    def add_at(self, target, index, values):
        try:
            rows = _leading_integers(index)
            if rows is None:
                _add_at_positions(target, index, values)
            else:
                _add_rows(target, rows, values)
        except IndexError as error:
            raise IndexError(f"add_at: {error} (array of shape {target.shape})") from None


def _leading_integers(index):
    """`index` as a tuple of integer arrays over the first axes; None if it is anything else."""
    if not isinstance(index, tuple):
        index = (index,)
    if index and all(isinstance(one, np.ndarray) and one.dtype.kind in "iu" for one in index):
        return index
    return None


def _add_rows(target, rows, values):
    """Add values[n] to target[rows[0][n], rows[1][n], ...], each a row of the remaining axes.

    `np.add.at` is quick for one index into one axis and up to ten times slower for everything else, so rows
    are spread into their elements; not where they are few, or where the memory cannot be seen as one axis.
    """
    count = len(rows)
    row_shape = target.shape[count:]
    size = math.prod(row_shape)
    few = max(one.size for one in rows) * size < _FEW
    if few or target.ndim == 1 or count > target.ndim or not target.flags.c_contiguous:
        np.add.at(target, rows, values)
        return
    start = 0  # of each row, counted in rows
    for axis, (one, length) in enumerate(zip(rows, target.shape, strict=False)):
        if one.size and not (-length <= one.min() and one.max() < length):
            bad = one[(one < -length) | (one >= length)].flat[0]
            raise IndexError(f"index {bad} is out of bounds for axis {axis} with size {length}")
        start = start * length + np.where(one < 0, one + length, one).astype(np.intp)
    values = np.broadcast_to(values, start.shape + row_shape).reshape(start.size, size)
    start, flat, columns = start.reshape(-1, 1) * size, target.reshape(-1), np.arange(size)
    step = max(1, _CHUNK // max(1, size))
    for first in range(0, len(start), step):
        chunk = slice(first, first + step)
        np.add.at(flat, (start[chunk] + columns).reshape(-1), values[chunk].reshape(-1))


def _add_at_positions(target, index, values):
    """The general case: indexing itself says which elements are meant, unless it would visit far too many."""
    if values.size < _FEW or 4 * values.size < target.size or not target.flags.c_contiguous:
        np.add.at(target, index, values)
        return
    positions = np.arange(target.size).reshape(target.shape)[index]
    values = np.broadcast_to(values, positions.shape)
    np.add.at(target.reshape(-1), positions.reshape(-1), values.reshape(-1))


cpu = register(NumpyBackend())
