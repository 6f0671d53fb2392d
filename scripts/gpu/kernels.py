"""Every kernel of `backends/cuda_kernels`: right, and how fast.

Right: against its reference in float64, on three draws of random numbers. What is to be written holds 255 in every byte before (NaN
as a float), inputs and outputs lie between guard zones that have to stay as they were, and with the third draw the inputs begin one element
off, where nothing can be read in packs. Fast: float32 and bfloat16 on large arrays, beside array code and PyTorch.
"""

import functools
import importlib.util

import numpy as np

import chainrule as cr
from chainrule.autograd.op import registry as operations
from chainrule.autograd.ops import (  # noqa: F401 - so that they are in the registry
    activation,
    convolution,
    embedding,
    normalization,
    pooling,
    recurrent,
    softmax,
)
from chainrule.backends.cuda_kernels import KERNELS, registry
from chainrule.backends.random_places import Place
from tests.kernels import cases

from .items import Skipped, Wrong

LIMIT = 25.0
SEEDS = (0, 1, 2)
_ZONE = 256  # bytes


class Guarded:
    """The array namespace of a place, whose empty arrays are poisoned and lie between guard zones."""

    def __init__(self, place):
        self.place, self.xp, self.made = place, place.xp, []

    def __getattr__(self, name):
        return getattr(self.xp, name)

    def empty(self, shape, dtype="float32", shift=0):
        """Like NumPy's; `shift` elements off the alignment that allocations have."""
        dtype = np.dtype(dtype)
        shape = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        size = int(np.prod(shape)) * dtype.itemsize
        start = _ZONE + shift * dtype.itemsize
        memory = self.xp.empty(start + size + _ZONE, dtype="uint8")
        memory[...] = 255
        self.made.append((memory, start, start + size))
        return memory[start : start + size].view(dtype).reshape(shape)

    def empty_like(self, array, dtype=None):
        return self.empty(array.shape, array.dtype if dtype is None else dtype)

    def copy(self, array, shift=0):
        """A device array like one of NumPy's, between guard zones."""
        if not array.size:
            return self.place.to(array)
        made = self.empty(array.shape, array.dtype, shift)
        made[...] = self.place.to(array)
        return made

    def check(self):
        """Wrong if anything was written beside the arrays."""
        for memory, start, end in self.made:
            zones = [self.place.back(memory[:start]), self.place.back(memory[end:])]
            if any((zone != 255).any() for zone in zones):
                where = ["before" if (zones[0] != 255).any() else "after"]
                raise Wrong(f"memory {where[0]} an array of {end - start} bytes was written")


def right(place, kernel, dtype, seeds=SEEDS, most=None):
    """Run all cases of a kernel; Wrong with every case that differs."""
    _known(dtype)
    launch, wide, bad, count = place.kernels(), registry.wide_of(np.dtype(dtype)), [], 0
    for seed in seeds:
        for number, (args, kwargs) in enumerate(cases.cases(kernel.name, seed)[:most]):
            given = cases.arguments(kernel.name, args, kwargs, np.dtype(dtype), wide)
            expected = cases.reference(kernel, *given)
            xp = Guarded(place)
            to = functools.partial(xp.copy, shift=int(seed == 2))
            args, kwargs = cases.arguments(kernel.name, args, kwargs, np.dtype(dtype), wide, to)
            count += 1
            try:
                got = [place.back(one) for one in cases.flat(kernel.function(launch, xp, *args, **kwargs))]
                cases.check(kernel.name, dtype, got, expected)
                xp.check()
            except AssertionError as error:
                text = " ".join(str(error).split())[:400]
                bad.append(f"draw {seed}, case {number} {_shapes(given)}: {text}")
    if bad:
        raise Wrong("\n".join(bad[:4]), cases=count, bad=len(bad))
    return {"cases": count}


