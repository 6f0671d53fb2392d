"""Pooling over any number of spatial dimensions. x is (N, C, *in), the result (N, C, *size).

Max pooling reads one element of each window: its gradient is written back where that element came from, `unpool`, and the
gradient of that is a reading again, `pool_gather`. Average pooling is linear, and its transpose an operation too. So
derivatives of every order exist, and all of them are one of these few operations.

Positions are int64 indices into the flattened spatial dimensions, as in PyTorch.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import add_at

from .windows import along, taps, widened


@op(
    x=lambda xp, g, x, kernel, stride, padding, dilation, size: unpool(
        g,
        max_pool_index(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size),
        size=x.shape[2:],
        distinct=_apart(kernel, stride, dilation),
    )
)
def max_pool(xp, x, *, kernel, stride, padding, dilation, size):
    """The largest element of each window; NaN if the window holds one. (N, C, *in) -> (N, C, *size).

    All arguments have an entry for each spatial dimension. padding counts places before the first element; they, and those
    after the last that `size` asks for, count as -inf. Of equal elements the first gets the gradient.
    """
    windows = zip(kernel, stride, padding, dilation, size, strict=True)
    return _separable(xp, xp.maximum, _lowest(xp, x.dtype), x, windows)


def _lowest(xp, dtype):
    return xp.iinfo(dtype).min if dtype.kind in "iu" else -float("inf")


def _apart(kernel, stride, dilation):
    """Whether no element lies in two windows."""
    return all(d * (k - 1) < s for k, s, d in zip(kernel, stride, dilation, strict=True))


def _separable(xp, combine, nothing, x, windows):
    """`combine` (a ufunc) over the elements of each window, one dimension after the other.

    That is k passes over ever fewer elements for each dimension, where a pass for each tap of the kernel would be their product.
    """
    source = x
    for axis, (kernel, stride, padding, dilation, size) in enumerate(windows, start=2):
        before = (slice(None),) * axis
        meetings = along(x.shape[axis], 0, size, kernel, stride, padding, dilation)
        everywhere = [reads for _, lands, reads in meetings if lands == slice(0, size)]
        if len(everywhere) > 1:
            y = combine(x[(*before, everywhere[0])], x[(*before, everywhere[1])])
        elif everywhere:
            y = x[(*before, everywhere[0])].copy()
        else:
            y = xp.full((*x.shape[:axis], size, *x.shape[axis + 1 :]), nothing, dtype=x.dtype)
        for _, lands, reads in meetings:
            if reads not in everywhere[:2]:
                part = y[(*before, lands)]
                combine(part, x[(*before, reads)], out=part)
        x = y
    return x if x is not source else x.copy()


@op()
def max_pool_index(xp, x, *, kernel, stride, padding, dilation, size):
    """Where in the flattened spatial dimensions `max_pool` finds each window's element: the first largest, or the last NaN."""
    best = xp.full((*x.shape[:2], *size), _lowest(xp, x.dtype), dtype=x.dtype)
    count = math.prod(kernel)
    winner = xp.zeros(best.shape, dtype="uint8" if count < 256 else "int64")
    meetings = taps(x.shape[2:], size, kernel, stride, padding, dilation)
    for number, (_, lands, reads) in enumerate(meetings, start=1):
        here = (slice(None), slice(None), *lands)
        seen, top = x[(slice(None), slice(None), *reads)].copy(), best[here]
        # Later taps have larger numbers, so the maximum of the numbers of all that rose above those before is the winner.
        rose = (seen > top) | (seen != seen)
        winner[here] = xp.maximum(winner[here], rose * winner.dtype.type(number))
        xp.maximum(top, seen, out=top)
    ...
