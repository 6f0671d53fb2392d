"""Checks of arguments that convolution and pooling share; every error names the function, the shapes and the fix."""

import math
import operator

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of

AXES = {1: "L", 2: "H, W", 3: "D, H, W"}
_TOO_MANY = 1 << 47  # elements: more than any address space holds


def lengths(value, n, name, argument, least=1):
    """`value`, one int or one for each of `n` spatial dimensions, as a tuple of ints of at least `least`."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        found = tuple(operator.index(one) for one in given)
    except TypeError:
        found = None
    if found is None or any(isinstance(one, bool) for one in given):
        raise TypeError(f"{name}: {argument} must be an int or {n} of them, got {value!r}")
    if len(found) not in (1, n):
        raise RuntimeError(f"{name}: {argument} must be an int or {n} of them, got {len(found)}: {found}")
    if any(one < least for one in found):
        raise RuntimeError(f"{name}: {argument} must be at least {least}, got {value!r}")
    return found * n if len(found) == 1 else found


def batched(input, n, name):
    """`input` with a batch dimension, and whether it came with one."""
    shape = tuple(tensor_of(input, name).shape)
    if len(shape) not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}: expected an input of shape (N, C, {AXES[n]}) or (C, {AXES[n]}), got {shape}; "
            f"reshape it, or add a dimension of length 1 with .unsqueeze(dim)"
        )
    return (input, True) if len(shape) == n + 2 else (ops.expand_dims(input, axis=0), False)


def unbatched(output, was_batched):
    """The output in the form in which the input came."""
    return output if was_batched else ops.squeeze(output, axis=0)


def places(name, input, kernel, stride, padding, dilation, ceil_mode=False):
    """How many places the window has in each spatial dimension of `input`.

    ceil_mode: also a last window that reaches beyond the padding, if it starts before the padding after the last element.
    """
    shape = tuple(input.shape)
    if 0 in shape[2:]:
        raise RuntimeError(
            f"{name}: expected an input with elements in every spatial dimension, got shape {shape}"
        )
    found = []
    for length, k, s, p, d in zip(shape[2:], kernel, stride, padding, dilation, strict=True):
        room = length + 2 * p - d * (k - 1) - 1
        count = -(-room // s) + 1 if ceil_mode else room // s + 1
        if ceil_mode and (count - 1) * s >= length + p:
            count -= 1
        found.append(count)
    if any(count < 1 for count in found):
        extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        there = tuple(n + 2 * p for n, p in zip(shape[2:], padding, strict=True))
        raise RuntimeError(
            f"{name}: a kernel of size {tuple(kernel)} with dilation {tuple(dilation)} spans {extent}, more than the padded input of "
            f"spatial shape {there} (input {shape}, padding {tuple(padding)}); use a larger input, more padding or a smaller kernel"
        )
    return tuple(found)


def check_size(name, shape):
    """Refuse an output that no memory holds, before anything is allocated."""
    if math.prod(shape) > _TOO_MANY:
        raise RuntimeError(
            f"{name}: the output of shape {tuple(shape)} would have {math.prod(shape):,} elements; use smaller arguments"
        )
