"""Hooks: functions of the user's that run around a module's forward and around its part of the backward pass.

A backward hook needs to know when the gradient enters and when it leaves a module. So the module's inputs and outputs
each pass through a `_Boundary`, one node of the graph for all of them, which does nothing but show the gradients that
cross it. Modules without hooks pay for none of this: `_hooks` is None, for one module or, until a hook on all modules is
registered, for all.
"""

import contextlib
import warnings
from collections import OrderedDict

from chainrule.autograd.function import Function
from chainrule.autograd.node import RemovableHandle
from chainrule.autograd.tensor import Tensor

_everywhere = {}  # kind -> hooks on all modules


def register(module, kind, hook, *options, prepend=False):
    """Add `hook` to the module's hooks of that kind, last or (prepend) first; returns the handle that removes it."""
    own = module.__dict__.setdefault("_hooks", {})
    return _add(own.setdefault(kind, OrderedDict()), kind, (hook, *options), prepend)


def _add(registry, kind, entry, prepend=False):
    if not callable(entry[0]):
        raise TypeError(f"{kind} hook: expected a function, got {type(entry[0]).__name__}")
    handle = RemovableHandle(registry, entry)
    if prepend:
        registry.move_to_end(handle.id, last=False)
    return handle


def _register_everywhere(kind, hook, *options):
    Hooked._hooks = {}  # no longer None: every call looks for hooks from now on
    return _add(_everywhere.setdefault(kind, OrderedDict()), kind, (hook, *options))


@contextlib.contextmanager
def seen(function):
    """Inside, `function(module)` is called before the forward of any module, in whatever thread."""
    handle = _register_everywhere("forward_pre", lambda module, args: function(module), False)
    try:
        yield
    finally:
        handle.remove()
        if not any(_everywhere.values()):
            Hooked._hooks = None  # calls need not look for hooks any more


def registered(module, kind):
    """The hooks of that kind, as (hook, *options), in the order in which they run: those on all modules, then its own."""
    if module._hooks is None:
        return ()
    return (*_everywhere.get(kind, {}).values(), *module._hooks.get(kind, {}).values())


def call(module, args, kwargs):
    """`module.forward(*args, **kwargs)` with everything that was hooked to it."""
    waiting = [one for one in registered(module, "forward") if one[2]]
    try:
        for hook, with_kwargs in registered(module, "forward_pre"):
            args, kwargs = _before(module, hook, with_kwargs, args, kwargs)
        crossing = _Crossing.of(module)
        if crossing is not None:
            args = crossing.enter(args)
        output = module.forward(*args, **kwargs)
        for one in registered(module, "forward"):
            hook, with_kwargs, always = one
            if always:
                waiting.remove(one)
            changed = hook(module, args, kwargs, output) if with_kwargs else hook(module, args, output)
            output = output if changed is None else changed
        return output if crossing is None else crossing.leave(output)
    except Exception:
        for hook, with_kwargs, _ in waiting:
            try:
                _ = hook(module, args, kwargs, None) if with_kwargs else hook(module, args, None)
            except Exception as error:
                # The first error is the one that matters and goes on its way.
                warnings.warn(f"a forward hook with always_call=True raised too: {error!r}", stacklevel=3)
        raise


