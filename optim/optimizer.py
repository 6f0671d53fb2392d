"""The base of all optimizers: which parameters, with which options and state, and what a step is.

A subclass gives two things. `init_state(param, group)` makes what is remembered about a parameter, and
`update(param, grad, state, group)` does one step on raw arrays, in place, in the order of the paper's algorithm. This
file does the rest: parameter groups, hooks, the state and its way in and out. `pieces.py` has the memory.
"""

import functools
import warnings
from collections import defaultdict
from types import NoneType

import numpy

from chainrule.autograd.modes import enable_grad
from chainrule.autograd.node import RemovableHandle
from chainrule.autograd.tensor import Tensor
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, kernels, namespaces, placement
from chainrule.backends.capturing import local as capturing

from . import captured, together
from .loading import as_number, host_number, loaded_groups, loaded_state
from .pieces import Plan, Scratch, computing_dtype

_AT_LEAST_0 = (
    "lr",
    "eps",
    "weight_decay",
    "momentum",
    "lr_decay",
    "initial_accumulator_value",
    "momentum_decay",
)


def _hooked(step):
    """`step` with the hooks of its optimizer around it, once even where one class's step calls another's."""

    @functools.wraps(step)
    def step_with_hooks(self, *args, **kwargs):
        if self._stepping:
            return step(self, *args, **kwargs)
        capture = capturing.capture
        if capture is not None and not captured.accepts(self, capture):
            return None  # where findings are collected
        self._stepping = True
        try:
            for hook in tuple(self._pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not isinstance(changed, tuple) or len(changed) != 2:
                        raise RuntimeError(
                            f"{type(self).__name__}.step: a pre-hook must return None or the pair (args, kwargs), got {changed!r}"
                        )
                    args, kwargs = changed
            with placement.around_tensors(self.param_groups[0]["params"]):
                result = step(self, *args, **kwargs)
            for hook in tuple(self._post_hooks.values()):
                hook(self, args, kwargs)
        except MemoryError as error:
            raise backend_of(self.param_groups[0]["params"][0]._array).out_of_memory(error) from error
        finally:
            self._stepping = False
        self._opt_called = True  # schedulers look at it: they are to step after their optimizer
        return result

    return step_with_hooks


class Optimizer:
    """Updates parameters along their gradients.

    params: Tensors, pairs (name, Tensor) as `named_parameters()` gives them, or dicts {"params": ..., option: value},
        each a group with options of its own; `param_groups` holds them, and changes made there hold from the next step.
    defaults: the options of groups that do not give them.
    `state[param]` is a dict of what is remembered about a parameter: Tensors shaped like it, and numbers of the step.

    PyTorch's switches between implementations (`foreach`, `fused`) are accepted and change nothing: there is one; `capturable`
    counts the steps on the device, where it has a kernel for the step, and is not needed for captured graphs. ValueError for options out of range, no parameters, or a parameter in two groups; TypeError for non-Tensors.
    """

    # Names in the state: of what is one number a parameter, kept in host memory; and of arrays that some options ask for.
    scalars = ("step",)
    arrays = ()
    # Whether `update` treats elements one by one, so that it may be given any part of a parameter.
    elementwise = True
    # The kernel with which a backend may do the step of many parameters at once, where it has one: see `update_together`.
    together = None

    _stepping = False
    _captured = False  # whether graphs rely on the state
    _skip = None  # an int32 on the device that says, if not 0, that a captured step is to do nothing
    _opt_called = False

    def __init__(self, params, defaults):
        self.defaults = defaults
        self.state = defaultdict(dict)
        self.param_groups = []
        self._forget_arrays()
        self._pre_hooks, self._post_hooks = {}, {}
        self.check(defaults)
        for group in _groups(type(self).__name__, params):
            self.add_param_group(group)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "update" in cls.__dict__ and "together" not in cls.__dict__:
            cls.together = None  # the kernel does what another class's `update` does
        if "init_state" in cls.__dict__ and "remembers" not in cls.__dict__:
            cls.remembers = Optimizer.remembers
        if "step" in cls.__dict__:
            cls.step = _hooked(cls.step)

    # What a subclass gives

    def init_state(self, param, group):
        """{name: value} to remember about a raw array `param`: arrays like it, or the numbers named in `scalars`."""
        return {}

    def remembers(self, group):
        """Whether parameters have a state with these options: without one, `init_state` need not be asked in every step."""
        return True

    def update(self, param, grad, state, group):
        """One step: write to `param` and the arrays in `state`, assign its numbers. `grad` is not to be written.

        All are raw arrays of one shape: a parameter or, of a large one, a piece, each of which is given the numbers as
        they were before the step. `state["first"]` tells that this is the parameter's first step.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define update(param, grad, state, group) or step(closure)"
        )

    def update_together(self, kernel, params, grads, states, steps, group, **given):
        """Hand lists of raw arrays to a backend's kernel for `together`, which does to each what `update` does.

        states: the dicts of `self.state`; steps: for each the number of this step (1 or more than 1, where the state has none), or
        the array on the device that holds it; given: further arguments of the kernel.
        """
        raise NotImplementedError(f"{type(self).__name__} names a kernel and must define update_together")

    def numbers(self, group):
        """The options of a group as the kernel for `together` reads them from the device."""
        raise NotImplementedError(f"{type(self).__name__} names a kernel and must define numbers")

    def check(self, group):
        """ValueError unless the options in `group` are in range."""
        name = type(self).__name__
        for key in _AT_LEAST_0:
            if isinstance(group.get(key, 0), (str, NoneType)):
                raise TypeError(f"{name}: {key} must be a number, got {group[key]!r}")
            if key in group and not group[key] >= 0:
                raise ValueError(f"{name}: {key} must be at least 0, got {group[key]}")
        if "betas" in group:
            for i, beta in enumerate(pair(name, "betas", group["betas"])):
                if not 0 <= beta < 1:
                    raise ValueError(f"{name}: betas[{i}] must be in [0, 1), got {beta}")
        if group.get("differentiable"):
            raise NotImplementedError(
                f"{name}: a step writes in place and is not recorded, so differentiable=True is not offered; "
                f"to differentiate through a step compute it with Tensor operations"
            )

    def check_real(self, group):
        """For use in `check`, of methods without a meaning for complex numbers."""
        for param in group.get("params", ()):
            if param.is_complex():
                raise ValueError(
                    f"{type(self).__name__}: parameters must be real, got one of {param.dtype}; give its .real and .imag"
                )

    # For use in `update`

    def scratch(self, like, name, shape=None):
        """An array like `like` with arbitrary contents, to compute in; one name is the same memory in every step."""
        return self._scratch[name, like.shape if shape is None else shape]

    def number(self, value, name):
        """`value` as what an array is multiplied by fastest: in NumPy a 0-d array, kept under `name` until it changes."""
        return self._scratch.number(value, name)

    def with_decay(self, param, grad, group):
        """g + lambda theta, the gradient of f + lambda/2 |theta|^2 (group["weight_decay"] is lambda)."""
        decay = group["weight_decay"]
        if not decay:
            return grad
        g = self.scratch(param, "decayed gradient")
        namespaces[param.__class__].multiply(param, decay, out=g)
        g += grad
        return g

    def with_decay_of_kind(self, param, grad, group):
        """As `with_decay`; or with group["decoupled_weight_decay"] theta *= 1 - eta lambda, and g as it was."""
        if not group["decoupled_weight_decay"]:
            return self.with_decay(param, grad, group)
        param *= 1 - group["lr"] * group["weight_decay"]
        return grad

    # Training

    @_hooked
    def step(self, closure=None):
        """Update every parameter that has a gradient.

        closure: a function that computes the loss anew, with gradients; its value is returned.
        """
        loss = None
        if closure is not None:
            if not callable(closure):
                raise TypeError(
                    f"{type(self).__name__}.step: closure must be a function that computes the loss, got {closure!r}"
                )
            with enable_grad():
                loss = closure()
        capture = capturing.capture
        # Infinities travel as silently as in the engine.
        with numpy.errstate(all="ignore"), placement.kept():
            for group in self.param_groups:
                options = captured.options_of(group, capture)
                params = [param for param in group["params"] if param._grad is not None]
                if self.together in kernels:
                    params = together.update(self, params, group, options)
                if params and capture is not None:
                    captured.refuse(self, params[0], capture)
                    continue
                for param in params:
                    placement.follow(param._array)
                    self._update(param, options)
        return loss

    def advance(self, state):
        """Count a step in `state`, and return its number."""
        step = int(as_number(state["step"])) + 1
        if isinstance(state["step"], Tensor):
            state["step"]._array.fill(step)
        else:
            state["step"] = step
        return step

    def _update(self, param, group):
        """Let `update` do its work on one parameter, piece by piece."""
        state = self.state.get(param) or {}
        first = not state
        if first and self.remembers(group):
            state = self._start(param, group)
        array, grad = param._array, param._grad._array
        plan = self._plans.get(param)
        if plan is None or not plan.fits(array, state):
            plan = self._plan(param, state)
        self._scratch = plan.scratch
        after = before = {"first": first, **plan.arrays}
        for name in plan.scalars:
            before[name] = as_number(state[name])
        maximize = group.get("maximize")
        if plan.whole and not maximize and grad.flags.c_contiguous:  # nearly always
            self.update(array, grad, after, group)
        else:
            for piece, part, arrays in plan.pieces(grad, maximize):
                after = before | arrays
                self.update(piece, part, after, group)
        for name in plan.scalars:
            if isinstance(state[name], Tensor):
                state[name]._array.fill(after[name])
            else:
                state[name] = after[name]
        log.wrote(array)

    def _start(self, param, group):
        """Make the state of a parameter; empty if nothing is to be remembered."""
        with placement.around_tensors(param):
            state = self.init_state(param._array, group)
        if state:
            for name, value in state.items():
                state[name] = host_number(name, value) if name in self.scalars else Tensor._wrap(value)
            self.state[param] = state
        return state

    def _plan(self, param, state):
        """How to cut a parameter, found out once and again only when it or its state has other arrays."""
        array = param._array
        dtype = computing_dtype(array, self.elementwise)
        place = array.__class__, str(dtype), backend_of(array).device_of(array)
        scratch = self._scratches.get(place)
        if scratch is None:
            scratch = self._scratches[place] = Scratch(namespaces[array.__class__], dtype)
        plan = self._plans[param] = Plan(array, state, self.scalars, scratch, self.elementwise)
        return plan

    def _forget_arrays(self):
        """Hold no array but the state's: plans and scratch memory are made again when next needed."""
        self._plans, self._scratches, self._scratch = {}, {}, None
        self._counts = {}  # parameter -> the 0-d array on the device that counts its steps, where its state does not

    def zero_grad(self, set_to_none=True):
        """Take the gradients away; with `set_to_none=False` write zeros into them."""
        for group in self.param_groups:
            for param in group["params"]:
                if set_to_none:
                    param.grad = None
                elif param.grad is not None:
                    param.grad = param.grad.detach()
                    param.grad.zero_()

    def add_param_group(self, param_group):
        """Optimize further parameters, {"params": ..., option: value}; options not given are the defaults."""
        name = type(self).__name__
        if not isinstance(param_group, dict):
            raise TypeError(f"{name}: a parameter group must be a dict, got {type(param_group).__name__}")
        if "params" not in param_group:
            raise ValueError(
                f"{name}: a parameter group must have the key 'params', got {sorted(map(str, param_group))}"
            )
        group = dict(param_group)
        group["params"], names = _tensors(name, group["params"])
        if names:
            group["param_names"] = names
        for key, default in self.defaults.items():
            group.setdefault(key, default)
        self.check(group)
        if len({id(param) for param in group["params"]}) < len(group["params"]):
            warnings.warn(
                f"{name}: a parameter is in its group twice and will be updated twice a step", stacklevel=3
            )
        known = {id(param) for other in self.param_groups for param in other["params"]}
        if not known.isdisjoint(map(id, group["params"])):
            raise ValueError(
                f"{name}: a parameter is already in another parameter group; each can be in one only"
            )
        if self.param_groups and ("param_names" in group) != ("param_names" in self.param_groups[0]):
            raise ValueError(
                f"{name}: either all parameter groups give names, (name, parameter) pairs, or none does"
            )
        self.param_groups.append(group)

    def register_step_pre_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` before each step; it may return a new (args, kwargs). Returns a handle."""
        return RemovableHandle(self._pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Call `hook(optimizer, args, kwargs)` after each step. Returns a handle whose `remove()` takes the hook off."""
        return RemovableHandle(self._post_hooks, hook)

    # The state, out and in

    def state_dict(self):
        """{"state": {index: {...}}, "param_groups": [{"params": [index, ...], ...}]}, as PyTorch's.

        Parameters are numbered in the order of the groups. The Tensors are the optimizer's own, not copies.
        """
        numbers = {}
        groups = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(param, len(numbers))
            options = {key: value for key, value in group.items() if key != "params"}
            groups.append({**options, "params": [numbers[param] for param in group["params"]]})
        state = {numbers[param]: entries for param, entries in self.state.items() if param in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict):
        """Take over options and state from a `state_dict()` of this class's, or PyTorch's, over like parameters.

        Everything is copied, to the dtype and device of the parameters. ValueError, and nothing is changed, if groups,
        shapes or names do not fit.
        """
        name = type(self).__name__
        groups, params = loaded_groups(name, state_dict, self.param_groups, self.defaults)
        for group in groups:
            self.check(group)
        state = loaded_state(self, state_dict, params, groups)
        for group, new in zip(self.param_groups, groups, strict=True):
            group.clear()
            group.update(new)
        if not (self._captured and captured.loaded_in_place(self, state)):
            self.state = state
            self._captured = False
            self._forget_arrays()

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, attributes):
        self.__dict__.update(attributes)
        self._forget_arrays()
        self._pre_hooks, self._post_hooks = {}, {}

    def __repr__(self):
        lines = []
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [
                f"    {key}: {group[key]}" for key in sorted(group) if key not in ("params", "param_names")
            ]
        return "\n".join([f"{type(self).__name__} (", *lines, ")"])


def pair(name, key, value):
    """`value`, if it is a pair of numbers; otherwise a ValueError."""
    if not isinstance(value, (tuple, list)) or len(value) != 2 or any(isinstance(one, str) for one in value):
        raise ValueError(f"{name}: {key} must be a pair of numbers, got {value!r}")
    return value


def _groups(name, params):
    """The argument of an optimizer as a list of groups."""
    if isinstance(params, Tensor):
        raise TypeError(
            f"{name}: params must be an iterable of Tensors or dicts, got one Tensor; put it in a list: [param]"
        )
    params = list(params)
    if not params:
        raise ValueError(
            f"{name}: there are no parameters to optimize (a generator that was used before is empty)"
        )
    return params if isinstance(params[0], dict) else [{"params": params}]


def _tensors(name, params):
    """The Tensors of one group, checked, and their names if pairs (name, Tensor) were given."""
    if isinstance(params, (set, frozenset)):
        raise TypeError(f"{name}: the order of a set changes between runs; give the parameters as a list")
    params = [params] if isinstance(params, Tensor) else list(params)
    names = [param[0] for param in params if isinstance(param, tuple)]
    if names and len(names) < len(params):
        raise ValueError(f"{name}: either all parameters of a group are (name, parameter) pairs or none is")
    params = [param[1] if isinstance(param, tuple) else param for param in params]
    for param in params:
        if not isinstance(param, Tensor):
            raise TypeError(f"{name}: can only optimize Tensors, got {type(param).__name__}")
        if not (param.is_leaf or param.retains_grad):
            raise ValueError(
                f"{name}: can't optimize a non-leaf Tensor (shape {tuple(param.shape)}, made by {param.grad_fn}); "
                f"make it a leaf with .detach().requires_grad_()"
            )
    return params, names
