"""`draw`: what the user calls. Finds out what the target is, gathers what is known of it, and returns a `Picture`."""

import sys

from chainrule.autograd import late

from .backward import fill_gradients
from .boxes import Style
from .collect import Collector
from .names import Names, flat, is_module, variables_of
from .picture import Picture
from .record import Recorder, unchanged
from .revive import revive


def draw(
    target, *inputs, params=None, values=9, gradients=True, saved=True, source=True, modules=True, shapes=True,
    legend=True, direction=None, max_nodes=1000,
):  # fmt: skip
    """One picture of the forward and the backward graph of `target`; nothing is changed by drawing it.

    target: a Tensor, a list or dict of Tensors, or a module or function, which is called with `inputs`. Of a function or
        module more is known: every value, the line of code and the module of every operation.
    params: names for parameters: a module, a dict, or pairs as `named_parameters()` gives them. Without it they are called
        by the modules and variables that hold them where `draw` is called.
    values: write out values and gradients of up to so many elements (True: 9, False: none).
    gradients: carry a gradient of ones back from the target to show every gradient. It goes to the picture only.
    saved, source, modules, shapes, legend: whether to show the bytes kept for the backward pass, the user's lines, the
        modules as boxes around their operations, shapes and dtypes, and the key to the colours.
    direction: "LR" (left to right), "TB" (top to bottom), or None to choose by the graph's depth.
    max_nodes: a larger graph is folded to its modules when it is rendered; `.dot` always holds all of it.

    Gradients of a target with several elements are those of its sum. Returns a Picture: `.save("graph.svg")`, `.dot`,
    `.graph`; a notebook shows it. Raises RuntimeError if no operation behind the target was recorded.
    """
    style = Style(bool(saved), bool(source), bool(modules), bool(shapes), bool(legend), _direction(direction))
    limit = (9 if values else 0) if isinstance(values, bool) else int(values)
    names = Names()
    if params is not None:
        names.add_params(params)
    caller = sys._getframe(1)
    if _is_function(target):
        if not is_module(target):
            names.add_function(target)
        outputs, recorder = _run(target, inputs, names, limit, caller)
        facts, paths = recorder.facts, recorder.modules
    else:
        if inputs:
            raise TypeError(
                f"draw: inputs are for a module or a function, the target is a {type(target).__name__}"
            )
        _add_caller(names, caller)
        outputs, facts, paths = _outputs(target, None, names), {}, {}
    collector = Collector(names, facts, limit)
    graph = collector.collect(outputs)
    graph.modules = paths
    graph.subject = _subject(outputs)
    if limit and not facts and len(graph.nodes) <= max_nodes:
        revived = revive(collector)
    else:
        revived = None if any(node.freed for node in graph.nodes) else {}
    if revived is None:
        graph.notes.append(
            "backward() has freed what was saved: only gradients kept in .grad are known; draw before it, or the function itself, to see all"
        )
    elif gradients:
        fill_gradients(collector, [tensor for _, tensor in outputs], revived)
    return Picture(graph, style, max_nodes)


def _direction(direction):
    if direction not in (None, "LR", "TB"):
        raise ValueError(f'draw: direction is "LR", "TB" or None, got {direction!r}')
    return direction


def _is_function(target):
    return callable(target) and not isinstance(target, late.Tensor)


def _add_caller(names, frame):
    names.add_scope(variables_of(frame))
    names.add_scope(frame.f_globals)


def _run(function, inputs, names, limit, caller):
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
    recorder = Recorder(limit, root, names.of_module)
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
    stem = "f" if name == "<lambda>" else "y" if is_module(function) or name == "forward" else name
    return stem + suffix


def _subject(outputs):
    """What the gradients are of."""
    name, tensor = outputs[0]
    if len(outputs) > 1:
        return "Σ"
    return name if tensor._array.size == 1 else f"Σ{name}"
