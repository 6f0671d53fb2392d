"""Differences and integrals of sampled functions: diff, gradient, the trapezoidal rule."""

import operator

from chainrule.autograd import late, ops
from chainrule.autograd.ops.scan import part
from chainrule.backends import dtypes

from .common import tensor_of, wrap_dim, wrap_dims
from .shape import cat


def diff(input, n=1, dim=-1, prepend=None, append=None):
    """The n-th difference along `dim`, x[i+1] - x[i] taken n times, of the input with `prepend` and `append` joined to it.

    Bools differ where they are unequal. After more differences than there are elements none are left.
    """
    x = tensor_of(input, "diff")
    if not x.ndim:
        raise RuntimeError("diff: expected at least 1 dimension, got a 0-d tensor; reshape it to (1,)")
    axis, n = wrap_dim(dim, x.ndim, "diff"), operator.index(n)
    if n < 0:
        raise RuntimeError(f"diff: n must not be negative, got {n}")
    for label, one in (("prepend", prepend), ("append", append)):
        if one is not None and (
            tensor_of(one, "diff").ndim != x.ndim
            or any(a != b for i, (a, b) in enumerate(zip(one.shape, x.shape, strict=True)) if i != axis)
        ):
            raise RuntimeError(
                f"diff: {label} of shape {tuple(one.shape)} must agree with input of shape {tuple(x.shape)} in all "
                f"dimensions but {axis}"
            )
    if n == 0:
        return ops.copy(x)
    parts = [one for one in (prepend, x, append) if one is not None]
    x = cat(parts, axis) if len(parts) > 1 else x
    subtract = ops.logical_xor if x.dtype is dtypes.bool else ops.subtract
    for _ in range(min(n, x.shape[axis])):
        x = subtract(part(x, axis, 1, None), part(x, axis, 0, -1))
    return x


def gradient(input, *, spacing=None, dim=None, edge_order=1):
    """The derivatives of a function sampled on a grid, by central differences: one tensor for each dimension in `dim`.

    spacing: the distance of neighbours (1), one number for all or for each dimension; or the coordinates, one vector for each
    dimension. At the edges one-sided differences of order `edge_order`, 1 or 2. Second order in the interior for any
    coordinates (Fornberg 1988, "Generation of finite difference formulas on arbitrarily spaced grids").
    """
    x = tensor_of(input, "gradient")
    dims = tuple(range(x.ndim)) if dim is None else wrap_dims(dim, x.ndim, "gradient") or ()
    if isinstance(spacing, (list, tuple)):
        spacings = list(spacing)
    elif isinstance(spacing, late.Tensor) and spacing.ndim:
        raise RuntimeError("gradient: a tensor of coordinates goes in a sequence: spacing=(coordinates,)")
    else:
        spacings = [1 if spacing is None else spacing] * len(dims)
    if len(spacings) != len(dims):
        raise RuntimeError(
            f"gradient: expected {len(dims)} spacings, one for each dim in {dims}, got {len(spacings)}"
        )
    if edge_order not in (1, 2):
        raise RuntimeError(f"gradient: edge_order must be 1 or 2, got {edge_order}")
    for axis in dims:
        if not x.ndim or x.shape[axis] <= edge_order:
            raise RuntimeError(
                f"gradient: edge_order {edge_order} needs at least {edge_order + 1} elements along dim {axis}, "
                f"got shape {tuple(x.shape)}"
            )
    if not (x.dtype.is_floating_point or x.dtype.is_complex):
        x = x.to(dtypes.get_default_dtype())
    return tuple(_slope(x, axis, one, edge_order) for axis, one in zip(dims, spacings, strict=True))


def _slope(x, axis, spacing, edge_order):
    """dx/dt along `axis`: the differences of neighbours, weighted."""
    n = x.shape[axis]
    if isinstance(spacing, late.Tensor) and spacing.ndim:
        if tuple(spacing.shape) != (n,):
            raise RuntimeError(
                f"gradient: coordinates of shape {tuple(spacing.shape)} do not fit dim {axis} of length {n}"
            )
        step = diff(spacing).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        step = step if step.dtype.is_floating_point else step.to(x.dtype.to_real())
    else:
        step = ops.broadcast_to(
            x.new_ones(()) * spacing, tuple(n - 1 if i == axis else 1 for i in range(x.ndim))
        )
    rise = diff(x, dim=axis) / step
    before, after = part(step, axis, 0, -1), part(step, axis, 1, None)
    left, right = part(rise, axis, 0, -1), part(rise, axis, 1, None)
    inner = (left * after + right * before) / (before + after)
    first, last = part(rise, axis, 0, 1), part(rise, axis, -1, None)
    if edge_order == 2:
        # The slope of the parabola through the first three (last three) points.
        a, b = part(step, axis, 0, 1), part(step, axis, 1, 2)
        first = first + (first - part(rise, axis, 1, 2)) * a / (a + b)
        a, b = part(step, axis, -1, None), part(step, axis, -2, -1)
        last = last + (last - part(rise, axis, -2, -1)) * a / (a + b)
    return cat([first, inner, last], axis)


def _panels(y, x, dx, dim, name):
    """The areas of the trapezoids between neighbours along `dim`, and which dimension that is."""
    y = tensor_of(y, name)
    if x is not None and dx is not None:
        raise TypeError(f"{name}: x and dx say the same; give one of them")
    if not y.ndim:
        raise IndexError(f"{name}: expected at least 1 dimension, got a 0-d tensor")
    axis = wrap_dim(dim, y.ndim, name)
    for label, one in (("y", y), ("x", x)):
        if one is not None and tensor_of(one, name).dtype is dtypes.bool:
            raise RuntimeError(f"{name}: {label} must be numbers, got {one.dtype}; convert with .float()")
    if x is None:
        return (part(y, axis, 1, None) + part(y, axis, 0, -1)) * (0.5 * (1 if dx is None else dx)), axis
    if x.ndim == 1:
        if x.shape[0] != y.shape[axis]:
            raise RuntimeError(
                f"{name}: x of length {x.shape[0]} does not fit dim {axis} of y of shape {tuple(y.shape)}"
            )
        width = diff(x).reshape([-1 if i == axis else 1 for i in range(y.ndim)])
    elif not x.ndim:
        raise IndexError(f"{name}: x must have at least 1 dimension; a distance is given as dx")
    else:
        if x.ndim < y.ndim:
            x = x.reshape([1] * (y.ndim - x.ndim) + list(x.shape))
        width = diff(x, dim=axis - y.ndim)
    return (part(y, axis - y.ndim, 1, None) + part(y, axis - y.ndim, 0, -1)) * width * 0.5, axis


def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of y along `dim` by the trapezoidal rule, at the points x (a vector or in y's shape) or dx apart (1)."""
    panels, axis = _panels(y, x, dx, dim, "trapezoid")
    return ops.sum(panels, axis - tensor_of(y, "trapezoid").ndim)


trapz = trapezoid


def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of y along `dim` from the first point to each further one. See `trapezoid`."""
    panels, axis = _panels(y, x, dx, dim, "cumulative_trapezoid")
    return ops.cumsum(panels, axis - y.ndim)
