"""Discrete Fourier transforms under the names of `torch.fft`.

n, s: lengths to which the input is cut or padded with zeros before it is transformed. norm: where the factor 1/n of a round trip
goes: "backward" (None: on the inverse transform), "forward", or "ortho" (half on each, which makes the transform unitary).
"""

from chainrule.autograd import ops
from chainrule.autograd.ops import fft as transforms
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from . import creation
from .common import tensor_of, wrap_dim

_NORMS = {None: "backward", "backward": "backward", "forward": "forward", "ortho": "ortho"}
_TURNED = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def _norm(norm, name):
    if norm not in _NORMS:
        raise RuntimeError(f'{name}: norm must be "backward", "forward" or "ortho", got {norm!r}')
    return _NORMS[norm]


def _input(value, name, kind):
    """The input as numbers a transform takes: "real", "complex" or either."""
    x = tensor_of(value, name)
    if x.dtype.is_complex:
        if kind == "real":
            raise RuntimeError(
                f"{name}: expected a real input, got {x.dtype}; use the transform of complex numbers"
            )
        return x
    if not x.dtype.is_floating_point:
        x = x.to(dtypes.get_default_dtype())
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            f"{name}: expected float32, float64 or complex numbers, got {x.dtype}; convert with .float()"
        )
    return x.to(x.dtype.to_complex()) if kind == "complex" else x


def _axes(x, s, dim, name):
    """The dimensions to transform and the lengths asked for (None where the input's own)."""
    if isinstance(dim, int):
        dim = (dim,)
    if isinstance(s, int):
        s = (s,)
    if dim is None:
        dim = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
        if s is not None and len(s) > x.ndim:
            raise RuntimeError(f"{name}: got {len(s)} lengths for a tensor of {x.ndim} dimensions")
    axes = tuple(wrap_dim(one, x.ndim, name) for one in dim) if x.ndim or len(dim) else ()
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"{name}: dims must be distinct, got {tuple(dim)}")
    lengths = (None,) * len(axes) if s is None else tuple(None if n in (-1, None) else n for n in s)
    if len(lengths) != len(axes):
        raise RuntimeError(f"{name}: got {len(lengths)} lengths {tuple(s)} for {len(axes)} dims {tuple(dim)}")
    if x.ndim == 0 and axes:
        raise RuntimeError(f"{name}: expected at least 1 dimension, got a 0-d tensor")
    return axes, lengths


def _fitted(x, axes, lengths, name):
    """x cut or padded with zeros to the lengths."""
    window, widths = [slice(None)] * x.ndim, [(0, 0)] * x.ndim
    for axis, n in zip(axes, lengths, strict=True):
        if (x.shape[axis] if n is None else n) < 1:
            raise RuntimeError(
                f"{name}: cannot transform {x.shape[axis] if n is None else n} points; n must be at least 1"
            )
        if n is not None and n < x.shape[axis]:
            window[axis] = slice(0, n)
        elif n is not None:
            widths[axis] = (0, n - x.shape[axis])
    x = x[tuple(window)] if any(one != slice(None) for one in window) else x
    return ops.pad(x, tuple(widths)) if any(after for _, after in widths) else x


def _complex_transform(op, input, s, dim, norm, name):
    x = _input(input, name, "complex")
    axes, lengths = _axes(x, s, dim, name)
    x = _fitted(x, axes, lengths, name)
    return op(x, axes, _norm(norm, name)) if axes else ops.positive(x)


def _real_forward(input, s, dim, norm, name):
    """The last of the dimensions as a real transform, the others as complex ones."""
    x = _input(input, name, "real")
    axes, lengths = _axes(x, s, dim, name)
    if not axes:
        raise RuntimeError(f"{name}: expected at least 1 dimension to transform")
    norm = _norm(norm, name)
    x = transforms.rfft(_fitted(x, axes, lengths, name), axes[-1], norm)
    return transforms.fftn(x, axes[:-1], norm) if len(axes) > 1 else x


