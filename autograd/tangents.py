"""How one operation carries tangents from its inputs to its outputs: the product of its Jacobian with a vector.

Three ways, by what `@op(tangent=...)` says. *Elementwise*: the Jacobian by each input is diagonal, hence its own transpose, and the
derivative rule applied to the tangent is the product. *Linear*: the operation itself with the tangent in that input's place. A function:
the operation's own formula. And where nothing is said, the rule is transposed: it is linear in the gradient g it is given, so it is
run on a g of zeros that requires a gradient, and the gradient of what it gives, weighted with the tangents, is the product.

All of it is array code, or, with `graph`, recorded operations on Tensors.
"""

import inspect

from chainrule.backends import namespaces

from . import gradients, late
from .function import Function
from .modes import no_grad
from .saved import unpacked


def of_operation(node, given, graph):
    """The tangent of a node's output (a list of them if it has several), from `given`, one for each edge or None."""
    op, saved = node.op, unpacked(node.saved)
    if graph:
        given = [late.Tensor._wrap(t) if t is not None and not _is_tensor(t) else t for t in given]
        saved = op.as_tensors(node, saved)
        some = next(t for t in given if t is not None)
        xp = late.tensor_namespace(some)
    else:
        xp = namespaces[next(t for t in given if t is not None).__class__]
    values = {**(node.static or {}), **dict(zip([name for name, _ in op.saves], saved, strict=True))}
    if op.tangent is None:
        found = _transposed(op, node, given, saved, graph)
    elif op.tangent == "elementwise":
        found = _elementwise(xp, op, node, given, values)
    elif op.tangent == "linear":
        found = _linear(op, node, given, values)
    else:
        code = inspect.unwrap(op.tangent).__code__
        listed = code.co_varnames[2 : code.co_argcount]
        found = op.tangent(xp, tuple(_like(t, node) for t in given), *[values[name] for name in listed])
    if isinstance(node.shape, list):
        outputs = zip(found, node.shape, node.dtype, strict=True)
        return [None if t is None else _finished(t, shape, dtype, graph) for t, shape, dtype in outputs]
    return None if found is None else _finished(found, node.shape, node.dtype, graph)


def _is_tensor(t):
    return isinstance(t, late.Tensor)


def _dtype(t):
    return (t._array if _is_tensor(t) else t).dtype


def _cast(t, dtype):
    """t in `dtype`; a complex t stays one where the dtype is real, for its imaginary part may still have a part in it."""
    found = _dtype(t)
    if found == dtype or (found.kind == "c" and dtype.kind != "c"):
        return t
    return late.ops.astype(t, dtype=dtype)


def _like(t, node):
    """An input's tangent in the dtype the operation computed in."""
    if t is None or not node.op.cast:
        return t
    dtype = node.dtype[0] if isinstance(node.dtype, list) else node.dtype
    return _cast(t, dtype) if dtype.kind in "fcV" else t


def _finished(t, shape, dtype, graph):
    """A tangent in the shape and dtype of the output it belongs to."""
    if not _is_tensor(t) and t.__class__ not in namespaces:
        t = late.Tensor._wrap(t)._array  # a NumPy scalar
    if _dtype(t).kind == "c" and dtype.kind != "c":
        t = late.ops.real(t)
    if tuple(t.shape) != tuple(shape):
        t = late.ops.broadcast_to(t, shape=tuple(shape))
    t = _cast(t, dtype)
    return t if not graph or t.requires_grad else t._array


def _elementwise(xp, op, node, given, values):
    """Each rule applied to its input's tangent; the sum."""
    total = None
    for name, t in zip(op.inputs, given, strict=True):
        if t is None or name not in op.rules:
            continue
        t = _cast(t, node.dtype)
        if tuple(t.shape) != tuple(node.shape):
            t = late.ops.broadcast_to(t, shape=tuple(node.shape))
        part = op.rules[name](xp, t, *[values[argument] for argument in op.arguments[name]])
        total = part if total is None else total + part
    return total


