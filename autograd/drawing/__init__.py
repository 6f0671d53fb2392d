"""One picture of the forward and the backward graph: `chainrule.draw(target, *inputs)`.

    target, inputs  -> target.py, record.py, names.py: what is known beyond the graph: values, names, lines, modules
                    -> collect.py, revive.py, backward.py: `Graph`, plain data (data.py)
                    -> fold.py, dot.py, text.py: DOT text
                    -> picture.py, render.py: SVG, PNG, PDF

Nothing is changed by drawing: no gradient, no saved value, no mode, no random number, no buffer.
"""

from .data import Graph, GraphEdge, GraphNode
from .picture import Picture
from .target import draw

__all__ = ["Graph", "GraphEdge", "GraphNode", "Picture", "draw"]
