"""Element types under PyTorch's names, and PyTorch's rules for what comes out when two of them meet.

A `dtype` is a name for a NumPy dtype, one object per type: `float32.dtype` is `np.dtype("float32")`, and
`np.dtype(float32)` works too. `as_numpy` and `from_numpy` lead from one to the other.

Promotion differs from NumPy's: a Python number never widens an array, a 0-d array only changes the kind (bool
< integer < floating point < complex), and an integer meeting a floating point type takes that type, whatever
its size.
"""

import builtins
import threading

import numpy as np


class dtype:
    """One element type: `name`, `dtype` (the NumPy dtype), `itemsize`, and what kind of number it holds."""

    __slots__ = ("dtype", "is_complex", "is_floating_point", "is_signed", "itemsize", "name")

    def __init__(self, name, kind, itemsize):
        self.name = name
        self.itemsize = itemsize
        self.is_floating_point = kind == "f"
        self.is_complex = kind == "c"
        self.is_signed = kind in "fci"
        if name != "bfloat16":
            self.dtype = np.dtype(name)

    def __getattr__(self, name):
        # Reached only while `dtype` is unset: bfloat16 loads ml_dtypes on first use.
        if name == "dtype" and self.name == "bfloat16":
            self.dtype = _load_bfloat16()
            return self.dtype
        raise AttributeError(f"{self!r} has no attribute {name!r}")

    def to_real(self):
        """The type of the real part: float64 for complex128."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self):
        """The complex type with parts of this type; complex64 for the 16-bit types, which have none."""
        if self.is_complex:
            return self
        return complex128 if self.name == "float64" else complex64

    def __repr__(self):
        return f"chainrule.{self.name}"

    def __reduce__(self):
        return _named, (self.name,)


def _named(name):
    """The dtype of that name: how a pickled dtype comes back as the same object."""
    return _BY_NAME[name]


def _load_bfloat16():
    try:
        import ml_dtypes
    except ImportError as error:
        raise TypeError(
            "bfloat16 needs the package ml_dtypes: pip install ml_dtypes, or use float16/float32"
        ) from error
    numpy_dtype = np.dtype(ml_dtypes.bfloat16)
    _AS_NUMPY[numpy_dtype] = numpy_dtype
    _FROM_NUMPY[numpy_dtype] = bfloat16
    return numpy_dtype


float16 = dtype("float16", "f", 2)
bfloat16 = dtype("bfloat16", "f", 2)
float32 = dtype("float32", "f", 4)
float64 = dtype("float64", "f", 8)
complex64 = dtype("complex64", "c", 8)
complex128 = dtype("complex128", "c", 16)
uint8 = dtype("uint8", "u", 1)
int8 = dtype("int8", "i", 1)
int16 = dtype("int16", "i", 2)
int32 = dtype("int32", "i", 4)
int64 = dtype("int64", "i", 8)
bool = dtype("bool", "b", 1)

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128

_ALL = (bool, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64, complex64, complex128)
_BY_NAME = {one.name: one for one in _ALL}
_FROM_NUMPY = {one.dtype: one for one in _ALL if one is not bfloat16}
# What `as_numpy` takes without asking NumPy. Values are the canonical objects: `is` may compare the results.
_AS_NUMPY = {
    **{one: one.dtype for one in _FROM_NUMPY.values()},
    **{numpy_dtype: numpy_dtype for numpy_dtype in _FROM_NUMPY},
    **{one.name: one.dtype for one in _FROM_NUMPY.values()},
    builtins.bool: bool.dtype,
    builtins.int: int64.dtype,
    builtins.float: float64.dtype,
    builtins.complex: complex128.dtype,
}


def _accepted():
    return "one of " + ", ".join(one.name for one in _ALL)


def from_numpy(numpy_dtype):
    """The `dtype` of a NumPy dtype. TypeError for one that is not supported (uint16, strings)."""
    found = _FROM_NUMPY.get(numpy_dtype)
    if found is not None:
        return found
    if getattr(numpy_dtype, "name", None) == "bfloat16":
        bfloat16.dtype  # noqa: B018 - registers ml_dtypes' dtype in the tables
        found = _FROM_NUMPY.get(numpy_dtype)
        if found is not None:
            return found
    if not isinstance(numpy_dtype, np.dtype):
        return from_numpy(as_numpy(numpy_dtype))
    hint = ""
    if not numpy_dtype.isnative:
        native = numpy_dtype.newbyteorder("=").str
        hint = f"; it is not in this machine's byte order, array.astype({native!r}) is"
    raise TypeError(
        f"NumPy dtype {numpy_dtype} is not supported{hint}; convert with array.astype to {_accepted()}"
    )


def as_numpy(spec):
    """The NumPy dtype meant by `spec`: a `dtype`, a NumPy dtype or scalar class, a Python type, or a name.

    Python types read as in PyTorch: int is int64, float is float64, complex is complex128. Else a TypeError.
    """
    try:
        found = _AS_NUMPY.get(spec)
    except TypeError:  # not hashable
        found = None
    return _as_numpy(spec) if found is None else found


def _as_numpy(spec):
    """The ways of naming a type that the table does not hold: names, NumPy's scalar classes, and bfloat16."""
    if spec is bfloat16 or spec == "bfloat16":
        return bfloat16.dtype
    if spec is not None:
        try:
            numpy_dtype = np.dtype(spec)
        except (TypeError, ValueError):
            pass
        else:
            return from_numpy(numpy_dtype).dtype
    raise TypeError(
        f"dtype={spec!r} is not an element type; give a dtype such as chainrule.float32, a NumPy dtype, "
        f"a Python type (bool, int, float, complex) or a name: {_accepted()}"
    )


