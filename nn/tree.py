"""What a module is made of: three tables, for parameters, buffers and modules, and the walks over them.

Assigning a Parameter, Buffer or Module to an attribute puts it into its table; reading the attribute finds it there. The
walks are loops, so a module may be nested as deeply as memory allows.
"""

from chainrule.autograd.tensor import Tensor

from .hooks import Hooked, registering
from .parameter import Buffer, Parameter


class Tree(Hooked):
    """The part of Module that owns its tables."""

    _parametrized = {}  # name -> what computes a tensor that is in no table; see utils/parametrize.py

    def __init__(self):
        self.__dict__.update(
            training=True, _parameters={}, _buffers={}, _non_persistent_buffers_set=set(), _modules={}
        )  # fmt: skip

    # Attributes

    def __getattr__(self, name):
        # Reached only for what is no ordinary attribute.
        fields = self.__dict__
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind in fields and name in fields[kind]:
                return fields[kind][name]
        if name in self._parametrized:
            return self._parametrized[name].value()
        hint = "" if "_parameters" in fields else "; call super().__init__() first in __init__"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def __setattr__(self, name, value):
        fields = self.__dict__
        if name in self._parametrized:
            self._parametrized[name].right_inverse(value)
            return
        for kind, wanted, register in _TABLES:
            table = fields.get(kind)
            if isinstance(value, wanted):
                if table is None:
                    raise AttributeError(
                        f"cannot assign {_NAMES[kind]} as {name!r} before Module.__init__() call: put super().__init__() first"
                    )
                self._forget(name, kind)
                register(self, name, value)
                return
            if table is not None and name in table:
                if value is not None and not (kind == "_buffers" and isinstance(value, Tensor)):
                    raise TypeError(
                        f"cannot assign a {type(value).__name__} as {name!r}: {_NAMES[kind]} or None expected; delete the "
                        f"attribute first to give the name another meaning"
                    )
                table[name] = value
                return
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        for kind in ("_parameters", "_buffers", "_modules"):
            if name in self.__dict__[kind]:
                del self.__dict__[kind][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __dir__(self):
        tables = (self._parameters, self._buffers, self._modules, self._parametrized)
        return sorted({*super().__dir__(), *(name for table in tables for name in table)})

    def _forget(self, name, kind):
        """Make room for a new meaning of `name` in table `kind`."""
        self.__dict__.pop(name, None)
        for other, _, _ in _TABLES:
            if other != kind:
                self.__dict__[other].pop(name, None)
        self._non_persistent_buffers_set.discard(name)

    def _check_name(self, name, table, what):
        if not isinstance(name, str):
            raise TypeError(f"{what} name must be a string, got {type(name).__name__}")
        if not name or "." in name:
            raise ValueError(f'{what} name must not be empty or contain ".", got {name!r}')
        if name not in table and hasattr(self, name):
            raise ValueError(
                f"attribute {name!r} of {type(self).__name__} already exists; choose another {what} name"
            )

    def register_parameter(self, name, param):
        """Add a Parameter (or None, which reserves the name) under `name`."""
        self._check_name(name, self._parameters, "parameter")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter {name!r}: expected a Parameter or None, got {type(param).__name__}"
            )
        self._parameters[name] = registering(self, "parameter", name, param)

    def register_buffer(self, name, tensor, persistent=True):
        """Add a Tensor (or None) that is moved and, if `persistent`, saved with the module, but not trained."""
        self._check_name(name, self._buffers, "buffer")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer {name!r}: expected a Tensor or None, got {type(tensor).__name__}"
            )
        self._buffers[name] = registering(self, "buffer", name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(
            name
        )

    def add_module(self, name, module):
        """Add a module (or None) under `name`."""
        self._check_name(name, self._modules, "module")
        if module is not None:
            if not isinstance(module, Tree):
                raise TypeError(
                    f"add_module {name!r}: expected a Module or None, got {type(module).__name__}"
                )
            if module is self:
                raise ValueError(f"add_module {name!r}: a module cannot be part of itself")
        self._modules[name] = registering(self, "module", name, module)

    register_module = add_module

    # Walks

    def _walk(self, prefix=""):
        """(path with a dot at its end, module) for this module and all in it, parents first, in order of assignment."""
        stack, around = [(prefix, self)], set()
        while stack:
            prefix, module = stack.pop()
            if prefix is None:
                around.remove(module)
                continue
            if module in around:
                raise RuntimeError(
                    f"the {type(module).__name__} at {prefix[:-1]!r} is part of itself, so there is no end of paths"
                )
            yield prefix, module
            around.add(module)
            stack.append((None, module))
            stack += [
                (f"{prefix}{name}.", one)
                for name, one in reversed(module._modules.items())
                if one is not None
            ]

    def _children_first(self):
        """This module and all in it, each once, after the modules it is made of."""
        seen = {self}
        stack = [(self, iter(tuple(self._modules.values())))]
        while stack:
            module, children = stack[-1]
            child = next((one for one in children if one is not None and one not in seen), None)
            if child is None:
                yield stack.pop()[0]
            else:
                seen.add(child)
                stack.append((child, iter(tuple(child._modules.values()))))

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """(path, module) for this module (path "") and all in it; a module used twice comes once."""
        memo = set() if memo is None else memo
        stack = [(prefix, self)]
        while stack:
            prefix, module = stack.pop()
            if remove_duplicate:
                if module in memo:
                    continue
                memo.add(module)
            yield prefix, module
            path = prefix + "." if prefix else ""
            stack += [
                (path + name, one) for name, one in reversed(module._modules.items()) if one is not None
            ]

    def modules(self):
        """This module and all in it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self):
        """(name, module) for the modules directly in this one, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self):
        """The modules directly in this one, each once."""
        return (module for _, module in self.named_children())

    def _named_tensors(self, kind, prefix, recurse, remove_duplicate):
        seen = set()
        modules = (
            self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            if recurse
            else [(prefix, self)]
        )
        for path, module in modules:
            for name, tensor in getattr(module, kind).items():
                if tensor is None or tensor in seen:
                    continue
                if remove_duplicate:
                    seen.add(tensor)
                yield f"{path}.{name}" if path else name, tensor

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(path, Parameter) for all in this module; a Parameter used twice comes once, under its first path."""
        return self._named_tensors("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        """The Parameters in this module: what an optimizer takes."""
        return (tensor for _, tensor in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(path, Tensor) for all buffers in this module."""
        return self._named_tensors("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """The buffers in this module."""
        return (tensor for _, tensor in self.named_buffers(recurse=recurse))

    def get_submodule(self, target):
        """The module at path `target`, such as "encoder.0"; the module itself for ""."""
        module = self
        for name in target.split(".") if target else ():
            module = getattr(module, name, None)
            if not isinstance(module, Tree):
                raise AttributeError(
                    f"{type(self).__name__} has no module at {target!r}: {name!r} is not one"
                )
        return module

    def set_submodule(self, target, module, strict=False):
        """Put `module` at path `target`. strict: only in the place of another; otherwise it may be new."""
        if not isinstance(module, Tree) or not target:
            raise ValueError(
                f"set_submodule: expected a path and a Module, got {target!r} and {type(module).__name__}"
            )
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if not isinstance(getattr(parent, name, None if strict else module), Tree):
            raise AttributeError(
                f"set_submodule: {type(self).__name__} has no module at {target!r} to replace"
            )
        setattr(parent, name, module)

    def _get(self, target, kind, what):
        path, _, name = target.rpartition(".")
        table = getattr(self.get_submodule(path), kind)
        if table.get(name) is None:
            raise AttributeError(f"{type(self).__name__} has no {what} at {target!r}")
        return table[name]

    def get_parameter(self, target):
        """The Parameter at path `target`, such as "encoder.0.weight"."""
        return self._get(target, "_parameters", "parameter")

    def get_buffer(self, target):
        """The buffer at path `target`."""
        return self._get(target, "_buffers", "buffer")

    def apply(self, fn):
        """Call `fn(module)` for every module in this one, then for this one; returns self."""
        for module in self._children_first():
            fn(module)
        return self


# What an assigned attribute may be: (table, class, how to register it).
_TABLES = (
    ("_parameters", Parameter, Tree.register_parameter),
    ("_modules", Tree, Tree.add_module),
    (
        "_buffers",
        Buffer,
        lambda module, name, tensor: module.register_buffer(name, tensor, tensor.persistent),
    ),
)
_NAMES = {"_parameters": "a Parameter", "_buffers": "a Tensor", "_modules": "a Module"}
