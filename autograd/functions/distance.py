"""Distances between all pairs of two lists of points, and the shortening of slices to a norm."""

import math

from chainrule.autograd import ops
from chainrule.autograd.ops.distance import absolute_distances
from chainrule.autograd.precision import precision

from .common import tensor_of, wrap_dim
from .reduction import floating, norm
from .shape import broadcast_shapes

_MODES = {
    None: "use_mm_for_euclid_dist_if_necessary",
    0: "use_mm_for_euclid_dist_if_necessary",
    1: "use_mm_for_euclid_dist",
    2: "donot_use_mm_for_euclid_dist",
}


@precision("float32")
def cdist(x1, x2, p=2.0, compute_mode="use_mm_for_euclid_dist_if_necessary"):
    """The p-norm distances of all points x1 (*, P, M) to all x2 (*, R, M): (*, P, R), with leading dimensions broadcast.

    p = 0 counts the unequal coordinates, p = inf takes the largest difference. Derivatives of every order; those of a distance
    0 are 0, and at p = inf ties share equally. More than 25 points use matrix products for p = 2, as in PyTorch: |a|^2 + |b|^2 - 2ab
    loses digits where points lie close to each other and far from 0; compute_mode="donot_use_mm_for_euclid_dist" does not.
    """
    a, b = tensor_of(x1, "cdist"), tensor_of(x2, "cdist")
    for one in (a, b):
        if one.ndim < 2 or not one.dtype.is_floating_point:
            raise RuntimeError(
                f"cdist: expected floating point inputs (*, P, M), got {one.dtype} of shape {tuple(one.shape)}"
            )
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"cdist: x1 of shape {tuple(a.shape)} and x2 of shape {tuple(b.shape)} have points of unequal length"
        )
    if not p >= 0:
        raise RuntimeError(f"cdist: p must be at least 0, got {p}")
    mode = _MODES.get(compute_mode, compute_mode)
    if mode not in _MODES.values():
        raise ValueError(f"cdist: compute_mode must be one of {tuple(_MODES.values())}, got {compute_mode!r}")
    leading = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if p == 1:
        return _absolute(a, b, tuple(leading))
    many = a.shape[-2] > 25 or b.shape[-2] > 25
    if p == 2 and (mode == _MODES[1] or (many and mode == _MODES[0])):
        return _euclidean(a, b)
    # Points without coordinates are 0 apart by any norm.
    return norm(ops.expand_dims(a, -2) - ops.expand_dims(b, -3), p if a.shape[-1] else 2, -1)


def _absolute(a, b, leading):
    a, b = (
        ops.broadcast_to(one, shape=(*leading, *one.shape[-2:])).reshape(math.prod(leading), *one.shape[-2:])
        for one in (a, b)
    )
    return absolute_distances(a, b).reshape(*leading, a.shape[1], b.shape[1])


def _euclidean(a, b):
    square = ops.sum(a * a, -1, True) + ops.swapaxes(ops.sum(b * b, -1, True), -1, -2)
    square = square - 2 * ops.matmul(a, ops.swapaxes(b, -1, -2))
    apart = square > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, square, 1)), 0)


@precision(accelerator="float32")
def renorm(input, p, dim, maxnorm):
    """Each slice along `dim` whose p-norm is greater than `maxnorm`, scaled down to it."""
    x = floating(input, None, "renorm")
    if x.ndim < 2:
        raise RuntimeError(f"renorm: expected at least 2 dimensions, got shape {tuple(x.shape)}")
    if isinstance(p, complex) or not p > 0:
        raise RuntimeError(f"renorm: p must be positive, got {p}")
    if isinstance(maxnorm, complex) or not maxnorm >= 0:
        raise RuntimeError(f"renorm: maxnorm must be at least 0, got {maxnorm}")
    axis = wrap_dim(dim, x.ndim, "renorm")
    size = norm(x, p, [i for i in range(x.ndim) if i != axis], keepdim=True)
    # PyTorch's 1e-7, so that the result is no longer than maxnorm after rounding.
    scale = ops.where(size > maxnorm, maxnorm / (size + 1e-7), 1)
    return x * scale.to(x.dtype if not x.dtype.is_complex else x.dtype.to_real())
