"""Cases of random numbers and dropout: see `cases.py`. Places lie at the ends of 32 and 64 bits, and count from others."""

from types import SimpleNamespace

import numpy as np

from chainrule.backends.random_places import Place


def places():
    """With and without numbers that a captured graph counts from; all are the same place twice."""
    for seed, block in ((0, 0), (67280421310721, 5), (2**64 - 3, 2**32 - 5), (2**63 + 11, 2**64 - 2)):
        yield Place(seed, block)
        base = np.array([seed - 7 if seed else 0, block - 2 if block else 0], "uint64")
        yield Place(7 if seed else 0, 2 if block else 0, SimpleNamespace(base=base))


def elsewhere(place, to):
    """The place with its numbers on a device."""
    return (
        place
        if place.moving is None
        else Place(place.seed, place.first, SimpleNamespace(base=to(place.base)))
    )


def philox_words(rng):
    for place, blocks in zip(places(), (1, 1, 1000, 300) * 2, strict=True):
        yield (place, blocks), {}


def uniform(rng):
    for place, count in zip(places(), (1, 3, 4, 5, 8, 1021, 2048, 7), strict=True):
        yield (np.zeros(count), place), {}
    yield (np.zeros((3, 5)), Place(1, 2)), {}


normal_numbers = uniform


def set_place(rng):
    yield (np.array([1, 2, 3, 4], "uint64"), 2**64 - 1, 2**63 + 5), {}


def move_place(rng):
    yield (np.array([1, 2, 3, 4], "uint64"), 5), {}
    yield (np.array([2**64 - 1, 2**64 - 2, 3, 4], "uint64"), 7), {}


def dropout(rng):
    shapes = [
        # x, and the numbers it is given
        ((1,), (1,)),
        ((3,), (3,)),
        ((4, 5), (4, 5)),
        ((1000,), (1000,)),
        ((31, 33), (31, 33)),
        ((2, 3, 4, 6), (2, 3, 1, 1)),
        ((3, 5, 7), (3, 5, 1)),
        ((2, 2, 1100), (2, 2, 1)),
    ]
    for (shape, drawn), place in zip(shapes, places(), strict=True):
        yield (rng.standard_normal(shape) + 10, None), {"place": place, "shape": drawn, "p": 0.3}
    yield (rng.standard_normal(9), None), {"place": Place(3, 4), "shape": (9,), "p": 1.0}
