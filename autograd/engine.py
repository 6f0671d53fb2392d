"""The backward pass over the graph of `node.py`.

First a count: how many gradients each edge waits for. Then every node gets its summed gradient exactly once,
consumers before producers, and what it saved is let go as it is used. Gradients are raw arrays, and no Tensor is made,
unless the caller wants a graph of the gradient: then they are Tensors, and the same rules record themselves.
"""

import contextlib
from collections import defaultdict

import numpy

from chainrule.backends import backend_of, placement

from . import late
from .modes import enable_grad, local, no_grad
from .node import Node, Slot


def run(roots, retain_graph, create_graph, targets=None):
    """Carry gradients from `roots`, a list of (edge, gradient), back through the graph.

    Returns {edge: (gradient, owned)} for the leaves reached, or for `targets` (a set of edges) where given; `owned`
    tells that nobody else holds the gradient's memory. Where no target needs it nothing is computed and nothing freed.
    """
    counts, needed = _plan([edge for edge, _ in roots], targets)
    walk = _Pass(counts, needed, targets, retain_graph or create_graph, create_graph)
    state = local.state
    before = state.walk
    try:
        state.walk = walk
        # One errstate for the whole pass: gradients overflow as silently as forwards do. The grad mode is left alone:
        # array code does not see it, and an interrupt can then leave it in no wrong state.
        with (
            numpy.errstate(all="ignore"),
            enable_grad() if create_graph and not state.grad else contextlib.nullcontext(),
            placement.kept(),
        ):
            results = walk.run([(edge, conjugate(g)) for edge, g in roots])
            return {edge: (conjugate(g), owned) for edge, (g, owned) in results.items()}
    except MemoryError as error:
        raise backend_of(_raw(roots[0][1])).out_of_memory(error) from error
    finally:
        state.walk = before


def conjugate(g):
    """Rules are holomorphic, PyTorch's complex gradients their conjugates: turned once, where gradients enter and leave."""
    raw = _raw(g)
    if raw.dtype.kind != "c":
        return g
    placement.follow(raw)
    return late.ops.conj(g)


def _raw(g):
    """The array of a gradient: itself, or a Tensor's."""
    return g._array if isinstance(g, late.Tensor) else g


def _plan(roots, targets):
    """How many gradients each edge waits for; and, with targets, the edges that lie on a way to one."""
    counts = dict.fromkeys(roots, 0)
    stack = list(counts)
    consumers = defaultdict(list)
    while stack:
        node = stack.pop()
        if not isinstance(node, Node):
            continue
        if targets is not None:
            for edge in node.edges:
                consumers[edge].append(node)
        for edge in node.edges:
            if edge is not None:
                if edge in counts:
                    counts[edge] += 1
                else:
                    counts[edge] = 1
                    stack.append(edge)
    if targets is None:
        _refuse_freed(counts)
        return counts, None
    needed = set()
    stack = [edge for edge in targets if edge in counts]
    while stack:
        edge = stack.pop()
        if edge not in needed:
            needed.add(edge)
            stack.extend(consumers[edge])
    used = {edge: 0 for edge in counts if edge in needed}
    for node in used:
        if isinstance(node, Node):
            for edge in node.edges:
                if edge in used:
                    used[edge] += 1
    _refuse_freed(
        node for node in used if isinstance(node, Node) and any(edge in used for edge in node.edges)
    )
    return used, needed


def _refuse_freed(edges):
    """Before anything is computed: a graph already consumed cannot be walked again."""
    for node in edges:
        if isinstance(node, Node) and node.saved is None:
            raise RuntimeError(
                f"Trying to backward through the graph a second time: what {node.op.name} saved for its gradient has been "
                f"freed. Specify retain_graph=True on the first backward, or run the forward again"
            )


