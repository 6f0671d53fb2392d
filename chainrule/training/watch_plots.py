"""The pictures of a `Watch`."""

import importlib
import math

import numpy

from .plots import chart, finished, lines_of

_KINDS = {  # kind: what of the records, which statistic, the axis, whether it is logarithmic
    "gradients": ("gradients", "norm", "gradient norm", True),
    "updates": ("updates", None, "|update| / |weight|", True),
    "activations": ("activations", "std", "standard deviation of the output", True),
    "dead": ("activations", "dead", "share of dead units", False),
}
_MOST_HISTOGRAMS = 24


def plot(watch, kind, path):
    """The picture of one kind."""
    if kind not in (*_KINDS, "histograms"):
        raise ValueError(f"Watch.plot: kind must be one of {[*_KINDS, 'histograms']}, got {kind!r}")
    if not watch.records:
        raise RuntimeError("Watch.plot: nothing measured yet; call step() after optimizer.step()")
    if kind == "histograms":
        return _histograms(watch, path)
    of, statistic, label, logarithmic = _KINDS[kind]
    series = watch.series(of, statistic)
    steps = [record["step"] for record in watch.records]
    figure = chart(2, width=5.2, height=max(3.4, 1.0 + 0.21 * len(series)))
    if figure is None:
        return finished(f"{label}\n{lines_of(series)}", path)
    names = [f"{name}  {watch.layers[name]}" if of == "activations" else name for name in series]
    _flow(figure, steps, names, series, label, logarithmic)
    return finished(figure, path)


def _flow(figure, steps, names, series, label, logarithmic):
    """Left the last value of each layer, over the range of all steps; right the course, in the same colours."""
    left, right = figure.axes
    colors = importlib.import_module("matplotlib").colormaps["viridis"](
        numpy.linspace(0, 0.9, max(1, len(series)))
    )
    for place, (color, values) in enumerate(zip(colors, series.values(), strict=False)):
        values = numpy.asarray(values, dtype=float)
        shown = numpy.isfinite(values) & ((values > 0) | (not logarithmic))
        if not shown.any():
            left.annotate(
                "0" if (values == 0).any() else "none",
                (0.02, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=7,
            )
            continue
        left.plot([values[shown].min(), values[shown].max()], [place, place], color=color, alpha=0.35, lw=5)
        left.plot(values[shown][-1], place, "o", color=color, markersize=5)
        right.plot(
            steps,
            numpy.where(shown, values, math.nan),
            color=color,
            lw=1.2,
            marker="." if len(steps) < 3 else "",
        )
    left.set_yticks(range(len(series)), names, fontsize=8)
    left.set(xlabel=f"{label} (dot: last, bar: all steps)", ylim=(max(1, len(series)) - 0.5, -0.5))
    right.set(xlabel="step", ylabel=label)
    if logarithmic:
        left.set_xscale("log")
        right.set_yscale("log")
    else:
        left.set_xlim(-0.02, 1.02)
        right.set_ylim(-0.02, 1.02)


def _histograms(watch, path):
    """For each parameter a map: across the steps, upwards the size of the gradient's elements, dark where many are."""
    if not watch.histograms:
        raise RuntimeError("Watch.plot: nothing was counted; make it with cr.watch(model, histograms=True)")
    from .watching import EDGES

    names = dict.fromkeys(name for record in watch.records for name in record["histograms"])
    names = list(names)[:_MOST_HISTOGRAMS]
    steps = [record["step"] for record in watch.records]
    nothing = numpy.zeros(len(EDGES) - 1)
    maps = {}
    for name in names:
        counts = numpy.array(
            [record["histograms"].get(name, nothing) for record in watch.records], dtype=float
        )
        maps[name] = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)
    columns = min(3, max(1, len(maps)))
    figure = chart(columns, math.ceil(len(maps) / columns) or 1, width=3.4, height=2.4)
    if figure is None:
        middles = 0.5 * (EDGES[1:] + EDGES[:-1])
        means = {name: (share @ middles).tolist() for name, share in maps.items()}
        return finished(f"mean of log10|gradient|\n{lines_of(means)}", path)
    total = sum((share.sum(axis=0) for share in maps.values()), nothing)
    filled = numpy.flatnonzero(total > 1e-3 * total.sum())
    low, high = (EDGES[filled[0]], EDGES[filled[-1] + 1]) if len(filled) else (EDGES[0], EDGES[-1])
    across = [*steps, steps[-1] + watch.every]
    for axes, (name, share) in zip(figure.axes, maps.items(), strict=False):
        axes.grid(False)
        axes.pcolormesh(across, EDGES, share.T, cmap="Blues", rasterized=True)
        axes.set_title(name, fontsize=9)
        axes.set(ylim=(low, high), xlabel="step", ylabel="log10 |gradient|")
        axes.tick_params(labelsize=7)
        axes.xaxis.label.set_size(8)
        axes.yaxis.label.set_size(8)
    for axes in figure.axes[len(maps) :]:
        axes.remove()
    return finished(figure, path)
