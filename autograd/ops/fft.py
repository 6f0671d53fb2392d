"""Discrete Fourier transforms, a family closed under its own adjoints.

The matrix of a complex transform is symmetric, so its transpose is the transform itself. A real transform keeps half of a
Hermitian spectrum; its transpose is the other real transform, with every frequency that stands for two counted accordingly.

norm says where the factor 1/n of a round trip lies: "backward" on the inverse transform, "forward" on the forward one, "ortho"
half on each.
"""

from chainrule.autograd.op import op

from .linalg_common import raw
from .shape import astype

# The normalisation under which the other real transform carries the same factor.
_OTHER = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


@op(x=lambda xp, g, axes, norm: fftn(g, axes=axes, norm=norm), tangent="linear")
def fftn(xp, x, *, axes, norm="backward"):
    """y_k = sum_j x_j e^(-2 pi i j k / n) along each of the axes, of real or complex x; y is complex."""
    return xp.fft.fftn(x, axes=axes, norm=norm)


@op(x=lambda xp, g, axes, norm: ifftn(g, axes=axes, norm=norm), tangent="linear")
def ifftn(xp, x, *, axes, norm="backward"):
    """x_j = 1/n sum_k y_k e^(2 pi i j k / n) along each of the axes: the inverse of `fftn`."""
    return xp.fft.ifftn(x, axes=axes, norm=norm)


def _pairs(xp, g, n, axis, ends, between):
    """g times `ends` at the frequencies that are their own conjugates (0, and n/2 for even n), times `between` elsewhere."""
    k = xp.arange(g.shape[axis])
    alone = astype(xp.logical_or(k == 0, 2 * k == n), dtype=raw(g).real.dtype)
    weights = between + (ends - between) * alone
    return g * xp.reshape(weights, (-1,) + (1,) * (g.ndim - axis % g.ndim - 1))


@op(
    x=lambda xp, g, x_shape, axis, norm: irfft(
        xp.conj(_pairs(xp, g, x_shape[axis], axis, 1.0, 0.5)), n=x_shape[axis], axis=axis, norm=_OTHER[norm]
    ),
    tangent="linear",
)
def rfft(xp, x, *, axis, norm="backward"):
    """The first n // 2 + 1 frequencies of the transform of a real x of length n; the others are their conjugates."""
    return xp.fft.rfft(x, axis=axis, norm=norm)


@op(
    x=lambda xp, g, n, axis, norm: _pairs(
        xp, xp.conj(rfft(g, axis=axis, norm=_OTHER[norm])), n, axis, 1.0, 2.0
    ),
    tangent="linear",
)
def irfft(xp, x, *, n, axis, norm="backward"):
    """The real signal of length n whose transform begins with the n // 2 + 1 frequencies in x: the inverse of `rfft`.

    Imaginary parts at the frequencies 0 and n/2, which a real signal does not have, are not read; their gradient is 0.
    """
    return xp.fft.irfft(x, n=n, axis=axis, norm=norm)
