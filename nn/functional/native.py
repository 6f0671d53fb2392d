"""Normalization, dropout and pooling as PyTorch's core names them: with the statistics, masks and gradients they work with."""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import index_array, tensor_of
from chainrule.autograd.functions.draws import rand
from chainrule.autograd.ops import normalization as _norm
from chainrule.autograd.ops import pooling as _pooling
from chainrule.autograd.ops.selection import masked
from chainrule.backends import dtypes

from .normalization import batch_norm, group_norm, layer_norm


def native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps):
    """(`batch_norm`, the batch's mean, its 1 / sqrt(var + eps)); the last two are empty when not training, and never recorded."""
    y = batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training:
        return y, y.new_empty(0), y.new_empty(0)
    mean, scale = _statistics(input, (0, *range(2, input.ndim)), eps)
    return y, ops.reshape(mean, (-1,)).detach(), ops.reshape(scale, (-1,)).detach()


def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """(`layer_norm`, the means, 1 / sqrt(var + eps)); the last two keep the normalized dimensions with length 1, and are not recorded."""
    y = layer_norm(input, normalized_shape, weight, bias, eps)
    count = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    mean, scale = _statistics(input, tuple(range(input.ndim - count, input.ndim)), eps)
    return y, mean.detach(), scale.detach()


def native_group_norm(input, weight, bias, N, C, HxW, group, eps):
    """(`group_norm`, the means (N, group), 1 / sqrt(var + eps))."""
    y = group_norm(tensor_of(input, "native_group_norm"), group, weight, bias, eps)
    mean, scale = _statistics(ops.reshape(input, (N, group, C // group * HxW)), (2,), eps)
    return y, ops.reshape(mean, (N, group)), ops.reshape(scale, (N, group))


def _statistics(x, axes, eps):
    _, mean, var = _norm.standardize(x, None, None, axes=axes, eps=eps)
    return mean, ops.rsqrt(var + eps)


def native_dropout(input, p, train):
    """(`dropout`, the mask of what was kept)."""
    x = tensor_of(input, "native_dropout")
    if not train or not p:
        return ops.copy(x), x.new_ones(x.shape, dtype=dtypes.bool)
    mask = rand(tuple(x.shape), dtype=dtypes.float32, device=x.device)._array >= p
    return masked(x, mask, scale=1 / (1 - p) if p < 1 else 1), x._wrap(mask)


def native_dropout_backward(grad_output, mask, scale):
    """grad_output * mask * scale: the gradient of `native_dropout`."""
    return tensor_of(grad_output, "native_dropout_backward") * mask * scale


def max_pool2d_with_indices_backward(
    grad_output, self, kernel_size, stride, padding, dilation, ceil_mode, indices
):
    """Zeros in the shape of `self` with grad_output added at the places `indices`: the gradient of `max_pool2d`."""
    name = "max_pool2d_with_indices_backward"
    g, x, index = tensor_of(grad_output, name), tensor_of(self, name), index_array(indices, name)
    if tuple(g.shape) != tuple(index.shape):
        raise RuntimeError(
            f"{name}: grad_output {tuple(g.shape)} and indices {tuple(index.shape)} must have one shape"
        )
    lead = (math.prod(x.shape[:-3]), x.shape[-3])
    g = ops.reshape(g, (*lead, *g.shape[-2:]))
    y = _pooling.unpool(g, index.reshape(tuple(g.shape)), size=tuple(x.shape[-2:]))
    return ops.reshape(y, tuple(x.shape))
