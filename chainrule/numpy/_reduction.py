"""Sums, extremes, statistics, sorting. `axis` is None, an int or a tuple; `keepdims` keeps the reduced axes with length 1."""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions import sorting, statistics

from ._common import axis_of, floating, integers_to_int64, promoted, tensor, together

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "argsort", "average", "corrcoef", "count_nonzero", "cov", "cumprod", "cumsum", "diff",
    "max", "mean", "median", "min", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum", "nanvar", "percentile", "prod", "ptp",
    "quantile", "sort", "std", "sum", "trapezoid", "var",
]  # fmt: skip

_any, _sum = any, sum  # the built-ins, before the names are ours


def sum(a, axis=None, dtype=None, *, keepdims=False):
    """Sum; integers and bools sum to int64."""
    return ops.sum(integers_to_int64(a, dtype), axis, keepdims)


def prod(a, axis=None, dtype=None, *, keepdims=False):
    """Product; the gradient is right also where elements are 0."""
    return ops.prod(integers_to_int64(a, dtype), axis, keepdims)


def mean(a, axis=None, dtype=None, *, keepdims=False):
    """Arithmetic mean."""
    return ops.mean(floating(a, dtype), axis, keepdims)


def average(a, axis=None, weights=None, *, keepdims=False):
    """The mean, weighted by `weights` of the shape of `a` or of its one axis."""
    x = floating(a)
    if weights is None:
        return ops.mean(x, axis, keepdims)
    w = together(x, weights)[1]
    if w.shape != x.shape:
        if not isinstance(axis, int) or w.ndim != 1 or w.shape[0] != x.shape[axis]:
            raise ValueError(
                f"average: weights of shape {tuple(w.shape)} fit neither shape {tuple(x.shape)} nor its axis {axis}"
            )
        w = w.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])
    total = ops.sum(ops.broadcast_to(w, tuple(x.shape)), axis, keepdims)
    return ops.sum(x * w, axis, keepdims) / total


def var(a, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Variance, sum of squared deviations / (n - ddof)."""
    return ops.var(floating(a, dtype), axis, ddof, keepdims)


def std(a, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Standard deviation, the square root of `var`."""
    return ops.sqrt(var(a, axis, dtype, ddof=ddof, keepdims=keepdims))


def max(a, axis=None, *, keepdims=False):
    """Largest element; ties share the gradient equally."""
    return ops.amax(tensor(a), axis, keepdims)


def min(a, axis=None, *, keepdims=False):
    """Smallest element; ties share the gradient equally."""
    return ops.amin(tensor(a), axis, keepdims)


amax, amin = max, min


def ptp(a, axis=None, *, keepdims=False):
    """Largest minus smallest element."""
    return max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)


def argmax(a, axis=None, *, keepdims=False):
    """Index of the largest element, the first at a tie; into the flattened array if axis is None."""
    return ops.argmax(tensor(a), axis, keepdims)


def argmin(a, axis=None, *, keepdims=False):
    """Index of the smallest element, the first at a tie; into the flattened array if axis is None."""
    return ops.argmin(tensor(a), axis, keepdims)


def all(a, axis=None, *, keepdims=False):
    """Whether every element is true."""
    return ops.all(tensor(a), axis, keepdims)


def any(a, axis=None, *, keepdims=False):
    """Whether some element is true."""
    return ops.any(tensor(a), axis, keepdims)


def count_nonzero(a, axis=None):
    """How many elements are not 0."""
    return ops.count_nonzero(tensor(a), axis=axis)


# --- leaving out NaNs ---


def _without_nan(a, value):
    """The array with NaNs replaced, through which no gradient reaches them, and where they were."""
    x = tensor(a)
    missing = ops.isnan(x)
    return ops.where(missing, value, x), missing


def nansum(a, axis=None, dtype=None, *, keepdims=False):
    """Sum of the elements that are not NaN."""
    return sum(_without_nan(a, 0)[0], axis, dtype, keepdims=keepdims)


def nanprod(a, axis=None, dtype=None, *, keepdims=False):
    """Product of the elements that are not NaN."""
    return prod(_without_nan(a, 1)[0], axis, dtype, keepdims=keepdims)


def nanmean(a, axis=None, dtype=None, *, keepdims=False):
    """Mean of the elements that are not NaN."""
    x, missing = _without_nan(floating(a, dtype), 0)
    return ops.sum(x, axis, keepdims) / ops.sum(ops.astype(~missing, dtype=x._array.dtype), axis, keepdims)


