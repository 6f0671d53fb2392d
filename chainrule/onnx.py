"""Writing a module or function as an ONNX file, under the name of `torch.onnx.export`. Needs the package `onnx`.

The function runs once on example inputs; `_onnx_trace` notes the operations, `_onnx_operators` says what each is in ONNX. What
does not depend on the inputs is computed now and stored.
"""

import numpy as np

from chainrule.autograd.tensor import Tensor

from . import _onnx_layers, _onnx_shapes  # noqa: F401 - they add to OPERATORS
from ._atomic import replace
from ._onnx_operators import OPERATORS
from ._onnx_trace import Ref, Trace, check, leaves

__all__ = ["export"]

_OPSETS = range(18, 24)
_IR_VERSION = 9  # of 2023: readers that know these operators know it


def export(
    model, args, f, *, input_names=None, output_names=None, opset_version=20, dynamic_axes=None
):  # fmt: skip
    """Write what `model` computes from `args` (a Tensor or a tuple of them) to `f`, a path or an open binary file.

    Module and inputs lie on the CPU; a module is exported as it is in evaluation mode. Shapes are those of `args`, but for `dynamic_axes`: {name of an input:
    [axes] or {axis: name}}. Loops and branches are written out as they ran. Returns the `onnx.ModelProto`.
    NotImplementedError names an operation that has no counterpart; RuntimeError says that the trace does not hold for
    other values or sizes.
    """
    onnx = _package()
    if opset_version not in _OPSETS:
        raise ValueError(
            f"onnx.export: opset_version must be {_OPSETS[0]} to {_OPSETS[-1]}, got {opset_version}"
        )
    args = (args,) if isinstance(args, Tensor) else tuple(args)
    if not args or not all(isinstance(one, Tensor) for one in args):
        raise TypeError("onnx.export: args must be a Tensor or a tuple of Tensors")
    inputs = [np.array(one.detach().cpu().numpy()) for one in args]
    input_names = _names("input", input_names, len(inputs))
    dynamic = _axes(dynamic_axes or {})
    function, modes = _evaluating(model)
    try:
        trace = Trace(function, inputs)
        check(trace, function, [_shuffled(one) for one in inputs])
        other = None
        if any(name in dynamic for name in input_names):
            other = Trace(
                function,
                [_longer(one, dynamic.get(name, {})) for one, name in zip(inputs, input_names, strict=True)],
            )
    finally:
        for module, training in modes:
            module.training = training
    output_names = _names("output", output_names, len(trace.outputs))
    graph = Graph(onnx, trace, model, opset_version)
    graph.emitted.update(zip(trace.inputs, input_names, strict=True))
    for step in static_steps(trace, other):
        graph.convert(step)
    for name, value in zip(output_names, trace.outputs, strict=True):
        graph.nodes.append(onnx.helper.make_node("Identity", [graph.name(value)], [name]))
    proto = _model(onnx, graph, trace, other, input_names, output_names, dynamic)
    data = proto.SerializeToString()
    if hasattr(f, "write"):
        f.write(data)
    else:
        replace(f, [data])
    return proto


def _package():
    try:
        import onnx
    except ImportError:
        raise ImportError("onnx.export needs the package onnx: pip install 'chainrule[onnx]'") from None
    return onnx


def _names(kind, given, count):
    names = (
        list(given)
        if given is not None
        else [f"{kind}_{number}" if count > 1 else kind for number in range(count)]
    )
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"onnx.export: {kind}_names must be {count} different names, got {names}")
    return names


def _axes(dynamic_axes):
    """{name: {axis: name of its size}}."""
    found = {}
    for name, axes in dynamic_axes.items():
        found[name] = dict(axes) if isinstance(axes, dict) else {axis: f"{name}_{axis}" for axis in axes}
    return found


def _evaluating(model):
    """The function to trace, and (module, whether it was training) for each module, now in evaluation mode."""
    if not hasattr(model, "modules"):
        return model, []
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    return model, modes


def _shuffled(array):
    """Other values of the same kind."""
    flat = array.reshape(-1)[::-1]
    if array.dtype.kind == "f":  # an example may well be all ones
        flat = flat + np.linspace(0, 0.1, flat.size, dtype=array.dtype)
    return np.ascontiguousarray(flat).reshape(array.shape)


def _longer(array, axes):
    """One more of everything along the dynamic axes."""
    for axis in axes:
        array = np.concatenate([array, np.take(array, [0], axis)], axis)
    return array


# --- sizes that may vary ---


def static_steps(trace, other):
    """The steps, with keywords that hold for every size of the dynamic axes, as the second trace shows them."""
    if other is None:
        return trace.steps
    if [step.operation for step in trace.steps] != [step.operation for step in other.steps]:
        raise RuntimeError(
            "onnx.export: the number of operations depends on the size of a dynamic axis (a loop over it); export it with a fixed size"
        )
    return [_generalized(a, b, trace, other) for a, b in zip(trace.steps, other.steps, strict=True)]


def _generalized(a, b, trace, other):
    constants = [
        [getattr(one, "shape", one) for one in leaves([step.inputs, step.static]) if not isinstance(one, Ref)]
        for step in (a, b)
    ]
    if repr(constants[0]) == repr(constants[1]):
        return a
    step = type(a)(a.operation, a.function, a.xp, a.inputs, dict(a.static), a.outputs)
    shapes = [
        one.arrays[s.inputs[0].name].shape if isinstance(s.inputs[0], Ref) else ()
        for one, s in ((trace, a), (other, b))
    ]
    if a.operation == "reshape":
        step.static["shape"] = _free(a.static["shape"], b.static["shape"], *shapes)
    elif a.operation == "broadcast_to":
        step.static["shape"] = _kept(a.static["shape"], b.static["shape"], *shapes)
    elif a.operation in ("conv", "max_pool", "avg_pool", "conv_input"):
        return a  # their `size` follows from the input's
    else:
        step.static["shape"] = None
    if step.static["shape"] is None:
        raise RuntimeError(
            f"onnx.export: {a.operation} depends on the size of a dynamic axis in a way that ONNX cannot be told; export it with a "
            f"fixed size"
        )
    return step


