"""Rows: activation functions, the error function and its relatives, selection by masks, dropout."""

import math

import numpy as np

import chainrule.nn.functional as F
from chainrule.autograd.ops import activation, error_function, selection
from tests.table import Row, apart, mask, positive


def smooth(name, ref=None, tag="", **kwargs):
    """A function without corners, on arguments of both signs, small and large."""
    return Row(
        name, getattr(F, name), [(3, 4)], kwargs, ref, f"nn.functional.{name}", domain=(-6, 6), tag=tag
    )


def kinked(name, ref=None, tag="", **kwargs):
    """A function with corners, which the arguments stay away from."""
    return Row(name, getattr(F, name), [apart((3, 4))], kwargs, ref, f"nn.functional.{name}", tag=tag)


def elementwise(function):
    return np.vectorize(function, otypes=[float])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ROWS = [
    kinked("relu", lambda x: np.maximum(x, 0)),
    kinked("relu6", lambda x: np.clip(x, 0, 6)),
    kinked(
        "leaky_relu", lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), negative_slope=0.1
    ),
    kinked("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)), alpha=0.7),
    kinked("celu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x / alpha)), alpha=0.7),
    kinked("selu"),
    kinked("hardtanh", lambda x, min_val, max_val: np.clip(x, min_val, max_val), min_val=-0.9, max_val=1.4),
    kinked("hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    kinked("hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    kinked("softsign", lambda x: x / (1 + np.abs(x))),
    kinked("softshrink", lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    kinked("hardshrink", lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    kinked(
        "threshold", lambda x, threshold, value: np.where(x > threshold, x, value), threshold=0.2, value=5.0
    ),
    kinked("rrelu", lambda x: np.where(x > 0, x, x * (1 / 8 + 1 / 3) / 2)),
    Row("rrelu", F.rrelu, [apart((3, 4))], {"training": True}, torch=False, tag="training"),
    Row("prelu", F.prelu, [apart((3, 4)), positive((4,))], torch="nn.functional.prelu"),
    Row("prelu", F.prelu, [apart((2, 3, 2)), positive((1,))], torch="nn.functional.prelu", tag="one weight"),
    smooth("sigmoid", sigmoid),
    smooth("tanh", np.tanh, tag="functional"),
    smooth("logsigmoid", lambda x: np.log(sigmoid(x))),
    smooth("softplus", lambda x: np.log1p(np.exp(x))),
    smooth("softplus", tag="beta", beta=2.5, threshold=8.0),
    smooth("silu", lambda x: x * sigmoid(x)),
    smooth("mish", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    smooth("gelu", elementwise(lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2)))),
    smooth(
        "gelu",
        lambda x, approximate: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        tag="tanh",
        approximate="tanh",
    ),
    Row(
        "gelu_slope",
        activation.gelu_slope,
        [(3, 4)],
        ref=elementwise(
            lambda x: 0.5 * math.erfc(-x / math.sqrt(2)) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        ),
        domain=(-6, 6),
        torch=False,
    ),
    smooth("tanhshrink", lambda x: x - np.tanh(x)),
    Row("glu", F.glu, [(3, 4)], ref=lambda x: x[:, :2] * sigmoid(x[:, 2:]), torch="nn.functional.glu"),
    Row("glu", F.glu, [(4, 3, 2)], {"dim": 0}, torch="nn.functional.glu", tag="first dimension"),
    Row("erf", error_function.erf, [(3, 4)], ref=elementwise(math.erf), domain=(-4, 4)),
    Row("erfc", error_function.erfc, [(3, 4)], ref=elementwise(math.erfc), domain=(-4, 4)),
    Row(
        "ndtr",
        error_function.ndtr,
        [(3, 4)],
        ref=elementwise(lambda x: 0.5 * math.erfc(-x / math.sqrt(2))),
        torch="special.ndtr",
        domain=(-5, 5),
    ),
    Row(
        "elu",
        activation.elu,
        [apart((3, 4))],
        {"alpha": 0.7, "scale": 1.3, "input_scale": 0.6},
        ref=lambda x, alpha, scale, input_scale: (
            scale * np.where(x > 0, x, alpha * np.expm1(input_scale * x))
        ),
        torch=False,
        tag="all parameters",
    ),
    Row(
        "masked",
        selection.masked,
        [(3, 4), mask((3, 4))],
        {"scale": 1.5},
        ref=lambda x, m, scale: np.where(m, scale * x, 0),
        torch=False,
    ),
    Row(
        "select",
        lambda a, b, m: selection.select(m, a, b),
        [(3, 4), (3, 4), mask((3, 4))],
        ref=lambda a, b, m: np.where(m, a, b),
        torch=False,
        tag="mask",
    ),
    Row("dropout", F.dropout, [(3, 4)], {"p": 0.4}, torch=False),
    Row(
        "dropout",
        F.dropout,
        [(3, 4)],
        {"p": 0.4, "training": False},
        lambda x, p, training: x,
        False,
        tag="eval",
    ),
    Row("dropout1d", F.dropout1d, [(3, 4, 2)], torch=False),
    Row("dropout2d", F.dropout2d, [(3, 4, 2, 2)], torch=False),
    Row("dropout3d", F.dropout3d, [(4, 2, 2, 1)], torch=False),
    Row("alpha_dropout", F.alpha_dropout, [(3, 4)], {"p": 0.3, "training": True}, torch=False),
    Row("feature_alpha_dropout", F.feature_alpha_dropout, [(3, 4, 2)], {"training": True}, torch=False),
]
