"""Saving a module's parameters and buffers into one dict, and loading them back: all of them or none.

Keys are the paths that `named_parameters()` gives; a module that is used in two places is saved under both. Loading
first looks at everything and prepares every value in its place's dtype and device; only when nothing can go wrong any
more is the first one written.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy

from chainrule.autograd.functions.creation import as_tensor
from chainrule.autograd.inplace import check_writable
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor

from . import hooks
from .parameter import Buffer, Parameter, is_lazy

_EXTRA = "_extra_state"


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` found no counterpart for."""

    missing_keys: list
    unexpected_keys: list

    def __repr__(self):
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def _own_entries(module):
    """(name, Tensor, table that holds it) of what `module` itself saves: parameters, then persistent buffers."""
    for table, leave_out in ((module._parameters, ()), (module._buffers, module._non_persistent_buffers_set)):
        for name, tensor in table.items():
            if tensor is not None and name not in leave_out:
                yield name, tensor, table


def _has_extra_state(module, base):
    return type(module).get_extra_state is not base.get_extra_state


def collect(module, base, destination, prefix, keep_vars):
    """Fill `destination` with everything that `module` and the modules in it save; `base` is the class Module."""
    destination = OrderedDict() if destination is None else destination
    for path, one in module._walk(prefix):
        for (hook,) in hooks.registered(one, "state_dict_pre"):
            hook(one, path, keep_vars)
        for name, tensor, _ in _own_entries(one):
            destination[path + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()
        if _has_extra_state(one, base):
            destination[path + _EXTRA] = one.get_extra_state()
    for path, one in module._walk(prefix):
        for (hook,) in hooks.registered(one, "state_dict_post"):
            hook(one, destination, path, {})
    return destination


def load(module, base, state_dict, strict, assign):
    """Write the values of `state_dict` into `module`; see `Module.load_state_dict`."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"load_state_dict: expected a dict of names and Tensors, got {type(state_dict).__name__}"
        )
    plan = _Plan(module, base, OrderedDict(state_dict), strict, assign)
    plan.read()
    with no_grad():
        plan.prepare()
        plan.write()
    result = IncompatibleKeys(plan.missing, plan.unexpected)
    for _, one in module._walk():
        for (hook,) in hooks.registered(one, "load_state_dict_post"):
            hook(one, result)
    return result


class _Plan:
    """One loading: `read` compares names and shapes, `prepare` converts, `write` writes."""

    def __init__(self, module, base, state_dict, strict, assign):
        self.module, self.base, self.state_dict = module, base, state_dict
        self.strict, self.assign = strict, assign
        self.missing, self.unexpected, self.errors = [], [], []
        self.entries = []  # (key, value, name, tensor, table)
        self.extras = []  # (module, extra state)

    def read(self):
        """Match every name; RuntimeError that lists all that does not match."""
        known = set()
        for path, one in self.module._walk():
            for (hook,) in hooks.registered(one, "load_state_dict_pre"):
                hook(one, self.state_dict, path, {}, self.strict, self.missing, self.unexpected, self.errors)
            for name, tensor, table in _own_entries(one):
                known.add(path + name)
                self.match(path + name, name, tensor, table)
            if _has_extra_state(one, self.base):
                known.add(path + _EXTRA)
                if path + _EXTRA in self.state_dict:
                    self.extras.append((one, self.state_dict[path + _EXTRA]))
                else:
                    self.missing.append(path + _EXTRA)
        self.unexpected += [key for key in self.state_dict if key not in known]
        problems = []
        if self.strict and self.missing:
            problems.append(f"Missing key(s) in state_dict: {_quoted(self.missing)}.")
        if self.strict and self.unexpected:
            problems.append(f"Unexpected key(s) in state_dict: {_quoted(self.unexpected)}.")
        problems += self.errors
        if problems:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self.module).__name__} (nothing was loaded):\n\t"
                + "\n\t".join(problems)
            )

    def match(self, key, name, tensor, table):
        """Find the value of one key and hold it against the Tensor it is for."""
        if key not in self.state_dict:
            self.missing.append(key)
            return
        try:
            value = _as_tensor(self.state_dict[key])
        except (TypeError, ValueError, RuntimeError) as error:
            self.errors.append(f"{key}: cannot be read as a Tensor: {error}")
            return
        if not is_lazy(tensor) and not is_lazy(value) and value.shape != tensor.shape:
            self.errors.append(
                f"size mismatch for {key}: the shape in the state_dict is {tuple(value.shape)}, the shape in the module is "
                f"{tuple(tensor.shape)}"
            )
        elif is_lazy(value) and not is_lazy(tensor):
            self.errors.append(
                f"{key}: an uninitialized parameter cannot be loaded into one of shape {tuple(tensor.shape)}"
            )
        elif value.is_complex() and not tensor.is_complex():
            self.errors.append(
                f"{key}: {value.dtype} cannot be loaded into {tensor.dtype} without losing the imaginary part"
            )
        else:
            self.entries.append((key, value, name, tensor, table))

    def prepare(self):
        """Bring every value to the dtype and device of its place."""
        prepared = []
        for key, value, name, tensor, table in self.entries:
            if not self.assign and not is_lazy(value):
                value = value.to(device=tensor.device, dtype=tensor.dtype)
                if not is_lazy(tensor):
                    check_writable(tensor, f"load_state_dict: {key}")
            prepared.append((value, name, tensor, table))
        self.prepared = prepared

    def write(self):
        """Put the values in place: into the memory that is there, or (assign) as new Tensors."""
        for value, name, tensor, table in self.prepared:
            if is_lazy(value):
                continue
            if self.assign:
                table[name] = _like(value, tensor)
            else:
                if is_lazy(tensor):
                    tensor.materialize(value.shape)
                tensor.copy_(value)
        for module, extra in self.extras:
            module.set_extra_state(extra)


def _like(value, tensor):
    """`value` as the kind of Tensor (Parameter, Buffer, plain) that `tensor` is."""
    if isinstance(value, type(tensor)) and value.is_leaf and type(tensor) is not Tensor:
        return value.requires_grad_(tensor.requires_grad)
    if isinstance(tensor, Parameter):
        return Parameter(value, requires_grad=tensor.requires_grad)
    return Buffer(value, persistent=tensor.persistent) if isinstance(tensor, Buffer) else value.detach()


def _as_tensor(value):
    """A Tensor over what a state dict holds: Tensors, arrays, or other libraries' tensors through NumPy."""
    if isinstance(value, Tensor):
        return value
    return as_tensor(numpy.asarray(value) if hasattr(value, "__array__") else value)


def _quoted(keys):
    return ", ".join(f'"{key}"' for key in keys)
