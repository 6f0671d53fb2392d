"""Functions to functions: `grad`, `vjp`, `jvp`, Jacobians and Hessians, that nest to any order (`torch.func`).

Arguments and results may be Tensors or nested tuples, lists and dicts of them. A transform differentiates with respect to
a fresh alias of its argument; where the argument already belongs to an outer derivative, the alias stays part of it.
"""

import functools

from chainrule.backends.capturing import local as capturing

from . import forward_ad, late
from .functions.creation import eye
from .gradients import grad as _grad
from .modes import enable_grad, is_grad_enabled


def flatten(tree):
    """(the leaves of nested tuples, lists and dicts in order, a function that rebuilds the nesting from new leaves)."""
    leaves = []

    def walk(node):
        if isinstance(node, dict):
            parts = {key: walk(value) for key, value in node.items()}
            return lambda source: type(node)({key: part(source) for key, part in parts.items()})
        if isinstance(node, (tuple, list)):
            parts = [walk(value) for value in node]
            build = type(node)._make if hasattr(node, "_fields") else type(node)
            return lambda source: build([part(source) for part in parts])
        leaves.append(node)
        return next

    builder = walk(tree)
    return leaves, lambda new: builder(iter(new))


def _fresh(tree, name):
    """The tree with aliases of its Tensors that require a gradient; and those aliases."""
    leaves, rebuild = flatten(tree)
    _check_floats(leaves, name)
    aliases = [
        forward_ad.keep_graph(one[...]) if one.requires_grad else one.detach().requires_grad_()
        for one in leaves
    ]
    return rebuild(aliases), aliases, any(one.requires_grad for one in leaves)


def _check_floats(leaves, name):
    for one in leaves:
        if not isinstance(one, late.Tensor):
            raise TypeError(f"{name}: expected Tensors to differentiate by, got {type(one).__name__}")
        if not (one.is_floating_point() or one.is_complex()):
            raise RuntimeError(
                f"{name}: cannot differentiate by a Tensor of {one.dtype}; convert it with .float()"
            )


def _inner(result, nested):
    """A result as the caller sees it: part of the outer derivative if there is one, else plain."""
    leaves, rebuild = flatten(result)
    return rebuild([one.detach() if isinstance(one, late.Tensor) and not nested else one for one in leaves])


def _gradients(outputs, inputs, weights, nested):
    pairs = [(out, w) for out, w in zip(outputs, weights, strict=True) if out.requires_grad]
    if not pairs:
        return [x.new_zeros(x.shape) for x in inputs]
    outs, ws = zip(*pairs, strict=True)
    found = _grad(outs, inputs, ws, retain_graph=True, create_graph=nested, materialize_grads=True)
    return list(found)


