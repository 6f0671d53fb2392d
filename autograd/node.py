"""The graph an operation leaves behind, and the pass that walks it backward.

A `Node` remembers one operation: which inputs need a gradient (`edges`), what its derivative rules will need
(`saved`, `static`), and the shape and dtype of its output, to which any gradient arriving here is brought. An edge
leads to the node that made the input, to the leaf Tensor itself, or nowhere (None). References go from output to
input only, so the graph dies with the last Tensor that needs it.

The backward pass counts how many gradients each node waits for, then hands every node its summed gradient exactly
once, consumers first. It is a loop, never a recursion: a chain of a million operations is as good as ten.
"""

import threading

import numpy

from chainrule.backends import kernels, namespaces

from . import late
from .writes import log


class _Leaf:
    """The edge of a Tensor that wants its gradient and was made by no operation."""

    def __repr__(self):
        return "LEAF"


LEAF = _Leaf()


# Where PyTorch's name for an operation is not NumPy's: its users look for `MulBackward0`.
_torch_names = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan", "arctan2": "atan2",
    "arctanh": "atanh", "astype": "to_copy", "broadcast_to": "expand", "clip": "clamp", "concatenate": "cat", "copy": "clone",
    "divide": "div", "expand_dims": "unsqueeze", "getitem": "slice", "multiply": "mul", "negative": "neg", "power": "pow",
    "power_scalar": "pow", "subtract": "sub", "take": "index", "take_along_axis": "gather", "transpose": "permute",
}  # fmt: skip


class Node:
    """One recorded operation. `op` holds the rules; `edges` has one entry for each input."""

    __slots__ = (
        "__weakref__",
        "_meta",
        "dtype",
        "edges",
        "epoch",
        "hooks",
        "lent",
        "op",
        "saved",
        "shape",
        "static",
    )

    def __init__(self, op, edges, saved, static, epoch, shape, dtype):
        self.op = op
        self.edges = edges
        self.saved = saved  # a tuple; None once freed
        self.static = static
        self.epoch = epoch
        self.shape = shape
        self.dtype = dtype
        self.hooks = None

    def name(self):
        """The operation's name, as PyTorch spells it: `MulBackward0`."""
        name = _torch_names.get(self.op.name, self.op.name)
        return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Backward0"

    def __repr__(self):
        return f"<{self.name()}>"

    @property
    def next_functions(self):
        """For each input, the pair (node that made it, index of its output), as in PyTorch."""
        return tuple(_function_of(edge) for edge in self.edges)

    @property
    def metadata(self):
        """A dict for the user's own notes on this node."""
        if not hasattr(self, "_meta"):
            self._meta = {}
        return self._meta

    def _hooks(self):
        if self.hooks is None:
            self.hooks = Hooks()
        return self.hooks

    def register_hook(self, hook):
        """Call `hook(grad_inputs, grad_outputs)` after this node's rules; it may return new grad_inputs."""
        return self._hooks().add("post", hook)

    def register_prehook(self, hook):
        """Call `hook(grad_outputs)` before this node's rules; it may return new grad_outputs."""
        return self._hooks().add("pre", hook)

    def check(self):
        """Raise if a saved value was written in place since this node was recorded."""
        for array in _arrays((self.saved, self.static)):
            if log.last(array) > self.epoch:
                raise RuntimeError(
                    f"{self.op.name}: a value saved for its gradient, of shape {tuple(array.shape)}, has been modified by an "
                    f"in-place operation: it is at version {log.count(array)}, and the gradient needs it as it was when "
                    f"{self.op.name} was computed (write number {self.epoch}; last written at {log.last(array)}). "
                    f"Write out of place, or .clone() the value before modifying it"
                )

    def gradients(self, g, edges, create_graph, keep):
        """Apply the rules to `g`; one gradient (or None) for each edge that is not None."""
        saved = self.saved
        if self.epoch != log.epoch:
            self.check()
        if not keep and saved:
            self.saved = None
        if create_graph:
            return self.op.vjp(
                late.tensor_namespace(g), g, self.op.as_tensors(self, saved), edges, self.static
            )
        some = g if g.__class__ is not list else next(one for one in g if one is not None)
        # A 0-d NumPy result is a scalar, whose class is in no table: it is NumPy's.
        op, xp = self.op, namespaces.get(some.__class__, numpy)
        if kernels and op.gradient_name in kernels:
            # `lent`: Tensors over what is saved were handed to another graph, which may outlive this node.
            return op.gradient(xp, some, g, saved, edges, self.static, keep or hasattr(self, "lent"))
        return op.vjp(xp, g, saved, edges, self.static)

    def add_to(self, buffer, g, keep):
        """Add the gradient of the only input to a buffer that already holds some; nothing is left to deliver."""
        if self.epoch != log.epoch:
            self.check()
        self.op.accumulate(buffer, g, **self.static)
        if not keep and self.saved:
            self.saved = None
        return (None,)


class Slot(Node):
    """One output of an operation that has several: passes its gradient to its place in the operation's list."""

    __slots__ = ("index", "parent")

    def __init__(self, parent, index, shape, dtype):
        super().__init__(parent.op, (parent,), (), None, 0, shape, dtype)
        self.parent = parent
        self.index = index


class AccumulateGrad:
    """How a leaf appears in `next_functions`: the place where its gradient is added to `.grad`."""

    def __init__(self, variable):
        self.variable = variable

    next_functions = ()

    def name(self):
        """Always `AccumulateGrad`."""
        return "AccumulateGrad"

    def __repr__(self):
        return f"<AccumulateGrad of shape {tuple(self.variable.shape)}>"

    def __eq__(self, other):
        return isinstance(other, AccumulateGrad) and other.variable is self.variable

    def __hash__(self):
        return id(self.variable)


class Hooks:
    """The hooks of a node: `tensor` on its output's gradient, `pre` and `post` around its rules."""

    def __init__(self):
        self.tensor, self.pre, self.post = {}, {}, {}

    def add(self, kind, hook):
        """Register `hook`; returns a handle whose `.remove()` takes it off again."""
        return RemovableHandle(getattr(self, kind), hook)


class RemovableHandle:
    """What a `register_*hook` returns. `remove()` undoes the registration; usable in a `with` block."""

    _next = 0
    _lock = threading.Lock()

    def __init__(self, hooks, hook):
        with RemovableHandle._lock:
            self.id = RemovableHandle._next
            RemovableHandle._next += 1
        self._registry = hooks
        hooks[self.id] = hook

    def remove(self):
        """Take the hook off; harmless when done twice."""
        self._registry.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def _function_of(edge):
    if edge is None:
        return (None, 0)
    if isinstance(edge, Slot):
        return (edge.parent, edge.index)
    return (edge, 0) if isinstance(edge, Node) else (AccumulateGrad(edge), 0)


def _arrays(value):
    """Every array in nested tuples, lists and dicts."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, (tuple, list)):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif value.__class__ in namespaces:
            yield value
