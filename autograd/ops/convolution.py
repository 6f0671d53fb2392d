"""Convolution over any number of spatial dimensions, as a family of three that is closed under differentiation.

    y = conv(x, w)          y[n, o, i] = sum over c, t of w[o, c, t] x[n, c, i stride + t dilation - padding]

is linear in x and in w, so its gradients are its two transposes, `conv_input(v, w)` (also called transposed
convolution) and `conv_weight(x, v)`; and the gradients of each of the three are given by the other two. As everywhere in neural
networks, w is not flipped. x is (N, C, *in), w is (O, C / groups, *kernel), y and v are (N, O, *out).

Results for (N, C, H, W) arrays with the channels innermost in memory (channels_last) lie so too.

The work is in matrix products. What each output place sees is copied into a column of a matrix, a piece of the batch at a
time: pieces that stay in the CPU's cache take two thirds of the time of one large matrix.
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import layouts

from .windows import pieces, scratch_bytes, taps, widened


@op(
    x=lambda xp, g, w, x_shape, stride, padding, dilation, groups: conv_input(
        g, w, stride=stride, padding=padding, dilation=dilation, groups=groups, size=x_shape[2:]
    ),
    w=lambda xp, g, x, w_shape, stride, padding, dilation, groups: conv_weight(
        x, g, stride=stride, padding=padding, dilation=dilation, groups=groups, size=w_shape[2:]
    ),
    cast="same",
    tangent="linear",
)
def conv(xp, x, w, *, stride, padding, dilation, groups, size):
    """Cross-correlation. (N, C, *in), (O, C / groups, *kernel) -> (N, O, *size).

    stride, padding, dilation, size: a tuple with an entry for each spatial dimension. padding is the number of zeros before
    the first element (negative: of elements left out); after the last there are as many as `size` asks for.
    """
    batch, (out, seen), kernel = x.shape[0], w.shape[:2], tuple(w.shape[2:])
    wide, length = widened(xp, x.dtype), math.prod(size[1:])
    w = w.astype(wide, copy=False).reshape(groups, out // groups, seen, *kernel)
    if _pointwise(kernel, stride, padding) and tuple(x.shape[2:]) == tuple(size):
        flat = x.astype(wide, copy=False).reshape(batch, groups, seen, size[0] * length)
        y = xp.matmul(w.reshape(w.shape[:3]), flat).reshape(batch, out, *size).astype(x.dtype, copy=False)
        return layouts.arranged(xp, y, layouts.is_channels_last(x))
    shifts = _shifts(kernel, stride, seen)
    taps_each = math.prod(kernel) // shifts
    weights = xp.moveaxis(w.reshape(groups, out // groups, seen, shifts, taps_each), 3, 0)
    weights = weights.reshape(shifts, groups, out // groups, seen * taps_each)
    y = layouts.empty(xp, (batch, out, *size), x.dtype, layouts.is_channels_last(x))
    lines = y.reshape(batch, groups, out // groups, size[0], length)
    window = (size, kernel, stride, padding, dilation)
    for samples, rows, columns in _columns(xp, x, wide, window, groups, shifts, scratch_bytes(x)):
        part = xp.matmul(weights[0], columns[0])
        for shift in range(1, shifts):
            part += xp.matmul(weights[shift], columns[shift])
        lines[samples, :, :, rows] = part.reshape(*part.shape[:3], rows.stop - rows.start, length)
    return y


@op(
    v=lambda xp, g, w, v_shape, stride, padding, dilation, groups: conv(
        g, w, stride=stride, padding=padding, dilation=dilation, groups=groups, size=v_shape[2:]
    ),
    w=lambda xp, g, v, w_shape, stride, padding, dilation, groups: conv_weight(
        g, v, stride=stride, padding=padding, dilation=dilation, groups=groups, size=w_shape[2:]
    ),
    cast="same",
    tangent="linear",
)
def conv_input(xp, v, w, *, stride, padding, dilation, groups, size):
    """The transpose of x -> conv(x, w): transposed convolution. (N, O, *out), (O, C / groups, *kernel) -> (N, C, *size)."""
    batch, (out, seen), kernel = v.shape[0], w.shape[:2], tuple(w.shape[2:])
    if set(stride) <= {1} and (out // groups <= 2 * seen or _pointwise(kernel, stride, padding)):
        # Each element of x meets the taps in reverse order: conv with w flipped writes every result once.
        before = tuple(d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True))
        flipped = _transposed(xp, w, groups)
        return conv(v, flipped, stride=stride, padding=before, dilation=dilation, groups=groups, size=size)
    wide, length = widened(xp, v.dtype), math.prod(v.shape[3:])
    weights = w.astype(wide, copy=False).reshape(groups, out // groups, seen * math.prod(kernel))
    weights = xp.swapaxes(weights, 1, 2)
    flat = v.astype(wide, copy=False).reshape(batch, groups, out // groups, v.shape[2] * length)
    x = layouts.empty(xp, (batch, groups * seen, *size), wide, layouts.is_channels_last(v), "zeros")
    row_bytes = groups * weights.shape[1] * length * wide.itemsize
    for samples, rows in pieces(batch, v.shape[2], row_bytes, scratch_bytes(v)):
        columns = xp.matmul(weights, flat[samples, :, :, rows.start * length : rows.stop * length])
        columns = columns.reshape(columns.shape[0], x.shape[1], *kernel, rows.stop - rows.start, *v.shape[3:])
        _add_columns(x[samples], columns, (v.shape[2:], kernel, stride, padding, dilation), rows)
    return x.astype(v.dtype, copy=False)


def _transposed(xp, w, groups):
    """w with every kernel reversed, and input and output channels exchanged within each group."""
    w = xp.flip(w, axis=tuple(range(2, w.ndim)))
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return xp.swapaxes(split, 1, 2).reshape(groups * w.shape[1], w.shape[0] // groups, *w.shape[2:])


@op(
    x=lambda xp, g, v, x_shape, stride, padding, dilation, groups: conv_input(
        v, g, stride=stride, padding=padding, dilation=dilation, groups=groups, size=x_shape[2:]
    ),
    v=lambda xp, g, x, v_shape, stride, padding, dilation, groups: conv(
        x, g, stride=stride, padding=padding, dilation=dilation, groups=groups, size=v_shape[2:]
    ),
    cast="same",
    tangent="linear",
)
def conv_weight(xp, x, v, *, stride, padding, dilation, groups, size):
    """The transpose of w -> conv(x, w). (N, C, *in), (N, O, *out) -> (O, C / groups, *size)."""
    (batch, out), seen, wide = v.shape[:2], x.shape[1] // groups, widened(xp, x.dtype)
    length, shifts = math.prod(v.shape[3:]), _shifts(size, stride, seen)
    taps_each = math.prod(size) // shifts
    w = xp.zeros((shifts, groups, out // groups, seen * taps_each), dtype=wide)
    lines = v.astype(wide, copy=False).reshape(batch, groups, out // groups, v.shape[2], length)
    window = (v.shape[2:], size, stride, padding, dilation)
    # Every piece adds to all of w, so it should not be much smaller than w.
    limit = max(scratch_bytes(x), 2 * w.nbytes)
    for samples, rows, columns in _columns(xp, x, wide, window, groups, shifts, limit, batch_last=True):
        arrived = xp.moveaxis(lines[samples, :, :, rows], 0, 3)
        arrived = arrived.reshape(groups, out // groups, columns[0].shape[2])
        for shift in range(shifts):
            weight = w[shift]
            weight += xp.matmul(arrived, xp.swapaxes(columns[shift], 1, 2))
    w = xp.moveaxis(w.reshape(shifts, out, seen, taps_each), 0, 2)
    return w.reshape(out, seen, *size).astype(x.dtype, copy=False)


def _pointwise(kernel, stride, padding):
    """Whether a place sees itself and nothing else."""
    return set(kernel) <= {1} and set(stride) <= {1} and set(padding) <= {0}


def _shifts(kernel, stride, seen):
    """Into how many products the taps of the first dimension are split: all, or 1.

    With stride 1 in that dimension, what a tap sees is what its neighbour sees one row further on: a part of the same
    columns, which so need not be copied for each of these taps. It pays if what is left gives products of some size.
    """
    return kernel[0] if stride[0] == 1 and seen * math.prod(kernel[1:]) >= 32 else 1


def _columns(xp, x, dtype, window, groups, shifts, limit, batch_last=False):
    """What the output places see, a piece at a time: yields (samples, rows, matrices).

    samples and rows are slices of the batch and of the output's first spatial dimension. There is a matrix for each of the
    `shifts`, (samples, groups, C / groups * taps, places), or with `batch_last` (groups, C / groups * taps, rows * samples * the
    other places). They are overwritten by the next piece.
    """
    size, kernel, stride, padding, dilation = window
    step, kernel = dilation[0], (kernel[0] // shifts, *kernel[1:])
    halo, channels, depth = step * (shifts - 1), x.shape[1], x.shape[1] * math.prod(kernel)
    before = (slice(None),) * (1 + len(kernel) + (not batch_last))
    made = None
    row_bytes = depth * math.prod(size[1:]) * dtype.itemsize
    for samples, rows in pieces(x.shape[0], size[0], row_bytes, limit):
        count, height = samples.stop - samples.start, rows.stop - rows.start
        if made != (count, rows):
            # Padding is what no tap writes: it stays 0 as long as the same rows are filled.
            made = count, rows
            lines, length = (height + halo, *size[1:]), math.prod(size[1:])
            if batch_last:
                columns = xp.zeros((channels, *kernel, lines[0], count, *lines[1:]), dtype=dtype)
                target = xp.moveaxis(columns, len(before) + 1, 0)
                matrix = (groups, depth // groups, height * count * length)
            else:
                target = columns = xp.zeros((count, channels, *kernel, *lines), dtype=dtype)
                matrix = (count, groups, depth // groups, height * length)
            reached = slice(rows.start, rows.stop + halo)
            tall = (size[0] + halo, *size[1:])
            meetings = taps(x.shape[2:], tall, kernel, stride, padding, dilation, reached)
        _read_columns(target, x[samples], meetings)
        parts = (columns[(*before, slice(a * step, a * step + height))] for a in range(shifts))
        yield samples, rows, [part.reshape(matrix) for part in parts]


def _read_columns(columns, x, meetings):
    for tap, lands, reads in meetings:
        columns[(slice(None), slice(None), *tap, *lands)] = x[(slice(None), slice(None), *reads)]


def _add_columns(x, columns, window, rows=None):
    """Add to x what `columns` holds for it: the transpose of reading them."""
    for tap, lands, reads in taps(x.shape[2:], *window, rows):
        part = x[(slice(None), slice(None), *reads)]
        part += columns[(slice(None), slice(None), *tap, *lands)]


@op(
    x=lambda xp, g, x_shape, kernel, stride, padding, dilation, size: col2im(
        g, kernel=kernel, stride=stride, padding=padding, dilation=dilation, places=size, size=x_shape[2:]
    )
)
def im2col(xp, x, *, kernel, stride, padding, dilation, size):
    """What each output place sees, as a column. (N, C, *in) -> (N, C prod(kernel), prod(size)).

    The arguments are those of `conv`; size is the spatial shape of the output.
    """
    batch, channels = x.shape[:2]
    columns = xp.zeros((batch, channels, *kernel, *size), dtype=x.dtype)
    _read_columns(columns, x, taps(x.shape[2:], size, kernel, stride, padding, dilation))
    return columns.reshape(batch, channels * math.prod(kernel), math.prod(size))


@op(
    x=lambda xp, g, kernel, stride, padding, dilation, places: im2col(
        g, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=places
    )
)
def col2im(xp, x, *, kernel, stride, padding, dilation, places, size):
    """The transpose of `im2col`: every column's values added where they were read. (N, C prod(kernel), prod(places)) -> (N, C, *size)."""
    batch, channels = x.shape[0], x.shape[1] // math.prod(kernel)
    image = xp.zeros((batch, channels, *size), dtype=x.dtype)
    _add_columns(
        image, x.reshape(batch, channels, *kernel, *places), (places, kernel, stride, padding, dilation)
    )
    return image
