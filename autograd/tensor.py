"""`Tensor`: an array of NumPy or CuPy that remembers how it was made.

A Tensor holds two things: the array, and `_edge`, its place in the graph: None (no gradient wanted), LEAF (the user asked
for a gradient), a Node (an operation made it) or a View. The methods live in mixins by part of mathematics, each one line:
they are the functions of `functions/`.
"""

import weakref

import numpy

from chainrule.backends import backend_of, dtypes, get, namespaces, placement
from chainrule.backends import devices as _devices
from chainrule.backends.capturing import local as capturing

from . import late, ops
from .functions.methods import Methods
from .gradients import backward
from .inplace import View
from .node import LEAF, Node, RemovableHandle, Slot
from .writes import log


class Size(tuple):
    """A shape: a tuple of ints that prints as PyTorch's."""

    __slots__ = ()

    def numel(self):
        """The number of elements."""
        count = 1
        for length in self:
            count *= length
        return count

    def __repr__(self):
        return f"chainrule.Size({list(self)})"

    def __getitem__(self, index):
        found = tuple.__getitem__(self, index)
        return Size(found) if isinstance(index, slice) else found

    def __add__(self, other):
        return Size(tuple.__add__(self, tuple(other)))


class Tensor(Methods):
    """An array with a gradient. Make one with `chainrule.tensor(data, requires_grad=True)`."""

    _edge = None
    _grad = None
    _hooks = None
    _post_hooks = None
    _retained = None
    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __init__(self, *data, device=None):
        from .functions.creation import legacy_array

        self._array = legacy_array(data, device)

    @classmethod
    def _wrap(cls, array, edge=None):
        """A Tensor over a raw array, at `edge` of the graph."""
        out = object.__new__(Tensor)
        out._array = array if array.__class__ in namespaces else numpy.asarray(array)
        if edge is not None:
            out._edge = edge
        return out

    # The place in the graph

    def _current_edge(self):
        """Where a gradient of this Tensor goes: a Node, this Tensor itself if it is a leaf, or nowhere (None)."""
        edge = self._edge
        if edge is LEAF:
            return self
        return edge.current() if edge.__class__ is View else edge

    @property
    def requires_grad(self):
        """Whether gradients reach this Tensor. Settable on leaves."""
        return self._edge is not None and self._current_edge() is not None

    @requires_grad.setter
    def requires_grad(self, value):
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad=True):
        """Ask for (or renounce) a gradient; returns self. Only floating point and complex leaves can have one."""
        if not self.is_leaf:
            if not requires_grad:
                raise RuntimeError(
                    "requires_grad_(False): only leaf Tensors can renounce their gradient; use .detach() for a Tensor outside the graph"
                )
            return self
        if requires_grad and not (self.is_floating_point() or self.is_complex()):
            raise RuntimeError(
                f"requires_grad_: only Tensors of floating point and complex dtype can require gradients, this one is {self.dtype}; "
                f"convert it first, e.g. with .float()"
            )
        self._edge = LEAF if requires_grad else None
        return self

    @property
    def is_leaf(self):
        """True unless an operation that needs a gradient made it."""
        return self._edge is None or self._edge is LEAF or self._current_edge() is None

    @property
    def grad_fn(self):
        """The Node of the operation that made this Tensor, or None."""
        edge = self._current_edge()
        if isinstance(edge, Slot):
            return edge.parent
        return edge if isinstance(edge, Node) else None

    @property
    def output_nr(self):
        """Which of its operation's outputs this is."""
        edge = self._current_edge()
        return edge.index if isinstance(edge, Slot) else 0

    @property
    def _version(self):
        return log.count(self._array)

    @property
    def _base(self):
        """The Tensor this one is a view of, or None."""
        return self._edge.base if self._edge.__class__ is View else None

    def _is_view(self):
        return self._edge.__class__ is View

    def view_as_alias(self):
        """A Tensor over the same memory at the same place in the graph, which is not this object."""
        return Tensor._wrap(self._array, self._current_edge())

    # The gradient

    @property
    def grad(self):
        """The gradient accumulated by `backward()`, or None."""
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad must be a Tensor or None, got {type(value).__name__}")
            if (
                value.shape != self.shape
                or value.dtype != self.dtype
                or value._array.__class__ is not self._array.__class__
            ):
                raise RuntimeError(
                    f"grad: a Tensor of shape {tuple(self.shape)}, {self.dtype} on {self.device} cannot have a gradient of shape "
                    f"{tuple(value.shape)}, {value.dtype} on {value.device}"
                )
        elif capturing.capture is not None:
            capturing.capture.zeroed.add(id(self))
        self._grad = value

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Add the gradient of this Tensor to `.grad` of every leaf (or of `inputs`) it was computed from.

        gradient: d(what you differentiate)/d(self), in this Tensor's shape; 1 for a Tensor of one element.
        retain_graph: keep what was saved, to walk the graph again. create_graph: make the gradient differentiable.
        """
        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self):
        """The same memory outside the graph."""
        return Tensor._wrap(self._array)

    def detach_(self):
        """Take this Tensor out of the graph; it becomes a leaf."""
        if self._is_view():
            raise RuntimeError("detach_: a view cannot be detached in place; use .detach()")
        self._edge = None
        return self

    @property
    def data(self):
        """The same memory outside the graph. Assigning puts other memory under this Tensor."""
        return self.detach()

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        if capturing.capture is not None and value._array is not self._array:
            capturing.capture.refuse(
                "moved",
                f"other memory is put under a Tensor of shape {tuple(self.shape)}",
                "write in place, with copy_()",
            )
        self._array = value._array

    def retain_grad(self):
        """Let `backward()` fill `.grad` of this Tensor too, though it is no leaf."""
        if not self.requires_grad:
            raise RuntimeError("retain_grad: this Tensor does not require grad, so it will get none")
        if not self.is_leaf and self._retained is None:
            reference = weakref.ref(self)

            def keep(grad):
                tensor = reference()
                if tensor is not None:
                    tensor._grad = (
                        grad.detach().clone() if tensor._grad is None else tensor._grad + grad.detach()
                    )

            self._retained = self.register_hook(keep)

    @property
    def retains_grad(self):
        """Whether `retain_grad()` was asked for."""
        return self._retained is not None

    def register_hook(self, hook):
        """Call `hook(grad)` when this Tensor's gradient is known; a Tensor it returns takes the gradient's place."""
        if not self.requires_grad:
            raise RuntimeError(
                "register_hook: this Tensor does not require grad, so no gradient will ever reach it"
            )
        edge = self._current_edge()
        if isinstance(edge, Node):
            return edge._hooks().add("tensor", hook)
        if self._hooks is None:
            self._hooks = {}
        return RemovableHandle(self._hooks, hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call `hook(tensor)` each time `backward()` has added to this leaf's `.grad`."""
        if not self.requires_grad or not self.is_leaf:
            raise RuntimeError(
                "register_post_accumulate_grad_hook: only leaf Tensors that require grad accumulate one"
            )
        if self._post_hooks is None:
            self._post_hooks = {}
        return RemovableHandle(self._post_hooks, hook)

    # What it is

    @property
    def shape(self):
        """The length of each dimension."""
        return Size(self._array.shape)

    @property
    def ndim(self):
        """The number of dimensions."""
        return self._array.ndim

    @property
    def dtype(self):
        """The type of the elements."""
        return dtypes.from_numpy(self._array.dtype)

    @property
    def device(self):
        """Where the memory lies."""
        return backend_of(self._array).device_of(self._array)

    @property
    def array(self):
        """The raw NumPy or CuPy array; writes to it go past the graph."""
        return self._array

    @property
    def itemsize(self):
        """Bytes of one element."""
        return self._array.dtype.itemsize

    @property
    def nbytes(self):
        """Bytes of all elements."""
        return self._array.nbytes

    @property
    def is_cuda(self):
        """Whether the memory lies on a CUDA card."""
        return self.device.type == "cuda"

    def __len__(self):
        if not self.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __bool__(self):
        if self._array.size != 1:
            raise RuntimeError(
                f"Boolean value of a Tensor with {self._array.size} elements (shape {tuple(self.shape)}) is ambiguous; use .any() or .all()"
            )
        return bool(self.item())

    def __repr__(self):
        from .printing import text

        return text(self)

    def __reduce__(self):
        if not self.is_leaf:
            raise RuntimeError("pickle: only leaf Tensors can be pickled; use .detach()")
        return _rebuild, (
            type(self),
            backend_of(self._array).to_host(self._array),
            str(self.device),
            self.requires_grad,
        )

    def __deepcopy__(self, memo):
        if not self.is_leaf:
            raise RuntimeError(
                "deepcopy: only leaf Tensors can be copied with their history; use .detach() or .clone()"
            )
        out = object.__new__(type(self))
        memo[id(self)] = out
        out.__dict__.update(
            {name: value for name, value in self.__dict__.items() if name not in ("_hooks", "_post_hooks")}
        )
        with placement.around("deepcopy", (self._array,)):
            out._array = self._array.copy()
        if self._is_view():
            out._edge = None
        if self._grad is not None:
            out._grad = self._grad.__deepcopy__(memo)
        return out

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        from .interop import array_ufunc

        return array_ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        from .interop import array_function

        return array_function(function, args, kwargs)


def _rebuild(cls, host, device, requires_grad):
    out = object.__new__(cls)
    where = _devices.device(device)
    out._array = get(where).from_host(host, where.index)
    if requires_grad:
        out._edge = LEAF
    return out


late.tie(Tensor, View, ops)
