"""The arrays of the fake device: NumPy arrays under a class that NumPy's functions refuse.

A `FakeArray` mixes with its own kind and with numbers, never with a host array. Results stay on the device,
0-d ones included; views share memory and say so by `base`, as in NumPy. `call` runs a NumPy function on them.
"""

import operator
import types
import weakref

import numpy as np

from .backend import OutOfMemoryError
from .capturing import local as capturing
from .fakememory import counters, memory
from .numpy_backend import cpu

_NUMBERS = (bool, int, float, complex, np.generic)
# Keywords that CuPy's functions and methods lack, with those that do have them; then what single ones lack.
_LACKING = {
    "where": ("copyto",),
    "weights": ("average", "bincount", "histogram", "histogram2d", "histogramdd", "polyfit"),
    "subok": ("array", "ndarray.astype", "sliding_window_view"),
    "writeable": ("sliding_window_view",),
    **dict.fromkeys(
        ("correction", "device", "hermitian", "initial", "like", "mean", "sorted", "stable", "upper"), ()
    ),
}
_LACKING_SINGLY = {
    "clip.min",
    "clip.max",
    "take.mode",
    "ndarray.take.mode",
    "lexsort.axis",
    "argsort.order",
    "sort.order",
}

# The dtypes for which the `at` of CuPy's ufuncs has code.
_ATOMIC = ("int32", "uint32", "int64", "uint64", "float32", "float64")
_AT = {
    "add": (*_ATOMIC, "float16"),
    "maximum": _ATOMIC,
    "minimum": _ATOMIC,
    "subtract": ("int32", "uint32"),
    **dict.fromkeys(("multiply", "divide", "power", "logaddexp"), ()),
}

# The FakeArray that owns the memory of a host array, by the id of that host array, which it keeps alive.
_owners: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def wrap(host, made_by=None):
    """The device array over `host`: a view if a device array owns its memory already, else a new owner, for which the function
    `made_by` was launched, if any."""
    root = cpu.root(host)
    owner = _owners.get(id(root))
    if owner is not None and owner._host is host:
        return owner
    array = object.__new__(FakeArray)
    array._host = host
    array._size = 0
    array.base = owner
    if owner is None:
        memory.take(host.nbytes)
        array._size = host.nbytes
        _owners[id(root)] = array
        if made_by is not None:
            counters.launch(made_by)
    return array


