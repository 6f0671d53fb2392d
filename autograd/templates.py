"""The source text of the function behind each operation.

For `multiply(a, b)` the text made here reads, in essence:

    def multiply(input, other):
        if isinstance(input, Tensor): a_array, a_edge = input._array, input._edge      # unwrap
        ...
        if classes or dtypes differ: a_array, b_array = cast(...)           # promote
        y = state.run(forward, xp, a_array, b_array)                        # compute
        out = Tensor over y
        if (a_edge or b_edge) and state.grad:                               # record
            out._edge = Node(op, (a_edge, b_edge), (b_array if a_edge else None, ...), ...)
        return out

and for its gradient:

    def multiply_vjp(xp, g, saved, edges, static):
        b, a = saved
        return (rule_a(xp, g, b) if edges[0] is not None else None, rule_b(xp, g, a) if edges[1] is not None else None)

The text is kept in `linecache`, so a traceback shows its lines.
"""

import linecache

from chainrule.backends import backend_of, kernels, namespaces

from . import casting, late
from .kept_code import compiled
from .modes import local
from .node import LEAF, Node
from .precision import converted
from .writes import log

_makers = {}  # source text -> the compiled `make`, which operations of one pattern share


def _maker(source, name):
    """The `make` of a source text; `name` is that of the first operation that asks."""
    if source not in _makers:
        code = compiled(source, f"<chainrule operations like {name}>")
        filename = code.co_filename
        linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
        scope = {}
        exec(code, scope)
        _makers[source] = scope["make"]
    return _makers[source]


def compile_function(name, text, **names):
    """Run `text`, which defines `operation`; `names` become closed-over constants, which are the cheapest to read."""
    inner = "\n".join("    " + line for line in text.splitlines())
    source = f"def make({', '.join(names)}):\n{inner}\n    return operation\n"
    made = _maker(source, name)(**names)
    made.__name__ = made.__qualname__ = name
    made.__code__ = made.__code__.replace(co_name=name, co_qualname=name)
    return made


def _unwrap(name, given):
    """Lines that split one input, the parameter `given`, into `<name>_array` and `<name>_edge`."""
    return [
        f"if isinstance({given}, late.Tensor):",
        f"    {name}_array = {given}._array",
        f"    {name}_edge = {given}._edge",
        f"    if {name}_edge.__class__ is not Node and {name}_edge is not None:",
        f"        {name}_edge = {given} if {name}_edge is LEAF else {given}._current_edge()",
        "else:",
        f"    {name}_array = {given}",
        f"    {name}_edge = None",
    ]


def _in_precision(op):
    """Lines that convert the inputs inside an autocast block, for an operation that declares a policy."""
    if op.precision is None:
        return []
    inputs = ", ".join(op.parameters)
    return ["if local.state.autocast is not None:", f"    {inputs}, = converted(op.precision, {inputs})"]


def _cast(op):
    """Lines that bring the inputs to one dtype and refuse what cannot meet."""
    if not op.cast:
        return []
    if op.variadic:
        return ["arrays = cast_all(op, arrays)"]
    names = list(op.cast_inputs)
    first = f"{names[0]}_array"
    unequal = [
        f"{first}.__class__ is not {n}_array.__class__ or {first}.dtype is not {n}_array.dtype"
        for n in names[1:]
    ]
    if op.cast == "float":
        unequal.insert(0, f"{first}.__class__ not in namespaces or {first}.dtype.kind != 'f'")
    elif names != list(op.inputs) or not unequal:
        unequal.insert(0, f"{first}.__class__ not in namespaces")
    listed = "".join(f"{n}_array, " for n in names)
    return [f"if {' or '.join(unequal)}:", f"    {listed}= cast(op, {listed})"]


def _saved(op):
    """The expressions of what a node keeps, each only if an input whose rule lists it needs a gradient."""
    parts = []
    for name, users in op.saves:
        base, _, what = name.rpartition("_")
        if name == op.variadic:
            value = "tuple(arrays)"
        elif name in op.inputs:
            value = f"{name}_array"
        elif name in op.outputs:
            value = "y" if len(op.outputs) == 1 else f"y[{op.outputs.index(name)}]"
        elif base == op.variadic:
            value = f"tuple([one.{what} for one in arrays])"
        elif base in op.outputs:
            value = f"y.{what}"
        else:
            value = f"getattr({base}_array, {what!r}, None)"
        every = None in users or set(users) == set(op.inputs)
        if not every and name in (*op.inputs, *op.outputs):
            value = f"{value} if {' or '.join(f'{u}_edge is not None' for u in users)} else None"
        parts.append(value)
    return "(" + "".join(f"{part}, " for part in parts) + ")"


