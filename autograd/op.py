"""`@op`: an operation and its derivative as one object.

    @op(x=lambda xp, g, y: g * (1 - y * y), cast="float")
    def tanh(xp, x):
        return xp.tanh(x)

The decorated function is the forward: array code that takes the array namespace `xp` first. Positional parameters are
inputs, keyword-only parameters are static. Each keyword of `@op` that is an input's name is the rule for that input's
gradient. **The names a rule lists are what the operation keeps**: `g` is the incoming gradient, `y` the output (or the
names in `outputs`), an input, `<input>_shape`, `<input>_dtype`, or a static keyword.

A rule is written once and runs two ways: on raw arrays with `xp` = NumPy or CuPy, or, when a graph of the gradient is
asked for, on Tensors with `xp` = `chainrule.autograd.ops`. The decorated name becomes a plain function that takes
Tensors and gives Tensors, and on raw arrays just runs the forward, so rules call other operations without a thought.

As `dataclasses` writes `__init__`, `@op` writes that function from the signature (see `templates.py`): a loop over the
inputs at each call would cost more than a small operation itself.
"""

import functools
import inspect

from chainrule.backends import backend_of, namespaces

from . import late, templates
from .modes import local
from .node import Node, Slot
from .precision import checked
from .writes import log

registry = {}  # name -> Op, every operation there is


class Op:
    """What is known about one operation; `op.function` is what callers use."""

    def __init__(
        self,
        forward,
        rules,
        joint,
        cast,
        cast_inputs,
        view,
        outputs,
        accumulate,
        tangent=None,
        precision=None,
    ):
        self.name = forward.__name__
        self.gradient_name = f"{self.name}.gradient"
        self.forward = forward
        self.cast = cast
        self.view = view
        self.outputs = outputs
        self.accumulate = accumulate
        self.tangent = tangent
        self.precision = precision and checked(**precision)
        self.rules = rules
        self.joint = joint
        self._read_signature()
        self.cast_inputs = tuple(cast_inputs if cast_inputs is not None else self.inputs) if cast else ()
        self._read_rules()
        self.function = templates.function(self)

    @functools.cached_property
    def vjp(self):
        """The function that applies the rules: `(xp, g, saved, edges, static)` -> one gradient (or None) for each input."""
        return templates.vjp(self)

    def _read_signature(self):
        """Inputs, static keywords and defaults of the forward, read off its code: `inspect.signature` is ten times slower,
        and is paid by every import."""
        forward = inspect.unwrap(self.forward)
        code = forward.__code__
        names = code.co_varnames
        keywords = code.co_argcount + code.co_kwonlyargcount
        self.inputs = names[1 : code.co_argcount]  # without xp
        self.static = names[code.co_argcount : keywords]
        self.variadic = names[keywords] if code.co_flags & inspect.CO_VARARGS else None
        self.parameters = _public(self.inputs, {*self.static, self.variadic})
        positional = forward.__defaults__ or ()
        self.defaults = dict(zip(self.inputs[len(self.inputs) - len(positional) :], positional, strict=True))
        self.defaults.update(forward.__kwdefaults__ or {})

    def _read_rules(self):
        """Which names each rule lists, and so what a node has to keep: [(name, inputs whose rule lists it)]."""
        listed = {}
        self.arguments = {}
        for name, rule in [*self.rules.items(), *([(None, self.joint)] if self.joint else [])]:
            skip = 3 if name is None else 2  # xp, g, and for a joint rule needs
            code = inspect.unwrap(rule).__code__
            self.arguments[name] = code.co_varnames[skip : code.co_argcount + code.co_kwonlyargcount]
            for argument in self.arguments[name]:
                if argument not in self.static:
                    listed.setdefault(argument, []).append(name)
        known = {*self.inputs, *self.outputs, self.variadic}
        for argument in listed:
            if argument not in known and argument.removesuffix("_shape").removesuffix("_dtype") not in known:
                raise TypeError(
                    f"op {self.name}: a rule lists {argument!r}, which is no input, output or static keyword"
                )
        self.saves = list(listed.items())

    @property
    def differentiable(self):
        """Whether the operation has any rule."""
        return bool(self.rules or self.joint)

    def kernel(self, /, *arrays, **static):
        """The function that computes the forward for these arrays: a backend's own, or the body."""
        some = next((array for array in arrays if array.__class__ in namespaces), None)
        if some is None:  # numbers, as NumPy's reductions give them
            return self.forward
        return backend_of(some).kernel(self.name, *arrays, **static) or self.forward

    def gradient(self, xp, some, g, saved, edges, static, keep=True):
        """Apply the rules to raw arrays, of which `some` is one: `vjp`, or a backend's own kernel where it has any for them.

        keep: whether the node keeps what it saved. If not, a kernel that says that it `consumes` may write its result over that.
        """
        if some.__class__ in namespaces:
            static = static or {}
            found = backend_of(some).kernel(self.gradient_name, g, *saved, **static)
            if found is not None:
                if getattr(found, "consumes", False):
                    static = {**static, "owned": not keep}
                return found(xp, g, tuple([edge is not None for edge in edges]), *saved, **static)
        return self.vjp(xp, g, saved, edges, static)

    def as_tensors(self, node, saved):
        """What a node saved, as Tensors that stand where the saved values stand in the graph."""
        node.lent = True
        return tuple(
            self._as_tensor(node, name, value) for (name, _), value in zip(self.saves, saved, strict=True)
        )

    def _as_tensor(self, node, name, value):
        if name == self.variadic and self.variadic is not None:
            edges = node.edges[len(self.inputs) :]
            return tuple(_at(one, edge) for one, edge in zip(value, edges, strict=True))
        if name in self.inputs:
            return _at(value, node.edges[self.inputs.index(name)])
        if name in self.outputs:
            if len(self.outputs) == 1:
                return _at(value, node)
            index = self.outputs.index(name)
            return _at(value, slot(node, index) if value is not None and _inexact(value.dtype) else None)
        return value

    def record(self, inputs, output, **static):
        """Make the node of an output that was computed elsewhere (an in-place write); returns the node or None."""
        edges = tuple(x._current_edge() if isinstance(x, late.Tensor) else None for x in inputs)
        if not local.state.grad or all(edge is None for edge in edges):
            return None
        arrays = dict(
            zip(self.inputs, (x._array if isinstance(x, late.Tensor) else x for x in inputs), strict=True)
        )
        saved = []
        for name, _ in self.saves:
            if name in arrays:
                saved.append(arrays[name])
            elif name in self.outputs:
                saved.append(output)
            else:
                base, _, what = name.rpartition("_")
                saved.append(getattr(arrays[base], what))
        return Node(self, edges, tuple(saved), static, log.epoch, output.shape, output.dtype)

    def __repr__(self):
        return f"<op {self.name}({', '.join(self.inputs)})>"


