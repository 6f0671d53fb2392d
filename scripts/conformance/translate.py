"""From PyTorch to chainrule: values, test functions, and names."""

import types

import numpy as np
import torch

import chainrule as cr


def here(value):
    """A PyTorch value as chainrule's."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided:
            raise Unsupported(f"layout {value.layout}")
        if value.device.type != "cpu":
            raise Unsupported(f"device {value.device}")
        plain = value.detach().resolve_conj().resolve_neg()
        if plain.dtype in (torch.complex32, torch.bfloat16):
            raise Unsupported(str(plain.dtype))
        if plain.ndim > 64:
            raise Unsupported("NumPy's arrays have at most 64 dimensions")
        array = _copied(plain)
        made = cr.from_numpy(array)
        return made.requires_grad_() if value.requires_grad else made
    if isinstance(value, torch.dtype):
        name = str(value).removeprefix("torch.")
        if not hasattr(cr, name):
            raise Unsupported(str(value))
        return getattr(cr, name)
    if isinstance(value, torch.device):
        return cr.device(str(value))
    if isinstance(value, (torch.layout, torch.memory_format)):
        return getattr(cr, str(value).removeprefix("torch."), value)
    if isinstance(value, torch.Generator):
        return cr.Generator().manual_seed(0)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, dict):
        return {key: here(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [here(one) for one in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if callable(value) and getattr(torch.nn.functional, getattr(value, "__name__", ""), None) is value:
        return getattr(cr.nn.functional, value.__name__)
    if isinstance(value, types.FunctionType):
        return translated(value)
    if isinstance(value, torch.nn.TransformerEncoderLayer):
        return _encoder_layer(value)
    if isinstance(value, torch.nn.Module):
        return getattr(cr.nn, type(value).__name__)()
    return value


def _encoder_layer(there):
    """A layer that is itself an argument, as nn.TransformerEncoder takes one."""
    attention = there.self_attn
    return cr.nn.TransformerEncoderLayer(
        attention.embed_dim,
        attention.num_heads,
        there.linear1.out_features,
        there.dropout.p,
        here(there.activation),
        there.norm1.eps,
        attention.batch_first,
        there.norm_first,
        there.linear1.bias is not None,
        dtype=here(there.linear1.weight.dtype),
    )


def _copied(tensor):
    """The same values in the same layout, with as much memory around them."""
    if 0 in tensor.stride() or not tensor.numel():
        return tensor.numpy().copy()
    memory = (
        torch.as_strided(tensor, (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0)
        .numpy()
        .copy()
    )
    strides = [step * tensor.element_size() for step in tensor.stride()]
    return np.lib.stride_tricks.as_strided(memory[tensor.storage_offset() :], tuple(tensor.shape), strides)


def leaf(value):
    """The value with every Tensor that requires a gradient made a leaf of its own."""
    if isinstance(value, torch.Tensor):
        return value.detach().requires_grad_() if value.requires_grad else value
    if isinstance(value, dict):
        return {key: leaf(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(leaf(one) for one in value)
    return value


class Unsupported(Exception):
    """A value chainrule has no counterpart of: the call says nothing about us."""


def translated(function):
    """A Python function of PyTorch's test suite with `torch` meaning chainrule."""
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith("torch.testing"):
        return function
    names = {**function.__globals__, "torch": cr}
    for name in set(function.__code__.co_names) - {function.__name__}:
        value = names.get(name)
        if isinstance(value, types.FunctionType) and value.__module__ == function.__module__:
            names[name] = _plain_call if name == "wrapper_set_seed" else translated(value)
    cells = tuple(types.CellType(_cell(cell.cell_contents)) for cell in function.__closure__ or ())
    made = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _plain_call(function, *args, **kwargs):
    """In place of the suite's wrapper that seeds PyTorch's generator."""
    return function(*args, **kwargs)


def _cell(value):
    if isinstance(value, types.BuiltinFunctionType) or getattr(value, "__module__", "") in (
        "torch.functional",
        "torch.nn.functional",
    ):
        return lookup(getattr(value, "__name__", "")) or value
    try:
        return here(value)
    except Unsupported:
        return value


def lookup(name):
    """chainrule's function of a dotted name, or None (`float` is a dtype and a method)."""
    found = cr
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            return None
    return None if isinstance(found, cr.dtype) else found


def ours(info):
    """What chainrule calls for an operator of the database: None if it has no such name."""
    if isinstance(info.op, types.FunctionType) and (info.op.__module__ or "").startswith("torch.testing"):
        called = info.op.__code__.co_names
        named = lookup(info.name) or getattr(cr.Tensor, info.name, None)
        if named is None and not any(
            hasattr(cr, name) or hasattr(cr.Tensor, name) for name in called if name != "torch"
        ):
            return None
        return translated(info.op)
    return lookup(info.name) or getattr(cr.Tensor, info.name, None) or lookup(info.name.removeprefix("_"))
