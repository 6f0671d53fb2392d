"""Activation functions and softmax under PyTorch's names. Shapes are kept, unless a docstring says otherwise.

With `inplace=True`, or a name that ends in `_`, the result is written into the input's memory.
"""

import warnings

from chainrule.autograd import inplace as _inplace
from chainrule.autograd import late, ops
from chainrule.autograd.functions.common import tensor_of, wrap_dim
from chainrule.autograd.functions.draws import rand
from chainrule.autograd.ops import activation
from chainrule.autograd.ops import softmax as _softmax
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes, placement


def _apply(operation, input, inplace, name, **static):
    x = tensor_of(input, name)
    return _inplace.apply(operation, x, name=name, **static) if inplace else operation(x, **static)


def relu(input, inplace=False):
    """max(x, 0); the derivative at 0 is 0."""
    return _apply(activation.relu, input, inplace, "relu")


def relu6(input, inplace=False):
    """min(max(x, 0), 6)."""
    return _clamped(input, inplace, "relu6", 0, 6)


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where positive, else negative_slope * x."""
    return _apply(activation.leaky_relu, input, inplace, "leaky_relu", slope=negative_slope)


@precision("lower")
def prelu(input, weight):
    """x where positive, else weight * x; `weight` has one element, or one for each channel (dimension 1)."""
    x, w = tensor_of(input, "prelu"), tensor_of(weight, "prelu")
    if w.ndim > 1:
        raise RuntimeError(f"prelu: weight must have at most 1 dimension, got shape {tuple(w.shape)}")
    if w.ndim and w.shape[0] == 1:
        w = ops.reshape(w, ())
    elif w.ndim:
        channels = x.shape[1] if x.ndim > 1 else 1
        if w.shape[0] != channels:
            raise RuntimeError(
                f"prelu: weight of {w.shape[0]} elements for an input of shape {tuple(x.shape)}, which has {channels} "
                f"channel(s); give 1 element or one for each channel"
            )
        w = ops.reshape(w, (-1,) + (1,) * (x.ndim - 2))
    return activation.prelu(x, w)


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """Leaky ReLU whose slope is drawn from [lower, upper) for each element in training, else their mean. Xu et al. 2015."""
    x = tensor_of(input, "rrelu")
    if lower > upper:
        raise RuntimeError(f"rrelu: lower bound {lower} must not be larger than upper bound {upper}")
    if not training:
        return _apply(activation.leaky_relu, x, inplace, "rrelu", slope=(lower + upper) / 2)
    slope = rand(x.shape, dtype=x.dtype, device=x.device) * (upper - lower) + lower
    return _inplace.apply(activation.prelu, x, slope, name="rrelu") if inplace else activation.prelu(x, slope)


def elu(input, alpha=1.0, inplace=False):
    """x where positive, else alpha * (exp(x) - 1)."""
    return _apply(activation.elu, input, inplace, "elu", alpha=alpha)


def celu(input, alpha=1.0, inplace=False):
    """x where positive, else alpha * (exp(x / alpha) - 1)."""
    if alpha == 0:
        raise RuntimeError("celu: alpha must not be 0: x is divided by it")
    return _apply(activation.elu, input, inplace, "celu", alpha=alpha, input_scale=1.0 / alpha)


# The fixed point of mean 0 and variance 1: Klambauer et al. 2017, "Self-normalizing neural networks", equation 14.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def selu(input, inplace=False):
    """scale * (x where positive, else alpha * (exp(x) - 1)), with the constants that keep mean 0 and variance 1."""
    return _apply(activation.elu, input, inplace, "selu", alpha=SELU_ALPHA, scale=SELU_SCALE)


def gelu(input, *, approximate="none"):
    """x * P(Z <= x) for a standard normal Z; approximate="tanh" takes the older formula with tanh."""
    x = tensor_of(input, "gelu")
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f'gelu: approximate must be "none" or "tanh", got {approximate!r}')
    return activation.gelu(x) if approximate == "none" else activation.gelu_tanh(x)


def sigmoid(input):
    """1 / (1 + exp(-x))."""
    return activation.sigmoid(tensor_of(input, "sigmoid"))


def tanh(input):
    """Hyperbolic tangent."""
    return ops.tanh(tensor_of(input, "tanh"))


def logsigmoid(input):
    """log(sigmoid(x)), without overflow."""
    return activation.logsigmoid(tensor_of(input, "logsigmoid"))


@precision(accelerator="float32")
def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold."""
    return activation.softplus(tensor_of(input, "softplus"), beta=beta, threshold=threshold)


def silu(input, inplace=False):
    """x * sigmoid(x)."""
    return _apply(activation.silu, input, inplace, "silu")


