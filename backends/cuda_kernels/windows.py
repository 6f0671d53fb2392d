"""Pooling and im2col in two dimensions: `source/windows.cu`."""

import math

import numpy as np

from chainrule.backends import layouts

from .registry import kernel, name_of, over_elements, plain


def _geometry(
    launch, images, lengths, size, kernel, stride, padding, dilation, count_padding=True, divisor=None, step=1
):
    window = lengths, size, kernel, stride, padding, dilation
    numbers = (*map(int, (one for pair in window for one in pair)), int(images), int(count_padding))
    narrow = max(_largest(images * step, *window), divisor or 0) < NARROW
    return launch.constants((*numbers, int(divisor or 0), step, int(narrow)))


NARROW = 1 << 30  # indices below that, and the steps of a loop over them, fit into 32 bits


def _largest(images, lengths, size, kernel, stride, padding, dilation):
    """No index that the source computes is larger, whichever of its kernels it is."""
    both = zip(lengths, size, kernel, stride, padding, dilation, strict=True)
    along = [n + out * s + 2 * abs(p) + k * d for n, out, k, s, p, d in both]
    return max(*along, images * max(math.prod(lengths), math.prod(size) * math.prod(kernel)))


def _of_images(launch, x, *window, **options):
    """The geometry of pooling an (N, C, H, W) array in the order in which it lies."""
    if layouts.is_channels_last(x):
        return _geometry(launch, x.shape[0], *window, step=x.shape[1], **options)
    return _geometry(launch, x.shape[0] * x.shape[1], *window, **options)


def _two_dimensional(x, **static):
    if x.ndim != 4:
        return False
    return plain(x) or (name_of(x.dtype) is not None and x.size > 0 and layouts.is_channels_last(x))


def _empty(xp, x, size, dtype):
    """A result of spatial shape `size` that lies as x does."""
    return layouts.empty(xp, (*x.shape[:2], *size), dtype, layouts.is_channels_last(x))


def _seen(x, kernel, stride, padding, dilation, size, outside):
    """x through every tap: (taps, N, C, *size), `outside` where a tap meets nothing; and the places, -1 there."""
    (height, width), found, places = x.shape[2:], [], []
    for a in range(kernel[0]):
        for b in range(kernel[1]):
            y = np.arange(size[0])[:, None] * stride[0] - padding[0] + a * dilation[0]
            z = np.arange(size[1])[None, :] * stride[1] - padding[1] + b * dilation[1]
            inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
            taken = x[:, :, np.clip(y, 0, height - 1), np.clip(z, 0, width - 1)]
            found.append(np.where(inside, taken, outside))
            places.append(np.where(inside, y * width + z, -1))
    return np.stack(found), np.stack(places)


def _max_reference(x, kernel, stride, padding, dilation, size):
    return _seen(x, kernel, stride, padding, dilation, size, -np.inf)[0].max(axis=0)


def _index_reference(x, kernel, stride, padding, dilation, size):
    seen, places = _seen(x, kernel, stride, padding, dilation, size, -np.inf)
    pick = seen.argmax(axis=0)
    grid = np.arange(size[0])[:, None], np.arange(size[1])[None, :]
    return places[pick, grid[0], grid[1]]


def _max_gradient_reference(g, needs, x, kernel, stride, padding, dilation, size):
    index = _index_reference(x, kernel, stride, padding, dilation, size)
    gx = np.zeros((*x.shape[:2], x.shape[2] * x.shape[3]))
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            np.add.at(gx[n, c], index[n, c], g[n, c])
    return (gx.reshape(x.shape),)


def _max(launch, xp, x, values, index, shape):
    grid, block = over_elements((index if values is None else values).size)
    launch("windows", "max_pool", name_of(x.dtype), grid, block, x, values, index, shape)


@kernel("windows", _max_reference, replaces="max_pool", guard=_two_dimensional)
def max_pool(launch, xp, x, *, kernel, stride, padding, dilation, size):
    """The largest element of each window. (N, C, *in) -> (N, C, *size)."""
    shape = _of_images(launch, x, x.shape[2:], size, kernel, stride, padding, dilation)
    y = _empty(xp, x, size, x.dtype)
    _max(launch, xp, x, y, None, shape)
    return y


@kernel("windows", _index_reference, replaces="max_pool_index", guard=_two_dimensional)
def max_pool_index(launch, xp, x, *, kernel, stride, padding, dilation, size):
    """Where the largest element is: the first of equals, the last NaN."""
    shape = _of_images(launch, x, x.shape[2:], size, kernel, stride, padding, dilation)
    index = _empty(xp, x, size, "int64")
    _max(launch, xp, x, None, index, shape)
    return index


def _max_gradient_guard(g, x, **static):
    return _two_dimensional(x) and _two_dimensional(g) and g.dtype == x.dtype and g.__class__ is x.__class__


@kernel("windows", _max_gradient_reference, replaces="max_pool.gradient", guard=_max_gradient_guard)
def max_pool_gradient(launch, xp, g, needs, x, *, kernel, stride, padding, dilation, size):
    """What arrived at each window, given to the element that it chose; in a fixed order."""
    index = max_pool_index(
        launch, xp, x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size
    )
    shape = _of_images(launch, x, x.shape[2:], size, kernel, stride, padding, dilation)
    last = layouts.is_channels_last(x)
    g, gx = layouts.arranged(xp, g, last), layouts.empty(xp, x.shape, x.dtype, last)
    grid, block = over_elements(x.size)
    launch("windows", "max_pool_gradient", name_of(x.dtype), grid, block, g, index, gx, shape)
    return (gx,)


