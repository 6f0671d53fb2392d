"""The drawn graph as plain data: `Graph`, made of `GraphNode` and `GraphEdge`. No arrays, no Tensors, no references back.

A node is an operation together with its backward operation, or a value that enters the graph. Edges run as the values
do, from the node that made a value to the node that uses it; the gradient takes the same way in the other direction.
`docs/visualization.md` lists every field as it is written to JSON.
"""

import json
import math
from dataclasses import dataclass, field, fields

import numpy

from chainrule.backends import backend_of

# What a node can be; the values of `GraphNode.kind`.
OPERATION = "operation"  # a forward operation and its backward operation
PARAMETER = "parameter"  # a leaf that belongs to a module, or was named by params=
LEAF = "leaf"  # any other Tensor that wants a gradient and was made by no operation
INPUT = "input"  # an argument of the drawn function that wants no gradient
BUFFER = "buffer"  # a module's own state that is not trained
CONSTANT = "constant"  # any other value without a gradient
MODULE = "module"  # all operations of one module, folded into one box
SUMMARY = "summary"  # all operations of one kind, where a graph is too large for anything else

# The entry in `GraphNode.calls` that says "in the loop of this number": ("×0", times).
REPEAT = "×"


@dataclass(slots=True)
class GraphNode:
    """One box. `shapes`, `dtypes`, `values` and `gradients` have one entry for each output of the operation.

    values and gradients hold nested lists (a number for a scalar) where they are known and small enough, else None.
    """

    id: int
    kind: str
    name: str | None = None  # the variable's or parameter's name
    operation: str | None = None  # the forward operation
    backward: str | None = None  # the backward operation, as PyTorch spells it; None where no gradient goes
    shapes: list = field(default_factory=list)
    dtypes: list = field(default_factory=list)
    values: list = field(default_factory=list)
    gradients: list = field(default_factory=list)
    stats: list = field(default_factory=list)  # of each output: a dict (see stats.py) or None
    gradient_stats: list = field(default_factory=list)  # of each output's gradient
    second: list = field(
        default_factory=list
    )  # with create_graph: the derivative of the sum of all first gradients
    saved: list = field(default_factory=list)  # (name, shape, bytes, memory) of each array kept for backward
    freed: bool = False  # what was saved is gone: backward() has run
    calls: tuple = ()  # ("path", n) of each module it is computed in, outermost first; n counts that module's calls
    source: str | None = None  # "file.py:12" of the user's line
    code: str | None = None  # the expression on that line that it computes
    target: bool = False  # one of the drawn outputs
    error: str | None = None  # what its backward operation raised
    count: int = 1  # operations in this box
    times: int = 1  # time steps, or copies of a repeated block, that this box stands for
    alias: str | None = None  # "view": shares its input's memory; "in-place": was written into it
    layer: int = (
        0  # how many backward passes made this operation: 0 forward, 1 the graph of the gradient, ...
    )
    of: int | None = None  # and the node whose backward operation it belongs to
    step: int | None = None  # when the backward pass comes by, from 0
    time: float | None = None  # seconds of the forward operation
    backward_time: float | None = None  # seconds of the backward operation
    bad: str | None = None  # where NaN or infinity is: "value" or "gradient"

    @property
    def shape(self):
        """The shape of the first output."""
        return self.shapes[0]

    @property
    def module(self):
        """The path of the innermost module it belongs to, or ""."""
        return next((path for path, _ in reversed(self.calls) if not path.startswith(REPEAT)), "")

    @property
    def saved_bytes(self):
        """Bytes of everything this operation keeps for its gradient, leaves included."""
        return sum(entry[2] for entry in self.saved)


@dataclass(slots=True)
class GraphEdge:
    """One use of a value: output number `output` of node `source` is the input called `input` of node `target`.

    The value itself is the source's. gradient is what flows back along this edge alone; a node's gradient is the sum
    over the edges that leave it.
    """

    source: int
    target: int
    input: str
    output: int
    shape: tuple
    dtype: str
    gradient: object = None
    backward: bool = True  # whether a gradient takes this way
    factor: object = (
        None  # the local derivative: the target's by the source, where it is a number for each element
    )
    recurrent: bool = False  # leads to the next time step, or the next copy, of what is drawn once
    times: int = 1  # edges of the whole graph that this one stands for


