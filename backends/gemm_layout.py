"""How the operands of a matrix product lie in memory, as calls of cuBLASLt: no copies where strides allow.

The library reads matrices by columns, arrays lie by rows. A row-major matrix read by columns is its transpose, so instead of D = A B it is
asked for D^T = B^T A^T: operands change places and nothing is moved. A transposed view is the same with the other operation flag.
Leading axes become one batch axis where they lie evenly (a broadcast one has stride 0), or more rows where B is the same for all;
what is left is looped over.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Matrix:
    """One operand: `ld` elements from row to row (from column to column if `turned`), `stride` from one of the batch to the next."""

    ld: int
    turned: bool
    stride: int


@dataclass(frozen=True)
class Arrangement:
    """The calls of a product: batches of (m, k) times (k, n), at each of `offsets` (in elements of A, B and D)."""

    m: int
    n: int
    k: int
    batch: int
    a: Matrix
    b: Matrix
    d: Matrix
    offsets: tuple

    @property
    def single(self):
        """Whether it is one product of two matrices."""
        return self.batch == 1 and len(self.offsets) == 1


def matrix(rows, cols, along_rows, along_cols):
    """(leading dimension, turned) of a matrix with these sizes and strides; None if it has to be copied.

    `along_rows` is the step from one row to the next. The stride of an axis of length 1 means nothing.
    """
    if (cols == 1 or along_cols == 1) and (rows == 1 or along_rows >= cols):
        return (along_rows if rows > 1 else cols), False
    if (rows == 1 or along_rows == 1) and (cols == 1 or along_cols >= rows):
        return (along_cols if cols > 1 else rows), True
    return None


def product_shape(a, b):
    """The shape of the product of arrays of shapes `a` and `b`. ValueError if they do not fit."""
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError(f"gemm: shapes {a} and {b} do not fit: (..., m, k) and (..., k, n) are needed")
    if len(a) == len(b) == 2:
        return a[0], b[1]
    batch = []
    width = max(len(a), len(b)) - 2
    for x, y in zip(_padded(a[:-2], width, 1), _padded(b[:-2], width, 1), strict=True):
        if x != y and 1 not in (x, y):
            raise ValueError(f"gemm: leading axes of shapes {a} and {b} do not broadcast")
        batch.append(y if x == 1 else x)
    return (*batch, a[-2], b[-1])


def _padded(values, width, filler):
    return (filler,) * (width - len(values)) + tuple(values)


def arranged(shape, a_shape, a_strides, b_shape, b_strides, d_strides):
    """The `Arrangement` of a product of shape `shape`, with strides in elements; or which operand is to be copied: "a", "b" or "d"."""
    m, n, k = shape[-2], shape[-1], a_shape[-1]
    a_m, b_k, d_m = a_strides[-2], b_strides[-2], d_strides[-2]
    b = matrix(k, n, b_k, b_strides[-1])
    if b is None:
        return "b"
    if matrix(m, k, a_m, a_strides[-1]) is None:
        return "a"
    if matrix(m, n, d_m, d_strides[-1]) is None or matrix(m, n, d_m, d_strides[-1])[1]:
        return "d"
    axes = _merged(_batch_axes(shape[:-2], a_shape, a_strides, b_shape, b_strides, d_strides))
    while axes:
        length, a_step, b_step, d_step = axes[-1]
        a_row, d_row = (a_step, d_step) if m == 1 else (a_m, d_m)
        rows = m * length
        if b_step or (a_step, d_step) != (m * a_row, m * d_row) or not _by_rows(rows, k, n, a_row, a_strides[-1], d_row):  # fmt: skip
            break
        m, a_m, d_m = rows, a_row, d_row
        axes.pop()
    a, d = matrix(m, k, a_m, a_strides[-1]), matrix(m, n, d_m, d_strides[-1])
    longest = max(axes, key=lambda axis: axis[0], default=(1, 0, 0, 0))
    if longest in axes:
        axes.remove(longest)
    steps = (Matrix(*one, step) for one, step in zip((a, b, d), longest[1:], strict=True))
    return Arrangement(m, n, k, longest[0], *steps, _offsets(axes))


def _by_rows(rows, k, n, a_row, a_col, d_row):
    """Whether A and D can be read as matrices of that many rows."""
    return matrix(rows, k, a_row, a_col) is not None and matrix(rows, n, d_row, 1) == (d_row, False)


def _batch_axes(batch, a_shape, a_strides, b_shape, b_strides, d_strides):
    """[(length, stride in A, in B, in D)] of the leading axes longer than 1."""
    width = len(batch)
    steps = []
    for given, strides in ((a_shape, a_strides), (b_shape, b_strides), (None, d_strides)):
        lengths = batch if given is None else _padded(given[:-2], width, 1)
        steps.append(
            [
                0 if length == 1 else step
                for length, step in zip(lengths, _padded(strides[:-2], width, 0), strict=True)
            ]
        )
    return [axis for axis in zip(batch, *steps, strict=True) if axis[0] > 1]


def _merged(axes):
    """The axes, with neighbours that all three operands step through evenly made into one."""
    merged = []
    for axis in axes:
        length = axis[0]
        if merged and all(
            outer == inner * length for outer, inner in zip(merged[-1][1:], axis[1:], strict=True)
        ):
            merged[-1] = (merged[-1][0] * length, *axis[1:])
        else:
            merged.append(axis)
    return merged


def _offsets(axes):
    offsets = [(0, 0, 0)]
    for length, *steps in axes:
        offsets = [
            tuple(start + i * step for start, step in zip(one, steps, strict=True))
            for one in offsets
            for i in range(length)
        ]
    return tuple(offsets)


def contiguous_batch(shape, strides):
    """Whether the leading axes lie evenly, so that a copy would not make fewer calls of it."""
    axes = [(n, s) for n, s in zip(shape[:-2], strides[:-2], strict=True) if n > 1]
    return len(_merged(axes)) <= 1 or any(s == 0 for _, s in axes)


def elements(array):
    """The strides in elements; None where one is negative or no multiple of the element's size."""
    size = array.dtype.itemsize
    if any(one % size or one < 0 for one in array.strides):
        return None
    return tuple([one // size for one in array.strides])
