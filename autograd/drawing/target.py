"""`draw`: what the user calls. Finds out what the target is, gathers what is known of it, and returns a `Picture`."""

import sys

from chainrule.autograd import late

from .backward import FreedError, fill_gradients, gradient_graph
from .boxes import Style
from .collect import Collector
from .color import SCALES
from .names import Names, flat, is_module, variables_of
from .picture import Picture
from .record import Recorder, unchanged
from .revive import revive
from .stats import find_faults


def draw(
    target, *inputs, params=None, values=9, gradients=True, stats=True, saved=True, source=True, modules=True, shapes=True,
    factors=False, time=False, create_graph=False, color=None, legend=True, direction=None, pair=None, depth=None, fold=None,
    max_nodes=1000,
):  # fmt: skip
    """One picture of the forward and the backward graph of `target`; nothing is changed by drawing it.

    target: a Tensor, a list or dict of Tensors, or a module or function, which is called with `inputs`. Of a function or
        module more is known: every value, the line of code and the module of every operation.
    params: names for parameters: a module, a dict, or pairs as `named_parameters()` gives them. Without it they are called
        by the modules and variables that hold them where `draw` is called.
    values: write out values and gradients of up to so many elements (True: 9, False: none).
    gradients: carry a gradient of ones back from the target to show every gradient. It goes to the picture only.
    stats: mean, standard deviation, norm and the shares of zeros and NaN of what is larger than `values`.
    saved, source, modules, shapes, legend: whether to show the bytes kept for the backward pass, the user's lines, the
        modules as boxes around their operations, shapes and dtypes, and the key to the colours.
    factors: write the local derivatives on the backward edges: gradient in times factor is gradient out.
    time: write what each operation took, forward and backward.
    create_graph: draw the graph of the gradient too, as `create_graph=True` records it, and second derivatives.
    color: "gradient" (norm, on a log scale), "activation" (root mean square, log), "zeros" (share), "saved" (bytes), "time",
        or "nan" (where NaN and infinity are, and where the first was born).
    direction: "LR" (left to right), "TB" (top to bottom), or None to choose by the graph's depth.
    pair: where the backward operation stands: "below" its forward operation, "beside" it, or None to choose.
    depth: show modules as boxes, opened down to so many levels; 1 opens none.
    fold: draw time steps and repeated blocks once, "× T"; None does so from 100 nodes on, False never.
    max_nodes: a graph that is still larger is folded to its modules when it is rendered; `.dot` always holds all of it.

    Gradients of a target with several elements are those of its sum. Returns a Picture: `.save("graph.svg")`, `.dot`,
    `.graph`; a notebook shows it. Raises RuntimeError if no operation behind the target was recorded.
    """
    style = Style(
        saved=bool(saved), source=bool(source), modules=bool(modules), shapes=bool(shapes), stats=bool(stats), factors=bool(factors),
        time=bool(time), legend=bool(legend), direction=_one_of("direction", direction, ("LR", "TB")),
        pair=_one_of("pair", pair, ("below", "beside")), color=_one_of("color", color, SCALES),
    )  # fmt: skip
    limit = (9 if values else 0) if isinstance(values, bool) else int(values)
    names = Names()
    if params is not None:
        names.add_params(params)
    caller = sys._getframe(1)
    if _is_function(target):
        if not is_module(target):
            names.add_function(target)
        outputs, recorder = _run(target, inputs, names, limit, caller, bool(stats))
    else:
        if inputs:
            raise TypeError(
                f"draw: inputs are for a module or a function, the target is a {type(target).__name__}"
            )
        _add_caller(names, caller)
        outputs, recorder = _outputs(target, None, names), Recorder(limit, stats=bool(stats))
    tensors, subject = [tensor for _, tensor in outputs], _subject(outputs)
    seen = not recorder.facts  # whether the operations have run already, unseen
    first = _first_gradients(recorder, tensors, names, subject) if create_graph else []
    collector = Collector(names, recorder.facts, limit, bool(stats))
    graph = collector.collect(outputs + first)
    graph.modules = recorder.modules
    graph.subject = subject
    large = len(graph.nodes) > max_nodes
    if limit and seen and not large:
        revived = revive(collector)
    else:
        revived = None if any(node.freed for node in graph.nodes) else {}
    if revived is None:
        graph.notes.append(
            "backward() has freed what was saved: only gradients kept in .grad are known; draw before it, or the function itself, to see all"
        )
    elif gradients:
        fill_gradients(collector, tensors, revived, factors or not large)
        if first:
            fill_gradients(collector, [tensor for _, tensor in first], revived, False, second=True)
    if stats:
        find_faults(graph, collector.born_in_gradients)
    return Picture(graph, style, max_nodes, depth, fold)


