"""Arrays with hidden batch axes: what `vmap` computes with.

A `BatchedArray` is an ordinary array (`stored`) whose first axes are hidden: `shape`, `ndim`, indexing and the functions of
its namespace (`batching.py`) see the others only. Each hidden axis belongs to a level, a number that one call of `vmap`
has to itself. So array code written for one sample computes all of them, and knows nothing of it.

A hidden axis of length 1 stands for a value that is the same for all samples: it broadcasts, and the work is done once.
Where such an array is written with values that differ, it takes memory for all samples first.
"""

import contextlib
import operator
import threading

import numpy as np

from .backend import adopt, backend_of, namespaces


class DataDependent(RuntimeError):
    """Python code asked for one value, or one shape, where every sample of a batch has its own."""


class BatchedShape(tuple):
    """The visible shape of a batched array. It equals no shape of other levels: the engine tells by it what to sum."""

    def __new__(cls, lengths, levels):
        self = tuple.__new__(cls, lengths)
        self.levels = levels
        return self

    def __eq__(self, other):
        return tuple.__eq__(self, other) and getattr(other, "levels", ()) == self.levels

    def __ne__(self, other):
        return not self == other

    __hash__ = tuple.__hash__


class _Local(threading.local):
    levels = None  # those of the operation that is being computed; None outside operations


local = _Local()


@contextlib.contextmanager
def computing(levels):
    """Inside, new arrays of a batched namespace get these levels."""
    before, local.levels = local.levels, levels
    try:
        yield
    finally:
        local.levels = before


# --- levels ---


def is_batched(value):
    """Whether `value` is a batched array."""
    return isinstance(value, BatchedArray)


def levels_of(value):
    """The levels, ((number, size), ...) in ascending order, of an array or of all those in tuples, lists and dicts."""
    if isinstance(value, BatchedArray):
        return value.levels
    if isinstance(value, dict):
        value = tuple(value.values())
    if not isinstance(value, (tuple, list)):
        return ()
    found = ()
    for one in value:
        if isinstance(one, (BatchedArray, tuple, list, dict)):
            found = merged(found, levels_of(one))
    return found


def merged(levels, others):
    """The union of two sets of levels."""
    if levels == others or not others:
        return levels
    if not levels:
        return others
    union = dict(levels)
    for number, size in others:
        if union.setdefault(number, size) != size:
            raise RuntimeError(f"vmap: batches of {union[number]} and of {size} samples met in one operation")
    return tuple(sorted(union.items()))


def lifted(value, levels):
    """An array with exactly these levels, of which it lacks some: it is the same for all samples of those."""
    have = levels_of(value)
    if have == levels:
        return value
    known = {number for number, _ in have}
    places = tuple(slice(None) if number in known else None for number, _ in levels)
    return wrap(stored(value)[(*places, Ellipsis)], levels)


def lifted_all(value, levels):
    """`value` with every array in it lifted."""
    if value.__class__ in namespaces:
        return lifted(value, levels)
    return mapped(lambda one: lifted_all(one, levels), value)


