"""Reading and writing by position: basic and advanced indexing, gather and scatter.

An index lives in the static keywords as Python ints, slices, None, Ellipsis and integer or bool arrays; each reading
operation has a writing one as its transpose, so the family is closed under differentiation.
"""

from chainrule.autograd.op import op
from chainrule.backends import add_at


def _add_region(buffer, g, index):
    buffer[index] += g


@op(
    x=lambda xp, g, x_shape, index: put_region(g, index=index, shape=x_shape),
    view=True,
    accumulate=_add_region,
    tangent="linear",
)
def getitem(xp, x, *, index):
    """x[index] for ints, slices, None and Ellipsis: a view."""
    # The Ellipsis keeps a fully indexed element an array (a view) where NumPy would hand out a scalar.
    return x[index] if Ellipsis in index else x[(*index, Ellipsis)]


@op(x=lambda xp, g, index: g[index], tangent="linear")
def put_region(xp, x, *, index, shape):
    """Zeros of `shape` with x at the basic `index`: the transpose of `getitem`."""
    out = xp.zeros(shape, dtype=x.dtype)
    out[index] = x
    return out


def _add_places(buffer, g, index):
    add_at(buffer, index, g)


@op(
    x=lambda xp, g, x_shape, index: scatter_into(g, index=index, shape=x_shape),
    accumulate=_add_places,
    tangent="linear",
)
def take(xp, x, *, index):
    """x[index] with integer or bool arrays in the index: a copy. Repeated places add their gradients."""
    return x[index]


@op(x=lambda xp, g, index: take(g, index=index), tangent="linear")
def scatter_into(xp, x, *, index, shape):
    """Zeros of `shape` with x added at the advanced `index`: the transpose of `take`."""
    out = xp.zeros(shape, dtype=x.dtype)
    add_at(out, index, x)
    return out


def _put_rule(xp, g, needs, index, accumulate, value_shape, x_dtype):
    gx = None
    if needs[0]:
        gx = g if accumulate else index_put(g, xp.zeros((), dtype=x_dtype), index=index)
    return gx, take(g, index=index) if needs[1] else None


@op(joint=_put_rule, cast="promote")
def index_put(xp, x, value, *, index, accumulate=False):
    """A copy of x with `value` written (or added) at `index`. Where an index without `accumulate` names one place
    twice, the last value stays and each of them gets the gradient, as in PyTorch."""
    out = x.copy()
    if accumulate:
        add_at(out, index, value)
    else:
        out[index] = value
    return out


def along(xp, index, axis):
    """The advanced index by which `index` (an array) reads along one axis and stays in place along the others."""
    grid = []
    for dim, length in enumerate(index.shape):
        shape = [1] * index.ndim
        shape[dim] = length
        grid.append(index if dim == axis % index.ndim else xp.arange(length).reshape(shape))
    return tuple(grid)


@op(
    x=lambda xp, g, index, x_shape, axis: scatter_add(
        xp.zeros(x_shape, dtype=g.dtype), g, index=index, axis=axis
    ),
    tangent="linear",
)
def take_along_axis(xp, x, *, index, axis):
    """y[i, j] = x[index[i, j], j] for axis 0, and so on: PyTorch's `gather`. index may be shorter than x elsewhere."""
    return x[along(xp, index, axis)] if x.ndim else x[()].reshape(index.shape)


@op(
    x=lambda xp, g: g,
    source=lambda xp, g, index, axis, source_shape: _window(
        take_along_axis(g, index=index, axis=axis), index, source_shape, xp
    ),
    cast="promote",
)
def scatter_add(xp, x, source, *, index, axis):
    """A copy of x with source[i, j] added at x[index[i, j], j] for axis 0, and so on."""
    out = x.copy()
    add_at(out, along(xp, index, axis), _cut(source, index))
    return out


@op(
    x=lambda xp, g, index, axis, x_dtype: scatter(g, xp.zeros((), dtype=x_dtype), index=index, axis=axis),
    source=lambda xp, g, index, axis, source_shape: _window(
        take_along_axis(g, index=index, axis=axis), index, source_shape, xp
    ),
    cast="promote",
)
def scatter(xp, x, source, *, index, axis):
    """A copy of x with source[i, j] written at x[index[i, j], j] for axis 0, and so on. Where `index` names a place
    twice the gradient is that of the value which stayed only if all such values are equal, as in PyTorch."""
    out = x.copy()
    out[along(xp, index, axis)] = _cut(source, index)
    return out


def _cut(source, index):
    """The part of `source` that `index` covers."""
    return source[tuple(slice(0, n) for n in index.shape)] if source.ndim else source


def _window(read, index, shape, xp):
    """What was read through `index`, in the shape of the source, of which the index may cover a corner only."""
    if not shape or tuple(shape) == tuple(index.shape):
        return read
    return put_region(read, index=tuple(slice(0, n) for n in index.shape), shape=shape)


def _lines(index, axis, ndim):
    return (slice(None),) * (axis % max(ndim, 1)) + (index,)


@op(
    x=lambda xp, g: g,
    source=lambda xp, g, index, axis: take(g, index=_lines(index, axis, g.ndim)),
    cast="promote",
)
def index_add(xp, x, source, *, index, axis):
    """A copy of x with slice i of `source` added to slice index[i] along `axis`."""
    out = x.copy()
    add_at(out, _lines(index, axis, x.ndim), source)
    return out


@op()
def nonzero(xp, x):
    """The positions of the elements that are not 0, one row each."""
    return xp.stack(xp.nonzero(x), axis=1) if x.ndim else xp.zeros((int(x != 0), 0), dtype="int64")
