"""Normalization of activations: over the batch, over features, over groups of channels; and to unit length.

C is the number of channels, dimension 1 of an input (N, C, *). All are `standardize` (or its root-mean-square form) over
different axes.
"""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.reduction import norm
from chainrule.autograd.ops import normalization as _norm
from chainrule.autograd.ops.shape import pad as _pad
from chainrule.autograd.precision import precision
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, dtypes, kernels, namespaces, placement


def _per_channel(name, x, **parameters):
    """Each parameter, (C) or None, in a shape that broadcasts along dimension 1 of x."""
    shape = (-1,) + (1,) * (x.ndim - 2)
    shaped = []
    for what, one in parameters.items():
        if one is not None and tuple(tensor_of(one, name).shape) != (x.shape[1],):
            raise RuntimeError(
                f"{name}: {what} of shape {tuple(one.shape)} does not fit an input of shape {tuple(x.shape)}, which has "
                f"{x.shape[1]} channels"
            )
        shaped.append(one if one is None else ops.reshape(one, shape))
    return shaped


def _update(running, batch, momentum, factor=1.0):
    """running <- (1 - momentum) running + momentum factor batch, in its own memory."""
    array = running._array
    log.wrote(array)
    with placement.around("batch_norm", (array,)):
        _follow(array, batch, momentum, factor)


def _follow(array, batch, momentum, factor):
    """`_update` on raw arrays, on their card."""
    if "follow_average" in kernels:
        found = backend_of(array).kernel("follow_average", array, batch, momentum=momentum, factor=factor)
        if found is not None:
            found(namespaces[array.__class__], array, batch, momentum=momentum, factor=factor)
            return
    batch = batch.reshape(array.shape).astype(array.dtype, copy=False)
    array[...] = array * (1 - momentum) + batch * (factor * momentum)