class _Pass:
    """One walk. `buffers` holds the gradients that have arrived, `owned` the edges whose buffer is nobody else's."""

    def __init__(self, counts, needed, targets, retain, create):
        self.counts = counts
        self.needed = needed
        self.targets = () if targets is None else targets
        self.retain = retain
        self.anomaly = local.state.anomaly
        self.create = create
        self.levels = local.state.vmap
        self.batched = bool(self.levels)  # whether hidden batch axes are about (see `batching.py`)
        self.several = placement.cards is not None  # the current card is to be that of the gradients
        self.plain = needed is None and not self.anomaly and not self.batched and not self.several
        self.buffers = {}
        self.owned = set()
        self.results = {}

    def run(self, roots):
        counts, buffers, owned, create = self.counts, self.buffers, self.owned, self.create
        keep, plain, levels = self.retain, self.plain, self.levels
        for edge, g in roots:
            if edge in counts:
                self.deliver(edge, g)
        ready = [edge for edge, count in counts.items() if count == 0]
        while ready:
            node = ready.pop()
            g = buffers.pop(node, None) if isinstance(node, Node) else None
            if node.__class__ is Node and plain and g is not None and node.hooks is None:
                edges = node.edges
                if node.op.accumulate is not None and not create and edges[0] in owned:
                    grads = node.add_to(buffers[edges[0]], g, keep)
                else:
                    grads = node.gradients(g, edges, create, keep)
            elif isinstance(node, Node):
                edges, grads = self.visit(node, g)
                plain = self.plain
            else:
                continue  # a root that is a leaf
            for edge, grad in zip(edges, grads):  # noqa: B905 - strict= costs as much as the loop
                if edge is None:
                    continue
                leaf = edge.__class__ is not Node and not isinstance(edge, Node)
                if grad is not None:
                    like = edge._array if leaf else edge
                    if create or grad.dtype is not like.dtype or grad.shape != like.shape:
                        grad = conform(grad, like.shape, like.dtype)
                    before = buffers.get(edge)
                    if before is None:
                        buffers[edge] = grad
                        # The incoming gradient passed straight on, or a view of it, is still in other hands.
                        # What is 0-d may be a NumPy scalar, which nothing can be added to in place.
                        # Inside `vmap`, to what is the same for all samples may come what is not.
                        if (
                            leaf
                            and not create
                            and grad.shape
                            and grad.base is None
                            and not _is_or_among(grad, g)
                            and not (levels and grad.shape.__class__ is tuple)
                        ):
                            owned.add(edge)
                    elif edge in owned:
                        before += grad
                    else:
                        buffers[edge] = before + grad
                        if not create and grad.shape and not (levels and grad.shape.__class__ is tuple):
                            owned.add(edge)
                if not leaf:
                    left = counts[edge]
                    if left == 1:
                        ready.append(edge)
                    else:
                        counts[edge] = left - 1
        for leaf in [edge for edge in buffers if not isinstance(edge, Node)]:
            self.results[leaf] = self.at_leaf(leaf, buffers.pop(leaf))
        return self.results

    def deliver(self, edge, grad):
        """Put a root's gradient in place."""
        like = edge if isinstance(edge, Node) else edge._array
        placement.follow(_raw(grad))
        grad = conform(grad, like.shape, like.dtype)
        self.buffers[edge] = grad if edge not in self.buffers else self.buffers[edge] + grad

    def visit(self, node, g):
        """One node with everything that can go with it: targets, hooks, an output among several, no gradient."""
        edges = node.edges
        if self.several:
            _follow(g)
        if self.needed is not None:
            edges = tuple(edge if edge in self.needed else None for edge in edges)
        if g is not None and node.hooks is not None:
            g = self.pre_hooks(node, g)
        if g is not None and node in self.targets:
            self.results[node] = g, False
        if g is None or not any(edge is not None for edge in edges):
            if not self.retain and node.saved and node not in self.targets:
                node.saved = None
            return edges, (None,) * len(edges)
        if node.__class__ is Slot:
            self.put_in_place(node, g)
            return edges, (None,)
        if self.batched:
            from . import batching

            grads = batching.gradients(node, g, edges, self.create, self.retain)
        else:
            grads = node.gradients(g, edges, self.create, self.retain)
        if self.several:
            _follow(grads)  # a copy between cards has them on another
        if self.anomaly:
            from . import anomaly

            anomaly.check(node, grads)
        if node.hooks is not None:
            for hook in tuple(node.hooks.post.values()):
                with self.hook_mode():
                    changed = hook(self.wrap_all(grads), self.wrap_all(g if isinstance(g, list) else [g]))
                if changed is not None:
                    grads = self.unwrap_all(changed, len(grads))
        return edges, grads

    def put_in_place(self, slot, g):
        """The gradient of an operation with several outputs is a list; this is one entry of it."""
        places = self.buffers.setdefault(slot.parent, [None] * len(slot.parent.shape))
        before = places[slot.index]
        places[slot.index] = g if before is None else before + g

    def at_leaf(self, leaf, g):
        """The finished gradient of a leaf, after its hooks."""
        owned = leaf in self.owned
        for hook in tuple(leaf._hooks.values()) if leaf._hooks else ():
            changed = self.call_hook(hook, g)
            g, owned = changed, owned and changed is g
        return g, owned

    def pre_hooks(self, node, g):
        for hook in tuple(node.hooks.tensor.values()):
            g = self.call_hook(hook, g)
        for hook in tuple(node.hooks.pre.values()):
            many = g if isinstance(g, list) else [g]
            with self.hook_mode():
                changed = hook(self.wrap_all(many))
            if changed is not None:
                many = self.unwrap_all(changed, len(many))
                g = many if isinstance(g, list) else many[0]
        return g

    def call_hook(self, hook, g):
        """The gradient after one user's hook, which may return a Tensor to put in its place."""
        (tensor,) = self.wrap_all([g])
        with self.hook_mode():
            changed = hook(tensor)
        if changed is None:
            return g
        if not isinstance(changed, late.Tensor):
            raise TypeError(
                f"a gradient hook returns a Tensor or None; this one returned {type(changed).__name__}"
            )
        if changed.shape != tensor.shape:
            raise RuntimeError(
                f"a gradient hook returned shape {tuple(changed.shape)} for a gradient of shape {tuple(tensor.shape)}; "
                f"return the same shape"
            )
        return self.unwrap_all(changed, 1)[0]

    def hook_mode(self):
        """Hooks record only if a graph of the gradient is wanted, as in PyTorch."""
        return contextlib.nullcontext() if self.create else no_grad()

    def wrap_all(self, grads):
        """Gradients as the user sees them: Tensors."""
        grads = [one if one is None else conjugate(one) for one in grads]
        return tuple(one if one is None or self.create else late.Tensor._wrap(one) for one in grads)

    def unwrap_all(self, tensors, expected):
        tensors = list(tensors) if isinstance(tensors, (tuple, list)) else [tensors]
        if len(tensors) != expected:
            raise RuntimeError(f"a hook returned {len(tensors)} gradients where {expected} are expected")
        return [one if one is None else conjugate(one if self.create else one._array) for one in tensors]


