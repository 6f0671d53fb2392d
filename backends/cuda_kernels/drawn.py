"""Random numbers, and dropout: `source/random.cu`, `dropout.cu`.

A `Place` (see `backends/random_places.py`) goes to a kernel as two integers and a pointer, which is null outside captured graphs.
"""

import math

import numpy as np

from chainrule.backends import random, random_places

from .registry import kernel, name_of, over_elements, plain


def _resolved(place):
    """The place by numbers of the host alone, for references."""
    seed, block = (0, 0) if place.base is None else place.base.tolist()
    return random_places.Place((place.seed + seed) % 2**64, (place.first + block) % 2**64)


@kernel(
    "random",
    lambda place, blocks: random._words(_resolved(place), blocks, np),
    replaces="philox_words",
    dtypes=("float32",),
)
def philox_words(launch, xp, place, blocks):
    """The blocks of the stream from `place` on, 64-bit integers (4, blocks): what `backends/random.py` computes in 100 steps."""
    out = xp.empty((4, blocks), dtype="uint64")
    grid, block = over_elements(blocks)
    launch("random", "philox_words", "float32", grid, block, out, *_arguments(place), blocks)
    return out


def _arguments(place):
    return place.seed, place.first, place.base


def _launch(launch, entry, numbers, place, *numbers_more):
    # Of random numbers, packs of 16 bytes: as many as there are threads to do something.
    grid, block = over_elements(-(-numbers.size // (16 // numbers.itemsize)))
    arguments = (numbers, numbers.size, *_arguments(place), *numbers_more)
    launch("random", entry, name_of(numbers.dtype), grid, block, *arguments)
    return numbers


def _reference(name):
    def numbers(numbers, place):
        return getattr(_At(_resolved(place)), name)(numbers.shape, numbers.dtype, np).astype("float64")

    return numbers


class _At(random.Generator):
    """A generator that is at a place."""

    def __init__(self, place):
        super().__init__()
        self._seed, self._next = place.seed, place.first


@kernel("random", _reference("uniform"), replaces="uniform")
def uniform(launch, xp, numbers, place):
    """Fill the contiguous array `numbers` with uniform numbers on [0, 1), bit for bit those of `Generator.uniform`."""
    _, bits = random._FORMATS[name_of(numbers.dtype)]
    return _launch(launch, "uniform_numbers", numbers, place, bits, 2.0**-bits)


@kernel("random", _reference("normal"), replaces="normal")
def normal(launch, xp, numbers, place):
    """Fill `numbers` with those of `Generator.normal`, up to the rounding of logarithm, cosine and sine."""
    return _launch(launch, "normal_numbers", numbers, place)


@kernel(
    "random",
    lambda numbers, seed, block: np.array([seed, block, *numbers[2:]], "uint64"),
    replaces="set_place",
    dtypes=("float32",),
)
def set_place(launch, xp, numbers, seed, block):
    """The seed and block that the next replay of a captured graph counts from: numbers[:2]."""
    launch("random", "set_place", "float32", (1, 1, 1), (1, 1, 1), numbers, seed, block)
    return numbers


def _moved(numbers, blocks):
    seed, block = numbers[:2].tolist()
    return np.array([seed, (block + blocks) % 2**64, seed, block], "uint64")


@kernel("random", _moved, replaces="move_place", dtypes=("float32",))
def move_place(launch, xp, numbers, blocks):
    """Keep the place of a replay in numbers[2:], and move on."""
    launch("random", "move_place", "float32", (1, 1, 1), (1, 1, 1), numbers, blocks)
    return numbers


# --- dropout ---


def _inner(x, shape):
    """How many elements share a number, if those that do lie next to each other; else None."""
    if len(shape) != x.ndim:
        return None
    lead = 0
    while lead < x.ndim and shape[lead] == x.shape[lead]:
        lead += 1
    return math.prod(x.shape[lead:]) if all(length == 1 for length in shape[lead:]) else None


def _guard(x, mask, *, p, place, shape):
    return mask is None and plain(x) and _inner(x, shape) is not None


def _dropout_reference(x, mask, p, place, shape):
    return np.where(random.kept(_resolved(place), shape, p, np), x * (1 / (1 - p) if p < 1 else 1), 0)


@kernel("dropout", _dropout_reference, replaces="dropout", guard=_guard)
def dropout(launch, xp, x, mask, *, p, place, shape):
    """x / (1 - p) where the number of the stream is at least p, else 0; one number for all that lengths of 1 in `shape` share."""
    y, inner, scale = xp.empty_like(x), _inner(x, shape), 1 / (1 - p) if p < 1 else 1.0
    drawn = (*_arguments(place), float(p), float(scale))
    if inner == 1:
        grid, block = over_elements(-(-x.size // max(4, 16 // x.itemsize)))
        launch("dropout", "dropout", name_of(x.dtype), grid, block, x, y, x.size, *drawn)
        return y
    stretches = x.size // inner
    threads = 32 if inner <= 1024 else 256
    grid = (min(-(-stretches // (256 // threads)), 1 << 16), 1, 1)
    arguments = (x, y, stretches, inner, *drawn)
    launch("dropout", "dropout_stretches", name_of(x.dtype), grid, (threads, 256 // threads, 1), *arguments)
    return y
