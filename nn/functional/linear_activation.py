"""A linear map with an activation after it. Not among PyTorch's public names: its kin there is `torch._addmm_activation`."""

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops import linear_activation as fused
from chainrule.autograd.precision import precision

from .linear import check_linear


@precision("lower")
def linear_activation(input, weight, bias=None, kind="relu"):
    """relu(x W^T + b), or with kind="gelu" GELU's tanh form of it. (*, in), (out, in), (out) -> (*, out).

    On CUDA one pass where cuBLASLt has an algorithm for it.
    """
    if kind not in ("relu", "gelu"):
        raise ValueError(f'linear_activation: kind must be "relu" or "gelu", got {kind!r}')
    x, w = tensor_of(input, "linear_activation"), tensor_of(weight, "linear_activation")
    check_linear(x, w, bias, "linear_activation")
    return fused.linear_relu(x, w, bias) if kind == "relu" else fused.linear_gelu_tanh(x, w, bias)[0]
