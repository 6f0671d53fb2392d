"""Operations that move elements without computing: reshape, transpose, broadcast, join, flip, pad, convert.

Those marked `view` share memory with their input, as in NumPy and PyTorch.
"""

from chainrule.autograd.op import op

from .blocks import wide


@op(x=lambda xp, g: g, tangent="elementwise")
def astype(xp, x, *, dtype):
    """x converted to `dtype`; the engine brings the gradient back to x's."""
    return x.astype(dtype)


@op(x=lambda xp, g: g, tangent="elementwise")
def copy(xp, x):
    """x in new memory."""
    return x.copy()


@op(x=lambda xp, g, x_shape: xp.reshape(g, x_shape), view="maybe", tangent="linear")
def reshape(xp, x, *, shape):
    """The same elements in row-major order under another shape; one length may be -1."""
    return xp.reshape(x, shape)


@op(x=lambda xp, g, axes: xp.transpose(g, axes=_inverse(axes)), view=True, tangent="linear")
def transpose(xp, x, *, axes=None):
    """Axes reordered: axis i of the result is axis `axes[i]` of x; reversed by default."""
    return xp.transpose(x, axes)


def _inverse(axes):
    return None if axes is None else tuple(sorted(range(len(axes)), key=lambda i: axes[i]))


@op(x=lambda xp, g, axis1, axis2: xp.swapaxes(g, axis1=axis1, axis2=axis2), view=True, tangent="linear")
def swapaxes(xp, x, *, axis1, axis2):
    """Two axes exchanged."""
    return xp.swapaxes(x, axis1, axis2)


@op(x=lambda xp, g, axis: xp.squeeze(g, axis=axis), view=True, tangent="linear")
def expand_dims(xp, x, *, axis):
    """New axes of length 1 at the places `axis` (an int or a tuple) of the result."""
    return xp.expand_dims(x, axis)


@op(x=lambda xp, g, x_shape: xp.reshape(g, x_shape), view=True, tangent="linear")
def squeeze(xp, x, *, axis=None):
    """Axes of length 1 taken out: all, or those in `axis`."""
    return xp.squeeze(x, axis)


@op(x=lambda xp, g, x_shape: sum_to(g, shape=x_shape), view=True, tangent="linear")
def broadcast_to(xp, x, *, shape):
    """x repeated, without copying, to `shape` by NumPy's rules."""
    return xp.broadcast_to(x, shape)


@op(x=lambda xp, g, x_shape: xp.broadcast_to(g, shape=x_shape), tangent="linear")
def sum_to(xp, x, *, shape):
    """x summed over the axes along which `shape` was broadcast: the transpose of `broadcast_to`."""
    extra = x.ndim - len(shape)
    summed = tuple(range(extra)) + tuple(
        extra + i
        for i, (length, wanted) in enumerate(zip(x.shape[extra:], shape, strict=True))
        if wanted == 1 != length
    )
    if summed:
        x = xp.sum(wide(x), axis=summed, keepdims=True).astype(x.dtype, copy=False)
    return xp.reshape(x, shape)


def _concatenate_rule(xp, g, needs, xs_shape, axis):
    grads, start = [], 0
    for need, shape in zip(needs, xs_shape, strict=True):
        stop = start + shape[axis]
        window = (slice(None),) * (axis % len(shape)) + (slice(start, stop),)
        grads.append(g[window] if need else None)
        start = stop
    return tuple(grads)


def _filled(xp, t, shapes):
    """The tangents of several inputs, with zeros for those that have none."""
    dtype = next(one.dtype for one in t if one is not None)
    return [
        xp.zeros(shape, dtype=dtype) if one is None else one for one, shape in zip(t, shapes, strict=True)
    ]


def _concatenate_tangent(xp, t, xs_shape, axis):
    return xp.concatenate(_filled(xp, t, xs_shape), axis=axis)


@op(joint=_concatenate_rule, cast="promote", tangent=_concatenate_tangent)
def concatenate(xp, *xs, axis=0):
    """Arrays joined along an axis they have."""
    return xp.concatenate(xs, axis)


def _stack_rule(xp, g, needs, xs_shape, axis):
    before = (slice(None),) * (axis % (len(xs_shape[0]) + 1))
    return tuple(g[(*before, i)] if need else None for i, need in enumerate(needs))


def _stack_tangent(xp, t, xs_shape, axis):
    return xp.stack(_filled(xp, t, xs_shape), axis=axis)


@op(joint=_stack_rule, cast="promote", tangent=_stack_tangent)
def stack(xp, *xs, axis=0):
    """Arrays of one shape joined along a new axis."""
    return xp.stack(xs, axis)


@op(x=lambda xp, g, axis: xp.flip(g, axis=axis), tangent="linear")
def flip(xp, x, *, axis=None):
    """The order of the elements along `axis` (all axes by default) reversed."""
    return xp.ascontiguousarray(xp.flip(x, axis))


