"""One picture of the forward and the backward graph: `chainrule.draw(target, *inputs)`.

    target, inputs  --record.py, names.py-->  what is known beyond the graph: values, names, source lines, modules
                    --collect.py, backward.py-->  `Graph`, plain data (data.py)
                    --fold.py, dot.py-->  DOT text
                    --render.py-->  SVG, PNG, PDF

Nothing is changed by drawing: no gradient, no saved value, no mode, no random number, no buffer.
"""

from .data import Graph, GraphEdge, GraphNode
from .draw import draw
from .picture import Picture

__all__ = ["Graph", "GraphEdge", "GraphNode", "Picture", "draw"]
