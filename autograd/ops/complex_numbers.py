"""Complex numbers and their parts.

Where a function is not holomorphic its rule is `g * df/dz + conj(g * df/dz*)`, which for real outputs is `2 g df/dz`: the
form that the conjugation at both ends of the backward pass (see `elementwise.py`) makes of PyTorch's convention.
"""

import math

from chainrule.autograd.op import op

from .elementwise import is_complex


def _angle_rule(xp, g, x):
    """arg z = Im log z, so 2 df/dz = 1 / iz; a real number has the angle 0 or pi and no derivative. 0 at 0."""
    if not is_complex(x):
        return xp.zeros_like(g)
    here = x == 0
    return xp.where(here, xp.zeros_like(x), -1j * g / xp.where(here, xp.ones_like(x), x))


@op(x=_angle_rule, cast="float")
def angle(xp, x):
    """The angle of z in the plane, in (-pi, pi]; of a real number 0, or pi where it is negative."""
    if x.dtype.kind == "c":
        return xp.arctan2(x.imag, x.real)
    return xp.where(xp.isnan(x), x, (x < 0) * xp.full((), math.pi, dtype=x.dtype))


@op(real=lambda xp, g: g, imag=lambda xp, g: 1j * g, cast="same")
def make_complex(xp, real, imag):
    """real + i imag, exactly: an infinite part leaves the other alone."""
    shape = xp.broadcast_shapes(real.shape, imag.shape)
    out = xp.empty(shape, dtype="complex64" if real.dtype.itemsize <= 4 else "complex128")
    out.real[...] = real
    out.imag[...] = imag
    return out


@op(x=lambda xp, g: xp.conj(view_as_complex(g)), view=True)
def view_as_real(xp, x):
    """A complex array as real pairs in a new last axis of length 2. (*) -> (*, 2), a view."""
    return x[..., None].view("float32" if x.dtype.itemsize == 8 else "float64")


@op(x=lambda xp, g: view_as_real(xp.conj(g)), view="maybe")
def view_as_complex(xp, x):
    """Real pairs in the last axis as complex numbers. (*, 2) -> (*), a view where the pairs lie together in memory."""
    pairs = x if x.strides[-1] == x.dtype.itemsize else xp.ascontiguousarray(x)
    return pairs.view("complex64" if x.dtype.itemsize == 4 else "complex128")[..., 0]
