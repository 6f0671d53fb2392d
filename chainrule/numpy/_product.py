"""Products of vectors and matrices; dtypes that differ are promoted first."""

from chainrule.autograd import ops
from chainrule.autograd.functions import linalg_products, product
from chainrule.autograd.functions.shape import broadcast_tensors

from ._common import operands, promoted, tensor

__all__ = ["cross", "dot", "einsum", "inner", "kron", "matmul", "matvec", "outer", "tensordot", "trace", "vdot", "vecdot", "vecmat"]  # fmt: skip


def matmul(x1, x2, /):
    """The matrix product, batched over leading axes; 1-d operands are vectors."""
    return product.matmul(*promoted(x1, x2))


def dot(a, b):
    """Sums over the last axis of a and the second last (only) one of b; the product with a number."""
    a, b = promoted(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    return product.tensordot(a, b, ([-1], [-2 if b.ndim > 1 else -1]))


def inner(a, b, /):
    """Sums of products over the last axes."""
    return product.inner(*promoted(a, b))


def outer(a, b):
    """All products of the elements of a and b, both flattened."""
    return product.outer(*(tensor(one).reshape(-1) for one in operands(a, b)))


def vdot(a, b, /):
    """The inner product of a, conjugated, and b, both flattened."""
    return linalg_products.vdot(*(one.reshape(-1) for one in promoted(a, b)))


def vecdot(x1, x2, /, *, axis=-1):
    """Inner products along `axis`, x1 conjugated."""
    return linalg_products.vecdot(*promoted(x1, x2), dim=axis)


def matvec(x1, x2, /):
    """Matrices times vectors, which lie along the last axis of x2."""
    a, b = promoted(x1, x2)
    return ops.squeeze(product.matmul(a, ops.expand_dims(b, -1)), -1)


def vecmat(x1, x2, /):
    """Vectors, which lie along the last axis of x1 and are conjugated, times matrices."""
    a, b = promoted(x1, x2)
    return ops.squeeze(product.matmul(ops.expand_dims(ops.conj(a), -2), b), -2)


def tensordot(a, b, axes=2):
    """Sums of products over the last `axes` axes of a and the first ones of b, or over two lists of axes."""
    return product.tensordot(*promoted(a, b), axes)


def einsum(subscripts, /, *operands, optimize=False):
    """Einstein summation. All operands are summed in one go or, with `optimize`, as NumPy does best."""
    return product.einsum(subscripts, *promoted(*operands))


def kron(a, b):
    """The Kronecker product."""
    return linalg_products.kron(*promoted(a, b))


def cross(a, b, axisa=-1, axisb=-1, axisc=-1, axis=None):
    """The cross product of vectors of length 3, along `axis` or along axes of their own."""
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = promoted(a, b)
    a, b = broadcast_tensors(ops.moveaxis(a, axisa, -1), ops.moveaxis(b, axisb, -1))
    return ops.moveaxis(linalg_products.linalg_cross(a, b), -1, axisc)


def trace(a, offset=0, axis1=0, axis2=1):
    """The sum of a diagonal."""
    x = tensor(a)
    return ops.diagonal(x, offset, axis1, axis2).sum(-1)
