"""The graph as one interactive page: `Picture.save("graph.html")`."""

from .page import render

__all__ = ["render"]
