"""Rows: batch, layer, instance and group normalization, their parts, and normalization of vectors."""

import numpy as np

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.ops import normalization as ops
from tests.table import Row, positive, within


def standardized(x, axes, eps=1e-5):
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)


def batch_norm(x, weight, bias, axes):
    shape = (-1,) + (1,) * (x.ndim - 2)
    return standardized(x, axes) * weight.reshape(shape) + bias.reshape(shape)


def numbers(values):
    return cr.tensor(values, dtype=cr.float64)


def training(x, weight=None, bias=None):
    return F.batch_norm(x, None, None, weight, bias, training=True)


def torch_training(x, weight=None, bias=None):
    import torch

    return torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)


MEAN, VAR = [0.3, -0.2, 0.1], [0.5, 1.5, 2.0]


def evaluation(x, weight, bias):
    mean, var = (numbers(one).to(x.device) for one in (MEAN, VAR))
    return F.batch_norm(x, mean, var, weight, bias)


def torch_evaluation(x, weight, bias):
    import torch

    mean, var = (torch.tensor(one, dtype=torch.float64) for one in (MEAN, VAR))
    return torch.nn.functional.batch_norm(x, mean, var, weight, bias)


def instance_norm(function):
    return lambda x, weight, bias: function(x, None, None, weight, bias)


def torch_instance_norm(x, weight, bias):
    import torch

    return torch.nn.functional.instance_norm(x, None, None, weight, bias)


def layer(shape, normalized, tag, *extra, function="layer_norm"):
    def call(x, *parameters):
        return getattr(F, function)(x, normalized, *parameters)

    def torch_call(x, *parameters):
        import torch

        return getattr(torch.nn.functional, function)(x, normalized, *parameters)

    ref = None
    if function == "layer_norm" and not extra:
        ref = lambda x: standardized(x, tuple(range(x.ndim - len(normalized), x.ndim)))
    return Row(function, call, [shape, *extra], ref=ref, torch=torch_call, tag=tag)


CHANNELS = [positive((3,)), (3,)]

ROWS = [
    Row(
        "batch_norm",
        training,
        [(4, 3), *CHANNELS],
        ref=lambda *a: batch_norm(*a, (0,)),
        torch=torch_training,
        tag="2-d",
    ),
    Row(
        "batch_norm",
        training,
        [(2, 3, 2, 2), *CHANNELS],
        ref=lambda *a: batch_norm(*a, (0, 2, 3)),
        torch=torch_training,
        tag="4-d",
    ),
    Row(
        "batch_norm",
        training,
        [(4, 3, 2)],
        ref=lambda x: standardized(x, (0, 2)),
        torch=torch_training,
        tag="no affine",
    ),
    Row("batch_norm", evaluation, [(2, 3, 2), *CHANNELS], torch=torch_evaluation, tag="evaluation"),
    Row("instance_norm", instance_norm(F.instance_norm), [(2, 3, 4), *CHANNELS], torch=torch_instance_norm),
    layer((2, 3, 4), (4,), "last"),
    layer((2, 3, 4), (3, 4), "last two"),
    layer((2, 3, 4), (3, 4), "weight", positive((3, 4))),
    layer((5, 4), (4,), "weight and bias", positive((4,)), (4,)),
    layer((2, 3, 4), (4,), "plain", function="rms_norm"),
    layer((2, 3, 4), (3, 4), "weight", positive((3, 4)), function="rms_norm"),
    Row(
        "group_norm",
        lambda x, w, b: F.group_norm(x, 2, w, b),
        [(2, 4, 3), positive((4,)), (4,)],
        torch=lambda x, w, b: __import__("torch").nn.functional.group_norm(x, 2, w, b),
    ),
    Row(
        "group_norm",
        lambda x: F.group_norm(x, 2),
        [(2, 4, 3)],
        ref=lambda x: standardized(x.reshape(2, 2, 2, 3), (2, 3)).reshape(2, 4, 3),
        torch=lambda x: __import__("torch").nn.functional.group_norm(x, 2),
        tag="no affine",
    ),
    Row(
        "local_response_norm",
        F.local_response_norm,
        [(2, 5, 3)],
        {"size": 3, "alpha": 0.4, "k": 1.5},
        torch="nn.functional.local_response_norm",
    ),
    Row("normalize", F.normalize, [(3, 4)], torch="nn.functional.normalize"),
    Row("normalize", F.normalize, [(3, 4)], {"p": 3.0, "dim": 0}, torch="nn.functional.normalize", tag="p 3"),
    # The parts, with gradients through every output.
    Row(
        "standardize",
        lambda x, w, b: ops.standardize(x, w, b, axes=(0, 2), eps=0.1),
        [(2, 3, 4), positive((3, 1)), (3, 1)],
        ref=lambda x, w, b: (
            standardized(x, (0, 2), 0.1) * w + b,
            x.mean((0, 2), keepdims=True),
            x.var((0, 2), keepdims=True),
        ),
        torch=False,
    ),
    Row(
        "rms_standardize",
        lambda x, w: ops.rms_standardize(x, w, axes=(1,), eps=0.1),
        [(3, 4), positive((4,))],
        ref=lambda x, w: (
            x / np.sqrt((x**2).mean(1, keepdims=True) + 0.1) * w,
            (x**2).mean(1, keepdims=True),
        ),
        torch=False,
    ),
    Row(
        "inner",
        lambda a, b: ops.inner(a, b, axes=(0, 2)),
        [(2, 3, 4), (2, 3, 4)],
        ref=lambda a, b: (a * b).sum((0, 2), keepdims=True),
        torch=False,
        tag="axes",
    ),
    Row(
        "shift_and_scale",
        ops.shift_and_scale,
        [(3, 4), (3, 1), within(0.5, 2, (3, 1))],
        ref=lambda x, shift, scale: (x - shift) * scale,
        torch=False,
    ),
    Row(
        "scale_and_shift",
        ops.scale_and_shift,
        [(3, 4), (4,), (3, 1)],
        ref=lambda x, w, b: x * w + b,
        torch=False,
    ),
]
