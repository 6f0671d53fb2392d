"""Random numbers that are the same on every backend: Philox4x32-10, a counter put through a keyed scramble.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). Block c of the stream
of a seed is four 32-bit words that depend on nothing else: any part of the stream can be computed anywhere,
in any order, and the state of a generator is two integers, the seed and the next block. Everything is written
in functions of an array namespace: integers and uniform numbers agree bit for bit between CPU and CUDA,
normal numbers up to the rounding of log and cos. One generator therefore serves all devices.
"""

import math
import os
import threading

import numpy as np

from . import devices
from .backend import kernel_for, kernels
from .dtypes import as_dtype, as_numpy

# The paper's multipliers, and its key increments: the golden ratio and sqrt(3) - 1, scaled by 2**32.
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF
_ROUNDS = 10

# Blocks computed at a time. On the CPU eight arrays of so many 64-bit integers stay in the cache; on a GPU
# this bounds the memory for intermediate results.
_CPU_BLOCKS, _GPU_BLOCKS = 1 << 12, 1 << 22
# On the CPU a draw of few blocks costs as much as one of this many: what follows is kept for later draws.
_AHEAD = 1 << 8

_STATE_TAG = b"philox10"


def philox(counter, key):
    """The paper's bijection: counter (4 uint64 arrays of 32-bit values), key (2 ints) -> 4 uint64 arrays.

    Each word sits in the low half of 64 bits, because the 64-bit products are needed whole.
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = x0 * _M0
        p1 = x2 * _M1
        high0 = p0 >> 32
        high1 = p1 >> 32
        # In place: four products a round are all the memory that is asked for.
        high1 ^= x1
        high1 ^= k0
        high0 ^= x3
        high0 ^= k1
        p0 &= _LOW
        p1 &= _LOW
        x0, x1, x2, x3 = high1, p1, high0, p0
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return x0, x1, x2, x3


def _words(seed, first, blocks, xp):
    """Blocks `first` ... `first + blocks` - 1 of the stream of `seed`: uint64, shape (4, blocks)."""
    found = kernel_for(xp, "philox_words") if "philox_words" in kernels else None
    if found is not None:
        return found(xp, seed, first, blocks)
    number = xp.arange(blocks, dtype=xp.uint64) + first
    zero = xp.zeros(blocks, dtype=xp.uint64)
    return xp.stack(philox((number & _LOW, number >> 32, zero, zero), (seed & _LOW, seed >> 32)))


class _Local(threading.local):
    drawing = None


# `drawing`, if set, is given the function that draws and the shape, and decides what is drawn (`vmap` does).
local = _Local()


class Generator:
    """A stream of random numbers: PyTorch's `Generator`, with drawing methods that give raw arrays.

    `device` says which tensors it is meant for; the numbers do not depend on it. Threads may share a
    generator.
    """

    def __init__(self, device="cpu"):
        self.device = devices.device(device)
        self._lock = threading.Lock()
        self._seed, self._next = _DEFAULT_SEED, 0
        self._ahead = (0, 0, None)  # seed, first block, words of _AHEAD blocks on the CPU

    def __repr__(self):
        return f"Generator(device={str(self.device)!r}, seed={self._seed}, block={self._next})"

    def __reduce__(self):
        return _restore, (self.device, self._seed, self._next)

    # --- seeds and state ---

    def manual_seed(self, seed):
        """Start the stream of `seed`, an integer of 64 bits (a negative one counts from 2**64)."""
        seed = _check_seed(seed)
        with self._lock:
            self._seed, self._next = seed, 0
        return self

    def seed(self):
        """Start a stream that nobody knows, from the operating system's entropy, and return its seed."""
        seed = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self):
        """The seed of the current stream."""
        return self._seed

    def get_state(self):
        """Seed and position in the stream, as a uint8 array of 24 bytes."""
        with self._lock:
            numbers = self._seed.to_bytes(8, "little") + self._next.to_bytes(8, "little")
        return np.frombuffer(_STATE_TAG + numbers, dtype=np.uint8).copy()

    def set_state(self, state):
        """Go back to a state that `get_state` gave. Returns self."""
        state = np.asarray(state)
        if state.dtype != np.uint8 or state.shape != (24,) or state[:8].tobytes() != _STATE_TAG:
            raise ValueError(
                f"Generator.set_state: expected the uint8 array of 24 bytes that get_state gives, "
                f"got {state.dtype} of shape {state.shape}"
            )
        numbers = state.tobytes()
        with self._lock:
            self._seed = int.from_bytes(numbers[8:16], "little")
            self._next = int.from_bytes(numbers[16:], "little")
        return self

    def clone_state(self):
        """Another generator at the same place of the same stream."""
        return _restore(self.device, self._seed, self._next)

    def take(self, blocks):
        """Reserve blocks of the stream for a kernel that computes them itself: (seed, first block)."""
        with self._lock:
            first = self._next
            self._next = (first + blocks) % 2**64
            return self._seed, first

    # --- drawing ---

    def uniform(self, shape, dtype, xp):
        """Uniform numbers on [0, 1), with as many random bits as the type's fraction has (24 for float32)."""
        return self._draw("uniform", shape, dtype, xp, _to_uniform)

    def normal(self, shape, dtype, xp):
        """Normal numbers of mean 0 and variance 1 (Box and Muller 1958), in all for complex ones."""
        return self._draw("normal", shape, dtype, xp, _to_normal)

    def _draw(self, name, shape, dtype, xp, convert):
        shape, kind = _check_shape(name, shape), as_dtype(dtype)
        if kind.is_complex:
            parts = self._draw(name, (*shape, 2), kind.to_real(), xp, convert)
            if convert is _to_normal:
                parts *= math.sqrt(0.5)
            return parts.view(kind.dtype).reshape(shape)
        if not kind.is_floating_point:
            raise TypeError(f"{name}: give a floating point or complex dtype, got {kind}")
        words_each, _ = _FORMATS[kind.name]
        return self._fill(shape, kind.dtype, xp, 4 // words_each, lambda words: convert(words, kind, xp))

    def integers(self, low, high, shape, dtype, xp):
        """Integers from low (included) to high (excluded), scaled from 64 bits.

        How often each one comes is the same up to a factor of 1 + (high - low) / 2**64.
        """
        shape, dtype = _check_shape("integers", shape), as_numpy(dtype)
        low, high = _check_range(low, high, dtype)

        def convert(words):
            # Modulo 2**64 throughout: the sum is right in two's complement even where the scaled word is not.
            return (_scale(_pairs(words), high - low).astype("int64") + low).astype(dtype)

        return self._fill(shape, dtype, xp, 2, convert)

    def permutation(self, n, xp):
        """The integers 0 ... n - 1 in random order, as int64."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 0:
            raise ValueError(f"permutation: n must be an integer of at least 0, got {n!r}")
        bits = max(n - 1, 0).bit_length()
        key = self._fill((n,), np.dtype("uint64"), xp, 2, _pairs)
        # Random high bits to sort by, the number itself below: no ties, so every sort gives the same order.
        key = key >> bits << bits | xp.arange(n, dtype=xp.uint64)
        key.sort()
        return (key & ((1 << bits) - 1)).astype("int64")

    def _fill(self, shape, dtype, xp, per_block, convert):
        """Draw an array: `convert` makes of words (4, blocks) the numbers (per_block, blocks)."""
        drawing = local.drawing
        if drawing is not None:
            return drawing(lambda shape: self._filled(shape, dtype, xp, per_block, convert), shape)
        return self._filled(shape, dtype, xp, per_block, convert)

    def _filled(self, shape, dtype, xp, per_block, convert):
        # Asked for before the stream moves: an allocation that fails leaves the generator as it was.
        numbers = xp.empty(shape, dtype=dtype)
        flat = numbers.reshape(-1)
        count = flat.shape[0]
        blocks = -(-count // per_block)
        seed, first = self.take(blocks)
        step = _CPU_BLOCKS if xp is np else _GPU_BLOCKS
        for start in range(0, blocks, step):
            stop = min(start + step, blocks)
            drawn = convert(self._words(seed, first + start, stop - start, xp)).T
            into = flat[start * per_block : stop * per_block]
            if into.shape[0] == drawn.size:
                into.reshape(drawn.shape)[...] = drawn
            else:
                into[...] = drawn.reshape(-1)[: into.shape[0]]
        return numbers

    def _words(self, seed, first, blocks, xp):
        if xp is not np or 4 * blocks > _AHEAD:
            return _words(seed, first, blocks, xp)
        ahead_seed, ahead_first, words = self._ahead
        skip = first - ahead_first
        if words is None or seed != ahead_seed or skip < 0 or skip + blocks > _AHEAD:
            words = _words(seed, first, _AHEAD, xp)
            self._ahead, skip = (seed, first, words), 0
        return words[:, skip : skip + blocks]


# --- from words to numbers ---

# 32-bit words per number (Box-Muller turns a pair of numbers into a pair, so normals need as many), and the
# bits of them that a uniform number keeps: as many as the type can hold between 0 and 1 without rounding.
_FORMATS = {"float16": (1, 11), "bfloat16": (1, 8), "float32": (1, 24), "float64": (2, 53)}


def _pairs(words):
    """64-bit words from pairs of 32-bit ones, of which the first is the high half."""
    return words[0::2] << 32 | words[1::2]


def _to_uniform(words, kind, xp):
    # The integer fits the type's fraction, so nothing is rounded and 1 cannot come out.
    _, bits = _FORMATS[kind.name]
    if bits > 32:
        return (_pairs(words) >> (64 - bits)).astype("float64") * 2.0**-bits
    return (words >> (32 - bits)).astype("float32") * 2.0**-bits


def _to_normal(words, kind, xp):
    if kind.name == "float64":
        words, bits, work = _pairs(words), 64, "float64"
    else:
        bits, work = 32, "float32"
    # The middle of each step, so the logarithm never meets 0; all bits, for tails up to 6.7 (9.4 in float64).
    radius = (words[0::2].astype(work) + 0.5) * 2.0**-bits
    radius = xp.sqrt(xp.log(radius) * -2.0)
    angle = words[1::2].astype(work) * (2.0 * math.pi / 2.0**bits)
    return xp.concatenate([radius * xp.cos(angle), radius * xp.sin(angle)])


def _scale(word, size):
    """floor(word * size / 2**64) for 64-bit words: the high half of a 128-bit product, from 32-bit halves."""
    if size == 2**64:
        return word
    high, low = word >> 32, word & _LOW
    size_high, size_low = size >> 32, size & _LOW
    middle = high * size_low + (low * size_low >> 32)
    if not size_high:
        return middle >> 32
    other = low * size_high + (middle & _LOW)
    return high * size_high + (middle >> 32) + (other >> 32)


# --- arguments ---


def _check_seed(seed):
    if hasattr(seed, "__index__") and not isinstance(seed, bool):
        number = seed.__index__()
        if -(2**63) <= number < 2**64:
            return number % 2**64
    raise ValueError(f"manual_seed: expected an integer from -2**63 to 2**64 - 1, got {seed!r}")


def _check_shape(name, shape):
    shape = tuple(int(length) for length in shape)
    if any(length < 0 for length in shape):
        raise ValueError(f"{name}: negative dimension in shape {shape}")
    return shape


def _check_range(low, high, dtype):
    """The bounds as Python integers; TypeError or ValueError if numbers between them do not fit `dtype`."""
    for name, bound in (("low", low), ("high", high)):
        if not hasattr(bound, "__index__"):
            raise TypeError(f"integers: {name} must be an integer, got {bound!r}")
    low, high = low.__index__(), high.__index__()
    if low >= high:
        raise ValueError(f"integers: low must be less than high, got low={low}, high={high}")
    if dtype.kind == "c":
        raise TypeError(f"integers: give an integer or floating point dtype, got {dtype}")
    limits = np.iinfo(dtype if dtype.kind in "iu" else "int64")
    least, greatest = (0, 1) if dtype.kind == "b" else (limits.min, limits.max)
    if low < least or high - 1 > greatest:
        raise ValueError(f"integers: [{low}, {high}) does not fit {dtype}, which holds {least} to {greatest}")
    return low, high


def _restore(device_, seed, first):
    """A generator at block `first` of the stream of `seed`: how a pickled one comes back."""
    generator = Generator(device_)
    generator._seed, generator._next = seed, first
    return generator


# PyTorch starts at this seed too: a script that never seeds is repeatable.
_DEFAULT_SEED = 67280421310721

default_generator = Generator()


def manual_seed(seed):
    """Start the default generator, which serves all devices, at `seed`, and return it."""
    return default_generator.manual_seed(seed)
