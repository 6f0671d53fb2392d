"""The short-time Fourier transform and its inverse, under PyTorch's names.

A signal is read in frames of n_fft samples, hop_length apart; each is multiplied by a window and transformed. The inverse adds
the frames up where they lay and divides by what their windows add up to (Griffin and Lim, 1984).
"""

from chainrule.autograd import ops
from chainrule.autograd.ops.indexing import index_add
from chainrule.autograd.precision import precision

from . import creation
from . import fft as transforms
from .common import holds, tensor_of


def _window(window, win_length, n_fft, like, name):
    """The window, all ones by default, with zeros on both sides up to n_fft samples."""
    length = n_fft if win_length is None else win_length
    if not 0 < length <= n_fft:
        raise RuntimeError(f"{name}: expected 0 < win_length <= n_fft = {n_fft}, got {length}")
    if window is None:
        window = creation.ones(length, dtype=like.dtype.to_real(), device=like.device)
    if tensor_of(window, name).ndim != 1 or window.shape[0] != length:
        raise RuntimeError(f"{name}: expected a window of {length} samples, got shape {tuple(window.shape)}")
    left = (n_fft - length) // 2
    return ops.pad(window, ((left, n_fft - length - left),)) if length < n_fft else window


def _hop(hop_length, n_fft, name):
    hop = n_fft // 4 if hop_length is None else hop_length
    if n_fft <= 0 or hop <= 0:
        raise RuntimeError(f"{name}: n_fft and hop_length must be positive, got {n_fft} and {hop}")
    return hop


def _mirrored(place, length, mode, name):
    """Where in a signal of `length` samples to read for places before its beginning and after its end."""
    if mode == "circular":
        return place % length
    if mode == "replicate":
        return ops.clip(place, 0, length - 1)
    if mode != "reflect":
        raise RuntimeError(
            f'{name}: pad_mode must be "reflect", "replicate", "circular" or "constant", got {mode!r}'
        )
    return (length - 1) - abs(abs(place) - (length - 1))


@precision(cpu="float32")
def stft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, pad_mode="reflect", normalized=False, onesided=None,
    return_complex=None,
):  # fmt: skip
    """Transforms of the frames of a signal. (..., T) -> (..., frequencies, frames), complex.

    center: frame t is centred on sample t * hop_length, the signal continued on both sides as `pad_mode` says; otherwise it begins
    there. normalized: divided by sqrt(n_fft). onesided: only the n_fft // 2 + 1 frequencies that a real signal determines (the default
    for one). With return_complex=False real and imaginary parts lie along a new last dimension.
    """
    x = tensor_of(input, "stft")
    if x.ndim not in (1, 2):
        raise RuntimeError(f"stft: expected a signal (T) or a batch (B, T), got shape {tuple(x.shape)}")
    complex_signal = x.dtype.is_complex or (window is not None and tensor_of(window, "stft").dtype.is_complex)
    if return_complex is None and not complex_signal:
        raise RuntimeError(
            "stft: for real signals say return_complex=True (or False for real and imaginary parts)"
        )
    hop, length = _hop(hop_length, n_fft, "stft"), x.shape[-1]
    window = _window(window, win_length, n_fft, x, "stft")
    margin = n_fft // 2 if center else 0
    count = length + 2 * margin
    if count < n_fft or (margin >= length and margin and pad_mode == "reflect"):
        raise RuntimeError(f"stft: a signal of {length} samples is too short for frames of {n_fft}")
    starts = creation.arange(0, count - n_fft + 1, hop, device=x.device) - margin
    place = starts.reshape(-1, 1) + creation.arange(n_fft, device=x.device)
    if margin and pad_mode == "constant":
        x, place = ops.pad(x, ((0, 0),) * (x.ndim - 1) + ((margin, margin),)), place + margin
    elif margin:
        place = _mirrored(place, length, pad_mode, "stft")
    frames = x[..., place] * window
    half = not complex_signal if onesided is None else onesided
    if half and complex_signal:
        raise RuntimeError("stft: a complex signal has no one-sided transform; use onesided=False")
    transform = transforms.rfft if half else transforms.fft
    y = ops.swapaxes(transform(frames, norm="ortho" if normalized else None), -1, -2)
    return y if return_complex or return_complex is None else _parts(y)


def _parts(y):
    return ops.stack([ops.real(y), ops.real(y * -1j)], -1)


def istft(
    input, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False, onesided=None, length=None,
    return_complex=False,
):  # fmt: skip
    """The signal whose `stft` is nearest to the input. (..., frequencies, frames) -> (..., T); real unless `return_complex`.

    length: how many samples to return, by default as many as the frames cover (from the centre of the first to that of the last,
    if `center`). The windows of the frames must not add up to 0 on any of them.
    """
    y = tensor_of(input, "istft")
    if y.ndim not in (2, 3) or not y.dtype.is_complex:
        raise RuntimeError(
            f"istft: expected complex transforms (..., frequencies, frames), got shape {tuple(y.shape)}, {y.dtype}"
        )
    half = y.shape[-2] != n_fft if onesided is None else onesided
    if y.shape[-2] != (n_fft // 2 + 1 if half else n_fft) or (half and return_complex):
        raise RuntimeError(
            f"istft: n_fft = {n_fft} does not fit {y.shape[-2]} frequencies, shape {tuple(y.shape)}"
        )
    hop = _hop(hop_length, n_fft, "istft")
    window = _window(window, win_length, n_fft, y, "istft")
    norm, spectra = "ortho" if normalized else None, ops.swapaxes(y, -1, -2)
    if return_complex:
        frames = transforms.ifft(spectra, norm=norm)
    else:  # a real signal is determined by half of its frequencies
        frames = transforms.irfft(spectra[..., : n_fft // 2 + 1], n_fft, norm=norm)
    count = y.shape[-1]
    total = n_fft + hop * (count - 1)
    place = hop * creation.arange(count, device=y.device).reshape(-1, 1) + creation.arange(
        n_fft, device=y.device
    )
    signal = _added_up(frames * window, place, total)
    weight = _added_up(ops.broadcast_to(ops.square(window), (count, n_fft)), place, total)
    start = n_fft // 2 if center else 0
    end = total - start if length is None else start + length
    signal, weight = signal[..., start:end], weight[start:end]
    if holds((abs(weight) < 1e-11).any()):
        raise RuntimeError(
            "istft: the windows of the frames add up to 0 on some sample; use a longer window or a smaller hop_length"
        )
    signal = signal / weight
    missing = 0 if length is None else length - signal.shape[-1]
    return ops.pad(signal, ((0, 0),) * (signal.ndim - 1) + ((0, missing),)) if missing > 0 else signal


def _added_up(frames, place, total):
    """Frames added into a signal of `total` samples, each sample at its place."""
    lined = frames.reshape(*frames.shape[:-2], frames.shape[-2] * frames.shape[-1])
    zeros = lined.new_zeros(*lined.shape[:-1], total)
    return index_add(zeros, lined, index=place.reshape(-1)._array, axis=lined.ndim - 1)
