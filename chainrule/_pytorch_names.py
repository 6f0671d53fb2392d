"""What the names in files of `torch.save` stand for, and the memory that the tensors in them are views of."""

import math
import re
from collections import Counter, OrderedDict, defaultdict

import numpy as np

from chainrule.autograd.tensor import Size, Tensor
from chainrule.backends import devices, dtypes

from ._pickled import Function, Refused, checked_key

_MAX_RANK = 64
_ORDERS = {b"little": "<", b"big": ">"}
_ML_DTYPES = {"bfloat16": "u2", "float8_e4m3fn": "u1", "float8_e5m2": "u1"}

# --- memory ---


class StorageType:
    """What the names `torch.FloatStorage` ... stand for: the type of a storage's elements."""

    def __init__(self, element):
        self.element, self.itemsize = element, _itemsize(element)


class Storage:
    """A flat piece of memory that tensors are views of."""

    def __init__(self, kind, memory, location, order, count, key):
        if not isinstance(kind, StorageType) or type(key) is not str or type(location) is not str:
            raise Refused("a storage has no type, no name or no device")
        self.kind, self.memory, self.location, self.key, self.count = kind, memory, location, key, count
        if order not in _ORDERS:
            raise Refused(f"its byte order is {order!r}, neither little nor big")
        self._order = _ORDERS[order]
        if not is_count(count) or count * kind.itemsize != len(memory):
            raise Refused(f"storage {key!r} has {len(memory)} bytes for {count!r} elements of {kind.element}")

    def check(self):
        """Refuse truth values that are neither 0 nor 1: NumPy would not know what they are."""
        if self.kind.element == "bool" and self.memory.size and self.memory.max() > 1:
            raise Refused(f"storage {self.key!r}: a bool is neither 0 nor 1")

    def view(self, offset, size, stride, element):
        """The elements at `offset` + sum of index * stride, as an array that shares this memory."""
        itemsize = _itemsize(element)
        if not all(isinstance(one, tuple) and all(map(is_count, one)) for one in (size, stride)):
            raise Refused("the sizes or strides of a tensor are not valid")
        if len(size) != len(stride) or len(size) > _MAX_RANK or not is_count(offset):
            raise Refused("the sizes, strides and offset of a tensor do not fit together")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if 0 not in size and (last + 1) * itemsize > len(self.memory):
            raise Refused(
                f"a tensor of shape {size} and strides {stride} reaches beyond storage {self.key!r}"
            )
        known = np.dtype(_ML_DTYPES.get(element, element))
        ordered = known.newbyteorder(self._order)
        if 0 in size:
            return _as_element(np.empty(size, known), element)
        flat = self.memory[offset * itemsize : (last + 1) * itemsize].view(
            known if ordered == known else ordered
        )
        array = np.lib.stride_tricks.as_strided(flat, size, [step * itemsize for step in stride])
        return _as_element(array if ordered == known else array.astype(known), element)


def _as_element(array, element):
    if element not in _ML_DTYPES:
        return array
    try:
        import ml_dtypes
    except ImportError:
        if element != "bfloat16":
            raise Refused(f"{element} needs the package ml_dtypes: pip install ml_dtypes") from None
        bits = np.asarray(array.astype(np.uint32) << 16)  # a bfloat16 is the upper half of a float32
        return bits.view(np.float32)
    return array.view(getattr(ml_dtypes, element))


def _itemsize(element):
    return np.dtype(_ML_DTYPES.get(element, element)).itemsize


def is_count(value):
    return type(value) is int and 0 <= value < 2**62


# --- what names stand for ---


class _NumpyType:
    """A NumPy dtype that is being described."""

    def __init__(self, dtype):
        self.dtype = dtype


