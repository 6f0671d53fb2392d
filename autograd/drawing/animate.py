"""The backward pass as a film: node after node lights up, and its gradient is filled in.

An animated SVG is one drawing in which each backward cell and each backward edge comes at its time; browsers play it (SMIL), and
what plays nothing shows the finished drawing. A GIF is one rendering for each step.
"""

import io
import xml.etree.ElementTree as ElementTree

from .boxes import LIT
from .dot import to_dot
from .render import render

_STEP, _LEAD, _HOLD = 0.9, 0.6, 3.0  # seconds: for one node, before the first, after the last
_LONGEST = 60  # seconds for all steps; more steps go by faster
_MOST_FRAMES = 60  # of a GIF; more steps are shown several at a time
_SVG = "{http://www.w3.org/2000/svg}"

NEEDS_PILLOW = "saving a GIF needs Pillow: pip install pillow. An animated SVG needs nothing: save('x.svg', animate=True)"


def order(graph):
    """The ids of the nodes in the order in which the backward pass comes by; ValueError where it did not run."""
    visited = sorted((node.step, node.id) for node in graph.nodes if node.step is not None)
    if not visited:
        raise ValueError(
            "save: there is no backward pass to show: draw with gradients=True, and before backward() frees the graph"
        )
    return [i for _, i in visited]


def animated_svg(graph, style):
    """The drawing as an SVG that plays the backward pass over and over."""
    steps = {i: k for k, i in enumerate(order(graph))}
    for prefix, uri in (("", _SVG[1:-1]), ("xlink", "http://www.w3.org/1999/xlink")):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.fromstring(render(to_dot(graph, style, named=True), "svg"))
    seconds = min(_STEP, _LONGEST / len(steps))
    film = _Film(seconds, _LEAD + seconds * len(steps) + _HOLD)
    for group in list(root.iter(f"{_SVG}g")):
        name = group.get("id", "")
        if name.startswith("a_back"):
            number = int(name.removeprefix("a_back"))
            _without_link(group)
            if number in steps:
                film.reveal(group, steps[number])
                film.light(group, steps[number])
        elif name.startswith("back"):
            number = int(name.removeprefix("back").partition("_")[0])
            if number in steps:
                film.reveal(group, steps[number] + 0.5)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _without_link(group):
    """Graphviz groups what belongs to a cell only where it is a link."""
    for link in group.findall(f"{_SVG}a"):
        group.remove(link)
        group.extend(list(link))


class _Film:
    """Adds SMIL animations to elements; `step` counts nodes."""

    def __init__(self, seconds, duration):
        self.seconds, self.duration = seconds, duration

    def reveal(self, element, step):
        """Fade in at a step, and stay."""
        start = _LEAD + step * self.seconds
        self._animate(
            element,
            "opacity",
            ["0.07", "0.07", "1", "1"],
            [0, start, start + 0.35 * self.seconds, self.duration],
        )

    def light(self, element, step):
        """Be lit while it is this node's turn."""
        shape = next(
            (one for one in element if one.get("fill") not in (None, "none") and one.tag != f"{_SVG}text"),
            None,
        )
        if shape is not None:
            start, fill = _LEAD + step * self.seconds, shape.get("fill")
            times = [0, start, start + self.seconds, start + 1.3 * self.seconds, self.duration]
            self._animate(shape, "fill", [LIT, LIT, LIT, fill, fill], times)

    def _animate(self, element, attribute, values, times):
        times = ";".join(f"{min(time / self.duration, 1):.4f}" for time in times)
        ElementTree.SubElement(
            element,
            f"{_SVG}animate",
            attributeName=attribute,
            values=";".join(values),
            keyTimes=times,
            dur=f"{self.duration:.2f}s",
            repeatCount="indefinite",
        )


def gif(graph, style):
    """The drawing as an animated GIF. RuntimeError without Pillow."""
    try:
        from PIL import Image
    except ImportError as error:
        raise RuntimeError(NEEDS_PILLOW) from error
    steps = order(graph)
    stride = -(-len(steps) // _MOST_FRAMES)
    frames = []
    for shown in [*range(0, len(steps), stride), len(steps)]:
        known, now = set(steps[:shown]), set(steps[max(0, shown - stride) : shown])
        png = render(to_dot(graph, style, known=known, now=now), "png", dots_per_inch=80)
        frames.append(Image.open(io.BytesIO(png)).convert("RGB").quantize(128))
    frames.append(frames[-1])  # the last step lit; then it stands
    size = max(frame.width for frame in frames), max(frame.height for frame in frames)
    frames = [frame if frame.size == size else frame.crop((0, 0, *size)) for frame in frames]
    data = io.BytesIO()
    durations = [700] * (len(frames) - 1) + [3000]
    frames[0].save(
        data, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, disposal=1
    )
    return data.getvalue()
