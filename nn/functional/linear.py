"""Linear and bilinear maps."""

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.ops import linear as _linear
from chainrule.autograd.precision import precision


@precision("lower")
def linear(input, weight, bias=None):
    """x W^T + b. (*, in), (out, in), (out) -> (*, out); a weight of shape (in) gives (*)."""
    x, w = tensor_of(input, "linear"), tensor_of(weight, "linear")
    if w.ndim == 1:
        y = linear(x, ops.reshape(w, (1, -1)))[..., 0]
        return y if bias is None else y + bias
    check_linear(x, w, bias, "linear")
    return _linear.linear(x, w, bias)


def check_linear(x, w, bias, name):
    """RuntimeError unless input, weight and bias (or None) fit."""
    # The shapes of the arrays: those of Tensors are made anew each time.
    if w.ndim != 2 or not x.ndim or x._array.shape[-1] != w._array.shape[1]:
        raise RuntimeError(
            f"{name}: an input of shape {tuple(x.shape)} cannot be multiplied with a weight of shape {tuple(w.shape)}: the input's "
            f"last dimension must be the weight's second, in_features"
        )
    if bias is not None:
        _check_bias(x, w, tensor_of(bias, name))


def _check_bias(x, w, bias):
    if tuple(bias._array.shape) not in ((w._array.shape[0],), (1,), ()):
        raise RuntimeError(
            f"linear: bias of shape {tuple(bias.shape)} does not fit {w.shape[0]} output features"
        )
    if bias._array.dtype != x._array.dtype:
        raise RuntimeError(
            f"linear: expected inputs of one dtype, got {x.dtype} and a bias of {bias.dtype}; convert with .to(dtype)"
        )


@precision(accelerator="widest")
def bilinear(input1, input2, weight, bias=None):
    """x1^T W[o] x2 + b[o]. (*, in1), (*, in2), (out, in1, in2), (out) -> (*, out)"""
    x1, x2, w = (tensor_of(one, "bilinear") for one in (input1, input2, weight))
    fits = (
        w.ndim == 3
        and x1.ndim
        and x1.shape[:-1] == x2.shape[:-1]
        and (x1.shape[-1], x2.shape[-1]) == tuple(w.shape[1:])
    )
    if not fits:
        raise RuntimeError(
            f"bilinear: inputs of shapes {tuple(x1.shape)} and {tuple(x2.shape)} do not fit a weight of shape {tuple(w.shape)}; "
            f"expected (*, in1), (*, in2) and (out, in1, in2)"
        )
    out, in1, in2 = w.shape
    lead = tuple(x1.shape[:-1])
    rows = 1
    for length in lead:
        rows *= length
    # x1 meets all of W in one matrix product; what is left is a product with x2 for each sample.
    flat = ops.matmul(
        ops.reshape(x1, (rows, in1)), ops.reshape(ops.transpose(w, (1, 0, 2)), (in1, out * in2))
    )
    y = ops.matmul(ops.reshape(flat, (rows, out, in2)), ops.reshape(x2, (rows, in2, 1)))
    y = ops.reshape(y, (*lead, out))
    return y if bias is None else y + bias
