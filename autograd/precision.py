"""In which precision a function computes inside an autocast block, declared at its definition.

    @precision("lower")
    def matmul(input, other): ...

Outside of blocks (`ThreadState.autocast` is None) a declared function does what it would without the declaration. Inside, its Tensors
are converted first, by recorded conversions: backward then runs in the dtypes of forward, and a parameter's gradient arrives in the
parameter's own. The functions and policies are PyTorch's, which has a list for the CPU and one for accelerators.

Policies: "lower", to the block's dtype; "float32"; "widest", to the widest dtype among the arguments; "unchanged", as they are, and so
what the function calls; None, as if not declared. Operations declare theirs by `@op(precision=...)`.
Micikevicius et al. 2018, "Mixed precision training".
"""

import contextlib
import functools

from chainrule.backends import dtypes

from . import late
from .modes import local

_POLICIES = ("lower", "float32", "widest", "unchanged", None)
_CONVERTED = (dtypes.float32, dtypes.float16, dtypes.bfloat16)


class Block:
    """What holds inside an autocast block; the thread's `ThreadState.autocast`.

    dtypes: device type -> dtype, None where switched off. caching: convert each parameter only once; cache: those converted.
    walk: the backward pass in which the block was entered. In a pass begun later it does not hold: backward computes in the dtypes
    of forward as they are.
    """

    __slots__ = ("cache", "caching", "dtypes", "walk")

    def __init__(self, dtypes, caching, cache):
        self.dtypes = dtypes
        self.caching = caching
        self.cache = cache
        self.walk = local.state.walk

    def policy(self, policies, tensors):
        """The one of `policies` (on the CPU, on accelerators) that holds for these Tensors."""
        if not tensors or active() is None or self.dtypes.get(tensors[0].device.type) is None:
            return None
        return policies[0 if tensors[0].device.type == "cpu" else 1]

    def convert(self, value, policy, tensors):
        """`value`, which holds `tensors`, with those of them that the policy concerns converted."""
        kind = tensors[0].device.type
        if policy == "lower":
            dtype = self.dtypes[kind]
        elif policy == "float32" or any(one.dtype is dtypes.float32 for one in tensors):
            dtype = dtypes.float32
        else:
            return value
        return self.to(value, kind, dtype)

    def to(self, value, kind, dtype):
        """`value` with every Tensor of at most 32 bits, on this kind of device, in `dtype`."""
        if isinstance(value, late.Tensor):
            if value.dtype is dtype or value.dtype not in _CONVERTED or value.device.type != kind:
                return value
            return self._once(value, dtype)
        if value.__class__ in (tuple, list):
            return value.__class__([self.to(one, kind, dtype) for one in value])
        if value.__class__ is dict:
            return {name: self.to(one, kind, dtype) for name, one in value.items()}
        return value

    def _once(self, tensor, dtype):
        """A Tensor converted; a parameter only once in a block, unless it is written in between."""
        parameter = tensor.is_leaf and tensor.requires_grad and local.state.grad
        if not (self.caching and parameter and dtype.itemsize == 2):
            return late.ops.astype(tensor, dtype=dtypes.as_numpy(dtype))
        key = id(tensor), dtype
        found = self.cache.get(key)
        if found is None or found[0] != tensor._version:
            # The leaf is kept too, so that no other gets its id.
            converted = late.ops.astype(tensor, dtype=dtypes.as_numpy(dtype))
            found = self.cache[key] = tensor._version, converted, tensor
        return found[1]


def active():
    """The block that holds in this thread now, or None."""
    state = local.state
    block = state.autocast
    return block if block is not None and block.walk is state.walk else None


@contextlib.contextmanager
def resumed(block):
    """Inside, what `active()` gave earlier holds again: for a backward pass that runs code as forward did."""
    state = local.state
    before = state.autocast
    state.autocast = None if block is None else Block(block.dtypes, block.caching, {})
    try:
        yield
    finally:
        state.autocast = before


def precision(policy=None, *, cpu=None, accelerator=None):
    """Declare a function's policy: one for all devices, or one for the CPU and one for accelerators."""
    policies = checked(policy, cpu, accelerator)

    def declare(function):
        @functools.wraps(function)
        def declared(*args, **kwargs):
            if local.state.autocast is None:
                return function(*args, **kwargs)
            return _inside(function, policies, args, kwargs)

        return declared

    return declare


def checked(policy=None, cpu=None, accelerator=None):
    """The pair (on the CPU, on accelerators)."""
    policies = (cpu, accelerator) if policy is None else (policy, policy)
    for one in policies:
        if one not in _POLICIES:
            raise ValueError(f"precision: expected one of {_POLICIES}, got {one!r}")
    return policies


def _inside(function, policies, args, kwargs):
    """Call a declared function inside a block; declared functions that it calls take their arguments as they are."""
    state = local.state
    block = state.autocast
    tensors = list(_tensors((args, kwargs)))
    policy = block.policy(policies, tensors)
    if policy is None:
        return function(*args, **kwargs)
    state.autocast = None
    try:
        if policy != "unchanged":
            args, kwargs = block.convert((args, kwargs), policy, tensors)
        return function(*args, **kwargs)
    finally:
        state.autocast = block


def converted(policies, *inputs):
    """The inputs of a declared operation inside a block, as its policy wants them."""
    block = local.state.autocast
    tensors = list(_tensors(inputs))
    policy = block.policy(policies, tensors)
    return inputs if policy is None else block.convert(inputs, policy, tensors)


def _tensors(value):
    if isinstance(value, late.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
