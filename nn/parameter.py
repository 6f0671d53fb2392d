"""Tensors that a `Module` finds by itself when they are set as its attributes.

A `Parameter` is a leaf that wants its gradient: what an optimizer trains. A `Buffer` is state that is saved and moved
with the module but not trained, such as a running mean. An `UninitializedParameter` waits for its shape.
"""

from chainrule.autograd.functions.creation import empty
from chainrule.autograd.tensor import Tensor


def _share(self, data, name):
    """Put the memory of `data` under `self`; nothing at all (None) is a Tensor of no elements."""
    if data is None:
        data = empty(0)
    if not isinstance(data, Tensor):
        raise TypeError(
            f"{name}: data must be a Tensor, got {type(data).__name__}; make one with chainrule.tensor(...)"
        )
    self._array = data._array


class Parameter(Tensor):
    """A Tensor that is trained: set as an attribute of a Module, it is one of its `parameters()`.

    Shares memory with `data` and is a leaf of the graph, whatever made `data`.
    """

    def __init__(self, data=None, requires_grad=True):
        _share(self, data, "Parameter")
        if requires_grad:
            self.requires_grad_()


class Buffer(Tensor):
    """A Tensor that belongs to a Module's state without being trained.

    persistent: whether `state_dict()` holds it.
    """

    def __init__(self, data=None, *, persistent=True):
        _share(self, data, "Buffer")
        self.persistent = persistent

    def __reduce__(self):
        return _buffer, (self.detach(), self.persistent)


def _buffer(data, persistent):
    return Buffer(data, persistent=persistent)


class _Uninitialized:
    """A Tensor whose shape its module learns from the first input; `materialize(shape)` then makes the memory."""

    @property
    def shape(self):
        """Not known yet: RuntimeError."""
        raise RuntimeError(
            f"an {type(self).__name__} has no shape before its module has seen an input or loaded a state dict; "
            f"run the module once"
        )

    def materialize(self, shape, device=None, dtype=None):
        """Become an ordinary Parameter or Buffer of `shape`, with whatever the memory holds."""
        device = self.device if device is None else device
        self._array = empty(shape, device=device, dtype=self.dtype if dtype is None else dtype)._array
        self.__class__ = self.cls_to_become

    def __repr__(self):
        return f"<{type(self).__name__} of {self.dtype} on {self.device}>"


class UninitializedParameter(_Uninitialized, Parameter):
    """A Parameter that waits for its shape."""

    cls_to_become = Parameter

    def __init__(self, requires_grad=True, device=None, dtype=None):
        super().__init__(empty(0, device=device, dtype=dtype), requires_grad)


class UninitializedBuffer(_Uninitialized, Buffer):
    """A Buffer that waits for its shape."""

    cls_to_become = Buffer

    def __init__(self, requires_grad=False, device=None, dtype=None, persistent=True):
        super().__init__(empty(0, device=device, dtype=dtype), persistent=persistent)

    def __reduce__(self):
        return _uninitialized, (self.detach(), self.persistent)


def _uninitialized(data, persistent):
    return UninitializedBuffer(device=data.device, dtype=data.dtype, persistent=persistent)


def is_lazy(tensor):
    """Whether `tensor` still waits for its shape."""
    return isinstance(tensor, _Uninitialized)
