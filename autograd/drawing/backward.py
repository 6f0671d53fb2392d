"""The gradient at every node and along every edge, for the picture only.

The same walk as the engine's, consumers before producers, each node once; but nothing is freed, no hook of the user's is
called and nothing is added to any `.grad`. Small gradients are written into the graph data, the others let go. With Tensors
in place of arrays the same walk records the graph of the gradient.
"""

import time

import numpy

from chainrule.autograd import engine, late
from chainrule.autograd.graph import Node
from chainrule.autograd.modes import local
from chainrule.backends import namespaces

from .collect import in_order, origin
from .data import plain
from .stats import bad, finite


class FreedError(Exception):
    """The graph of the gradient cannot be made: something saved is gone."""


def fill_gradients(collector, outputs, revived, factors, second=False):
    """Carry a gradient of ones from `outputs` (Tensors) back, and note it in the collector's graph.

    revived: what freed nodes had saved, as `revive` finds it. factors: whether to find local derivatives. second: `outputs` are
    first gradients, and what they give at the nodes they were computed for are second ones.
    """
    _with_ones(_Numbers(collector, revived, factors, second), outputs, grad=False)


def gradient_graph(outputs):
    """The first gradients of `outputs` with respect to their leaves, with a graph: {leaf: Tensor}."""
    walk = _Graph()
    _with_ones(walk, outputs, grad=True)
    return {place: found[0] for place, found in walk.arrived.items()}


def _with_ones(walk, outputs, grad):
    roots = [
        (edge, late.Tensor._wrap(one._array)) for one in outputs if (edge := one._current_edge()) is not None
    ]
    places = list(dict.fromkeys(origin(edge)[0] for edge, _ in roots))
    walk.expect(places)
    for edge, like in roots:
        ones = like.new_ones(like.shape)
        walk.deliver(edge, ones if grad else ones._array)
    state = local.state
    before, state.grad = state.grad, grad
    try:
        with numpy.errstate(all="ignore"):
            walk.run(places)
    finally:
        state.grad = before


class Walk:
    """`arrived` maps a place to the list with the gradient of each of its outputs, or None."""

    def expect(self, roots):
        """Count how many gradients each place behind `roots` waits for."""
        self.arrived = {}
        self.waiting = dict.fromkeys(in_order(roots), 0)
        for place in self.waiting:
            for edge in place.edges if isinstance(place, Node) else ():
                if edge is not None:
                    self.waiting[origin(edge)[0]] += 1

    def deliver(self, edge, grad):
        """Add `grad` to what has arrived; returns it in the shape and dtype of the value it belongs to."""
        place, output = origin(edge)
        like = edge if isinstance(edge, Node) else edge._array
        grad = engine.conform(grad, like.shape, like.dtype)
        count = len(place.shape) if isinstance(place, Node) and isinstance(place.shape, list) else 1
        places = self.arrived.setdefault(place, [None] * count)
        places[output] = grad if places[output] is None else places[output] + grad
        return grad

    def run(self, roots):
        """Visit every place, consumers first."""
        ready = [place for place in roots if not self.waiting[place]]
        while ready:
            place = ready.pop()
            gradients = self.visit(place)
            if not isinstance(place, Node):
                continue
            grads = (None,) * len(place.edges) if gradients is None else self.through(place, gradients)
            if grads is None:
                return
            for i, (edge, grad) in enumerate(zip(place.edges, grads, strict=True)):
                if edge is None:
                    continue
                if grad is not None:
                    grad = self.deliver(edge, grad)
                self.passed(place, i, grad)
                source = origin(edge)[0]
                self.waiting[source] -= 1
                if not self.waiting[source]:
                    ready.append(source)

    def passed(self, node, i, grad):
        """A gradient, or None, has gone from `node` to its input number `i`."""


class _Graph(Walk):
    """With Tensors: what is left in `arrived` are the gradients of the leaves."""

    def visit(self, place):
        return self.arrived.pop(place, None) if isinstance(place, Node) else None

    def through(self, node, gradients):
        if node.saved is None:
            raise FreedError(node.name())
        return node.gradients(_given(node, gradients), node.edges, True, True)


class _Numbers(Walk):
    """With arrays: what comes by is noted in the graph data."""

    def __init__(self, collector, revived, factors, second):
        self.collector = collector
        self.revived = revived
        self.factors = factors
        self.second = second
        self.steps = 0

    def visit(self, place):
        gradients = self.arrived.pop(place, None)
        box = self.collector.boxes[place]
        if gradients is not None and self.second and not box.layer:
            box.second = [self.shown(one) for one in gradients]
        elif gradients is not None:
            box.gradients = [self.shown(one) for one in gradients]
            box.gradient_stats = [
                None if one is None else self.collector.statistics(one) for one in gradients
            ]
            box.step, self.steps = self.steps, self.steps + 1
        return gradients

    def through(self, node, gradients):
        """The gradients of a node's inputs; None if its backward operation raised, which the picture then says."""
        box = self.collector.boxes[node]
        try:
            start = time.perf_counter()
            grads = self.rules(node, gradients)
            box.backward_time = time.perf_counter() - start
            if self.factors and not self.second:
                self.local_derivatives(node, gradients)
            return grads
        except Exception as error:  # a picture of a backward pass that fails is what one needs to mend it
            box.error = f"{type(error).__name__}: {error}"
            self.collector.graph.notes.append(f"the backward pass stops at {box.backward}: {box.error}")
            return None

    def rules(self, node, gradients):
        g = _given(node, gradients)
        if node in self.revived:
            some = next(one for one in gradients if one is not None)
            return node.op.vjp(
                namespaces.get(type(some), numpy), g, self.revived[node], node.edges, node.static
            )
        if any(one.shape.__class__ is not tuple for one in gradients if one is not None):
            from chainrule.autograd import batching

            return batching.gradients(node, g, node.edges, False, True)
        return node.gradients(g, node.edges, False, True)

    def local_derivatives(self, node, gradients):
        """The derivative of the output by each input: what the rules make of ones, where that is a number for each element."""
        (g,) = gradients if len(gradients) == 1 and hasattr(node.op, "rules") else (None,)
        small = g is not None and g.size <= self.collector.limit and g.dtype.kind == "f"
        single = small and g.size == 1
        if not single and not (small and getattr(node.op, "tangent", None) == "elementwise"):
            return
        ones = late.Tensor._wrap(g).new_ones(g.shape)._array
        for edge, factor, wire in zip(
            node.edges, self.rules(node, [ones]), self.collector.wires[node], strict=True
        ):
            if edge is not None and factor is not None and (single or edge.shape == g.shape):
                like = edge if isinstance(edge, Node) else edge._array
                wire.factor = plain(engine.conform(factor, like.shape, like.dtype), self.collector.limit)

    def passed(self, node, i, grad):
        wire = self.collector.wires[node][i]
        if grad is None:
            wire.backward = False
            return
        if not self.second or self.collector.boxes[node].layer:
            wire.gradient = self.shown(grad)
        box = self.collector.boxes[node]
        if self.collector.stats and not any(map(bad, box.gradient_stats)) and not finite(grad):
            self.collector.born_in_gradients.append(box)

    def shown(self, grad):
        return None if grad is None else plain(engine.conjugate(grad), self.collector.limit)


def _given(node, gradients):
    return gradients if isinstance(node.shape, list) else gradients[0]