def _real_inverse(input, s, dim, norm, name):
    """The inverse of `_real_forward`: all but the last dimension, then the last, of length 2 (m - 1) by default."""
    x = _input(input, name, "complex")
    axes, lengths = _axes(x, s, dim, name)
    if not axes:
        raise RuntimeError(f"{name}: expected at least 1 dimension to transform")
    norm = _norm(norm, name)
    n = 2 * (x.shape[axes[-1]] - 1) if lengths[-1] is None else lengths[-1]
    if n < 1:
        raise RuntimeError(f"{name}: cannot transform to {n} points; give the length of the result")
    x = _fitted(x, axes, (*lengths[:-1], n // 2 + 1), name)
    x = transforms.ifftn(x, axes[:-1], norm) if len(axes) > 1 else x
    return transforms.irfft(x, n=n, axis=axes[-1], norm=norm)


def _turned(norm, name):
    """The norm under which a forward transform is an inverse one: what turns `irfft` of conjugates into `hfft`."""
    return _TURNED[_norm(norm, name)]


def _conj(x, name):
    x = tensor_of(x, name)
    return ops.conj(x) if x.dtype.is_complex else x


# --- one dimension ---


@precision(cpu="float32")
def fft(input, n=None, dim=-1, norm=None):
    """y_k = sum_j x_j e^(-2 pi i j k / n) along `dim`; complex."""
    return _complex_transform(transforms.fftn, input, n, dim, norm, "fft.fft")


@precision(cpu="float32")
def ifft(input, n=None, dim=-1, norm=None):
    """The inverse of `fft`."""
    return _complex_transform(transforms.ifftn, input, n, dim, norm, "fft.ifft")


@precision(cpu="float32")
def rfft(input, n=None, dim=-1, norm=None):
    """The first n // 2 + 1 frequencies of `fft` for a real input; the others are their conjugates."""
    return _real_forward(input, n, dim, norm, "fft.rfft")


@precision(cpu="float32")
def irfft(input, n=None, dim=-1, norm=None):
    """The inverse of `rfft`: a real signal of length n, by default 2 (m - 1) for m frequencies."""
    return _real_inverse(input, n, dim, norm, "fft.irfft")


@precision(cpu="float32")
def hfft(input, n=None, dim=-1, norm=None):
    """`fft` of a signal that is Hermitian, of which the first half is given: real, of length n, by default 2 (m - 1)."""
    return _real_inverse(_conj(input, "fft.hfft"), n, dim, _turned(norm, "fft.hfft"), "fft.hfft")


@precision(cpu="float32")
def ihfft(input, n=None, dim=-1, norm=None):
    """The inverse of `hfft`: the first half of a Hermitian signal, for a real spectrum."""
    return ops.conj(_real_forward(input, n, dim, _turned(norm, "fft.ihfft"), "fft.ihfft"))


# --- several dimensions ---


@precision(cpu="float32")
def fftn(input, s=None, dim=None, norm=None):
    """`fft` along several dimensions: `dim`, or the last len(s), or all."""
    return _complex_transform(transforms.fftn, input, s, dim, norm, "fft.fftn")


@precision(cpu="float32")
def ifftn(input, s=None, dim=None, norm=None):
    """The inverse of `fftn`."""
    return _complex_transform(transforms.ifftn, input, s, dim, norm, "fft.ifftn")


@precision(cpu="float32")
def rfftn(input, s=None, dim=None, norm=None):
    """`fftn` of a real input, without the half of the last dimension that the other half determines."""
    return _real_forward(input, s, dim, norm, "fft.rfftn")


@precision(cpu="float32")
def irfftn(input, s=None, dim=None, norm=None):
    """The inverse of `rfftn`: real; the last dimension has by default an even length."""
    return _real_inverse(input, s, dim, norm, "fft.irfftn")


def hfftn(input, s=None, dim=None, norm=None):
    """`fftn` of a Hermitian signal, of which half of the last dimension is given: real."""
    return _real_inverse(_conj(input, "fft.hfftn"), s, dim, _turned(norm, "fft.hfftn"), "fft.hfftn")


def ihfftn(input, s=None, dim=None, norm=None):
    """The inverse of `hfftn`."""
    return ops.conj(_real_forward(input, s, dim, _turned(norm, "fft.ihfftn"), "fft.ihfftn"))


def _two_dimensional(function, name, text):
    def transform(input, s=None, dim=(-2, -1), norm=None):
        return function(input, s, dim, norm)

    transform.__name__ = transform.__qualname__ = name
    transform.__doc__ = f"`{text}` along two dimensions, by default the last two."
    return transform


fft2, ifft2 = _two_dimensional(fftn, "fft2", "fftn"), _two_dimensional(ifftn, "ifft2", "ifftn")
rfft2, irfft2 = _two_dimensional(rfftn, "rfft2", "rfftn"), _two_dimensional(irfftn, "irfft2", "irfftn")
hfft2, ihfft2 = _two_dimensional(hfftn, "hfft2", "hfftn"), _two_dimensional(ihfftn, "ihfft2", "ihfftn")


# --- frequencies ---


def _whole(n, name):
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise RuntimeError(f"{name}: n must be a positive int, got {n!r}")


def fftfreq(n, d=1.0, *, dtype=None, device=None, requires_grad=False):
    """The frequencies of `fft` of n samples, d apart: 0, 1, ... up to the middle, then the negative ones, over n d."""
    _whole(n, "fft.fftfreq")
    k = creation.arange(n, dtype=dtype or dtypes.get_default_dtype(), device=device)
    k = ops.where(k >= (n + 1) // 2, k - n, k) * (1.0 / (n * d))
    return k.requires_grad_() if requires_grad else k


def rfftfreq(n, d=1.0, *, dtype=None, device=None, requires_grad=False):
    """The frequencies of `rfft` of n samples, d apart: 0, 1, ... n // 2, over n d."""
    _whole(n, "fft.rfftfreq")
    k = creation.arange(n // 2 + 1, dtype=dtype or dtypes.get_default_dtype(), device=device) * (
        1.0 / (n * d)
    )
    return k.requires_grad_() if requires_grad else k


def _shifted(input, dim, name, shift):
    x = tensor_of(input, name)
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = tuple(wrap_dim(one, x.ndim, name) for one in dims)
    return ops.roll(x, tuple(shift(x.shape[axis]) for axis in axes), axes) if axes else ops.positive(x)


def fftshift(input, dim=None):
    """The frequencies reordered so that 0 lies in the middle of `dim` (of all dimensions by default)."""
    return _shifted(input, dim, "fft.fftshift", lambda n: n // 2)


def ifftshift(input, dim=None):
    """The inverse of `fftshift`."""
    return _shifted(input, dim, "fft.ifftshift", lambda n: -(n // 2))
