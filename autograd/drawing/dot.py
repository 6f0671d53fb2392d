"""Graph data as DOT text.

Each node is one table of two cells that touch: the forward operation, and its backward operation below it (drawings from
left to right) or to its right (from top to bottom). Forward edges join forward cells; backward edges join backward cells
the other way round, dashed. They are declared in the forward direction with `dir=back`, so both graphs get the same ranks.
"""

from .boxes import BACKWARD, COLOURS, FAINT, FORWARD, GRADIENT, MUTED, Boxes, second_subject, swatch
from .color import Colors
from .data import BUFFER, CONSTANT, INPUT, LEAF, MODULE, OPERATION, PARAMETER, REPEAT, SUMMARY
from .text import byte_count, crop, escape, number, operations, rows

_FONT = "Helvetica,Arial,sans-serif"

MEANING = {
    OPERATION: "operation",
    MODULE: "module, folded",
    SUMMARY: "operations of one kind",
    PARAMETER: "parameter",
    LEAF: "leaf that wants a gradient",
    INPUT: "input",
    BUFFER: "buffer",
    CONSTANT: "constant",
}

# A drawing at most this deep and this large goes from left to right, as one writes a formula.
_DEEPEST_ROW, _LARGEST_ROW = 5, 20

_LONGEST_NOTE, _LONGEST_CLUSTER = 160, 40

_LAYER = "∂"  # the box around the graph of the gradient
_NEXT = "constraint=false penwidth=2"  # an edge to the next time step leads back to where the step begins

# Local derivatives that are no numbers, of the operations everybody knows: what the gradient is multiplied by.
_SYMBOLS = {
    ("matmul", "a"): "· bᵀ",
    ("matmul", "b"): "aᵀ ·",
    ("linear", "x"): "· weight",
    ("linear", "weight"): "ᵀ· x",
}


def to_dot(graph, style, named=False, known=None, now=()):
    """The whole drawing as DOT text.

    named: give backward cells and edges ids, for an animation. known: ids of the nodes whose gradient is shown, where not all are;
    now: those that are lit.
    """
    direction = style.direction or _direction(graph)
    colors = None if style.color is None else Colors(graph, style.color)
    label = _legend(graph, colors) if style.legend else "<BR/>".join(escape(note) for note in graph.notes)
    lines = [
        "digraph {",
        f'  graph [rankdir={direction} fontname="{_FONT}" fontsize=10 nodesep=0.3 ranksep=0.45 pad=0.2 bgcolor="white"]',
        f"  graph [labelloc=b label=<{label}>]" if label else "",
        f'  node [shape=plain fontname="{_FONT}" fontsize=11 fontcolor="#1F2937"]',
        *_nodes(graph, style, Boxes(graph, style, direction, colors, named, known, now)),
        f'  edge [fontname="{_FONT}" fontsize=9.5 arrowsize=0.65 penwidth=1.2 color="{FORWARD[1]}" fontcolor="{FORWARD[1]}"]',
        *_forward_edges(graph, style, direction),
        f'  edge [dir=back style=dashed color="{BACKWARD[1]}" fontcolor="{BACKWARD[1]}"]',
        *_backward_edges(graph, style, direction, named, known),
        "}\n",
    ]
    return "\n".join(lines)


def _direction(graph):
    """Left to right for what is short, top to bottom for what is deep."""
    depth = [0] * len(graph.nodes)
    for edge in graph.edges:
        if not edge.recurrent:
            depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)
    return "LR" if max(depth, default=0) <= _DEEPEST_ROW and len(graph.nodes) <= _LARGEST_ROW else "TB"


def _nodes(graph, style, boxes):
    """A line for each node, inside a nested cluster for each call of a module."""
    inside = {}
    for node in graph.nodes:
        inside.setdefault(_calls(node, style), []).append(node)
    lines, around = [], ()
    for calls in sorted(inside):  # so that what lies in the same call stands together
        while around != calls[: len(around)]:
            around = around[:-1]
            lines.append("  }")
        for call in calls[len(around) :]:
            lines.append(_cluster(around, call, graph))
            around = (*around, call)
        lines += [
            f"  n{node.id} [label=<{boxes.label(node)}>{_tooltip(node, style)}]" for node in inside[calls]
        ]
    return lines + ["  }"] * len(around)


def _calls(node, style):
    """The boxes around a node. The operations of a backward pass lie in one of their own."""
    if node.layer:
        return ((_LAYER, node.layer), *([] if node.of is None else [(f"{_LAYER}{node.of}", node.layer)]))
    return node.calls if style.modules else tuple(call for call in node.calls if call[0].startswith(REPEAT))


def _tooltip(node, style):
    return f' tooltip="{escape(node.source)}"' if style.source and node.source else ""


def _cluster(around, call, graph):
    path, number = call
    what = graph.modules.get(path, "")
    color, fill = "#D5DAE1", "#FAFBFC"
    if path.startswith(REPEAT):
        label, color, fill = f"{REPEAT} {number:,}", "#8FB3D9", "#F4F8FC"
    elif path == _LAYER:
        label, color = (
            "the graph of the gradient" + (f" of layer {number - 1}" if number > 1 else ""),
            GRADIENT[1],
        )
    elif path.startswith(_LAYER):
        label, color, fill = f"in {graph.nodes[int(path[1:])].backward}", "#E3B5CC", "#FFFFFF"
    else:
        inner = path.removeprefix(around[-1][0] + ".") if around else path
        label = crop(what if what.partition("(")[0] == inner else f"{inner}: {what}", _LONGEST_CLUSTER)
        if number:
            label += f", call {number + 1}"
    inside = "".join(f"{outer} " for outer, _ in around if outer.startswith((REPEAT, _LAYER)))
    return (
        f'  subgraph "cluster_{inside}{escape(path)} {number}" {{ graph [style="rounded,filled" color="{color}" fillcolor="{fill}" '
        f'margin=10 labeljust=l labelloc=t fontcolor="{MUTED}" fontsize=10 label="{escape(label)}"]'
    )


