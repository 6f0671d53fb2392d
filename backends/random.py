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
from .philox import LOW, philox
from .random_places import CapturedDraws, Place

# Blocks computed at a time. On the CPU eight arrays of so many 64-bit integers stay in the cache; on a GPU
# this bounds the memory for intermediate results.
_CPU_BLOCKS, _GPU_BLOCKS = 1 << 12, 1 << 22
# On the CPU a draw of few blocks costs as much as one of this many: what follows is kept for later draws.
_AHEAD = 1 << 8

_STATE_TAG, _CAPTURED_TAG = b"philox10", b"captured"
_TAGS = (_STATE_TAG, _CAPTURED_TAG)


def _words(place, blocks, xp):
    """The blocks of the stream from `place` on: uint64, shape (4, blocks)."""
    found = kernel_for(xp, "philox_words") if "philox_words" in kernels else None
    if found is not None:
        return found(xp, place, blocks)
    seed, first, base = place.seed, place.first, place.base
    if base is not None:
        seed, first = base[:1] + seed, base[1:] + first
    number = xp.arange(blocks, dtype=xp.uint64) + first
    zero = xp.zeros(blocks, dtype=xp.uint64)
    return xp.stack(philox((number & LOW, number >> 32, zero, zero), (seed & LOW, seed >> 32)))


class _Local(threading.local):
    drawing = capturing = None


