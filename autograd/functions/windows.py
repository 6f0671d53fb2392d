"""Windows for spectral analysis: weights that fall off towards both ends, so that a cut-out piece of a signal has soft edges.

F. J. Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform" (1978). A symmetric window
(`sym`, for filters) mirrors about its middle; a periodic one (for the Fourier transform) is the symmetric one a sample longer
without its last sample. Two sets of names as in PyTorch: `chainrule.hann_window(8)` is periodic by default, and
`chainrule.signal.windows.hann(8)`, whose module has the others, symmetric. All are computed in float64 on the host.
"""

import numpy

from chainrule.backends import dtypes, layouts

from .creation import _finish, put


def _window(name, formula, M, sym, dtype, layout, device, requires_grad, pin_memory=False):
    """The window of `M` samples with the values `formula(n, N)`, n = 0 ... M - 1, N the length of the symmetric window."""
    layouts.check(name, layout)
    if M.__class__ is not int:
        raise TypeError(f"{name}: the length must be an int, got {M!r}")
    if M < 0:
        raise RuntimeError(f"{name}: the length must not be negative, got {M}")
    wanted = dtypes.as_dtype(dtype or dtypes.get_default_dtype())
    if not wanted.is_floating_point or (wanted.itemsize == 2 and not name.endswith("_window")):
        raise ValueError(
            f"{name}: expected dtype float32 or float64, got {wanted}; convert the result with .to(dtype)"
        )
    host = formula(numpy.arange(M, dtype=float), M if sym else M + 1) if M > 1 else numpy.ones(M)
    return _finish(put(host.astype(wanted.dtype), device), requires_grad, pin_memory)


def _cosines(coefficients):
    """a0 - a1 cos(t) + a2 cos(2t) - ..., with t one turn over the window."""

    def formula(n, N):
        turn = 2 * numpy.pi * n / (N - 1)
        return sum(a * (-1) ** i * numpy.cos(i * turn) for i, a in enumerate(coefficients))

    return formula


def _triangle(n, N):
    return 1 - numpy.abs(2 * n / (N - 1) - 1)


def _kaiser(beta):
    return lambda n, N: (
        numpy.i0(beta * numpy.sqrt(numpy.maximum(1 - (2 * n / (N - 1) - 1) ** 2, 0))) / numpy.i0(beta)
    )


_BLACKMAN = (0.42, 0.5, 0.08)
_NUTTALL = (0.3635819, 0.4891775, 0.1365995, 0.0106411)


# chainrule.signal.windows


def general_cosine(M, *, a, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """a[0] - a[1] cos t + a[2] cos 2t - ..., t going once round."""
    if not len(a):
        raise ValueError("general_cosine: at least one coefficient is needed, got a=()")
    return _window("general_cosine", _cosines(a), M, sym, dtype, layout, device, requires_grad)


def general_hamming(M, *, alpha=0.54, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """alpha - (1 - alpha) cos t, t going once round."""
    formula = _cosines((alpha, 1 - alpha))
    return _window("general_hamming", formula, M, sym, dtype, layout, device, requires_grad)


def hamming(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """0.54 - 0.46 cos t: the nearest side lobe is cancelled."""
    return _window("hamming", _cosines((0.54, 0.46)), M, sym, dtype, layout, device, requires_grad)


def hann(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """(1 - cos t) / 2, a raised cosine that reaches 0."""
    return _window("hann", _cosines((0.5, 0.5)), M, sym, dtype, layout, device, requires_grad)


def blackman(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """0.42 - 0.5 cos t + 0.08 cos 2t."""
    return _window("blackman", _cosines(_BLACKMAN), M, sym, dtype, layout, device, requires_grad)


def nuttall(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """The four-term window of A. H. Nuttall (1981) with the least side lobes."""
    return _window("nuttall", _cosines(_NUTTALL), M, sym, dtype, layout, device, requires_grad)


def bartlett(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """A triangle from 0 to 1 to 0."""
    return _window("bartlett", _triangle, M, sym, dtype, layout, device, requires_grad)


def cosine(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """Half a turn of the sine, sampled in the middle of each step."""
    return _window(
        "cosine",
        lambda n, N: numpy.sin(numpy.pi * (n + 0.5) / N),
        M,
        sym,
        dtype,
        layout,
        device,
        requires_grad,
    )


def exponential(
    M, *, center=None, tau=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False
):  # fmt: skip
    """exp(-|n - center| / tau); `center`, by default the middle, may be given for a periodic window only."""
    if tau <= 0:
        raise ValueError(f"exponential: tau must be positive, got {tau}")
    if sym and center is not None:
        raise ValueError(f"exponential: a symmetric window has its centre in the middle, got center={center}")

    def formula(n, N):
        middle = (N - 1) / 2 if center is None else center
        return numpy.exp(-numpy.abs(n - middle) / tau)

    return _window("exponential", formula, M, sym, dtype, layout, device, requires_grad)


def gaussian(M, *, std=1.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """exp(-x^2 / 2), x counted from the middle in units of `std` samples."""
    if std <= 0:
        raise ValueError(f"gaussian: std must be positive, got {std}")
    formula = lambda n, N: numpy.exp(-(((n - (N - 1) / 2) / std) ** 2) / 2)
    return _window("gaussian", formula, M, sym, dtype, layout, device, requires_grad)


def kaiser(M, *, beta=12.0, sym=True, dtype=None, layout=None, device=None, requires_grad=False):
    """I0(beta sqrt(1 - x^2)) / I0(beta), x from -1 to 1: J. F. Kaiser's near-optimal window (1974)."""
    if beta < 0:
        raise ValueError(f"kaiser: beta must not be negative, got {beta}")
    return _window("kaiser", _kaiser(beta), M, sym, dtype, layout, device, requires_grad)


# chainrule


def hann_window(
    window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False
):  # fmt: skip
    """(1 - cos t) / 2."""
    return _window(
        "hann_window",
        _cosines((0.5, 0.5)),
        window_length,
        not periodic,
        dtype,
        layout,
        device,
        requires_grad,
        pin_memory,
    )


def hamming_window(
    window_length, periodic=True, alpha=0.54, beta=0.46, *, dtype=None, layout=None, device=None, pin_memory=False,
    requires_grad=False,
):  # fmt: skip
    """alpha - beta cos t."""
    formula = _cosines((alpha, beta))
    return _window(
        "hamming_window",
        formula,
        window_length,
        not periodic,
        dtype,
        layout,
        device,
        requires_grad,
        pin_memory,
    )


def blackman_window(
    window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False
):  # fmt: skip
    """0.42 - 0.5 cos t + 0.08 cos 2t."""
    return _window(
        "blackman_window",
        _cosines(_BLACKMAN),
        window_length,
        not periodic,
        dtype,
        layout,
        device,
        requires_grad,
        pin_memory,
    )


def bartlett_window(
    window_length, periodic=True, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False
):  # fmt: skip
    """A triangle from 0 to 1 to 0."""
    return _window(
        "bartlett_window",
        _triangle,
        window_length,
        not periodic,
        dtype,
        layout,
        device,
        requires_grad,
        pin_memory,
    )


def kaiser_window(
    window_length, periodic=True, beta=12.0, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False
):  # fmt: skip
    """I0(beta sqrt(1 - x^2)) / I0(beta), x from -1 to 1."""
    return _window(
        "kaiser_window",
        _kaiser(beta),
        window_length,
        not periodic,
        dtype,
        layout,
        device,
        requires_grad,
        pin_memory,
    )
