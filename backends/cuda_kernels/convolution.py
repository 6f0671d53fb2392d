"""Convolution as matrix products, where cuDNN is not there: `im2col` and `col2im` of `source/windows.cu`, and GEMM.

Chellapilla, Puri & Simard (2006), High performance convolutional neural networks for document processing. What each output place sees is
a column of a matrix, made a piece of the batch at a time so that it fits `scratch_bytes`; three launches a piece, where the array
code of `autograd/ops/convolution.py` has one for each tap. A kernel of one tap needs no columns: its input is the matrix.
"""

import functools

import numpy as np

from chainrule.backends import layouts
from chainrule.backends.scratch import pieces, scratch_bytes

from .registry import kernel, name_of
from .windows import _col2im_reference, _im2col_reference, col2im, columns_of


def raised(a, b, static):
    """The arguments of a convolution over one dimension as those of one over two, of height 1."""
    if len(static["size"]) > 1:
        return a, b, static
    first = {"stride": 1, "padding": 0, "dilation": 1, "size": 1}
    return a[:, :, None], b[:, :, None], static | {key: (one, *static[key]) for key, one in first.items()}


def _guard(a, b, *, size, **static):
    """For floats of one dtype, over one or two dimensions, where there is something to compute; in any layout."""
    return (
        len(size) < 3
        and a.ndim == b.ndim == len(size) + 2
        and name_of(a.dtype) is not None
        and b.dtype == a.dtype
        and b.__class__ is a.__class__
        and 0 not in (*a.shape, *b.shape, *size)
    )


def _in_two_dimensions(function):
    @functools.wraps(function)
    def convolution(launch, xp, a, b, **static):
        one = len(static["size"]) == 1
        a, b, static = raised(a, b, static)
        y = function(launch, xp, a, b, **static)
        return y[:, :, 0] if one else y

    return convolution


def _pointwise(kernel, stride, padding, lengths, size):
    """Whether every place sees itself and nothing else."""
    plain = tuple(kernel) == tuple(stride) == (1, 1) and tuple(padding) == (0, 0)
    return plain and tuple(lengths) == tuple(size)


def _flat(xp, x, groups, last):
    """An (N, C, H, W) array as matrices: (N, groups, C / groups, H W), or with channels innermost its transpose as one (1, 1, C, N H W)."""
    if last:
        return xp.moveaxis(layouts.arranged(xp, x, True), 1, -1).reshape(-1, x.shape[1]).T[None, None]
    return xp.ascontiguousarray(x).reshape(x.shape[0], groups, x.shape[1] // groups, -1)


def _mixed(xp, w, x, groups, size):
    """A kernel of one tap: each place's channels times w (groups, made, seen). The result lies as x does."""
    made, last = w.shape[0] * w.shape[1], groups == 1 and layouts.is_channels_last(x)
    if last:
        flat = xp.matmul(_flat(xp, x, 1, True)[0, 0].T, w[0].T)
        return xp.moveaxis(flat.astype(x.dtype, copy=False).reshape(x.shape[0], *size, made), -1, 1)
    product = xp.matmul(w, _flat(xp, x, groups, False)).astype(x.dtype, copy=False)
    return layouts.arranged(xp, product.reshape(x.shape[0], made, *size), layouts.is_channels_last(x))


def _split(xp, w, groups):
    """The weights as a matrix for each group: (groups, O / groups, C / groups * taps)."""
    return xp.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, -1)


def _rows(window, rows):
    """The window for some rows of the output."""
    kernel, stride, padding, dilation, size = window
    above = (padding[0] - rows.start * stride[0], padding[1])
    return kernel, stride, above, dilation, (rows.stop - rows.start, size[1])