def _public(inputs, taken):
    """The inputs' names in the function callers use: PyTorch's, where rules have short ones."""
    names = {"x": "input", "a": "input", "b": "other"}
    public = tuple(names.get(name, name) for name in inputs)
    return public if len({*public, *taken}) == len(public) + len(taken) else inputs


_owners = {}  # forward, or a backend's kernel -> Op


def owner(function, arrays):
    """The operation that computes `arrays` by `function`, its forward or a backend's kernel; for what stands in for `ThreadState.run`."""
    found = _owners.get(function)
    if found is None:
        _owners.update((one.forward, one) for one in registry.values())
        backend = backend_of(next(one for one in arrays if one.__class__ in namespaces))
        for name, kernels in backend.kernels.items():
            _owners.update((kernel, registry[name]) for _, kernel in kernels if name in registry)
        found = _owners.get(function)
    return found


def _at(value, edge):
    """A Tensor over a saved array, at `edge` of the graph; other saved values are themselves."""
    if value.__class__ not in namespaces:
        return value
    if isinstance(edge, late.Tensor) and edge._array is value:
        return edge
    return late.Tensor._wrap(value, edge)


def slot(node, index):
    """Output number `index` of a node that has several."""
    return Slot(node, index, node.shape[index], node.dtype[index])


def _inexact(dtype):
    return dtype.kind in "fcV"


def op(
    *, joint=None, cast=None, cast_inputs=None, view=False, outputs=("y",), accumulate=None, tangent=None, precision=None, **rules
):  # fmt: skip
    """Declare an operation; see the head of this module.

    cast: what is done to the dtypes of the inputs (or of `cast_inputs`): "promote" (to their common dtype), "float" (the
        same, and integers to the default float), "compare" (as promote), "same" (they must agree), or None.
    view: the output may share memory with the first input.
    outputs: the names of the outputs; with several, `g` is a list with None where no gradient came.
    accumulate: `(buffer, g, **static)` adds the first input's gradient to a buffer that already holds some, in place: a loop
        over the slices of a long tensor then costs what one pass over it costs, not one pass for each slice.
    joint: one rule `(xp, g, needs, ...)` that gives all gradients at once, in input order, as a tuple.
    tangent: how forward mode carries tangents through (see `forward_ad.py`): "elementwise" (each element of the output depends
        on one of each input, so the rules serve both ways), "linear" (in each input while the others are held), or a function
        `(xp, t, ...)` of the inputs' tangents (a tuple, None for an input without) that lists what it needs of what rules keep,
        and gives the output's tangent. None: the rules are transposed, which is always right and costs more.
    precision: what is done to the inputs inside an autocast block, as the keywords of `precision.precision`, for an operation
        that is a public function itself.
    """

    def declare(forward):
        made = Op(forward, rules, joint, cast, cast_inputs, view, outputs, accumulate, tangent, precision)
        registry[made.name] = made
        return made.function

    return declare