def _record(op):
    """Lines that make the node, when an input needs a gradient and recording is on."""
    static = "{" + ", ".join(f"{name!r}: {name}" for name in op.static) + "}" if op.static else "None"
    needs = [f"{name}_edge is not None" for name in op.inputs]
    edges = "(" + "".join(f"{name}_edge, " for name in op.inputs) + ")"
    if op.variadic:
        needs.append("graph")
        edges = f"({edges[1:-1]}*edges,)"
    lines = [f"if ({' or '.join(needs)}) and state.grad:"]
    if len(op.outputs) > 1:
        shape, dtype = "[one.shape for one in y]", "[one.dtype for one in y]"
    else:
        shape, dtype = "y.shape", "y.dtype"
    lines.append(f"    node = Node(op, {edges}, {_saved(op)}, {static}, log.epoch, {shape}, {dtype})")
    if len(op.outputs) > 1:
        lines.append("    attach(node, out)")
    else:
        lines.append("    out._edge = node")
    lines += ["    if state.on_record is not None:", "        state.on_record(node, out)"]
    if op.view:
        statics = static if op.static else "{}"
        lines.append(f"share(out, {op.parameters[0]}, op, {statics})")
    return lines


def function(op):
    """The function callers use."""
    header = [
        f"{given}={op.defaults[name]!r}" if name in op.defaults else given
        for name, given in zip(op.inputs, op.parameters, strict=True)
    ]
    if op.variadic:
        header.append("*" + op.variadic)
    header += [f"{n}=defaults[{n!r}]" if n in op.defaults else n for n in op.static]
    passed = [*op.parameters, *(["*" + op.variadic] if op.variadic else []), *(f"{n}={n}" for n in op.static)]
    arrays = [f"{name}_array" for name in op.inputs] + (["*arrays"] if op.variadic else [])
    body = _in_precision(op)
    for name, given in zip(op.inputs, op.parameters, strict=True):
        body += _unwrap(name, given)
    if op.variadic:
        body.append(f"arrays, edges, graph = unwrap_all({op.variadic})")
    all_raw = [f"{name}_array is {given}" for name, given in zip(op.inputs, op.parameters, strict=True)]
    if op.variadic:
        all_raw.append(f"arrays is {op.variadic}")
    given = passed[: len(passed) - len(op.static)]
    body += [
        f"if {' and '.join(all_raw)}:",
        f"    xp = find_namespace(op, {', '.join(given)})",
        f"    return {_forward(op, given)}({', '.join(['xp', *passed])})",
    ]
    body += _cast(op)
    static = [f"{n}={n}" for n in op.static]
    first = op.inputs[0] + "_array" if op.inputs else "arrays[0]"
    body += [
        f"xp = namespaces.get({first}.__class__)",
        "if xp is None:",
        f"    xp = find_namespace(op, {', '.join(arrays)})",
        "state = local.state",
        "try:",
        f"    y = state.run({_forward(op, arrays)}, {', '.join(['xp', *arrays, *static])})",
        "except Exception as error:",
        f"    ours = explained(op, error, {', '.join(arrays)})",
        "    if ours is error:",
        "        raise",
        "    raise ours from error",
    ]
    if len(op.outputs) > 1:
        body.append("y, out = wrap_all(xp, y)")
    else:
        body += [
            "if y.__class__ not in namespaces:",
            "    y = xp.asarray(y)",
            "out = new(late.Tensor)",
            "out._array = y",
        ]
    if op.differentiable or op.view:
        body += _record(op)
    body.append("return out")
    text = f"def operation({', '.join(header)}):\n" + "\n".join("    " + line for line in body)
    made = compile_function(
        op.name, text, op=op, forward=op.forward, late=late, Node=Node, LEAF=LEAF, namespaces=namespaces, cast=casting.cast, converted=converted, log=log, local=local,
        kernels=kernels, new=object.__new__, defaults=op.defaults, find_namespace=find_namespace,
        wrap_all=wrap_all, unwrap_all=unwrap_all, cast_all=cast_all, attach=attach, share=share, explained=explained,
    )  # fmt: skip
    made.__doc__ = op.forward.__doc__
    made.__module__ = op.forward.__module__
    made.op = op
    return made


