"""Layers in ONNX: products, convolution, pooling, normalization and recurrence. See `_onnx_operators`."""

import numpy as np

from ._onnx_operators import operator
from ._onnx_shapes import sliced

# --- products ---


@operator
def linear(g, x, weight, bias):
    if len(g.shape(0)) == 2:
        return g("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    y = g("MatMul", x, g("Transpose", weight, perm=(1, 0)))
    return y if bias is None else g("Add", y, bias)


@operator
def einsum(g, *inputs, equation):
    return g("Einsum", *inputs, equation=equation)


def _probabilities(g, query, key, bias, scale, kept, safe):
    if kept is not None:
        raise NotImplementedError("onnx.export: attention with dropout; export the module in evaluation mode")
    rank = len(g.shape(1))
    turned = g("Transpose", key, perm=(*range(rank - 2), rank - 1, rank - 2))
    scores = g("MatMul", g("Mul", query, scale), turned)
    if bias is not None:
        scores = g("Add", scores, bias)
    p = g("Softmax", scores, axis=-1)
    # A query that may attend to nothing gets zeros.
    return g("Where", g("IsNaN", p), 0, p) if bias is not None and safe else p


@operator
def attention(g, query, key, value, bias, *, scale, kept, share, safe):
    p = _probabilities(g, query, key, bias, scale, kept, safe)
    return g("MatMul", p, value), p


@operator
def flash_attention(g, query, key, value, bias, *, scale, causal, kept, share):
    if causal:
        sees = np.tri(g.shape(0)[-2], g.shape(1)[-2], dtype=bool)
        bias = g.constant(np.where(sees, 0, -np.inf).astype(g.dtype))
    p = _probabilities(g, query, key, bias, scale, kept, not causal)
    return g("MatMul", p, value)  # nothing is ever made of lse


# --- convolution and pooling ---


def _window(g, kernel, stride, padding, dilation=None):
    attributes = {"kernel_shape": kernel, "strides": stride, "pads": (*padding, *padding)}
    return attributes if dilation is None else {**attributes, "dilations": dilation}


@operator
def conv(g, x, weight, *, stride, padding, dilation, groups, size):
    kernel = g.shape(1)[2:]
    _check_size(g, "conv", kernel, stride, padding, dilation, size, (False,))
    return g("Conv", x, weight, group=groups, **_window(g, kernel, stride, padding, dilation))


@operator
def conv_input(g, x, weight, *, stride, padding, dilation, groups, size):
    kernel = g.shape(1)[2:]
    given = zip(g.shape(0)[2:], kernel, stride, padding, dilation, size, strict=True)
    more = [n - ((i - 1) * s - 2 * p + d * (k - 1) + 1) for i, k, s, p, d, n in given]
    attributes = _window(g, kernel, stride, padding, dilation)
    return g("ConvTranspose", x, weight, group=groups, output_padding=more, **attributes)


def _check_size(g, name, kernel, stride, padding, dilation, size, allowed):
    """Whether the output's size is rounded up; NotImplementedError if neither way of rounding gives it."""
    for up in allowed:
        spans = zip(g.shape(0)[2:], kernel, stride, padding, dilation, strict=True)
        sizes = tuple(-(-(n + 2 * p - d * (k - 1) - 1) // s) + 1 if up else (n + 2 * p - d * (k - 1) - 1) // s + 1
                      for n, k, s, p, d in spans)  # fmt: skip
        if sizes == tuple(size):
            return up
    raise NotImplementedError(
        f"onnx.export: {name} with an output of {tuple(size)}, padded on one side or rounded up"
    )


@operator
def max_pool(g, x, *, kernel, stride, padding, dilation, size):
    up = _check_size(g, "max_pool", kernel, stride, padding, dilation, size, (False, True))
    return g("MaxPool", x, ceil_mode=int(up), **_window(g, kernel, stride, padding, dilation))


@operator
def avg_pool(g, x, *, kernel, stride, padding, size, count_padding, divisor):
    if divisor is not None:
        raise NotImplementedError("onnx.export: avg_pool with divisor_override")
    _check_size(g, "avg_pool", kernel, stride, padding, (1,) * len(kernel), size, (False,))
    return g("AveragePool", x, count_include_pad=int(count_padding), **_window(g, kernel, stride, padding))


@operator
def adaptive_avg_pool(g, x, *, size):
    kernel = tuple(n // m for n, m in zip(g.shape()[2:], size, strict=True))
    if any(k * m != n for k, m, n in zip(kernel, size, g.shape()[2:], strict=True)):
        raise NotImplementedError(
            f"onnx.export: adaptive_avg_pool of {g.shape()[2:]} to {size}, which does not divide it"
        )
    return g("AveragePool", x, kernel_shape=kernel, strides=kernel)


@operator
def resample(g, x, *, taps, axis):
    """Linear along one axis: a product with the matrix that the operation makes of the unit matrix."""
    rank, step = len(g.shape()), g.step
    matrix = step.function(np, np.eye(g.shape()[axis], dtype=g.dtype), taps=taps, axis=0)
    perm = [*(one for one in range(rank) if one != axis % rank), axis % rank]
    y = g("MatMul", g("Transpose", x, perm=perm), np.ascontiguousarray(matrix.T))
    return g("Transpose", y, perm=[perm.index(one) for one in range(rank)])


# --- normalization ---


@operator
def scale_and_shift(g, x, weight, bias):
    return g("Add", g("Mul", x, weight), bias)


@operator
def shift_and_scale(g, x, shift, scale):
    return g("Mul", g("Sub", x, shift), scale)


@operator
def standardize(g, x, weight, bias, *, axes, eps):
    shape = g.shape()
    first = len(shape) - len(axes)
    if weight is not None and tuple(axes) == tuple(range(first, len(shape))) and g.shape(1) == shape[first:]:
        return g(
            "LayerNormalization", x, weight, *([] if bias is None else [bias]), axis=first, epsilon=float(eps)
        )
    over = g.integers(*axes)
    mean = g("ReduceMean", x, over)
    shifted = g("Sub", x, mean)
    var = g("ReduceMean", g("Mul", shifted, shifted), over)
    y = g("Div", shifted, g("Sqrt", g("Add", var, eps)))
    y = y if weight is None else g("Mul", y, weight)
    return (y if bias is None else g("Add", y, bias)), mean, var


@operator
def rms_standardize(g, x, weight, *, axes, eps):
    mean = g("ReduceMean", g("Mul", x, x), g.integers(*axes))
    y = g("Div", x, g("Sqrt", g("Add", mean, eps)))
    return (y if weight is None else g("Mul", y, weight)), mean


# --- recurrent layers, one step after the other ---


def _steps(g, gx, sizes):
    """The rows of each step."""
    if len(set(sizes)) > 1:
        raise NotImplementedError("onnx.export: packed sequences of unequal lengths")
    if len(sizes) == 1:
        return [gx]
    return g("Split", gx, g.integers(*sizes), outputs=len(sizes), axis=0)


def _rows(g, states):
    return g("Concat", *states, axis=0)


@operator
def rnn(g, gx, w_hh, h0, *, sizes, nonlinearity="tanh"):
    states, kind = [h0], {"tanh": "Tanh", "relu": "Relu"}[nonlinearity]
    for given in _steps(g, gx, sizes):
        states.append(g(kind, g("Gemm", states[-1], w_hh, given, transB=1)))
    return _rows(g, states)


@operator
def lstm(g, gx, w_hh, h0, c0, *, sizes):
    h, c = [h0], [c0]
    for given in _steps(g, gx, sizes):
        i, f, z, o = g("Split", g("Gemm", h[-1], w_hh, given, transB=1), outputs=4, axis=1, num_outputs=4)
        kept = g("Mul", g("Sigmoid", f), c[-1])
        c.append(g("Add", kept, g("Mul", g("Sigmoid", i), g("Tanh", z))))
        h.append(g("Mul", g("Sigmoid", o), g("Tanh", c[-1])))
    return _rows(g, h), _rows(g, c)


@operator
def gru(g, gx, w_hh, h0, b_hh, *, sizes):
    h = [h0]
    for given in _steps(g, gx, sizes):
        product = g("Gemm", h[-1], w_hh, *([] if b_hh is None else [b_hh]), transB=1)
        x_r, x_z, x_n = g("Split", given, outputs=3, axis=1, num_outputs=3)
        r, z, q = g("Split", product, outputs=3, axis=1, num_outputs=3)
        r, z = (g("Sigmoid", g("Add", *pair)) for pair in ((x_r, r), (x_z, z)))
        n = g("Tanh", g("Add", x_n, g("Mul", r, q)))
        h.append(g("Add", g("Mul", g("Sub", h[-1], n), z), n))
    return _rows(g, h)


@operator
def reverse_rows(g, x, *, sizes):
    if len(set(sizes)) > 1:
        raise NotImplementedError("onnx.export: packed sequences of unequal lengths")
    stacked = g("Reshape", x, g.integers(len(sizes), sizes[0], g.shape()[1]))
    return g("Reshape", sliced(g, stacked, [(0, -1, -(2**62), -1)]), g.integers(*g.shape()))
