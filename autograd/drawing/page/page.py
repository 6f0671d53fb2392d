"""Putting the page together: one HTML file with its style, its program and the graph in it, and nothing from elsewhere.

    text.js                     numbers and sizes as text
    layout.js, across.js, compound.js   the layered layout: ranks and order, coordinates, boxes within boxes
    model.js, steps.js          what is folded and visible; the backward pass, step by step
    cards.js, colours.js, draw.js       what stands on a box, in which colour, on the canvas
    panel.js, controls.js, main.js      what is written beside it, what the reader does, and the page as a whole

The graph is data in a `<script type="application/json">`, in which no `<` stands, so that nothing in it can end the element. The
program writes text only with `textContent` and `fillText`. And the page's policy admits that one program, by its hash, and no
address at all.
"""

import base64
import hashlib
import html
import json
from importlib import resources

from ..data import _strict

SCRIPTS = (
    "text.js", "layout.js", "across.js", "compound.js", "model.js", "steps.js", "cards.js", "colours.js", "draw.js", "panel.js",
    "controls.js", "main.js",
)  # fmt: skip

# A graph of more nodes comes folded only, if it can be folded: the file would be larger than a browser likes.
LARGEST = 20_000


class Page(str):
    """The page as text, which a notebook shows in a frame of its own."""

    def _repr_html_(self):
        return (
            f'<iframe srcdoc="{html.escape(self)}" sandbox="allow-scripts" '
            'style="width: 100%; height: 640px; border: 1px solid #d5dae1"></iframe>'
        )


def render(graph, folded=None, title="chainrule", color=None):
    """The page. graph, folded: what `Graph.to_dict()` gives, of the whole graph and of the one that is rendered.

    The reader can change between the two, if they differ. color: what the page opens coloured by, as in `draw`.
    """
    graphs = {"whole": graph, "color": color}
    if folded is not None and len(folded["nodes"]) < len(graph["nodes"]):
        graphs["folded"] = folded
        if len(graph["nodes"]) > LARGEST:
            del graphs["whole"]
    script = "\n" + program() + "\n"
    parts = {
        "title": html.escape(title),
        "style": _read("page.css"),
        "script": script,
        "digest": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": _embedded(graphs),
    }
    first, *rest = _read("page.html").split("{{")
    pieces = [first]
    for part in rest:
        name, _, after = part.partition("}}")
        pieces += parts[name], after
    return Page("".join(pieces))


def program():
    """The program of the page: its files, one after the other, in a scope of their own."""
    return '"use strict";\n{\n' + "\n".join(map(_read, SCRIPTS)) + "}"


def _embedded(value):
    """JSON in which no character can end the element around it; it reads as the same value."""
    text = json.dumps(_strict(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _read(name):
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
