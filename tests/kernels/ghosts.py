"""Arrays of any size without memory, and a launcher that launches nothing: what grids kernels would be launched with.

`launches()` has every launch of the ordinary cases and of the largest ones that a card's memory holds; the limits are those of `h200.json`.
"""

import functools
import json
import math
from pathlib import Path

import numpy as np

from chainrule.autograd.ops.softmax import Targets
from chainrule.backends.cuda_kernels import KERNELS, registry
from chainrule.backends.random_places import Place
from tests.kernels import cases, sanitizer

LIMITS = json.loads((Path(__file__).parent / "h200.json").read_text())


class Ghost:
    """An array's shape, dtype and strides."""

    def __init__(self, view):
        self.view = view

    @classmethod
    def of(cls, shape, dtype="float32"):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        one = np.zeros(1, dtype)
        strides = [one.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        return cls(np.lib.stride_tricks.as_strided(one, shape, strides))

    def __getattr__(self, name):
        return getattr(self.view, name)

    def __getitem__(self, key):
        return Ghost(self.view[key])

    def __setitem__(self, key, value):
        pass

    def _itself(self, *args, **kwargs):
        return self

    __iadd__ = __imul__ = __mod__ = copy = _itself

    @property
    def T(self):
        return Ghost(self.view.T)

    def astype(self, dtype, copy=True):
        return self if self.dtype == dtype else Ghost.of(self.shape, dtype)

    def reshape(self, *shape):
        return Ghost(self.view.reshape(*shape))

    def transpose(self, *axes):
        return Ghost(self.view.transpose(*axes))


class Namespace:
    """What kernels' functions ask of NumPy or CuPy."""

    @staticmethod
    def empty(shape, dtype="float64"):
        return Ghost.of(shape, dtype)

    zeros = empty

    @staticmethod
    def empty_like(x):
        return Ghost(x.view)

    @staticmethod
    def ascontiguousarray(x):
        return x if x.flags.c_contiguous else Ghost.of(x.shape, x.dtype)

    @staticmethod
    def moveaxis(x, source, to):
        return Ghost(np.moveaxis(x.view, source, to))

    @staticmethod
    def argsort(x, kind):
        return Ghost.of(x.shape, "int64")

    @staticmethod
    def take(x, index):
        return Ghost.of(index.shape, x.dtype)

    @staticmethod
    def sum(x, axis=None, keepdims=False):
        return Ghost.of([1] * x.ndim if axis is None else (*x.shape[:-1], 1), x.dtype)


class Recorder:
    """A launcher that remembers (entry point, grid, block)."""

    def __init__(self):
        self.launches = set()

    def __call__(self, source, entry, dtype, grid, block, *args):
        if 0 not in grid:
            self.launches.add((entry, tuple(map(int, grid)), tuple(map(int, block))))

    def address(self, array):
        return 0

    def table(self, owner, values, dtype="int64"):
        """As `constants`."""
        return self.constants(values, dtype)

    def constants(self, values, dtype="int64"):
        return np.zeros(len(values), dtype)


def _last(*shape):
    """A shape with the channels innermost."""
    return lambda dtype: Ghost(np.moveaxis(Ghost.of((shape[0], *shape[2:], shape[1]), dtype).view, -1, 1))


ROWS = [(2**33, 1), (2**32 + 1, 2), (2**23, 2**10), (2**22 + 1, 1025), (2**19, 2**14), (2**17 + 3, 2**15 + 1)]
ROWS += [(1, 2**33), (3, 2**31 + 5)]
COLUMNS = [(1, 2, 2**32), (2**21, 2, 2**11), (2**16 + 1, 2**10, 127), (2**31, 2, 2)]
IMAGES = [
    (1, 1, 2**16, 2**17),
    (2**12, 2**11, 32, 32),
    (2**30, 1, 2, 3),
    (1, 2**30, 2, 3),
    (2**20, 2**12, 1, 1),
]
IMAGES += [(2, 2, 2**15, 2**16), (2**9, 2**4, 2**4, 2**16)]
WINDOW = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0)}


