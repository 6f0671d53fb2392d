"""What a function computes from its inputs, as a list of operations: the trace that the ONNX export writes out.

Every operation is seen where it is computed (`ThreadState.run`), whether it is recorded for gradients or not. An array that
came from no traced operation is a constant; so is everything computed from constants alone.

A trace can be wrong in ways that no single run shows: a branch that depends on values, an array that left the operations for
NumPy and came back, a write into a part of an array. So it is replayed on other inputs and compared with the function itself.
"""

import numpy as np

from chainrule.autograd.modes import local, no_grad
from chainrule.autograd.op import owner
from chainrule.autograd.tensor import Tensor
from chainrule.autograd.writes import log
from chainrule.backends import namespaces


class Ref:
    """The place of a traced array among the inputs of a later operation."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name

    def __eq__(self, other):
        return isinstance(other, Ref) and other.name == self.name

    __hash__ = None


class Step:
    """One operation: its name, what computes it, its inputs and keywords (with a `Ref` for what was traced), its outputs."""

    def __init__(self, operation, function, xp, inputs, static, outputs):
        self.operation, self.function, self.xp = operation, function, xp
        self.inputs, self.static, self.outputs = inputs, static, outputs

    def __repr__(self):
        return f"{', '.join(self.outputs)} = {self.operation}({', '.join(map(str, self.inputs))})"


class Trace:
    """`steps`, and by name the arrays they gave; `outputs` are the Refs, arrays and numbers that the function returned."""

    def __init__(self, function, inputs):
        self.steps, self.arrays = [], {}
        self._names, self._written = {}, {}  # id of array -> its name; name -> the last write it has seen
        self.inputs = [self._name(array, f"input {number}") for number, array in enumerate(inputs)]
        state = local.state
        self._before = state.run
        state.run = self._run
        try:
            with no_grad():
                returned = function(*[Tensor._wrap(array) for array in inputs])
        finally:
            state.run = self._before
        self.outputs = [self._refer(one._array) for one in flattened(returned)]

    def _run(self, function, xp, *arrays, **static):
        refs = [self._refer(one) for one in arrays]
        kept = {key: mapped(self._refer, value) for key, value in static.items()}
        y = self._before(function, xp, *arrays, **static)
        if not any(isinstance(one, Ref) for one in leaves([refs, kept])):
            return y
        several = isinstance(y, tuple)
        outputs = [
            one if one.__class__ in namespaces else xp.asarray(one) for one in (y if several else (y,))
        ]
        if not (len(outputs) == 1 and id(outputs[0]) in self._names):  # else it gave an input back
            names = [self._name(one, f"{len(self.steps)}.{place}") for place, one in enumerate(outputs)]
            known = owner(function, arrays)
            name = known.name if known else function.__name__
            self.steps.append(Step(name, function, xp, refs, kept, names))
        return tuple(outputs) if several else outputs[0]

    def _name(self, array, name):
        self._names[id(array)] = name
        self.arrays[name] = array  # which must live, or its id may come again
        self._written[id(array)] = log.last(array)
        return name

    def _refer(self, value):
        """The Ref of a traced array; anything else is itself."""
        if value.__class__ not in namespaces or id(value) not in self._names:
            return value
        if log.last(value) > self._written[id(value)]:
            # An in-place operation computes its result and writes it here: the array stands for that result now.
            for step in reversed(self.steps):
                result = self.arrays[step.outputs[0]]
                if result is not value and result.shape == value.shape and bool((result == value).all()):
                    self._names[id(value)] = step.outputs[0]
                    break
            self._written[id(value)] = log.last(value)
        return Ref(self._names[id(value)])

    def replay(self, inputs):
        """The outputs for other inputs, by the steps alone."""
        known = dict(zip(self.inputs, inputs, strict=True))

        def value(one):
            return known[one.name] if isinstance(one, Ref) else one

        for step in self.steps:
            static = {key: mapped(value, one) for key, one in step.static.items()}
            y = local.state.run(step.function, step.xp, *[value(one) for one in step.inputs], **static)
            outputs = y if isinstance(y, tuple) else (y,)
            known.update(
                (name, step.xp.asarray(one)) for name, one in zip(step.outputs, outputs, strict=True)
            )
        return [value(one) for one in self.outputs]


def check(trace, function, inputs):
    """RuntimeError if the steps give something else than the function does for these inputs."""
    with no_grad():
        expected = [one._array for one in flattened(function(*[Tensor._wrap(one.copy()) for one in inputs]))]
    for number, (a, b) in enumerate(zip(trace.replay(inputs), expected, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True):
            raise RuntimeError(
                f"onnx.export: what was traced gives another output {number} than the function itself for other inputs of the "
                f"same shape. It branches on values, draws random numbers, writes into part of a tensor, takes values out "
                f"(.item(), .numpy()), or lets an integer tensor meet a floating point one: convert such with .to(dtype)"
            )


def flattened(value):
    """The Tensors in nested tuples, lists and dicts; None counts as no output."""
    if isinstance(value, Tensor):
        return [value]
    if value is None:
        return []
    if isinstance(value, (tuple, list)):
        return [one for part in value for one in flattened(part)]
    if isinstance(value, dict):
        return flattened(list(value.values()))
    raise TypeError(f"onnx.export: the function returned a {type(value).__name__}; it must return Tensors")


def mapped(function, value):
    """`function` of everything in nested tuples and lists."""
    if type(value) in (tuple, list):
        return type(value)([mapped(function, one) for one in value])
    return function(value)


def leaves(value):
    """Everything in nested tuples, lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if type(value) in (tuple, list):
        return [one for part in value for one in leaves(part)]
    return [value]
