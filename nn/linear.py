"""Layers that multiply by a matrix, and layers that only change the shape."""

import math

from chainrule.autograd.functions.creation import empty
from chainrule.autograd.functions.shape import flatten, unflatten

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class Identity(Module):
    """y = x, whatever arguments it is made with.

    Shape: (*) -> (*).

    >>> nn.Identity(54, unused=True)(cr.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, *args, **kwargs):
        super().__init__()

    def forward(self, input):
        """(*) -> (*)"""
        return input


class Linear(Module):
    """y = x W^T + b.

    Shape: (*, in_features) -> (*, out_features); `weight` (out_features, in_features), `bias` (out_features).
    Initial law: weight and bias uniform on (-k, k), k = 1 / sqrt(in_features).

    >>> layer = nn.Linear(3, 2)
    >>> layer(cr.ones(5, 3)).shape
    chainrule.Size([5, 2])
    """

    def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty((out_features, in_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input):
        """(*, in_features) -> (*, out_features)"""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
        )


class Bilinear(Module):
    """y_k = x1^T W_k x2 + b_k.

    Shape: (*, in1_features), (*, in2_features) -> (*, out_features); `weight` (out_features, in1_features, in2_features).
    Initial law: weight and bias uniform on (-k, k), k = 1 / sqrt(in1_features).

    >>> layer = nn.Bilinear(2, 3, 4)
    >>> layer(cr.ones(5, 2), cr.ones(5, 3)).shape
    chainrule.Size([5, 4])
    """

    def __init__(self, in1_features, in2_features, out_features, bias=True, device=None, dtype=None):
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"Bilinear: in1_features must be positive, got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(empty((out_features, in1_features, in2_features), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(empty(out_features, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1, input2):
        """(*, in1_features), (*, in2_features) -> (*, out_features)"""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self):
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Flatten(Module):
    """Merge the dimensions from `start_dim` to `end_dim` into one.

    Shape: (N, C, H, W) -> (N, C H W) by default.

    >>> nn.Flatten()(cr.ones(2, 3, 4, 5)).shape
    chainrule.Size([2, 60])
    """

    def __init__(self, start_dim=1, end_dim=-1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input):
        """(N, *) -> (N, product of *)"""
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self):
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split dimension `dim` into several of lengths `unflattened_size`, of which one may be -1.

    Shape: (*, D, *) -> (*, D1, D2, ..., *) with D = D1 D2 ...

    >>> nn.Unflatten(1, (3, 4))(cr.ones(2, 12)).shape
    chainrule.Size([2, 3, 4])
    """

    def __init__(self, dim, unflattened_size):
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError(
                f"Unflatten: dim must be an int, got {type(dim).__name__}; tensors have no named dimensions"
            )
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(
                f"Unflatten: unflattened_size must be a tuple of ints, got {type(unflattened_size).__name__}"
            )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input):
        """(*, D, *) -> (*, D1, D2, ..., *)"""
        return unflatten(input, self.dim, self.unflattened_size)

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