@dataclass(slots=True)
class Graph:
    """Nodes in the order they were computed, so `nodes[i].id == i`, and the edges between them.

    subject is what the gradients are of ("f" in df/dx); modules maps each path to what the module is; notes are
    sentences for the reader; saved_bytes counts what the backward pass keeps alive, each array once, leaves left out;
    first_bad is the id of the node where the NaN or infinity was born that reaches an output or a gradient, or None.
    """

    nodes: list = field(default_factory=list)
    edges: list = field(default_factory=list)
    subject: str = "f"
    modules: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    saved_bytes: int = 0
    first_bad: int | None = None

    @property
    def operations(self):
        """How many operations there are, folded ones counted."""
        return sum(node.count for node in self.nodes if node.operation is not None)

    def clusters(self):
        """The boxes around nodes, outermost first: ({calls: id}, list of dicts). A node lies in the one of its `calls`."""
        numbers, found = {(): None}, []
        for node in self.nodes:
            for depth in range(1, len(node.calls) + 1):
                calls = node.calls[:depth]
                if calls not in numbers:
                    numbers[calls] = len(found)
                    found.append({"id": len(found), "parent": numbers[calls[:-1]]} | self._cluster(calls[-1]))
        return numbers, found

    def _cluster(self, call):
        path, number = call
        if path.startswith(REPEAT):
            return {"kind": "repeat", "path": None, "what": f"{REPEAT} {number}", "call": 0, "times": number}
        return {
            "kind": "module",
            "path": path,
            "what": self.modules.get(path, ""),
            "call": number,
            "times": 1,
        }

    def to_dict(self):
        """Everything as dicts, lists, strings and numbers, by the schema in `docs/visualization.md`."""
        numbers, clusters = self.clusters()
        plain_fields = {name: getattr(self, name) for name in ("subject", "saved_bytes", "first_bad")}
        return {
            "schema": SCHEMA,
            **plain_fields,
            "operations": self.operations,
            "notes": list(self.notes),
            "modules": dict(self.modules),
            "nodes": [_node(node, numbers[node.calls]) for node in self.nodes],
            "edges": [
                {one.name: getattr(edge, one.name) for one in _EDGE_FIELDS} | {"shape": list(edge.shape)}
                for edge in self.edges
            ],
            "clusters": clusters,
        }

    def to_json(self):
        """`to_dict()` as strict JSON: what is no finite real number is written as a string, "NaN", "-Infinity", "1+2j"."""
        return json.dumps(_strict(self.to_dict()), ensure_ascii=False, allow_nan=False)


SCHEMA = "chainrule-graph-1"
_NODE_FIELDS, _EDGE_FIELDS = fields(GraphNode), fields(GraphEdge)


def _node(node, cluster):
    found = {one.name: getattr(node, one.name) for one in _NODE_FIELDS}
    saved = [dict(zip(("name", "shape", "bytes", "memory"), entry, strict=True)) for entry in node.saved]
    return found | {
        "shapes": [list(shape) for shape in node.shapes],
        "saved": [entry | {"shape": list(entry["shape"])} for entry in saved],
        "saved_bytes": node.saved_bytes,
        "calls": [list(call) for call in node.calls],
        "module": node.module,
        "cluster": cluster,
    }


def _strict(value):
    """`value` with every number that JSON has no way to write as a string. Nested no deeper than arrays are."""
    if isinstance(value, dict):
        return {key: _strict(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return str(value).strip("()") if isinstance(value, complex) else value


def kept_bytes(nodes):
    """Bytes that live only because the backward operations of `nodes` need them, the same memory counted once."""
    blocks = {}
    for node in nodes:
        for _, _, size, memory in node.saved:
            if memory is not None:
                blocks[memory] = max(size, blocks.get(memory, 0))
    return sum(blocks.values())


def plain(array, limit):
    """`array` (or a Python number) as nested lists, or None if it has more than `limit` elements."""
    if array is None or getattr(array, "size", 1) > limit:
        return None
    if isinstance(array, (bool, int, float, complex, numpy.generic)):
        return array.item() if isinstance(array, numpy.generic) else array
    array = backend_of(array).stored(array)
    host = backend_of(array).to_host(array)
    # bfloat16 and its like print as void: float32 holds all their values.
    return (host.astype("float32") if host.dtype.kind == "V" else host).tolist()