def _linear(op, node, given, values):
    """The operation itself, with each tangent in its input's place in turn; the sum."""
    static = {name: values[name] for name in op.static}
    total = None
    for i, t in enumerate(given):
        if t is None:
            continue
        if op.variadic:
            inputs = [*[values[name] for name in op.inputs], *values[op.variadic]]
        else:
            inputs = [values[name] if j != i else None for j, name in enumerate(op.inputs)]
        inputs[i] = _like(t, node)
        part = op.function(*inputs, **static)
        total = part if total is None else total + part
    return total


def _transposed(op, node, given, saved, graph):
    """The rules, transposed."""
    many = isinstance(node.shape, list)
    some = next(t for t in given if t is not None)
    array = some._array if _is_tensor(some) else some
    if not graph:
        saved = tuple(_wrapped(value) for value in saved)
        given = [None if t is None else late.Tensor._wrap(t) for t in given]
    xp = namespaces[array.__class__]
    us = [
        late.Tensor._wrap(xp.zeros(shape, dtype=dtype)).requires_grad_() if dtype.kind in "fcV" else None
        for shape, dtype in zip(
            *((node.shape, node.dtype) if many else ([node.shape], [node.dtype])), strict=True
        )
    ]
    seeds = [u for u in us if u is not None]
    marks = tuple(None if t is None else True for t in given)
    rules = op.vjp(late.tensor_namespace(seeds[0]), us if many else us[0], saved, marks, node.static)
    pairs = [
        (w, _weight(t, w))
        for w, t in zip(rules, given, strict=True)
        if t is not None and w is not None and w.requires_grad
    ]
    if not pairs:
        return [None] * len(us) if many else None
    found = gradients.grad(
        [w for w, _ in pairs], seeds, [t for _, t in pairs], create_graph=graph, allow_unused=True
    )
    found = iter([None if one is None else _conjugate(one if graph else one._array) for one in found])
    found = [None if u is None else next(found) for u in us]
    return found if many else found[0]


def _wrapped(value):
    if isinstance(value, tuple):
        return tuple(_wrapped(one) for one in value)
    return late.Tensor._wrap(value) if value.__class__ in namespaces else value


def _weight(t, w):
    """A tangent as the weights of the gradient `w` of its input, which may not have been summed to its shape yet."""
    return _conjugate(t if t.shape == w.shape else late.ops.broadcast_to(t, shape=tuple(w.shape)))


def _conjugate(t):
    return late.ops.conj(t) if _dtype(t).kind == "c" else t


def of_function(node, given, graph):
    """The tangents of a user's Function: what its `jvp` says."""
    if node.cls.jvp is Function.jvp:
        raise NotImplementedError(
            f"{node.cls.__name__}: forward mode needs its derivative forward: give it a static method jvp(ctx, *tangents), "
            f"or differentiate in reverse mode (vjp, grad, backward)"
        )
    ctx, several = node.ctx, len(node.outputs_meta) > 1
    inputs = []
    for t, x in zip(given, ctx._arguments, strict=True):
        if t is not None:
            inputs.append(t if _is_tensor(t) else late.Tensor._wrap(t))
        elif isinstance(x, late.Tensor) and ctx._materialize and x._array.dtype.kind in "fcV":
            inputs.append(x.detach().new_zeros(x.shape))
        else:
            inputs.append(None)
    ctx._node, ctx._saved = (None, ctx._saved_forward) if ctx._saved_forward is not None else (node, ())
    try:
        if graph:
            found = node.cls.jvp(ctx, *inputs)
        else:
            with no_grad():
                found = node.cls.jvp(ctx, *inputs)
    finally:
        ctx._node, ctx._saved = None, ()
    found = found if isinstance(found, tuple) else (found,)
    if len(found) != len(node.outputs_meta):
        raise RuntimeError(
            f"{node.cls.__name__}.jvp: returned {len(found)} tangents for {len(node.outputs_meta)} outputs of forward"
        )
    made = []
    for t, (shape, dtype, _) in zip(found, node.outputs_meta, strict=True):
        if t is not None and (not _is_tensor(t) or tuple(t.shape) != tuple(shape)):
            got = tuple(t.shape) if _is_tensor(t) else type(t).__name__
            raise RuntimeError(
                f"{node.cls.__name__}.jvp: expected a Tensor of shape {tuple(shape)}, got {got}"
            )
        made.append(None if t is None else _finished(t if graph else t._array, shape, dtype, graph))
    return made if several else made[0]
