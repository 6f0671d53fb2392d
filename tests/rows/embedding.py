"""Rows: tables read by number, linear and bilinear maps, padding."""

import numpy as np

import chainrule.nn.functional as F
from chainrule.autograd.ops import embedding as ops
from chainrule.nn.functional.linear_activation import linear_activation
from tests.table import Row, apart, ints


def gelu_tanh(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def torch_functional(name):
    def call(*args, **kwargs):
        import torch

        return getattr(torch.nn.functional, name)(*args, **kwargs)

    return call


def table(tag, index, **kwargs):
    def swapped(function):
        return lambda w, i: function(i, w, **kwargs)

    return Row(
        "embedding",
        swapped(F.embedding),
        [(6, 3), index],
        torch=swapped(torch_functional("embedding")),
        tag=tag,
        grad=not kwargs,  # what these keywords do to the gradient is meant not to be the derivative
    )


def bags(tag, *index, weights=None, table=(6, 3), **kwargs):
    def swapped(function):
        return lambda w, i, *rest: function(
            i, w, *(() if weights else rest), **kwargs, **({"per_sample_weights": rest[0]} if weights else {})
        )

    inputs = [table, *index, *([weights] if weights else [])]
    torch = swapped(torch_functional("embedding_bag"))
    return Row("embedding_bag", swapped(F.embedding_bag), inputs, torch=torch, tag=tag)


def padded(mode, pad, shape, **kwargs):
    def call(function):
        return lambda x: function(x, pad, mode, **kwargs)

    torch = call(torch_functional("pad"))
    return Row("pad", call(F.pad), [shape], torch=torch, tag=f"{mode} {' '.join(map(str, pad))}")


BAG = ints(0, 6, (2, 3))

ROWS = [
    table("plain", BAG),
    table("empty", ints(0, 6, (0, 2))),
    table("padding", BAG, padding_idx=2),
    table("frequency", BAG, scale_grad_by_freq=True, padding_idx=-1),
    Row(
        "embedding_weight",
        lambda g, i: ops.embedding_weight(g, index=i._array, rows=5),
        [(4, 2), ints(0, 5, (4,))],
        ref=lambda g, i: np.eye(5)[:, i] @ g,
        torch=False,
    ),
    Row(
        "one_hot",
        F.one_hot,
        [ints(0, 4, (3, 2))],
        {"num_classes": 4},
        lambda i, num_classes: np.eye(4, dtype=int)[i],
        "nn.functional.one_hot",
        grad=False,
    ),
    bags("sum", BAG, mode="sum"),
    bags("mean", BAG),
    bags("mean without padding", BAG, padding_idx=1),
    Row(
        "embedding_bag",
        lambda w, i: F.embedding_bag(i, w, mode="max"),
        [apart((6, 3)), BAG],
        torch=lambda w, i: __import__("torch").nn.functional.embedding_bag(i, w, mode="max"),
        tag="max",
    ),
    bags("offsets", ints(0, 6, (5,)), ints(0, 1, (1,)), mode="sum"),
    bags("weights", BAG, weights=(2, 3), mode="sum"),
    Row(
        "linear",
        F.linear,
        [(5, 3), (4, 3), (4,)],
        ref=lambda x, w, b: x @ w.T + b,
        torch="nn.functional.linear",
    ),
    Row(
        "linear_activation",
        linear_activation,
        [(2, 5, 3), (4, 3), (4,)],
        ref=lambda x, w, b: np.maximum(x @ w.T + b, 0),
        tag="relu",
    ),
    Row(
        "linear_activation",
        lambda x, w: linear_activation(x, w, kind="gelu"),
        [(5, 3), (4, 3)],
        ref=lambda x, w: gelu_tanh(x @ w.T),
        tag="gelu",
    ),
    Row(
        "linear",
        F.linear,
        [(2, 5, 3), (4, 3)],
        ref=lambda x, w: x @ w.T,
        torch="nn.functional.linear",
        tag="no bias",
    ),
    Row(
        "linear",
        F.linear,
        [(3,), (4, 3), (4,)],
        ref=lambda x, w, b: w @ x + b,
        torch="nn.functional.linear",
        tag="vector",
    ),
    Row(
        "linear",
        F.linear,
        [(2, 3), (3,)],
        ref=lambda x, w: x @ w,
        torch="nn.functional.linear",
        tag="weight vector",
    ),
    Row(
        "linear",
        F.linear,
        [(0, 3), (4, 3), (4,)],
        ref=lambda x, w, b: x @ w.T + b,
        torch="nn.functional.linear",
        tag="no rows",
    ),
    Row(
        "bilinear",
        F.bilinear,
        [(2, 3), (2, 4), (5, 3, 4), (5,)],
        ref=lambda a, b, w, c: np.einsum("ni,oij,nj->no", a, w, b) + c,
        torch="nn.functional.bilinear",
    ),
    padded("constant", (1, 2, 0, 1), (2, 3, 4), value=1.5),
    padded("constant", (-1, 2), (3, 4)),
    padded("reflect", (2, 1), (2, 3, 4)),
    padded("reflect", (1, 2, 0, 1), (2, 3, 4)),
    padded("replicate", (2, 0, 1, 3), (2, 3, 4)),
    padded("circular", (2, 1, 0, 3), (2, 3, 4)),
    padded("circular", (-1, 2, 1, -1), (2, 3, 4)),
]
