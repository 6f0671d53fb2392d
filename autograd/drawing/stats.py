"""Statistics of a value or gradient in a few numbers: a dict that goes into the graph data.

mean, std, min and max are over the finite elements, of magnitudes where the numbers are complex; norm is the Euclidean one.
zeros, nan and inf are shares of all elements, from 0 to 1; size counts these.
"""

import math

import numpy

from chainrule.backends import backend_of, namespaces


def statistics(array):
    """The statistics of an array of floats or complex numbers; None for other dtypes and for no elements."""
    if array is None or array.dtype.kind not in "fcV" or not array.size:
        return None
    array = array if isinstance(array, numpy.generic) else backend_of(array).stored(array)
    if array.size == 1 and array.dtype.kind == "f":
        return _of_number(array.item())
    host = numpy.asarray(array) if isinstance(array, numpy.generic) else backend_of(array).to_host(array)
    host = numpy.abs(host) if host.dtype.kind == "c" else host
    host = host.astype("float64" if host.dtype.itemsize == 8 else "float32", copy=False)
    size, finite = host.size, numpy.isfinite(host)
    nan = int(numpy.isnan(host).sum())
    inf = size - nan - int(finite.sum())
    kept = host[finite] if nan + inf else host
    found = {"mean": 0.0, "std": 0.0, "min": 0.0, "max": 0.0, "norm": 0.0}
    if kept.size:
        wide = {"dtype": "float64"}
        found = {
            "mean": float(kept.mean(**wide)),
            "std": float(kept.std(**wide)),
            "min": float(kept.min()),
            "max": float(kept.max()),
            "norm": float(numpy.sqrt(numpy.square(kept, **wide).sum())),
        }
    zeros = size - int(numpy.count_nonzero(host))
    return found | {"zeros": zeros / size, "nan": nan / size, "inf": inf / size, "size": size}


def finite(array):
    """Whether no element is NaN or infinite."""
    if array.dtype.kind not in "fc":
        return True
    if isinstance(array, numpy.generic):
        return bool(numpy.isfinite(array))
    array = backend_of(array).stored(array)
    return bool(namespaces[type(array)].isfinite(array).all())


def _of_number(x):
    nan, inf = float(x != x), float(math.isinf(x))
    value = 0.0 if nan or inf else x
    return {
        "mean": value, "std": 0.0, "min": value, "max": value, "norm": abs(value), "zeros": float(x == 0), "nan": nan, "inf": inf,
        "size": 1,
    }  # fmt: skip


def pooled(several):
    """The statistics of all elements of several values together; None if none is known."""
    known = [one for one in several if one is not None]
    if not known:
        return None
    total = sum(one["size"] for one in known)

    def average(name):
        return sum(one[name] * one["size"] for one in known) / total

    mean = average("mean")
    spread = sum((one["std"] ** 2 + (one["mean"] - mean) ** 2) * one["size"] for one in known) / total
    return {
        "mean": mean,
        "std": math.sqrt(spread),
        "min": min(one["min"] for one in known),
        "max": max(one["max"] for one in known),
        "norm": math.sqrt(sum(one["norm"] ** 2 for one in known)),
        "zeros": average("zeros"),
        "nan": average("nan"),
        "inf": average("inf"),
        "size": total,
    }


def bad(stats):
    """Whether a NaN or an infinity is among the elements."""
    return stats is not None and stats["nan"] + stats["inf"] > 0


def find_faults(graph, born_in_gradients):
    """Mark the nodes with a NaN or an infinity, and say where the first of them came from.

    An infinity that goes nowhere, as in a mask before a softmax, is no fault: what counts is what reaches an output, or, if all
    outputs are finite, a gradient. born_in_gradients: nodes whose backward operation was the first to make one.
    """
    for node in graph.nodes:
        if any(map(bad, node.stats)):
            node.bad = "value"
        elif any(map(bad, node.gradient_stats)):
            node.bad = "gradient"
    sources = {}
    for edge in graph.edges:
        if not edge.recurrent and graph.nodes[edge.source].bad == "value":
            sources.setdefault(edge.target, []).append(edge.source)
    stack = [node.id for node in graph.nodes if node.target and node.bad == "value"]
    reached = set(stack)
    while stack:
        for source in sources.get(stack.pop(), ()):
            if source not in reached:
                reached.add(source)
                stack.append(source)
    origins = [i for i in reached if not sources.get(i)]
    where = "value"
    if not origins:
        origins, where = [box.id for box in born_in_gradients[:1]], "gradient"
    if origins:
        graph.first_bad = min(origins)
        node = graph.nodes[graph.first_bad]
        what = (
            node.operation
            if where == "value" and node.operation
            else node.backward
            if node.operation
            else node.name or node.kind
        )
        line = f" ({node.source})" if node.source else ""
        verb = "is the value of" if where == "value" else "is made by"
        graph.notes.append(f"the first NaN or infinity {verb} {what}{line}")