# `drawing`, if set, is given the function that draws and the shape, and decides what is drawn (`vmap` does). `capturing` is the
# namespace of the arrays whose launches this thread is capturing, once a generator has been told so.
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
        self._capture = None

    def __repr__(self):
        return f"Generator(device={str(self.device)!r}, seed={self._seed}, block={self._next})"

    def __reduce__(self):
        return _restore, (self.device, self._seed, self._next)

    # --- seeds and state ---

    def manual_seed(self, seed):
        """Start the stream of `seed`, an integer of 64 bits (a negative one counts from 2**64)."""
        seed = _check_seed(seed)
        if self._captured() is not None:
            raise RuntimeError(
                "manual_seed: a graph is being captured, whose replays take the seed that the generator has then; seed it outside"
            )
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
        captured = self._captured()
        tag, (seed, block) = _STATE_TAG, self.position()
        if captured is not None:  # for going back within the same capture, as checkpoints do
            tag, seed, block = _CAPTURED_TAG, id(captured), captured.used
        numbers = seed.to_bytes(8, "little") + block.to_bytes(8, "little")
        return np.frombuffer(tag + numbers, dtype=np.uint8).copy()

    def set_state(self, state):
        """Go back to a state that `get_state` gave. Returns self."""
        state = np.asarray(state)
        if state.dtype != np.uint8 or state.shape != (24,) or state[:8].tobytes() not in _TAGS:
            raise ValueError(
                f"Generator.set_state: expected the uint8 array of 24 bytes that get_state gives, "
                f"got {state.dtype} of shape {state.shape}"
            )
        tag, numbers, captured = state[:8].tobytes(), state.tobytes(), self._captured()
        seed, block = int.from_bytes(numbers[8:16], "little"), int.from_bytes(numbers[16:], "little")
        if (captured is not None or tag == _CAPTURED_TAG) and (tag, seed) != (_CAPTURED_TAG, id(captured)):
            raise RuntimeError(
                "Generator.set_state: while a graph is captured only states from the same capture can be set, and only then"
            )
        with self._lock:
            if captured is not None:
                captured.used = block
            else:
                self._seed, self._next = seed, block
        return self

    def clone_state(self):
        """Another generator at the same place of the same stream."""
        return _restore(self.device, self._seed, self._next)

    def position(self):
        """The seed and the next block."""
        with self._lock:
            return self._seed, self._next

    def skip(self, blocks):
        """Pass over blocks of the stream; the position behind them."""
        with self._lock:
            self._next = (self._next + blocks) % 2**64
            return self._seed, self._next

    def take(self, blocks, xp):
        """Reserve blocks of the stream for whoever computes them, in arrays of the namespace `xp`: their `Place`."""
        captured = self._captured()
        if captured is not None:
            if captured.xp is not xp:
                raise RuntimeError(
                    f"random numbers for {getattr(xp, '__name__', xp)} were drawn while a graph on another device is captured: its replays would not draw "
                    f"them again; draw them outside, or with a generator of their own"
                )
            return captured.take(blocks)
        if xp is local.capturing:
            raise RuntimeError(
                "a generator was drawn from that the graph being captured does not know, and every replay would draw the same; "
                "tell the graph first, with register_generator_state(generator), or use the default generator"
            )
        with self._lock:
            first = self._next
            self._next = (first + blocks) % 2**64
            return Place(self._seed, first)

    # --- captured graphs ---

    def begin_capture(self, backend):
        """What this thread draws from here on is for a graph that is captured on `backend`; call it just before the capture."""
        if self._capture is not None:
            raise RuntimeError(
                "Generator.begin_capture: another graph that draws from it is being captured, in another thread perhaps; let that end first "
                "(a lock around the first calls of captured steps)"
            )
        self._capture = CapturedDraws(self, backend)
        local.capturing = backend.xp

    def end_capture(self):
        """To be called in the capture, as the last thing: what moves the replays along the stream (`before_replay`, `after_replay`)."""
        captured = self.abandon_capture()
        captured.end()
        return captured

    def abandon_capture(self):
        """Give up a capture that failed."""
        captured, self._capture, local.capturing = self._capture, None, None
        return captured

    def _captured(self):
        captured = self._capture
        return captured if captured is not None and captured.thread == threading.get_ident() else None

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
        return self._fill(
            shape, kind.dtype, xp, 4 // words_each, lambda words: convert(words, kind, xp), name
        )

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

    def _fill(self, shape, dtype, xp, per_block, convert, name=None):
        """Draw an array: `convert` makes of words (4, blocks) the numbers (per_block, blocks), or a kernel for `name` does."""
        drawing = local.drawing
        if drawing is not None:
            return drawing(lambda shape: self._filled(shape, dtype, xp, per_block, convert, name), shape)
        return self._filled(shape, dtype, xp, per_block, convert, name)

    def _filled(self, shape, dtype, xp, per_block, convert, name):
        # Asked for before the stream moves: an allocation that fails leaves the generator as it was.
        numbers = xp.empty(shape, dtype=dtype)
        place = self.take(-(-numbers.size // per_block), xp)
        fill(numbers, place, xp, per_block, convert, name, self._words)
        return numbers

    def _words(self, place, blocks, xp):
        if xp is not np or 4 * blocks > _AHEAD:
            return _words(place, blocks, xp)
        ahead_seed, ahead_first, words = self._ahead
        skip = place.first - ahead_first
        if words is None or place.seed != ahead_seed or skip < 0 or skip + blocks > _AHEAD:
            words = _words(place, _AHEAD, xp)
            self._ahead, skip = (place.seed, place.first, words), 0
        return words[:, skip : skip + blocks]


def fill(numbers, place, xp, per_block, convert, name=None, words=_words):
    """Write what the stream holds from `place` on into the array `numbers`."""
    found = kernel_for(xp, name) if name in kernels else None
    if found is not None:
        found(xp, numbers, place)
        return
    flat = numbers.reshape(-1)
    blocks = -(-flat.shape[0] // per_block)
    step = _CPU_BLOCKS if xp is np else _GPU_BLOCKS
    for start in range(0, blocks, step):
        stop = min(start + step, blocks)
        drawn = convert(words(place.after(start), stop - start, xp)).T
        into = flat[start * per_block : stop * per_block]
        if into.shape[0] == drawn.size:
            into.reshape(drawn.shape)[...] = drawn
        else:
            into[...] = drawn.reshape(-1)[: into.shape[0]]


def kept(place, shape, p, xp):
    """The mask of dropout from `place`: True where the uniform float32 number of that place is at least p."""
    xp = getattr(xp, "xp", xp)  # that of batched arrays: the mask is one for all samples
    numbers = xp.empty(shape, dtype="float32")
    fill(numbers, place, xp, 4, lambda words: _to_uniform(words, _FLOAT32, xp), "uniform")
    return numbers >= p


# --- from words to numbers ---

# 32-bit words per number (Box-Muller turns a pair of numbers into a pair, so normals need as many), and the
# bits of them that a uniform number keeps: as many as the type can hold between 0 and 1 without rounding.
_FLOAT32 = as_dtype("float32")
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
    high, low = word >> 32, word & LOW
    size_high, size_low = size >> 32, size & LOW
    middle = high * size_low + (low * size_low >> 32)
    if not size_high:
        return middle >> 32
    other = low * size_high + (middle & LOW)
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
