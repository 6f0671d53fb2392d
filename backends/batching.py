"""The namespace of arrays with hidden batch axes: NumPy's names, with the rules of `batching_rules.py`.

A function without a rule is called once for each sample, and a warning says so.
"""

import functools
import itertools
import warnings

import numpy as np

from . import batched as hidden
from .backend import Backend
from .batched import DataDependent, is_batched, levels_of, lifted, merged, stored, wrap

_rules = {}
_warned = set()


def rule(names):
    """Decorator: the rule for these functions."""

    def register(function):
        for name in names.split():
            _rules[name] = function
        return function

    return register


class BatchedNamespace:
    """What `xp` is for batched arrays over those of the library `xp`; functions are made when first used."""

    def __init__(self, xp, path="", root=None):
        self.xp = xp
        self.path = path
        self.root = root or self

    def __repr__(self):
        return f"<batched namespace over {self.xp!r}>"

    def __getattr__(self, name):
        found = getattr(self.xp, name)
        path = f"{self.path}.{name}" if self.path else name
        if path in ("linalg", "fft", "lib", "lib.stride_tricks"):
            made = BatchedNamespace(found, path, self.root)
        elif isinstance(found, type) or not callable(found):
            made = found  # dtypes and constants
        elif path in _creation:
            made = functools.partial(_creation[path], self, found)
        else:
            made = _function(self.root, path, found)
        setattr(self, name, made)
        return made


def _function(ns, path, function):
    found = _rules.get(path)
    if (
        found is None
        and isinstance(getattr(np, path, None), np.ufunc)
        and getattr(np, path).signature is None
    ):
        found = _rules["elementwise"]
    if found is None:
        found = functools.partial(one_by_one, path)

    def made(*args, **kwargs):
        if not _any_batched(args) and not _any_batched(kwargs.values()):
            return function(*args, **kwargs)
        return found(ns, function, *args, **kwargs)

    made.__name__ = path
    return made


def _any_batched(values):
    return any(is_batched(one) or (isinstance(one, (tuple, list)) and _any_batched(one)) for one in values)


class BatchedBackend(Backend):
    """What operations ask about batched arrays, answered by the library of the arrays under them."""

    listed = False
    batched = True

    def __init__(self, under, array_type):
        super().__init__()
        self.under = under
        self.array_type, self.xp = array_type, BatchedNamespace(under.xp)
        self.name, self.device_type = f"batched {under.name}", under.device_type
        self.scratch_bytes = under.scratch_bytes

    def device_of(self, array):
        return self.under.device_of(array._stored)

    def stored(self, array):
        return array._stored

    def beside(self, array, new):
        return lifted(new, array.levels).copy()

    def on_stored(self, function, array):
        """The batched array over what `function` makes of the stored one."""
        return wrap(function(array._stored), array.levels)

    def special(self, name):
        return functools.partial(_rules["elementwise"], self.xp, self.under.special(name))

    def device_count(self):
        return self.under.device_count()

    def current_device(self):
        return self.under.current_device()

    def set_device(self, index):
        self.under.set_device(index)

    def from_host(self, array, index=None):
        return self.under.from_host(array, index)

    def to_host(self, array):
        raise DataDependent(
            f"vmap: a value of shape {tuple(array.shape)} was asked for by Python (.item(), bool(), .tolist(), .numpy()), but every sample "
            f"of the batch has its own. Choose with where() instead of if, index with Tensors, or keep this out of vmap"
        )

    def noticing_zero(self):
        return self.under.noticing_zero()

    def copy_to(self, array, index=None):
        return wrap(self.under.copy_to(array._stored, index), array.levels)

    def root(self, array):
        return self.under.root(stored(array))

    def shares_memory(self, a, b):
        return self.under.shares_memory(stored(a), stored(b))

    def add_at(self, target, index, values):
        from .batched_index import add

        target._make_room(merged(levels_of(index), levels_of(values)), index, values)
        add(self.under, target, index, values)

    def synchronize(self, index=None):
        self.under.synchronize(index)

    def out_of_memory(self, error):
        return self.under.out_of_memory(error)


# --- new arrays ---


def _new(ns, function, shape, *args, **kwargs):
    """Inside an operation with memory for all samples, because they will be written; a constant elsewhere."""
    levels = hidden.local.levels
    if not levels:
        return function(shape, *args, **kwargs)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return wrap(function((*(size for _, size in levels), *shape), *args, **kwargs), levels)


def _constant(ns, function, *args, **kwargs):
    """The same for all samples."""
    found = function(*args, **kwargs)
    return lifted(found, hidden.local.levels or ())


def _full(ns, function, shape, value, dtype=None):
    if not is_batched(value):
        return _new(ns, function, shape, value, dtype=dtype)
    out = _new(ns, ns.xp.empty, shape, dtype=value.dtype if dtype is None else dtype)
    out[...] = value
    return out


def _like(ns, function, x, *args, dtype=None, **kwargs):
    if not is_batched(x):
        return function(x, *args, dtype=dtype, **kwargs)
    make = getattr(ns.xp, function.__name__.removesuffix("_like"))
    lengths = (*(size for _, size in x.levels), *x.shape)
    return wrap(make(lengths, *args, dtype=x.dtype if dtype is None else dtype), x.levels)


_creation = {
    **dict.fromkeys(("zeros", "ones", "empty"), _new),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), _like),
    **dict.fromkeys(("eye", "identity", "arange", "linspace", "tri"), _constant),
    "full": _full,
}


# --- no rule ---


def one_by_one(name, ns, function, *args, **kwargs):
    """A function without a rule: called for each sample."""
    levels = levels_of((args, kwargs))
    call = lambda values: function(*values[0], **values[1])
    return loop(f"the array function {name}", ns.xp, levels, call, (args, kwargs))


def loop(what, xp, levels, function, values):
    """function(values) for each sample of the batched arrays in `values`, the results put together again; said once for each `what`."""
    sizes = [size for _, size in levels]
    if 0 in sizes:
        raise RuntimeError("vmap: an empty batch cannot be run sample by sample")
    found = []
    for index in itertools.product(*map(range, sizes)):
        place = dict(zip((number for number, _ in levels), index, strict=True))
        found.append(function(_sampled(values, place)))
    joined = _joined(xp, found, levels, sizes)
    if what not in _warned:
        _warned.add(what)
        warnings.warn(
            f"vmap: there is no batching rule for {what}, which runs once for each sample",
            UserWarning,
            stacklevel=2,
        )
    return joined


def _sampled(value, place):
    if is_batched(value):
        return hidden.sample(value, [place[number] for number, _ in value.levels])
    return hidden.mapped(lambda one: _sampled(one, place), value)


def _joined(xp, found, levels, sizes):
    first = found[0]
    if isinstance(first, (tuple, list)):
        parts = [_joined(xp, list(column), levels, sizes) for column in zip(*found, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
    if first is None or isinstance(first, str):
        return first
    arrays = [xp.asarray(one) for one in found]
    if any(one.shape != arrays[0].shape for one in arrays):
        raise RuntimeError(
            f"vmap: the shape of the result depends on the values, and differs between samples: {sorted({tuple(one.shape) for one in arrays})}; "
            f"use where() or a mask instead"
        )
    raw = xp.stack(arrays)
    return wrap(raw.reshape((*sizes, *raw.shape[1:])), levels)


from . import batching_products, batching_rules  # noqa: E402, F401 - they make the rules known
