"""Distinct elements, membership and positions. Nothing here is differentiable."""

import math

from chainrule.autograd import late, ops
from chainrule.autograd.op import op
from chainrule.autograd.ops.blocks import wide

from .common import tensor_of, wrap_dim
from .histogram import beside
from .indexing import nonzero


@op()
def ascending(xp, x):
    """The elements (n) in ascending order, NaN at the end."""
    return xp.sort(wide(x)).astype(x.dtype, copy=False)


@op(outputs=("places", "group", "counts"))
def groups(xp, rows, *, consecutive):
    """Rows (n, m) that are equal: one place for each group, each row's group, and the size of the groups.

    In lexicographic order equal rows are neighbours; `consecutive` takes the rows as they lie. NaN equals nothing.
    """
    n, order = rows.shape[0], None
    if not consecutive:
        keys = xp.flip(wide(rows).T, 0)
        # Which of equal rows comes first is all the same, and a stable sort takes six times as long.
        order = xp.argsort(keys[0]) if len(keys) == 1 else xp.lexsort(keys)
        rows = rows[order]
    first = xp.ones((n,), dtype="bool")
    first[1:] = xp.any(rows[1:] != rows[:-1], axis=1)
    (starts,) = xp.nonzero(first)
    counts = xp.diff(xp.concatenate([starts, xp.full((1,), n, dtype=starts.dtype)]))
    sorted_group = xp.cumsum(first) - 1
    if consecutive:
        return starts, sorted_group, counts
    group = xp.empty_like(sorted_group)
    group[order] = sorted_group
    return order[starts], group, counts


def _unique(input, dim, name, consecutive, return_inverse, return_counts):
    x = tensor_of(input, name)
    if dim is None:
        lines, axis = x.reshape(-1).detach(), 0
        if not (consecutive or return_inverse):
            # Sorting the values takes a fifth of the time of finding the order of their places.
            lines, consecutive = ascending(lines), True
        rows = lines.reshape(-1, 1)
    else:
        axis = wrap_dim(dim, x.ndim, name)
        lines = x if x.ndim else x.reshape(1)
        others = [n for i, n in enumerate(lines.shape) if i != axis]
        if 0 in others:
            raise RuntimeError(
                f"{name}: slices along dim {axis} of shape {tuple(x.shape)} have no elements to compare"
            )
        rows = ops.moveaxis(lines, axis, 0).reshape(lines.shape[axis], math.prod(others))
    places, group, counts = groups(rows.detach(), consecutive=consecutive)
    values = ops.take(lines.detach(), index=(*(slice(None),) * axis, places._array))
    extra = [group.reshape(x.shape) if dim is None else group] if return_inverse else []
    extra += [counts] if return_counts else []
    return (values, *extra) if extra else values


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements, or with `dim` the distinct slices along it, in ascending order whatever `sorted` says.

    return_inverse: also where each element went; return_counts: also how often each occurs. Then a tuple.
    """
    return _unique(input, dim, "unique", False, return_inverse, return_counts)


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """The elements, or with `dim` the slices along it, without those that equal the one before. See `unique`."""
    return _unique(input, dim, "unique_consecutive", True, return_inverse, return_counts)


@op(cast="compare")
def member(xp, elements, tests):
    """Whether each element is among `tests`."""
    return xp.isin(elements, tests)


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element is among the test elements (or, with `invert`, is not); either may be a number, not both."""
    if not isinstance(elements, late.Tensor) and not isinstance(test_elements, late.Tensor):
        raise TypeError(
            "isin: elements or test_elements must be a Tensor; make one with chainrule.tensor(...)"
        )
    elements, test_elements = beside(elements, test_elements), beside(test_elements, elements)
    found = member(elements.detach(), test_elements.detach())
    return ops.logical_not(found) if invert else found


def argwhere(input):
    """The positions of the elements that are not 0, one row each."""
    return nonzero(input)
