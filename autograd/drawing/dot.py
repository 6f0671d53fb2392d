"""Graph data as DOT text.

Each node is one table of two cells that touch: the forward operation, and its backward operation below it (drawings from
left to right) or to its right (from top to bottom). Forward edges join forward cells; backward edges join backward cells
the other way round, dashed. They are declared in the forward direction with `dir=back`, so both graphs get the same ranks.
"""

from .boxes import BACKWARD, COLOURS, FORWARD, MUTED, Boxes, swatch
from .data import BUFFER, CONSTANT, INPUT, LEAF, MODULE, OPERATION, PARAMETER
from .text import byte_count, crop, escape, number, operations

_FONT = "Helvetica,Arial,sans-serif"

MEANING = {
    OPERATION: "operation",
    MODULE: "module, folded",
    PARAMETER: "parameter",
    LEAF: "leaf that wants a gradient",
    INPUT: "input",
    BUFFER: "buffer",
    CONSTANT: "constant",
}

# A drawing at most this deep and this large goes from left to right, as one writes a formula.
_DEEPEST_ROW, _LARGEST_ROW = 5, 20

_LONGEST_NOTE = 160


def to_dot(graph, style):
    """The whole drawing as DOT text."""
    direction = style.direction or _direction(graph)
    label = _legend(graph) if style.legend else "<BR/>".join(escape(note) for note in graph.notes)
    lines = [
        "digraph {",
        f'  graph [rankdir={direction} fontname="{_FONT}" fontsize=10 nodesep=0.3 ranksep=0.45 pad=0.2 bgcolor="white"]',
        f"  graph [labelloc=b label=<{label}>]" if label else "",
        f'  node [shape=plain fontname="{_FONT}" fontsize=11 fontcolor="#1F2937"]',
        *_nodes(graph, style, Boxes(graph, style, direction)),
        f'  edge [fontname="{_FONT}" fontsize=9.5 arrowsize=0.65 penwidth=1.2 color="{FORWARD[1]}" fontcolor="{FORWARD[1]}"]',
        *_forward_edges(graph, style, direction),
        f'  edge [dir=back style=dashed color="{BACKWARD[1]}" fontcolor="{BACKWARD[1]}"]',
        *_backward_edges(graph, style, direction),
        "}\n",
    ]
    return "\n".join(lines)


def _direction(graph):
    """Left to right for what is short, top to bottom for what is deep."""
    depth = [0] * len(graph.nodes)
    for edge in graph.edges:
        depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)
    return "LR" if max(depth, default=0) <= _DEEPEST_ROW and len(graph.nodes) <= _LARGEST_ROW else "TB"


def _nodes(graph, style, boxes):
    """A line for each node, inside a nested cluster for each call of a module."""
    inside = {}
    for node in graph.nodes:
        inside.setdefault(node.calls if style.modules else (), []).append(node)
    lines, around = [], ()
    for calls in sorted(inside):  # so that what lies in the same call stands together
        while around != calls[: len(around)]:
            around = around[:-1]
            lines.append("  }")
        for call in calls[len(around) :]:
            lines.append(_cluster(around, call, graph.modules.get(call[0], "")))
            around = (*around, call)
        lines += [
            f"  n{node.id} [label=<{boxes.label(node)}>{_tooltip(node, style)}]" for node in inside[calls]
        ]
    return lines + ["  }"] * len(around)


def _tooltip(node, style):
    return f' tooltip="{escape(node.source)}"' if style.source and node.source else ""


def _cluster(around, call, what):
    path, number = call
    inner = path.removeprefix(around[-1][0] + ".") if around else path
    label = what if what.partition("(")[0] == inner else f"{inner}: {what}"
    if number:
        label += f", call {number + 1}"
    return (
        f'  subgraph "cluster_{escape(path)} {number}" {{ graph [style="rounded,filled" color="#D5DAE1" fillcolor="#FAFBFC" '
        f'margin=10 labeljust=l labelloc=t fontcolor="{MUTED}" fontsize=10 label="{escape(label)}"]'
    )


def _sides(direction):
    """Where edges leave a box and where they arrive."""
    return ("e", "w") if direction == "LR" else ("s", "n")


def _forward_edges(graph, style, direction):
    out, into = _sides(direction)
    for edge in graph.edges:
        source = graph.nodes[edge.source]
        if not edge.backward:
            # A value without gradient may come from any side, in its own colour.
            line = COLOURS[source.kind][1]
            label = (
                ""
                if source.kind == CONSTANT and edge.shape == ()
                else _label(edge, source.values[edge.output], style)
            )
            yield f'  n{edge.source}:f -> n{edge.target}:f [color="{line}" fontcolor="{line}"{label}]'
        else:
            # What flows from operation to operation is drawn straighter than what parameters join in.
            weight = " weight=4" if source.operation else ""
            label = _label(edge, source.values[edge.output], style)
            yield f"  n{edge.source}:f:{out} -> n{edge.target}:f:{into} [{(label + weight).strip()}]"


def _backward_edges(graph, style, direction):
    out, into = _sides(direction)
    for edge in graph.edges:
        if edge.backward:
            label = _label(edge, edge.gradient, style).strip()
            yield f"  n{edge.source}:b:{out} -> n{edge.target}:b:{into} [{label}]"


def _label(edge, value, style):
    """A number where the value is one and known; the shape otherwise."""
    if edge.shape == () and value is not None:
        return f' label=" {number(value)} "'
    return f' label=" {edge.shape} "' if style.shapes and edge.shape != () else ""


def _legend(graph):
    """What the colours mean, and what else there is to say, as a table below the drawing."""
    kinds = {node.kind for node in graph.nodes}
    entries = [(swatch(COLOURS[kind]), MEANING[kind]) for kind in COLOURS if kind in kinds]
    if any(node.backward for node in graph.nodes):
        entries.append((swatch(BACKWARD), "its backward operation"))
    for (_, line), arrow, meaning in (
        (FORWARD, "⟶", "value"),
        (BACKWARD, "⇠", f"gradient of {escape(graph.subject)}"),
    ):
        entries.append((f'<FONT COLOR="{line}"><B>{arrow}</B></FONT>', meaning))
    cells = "".join(f'<TD>{sign}</TD><TD ALIGN="LEFT">{meaning}</TD>' for sign, meaning in entries)
    kept = f", {byte_count(graph.saved_bytes)} kept for the backward pass" if graph.saved_bytes else ""
    total = operations(graph.operations) + kept
    notes = "".join(
        f'<TR><TD COLSPAN="{2 * len(entries)}"><FONT COLOR="{MUTED}">{escape(crop(note, _LONGEST_NOTE))}</FONT></TD></TR>'
        for note in [total, *graph.notes]
    )
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="2"><TR>{cells}</TR>{notes}</TABLE>'
