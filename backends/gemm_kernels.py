"""The operations that a CUDA backend computes by `Gemm` itself, past the array code: 16-bit products, and linear layers.

The array code of `matmul` and `einsum` takes 16-bit floats to float32 first, which cuBLASLt does inside. `linear` gets its bias in the
same pass as the product, and in the gradient the bias's share in the same pass as the weight's, where the library has an algorithm for it.
"""

import math

from . import gemm_layout
from .cublaslt import NotSupported
from .cuda_kernels import columns, registry


def install(backend, gemm, launch):
    """Register the kernels with `backend`; `launch` runs the kernel for sums down columns (None: array code does)."""

    def taken(*arrays):
        """Whether these (None is passed over, but for the first) are arrays of the backend of one dtype that can be multiplied."""
        kind, dtype = backend.array_type, arrays[0].dtype
        for one in arrays:
            if one is not None and (one.__class__ is not kind or one.dtype != dtype):
                return False
        return gemm.takes(dtype)

    def half(*xs, **static):
        return len(xs) > 1 and xs[0].dtype.itemsize == 2 and taken(*xs)

    @backend.register_kernel("matmul", half)
    def matmul(xp, a, b):
        return xp.matmul(a, b)

    @backend.register_kernel("einsum", half)
    def einsum(xp, *xs, equation):
        return xp.einsum(equation, *xs)

    def linear_guard(x, weight, bias=None):
        fits = bias is None or (bias.__class__ is x.__class__ and bias.shape == weight.shape[:1])
        return (
            x.ndim > 1 and weight.ndim == 2 and x.shape[-1] == weight.shape[1] and fits and taken(x, weight)
        )

    @backend.register_kernel("linear", linear_guard)
    def linear(xp, x, weight, bias=None):
        bias = _of_dtype(bias, x.dtype)
        try:
            return gemm(x, weight.T, bias=bias)
        except NotSupported:
            y = xp.matmul(x, weight.T)
            return y if bias is None else xp.add(y, bias, out=y)

    def gradient_guard(g, weight, x_shape, x, bias_shape):
        return len(x_shape) > 1 and bias_shape in (None, g.shape[-1:]) and taken(g, weight, x)

    @backend.register_kernel("linear.gradient", gradient_guard)
    def linear_gradient(xp, g, needs, weight, x_shape, x, bias_shape):
        rows = _matrix(xp, g)
        # Of all axes, so that the gradient owns its memory: one that is a view would be copied.
        g_x = xp.matmul(rows.reshape(g.shape), weight) if needs[0] else None
        g_weight = g_bias = None
        if needs[1]:
            g_weight, g_bias = _weight_and_bias(xp, gemm, rows, _matrix(xp, x), needs[2])
        if needs[2] and g_bias is None:
            fast = launch is not None and registry.plain(rows)
            g_bias = columns.column_sums(launch, xp, rows) if fast else xp.sum(rows, axis=0)
        return g_x, g_weight, g_bias

    # A linear map and an activation: in one pass, or in two where the library has no algorithm for it.

    @backend.register_kernel("linear_relu", linear_guard)
    def linear_relu(xp, x, weight, bias=None):
        try:
            return gemm(x, weight.T, bias=_of_dtype(bias, x.dtype), activation="relu")
        except NotSupported:
            y = linear(xp, x, weight, bias)
            return xp.maximum(y, 0, out=y)

    def relu_guard(g, x, weight, y, x_shape, bias_shape):
        slope = backend.kernel("relu.gradient", g, y)
        return slope is not None and gradient_guard(g, weight, x_shape, x, bias_shape)

    @backend.register_kernel("linear_relu.gradient", relu_guard)
    def linear_relu_gradient(xp, g, needs, x, weight, y, x_shape, bias_shape):
        (through,) = backend.kernel("relu.gradient", g, y)(xp, g, (True,), y)
        return linear_gradient(xp, through, needs, weight, x_shape, x, bias_shape)

    def gelu_guard(x, weight, bias=None):
        return (
            x.size > 0
            and weight.size > 0
            and "gelu_tanh" in backend.kernels
            and linear_guard(x, weight, bias)
        )

    @backend.register_kernel("linear_gelu_tanh", gelu_guard)
    def linear_gelu_tanh(xp, x, weight, bias=None):
        rows = _matrix(xp, x)
        z = gemm.auxiliary("gelu", len(rows), len(weight), x.dtype)
        shape = (*x.shape[:-1], len(weight))
        try:
            y = gemm(rows, weight.T, bias=_of_dtype(bias, x.dtype), activation="gelu", aux=z)
            return y.reshape(shape), z.reshape(shape)
        except NotSupported:
            z = linear(xp, x, weight, bias)
            return backend.kernel("gelu_tanh", z)(xp, z), z

    def gelu_gradient_guard(g, x, weight, z, x_shape, bias_shape):
        y, other = g
        alone = y is not None and other is None and backend.kernel("gelu_tanh.gradient", y, z) is not None
        return alone and gradient_guard(y, weight, x_shape, x, bias_shape)

    @backend.register_kernel("linear_gelu_tanh.gradient", gelu_gradient_guard)
    def linear_gelu_tanh_gradient(xp, g, needs, x, weight, z, x_shape, bias_shape):
        (through,) = backend.kernel("gelu_tanh.gradient", g[0], z)(xp, g[0], (True,), z)
        return linear_gradient(xp, through, needs, weight, x_shape, x, bias_shape)


def _of_dtype(x, dtype):
    return x if x is None or x.dtype == dtype else x.astype(dtype)


def _weight_and_bias(xp, gemm, g, x, with_bias):
    """(g^T x, the sums of g over its rows), the second None where it could not be had in the same pass, or was not asked for."""
    # A product without elements is not computed, and neither are its sums.
    if with_bias and x.size and g.dtype.kind != "c":
        try:
            return gemm(g.T, x, bias_gradient="a")
        except NotSupported:
            pass
    return xp.matmul(g.T, x), None


def _matrix(xp, x):
    """x as a matrix, all but the last dimension in one, and lying so that the library can read it."""
    if x.flags.c_contiguous and x.size:
        return x if x.ndim == 2 else x.reshape((-1, x.shape[-1]))
    rows = x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))
    steps = gemm_layout.elements(rows)
    return rows if steps and gemm_layout.matrix(*rows.shape, *steps) else xp.ascontiguousarray(rows)
