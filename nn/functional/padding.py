"""Padding by constants, mirrored, repeated or wrapped around."""

import operator

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops.shape import pad as _pad_constant

_MODES = ("constant", "reflect", "replicate", "circular")


def pad(input, pad, mode="constant", value=None):
    """`input` with `pad` = (left, right, top, bottom, ...) elements added, counted from the last dimension on.

    constant: of `value` (0). reflect: mirrored at the edge, which is not repeated. replicate: the edge, repeated.
    circular: from the other end. Negative numbers take elements away. (*, n) -> (*, left + n + right), and so on.
    """
    x, widths = tensor_of(input, "pad"), _widths(input, pad)
    if mode not in _MODES:
        raise NotImplementedError(f"pad: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if mode == "constant":
        return _constant(x, widths, 0 if value is None else value)
    if value is not None and value != 0:
        raise ValueError(f'pad: mode "{mode}" takes no value, got {value}')
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = _along(x, axis, before, after, mode)
    return x


def _widths(x, pad):
    """(before, after) for every axis, from PyTorch's flat list, which starts with the last."""
    try:
        pad = [operator.index(one) for one in pad]
    except TypeError:
        raise TypeError(f"pad: expected a sequence of ints, got {pad!r}") from None
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise RuntimeError(
            f"pad: expected two numbers for each padded dimension, at most {2 * x.ndim} for shape {tuple(x.shape)}, got {len(pad)}"
        )
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    for axis, (before, after) in enumerate(widths):
        if x.shape[axis] + min(before, 0) + min(after, 0) < 0:
            raise RuntimeError(
                f"pad: padding by {(before, after)} leaves dimension {axis} of shape {tuple(x.shape)} with a negative length"
            )
    return widths


def _cropped(x, widths):
    """x without what negative widths take away, and the widths that are left."""
    if any(before < 0 or after < 0 for before, after in widths):
        window = [slice(max(-b, 0), n - max(-a, 0)) for (b, a), n in zip(widths, x.shape, strict=True)]
        x = x[tuple(window)]
    return x, tuple((max(b, 0), max(a, 0)) for b, a in widths)


def _constant(x, widths, value):
    x, widths = _cropped(x, widths)
    return _pad_constant(x, widths=widths, value=value) if any(map(any, widths)) else ops.positive(x)


def _along(x, axis, before, after, mode):
    """One axis padded by joining slices of x."""
    window = (slice(None),) * axis
    if mode == "circular" and min(before, after) < 0:
        # What is taken away is gone before the ends meet.
        x = x[(*window, slice(max(-before, 0), x.shape[axis] - max(-after, 0)))]
        before, after = max(before, 0), max(after, 0)
    n = x.shape[axis]
    limit = {"reflect": n - 1, "circular": n, "replicate": max(before, after, 0) if n else -1}[mode]
    if max(before, after, 0) > limit:
        raise RuntimeError(
            f'pad: mode "{mode}" can add at most {max(limit, 0)} elements to dimension {axis} of shape {tuple(x.shape)}, got '
            f"{(before, after)}"
        )

    def part(start, stop):
        return x[(*window, slice(start, stop))]

    if mode == "reflect":
        left, right = _flipped(part, axis, 1, before + 1), _flipped(part, axis, n - 1 - after, n - 1)
    elif mode == "circular":
        left, right = part(n - before, n), part(0, after)
    else:
        left, right = _repeated(part(0, 1), axis, before), _repeated(part(n - 1, n), axis, after)
    parts = [left] if before > 0 else []
    parts.append(part(max(-before, 0), n - max(-after, 0)))
    parts += [right] if after > 0 else []
    return ops.concatenate(parts, axis=axis)


def _flipped(part, axis, start, stop):
    return ops.flip(part(max(start, 0), max(stop, 0)), axis=axis)


def _repeated(edge, axis, count):
    shape = list(edge.shape)
    shape[axis] = max(count, 0)
    return ops.broadcast_to(edge, shape=tuple(shape))