def as_dtype(spec):
    """The `dtype` meant by anything that `as_numpy` takes."""
    return spec if isinstance(spec, dtype) else from_numpy(as_numpy(spec))


# --- the default floating point type, one per thread ---


class _Local(threading.local):
    """`default` is the type of Python floats; `table` remembers results of `result_type` under it."""

    def __init__(self):
        self.use(float32)

    def use(self, default):
        self.default = default
        self.table = _TABLES.setdefault(default, {})


_TABLES: dict[dtype, dict] = {}
_local = _Local()


def get_default_dtype():
    """The type that Python floats become in this thread; float32 at first."""
    return _local.default


def set_default_dtype(d):
    """Make `d`, a floating point type, the one that Python floats become in this thread."""
    chosen = as_dtype(d)
    if not chosen.is_floating_point:
        raise TypeError(
            f"set_default_dtype: only floating-point types are supported as the default type, got {chosen}"
        )
    as_numpy(chosen)  # bfloat16 without ml_dtypes fails here, not at the first float
    _local.use(chosen)


# --- promotion ---


def _category(d):
    """Bool < integer < floating point < complex."""
    if d.is_complex:
        return 3
    if d.is_floating_point:
        return 2
    return 0 if d is bool else 1


def promote_types(type1, type2):
    """The smallest type that both may be converted to, as PyTorch has it: float16 for int64 and float16."""
    a, b = as_dtype(type1), as_dtype(type2)
    if a is b:
        return a
    if _category(a) < _category(b):
        a, b = b, a  # `a` is now of the higher category
    if a.is_complex:
        return complex128 if complex128 in (a, b) or float64 in (a, b) else complex64
    if a.is_floating_point:
        if not b.is_floating_point:
            return a
        return float32 if a.itemsize == b.itemsize else max(a, b, key=_size)
    if b is bool:
        return a
    if uint8 in (a, b):
        signed = b if a is uint8 else a
        return int16 if signed is int8 else signed
    return max(a, b, key=_size)


def _size(d):
    return d.itemsize


def _combine(higher, lower):
    """What an operand of higher rank (a dimensioned array) becomes next to a lower one (0-d, number)."""
    if higher is None or lower is None:
        return higher or lower
    if _category(lower) <= _category(higher):
        return higher
    if higher.is_floating_point:  # next to a complex: keep the precision
        return higher.to_complex()
    return promote_types(higher, lower)


# Python's number classes in the order of their categories. Then, of these and of array classes: is it a
# number?
_PYTHON_NUMBERS = (builtins.bool, builtins.int, builtins.float, builtins.complex)
_is_number = {**dict.fromkeys(_PYTHON_NUMBERS, True), np.ndarray: False}


