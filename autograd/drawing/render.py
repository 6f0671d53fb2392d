"""From DOT text to SVG, PNG or PDF, with whatever Graphviz there is."""

import contextlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import warnings

INSTALL = """drawing needs Graphviz, and none was found. Any one of these brings it:
    pip install pygraphviz          (no system package needed)
    apt install graphviz            (Debian, Ubuntu)
    brew install graphviz           (macOS)
    winget install graphviz         (Windows)
Without it, .save("graph.dot") and .dot give the graph as DOT text."""

# Screens show 96 dots an inch; half as many again keeps small print sharp.
_PNG_DOTS_PER_INCH = 144


def renderer():
    """The name of what will render, "dot" or "pygraphviz", or None."""
    if shutil.which("dot") and importlib.util.find_spec("graphviz"):
        return "dot"
    return "pygraphviz" if importlib.util.find_spec("pygraphviz") else None


def render(dot, kind, dots_per_inch=_PNG_DOTS_PER_INCH):
    """The picture of DOT text as bytes; kind is "svg", "png" or "pdf". RuntimeError where no Graphviz is installed."""
    by = renderer()
    if by is None:
        raise RuntimeError(INSTALL)
    if kind == "png":
        dot = dot.replace("digraph {", f"digraph {{\n  graph [dpi={dots_per_inch}]", 1)
    data = _with_dot(dot, kind) if by == "dot" else _with_pygraphviz(dot, kind)
    return _fit(data) if kind == "svg" else data


def _with_dot(dot, kind):
    import graphviz

    return graphviz.pipe("dot", kind, dot.encode())


def _with_pygraphviz(dot, kind):
    import pygraphviz

    with warnings.catch_warnings(), _without_font_warnings():
        # It warns of large graphs; here they were folded, or asked for.
        warnings.simplefilter("ignore")
        return pygraphviz.AGraph(string=dot).draw(format=kind, prog="dot")


@contextlib.contextmanager
def _without_font_warnings():
    """Keep quiet about font settings of the system that the libraries in the pygraphviz wheel do not know.

    They write to the process's error stream itself, past `sys.stderr`; everything else they say is passed on.
    """
    try:
        stream = os.dup(2)
    except OSError:  # a process without an error stream
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stream, 2)
            os.close(stream)
            file.seek(0)
            said = [
                line for line in file.read().decode(errors="replace").splitlines() if "Fontconfig" not in line
            ]
            if said:
                print("\n".join(said), file=sys.stderr)


def _fit(svg):
    """An SVG that shrinks with the page instead of being cut off."""
    text = svg.decode()
    return re.sub(
        r'<svg width="([^"]+)" height="([^"]+)"',
        r'<svg width="\1" height="\2" style="max-width:100%;height:auto"',
        text,
        count=1,
    ).encode()
