"""Activations with or without a bias: `source/activation.cu`."""

import math

import numpy as np

from .columns import column_sums
from .registry import kernel, name_of, over_elements, plain

_KINDS = ("relu", "gelu", "gelu_tanh", "silu")  # numbered as in the source


def _launch(launch, xp, g, x, bias, kind):
    y = xp.empty_like(x)
    grid, block = over_elements(-(-x.size // (16 // x.itemsize)))
    arrays, n = (g, x, bias, y), 1 if bias is None else bias.size
    name = name_of(x.dtype)
    launch("activation", "activation", name, grid, block, *arrays, x.size, n, _KINDS.index(kind))
    return y


def _same(g, x):
    return plain(x, g)


_erf = np.vectorize(math.erf, otypes=[float])


def _value(x, kind):
    return {
        "relu": lambda: np.maximum(x, 0),
        "gelu": lambda: x * (1 + _erf(x / math.sqrt(2))) / 2,
        "gelu_tanh": lambda: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        "silu": lambda: x / (1 + np.exp(-x)),
    }[kind]()


def _slope(x, kind):
    """By the product rule, written out."""
    if kind == "relu":
        return (x > 0).astype(float)
    if kind == "gelu":
        return (1 + _erf(x / math.sqrt(2))) / 2 + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    if kind == "silu":
        s = 1 / (1 + np.exp(-x))
        return s + x * s * (1 - s)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    slope_u = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return (1 + np.tanh(u)) / 2 + x / 2 * (1 - np.tanh(u) ** 2) * slope_u


@kernel("activation", lambda x: _value(x, "gelu"), replaces="gelu", guard=plain)
def gelu(launch, xp, x):
    """x P(Z <= x)."""
    return _launch(launch, xp, None, x, None, "gelu")


@kernel("activation", lambda x: _value(x, "gelu_tanh"), replaces="gelu_tanh", guard=plain)
def gelu_tanh(launch, xp, x):
    """GELU by its approximation with tanh."""
    return _launch(launch, xp, None, x, None, "gelu_tanh")


@kernel("activation", lambda x: _value(x, "silu"), replaces="silu", guard=plain)
def silu(launch, xp, x):
    """x sigmoid(x)."""
    return _launch(launch, xp, None, x, None, "silu")


@kernel(
    "activation",
    lambda g, needs, y: (g * _slope(y, "relu"),),
    replaces="relu.gradient",
    guard=_same,
)
def relu_gradient(launch, xp, g, needs, y):
    """g where the output is positive: that of ReLU tells as much as its input."""
    return (_launch(launch, xp, g, y, None, "relu"),)


@kernel(
    "activation",
    lambda g, needs, x: (g * _slope(x, "gelu"),),
    replaces="gelu.gradient",
    guard=_same,
)
def gelu_gradient(launch, xp, g, needs, x):
    """g times the slope of GELU."""
    return (_launch(launch, xp, g, x, None, "gelu"),)


@kernel(
    "activation",
    lambda g, needs, x: (g * _slope(x, "gelu_tanh"),),
    replaces="gelu_tanh.gradient",
    guard=_same,
)
def gelu_tanh_gradient(launch, xp, g, needs, x):
    """g times the slope of the approximation."""
    return (_launch(launch, xp, g, x, None, "gelu_tanh"),)


@kernel(
    "activation",
    lambda g, needs, x: (g * _slope(x, "silu"),),
    replaces="silu.gradient",
    guard=_same,
)
def silu_gradient(launch, xp, g, needs, x):
    """g times the slope of SiLU."""
    return (_launch(launch, xp, g, x, None, "silu"),)


@kernel("activation", lambda x, bias, kind: _value(x + bias, kind))
def bias_activation(launch, xp, x, bias, kind):
    """f(x + bias) for x (rows, n), bias (n); kind: "relu", "gelu", "gelu_tanh" or "silu"."""
    return _launch(launch, xp, None, x, bias, kind)


def _bias_reference(g, x, bias, kind):
    gx = g * _slope(x + bias, kind)
    return gx, gx.sum(axis=0)


@kernel("activation", _bias_reference)
def bias_activation_gradient(launch, xp, g, x, bias, kind):
    """The gradients of x and of the bias."""
    gx = _launch(launch, xp, g, x, bias, kind)
    return gx, column_sums(launch, xp, gx)