def mish(input, inplace=False):
    """x * tanh(softplus(x))."""
    return _apply(activation.mish, input, inplace, "mish")


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """x kept within [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be larger than max_val {max_val}")
    return _clamped(input, inplace, "hardtanh", min_val, max_val)


def _clamped(input, inplace, name, low, high):
    """x within bounds, which for integers are integers too."""
    if tensor_of(input, name)._array.dtype.kind in "iu":
        return _apply(ops.clip, input, inplace, name, low=int(low), high=int(high))
    return _apply(activation.hardtanh, input, inplace, name, low=low, high=high)


def hardsigmoid(input, inplace=False):
    """x / 6 + 1 / 2 kept within [0, 1]."""
    return _apply(activation.hardsigmoid, input, inplace, "hardsigmoid")


def hardswish(input, inplace=False):
    """x * hardsigmoid(x)."""
    return _apply(activation.hardswish, input, inplace, "hardswish")


def softsign(input):
    """x / (1 + |x|)."""
    x = tensor_of(input, "softsign")
    # The derivative of |x| for complex x is no number: that of the absolute value knows how to handle it.
    return x / (1 + ops.abs(x)) if x.dtype.is_complex else activation.softsign(x)


def tanhshrink(input):
    """x - tanh(x)."""
    return activation.tanhshrink(tensor_of(input, "tanhshrink"))


def softshrink(input, lambd=0.5):
    """x moved towards 0 by `lambd`, and 0 within [-lambd, lambd]."""
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambd must be at least 0, got {lambd}")
    return activation.softshrink(tensor_of(input, "softshrink"), lambd=lambd)


def hardshrink(input, lambd=0.5):
    """x, and 0 within [-lambd, lambd]."""
    return activation.hardshrink(tensor_of(input, "hardshrink"), lambd=lambd)


def threshold(input, threshold, value, inplace=False):
    """x where it exceeds `threshold`, else `value`."""
    return _apply(activation.threshold, input, inplace, "threshold", threshold=threshold, value=value)


def glu(input, dim=-1):
    """The first half along `dim` times the sigmoid of the second. (*, 2 n, *) -> (*, n, *)"""
    x = tensor_of(input, "glu")
    if not x.ndim:
        raise RuntimeError("glu: a 0-d tensor cannot be halved; give it a dimension of even length")
    axis = wrap_dim(dim, x.ndim, "glu")
    if x.shape[axis] % 2:
        raise RuntimeError(
            f"glu: the length of dimension {dim} must be even to be halved, got shape {tuple(x.shape)}"
        )
    return activation.glu(x, axis=axis)


def relu_(input):
    """In-place `relu`."""
    return relu(input, inplace=True)


def leaky_relu_(input, negative_slope=0.01):
    """In-place `leaky_relu`."""
    return leaky_relu(input, negative_slope, inplace=True)


def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """In-place `rrelu`."""
    return rrelu(input, lower, upper, training, inplace=True)


def elu_(input, alpha=1.0):
    """In-place `elu`."""
    return elu(input, alpha, inplace=True)


def celu_(input, alpha=1.0):
    """In-place `celu`."""
    return celu(input, alpha, inplace=True)


def selu_(input):
    """In-place `selu`."""
    return selu(input, inplace=True)


def hardtanh_(input, min_val=-1.0, max_val=1.0):
    """In-place `hardtanh`."""
    return hardtanh(input, min_val, max_val, inplace=True)


def threshold_(input, threshold_value, value):
    """In-place `threshold`."""
    return threshold(input, threshold_value, value, inplace=True)


# Softmax


def _along(operation, input, dim, dtype, name):
    """A softmax along one dimension; a 0-d tensor counts as one of length 1."""
    x = tensor_of(input, name)
    if dtype is not None:
        x = x.to(dtype)
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1
        warnings.warn(
            f"{name}: dim is not given and taken to be {dim} here; say which one is meant, {name}(x, dim=...)",
            stacklevel=4,  # past the declaration of precision
        )
    axis = wrap_dim(dim, x.ndim, name)
    return operation(x, axis=axis) if x.ndim else ops.reshape(operation(ops.reshape(x, (1,)), axis=0), ())


@precision(accelerator="float32")
def softmax(input, dim=None, dtype=None):
    """exp(x) / sum(exp(x)) along `dim`, without overflow. `dtype`: what the input is converted to first."""
    return _along(_softmax.softmax, input, dim, dtype, "softmax")


@precision(accelerator="float32")
def softmin(input, dim=None, dtype=None):
    """softmax(-x)."""
    return _along(_softmax.softmax, -tensor_of(input, "softmin"), dim, dtype, "softmin")


@precision(accelerator="float32")
def log_softmax(input, dim=None, dtype=None):
    """log(softmax(x)), without overflow."""
    return _along(_softmax.log_softmax, input, dim, dtype, "log_softmax")


@placement.on_their_card
def gumbel_softmax(logits, tau=1.0, hard=False, eps=1e-10, dim=-1):
    """A sample of the Gumbel-softmax distribution of temperature `tau` along `dim`: softmax((logits + noise) / tau).

    hard: the sample is one-hot, and has the gradient of the soft one. `eps` is not used any more, as in PyTorch.
    Jang et al. 2017; Maddison et al. 2017.
    """
    x = tensor_of(logits, "gumbel_softmax")
    if tau <= 0:
        raise ValueError(f"gumbel_softmax: tau must be positive, got {tau}")
    wide = x.dtype if x.dtype is dtypes.float64 else dtypes.float32
    # -log(-log u) for u strictly between 0 and 1.
    uniform = ops.clip(rand(x.shape, dtype=wide, device=x.device), low=2.0**-25, high=1 - 2.0**-24)
    noise = -ops.log(-ops.log(uniform))
    soft = softmax((x + noise.to(x.dtype)) / tau, dim)
    if not hard:
        return soft
    axis = wrap_dim(dim, x.ndim, "gumbel_softmax")
    best = ops.argmax(soft, axis=axis, keepdims=True)
    places = late.tensor_namespace(soft).arange(soft.shape[axis])
    one_hot = (best == ops.reshape(places, (-1,) + (1,) * (soft.ndim - axis - 1))).to(soft.dtype)
    return one_hot - soft.detach() + soft
