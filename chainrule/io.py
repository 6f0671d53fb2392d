"""Checkpoints: `save` and `load` for nested dicts, lists and tuples of Tensors, arrays, numbers and text.

A file is in the safetensors format and holds data only: loading it cannot run code. `load` also reads the files of
`torch.save` (see `_pytorch_file`), without PyTorch and with nothing in them run. A flat dict of Tensors is stored under
its own names, for any reader of the format; how anything else was nested is written as JSON beside the tensors. Every
tensor and the header carry a checksum. A file is replaced as a whole: whoever reads it, even after a
crash in the middle of `save`, finds the old one or the new one.
"""

import contextlib
import io
import json
import os
import stat
from collections import Counter, OrderedDict

import numpy as np

from chainrule.autograd.tensor import Size, Tensor
from chainrule.backends import backend_of, devices, dtypes, get, namespaces

from . import _safetensors
from ._atomic import replace
from ._safetensors import CheckpointError

__all__ = ["CheckpointError", "load", "load_pt", "save"]

_VERSION = 1
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_MAX_DEPTH = 100
_VERSION_KEY, _STRUCTURE, _COMPLEX = "chainrule.version", "chainrule.structure", "chainrule.complex128"


def save(obj, f):
    """Write `obj` to `f`: a path, replaced as a whole, or a file open for writing in binary mode.

    obj: Tensors, arrays, None, bool, int, float, complex, str, bytes, dtypes and devices in dicts (`OrderedDict`, `Counter` too),
    lists and tuples, at most 100 deep. Tensors lose `requires_grad`; one object met twice is loaded as one.
    Modules and optimizers are saved by their `state_dict()`. TypeError names the place of anything else.
    """
    writer = _Writer()
    structure = writer.encode(obj, ())
    metadata = {_VERSION_KEY: str(_VERSION), _STRUCTURE: _dump(structure), _COMPLEX: _dump(writer.complex)}
    parts = _safetensors.pieces(writer.arrays, metadata)
    if hasattr(f, "write"):
        for part in parts:
            f.write(part)
    else:
        replace(os.fsdecode(f), parts)


def load(f, map_location=None, *, verify=True, weights_only=True):
    """What `save` wrote to `f`, a path or a file open for reading in binary mode.

    map_location: where the Tensors go: a device, a dict from saved to wanted devices, or a function of (Tensor on the
    CPU, saved device as text) that gives the Tensor to use; None puts each where it was. verify: check the checksums.
    weights_only is accepted as PyTorch has it; no file can hold code.

    A safetensors file of other origin gives a dict of Tensors (of NumPy arrays for types that Tensors lack); a file of
    `torch.save` what `load_pt` makes of it. bfloat16 becomes float32 where ml_dtypes is not installed.
    CheckpointError names file, tensor and fault of a bad file.
    """
    with _opened(f) as (file, size, where):
        if _is_pytorch(file):
            return _read_pytorch(file, size, where, map_location)
        arrays, metadata, own = _safetensors.read(file, size, where, verify)
    reader = _Reader(arrays, map_location, where)
    if not own:
        return {name: reader.place(name) if _has_tensor_dtype(one) else one for name, one in arrays.items()}
    version = metadata.get(_VERSION_KEY, "")
    if version != str(_VERSION):
        raise CheckpointError(
            where, f"it has version {version!r}, this chainrule reads version {_VERSION}: upgrade chainrule"
        )
    return reader.read(metadata)


def load_pt(f, map_location=None):
    """What `torch.save` wrote to `f`: state dicts of models and optimizers, Tensors, Parameters, numbers, text, containers.

    No code of the file is run: what asks for more than data (a whole module, a TorchScript program) is a CheckpointError
    that names it. Tensors that shared a storage share it here, where they stay on the CPU. map_location: as in `load`.
    """
    with _opened(f) as (file, size, where):
        if not _is_pytorch(file):
            raise CheckpointError(
                where, "torch.save did not write this; chainrule.load reads safetensors files"
            )
        return _read_pytorch(file, size, where, map_location)


def _is_pytorch(file):
    """Whether an open file is a zip archive or a pickle; a safetensors file has a brace in the ninth place."""
    start = file.read(9)
    file.seek(0)
    return start[8:] != b"{" and (start[:4] == b"PK\x03\x04" or start[:2] in _PICKLES)