def _with_given(x, mean, var, weight, bias, eps):
    """Normalization with statistics that are known, of any shapes that broadcast to x: one product and one sum."""
    scale = ops.rsqrt(var + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    if scale.dtype.itemsize > x.dtype.itemsize > 2:
        scale, shift = scale.to(x.dtype), shift.to(x.dtype)
    return _norm.scale_and_shift(x, scale, shift)


def batch_norm(
    input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel. (N, C, *) -> (N, C, *). Ioffe and Szegedy 2015.

    In training, mean and variance are the batch's, and the running ones, where given, are updated in place:
    r <- (1 - momentum) r + momentum s, with the variance divided by n - 1. Otherwise they are the running ones.
    """
    x = tensor_of(input, "batch_norm")
    if x.ndim < 2:
        raise ValueError(f"batch_norm: expected an input (N, C, *), got shape {tuple(x.shape)}")
    mean, var, w, b = _per_channel(
        "batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not training:
        if mean is None or var is None:
            raise RuntimeError(
                "batch_norm: expected running_mean and running_var to be given when training=False"
            )
        return _with_given(x, mean, var, w, b, eps)
    count = x.numel() // max(x.shape[1], 1)
    if count == 1:
        raise ValueError(
            f"batch_norm: expected more than 1 value per channel when training, got input size {tuple(x.shape)}; use a larger "
            f"batch, or evaluation mode"
        )
    axes = (0, *range(2, x.ndim))
    y, batch_mean, batch_var = _norm.standardize(x, w, b, axes=axes, eps=eps)
    if count and running_mean is not None:
        _update(running_mean, batch_mean._array, momentum)
    if count and running_var is not None:
        _update(running_var, batch_var._array, momentum, count / (count - 1))
    return y


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    """As `batch_norm`, with a mean and a variance for each sample and channel. (N, C, *) -> (N, C, *). Ulyanov et al. 2016.

    With `use_input_stats` the running statistics, where given, follow the average over the samples; without, they are used.
    """
    x = tensor_of(input, "instance_norm")
    if x.ndim < 3:
        raise ValueError(
            f"instance_norm: expected an input (N, C, *) with at least one more dimension, got {tuple(x.shape)}"
        )
    mean, var, w, b = _per_channel(
        "instance_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    if not use_input_stats:
        if mean is None or var is None:
            raise RuntimeError(
                "instance_norm: expected running_mean and running_var when use_input_stats=False"
            )
        return _with_given(x, mean, var, w, b, eps)
    count = math.prod(x.shape[2:])
    if count == 1:
        raise ValueError(
            f"instance_norm: expected more than 1 spatial element when training, got input size {tuple(x.shape)}"
        )
    y, batch_mean, batch_var = _norm.standardize(x, w, b, axes=tuple(range(2, x.ndim)), eps=eps)
    if x.numel() and running_mean is not None:
        _update(running_mean, batch_mean._array.mean(axis=0), momentum)
    if x.numel() and running_var is not None:
        _update(running_var, batch_var._array.mean(axis=0), momentum, count / (count - 1))
    return y


def _trailing(name, x, normalized_shape, **parameters):
    """The axes of the last dimensions, which must be `normalized_shape`; and so must the parameters."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape or tuple(x._array.shape[-len(shape) :]) != shape:
        raise RuntimeError(
            f"{name}: normalized_shape {shape} must be the last dimensions of the input, which has shape {tuple(x.shape)}"
        )
    for what, one in parameters.items():
        if one is not None and tuple(tensor_of(one, name)._array.shape) != shape:
            raise RuntimeError(
                f"{name}: {what} has shape {tuple(one.shape)}, expected normalized_shape {shape}"
            )
    return tuple(range(x.ndim - len(shape), x.ndim))


@precision(accelerator="float32")
def layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions, `normalized_shape`. Ba et al. 2016.

    (*, normalized_shape) -> the same; weight and bias (normalized_shape).
    """
    x = tensor_of(input, "layer_norm")
    axes = _trailing("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return _norm.standardize(x, weight, bias, axes=axes, eps=eps)[0]


def rms_norm(input, normalized_shape, weight=None, eps=None):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; eps None is the dtype's epsilon.

    (*, normalized_shape) -> the same; weight (normalized_shape). Zhang and Sennrich 2019.
    """
    x = tensor_of(input, "rms_norm")
    axes = _trailing("rms_norm", x, normalized_shape, weight=weight)
    if eps is None:
        eps = dtypes.finfo(dtypes.float64 if x.dtype is dtypes.float64 else dtypes.float32).eps
    return _norm.rms_standardize(x, weight, axes=axes, eps=eps)[0]


@precision(accelerator="float32")
def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalization over each of `num_groups` groups of neighbouring channels of a sample. (N, C, *) -> (N, C, *).

    weight and bias (C). Wu and He 2018, "Group normalization".
    """
    x = tensor_of(input, "group_norm")
    if x.ndim < 2:
        raise RuntimeError(f"group_norm: expected an input (N, C, *), got shape {tuple(x.shape)}")
    n, channels = x.shape[:2]
    if num_groups <= 0 or channels % num_groups:
        raise RuntimeError(
            f"group_norm: {channels} channels (input of shape {tuple(x.shape)}) cannot be divided into {num_groups} equal groups"
        )
    w, b = _per_channel("group_norm", x, weight=weight, bias=bias)
    size = channels // num_groups
    grouped = ops.reshape(x, (n, num_groups, size, math.prod(x.shape[2:])))
    w, b = (one if one is None else ops.reshape(one, (num_groups, size, 1)) for one in (w, b))
    y = _norm.standardize(grouped, w, b, axes=(2, 3), eps=eps)[0]
    return ops.reshape(y, tuple(x.shape))


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha * s)^beta, with s the mean of x^2 over `size` neighbouring channels. (N, C, *) -> (N, C, *).

    Channels beyond the edge count as 0. Krizhevsky et al. 2012, section 3.3.
    """
    x = tensor_of(input, "local_response_norm")
    if x.ndim < 3:
        raise ValueError(
            f"local_response_norm: expected an input (N, C, *) of at least 3 dimensions, got shape {tuple(x.shape)}"
        )
    widths = ((0, 0), (size // 2, (size - 1) // 2)) + ((0, 0),) * (x.ndim - 2)
    if not x.numel():
        return x
    squares = _pad(ops.square(x), widths=widths)
    total = squares[:, : x.shape[1]]
    for start in range(1, size):
        total = total + squares[:, start : start + x.shape[1]]
    return x * ops.power_scalar(total * (alpha / size) + k, exponent=-beta)


def normalize(input, p=2.0, dim=1, eps=1e-12):
    """x / max(|x|_p, eps) along `dim`: to unit length. (*) -> (*)."""
    x = tensor_of(input, "normalize")
    return x / ops.clip(norm(x, p, dim, keepdim=True), low=eps)
