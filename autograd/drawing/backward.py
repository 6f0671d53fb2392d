"""The gradient at every node and along every edge, for the picture only.

The same walk as the engine's, consumers before producers, each node once; but nothing is freed, no hook of the user's is
called and nothing is added to any `.grad`. Small gradients are written into the graph data, the others let go.
"""

import numpy

from chainrule.autograd import engine, late
from chainrule.autograd.graph import Node
from chainrule.autograd.modes import local
from chainrule.backends import namespaces

from .collect import origin
from .data import plain


def fill_gradients(collector, outputs, revived):
    """Carry a gradient of ones from `outputs` (Tensors) back, and note it in the collector's graph.

    revived: what freed nodes had saved, as `revive` finds it.
    """
    roots = [
        (edge, late.Tensor._wrap(one._array)) for one in outputs if (edge := one._current_edge()) is not None
    ]
    walk = _Walk(collector, revived)
    for edge, like in roots:
        walk.deliver(edge, like.new_ones(like.shape)._array)
    state = local.state
    before, state.grad = state.grad, False
    try:
        with numpy.errstate(all="ignore"):
            walk.run([origin(edge)[0] for edge, _ in roots])
    finally:
        state.grad = before


class _Walk:
    def __init__(self, collector, revived):
        self.revived = revived
        self.boxes, self.wires = collector.boxes, collector.wires
        self.limit = collector.limit
        self.graph = collector.graph
        self.arrived = {}  # place -> list with the gradient of each output, or None
        self.waiting = dict.fromkeys(self.boxes, 0)
        for place in self.boxes:
            if isinstance(place, Node):
                for edge in place.edges:
                    if edge is not None:
                        self.waiting[origin(edge)[0]] += 1

    def deliver(self, edge, grad):
        """Add `grad` to what has arrived; returns it in the shape and dtype of the value it belongs to."""
        place, output = origin(edge)
        like = edge if isinstance(edge, Node) else edge._array
        grad = engine.conform(grad, like.shape, like.dtype)
        places = self.arrived.setdefault(place, [None] * len(self.boxes[place].shapes))
        places[output] = grad if places[output] is None else places[output] + grad
        return grad

    def run(self, roots):
        ready = [place for place in dict.fromkeys(roots) if not self.waiting[place]]
        while ready:
            place = ready.pop()
            gradients = self.arrived.pop(place, None)
            if gradients is not None:
                self.boxes[place].gradients = [self.shown(one) for one in gradients]
            if not isinstance(place, Node):
                continue
            grads = (None,) * len(place.edges) if gradients is None else self.through(place, gradients)
            if grads is None:
                return
            for edge, grad, wire in zip(place.edges, grads, self.wires[place], strict=True):
                if edge is None:
                    continue
                if grad is None:
                    wire.backward = False
                else:
                    wire.gradient = self.shown(self.deliver(edge, grad))
                source = origin(edge)[0]
                self.waiting[source] -= 1
                if not self.waiting[source]:
                    ready.append(source)

    def through(self, node, gradients):
        """The gradients of a node's inputs; None if its backward operation raised, which the picture then says."""
        g = gradients if isinstance(node.shape, list) else gradients[0]
        try:
            if node in self.revived:
                some = next(one for one in gradients if one is not None)
                return node.op.vjp(
                    namespaces.get(type(some), numpy), g, self.revived[node], node.edges, node.static
                )
            return node.gradients(g, node.edges, False, True)
        except Exception as error:  # a picture of a backward pass that fails is what one needs to mend it
            box = self.boxes[node]
            box.error = f"{type(error).__name__}: {error}"
            self.graph.notes.append(f"the backward pass stops at {box.backward}: {box.error}")
            return None

    def shown(self, grad):
        return None if grad is None else plain(engine.conjugate(grad), self.limit)
