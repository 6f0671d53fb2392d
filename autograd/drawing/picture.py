"""`Picture`: a drawn graph that can be looked at, saved and read as data."""

import os

from .dot import to_dot
from .fold import fold
from .render import render
from .text import operations

ENDINGS = ("dot", "svg", "png", "pdf")


class Picture:
    """What `draw` returns. `graph` is the graph as data, `dot` as text; a notebook shows it as SVG.

    `save("graph.svg")` writes it to a file, of the kind its ending says: .dot, .svg, .png or .pdf.
    """

    def __init__(self, graph, style, max_nodes):
        self.graph = graph
        self.style = style
        self.max_nodes = max_nodes

    @property
    def dot(self):
        """The whole graph in Graphviz's language, at any size."""
        return to_dot(self.graph, self.style)

    def save(self, path):
        """Write the picture to `path`; returns the path. RuntimeError if there is no Graphviz to render with."""
        kind = os.path.splitext(os.fspath(path))[1][1:].lower()
        if kind not in ENDINGS:
            raise ValueError(
                f"save: cannot draw {os.fspath(path)!r}; the name must end in .{', .'.join(ENDINGS)}"
            )
        data = self.dot.encode() if kind == "dot" else self.render(kind)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def render(self, kind="svg"):
        """The picture as bytes: "svg", "png" or "pdf". ValueError if it is too large to lay out."""
        return render(to_dot(self.small_graph(), self.style), kind)

    def small_graph(self):
        """The graph as it is rendered: folded to its modules if it has more than `max_nodes` nodes."""
        graph = self.graph
        if len(graph.nodes) <= self.max_nodes:
            return graph
        folded = fold(graph, self.max_nodes)
        if folded is None:
            raise ValueError(
                f"draw: {len(graph.nodes)} nodes take Graphviz too long to lay out, and folding them to modules does not help; "
                f'draw a smaller part, or the module itself with its inputs, or save("graph.dot"), or pass max_nodes={len(graph.nodes)}'
            )
        return folded

    def _repr_svg_(self):
        return self.render("svg").decode()

    def _repr_mimebundle_(self, include=None, exclude=None):
        try:
            return {"image/svg+xml": self._repr_svg_(), "text/plain": repr(self)}
        except (RuntimeError, ValueError) as error:
            return {"text/plain": f"{self!r}\n{error}"}

    def __repr__(self):
        graph = self.graph
        return f"<Picture of {graph.subject}: {operations(graph.operations)}, {len(graph.nodes)} nodes, {len(graph.edges)} edges>"