def _free(shape, other, before, other_before):
    """A shape for Reshape: 0 where it is the input's, -1 where it follows from the rest; None if that does not say it."""
    made = []
    for axis, (a, b) in enumerate(zip(shape, other, strict=True)):
        same = axis < len(before) and (a, b) == (before[axis], other_before[axis])
        made.append(a if a == b else 0 if same else -1)
    return tuple(made) if made.count(-1) <= 1 else None


def _kept(shape, other, before, other_before):
    """A shape for Expand: 1 where the input's size is kept; None if a new size varies."""
    made, missing = [], len(shape) - len(before)
    for axis, (a, b) in enumerate(zip(shape, other, strict=True)):
        at = axis - missing
        same = at >= 0 and (a, b) == (before[at], other_before[at])
        made.append(a if a == b else 1 if same else None)
    return None if None in made else tuple(made)


# --- the file ---


class Graph:
    """The nodes and initializers of a graph that is being written."""

    def __init__(self, onnx, trace, model, opset):
        self.onnx, self.trace, self.opset = onnx, trace, opset
        self.nodes, self.initializers = [], {}
        self.emitted = {}  # name in the trace -> name in the file
        self._constants, self._count = {}, 0
        self._given = {}
        if hasattr(model, "named_parameters"):
            tensors = [*model.named_parameters(), *model.named_buffers()]
            self._given = {id(one._array): name for name, one in tensors if one is not None}

    def convert(self, step):
        """Write one traced operation."""
        if step.operation not in OPERATORS:
            raise NotImplementedError(
                f"onnx.export: the operation {step.operation} has no counterpart in ONNX here; write that part of the model with other "
                f"operations, or keep it out of what is exported"
            )
        self.step, self.dtype = step, self._dtype(step)
        inputs = [one if one is None else self.name(one) for one in step.inputs]
        made = OPERATORS[step.operation](self, *inputs, **step.static)
        made = made if isinstance(made, tuple) else (made,)
        self.emitted.update(zip(step.outputs, made, strict=False))

    def __call__(self, kind, *inputs, outputs=1, **attributes):
        """Add a node and give its output's name (several: a list). Inputs are names, arrays, numbers or None."""
        names = [f"{kind}_{self._count + place}" for place in range(outputs)]
        self._count += outputs
        given = ["" if one is None else self.name(one) for one in inputs]
        self.nodes.append(self.onnx.helper.make_node(kind, given, names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def name(self, value):
        """The name under which something stands in the file; a number takes the type of the operation."""
        if isinstance(value, str):
            return value
        if isinstance(value, Ref):
            if value.name not in self.emitted:
                raise NotImplementedError(f"onnx.export: an output that ONNX lacks is used: {value.name}")
            return self.emitted[value.name]
        return self.constant(
            value if isinstance(value, (np.ndarray, np.generic)) else np.asarray(value, self.dtype)
        )

    def integers(self, *values):
        """A constant list of int64."""
        return self.constant(np.asarray(values, np.int64))

    def constant(self, array):
        """The name of a stored array."""
        if hasattr(array, "get"):
            array = array.get()  # from a card
        key = id(array) if id(array) in self._given else (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._given.get(key, f"constant_{len(self._constants)}")
            self._constants[key] = name
            self.initializers[name] = np.ascontiguousarray(array).reshape(array.shape)
        return self._constants[key]

    def shape(self, number=0):
        """The shape of an input of the operation that is being written."""
        return self._array(self.step.inputs[number]).shape

    def result(self, number=0):
        """An array like the operation's output."""
        return self.trace.arrays[self.step.outputs[number]]

    def cast(self, value, dtype):
        return self("Cast", value, to=self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _array(self, value):
        return self.trace.arrays[value.name] if isinstance(value, Ref) else value

    def _dtype(self, step):
        arrays = [self._array(one) for one in step.inputs if one is not None]
        dtypes = [one.dtype for one in arrays if hasattr(one, "dtype")]
        return max(dtypes, key=lambda one: one.kind == "f") if dtypes else self.result().dtype


def _model(onnx, graph, trace, other, input_names, output_names, dynamic):
    def info(name, array, longer=None):
        sizes = list(array.shape)
        for axis, size in enumerate(sizes):
            if axis in dynamic.get(name, {}):
                sizes[axis] = dynamic[name][axis]
            elif longer is not None and longer.shape[axis] != size:
                sizes[axis] = f"{name}_{axis}"
        return onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), sizes
        )

    inputs = [info(name, trace.arrays[one]) for name, one in zip(input_names, trace.inputs, strict=True)]
    outputs = []
    for number, name in enumerate(output_names):
        longer = None if other is None else other.outputs[number]
        if isinstance(longer, Ref):
            longer = other.arrays[longer.name]
        outputs.append(info(name, graph._array(trace.outputs[number]), longer))
    stored = [onnx.numpy_helper.from_array(array, name) for name, array in graph.initializers.items()]
    made = onnx.helper.make_graph(graph.nodes, "chainrule", inputs, outputs, stored)
    opset = onnx.helper.make_opsetid("", graph.opset)
    proto = onnx.helper.make_model(
        made, opset_imports=[opset], producer_name="chainrule", ir_version=_IR_VERSION
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto
