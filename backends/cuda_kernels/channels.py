"""What is done to each channel of (N, C, ...): batch norm, in training and evaluation: `source/batch_norm.cu`.

Arrays lie row-major, or with their channels innermost: (N, C), `channels_last`.
"""

import math

from chainrule.backends import layouts

from .columns import sums
from .registry import kernel, name_of, over_elements, over_rows, over_strips, plain, wide_of


def dense(x):
    """Whether it is a floating point array without gaps, row-major or with its channels innermost."""
    return (
        name_of(x.dtype) is not None
        and x.size > 0
        and (x.flags.c_contiguous or (x.ndim > 2 and layouts.dense(x, True)))
    )


def weights_fit(x, *weights):
    """Whether the weights, or None, are of one dtype: x's, or that computed in."""
    kind, dtype, first = x.__class__, x.dtype, None
    for w in weights:
        if w is not None:
            if w.__class__ is not kind or not w.flags.c_contiguous:
                return False
            if first is None:
                first = w.dtype
                if first != dtype and first != wide_of(dtype):
                    return False
            elif w.dtype != first:
                return False
    return True


def channels(x, *weights):
    """(samples, channels, length) of an (N, C, ...) array whose weights have a number for each channel; else None.

    Of a length of 1 the rows of `channels` elements are next to each other in memory: (N, C), or channels_last.
    """
    if x.ndim < 2 or any(w is not None and w.shape != (x.shape[1],) + (1,) * (x.ndim - 2) for w in weights):
        return None
    n, channels, length = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if layouts.dense(x, True):
        return n * length, channels, 1
    if length >= 2**31:  # the source counts a block's elements with 32 bits
        return None
    return n, channels, length


def in_wide(*weights):
    """1 if the weights given are of the dtype computed in, as `weights` in the source asks; 0 if there are none."""
    for w in weights:
        if w is not None and w.dtype.itemsize > 2:
            return 1
    return 0


def _chunks(samples, channels, length):
    """How many samples a block takes, and how many blocks a channel has: enough of them, none with too little to do."""
    wanted = max(1, min(-(-1024 // channels), samples * length // 4096))
    chunk = -(-samples // min(wanted, samples))
    return chunk, -(-samples // chunk)


def _rows_of(launch, entry, name, shape, arguments, *after):
    samples, channels, length = shape
    grid, block = over_rows(samples * channels, length)
    launch("batch_norm", entry, name, grid, block, *arguments, *shape, *after)


def _strips_of(launch, entry, x, shape, arguments, *after):
    grid, block, layout = over_strips(shape[0], shape[1], x.dtype.itemsize)
    launch("batch_norm", entry, name_of(x.dtype), grid, block, *arguments, *layout, *after)


def normalize(launch, xp, x, weight, bias, mean, var, shape, eps):
    """y, and the statistics written into mean and var."""
    name, (samples, channels, length) = name_of(x.dtype), shape
    y = xp.empty_like(x)
    if length == 1:
        grid, block, layout = over_strips(samples, channels, x.dtype.itemsize)
        chunks = grid[1]
        found = xp.empty((chunks, channels, 3), dtype=mean.dtype)
        launch("batch_norm", "column_moments", name, grid, block, x, found, *layout)
    else:
        chunk, chunks = _chunks(*shape)
        found = xp.empty((chunks, channels, 3), dtype=mean.dtype)
        launch(
            "batch_norm", "channel_moments", name, (channels, chunks, 1), (256, 1, 1), x, found, *shape, chunk
        )
    joined = (-(-channels // 4), 1, 1)
    launch("batch_norm", "join_moments", name, joined, (32, 4, 1), found, mean, var, channels, chunks)
    arguments = (x, weight, bias, in_wide(weight, bias), mean, var, y)
    if length == 1:
        _strips_of(launch, "column_norm", x, shape, arguments, eps)
    else:
        _rows_of(launch, "channel_norm", name, shape, arguments, eps)
    return y


def gradient(launch, xp, g, x, weight, mean, var, shape, eps, needs_x):
    """The gradients of x (if asked for), weight and bias; g lies like x."""
    name, wide, (samples, channels, length) = name_of(x.dtype), wide_of(x.dtype), shape
    statistics = (g, x, mean, var)
    if length == 1:
        grid, block, layout = over_strips(samples, channels, x.dtype.itemsize)
        along, total = (xp.empty((grid[1], channels), dtype=wide) for _ in range(2))
        launch("batch_norm", "column_norm_sums", name, grid, block, *statistics, along, total, *layout, eps)
    else:
        chunk, chunks = _chunks(*shape)
        along, total = (xp.empty((chunks, channels), dtype=wide) for _ in range(2))
        arguments = (*statistics, along, total, *shape, chunk, eps)
        launch("batch_norm", "channel_sums", name, (channels, chunks, 1), (256, 1, 1), *arguments)
    along, total = sums(launch, xp, along), sums(launch, xp, total)
    if not needs_x:
        return None, along, total
    gx = xp.empty_like(x)
    arguments = (g, x, weight, in_wide(weight), mean, var, along, total, gx)
    if length == 1:
        _strips_of(launch, "column_norm_gradient", x, shape, arguments, eps)
    else:
        _rows_of(launch, "channel_norm_gradient", name, shape, arguments, eps)
    return gx, along, total


# --- with statistics that are known ---


def _affine_guard(x, weight, bias):
    return (
        dense(x)
        and weights_fit(x, weight, bias)
        and weight.size == bias.size == (x.shape[1] if x.ndim > 1 else 0)
        and channels(x, weight, bias) is not None
    )


@kernel(
    "batch_norm", lambda x, weight, bias: x * weight + bias, replaces="scale_and_shift", guard=_affine_guard
)
def scale_and_shift(launch, xp, x, weight, bias):
    """x weight + bias, with a number of each for every channel."""
    y, shape = xp.empty_like(x), channels(x, weight, bias)
    weight, bias = (w.astype(wide_of(x.dtype), copy=False) for w in (weight, bias))
    if shape[2] == 1:
        _strips_of(launch, "column_affine", x, shape, (x, weight, bias, y))
    else:
        _rows_of(launch, "channel_affine", name_of(x.dtype), shape, (x, weight, bias, y))
    return y


def _average_guard(running, batch, *, momentum, factor):
    return (
        plain(running)
        and isinstance(momentum, (int, float))  # a number on the card would have to be read
        and batch.__class__ is running.__class__
        and batch.size == running.size
        and batch.dtype == wide_of(running.dtype)
        and batch.flags.c_contiguous
    )


@kernel(
    "batch_norm",
    lambda running, batch, momentum, factor: (
        (1 - momentum) * running + momentum * factor * batch.reshape(running.shape)
    ),
    replaces="follow_average",
    guard=_average_guard,
)
def follow_average(launch, xp, running, batch, *, momentum, factor):
    """running <- (1 - momentum) running + momentum factor batch, in its own memory."""
    grid, block = over_elements(running.size)
    arguments = (running, batch, running.size, float(momentum), float(factor))
    launch("batch_norm", "follow_average", name_of(running.dtype), grid, block, *arguments)
    return running