def _one_of(name, value, choices):
    if value is not None and value not in choices:
        listed = ", ".join(f'"{one}"' for one in choices)
        raise ValueError(f"draw: {name} is {listed} or None, got {value!r}")
    return value


def _first_gradients(recorder, tensors, names, subject):
    """The gradients of the leaves that have a graph themselves, as (name, Tensor), recorded by `recorder`."""
    try:
        found = recorder.call(gradient_graph, (tensors,))
    except FreedError as error:
        raise RuntimeError(
            f"draw: create_graph=True needs what {error} has saved, and backward() has freed it; draw before it, or the function itself"
        ) from None
    named = []
    for leaf, gradient in found.items():
        if gradient._current_edge() is not None:
            name, _ = names.of_tensor.get(id(leaf), (None, None))
            named.append((f"∂{subject}/∂{name or 'leaf'}", gradient))
    if not named:
        raise RuntimeError(
            "draw: create_graph=True draws the graph of the gradient, and there is none: the gradients of the target are constants"
        )
    return named


def _is_function(target):
    return callable(target) and not isinstance(target, late.Tensor)


def _add_caller(names, frame):
    names.add_scope(variables_of(frame))
    names.add_scope(frame.f_globals)


def _run(function, inputs, names, limit, caller, stats):
    """Call `function` and note what happens: (its outputs, the Recorder)."""
    root = function if is_module(function) else None
    if root is not None:
        names.add_module(root)
    names.add_arguments(function.forward if root is not None else function, inputs)
    if not names.wants_gradient and not any(one.requires_grad for one in _tensors(inputs)):
        # Nothing asks for a gradient, so nothing would be recorded: then the inputs are what to differentiate by.
        inputs = [_leaf(one) if isinstance(one, late.Tensor) else one for one in inputs]
        names.add_arguments(function, inputs)
    _add_caller(names, caller)
    recorder = Recorder(limit, root, names.of_module, stats)
    with unchanged(names.modules):
        outputs = _outputs(recorder.call(function, inputs), function, names)
    return outputs, recorder


def _tensors(inputs):
    return [one for _, one in flat(inputs) if isinstance(one, late.Tensor)]


def _leaf(tensor):
    """The same memory as a leaf that wants a gradient, where its dtype allows."""
    alias = tensor.detach()
    return alias.requires_grad_() if alias.is_floating_point() or alias.is_complex() else tensor


def _outputs(result, function, names):
    """The Tensors to draw, as (name, Tensor) pairs."""
    what = "the target" if function is None else "what the function returned"
    found = []
    for suffix, tensor in flat(result):
        if not isinstance(tensor, late.Tensor):
            raise TypeError(
                f"draw: {what} holds a {type(tensor).__name__}; expected a Tensor, or a list or dict of Tensors"
                + (", or a module or function with its inputs" if function is None else "")
            )
        found.append((_output_name(suffix, tensor, function, names), tensor))
    if not any(tensor.requires_grad for _, tensor in found):
        raise RuntimeError(
            f"draw: {what} has no graph: it was computed from nothing that requires grad, or under no_grad(). Set requires_grad=True "
            f"on an input before computing it, or draw the function itself: draw(function, *inputs)"
        )
    return found


def _output_name(suffix, tensor, function, names):
    if function is None:
        name, _ = names.of_tensor.get(id(tensor), (None, None))
        return name or suffix.strip("[]'\"") or "y"
    name = getattr(function, "__name__", "y")
    if suffix.startswith("['") and suffix.count("[") == 1:
        return suffix[2:-2]
    stem = "f" if name == "<lambda>" else "y" if is_module(function) or name == "forward" else name
    return stem + suffix


def _subject(outputs):
    """What the gradients are of."""
    name, tensor = outputs[0]
    if len(outputs) > 1:
        return "Σ"
    return name if tensor._array.size == 1 else f"Σ{name}"
