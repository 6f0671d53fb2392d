"""`autograd.Function`: a differentiable operation of the user's own, in either of PyTorch's two styles.

class Cube(Function):                                class Cube(Function):
    @staticmethod                                        @staticmethod
    def forward(ctx, x):                                 def forward(x):
        ctx.save_for_backward(x)                             return x**3
        return x**3
                                                         @staticmethod
    @staticmethod                                        def setup_context(ctx, inputs, output):
    def backward(ctx, g):                                    ctx.save_for_backward(*inputs)
        (x,) = ctx.saved_tensors
        return g * 3 * x**2                              backward as on the left
"""

import functools

from . import late
from .modes import enable_grad, local, no_grad
from .node import Node, Slot
from .writes import log


class FunctionCtx:
    """What `forward` and `backward` of a Function share; attributes may be set on it freely."""

    def __init__(self):
        self._saved = ()
        self._saved_forward = None
        self._arguments = ()
        self._dirty = ()
        self._non_differentiable = ()
        self._materialize = True
        self.needs_input_grad = ()

    def save_for_backward(self, *tensors):
        """Keep Tensors (or None) for `backward`, guarded against in-place writes; once, in forward."""
        for one in tensors:
            if one is not None and not isinstance(one, late.Tensor):
                raise TypeError(
                    f"save_for_backward: expected Tensors or None, got {type(one).__name__}; set other values on ctx"
                )
        self._saved = tensors

    def save_for_forward(self, *tensors):
        """Keep Tensors (or None) for `jvp`, which finds them in `saved_tensors`."""
        for one in tensors:
            if one is not None and not isinstance(one, late.Tensor):
                raise TypeError(
                    f"save_for_forward: expected Tensors or None, got {type(one).__name__}; set other values on ctx"
                )
        self._saved_forward = tensors

    def mark_dirty(self, *tensors):
        """Say which inputs `forward` changed in place; they must be among its outputs."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors):
        """Say which outputs carry no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value):
        """Whether `backward` sees zeros (True, the default) or None for an output that got no gradient."""
        self._materialize = value


class _FunctionOp:
    """Stands where an Op stands on a node: a name, and nothing saved that the engine knows of."""

    def __init__(self, name):
        self.name = name


class FunctionNode(Node):
    """The node of one call of a user's Function; it is also the `ctx` of its backward."""

    __slots__ = ("cls", "ctx", "outputs_meta", "slots_saved")

    def __init__(self, cls, ctx, edges, outputs):
        arrays = [one._array for one in outputs]
        many = len(arrays) > 1
        shape = [a.shape for a in arrays] if many else arrays[0].shape
        dtype = [a.dtype for a in arrays] if many else arrays[0].dtype
        super().__init__(_FunctionOp(cls.__name__), edges, (), None, log.epoch, shape, dtype)
        self.cls = cls
        self.ctx = ctx
        self.outputs_meta = [(a.shape, a.dtype, a.__class__) for a in arrays]

    def name(self):
        """`CubeBackward`."""
        return f"{self.cls.__name__}Backward"

    def keep(self, tensors, outputs):
        """Save arrays with their places in the graph; an output is saved without a reference to itself."""
        self.saved = tuple(None if one is None else one._array for one in tensors) or ()
        self.slots_saved = tuple(
            None
            if one is None
            else (
                next(i for i, out in enumerate(outputs) if out is one)
                if any(out is one for out in outputs)
                else one._current_edge()
            )
            for one in tensors
        )

    def saved_tensors(self):
        """The saved Tensors, each where it stood in the graph."""
        if self.saved is None:
            raise RuntimeError(
                f"{self.name()}: the saved tensors have been freed; specify retain_graph=True on the first backward"
            )
        if self.epoch != log.epoch:
            self.check()
        found = []
        for array, place in zip(self.saved, self.slots_saved, strict=True):
            if array is None:
                found.append(None)
                continue
            edge = place
            if isinstance(place, int):
                edge = (
                    self if len(self.outputs_meta) == 1 else Slot(self, place, *self.outputs_meta[place][:2])
                )
            found.append(
                edge
                if isinstance(edge, late.Tensor) and edge._array is array
                else late.Tensor._wrap(array, edge)
            )
        return tuple(found)

    def gradients(self, g, edges, create_graph, keep):
        """Run the user's `backward` on Tensors, recording only if a graph of the gradient is wanted."""
        grads_in = g if isinstance(g, list) else [g]
        tensors = [one if one is None or create_graph else late.Tensor._wrap(one) for one in grads_in]
        if self.ctx._materialize:
            like = next(one for one in tensors if one is not None)
            tensors = [
                like.new_zeros(shape, dtype=dtype) if one is None else one
                for one, (shape, dtype, _) in zip(tensors, self.outputs_meta, strict=True)
            ]
        self.ctx._node = self
        try:
            with enable_grad() if create_graph else no_grad():
                grads = self.cls.backward(self.ctx, *tensors)
        finally:
            self.ctx._node = None
        if not keep and self.saved:
            self.saved = None
        grads = grads if isinstance(grads, tuple) else (grads,)
        if len(grads) != len(edges):
            extra = grads[len(edges) :]
            if len(grads) < len(edges) or any(one is not None for one in extra):
                raise RuntimeError(
                    f"{self.name()}: backward returned {len(grads)} gradients for {len(edges)} inputs of forward"
                )
            grads = grads[: len(edges)]
        return tuple(
            self._outgoing(one, edge, i, create_graph)
            for i, (one, edge) in enumerate(zip(grads, edges, strict=True))
        )

    def _outgoing(self, grad, edge, index, create_graph):
        if grad is None or edge is None:
            return None
        if not isinstance(grad, late.Tensor):
            raise TypeError(
                f"{self.name()}: backward must return Tensors or None, gradient {index} is {type(grad).__name__}"
            )
        # A view, so that nobody takes the memory for their own: the user may have returned something saved.
        return grad if create_graph else grad._array.view()


