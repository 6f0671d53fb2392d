"""Dropout as a linear operation that is its own gradient: the same mask, the same factor.

The mask is given, or computed anew each time from where its numbers stand in the random stream (a `Place`). A card does the second in
passing, in the kernel that multiplies, and keeps nothing for the gradient; on a CPU the numbers of a mask cost more than the
multiplication many times over, so there it is made once and kept.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import backend_of, kernels, namespaces, random

from .blocks import wide
from .selection import masked

_masked = masked.op.forward


def _rule(xp, g, mask, p, place, shape):
    return dropout(g, mask, p=p, place=place, shape=shape)


@op(x=_rule, tangent="elementwise")
def dropout(xp, x, mask, *, p, place=None, shape=None):
    """x / (1 - p) where the mask is true, else 0 (where p is 1, nothing is divided). (*) -> (*).

    mask: bool, broadcast to x; or None for that of `place`, whose uniform numbers of this `shape` are at least p where it is true.
    """
    if mask is None:
        mask = random.kept(place, shape, p, xp)
    y = _masked(xp, x, mask)
    if p < 1:
        y = (wide(y) * (1 / (1 - p))).astype(x.dtype, copy=False)
    return y


def place_for(x, shape, p):
    """A place in the default stream for the mask of x, an array, if a kernel computes it anew; None if it is to be drawn and kept.

    Either takes as many numbers of the stream, one for each element of `shape`.
    """
    if "dropout" not in kernels or random.local.drawing is not None:  # vmap decides itself what is drawn
        return None
    if backend_of(x).kernel("dropout", x, None, p=p, place=None, shape=shape) is None:
        return None
    return random.default_generator.take(-(-math.prod(shape) // 4), namespaces[x.__class__])
