"""The two cells of a node, as Graphviz's HTML-like tables: the forward operation and its backward operation."""

from collections import Counter
from dataclasses import dataclass

from .data import BUFFER, CONSTANT, INPUT, LEAF, MODULE, OPERATION, PARAMETER, REPEAT, SUMMARY, kept_bytes
from .text import byte_count, crop, escape, number, operations, rows, seconds, share

MUTED, DARK = "#6B7280", "#374151"  # small print, on white and on a colour

# What is drawn in which colours: fill, line.
FORWARD = "#EAF2FB", "#3B78B5"
BACKWARD = "#FDF0E6", "#C96F26"
ERROR = "#FBE3E4", "#C0232C"
FAINT = "#C9CDD3"  # what the backward pass did not reach
LIT = "#FFE08A"  # the backward operation whose turn it is, in an animation
GRADIENT = "#FCEAF4", "#B0367E"  # operations of the graph of the gradient
COLOURS = {
    OPERATION: FORWARD,
    MODULE: ("#DCE9F7", "#24588F"),
    SUMMARY: ("#DCE9F7", "#24588F"),
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
    stats: bool = True
    factors: bool = False
    time: bool = False
    legend: bool = True
    direction: str | None = None
    pair: str | None = None
    color: str | None = None


class Boxes:
    """Writes the labels of a graph's nodes."""

    def __init__(self, graph, style, direction, colors=None, named=False, known=None, now=()):
        self.graph = graph
        self.style = style
        self.colors = colors
        self.named, self.known, self.now = named, known, now
        # From left to right the backward cell lies below the forward cell, from top to bottom to its right.
        below = style.pair == "below" if style.pair else direction == "LR"
        self.between = "</TD></TR><TR><TD>" if below else "</TD><TD>"
        self.second = second_subject(graph)
        self.stopped = any(node.error for node in graph.nodes)
        self.used = {}  # id of node -> its outputs that something is computed from
        self.sums = Counter(
            edge.source
            for edge in graph.edges
            if edge.backward
            and not edge.recurrent
            and graph.nodes[edge.target].layer <= graph.nodes[edge.source].layer
        )
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
        """The forward cell."""
        lines = self.forward_lines(node, outputs)
        fill, line = GRADIENT if node.layer and node.operation else COLOURS[node.kind]
        if self.colors is not None:
            fill = self.colors.forward(node) or "#FFFFFF"
            lines = [text.replace(MUTED, DARK) for text in lines]
        if node.id == self.graph.first_bad and node.bad == "value":
            return _cell("f", (fill, ERROR[1]), lines, border=3)
        return _cell("f", (fill, line), lines, border=2 if node.target else 1)

    def forward_lines(self, node, outputs):
        """What is computed, its value where it is small, shape and dtype, and the user's expression."""
        values = [node.values[i] for i in outputs]
        known = any(one is not None for one in values)
        shapes = ", ".join(f"{_shape(node.shapes[i])} {node.dtypes[i]}" for i in outputs)
        lines = _title(node, values)
        if node.operation is not None and node.kind == OPERATION and node.name and not known:
            shapes = f"{escape(node.name)}: {shapes}"
        if node.alias:
            lines.append(_small("a view of its input" if node.alias == "view" else "written in place"))
        if self.style.shapes and not (node.kind == CONSTANT and node.shapes == [()]):
            lines.append(_small(shapes))
        if self.style.stats and not known:
            lines += self.statistics([node.stats[i] for i in outputs])
        if self.style.source and node.code:
            lines.append(_small(f"<I>{escape(crop(node.code, _LONGEST_CODE))}</I>"))
        if self.style.time and node.time is not None:
            lines.append(_small(seconds(node.time)))
        return lines

    def statistics(self, several):
        """Mean and spread, norm, and what is zero, NaN or infinite, on a line for each output with more than a few elements."""
        lines = []
        for one in several:
            if one is not None and one["size"] > 1:
                wrong = "".join(f" · {share(one[name])} {name}" for name in ("nan", "inf") if one[name])
                zeros = f" · {share(one['zeros'])} zeros" if one["zeros"] >= 0.01 else ""
                lines.append(
                    _small(f"{number(one['mean'], 2)} ± {number(one['std'], 2)} · norm {number(one['norm'], 3)}{zeros}{wrong}")
                )  # fmt: skip
        return lines

    def backward(self, node, outputs):
        """The backward cell."""
        lines = self.backward_lines(node, outputs)
        fill, line = ERROR if node.error else (BACKWARD[0], GRADIENT[1]) if node.layer else BACKWARD
        if self.colors is not None:
            fill = self.colors.backward(node) or "#FFFFFF"
            lines = [text.replace(MUTED, DARK) for text in lines]
        elif self.stopped and node.step is None:
            fill, line = "#FFFFFF", FAINT
        first = node.id == self.graph.first_bad and node.bad != "value"
        line = ERROR[1] if first else line
        if self.known is not None and node.id not in self.known:
            fill, line, lines = "#FFFFFF", "#EEEEEE", [_hidden(text) for text in lines]
        elif node.id in self.now:
            fill = LIT
        name = f"back{node.id}" if self.named else None
        return _cell("b", (fill, line), lines, border=3 if node.error or first else 1, name=name)

    def backward_lines(self, node, outputs):
        """The backward operation, the gradient that arrives, and what was kept for it."""
        gradients = [node.gradients[i] for i in outputs]
        known = any(one is not None for one in gradients)
        named = node.name is not None and node.kind != MODULE and not node.layer
        name = f"∂{escape(self.graph.subject)}/∂{escape(node.name)}" if named else "gradient"
        if node.operation is None:
            lines = _equation(f"<B>{name}</B>", gradients) or [f"<B>{name}</B>"]
        else:
            lines = [_bold(node.backward), *(_equation(name, gradients) or ([name] if named else []))]
        if self.style.stats and not known:
            lines += self.statistics([node.gradient_stats[i] for i in outputs])
        if self.style.shapes and not known:
            lines.append(_small(", ".join(_shape(node.shapes[i]) for i in outputs)))
        if any(one is not None for one in node.second):
            of = f"∂({self.second})/∂{node.name}" if node.name else "second"
            lines += _equation(escape(of), [node.second[i] for i in outputs])
        several = f"a sum of {self.sums[node.id]}" if self.sums[node.id] > 1 else ""
        if node.operation is None:
            lines.append(_small(f"{node.backward}: {several}" if several else node.backward))
        elif several:
            lines.append(_small(several))
        if self.style.saved and (
            node.freed or (node.saved and (node.kind == OPERATION or kept_bytes([node])))
        ):
            lines.append(_small(_kept(node)))
        if self.style.time and node.backward_time is not None:
            lines.append(_small(seconds(node.backward_time)))
        if node.error:
            lines.append(_small(escape(crop(node.error, _LONGEST_ERROR))))
        return lines


def _title(node, values):
    """The first lines of a forward cell: the operation or name, and the value where it is known."""
    times = f" × {node.times:,}" if node.times > 1 and node.times != _loop(node) else ""
    if node.kind == MODULE:
        return [_bold(node.name + times), _small(escape(node.operation)), _small(operations(node.count))]
    if node.kind == SUMMARY:
        return [_bold(node.operation), _small(f"{node.count:,} times")]
    if node.operation is not None:
        return [_bold(node.operation + times), *_equation(escape(node.name or ""), values)]
    lines = _equation(_bold(node.name), values) if node.name else _equation("", values)
    lines = lines or [_bold(node.name or node.kind)]
    return [lines[0] + _bold(times) if times else lines[0], *lines[1:]]


def second_subject(graph):
    """What second derivatives are of: the first gradients, or their sum where there are several."""
    firsts = [node.name for node in graph.nodes if node.target and node.layer and node.name]
    return firsts[0] if len(firsts) == 1 else f"Σ∂{graph.subject}"


def _loop(node):
    """How often the innermost loop around a node runs."""
    return next((times for path, times in reversed(node.calls) if path.startswith(REPEAT)), 1)


def _hidden(text):
    """What takes the same place and is not seen."""
    return f'<FONT COLOR="#FFFFFF">{text.replace(MUTED, "#FFFFFF")}</FONT>'


def _cell(port, colours, lines, border=1, name=None):
    fill, line = colours
    name = f'ID="{name}" HREF="#" ' if name else ""
    return (
        f'<TABLE {name}PORT="{port}" STYLE="ROUNDED" BORDER="{border}" CELLBORDER="0" CELLSPACING="0" CELLPADDING="5" '
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
    if node.kind in (MODULE, SUMMARY) or node.times > 1:
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