def _known(dtype):
    """Skipped where NumPy has no such dtype."""
    if dtype == "bfloat16" and not importlib.util.find_spec("ml_dtypes"):
        raise Skipped("without ml_dtypes NumPy has no bfloat16")
    np.dtype(cr.bfloat16.dtype if dtype == "bfloat16" else dtype)


def _shapes(given):
    return str([one.shape if isinstance(one, np.ndarray) else type(one).__name__ for one in given[0]])[:160]


# --- times ---

_SQUARE = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1), "size": (28, 28)}
_FLAT = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "size": (28, 28)}
_NUMBERS = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
_LAST, _OVER = {"axes": (1,), "eps": 1e-5}, {"axes": (0, 2, 3), "eps": 1e-5}
_NEEDS = (True, True, True)


class Sizes:
    """What is timed: a method per kernel gives (arguments, keywords), with arrays of the host. `scale` is 1 on a card."""

    def __init__(self, scale):
        self.scale = scale
        self.block = np.random.default_rng(0).standard_normal(1 << 20, dtype="float32")

    def array(self, *shape):
        """Numbers that repeat after a million; the first length is the one that is scaled."""
        return np.resize(self.block, (max(1, int(shape[0] * self.scale)), *shape[1:]))

    def rows(self):
        return self.array(8192, 4096)

    def pixels(self):
        return self.array(128, 64, 56, 56)

    def targets(self, x):
        n = len(x)
        return cases.Targets((np.arange(n), np.random.default_rng(1).integers(0, x.shape[1], n)))

    def softmax(self):
        return (self.rows(),), {"axis": 1}

    log_softmax = softmax

    def softmax_gradient(self):
        return (self.rows(), (True,), self.rows()), {"axis": 1}

    def cross_entropy(self):
        x = self.array(2048, 32000)
        return (x,), {"q": self.targets(x)}

    def cross_entropy_gradient(self):
        slope = self.array(2048, 32000)
        g = [np.full(len(slope), 1 / len(slope), "float32"), None]
        return (g, (True,), slope), {"q": self.targets(slope)}

    def standardize(self):
        return (self.rows(), self.block[:4096], self.block[:4096]), _LAST

    def standardize_gradient(self):
        x, w = self.rows(), self.block[:4096]
        moments = np.zeros((len(x), 1), "float32"), np.ones((len(x), 1), "float32")
        return ([x, None, None], _NEEDS, x, w, *moments, w.shape, w.shape), _LAST

    def rms_standardize(self):
        return (self.rows(), self.block[:4096]), _LAST

    def batch_norm(self):
        w = self.block[:64].reshape(64, 1, 1)
        return (self.pixels(), w, w), _OVER

    def batch_norm_gradient(self):
        x, w = self.pixels(), self.block[:64].reshape(64, 1, 1)
        moments = np.zeros((1, 64, 1, 1), "float32"), np.ones((1, 64, 1, 1), "float32")
        return ([x, None, None], _NEEDS, x, w, *moments, w.shape, w.shape), _OVER

    def column_sums(self):
        return (self.rows(),), {}

    gelu = gelu_tanh = silu = column_sums

    def gelu_gradient(self):
        return (self.rows(), (True,), self.rows()), {}

    relu_gradient = gelu_gradient

    def dropout(self):
        x = self.rows()
        return (x, None), {"place": Place(1, 0), "shape": x.shape, "p": 0.1}

    def uniform(self):
        return (self.rows(), Place(1, 0)), {}

    normal = uniform

    def philox_words(self):
        return (Place(1, 0), max(1, int((1 << 22) * self.scale))), {}

    def embedding_sorted(self):
        g = self.array(32768, 1024)
        return (g,), {"index": np.random.default_rng(1).integers(0, 50304, len(g)), "rows": 50304}

    embedding_atomic = embedding_sorted

    def max_pool(self):
        return (self.pixels(),), _SQUARE

    def max_pool_gradient(self):
        return (self.array(128, 64, 28, 28), (True,), self.pixels()), _SQUARE

    def avg_pool(self):
        return (self.pixels(),), _FLAT

    def im2col(self):
        return (self.array(32, 64, 56, 56),), _SQUARE

    def layers(self):
        return [self.array(1 << 20) for _ in range(64)]

    def adam(self):
        second = [abs(one) for one in self.layers()]
        return (self.layers(), self.layers(), self.layers(), second, [1] * 64), _NUMBERS

    def sgd(self):
        return (self.layers(), self.layers(), self.layers(), [2] * 64), {"lr": 1e-3, "momentum": 0.9}

    def clip_norm(self):
        return (self.layers(), 1.0), {}

    def lstm(self):
        gx, state = np.resize(self.block, (1280, 2048)), np.resize(self.block, (64, 512))
        return (gx, np.zeros((2048, 512), "float32"), state, state), {"sizes": (64,) * 20}


