"""Maxout, and convolution without shared weights: two variations on the linear layer that PyTorch lacks."""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of, wrap_dim
from chainrule.autograd.functions.reduction import max as _max
from chainrule.autograd.ops.convolution import im2col

from .windows import batched, lengths, places, unbatched


def maxout(input, pieces, dim=-1):
    """The largest of each group of `pieces` neighbours along `dim`: (*, G pieces, *) -> (*, G, *). Goodfellow et al. 2013.

    The gradient goes to the winner, of equals to the first. ReLU is maxout of (x, 0), |x| of (x, -x).
    """
    x = tensor_of(input, "maxout")
    axis = wrap_dim(dim, x.ndim, "maxout")
    if not isinstance(pieces, int) or pieces < 1 or not x.ndim or x.shape[axis] % pieces:
        raise ValueError(
            f"maxout: dimension {dim} of the input, of shape {tuple(x.shape)}, must be a multiple of pieces={pieces!r}, a positive int"
        )
    shape = (*x.shape[:axis], x.shape[axis] // pieces, pieces, *x.shape[axis + 1 :])
    return _max(ops.reshape(x, shape), axis + 1).values


def locally_connected1d(input, weight, bias=None, stride=1, padding=0, dilation=1):
    """`conv1d` with a weight of its own at each place: y[n, o, i] = bias[o, i] + sum over c, k of weight[o, c, k, i] x[n, c, i stride + k].

    (N, C, L) or (C, L); weight (O, C, k, L'); bias (O, L') -> (N, O, L') or (O, L').
    """
    return _local("locally_connected1d", 1, input, weight, bias, stride, padding, dilation)


def locally_connected2d(input, weight, bias=None, stride=1, padding=0, dilation=1):
    """`locally_connected1d` over two dimensions: (N, C, H, W) or (C, H, W); weight (O, C, kH, kW, H', W') -> (N, O, H', W')."""
    return _local("locally_connected2d", 2, input, weight, bias, stride, padding, dilation)


def _local(name, n, input, weight, bias, stride, padding, dilation):
    x, was_batched = batched(input, n, name)
    out, into, *rest = tensor_of(weight, f"{name}: weight").shape if weight.ndim == 2 + 2 * n else (0, -1)
    kernel = tuple(rest[:n])
    if into != x.shape[1]:
        raise RuntimeError(
            f"{name}: a weight of shape {tuple(weight.shape)} does not fit an input of shape {tuple(input.shape)}; expected "
            f"(O, C, *kernel, *places)"
        )
    stride, dilation = lengths(stride, n, name, "stride"), lengths(dilation, n, name, "dilation")
    padding = lengths(padding, n, name, "padding", least=0)
    size = places(name, x, kernel, stride, padding, dilation)
    if tuple(rest[n:]) != size or (bias is not None and tuple(bias.shape) != (out, *size)):
        raise RuntimeError(
            f"{name}: an input of shape {tuple(input.shape)} has {size} places; expected a weight of shape {(out, into, *kernel, *size)} "
            f"and a bias of {(out, *size)}, got {tuple(weight.shape)} and {None if bias is None else tuple(bias.shape)}"
        )
    columns = im2col(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation, size=size)
    taps, count = into * math.prod(kernel), math.prod(size)
    # One matrix product for each place: (places, N, taps) with (places, taps, O).
    seen = ops.transpose(ops.reshape(columns, (x.shape[0], taps, count)), (2, 0, 1))
    weights = ops.transpose(ops.reshape(weight, (out, taps, count)), (2, 1, 0))
    y = ops.reshape(ops.transpose(ops.matmul(seen, weights), (1, 2, 0)), (x.shape[0], out, *size))
    return unbatched(y if bias is None else y + bias, was_batched)
