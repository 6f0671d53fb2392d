"""Callables that run as CUDA graphs, forward and backward, one node of autograd each.

The arguments are copied into Tensors that stay in place, the forward graph is replayed, and its outputs are handed out. The backward
node copies the incoming gradients into place, replays the backward graph, and hands out copies of what it left.
"""

from chainrule.autograd import Function, Tensor, grad
from chainrule.autograd.functions.creation import ones_like, zeros_like
from chainrule.autograd.modes import local
from chainrule.autograd.writes import log
from chainrule.nn import Module

from .cards import card, needed
from .graphs import CUDAGraph, graph
from .streams import Stream, StreamContext

_NAME = "cuda.make_graphed_callables"


def make_graphed_callables(callables, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None):
    """Capture `callables` on Tensors like `sample_args`: the same shapes, dtypes and requires_grad; a tuple of each, or one.

    Callables take Tensors and return a Tensor or a tuple or list of them; a Module's parameters are inputs too. What they return is
    overwritten by their next call, and backward must come before it (PyTorch would be silently wrong; here it is an error). There
    is no second derivative. `pool` is accepted and not used: every graph has its own memory, so they may run in any order.
    """
    needed("make_graphed_callables")
    if local.state.autocast is not None and local.state.autocast.caching:
        raise RuntimeError(
            f"{_NAME}: inside autocast, pass cache_enabled=False to it: a graph would keep the cached casts"
        )
    if isinstance(sample_args, Tensor):
        raise TypeError(f"{_NAME}: sample_args must be a tuple of Tensors, got a Tensor; write (x,)")
    several = isinstance(callables, tuple)
    functions, samples = (callables, sample_args) if several else ((callables,), (sample_args,))
    if len(functions) != len(samples):
        raise ValueError(f"{_NAME}: got {len(functions)} callables and sample_args for {len(samples)}")
    made = [_Graphed(function, tuple(args)) for function, args in zip(functions, samples, strict=True)]
    for one in made:
        one.warm_up(num_warmup_iters, allow_unused_input)
        one.capture_forward()
        one.capture_backward(allow_unused_input)
    results = tuple(one.publish() for one in made)
    return results if several else results[0]


