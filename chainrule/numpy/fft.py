"""`numpy.fft` on Tensors, recorded: NumPy's names and arguments."""

import chainrule.autograd.functions.fft as transforms
from chainrule.backends import dtypes

from ._common import floating, tensor

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft", "irfft2", "irfftn", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip


def _along_one(name):
    transform = getattr(transforms, name)

    def function(a, n=None, axis=-1, norm=None):
        return transform(floating(a), n, axis, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = transform.__doc__.replace("`dim`", "`axis`")
    return function


def _along_several(name, default):
    transform = getattr(transforms, name)

    def function(a, s=None, axes=default, norm=None):
        return transform(floating(a), s, axes, norm)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = transform.__doc__.replace("`dim`", "`axes`")
    return function


fft, ifft, rfft, irfft, hfft, ihfft = (
    _along_one(name) for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
)
fftn, ifftn, rfftn, irfftn = (_along_several(name, None) for name in ("fftn", "ifftn", "rfftn", "irfftn"))
fft2, ifft2, rfft2, irfft2 = (_along_several(name, (-2, -1)) for name in ("fft2", "ifft2", "rfft2", "irfft2"))


def fftfreq(n, d=1.0, device=None):
    """The frequencies of `fft` of n samples, d apart; float64."""
    return transforms.fftfreq(n, d, dtype=dtypes.float64, device=device)


def rfftfreq(n, d=1.0, device=None):
    """The frequencies of `rfft` of n samples, d apart; float64."""
    return transforms.rfftfreq(n, d, dtype=dtypes.float64, device=device)


def fftshift(x, axes=None):
    """The zero frequency moved to the middle."""
    return transforms.fftshift(tensor(x), axes)


def ifftshift(x, axes=None):
    """The inverse of `fftshift`."""
    return transforms.ifftshift(tensor(x), axes)
