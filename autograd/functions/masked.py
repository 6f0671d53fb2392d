"""Reductions, running sums and normalizations that look only at the elements a bool mask lets through.

The masked elements are replaced by what changes nothing (0 in a sum, 1 in a product, -inf in a maximum) before the plain
operation sees them. Therefore a NaN or an infinity under the mask reaches neither the result nor any gradient, and masked
elements get the gradient 0. The mask broadcasts to the input; where all elements of a reduction are masked, the result
is what the replacements give (0 for a sum, NaN for a mean). Results have the dtype of the input, or `dtype`, where
PyTorch's have, also where that rounds: `logsumexp` of integers.
"""

import math

from chainrule.autograd import ops
from chainrule.backends import dtypes

from . import reduction, sorting
from .common import tensor_of, wrap_dim


def _filled(input, mask, fill, dtype, name):
    """The input in `dtype` with `fill` where the mask is False."""
    x = tensor_of(input, name)
    x = x if dtype is None else x.to(dtype)
    if mask is None:
        return x
    _check(mask, x, name)
    return ops.where(mask, x, x.new_full((), fill))


def _check(mask, x, name):
    if tensor_of(mask, name).dtype is not dtypes.bool:
        raise TypeError(f"masked.{name}: expected a mask of dtype bool, got {mask.dtype}")
    shape = tuple(x.shape)
    if mask.ndim > x.ndim:
        raise IndexError(f"masked.{name}: the mask has {mask.ndim} dimensions, the input {x.ndim}: {shape}")
    if any(m not in (1, n) for m, n in zip(reversed(mask.shape), reversed(shape), strict=False)):
        raise RuntimeError(
            f"masked.{name}: a mask of shape {tuple(mask.shape)} does not broadcast to {shape}"
        )


def _lowest(x):
    """The number of x's dtype below all others; `_highest` above them."""
    if x.dtype is dtypes.bool:
        return False
    return -math.inf if x.dtype.is_floating_point or x.dtype.is_complex else dtypes.iinfo(x.dtype).min


def _highest(x):
    if x.dtype is dtypes.bool:
        return True
    return math.inf if x.dtype.is_floating_point else dtypes.iinfo(x.dtype).max


def _cast(input, dtype, name):
    x = tensor_of(input, name)
    return x if dtype is None else x.to(dtype)


def _floating(input, dtype, name):
    x = _cast(input, dtype, name)
    if x.dtype.is_floating_point or x.dtype.is_complex:
        return x
    return x.to(dtypes.get_default_dtype())


def _count(x, dim, keepdim, mask):
    """How many elements of each reduction the mask lets through."""
    ones = x.detach().new_ones(x.shape, dtype=dtypes.int64)
    return reduction.sum(ones if mask is None else ops.where(mask, ones, 0), dim, keepdim)


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Sum over `dim`, all by default; 0 where everything is masked."""
    return reduction.sum(_filled(input, mask, 0, dtype, "sum"), dim, keepdim)


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Product over `dim`, all by default; 1 where everything is masked."""
    x = _filled(input, mask, 1, dtype, "prod")
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = sorted({wrap_dim(one, x.ndim, "prod") for one in dims or range(x.ndim)}, reverse=True)
    if not dims:
        return reduction.prod(x)
    for one in dims:
        x = reduction.prod(x, one, keepdim)
    return x


def cumsum(input, dim, *, dtype=None, mask=None):
    """Running sum along `dim`; masked elements add nothing."""
    x = _filled(input, mask, 0, dtype, "cumsum")
    return reduction.cumsum(x, dim, dtype=x.dtype)


def cumprod(input, dim, *, dtype=None, mask=None):
    """Running product along `dim`; masked elements change nothing."""
    x = _filled(input, mask, 1, dtype, "cumprod")
    return reduction.cumprod(x, dim, dtype=x.dtype)


def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Largest element over `dim`; the lowest number where everything is masked."""
    x = _cast(input, dtype, "amax")
    return reduction.amax(_filled(x, mask, _lowest(x), None, "amax"), dim, keepdim)


def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Smallest element over `dim`; the highest number where everything is masked."""
    x = _cast(input, dtype, "amin")
    return reduction.amin(_filled(x, mask, _highest(x), None, "amin"), dim, keepdim)