class _Meta(type):
    def __call__(cls, *args, **kwargs):
        raise RuntimeError(f"{cls.__name__}: call {cls.__name__}.apply(...); a Function is not instantiated")


class Function(metaclass=_Meta):
    """Subclass it with static methods `forward` and `backward` (see the head of this module); call `apply`."""

    @staticmethod
    def forward(*args, **kwargs):
        """Compute the outputs; with `ctx` first unless `setup_context` is defined."""
        raise NotImplementedError("a Function needs a forward")

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Save for backward, apart from forward."""
        raise NotImplementedError("setup_context is optional")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """From the gradients of the outputs to those of the inputs."""
        raise NotImplementedError("a Function needs a backward to be differentiated")

    vjp = backward
    generate_vmap_rule = False

    @staticmethod
    def jvp(ctx, *grad_inputs):
        """From the tangents of the inputs (None for what is no Tensor) to those of the outputs, in forward mode."""
        raise NotImplementedError("a Function needs a jvp to be differentiated in forward mode")

    @staticmethod
    def vmap(info, in_dims, *args):
        """What `apply` does inside `vmap`, on inputs with a batch dimension at `in_dims`: (outputs, their batch dimensions).

        Without it `forward` and `backward` run as they are, on Tensors whose batch dimension is hidden.
        """
        raise NotImplementedError("vmap is optional")

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run forward and record it."""
        if local.state.vmap and cls.vmap is not Function.vmap:
            from . import vmap

            if vmap.batch_of(args) is not None:
                return vmap.by_own_rule(cls, args)
        ctx = _Context()
        ctx.needs_input_grad = tuple(isinstance(one, late.Tensor) and one.requires_grad for one in args)
        edges = tuple(one._current_edge() if isinstance(one, late.Tensor) else None for one in args)
        separate = cls.setup_context is not Function.setup_context
        with no_grad():
            result = cls.forward(*args, **kwargs) if separate else cls.forward(ctx, *args, **kwargs)
            if separate:
                cls.setup_context(ctx, args, result)
        several = isinstance(result, (tuple, list))
        results = tuple(result) if several else (result,)
        outputs = [one for one in results if isinstance(one, late.Tensor)]
        for one in ctx._dirty:
            log.wrote(one._array)
        if local.state.grad and any(edge is not None for edge in edges) and outputs:
            replaced = cls._record(ctx, args, edges, outputs)
            results = tuple(replaced.get(id(one), one) for one in results)
        return results if several else results[0]

    @classmethod
    def _record(cls, ctx, args, edges, outputs):
        """Put the outputs into the graph; an input handed through becomes a Tensor of its own unless it is dirty."""
        replaced = {}
        for i, one in enumerate(outputs):
            if any(one is x for x in args) and not any(one is x for x in ctx._dirty):
                outputs[i] = replaced[id(one)] = late.Tensor._wrap(one._array)
        node = FunctionNode(cls, ctx, edges, outputs)
        node.keep(ctx._saved, outputs)
        ctx._saved = ()
        for i, out in enumerate(outputs):
            if (
                any(out is x or replaced.get(id(x)) is out for x in ctx._non_differentiable)
                or out._array.dtype.kind not in "fcV"
            ):
                continue
            out._edge = node if len(outputs) == 1 else Slot(node, i, out._array.shape, out._array.dtype)
        if local.state.on_record is not None:
            ctx._arguments = args
            local.state.on_record(node, outputs[0] if len(outputs) == 1 else tuple(outputs))
            ctx._arguments = ()
        ctx._saved_forward = None
        return replaced


class _Context(FunctionCtx):
    _node = None

    @property
    def saved_tensors(self):
        """What `save_for_backward` kept."""
        return self._saved if self._node is None else self._node.saved_tensors()


def once_differentiable(backward):
    """Decorate a `backward` whose own derivative is not available: using it says so instead of being wrong."""

    @functools.wraps(backward)
    def once(ctx, *grads):
        recording = local.state.grad
        with no_grad():
            result = backward(ctx, *grads)
        if not recording:
            return result
        results = result if isinstance(result, tuple) else (result,)
        sources = [
            one for one in (*grads, *ctx.saved_tensors) if isinstance(one, late.Tensor) and one.requires_grad
        ]
        marked = tuple(None if one is None else _NoSecond.apply(one, *sources) for one in results)
        return marked if isinstance(result, tuple) else marked[0]

    return once


class _NoSecond(Function):
    @staticmethod
    def forward(ctx, value, *_):
        return value.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
