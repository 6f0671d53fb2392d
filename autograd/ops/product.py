"""Matrix products and einsum."""

from chainrule.autograd.op import op

from .blocks import in_float32, wide


def _transposed(xp, x):
    return xp.swapaxes(x, axis1=-1, axis2=-2)


@op(
    a=lambda xp, g, b: matmul(g, _transposed(xp, b)),
    b=lambda xp, g, a: _matmul_right(xp, g, a),
    cast="same",
    tangent="linear",
)
@in_float32
def matmul(xp, a, b):
    """Matrix product, both at least 2-d. (..., n, k), (..., k, m) -> (..., n, m), leading axes broadcast."""
    return xp.matmul(a, b)


def _matmul_right(xp, g, a):
    return matmul(_transposed(xp, a), g)


def _einsum_rule(xp, g, needs, xs, xs_shape, equation):
    """Each input's gradient is the einsum of the others with g, into that input's letters."""
    inputs, output = equation.split("->")
    terms = inputs.split(",")
    grads = []
    for i, (need, term) in enumerate(zip(needs, terms, strict=True)):
        grads.append(_einsum_input(xp, g, i, term, terms, output, xs, xs_shape[i]) if need else None)
    return tuple(grads)


def _einsum_input(xp, g, i, term, terms, output, xs, shape):
    others = [(terms[j], xs[j]) for j in range(len(terms)) if j != i]
    seen = set(output).union(*(letters for letters, _ in others)) if others else set(output)
    distinct = "".join(dict.fromkeys(term))
    target = "".join(letter for letter in distinct if letter in seen)
    spec = ",".join([output, *(letters for letters, _ in others)]) + "->" + target
    grad = einsum(g, *(x for _, x in others), equation=spec)
    # Letters only this input has were summed away: their gradient is the same along that axis.
    sizes = dict(zip(term, shape, strict=True))
    grad = xp.reshape(grad, tuple(grad.shape[target.index(n)] if n in target else 1 for n in distinct))
    lengths = (grad.shape[i] if n in target else sizes[n] for i, n in enumerate(distinct))
    grad = xp.broadcast_to(grad, shape=tuple(lengths))
    while distinct != term:
        # A repeated letter reads a diagonal: put the gradient back onto it, one repetition at a time.
        position = next(k for k, letter in enumerate(term) if distinct[k : k + 1] != letter)
        grad, distinct = (
            _onto_diagonal(xp, grad, distinct, position, term[position]),
            distinct[:position] + term[position] + distinct[position:],
        )
    return grad


def _onto_diagonal(xp, grad, letters, position, letter):
    """A new axis at `position`, zero except where it equals the axis `letter` already has."""
    source = letters.index(letter)
    n = grad.shape[source]
    shape = [1] * (grad.ndim + 1)
    shape[position], shape[source + (source >= position)] = n, n
    eye = xp.reshape(xp.eye(n, dtype=grad.dtype), tuple(shape))
    return xp.expand_dims(grad, axis=position) * eye


@op(joint=_einsum_rule, cast="promote", tangent="linear")
def einsum(xp, *xs, equation):
    """Einstein summation; `equation` is explicit and without ellipsis, as the public function makes it."""
    found = xp.einsum(equation, *[wide(x) for x in xs], optimize=len(xs) > 1)
    return found if found.dtype == xs[0].dtype else found.astype(xs[0].dtype)