def give_out(value, name):
    """What the NumPy function `name` returned, as the device returns it: numbers become 0-d arrays."""
    if isinstance(value, np.ndarray):
        return wrap(value, name)
    if isinstance(value, _NUMBERS):
        return wrap(np.asarray(value), name)
    if isinstance(value, (tuple, list)):
        parts = [give_out(part, name) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def host_value(value, name):
    """What a NumPy function returned that the device answers on the host: a shape, a dtype."""
    return value


def take_in(value, name):
    """An argument for a NumPy function; TypeError for a host array, which CuPy would not take."""
    if value.__class__ is FakeArray:
        return value._host
    if isinstance(value, (tuple, list)):
        parts = [take_in(part, name) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, np.ndarray):
        raise TypeError(
            f"{name}: a host array (numpy.ndarray of shape {value.shape}) met arrays of the fake device; "
            f"move it there first, with backends.get('fake').from_host(array)"
        )
    return value


def _check_keywords(name, kwargs):
    for key, value in kwargs.items():
        if (key in _LACKING and name not in _LACKING[key]) or f"{name}.{key}" in _LACKING_SINGLY:
            raise TypeError(f"{name}: CuPy has no keyword {key!r} here, so the fake device refuses it")
        if key == "kind" and name.endswith("sort") and value not in (None, "stable"):
            raise TypeError(f"{name}: CuPy sorts with kind='stable' only, got kind={value!r}")


def _check_given(name, function, args):
    """Refuse arguments that CuPy does not take: numbers in the place of arrays, and dtypes for which it has no code."""
    first = args[0] if args else None
    if name in ("where", "broadcast_to") and len(args) > 1 and isinstance(first, _NUMBERS):
        raise TypeError(f"{name}: CuPy takes an array here, got the number {first!r}")
    if first.__class__ is not FakeArray:
        return
    dtype, method = first.dtype.name, getattr(function, "__name__", None)
    if method == "accumulate" and name not in ("add", "multiply"):
        raise NotImplementedError(f"{name}.accumulate: CuPy has none")
    if method == "at" and name in _AT and dtype not in _AT[name]:
        raise TypeError(f"{name}.at: CuPy takes {', '.join(_AT[name]) or 'nothing'}, got {dtype}")
    if dtype == "bfloat16" and name.endswith(("sort", "partition")):
        raise NotImplementedError(f"{name}: CuPy does not sort bfloat16; convert it to float32")


def call(name, function, args, kwargs, convert=take_in, give=give_out):
    """Run a NumPy function on device arrays; `name` is for errors."""
    _check_keywords(name, kwargs)
    _check_given(name, function, args)
    host_args = [convert(arg, name) for arg in args]
    host_kwargs = {key: convert(arg, name) for key, arg in kwargs.items()}
    capture = capturing.capture
    if capture is not None and give is not host_value:
        function = capture.recorded(function)
    try:
        result = function(*host_args, **host_kwargs)
    except MemoryError as error:
        raise OutOfMemoryError.from_error(error, "fake") from error
    out = kwargs.get("out")
    if out is not None or result is None:  # written in place
        counters.launch(name)
        return out[0] if isinstance(out, tuple) and len(out) == 1 else out
    # A function that returns its argument (asarray, astype without a copy) gives back the same device array.
    for arg, host in zip(args, host_args, strict=True):
        if result is host and arg.__class__ is FakeArray:
            return arg
    return give(result, name)


def _restore(host):
    """A device array with the contents of `host`: how a pickled one comes back."""
    counters.copy_to_device("unpickling", host)
    return wrap(host.copy())


# --- the array class ---


def _method(name):
    function = getattr(np.ndarray, name)

    def method(self, *args, **kwargs):
        if name in ("compress", "nonzero"):
            counters.count(name, self._host)
        return call(f"ndarray.{name}", function, (self, *args), kwargs)

    method.__name__ = name
    return method


def _view(name):
    return property(lambda self: wrap(getattr(self._host, name), name))


def _fact(name):
    return property(lambda self: getattr(self._host, name))


def _operators(ufunc):
    """The methods for `array + other`, `other + array` and `array += other`."""

    def apply(a, b, **out):
        for one in (a, b):
            # Others, such as Tensors, answer themselves; host arrays go on, to be refused with a reason.
            if one.__class__ is not FakeArray and not isinstance(one, (*_NUMBERS, np.ndarray)):
                return NotImplemented
        return call(ufunc.__name__, ufunc, (a, b), out)

    return apply, lambda b, a: apply(a, b), lambda a, b: apply(a, b, out=a)


def _unary(ufunc):
    return lambda self: call(ufunc.__name__, ufunc, (self,), {})


def _read(function):
    """A conversion for which the host has to wait."""

    def read(self, *args):
        counters.read(function.__name__, self._host)
        return function(self._host, *args)

    return read


class FakeArray:
    """An array on the fake device; made by the functions of `fake`, or by its backend's `from_host`."""

    __slots__ = ("__weakref__", "_host", "_size", "base")
    __hash__ = None

    def __new__(cls, *args):
        raise TypeError("FakeArray: make one with fake.zeros(shape), fake.array(data) and the like")

    def __del__(self):
        if self._size and memory is not None:  # when Python ends, this module may have ended before
            memory.release(self._size)

    # --- what NumPy would do with it, refused ---

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "an array of the fake device is not converted to a NumPy array implicitly; use array.get()"
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        # numpy.float32(2) * array asks NumPy first; CuPy answers too.
        if method == "__call__" and not kwargs and any(isinstance(one, np.generic) for one in inputs):
            return call(ufunc.__name__, ufunc, inputs, {})
        raise TypeError(
            f"numpy.{ufunc.__name__} was called on an array of the fake device; use fake.{ufunc.__name__}"
        )

    def __array_function__(self, func, types, args, kwargs):
        raise TypeError(
            f"numpy.{func.__name__} was called on an array of the fake device; use fake.{func.__name__}"
        )

    # --- facts ---

    dtype = _fact("dtype")
    flags = _fact("flags")
    itemsize = _fact("itemsize")
    nbytes = _fact("nbytes")
    ndim = _fact("ndim")
    shape = _fact("shape")
    size = _fact("size")
    strides = _fact("strides")
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data))

    def __len__(self):
        return len(self._host)

    # --- reads by the host ---

    __bool__ = _read(np.ndarray.__bool__)
    __complex__ = _read(np.ndarray.__complex__)
    __float__ = _read(np.ndarray.__float__)
    __int__ = _read(np.ndarray.__int__)
    item = _read(np.ndarray.item)
    tolist = _read(np.ndarray.tolist)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def get(self):
        """A copy on the host."""
        counters.copy_to_host("get", self._host)
        return self._host.copy()

    def tobytes(self, order="C"):
        return self.get().tobytes(order)

    def __repr__(self):
        return f"fake {self.get()!r}"

    def __format__(self, spec):
        return format(self.item() if not self.ndim else self.get(), spec)

    def __reduce__(self):
        return _restore, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # --- indexing ---

    def __getitem__(self, index):
        host_index, mask = _host_index(index)
        if mask is not None:
            counters.count("indexing by a mask", mask)
        if Ellipsis not in [part for part in host_index if not isinstance(part, np.ndarray)]:
            host_index = (*host_index, Ellipsis)  # keeps a single element an array
        capture = capturing.capture
        get = operator.getitem if capture is None else capture.recorded(operator.getitem)
        return wrap(get(self._host, host_index), "indexing")

    def __setitem__(self, index, value):
        host_index, _ = _host_index(index)
        if value.__class__ is not FakeArray and not isinstance(value, (*_NUMBERS, np.ndarray)):
            getattr(
                value, "__array__", lambda: None
            )()  # other classes are asked first, as CuPy does, and may say why not
            raise TypeError(f"setitem: expected a device array or a number, got {type(value).__name__}")
        capture = capturing.capture
        put = operator.setitem if capture is None else capture.recorded(operator.setitem)
        put(self._host, host_index, take_in(value, "setitem"))
        counters.launch("setitem")

    # --- views and methods ---

    T = _view("T")
    mT = _view("mT")
    real = _view("real")
    imag = _view("imag")

    all = _method("all")
    any = _method("any")
    argmax = _method("argmax")
    argmin = _method("argmin")
    argpartition = _method("argpartition")
    argsort = _method("argsort")
    astype = _method("astype")
    choose = _method("choose")
    clip = _method("clip")
    compress = _method("compress")
    conj = _method("conj")
    conjugate = _method("conjugate")
    copy = _method("copy")
    cumprod = _method("cumprod")
    cumsum = _method("cumsum")
    diagonal = _method("diagonal")
    dot = _method("dot")
    fill = _method("fill")
    flatten = _method("flatten")
    max = _method("max")
    mean = _method("mean")
    min = _method("min")
    nonzero = _method("nonzero")
    partition = _method("partition")
    prod = _method("prod")
    put = _method("put")
    ravel = _method("ravel")
    repeat = _method("repeat")
    reshape = _method("reshape")
    round = _method("round")
    searchsorted = _method("searchsorted")
    sort = _method("sort")
    squeeze = _method("squeeze")
    std = _method("std")
    sum = _method("sum")
    swapaxes = _method("swapaxes")
    take = _method("take")
    trace = _method("trace")
    transpose = _method("transpose")
    var = _method("var")
    view = _method("view")

    # --- operators ---

    __add__, __radd__, __iadd__ = _operators(np.add)
    __sub__, __rsub__, __isub__ = _operators(np.subtract)
    __mul__, __rmul__, __imul__ = _operators(np.multiply)
    __truediv__, __rtruediv__, __itruediv__ = _operators(np.true_divide)
    __floordiv__, __rfloordiv__, __ifloordiv__ = _operators(np.floor_divide)
    __mod__, __rmod__, __imod__ = _operators(np.remainder)
    __divmod__, __rdivmod__, _ = _operators(np.divmod)
    __pow__, __rpow__, __ipow__ = _operators(np.power)
    __matmul__, __rmatmul__, _ = _operators(np.matmul)  # a @= b is a = a @ b there
    __and__, __rand__, __iand__ = _operators(np.bitwise_and)
    __or__, __ror__, __ior__ = _operators(np.bitwise_or)
    __xor__, __rxor__, __ixor__ = _operators(np.bitwise_xor)
    __lshift__, __rlshift__, __ilshift__ = _operators(np.left_shift)
    __rshift__, __rrshift__, __irshift__ = _operators(np.right_shift)
    __eq__, __ne__ = _operators(np.equal)[0], _operators(np.not_equal)[0]
    __lt__, __le__ = _operators(np.less)[0], _operators(np.less_equal)[0]
    __gt__, __ge__ = _operators(np.greater)[0], _operators(np.greater_equal)[0]
    __neg__, __pos__ = _unary(np.negative), _unary(np.positive)
    __abs__, __invert__ = _unary(np.absolute), _unary(np.invert)


def _host_index(index):
    """The index as a tuple for NumPy, and the mask in it, if any: only the device knows how much that selects."""
    parts, mask = [], None
    for part in index if isinstance(index, tuple) else (index,):
        if part.__class__ is FakeArray:
            mask = part._host if part.dtype.kind == "b" else mask
        elif isinstance(part, list):
            counters.copy_to_device("indexing by a list", np.asarray(part))
        elif not (part is None or part is Ellipsis or isinstance(part, (slice, int, np.integer, np.ndarray))):
            raise TypeError(f"index: expected ints, slices, None, ... or arrays, got {type(part).__name__}")
        parts.append(take_in(part, "index"))
    return tuple(parts), mask
