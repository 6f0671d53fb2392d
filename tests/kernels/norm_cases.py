"""Cases of norms: see `cases.py`."""

import numpy as np

NORMS = [
    # x, axes, the shape of the weights
    ((1, 1), (1,), (1,)),
    ((4, 5), (1,), (5,)),
    ((130, 40), (1,), (40,)),
    ((3, 2, 1100), (2,), (1100,)),
    ((3, 4, 8), (1, 2), (4, 8)),
    ((2, 3, 4, 5), (2, 3), (3, 4, 1)),  # groups
    ((5, 3, 4, 1), (2, 3), (3, 4, 1)),
    ((2, 2, 2, 700), (2, 3), (2, 2, 1)),
    ((3, 4, 33), (2,), (4, 1)),  # instances
    ((2, 3, 5, 8), (2, 3), (3, 1, 1)),
    ((3, 4, 5, 7), (0, 2, 3), (4, 1, 1)),  # batches
    ((5, 3, 2000), (0, 2), (3, 1)),
    ((5, 3, 2), (0, 2), (3, 1)),
    ((7, 5), (0,), (5,)),
    ((600, 64), (0,), (64,)),
    ((1000, 1), (0,), (1,)),
]


def channels_last(x):
    """The same values with the channels innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def standardize(rng):
    for shape, axes, weights in NORMS:
        x = rng.standard_normal(shape) * 2 + 3
        if shape == (1000, 1):
            x += 1000  # mean and deviations far apart
        arrays = rng.standard_normal(weights), rng.standard_normal(weights)
        yield (x, *arrays), {"axes": axes, "eps": 1e-5}
        if x.ndim == 4 and axes[0] == 0:
            yield (channels_last(x), *arrays), {"axes": axes, "eps": 1e-5}
    yield (rng.standard_normal((6, 31)), None, None), {"axes": (1,), "eps": 1e-5}
    yield (rng.standard_normal((6, 3, 20)), None, None), {"axes": (0, 2), "eps": 1e-3}
    yield (channels_last(rng.standard_normal((2, 48, 9, 5))), None, None), {"axes": (0, 2, 3), "eps": 1e-3}


def standardize_gradient(rng):
    for (x, weight, bias), static in standardize(rng):
        mean = x.mean(axis=static["axes"], keepdims=True)
        var = x.var(axis=static["axes"], keepdims=True)
        needs = (True, weight is not None, bias is not None)
        shapes = [None if one is None else one.shape for one in (weight, bias)]
        yield ([rng.standard_normal(x.shape), None, None], needs, x, weight, mean, var, *shapes), static


def rms_standardize(rng):
    for shape, axes, weights in NORMS:
        if shape[len(shape) - len(axes) :] == weights and axes[-1] == len(shape) - 1:
            yield (
                (rng.standard_normal(shape) * 2 + 1, rng.standard_normal(weights)),
                {"axes": axes, "eps": 1e-5},
            )
    yield (rng.standard_normal((6, 31)), None), {"axes": (1,), "eps": 1e-5}


def rms_standardize_gradient(rng):
    for (x, weight), static in rms_standardize(rng):
        square = (x * x).mean(axis=static["axes"], keepdims=True)
        shape = None if weight is None else weight.shape
        yield (
            ([rng.standard_normal(x.shape), None], (True, weight is not None), x, weight, square, shape),
            static,
        )


def scale_and_shift(rng):
    for shape in [(1, 1), (7, 5), (300, 64), (2, 3, 5), (3, 4, 5, 8), (2, 16, 3, 7)]:
        weights = (shape[1],) + (1,) * (len(shape) - 2)
        x, arrays = rng.standard_normal(shape), (rng.standard_normal(weights), rng.standard_normal(weights))
        yield (x, *arrays), {}
        if len(shape) == 4:
            yield (channels_last(x), *arrays), {}


def follow_average(rng):
    for n in (1, 300):
        yield (rng.standard_normal(n), rng.random((1, n, 1))), {"momentum": 0.1, "factor": 1.25}


def axis_sums(rng):
    for shape, axis in [
        ((3, 5), 0),
        ((65, 33), (0,)),
        ((5, 7, 16), (0, 1)),
        ((100, 31), 1),
        ((2, 40, 3, 5), (0, 2, 3)),
        ((70, 2, 9), -1),
    ]:
        yield (rng.standard_normal(shape),), {"axis": axis, "keepdims": len(shape) == 3}


def sum_to(rng):
    for shape, to in [((3, 5), (5,)), ((3, 5), (1, 5)), ((7, 4, 16), (16,)), ((2, 40, 3, 5), (40, 1, 1))]:
        yield (rng.standard_normal(shape),), {"shape": to}
    yield (rng.standard_normal((90, 8)),), {"shape": (90, 1)}