def _follow(g):
    """Make the card of a gradient, or of the first of several, current."""
    for one in g if isinstance(g, (list, tuple)) else (g,):
        if one is not None:
            return placement.follow(_raw(one))


def _is_or_among(grad, g):
    """Whether a rule handed on the very gradient it got: `g`, or, of several outputs, one of them."""
    return grad is g or (g.__class__ is list and any(grad is one for one in g))


def conform(grad, shape, dtype):
    """`grad`, an array or a Tensor, summed down to `shape` where the input was broadcast, and cast to `dtype`."""
    ops, recorded, walk = late.ops, isinstance(grad, late.Tensor), local.state.walk
    raw = grad._array if recorded else grad
    levels = walk.levels if walk is not None else ()
    if raw.shape.__class__ is not tuple or shape.__class__ is not tuple or levels:
        from . import batching

        grad = batching.match(grad, shape, levels)
    if tuple(grad.shape) != tuple(shape):
        grad = ops.sum_to(grad, shape=tuple(shape))
    raw = grad._array if recorded else grad
    if raw.dtype != dtype:
        if raw.dtype.kind == "c" and dtype.kind != "c":
            grad = ops.real(grad)
        grad = ops.astype(grad, dtype=dtype) if recorded else grad.astype(dtype)
    return grad
