"""Functions of CuPy 14 that lack, or lose, bfloat16, or that take less than NumPy's: written with what CuPy has.

Found by asking CuPy 14.2 itself (`tests/test_cupy_audit.py`): its ufuncs have code for bfloat16 and promote it as NumPy with ml_dtypes does
(a Python float widens it to float32), but `where` has none and computes in float32, and with it `tril` and `triu`; products
of more than two axes, and `einsum`, fail.
"""

import numpy as np

from . import dtypes


def _is_bfloat16(x):
    return getattr(getattr(x, "dtype", None), "name", None) == "bfloat16"


class Gaps:
    """What a namespace has in the place of functions of its `_module`."""

    def where(self, condition, x=None, y=None):
        """x where `condition` holds, else y; with the condition alone, the places where it holds."""
        module = self._module
        if x is None and y is None:
            return module.where(condition)
        if _is_bfloat16(x) or _is_bfloat16(y):
            # Which of two it is does not depend on what they are: their bits are chosen, as integers.
            bits = [_bits(one) for one in (x, y)]
            if all(one is not None for one in bits):
                return module.where(condition, *bits).view(dtypes.bfloat16.dtype)
        return module.where(condition, x, y)

    def empty_like(self, a, *args, **options):
        """An array like `a` with whatever the memory holds; without the library's questions where `a` lies by rows."""
        if args or options or not a.flags.c_contiguous:
            return self._module.empty_like(a, *args, **options)
        return self._module.empty(a.shape, a.dtype)

    def tril(self, m, k=0):
        """The lower triangles of the last two axes, 0 above."""
        return self.where(self._module.tri(*m.shape[-2:], k=k, dtype=bool), m, 0)

    def triu(self, m, k=0):
        """The upper triangles of the last two axes, 0 below."""
        return self.where(self._module.tri(*m.shape[-2:], k=k - 1, dtype=bool), 0, m)

    def argpartition(self, a, kth, axis=-1):
        """The indices that sort: CuPy's own function sorts too, and then makes the host wait."""
        return self._module.argsort(a, axis=axis)

    def _library_matmul(self, a, b, out=None, **options):
        """The library's own product; that of bfloat16 is summed in float32."""
        if not _is_bfloat16(a) or not _is_bfloat16(b):
            return self._module.matmul(a, b, out=out, **options)
        y = self._module.matmul(a.astype("float32"), b.astype("float32")).astype(a.dtype)
        if out is None:
            return y
        out[...] = y
        return out

    def _library_einsum(self, equation, *operands, **options):
        """The library's own sum of products; those of bfloat16 are summed in float32."""
        if not any(_is_bfloat16(one) for one in operands):
            return self._module.einsum(equation, *operands, **options)
        wide = [one.astype("float32") if _is_bfloat16(one) else one for one in operands]
        y = self._module.einsum(equation, *wide, **options)
        return y.astype(dtypes.bfloat16.dtype) if all(_is_bfloat16(one) for one in operands) else y


def _bits(x):
    """The bits of a bfloat16 array, or of a Python number as one; None for what is neither."""
    if _is_bfloat16(x):
        return x.view("int16")
    if isinstance(x, (bool, int, float)):
        return int(np.asarray(x, dtypes.bfloat16.dtype).view("int16"))
    return None
