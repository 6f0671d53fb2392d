"""The table of operations: what a row of `tests/rows/*.py` says, and how its inputs are made.

A row holds only what cannot be guessed: the operation, the shapes of its inputs, its keywords, and a reference (a NumPy function, or
PyTorch's function of that name where PyTorch is installed). `test_ops.py` puts every row through every property.
"""

import zlib
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Spec:
    """An input that is made, not given: `make(rng)` returns a float64, integer or bool array."""

    make: object
    differentiable: bool = False
    shape: tuple = ()


def ints(low, high, shape=()):
    """Integers in [low, high)."""
    return Spec(lambda rng: rng.integers(low, high, shape), shape=shape)


def mask(shape=()):
    """True and False in equal parts."""
    return Spec(lambda rng: rng.random(shape) < 0.5, shape=shape)


def apart(shape):
    """Floats all well apart from each other and from 0, in random order: for max, sort, pooling, and kinks."""

    def make(rng):
        count = int(np.prod(shape))
        return (rng.permutation(count) - count / 2 + 0.3).reshape(shape) * 0.37

    return Spec(make, differentiable=True, shape=shape)


def positive(shape):
    """Floats between 0.5 and 2."""
    return Spec(lambda rng: rng.uniform(0.5, 2, shape), differentiable=True, shape=shape)


def within(low, high, shape):
    """Floats between low and high."""
    return Spec(lambda rng: rng.uniform(low, high, shape), differentiable=True, shape=shape)


def fixed(values):
    """These floats, differentiable."""
    return Spec(lambda rng: np.array(values, float), differentiable=True, shape=np.shape(values))


@dataclass
class Row:
    """One operation with one set of inputs. See the head of this module."""

    name: str
    function: object
    inputs: list
    kwargs: dict = field(default_factory=dict)
    ref: object = None
    torch: object = None
    domain: tuple = (-2.0, 2.0)
    tag: str = ""
    grad: bool = True
    second: bool = True
    tol: float = 1e-9
    covers: tuple = ()
    strided: bool = True  # whether inputs may lie in memory with gaps

    @property
    def id(self):
        return f"{self.name}-{self.tag}" if self.tag else self.name

    def specs(self):
        """The inputs with bare shapes made into random floats of the row's domain."""
        return [
            within(*self.domain, one)
            if isinstance(one, tuple) and all(isinstance(n, int) for n in one)
            else one
            for one in self.inputs
        ]

    def arrays(self, dtype="float64"):
        """The inputs as arrays (and what is passed as it is), the same on every call."""
        rng = np.random.default_rng(zlib.crc32(self.id.encode()))
        made = []
        for one in self.specs():
            if isinstance(one, Spec):
                array = np.asarray(one.make(rng))
                made.append(array.astype(dtype) if one.differentiable else array)
            elif isinstance(one, list) and one and isinstance(one[0], (Spec, tuple)):
                parts = [p if isinstance(p, Spec) else within(*self.domain, p) for p in one]
                made.append([np.asarray(p.make(rng)).astype(dtype) for p in parts])
            else:
                made.append(one)
        return made

    def differentiable(self):
        """For each input, whether it can take a gradient."""
        flags = []
        for one in self.specs():
            flags.append(
                one.differentiable
                if isinstance(one, Spec)
                else isinstance(one, list) and bool(one) and isinstance(one[0], (Spec, tuple))
            )
        return flags
