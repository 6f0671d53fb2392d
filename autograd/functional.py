"""Jacobians, Hessians and their products, with the function's inputs given as Tensors: `torch.autograd.functional`."""

from . import forward_ad, late
from .gradients import grad
from .modes import enable_grad


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def _check_tensors(inputs):
    for one in inputs:
        if not isinstance(one, late.Tensor):
            raise TypeError(f"expected Tensors as inputs, got {type(one).__name__}")


def _prepared(inputs, create_graph):
    """The inputs as leaves of a graph of their own, or, with create_graph, as part of the caller's."""
    _check_tensors(inputs)
    return tuple(
        forward_ad.keep_graph(one.view_as_alias())
        if create_graph and one.requires_grad
        else one.detach().requires_grad_()
        for one in inputs
    )


def _evaluated(func, inputs, name):
    outputs = func(*inputs)
    for one in _tuple(outputs):
        if not isinstance(one, late.Tensor):
            raise TypeError(f"{name}: the function must return Tensors, it returned {type(one).__name__}")
    return outputs


def _found(grads, inputs, strict, name):
    """Gradients with zeros for what plays no part, or an error if `strict`."""
    if strict and any(one is None for one in grads):
        index = next(i for i, one in enumerate(grads) if one is None)
        raise RuntimeError(
            f"{name}: the output does not depend on input {index}; strict=False gives zeros for it"
        )
    return tuple(x.new_zeros(x.shape) if one is None else one for one, x in zip(grads, inputs, strict=True))


def _finished(values, create_graph):
    return values if create_graph else tuple(one.detach() for one in values)


def _gradients(outputs, inputs, weights, create_graph):
    recorded = [(out, w) for out, w in zip(outputs, weights, strict=True) if out.requires_grad]
    if not recorded:
        return (None,) * len(inputs)
    outs, ws = zip(*recorded, strict=True)
    return grad(outs, inputs, ws, retain_graph=True, create_graph=create_graph, allow_unused=True)


def _like(v, like, name):
    """The vector(s) of a product, checked; 1 for a single number."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"{name}: v may be left out only for a single value of one element")
        return tuple(one.new_ones(one.shape) for one in like)
    v = _tuple(v)
    if [tuple(one.shape) for one in v] != [tuple(one.shape) for one in like]:
        raise RuntimeError(
            f"{name}: v has shapes {[tuple(one.shape) for one in v]}, expected {[tuple(one.shape) for one in like]}"
        )
    return v


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """(outputs, v^T J): the product of a vector with the Jacobian of `func`."""
    with enable_grad():
        xs = _prepared(_tuple(inputs), create_graph)
        outputs = _evaluated(func, xs, "vjp")
        grads = _gradients(_tuple(outputs), xs, _like(v, _tuple(outputs), "vjp"), create_graph)
        products = _finished(_found(grads, xs, strict, "vjp"), create_graph)
    return _shaped(outputs, create_graph), products if isinstance(inputs, tuple) else products[0]


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """(outputs, J v): the product of the Jacobian of `func` with a vector, in one forward pass; see `forward_ad`."""
    xs = _tuple(inputs)
    _check_tensors(xs)
    xs = xs if create_graph else tuple(one.detach() for one in xs)
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, t) for x, t in zip(xs, _like(v, xs, "jvp"), strict=True)]
        outputs = _evaluated(func, duals, "jvp")
        pairs = [forward_ad.unpack_dual(one) for one in _tuple(outputs)]
    if strict and any(tangent is None for _, tangent in pairs):
        index = next(i for i, pair in enumerate(pairs) if pair.tangent is None)
        raise RuntimeError(f"jvp: output {index} depends on no input; strict=False gives zeros for it")
    primals = _finished(tuple(primal for primal, _ in pairs), create_graph)
    products = tuple(one.new_zeros(one.shape) if tangent is None else tangent for one, tangent in pairs)
    products = _finished(products, create_graph)
    return (primals, products) if isinstance(outputs, tuple) else (primals[0], products[0])


def _shaped(outputs, create_graph):
    if create_graph:
        return outputs
    return tuple(one.detach() for one in outputs) if isinstance(outputs, tuple) else outputs.detach()


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """The Jacobian: for each output and input a Tensor of shape (*output, *input); nested tuples where there are several.

    vectorize: all rows in one backward pass (see `vmap`), instead of a pass for each.
    """
    with enable_grad():
        xs = _prepared(_tuple(inputs), create_graph)
        outputs = _evaluated(func, xs, "jacobian")
        blocks = []
        for out in _tuple(outputs):
            rows = _rows(out, xs, create_graph, strict, vectorize)
            block = tuple(row.reshape((*out.shape, *x.shape)) for row, x in zip(rows, xs, strict=True))
            block = _finished(block, create_graph)
            blocks.append(block if isinstance(inputs, tuple) else block[0])
    return tuple(blocks) if isinstance(outputs, tuple) else blocks[0]


def _rows(out, xs, create_graph, strict, vectorize):
    """For each of xs, the gradients of all elements of `out`: by one backward pass each, or, with `vectorize`, by one for all."""

    def row(value, weight):
        return _found(_gradients((value,), xs, (weight,), create_graph), xs, strict, "jacobian")

    if not out.numel():
        return [x.new_zeros((0, *x.shape)) for x in xs]
    flat = out.reshape((-1,))
    if vectorize and out.numel() > 1:
        from .vmap import vmap

        units = flat.detach().new_ones(flat.shape).diag()
        return vmap(lambda unit: row(flat, unit))(units)
    rows = [row(element, element.new_ones(())) for element in flat.unbind(0)]
    return [late.ops.stack(column) for column in zip(*rows, strict=True)]


def _scalar(func, name):
    def checked(*inputs):
        out = func(*inputs)
        if not isinstance(out, late.Tensor) or out.numel() != 1:
            raise RuntimeError(f"{name}: the function must return a single Tensor of one element")
        return out.reshape(())

    return checked


def hessian(
    func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"
):
    """The matrix of second derivatives of a scalar function; nested tuples where there are several inputs."""
    scalar = _scalar(func, "hessian")
    several = isinstance(inputs, tuple)

    def gradient(*xs):
        found = jacobian(scalar, xs, create_graph=True, strict=strict)
        return found if several else found[0]

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict, vectorize=vectorize)


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """(output, v^T H): the product of a vector with the Hessian, which is symmetric: equal to `hvp`."""
    return hvp(func, inputs, v, create_graph, strict)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """(output, H v): the product of the Hessian of a scalar function with a vector. Two backward passes (Pearlmutter 1994)."""
    with enable_grad():
        xs = _prepared(_tuple(inputs), create_graph)
        output = _evaluated(_scalar(func, "hvp"), xs, "hvp")
        grads = _found(_gradients((output,), xs, (output.new_ones(()),), True), xs, strict, "hvp")
        products = _gradients(grads, xs, _like(v, xs, "hvp"), create_graph)
        products = _finished(_found(products, xs, False, "hvp"), create_graph)
    return _shaped(output, create_graph), products if isinstance(inputs, tuple) else products[0]
