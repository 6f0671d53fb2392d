"""Hooks on what nodes save: pack it when it is saved, unpack it when the gradient needs it.

Recording under `saved_tensors_hooks` turns a node into a `HookedNode`, which holds the packed values. Nodes recorded
outside know nothing of this and pay nothing for it.
"""

import contextlib

from chainrule.backends import backend_of, devices, get, namespaces

from . import late
from .modes import local, no_grad, recording
from .node import Node


class Packed:
    """One packed value, and how to get the array back."""

    __slots__ = ("unpack", "value")

    def __init__(self, value, unpack):
        self.value = value
        self.unpack = unpack

    def array(self):
        """The array that was saved, or an equal one."""
        with no_grad():
            tensor = self.unpack(self.value)
        if not isinstance(tensor, late.Tensor):
            raise TypeError(
                f"saved_tensors_hooks: unpack_hook must return a Tensor, got {type(tensor).__name__}"
            )
        return tensor._array


class HookedNode(Node):
    """A node whose saved arrays are packed."""

    __slots__ = ()

    def gradients(self, g, edges, create_graph, keep):
        """Unpack, then apply the rules."""
        packed = self.saved
        self.saved = unpacked(packed)
        try:
            return super().gradients(g, edges, create_graph, True)
        finally:
            self.saved = packed if keep else None


def unpacked(values):
    """What a node saved, every packed value as its array."""
    return _each(values, lambda one: one.array() if isinstance(one, Packed) else one)


def _each(values, change):
    return tuple(_each(one, change) if isinstance(one, (tuple, list)) else change(one) for one in values)


@contextlib.contextmanager
def saved_tensors_hooks(pack_hook, unpack_hook):
    """Inside, what operations save goes through `pack_hook(tensor)`; in backward `unpack_hook(packed)` gives it back.

    Use it to keep saved values elsewhere (on disk, on the host), smaller, or not at all. unpack_hook must return a Tensor
    equal to the one packed.
    """
    if local.state.no_saved_hooks is not None:
        raise RuntimeError(local.state.no_saved_hooks)

    def pack(node, _):
        if node.__class__ is not Node or not node.saved:
            return
        with no_grad():
            node.saved = _each(
                node.saved,
                lambda one: (
                    Packed(pack_hook(late.Tensor._wrap(one)), unpack_hook)
                    if one.__class__ in namespaces
                    else one
                ),
            )
        node.__class__ = HookedNode

    with recording(pack):
        yield


@contextlib.contextmanager
def disable_saved_tensors_hooks(error_message):
    """Inside, using `saved_tensors_hooks` raises RuntimeError with this message."""
    state = local.state
    before, state.no_saved_hooks = state.no_saved_hooks, error_message
    try:
        yield
    finally:
        state.no_saved_hooks = before


def save_on_cpu(pin_memory=False, device_type="cuda"):
    """Inside, what operations on an accelerator save is kept in host memory until backward needs it."""

    def pack(tensor):
        device = tensor.device
        if device.type == "cpu":
            return device, tensor
        return device, late.Tensor._wrap(backend_of(tensor._array).to_host(tensor._array))

    def unpack(packed):
        device, tensor = packed
        if devices.device(device).type == "cpu":
            return tensor
        return late.Tensor._wrap(get(device).from_host(tensor._array, device.index))

    return saved_tensors_hooks(pack, unpack)