def _before(module, hook, with_kwargs, args, kwargs):
    """The arguments after one forward pre-hook."""
    if not with_kwargs:
        changed = hook(module, args)
        if changed is None:
            return args, kwargs
        return (changed if isinstance(changed, tuple) else (changed,)), kwargs
    changed = hook(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not isinstance(changed, tuple) or len(changed) != 2:
        raise RuntimeError(
            f"a forward pre-hook with kwargs returns None or (args, kwargs), this one returned {changed!r}"
        )
    return changed


class _Boundary(Function):
    """The identity on several Tensors; what `seen(gradients)` returns goes on in the gradients' place."""

    @staticmethod
    def forward(ctx, seen, *tensors):
        """Keep `seen`; hand out each Tensor as another over the same memory."""
        ctx.seen = seen
        return tuple(one.view_as(one) for one in tensors)

    @staticmethod
    def backward(ctx, *gradients):
        """Show the gradients; no gradient for `seen`."""
        return (None, *ctx.seen(gradients))


class _Crossing:
    """One call of a module with backward hooks: remembers the gradients of the outputs until those of the inputs come."""

    def __init__(self, module, before, after):
        self.module, self.before, self.after = module, before, after
        self.inputs = self.outputs = self.grad_output = None
        self.input_count = 0

    @classmethod
    def of(cls, module):
        before, after = registered(module, "backward_pre"), registered(module, "backward")
        return cls(module, before, after) if before or after else None

    def enter(self, args):
        """The positional arguments, with the Tensors passed through a boundary."""
        self.input_count = len(args)
        self.inputs = [i for i, one in enumerate(args) if isinstance(one, Tensor)]
        if not self.after or not any(args[i].requires_grad for i in self.inputs):
            self.inputs = None
            return args
        return _through(args, self.inputs, self.input_gradients)

    def leave(self, output):
        """The output (a Tensor, a tuple or a list), with the Tensors passed through a boundary."""
        alone = not isinstance(output, (tuple, list))
        values = (output,) if alone else output
        self.outputs = [i for i, one in enumerate(values) if isinstance(one, Tensor)]
        self.output_count = len(values)
        if not self.outputs:
            raise TypeError(
                f"full backward hook: {type(self.module).__name__} returned {type(output).__name__}; backward hooks need "
                f"a Tensor or a tuple with Tensors"
            )
        if not any(values[i].requires_grad for i in self.outputs):
            return output
        values = _through(values, self.outputs, self.output_gradients)
        return values[0] if alone else values if isinstance(output, tuple) else list(values)

    def output_gradients(self, gradients):
        """Called in the backward pass, when the gradients of all outputs have arrived."""
        grad_output = _spread(gradients, self.outputs, self.output_count)
        for (hook,) in self.before:
            grad_output = _checked(hook(self.module, grad_output), grad_output, "backward pre-hook")
        self.grad_output = grad_output
        if self.inputs is None:
            nothing = (None,) * self.input_count
            for (hook,) in self.after:
                if hook(self.module, nothing, grad_output) is not None:
                    raise RuntimeError(
                        "full backward hook: no input requires grad, so there is no gradient to replace"
                    )
        return [grad_output[i] for i in self.outputs]

    def input_gradients(self, gradients):
        """Called in the backward pass, when the gradients of all inputs are known."""
        if self.grad_output is None:
            return gradients  # of a second derivative, which did not come through the outputs
        grad_input = _spread(gradients, self.inputs, self.input_count)
        for (hook,) in self.after:
            grad_input = _checked(
                hook(self.module, grad_input, self.grad_output), grad_input, "full backward hook"
            )
        self.grad_output = None
        return [grad_input[i] for i in self.inputs]


def _through(values, places, seen):
    """`values` as a tuple, those at `places` passed through one boundary."""
    values = list(values)
    for i, passed in zip(places, _Boundary.apply(seen, *(values[i] for i in places)), strict=True):
        values[i] = passed
    return tuple(values)


def _spread(gradients, places, count):
    spread = [None] * count
    for i, one in zip(places, gradients, strict=True):
        spread[i] = one
    return tuple(spread)


def _checked(changed, gradients, name):
    """The gradients after one hook, which may return None (no change), a Tensor or a tuple as long as what it got."""
    if changed is None:
        return gradients
    changed = changed if isinstance(changed, tuple) else (changed,)
    if len(changed) != len(gradients):
        raise RuntimeError(f"{name}: returned {len(changed)} gradients where it was given {len(gradients)}")
    return changed


class Hooked:
    """The part of Module that registers hooks. Each method returns a handle whose `remove()` takes the hook off."""

    _hooks = None

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call `hook(module, args)` before forward; it may return new args. with_kwargs: `hook(module, args, kwargs)`."""
        return register(self, "forward_pre", hook, with_kwargs, prepend=prepend)

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call `hook(module, args, output)` after forward; it may return another output.

        with_kwargs: `hook(module, args, kwargs, output)`. always_call: also when forward raised, with output None.
        """
        return register(self, "forward", hook, with_kwargs, always_call, prepend=prepend)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call `hook(module, grad_output)` when the gradients of the outputs are known; it may return others."""
        return register(self, "backward_pre", hook, prepend=prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call `hook(module, grad_input, grad_output)` when those of the inputs are known; it may return other grad_input.

        The gradients are tuples with an entry for each positional argument and each output, None where there is none.
        """
        return register(self, "backward", hook, prepend=prepend)

    register_backward_hook = register_full_backward_hook

    def register_state_dict_pre_hook(self, hook):
        """Call `hook(module, prefix, keep_vars)` before `state_dict` reads this module."""
        return register(self, "state_dict_pre", hook)

    def register_state_dict_post_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata)` when `state_dict` is complete; it may change it."""
        return register(self, "state_dict_post", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook):
        """Call `hook(module, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, errors)` before loading.

        It may rename and change entries of `state_dict`, which is a copy of the one being loaded.
        """
        return register(self, "load_state_dict_pre", hook)

    def _register_load_state_dict_pre_hook(self, hook, with_module=False):
        """The older form, whose hook does not get the module unless `with_module`."""
        return register(
            self, "load_state_dict_pre", hook if with_module else lambda module, *args: hook(*args)
        )

    def register_load_state_dict_post_hook(self, hook):
        """Call `hook(module, incompatible_keys)` after loading."""
        return register(self, "load_state_dict_post", hook)


# Hooks on all modules, which run before a module's own.


def register_module_forward_pre_hook(hook):
    """Call `hook(module, args)` before the forward of every module; it may return new args."""
    return _register_everywhere("forward_pre", hook, False)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Call `hook(module, args, output)` after the forward of every module; it may return another output."""
    return _register_everywhere("forward", hook, with_kwargs, always_call)


def register_module_full_backward_pre_hook(hook):
    """Call `hook(module, grad_output)` when the gradients of a module's outputs are known; it may return others."""
    return _register_everywhere("backward_pre", hook)


def register_module_full_backward_hook(hook):
    """Call `hook(module, grad_input, grad_output)` when those of its inputs are known; it may return other grad_input."""
    return _register_everywhere("backward", hook)


def register_module_parameter_registration_hook(hook):
    """Call `hook(module, name, parameter)` whenever a parameter is registered; it may return another."""
    return _add(_everywhere.setdefault("parameter", OrderedDict()), "parameter registration", (hook,))


def register_module_buffer_registration_hook(hook):
    """Call `hook(module, name, buffer)` whenever a buffer is registered; it may return another."""
    return _add(_everywhere.setdefault("buffer", OrderedDict()), "buffer registration", (hook,))


def register_module_module_registration_hook(hook):
    """Call `hook(module, name, submodule)` whenever a module is registered; it may return another."""
    return _add(_everywhere.setdefault("module", OrderedDict()), "module registration", (hook,))


def registering(module, kind, name, value):
    """What is registered in the end: `value`, or what a hook on registrations put in its place."""
    for (hook,) in _everywhere.get(kind, {}).values():
        changed = hook(module, name, value)
        value = value if changed is None else changed
    return value