def result_type(*operands):
    """The `dtype` in which an operation on these arrays and numbers is computed (see the module text).

    `operands` are raw arrays, Python numbers and NumPy scalars, which count as Python numbers, as in PyTorch.
    """
    keys = []
    for x in operands:
        kind = x.__class__
        number = _is_number.get(kind)
        if number is None:
            kind = _number_class(x)
            number = kind is not None
        if number:
            keys.append(kind)
        else:
            # A bare dtype stands for a dimensioned array, a dtype in a tuple for a 0-d one.
            keys.append(x.dtype if x.ndim else (x.dtype,))
    key = tuple(keys)
    table = _local.table
    found = table.get(key)
    if found is None:
        found = table[key] = _result_type(keys)
    return found


def _number_class(x):
    """Python's class for `x`, a NumPy scalar or an instance of a subclass; None for an array."""
    for kinds, number in (
        ((builtins.bool, np.bool_), builtins.bool),
        ((builtins.int, np.integer), builtins.int),
        ((builtins.float, np.floating), builtins.float),
        ((builtins.complex, np.complexfloating), builtins.complex),
    ):
        if isinstance(x, kinds):
            return number
    if isinstance(x, np.generic) and x.dtype.name == "bfloat16":
        return builtins.float
    if hasattr(x, "ndim") and hasattr(x, "dtype") and not isinstance(x, np.generic):
        _is_number[type(x)] = False
        return None
    raise TypeError(
        f"result_type: {type(x).__name__} is not an array or a number; convert it with chainrule.tensor first"
    )


def _result_type(keys):
    dimensioned = zero_dim = number = None
    for key in keys:
        if isinstance(key, np.dtype):
            found = from_numpy(key)
            dimensioned = found if dimensioned is None else promote_types(dimensioned, found)
        elif isinstance(key, tuple):
            found = from_numpy(key[0])
            zero_dim = found if zero_dim is None else promote_types(zero_dim, found)
        else:
            default = _local.default
            found = (bool, int64, default, default.to_complex())[_PYTHON_NUMBERS.index(key)]
            number = found if number is None else promote_types(number, found)
    result = _combine(dimensioned, _combine(zero_dim, number))
    if result is None:
        raise TypeError("result_type: at least one operand is needed")
    return result


def can_cast(from_, to):
    """Whether a result of type `from_` may be stored as `to`: only in the same or a higher category."""
    return _category(as_dtype(from_)) <= _category(as_dtype(to))


# --- limits ---


class finfo:
    """Limits of a floating point type (of the parts, for a complex one); the default type if none is named.

    `bits`, `eps` (1 + eps is the next number after 1), `max`, `min`, `tiny` = `smallest_normal`,
    `resolution`, `dtype` (a name).
    """

    def __init__(self, type=None):
        d = get_default_dtype() if type is None else as_dtype(type)
        if _category(d) < 2:
            raise TypeError(f"finfo: {d} is not a floating point type; use iinfo for integers")
        d = d.to_real()
        exponent_bits, fraction_bits, decimals = _FORMATS[d.name]
        highest = 2 ** (exponent_bits - 1) - 1
        self.dtype = d.name
        self.bits = 8 * d.itemsize
        self.eps = 2.0**-fraction_bits
        self.max = (2 - self.eps) * 2.0**highest
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - highest)
        self.resolution = builtins.float(f"1e-{decimals}")

    def __repr__(self):
        names = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in names)}, dtype={self.dtype})"


# IEEE 754 formats and bfloat16: exponent bits, fraction bits, decimal digits that always survive.
_FORMATS = {"float16": (5, 10, 3), "bfloat16": (8, 7, 2), "float32": (8, 23, 6), "float64": (11, 52, 15)}


class iinfo:
    """Limits of an integer type: `bits`, `min`, `max`, `dtype`."""

    def __init__(self, type):
        d = as_dtype(type)
        if _category(d) != 1:
            raise TypeError(f"iinfo: {d} is not an integer type; use finfo for floating point types")
        self.dtype = d.name
        self.bits = 8 * d.itemsize
        self.max = 2 ** (self.bits - d.is_signed) - 1
        self.min = -self.max - 1 if d.is_signed else 0

    def __repr__(self):
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
