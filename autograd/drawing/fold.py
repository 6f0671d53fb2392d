"""Folding a large graph: all operations of a module become one box."""

from dataclasses import replace

from .data import MODULE, Graph, GraphEdge, GraphNode
from .text import operations


def fold(graph, max_nodes):
    """`graph` with its modules folded, as few levels as bring it to `max_nodes` nodes; None if that cannot be done."""
    deepest = max((len(node.calls) for node in graph.nodes), default=0)
    for depth in range(deepest, 0, -1):
        folded = _fold_to(graph, depth)
        if len(folded.nodes) <= max_nodes:
            shown = sum(node.kind == MODULE for node in folded.nodes)
            folded.notes = [
                *graph.notes,
                f"{operations(graph.operations)} folded into {shown} module{'s' if shown != 1 else ''}; draw with max_nodes={len(graph.nodes)} to see them all",
            ]
            return folded
    return None


def _fold_to(graph, depth):
    folded = Graph(subject=graph.subject, modules=graph.modules, saved_bytes=graph.saved_bytes)
    boxes, moved = {}, []
    for node in graph.nodes:
        calls = node.calls[:depth]
        path = calls[-1][0] if calls else ""
        # All calls of a module are one box; so are values without gradient that look alike, as the rows of an input do.
        alike = None if node.backward else (node.kind, node.name, tuple(node.shapes))
        box = boxes.get(path or alike)
        if box is None:
            box = replace(node, id=len(folded.nodes), saved=list(node.saved))
            if path:
                box = _module_box(box.id, calls, graph.modules.get(path, ""))
            boxes[path or alike or node.id] = box
            folded.nodes.append(box)
        elif not path:
            box.values = [None] * len(box.values)
        if path:
            _absorb(box, node)
        moved.append(box)
    seen = set()
    for edge in graph.edges:
        source, target = moved[edge.source], moved[edge.target]
        # Edges of one shape between the same two boxes say the same thing many times over.
        key = source.id, target.id, edge.shape, edge.backward
        if source is not target and key not in seen:
            seen.add(key)
            output = edge.output if source.kind != MODULE else 0
            folded.edges.append(
                GraphEdge(
                    source.id, target.id, edge.input, output, edge.shape, edge.dtype, backward=edge.backward
                )
            )
    return folded


def _module_box(number, calls, what):
    return GraphNode(number, MODULE, name=calls[-1][0], operation=what, calls=calls[:-1], count=0)


def _absorb(box, node):
    if node.operation is not None:
        box.count += 1
        box.backward = "backward"
        box.shapes, box.dtypes = node.shapes, node.dtypes  # the last one's is what leaves the module
        box.values, box.gradients = [None] * len(node.shapes), [None] * len(node.shapes)
        box.saved.extend(node.saved)
        box.target = box.target or node.target
        box.error = box.error or node.error
    elif not box.shapes:
        box.shapes, box.dtypes, box.values, box.gradients = node.shapes, node.dtypes, [None], [None]
