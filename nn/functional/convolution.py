"""Convolution and its relatives, under PyTorch's names: what is checked here is computed in `autograd/ops/convolution.py`."""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops.convolution import col2im, conv, conv_input, im2col
from chainrule.autograd.precision import precision

from .windows import batched, check_size, lengths, places, unbatched

_KERNEL = {1: "kL", 2: "kH, kW", 3: "kD, kH, kW"}


@precision("lower")
def conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Cross-correlation y[n, o, i] = bias[o] + sum over c, k of weight[o, c, k] input[n, c, i stride + k dilation - padding].

    (N, C, L) or (C, L); weight (O, C / groups, k); bias (O) -> (N, O, L') or (O, L'),
    L' = floor((L + 2 padding - dilation (k - 1) - 1) / stride) + 1. padding: an int, "valid" (0) or "same" (L' = L, stride 1).
    Output channels fall into `groups` parts, each seeing its own part of the input channels.
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@precision("lower")
def conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """`conv1d` over two dimensions: (N, C, H, W) or (C, H, W); weight (O, C / groups, kH, kW) -> (N, O, H', W').

    stride, padding and dilation are one int or (vertical, horizontal). LeCun et al. (1989).
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@precision("lower")
def conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """`conv1d` over three dimensions: (N, C, D, H, W) or (C, D, H, W); weight (O, C / groups, kD, kH, kW) -> (N, O, D', H', W')."""
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_tbc(input, weight, bias, pad=0):
    """`conv1d` with the channels last: (L, N, C); weight (k, C, O); bias (O) -> (L', N, O), with `pad` zeros at each end."""
    x, w = tensor_of(input, "conv_tbc"), tensor_of(weight, "conv_tbc")
    if x.ndim != 3 or w.ndim != 3:
        raise RuntimeError(
            f"conv_tbc: expected an input (L, N, C) and a weight (k, C, O), got shapes {tuple(x.shape)} and {tuple(w.shape)}"
        )
    y = conv1d(ops.transpose(x, (1, 2, 0)), ops.transpose(w, (2, 1, 0)), bias, padding=pad)
    return ops.transpose(y, (2, 0, 1))


def _conv(name, n, input, weight, bias, stride, padding, dilation, groups):
    x, was_batched = batched(input, n, name)
    _check_weight(name, n, weight, ("O", "C / groups"))
    kernel, out = tuple(weight.shape[2:]), weight.shape[0]
    groups = _check_groups(name, groups, out, "output channels (weight.shape[0])")
    if x.shape[1] != weight.shape[1] * groups:
        raise RuntimeError(
            f"{name}: the weight of shape {tuple(weight.shape)} with groups={groups} takes {weight.shape[1] * groups} input channels, but "
            f"the input of shape {tuple(input.shape)} has {x.shape[1]}; make the input's channels or the weight's fit"
        )
    _check_bias(name, bias, out, weight)
    stride, dilation = lengths(stride, n, name, "stride"), lengths(dilation, n, name, "dilation")
    if padding == "same":
        if set(stride) != {1}:
            raise RuntimeError(
                f"{name}: padding='same' needs stride 1, got {stride}; give the padding as numbers"
            )
        # Of an odd number of zeros the greater part goes to the end, as in PyTorch.
        before, size = (
            tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)),
            tuple(x.shape[2:]),
        )
    else:
        if isinstance(padding, str) and padding != "valid":
            raise ValueError(f"{name}: padding must be ints, 'valid' or 'same', got {padding!r}")
        before = lengths(0 if padding == "valid" else padding, n, name, "padding", least=0)
        size = places(name, x, kernel, stride, before, dilation)
    check_size(name, (x.shape[0], out, *size))
    y = conv(x, weight, stride=stride, padding=before, dilation=dilation, groups=groups, size=size)
    return unbatched(_biased(y, bias, n), was_batched)