def _sides(direction):
    """Where edges leave a box and where they arrive."""
    return ("e", "w") if direction == "LR" else ("s", "n")


def _forward_edges(graph, style, direction):
    out, into = _sides(direction)
    side = "n" if direction == "LR" else "w"
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
        elif edge.recurrent:
            name = source.name or (edge.input if edge.source == edge.target and source.count == 1 else None)
            again = f"next {_copy(source)}"
            label = (
                f"{escape(name)}, {again}" if name and source.operation and source.kind != MODULE else again
            )
            yield f'  n{edge.source}:f:{side} -> n{edge.target}:f:{side} [{_NEXT} label=" {label} "]'
        else:
            # What flows from operation to operation is drawn straighter than what parameters join in.
            weight = " weight=4" if source.operation else ""
            label = _label(edge, source.values[edge.output], style)
            yield f"  n{edge.source}:f:{out} -> n{edge.target}:f:{into} [{(label + weight).strip()}]"


def _copy(node):
    """What a recurrent edge leads to the next of."""
    paths = [path for path, _ in node.calls]
    if any("…" in path for path in paths):
        return "block"
    return "step" if node.times > 1 or any(path.startswith(REPEAT) for path in paths) else "call"


def _backward_edges(graph, style, direction, named, known):
    out, into = _sides(direction)
    side = "s" if direction == "LR" else "e"
    stopped = any(node.error for node in graph.nodes)
    for i, edge in enumerate(graph.edges):
        if edge.backward:
            extra = f' id="back{edge.target}_{i}"' if named else ""
            if known is not None and edge.target not in known:
                extra += ' color="transparent" fontcolor="transparent"'
            elif stopped and (graph.nodes[edge.target].step is None or graph.nodes[edge.target].error):
                extra += f' color="{FAINT}" fontcolor="{FAINT}"'
            elif graph.nodes[edge.target].layer:
                extra += f' color="{GRADIENT[1]}" fontcolor="{GRADIENT[1]}"'
            if edge.recurrent:
                yield f"  n{edge.source}:b:{side} -> n{edge.target}:b:{side} [{_NEXT}{extra}]"
                continue
            label = _label(edge, edge.gradient, style)
            if style.factors:
                label = _factor(edge, graph.nodes[edge.target]) or label
            yield f"  n{edge.source}:b:{out} -> n{edge.target}:b:{into} [{(label + extra).strip()}]"


def _factor(edge, target):
    """The chain rule at this edge, incoming times local is outgoing; only what it is multiplied by where that is no number."""
    incoming = target.gradients[0]
    if edge.factor is None:
        symbol = _SYMBOLS.get((target.operation, edge.input))
        return f' label=" {symbol} "' if symbol else ""
    if not isinstance(edge.factor, list) and not isinstance(incoming, list) and incoming is not None:
        factor = number(edge.factor)
        factor = f"({factor})" if factor.startswith("-") else factor
        return f' label=" {number(incoming)} · {factor} = {number(edge.gradient)} "'
    lines = "\\n".join(rows(edge.factor))
    return f' label=" · {lines} "'


def _label(edge, value, style):
    """A number where the value is one and known; the shape otherwise."""
    if edge.shape == () and value is not None:
        return f' label=" {number(value)} "'
    return f' label=" {edge.shape} "' if style.shapes and edge.shape != () else ""


def _legend(graph, colors):
    """What the colours mean, and what else there is to say, as a table below the drawing."""
    kinds = {node.kind for node in graph.nodes}
    entries = [(swatch(COLOURS[kind]), MEANING[kind]) for kind in COLOURS if kind in kinds]
    if any(node.layer for node in graph.nodes):
        entries.append((swatch(GRADIENT), "operation of the backward pass"))
    if any(node.backward for node in graph.nodes):
        entries.append((swatch(BACKWARD), "its backward operation"))
    if colors is not None:
        entries = [(swatch((color, MUTED)), escape(meaning)) for color, meaning in colors.legend()]
    arrows = [(FORWARD, "⟶", "value"), (BACKWARD, "⇠", f"gradient of {escape(graph.subject)}")]
    if any(node.layer for node in graph.nodes):
        arrows.append((GRADIENT, "⇠", f"gradient of {escape(second_subject(graph))}"))
    for (_, line), arrow, meaning in arrows:
        entries.append((f'<FONT COLOR="{line}"><B>{arrow}</B></FONT>', meaning))
    cells = "".join(f'<TD>{sign}</TD><TD ALIGN="LEFT">{meaning}</TD>' for sign, meaning in entries)
    kept = f", {byte_count(graph.saved_bytes)} kept for the backward pass" if graph.saved_bytes else ""
    total = operations(graph.operations) + kept
    notes = "".join(
        f'<TR><TD><FONT COLOR="{MUTED}">{escape(crop(note, _LONGEST_NOTE))}</FONT></TD></TR>'
        for note in [total, *graph.notes]
    )
    table = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="2"><TR>'
    return f"{table}<TD>{table}{cells}</TR></TABLE></TD></TR>{notes}</TABLE>"