@op(x=lambda xp, g, shift, axis: xp.roll(g, shift=_negated(shift), axis=axis), tangent="linear")
def roll(xp, x, *, shift, axis=None):
    """Elements shifted along `axis`, those that fall off coming back at the other end."""
    return xp.roll(x, shift, axis)


def _negated(shift):
    return -shift if isinstance(shift, int) else tuple(-one for one in shift)


@op(
    x=lambda xp, g, widths: g[_inner(widths, g.shape)],
    tangent=lambda xp, t, widths: pad(t[0], widths=widths),
)
def pad(xp, x, *, widths, value=0):
    """x with `widths[i] = (before, after)` elements of `value` added along axis i."""
    return xp.pad(x, widths, mode="constant", constant_values=value)


def _inner(widths, shape):
    return tuple(slice(before, length - after) for (before, after), length in zip(widths, shape, strict=True))


@op(x=lambda xp, g, k: xp.tril(g, k=k), tangent="linear")
def tril(xp, x, *, k=0):
    """The last two axes' lower triangle, up to the k-th diagonal; 0 elsewhere."""
    return xp.tril(x, k)


@op(x=lambda xp, g, k: xp.triu(g, k=k), tangent="linear")
def triu(xp, x, *, k=0):
    """The last two axes' upper triangle, from the k-th diagonal; 0 elsewhere."""
    return xp.triu(x, k)


@op(
    x=lambda xp, g, x_shape, offset, axis1, axis2: diagonal_scatter(
        g, shape=x_shape, offset=offset, axis1=axis1, axis2=axis2
    ),
    view=True,
    tangent="linear",
)
def diagonal(xp, x, *, offset=0, axis1=0, axis2=1):
    """The diagonal of the two axes, as a new last axis."""
    found = xp.diagonal(x, offset, axis1, axis2)
    flags = getattr(found, "flags", None)
    if getattr(flags, "writeable", True) is False and getattr(x.flags, "writeable", False):
        flags.writeable = True  # NumPy hands out diagonals read-only; ours are views like any other
    return found


@op(
    x=lambda xp, g, offset, axis1, axis2: xp.diagonal(g, offset=offset, axis1=axis1, axis2=axis2),
    tangent="linear",
)
def diagonal_scatter(xp, x, *, shape, offset=0, axis1=0, axis2=1):
    """Zeros of `shape` with x on the diagonal of the two axes: the transpose of `diagonal`."""
    out = xp.zeros(shape, dtype=x.dtype)
    last = xp.moveaxis(out, (axis1, axis2), (-2, -1))
    rows = xp.arange(x.shape[-1]) + max(-offset, 0)
    columns = xp.arange(x.shape[-1]) + max(offset, 0)
    last[..., rows, columns] = x
    return out


@op(x=lambda xp, g, x_shape, repeats, axis: _fold_repeats(xp, g, x_shape, repeats, axis), tangent="linear")
def repeat(xp, x, *, repeats, axis):
    """Each element repeated along `axis`; `repeats` is an int or one int for each element."""
    return xp.repeat(x, repeats, axis)


def _fold_repeats(xp, g, shape, repeats, axis):
    axis %= len(shape)
    if isinstance(repeats, int):
        split = (*shape[:axis], shape[axis], repeats, *shape[axis + 1 :])
        return xp.sum(xp.reshape(g, split), axis=axis + 1)
    owner = [element for element, count in enumerate(repeats) for _ in range(count)]
    from .indexing import index_add

    return index_add(xp.zeros(shape, dtype=g.dtype), g, index=owner, axis=axis)


@op(x=lambda xp, g, x_shape, reps: _fold_tiles(xp, g, x_shape, reps), tangent="linear")
def tile(xp, x, *, reps):
    """x repeated as a whole: `reps[i]` times along axis i, counted from the last axis."""
    return xp.tile(x, reps)


def _fold_tiles(xp, g, shape, reps):
    length = max(len(shape), len(reps))
    shape_full = (1,) * (length - len(shape)) + tuple(shape)
    reps_full = (1,) * (length - len(reps)) + tuple(reps)
    split = tuple(n for pair in zip(reps_full, shape_full, strict=True) for n in pair)
    summed = xp.sum(xp.reshape(g, split), axis=tuple(range(0, 2 * length, 2)))
    return xp.reshape(summed, shape)


@op(x=lambda xp, g: g, view=True, tangent="linear")
def real(xp, x):
    """The real part."""
    return xp.real(x)


@op(x=lambda xp, g: g * -1j, view="maybe", tangent="linear")
def imag(xp, x):
    """The imaginary part."""
    return xp.imag(x)


@op(x=lambda xp, g: xp.conj(g), tangent="linear")
def conj(xp, x):
    """The complex conjugate; a real x unchanged."""
    return xp.conj(x) if x.dtype.kind == "c" else x.copy()
