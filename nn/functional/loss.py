"""Losses that compare a prediction with a target: regression, classification, probabilities.

`reduction` is "mean", "sum" or "none". `size_average` and `reduce` are PyTorch's older way to say it. Shapes: input and target (*)
-> () or, unreduced, (*), unless said otherwise. Those built on distances and margins are in `margin_loss.py`.
"""

import math
import warnings

from chainrule.autograd import ops
from chainrule.autograd.functions.common import index_array, tensor_of
from chainrule.autograd.functions.shape import broadcast_tensors
from chainrule.autograd.ops import loss as _loss
from chainrule.autograd.ops import softmax as _softmax
from chainrule.autograd.ops.blocks import wide
from chainrule.autograd.ops.entropy import xlogy
from chainrule.autograd.precision import active, precision
from chainrule.backends import backend_of, dtypes, kernels, namespaces, placement

from .common import on_host, reduced, reduction_of, weighted

# Regression


def _pair(input, target, name):
    """The two as Tensors of one shape; a difference that is broadcast away is most often a mistake, so it warns."""
    x, y = tensor_of(input, name), tensor_of(target, name)
    if x.shape == y.shape:
        return x, y
    warnings.warn(
        f"{name}: the target's shape {tuple(y.shape)} is not the input's, {tuple(x.shape)}; broadcasting them is likely to be "
        f"a mistake. Make them the same",
        stacklevel=4,  # past the declaration of precision
    )
    return broadcast_tensors(x, y)


def _weighted_mean(loss, weight, reduction, name):
    """The losses with a factor for each; their mean is the sum over that of the factors."""
    if weight is None:
        return reduced(loss, reduction)
    if tensor_of(weight, name).shape != loss.shape:
        raise ValueError(
            f"{name}: weight of shape {tuple(weight.shape)} must have the shape of the input, {tuple(loss.shape)}"
        )
    loss = weighted(loss, weight, name)
    return ops.sum(loss) / ops.sum(weight) if reduction == "mean" else reduced(loss, reduction)


@precision("float32")
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """(x - y)^2."""
    reduction = reduction_of(size_average, reduce, reduction, "mse_loss")
    return _weighted_mean(
        _loss.squared_error(*_pair(input, target, "mse_loss")), weight, reduction, "mse_loss"
    )


@precision("float32")
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """|x - y|."""
    reduction = reduction_of(size_average, reduce, reduction, "l1_loss")
    x, y = _pair(input, target, "l1_loss")
    return _weighted_mean(ops.absolute(x - y), weight, reduction, "l1_loss")


@precision("float32")
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """d^2 / (2 beta) where |d| < beta, else |d| - beta / 2, for d = x - y. Girshick 2015."""
    reduction = reduction_of(size_average, reduce, reduction, "smooth_l1_loss")
    x, y = _pair(input, target, "smooth_l1_loss")
    if beta < 0:
        raise RuntimeError(f"smooth_l1_loss: beta must be at least 0, got {beta}")
    if beta == 0:
        return reduced(ops.absolute(x - y), reduction)
    return reduced(_loss.huber(x, y, delta=beta, scale=1 / beta), reduction)