def mapped(function, value):
    """Tuples, lists and dicts with `function` of their entries; anything else as it is."""
    if isinstance(value, dict):
        return {key: function(one) for key, one in value.items()}
    if isinstance(value, BatchedShape):
        return tuple(value)
    if isinstance(value, (tuple, list)):
        parts = [function(one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def stored(value):
    """The array under a batched one, with all its axes; anything else as it is."""
    return value._stored if isinstance(value, BatchedArray) else value


def sample(value, index):
    """One sample of a batched array, by its place along every hidden axis."""
    raw = value._stored
    place = tuple(i if length > 1 else 0 for i, length in zip(index, raw.shape, strict=False))
    return raw[(*place, Ellipsis)]


# --- the array ---

_classes: dict[type, type] = {}  # class of the stored array -> class of the batched one


def wrap(raw, levels):
    """The batched array over `raw`, whose first axes are those of `levels`."""
    if not levels:
        return raw
    self = object.__new__(_classes.get(raw.__class__) or _class_over(raw))
    self._stored = raw
    self.levels = levels
    self._viewed = False
    self.shape = BatchedShape(raw.shape[len(levels) :], levels)
    return self


def _class_over(raw):
    """The batched class for the arrays of another library: made, and made known, when first needed."""
    from .batching import BatchedBackend

    made = type("BatchedArray", (BatchedArray,), {"__slots__": ()})
    _classes[raw.__class__] = made
    adopt(BatchedBackend(backend_of(raw), made))
    return made


def _fact(name):
    return property(lambda self: getattr(self._stored, name))


def _read(function, what):
    """A conversion to a Python value, which there is if all samples agree."""

    def read(self, *args):
        raw = self._stored
        under = namespaces[raw.__class__]
        if raw.size == 0:
            raise DataDependent(f"{what} of a batched value without samples")
        first = raw[(0,) * len(self.levels)]
        if not bool(under.all((raw == first) | ((raw != raw) & (first != first)))):
            raise DataDependent(
                f"vmap: {what} of a batched value of shape {tuple(self.shape)}: every sample has its own, and Python can follow only "
                f"one; choose with where() instead of a branch"
            )
        return function(first, *args)

    return read


def _method(name):
    def method(self, *args, **kwargs):
        return getattr(namespaces[self.__class__], name)(self, *args, **kwargs)

    method.__name__ = name
    return method


def _operators(name):
    """The methods for `array + other`, `other + array` and `array += other`."""

    def apply(self, other):
        if not _operand(other):
            return NotImplemented
        return getattr(namespaces[self.__class__], name)(self, other)

    def reflected(self, other):
        if not _operand(other):
            return NotImplemented
        return getattr(namespaces[self.__class__], name)(other, self)

    def in_place(self, other):
        self._make_room(levels_of(other), other)
        return getattr(namespaces[self.__class__], name)(self, other, out=self)

    return apply, reflected, in_place


def _operand(value):
    return value.__class__ in namespaces or isinstance(value, (int, float, complex, np.generic))


class BatchedArray:
    """An array with hidden batch axes; see the head of this module. `vmap` makes them."""

    __slots__ = ("__weakref__", "_stored", "_viewed", "levels", "shape")
    __hash__ = None
    __array_ufunc__ = None  # NumPy's and CuPy's arrays then leave the operators to this class
    __array_priority__ = 900

    dtype, itemsize, flags = _fact("dtype"), _fact("itemsize"), _fact("flags")
    ctypes, data = _fact("ctypes"), _fact("data")

    @property
    def base(self):
        """None if this array owns its memory, and that is enough for all samples."""
        raw = self._stored
        return (
            raw.base if all(n == size for n, (_, size) in zip(raw.shape, self.levels, strict=False)) else raw
        )

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self):
        return self.size * self.itemsize

    @property
    def strides(self):
        return self._stored.strides[len(self.levels) :]

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a 0-d array")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"BatchedArray(levels={self.levels}, stored={self._stored!r})"

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError(
            f"vmap: a batched value of shape {tuple(self.shape)} would have to become a plain array: it was written in place into a "
            f"Tensor that is not batched (write out of place, or into x.new_zeros(...) of a batched x), or read on the host"
        )

    # --- reads by Python ---

    __bool__ = _read(bool, "bool()")
    __int__ = _read(int, "int()")
    __float__ = _read(float, "float()")
    __complex__ = _read(complex, "complex()")
    __index__ = _read(operator.index, "an index")
    item = _read(lambda one, *args: one.item(*args), ".item()")
    tolist = _read(lambda one: one.tolist(), ".tolist()")

    # --- indexing and writing ---

    def __getitem__(self, index):
        from .batched_index import read

        return read(self, index)

    def __setitem__(self, index, value):
        from .batched_index import write

        self._make_room(merged(levels_of(index), levels_of(value)), index, value)
        write(self, index, value)

    def _make_room(self, levels, *sources):
        """Take memory for all samples of the hidden axes along which `sources` differ and this array does not."""
        k = len(self.levels)
        have = dict(self.levels)
        if any(number not in have for number, _ in levels):
            self.__array__()
        lengths = list(self._stored.shape[:k])
        for source in sources:
            _lengthen(lengths, self.levels, source)
        if tuple(lengths) == tuple(self._stored.shape[:k]):
            return
        if self._viewed or self._stored.base is not None:
            raise DataDependent(
                "vmap: values that differ between samples are written into memory that is shared by all"
            )
        under = namespaces[self._stored.__class__]
        self._stored = under.broadcast_to(self._stored, (*lengths, *self.shape)).copy()

    # --- methods: those of the namespace ---

    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))
    real, imag = property(_method("real")), property(_method("imag"))

    def astype(self, dtype, copy=True, **kwargs):
        if not copy and self.dtype == dtype:
            return self
        return wrap(self._stored.astype(dtype, **kwargs), self.levels)

    def copy(self, order="C"):
        """A copy that can be written: with memory for all samples."""
        under = namespaces[self._stored.__class__]
        full = (*(size for _, size in self.levels), *self.shape)
        return wrap(under.broadcast_to(self._stored, full).copy(), self.levels)

    def view(self, dtype=None):
        self._viewed = True
        return wrap(self._stored.view() if dtype is None else self._stored.view(dtype), self.levels)

    def reshape(self, *shape, order="C"):
        return namespaces[self.__class__].reshape(self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes):
        axes = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        return namespaces[self.__class__].transpose(self, axes or None)

    def fill(self, value):
        self[...] = value

    def flatten(self):
        return self.reshape(-1).copy()

    def squeeze(self, axis=None):
        return namespaces[self.__class__].squeeze(self, axis)

    def sort(self, axis=-1, kind=None):
        self[...] = namespaces[self.__class__].sort(self, axis=axis)

    def nonzero(self):
        return namespaces[self.__class__].nonzero(self)

    # --- operators ---

    __add__, __radd__, __iadd__ = _operators("add")
    __sub__, __rsub__, __isub__ = _operators("subtract")
    __mul__, __rmul__, __imul__ = _operators("multiply")
    __truediv__, __rtruediv__, __itruediv__ = _operators("true_divide")
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operators("floor_divide")
    __mod__, __rmod__, __imod__ = _operators("remainder")
    __pow__, __rpow__, __ipow__ = _operators("power")
    __matmul__, __rmatmul__, _ = _operators("matmul")
    __and__, __rand__, __iand__ = _operators("bitwise_and")
    __or__, __ror__, __ior__ = _operators("bitwise_or")
    __xor__, __rxor__, __ixor__ = _operators("bitwise_xor")
    __lshift__, __rlshift__, __ilshift__ = _operators("left_shift")
    __rshift__, __rrshift__, __irshift__ = _operators("right_shift")
    __eq__, __ne__ = _operators("equal")[0], _operators("not_equal")[0]
    __lt__, __le__ = _operators("less")[0], _operators("less_equal")[0]
    __gt__, __ge__ = _operators("greater")[0], _operators("greater_equal")[0]
    __neg__, __pos__ = _method("negative"), _method("positive")
    __abs__, __invert__ = _method("absolute"), _method("invert")


for _name in (
    "all any argmax argmin argpartition argsort clip conj conjugate cumprod cumsum diagonal dot max mean min prod ravel repeat round "
    "searchsorted std sum swapaxes take trace var"
).split():
    setattr(BatchedArray, _name, _method(_name))


def _lengthen(lengths, levels, source):
    """Write into `lengths` the hidden lengths of `source` (an array, or arrays in tuples) where they exceed 1."""
    if isinstance(source, (tuple, list)):
        for one in source:
            _lengthen(lengths, levels, one)
    elif isinstance(source, BatchedArray):
        places = {number: i for i, (number, _) in enumerate(levels)}
        for (number, _), length in zip(source.levels, source._stored.shape, strict=False):
            if length != 1:
                lengths[places[number]] = length
