"""Cases of softmax and cross-entropy: see `cases.py`."""

import numpy as np

from chainrule.autograd.ops.softmax import Targets

ROWS = [(1, 1), (3, 7), (5, 32), (2, 1000), (1, 1025), (3, 4096), (9, 8), (2, 3, 33)]
COLUMNS = [((2, 1, 3), 1), ((3, 5), 0), ((2, 7, 33), 1), ((4, 100, 2), -2), ((2, 3, 4, 5), 1)]


def softmax(rng):
    for shape, axis in [*((shape, len(shape) - 1) for shape in ROWS), *COLUMNS]:
        yield (rng.standard_normal(shape) * 5,), {"axis": axis}


def softmax_gradient(rng):
    for (x,), static in softmax(rng):
        y = np.exp(x / 5)
        y /= y.sum(axis=static["axis"], keepdims=True)
        yield (rng.standard_normal(x.shape), (True,), y), static


def log_softmax_gradient(rng):
    for (g, needs, y), static in softmax_gradient(rng):
        yield (g, needs, np.log(y)), static


def targets(rng, shape, parts=""):
    """Class numbers, with what the letters name: weights, shares, samples that are left out."""
    n, samples = shape[1], (shape[0], *shape[2:])
    grid = np.meshgrid(*map(np.arange, samples), indexing="ij")
    kept = rng.random(samples) < 0.7
    weight = rng.integers(0, 3, samples) / 2
    share = rng.random((1, n) + (1,) * (len(shape) - 2)) / n
    return Targets(
        (grid[0], rng.integers(0, n, samples), *grid[1:]),
        weight * kept if "w" in parts else None,
        share if "s" in parts else None,
        kept if "k" in parts else None,
    )


def cross_entropy(rng):
    shapes = [(1, 1), (4, 10), (3, 33), (2, 1500), (5, 64), (2, 5, 3), (3, 9, 4, 11), (1, 40, 70)]
    for number, shape in enumerate(shapes):
        for parts in ("", "w", "ks", "kws"):
            x = rng.standard_normal(shape) * 3
            over = (None, 7, np.array(2.5))[number % 3]
            yield (x,), {"q": targets(rng, shape, parts), "over": over}


def cross_entropy_gradient(rng):
    for number, ((x,), static) in enumerate(cross_entropy(rng)):
        g = (
            rng.standard_normal((x.shape[0], *x.shape[2:]))
            if static["over"] is None
            else rng.standard_normal(())
        )
        yield ([np.asarray(g), None], (True,), x), static | {"owned": number % 2 == 1}


def class_numbers(rng):
    for shape, weighted in [((1,), False), ((7,), True), ((3, 4, 90), True), ((300,), False)]:
        given = rng.integers(-1, 6, shape)
        weight = rng.standard_normal(5) if weighted else None
        yield (given, weight), {"classes": 5, "ignore_index": 2, "dtype": "float64"}
