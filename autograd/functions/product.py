"""Matrix products and einsum under PyTorch's names."""

import math
import string

from chainrule.autograd import ops
from chainrule.autograd.ops import product
from chainrule.autograd.precision import precision

from .common import sizes, tensor_of, wrap_dim


@precision("lower")
def matmul(input, other):
    """The matrix product, batched over leading dimensions; 1-d operands are vectors, as in NumPy."""
    a, b = tensor_of(input, "matmul"), tensor_of(other, "matmul")
    if a.ndim == 0 or b.ndim == 0:
        raise RuntimeError(
            f"matmul: both arguments need at least 1 dimension, got shapes {tuple(a.shape)} and {tuple(b.shape)}"
        )
    left = ops.expand_dims(a, 0) if a.ndim == 1 else a
    right = ops.expand_dims(b, 1) if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise RuntimeError(
            f"matmul: shapes cannot be multiplied: {tuple(a.shape)} and {tuple(b.shape)}; the last dimension of the first ({a.shape[-1]}) must "
            f"equal the {'only' if b.ndim == 1 else 'second last'} dimension of the second ({right.shape[-2]})"
        )
    _batches_fit(left.shape[:-2], right.shape[:-2], a, b)
    out = product.matmul(left, right)
    if a.ndim == 1:
        out = ops.squeeze(out, -2)
    return ops.squeeze(out, -1) if b.ndim == 1 else out


def _batches_fit(left, right, a, b):
    for m, n in zip(left[::-1], right[::-1], strict=False):
        if m != n and 1 not in (m, n):
            raise RuntimeError(
                f"matmul: leading dimensions of {tuple(a.shape)} and {tuple(b.shape)} cannot be broadcast: {m} against {n}"
            )


def _of_ndim(name, *pairs):
    for x, ndim in pairs:
        if tensor_of(x, name).ndim != ndim:
            raise RuntimeError(
                f"{name}: expected {ndim}-d tensors here, got shape {tuple(x.shape)}; matmul takes any"
            )


@precision("lower")
def mm(input, mat2):
    """The product of two matrices. (n, k), (k, m) -> (n, m)."""
    _of_ndim("mm", (input, 2), (mat2, 2))
    return matmul(input, mat2)


@precision("lower")
def bmm(input, mat2):
    """The products of two batches of matrices. (b, n, k), (b, k, m) -> (b, n, m)."""
    _of_ndim("bmm", (input, 3), (mat2, 3))
    if input.shape[0] != mat2.shape[0]:
        raise RuntimeError(f"bmm: batches differ: shapes {tuple(input.shape)} and {tuple(mat2.shape)}")
    return matmul(input, mat2)


@precision(cpu="unchanged", accelerator="lower")
def mv(input, vec):
    """Matrix times vector. (n, k), (k) -> (n)."""
    _of_ndim("mv", (input, 2), (vec, 1))
    return matmul(input, vec)


@precision(accelerator="widest")
def dot(input, tensor):
    """The inner product of two vectors."""
    _of_ndim("dot", (input, 1), (tensor, 1))
    if input.shape != tensor.shape:
        raise RuntimeError(f"dot: vectors of different length: {input.shape[0]} and {tensor.shape[0]}")
    return ops.sum(input * tensor)


def outer(input, vec2):
    """All products of two vectors' elements. (n), (m) -> (n, m)."""
    _of_ndim("outer", (input, 1), (vec2, 1))
    return ops.expand_dims(input, 1) * ops.expand_dims(vec2, 0)


def _weighted(input, found, beta, alpha):
    """beta * input + alpha * found; with beta 0 input plays no part, not even its NaNs. Integers take the factors' whole part."""
    if found.dtype.name.startswith(("int", "uint")):
        beta, alpha = int(beta), int(alpha)
    found = found if alpha == 1 else found * alpha
    return found if beta == 0 else found + (input if beta == 1 else input * beta)


@precision("lower")
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * mat1 @ mat2."""
    return _weighted(input, mm(mat1, mat2), beta, alpha)


@precision("lower")
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * batch1 @ batch2."""
    return _weighted(input, bmm(batch1, batch2), beta, alpha)


def inner(input, other):
    """Sums of products over the last dimensions."""
    if tensor_of(input, "inner").ndim == 0 or tensor_of(other, "inner").ndim == 0:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


def tensordot(a, b, dims=2):
    """Sums of products over the given dimensions: the last `dims` of a and first of b, or two lists; length 1 is repeated."""
    a, b = tensor_of(a, "tensordot"), tensor_of(b, "tensordot")
    if isinstance(dims, int):
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = (
            [wrap_dim(one, x.ndim, "tensordot") for one in ([d] if isinstance(d, int) else d)]
            for x, d in zip((a, b), dims, strict=True)
        )
    a = a.expand(_matched(a, left, b, right))
    b = b.expand(_matched(b, right, a, left))
    if [a.shape[i] for i in left] != [b.shape[i] for i in right]:
        raise RuntimeError(
            f"tensordot: contracted dimensions {left} of {tuple(a.shape)} and {right} of {tuple(b.shape)} differ in length"
        )
    keep_a = [i for i in range(a.ndim) if i not in left]
    keep_b = [i for i in range(b.ndim) if i not in right]
    count = math.prod(a.shape[i] for i in left)
    shape_a, shape_b = [a.shape[i] for i in keep_a], [b.shape[i] for i in keep_b]
    first = a.permute(*keep_a, *left).reshape((math.prod(shape_a), count))
    second = b.permute(*right, *keep_b).reshape((count, math.prod(shape_b)))
    # As in PyTorch, what gives a single number stays in the precision of its inputs inside an autocast block.
    multiply = product.matmul if math.prod(shape_a + shape_b) == 1 else matmul
    return multiply(first, second).reshape(sizes((shape_a + shape_b,), "tensordot"))


def _matched(x, dims, other, others):
    """The shape of x with each contracted dimension of length 1 as long as the other's."""
    shape = list(x.shape)
    for i, j in zip(dims, others, strict=False):
        if i < x.ndim and j < other.ndim and shape[i] == 1:
            shape[i] = other.shape[j]
    return shape


@precision("lower")
def einsum(equation, *operands):
    """Einstein summation: `einsum("bij,bjk->bik", a, b)`; implicit output, ellipsis and repeated letters as in NumPy."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    operands = [tensor_of(one, "einsum") for one in operands]
    return product.einsum(*operands, equation=_explicit(equation.replace(" ", ""), operands))


def _explicit(equation, operands):
    """The equation with its output written out and every ellipsis replaced by letters."""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum: {equation!r} names {len(terms)} operands, got {len(operands)}")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    lengths = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, operands, strict=True)]
    most = max((n for n, term in zip(lengths, terms, strict=True) if "..." in term), default=0)
    for term, x, n in zip(terms, operands, lengths, strict=True):
        if n < 0 or (n and "..." not in term):
            raise RuntimeError(
                f"einsum: {term!r} in {equation!r} does not fit an operand of shape {tuple(x.shape)}"
            )
    stands_for = "".join(free[:most])
    full = [term.replace("...", stands_for[most - n :]) for term, n in zip(terms, lengths, strict=True)]
    if arrow:
        output = output.replace("...", stands_for)
    else:
        joined = "".join(term.replace("...", "") for term in terms)
        output = stands_for + "".join(sorted(letter for letter in set(joined) if joined.count(letter) == 1))
    if set(output) - set("".join(full)) or len(set(output)) != len(output):
        raise RuntimeError(
            f"einsum: the output of {equation!r} must name each of its letters once, and only letters of the inputs"
        )
    return ",".join(full) + "->" + output