def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the largest element lies along `dim`, or in the flattened input; as PyTorch has it, in the dtype of the input."""
    x = _cast(input, dtype, "argmax")
    return reduction.argmax(_filled(x, mask, _lowest(x), None, "argmax"), dim, keepdim).to(x.dtype)


def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Where the smallest element lies along `dim`, or in the flattened input; as PyTorch has it, in the dtype of the input."""
    x = _cast(input, dtype, "argmin")
    return reduction.argmin(_filled(x, mask, _highest(x), None, "argmin"), dim, keepdim).to(x.dtype)


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Mean over `dim`; NaN where everything is masked."""
    x = _floating(input, dtype, "mean")
    total = reduction.sum(_filled(x, mask, 0, None, "mean"), dim, keepdim)
    return total / _count(x, dim, keepdim, mask).to(total.dtype)


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """The middle element along `dim`, the lower of two; NaNs count as masked, and NaN comes out where everything is."""
    x = _cast(input, dtype, "median")
    whole = not x.dtype.is_floating_point
    values = x.to(dtypes.get_default_dtype()) if whole else x
    values = _filled(values, mask, math.nan, None, "median")
    missing = ops.isnan(values)
    axis = wrap_dim(dim, x.ndim, "median")
    count = _count(values, axis, True, ~missing) if x.ndim else (~missing).long()
    if not x.ndim:
        return values.to(x.dtype)
    ordered = sorting.sort(ops.where(missing, math.inf, values), dim=axis).values
    middle = ops.take_along_axis(ordered, ((count - 1).clamp(min=0) // 2)._array, axis=axis)
    middle = ops.where(count > 0, middle, math.nan)
    if whole and bool((count == 0).any()):
        raise ValueError(
            f"masked.median: everything is masked in some row, and {x.dtype} has no NaN to say so; use a float dtype"
        )
    return (middle if keepdim else middle.squeeze(axis)).to(x.dtype)


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """The vector norm (sum |x|^ord)^(1/ord) over `dim`."""
    fill = math.inf if ord == -math.inf else 0
    return reduction.norm(_filled(input, mask, fill, dtype, "norm"), ord, dim, keepdim)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """Variance over `dim`: squared deviations / (n - correction), n the count of unmasked elements, correction 1 by default."""
    if unbiased is not None and correction is not None:
        raise RuntimeError("masked.var: give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    x = _filled(_floating(input, dtype, "var"), mask, 0, None, "var")
    count = _count(x, dim, True, mask).to(x.dtype.to_real())
    away = x - reduction.sum(x, dim, True) / count
    away = away if mask is None else ops.where(mask, away, 0)
    squares = ops.square(away) if not x.dtype.is_complex else ops.real(away * ops.conj(away))
    left = (count - correction).clamp(min=0)
    total = reduction.sum(squares, dim, keepdim)
    return (total / (left if keepdim else left.reshape(total.shape))).to(x.dtype)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """Standard deviation over `dim`: the square root of `var`."""
    x = _floating(input, dtype, "std")
    variance = var(x, dim, unbiased, correction=correction, keepdim=keepdim, mask=mask)
    return ops.sqrt(variance)


def softmax(input, dim, *, dtype=None, mask=None):
    """e^x / sum e^x along `dim`, masked elements being 0; NaN where everything is masked."""
    from .arithmetic import softmax as plain

    return plain(_filled(input, mask, -math.inf, dtype, "softmax"), dim)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """log(softmax(x)) along `dim`, masked elements being -inf."""
    from .arithmetic import log_softmax as plain

    return plain(_filled(input, mask, -math.inf, dtype, "log_softmax"), dim)


def softmin(input, dim, *, dtype=None, mask=None):
    """softmax(-x) along `dim`, masked elements being 0."""
    return softmax(-_cast(input, dtype, "softmin"), dim, mask=mask)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """x / max(|x|_ord, eps) along `dim`, masked elements being 0."""
    x = _filled(input, mask, 0, dtype, "normalize")
    size = norm(input, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    return x / ops.maximum(size, size.new_full((), eps))


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(e^input + e^other), a masked element adding nothing."""
    return ops.logaddexp(
        _filled(input, input_mask, -math.inf, dtype, "logaddexp"),
        _filled(other, other_mask, -math.inf, dtype, "logaddexp"),
    )


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """log(sum e^x) over `dim`; -inf where everything is masked."""
    x = _cast(input, dtype, "logsumexp")
    x = _filled(x, mask, _lowest(x), None, "logsumexp")
    return reduction.logsumexp(x, tuple(range(x.ndim)) if dim is None else dim, keepdim).to(x.dtype)
