"""How parameters start: PyTorch's `nn.init`. Every function fills its tensor in place, unrecorded, and returns it; the last
three, which PyTorch lacks, do so with the parameters of a module.

The laws of Glorot and He keep the variance of signals (fan_in) or of gradients (fan_out) the same from layer to layer: a unit
that sums n terms needs weights of variance gain^2 / n. Random numbers come from chainrule's generator.
"""

import contextlib
import contextvars
import math

import numpy

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.modes import no_grad
from chainrule.backends import random


def calculate_gain(nonlinearity, param=None):
    """The factor by which weights before this activation are scaled to make up for what it does to the variance.

    linear, conv*, sigmoid: 1; tanh: 5/3; relu: sqrt 2; leaky_relu of slope `param` (0.01): sqrt(2 / (1 + slope^2)); selu: 3/4.
    """
    if nonlinearity in _UNIT_GAIN:
        return 1
    if nonlinearity == "leaky_relu":
        if param is not None and (isinstance(param, bool) or not isinstance(param, (int, float))):
            raise ValueError(
                f"calculate_gain: the negative slope of leaky_relu must be a number, got {param!r}"
            )
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        known = ", ".join([*_UNIT_GAIN, *gains, "leaky_relu"])
        raise ValueError(
            f"calculate_gain: unsupported nonlinearity {nonlinearity!r}; expected one of {known}"
        )
    return gains[nonlinearity]


_UNIT_GAIN = (
    "linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "sigmoid",
)  # fmt: skip


def _calculate_fan_in_and_fan_out(tensor):
    """How many inputs a unit has and how many units an input reaches, for a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(
            f"fan in and fan out are defined for weights of 2 dimensions or more (out, in, *kernel), got shape {tuple(tensor.shape)}"
        )
    out, into, *kernel = tensor.shape
    field = math.prod(kernel)
    return into * field, out * field


_skipping = contextvars.ContextVar("no initial values", default=False)


@contextlib.contextmanager
def skipped():
    """Inside, the functions of this file leave tensors as they are; see `nn.utils.skip_init`."""
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def _assigned(tensor, name, values):
    """Write a host array over `tensor`."""
    if _skipping.get():
        return tensor
    with no_grad():
        return tensor_of(tensor, name).copy_(values)


def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Uniform on [a, b)."""
    if _skipping.get():
        return tensor
    with no_grad():
        return tensor_of(tensor, "uniform_").uniform_(a, b, generator=generator)


def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Normal with this mean and standard deviation."""
    if _skipping.get():
        return tensor
    with no_grad():
        return tensor_of(tensor, "normal_").normal_(mean, std, generator=generator)


def constant_(tensor, val):
    """`val` everywhere."""
    if _skipping.get():
        return tensor
    with no_grad():
        return tensor_of(tensor, "constant_").fill_(val)


def ones_(tensor):
    """1 everywhere."""
    return constant_(tensor, 1.0)


def zeros_(tensor):
    """0 everywhere."""
    return constant_(tensor, 0.0)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Normal, restricted to [a, b]: what falls outside is drawn again."""
    if not a < b:
        raise ValueError(f"trunc_normal_: expected a < b, got a={a}, b={b}")
    if std <= 0:
        raise ValueError(f"trunc_normal_: std must be positive, got {std}")
    count = tensor_of(tensor, "trunc_normal_").numel()
    low, high = (a - mean) / std, (b - mean) / std
    numbers = _between(low, high, count, generator or random.default_generator)
    return _assigned(tensor, "trunc_normal_", (numbers * std + mean).clip(a, b).reshape(tensor.shape))


