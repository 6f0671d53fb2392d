"""Activations: nonlinear functions of each element. Shape of them all: (*) -> (*).

Slopes at points without a derivative are PyTorch's: that of ReLU at 0 is 0.
"""

from chainrule.autograd.functions.creation import full

from . import functional as F
from . import init as _init
from .module import Module
from .parameter import Parameter


class _InPlace(Module):
    """An activation that can overwrite its input."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def extra_repr(self):
        return "inplace=True" if self.inplace else ""


def _noted(text, inplace):
    return text + (", inplace=True" if inplace else "")


class ReLU(_InPlace):
    """max(0, x). Nair & Hinton (2010).

    >>> nn.ReLU()(cr.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, input):
        return F.relu(input, self.inplace)


class ReLU6(_InPlace):
    """min(max(0, x), 6). Howard et al. (2017).

    >>> nn.ReLU6()(cr.tensor([-1.0, 2.0, 9.0])).tolist()
    [0.0, 2.0, 6.0]
    """

    def forward(self, input):
        return F.relu6(input, self.inplace)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x. Maas et al. (2013).

    >>> nn.LeakyReLU(0.5)(cr.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope=1e-2, inplace=False):
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input):
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self):
        return _noted(f"negative_slope={self.negative_slope}", self.inplace)


class PReLU(Module):
    """x where x > 0, else a x with a learned slope a, one for all or one for each channel (dimension 1). He et al. (2015).

    `weight` (num_parameters); initially `init` everywhere.

    >>> nn.PReLU()(cr.tensor([-1.0, 2.0])).tolist()
    [-0.25, 2.0]
    """

    def __init__(self, num_parameters=1, init=0.25, device=None, dtype=None):
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def reset_parameters(self):
        """Set the slopes back."""
        _init.constant_(self.weight, self.init)

    def forward(self, input):
        """(N, C, *) -> (N, C, *)"""
        return F.prelu(input, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x where x > 0, else a x; in training a is uniform on (lower, upper) for each element, else its mean. Xu et al. (2015).

    >>> nn.RReLU(0.25, 0.75).eval()(cr.tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, lower=1 / 8, upper=1 / 3, inplace=False):
        super().__init__()
        self.lower = lower
        self.upper = upper
        self.inplace = inplace

    def forward(self, input):
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self):
        return _noted(f"lower={self.lower}, upper={self.upper}", self.inplace)


class ELU(Module):
    """x where x > 0, else alpha (e^x - 1). Clevert et al. (2016).

    >>> nn.ELU()(cr.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input):
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self):
        return _noted(f"alpha={self.alpha}", self.inplace)


class CELU(Module):
    """max(0, x) + min(0, alpha (e^(x / alpha) - 1)): an ELU smooth for every alpha. Barron (2017).

    >>> nn.CELU()(cr.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input):
        return F.celu(input, self.alpha, self.inplace)

    def extra_repr(self):
        return _noted(f"alpha={self.alpha}", self.inplace)


class SELU(_InPlace):
    """1.0507 times an ELU of alpha 1.6733: keeps mean 0 and variance 1 from layer to layer. Klambauer et al. (2017).

    >>> round(nn.SELU()(cr.tensor(1.0)).item(), 4)
    1.0507
    """

    def forward(self, input):
        return F.selu(input, self.inplace)


class GELU(Module):
    """x Phi(x), Phi the normal distribution function; approximate="tanh" uses a tanh for it. Hendrycks & Gimpel (2016).

    >>> round(nn.GELU()(cr.tensor(1.0)).item(), 4)
    0.8413
    """

    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class SiLU(_InPlace):
    """x sigmoid(x), also called swish. Hendrycks & Gimpel (2016), Ramachandran et al. (2017).

    >>> round(nn.SiLU()(cr.tensor(1.0)).item(), 4)
    0.7311
    """

    def forward(self, input):
        return F.silu(input, self.inplace)