def _conv_reference(x, w, stride, padding, dilation, groups, size):
    columns = _im2col_reference(x, w.shape[2:], stride, padding, dilation, size)
    columns = columns.reshape(x.shape[0], groups, -1, columns.shape[-1])
    y = np.einsum("gok,ngkp->ngop", w.reshape(groups, w.shape[0] // groups, -1), columns)
    return y.reshape(x.shape[0], w.shape[0], *size)


def _conv_input_reference(v, w, stride, padding, dilation, groups, size):
    flat = v.reshape(v.shape[0], groups, v.shape[1] // groups, -1)
    columns = np.einsum("gok,ngop->ngkp", w.reshape(groups, w.shape[0] // groups, -1), flat)
    columns = columns.reshape(v.shape[0], -1, flat.shape[-1])
    return _col2im_reference(columns, w.shape[2:], stride, padding, dilation, v.shape[2:], size)


def _conv_weight_reference(x, v, stride, padding, dilation, groups, size):
    columns = _im2col_reference(x, size, stride, padding, dilation, v.shape[2:])
    columns = columns.reshape(x.shape[0], groups, -1, columns.shape[-1])
    flat = v.reshape(v.shape[0], groups, v.shape[1] // groups, -1)
    return np.einsum("ngop,ngkp->gok", flat, columns).reshape(v.shape[1], -1, *size)


@kernel("windows", _conv_reference, replaces="conv", guard=_guard)
@_in_two_dimensions
def conv(launch, xp, x, w, *, stride, padding, dilation, groups, size):
    """Cross-correlation. (N, C, *in), (O, C / groups, *kernel) -> (N, O, *size)."""
    batch, out, kernel = x.shape[0], w.shape[0], w.shape[2:]
    weights = _split(xp, w, groups)
    if _pointwise(kernel, stride, padding, x.shape[2:], size):
        return _mixed(xp, weights, x, groups, size)
    window, last = (kernel, stride, padding, dilation, size), layouts.is_channels_last(x)
    x = xp.ascontiguousarray(x)
    y = layouts.empty(xp, (batch, out, *size), x.dtype, last)
    lines = y.reshape(batch, groups, out // groups, *size)
    row_bytes = groups * weights.shape[2] * size[1] * x.dtype.itemsize
    for samples, rows in pieces(batch, size[0], row_bytes, scratch_bytes(x)):
        columns = columns_of(launch, xp, x[samples], _rows(window, rows))
        part = xp.matmul(weights, columns.reshape(columns.shape[0], groups, weights.shape[2], -1))
        lines[samples, :, :, rows] = part.reshape(*part.shape[:3], -1, size[1])
    return y


@kernel("windows", _conv_input_reference, replaces="conv_input", guard=_guard)
@_in_two_dimensions
def conv_input(launch, xp, v, w, *, stride, padding, dilation, groups, size):
    """The transpose of x -> conv(x, w). (N, O, *out), (O, C / groups, *kernel) -> (N, C, *size)."""
    batch, seen, kernel, taps = v.shape[0], w.shape[1], w.shape[2:], w.shape[2] * w.shape[3]
    weights = xp.swapaxes(_split(xp, w, groups), 1, 2)
    if _pointwise(kernel, stride, padding, v.shape[2:], size):
        return _mixed(xp, weights, v, groups, size)
    window = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    flat, last = _flat(xp, v, groups, False), layouts.is_channels_last(v)
    x = layouts.empty(xp, (batch, groups * seen, *size), v.dtype, last)
    grouped = x.reshape(batch, groups, seen, *size)
    channel_bytes = groups * taps * flat.shape[3] * v.dtype.itemsize
    for samples, channels in pieces(batch, seen, channel_bytes, scratch_bytes(v)):
        part = weights[:, channels.start * taps : channels.stop * taps]
        columns = xp.matmul(part, flat[samples]).astype(v.dtype, copy=False)
        columns = columns.reshape(columns.shape[0], -1, flat.shape[3])
        image = col2im(launch, xp, columns, **window, places=v.shape[2:], size=size)
        grouped[samples, :, channels] = image.reshape(image.shape[0], groups, -1, *size)
    return x


@kernel("windows", _conv_weight_reference, replaces="conv_weight", guard=_guard)
@_in_two_dimensions
def conv_weight(launch, xp, x, v, *, stride, padding, dilation, groups, size):
    """The transpose of w -> conv(x, w). (N, C, *in), (N, O, *out) -> (O, C / groups, *size)."""
    (batch, out), seen, places = v.shape[:2], x.shape[1] // groups, v.shape[2:]
    wide = "float32" if x.dtype.itemsize == 2 else x.dtype
    if groups == 1 and layouts.is_channels_last(x) and _pointwise(size, stride, padding, x.shape[2:], places):
        arrived, flat = _flat(xp, v, 1, True)[0, 0], _flat(xp, x, 1, True)[0, 0]
        return xp.matmul(arrived, flat.T).astype(x.dtype, copy=False).reshape(out, seen, *size)
    window, x = (size, stride, padding, dilation, places), xp.ascontiguousarray(x)
    lines = v.reshape(batch, groups, out // groups, *places)
    w = None
    row_bytes = x.shape[1] * size[0] * size[1] * places[1] * x.dtype.itemsize
    for samples, rows in pieces(batch, places[0], row_bytes, scratch_bytes(x)):
        columns = columns_of(launch, xp, x[samples], _rows(window, rows), together=True)
        arrived = xp.moveaxis(lines[samples, :, :, rows], 0, 2).reshape(groups, out // groups, -1)
        part = xp.matmul(arrived, xp.swapaxes(columns.reshape(groups, -1, columns.shape[1]), 1, 2))
        part = part.astype(wide, copy=False)
        w = part if w is None else w + part
    return w.reshape(out, seen, *size).astype(x.dtype, copy=False)
