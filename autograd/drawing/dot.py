"""Graph data as DOT text.

Each node is one table of two cells that touch: the forward operation, and its backward operation below it (drawings from
left to right) or to its right (from top to bottom). Forward edges join forward cells; backward edges join backward cells
the other way round, dashed. They are declared in the forward direction with `dir=back`, so both graphs get the same ranks.
"""

from dataclasses import dataclass

from .data import BUFFER, CONSTANT, INPUT, LEAF, MODULE, OPERATION, PARAMETER
from .text import byte_count, crop, escape, number, rows

FONT = "Helvetica,Arial,sans-serif"
MUTED = "#6B7280"

# What is drawn in which colours: fill, line.
FORWARD = "#EAF2FB", "#3B78B5"
BACKWARD = "#FDF0E6", "#C96F26"
ERROR = "#FBE3E4", "#C0232C"
COLOURS = {
    OPERATION: FORWARD,
    MODULE: ("#DCE9F7", "#24588F"),
    PARAMETER: ("#E6F5EA", "#2F8F55"),
    LEAF: ("#FFF8DB", "#B08A00"),
    INPUT: ("#F1ECFA", "#7A57B5"),
    BUFFER: ("#E4F4F5", "#2B8C92"),
    CONSTANT: ("#F3F4F6", "#9AA1AC"),
}
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


@dataclass(frozen=True)
class Style:
    """What to show; see `draw`."""

    saved: bool = True
    source: bool = True
    modules: bool = True
    shapes: bool = True
    legend: bool = True
    direction: str | None = None


def to_dot(graph, style):
    """The whole drawing as DOT text."""
    direction = style.direction or _direction(graph)
    lines = [
        "digraph {",
        f'  graph [rankdir={direction} fontname="{FONT}" fontsize=10 nodesep=0.3 ranksep=0.45 pad=0.2 bgcolor="white"]',
        f'  node [shape=plain fontname="{FONT}" fontsize=11 fontcolor="#1F2937"]',
        f'  edge [fontname="{FONT}" fontsize=9.5 arrowsize=0.65 penwidth=1.2]',
    ]
    if style.legend:
        lines.append(f"  graph [labelloc=b label=<{_legend(graph)}>]")
    elif graph.notes:
        lines.append(f"  graph [labelloc=b label=<{'<BR/>'.join(map(escape, graph.notes))}>]")
    lines += _nodes(graph, style, direction)
    out, into = ("e", "w") if direction == "LR" else ("s", "n")
    for edge in graph.edges:
        lines += _edge(edge, graph, style, out, into)
    lines.append("}\n")
    return "\n".join(lines)


def _direction(graph):
    """Left to right for what is short, top to bottom for what is deep."""
    depth = [0] * len(graph.nodes)
    for edge in graph.edges:
        depth[edge.target] = max(depth[edge.target], depth[edge.source] + 1)
    return "LR" if max(depth, default=0) <= _DEEPEST_ROW and len(graph.nodes) <= _LARGEST_ROW else "TB"


def _nodes(graph, style, direction):
    """A line for each node, inside a nested cluster for each call of a module."""
    if not style.modules:
        return [_node(node, graph, style, direction) for node in graph.nodes]
    inside = {}
    for node in graph.nodes:
        inside.setdefault(node.calls, []).append(node)
    lines, around = [], ()
    for calls in sorted(inside):  # so that what lies in the same call stands together
        while around != calls[: len(around)]:
            around = around[:-1]
            lines.append("  }")
        for call in calls[len(around) :]:
            lines.append(_cluster(around, call, graph.modules.get(call[0], "")))
            around = (*around, call)
        lines += [_node(node, graph, style, direction) for node in inside[calls]]
    return lines + ["  }"] * len(around)


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


def _node(node, graph, style, direction):
    forward = _forward(node, style)
    if node.backward is None:
        return f"  n{node.id} [label=<{forward}>]"
    between = "</TD></TR><TR><TD>" if direction == "LR" else "</TD><TD>"
    table = f"{_TABLE}<TR><TD>{forward}{between}{_backward(node, graph, style)}</TD></TR></TABLE>"
    return f"  n{node.id} [label=<{table}>]"


_TABLE = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="0">'


def _cell(port, colours, lines, border=1):
    fill, line = colours
    return (
        f'<TABLE PORT="{port}" STYLE="ROUNDED" BORDER="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="5" COLOR="{line}" '
        f'BGCOLOR="{fill}"><TR><TD>{"<BR/>".join(lines)}</TD></TR></TABLE>'
    )


def _small(text):
    return f'<FONT POINT-SIZE="9" COLOR="{MUTED}">{text}</FONT>'


