"""What cuBLASLt does with a product before it stores it: bias, activation, the slope of one, sums for a bias's gradient."""

import math
from typing import Any, NamedTuple

from .cublaslt import Epilogue

ACTIVATIONS = {
    None: Epilogue.DEFAULT,
    "relu": Epilogue.RELU,
    "gelu": Epilogue.GELU,
    "relu_gradient": Epilogue.DRELU,
    "gelu_gradient": Epilogue.DGELU,
}
SUMS = {None: 0, "a": Epilogue.BGRADB, "b": Epilogue.BGRADA, "out": Epilogue.BGRAD}


class Extra(NamedTuple):
    """What is computed beside the product: the keywords of `Gemm`."""

    bias: Any
    activation: str | None
    aux: Any
    bias_gradient: str | None
    beta: float
    tf32: bool


def epilogue(extra):
    """The library's name for it."""
    found = ACTIVATIONS[extra.activation] | SUMS[extra.bias_gradient]
    if extra.bias is not None:
        found |= Epilogue.BIAS
    if extra.aux is not None:
        found |= Epilogue.AUX
    return Epilogue(found) if found == Epilogue.DEFAULT else Epilogue(found & ~Epilogue.DEFAULT)


def check(shape, dtype, extra):
    """ValueError unless the keywords go together, and with a product of this shape and dtype."""
    if extra.bias is not None and extra.bias_gradient is not None:
        raise ValueError("gemm: bias and bias_gradient exclude each other")
    activation, aux = extra.activation, extra.aux
    if activation not in ACTIVATIONS or extra.bias_gradient not in SUMS:
        raise ValueError(f"gemm: no activation {activation!r} with bias_gradient {extra.bias_gradient!r}")
    slope = activation is not None and activation.endswith("_gradient")
    if (slope and aux is None) or (aux is not None and activation is None):
        raise ValueError(f"gemm: activation {activation!r} {'needs' if slope else 'takes no'} aux")
    if extra.bias_gradient == "out" and not slope:
        raise ValueError('gemm: bias_gradient="out" goes with the gradient of an activation')
    if aux is None:
        return
    bits = activation.startswith("relu")
    width = columns_kept(activation, shape[-1])
    right = (math.prod(shape[:-1]), width // 8 if bits else shape[-1])
    step = width // 8 if bits else width * aux.itemsize
    if aux.shape != right or aux.dtype != ("uint8" if bits else dtype) or aux.strides != (step, aux.itemsize):
        raise ValueError(
            f"gemm: aux must be what `auxiliary` makes for {right[0]} rows and {shape[-1]} columns of {dtype}, got {aux.shape} {aux.dtype}"
        )


def columns_kept(activation, columns):
    """The leading dimension of what an activation keeps for its gradient: bits for "relu", elements for "gelu"."""
    multiple = 128 if activation.startswith("relu") else 8
    return math.ceil(columns / multiple) * multiple
