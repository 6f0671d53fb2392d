"""Convolution through cuDNN: the operations `conv`, `conv_input` and `conv_weight` of `autograd/ops/convolution.py`.

Lengths are always told as N, C, H, W; the layout is in the strides alone. Inputs and outputs are row-major or both channels_last, in
which the tensor cores need no transposed copies of 16-bit floats; weights are taken as they lie, because cuDNN reads row-major ones
beside images in channels_last (through scratch memory of their size), and their gradients are row-major: so parameters and what optimizers keep
stay contiguous. Groups follow from the numbers of channels. Zeros may be more after the last element than before the first; elements
left out (negative padding, or an output smaller than the input allows) are what cuDNN cannot say, and not taken.
"""

import functools
import math
from dataclasses import dataclass

from chainrule.backends import layouts
from chainrule.backends.cuda_kernels.convolution import raised
from chainrule.backends.cuda_kernels.registry import name_of

from .plans import TYPES, output, tensor

_NODES = {
    # operation: cuDNN's name, and those of its two inputs
    "conv": ("conv_fprop", "image", "weight"),
    "conv_input": ("conv_dgrad", "loss", "filter"),
    "conv_weight": ("conv_wgrad", "image", "loss"),
}


def install(backend, plans):
    """Let the convolutions of `backend` be computed by cuDNN where it can."""
    for name in _NODES:
        register = backend.register_kernel(name, functools.partial(_guard, plans, name))
        register(functools.partial(_kernel, plans, name))


def _guard(plans, name, a, b, *, size, **static):
    """For floats of one dtype that cuDNN has a plan for; it is made here when it is first needed."""
    return (
        name_of(a.dtype) in TYPES
        and b.dtype == a.dtype
        and b.__class__ is a.__class__
        and a.ndim == b.ndim == len(size) + 2 < 6
        and 0 not in (*a.shape, *b.shape, *size)
        and plans.usable()
        and _plan(plans, _form_of(name, *raised(a, b, {"size": size, **static}))) is not None
    )


def _kernel(plans, name, xp, a, b, **static):
    """Compute one of the three."""
    one = len(static["size"]) == 1
    a, b, static = raised(a, b, static)
    form = _form_of(name, a, b, static)
    first, second, last = form.formats
    if form.orders[0] != first:
        a = layouts.arranged(xp, a, first)
    if form.orders[1] != second:
        b = layouts.arranged(xp, b, second)
    y = layouts.empty(xp, form.shapes[2], a.dtype, last)
    plans.run(_plan(plans, form), {1: plans.aligned(a), 2: plans.aligned(b), 3: y})
    return y[:, :, 0] if one else y


def _plan(plans, form):
    if form.window is None:
        return None
    return plans.find(form.name, form, form.describe, form.dtype)


# --- what is computed ---


def _order(array):
    """How an array lies: False, row-major; True, channels_last; None, otherwise."""
    if array.flags.c_contiguous:
        return False
    return True if layouts.is_channels_last(array) else None


def _form_of(name, a, b, static):
    # Made once: what follows would cost as much time as launching the convolution.
    return _form(name, a.shape, b.shape, _order(a), _order(b), name_of(a.dtype), *map(static.get, _STATIC))


_STATIC = ("size", "stride", "padding", "dilation", "groups")


@dataclass(frozen=True, eq=False)
class Form:
    """All that a plan depends on; there is one object for each.

    shapes, formats: of the two inputs and the output, their lengths and whether they are channels_last. orders: how the inputs lie
    before. window: the zeros before the first element and after the last, strides, dilations; None where cuDNN cannot be told so.
    """

    name: str
    shapes: tuple
    orders: tuple
    formats: tuple
    window: tuple | None
    dtype: str

    def __str__(self):
        return f"inputs of shape {self.shapes[0]} and {self.shapes[1]} and an output of {self.shapes[2]} in {self.dtype}"

    def describe(self, cudnn, graph):
        """The graph: one node, tensors 1 and 2 in, 3 out."""
        node, first, second = _NODES[self.name]
        strides = [_strides(*one) for one in zip(self.shapes, self.formats, strict=True)]
        a, b = (
            tensor(cudnn, graph, uid, self.shapes[uid - 1], strides[uid - 1], self.dtype) for uid in (1, 2)
        )
        names = ("pre_padding", "post_padding", "stride", "dilation")
        options = {key: list(one) for key, one in zip(names, self.window, strict=True)}
        made = getattr(graph, node)(**{first: a, second: b}, **options)
        output(cudnn, made, 3, self.shapes[2], strides[2], self.dtype)


@functools.cache
def _form(name, a, b, first, second, dtype, size, stride, padding, dilation, groups):
    last = bool(first or (second and name == "conv_weight"))
    formats = (last, last, False) if name == "conv_weight" else (last, bool(second), last)
    x, w, y = _shapes(name, a, b, tuple(map(int, size)), groups)
    made = {"conv": y, "conv_input": x, "conv_weight": w}[name]
    geometry = zip(x[2:], y[2:], w[2:], stride, padding, dilation, strict=True)
    window = padding, tuple(_after(*one) for one in geometry), stride, dilation
    window = None if None in window[1] else tuple(tuple(map(int, one)) for one in window)
    return Form(name, (a, b, made), (first, second), formats, window, dtype)


def _shapes(name, a, b, size, groups):
    """The shapes of x, w and y, of which two are given."""
    if name == "conv":
        return a, b, (a[0], b[0], *size)
    if name == "conv_input":
        return (a[0], b[1] * groups, *size), b, a
    return a, (b[1], a[1] // groups, *size), b


def _after(length, places, kernel, stride, padding, dilation):
    """How many zeros follow the last element; None where cuDNN cannot be told so.

    The last place sees `least` of them; up to a stride more change nothing, and as many as before the first is the usual case.
    """
    least = (places - 1) * stride + dilation * (kernel - 1) + 1 - length - padding
    most = least + stride - 1
    if padding < 0 or most < 0:
        return None
    return padding if least <= padding <= most else max(least, 0)


def _strides(shape, last):
    """The strides, in elements, of an array that is `layouts.dense`."""
    order = [0, *range(2, len(shape)), 1] if last else list(range(len(shape)))
    return tuple(math.prod(shape[k] for k in order[order.index(axis) + 1 :]) for axis in range(len(shape)))
