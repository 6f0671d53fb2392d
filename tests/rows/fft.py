"""Rows: discrete Fourier transforms. Complex results are compared, and differentiated, as real and imaginary parts."""

import numpy as np

from chainrule import fft
from chainrule.autograd.functions import stft
from tests.table import Row, positive


def parts(z):
    """The real and the imaginary part, for Tensors of either library and arrays."""
    return z.real, (z * -1j).real


def forward(name, shape, tag="", **kwargs):
    """A transform of real numbers to complex ones; torch's keyword for an axis is dim, NumPy's axis or axes."""
    renamed = {
        {"dim": "axes" if name[-1] in "n2" else "axis"}.get(key, key): value for key, value in kwargs.items()
    }
    ours, theirs = getattr(fft, name), getattr(np.fft, name, None)
    return Row(
        f"fft.{name}",
        lambda x: parts(ours(x, **kwargs)),
        [shape],
        ref=None if theirs is None else lambda x: parts(theirs(x, **renamed)),
        torch=lambda x: parts(getattr(__import__("torch").fft, name)(x, **kwargs)),
        tag=tag,
    )


def backward(name, shape, tag="", **kwargs):
    """A transform of complex numbers, given as two real arrays, to real ones."""
    renamed = {
        {"dim": "axes" if name[-1] in "n2" else "axis"}.get(key, key): value for key, value in kwargs.items()
    }
    ours, theirs = getattr(fft, name), getattr(np.fft, name, None)
    return Row(
        f"fft.{name}",
        lambda x, y: ours(x + y * 1j, **kwargs),
        [shape, shape],
        ref=None if theirs is None else lambda x, y: theirs(x + y * 1j, **renamed),
        torch=lambda x, y: getattr(__import__("torch").fft, name)(x + y * 1j, **kwargs),
        tag=tag,
    )


def inverse(name, shape, tag="", **kwargs):
    """A transform of complex numbers to complex ones."""
    ours, theirs = getattr(fft, name), getattr(np.fft, name)
    return Row(
        f"fft.{name}",
        lambda x, y: parts(ours(x + y * 1j, **kwargs)),
        [shape, shape],
        ref=lambda x, y: parts(theirs(x + y * 1j, **kwargs)),
        torch=lambda x, y: parts(getattr(__import__("torch").fft, name)(x + y * 1j, **kwargs)),
        tag=tag,
    )


ROWS = [
    forward("fft", (2, 5)),
    forward("fft", (5, 2), dim=0, n=3, tag="cut"),
    forward("fft", (2, 3), n=6, norm="ortho", tag="padded"),
    inverse("fft", (3,), norm="forward", tag="complex"),
    inverse("ifft", (2, 4)),
    inverse("ifft", (4,), n=6, norm="ortho", tag="padded"),
    forward("fft2", (3, 4)),
    inverse("ifft2", (2, 3, 2), s=(2, 3)),
    forward("fftn", (2, 3, 2)),
    forward("fftn", (2, 3, 2), dim=(2, 0), s=(3, 2), norm="forward", tag="dims"),
    inverse("ifftn", (2, 3)),
    forward("rfft", (2, 5)),
    forward("rfft", (4, 2), dim=0, norm="ortho", tag="even"),
    forward("rfft", (3,), n=1, norm="forward", tag="one"),
    forward("rfft2", (3, 4)),
    forward("rfftn", (2, 3, 4), s=(3, 5), dim=(0, 2)),
    backward("irfft", (2, 4)),
    backward("irfft", (3,), n=5, norm="ortho", tag="odd"),
    backward("irfft", (4, 2), dim=0, n=4, norm="forward", tag="cut"),
    backward("irfft2", (3, 3)),
    backward("irfftn", (2, 3), s=(2, 5), dim=(0, 1)),
    backward("hfft", (4,)),
    backward("hfft", (3, 2), dim=0, n=5, norm="ortho", tag="odd"),
    backward("hfft2", (3, 3)),
    backward("hfftn", (2, 3), norm="forward"),
    forward("ihfft", (5,)),
    forward("ihfft2", (3, 4), norm="ortho"),
    forward("ihfftn", (2, 3)),
    *[
        Row(
            "stft",
            lambda x, w, more=more: parts(stft.stft(x, 4, window=w, return_complex=True, **more)),
            [(2, 9), positive((more.get("win_length", 4),))],
            torch=lambda x, w, more=more: parts(__import__("torch").stft(x, 4, window=w, return_complex=True, **more)),
            tag=tag,
        )
        for tag, more in {
            "": {},
            "one by one": {"hop_length": 1, "win_length": 3, "pad_mode": "constant", "normalized": True},
            "not centred": {"hop_length": 2, "center": False, "onesided": False},
            "replicate": {"pad_mode": "replicate"},
        }.items()
    ],
    *[
        Row(
            "istft",
            lambda x, y, w, more=more: stft.istft(x + y * 1j, 4, window=w, **more),
            [(3, 5), (3, 5), positive((4,))],
            torch=lambda x, y, w, more=more: __import__("torch").istft(x + y * 1j, 4, window=w, **more),
            tag=tag,
        )
        for tag, more in {"": {}, "longer": {"hop_length": 2, "normalized": True, "length": 9}}.items()
    ],
    Row("fft.fftshift", fft.fftshift, [(2, 5)], ref=np.fft.fftshift),
    Row("fft.ifftshift", fft.ifftshift, [(2, 5)], kwargs={"dim": 1}, ref=lambda x, dim: np.fft.ifftshift(x, dim)),
    Row("fft.fftfreq", lambda x: fft.fftfreq(5, 0.1, dtype=x.dtype, device=x.device), [()], ref=lambda x: np.fft.fftfreq(5, 0.1), grad=False, torch=False),
    Row("fft.rfftfreq", lambda x: fft.rfftfreq(4, 2.0, dtype=x.dtype, device=x.device), [()], ref=lambda x: np.fft.rfftfreq(4, 2.0), grad=False, torch=False),
]  # fmt: skip
