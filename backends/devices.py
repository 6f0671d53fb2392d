"""Where arrays live, under PyTorch's names: "cpu", "cuda", "cuda:1".

A `device` is a name and nothing more: making one asks no driver. Whether it can be used is for its backend to
say (`backends.get(device.type)`). Used as a context manager it is the default for tensors created inside.
"""

import re
import threading

# Device types that `register` has made known: type -> whether error messages and listings name it.
_types: dict[str, bool] = {}


def know(device_type, listed=True):
    """Accept `device_type` in device strings; `listed=False` keeps it out of error messages (test device)."""
    _types[device_type] = listed


class device:
    """A device type and, where there are several, an index: `device("cuda:1")`, `device("cuda", 1)`,
    `device(1)`.

    A bare integer is a CUDA index. `index` is None where none was given: the current device of that type.
    """

    __slots__ = ("index", "type")

    def __new__(cls, type, index=None):
        if isinstance(type, cls) and index is None:
            return type
        name, index = _parse(type, index)
        self = super().__new__(cls)
        object.__setattr__(self, "type", name)
        object.__setattr__(self, "index", index)
        return self

    def __setattr__(self, name, value):
        raise AttributeError(f"device.{name} cannot be changed; make another device")

    def __eq__(self, other):
        return isinstance(other, device) and self.type == other.type and self.index == other.index

    def __hash__(self):
        return hash((self.type, self.index))

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __repr__(self):
        return f"device(type={self.type!r}" + ("" if self.index is None else f", index={self.index}") + ")"

    def __reduce__(self):
        return device, (self.type, self.index)

    def __enter__(self):
        _local.outer.append(_local.default)
        _local.default = self
        return self

    def __exit__(self, *_):
        _local.default = _local.outer.pop()


def _parse(spec, index):
    """(type, index) of what a user wrote for a device."""
    if isinstance(spec, int) and not isinstance(spec, bool) and index is None:
        spec, index = "cuda", spec
    if not isinstance(spec, str):
        raise TypeError(
            f'device: expected a string such as "cpu" or "cuda:0", a device or an index, got {spec!r}'
        )
    found = re.fullmatch(r"([a-z]+)(?::(0|[1-9][0-9]*))?", spec)
    name = re.match(r"[^:]*", spec).group()
    if name not in _types:
        known = ", ".join(name for name, listed in _types.items() if listed)
        raise RuntimeError(f"device: expected one of {known} at the start of the device string, got {spec!r}")
    if not found:
        raise RuntimeError(f"device: invalid device string {spec!r}; write {name} or {name}:0")
    if found.group(2) is not None:
        if index is not None:
            raise RuntimeError(
                f"device: {spec!r} has an index already, and index={index!r} was given; give only one"
            )
        index = int(found.group(2))
    if index is not None:
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"device: index must be an int, got {index!r}")
        if index < 0:
            raise RuntimeError(f"device: index must not be negative, got {index}")
    return name, index


know("cpu")
know("cuda")
CPU = device("cpu")


class _Local(threading.local):
    def __init__(self):
        self.default = CPU
        self.outer = []


_local = _Local()


def get_default_device():
    """Where this thread's new tensors go if no device is named; the CPU at first."""
    return _local.default


def set_default_device(device_):
    """Put this thread's new tensors on `device_` if no device is named; None means the CPU."""
    _local.default = CPU if device_ is None else device(device_)
