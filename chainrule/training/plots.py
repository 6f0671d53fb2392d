"""Curves of a run, and the ways optimizers take down a hill. With Matplotlib; text of about the same content without it."""

import importlib
import os
from pathlib import Path

import numpy

from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.modes import no_grad

_BLOCKS = "▁▂▃▄▅▆▇█"
_SHADES = " .:-=+*#%@"


def chart(columns, rows=1, width=4.6, height=3.4):
    """A Matplotlib figure with `rows` x `columns` axes, or None where there is no Matplotlib."""
    try:
        figure = importlib.import_module("matplotlib.figure").Figure(
            figsize=(width * columns, height * rows), layout="constrained"
        )
    except ImportError:
        return None
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def finished(made, path):
    """`made`, a figure or text, after it was saved if there is a path; a text goes to the path ending in .txt."""
    if path is not None:
        path = Path(os.fsdecode(path))
        if isinstance(made, str):
            path.with_suffix(".txt").write_text(made + "\n", encoding="utf-8")
        else:
            made.savefig(path, dpi=110)
    return made


def sparkline(values, width=60):
    """Numbers as a line of blocks, at most `width`; "?" stands for one that is not finite."""
    values = numpy.asarray(values, dtype=float)
    if len(values) > width:
        values = values[numpy.linspace(0, len(values) - 1, width).round().astype(int)]
    fine = values[numpy.isfinite(values)]
    low, high = (fine.min(), fine.max()) if len(fine) else (0.0, 0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(
        _BLOCKS[round((value - low) * scale)] if numpy.isfinite(value) else "?" for value in values
    )


def lines_of(columns):
    """Named lists of numbers as lines of text: the name, the curve, the first and the last value."""
    width = max(map(len, columns), default=0)
    return "\n".join(
        f"{name:{width}}  {sparkline(values)}  {values[0]:.4g} -> {values[-1]:.4g}"
        for name, values in columns.items()
    )


def plot_history(history, path=None):
    """The curves of a run: losses, metrics, and the learning rate if it changed.

    history: what `fit` returns or `Log.read` reads, a list of dicts; or a dict of lists. Saved to `path`, by its ending, if there is
    one. Returns the Matplotlib figure; without Matplotlib text, which is saved beside `path` as .txt.
    """
    columns = _columns(history)
    if not columns:
        raise ValueError("plot_history: the history is empty")
    x = columns.pop("epoch", None) or columns.pop("step", None)
    panels = {"loss": {}, "metrics": {}, "learning rate": {}}
    for name, values in columns.items():
        panel = "loss" if "loss" in name else "learning rate" if name == "lr" else "metrics"
        if panel != "learning rate" or len(set(values)) > 1:
            panels[panel][name] = values
    panels = {title: curves for title, curves in panels.items() if curves}
    figure = chart(max(1, len(panels)))
    if figure is None:
        return finished(
            lines_of({name: values for curves in panels.values() for name, values in curves.items()}), path
        )
    for axes, (title, curves) in zip(figure.axes, panels.items(), strict=False):
        for name, values in curves.items():
            axes.plot(
                x or range(1, len(values) + 1),
                values,
                label=name.replace("_", " "),
                marker="." if len(values) < 30 else "",
            )
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if title != "learning rate":
            axes.legend(frameon=False)
    return finished(figure, path)


def _columns(history):
    """{name: list of numbers}; NaN where a row lacks one. What is not a number is left out."""
    if isinstance(history, dict):
        return {name: list(values) for name, values in history.items() if all(map(_is_number, values))}
    names = dict.fromkeys(name for row in history for name, value in row.items() if _is_number(value))
    return {
        name: [row[name] if _is_number(row.get(name)) else float("nan") for row in history] for name in names
    }


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def descend(function, start, optimizer, steps=50):
    """The points (x, y) an optimizer visits from `start` on `function(x, y)`: a list of steps + 1 pairs.

    optimizer: a function from a list of parameters to an optimizer, `lambda p: cr.optim.SGD(p, lr=0.1)`.
    """
    point = tensor([float(one) for one in start], requires_grad=True)
    method = optimizer([point])
    points = [tuple(point.tolist())]

    def closure():
        method.zero_grad()
        value = function(point[0], point[1])
        value.backward()
        return value

    for _ in range(steps):
        method.step(closure)
        points.append(tuple(point.tolist()))
    return points


@no_grad()
def plot_contour(
    function, path=None, *, paths=None, x=(-2.0, 2.0), y=(-2.0, 2.0), levels=25, log=False, points=200
):
    """The contour lines of `function(x, y)`, and on them the `paths` of optimizers, {name: list of (x, y)}, as `descend` gives.

    function: is given two Tensors of coordinates, and works elementwise. x, y: the part of the plane. log: levels by equal
    factors above the minimum, for narrow valleys. Saved to `path` and returned as in `plot_history`.
    """
    paths = paths or {}
    figure = chart(1, width=6.2, height=4.6)
    if figure is None:
        return finished(_map(function, paths, x, y), path)
    heights = _heights(function, x, y, points, points)
    (axes,) = figure.axes
    axes.grid(False)
    across, up = numpy.linspace(*x, points), numpy.linspace(*y, points)
    if log:
        above = heights - heights.min()
        levels = numpy.geomspace(
            max(above[above > 0].min(initial=above.max()), above.max() * 1e-5), above.max(), levels
        )
        axes.contour(across, up, above, levels=levels, cmap="Greys_r", linewidths=0.8)
    else:
        axes.contour(across, up, heights, levels=levels, cmap="Greys_r", linewidths=0.8)
    for name, steps in paths.items():
        steps = numpy.asarray(steps, dtype=float)
        (line,) = axes.plot(*steps.T, marker=".", markersize=4, linewidth=1.4, label=name)
        axes.plot(*steps[-1], marker="o", markersize=7, color=line.get_color())
    if paths:
        start = numpy.asarray(next(iter(paths.values())), dtype=float)[0]
        axes.plot(*start, marker="s", markersize=7, color="black", linestyle="", label="start")
        axes.legend(frameon=True, framealpha=0.9, loc="best")
    axes.set(xlim=x, ylim=y, xlabel="x", ylabel="y")
    return finished(figure, path)


def _heights(function, x, y, columns, rows):
    """The function on a grid, an array (rows, columns)."""
    across, up = numpy.meshgrid(numpy.linspace(*x, columns), numpy.linspace(*y, rows))
    heights = function(tensor(across), tensor(up))
    return numpy.broadcast_to(heights.numpy(), across.shape)


def _map(function, paths, x, y, columns=64, rows=24):
    """The same in letters: the darker the higher, and a, b, ... where the paths go."""
    heights = _heights(function, x, y, columns, rows)
    ranks = numpy.searchsorted(numpy.sort(heights.ravel()), heights) * len(_SHADES) // heights.size
    grid = [[_SHADES[rank] for rank in row] for row in ranks]
    for letter, steps in zip("abcdefghijklmnopqrstuvwxyz", paths.values(), strict=False):
        for point in steps:
            column = (point[0] - x[0]) / (x[1] - x[0]) * (columns - 1)
            row = (point[1] - y[0]) / (y[1] - y[0]) * (rows - 1)
            if 0 <= column <= columns - 1 and 0 <= row <= rows - 1:
                grid[round(row)][round(column)] = letter
    lines = ["".join(row) for row in reversed(grid)]
    lines += [f"{letter}: {name}" for letter, name in zip("abcdefghijklmnopqrstuvwxyz", paths, strict=False)]
    return "\n".join(lines)
