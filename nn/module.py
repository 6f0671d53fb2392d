"""`Module`: a function with parameters, made of smaller ones.

What it is made of is kept by `tree.py`; moving, saving, copying and printing are walks over that tree.
"""

import copy
import functools

from chainrule.autograd.functions.creation import empty_like
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor
from chainrule.backends import devices, dtypes, placement

from . import hooks, state
from .hooks import (  # noqa: F401 - where PyTorch has them
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from .tree import Tree


class Module(Tree):
    """The base of all layers and models: declare parts in `__init__`, compute in `forward`.

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(64, 32)
                self.out = nn.Linear(32, 10)

            def forward(self, x):
                return self.out(self.hidden(x).relu())

    `training` tells whether the module is in training mode (see `train`).
    """

    def forward(self, *args, **kwargs):
        """What the module computes; every subclass writes its own."""
        raise NotImplementedError(f"Module {type(self).__name__} has no forward: define forward(self, ...)")

    def __call__(self, *args, **kwargs):
        if self._hooks is None:
            return self.forward(*args, **kwargs)
        return hooks.call(self, args, kwargs)

    # Modes

    def train(self, mode=True):
        """Set training mode here and below (dropout drops, batch norm uses the batch); returns self."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode must be True or False, got {mode!r}")
        stack = [self]
        while stack:
            module = stack.pop()
            if module is not self and type(module).train is not Module.train:
                module.train(mode)  # a subclass that keeps, say, its batch norms frozen
                continue
            module.training = mode
            stack += [one for one in module._modules.values() if one is not None]
        return self

    def eval(self):
        """Set evaluation mode here and below; returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Train (or freeze) all parameters; returns self."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad = parameter.grad.detach()
                parameter.grad.zero_()

    def compile(self, *args, **kwargs):
        """Nothing to do here, for scripts that call it; returns self."""
        return self

    # Dtype and device

    def _apply(self, convert):
        """Replace every parameter, gradient and buffer by `convert(tensor)`: all of them, or none if one fails."""
        with no_grad():
            found = [*self.parameters(), *self.buffers()]
            found += [one.grad for one in found if one.grad is not None]
            converted = [convert(one.detach()) for one in found]
            for tensor, new in zip(found, converted, strict=True):
                tensor.data = new
        return self

    def to(self, *args, device=None, dtype=None, non_blocking=False, memory_format=None):
        """Move all parameters and buffers to a device, and the floating point ones to a dtype, in place; returns self.

        `to(device)`, `to(dtype)`, `to(device, dtype)` or `to(tensor)`, which says both. memory_format moves nothing: parameters
        stay row-major, and layers take them so beside inputs in `cr.channels_last`.
        """
        for one in args:
            if isinstance(one, Tensor):
                device, dtype = one.device, one.dtype
            elif isinstance(one, bool):
                non_blocking = one
            elif isinstance(one, (str, int, devices.device)):
                device = one
            elif one is not None:
                dtype = one
        if dtype is not None:
            dtype = dtypes.as_dtype(dtype)
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    f"Module.to: only floating point and complex dtypes are accepted, got {dtype}"
                )
        return self._apply(
            lambda one: one.to(
                device=device, dtype=dtype if _inexact(one) else None, non_blocking=non_blocking
            )
        )

    def to_empty(self, *, device, recurse=True):
        """Move everything to a device without its values; returns self."""
        return self._apply(lambda one: empty_like(one, device=device))

    def share_memory(self):
        """Nothing to do here: threads share memory anyway. Returns self."""
        return self

    def type(self, dst_type):
        """Cast all parameters and buffers, integer ones too; returns self."""
        return self._apply(lambda one: one.to(dtype=dst_type))

    def float(self):
        """Cast floating point parameters and buffers to float32; returns self."""
        return self._apply(lambda one: one.float() if one.is_floating_point() else one)

    def double(self):
        """Cast floating point parameters and buffers to float64; returns self."""
        return self._apply(lambda one: one.double() if one.is_floating_point() else one)

    def half(self):
        """Cast floating point parameters and buffers to float16; returns self."""
        return self._apply(lambda one: one.half() if one.is_floating_point() else one)

    def bfloat16(self):
        """Cast floating point parameters and buffers to bfloat16; returns self."""
        return self._apply(lambda one: one.bfloat16() if one.is_floating_point() else one)

    def cpu(self):
        """Move everything to host memory; returns self."""
        return self._apply(lambda one: one.cpu())

    def cuda(self, device=None):
        """Move everything to a CUDA card; returns self."""
        return self.to("cuda" if device is None else device)

    # State

    def state_dict(self, *, destination=None, prefix="", keep_vars=False):
        """{path: Tensor} of all parameters and persistent buffers; the Tensors share the module's memory.

        keep_vars: the Parameters themselves instead of detached Tensors.
        """
        return state.collect(self, Module, destination, prefix, keep_vars)

    def load_state_dict(self, state_dict, strict=True, assign=False):
        """Copy the values of `state_dict` into the parameters and buffers; returns (missing_keys, unexpected_keys).

        strict: the keys must be the same. assign: use the Tensors themselves instead of copying their values, keeping
        their dtype and device. RuntimeError that lists every missing, unexpected and misshaped entry, before
        anything is written.
        """
        return state.load(self, Module, state_dict, strict, assign)

    def get_extra_state(self):
        """Override, together with `set_extra_state`, to save something else; it must be picklable or a Tensor."""
        raise RuntimeError(
            f"{type(self).__name__} has no extra state: override get_extra_state and set_extra_state"
        )

    def set_extra_state(self, state):
        """Take back what `get_extra_state` gave."""
        raise RuntimeError(
            f"{type(self).__name__} has no extra state: override get_extra_state and set_extra_state"
        )

    # Copying and printing

    def __deepcopy__(self, memo):
        modules = [
            one for one in self.modules() if id(one) not in memo and (one is self or _copies_as_module(one))
        ]
        # All the empty copies first: then no copy of one module leads into the next.
        for one in modules:
            memo[id(one)] = object.__new__(type(one))
        for one in modules:
            own = type(one).__getstate__ is Module.__getstate__
            memo[id(one)].__setstate__(copy.deepcopy(one.__dict__ if own else one.__getstate__(), memo))
        return memo[id(self)]

    def __getstate__(self):
        # Pickled before the tables: whatever depth a module lies at, pickle meets its parts first and need not descend.
        return {_PARTS: [one for one in self._children_first() if one is not self], **self.__dict__}

    def __setstate__(self, fields):
        fields = dict(fields)
        fields.pop(_PARTS, None)
        self.__dict__.update(fields)

    def extra_repr(self):
        """What stands in the brackets of the printed module; override in a layer."""
        return ""

    def _get_name(self):
        return "Parametrized" * ("parametrizations" in self._modules) + type(self).__name__

    def __repr__(self):
        texts = {None: "None"}
        for module in self._children_first():
            own = type(module).__repr__ is Module.__repr__ or module is self
            texts[module] = module._represent(texts) if own else repr(module)
        return texts[self]

    def _represent(self, texts):
        """The printed module, given the printed modules in it."""
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        if len(lines) == 1 and not self._modules:
            return f"{self._get_name()}({extra})"
        lines += self._child_lines(texts)
        return f"{self._get_name()}(" + "".join(f"\n  {line}" for line in lines) + ("\n)" if lines else ")")

    def _child_lines(self, texts):
        return [f"({name}): {indent(texts[module])}" for name, module in self._modules.items()]


# Where a pickled module lists the modules in it, deepest first.
_PARTS = "_descendants"


@placement.when_several
def _on_the_card_of_their_inputs():
    """There are several CUDA cards: a module computes where its input, or its first parameter, lies."""
    plain = Module.__call__

    def call(self, *args, **kwargs):
        with placement.around_tensors(args, kwargs, self._parameters):
            return plain(self, *args, **kwargs)

    Module.__call__ = functools.wraps(plain)(call)


def _inexact(tensor):
    return tensor.is_floating_point() or tensor.is_complex()


def _copies_as_module(module):
    return type(module).__deepcopy__ is Module.__deepcopy__


def indent(text):
    """`text` with every line but the first moved in."""
    return text.replace("\n", "\n  ")