class _Graphed:
    """One callable, the Tensors its graphs read and write, and the graphs."""

    def __init__(self, function, args):
        self.function = function
        self.parameters = ()
        if isinstance(function, Module):
            self.parameters = tuple(function.parameters())
            _check_module(function)
        for one in args:
            if not isinstance(one, Tensor):
                raise TypeError(f"{_NAME}: sample_args must be Tensors, got {type(one).__name__}")
        for one in (*args, *self.parameters):
            if one.device.type != "cuda":
                raise ValueError(
                    f"{_NAME}: inputs and parameters must be on one card, one is on {one.device}"
                )
        self.inputs = tuple(one.detach().clone().requires_grad_(one.requires_grad) for one in args)
        self.surface = self.inputs + self.parameters
        self.addresses = [one.data_ptr() for one in self.parameters]
        self.wanted = [one.requires_grad for one in self.surface]
        self.calls = 0
        self.backward_graph = None

    def run(self):
        """The function on the Tensors in place: its outputs as a tuple."""
        result = self.function(*self.inputs)
        self.kind = type(result)
        outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        for one in outputs:
            if not isinstance(one, Tensor):
                raise NotImplementedError(
                    f"{_NAME}: a callable must return a Tensor or a tuple or list of Tensors, got {type(one).__name__} in {self.kind.__name__}"
                )
        return outputs

    def differentiate(self, outputs, gradients, allow_unused):
        """The gradients of the outputs that have one, to the Tensors that want one."""
        inputs = [one for one, wanted in zip(self.surface, self.wanted, strict=True) if wanted]
        differentiable = [one for one in outputs if one.requires_grad]
        # Retained, so that nothing is written over by the backward graph: it may be replayed twice for one forward (retain_graph=True).
        return grad(differentiable, inputs, gradients, retain_graph=True, allow_unused=allow_unused)

    def warm_up(self, times, allow_unused):
        """Run on a stream aside, so that nothing happens for the first time in the capture."""
        on = card("make_graphed_callables", self.surface[0].device if self.surface else None)
        on.synchronize()
        with StreamContext(Stream(on.id)):
            for _ in range(times):
                outputs = self.run()
                if any(one.requires_grad for one in outputs):
                    self.differentiate(
                        outputs, [ones_like(one) for one in outputs if one.requires_grad], allow_unused
                    )
        on.synchronize()

    def capture_forward(self):
        """Capture the function; its outputs stay in place, the graph of operations behind them until `capture_backward`."""
        self.forward_graph = CUDAGraph()
        with self._on_device(), graph(self.forward_graph):
            self.recorded = self.run()
        self.outputs = tuple(one.detach() for one in self.recorded)

    def capture_backward(self, allow_unused):
        """Capture the backward pass, if an output has one."""
        recorded, self.recorded = self.recorded, None
        self.gradients_in = [zeros_like(one) if one.requires_grad else None for one in recorded]
        self.gradients_out = [None] * len(self.surface)
        if any(one.requires_grad for one in recorded):
            self.backward_graph = CUDAGraph()
            with self._on_device(), graph(self.backward_graph):
                found = self.differentiate(
                    recorded, [one for one in self.gradients_in if one is not None], allow_unused
                )
            found = iter(found)
            self.gradients_out = [next(found) if wanted else None for wanted in self.wanted]

    def _on_device(self):
        return card("make_graphed_callables", self.surface[0].device if self.surface else None)

    def publish(self):
        """What the caller gets: a function, or the Module with another `forward`."""
        if not isinstance(self.function, Module):
            return self
        module, original, training = self.function, self.function.forward, self.function.training

        def forward(*args, **kwargs):
            # The graphs are those of one mode; in the other the module is as it was.
            return self(*args, **kwargs) if module.training == training else original(*args, **kwargs)

        module.forward = forward
        return module

    def __call__(self, *args):
        self.check(args)
        results = _Replay.apply(self, *args, *self.parameters)
        return results[0] if self.kind is not tuple and self.kind is not list else self.kind(results)

    def check(self, args):
        """Refuse what the graphs were not captured for."""
        if len(args) != len(self.inputs):
            raise TypeError(f"graphed callable: expected {len(self.inputs)} arguments, got {len(args)}")
        for i, (one, static) in enumerate(zip(args, self.inputs, strict=True)):
            if not isinstance(one, Tensor):
                raise TypeError(f"graphed callable: argument {i} must be a Tensor, got {type(one).__name__}")
            if (one.shape, one.dtype, one.device) != (static.shape, static.dtype, static.device):
                raise ValueError(
                    f"graphed callable: argument {i} is {one.dtype} of shape {tuple(one.shape)} on {one.device}, but was captured "
                    f"as {static.dtype} of shape {tuple(static.shape)} on {static.device}; graph it again for these"
                )
        if local.state.grad:
            for one, wanted in zip((*args, *self.parameters), self.wanted, strict=True):
                if one.requires_grad and not wanted:
                    raise ValueError(
                        "graphed callable: an argument or parameter requires a gradient that did not when it was captured; "
                        "graph it again, or detach the argument"
                    )
        if [one.data_ptr() for one in self.parameters] != self.addresses:
            raise RuntimeError(
                "graphed callable: a parameter was moved to other memory since the capture, which the graphs do not follow; "
                "change parameters in place, or graph the module again"
            )


class _Replay(Function):
    @staticmethod
    def forward(ctx, graphed, *inputs):
        for static, one in zip(graphed.inputs, inputs, strict=False):
            static.copy_(one)
        graphed.forward_graph.replay()
        graphed.calls += 1
        ctx.graphed, ctx.call = graphed, graphed.calls
        outputs = tuple(one.detach() for one in graphed.outputs)
        for one in outputs:
            log.wrote(one._array)
        if graphed.backward_graph is not None:
            ctx.mark_non_differentiable(
                *(out for out, g in zip(outputs, graphed.gradients_in, strict=True) if g is None)
            )
        return outputs

    @staticmethod
    def backward(ctx, *gradients):
        graphed = ctx.graphed
        if local.state.grad:
            raise NotImplementedError(
                "graphed callable: it has no second derivative (create_graph=True); use the callable itself for that"
            )
        if graphed.backward_graph is None:
            raise RuntimeError(
                "graphed callable: it was captured without gradients; graph it again with gradients enabled"
            )
        if ctx.call != graphed.calls:
            raise RuntimeError(
                "graphed callable: it was called again before this backward, and what backward needs was overwritten; call backward "
                "after each call, or graph the callable once for every call"
            )
        for static, one in zip(graphed.gradients_in, gradients, strict=True):
            if static is not None:
                static.copy_(one)
        graphed.backward_graph.replay()
        # Copies: `.grad` may keep what it is given, and the next replay writes here again.
        return None, *(None if one is None else one.clone() for one in graphed.gradients_out)


def _check_module(module):
    """Refuse a Module whose hooks or buffers the graphs would not honour."""
    if any((module._hooks or {}).values()):
        raise ValueError(
            f"{_NAME}: remove the hooks of the module first, and register them on what comes back"
        )
    if any(one.requires_grad for one in module.buffers()):
        raise ValueError(f"{_NAME}: buffers must not require a gradient; make them parameters")
