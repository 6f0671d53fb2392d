"""From the engine's graph to plain data: a walk over every operation, without recursion."""

import functools
import itertools

from chainrule.autograd import late
from chainrule.autograd.graph import Node, Slot
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, dtypes, namespaces

from .data import CONSTANT, INPUT, LEAF, OPERATION, Graph, GraphEdge, GraphNode, kept_bytes, plain
from .stats import statistics


def origin(edge):
    """The node or leaf at the end of an edge, and which of its outputs the edge stands for."""
    return (edge.parent, edge.index) if isinstance(edge, Slot) else (edge, 0)


def in_order(roots):
    """Every node and leaf that `roots` depend on, each after all it depends on itself."""
    seen, order = set(), []
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        stack = [(root, _parents(root))]
        while stack:
            place, rest = stack[-1]
            for parent in rest:
                if parent not in seen:
                    seen.add(parent)
                    stack.append((parent, _parents(parent)))
                    break
            else:
                stack.pop()
                order.append(place)
    return order


def _parents(place):
    edges = place.edges if isinstance(place, Node) else ()
    return iter([origin(edge)[0] for edge in edges if edge is not None])


class Collector:
    """Builds `graph`. `boxes` maps each place in the engine's graph to its GraphNode, `wires` each node to its GraphEdges."""

    def __init__(self, names, facts, limit, stats=True):
        self.names = names
        self.facts = facts
        self.limit = limit
        self.stats = stats
        self.statistics = statistics if stats else lambda array: None
        self.born_in_gradients = []
        self.graph = Graph()
        self.boxes = {}
        self.wires = {}
        self._constants = {}  # id of array -> GraphNode
        self._memory = {}  # id of the array that owns memory -> its number, or None for a leaf's, which lives anyway

    def collect(self, outputs):
        """The Graph behind `outputs`, a list of (name, Tensor)."""
        roots = [(name, tensor, tensor._current_edge()) for name, tensor in outputs]
        for place in in_order([origin(edge)[0] for _, _, edge in roots if edge is not None]):
            if isinstance(place, Node):
                self._operation(place)
            else:
                self._leaf(place)
        for name, tensor, edge in roots:
            self._target(name, tensor, edge)
        self._owners()
        self._names_of_variables()
        self._modules_of_values()
        self.graph.saved_bytes = kept_bytes(self.graph.nodes)
        return self.graph

    def _add(self, **fields):
        node = GraphNode(id=len(self.graph.nodes), **fields)
        self.graph.nodes.append(node)
        return node

    def _leaf(self, tensor):
        name, kind = self.names.of_tensor.get(id(tensor), (None, None))
        self._memory[id(backend_of(tensor._array).root(tensor._array))] = None
        self.boxes[tensor] = self._add(
            kind=kind or LEAF,
            name=name,
            backward="AccumulateGrad",
            shapes=[tuple(tensor.shape)],
            dtypes=[tensor.dtype.name],
            values=[plain(tensor._array, self.limit)],
            gradients=[None if tensor._grad is None else plain(tensor._grad._array, self.limit)],
            stats=[self.statistics(tensor._array)],
            gradient_stats=[None if tensor._grad is None else self.statistics(tensor._grad._array)],
        )

    def _operation(self, node):
        several = isinstance(node.shape, list)
        shapes = [tuple(shape) for shape in node.shape] if several else [tuple(node.shape)]
        found = node.dtype if several else [node.dtype]
        box = self._add(
            kind=OPERATION,
            operation=node.op.name,
            backward=node.name(),
            shapes=shapes,
            dtypes=[dtypes.from_numpy(one).name for one in found],
            values=[None] * len(shapes),
            gradients=[None] * len(shapes),
            stats=[None] * len(shapes),
            gradient_stats=[None] * len(shapes),
            freed=node.saved is None,
            alias=_alias(node.op),
        )
        fact = self.facts.get(node)
        if fact is not None:
            box.values[: len(fact.values)] = fact.values
            box.stats[: len(fact.stats)] = fact.stats
            box.name, box.calls, box.source, box.code = fact.name, fact.calls, fact.source, fact.code
            box.time, box.alias = fact.time, fact.alias or box.alias
            box.operation = fact.operation or box.operation
            self._layer(node, box)
        self.boxes[node] = box
        saved = self._saved_by(node, box)
        names = input_names(node)
        self.wires[node] = [
            self._constant(node, i, names[i], box, fact, saved)
            if edge is None
            else self._edge(edge, names[i], box)
            for i, edge in enumerate(node.edges)
        ]
        self._steps_of(node, box)

    def _layer(self, node, box):
        """How many backward passes made this operation. One that a pass made lies in no module."""
        while (fact := self.facts.get(node)) is not None and fact.of is not None:
            node, box.layer, box.calls = fact.of, box.layer + 1, ()

    def _owners(self):
        """Beside each operation of a backward pass, the one whose gradient it computes."""
        for place, box in self.boxes.items():
            if box.layer:
                owner = self.boxes.get(self.facts[place].of)
                box.of = None if owner is None else owner.id

    def _steps_of(self, node, box):
        """A recurrent operation runs over all time steps at once; each leads to the next."""
        steps = len(node.static["sizes"]) if node.op.name in _RECURRENT else 1
        if steps > 1:
            box.times = steps
            for output in range(len(box.shapes[:2]) if node.op.name == "lstm" else 1):
                wire = self._connect(box, box, "hc"[output], output)
                wire.recurrent, wire.times = True, steps - 1

    def _edge(self, edge, name, box):
        place, output = origin(edge)
        return self._connect(self.boxes[place], box, name, output)

    def _connect(self, source, target, name, output=0, backward=True):
        wire = GraphEdge(
            source.id,
            target.id,
            name,
            output,
            source.shapes[output],
            source.dtypes[output],
            backward=backward,
        )
        self.graph.edges.append(wire)
        return wire

    def _saved_by(self, node, box):
        """Note what `node` keeps; returns it by name. Values of earlier operations are read off it."""
        names = [name for name, _ in getattr(node.op, "saves", ())]
        kept = node.saved or ()
        saved = dict(zip(names or [f"saved {i}" for i in range(len(kept))], kept, strict=False))
        fresh = {}
        for name, value in saved.items():
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                if type(part) in namespaces:
                    owner = backend_of(part).root(part)
                    memory = self._memory.setdefault(id(owner), len(self._memory))
                    box.saved.append((name, tuple(part.shape), part.nbytes, memory))
            if log.epoch == node.epoch or all(
                type(part) not in namespaces or log.last(part) <= node.epoch for part in parts
            ):
                fresh[name] = value
        place = {name: i for i, name in enumerate(input_names(node))}
        box.saved.sort(key=lambda entry: place.get(entry[0], len(place)))
        self._read_values(node, fresh)
        return fresh

    def _read_values(self, node, saved):
        """What an operation kept of its inputs and outputs are values of the graph."""
        inputs = input_names(node)
        outputs = getattr(node.op, "outputs", ())
        for name, value in saved.items():
            if type(value) not in namespaces:
                continue
            if name in outputs:
                place, output = node, outputs.index(name)
            elif name in inputs and node.edges[inputs.index(name)] is not None:
                place, output = origin(node.edges[inputs.index(name)])
            else:
                continue
            box = self.boxes[place]
            # An input may have been cast to the operation's dtype: then it is not the value of the node before.
            cast = dtypes.from_numpy(value.dtype).name != box.dtypes[output]
            if box.values[output] is None and not cast:
                box.values[output] = plain(value, self.limit)
            if box.stats[output] is None and not cast:
                box.stats[output] = self.statistics(value)

    def _constant(self, node, i, name, box, fact, saved):
        """The edge from a value that needs no gradient, if the value is known; else None."""
        if fact is not None and i in fact.constants:
            value, variable = fact.constants[i]
        else:
            value, variable = saved.get(name), None
        if type(value) not in namespaces and not isinstance(value, (bool, int, float, complex, late.Tensor)):
            return None
        source = self._constant_box(value, variable)
        return self._connect(source, box, name, backward=False)

    def _constant_box(self, value, variable):
        if isinstance(value, (bool, int, float, complex)):
            return self._add(
                kind=CONSTANT, shapes=[()], dtypes=[type(value).__name__], values=[value], gradients=[None], stats=[None],
                gradient_stats=[None],
            )  # fmt: skip
        array = value._array if isinstance(value, late.Tensor) else value
        box = self._constants.get(id(array))
        if box is None:
            name, kind = self._known(value, array, variable)
            box = self._constants[id(array)] = self._add(
                kind=kind or CONSTANT,
                name=name,
                shapes=[tuple(array.shape)],
                dtypes=[dtypes.from_numpy(array.dtype).name],
                values=[plain(array, self.limit)],
                gradients=[None],
                stats=[self.statistics(array)],
                gradient_stats=[None],
            )
        return box

    def _known(self, value, array, variable):
        """Name and kind of a value without gradient. A view is called after the memory it looks at."""
        names = self.names
        known = names.of_tensor.get(id(value)) or names.of_array.get(id(array))
        if known is not None:
            return known[0] or variable, known[1]
        name, kind = names.of_memory.get(id(backend_of(array).root(array)), (None, None))
        return variable or (name and f"{name} (view)"), kind

    def _target(self, name, tensor, edge):
        place, output = (None, 0) if edge is None else origin(edge)
        box = self._constant_box(tensor, name) if place is None else self.boxes[place]
        box.target = True
        box.name = box.name or name
        self._known_value(box, output, tensor)

    def _known_value(self, box, output, tensor):
        if box.values[output] is None:
            box.values[output] = plain(tensor._array, self.limit)
        if box.stats[output] is None:
            box.stats[output] = self.statistics(tensor._array)

    def _names_of_variables(self):
        """The user's variables that hold results: their names, and what they know of value and gradient."""
        for edge, (name, tensor) in self.names.of_edge.items():
            place, output = origin(edge)
            box = self.boxes.get(place)
            if box is None:
                continue
            box.name = box.name or name
            self._known_value(box, output, tensor)
            if box.gradients[output] is None and tensor._grad is not None:
                box.gradients[output] = plain(tensor._grad._array, self.limit)
                box.gradient_stats[output] = self.statistics(tensor._grad._array)

    def _modules_of_values(self):
        """A parameter or constant belongs to the module in which it is used, or the one around all its uses."""
        nodes = self.graph.nodes
        common = {}
        for wire in self.graph.edges:
            source, calls = nodes[wire.source], nodes[wire.target].calls
            if source.operation is None and source.kind != INPUT:
                known = common.get(source.id, calls)
                equal = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(known, calls, strict=False))
                common[source.id] = known if known is calls else tuple([call for call, _ in equal])
        for i, calls in common.items():
            nodes[i].calls = calls
        users = {}
        for wire in self.graph.edges:
            if nodes[wire.source].kind == CONSTANT:
                users.setdefault(wire.source, set()).add((nodes[wire.target].layer, nodes[wire.target].of))
        for i, places in users.items():
            if len(places) == 1:
                nodes[i].layer, nodes[i].of = places.pop()


_RECURRENT = ("rnn", "lstm", "gru")


def _alias(op):
    """What is known of an operation by itself; of one that may be a view or not, nothing is."""
    if op.name in ("write_region", "replace"):
        return "in-place"
    return "view" if getattr(op, "view", False) is True else None


def input_names(node):
    """The name of each input of an operation; numbered where it takes any number of them."""
    op = node.op
    return _numbered(getattr(op, "inputs", ()), getattr(op, "variadic", None) or "input", len(node.edges))


@functools.lru_cache(1024)
def _numbered(names, stem, count):
    return [*names, *(f"{stem}[{i}]" for i in range(count - len(names)))]