@precision("float32")
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d^2 / 2 where |d| <= delta, else delta (|d| - delta / 2), for d = x - y. Huber 1964."""
    reduction = reduction_of(None, None, reduction, "huber_loss")
    x, y = _pair(input, target, "huber_loss")
    if isinstance(delta, bool) or not isinstance(delta, (int, float)):
        raise TypeError(f"huber_loss: delta must be a number, got {type(delta).__name__}")
    if delta <= 0:
        raise RuntimeError(f"huber_loss: delta must be positive, got {delta}")
    return _weighted_mean(_loss.huber(x, y, delta=delta), weight, reduction, "huber_loss")


@precision("float32")
def poisson_nll_loss(
    input, target, log_input=True, full=False, size_average=None, eps=1e-8, reduce=None, reduction="mean"
):
    """exp(x) - y x for x = log of the rate; x - y log(x + eps) for x = the rate. `full` adds Stirling's log y! where y > 1."""
    reduction = reduction_of(size_average, reduce, reduction, "poisson_nll_loss")
    x, y = tensor_of(input, "poisson_nll_loss"), tensor_of(target, "poisson_nll_loss")
    loss = ops.exp(x) - y * x if log_input else x - y * ops.log(x + eps)
    if full:
        safe = ops.where(y > 1, y, 1.0)
        loss = loss + ops.where(y > 1, safe * ops.log(safe) - safe + 0.5 * ops.log(2 * math.pi * safe), 0.0)
    return reduced(loss, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x - y)^2 / v) / 2 with v = max(var, eps); `full` adds log(2 pi) / 2. Nix and Weigend 1994.

    var: a number, or of the input's shape, in which dimensions may have length 1 and the last may be left out.
    """
    name = "gaussian_nll_loss"
    reduction = reduction_of(None, None, reduction, name)
    x, y = tensor_of(input, name), tensor_of(target, name)
    if isinstance(var, (int, float)):
        var = x.new_full(x.shape, var)
    if tensor_of(var, name).shape != x.shape:
        if tuple(var.shape) == tuple(x.shape[:-1]):
            var = ops.expand_dims(var, axis=-1)
        elif var.ndim != x.ndim or any(n not in (1, m) for n, m in zip(var.shape, x.shape, strict=True)):
            raise ValueError(
                f"{name}: var of shape {tuple(var.shape)} does not fit an input of shape {tuple(x.shape)}"
            )
    if on_host(var._array) and bool((var._array < 0).any()):
        raise ValueError(f"{name}: var has negative entries; a variance is at least 0")
    # The floor stops no gradient: a variance below it may still grow.
    var = var + ops.maximum(eps - var.detach(), 0.0)
    loss = 0.5 * (ops.log(var) + ops.square(x - y) / var)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


@precision("float32")
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """Kullback-Leibler divergence y (log y - x), for x = log-probabilities; `log_target`: y is given as its logarithm too.

    reduction="batchmean" divides the sum by the number of samples, which is the divergence proper; "mean" by all elements.
    """
    if reduction != "batchmean" or size_average is not None or reduce is not None:
        reduction = reduction_of(size_average, reduce, reduction, "kl_div")
    x, y = tensor_of(input, "kl_div"), tensor_of(target, "kl_div")
    if log_target:
        loss = ops.exp(y) * (y - x)
    else:
        loss = xlogy(y, y) - y * x
    if reduction == "batchmean":
        return ops.sum(loss) / x.shape[0] if x.ndim else loss
    return reduced(loss, reduction)


# Two classes


def _same_shape(input, target, weight, name):
    x, y = tensor_of(input, name), tensor_of(target, name)
    if x.shape != y.shape:
        raise ValueError(
            f"{name}: target of shape {tuple(y.shape)} must have the shape of the input, {tuple(x.shape)}; reshape or expand it"
        )
    return x, y, None if weight is None else tensor_of(weight, name)


@precision(cpu="float32")
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """-w (y log x + (1 - y) log(1 - x)) for probabilities x; logarithms are kept above -100."""
    reduction = reduction_of(size_average, reduce, reduction, "binary_cross_entropy")
    x, y, weight = _same_shape(input, target, weight, "binary_cross_entropy")
    if on_host(x._array) and x._array.size:
        low, high = x._array.min(), x._array.max()
        if not (low >= 0 and high <= 1):
            raise RuntimeError(
                f"binary_cross_entropy: all elements of input should be between 0 and 1, found {low} to {high}; for logits use "
                f"binary_cross_entropy_with_logits"
            )
    loss = _loss.binary_cross_entropy(x, y)
    return reduced(weighted(loss, weight, "binary_cross_entropy"), reduction)


@precision("float32")
def binary_cross_entropy_with_logits(
    input, target, weight=None, size_average=None, reduce=None, reduction="mean", pos_weight=None
):
    """-w (pos_weight y log s + (1 - y) log(1 - s)) for s = sigmoid(x), without overflow. pos_weight broadcasts to x."""
    name = "binary_cross_entropy_with_logits"
    reduction = reduction_of(size_average, reduce, reduction, name)
    x, y, weight = _same_shape(input, target, weight, name)
    if pos_weight is not None:
        pos_weight = tensor_of(pos_weight, name).to(x.dtype)
    loss = _loss.binary_cross_entropy_with_logits(x, y, pos_weight)
    return reduced(weighted(loss, weight, name), reduction)


# Many classes


def _class_arguments(input, target, weight, name):
    """The input with a batch dimension, the target, and whether the input had none."""
    x, y = tensor_of(input, name), tensor_of(target, name)
    if not x.ndim:
        raise RuntimeError(f"{name}: expected an input (C), (N, C) or (N, C, *), got a 0-d tensor")
    alone = x.ndim == 1
    classes = x.shape[0] if alone else x.shape[1]
    if weight is not None and tuple(tensor_of(weight, name).shape) != (classes,):
        raise RuntimeError(
            f"{name}: weight has shape {tuple(weight.shape)}, expected one number for each of {classes} classes"
        )
    return ops.reshape(x, (1, classes)) if alone else x, y, alone


def _class_numbers(x, target, alone, weight, ignore_index, name):
    """What the class numbers say of each sample: (class, weight or None, kept or None), raw arrays (N, *).

    A class is never out of range here. Ignored samples have weight 0 and are not kept. A number that is no class raises on
    the host; on a device, which nobody waits for, it makes the weight NaN and with it the loss.
    """
    index = index_array(target, name)
    if alone and index.size == 1:
        index = index.reshape((1,))
    expected = (x.shape[0], *x.shape[2:])
    if tuple(index.shape) != expected:
        raise ValueError(
            f"{name}: class numbers of shape {tuple(target.shape)} do not fit an input of shape "
            f"{tuple(x.shape[1:] if alone else x.shape)}; expected {expected if not alone else ()}"
        )
    classes, xp, host = x.shape[1], namespaces[index.__class__], on_host(index)
    if (
        host
        and not 0 <= ignore_index < classes
        and (not index.size or 0 <= index.min() <= index.max() < classes)
    ):
        return index, None if weight is None else xp.take(wide(weight._array), index, axis=0), None
    dtype = x._array.dtype if x._array.dtype.itemsize != 2 or x._array.dtype.kind == "i" else "float32"
    if "class_numbers" in kernels:
        static = {"classes": classes, "ignore_index": ignore_index, "dtype": dtype}
        raw = None if weight is None else weight._array
        found = backend_of(index).kernel("class_numbers", index, raw, **static)
        if found is not None:
            return found(xp, index, raw, **static)
    inside = xp.logical_and(index >= 0, index < classes)
    kept = index != ignore_index
    if host and not bool((inside | ~kept).all()):
        wrong = int(index[~inside & kept].reshape(-1)[0])
        raise IndexError(
            f"{name}: target {wrong} is out of range for {classes} classes (0 to {classes - 1}); samples to leave out have "
            f"ignore_index={ignore_index}"
        )
    index = xp.where(xp.logical_and(inside, kept), index, 0)
    factor = (
        xp.ones(index.shape, dtype=dtype)
        if weight is None
        else xp.take(wide(weight._array), index, axis=0).astype(dtype)
    )
    factor = xp.where(kept, factor, xp.zeros((), dtype=dtype))
    if not host:
        factor = xp.where(xp.logical_or(inside, ~kept), factor, xp.full((), float("nan"), dtype=dtype))
    return index, factor, kept


def _over_samples(loss, factor, reduction, alone):
    """The losses, their sum, or their mean weighted with `factor`, the weight of each sample."""
    if reduction == "none":
        return ops.reshape(loss, ()) if alone else loss
    if reduction == "sum":
        return ops.sum(loss)
    return ops.mean(loss) if factor is None else ops.sum(loss) / factor.sum().astype(loss._array.dtype)


@placement.on_their_card
@precision("float32")
def nll_loss(input, target, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
    """-w[y] x[y] for log-probabilities x. (N, C), (N) of class numbers -> () or (N); or (C), (); or (N, C, *), (N, *).

    The mean is divided by the sum of the weights. Samples with target `ignore_index` do not count.
    """
    reduction = reduction_of(size_average, reduce, reduction, "nll_loss")
    x, y, alone = _class_arguments(input, target, weight, "nll_loss")
    index, factor, kept = _class_numbers(x, y, alone, weight, ignore_index, "nll_loss")
    loss = -ops.take(x, index=_softmax.at_class(index))
    if factor is not None:
        loss = loss * factor.astype(loss._array.dtype, copy=False)
    if kept is not None:
        loss = ops.where(kept, loss, 0.0)
    return _over_samples(loss, factor, reduction, alone)


def cross_entropy(
    input,
    target,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    """-sum_c w[c] q[c] log softmax(x)[c] for logits x, without overflow. (N, C), (C) or (N, C, *).

    target: class numbers, (N), () or (N, *), then q is 1 for that class; or probabilities q in the input's shape.
    label_smoothing e: q is (1 - e) q + e / C. weight: one number for each class; the mean over class numbers is divided by
    the sum of the weights of their classes. Samples with class number `ignore_index` do not count.
    -> () or, unreduced, (N), () or (N, *).
    """
    reduction = reduction_of(size_average, reduce, reduction, "cross_entropy")
    # Inside an autocast block the loss is float32, but no copy of the logits in float32 is made for class numbers.
    compute = _from_16_bits if _autocast_16_bits(input, target) else _in_float32
    return compute(input, target, weight, ignore_index, reduction, label_smoothing)


def _autocast_16_bits(input, target):
    """Whether 16-bit logits meet class numbers inside an autocast block."""
    block = active()
    return (
        block is not None
        and tensor_of(input, "cross_entropy").dtype in (dtypes.float16, dtypes.bfloat16)
        and not tensor_of(target, "cross_entropy").is_floating_point()
        and block.dtypes.get(input.device.type) is not None
    )


@precision("float32")
def _in_float32(*arguments):
    return _cross_entropy(*arguments)


@precision("unchanged")
def _from_16_bits(*arguments):
    return _cross_entropy(*arguments, dtype="float32")


@placement.on_their_card
def _cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing, dtype=None):
    name = "cross_entropy"
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(f"{name}: label_smoothing must be between 0 and 1, got {label_smoothing}")
    x, y, alone = _class_arguments(input, target, weight, name)
    if y.is_floating_point():
        return _probabilities(x, y, alone, weight, ignore_index, reduction, label_smoothing)
    index, factor, kept = _class_numbers(x, y, alone, weight, ignore_index, name)
    share, hit = None, factor
    if label_smoothing:
        raw, classes = wide(x._array), x.shape[1]
        xp = namespaces[raw.__class__]
        share = xp.ones(classes, dtype=raw.dtype) if weight is None else wide(weight._array)
        share = (share * (label_smoothing / classes)).reshape((1, classes) + (1,) * (x.ndim - 2))
        hit = (
            xp.full(index.shape, 1 - label_smoothing, dtype=raw.dtype)
            if factor is None
            else factor * (1 - label_smoothing)
        )
    q = _softmax.Targets((None, index, *[None] * (index.ndim - 1)), hit, share, kept)
    if (
        reduction == "none" or x.dtype is dtypes.float16
    ):  # a gradient kept in float16 must not be divided by many samples
        return _over_samples(_softmax.cross_entropy(x, q=q, dtype=dtype)[0], factor, reduction, alone)
    over = 1 if reduction == "sum" else index.size if factor is None else factor.sum()
    return _softmax.cross_entropy(x, q=q, over=over, dtype=dtype)[0]


def _probabilities(x, q, alone, weight, ignore_index, reduction, smoothing):
    """Cross-entropy with target distributions."""
    if alone and q.ndim == 1:
        q = ops.reshape(q, (1, -1))
    if q.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target probabilities of shape {tuple(q.shape)} must have the shape of the input, {tuple(x.shape)}; if "
            f"they are class numbers, convert them with .long()"
        )
    if ignore_index >= 0:
        raise RuntimeError(
            "cross_entropy: ignore_index is for class numbers; give probabilities of 0 instead"
        )
    if smoothing:
        q = q * (1 - smoothing) + smoothing / x.shape[1]
    if weight is not None:
        q = weighted(q, ops.reshape(weight, (1, -1) + (1,) * (x.ndim - 2)), "cross_entropy")
    loss = _softmax.expected_loss(_softmax.log_softmax(x, axis=1), q, axis=1)
    return _over_samples(loss, None, reduction, alone)