def _tensor(world, storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """A view of a storage."""
    return world.tensor(storage, storage.kind.element, offset, size, stride, requires_grad, metadata)


def _tensor_of_type(world, storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """A view of a storage that does not say its type."""
    return world.tensor(storage, dtype.name, offset, size, stride, requires_grad, metadata)


def _parameter(world, data, requires_grad, hooks, state=None):
    from chainrule.nn import Parameter

    # A type that Tensors lack stays an array.
    return Parameter(data, requires_grad) if isinstance(data, Tensor) else data


def _with_attributes(world, function, kind, args, state):
    """A tensor with attributes of its own, which are left out."""
    if not isinstance(function, Function) or getattr(kind, "name", None) not in _TENSOR_CLASSES:
        raise Refused("a tensor is of a class of its own; only Tensor and Parameter are known")
    return function.call(world, *args)


def _numpy_type(world, code, align=False, copy=False):
    if not isinstance(code, str) or not re.fullmatch(r"[biufc]\d{1,2}", code):
        raise Refused(f"a NumPy array has elements of type {code!r}; only numbers are data")
    return _NumpyType(np.dtype(code))


def _numpy_scalar(world, described, data):
    return np.frombuffer(data, described.dtype, 1)[0].astype(described.dtype.newbyteorder("="))


def _numpy_array(world, kind, shape, code):
    return np.empty(0, np.uint8)  # its content follows as its state


def _encoded(world, text, encoding):
    if encoding != "latin1":
        raise Refused(f"it wants text encoded as {encoding!r}")
    return text.encode("latin1")


def _device(world, kind, index=None):
    return devices.device(kind) if index is None else devices.device(kind, index)


def _pairs(pairs):
    return [(checked_key(key), value) for key, value in pairs]


def _mapping(kind):
    return lambda world, pairs=(): kind(_pairs(pairs.items() if isinstance(pairs, dict) else pairs))


def _default_dict(world, factory=None, pairs=()):
    made = {"list": list, "dict": dict, "set": set, "int": int, "float": float, "OrderedDict": OrderedDict}
    name = factory.name.rpartition(".")[2] if isinstance(factory, Function) else None
    if factory is not None and name not in made:
        raise Refused("a defaultdict makes its values by something other than a container or number")
    return defaultdict(made.get(name), _pairs(pairs))


_TENSOR_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter")

_FUNCTIONS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _with_attributes,
    "torch.Size": lambda world, sizes=(): Size(sizes),
    "torch.device": _device,
    "collections.OrderedDict": _mapping(OrderedDict),
    "collections.Counter": lambda world, counts=(): Counter(dict(_pairs(dict(counts).items()))),
    "collections.defaultdict": _default_dict,
    "_codecs.encode": _encoded,
    "numpy.dtype": _numpy_type,
    "numpy.core.multiarray.scalar": _numpy_scalar,
    "numpy._core.multiarray.scalar": _numpy_scalar,
    "numpy.core.multiarray._reconstruct": _numpy_array,
    "numpy._core.multiarray._reconstruct": _numpy_array,
}
for _module in ("builtins", "__builtin__"):
    _FUNCTIONS |= {
        f"{_module}.set": lambda world, items=(): {checked_key(one) for one in items},
        f"{_module}.frozenset": lambda world, items=(): frozenset([checked_key(one) for one in items]),
        f"{_module}.complex": lambda world, real=0.0, imag=0.0: complex(float(real), float(imag)),
        f"{_module}.bytearray": lambda world, data=b"", encoding="latin1": bytearray(
            data if isinstance(data, bytes) else _encoded(world, data, encoding)
        ),
        f"{_module}.bytes": lambda world: b"",  # protocol 2 has no other way to say so
        f"{_module}.list": lambda world, items=(): list(items),
        f"{_module}.dict": _mapping(dict),
        f"{_module}.int": lambda world, value=0: int(value),
        f"{_module}.float": lambda world, value=0.0: float(value),
    }

# Names that only stand as arguments of others.
_KINDS = (*_TENSOR_CLASSES, "numpy.ndarray")

_STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_TENSOR_DTYPES = {np.dtype(name) for name in _STORAGES.values() if name != "bfloat16"}
_DTYPES = (
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128 uint16 uint32 uint64 "
    "float8_e4m3fn float8_e5m2"
).split()


def _dtype(name):
    if name.startswith("uint") and name != "uint8":
        return np.dtype(name)  # Tensors lack it
    if name.startswith("float8"):
        return _as_element(np.empty(0, np.uint8), name).dtype
    return dtypes.as_dtype(name)


def _not_called(world, *args):
    raise Refused("it calls a class that only describes what follows")


class World:
    """What a pickle of `torch.save` finds outside itself. `storage(kind, key, location, count)` gives a Storage,
    `place(tensor, location, name)` puts a Tensor where it is wanted."""

    def __init__(self, storage, place):
        self.storage, self._place = storage, place
        self._tensors = 0

    def look_up(self, module, name):
        """What a name of the program stands for. Nothing is imported."""
        full = f"{module}.{name}"
        if full in _FUNCTIONS:
            return Function(full, _FUNCTIONS[full])
        if full in _KINDS:
            return Function(full, _not_called)
        if module == "torch" and name.endswith("Storage") and name.removesuffix("Storage") in _STORAGES:
            return StorageType(_STORAGES[name.removesuffix("Storage")])
        if full == "torch.storage.UntypedStorage":
            return StorageType("uint8")
        if module == "torch" and name in _DTYPES:
            return _dtype(name)
        raise Refused(
            f"it asks for {full[:200]!r}, which is not among the names that data needs; to go on would be to run code of the "
            f"file's choice. Where it was written, save tensors, numbers, text, dicts and lists: the state_dict() of a model"
        )

    def set_state(self, target, state):
        """Complete a NumPy type or array."""
        if isinstance(target, _NumpyType):
            if state[1] not in ("<", ">", "|", "="):
                raise Refused(f"a NumPy type has byte order {state[1]!r}")
            target.dtype = target.dtype.newbyteorder(state[1])
        elif type(target) is np.ndarray:
            _, shape, described, fortran, data = state
            count = math.prod(shape) if all(map(is_count, shape)) else -1
            if type(data) is not bytes or len(shape) > 32 or count * described.dtype.itemsize != len(data):
                raise Refused("a NumPy array has data of another length than its shape says")
            target.__setstate__((1, tuple(shape), described.dtype, bool(fortran), data))
        else:
            raise Refused(f"it gives a {type(target).__name__} a state of its own")

    def tensor(self, storage, element, offset, size, stride, requires_grad, metadata):
        """A view of a storage as a Tensor (an array, if Tensors lack the type)."""
        if not isinstance(storage, Storage):
            raise Refused("a tensor has no storage")
        array = storage.view(offset, size, stride, element)
        for change, apply in (("conj", np.conj), ("neg", np.negative)):
            if isinstance(metadata, dict) and metadata.get(change):
                array = np.asarray(apply(array))
        if array.dtype not in _TENSOR_DTYPES and array.dtype.name != "bfloat16":
            return array
        self._tensors += 1
        made = self._place(Tensor._wrap(array), storage.location, f"number {self._tensors}")
        if requires_grad and isinstance(made, Tensor) and made.dtype.is_floating_point:
            made.requires_grad_(True)
        return made
