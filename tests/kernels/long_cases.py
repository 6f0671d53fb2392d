"""Cases with rows so long that a block of 1024 threads takes one: see `cases.py`. They are few, for they take long."""

import numpy as np

from tests.kernels import attention_cases, norm_cases, softmax_cases

LONG = (1 << 14) + 1, (1 << 14) + 8  # elements, of an odd number and of whole packs


def _with(module, name, shapes, function):
    """Its cases, with other shapes in the list that they are made from."""

    def cases(rng):
        before = getattr(module, name)
        try:
            setattr(module, name, shapes)
            return list(function(rng))
        finally:
            setattr(module, name, before)

    return cases


def _norms(function):
    shapes = [((2, n), (1,), (n,)) for n in LONG]
    shapes += [((2, 2, 1, n), (2, 3), (2, 1, 1)) for n in LONG]  # groups
    shapes += [((2, 2, n), (0, 2), (2, 1)) for n in LONG]  # batches
    return _with(norm_cases, "NORMS", shapes, lambda rng: list(function(rng))[: len(shapes)])


def _rows(function):
    def cases(rng):
        columns = softmax_cases.COLUMNS
        softmax_cases.COLUMNS = []
        try:
            return _with(softmax_cases, "ROWS", [(2, n) for n in LONG], function)(rng)
        finally:
            softmax_cases.COLUMNS = columns

    return cases


def _attention(function):
    shapes = [((2, 1, n), (1, n), first) for n, first in zip(LONG, (None, 16000), strict=True)]
    return _with(attention_cases, "ATTENTION", shapes, function)


def cross_entropy(rng):
    for n in LONG:
        x = rng.standard_normal((2, n)) * 3
        yield (x,), {"q": softmax_cases.targets(rng, x.shape, "kws"), "over": 3}

    x = rng.standard_normal((2, 3, 200, 300))  # so many samples that several blocks add up their losses
    yield (x,), {"q": softmax_cases.targets(rng, x.shape, "k"), "over": np.array(7.0)}


def cross_entropy_gradient(rng):
    for (x,), static in list(cross_entropy(rng))[:-1]:
        yield ([np.array(0.5), None], (True,), x), static


def axis_sums(rng):
    yield (rng.standard_normal((64, LONG[0])),), {"axis": -1}


def scale_and_shift(rng):
    for n in LONG:
        yield (rng.standard_normal((2, 2, n)), *rng.standard_normal((2, 2, 1))), {}


CASES = {
    "softmax": _rows(softmax_cases.softmax),
    "log_softmax": _rows(softmax_cases.softmax),
    "softmax_gradient": _rows(softmax_cases.softmax_gradient),
    "log_softmax_gradient": _rows(softmax_cases.log_softmax_gradient),
    "cross_entropy": cross_entropy,
    "cross_entropy_gradient": cross_entropy_gradient,
    "attention_softmax": _attention(attention_cases.attention_softmax),
    "attention_softmax_gradient": _attention(attention_cases.attention_softmax_gradient),
    "standardize": _norms(norm_cases.standardize),
    "standardize_gradient": _norms(norm_cases.standardize_gradient),
    "rms_standardize": _norms(norm_cases.rms_standardize),
    "rms_standardize_gradient": _norms(norm_cases.rms_standardize_gradient),
    "scale_and_shift": scale_and_shift,
    "axis_sums": axis_sums,
}
