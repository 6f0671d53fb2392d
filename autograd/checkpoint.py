"""Trading time for memory: forget what a part of the network saved, and compute it again when backward needs it."""

import contextlib

from chainrule.backends import random as _random

from . import late
from .modes import enable_grad
from .precision import active, resumed
from .saved import saved_tensors_hooks


class _Recompute:
    """What one checkpointed call saved: nothing at first, everything again when the first value is asked for."""

    def __init__(self, function, args, kwargs, preserve_rng_state, context):
        self.call = (function, args, kwargs)
        self.rng = _random.default_generator.get_state() if preserve_rng_state else None
        self.context = context
        self.autocast = active()
        self.count = 0
        self.values = None

    def pack(self, tensor):
        """A saved value becomes its number."""
        self.count += 1
        return self.count - 1

    def unpack(self, number):
        """The value of that number; the function runs again for the first one asked for."""
        if self.values is None:
            self.values = self.run_again()
        value = self.values[number]
        return value

    def run_again(self):
        function, args, kwargs = self.call
        collected = []
        generator = _random.default_generator
        now = generator.get_state()
        if self.rng is not None:
            generator.set_state(self.rng)
        try:
            with (
                enable_grad(),
                resumed(self.autocast),
                self.context(),
                saved_tensors_hooks(lambda t: collected.append(t), lambda _: None),
            ):
                function(
                    *(_detached(one) for one in args),
                    **{name: _detached(one) for name, one in kwargs.items()},
                )
        finally:
            generator.set_state(now)
        if len(collected) != self.count:
            raise RuntimeError(
                f"checkpoint: the function saved {self.count} values in forward and {len(collected)} when it ran again; it must "
                f"compute the same both times"
            )
        return collected


def _detached(value):
    """An argument as it was, cut off from the graph before it."""
    if not isinstance(value, late.Tensor):
        return value
    return value.detach().requires_grad_(value.requires_grad)


def checkpoint(
    function, *args, use_reentrant=None, preserve_rng_state=True, context_fn=None, determinism_check="default", debug=False, **kwargs
):  # fmt: skip
    """`function(*args, **kwargs)`, keeping nothing for backward but its arguments; it runs once more when backward comes.

    Gradients are bit for bit those without it: random numbers are drawn again from the same state (preserve_rng_state).
    The arguments must not be written in place in between. Chen et al. 2016, Training deep nets with sublinear memory cost.
    """
    contexts = (contextlib.nullcontext, contextlib.nullcontext)
    if context_fn is not None:
        first, second = context_fn()
        contexts = (lambda: first, lambda: second)
    again = _Recompute(function, args, kwargs, preserve_rng_state, contexts[1])
    with contexts[0](), saved_tensors_hooks(again.pack, again.unpack):
        return function(*args, **kwargs)


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """A chain of functions (or a Sequential) run in `segments` checkpointed parts; only the last keeps what it saves."""
    functions = list(functions.children()) if hasattr(functions, "children") else list(functions)
    size = max(len(functions) // segments, 1)

    def run(start, stop):
        def part(x):
            for one in functions[start:stop]:
                x = one(x)
            return x

        return part

    start = 0
    while start + size < len(functions) and segments > 1:
        input = checkpoint(run(start, start + size), input, **kwargs)
        start += size
        segments -= 1
    return run(start, len(functions))(input)
