"""Values that the graph does not hold, computed anew for the picture.

Nodes keep what their rules need, not their outputs, and `backward()` frees even that. But the leaves still hold their
values, and so may the user's variables. Where these suffice, the forward operations are run again on them: a student who
calls `f.backward()` and then draws `f` sees every number.
"""

from chainrule.autograd import late
from chainrule.autograd.graph import Node
from chainrule.autograd.modes import no_grad
from chainrule.autograd.writes import log
from chainrule.backends import namespaces

from .collect import input_names, origin
from .data import plain


def revive(collector):
    """Fill in values of `collector`'s boxes. Returns {freed node: what it had saved}, or None if some cannot be found."""
    variables = {edge: tensor for edge, (_, tensor) in collector.names.of_edge.items()}
    known, saved, complete = {}, {}, True
    with no_grad():
        for place, box in collector.boxes.items():
            freed = isinstance(place, Node) and place.saved is None
            outputs, inputs = _values(place, known, variables)
            if outputs is not None:
                known[place] = outputs
                box.stats = [
                    collector.statistics(one) if old is None else old
                    for one, old in zip(outputs, box.stats, strict=True)
                ]
                box.values = [
                    plain(one, collector.limit) if old is None else old
                    for one, old in zip(outputs, box.values, strict=True)
                ]
            if freed and inputs is not None and outputs is not None:
                saved[place] = _saved(place.op, inputs, outputs)
            elif freed:
                complete = False
    return saved if complete else None


def _values(place, known, variables):
    """The arrays of the outputs and of the inputs of a node or leaf, each None where they cannot be known."""
    if not isinstance(place, Node):
        return [place._array], None
    inputs = [_input(place, i, known) for i in range(len(place.edges))]
    arrays = [one for one in inputs if type(one) in namespaces]
    if any(one is None for one in inputs) or any(log.last(one) > place.epoch for one in arrays):
        inputs = None
    # Inputs of different dtypes were cast before anything was saved; such operations are left unknown.
    if inputs is not None and hasattr(place.op, "function") and len({one.dtype for one in arrays}) == 1:
        given = [late.Tensor._wrap(one) if type(one) in namespaces else one for one in inputs]
        made = place.op.function(*given, **(place.static or {}))
        return [one._array for one in (made if isinstance(made, tuple) else (made,))], inputs
    tensor = variables.get(place)
    if tensor is None or log.last(tensor._array) > place.epoch:
        return None, None
    return [tensor._array], inputs


def _input(node, i, known):
    """The array (or number) that was input `i`: the output of an earlier node, or a constant if it was saved; else None."""
    edge = node.edges[i]
    if edge is not None:
        source, output = origin(edge)
        return known[source][output] if source in known else None
    names = [name for name, _ in getattr(node.op, "saves", ())]
    name = input_names(node)[i]
    value = node.saved[names.index(name)] if node.saved and name in names else None
    return value if type(value) in namespaces or isinstance(value, (int, float, complex)) else None


def _saved(op, inputs, outputs):
    """The tuple that `op` saves for its rules."""
    values = dict(zip(op.inputs, inputs, strict=False)) | dict(zip(op.outputs, outputs, strict=False))
    if op.variadic:
        values[op.variadic] = tuple(inputs[len(op.inputs) :])
    found = []
    for name, _ in op.saves:
        base, _, what = name.rpartition("_")
        if name in values:
            found.append(values[name])
        elif base == op.variadic:
            found.append(tuple(getattr(one, what) for one in values[base]))
        else:
            found.append(getattr(values[base], what))
    return tuple(found)