def _read_pytorch(file, size, where, map_location):
    from . import _pytorch_file

    def place(tensor, location, name):
        return _placed(tensor, location, map_location, where, name)

    return _pytorch_file.read(file, size, where, place)


def _dump(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


# --- the structure: JSON in which every object has one key, which says what its value stands for ---


class _Writer:
    """Turns an object into JSON, and collects the arrays it holds by name."""

    def __init__(self):
        self.arrays = {}
        self.complex = []  # names of complex128 arrays, which are stored as pairs of float64: the format has no type for them
        self._seen = {}  # id of the array object -> (name, the object: it must live, or its id may come again)

    def encode(self, obj, path):
        """The JSON for `obj`, which stands at `path` (the keys that lead to it)."""
        kind = type(obj)
        if obj is None or kind in (bool, str):
            return obj
        if kind is int:
            return obj if abs(obj) < 2**63 else {"int": hex(obj)}
        if kind is float:
            return obj if np.isfinite(obj) else {"float": str(obj)}
        if kind is complex:
            return {"complex": [self.encode(obj.real, path), self.encode(obj.imag, path)]}
        if kind is bytes:
            return {"bytes": obj.hex()}
        if isinstance(obj, dtypes.dtype):
            return {"dtype": obj.name}
        if isinstance(obj, devices.device):
            return {"device": str(obj)}
        if isinstance(obj, Tensor):
            name, location = self._add(obj._array, path), str(obj.device)
            return {"tensor": name if location == "cpu" else [name, location]}
        if kind in namespaces:
            return {"array": self._add(obj, path)}
        if isinstance(obj, np.generic):
            return {"scalar": self._add(np.asarray(obj), path)}
        return self._encode_container(obj, kind, path)

    def _encode_container(self, obj, kind, path):
        if len(path) >= _MAX_DEPTH:
            raise ValueError(
                f"save: nested more than {_MAX_DEPTH} deep, or an object contains itself: {_place(path)}"
            )
        if kind is list:
            return [self.encode(one, (*path, index)) for index, one in enumerate(obj)]
        if kind in (tuple, Size):
            return {"tuple": [self.encode(one, (*path, index)) for index, one in enumerate(obj)]}
        if kind in (dict, OrderedDict, Counter):
            for key in obj:
                self._check_key(key, path)
            items = [[self.encode(key, path), self.encode(one, (*path, key))] for key, one in obj.items()]
            return {kind.__name__: items}
        hint = "convert it to tensors, numbers, text, dicts, lists and tuples"
        if hasattr(obj, "state_dict"):
            hint = "save its state_dict()"
        elif isinstance(obj, (dict, tuple, list)):
            hint = "convert it to a plain dict, list or tuple"
        raise TypeError(
            f"save: {_place(path)} is a {kind.__module__}.{kind.__qualname__}, which cannot be stored; {hint}"
        )

    def _check_key(self, key, path):
        if isinstance(key, tuple):
            for one in key:
                self._check_key(one, path)
        elif key is not None and type(key) not in (bool, int, float, complex, str, bytes):
            raise TypeError(
                f"save: {_place(path)} has a key of type {type(key).__name__}; keys are text, numbers or tuples of them"
            )

    def _add(self, array, path):
        """The name under which `array` is stored."""
        if id(array) in self._seen and len(path) > 1:
            return self._seen[id(array)][0]
        host = backend_of(array).to_host(array)
        is_complex = host.dtype.name == "complex128"
        if is_complex:
            host = np.stack([host.real, host.imag], axis=-1)
        if not _safetensors.storable(host.dtype):
            raise TypeError(f"save: {_place(path)} has elements of type {host.dtype}, which cannot be stored")
        name = base = ".".join(str(key) for key in path) or "value"
        count = 1
        while name in self.arrays or name == "__metadata__":
            count += 1
            name = f"{base}#{count}"
        self.arrays[name] = host
        if is_complex:
            self.complex.append(name)
        # A flat dict keeps an entry under each name for other readers; ours still gives one object for all of them.
        return self._seen.setdefault(id(array), (name, array))[0]


class _Reader:
    """The way back. What the file says about its own structure is believed no more than the rest."""

    def __init__(self, arrays, map_location, where):
        self.arrays, self.map_location, self.where = arrays, map_location, where
        self._tensors = {}

    def read(self, metadata):
        """The object that was saved."""
        faults = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RuntimeError)
        try:
            for name in json.loads(metadata[_COMPLEX]):
                self.arrays[name] = self.arrays[name].view("complex128")[..., 0]
            structure = json.loads(metadata[_STRUCTURE])
            places = dict(_tensors_in(structure))
        except faults as error:
            raise self._malformed(error) from None
        # Apart from the rest, so that what goes wrong in a map_location function is not blamed on the file.
        for name, location in places.items():
            self._tensors[name] = self.place(name, location)
        try:
            return self._decode(structure)
        except faults as error:
            raise self._malformed(error) from None

    def _malformed(self, error):
        return CheckpointError(self.where, f"its structure is not valid: {error!r}")

    def place(self, name, location="cpu"):
        """The Tensor `name`, which was saved from the device `location`, on the device it is wanted on."""
        if name not in self.arrays or not _has_tensor_dtype(self.arrays[name]):
            raise CheckpointError(
                self.where, "its structure names a Tensor that the file does not hold", name
            )
        return _placed(Tensor._wrap(self.arrays[name]), location, self.map_location, self.where, name)

    def _decode(self, node):
        if isinstance(node, list):
            return [self._decode(one) for one in node]
        if not isinstance(node, dict):
            return node
        ((tag, value),) = node.items()
        return self._tags[tag](self, value)

    def _items(self, pairs):
        return {self._decode(key): self._decode(value) for key, value in pairs}

    _tags = {
        "tensor": lambda self, value: self._tensors[value if isinstance(value, str) else value[0]],
        "array": lambda self, name: self.arrays[name],
        "scalar": lambda self, name: self.arrays[name][()],
        "dict": lambda self, pairs: self._items(pairs),
        "OrderedDict": lambda self, pairs: OrderedDict(self._items(pairs)),
        "Counter": lambda self, pairs: Counter(self._items(pairs)),
        "tuple": lambda self, nodes: tuple([self._decode(one) for one in nodes]),
        "int": lambda self, text: int(text, 16),
        "float": lambda self, text: float(text),
        "complex": lambda self, parts: complex(*[self._decode(part) for part in parts]),
        "bytes": lambda self, text: bytes.fromhex(text),
        "dtype": lambda self, name: dtypes.as_dtype(name),
        "device": lambda self, text: devices.device(text),
    }


