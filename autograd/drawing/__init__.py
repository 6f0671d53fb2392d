"""One picture of the forward and the backward graph: `chainrule.draw(target, *inputs)`.

    target, inputs  -> target.py, record.py, names.py: what is known beyond the graph: values, names, lines, modules
                    -> collect.py, revive.py, backward.py: `Graph`, plain data (data.py)
                    -> repeat.py, fold.py, order.py: the same, smaller
                    -> dot.py, boxes.py, color.py, text.py: DOT text
                    -> picture.py, render.py, animate.py, tensorboard.py: files; page/: the interactive page

Nothing is changed by drawing: no gradient, no saved value, no mode, no random number, no buffer.
"""

from .data import Graph, GraphEdge, GraphNode
from .picture import Picture
from .target import draw

__all__ = ["Graph", "GraphEdge", "GraphNode", "Picture", "draw"]