def _forward(node, style):
    shapes = ", ".join(
        f"{'scalar' if shape == () else shape} {dtype}"
        for shape, dtype in zip(node.shapes, node.dtypes, strict=True)
    )
    value = _equation("", node.values)
    if node.kind == MODULE:
        lines = [
            f"<B>{escape(node.name)}</B>",
            _small(escape(node.operation)),
            _small(f"{node.count} operations"),
        ]
    elif node.operation is not None:
        lines = [
            f"<B>{escape(node.operation)}</B>",
            *(_equation(escape(node.name or ""), node.values) if value else []),
        ]
        if node.name and not value:
            shapes = f"{escape(node.name)}: {shapes}"
    elif node.name is not None:
        lines = _equation(f"<B>{escape(node.name)}</B>", node.values)
    else:
        lines = value or [f"<B>{node.kind}</B>"]
    if style.shapes and not (node.kind == CONSTANT and node.shapes == [()]):
        lines.append(_small(shapes))
    if style.source and node.code:
        lines.append(_small(f"<I>{escape(crop(node.code, 46))}</I>"))
    return _cell("f", COLOURS[node.kind], lines, border=2 if node.target else 1)


def _equation(name, values):
    """`name = value` on as many lines as the value takes; several outputs one after the other; the name if no value."""
    known = [one for one in values if one is not None]
    if not known:
        return [name] if name else []
    text = [line for one in known for line in rows(one)]
    return (
        [f"{name} = {text[0]}" if name else text[0], *text[1:]]
        if len(text) == 1
        else [*([f"{name} ="] if name else []), *text]
    )


def _backward(node, graph, style):
    gradient = f"∂{escape(graph.subject)}/∂{escape(node.name)}" if node.name else "gradient"
    known = any(one is not None for one in node.gradients)
    name = f"<B>{gradient}</B>" if node.operation is None else gradient if node.name or known else ""
    lines = _equation(name, node.gradients)
    if style.shapes and not known:
        lines.append(_small(", ".join("scalar" if shape == () else str(shape) for shape in node.shapes)))
    if node.operation is None:
        lines.append(_small(node.backward))
    else:
        lines.insert(0, f"<B>{escape(node.backward)}</B>")
    if style.saved and node.freed:
        lines.append(_small("freed"))
    elif style.saved and node.saved:
        names = (
            ""
            if node.kind == MODULE
            else crop(", ".join(dict.fromkeys(entry[0] for entry in node.saved)), 24) + " · "
        )
        lines.append(_small(f"keeps {escape(names)}{byte_count(node.saved_bytes)}"))
    if node.error:
        lines.append(_small(escape(crop(node.error, 60))))
    return _cell("b", ERROR if node.error else BACKWARD, lines)


def _edge(edge, graph, style, out, into):
    """The forward edge, from side `out` to side `into` of the boxes, and the backward edge where a gradient takes this way."""
    source = graph.nodes[edge.source]
    line = COLOURS[source.kind][1] if edge.backward is False else FORWARD[1]
    plain_number = source.kind == CONSTANT and edge.shape == ()
    label = "" if plain_number else _wire_label(edge.shape, source.values[edge.output], style)
    # A constant may come from any side.
    ends = (
        f"n{edge.source}:f:{out} -> n{edge.target}:f:{into}"
        if edge.backward
        else f"n{edge.source}:f -> n{edge.target}:f"
    )
    lines = [f'  {ends} [color="{line}" fontcolor="{line}"{label}]']
    if edge.backward:
        label = _wire_label(edge.shape, edge.gradient, style)
        lines.append(
            f"  n{edge.source}:b:{out} -> n{edge.target}:b:{into} "
            f'[dir=back style=dashed color="{BACKWARD[1]}" fontcolor="{BACKWARD[1]}"{label}]'
        )
    return lines


def _wire_label(shape, value, style):
    """A number where the value is one and known; the shape otherwise."""
    if shape == () and value is not None:
        return f' label=" {number(value)} "'
    return f' label=" {shape} "' if style.shapes and shape != () else ""


def _legend(graph):
    """What the colours mean, and what else there is to say, as a table below the drawing."""
    cells = []
    for kind in COLOURS:
        if any(node.kind == kind for node in graph.nodes):
            cells.append(_swatch(COLOURS[kind], MEANING[kind]))
    if any(node.backward for node in graph.nodes):
        cells.append(_swatch(BACKWARD, "its backward operation"))
    arrow = '<TD><FONT COLOR="{}"><B>{}</B></FONT></TD><TD ALIGN="LEFT">{}</TD>'
    cells.append(arrow.format(FORWARD[1], "⟶", "value"))
    cells.append(arrow.format(BACKWARD[1], "⇠", f"gradient of {escape(graph.subject)}"))
    kept = f", {byte_count(graph.saved_bytes)} kept for the backward pass" if graph.saved_bytes else ""
    total = f"{graph.operations} operation{'s' if graph.operations != 1 else ''}{kept}"
    notes = "".join(
        f'<TR><TD COLSPAN="{2 * len(cells)}"><FONT COLOR="{MUTED}">{escape(crop(note, 160))}</FONT></TD></TR>'
        for note in [total, *graph.notes]
    )
    return f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="3" CELLPADDING="2"><TR>{"".join(cells)}</TR>{notes}</TABLE>'


def _swatch(colours, meaning):
    fill, line = colours
    box = f'<TABLE STYLE="ROUNDED" BORDER="1" CELLBORDER="0" COLOR="{line}" BGCOLOR="{fill}" CELLPADDING="4"><TR><TD WIDTH="8"></TD></TR></TABLE>'
    return f'<TD>{box}</TD><TD ALIGN="LEFT">{meaning}</TD>'