def _placed(tensor, location, wanted, where, name):
    """A Tensor saved from the device `location`, on the device that a map_location `wanted` gives it."""
    if callable(wanted):
        found = wanted(tensor, location)
        if found is not None:
            return found
        wanted = None
    elif isinstance(wanted, dict):
        wanted = wanted.get(location)
    if wanted is None:
        try:
            device = devices.device(location)
        except (RuntimeError, TypeError) as error:
            raise CheckpointError(
                where, f'its device is not valid: {error}; map_location="cpu" puts it elsewhere', name
            ) from None
    else:
        device = devices.device(wanted)
    backend = get(device.type)
    if not backend.available():
        raise RuntimeError(
            f"load: tensor {name!r} of {where} belongs on {device}, which cannot be used here "
            f'({backend.why_not()}); pass map_location="cpu"'
        )
    return Tensor._wrap(backend.from_host(tensor._array, device.index))


def _tensors_in(structure):
    """(name, device) of every Tensor that a structure names."""
    nodes = [structure]
    while nodes:
        node = nodes.pop()
        if isinstance(node, list):
            nodes += node
        elif isinstance(node, dict):
            ((tag, value),) = node.items()
            if tag == "tensor":
                yield (value, "cpu") if isinstance(value, str) else value
            else:
                nodes.append(value)


# --- files ---


def _place(path):
    if not path:
        return "the object"
    return "object" + "".join(f"[{key!r}]" for key in path[:10]) + ("[...]" if len(path) > 10 else "")


def _has_tensor_dtype(array):
    try:
        dtypes.from_numpy(array.dtype)
    except TypeError:
        return False
    return True


@contextlib.contextmanager
def _opened(f):
    """(open file, its size in bytes, its name for messages)."""
    if hasattr(f, "read"):
        data = f.read()
        if not isinstance(data, bytes):
            raise TypeError(f"load: the file must be open in binary mode; read() gave {type(data).__name__}")
        yield io.BytesIO(data), len(data), str(getattr(f, "name", "file object"))
        return
    path = os.fsdecode(f)
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            yield file, status.st_size, path
        else:
            data = file.read()
            yield io.BytesIO(data), len(data), path
