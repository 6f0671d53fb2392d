"""`Picture`: a drawn graph that can be looked at, saved and read as data."""

import os

from .animate import animated_svg, gif
from .dot import to_dot
from .fold import small
from .render import render
from .text import operations

ENDINGS = ("dot", "svg", "png", "pdf", "html", "json", "gif")


class Picture:
    """What `draw` returns. `graph` is the graph as data, `dot` as text; a notebook shows it as SVG.

    `save("graph.svg")` writes it to a file, of the kind its ending says: .dot, .svg, .png, .pdf, .html, .json or .gif.
    """

    def __init__(self, graph, style, max_nodes, depth=None, fold=None):
        self.graph = graph
        self.style = style
        self.max_nodes = max_nodes
        self.depth = depth
        self.fold = fold

    @property
    def dot(self):
        """The whole graph in Graphviz's language, at any size."""
        return to_dot(self.graph, self.style)

    def save(self, path, animate=False):
        """Write the picture to `path`; returns the path.

        .dot and .json hold the whole graph, at any size, the others what `small_graph()` is. animate=True makes of an .svg a film of
        the backward pass, which browsers play; a .gif is one always, and needs Pillow. RuntimeError if there is no Graphviz to
        render with.
        """
        kind = os.path.splitext(os.fspath(path))[1][1:].lower()
        if kind not in ENDINGS:
            raise ValueError(
                f"save: cannot draw {os.fspath(path)!r}; the name must end in .{', .'.join(ENDINGS)}"
            )
        if animate and kind not in ("svg", "gif"):
            raise ValueError(f"save: animate=True makes .svg and .gif move, not .{kind}")
        if kind in ("dot", "json"):
            data = (self.dot if kind == "dot" else self.graph.to_json()).encode()
        elif kind == "html":
            data = self.page().encode()
        elif kind == "gif" or animate:
            data = (gif if kind == "gif" else animated_svg)(self.small_graph(), self.style)
        else:
            data = self.render(kind)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def render(self, kind="svg"):
        """The picture as bytes: "svg", "png" or "pdf"."""
        return render(to_dot(self.small_graph(), self.style), kind)

    def page(self):
        """The graph as an interactive page, a string that a notebook shows in a frame: zoom, fold, search, step through backward."""
        from .page import render

        small_graph = self.small_graph()
        folded = None if small_graph is self.graph else small_graph.to_dict()
        return render(self.graph.to_dict(), folded, f"The graph of {self.graph.subject}", self.style.color)

    def to_tensorboard(self, folder):
        """Write the graph as an event for TensorBoard's graph tab into `folder`. RuntimeError without tensorboardX."""
        from .tensorboard import write

        write(self.graph, folder)
        return folder

    def small_graph(self):
        """The graph as it is rendered: repetitions drawn once, modules folded to `depth`, and no more than `max_nodes` nodes."""
        return small(self.graph, self.depth, self.fold, self.max_nodes)

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
