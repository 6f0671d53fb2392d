"""`no_transfer`: inside, a copy between host and device that nobody asked for is an error, and so is waiting for a value.

An accelerator computes while Python runs ahead. A `loss.item()` in the training step, a list used as an index, a boolean mask: each
makes Python wait until the device has caught up, and nothing tells. (JAX's `transfer_guard` and PyTorch's
`cuda.set_sync_debug_mode` are of the same mind.)
"""

from chainrule.backends import transfers

from .modes import _Mode

_REMEDIES = {
    "value": (
        "waits for a value of the device",
        "keep the number there (total += loss.detach()) and read it once after the loop",
    ),
    "shape": (
        "waits for the device, which alone knows the shape of the result",
        "write it with shapes that are known: cr.where(mask, x, 0), x.masked_fill(mask, 0), or a product with the mask",
    ),
    "to_device": (
        "copies host data to the device",
        "make a Tensor of it there before the block: cr.tensor(data, device=...)",
    ),
    "to_host": ("copies to the host", "ask for it by name, .cpu(), or do it after the block"),
    "wait": ("waits for the device", "do it after the block"),
}
# Our functions that give Python a value; Tensors read by a copy to the host.
_READING = frozenset(
    "item tolist __bool__ __float__ __int__ __complex__ __index__ __format__ __repr__ __contains__ __str__ text equal allclose".split()
)


class TransferError(RuntimeError):
    """What `no_transfer` raises; `crossing` tells more."""

    def __init__(self, message, crossing=None):
        super().__init__(message)
        self.crossing = crossing


class no_transfer(_Mode):
    """Refuse implicit copies between host and device and every wait for a device value: `with no_transfer():` or `@no_transfer()`.

    Copies that the program asks for by name are allowed: `.to`, `.cpu`, `.cuda`, `copy_`, `tensor(..., device=...)`, loading and
    saving, `synchronize`. `no_transfer(explicit=True)` refuses these too. What always raises a `TransferError`: reading a value
    (`item`, `tolist`, `bool`, `float`, `int`, printing), results whose shape depends on values (boolean masks, `nonzero`, `unique`),
    and host data that is copied because it met a Tensor of a device (a list or NumPy array as an index, a CPU number as an operand).
    Blocks nest: the innermost decides, and `no_transfer(False)` allows everything again. It holds for the thread. On the CPU there is
    nothing to refuse. Outside of such a block nothing is paid.
    """

    def __new__(cls, mode=True, *, explicit=False):
        if callable(mode):
            return cls()(mode)
        return super().__new__(cls)

    def __init__(self, mode=True, *, explicit=False):
        self.mode, self.explicit = mode, explicit

    def _copy(self):
        return no_transfer(self.mode, explicit=self.explicit)

    def __enter__(self):
        _Guard(self, self.mode, self.explicit).watch()
        return self

    def __exit__(self, *_):
        # Of this thread: others may be in the same block.
        next(one for one in _guards() if one.owner is self).unwatch()


class _Guard(transfers.Watcher):
    """What one block refuses."""

    def __init__(self, owner, refuses, explicit):
        self.owner, self.refuses, self.explicit = owner, refuses, explicit

    def crossing(self, found):
        if self is next(_guards()) and self.refuses and (self.explicit or not found.asked):
            raise TransferError(_message(found), found)


def _guards():
    """Those of this thread, the innermost first."""
    return (one for one in reversed(transfers.watchers()) if isinstance(one, _Guard))


def _message(found):
    kind = "value" if found.by in _READING and found.kind == "to_host" else found.kind
    does, remedy = _REMEDIES[kind]
    details = [] if found.what in (found.by, *_PLAIN) else [f"in {found.what}"]
    details += [f"shape {found.shape}"] if kind != "wait" else []
    inside = f" ({', '.join(details)})" if details else ""
    return f"no_transfer: {_public(found.by)} {does}{inside}, at {found.line}; {remedy}"


_PLAIN = ("get", "item", "from_host", "to_host", "asarray", "array", "asnumpy")
_NAMES = {
    **dict.fromkeys(("__repr__", "__str__", "__format__", "text"), "printing"),
    **dict.fromkeys(("getitem", "__getitem__"), "indexing"),
    **dict.fromkeys(("setitem", "__setitem__"), "writing by index"),
    "__contains__": "in",
}


def _public(name):
    """What a user calls one of our functions."""
    return _NAMES.get(name) or (f"{name.strip('_')}()" if name.startswith("__") else name)
