"""The drawn graph as plain data: `Graph`, made of `GraphNode` and `GraphEdge`. No arrays, no Tensors, no references back.

A node is an operation together with its backward operation, or a value that enters the graph. Edges run as the values
do, from the node that made a value to the node that uses it; the gradient takes the same way in the other direction.
"""

from dataclasses import asdict, dataclass, field

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
    saved: list = field(
        default_factory=list
    )  # (name, shape, bytes) of each array kept for the backward operation
    freed: bool = False  # what was saved is gone: backward() has run
    calls: tuple = ()  # ("path", n) of each module it is computed in, outermost first; n counts that module's calls
    source: str | None = None  # "file.py:12" of the user's line
    code: str | None = None  # the expression on that line that it computes
    target: bool = False  # one of the drawn outputs
    error: str | None = None  # what its backward operation raised
    count: int = 1  # operations in this box

    @property
    def shape(self):
        """The shape of the first output."""
        return self.shapes[0]

    @property
    def module(self):
        """The path of the innermost module it belongs to, or ""."""
        return self.calls[-1][0] if self.calls else ""

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


@dataclass(slots=True)
class Graph:
    """Nodes in the order they were computed, so `nodes[i].id == i`, and the edges between them.

    subject is what the gradients are of ("f" in df/dx); modules maps each path to what the module is; notes are
    sentences for the reader; saved_bytes counts what the backward pass keeps alive, each array once, leaves left out.
    """

    nodes: list = field(default_factory=list)
    edges: list = field(default_factory=list)
    subject: str = "f"
    modules: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)
    saved_bytes: int = 0

    @property
    def operations(self):
        """How many operations there are, folded ones counted."""
        return sum(node.count for node in self.nodes if node.operation is not None)

    def to_dict(self):
        """Everything as dicts, lists, strings and numbers."""
        return asdict(self)


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
    host = backend_of(array).to_host(array)
    # bfloat16 and its like print as void: float32 holds all their values.
    return (host.astype("float32") if host.dtype.kind == "V" else host).tolist()
