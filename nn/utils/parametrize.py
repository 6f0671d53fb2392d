"""Parametrizations: a parameter that is computed from others, such as a weight kept orthogonal or of unit norm.

    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

    register_parametrization(layer, "weight", Symmetric())

From then on `layer.weight` is `Symmetric()(original)`, computed whenever it is read; what is trained and saved is
`layer.parametrizations.weight.original`. Assigning to `layer.weight` sets the original through `right_inverse(value)`, which a
parametrization may define. Names and state dicts are PyTorch's. The module keeps its class: `nn/tree.py` looks here for a tensor that is
in no table.
"""

import contextlib
import contextvars

from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor

from ..container import ModuleDict, ModuleList
from ..parameter import Parameter

_cache = contextvars.ContextVar("parametrized tensors", default=None)


@contextlib.contextmanager
def cached():
    """Inside, each parametrized tensor is computed once: for recurrent layers and weights that are used several times."""
    token = _cache.set({} if _cache.get() is None else _cache.get())
    try:
        yield
    finally:
        _cache.reset(token)


class ParametrizationList(ModuleList):
    """The parametrizations of one tensor, applied one after the other, and what the first is applied to.

    `original` is what is trained in place of the tensor; if the first parametrization's `right_inverse` gives several Tensors, they
    are `original0`, `original1`, ...
    """

    def __init__(self, modules, original, unsafe=False):
        modules = list(modules)
        if not modules:
            raise ValueError("ParametrizationList: expected at least one parametrization")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype, new = original.shape, original.dtype, original
        with no_grad():
            for module in reversed(modules):
                with contextlib.suppress(NotImplementedError):
                    new = module.right_inverse(new) if hasattr(module, "right_inverse") else new
        self.is_tensor = isinstance(new, Tensor)
        if self.is_tensor:
            original.data = new.detach()  # still the Parameter that an optimizer may know
            new = [original]
        elif not isinstance(new, (tuple, list)) or not all(isinstance(one, Tensor) for one in new):
            raise ValueError(
                f"register_parametrization: right_inverse must give a Tensor or several, gave {type(new).__name__}"
            )
        self.ntensors = len(new)
        for name, one in zip(self._names, new, strict=True):
            if not isinstance(original, Parameter):
                self.register_buffer(name, one)
            else:
                self.register_parameter(
                    name, one if self.is_tensor else Parameter(one, original.requires_grad)
                )
        if not unsafe:
            with no_grad():
                _check(self(), shape, dtype)

    @property
    def _names(self):
        return ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]

    def forward(self):
        """() -> the tensor."""
        first, *rest = self
        value = first(*(getattr(self, name) for name in self._names))
        for one in rest:
            value = one(value)
        return value

    def value(self):
        """The tensor, computed anew or, inside `cached()`, once."""
        cache = _cache.get()
        if cache is None:
            return self()
        if self not in cache:
            cache[self] = self()
        return cache[self]

    def right_inverse(self, value):
        """Set the originals to what the parametrizations make of `value` by their own `right_inverse`, last to first."""
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"cannot assign to a tensor parametrized by {type(module).__name__}, which has no right_inverse"
                    )
                value = module.right_inverse(value)
            values = [value] if self.is_tensor else list(value)
            if len(values) != self.ntensors:
                raise ValueError(f"right_inverse: expected {self.ntensors} tensors, got {len(values)}")
            for name, one in zip(self._names, values, strict=True):
                original = getattr(self, name)
                _check(one, one.shape if self.unsafe else original.shape, original.dtype)
                original.data = one.detach()


def _check(value, shape, dtype):
    """ValueError unless what a parametrization gives can stand for the tensor."""
    if not isinstance(value, Tensor) or (value.shape, value.dtype) != (shape, dtype):
        found = (
            f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        )
        raise ValueError(
            f"a parametrization must give a tensor like the one it stands for, {tuple(shape)} of {dtype}; got {found}. Pass "
            f"unsafe=True to register_parametrization if that is meant"
        )


def register_parametrization(module, tensor_name, parametrization, *, unsafe=False):
    """Let `module.<tensor_name>` be computed by `parametrization`, a Module; see the head of this file. Returns `module`.

    On a tensor that is parametrized already, the new parametrization is applied after the others. unsafe: shape and dtype
    may change.
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        mine = module._parametrized[tensor_name]
        if not unsafe:
            with no_grad():
                before = getattr(module, tensor_name)
                _check(parametrization(before), before.shape, before.dtype)
        mine.append(parametrization)
        mine.unsafe |= unsafe
        return module
    table = next((one for one in (module._parameters, module._buffers) if tensor_name in one), None)
    if table is None or table[tensor_name] is None:
        raise ValueError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer {tensor_name!r}"
        )
    original = table[tensor_name]
    mine = ParametrizationList([parametrization], original, unsafe)
    delattr(module, tensor_name)
    if "parametrizations" not in module._modules:
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = mine
    module.__dict__.setdefault("_parametrized", {})[tensor_name] = mine
    return module


def is_parametrized(module, tensor_name=None):
    """Whether the module has a parametrized tensor, or this one is."""
    mine = [name for name, one in module._parametrized.items() if isinstance(one, ParametrizationList)]
    return bool(mine) if tensor_name is None else tensor_name in mine


def remove_parametrizations(module, tensor_name, leave_parametrized=True):
    """Make a tensor ordinary again, with the value it has now or (not leave_parametrized) that of its original."""
    if not is_parametrized(module, tensor_name):
        raise ValueError(
            f"remove_parametrizations: {tensor_name!r} of {type(module).__name__} is not parametrized"
        )
    mine = module._parametrized[tensor_name]
    if not (leave_parametrized or mine.is_tensor):
        raise ValueError(
            f"remove_parametrizations: {tensor_name!r} is computed from {mine.ntensors} tensors, so there is no one original to leave"
        )
    original = getattr(mine, mine._names[0])
    if leave_parametrized:
        with no_grad():
            value = mine().detach()
        if mine.is_tensor:
            original.data = value
        else:
            original = Parameter(value, original.requires_grad) if isinstance(original, Parameter) else value
    del module.parametrizations[tensor_name], module._parametrized[tensor_name]
    if not len(module.parametrizations):
        del module.parametrizations
    register = module.register_parameter if isinstance(original, Parameter) else module.register_buffer
    register(tensor_name, original)
    return module


def type_before_parametrizations(module):
    """The module's class, which parametrizations leave as it is."""
    return type(module)


def transfer_parametrizations_and_params(from_module, to_module, tensor_name=None):
    """Parametrize tensors of `to_module` by the same parametrizations, on copies of the originals. Returns `to_module`."""
    if not is_parametrized(from_module, tensor_name):
        raise ValueError(
            f"transfer_parametrizations_and_params: {tensor_name or 'nothing'} is not parametrized"
        )
    for name in list(from_module.parametrizations) if tensor_name is None else [tensor_name]:
        source = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for one in source:
            register_parametrization(to_module, name, one, unsafe=source.unsafe)
        for key in source._names:
            getattr(to_module.parametrizations[name], key).data = getattr(source, key).detach().clone()
    return to_module
