"""The array namespace of a CUDA backend: the library's functions, with the matrix products computed by `Gemm`.

CuPy's own products are refused while a CUDA graph is captured, copy transposed operands of more than two axes, and compute 16-bit floats
slowly or wrongly there. So `matmul`, `dot`, `inner`, `vdot`, `tensordot` and `einsum` are here, over one `Gemm`; what it does not
take (integers, or all where cuBLASLt is missing) goes to the library's function, which refuses it under capture. All other names are
the library's own, looked up once.
"""

import functools
import math

import numpy as np

from .cublaslt import NotSupported
from .cupy_gaps import Gaps


class Namespace(Gaps):
    """`module` with products by `gemm` (None: by the module itself)."""

    def __init__(self, module, gemm):
        self._module, self._gemm = module, gemm

    def __repr__(self):
        return f"<namespace of {self._module!r}>"

    def __getattr__(self, name):
        found = getattr(self._module, name)
        if not name.startswith("__"):
            self.__dict__[name] = found
        return found

    def __dir__(self):
        return sorted({*dir(type(self)), *dir(self._module)})

    def matmul(self, a, b, /, out=None, **options):
        """Matrix product over the last two axes; leading axes broadcast, an operand of one axis is a row or a column."""
        if not options and self._ours(a, b):
            a, b = self._alike(a, b)
            if self._gemm.takes(a.dtype):
                return self._product(a, b, out)
        return self._library_matmul(a, b, out=out, **options)

    def _ours(self, a, b):
        """Whether these are arrays of the library (it refuses others itself), and there is something to multiply them with."""
        kind = self.ndarray
        return (
            self._gemm is not None
            and isinstance(a, kind)
            and isinstance(b, kind)
            and a.ndim > 0
            and b.ndim > 0
        )

    def _alike(self, a, b):
        """The operands in their common dtype."""
        if a.dtype == b.dtype:
            return a, b
        dtype = self._module.result_type(a, b)
        return a.astype(dtype, copy=False), b.astype(dtype, copy=False)

    def _product(self, a, b, out):
        row, column = a.ndim == 1, b.ndim == 1
        left = a[None, :] if row else a
        right = b[:, None] if column else b
        if out is not None and (row or column or not _fits(out.dtype, a.dtype)):
            out[...] = self._product(a, b, None)
            return out
        if left.shape[-1] != right.shape[-2]:
            raise ValueError(f"matmul: the inner dimensions of shapes {a.shape} and {b.shape} differ")
        try:
            y = self._gemm(left, right, out)
        except NotSupported:
            return self._library_matmul(a, b, out=out)
        if column:
            y = y[..., 0]
        return y[..., 0, :] if row and not column else y[..., 0] if row else y

    def dot(self, a, b, out=None):
        """Sum over the last axis of a and the last but one (or only one) of b."""
        if not self._ours(a, b):
            return self._module.dot(a, b, out=out)
        if b.ndim <= 2:
            return self.matmul(a, b, out=out)
        y = self.tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))
        if out is None:
            return y
        out[...] = y
        return out

    def inner(self, a, b):
        """Sum over the last axes."""
        if not self._ours(a, b):
            return self._module.inner(a, b)
        return self.tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))

    def vdot(self, a, b):
        """Sum of conj(a) b over all elements."""
        if not isinstance(a, self.ndarray) or not isinstance(b, self.ndarray):
            return self._module.vdot(a, b)
        a, b = a.reshape(-1), b.reshape(-1)
        return self.matmul(self._module.conj(a) if a.dtype.kind == "c" else a, b)

    def tensordot(self, a, b, axes=2):
        """Sum over `axes` of both: how many (the last of a, the first of b), or which of each."""
        if not isinstance(a, self.ndarray) or not isinstance(b, self.ndarray):
            return self._module.tensordot(a, b, axes)
        if isinstance(axes, int):
            of_a, of_b = range(a.ndim - axes, a.ndim), range(axes)
        else:
            of_a, of_b = ((one,) if isinstance(one, int) else tuple(one) for one in axes)
            of_a, of_b = [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]
        if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
            raise ValueError(f"tensordot: axes {axes} of shapes {a.shape} and {b.shape} differ in length")
        letters = iter(range(a.ndim + b.ndim))
        of_first = [next(letters) for _ in range(a.ndim)]
        of_second = [next(letters) for _ in range(b.ndim)]
        for i, j in zip(of_a, of_b, strict=True):
            of_second[j] = of_first[i]
        kept = [one for one in (*of_first, *of_second) if (one in of_first) is not (one in of_second)]
        return self._contracted(a, of_first, b, of_second, kept)

    def einsum(self, equation, *operands, **options):
        """Sums of products by an equation such as "ij,jk->ik"; several operands two at a time, in an order that makes little work."""
        if (
            self._gemm is None
            or len(operands) < 2
            or not isinstance(equation, str)
            or "." in equation
            or not self._takes(operands)
        ):
            return self._library_einsum(equation, *operands, **options)
        equation = equation.replace(" ", "")
        inputs, arrow, output = equation.partition("->")
        terms = inputs.split(",")
        if not arrow:
            output = "".join(sorted(one for one in {*inputs} - {","} if inputs.count(one) == 1))
        operands = list(operands)
        for i, j in _order(equation, tuple(one.shape for one in operands)):
            b, a = operands.pop(j), operands.pop(i)
            of_b, of_a = terms.pop(j), terms.pop(i)
            needed = {*output}.union(*terms)
            kept = output if not terms else [one for one in dict.fromkeys(of_a + of_b) if one in needed]
            operands.append(self._contracted(a, of_a, b, of_b, list(kept)))
            terms.append("".join(kept))
        return operands[0]

    def _takes(self, operands):
        """Whether the operands are of dtypes that can be multiplied here, and mix."""
        kind = self.ndarray
        return all(isinstance(one, kind) and self._gemm.takes(one.dtype) for one in operands)

    def _contracted(self, a, of_a, b, of_b, output):
        """The sum over all labels but `output` of the product of a and b, whose axes have the labels `of_a` and `of_b`."""
        a, b = self._alike(a, b)
        a, of_a = self._simple(a, of_a, {*of_b, *output})
        b, of_b = self._simple(b, of_b, {*of_a, *output})
        both = [one for one in of_a if one in of_b]
        inner = [one for one in both if one not in output]
        batch = [one for one in output if one in both]
        rows = [one for one in output if one in of_a and one not in both]
        columns = [one for one in output if one in of_b and one not in both]
        if columns and rows and output.index(columns[0]) < output.index(rows[0]):
            a, of_a, rows, b, of_b, columns = b, of_b, columns, a, of_a, rows
        if not inner:
            return self._lined_up(a, of_a, output) * self._lined_up(b, of_b, output)
        if len(inner) > 1:
            inner = _as_it_lies(a, of_a, b, of_b, inner)
        a, b = self._widened(a, of_a, b, of_b, inner)
        left = self._as_matrices(a, of_a, batch, rows, inner)
        right = self._as_matrices(b, of_b, batch, inner, columns)
        y = self.matmul(left, right)
        of_rows, of_columns = (
            tuple(x.shape[labels.index(one)] for one in part)
            for x, labels, part in ((a, of_a, rows), (b, of_b, columns))
        )
        y = y.reshape((*y.shape[:-2], *of_rows, *of_columns))
        return self._by(y, (*batch, *rows, *columns), output)

    def _widened(self, a, of_a, b, of_b, inner):
        """a and b with the axes they are summed over equally long: where one has length 1, it repeats itself."""
        pairs = {one: (a.shape[of_a.index(one)], b.shape[of_b.index(one)]) for one in inner}
        lengths = {one: n if m == 1 else m for one, (n, m) in pairs.items()}

        def wide(x, labels):
            shape = tuple(lengths.get(one, n) for one, n in zip(labels, x.shape, strict=True))
            return x if shape == x.shape else self._module.broadcast_to(x, shape)

        return wide(a, of_a), wide(b, of_b)

    def _as_matrices(self, x, labels, batch, rows, columns):
        """x as matrices: an axis for each label of the batch, then one for all rows and one for all columns."""
        x = self._by(x, labels, (*batch, *rows, *columns))
        n, m = len(batch), len(batch) + len(rows)
        return x.reshape((*x.shape[:n], math.prod(x.shape[n:m]), math.prod(x.shape[m:])))

    def _simple(self, x, labels, needed):
        """x without repeated labels (the diagonal is taken) and without those that nothing else has (they are summed)."""
        labels = list(labels)
        for label in [one for one in dict.fromkeys(labels) if labels.count(one) > 1]:
            while labels.count(label) > 1:
                i = labels.index(label)
                j = labels.index(label, i + 1)
                x = self._module.diagonal(x, 0, i, j)
                labels = [one for k, one in enumerate(labels) if k not in (i, j)] + [label]
        alone = tuple(i for i, one in enumerate(labels) if one not in needed)
        if alone:
            wide = "float32" if x.dtype.itemsize == 2 else x.dtype
            x = x.sum(axis=alone, dtype=wide).astype(x.dtype, copy=False)
        return x, [one for one in labels if one in needed]

    def _by(self, x, labels, order):
        """x with its axes in the order of these labels."""
        axes = [labels.index(one) for one in order]
        return x if axes == list(range(len(axes))) else x.transpose(axes)

    def _lined_up(self, x, labels, output):
        """x with an axis for each label of the output, of length 1 where x has none."""
        have = [one for one in output if one in labels]
        lengths = iter(self._by(x, labels, have).shape)
        return self._by(x, labels, have).reshape(
            tuple(next(lengths) if one in labels else 1 for one in output)
        )


def _fits(out, dtype):
    """Whether a product of operands of `dtype` can be stored as `out`: in their own dtype, or 16-bit ones in float32."""
    return out == dtype or (dtype.itemsize == 2 and out == "float32")


def _as_it_lies(a, of_a, b, of_b, labels):
    """The labels that are summed over, in the order of memory of the larger operand, whose copy costs more."""
    array, given = (a, of_a) if a.size >= b.size else (b, of_b)
    return sorted(labels, key=lambda one: -array.strides[given.index(one)])


@functools.lru_cache(maxsize=1024)
def _order(equation, shapes):
    """Which two operands to take at each step, (i, j) with i < j, where the result goes to the end."""
    if len(shapes) == 2:
        return ((0, 1),)
    stand_ins = [np.broadcast_to(np.empty(()), shape) for shape in shapes]
    steps, count = [], len(shapes)
    for taken in np.einsum_path(equation, *stand_ins, optimize="greedy")[0][1:]:
        first, *others = sorted(taken)
        for k, other in enumerate(others):
            # A step of more than two operands takes them one by one; what was made before lies at the end.
            steps.append((first, other) if k == 0 else (other - k - 1, count - 1))
            count -= 1
    return tuple(steps)
