"""What the Tensors of a graph are called: by the caller's variables, a module's parameters, a function's arguments.

The graph itself knows no names. The user does: `W` is a variable in the calling function, `fc1.weight` the path that a
module gives its parameter. Whoever comes first names a Tensor: `params=`, modules, arguments, then variables.
"""

import contextlib
import functools
import inspect
import sys
import types

from chainrule.autograd import late
from chainrule.autograd.graph import Node, Slot
from chainrule.autograd.writes import log
from chainrule.backends import backend_of

from .data import BUFFER, INPUT, PARAMETER


def is_module(value):
    """Whether `value` is a module of chainrule's (PyTorch's may be in scope as well). Nothing here may import `nn`."""
    return any(base.__module__ == "chainrule.nn.module" for base in type(value).__mro__)


def variables_of(frame):
    """The local variables of a running function, as a dict of our own."""
    found = frame.f_locals
    copy = dict(found)
    # Up to Python 3.12 the frame keeps the dict it gave out until it returns, and alive all that is in it. Empty it, unless it
    # is a module's own or the user holds it too, from `locals()`: the frame, this function and getrefcount make three.
    if (
        sys.version_info < (3, 13)
        and frame.f_code.co_flags & inspect.CO_OPTIMIZED
        and sys.getrefcount(found) <= 3
    ):
        found.clear()
    return copy


def edge_of(tensor):
    """Where `tensor` stands in the graph, without bringing a view up to date (which would move it); or None."""
    edge = tensor._edge
    if edge is None or isinstance(edge, (Node, Slot)):
        return edge
    if not hasattr(edge, "path"):
        return tensor
    return None if log.last(edge.base._array) > edge.epoch else edge.node


class Names:
    """Names and kinds of Tensors; `modules` are the modules met on the way."""

    def __init__(self):
        self.of_tensor = {}  # id of Tensor -> (name or None, kind or None)
        self.of_array = {}  # id of a raw array -> the same
        self.of_memory = {}  # id of the array that owns the memory -> the same
        self.of_edge = {}  # place in the graph -> (name, Tensor)
        self.of_module = {}  # id of module -> the variable that holds it
        self.modules = []
        self.wants_gradient = False
        self._alive = []  # an id means something only while its object lives

    def add(self, name, tensor, kind=None):
        """Call `tensor` by `name`, unless it has a name."""
        known = self.of_tensor.get(id(tensor))
        if known is None or (known[0] is None and name is not None):
            self._alive.append((tensor, tensor._array))
            kind = kind or (known and known[1])
            self.of_tensor[id(tensor)] = name, kind
            if self.of_array.get(id(tensor._array), (None,))[0] is None:
                self.of_array[id(tensor._array)] = name, kind
                self.of_memory.setdefault(id(backend_of(tensor._array).root(tensor._array)), (name, kind))
        edge = edge_of(tensor)
        if edge is not None and name is not None:
            self.of_edge.setdefault(edge, (name, tensor))

    def add_module(self, module, prefix=""):
        """The parameters and buffers of a module, by their paths."""
        if any(module is one for one in self.modules):
            return
        self.modules.append(module)
        for name, parameter in module.named_parameters(prefix=prefix):
            self.wants_gradient = self.wants_gradient or parameter.requires_grad
            self.add(name, parameter, PARAMETER)
        for name, buffer in module.named_buffers(prefix=prefix):
            self.add(name, buffer, BUFFER)

    def add_params(self, params):
        """What the user passed as params=: a module, a dict by name, or pairs as `named_parameters()` gives them."""
        if is_module(params):
            self.add_module(params)
            return
        for name, parameter in params.items() if hasattr(params, "items") else params:
            if not isinstance(parameter, late.Tensor):
                raise TypeError(f"draw: params maps names to Tensors, {name!r} is {type(parameter).__name__}")
            self.add(str(name), parameter, PARAMETER)

    def add_arguments(self, function, inputs):
        """The inputs of `function`, by the names of its parameters; without a name where it takes any number of them."""
        try:
            signature = inspect.signature(function)
            bound = signature.bind(*inputs).arguments
        except (TypeError, ValueError):
            # There is no signature, or the call will fail: then it says why better than could be said here.
            signature, bound = None, {"": inputs}
        for name, value in bound.items():
            several = signature is None or signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL
            for suffix, one in flat(value):
                if isinstance(one, late.Tensor):
                    self.add(None if several else name + suffix, one, None if one.requires_grad else INPUT)

    def add_scope(self, variables):
        """The Tensors and modules among a dict of variables; names with a leading underscore are private."""
        found = [(name, value) for name, value in list(variables.items()) if not name.startswith("_")]
        modules = [(name, value) for name, value in found if is_module(value)]
        for name, module in modules:
            self.of_module.setdefault(id(module), name)
            self.add_module(module, prefix=name if len(modules) > 1 else "")
        for name, value in found:
            if isinstance(value, late.Tensor):
                self.add(name, value)

    def add_function(self, function):
        """What a function reaches besides its arguments, itself or through other functions of the same file."""
        home = getattr(function, "__module__", None)
        stack, seen = [function], set()
        while stack:
            one = stack.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            reached = _reached_by(one)
            self.add_scope(reached)
            for value in reached.values():
                if isinstance(value, late.Tensor):
                    self.wants_gradient = self.wants_gradient or value.requires_grad
                elif isinstance(value, _FUNCTIONS) and getattr(value, "__module__", None) == home:
                    stack.append(value)


_FUNCTIONS = types.FunctionType, types.MethodType


def _reached_by(function):
    """The variables a function can read: arguments bound early, its object's attributes, its closure, globals it names."""
    found = {}
    while isinstance(function, functools.partial):
        found |= {f"argument {i}": one for i, one in enumerate(function.args)} | function.keywords
        function = function.func
    owner = function if not hasattr(function, "__code__") else getattr(function, "__self__", None)
    if is_module(owner):
        found[type(owner).__name__] = owner
    else:
        found |= getattr(owner, "__dict__", {})
    function = function if hasattr(function, "__code__") else type(function).__call__
    code = getattr(function, "__code__", None)
    if code is None:
        return found
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # not assigned yet
            found[name] = cell.cell_contents
    space = function.__globals__
    return found | {name: space[name] for name in code.co_names if name in space}


def flat(value, suffix=""):
    """(suffix, leaf) of every value in nested lists, tuples and dicts: `[0]`, `['key']`."""
    stack = [(suffix, value)]
    while stack:
        suffix, value = stack.pop()
        if isinstance(value, dict):
            stack.extend((f"{suffix}[{key!r}]", one) for key, one in reversed(value.items()))
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{suffix}[{i}]", one) for i, one in reversed(list(enumerate(value))))
        else:
            yield suffix, value