def huge(dtype):
    """(kernel, arguments, keywords) of about 2^33 elements."""
    wide = registry.wide_of(np.dtype(dtype))
    new = functools.partial(Ghost.of, dtype=dtype)
    for shape in (*ROWS, *COLUMNS):
        x, axis = new(shape), 1
        yield "softmax", (x,), {"axis": axis}
        yield "softmax_gradient", (x, None, x), {"axis": axis}
        samples = Ghost.of((shape[0], *shape[2:]), "int64")
        targets = Targets((None, samples, *[None] * (len(shape) - 2)), None, None, None)
        for over in (None, 7):
            yield "cross_entropy", (x,), {"q": targets, "over": over}
            g = Ghost.of((), wide) if over else Ghost.of(samples.shape, wide)
            yield "cross_entropy_gradient", ([g, None], None, x), {"q": targets, "over": over}
        yield "sum_to", (x,), {"shape": shape[1:]}
        yield "axis_sums", (x,), {"axis": -1}
        if shape in ROWS:
            yield "attention_softmax", (x, None, None), {}
            rows = Ghost.of((shape[0], 1), wide)
            yield "attention_softmax_gradient", (x, x, None, rows, rows, None, None, 1.0), {}
            norm = {"axes": (1,), "eps": 1e-5}
            yield "standardize", (x, None, None), norm
            yield "rms_standardize", (x, new(shape[1:])), norm
            mean = Ghost.of((shape[0], 1), wide)
            g = [x, None, None]
            yield (
                "standardize_gradient",
                (g, (True,) * 3, x, new(shape[1:]), mean, mean, shape[1:], shape[1:]),
                norm,
            )
            yield "rms_standardize_gradient", (g[:2], (True,) * 2, x, None, mean, shape[1:]), norm
            yield "column_sums", (x,), {}
            yield "bias_activation_gradient", (x, x, new(shape[1]), "gelu"), {}
        for drawn in (shape, (*shape[:-1], 1), (*shape[:1], *[1] * (len(shape) - 1))):
            yield "dropout", (x, None), {"p": 0.5, "place": Place(1, 2), "shape": drawn}
        if shape[1] < 2**20:
            index = Ghost.of((shape[0],), "int64")
            static = {"index": index, "rows": 10, "factor": None}
            for name in ("embedding_sorted", "embedding_atomic") if len(shape) == 2 else ():
                if shape[0] < 2**31:
                    yield name, (x,), static
    for shape in IMAGES:
        for x in (new(shape), _last(*shape)(dtype)):
            size = shape[2] - 1 or 1, shape[3] - 1 or 1
            yield "max_pool", (x,), {**WINDOW, "dilation": (1, 1), "size": size}
            yield "avg_pool", (x,), {**WINDOW, "size": size}
            weight = Ghost.of((shape[1], 1, 1), dtype)
            axes = {"axes": (0, 2, 3), "eps": 1e-5}
            mean = Ghost.of((1, shape[1], 1, 1), wide)
            yield "standardize", (x, None, None), axes
            g = [x, None, None]
            yield (
                "standardize_gradient",
                (g, (True,) * 3, x, weight, mean, mean, weight.shape, weight.shape),
                axes,
            )
            yield "scale_and_shift", (x, Ghost.of((shape[1], 1, 1), dtype), weight), {}
        yield "im2col", (new(shape),), {**WINDOW, "dilation": (1, 1), "size": (1, 1)}
        groups = {"axes": (2, 3), "eps": 1e-5}
        weight = new((shape[1], shape[2], 1))
        if shape[2] * shape[3] < 2**31:
            yield "standardize", (new(shape), weight, weight), groups
            g, mean = [new(shape), None, None], Ghost.of((*shape[:2], 1, 1), wide)
            yield (
                "standardize_gradient",
                (g, (True,) * 3, new(shape), weight, mean, mean, weight.shape, weight.shape),
                groups,
            )
    for count in (2**31 - 1, 2**33):
        yield "gelu", (new(count),), {}
        yield "uniform", (new(count), Place(1, 2)), {}
        yield (
            "class_numbers",
            (Ghost.of(count, "int64"), None),
            {"classes": 9, "ignore_index": 1, "dtype": wide},
        )
        yield "unscale", ([new(count)], None, None), {}
        yield "total_norm", ([new(count)],), {}
        yield "adam", ([new(count)], *[[new(count)]] * 3, [1]), {"lr": 1.0, "betas": (0.9, 0.9), "eps": 1.0}
    if wide == "float32" and dtype == "float16":
        for batch, length, source in ((2**15, 2**11, 2**11), (1, 2**26, 2**20), (2**26, 1, 1)):
            q, k = new((batch, length, 128)), new((batch, source, 128))
            static = {"scale": 1.0, "causal": False, "kept": None, "share": 1.0}
            yield "flash_attention", (q, k, k, None), static
            lse = Ghost.of((batch, length, 1))
            yield "flash_gradients", (q, k, k, None, q, lse, q, None, (True,) * 4, *static.values()), {}


def fits(kernel, args, kwargs):
    """Whether the kernel would be asked."""
    if kernel.guard is None or kernel.source == "many":
        return True
    saved = args[2:] if kernel.replaces.endswith(".gradient") else args[1:]
    return kernel.guard(args[0], *saved, **kwargs)


@functools.cache
def launches():
    """{(entry point, grid, block)}: all launches of all cases, and of huge ones."""
    record, zeros = Recorder(), sanitizer.Memory(0)
    for name, kernel in KERNELS.items():
        dtype = "float32" if "float32" in kernel.dtypes else "float16"
        for case in cases.cases(name):
            args, kwargs = cases.arguments(name, *case, np.dtype(dtype), "float32")
            kernel.function(record, zeros, *args, **kwargs)
    for dtype in ("float16", "float32", "float64"):
        for name, args, kwargs in huge(dtype):
            if fits(KERNELS[name], args, kwargs):
                KERNELS[name].function(record, Namespace, *args, **kwargs)
    return frozenset(record.launches)


@functools.cache
def most_threads():
    """{entry point: the most threads that a block of it has}."""
    found = {}
    for entry, _, block in launches():
        found[entry] = max(found.get(entry, 0), math.prod(block))
    return found
