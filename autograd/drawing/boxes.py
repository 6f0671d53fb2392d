"""The two cells of a node, as Graphviz's HTML-like tables: the forward operation and its backward operation."""

from dataclasses import dataclass

from .data import BUFFER, CONSTANT, INPUT, LEAF, MODULE, OPERATION, PARAMETER, kept_bytes
from .text import byte_count, crop, escape, operations, rows

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

_LONGEST_CODE, _LONGEST_SAVED, _LONGEST_ERROR = 46, 24, 60


@dataclass(frozen=True)
class Style:
    """What to show; see `draw`."""

    saved: bool = True
    source: bool = True
    modules: bool = True
    shapes: bool = True
    legend: bool = True
    direction: str | None = None


class Boxes:
    """Writes the labels of a graph's nodes."""

    def __init__(self, graph, style, direction):
        self.graph = graph
        self.style = style
        # From left to right the backward cell lies below the forward cell, from top to bottom to its right.
        self.between = "</TD></TR><TR><TD>" if direction == "LR" else "</TD><TD>"
        self.used = {}  # id of node -> its outputs that something is computed from
        for edge in graph.edges:
            self.used.setdefault(edge.source, set()).add(edge.output)

    def label(self, node):
        """The HTML-like label of a node."""
        outputs = sorted(self.used.get(node.id, ())) or [0]
        forward = self.forward(node, outputs)
        if node.backward is None:
            return forward
        return (
            f'<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="1" CELLPADDING="0"><TR><TD>{forward}{self.between}'
            f"{self.backward(node, outputs)}</TD></TR></TABLE>"
        )

    def forward(self, node, outputs):
        """What is computed, its value where it is small, shape and dtype, and the user's expression."""
        values = [node.values[i] for i in outputs]
        value = _equation("", values)
        shapes = ", ".join(f"{_shape(node.shapes[i])} {node.dtypes[i]}" for i in outputs)
        if node.kind == MODULE:
            lines = [_bold(node.name), _small(escape(node.operation)), _small(operations(node.count))]
        elif node.operation is not None:
            lines = [_bold(node.operation)]
            if value:
                lines += _equation(escape(node.name or ""), values)
            elif node.name:
                shapes = f"{escape(node.name)}: {shapes}"
        elif node.name is not None:
            lines = _equation(_bold(node.name), values) or [_bold(node.name)]
        else:
            lines = value or [_bold(node.kind)]
        if self.style.shapes and not (node.kind == CONSTANT and node.shapes == [()]):
            lines.append(_small(shapes))
        if self.style.source and node.code:
            lines.append(_small(f"<I>{escape(crop(node.code, _LONGEST_CODE))}</I>"))
        return _cell("f", COLOURS[node.kind], lines, border=2 if node.target else 1)

    def backward(self, node, outputs):
        """The backward operation, the gradient that arrives, and what was kept for it."""
        gradients = [node.gradients[i] for i in outputs]
        known = any(one is not None for one in gradients)
        named = node.name is not None and node.kind != MODULE
        name = f"∂{escape(self.graph.subject)}/∂{escape(node.name)}" if named else "gradient"
        if node.operation is None:
            lines = _equation(f"<B>{name}</B>", gradients) or [f"<B>{name}</B>"]
        else:
            lines = [_bold(node.backward), *(_equation(name, gradients) or ([name] if named else []))]
        if self.style.shapes and not known:
            lines.append(_small(", ".join(_shape(node.shapes[i]) for i in outputs)))
        if node.operation is None:
            lines.append(_small(node.backward))
        if self.style.saved and (node.freed or node.saved):
            lines.append(_small(_kept(node)))
        if node.error:
            lines.append(_small(escape(crop(node.error, _LONGEST_ERROR))))
        return _cell("b", ERROR if node.error else BACKWARD, lines)


def _cell(port, colours, lines, border=1):
    fill, line = colours
    return (
        f'<TABLE PORT="{port}" STYLE="ROUNDED" BORDER="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="5" '
        f'COLOR="{line}" BGCOLOR="{fill}"><TR><TD>{"<BR/>".join(lines)}</TD></TR></TABLE>'
    )


def _bold(text):
    return f"<B>{escape(text)}</B>"


def _small(text):
    # The space, in the larger size, keeps the line clear of descenders above it.
    return f'<FONT POINT-SIZE="9" COLOR="{MUTED}">{text}</FONT> '


def _shape(shape):
    return "scalar" if shape == () else str(shape)


def _equation(name, values):
    """`name = value` on as many lines as the values take; none if no value is known."""
    lines = [line for one in values if one is not None for line in rows(one)]
    if not lines or not name:
        return lines
    return [f"{name} = {lines[0]}"] if len(lines) == 1 else [f"{name} =", *lines]


def _kept(node):
    if node.freed:
        return "freed"
    if node.kind == MODULE:
        return f"keeps {byte_count(kept_bytes([node]))}"
    names = ", ".join(dict.fromkeys(entry[0] for entry in node.saved))
    return f"keeps {escape(crop(names, _LONGEST_SAVED))} · {byte_count(node.saved_bytes)}"


def swatch(colours):
    """A small box in these colours, for the legend."""
    fill, line = colours
    return (
        f'<TABLE STYLE="ROUNDED" BORDER="1" CELLBORDER="0" CELLPADDING="4" COLOR="{line}" BGCOLOR="{fill}">'
        f'<TR><TD WIDTH="8"></TD></TR></TABLE>'
    )