def _captured(arguments):
    """Whether any Tensor among the arguments belongs to an outer derivative."""
    return any(isinstance(one, late.Tensor) and one.requires_grad for one in flatten(arguments)[0])


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that gives (gradient, value) of the scalar `func`; with has_aux (gradient, (value, aux))."""

    @functools.wraps(func)
    def both(*args, **kwargs):
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        with enable_grad():
            tree, aliases, _ = _fresh([args[i] for i in chosen], "grad")
            nested = _captured((args, kwargs))
            args = list(args)
            for i, one in zip(chosen, tree, strict=True):
                args[i] = one
            value = func(*args, **kwargs)
            value, aux = value if has_aux else (value, None)
            if not isinstance(value, late.Tensor) or value.numel() != 1:
                shape = tuple(value.shape) if isinstance(value, late.Tensor) else type(value).__name__
                raise RuntimeError(
                    f"grad: the function must return a scalar Tensor, it returned {shape}; reduce it, e.g. with .sum()"
                )
            found = _gradients(
                [value], aliases, [value.new_ones(value.shape)], nested or _watched(value, aliases)
            )
            grads = flatten(tree)[1](found)
            grads = grads[0] if isinstance(argnums, int) else tuple(grads)
            keep = nested or (value.requires_grad and _watched(value, aliases))
            value, grads, aux = _inner(value, keep), _inner(grads, keep), _inner(aux, keep)
        return (grads, (value, aux)) if has_aux else (grads, value)

    return both


def _watched(value, aliases):
    """Whether `value` depends on a Tensor that requires grad other than through the aliases (a closure's)."""
    own = {id(alias) for alias in aliases}
    stack, seen = [value._current_edge()], set()
    while stack:
        edge = stack.pop()
        if edge is None or id(edge) in seen:
            continue
        seen.add(id(edge))
        if isinstance(edge, late.Tensor):
            if id(edge) not in own:
                return True
        else:
            stack.extend(edge.edges)
    return False


def grad(func, argnums=0, has_aux=False):
    """A function that gives the gradient of the scalar `func` by its argument(s) `argnums`; with has_aux (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args, **kwargs):
        grads, value = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def vjp(func, *primals, has_aux=False):
    """(output, function): function(v) gives v^T J for each primal; with has_aux (output, function, aux)."""
    with enable_grad():
        tree, aliases, nested = _fresh(list(primals), "vjp")
        output = func(*tree)
        output, aux = output if has_aux else (output, None)
    outputs, _ = flatten(output)

    def product(cotangents, retain_graph=True, create_graph=False):
        weights, _ = flatten(cotangents)
        if [tuple(w.shape) for w in weights] != [tuple(out.shape) for out in outputs]:
            raise RuntimeError(
                f"vjp: cotangents have shapes {[tuple(w.shape) for w in weights]}, the outputs {[tuple(out.shape) for out in outputs]}"
            )
        with enable_grad():
            build = nested or create_graph or _captured(cotangents)
            found = _gradients(outputs, aliases, weights, build)
            return tuple(_inner(flatten(tree)[1](found), build))

    result = _inner(output, nested)
    return (result, product, aux) if has_aux else (result, product)


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """(output, J v) in one forward pass, which carries tangents along; with has_aux (output, J v, aux).

    primals and tangents: tuples of Tensors or nests of them. strict: refuse an output that depends on no primal instead of
    giving zeros for its tangent.
    """
    xs, rebuild = flatten(list(primals))
    vs, _ = flatten(list(tangents))
    _check_floats(xs, "jvp")
    _check_floats(vs, "jvp")
    if [tuple(v.shape) for v in vs] != [tuple(x.shape) for x in xs]:
        raise RuntimeError(
            f"jvp: tangents have shapes {[tuple(v.shape) for v in vs]}, the primals {[tuple(x.shape) for x in xs]}"
        )
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, v.to(x.dtype)) for x, v in zip(xs, vs, strict=True)]
        output = func(*rebuild(duals))
        output, aux = output if has_aux else (output, None)
        outputs, nest = flatten(output)
        _check_outputs(outputs, "jvp")
        pairs = [forward_ad.unpack_dual(one) for one in outputs]
        others, nest_aux = flatten(aux)
        others = [forward_ad.unpack_dual(one)[0] if isinstance(one, late.Tensor) else one for one in others]
    if strict and any(tangent is None for _, tangent in pairs):
        index = next(i for i, pair in enumerate(pairs) if pair.tangent is None)
        raise RuntimeError(
            f"jvp: output {index} depends on none of the primals; strict=False gives zeros for it"
        )
    result = nest([_settled(primal) for primal, _ in pairs])
    product = nest([x.detach().new_zeros(x.shape) if v is None else _settled(v) for x, v in pairs])
    return (result, product, nest_aux([_settled(one) for one in others])) if has_aux else (result, product)


def _settled(value):
    """A Tensor as part of the outer derivative that it takes part in, plain if there is none."""
    if not isinstance(value, late.Tensor) or not value.requires_grad:
        return value
    if forward_ad.has_tangent(value) or (is_grad_enabled() and _watched(value, ())):
        return value
    return value.detach()


def _check_outputs(outputs, name):
    for one in outputs:
        if not isinstance(one, late.Tensor):
            raise TypeError(f"{name}: the function must return Tensors, it returned {type(one).__name__}")


def linearize(func, *primals):
    """(output, function): function(v) gives J v at these primals, without running `func` again."""
    with enable_grad():
        tree, aliases, nested = _fresh(list(primals), "linearize")
        output = func(*tree)
        outputs, rebuild = flatten(output)
        us = [out.new_zeros(out.shape).requires_grad_() for out in outputs]
        transposed = _gradients(outputs, aliases, us, True)

    def product(*tangents):
        with enable_grad():
            return _inner(rebuild(_gradients(transposed, us, flatten(list(tangents))[0], nested)), nested)

    return _inner(output, nested), product


def _jacobian(rows, func, argnums, has_aux):
    @functools.wraps(func)
    def jacobian(*args):
        chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        fixed = list(args)

        def partial(*xs):
            for i, x in zip(chosen, xs, strict=True):
                fixed[i] = x
            return func(*fixed)

        blocks, aux = rows(partial, [args[i] for i in chosen], has_aux)
        leaves, rebuild = flatten(blocks)
        result = rebuild(
            [tuple(one.found) if not isinstance(argnums, int) else one.found[0] for one in leaves]
        )
        return (result, aux) if has_aux else result

    return jacobian


class _Block:
    """The Jacobian of one output by each chosen input; a leaf while the outputs' nesting is rebuilt."""

    def __init__(self, found):
        self.found = found


def _basis(like):
    """The unit vectors of a Tensor's shape."""
    return list(_units(like).unbind(0)) if like.numel() else []


def _units(like):
    """The unit vectors of a Tensor's shape, stacked."""
    count = like.numel()
    return eye(count, dtype=like.dtype, device=like.device).reshape((count, *like.shape))


def _reverse(func, primals, has_aux, chunk_size=None):
    """All rows in one backward pass, which carries a batch of gradients: one for each element of the output."""
    made = vjp(func, *primals, has_aux=has_aux)
    output, product, aux = made if has_aux else (*made, None)
    outputs, rebuild = flatten(output)
    blocks = []
    for position, out in enumerate(outputs):

        def row(unit, position=position):
            return product(
                rebuild(
                    [
                        unit if i == position else one.detach().new_zeros(one.shape)
                        for i, one in enumerate(outputs)
                    ]
                )
            )

        if out.numel() < 2 or chunk_size == 1:
            rows = [row(unit) for unit in _basis(out)]
            found = [_stacked([one[i] for one in rows], out, x, 0) for i, x in enumerate(primals)]
        else:
            from .vmap import vmap

            rows = vmap(row, chunk_size=chunk_size)(_units(out))
            found = [one.reshape((*out.shape, *x.shape)) for one, x in zip(rows, primals, strict=True)]
        blocks.append(_Block(found))
    return rebuild(blocks), aux


def _forward(func, primals, has_aux, randomness="error"):
    """All columns in one forward pass, which carries a batch of tangents: one for each element of the input."""
    from .vmap import vmap

    output, aux = func(*primals) if has_aux else (func(*primals), None)
    outputs, rebuild = flatten(output)
    _check_outputs(outputs, "jacfwd")
    columns = []
    for position, x in enumerate(primals):

        def column(unit, position=position):
            tangents = [
                unit if i == position else one.detach().new_zeros(one.shape) for i, one in enumerate(primals)
            ]
            return flatten(jvp(func, primals, tangents, has_aux=has_aux)[1])[0]

        batched = vmap(column, out_dims=-1, randomness=randomness)
        columns.append(batched(_units(x)) if x.numel() else [x.detach().new_zeros(0)] * len(outputs))
    blocks = [
        _Block([found[o].reshape((*out.shape, *x.shape)) for found, x in zip(columns, primals, strict=True)])
        for o, out in enumerate(outputs)
    ]
    return rebuild(blocks), aux


def _stacked(parts, out, x, axis):
    """Rows (axis 0) or columns (axis -1) as the block of shape (*output, *input)."""
    if not parts:
        return x.detach().new_zeros((*out.shape, *x.shape))
    return late.ops.stack(parts, 0 if axis == 0 else parts[0].ndim).reshape((*out.shape, *x.shape))


def jacrev(func, argnums=0, *, has_aux=False, chunk_size=None):
    """A function that gives the Jacobian of `func`, by rows: one backward pass for all elements of the output (see `vmap`).

    chunk_size: how many rows at a time, to bound memory; with 1 each row has a backward pass of its own.
    """
    return _jacobian(functools.partial(_reverse, chunk_size=chunk_size), func, argnums, has_aux)


def jacfwd(func, argnums=0, has_aux=False, *, randomness="error"):
    """A function that gives the Jacobian of `func`, by columns: one forward pass for all elements of the input (see `vmap`).

    randomness: what random operations in `func` do, as in `vmap`.
    """
    return _jacobian(functools.partial(_forward, randomness=randomness), func, argnums, has_aux)


def hessian(func, argnums=0):
    """A function that gives the second derivatives of `func`: the Jacobian of its Jacobian."""
    return jacfwd(jacrev(func, argnums), argnums)


def functional_call(
    module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False
):
    """`module(*args, **kwargs)` with the parameters and buffers of the dict(s) in place of its own."""
    given = {}
    dicts = parameter_and_buffer_dicts
    for one in dicts if isinstance(dicts, (tuple, list)) else (dicts,):
        given.update(one)
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    own = dict(
        [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    )
    unknown = set(given) - set(own)
    missing = set(own) - set(given) if strict else set()
    if unknown or missing:
        raise RuntimeError(
            f"functional_call: unknown names {sorted(unknown)}, missing names {sorted(missing)}"
        )
    if tie_weights:
        by_tensor = {id(own[name]): value for name, value in given.items()}
        given = {name: by_tensor[id(tensor)] for name, tensor in own.items() if id(tensor) in by_tensor}
    swapped = []
    try:
        for name, value in given.items():
            path, _, attribute = name.rpartition(".")
            home = module.get_submodule(path)
            table = home._parameters if attribute in home._parameters else home._buffers
            if capturing.capture is not None:
                capturing.capture.lent_places.add((id(table), attribute))
            swapped.append((table, attribute, table[attribute]))
            table[attribute] = value
        return module(*args, **(kwargs or {}))
    finally:
        for table, attribute, value in reversed(swapped):
            table[attribute] = value


def stack_module_state(models):
    """The parameters and the buffers of several models of one kind, each stacked along a new first dimension."""
    models = list(models)
    if not models:
        raise RuntimeError("stack_module_state: expected at least one model")
    if len({type(one) for one in models}) > 1:
        raise RuntimeError("stack_module_state: expected models of one class")

    def stacked(tables):
        return {
            name: late.ops.stack([table[name].detach() for table in tables]).requires_grad_(
                tables[0][name].requires_grad
            )
            for name in tables[0]
        }

    return stacked([dict(one.named_parameters()) for one in models]), stacked(
        [dict(one.named_buffers()) for one in models]
    )
