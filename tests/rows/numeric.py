"""Rows: differences and integrals, histograms, segments, distances, sums without NaN."""

import numpy as np

import chainrule as cr
from tests.table import Row, apart, fixed, ints, positive, within

ASCENDING = fixed([0.1, 0.5, 1.2, 1.4, 2.6])


def _segmented(reduce, tag="", lengths=(2, 0, 4, 1), initial=None):
    """Rows of 7 elements, reduced in segments."""

    def chainrule(x):
        return cr.segment_reduce(x, reduce, lengths=cr.tensor(lengths, device=x.device), initial=initial)

    def torch(x):
        return __import__("torch").segment_reduce(
            x, reduce, lengths=__import__("torch").tensor(lengths), initial=initial
        )

    def reference(x):
        cuts = np.split(x, np.cumsum(lengths)[:-1])
        start = [] if initial is None else [np.full((1, x.shape[1]), initial)]
        return np.stack([getattr(np, reduce)(np.concatenate([*start, one]), 0) for one in cuts])

    tol = {"ref": reference} if reduce != "mean" else {}
    return Row("segment_reduce", chainrule, [apart((sum(lengths), 2))], torch=torch, tag=reduce + tag, **tol)


ROWS = [
    Row("diff", cr.diff, [(3, 5)], ref=np.diff),
    Row("diff", cr.diff, [(5, 3)], kwargs={"n": 2, "dim": 0}, ref=lambda x, n, dim: np.diff(x, n, dim), tag="2"),
    Row(
        "diff",
        lambda x, a, b: cr.diff(x, prepend=a, append=b),
        [(3, 5), (3, 1), (3, 2)],
        ref=lambda x, a, b: np.diff(x, prepend=a, append=b),
        torch=lambda x, a, b: x.diff(prepend=a, append=b),
        tag="joined",
    ),
    Row("gradient", cr.gradient, [(4, 5)], kwargs={"spacing": 0.5}, ref=lambda x, spacing: np.gradient(x, 0.5)),
    Row(
        "gradient",
        lambda x, t: cr.gradient(x, spacing=(t,), dim=1, edge_order=2),
        [(3, 5), ASCENDING],
        ref=lambda x, t: (np.gradient(x, t, axis=1, edge_order=2),),
        torch=lambda x, t: __import__("torch").gradient(x, spacing=(t,), dim=1, edge_order=2),
        tag="coordinates",
    ),
    Row("trapezoid", cr.trapezoid, [(3, 5)], kwargs={"dx": 0.5, "dim": 0}, ref=lambda y, dx, dim: np.trapezoid(y, dx=dx, axis=dim)),
    Row("trapezoid", cr.trapezoid, [(3, 5), ASCENDING], ref=np.trapezoid, tag="x"),
    Row("trapz", cr.trapz, [(3, 5)], ref=np.trapezoid),
    Row(
        "cumulative_trapezoid",
        cr.cumulative_trapezoid,
        [(3, 5), (3, 5)],
        ref=lambda y, x: np.cumsum(np.diff(x) * (y[:, 1:] + y[:, :-1]) / 2, 1),
    ),
    Row(
        "searchsorted",
        cr.searchsorted,
        [ASCENDING, within(0, 3, (2, 4))],
        ref=np.searchsorted,
        grad=False,
        covers=("bisect",),
    ),
    Row(
        "searchsorted",
        cr.searchsorted,
        [fixed([[1.0, 2.0, 2.0, 3.0], [0.0, 0.0, 0.0, 2.0]]), fixed([[2.0, 9.0, 1.0], [0.0, -1.0, 1.0]])],
        kwargs={"right": True},
        ref=lambda a, v, right: np.stack([np.searchsorted(p, q, "right") for p, q in zip(a, v, strict=True)]),
        tag="batched",
        grad=False,
    ),
    Row("bucketize", cr.bucketize, [within(0, 3, (2, 4)), ASCENDING], ref=lambda x, b: np.searchsorted(b, x), grad=False),
    Row("bincount", cr.bincount, [ints(0, 5, (9,))], ref=np.bincount, grad=False, covers=("count_places",)),
    Row(
        "bincount",
        lambda x, w: cr.bincount(x, w, 7).to(w.dtype),
        [ints(0, 5, (9,)), (9,)],
        ref=lambda x, w: np.bincount(x, w, 7),
        torch=False,
        tag="weights",
    ),
    Row("histc", cr.histc, [(30,)], kwargs={"bins": 4, "min": -1, "max": 1}, ref=lambda x, bins, min, max: np.histogram(x, 4, (-1, 1))[0], grad=False),
    Row("histogram", cr.histogram, [(30,)], kwargs={"bins": 5}, ref=lambda x, bins: np.histogram(x, bins), grad=False),
    Row(
        "histogram",
        lambda x, w: cr.histogram(x, 4, range=(-1.0, 1.0), weight=w, density=True),
        [fixed(np.linspace(-1.2, 1.3, 12)), positive((12,))],
        ref=lambda x, w: np.histogram(x, 4, (-1, 1), weights=w, density=True),
        torch=False,
        tag="weights",
    ),
    Row("histogramdd", cr.histogramdd, [(30, 2)], kwargs={"bins": [3, 4]}, ref=lambda x, bins: np.histogramdd(x, bins)[0], grad=False),
    Row("nansum", cr.nansum, [(3, 4)], kwargs={"dim": 1}, ref=lambda x, dim: x.sum(dim)),
    Row("nanmean", cr.nanmean, [(3, 4)], kwargs={"dim": 0}, ref=lambda x, dim: x.mean(dim)),
    Row("nansum", cr.nansum, [fixed([1.0, np.nan, 2.0])], ref=np.nansum, tag="nan", grad=False),
    Row("nanmean", cr.nanmean, [fixed([1.0, np.nan, 2.0])], ref=np.nanmean, tag="nan", grad=False),
    *[
        Row(
            "cdist",
            cr.cdist,
            [(4, 3), (5, 3)],
            kwargs={"p": p},
            ref=lambda a, b, p: np.linalg.norm(a[:, None] - b, p, -1),
            tag=str(p),
            tol=1e-8,
        )
        for p in (0, 0.5, 2, 3, float("inf"))
    ],
    Row(
        "cdist",
        cr.cdist,
        [(2, 1, 4, 3), (3, 5, 3)],
        kwargs={"p": 1},
        ref=lambda a, b, p: np.abs(a[..., None, :] - b[:, None]).sum(-1),
        covers=("absolute_distances", "sign_sums", "sign_products"),
        tag="1",
    ),
    Row(
        "cdist",
        cr.cdist,
        [apart((2, 4, 3)), apart((5, 3))],
        kwargs={"compute_mode": "use_mm_for_euclid_dist"},
        ref=lambda a, b, compute_mode: np.linalg.norm(a[:, :, None] - b, 2, -1),
        tag="products",
        tol=1e-8,
    ),
    Row(
        "renorm",
        cr.renorm,
        [apart((4, 3))],
        kwargs={"p": 2, "dim": 0, "maxnorm": 1.5},
        ref=lambda x, p, dim, maxnorm: x * np.minimum(1, 1.5 / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-7)),
    ),
    _segmented("sum"),
    _segmented("prod"),
    _segmented("mean", lengths=(2, 1, 4)),
    _segmented("max", lengths=(2, 1, 4)),
    _segmented("min", lengths=(2, 1, 4)),
    _segmented("sum", "-initial", initial=1.5),
    _segmented("max", "-initial", initial=0.1),
    Row(
        "segment_reduce",
        lambda x: cr.segment_reduce(x, "mean", offsets=cr.tensor([[0, 2, 3], [1, 1, 4]], device=x.device), axis=1),
        [(2, 4, 3)],
        ref=lambda x: np.stack(
            [np.stack([x[0, :2].mean(0), x[0, 2]]), np.stack([np.full(3, np.nan), x[1, 1:4].mean(0)])]
        ),
        torch=False,
        tag="offsets",
        grad=False,
    ),
]  # fmt: skip