def _divisors(x, kernel, stride, padding, size, count_padding, divisor):
    if divisor:
        return divisor
    ones = np.ones((1, 1, *x))
    if count_padding:
        ones = np.pad(ones, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=1)
        padding = (0, 0)
    return _seen(ones, kernel, stride, padding, (1, 1), size, 0)[0].sum(axis=0)


def _avg_reference(x, kernel, stride, padding, size, count_padding=True, divisor=None):
    total = _seen(x, kernel, stride, padding, (1, 1), size, 0)[0].sum(axis=0)
    return total / _divisors(x.shape[2:], kernel, stride, padding, size, count_padding, divisor)


def _avg_unpool_reference(v, kernel, stride, padding, size, count_padding=True, divisor=None):
    shares = v / _divisors(size, kernel, stride, padding, v.shape[2:], count_padding, divisor)
    taps = kernel[0] * kernel[1]
    columns = np.broadcast_to(shares[:, :, None], (*v.shape[:2], taps, *v.shape[2:]))
    columns = columns.reshape(v.shape[0], v.shape[1] * taps, -1)
    return _col2im_reference(columns, kernel, stride, padding, (1, 1), v.shape[2:], size)


@kernel("windows", _avg_reference, replaces="avg_pool", guard=_two_dimensional)
def avg_pool(launch, xp, x, *, kernel, stride, padding, size, count_padding=True, divisor=None):
    """The mean of each window. (N, C, *in) -> (N, C, *size)."""
    window = (x.shape[2:], size, kernel, stride, padding, (1, 1))
    shape = _of_images(launch, x, *window, count_padding=count_padding, divisor=divisor)
    y = _empty(xp, x, size, x.dtype)
    grid, block = over_elements(y.size)
    launch("windows", "avg_pool", name_of(x.dtype), grid, block, x, y, shape)
    return y


@kernel("windows", _avg_unpool_reference, replaces="avg_unpool", guard=_two_dimensional)
def avg_unpool(launch, xp, v, *, kernel, stride, padding, size, count_padding=True, divisor=None):
    """Its transpose. (N, C, *out) -> (N, C, *size)."""
    window = (size, v.shape[2:], kernel, stride, padding, (1, 1))
    shape = _of_images(launch, v, *window, count_padding=count_padding, divisor=divisor)
    x = _empty(xp, v, size, v.dtype)
    grid, block = over_elements(x.size)
    launch("windows", "avg_unpool", name_of(v.dtype), grid, block, v, x, shape)
    return x


def _im2col_guard(x, *, kernel, size, **static):
    return plain(x) and len(kernel) == len(size) == 2


def _im2col_reference(x, kernel, stride, padding, dilation, size):
    seen = _seen(x, kernel, stride, padding, dilation, size, 0)[0]
    return np.moveaxis(seen, 0, 2).reshape(x.shape[0], -1, size[0] * size[1])


def _col2im_reference(x, kernel, stride, padding, dilation, places, size):
    channels = x.shape[1] // (kernel[0] * kernel[1])
    numbers = np.arange(size[0] * size[1]).reshape(1, 1, *size)
    reads = _im2col_reference(numbers, kernel, stride, padding, dilation, places)[0]
    inside = _im2col_reference(np.ones((1, 1, *size)), kernel, stride, padding, dilation, places)[0] > 0
    image = np.zeros((x.shape[0], channels, size[0] * size[1]))
    columns = x.reshape(x.shape[0], channels, *reads.shape)
    for n in range(x.shape[0]):
        for c in range(channels):
            np.add.at(image[n, c], reads[inside], columns[n, c][inside])
    return image.reshape(x.shape[0], channels, *size)


def columns_of(launch, xp, x, window, together=False):
    """What each place sees, as columns: (N, C prod(kernel), prod(size)), or `together` of all samples, (C prod(kernel), N prod(size)).

    window: kernel, stride, padding, dilation, size.
    """
    kernel, stride, padding, dilation, size = window
    (batch, channels), places, taps = x.shape[:2], size[0] * size[1], kernel[0] * kernel[1]
    shape = _geometry(launch, batch * channels, x.shape[2:], size, kernel, stride, padding, dilation)
    made = (channels * taps, batch * places) if together else (batch, channels * taps, places)
    y = xp.empty(made, dtype=x.dtype)
    grid, block = over_elements(y.size)
    launch("windows", "im2col", name_of(x.dtype), grid, block, x, y, shape, batch if together else 0)
    return y


@kernel("windows", _im2col_reference, replaces="im2col", guard=_im2col_guard)
def im2col(launch, xp, x, *, kernel, stride, padding, dilation, size):
    """What each place sees, as a column. (N, C, *in) -> (N, C prod(kernel), prod(size))."""
    return columns_of(launch, xp, x, (kernel, stride, padding, dilation, size))


@kernel("windows", _col2im_reference, replaces="col2im", guard=_im2col_guard)
def col2im(launch, xp, x, *, kernel, stride, padding, dilation, places, size):
    """Its transpose. (N, C prod(kernel), prod(places)) -> (N, C, *size)."""
    batch, channels = x.shape[0], x.shape[1] // (kernel[0] * kernel[1])
    shape = _geometry(launch, batch * channels, size, places, kernel, stride, padding, dilation)
    image = xp.empty((batch, channels, *size), dtype=x.dtype)
    grid, block = over_elements(image.size)
    launch("windows", "col2im", name_of(x.dtype), grid, block, x, image, shape)
    return image
