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


def _forward(kind):
    def function(launch, xp, x):
        return _launch(launch, xp, None, x, None, kind)

    function.__name__, function.__doc__ = kind, f"{kind} of every element."
    kernel("activation", lambda x: _value(x, kind), replaces=kind, guard=plain)(function)


def _gradient(kind):
    def function(launch, xp, g, needs, x):
        return (_launch(launch, xp, g, x, None, kind),)

    function.__name__, function.__doc__ = f"{kind}_gradient", f"g times the slope of {kind} at x."
    reference = lambda g, needs, x: (g * _slope(x, kind),)
    kernel("activation", reference, replaces=f"{kind}.gradient", guard=_same)(function)


for _kind in _KINDS:
    if _kind != "relu":  # array code computes it in one pass too
        _forward(_kind)
    _gradient(_kind)  # ReLU's is given the output in place of x, which tells as much


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
