"""What a model is and costs, module by module: shapes, parameters, floating point operations, memory kept for backward.

    print(cr.summary(model, x))

A copy of the model is run once on a copy of the inputs, watched by the profiler, whose table says how many operations each operation
takes (`autograd/flops.py`). So nothing of the model changes, nor do the random numbers that come after.
"""

import copy
from typing import NamedTuple

from chainrule.autograd.events import scaled
from chainrule.autograd.functions.draws import get_rng_state, set_rng_state
from chainrule.autograd.modes import enable_grad, no_grad
from chainrule.autograd.profiler import profile
from chainrule.autograd.tensor import Tensor
from chainrule.autograd.transforms import flatten
from chainrule.backends import backend_of, namespaces
from chainrule.nn import Module
from chainrule.nn.parameter import is_lazy


class Row(NamedTuple):
    """One module. flops, kept (bytes) and calls are of all its calls, and include the modules in it; parameters do too."""

    path: str
    type: str
    output: str
    parameters: int
    flops: int
    kept: int
    calls: int


class Summary:
    """The rows, one for each module that was called, and the totals; printed, a table.

    parameters, trainable: how many numbers. parameter_bytes, buffer_bytes: their memory. flops: floating point operations of one
    forward pass. kept: bytes kept for backward, parameters not counted.
    """

    def __init__(self, model, rows):
        self.rows = rows
        parameters = list(model.parameters())
        self.parameters = sum(one.numel() for one in parameters)
        self.trainable = sum(one.numel() for one in parameters if one.requires_grad)
        self.parameter_bytes = sum(one.nbytes for one in parameters)
        self.buffer_bytes = sum(one.nbytes for one in model.buffers())
        self.flops, self.kept = rows[0].flops, rows[0].kept

    def __str__(self):
        head = ("Module", "Output", "Parameters", "FLOPs", "Kept for backward")
        depths, body = {}, []
        for row in self.rows:
            # Indented below the nearest module around it that was called: not every container is.
            around = next(
                (path for path in reversed(depths) if f"{row.path}.".startswith(f"{path}." * bool(path))),
                None,
            )
            depths[row.path] = 0 if around is None else depths[around] + 1
            name = row.path[len(around) + 1 if around else 0 :]
            label = "  " * depths[row.path] + (f"{name}: " if name else "") + row.type
            body.append((
                label + f" x{row.calls}" * (row.calls > 1), row.output, f"{row.parameters:,}", scaled(row.flops, 1000, ""),
                scaled(row.kept, 1024, "B"),
            ))  # fmt: skip
        widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
        texts = [_line(head, widths), "-" * (sum(widths) + 2 * len(widths) - 2)]
        texts += [_line(one, widths) for one in body]
        texts += [
            texts[1],
            f"Parameters: {self.parameters:,} ({scaled(self.parameter_bytes, 1024, 'B')}), of which {self.trainable:,} are trained",
            f"Buffers: {scaled(self.buffer_bytes, 1024, 'B')}",
            f"FLOPs of one forward pass: {scaled(self.flops, 1000, '')}",
            f"Kept for backward: {scaled(self.kept, 1024, 'B')}",
        ]
        return "\n".join(texts)

    __repr__ = __str__


def _line(cells, widths):
    """Names and shapes to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


class _Counter(profile):
    """A profile that also holds on to the arrays kept for backward, so that one kept twice counts once."""

    def __init__(self):
        super().__init__()
        self.arrays = []

    def recorded(self, node, out):
        """Note what the node keeps."""
        super().recorded(node, out)
        self.arrays += [one for one in flatten(node.saved)[0] if one.__class__ in namespaces]

    def position(self):
        """How much has been seen so far."""
        return len(self._events), len(self.arrays)

    def cost(self, start, parameters):
        """(floating point operations, bytes kept) since `start`; the memory in `parameters`, {its owner's id}, does not count."""
        events = self._events[start[0] :]
        owners = [backend_of(one).root(one) for one in self.arrays[start[1] :]]
        kept = {id(one): one.nbytes for one in owners if id(one) not in parameters}
        return sum(one.flops for one in events if one.kind == "forward"), sum(kept.values())


def summary(model, *inputs, **kwargs):
    """Run a copy of `model` on copies of the inputs, in the mode it is in, and say what each module in it gives and costs.

    Returns a `Summary`: print it, or read its rows and totals.

    >>> found = cr.summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), cr.ones(16, 4))
    >>> found.parameters, found.flops, [row.output for row in found.rows]
    (58, 1664, ['(16, 2)', '(16, 8)', '(16, 8)', '(16, 2)'])
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: expected a Module, got {type(model).__name__}")
    copied = copy.deepcopy(model)
    args, kwargs = _copied((inputs, kwargs))
    counter, rows, starts = _Counter(), {}, []

    def before(module, args):
        starts.append(counter.position())

    def after(path):
        def note(module, args, output):
            flops, kept = counter.cost(starts.pop(), memory)
            own = rows[path]
            rows[path] = own._replace(
                output=_shapes(output),
                parameters=sum(one.numel() for one in module.parameters()),
                flops=own.flops + flops,
                kept=own.kept + kept,
                calls=own.calls + 1,
            )

        return note

    state = get_rng_state()
    try:
        if any(is_lazy(one) for one in (*copied.parameters(), *copied.buffers())):
            with no_grad():  # what lazy layers do to become ordinary ones does not count
                more, named = _copied((inputs, kwargs))
                copied(*more, **named)
        memory = _memory(copied)
        for path, module in copied.named_modules():
            rows[path] = Row(path, module._get_name(), "", 0, 0, 0, 0)
            module.register_forward_pre_hook(before)
            module.register_forward_hook(after(path))
        with enable_grad(), counter:
            copied(*args, **kwargs)
    finally:
        set_rng_state(state)
    return Summary(copied, [row for row in rows.values() if row.calls])


def _memory(model):
    """The ids of the arrays that own the parameters' memory."""
    arrays = [one._array for one in model.parameters()]
    return {id(backend_of(one).root(one)) for one in arrays}


def _copied(tree):
    """Nested tuples, lists and dicts with a copy of every Tensor."""
    leaves, rebuild = flatten(tree)
    return rebuild(
        [
            one.detach().clone().requires_grad_(one.requires_grad) if isinstance(one, Tensor) else one
            for one in leaves
        ]
    )


def _shapes(output):
    """The shapes of the Tensors in an output, as text."""
    found = [str(tuple(one.shape)) for one in flatten(output)[0] if isinstance(one, Tensor)]
    return ", ".join(found) or type(output).__name__
