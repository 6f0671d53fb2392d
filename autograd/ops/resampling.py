"""Resampling: new elements that are weighted sums of old ones, at places that are given or computed.

Interpolation to another length is separable: along each axis it is a sparse matrix (`Taps`) times every line, and its
transpose is another such matrix. Sampling at given points reads neighbours by index, with weights that are functions of where the
point lies between them; `locate` says where a point lies, and is the only part that needs rules of its own.
"""

import functools

import numpy

from chainrule.autograd.op import op
from chainrule.backends import backend_of

from .blocks import in_float32
from .windows import widened


class Taps:
    """A sparse matrix (new_length, length) as a list of entries: new[rows[i]] += weights[i] * old[sources[i]].

    rows, sources: int arrays on the host. weights: as many numbers, or None for ones.
    """

    def __init__(self, rows, sources, weights, new_length, length):
        self.rows, self.sources, self.weights = rows, sources, weights
        self.new_length, self.length = new_length, length
        self._placed = {}

    def placed(self, x, dtype):
        """`columns` with their arrays where x lies, weights in `dtype`; they are copied there once."""
        backend = backend_of(x)
        device = backend.device_of(x)
        if (device, dtype) not in self._placed:
            here = lambda one: (
                one if one is None or isinstance(one, slice) else backend.from_host(one, device.index)
            )
            self._placed[device, dtype] = [
                (here(rows), here(sources), here(None if weights is None else weights.astype(dtype)))
                for rows, sources, weights in self.columns
            ]
        return self._placed[device, dtype]

    @functools.cached_property
    def transposed(self):
        """The transposed matrix."""
        return Taps(self.sources, self.rows, self.weights, self.length, self.new_length)

    @functools.cached_property
    def columns(self):
        """The entries in groups that name no row twice, the first with all rows that have any: [(rows, sources, weights)]."""
        order = numpy.argsort(self.rows, kind="stable")
        counts = numpy.bincount(self.rows, minlength=self.new_length)
        starts = numpy.cumsum(counts) - counts
        found = []
        for k in range(int(counts.max(initial=0))):
            rows = numpy.flatnonzero(counts > k)
            entries = order[starts[rows] + k]
            weights = None if self.weights is None else self.weights[entries]
            found.append((_spaced(rows), _spaced(self.sources[entries]), weights))
        return found


def _spaced(places):
    """Places as a slice if they are evenly spaced, which reads and writes without an index, else as they are."""
    steps = places[1:] - places[:-1]
    step = int(steps[0]) if len(steps) else 1
    if len(places) and step > 0 and (steps == step).all():
        return slice(int(places[0]), int(places[-1]) + 1, step)
    return places


@op(x=lambda xp, g, taps, axis: resample(g, taps=taps.transposed, axis=axis))
def resample(xp, x, *, taps, axis):
    """The matrix `taps` times every line of x along `axis`: (..., length, ...) -> (..., new_length, ...)."""
    wide = widened(xp, x.dtype)
    before, after = (slice(None),) * axis, (1,) * (x.ndim - axis - 1)
    y = xp.zeros((*x.shape[:axis], taps.new_length, *x.shape[axis + 1 :]), dtype=wide)
    for k, (rows, sources, weights) in enumerate(taps.placed(x, wide)):
        part = x[(*before, sources)] if isinstance(sources, slice) else xp.take(x, sources, axis=axis)
        part = part.astype(wide, copy=False)
        if weights is not None:
            part = part * weights.reshape(-1, *after)
        place = (*before, rows)
        if k == 0:
            y[place] = part
        else:
            y[place] += part
    return y.astype(x.dtype, copy=False)


@op(grid=lambda xp, g, grid, length, padding, corners: g * _slope(grid, length, padding, corners))
@in_float32
def locate(xp, grid, *, length, padding, corners):
    """Where points of the grid, -1 to 1 over a line of `length` elements, lie between these: 0 is the first, length - 1 the last.

    corners: -1 and 1 are the centres of the first and the last element, otherwise their outer edges.
    padding: "zeros" leaves points outside where they are, "border" moves them to the nearest element, "reflection" mirrors them at
    the ends. Where that makes a corner, or moves a point, the derivative is 0. NaN and what no index can hold counts as outside.
    """
    position = grid * _stretch(length, corners) + (length - 1) / 2
    position = xp.where(xp.absolute(position) < 2**30, position, -100)
    if padding == "reflection":
        position, _ = _reflected(xp, position, length, corners)
    return position if padding == "zeros" else xp.clip(position, 0, length - 1)


def _stretch(length, corners):
    return (length - 1 if corners else length) / 2


def _reflected(xp, position, length, corners):
    """The position mirrored at both ends until it lies between them, and +1 or -1 by the direction it then moves."""
    low, span = (0, length - 1) if corners else (-0.5, length)
    if not span:
        return xp.zeros_like(position), xp.zeros_like(position)
    away = position - low
    turns = xp.floor(xp.absolute(away) / span)
    rest = xp.absolute(away) - turns * span
    even = turns % 2 == 0
    direction = xp.where((away < 0) == even, -1, 1).astype(position.dtype)
    return xp.where(even, rest, span - rest) + low, direction


def _slope(grid, length, padding, corners):
    return locate_slope(grid, length=length, padding=padding, corners=corners)


@op()
@in_float32
def locate_slope(xp, grid, *, length, padding, corners):
    """The derivative of `locate`, constant in pieces."""
    stretch = _stretch(length, corners)
    position = grid * stretch + (length - 1) / 2
    finite = xp.absolute(position) < 2**30
    if padding == "zeros":
        return finite * xp.full((), stretch, dtype=grid.dtype)
    position = xp.where(finite, position, -100)
    direction = 1
    if padding == "reflection":
        position, direction = _reflected(xp, position, length, corners)
    inside = (position > 0) & (position < length - 1) & finite
    return (inside * xp.full((), stretch, dtype=grid.dtype)) * direction
