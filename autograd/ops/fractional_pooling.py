"""Max pooling over windows whose places are given: fractional max pooling. See `pooling.py` for what reads what is found."""

import itertools
import math

from chainrule.autograd.op import op


@op()
def window_starts(xp, offset, *, length, kernel, size):
    """Where `size` windows of `kernel` elements start on a line of `length`, for random offsets in [0, 1). (*) -> (*, size).

    Steps of a = (length - kernel) / (size - 1), rounded down after adding the offset: floor(a (i + u)) - floor(a u). Graham 2014,
    "Fractional max-pooling", section 2. The last window ends with the line.
    """
    offset = offset[..., None]
    dtype = "float64" if offset.dtype == "float64" else "float32"
    offset = offset.astype(dtype)
    step = xp.full((), (length - kernel) / max(size - 1, 1), dtype=dtype)
    i = xp.arange(size).astype(dtype)
    starts = ((i + offset) * step).astype("int64") - (offset * step).astype("int64")
    return xp.where(i == size - 1, length - kernel, starts)


@op()
def window_max_index(xp, x, *, starts, kernel):
    """Where the largest element of each window is: the first of the largest, the last NaN if there is one.

    starts: for each spatial dimension (N, C, size). (N, C, *in) -> (N, C, *size), places in the flattened spatial dimensions.
    """
    n, lengths = len(kernel), x.shape[2:]
    lines = x.reshape(*x.shape[:2], math.prod(lengths))
    best = winners = None
    for tap in itertools.product(*map(range, kernel)):
        place = 0
        for axis, (start, distance, length) in enumerate(zip(starts, tap, lengths, strict=True)):
            shape = (*start.shape[:2], *[1] * axis, start.shape[2], *[1] * (n - 1 - axis))
            place = place * length + (start + distance).reshape(shape)
        seen = xp.take_along_axis(lines, place.reshape(*x.shape[:2], math.prod(place.shape[2:])), axis=2)
        place = place.reshape(seen.shape)
        if best is None:
            best, winners = seen, place
            continue
        won = (seen > best) | (seen != seen)
        best, winners = xp.where(won, seen, best), xp.where(won, place, winners)
    return winners.reshape(*x.shape[:2], *[start.shape[2] for start in starts])
