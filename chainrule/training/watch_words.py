"""What a `Watch` has measured, in words: a table of the last step, and what looks wrong over the last ones."""

import math
import statistics

# Of how many records the median is judged.
_LAST = 10
# A weight's gradient (root mean square) against the largest of all weights: below, it vanishes.
_VANISHING = 1e-4
# The norm of a gradient, and how many times what it was before: above, it explodes.
_EXPLODING, _GROWN = 1e3, 1e3
# |update| / |weight|: usual is 1e-3.
_LARGE_STEP, _SMALL_STEP = 0.1, 1e-7
_DEAD = 0.5


def table(watch):
    """Two tables as text."""
    if not watch.records:
        return f"{watch!r}: nothing measured yet; call step() after optimizer.step()"
    record = watch.records[-1]
    layers = [["layer", "", "mean", "std", "zeros", "dead", "NaN", "Inf", "calls"]]
    for name, found in record["activations"].items():
        shares = [_share(found[key]) for key in ("zeros", "dead", "nan", "inf")]
        numbers = [_short(found["mean"]), _short(found["std"]), *shares, str(found["calls"])]
        layers.append([name, watch.layers[name], *numbers])
    parameters = [
        ["parameter", "shape", "gradient norm", "mean", "std", "zeros", "NaN", "Inf", "update/weight"]
    ]
    for name, found in record["gradients"].items():
        numbers = ["-"] * 6
        if found is not None:
            shares = [_share(found[key]) for key in ("zeros", "nan", "inf")]
            numbers = [_short(found["norm"]), _short(found["mean"]), _short(found["std"]), *shares]
        shape = " x ".join(map(str, watch.shapes[name])) or "number"
        parameters.append([name, shape, *numbers, _short(record["updates"].get(name, math.nan))])
    return f"step {record['step']}\n\n{_aligned(layers)}\n\n{_aligned(parameters)}"


def _aligned(rows):
    """Rows of text in columns, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _short(number):
    return "-" if math.isnan(number) else f"{number:.2e}"


def _share(part):
    return "0" if part == 0 else f"{100 * part:.1f}%"


def problems(watch):
    """A list of sentences."""
    if not watch.records:
        return []
    return [*_not_finite(watch), *_gradients(watch), *_steps(watch), *_dead(watch)]


def _not_finite(watch):
    """Where the first NaN or infinity was seen: forward in the first layer, backward in the last parameter."""
    for kind, what in (("activations", "output"), ("gradients", "gradient")):
        for record in watch.records:
            bad = [
                name
                for name, found in record[kind].items()
                if found is not None and found["nan"] + found["inf"] > 0
            ]
            if bad:
                name = bad[0] if kind == "activations" else bad[-1]
                found = record[kind][name]
                of = f"{name} ({watch.layers[name]})" if kind == "activations" else name
                more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
                yield (
                    f"NaN or Inf: the {what} of {of} is {_share(found['nan'])} NaN and {_share(found['inf'])} Inf "
                    f"at step {record['step']}, the first step where any is{more}"
                )
                break


def _gradients(watch):
    """Missing, vanishing and exploding gradients."""
    norms = {name: _finite(values) for name, values in watch.series("gradients", "norm").items()}
    sizes = {}
    for name, values in norms.items():
        if not values:
            if all(record["gradients"].get(name) is None for record in watch.records):
                yield f"no gradient: {name} never had one; it is not used, or detached from the loss"
        elif max(values) == 0:
            yield f"no gradient: that of {name} was exactly 0 in all {len(values)} measured steps"
        elif len(watch.shapes[name]) > 1:
            sizes[name] = _recent(values) / math.sqrt(math.prod(watch.shapes[name]))
    largest = max(sizes, key=sizes.get, default=None)
    for name, size in sizes.items():
        if size < _VANISHING * sizes[largest]:
            yield (
                f"vanishing: the gradient of {name} is {size:.2e} an element (root mean square), "
                f"{size / sizes[largest]:.1e} of that of {largest}"
            )
    for name, values in norms.items():
        if not values:
            continue
        now, before = values[-1], statistics.median(values[:-1] or values)
        if _recent(values) > _EXPLODING:
            yield f"exploding: the gradient of {name} has the norm {_recent(values):.2e}"
        elif before > 0 and now > _GROWN * before:
            yield f"exploding: the gradient of {name} has the norm {now:.2e}, {now / before:.0f} times the median of before"


def _steps(watch):
    """Updates that are large or small beside the weights."""
    for name, values in watch.series("updates").items():
        values = _finite(values)
        gradient = watch.records[-1]["gradients"].get(name)
        if not values or len(watch.shapes[name]) < 2 or gradient is None or gradient["norm"] == 0:
            continue
        ratio = _recent(values)
        if ratio > _LARGE_STEP:
            yield f"large steps: each changes {name} by {100 * ratio:.2g}% of its norm (usual is 0.1%); lower the learning rate"
        elif ratio < _SMALL_STEP:
            yield f"small steps: each changes {name} by {ratio:.1e} of its norm (usual is 1e-3)"


def _dead(watch):
    """Layers most of whose units were 0 for all samples in each of the last steps."""
    before = False  # a pooling or reshaping layer after one that was named repeats it
    owners = {name.rpartition(".")[0] for name in watch.shapes}
    for name, values in watch.series("activations", "dead").items():
        values = _finite(values)[-_LAST:]
        kind = watch.layers[name]
        dead = bool(values) and min(values) >= _DEAD and not kind.endswith("Dropout")
        repeats = before and name not in owners and not kind.endswith(("LU", "shrink"))
        if dead and not repeats:
            yield (
                f"dead: {100 * min(values):.0f}% or more of the units of {name} ({kind}) were 0 for every sample in each of "
                f"the last {len(values)} measured steps"
            )
        before = dead


def _finite(values):
    return [value for value in values if math.isfinite(value)]


def _recent(values):
    return statistics.median(values[-_LAST:])
