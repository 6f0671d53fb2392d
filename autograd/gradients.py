"""`backward` and `grad`: the two ways to ask for gradients."""

import threading

import numpy

from chainrule.backends import namespaces, placement
from chainrule.backends.capturing import local as capturing

from . import engine, late
from .modes import local
from .writes import log

_publishing = threading.Lock()


def _root_gradient(tensor, gradient):
    """The gradient to start from, as a Tensor of the root's shape and dtype."""
    if gradient is None:
        if tensor._array.size != 1:
            raise RuntimeError(
                f"backward: grad can be implicitly created only for scalar outputs, this one has shape {tuple(tensor.shape)}; reduce it "
                f"first (.sum(), .mean()) or pass gradient="
            )
        return tensor.new_ones(tensor.shape)
    if not isinstance(gradient, late.Tensor):
        raise TypeError(f"backward: gradient must be a Tensor or None, got {type(gradient).__name__}")
    if gradient.shape != tensor.shape:
        raise RuntimeError(
            f"backward: mismatch in shape: gradient has shape {tuple(gradient.shape)}, the tensor {tuple(tensor.shape)}"
        )
    return gradient


def _roots(tensors, gradients, create_graph, name):
    roots = []
    for tensor, gradient in zip(tensors, gradients, strict=True):
        if not isinstance(tensor, late.Tensor):
            raise TypeError(f"{name}: expected Tensors, got {type(tensor).__name__}")
        edge = tensor._current_edge()
        if edge is None:
            raise RuntimeError(
                f"{name}: the tensor of shape {tuple(tensor.shape)} does not require grad and does not have a grad_fn: it was "
                f"computed from nothing that requires grad, or under no_grad()"
            )
        g = _root_gradient(tensor, gradient)
        roots.append((edge, g if create_graph else g._array))
    return roots


def _listed(value):
    return list(value) if isinstance(value, (tuple, list)) else [value]


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradients of `tensors` to `.grad` of the leaves they were computed from (or of `inputs` only)."""
    tensors = _listed(tensors)
    gradients = [None] * len(tensors) if grad_tensors is None else _listed(grad_tensors)
    if len(gradients) != len(tensors):
        raise RuntimeError(f"backward: got {len(tensors)} tensors and {len(gradients)} gradients")
    roots = _roots(tensors, gradients, create_graph, "backward")
    targets = None
    if inputs is not None:
        inputs = _listed(inputs)
        if not inputs:
            raise RuntimeError("backward: inputs is empty; leave it out to reach every leaf")
        targets = {one._current_edge() for one in inputs} - {None}
    results = engine.run(roots, bool(retain_graph), create_graph, targets)
    if local.state.vmap:
        _refuse_batched(results)
    if inputs is not None:
        results = {one: results[one._current_edge()] for one in inputs if one._current_edge() in results}
    _publish(results, create_graph)


def _refuse_batched(results):
    """Inside vmap: a gradient for each sample does not fit a leaf that all samples share."""
    for leaf, (g, _) in results.items():
        if (g._array if isinstance(g, late.Tensor) else g).shape != leaf._array.shape:
            raise RuntimeError(
                f"backward: inside vmap every sample has a gradient of its own, and the leaf of shape {tuple(leaf.shape)} from outside can "
                f"hold only one; use chainrule.func.grad or autograd.grad, or call backward() outside on the sum of the results"
            )


def _publish(results, create_graph):
    """Add finished gradients to `.grad`; each leaf's is added whole or not at all."""
    hooked = []
    if capturing.capture is not None:
        for leaf in results:
            capturing.capture.reach(leaf)
    with _publishing:
        for leaf, (g, owned) in results.items():
            before = leaf._grad
            if create_graph:
                leaf._grad = g if before is None else before + g
            elif before is None:
                leaf._grad = late.Tensor._wrap(g if owned else _own(g))
            elif before._edge is not None:
                leaf._grad = before + late.Tensor._wrap(g)
            else:
                log.wrote(before._array)
                with placement.around("backward", (g,)):
                    before._array[...] = before._array + g
            if leaf._post_hooks:
                hooked.append(leaf)
    for leaf in hooked:
        for hook in tuple(leaf._post_hooks.values()):
            hook(leaf)


def _own(g):
    """A gradient in memory of its own."""
    with placement.around("backward", (g,)):
        return g.copy(order="K") if g.__class__ in namespaces else numpy.array(g)


def grad(
    outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=None, is_grads_batched=False,
    materialize_grads=False,
):  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, as a tuple; no `.grad` is touched.

    allow_unused: give None for an input that plays no part, instead of an error; materialize_grads gives zeros for it.
    is_grads_batched: each of grad_outputs has a leading dimension; one backward pass serves all its entries (see `vmap`).
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    gradients = [None] * len(outputs) if grad_outputs is None else _listed(grad_outputs)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"grad: got {len(outputs)} outputs and {len(gradients)} grad_outputs")
    if is_grads_batched:
        return _batch_of_gradients(outputs, inputs, gradients, create_graph, allow_unused, materialize_grads)
    for one in inputs:
        if not isinstance(one, late.Tensor):
            raise TypeError(f"grad: inputs must be Tensors, got {type(one).__name__}")
        if not one.requires_grad:
            raise RuntimeError(
                f"grad: the input of shape {tuple(one.shape)} does not require grad; call .requires_grad_() on it first"
            )
    edges = [one._current_edge() for one in inputs]
    retain = create_graph if retain_graph is None else retain_graph
    results = engine.run(_roots(outputs, gradients, create_graph, "grad"), retain, create_graph, set(edges))
    found = []
    for i, (one, edge) in enumerate(zip(inputs, edges, strict=True)):
        if edge in results:
            g, owned = results[edge]
            found.append(g if create_graph else late.Tensor._wrap(g if owned else _own(g)))
        elif materialize_grads:
            found.append(one.new_zeros(one.shape))
        elif allow_unused:
            found.append(None)
        else:
            raise RuntimeError(
                f"grad: input {i} of shape {tuple(one.shape)} appears not to have been used in the graph of the outputs; pass allow_unused=True "
                f"to get None for it, or materialize_grads=True to get zeros"
            )
    return tuple(found)


def _batch_of_gradients(outputs, inputs, gradients, create_graph, allow_unused, materialize_grads):
    """`grad` for each entry of the leading dimension of `gradients`."""
    from .vmap import vmap

    used = []

    def one(*weights):
        found = grad(outputs, inputs, weights, True, create_graph, allow_unused, False, materialize_grads)
        used[:] = [g is not None for g in found]
        return tuple(g for g in found if g is not None)

    found = iter(vmap(one, tuple(None if g is None else 0 for g in gradients))(*gradients))
    return tuple(next(found) if one else None for one in used)
