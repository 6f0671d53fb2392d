"""Fourier transforms beyond the table: complex derivatives, round trips, dtypes, errors."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import fft
from chainrule.autograd.functions import stft


def random(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_derivatives(norm, n):
    """Of every transform, with its imaginary parts that a real signal does not have, to second order."""
    cases = [
        (lambda x: fft.fft(x, norm=norm), random(2, n).real),
        (lambda x: fft.fft(x, norm=norm), random(2, n)),
        (lambda x: fft.ifft(x, dim=0, norm=norm), random(n, 2)),
        (lambda x: fft.rfft(x, norm=norm), random(2, n).real),
        (lambda x: fft.irfft(x, n, norm=norm), random(2, n // 2 + 1)),
        (lambda x: fft.irfft(x, n, norm=norm), random(2, n // 2 + 1).real),
        (lambda x: fft.hfft(x, n, norm=norm), random(2, n // 2 + 1)),
        (lambda x: fft.ihfft(x, norm=norm), random(2, n).real),
    ]
    for function, array in cases:
        x = cr.tensor(array, requires_grad=True)
        assert cr.autograd.gradcheck(function, [x], atol=1e-7)
        assert cr.autograd.gradgradcheck(function, [x], atol=1e-7)


@pytest.mark.parametrize("norm", [None, "backward", "ortho", "forward"])
@pytest.mark.parametrize(
    "there, back",
    [("fft", "ifft"), ("rfft", "irfft"), ("ihfft", "hfft"), ("fft2", "ifft2"), ("rfft2", "irfft2"), ("ihfft2", "hfft2"), ("fftn", "ifftn"), ("rfftn", "irfftn"), ("ihfftn", "hfftn")],
)  # fmt: skip
def test_round_trips(there, back, norm):
    x = cr.tensor(random(3, 4, 6).real)
    y = getattr(fft, back)(getattr(fft, there)(x, norm=norm), norm=norm)
    np.testing.assert_allclose(y.numpy(), x.numpy(), atol=1e-12)


def test_dtypes():
    assert fft.fft(cr.ones(4)).dtype is cr.complex64
    assert fft.fft(cr.ones(4, dtype=cr.float64)).dtype is cr.complex128
    assert fft.rfft(cr.ones(4, dtype=cr.int64)).dtype is cr.complex64
    assert fft.irfft(cr.ones(4, dtype=cr.complex64)).dtype is cr.float32
    x = cr.ones(2, 4, requires_grad=True)
    fft.irfft(fft.rfft(x)).sum().backward()
    assert x.grad.dtype is cr.float32
    assert fft.fftfreq(4).dtype is cr.float32 and fft.rfftfreq(4, requires_grad=True).requires_grad


def test_a_real_input_gets_a_real_gradient():
    x = cr.tensor(random(6).real, requires_grad=True)
    y = fft.fft(x)
    (y * y.conj()).real.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * 6 * x.detach().numpy())


@pytest.mark.parametrize("normalized", [False, True])
def test_the_signal_comes_back_from_its_short_time_transform(normalized):
    x = cr.tensor(random(2, 30).real)
    window = cr.tensor(np.hanning(9)[:8])
    y = stft.stft(x, 8, 2, window=window, normalized=normalized, return_complex=True)
    np.testing.assert_allclose(
        stft.istft(y, 8, 2, window=window, normalized=normalized, length=30).numpy(), x.numpy(), atol=1e-12
    )
    z = cr.tensor(random(30))
    y = stft.stft(z, 8, 2, window=window, normalized=normalized)
    assert tuple(y.shape) == (8, 16)
    np.testing.assert_allclose(
        stft.istft(y, 8, 2, window=window, normalized=normalized, length=30, return_complex=True).numpy(),
        z.numpy(),
        atol=1e-12,
    )
    parts = stft.stft(x, 8, return_complex=False)
    assert tuple(parts.shape) == (2, 5, 16, 2) and parts.dtype is cr.float64


INVALID = [
    (lambda x: fft.fft(x, n=0), "fft.fft: cannot transform 0 points"),
    (lambda x: fft.fft(x, norm="unitary"), "fft.fft: norm must be"),
    (lambda x: fft.fft(x, dim=5), "fft.fft: dimension out of range"),
    (lambda x: fft.fft2(x, s=(2,)), "fft.fftn: got 1 lengths"),
    (lambda x: fft.fftn(x, dim=(0, 0)), "fft.fftn: dims must be distinct"),
    (lambda x: fft.rfft(x * 1j), "fft.rfft: expected a real input, got chainrule.complex64"),
    (lambda x: fft.fft(x.half()), "fft.fft: expected float32, float64 or complex"),
    (lambda x: fft.irfft(x[:, :1]), "fft.irfft: cannot transform to 0 points"),
    (lambda x: fft.fft(x[:, :0]), "fft.fft: cannot transform 0 points"),
    (lambda x: fft.fft(x.sum()), "fft.fft: expected at least 1 dimension"),
    (lambda x: fft.fftn(x, s=(1, 2, 3)), "fft.fftn: got 3 lengths for a tensor of 2"),
    (lambda x: fft.fft([1.0]), "fft.fft: expected a Tensor, got list"),
    (lambda x: fft.fftfreq(0), "fft.fftfreq: n must be a positive int"),
    (lambda x: stft.stft(x, 4), "stft: for real signals say return_complex=True"),
    (
        lambda x: stft.stft(x, 40, return_complex=True),
        "stft: a signal of 4 samples is too short for frames of 40",
    ),
    (
        lambda x: stft.stft(x, 4, window=cr.ones(3), return_complex=True),
        "stft: expected a window of 4 samples",
    ),
    (lambda x: stft.stft(x, 4, win_length=5, return_complex=True), "stft: expected 0 < win_length <= n_fft"),
    (lambda x: stft.stft(x, 4, pad_mode="mirror", return_complex=True), "stft: pad_mode must be"),
    (lambda x: stft.stft(x * 1j, 4, onesided=True), "stft: a complex signal has no one-sided transform"),
    (lambda x: stft.istft(x, 4), "istft: expected complex transforms"),
    (lambda x: stft.istft(x * 1j, 8), "istft: n_fft = 8 does not fit 2 frequencies"),
    (lambda x: stft.istft(x * 1j, 2, 1, window=cr.zeros(2)), "istft: the windows of the frames add up to 0"),
    (lambda x: fft.rfftn(x, dim=()), "fft.rfftn: expected at least 1 dimension to transform"),
]


@pytest.mark.parametrize("call", INVALID, ids=lambda call: call[1][:40])
def test_invalid_calls_say_what_is_wrong(call):
    function, message = call
    with pytest.raises((RuntimeError, TypeError, IndexError), match=message):
        function(cr.ones(2, 4))