def _between(low, high, count, generator):
    """`count` standard normal numbers in [low, high], by rejection.

    Proposals are normal numbers or, where few of these would be in the interval, uniform ones. The latter are kept with
    their density relative to the greatest in the interval, at `top`, and cut off where that is below e^-42.
    """
    inside = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    top = min(max(low, 0.0), high)
    reach = math.sqrt(top * top + 84)
    left, right = max(low, -reach), min(high, reach)
    kept, missing = [], count
    while missing:
        size = (missing + missing // 4 + 16,)
        if inside > 0.25:
            x = generator.normal(size, "float64", numpy)
            x = x[(x >= low) & (x <= high)]
        else:
            x = left + (right - left) * generator.uniform(size, "float64", numpy)
            x = x[generator.uniform(size, "float64", numpy) < numpy.exp((top * top - x * x) / 2)]
        kept.append(x[:missing])
        missing -= len(kept[-1])
    return numpy.concatenate(kept) if kept else numpy.zeros(0)


def eye_(tensor):
    """The identity matrix, for a weight of 2 dimensions."""
    if tensor_of(tensor, "eye_").ndim != 2:
        raise ValueError(f"eye_: only tensors of 2 dimensions, got shape {tuple(tensor.shape)}")
    return _assigned(tensor, "eye_", numpy.eye(*tensor.shape))


def dirac_(tensor, groups=1):
    """The convolution that hands as many channels through unchanged as it can, in each of `groups`."""
    if tensor_of(tensor, "dirac_").ndim not in (3, 4, 5):
        raise ValueError(f"dirac_: only tensors of 3, 4 or 5 dimensions, got shape {tuple(tensor.shape)}")
    out, into, *kernel = tensor.shape
    if out % groups:
        raise ValueError(f"dirac_: the first dimension, {out}, must be divisible by groups={groups}")
    values = numpy.zeros(tensor.shape)
    centre = tuple(length // 2 for length in kernel)
    for first in range(0, out, out // groups):
        for i in range(min(out // groups, into)):
            values[(first + i, i, *centre)] = 1
    return _assigned(tensor, "dirac_", values)


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """U(-a, a) with a = gain sqrt(6 / (fan_in + fan_out)). Glorot & Bengio (2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    bound = gain * math.sqrt(6 / (fan_in + fan_out))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """N(0, gain^2 2 / (fan_in + fan_out)). Glorot & Bengio (2010)."""
    fan_in, fan_out = _calculate_fan_in_and_fan_out(tensor)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / (fan_in + fan_out)), generator)


def _kaiming_std(tensor, a, mode, nonlinearity):
    mode = str(mode).lower()
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    if 0 in tensor.shape:
        return 0.0
    fan = _calculate_fan_in_and_fan_out(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """U(-b, b) of standard deviation gain / sqrt(fan); `a` is the slope of leaky_relu. He et al. (2015)."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """N(0, gain^2 / fan); `a` is the slope of leaky_relu. He et al. (2015)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor, gain=1, generator=None):
    """A random (semi-)orthogonal matrix times `gain`, the tensor read as (first dimension, the rest). Saxe et al. (2013).

    Q of a Gaussian matrix with the signs of R's diagonal, so that every orthogonal matrix is equally likely.
    """
    if tensor_of(tensor, "orthogonal_").ndim < 2:
        raise ValueError(
            f"orthogonal_: only tensors of 2 or more dimensions, got shape {tuple(tensor.shape)}"
        )
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if not rows * columns:
        return tensor
    shape = (max(rows, columns), min(rows, columns))
    q, r = numpy.linalg.qr((generator or random.default_generator).normal(shape, "float64", numpy))
    q = q * numpy.sign(numpy.diagonal(r))
    return _assigned(tensor, "orthogonal_", gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor, sparsity, std=0.01, generator=None):
    """N(0, std^2) with the fraction `sparsity` of each column, rounded up, set to 0. Martens (2010)."""
    if tensor_of(tensor, "sparse_").ndim != 2:
        raise ValueError(f"sparse_: only tensors of 2 dimensions, got shape {tuple(tensor.shape)}")
    generator = generator or random.default_generator
    rows, columns = tensor.shape
    values = generator.normal((rows, columns), "float64", numpy) * std
    for column in range(columns):
        values[generator.permutation(rows, numpy)[: math.ceil(sparsity * rows)], column] = 0
    return _assigned(tensor, "sparse_", values)


# Their older names.
uniform, normal, constant, eye, dirac, sparse, orthogonal = (
    uniform_,
    normal_,
    constant_,
    eye_,
    dirac_,
    sparse_,
    orthogonal_,
)
xavier_uniform, xavier_normal = xavier_uniform_, xavier_normal_
kaiming_uniform, kaiming_normal = kaiming_uniform_, kaiming_normal_


def identity_rnn_(rnn, scale=1.0, std=0.001):
    """Start a recurrent layer at h' = h + x: W_hh = scale 1, W_ih normal of deviation `std`, biases 0. Le et al. (2015), for ReLU units.

    rnn: an RNN, an RNNCell or one that names its weights as they do. Returns it.
    """
    for name, one in rnn.named_parameters():
        if name.startswith("weight_hh"):
            with no_grad():
                eye_(one).mul_(scale)
        elif name.startswith("weight_ih"):
            normal_(one, 0.0, std)
        elif name.startswith("bias"):
            zeros_(one)
    return rnn


def forget_bias_(lstm, value=1.0):
    """Start the biases of an LSTM's forget gates at `value`, in sum, so that the memory is kept at first. Returns the layer.

    Gers et al. (2000), Jozefowicz et al. (2015). lstm: an LSTM or an LSTMCell.
    """
    found = [(name, one) for name, one in lstm.named_parameters() if name.startswith("bias_")]
    if not found or any(one.numel() % 4 for _, one in found):
        raise ValueError(f"forget_bias_: expected an LSTM with biases, got {lstm}")
    for name, one in found:
        hidden = one.numel() // 4
        constant_(one.detach()[hidden : 2 * hidden], value if name.startswith("bias_ih") else 0.0)
    return lstm


def lsuv_(module, *inputs, tolerance=0.1, max_iterations=10):
    """Layer by layer, orthogonal weights scaled so that the layer's output has variance 1 on `inputs`. Mishkin & Matas (2016).

    A layer is a module with a `weight` of two dimensions or more, in the order of their calls. Running statistics and random numbers
    are used up as by any forward pass. Returns the module.
    """
    done = set()

    def rescale(layer, args, kwargs, output):
        if layer in done:
            return None
        done.add(layer)
        for _ in range(max_iterations):
            variance = float(output.detach().var())
            if abs(variance - 1) < tolerance or not 0 < variance < math.inf:
                break
            with no_grad():
                layer.weight.div_(math.sqrt(variance))
            output = layer.forward(*args, **kwargs)
        return output

    layers = [one for one in module.modules() if getattr(getattr(one, "weight", None), "ndim", 0) > 1]
    for one in layers:
        orthogonal_(one.weight)
    handles = [one.register_forward_hook(rescale, with_kwargs=True) for one in layers]
    try:
        with no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return module
