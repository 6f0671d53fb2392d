"""The last layer of a classifier and its loss in one call."""

import math

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of

from .linear import linear
from .loss import cross_entropy


def linear_cross_entropy(
    input,
    linear_weight,
    target,
    *,
    linear_bias=None,
    weight=None,
    reduction="mean",
    ignore_index=None,
    label_smoothing=0.0,
    options=None,
):
    """`cross_entropy` of the logits x W^T + b. (N, in) or (in), (C, in), class numbers (N) or () -> () or, unreduced, (N).

    A weight (C, d..., in) with a bias (C, d...) gives logits (N, C, d...) for class numbers (N, d...). The other arguments are those of
    `cross_entropy`; ignore_index None is -100, and must be None where the target holds probabilities. `options`, PyTorch's plan for
    saving memory, changes no number and is not read.
    """
    name = "linear_cross_entropy"
    x, w, t = tensor_of(input, name), tensor_of(linear_weight, name), tensor_of(target, name)
    if x.ndim not in (1, 2) or w.ndim < 2 or x.shape[-1] != w.shape[-1] or (x.ndim == 1 and w.ndim > 2):
        raise RuntimeError(
            f"{name}: expected an input (N, in) or (in) and a linear_weight (C, in), or (N, in) and (C, d..., in), got shapes "
            f"{tuple(x.shape)} and {tuple(w.shape)}"
        )
    out = tuple(w.shape[:-1])
    if linear_bias is not None:
        if tuple(tensor_of(linear_bias, name).shape) != out:
            raise RuntimeError(f"{name}: expected linear_bias of shape {out}, got {tuple(linear_bias.shape)}")
        linear_bias = ops.reshape(linear_bias, (math.prod(out),))
    shape = (*x.shape[:-1], *out)
    if ignore_index is not None and tuple(t.shape) == shape:
        raise RuntimeError(
            f"{name}: ignore_index is for class numbers; with probabilities as target leave it None"
        )
    logits = linear(x, ops.reshape(w, (math.prod(out), w.shape[-1])), linear_bias)
    return cross_entropy(
        ops.reshape(logits, shape),
        t,
        weight=weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
