"""Sliding windows: which elements each tap of a kernel meets.

Through tap t of the kernel, place o of the output sees element o * stride + t * dilation - padding of the input, in every
spatial dimension. For one tap that is a strided slice of the input against a slice of the output. Convolution and
pooling are therefore loops over the taps with whole-array work inside; places where a tap falls outside the input are left
out of the slices, so that no padded copy is made.

`padding` counts the elements before the first; how many follow the last is settled by the size of the output.
"""

import itertools

from chainrule.backends.scratch import pieces, scratch_bytes  # noqa: F401 (its users import them from here)


def along(length, start, stop, kernel, stride, padding, dilation):
    """One dimension: (tap, where it lands, what it reads) for each tap that meets one of the `length` elements.

    Only the places start <= o < stop of the output are looked at; where a tap lands is counted from `start`.
    """
    found = []
    # Taps outside these bounds lie outside the input for every place: a huge kernel costs no huge loop.
    first = max(0, -(((stop - 1) * stride - padding) // dilation))
    last = min(kernel - 1, (length - 1 + padding - start * stride) // dilation)
    for tap in range(first, last + 1):
        offset = tap * dilation - padding
        low = max(start, -(offset // stride))
        high = min(stop, (length - 1 - offset) // stride + 1)
        if low < high:
            reads = slice(low * stride + offset, (high - 1) * stride + offset + 1, stride)
            found.append((tap, slice(low - start, high - start), reads))
    return found


def taps(lengths, size, kernel, stride, padding, dilation, rows=None):
    """All dimensions: a list of (tap, where it lands, what it reads), each a tuple with an entry for every dimension.

    lengths, size: the spatial shapes of input and output. rows: a slice of the output's first dimension to keep to.
    """
    ranges = [(0, one) for one in size]
    if rows is not None:
        ranges[0] = (rows.start, rows.stop)
    geometry = zip(lengths, ranges, kernel, stride, padding, dilation, strict=True)
    each = [along(n, *places, k, s, p, d) for n, places, k, s, p, d in geometry]
    return [tuple(zip(*chosen, strict=True)) for chosen in itertools.product(*each)]


def widened(xp, dtype):
    """The dtype to add up in: float32 for the 16-bit floats, else the dtype itself."""
    return xp.dtype("float32") if dtype.itemsize == 2 and dtype.kind in "fV" else dtype
