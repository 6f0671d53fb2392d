"""Colouring a picture by a number that each node has: `draw(color=...)`."""

import math
from dataclasses import dataclass

from .data import kept_bytes
from .text import byte_count, seconds

# From small to large. All are light enough for dark print.
_TWO_SIDED = "#6FA8DC #A9CBEA #DCE9F5 #F7F4EE #FBDCC4 #F5B48B #EC8A62".split()
_ONE_SIDED = "#FAFAFC #ECE6F4 #DCD0EB #C9B7E0 #B59BD3".split()

GOOD, BAD, WORST = "#F3F4F6", "#FBD9DA", "#F1969A"  # for "nan"


@dataclass(frozen=True)
class Scale:
    """What is measured, in words; on a log scale or not; forward(node) and backward(node) read it off a node, or are None."""

    meaning: str
    log: bool
    colors: list
    forward: object = None
    backward: object = None
    text: object = "{:.2g}".format


def _of_stats(which, name):
    def read(node):
        known = [one for one in getattr(node, which) if one is not None]
        return max((name(one) for one in known), default=None)

    return read


def _root_mean_square(stats):
    return stats["norm"] / math.sqrt(stats["size"])


SCALES = {
    "gradient": Scale(
        "norm of the gradient", True, _TWO_SIDED, backward=_of_stats("gradient_stats", lambda one: one["norm"])
    ),
    "activation": Scale("root mean square of the value", True, _TWO_SIDED, forward=_of_stats("stats", _root_mean_square)),
    "zeros": Scale("share of zeros in the value", False, _ONE_SIDED, forward=_of_stats("stats", lambda one: one["zeros"])),
    "saved": Scale("kept for the backward pass", False, _ONE_SIDED, backward=lambda node: kept_bytes([node]) or None, text=byte_count),
    "time": Scale("taken", False, _ONE_SIDED, forward=lambda node: node.time, backward=lambda node: node.backward_time, text=seconds),
    "nan": Scale("", False, []),
}  # fmt: skip


class Colors:
    """The fill of each cell, and the legend: [(colour, text)], for one graph."""

    def __init__(self, graph, name):
        self.graph = graph
        self.name = name
        self.scale = SCALES[name]
        known = [
            x
            for node in graph.nodes
            for read in (self.scale.forward, self.scale.backward)
            if read is not None and (x := read(node)) is not None and self._position(x) is not None
        ]
        self.low, self.high = (min(known) if self.scale.log else 0, max(known)) if known else (None, None)

    def forward(self, node):
        """The fill of the forward cell; None if nothing is known."""
        if self.name == "nan":
            return self._fault(node, node.bad == "value", node.bad == "value")
        return self._fill(self.scale.forward, node)

    def backward(self, node):
        """The fill of the backward cell."""
        if self.name == "nan":
            return self._fault(node, self._bad_gradient(node), node.bad != "value")
        return self._fill(self.scale.backward, node)

    def _bad_gradient(self, node):
        return any(one is not None and one["nan"] + one["inf"] > 0 for one in node.gradient_stats)

    def _fault(self, node, bad, here):
        first = here and node.id == self.graph.first_bad
        return WORST if first else BAD if bad else GOOD

    def _position(self, x):
        """Where on the scale a number lies; None for what a log scale does not have."""
        if not self.scale.log:
            return x
        return math.log10(x) if x > 0 and math.isfinite(x) else None

    def _fill(self, read, node):
        x = None if read is None else read(node)
        if x is None or self.low is None:
            return None
        colors, at = self.scale.colors, self._position(x)
        low, high = self._position(self.low), self._position(self.high)
        if at is None:  # 0 on a log scale
            return colors[0]
        return (
            colors[round((at - low) / (high - low) * (len(colors) - 1))]
            if high > low
            else colors[len(colors) // 2]
        )

    def legend(self):
        """What the colours mean."""
        if self.name == "nan":
            return [
                (WORST, "where the first NaN or infinity is born"),
                (BAD, "has NaN or infinity"),
                (GOOD, "finite"),
            ]
        if self.low is None:
            return [(self.scale.colors[0], f"{self.scale.meaning}: nothing known")]
        low, high, last = self._position(self.low), self._position(self.high), len(self.scale.colors) - 1
        at = [low + (high - low) * i / last for i in range(last + 1)]
        numbers = [self.scale.text(10**x if self.scale.log else x) for x in at]
        if high == low:
            return [(self.scale.colors[last // 2], f"{numbers[0]} {self.scale.meaning}")]
        found = list(zip(self.scale.colors, numbers, strict=True))
        found[-1] = found[-1][0], f"{found[-1][1]}  {self.scale.meaning}"
        return found