TIMED = """softmax softmax_gradient log_softmax cross_entropy cross_entropy_gradient standardize standardize_gradient
    rms_standardize batch_norm batch_norm_gradient column_sums gelu gelu_gradient gelu_tanh silu relu_gradient dropout uniform normal
    philox_words embedding_sorted embedding_atomic max_pool max_pool_gradient avg_pool im2col adam sgd clip_norm lstm""".split()
_UNDER = {"batch_norm": "standardize", "batch_norm_gradient": "standardize_gradient"}


def _composed(kernel):
    """The operation without the kernel, called like the kernel's function; None where there is no such thing."""
    name, _, gradient = (kernel.replaces or "").partition(".")
    if name not in operations:
        plain = {"column_sums": lambda xp, x: x.sum(axis=0)}
        plain |= dict.fromkeys(
            ("embedding_sorted", "embedding_atomic"), operations["embedding_weight"].forward
        )
        return plain.get(kernel.name)
    op = operations[name]
    if gradient:
        return lambda xp, g, needs, *saved, **static: op.vjp(
            xp, g, saved, [one or None for one in needs], static
        )
    return op.forward


def _torch(torch):
    """PyTorch's functions for the same arguments, as far as it has one."""
    f = torch.nn.functional
    return {
        "softmax": lambda x, axis: torch.softmax(x, axis),
        "softmax_gradient": lambda g, needs, y, axis: torch._softmax_backward_data(g, y, axis, y.dtype),
        "log_softmax": lambda x, axis: torch.log_softmax(x, axis),
        "cross_entropy": lambda x, q: f.cross_entropy(x, q.index[1], reduction="none"),
        "standardize": lambda x, w, b, axes, eps: f.layer_norm(x, w.shape, w, b, eps),
        "rms_standardize": lambda x, w, axes, eps: f.rms_norm(x, w.shape, w, eps),
        "batch_norm": lambda x, w, b, axes, eps: f.batch_norm(x, None, None, w.flatten(), b.flatten(), True, 0.1, eps),
        "column_sums": lambda x: x.sum(0),
        "gelu": lambda x: f.gelu(x),
        "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"),
        "gelu_gradient": lambda g, needs, x: torch.ops.aten.gelu_backward(g, x),
        "relu_gradient": lambda g, needs, y: torch.ops.aten.threshold_backward(g, y, 0),
        "silu": lambda x: f.silu(x),
        "dropout": lambda x, mask, place, shape, p: f.dropout(x, p),
        "uniform": lambda x, place: torch.rand_like(x),
        "normal": lambda x, place: torch.randn_like(x),
        "max_pool": lambda x, kernel, stride, padding, dilation, size: f.max_pool2d(x, kernel, stride, padding),
        "avg_pool": lambda x, kernel, stride, padding, size: f.avg_pool2d(x, kernel, stride, padding),
        "im2col": lambda x, kernel, stride, padding, dilation, size: f.unfold(x, kernel, dilation, padding, stride),
        "clip_norm": lambda arrays, limit: torch._foreach_mul_(arrays, 1 / torch.stack(torch._foreach_norm(arrays)).norm()),
        "adam": lambda x, g, m, v, steps, lr, betas, eps: torch._fused_adamw_(
            x, g, m, v, [], [torch.ones((), device=x[0].device)] * len(x), lr=lr, beta1=betas[0], beta2=betas[1],
            weight_decay=0.0, eps=eps, amsgrad=False, maximize=False),
    }  # fmt: skip


