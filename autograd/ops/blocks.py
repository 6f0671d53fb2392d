"""How operations of several elementwise steps compute: 16-bit inputs in float32, big arrays piece by piece.

float16 and bfloat16 keep 11 and 8 bits; a sum or a product of a few of them in between loses what the result could hold,
and a square leaves float16's range at 256. As in PyTorch, such operations compute in float32 and round once, at the end.

On the CPU each step of a chain goes once through memory. In pieces that fit the cache a long chain takes about half the
time. On a GPU a piece would cost launches instead, so there the array stays whole.
"""

import functools

from chainrule.backends import cpu

# Elements of a piece: 64 KiB of float32. What takes 128 KiB or more, glibc gives back to the system and faults in anew.
PIECE = 1 << 14


def in_float32(forward):
    """The forward, with 16-bit inputs taken to float32 and the output brought back to the first input's dtype."""

    @functools.wraps(forward)
    def widened(xp, x, *others, **static):
        if x.dtype.itemsize != 2 or x.dtype.kind == "i":
            return forward(xp, x, *others, **static)
        return forward(xp, wide(x), *[wide(one) for one in others], **static).astype(x.dtype)

    return widened


def wide(x):
    """x, in float32 if it is an array of 16-bit floats; all else passes."""
    dtype = getattr(x, "dtype", None)
    return x.astype("float32") if dtype is not None and dtype.itemsize == 2 and dtype.kind != "i" else x


def elementwise(forward):
    """The forward of an operation that computes each element from one, for any size and floating point dtype of x."""
    single = in_float32(forward)

    @functools.wraps(forward)
    def pieces(xp, x, **static):
        if x.size <= PIECE or xp is not cpu.xp:
            return single(xp, x, **static)
        flat = x.reshape(-1)
        y = xp.empty_like(flat)
        for start in range(0, flat.size, PIECE):
            y[start : start + PIECE] = single(xp, flat[start : start + PIECE], **static)
        return y.reshape(x.shape)

    return pieces
