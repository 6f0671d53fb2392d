"""Rows: order statistics, scans, sets."""

import numpy as np

import chainrule as cr
from tests.table import Row, Spec, apart, fixed, ints, within


def few(shape):
    """Floats of which many are equal; not differentiable."""
    return Spec(lambda rng: rng.integers(0, 4, shape) * 0.5, shape=shape)


def _lower_median(x, dim):
    return np.sort(x, dim).take((x.shape[dim] - 1) // 2, dim)


def _smallest_mode(x):
    values, counts = np.unique(x, return_counts=True)
    return values[counts.argmax()]


def _quantile(name, shape, q, tag, **kwargs):
    numpy = {"interpolation": "method", "keepdim": "keepdims", "dim": "axis"}
    return Row(
        name,
        lambda x, **given: getattr(cr, name)(x, cr.tensor(q, dtype=x.dtype, device=x.device), **given),
        [apart(shape)],
        kwargs=kwargs,
        ref=lambda x, **given: getattr(np, name)(x, q, **{numpy[key]: value for key, value in given.items()}),
        torch=lambda x, **given: getattr(__import__("torch"), name)(x, x.new_tensor(q), **given),
        tag=tag,
    )


ROWS = [
    Row("median", cr.median, [apart((3, 5))], ref=np.median, covers=("middle", "middle_of_all")),
    Row("median", cr.median, [apart((4, 6))], kwargs={"dim": 0}, ref=_lower_median, tag="even"),
    Row(
        "median",
        cr.median,
        [apart((3, 5))],
        kwargs={"dim": 1, "keepdim": True},
        ref=lambda x, dim, keepdim: np.median(x, dim, keepdims=True),
        tag="keepdim",
    ),
    Row("median", cr.median, [()], kwargs={"dim": 0}, ref=lambda x, dim: x, tag="0d"),
    Row("nanmedian", cr.nanmedian, [apart((3, 5))], ref=np.median),
    Row(
        "nanmedian",
        cr.nanmedian,
        [fixed([[1.0, np.nan, 3.0, 2.0], [0.5, 0.1, 0.3, 0.2]])],
        kwargs={"dim": 1},
        ref=lambda x, dim: np.array([2.0, 0.2]),
        tag="nan",
        grad=False,
    ),
    Row(
        "kthvalue",
        cr.kthvalue,
        [apart((3, 5))],
        kwargs={"k": 2, "dim": 1},
        ref=lambda x, k, dim: (np.sort(x, 1)[:, 1], np.argsort(x, 1)[:, 1]),
        covers=("ranked",),
    ),
    Row("kthvalue", cr.kthvalue, [apart((3, 5))], kwargs={"k": 3, "dim": 0, "keepdim": True}, tag="keepdim"),
    Row("mode", cr.mode, [apart((3, 5))], ref=lambda x: (x.min(-1), x.argmin(-1)), covers=("most_frequent",)),
    Row(
        "mode",
        cr.mode,
        [few((5, 7))],
        kwargs={"dim": 0, "keepdim": True},
        ref=lambda x, dim, keepdim: np.array([[_smallest_mode(column) for column in x.T]]),
        tag="ties",
        grad=False,
    ),
    _quantile("quantile", (3, 5), 0.3, "number"),
    _quantile("quantile", (3, 5), [0.1, 0.5, 1.0], "vector", dim=1),
    _quantile("quantile", (3, 5), [0.3], "keepdim", dim=0, keepdim=True),
    _quantile("quantile", (3, 6), [0.3, 0.5], "lower", dim=1, interpolation="lower"),
    _quantile("quantile", (3, 6), [0.3, 0.5], "higher", dim=1, interpolation="higher"),
    _quantile("quantile", (3, 6), [0.3, 0.5], "midpoint", dim=1, interpolation="midpoint"),
    _quantile("quantile", (3, 6), [0.3, 0.5], "nearest", dim=1, interpolation="nearest"),
    Row(
        "quantile",
        lambda x, q: cr.quantile(x, q, 1),
        [apart((3, 6)), within(0.05, 0.15, (2,))],
        ref=lambda x, q: np.quantile(x, q, 1),
        torch=lambda x, q: x.quantile(q, 1),
        tag="q",
    ),
    _quantile("nanquantile", (3, 5), [0.1, 0.5], "vector", dim=1),
    Row(
        "nanquantile",
        lambda x: cr.nanquantile(x, 0.4, 1),
        [fixed([[1.0, np.nan, 3.0, 2.0], [0.5, 0.1, 0.3, 0.2]])],
        ref=lambda x: np.nanquantile(x, 0.4, 1),
        torch=lambda x: x.nanquantile(0.4, 1),
        tag="nan",
        grad=False,
    ),
    Row("msort", cr.msort, [apart((5, 3))], ref=lambda x: np.sort(x, 0)),
    Row(
        "topk",
        cr.topk,
        [apart((7, 3))],
        kwargs={"k": 3, "dim": 0, "largest": False},
        ref=lambda x, k, dim, largest: (np.sort(x, 0)[:3], np.argsort(x, 0)[:3]),
        tag="smallest",
        covers=("leading",),
    ),
    Row(
        "cummax",
        cr.cummax,
        [apart((3, 6))],
        kwargs={"dim": 1},
        ref=lambda x, dim: np.maximum.accumulate(x, 1),
        covers=("running_extreme",),
    ),
    Row(
        "cummin",
        cr.cummin,
        [apart((6, 3))],
        kwargs={"dim": 0},
        ref=lambda x, dim: np.minimum.accumulate(x, 0),
    ),
    Row("cummin", cr.cummin, [()], kwargs={"dim": 0}, ref=lambda x, dim: (x, 0), tag="0d"),
    Row(
        "logcumsumexp",
        cr.logcumsumexp,
        [(3, 6)],
        kwargs={"dim": 1},
        ref=lambda x, dim: np.log(np.cumsum(np.exp(x), 1)),
    ),
    Row("logcumsumexp", cr.logcumsumexp, [(5, 2, 3)], kwargs={"dim": 0}, tag="first"),
    Row(
        "linear_scan",
        lambda a, b: cr.autograd.ops.scan.linear_scan(a, b, axis=1),
        [(2, 5), (2, 5)],
        ref=lambda a, b: _scanned(a, b),
    ),
    Row(
        "linear_scan",
        lambda a, b: cr.autograd.ops.scan.linear_scan(a, b, axis=0, reverse=True),
        [(6, 2), (6, 2)],
        ref=lambda a, b: _scanned(a[::-1].T, b[::-1].T).T[::-1],
        tag="reverse",
    ),
    Row("unique", cr.unique, [few((3, 5))], ref=np.unique, grad=False, covers=("groups", "ascending")),
    Row(
        "unique",
        cr.unique,
        [ints(0, 2, (9, 2))],
        kwargs={"dim": 0, "return_inverse": True, "return_counts": True},
        ref=lambda x, dim, return_inverse, return_counts: _numpy_unique(x),
        tag="rows",
        grad=False,
    ),
    Row(
        "unique_consecutive",
        cr.unique_consecutive,
        [few((12,))],
        kwargs={"return_counts": True},
        ref=lambda x, return_counts: x[np.append(True, x[1:] != x[:-1])],
        grad=False,
    ),
    Row("isin", cr.isin, [few((3, 4)), few((2,))], ref=np.isin, grad=False, covers=("member",)),
    Row("argwhere", cr.argwhere, [ints(0, 2, (3, 4))], ref=np.argwhere, grad=False),
]


def _scanned(a, b):
    y, found = np.zeros(len(b)), []
    for i in range(b.shape[1]):
        y = a[:, i] * y + b[:, i]
        found.append(y)
    return np.stack(found, 1)


def _numpy_unique(x):
    values, inverse, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
    return values, inverse.reshape(-1), counts
