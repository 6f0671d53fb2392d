"""Choosing between elements by a mask, as fast as arithmetic.

`where` branches on every element, which costs NumPy several times an addition when the mask follows no pattern, as that of
a rectifier does; a product with the mask gives 0 * inf = NaN where an infinite gradient meets a closed gate. Here the bits of
the elements are multiplied with the mask, as integers: exact for every value, infinities and NaNs included.
"""

from chainrule.autograd.op import op

_BITS = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}


def _bits(x):
    return x.view(_BITS[x.dtype.itemsize])


@op(x=lambda xp, g, mask, scale: masked(g, mask, scale=scale), tangent="elementwise")
def masked(xp, x, mask, *, scale=1):
    """scale * x where the bool array `mask` is true, else 0, whatever x is there; and so its gradient."""
    y = (_bits(x) * mask).view(x.dtype) if x.dtype.itemsize <= 8 else xp.where(mask, x, 0)
    return y if scale == 1 else (y * scale).astype(x.dtype, copy=False)


@op(
    a=lambda xp, g, mask: masked(g, mask),
    b=lambda xp, g, mask: masked(g, xp.logical_not(mask)),
    tangent="elementwise",
)
def select(xp, mask, a, b):
    """a where the bool array `mask` is true, else b; a and b real, of one shape and dtype."""
    bits = _bits(b)
    return (bits ^ (bits ^ _bits(a)) * mask).view(b.dtype)