def nanvar(a, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Variance of the elements that are not NaN."""
    x, missing = _without_nan(floating(a, dtype), 0)
    counted = ops.astype(~missing, dtype=x._array.dtype)
    count = ops.sum(counted, axis, True)
    off = (x - ops.sum(x, axis, True) / count) * counted
    return ops.sum(ops.square(ops.absolute(off)), axis, keepdims) / (
        (count if keepdims else ops.sum(counted, axis)) - ddof
    )


def nanstd(a, axis=None, dtype=None, *, ddof=0, keepdims=False):
    """Standard deviation of the elements that are not NaN."""
    return ops.sqrt(nanvar(a, axis, dtype, ddof=ddof, keepdims=keepdims))


def nanmax(a, axis=None, *, keepdims=False):
    """Largest element that is not NaN; NaN where all are."""
    x, missing = _without_nan(a, -math.inf)
    return ops.where(ops.all(missing, axis, keepdims), math.nan, max(x, axis, keepdims=keepdims))


def nanmin(a, axis=None, *, keepdims=False):
    """Smallest element that is not NaN; NaN where all are."""
    x, missing = _without_nan(a, math.inf)
    return ops.where(ops.all(missing, axis, keepdims), math.nan, min(x, axis, keepdims=keepdims))


# --- running ---


def _scan(operation, a, axis, dtype):
    x = integers_to_int64(a, dtype)
    return operation(x.reshape(-1), axis=0) if axis is None else operation(x, axis=axis)


def cumsum(a, axis=None, dtype=None):
    """Running sum along `axis`, of the flattened array if it is None."""
    return _scan(ops.cumsum, a, axis, dtype)


def cumprod(a, axis=None, dtype=None):
    """Running product along `axis`, of the flattened array if it is None."""
    return _scan(ops.cumprod, a, axis, dtype)


def _ends(x, axis):
    """All but the first and all but the last slice along `axis`."""
    before = (slice(None),) * axis
    return x[(*before, slice(1, None))], x[(*before, slice(None, -1))]


def diff(a, n=1, axis=-1, prepend=None, append=None):
    """Each element minus the one before it along `axis`, n times over."""
    x = tensor(a)
    if n < 0:
        raise ValueError(f"diff: n must not be negative, got {n}")
    axis = axis_of(axis, x, "diff")
    parts = []
    for one in (prepend, x, append):
        if one is not None:
            one = together(x, one)[1]
            flat = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
            parts.append(ops.broadcast_to(one, flat) if one.ndim == 0 else one)
    x = ops.concatenate(parts, axis) if len(parts) > 1 else x
    for _ in range(n):
        after, before = _ends(x, axis)
        x = ops.not_equal(after, before) if x.dtype.name == "bool" else after - before
    return x


def trapezoid(y, x=None, dx=1.0, axis=-1):
    """The integral along `axis` by the trapezoidal rule."""
    y = tensor(y)
    axis = axis_of(axis, y, "trapezoid")
    if x is not None:
        x = together(y, x)[1]
        dx = diff(x, axis=-1 if x.ndim == 1 else axis)
        dx = dx.reshape([-1 if i == axis else 1 for i in range(y.ndim)]) if x.ndim == 1 else dx
    after, before = _ends(y, axis)
    return ops.sum(dx * (after + before) / 2.0, axis)


# --- order ---


def sort(a, axis=-1):
    """The elements in ascending order along `axis`, of the flattened array if it is None; NaNs last."""
    x = tensor(a)
    return sorting.sort(x.reshape(-1) if axis is None else x, -1 if axis is None else axis).values


def argsort(a, axis=-1):
    """The indices that sort along `axis`, of the flattened array if it is None; equal elements keep their order."""
    x = tensor(a)
    return sorting.argsort(x.reshape(-1) if axis is None else x, -1 if axis is None else axis)


def quantile(a, q, axis=None, *, keepdims=False):
    """The q-quantiles (0 <= q <= 1), linear between neighbours; several q come first. Gradients go to those neighbours."""
    x = floating(a)
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(axis_of(one, x, "quantile") for one in axes)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    # The reduced axes come first, as one.
    lined = (
        ops.transpose(x, (*axes, *rest)).reshape((-1, *(x.shape[i] for i in rest)))
        if x.ndim
        else x.reshape(1)
    )
    q = floating(q).detach().to(x.device)
    if not bool(((q >= 0) & (q <= 1)).all()):
        raise ValueError(f"quantile: q must lie between 0 and 1, got {q.tolist()}")
    count = lined.shape[0]
    if count == 0:
        raise ValueError(f"quantile: no elements to choose from in shape {tuple(x.shape)} along axis {axis}")
    ordered = sorting.sort(lined, 0).values
    place = q.double() * (count - 1)
    low = ops.floor(place)
    share = (place - low).to(x.dtype).reshape((*q.shape, *(1 for _ in rest)))
    low = low.long()
    first, second = ordered[low], ordered[ops.minimum(low + 1, count - 1)]
    found = ops.where(ops.any(ops.isnan(lined), 0), math.nan, first + (second - first) * share)
    if keepdims:
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        found = found.reshape((*q.shape, *shape))
    return found


def percentile(a, q, axis=None, *, keepdims=False):
    """The q-th percentiles (0 <= q <= 100); see `quantile`."""
    return quantile(a, floating(q) / 100, axis, keepdims=keepdims)


def median(a, axis=None, *, keepdims=False):
    """The middle element, or the mean of the two in the middle."""
    return quantile(a, 0.5, axis, keepdims=keepdims)


# --- covariance ---


def cov(m, y=None, rowvar=True, bias=False, ddof=None, fweights=None, aweights=None):
    """The covariance matrix of variables in rows (in columns if not `rowvar`), divided by n - 1 (n if `bias`)."""
    x = _variables(m, y, rowvar)
    weights = {
        name: None if one is None else together(x, one)[1]
        for name, one in (("fweights", fweights), ("aweights", aweights))
    }
    return statistics.cov(x, correction=int(not bias) if ddof is None else ddof, **weights)


def corrcoef(x, y=None, rowvar=True):
    """The correlation coefficients of variables in rows (in columns if not `rowvar`)."""
    return statistics.corrcoef(_variables(x, y, rowvar))


def _variables(m, y, rowvar):
    parts = [floating(one) for one in (m, y) if one is not None]
    parts = [one if rowvar or one.ndim < 2 else ops.swapaxes(one, 0, 1) for one in parts]
    if len(parts) == 1:
        return parts[0]
    return ops.concatenate(promoted(*(one.reshape(1, -1) if one.ndim < 2 else one for one in parts)), 0)
