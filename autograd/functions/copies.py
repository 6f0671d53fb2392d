"""PyTorch's `*_copy` functions: what a view function gives, in memory of its own."""

from chainrule.autograd import ops

from . import layout, shape, splitting
from .common import tensor_of


def _copied(view, name):
    """`view`, with its results copied."""

    def function(*args, **kwargs):
        found = view(*args, **kwargs)
        return tuple(map(ops.copy, found)) if isinstance(found, tuple) else ops.copy(found)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"What `{name.removesuffix('_copy')}` gives, in memory of its own."
    return function


def _slice(input, dim=0, start=None, end=None, step=1):
    axis = shape.wrap_dim(dim, tensor_of(input, "slice_copy").ndim, "slice_copy")
    return input[(slice(None),) * axis + (slice(start, end, step),)]


alias_copy = _copied(lambda input: input, "alias_copy")
as_strided_copy = _copied(layout.as_strided, "as_strided_copy")
detach_copy = _copied(lambda input: tensor_of(input, "detach_copy").detach(), "detach_copy")
diagonal_copy = _copied(shape.diagonal, "diagonal_copy")
expand_copy = _copied(shape.expand, "expand_copy")
narrow_copy = _copied(shape.narrow, "narrow_copy")
permute_copy = _copied(shape.permute, "permute_copy")
select_copy = _copied(shape.select, "select_copy")
slice_copy = _copied(_slice, "slice_copy")
split_copy = _copied(shape.split, "split_copy")
split_with_sizes_copy = _copied(splitting.split_with_sizes, "split_with_sizes_copy")
squeeze_copy = _copied(shape.squeeze, "squeeze_copy")
t_copy = _copied(shape.t, "t_copy")
transpose_copy = _copied(shape.transpose, "transpose_copy")
unbind_copy = _copied(shape.unbind, "unbind_copy")
unfold_copy = _copied(layout.unfold, "unfold_copy")
unsqueeze_copy = _copied(shape.unsqueeze, "unsqueeze_copy")
view_copy = _copied(shape.view, "view_copy")