def vjp(op):
    """The function that applies the rules: `(xp, g, saved, edges, static)` -> one gradient, or None, for each input."""
    if not op.differentiable:
        return None
    lines = [f"({''.join(f'{name}, ' for name, _ in op.saves)}) = saved"] if op.saves else []

    def call(name, first):
        listed = [f"static[{a!r}]" if a in op.static else a for a in op.arguments[name]]
        return f"rule_{name or 'joint'}({', '.join([*first, *listed])})"

    if op.joint:
        lines.append(f"return {call(None, ['xp', 'g', 'tuple([edge is not None for edge in edges])'])}")
    else:
        parts = [
            f"{call(name, ['xp', 'g'])} if edges[{i}] is not None else None" if name in op.rules else "None"
            for i, name in enumerate(op.inputs)
        ]
        lines.append(f"return ({', '.join(parts)},)")
    name = f"{op.name}_vjp"
    text = "def operation(xp, g, saved, edges, static):\n" + "\n".join("    " + line for line in lines)
    rules = {f"rule_{n}": rule for n, rule in op.rules.items()}
    if op.joint:
        rules["rule_joint"] = op.joint
    return compile_function(name, text, **rules)


def _forward(op, arrays):
    """The expression of what computes: the body, or a backend's own kernel where there is any for this operation."""
    given = ", ".join([*arrays, *(f"{name}={name}" for name in op.static)])
    return f"(op.kernel({given}) if kernels and op.name in kernels else forward)"


def find_namespace(op, *arrays):
    """The array namespace of the first array among the inputs."""
    for array in arrays:
        xp = namespaces.get(array.__class__)
        if xp is not None:
            return xp
    return casting.namespace_of(op, arrays)


def explained(op, error, *arrays):
    """The error to raise when array code failed: of a class PyTorch users catch, naming the operation and the shapes."""
    given = ", ".join(
        f"{tuple(one.shape)} {one.dtype}" if one.__class__ in namespaces else repr(one) for one in arrays
    )
    if isinstance(error, MemoryError):
        backend = backend_of(next(one for one in arrays if one.__class__ in namespaces))
        return backend.out_of_memory(error)
    if isinstance(error, AttributeError):
        foreign = [one for one in arrays if one is not None and not casting.is_operand(one)]
        return casting.refusal(op, foreign[0]) if foreign else error
    if isinstance(error, TypeError) and "ufunc" in str(error):
        kinds = {one.dtype.kind: one.dtype for one in arrays if one.__class__ in namespaces}
        if "c" in kinds:
            return NotImplementedError(
                f"{op.name}: expected a real tensor, got {kinds['c']}; use .real, .imag or .abs()"
            )
        if "b" in kinds:
            return NotImplementedError(f"{op.name}: not defined for bool tensors; convert with .int()")
    text = f"{op.name}: {error} (inputs: {given})"
    if isinstance(error, IndexError):
        return IndexError(text)
    if isinstance(error, (ValueError, ArithmeticError, KeyError)):
        return RuntimeError(text)
    return TypeError(text) if isinstance(error, TypeError) else error


def unwrap_all(inputs):
    """Variadic inputs as (arrays, edges, whether any edge leads somewhere); arrays is `inputs` if none is a Tensor."""
    if not any(isinstance(x, late.Tensor) for x in inputs):
        return inputs, (), False
    arrays = [x._array if isinstance(x, late.Tensor) else x for x in inputs]
    edges = [x._current_edge() if isinstance(x, late.Tensor) else None for x in inputs]
    return arrays, edges, any(edge is not None for edge in edges)


def cast_all(op, arrays):
    """Variadic inputs brought to one dtype, if they are not of one already."""
    first = arrays[0]
    agree = all(
        one.__class__ is first.__class__ and one.dtype is first.dtype for one in arrays if one is not first
    )
    if agree and first.__class__ in namespaces:
        return arrays
    return casting.cast(op, *arrays)


def wrap_all(xp, outputs):
    """Several outputs as (arrays, Tensors)."""
    arrays = tuple(y if y.__class__ in namespaces else xp.asarray(y) for y in outputs)
    return arrays, tuple(late.Tensor._wrap(y) for y in arrays)


def attach(node, outputs):
    """Give each output that can carry a gradient its place in the graph."""
    from .op import slot

    for index, out in enumerate(outputs):
        if out._array.dtype.kind in "fcV":
            out._edge = slot(node, index)


def share(out, source, op, static):
    """Note that `out` is a view of `source`."""
    if isinstance(source, late.Tensor):
        late.View.attach(out, source, op, static)
