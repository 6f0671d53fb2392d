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
    one = _Products(backend, gemm, launch)
    for name, guard, function in (
        ("matmul", one.half, one.matmul),
        ("einsum", one.half, one.einsum),
        ("linear", one.linear_guard, one.linear),
        ("linear.gradient", one.gradient_guard, one.linear_gradient),
        ("linear_relu", one.linear_guard, one.linear_relu),
        ("linear_relu.gradient", one.relu_guard, one.linear_relu_gradient),
        ("linear_gelu_tanh", one.gelu_guard, one.linear_gelu_tanh),
        ("linear_gelu_tanh.gradient", one.gelu_gradient_guard, one.linear_gelu_tanh_gradient),
    ):
        backend.register_kernel(name, guard)(function)


class _Products:
    """The kernels of one backend and its `Gemm`, and their guards."""

    def __init__(self, backend, gemm, launch):
        self.backend, self.gemm, self.launch = backend, gemm, launch

    def taken(self, *arrays):
        """Whether these (None is passed over, but for the first) are arrays of the backend of one dtype that can be multiplied."""
        kind, dtype = self.backend.array_type, arrays[0].dtype
        for one in arrays:
            if one is not None and (one.__class__ is not kind or one.dtype != dtype):
                return False
        return self.gemm.takes(dtype)

    # Products of 16-bit floats

    def half(self, *xs, **static):
        return len(xs) > 1 and xs[0].dtype.itemsize == 2 and self.taken(*xs)

    def matmul(self, xp, a, b):
        return xp.matmul(a, b)

    def einsum(self, xp, *xs, equation):
        return xp.einsum(equation, *xs)

    # A linear map

    def linear_guard(self, x, weight, bias=None):
        fits = bias is None or (bias.__class__ is x.__class__ and bias.shape == weight.shape[:1])
        known = x.ndim > 1 and weight.ndim == 2 and x.shape[-1] == weight.shape[1] and fits
        return known and self.taken(x, weight)

    def linear(self, xp, x, weight, bias=None):
        bias = _of_dtype(bias, x.dtype)
        try:
            return self.gemm(x, weight.T, bias=bias)
        except NotSupported:
            y = xp.matmul(x, weight.T)
            return y if bias is None else xp.add(y, bias, out=y)

    def gradient_guard(self, g, weight, x_shape, x, bias_shape):
        return len(x_shape) > 1 and bias_shape in (None, g.shape[-1:]) and self.taken(g, weight, x)

    def linear_gradient(self, xp, g, needs, weight, x_shape, x, bias_shape):
        rows = _matrix(xp, g)
        # Of all axes, so that the gradient owns its memory: one that is a view would be copied.
        g_x = xp.matmul(rows.reshape(g.shape), weight) if needs[0] else None
        g_weight = g_bias = None
        if needs[1]:
            g_weight, g_bias = _weight_and_bias(xp, self.gemm, rows, _matrix(xp, x), needs[2])
        if needs[2] and g_bias is None:
            fast = self.launch is not None and registry.plain(rows)
            g_bias = columns.column_sums(self.launch, xp, rows) if fast else xp.sum(rows, axis=0)
        return g_x, g_weight, g_bias

    # A linear map and an activation: in one pass, or in two where the library has no algorithm for it

    def linear_relu(self, xp, x, weight, bias=None):
        try:
            return self.gemm(x, weight.T, bias=_of_dtype(bias, x.dtype), activation="relu")
        except NotSupported:
            y = self.linear(xp, x, weight, bias)
            return xp.maximum(y, 0, out=y)

    def relu_guard(self, g, x, weight, y, x_shape, bias_shape):
        slope = self.backend.kernel("relu.gradient", g, y)
        return slope is not None and self.gradient_guard(g, weight, x_shape, x, bias_shape)

    def linear_relu_gradient(self, xp, g, needs, x, weight, y, x_shape, bias_shape):
        (through,) = self.backend.kernel("relu.gradient", g, y)(xp, g, (True,), y)
        return self.linear_gradient(xp, through, needs, weight, x_shape, x, bias_shape)

    def gelu_guard(self, x, weight, bias=None):
        some = x.size > 0 and weight.size > 0 and "gelu_tanh" in self.backend.kernels
        return some and self.linear_guard(x, weight, bias)

    def linear_gelu_tanh(self, xp, x, weight, bias=None):
        rows = _matrix(xp, x)
        z = self.gemm.auxiliary("gelu", len(rows), len(weight), x.dtype)
        shape = (*x.shape[:-1], len(weight))
        try:
            y = self.gemm(rows, weight.T, bias=_of_dtype(bias, x.dtype), activation="gelu", aux=z)
            return y.reshape(shape), z.reshape(shape)
        except NotSupported:
            z = self.linear(xp, x, weight, bias)
            return self.backend.kernel("gelu_tanh", z)(xp, z), z

    def gelu_gradient_guard(self, g, x, weight, z, x_shape, bias_shape):
        y, other = g
        alone = y is not None and other is None
        known = alone and self.backend.kernel("gelu_tanh.gradient", y, z) is not None
        return known and self.gradient_guard(y, weight, x_shape, x, bias_shape)

    def linear_gelu_tanh_gradient(self, xp, g, needs, x, weight, z, x_shape, bias_shape):
        (through,) = self.backend.kernel("gelu_tanh.gradient", g[0], z)(xp, g[0], (True,), z)
        return self.linear_gradient(xp, through, needs, weight, x_shape, x, bias_shape)


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