class Mish(_InPlace):
    """x tanh(softplus(x)). Misra (2019).

    >>> round(nn.Mish()(cr.tensor(1.0)).item(), 4)
    0.8651
    """

    def forward(self, input):
        return F.mish(input, self.inplace)


class Hardswish(_InPlace):
    """x relu6(x + 3) / 6: SiLU of straight pieces. Howard et al. (2019).

    >>> nn.Hardswish()(cr.tensor([0.0, 3.0])).tolist()
    [0.0, 3.0]
    """

    def forward(self, input):
        return F.hardswish(input, self.inplace)


class Sigmoid(Module):
    """1 / (1 + e^-x).

    >>> nn.Sigmoid()(cr.tensor(0.0)).item()
    0.5
    """

    def forward(self, input):
        return F.sigmoid(input)


class Hardsigmoid(_InPlace):
    """relu6(x + 3) / 6: the sigmoid of straight pieces. Courbariaux et al. (2015).

    >>> nn.Hardsigmoid()(cr.tensor([-3.0, 0.0, 3.0])).tolist()
    [0.0, 0.5, 1.0]
    """

    def forward(self, input):
        return F.hardsigmoid(input, self.inplace)


class LogSigmoid(Module):
    """log(1 / (1 + e^-x)), without overflow.

    >>> round(nn.LogSigmoid()(cr.tensor(0.0)).item(), 4)
    -0.6931
    """

    def forward(self, input):
        return F.logsigmoid(input)


class Tanh(Module):
    """(e^x - e^-x) / (e^x + e^-x).

    >>> round(nn.Tanh()(cr.tensor(0.7)).item(), 4)
    0.6044
    """

    def forward(self, input):
        return F.tanh(input)


class Tanhshrink(Module):
    """x - tanh(x).

    >>> nn.Tanhshrink()(cr.tensor(0.0)).item()
    0.0
    """

    def forward(self, input):
        return F.tanhshrink(input)


class Hardtanh(Module):
    """x kept within [min_val, max_val].

    >>> nn.Hardtanh()(cr.tensor([-2.0, 0.5])).tolist()
    [-1.0, 0.5]
    """

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        if min_val >= max_val:
            raise ValueError(f"Hardtanh: min_val must be less than max_val, got {min_val} and {max_val}")
        self.min_val = min_val
        self.max_val = max_val
        self.inplace = inplace

    def forward(self, input):
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self):
        return _noted(f"min_val={self.min_val}, max_val={self.max_val}", self.inplace)


class Softplus(Module):
    """log(1 + e^(beta x)) / beta, and x itself where beta x > threshold. Dugas et al. (2001).

    >>> round(nn.Softplus()(cr.tensor(0.0)).item(), 4)
    0.6931
    """

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input):
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|). Bergstra et al. (2009).

    >>> nn.Softsign()(cr.tensor([-1.0, 1.0])).tolist()
    [-0.5, 0.5]
    """

    def forward(self, input):
        return F.softsign(input)


class Hardshrink(Module):
    """x where |x| > lambd, else 0.

    >>> nn.Hardshrink()(cr.tensor([0.25, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, lambd=0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input):
        return F.hardshrink(input, self.lambd)

    def extra_repr(self):
        return f"{self.lambd}"


class Softshrink(Module):
    """sign(x) max(|x| - lambd, 0): the proximal map of lambd |x|.

    >>> nn.Softshrink()(cr.tensor([0.25, 2.0])).tolist()
    [0.0, 1.5]
    """

    def __init__(self, lambd=0.5):
        super().__init__()
        self.lambd = lambd

    def forward(self, input):
        return F.softshrink(input, self.lambd)

    def extra_repr(self):
        return f"{self.lambd}"


class Threshold(Module):
    """x where x > threshold, else `value`.

    >>> nn.Threshold(1.0, -1.0)(cr.tensor([0.5, 2.0])).tolist()
    [-1.0, 2.0]
    """

    def __init__(self, threshold, value, inplace=False):
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input):
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self):
        return _noted(f"threshold={self.threshold}, value={self.value}", self.inplace)