def fast(place, name, dtype, copy):
    """Milliseconds of a kernel, of array code and of PyTorch; bytes given and returned per second, against those of a copy."""
    kernel, sizes = KERNELS[_UNDER.get(name, name)], Sizes(place.size(1.0, 1 / 8192))
    wide, launch, xp = registry.wide_of(np.dtype(dtype)), place.kernels(), place.xp
    if dtype not in kernel.dtypes:
        raise Skipped(f"it has no version for {dtype}")
    given = getattr(sizes, name)()
    args, kwargs = cases.arguments(kernel.name, *given, np.dtype(dtype), wide, place.to)
    result = kernel.function(launch, xp, *args, **kwargs)
    size = sum(_bytes(one) for one in (*args, *kwargs.values(), result))
    calls = {"kernel": lambda i: kernel.function(launch, xp, *args, **kwargs)}
    composed = _composed(kernel)
    if composed:
        calls["composed"] = lambda i: composed(xp, *args, **kwargs)
    theirs = {} if place.torch is None else _torch(place.torch)
    if name in theirs:
        to = functools.partial(_to_torch, place)
        targs, tkwargs = cases.arguments(kernel.name, *given, np.dtype(dtype), wide, to)
        calls["torch"] = lambda i: theirs[name](*targs, **tkwargs)
    found = _one_by_one(place, calls)
    rate = size / found["kernel"]["ms"] * 1e3
    return {
        "times": found,
        "bytes per second": rate,
        "of a copy": rate / copy if copy else None,
        "bytes": size,
    }


def _one_by_one(place, calls):
    """The times of calls; where one cannot be measured its error."""
    found = {}
    for name, call in calls.items():
        try:
            found |= place.interleaved({name: call}, rounds=4, aim=3.0, most=800.0)
        except Exception as error:
            if name == "kernel":
                raise
            found[name] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return found


def _to_torch(place, array):
    """PyTorch's copy of a host array."""
    if array.dtype.name == "bfloat16":
        return place.torch.from_numpy(array.astype("float32")).to(place.peer).bfloat16()
    return place.torch.from_numpy(np.array(array)).to(place.peer)


def _bytes(value):
    if isinstance(value, cases.Targets):
        return sum(map(_bytes, value))
    return sum(one.nbytes for one in cases.flat(value) if hasattr(one, "nbytes"))


def items(place, context):
    """All kernels in float32 first, then the other dtypes, then times."""
    place.kernels()
    seeds, most = (SEEDS, None) if place.full else ((0, 2), 3)
    found = {}
    for dtype in ("float32", "bfloat16", "float16", "float64"):
        if not place.full and dtype == "float64":
            continue  # the emulator compiles each dtype anew, for a quarter of a minute
        for kernel in KERNELS.values():
            if dtype in kernel.dtypes:
                found[f"{kernel.name} {dtype}"] = lambda k=kernel, d=dtype: right(place, k, d, seeds, most)
    copy = context.value("versions", "copies", "ceiling")
    for dtype in ("float32", "bfloat16")[: place.size(2, 1)]:
        for name in TIMED:
            found[f"time of {name} {dtype}"] = lambda n=name, d=dtype: fast(_with_torch(place), n, d, copy)
    return found


def _with_torch(place):
    """PyTorch is loaded when the first kernel is timed, not before all are known to be right."""
    if place.torch is None and place.why_no_torch == "it was not asked for":
        place.bring_torch()
    return place