@precision("lower")
def conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The transpose of `conv1d` as a map of its input: each element of `input` adds a copy of the weight, times itself.

    (N, C, L) or (C, L); weight (C, O / groups, k); bias (O) -> (N, O, L') or (O, L'),
    L' = (L - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. padding is what `conv1d` would be given;
    output_padding chooses among the lengths that `conv1d` maps to L.
    """
    return _conv_transpose(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@precision("lower")
def conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """`conv_transpose1d` over two dimensions: (N, C, H, W); weight (C, O / groups, kH, kW) -> (N, O, H', W'). Zeiler et al. (2010)."""
    return _conv_transpose(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@precision("lower")
def conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """`conv_transpose1d` over three dimensions: (N, C, D, H, W); weight (C, O / groups, kD, kH, kW) -> (N, O, D', H', W')."""
    return _conv_transpose(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def _conv_transpose(name, n, input, weight, bias, stride, padding, output_padding, groups, dilation):
    v, was_batched = batched(input, n, name)
    _check_weight(name, n, weight, ("C", "O / groups"))
    groups = _check_groups(name, groups, v.shape[1], "input channels")
    if v.shape[1] != weight.shape[0]:
        raise RuntimeError(
            f"{name}: the weight of shape {tuple(weight.shape)} takes {weight.shape[0]} input channels, but the input of shape "
            f"{tuple(input.shape)} has {v.shape[1]}; a transposed convolution's weight is (C, O / groups, {_KERNEL[n]})"
        )
    out = weight.shape[1] * groups
    _check_bias(name, bias, out, weight)
    stride, dilation = lengths(stride, n, name, "stride"), lengths(dilation, n, name, "dilation")
    padding = lengths(padding, n, name, "padding", least=0)
    extra = lengths(output_padding, n, name, "output_padding", least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output_padding {extra} must be less than stride {stride} or dilation {dilation}"
        )
    size = tuple(
        (length - 1) * s - 2 * p + d * (k - 1) + e + 1
        for length, s, p, d, k, e in zip(
            v.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True
        )
    )
    if any(one < 1 for one in size) or 0 in v.shape[2:]:
        raise RuntimeError(
            f"{name}: an input of shape {tuple(input.shape)} with kernel {tuple(weight.shape[2:])}, stride {stride} and padding {padding} "
            f"leaves an output of spatial shape {size}; use less padding or a larger input"
        )
    check_size(name, (v.shape[0], out, *size))
    y = conv_input(v, weight, stride=stride, padding=padding, dilation=dilation, groups=groups, size=size)
    return unbatched(_biased(y, bias, n), was_batched)


def _check_weight(name, n, weight, channels):
    shape = tuple(tensor_of(weight, f"{name}: weight").shape)
    if len(shape) != n + 2 or 0 in shape[2:]:
        raise RuntimeError(
            f"{name}: expected a weight of shape ({', '.join(channels)}, {_KERNEL[n]}), none of the k zero, got {shape}"
        )


def _check_groups(name, groups, channels, what):
    (groups,) = lengths(groups, 1, name, "groups")
    if channels % groups:
        raise RuntimeError(
            f"{name}: {channels} {what} cannot be split into groups={groups} equal parts; use a divisor of {channels}"
        )
    return groups


def _check_bias(name, bias, out, weight):
    if bias is None:
        return
    if tuple(tensor_of(bias, f"{name}: bias").shape) != (out,):
        raise RuntimeError(
            f"{name}: expected a bias of shape ({out},), one for each output channel, got {tuple(bias.shape)}"
        )
    if bias.dtype != weight.dtype:
        raise RuntimeError(
            f"{name}: weight is {weight.dtype} and bias {bias.dtype}; convert one of them with .to(dtype)"
        )


def _biased(y, bias, n):
    return y if bias is None else ops.add(y, ops.reshape(bias, (bias.shape[0], *[1] * n)))


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """What a sliding window sees at each place, as columns. (N, C, H, W) or (C, H, W) -> (N, C kH kW, places).

    Convolution is a matrix product with these columns ("im2col").
    """
    x, was_batched = batched(input, 2, "unfold")
    kernel, stride, padding, dilation = _window("unfold", kernel_size, stride, padding, dilation)
    size = places("unfold", x, kernel, stride, padding, dilation)
    check_size("unfold", (*x.shape[:2], *kernel, *size))
    columns = im2col(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    return unbatched(columns, was_batched)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The transpose of `unfold`: columns added up where they were read. (N, C kH kW, places) or (C kH kW, places) -> (N, C, H, W).

    `fold(unfold(x))` is x times the number of windows each element lies in.
    """
    x, was_batched = batched(input, 1, "fold")
    kernel, stride, padding, dilation = _window("fold", kernel_size, stride, padding, dilation)
    size = lengths(output_size, 2, "fold", "output_size")
    if x.shape[1] % math.prod(kernel):
        raise RuntimeError(
            f"fold: dimension 1 of the input, of shape {tuple(input.shape)}, must be a multiple of the kernel's {math.prod(kernel)} elements"
        )
    image = (x.shape[0], x.shape[1] // math.prod(kernel), *size)
    check_size("fold", image)
    count = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
    )
    if any(one < 1 for one in count) or math.prod(count) != x.shape[2]:
        raise RuntimeError(
            f"fold: output_size {size} with kernel {kernel}, stride {stride}, padding {padding} and dilation {dilation} has "
            f"{' x '.join(str(max(one, 0)) for one in count)} places, but the input of shape {tuple(input.shape)} has {x.shape[2]} columns"
        )
    return unbatched(
        col2im(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, places=count, size=size),
        was_batched,
    )


def _window(name, kernel, stride, padding, dilation):
    return (
        lengths(kernel, 2, name, "kernel_size"),
        lengths(stride, 2, name, "stride"),
        lengths(padding, 2, name, "padding", least=0),
        lengths(dilation, 2, name, "dilation"),
    )
