"""Normalization layers: y = gamma (x - mean) / sqrt(variance + eps) + beta; they differ in what mean and variance are taken over.

For (N, C, H, W): batch norm over N, H, W; layer norm over the last dimensions; instance norm over H, W; group norm over the
channels of a group and H, W. The variance is that of the population (divided by the count).
"""

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty, ones, tensor, zeros
from chainrule.backends import placement

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _ChannelNorm(Module):
    """The parameters and running statistics of a norm with one mean and variance for each of `num_features` channels."""

    _dims = ()

    def __init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype, bias):
        super().__init__()
        if eps < 0:
            raise ValueError(f"{type(self).__name__}: eps must not be negative, got {eps}")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        place = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ones(num_features, **place)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(num_features, **place)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, **place) if tracked else None)
        self.register_buffer("running_var", ones(num_features, **place) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, device=device) if tracked else None)

    def reset_running_stats(self):
        """Forget what the batches so far had for mean and variance."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Set gamma to 1, beta to 0, and forget the statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _check(self, input):
        if tensor_of(input, type(self).__name__).ndim not in self._dims:
            expected = " or ".join(f"{n}-d" for n in self._dims)
            raise ValueError(
                f"{type(self).__name__}: expected {expected} input, got shape {tuple(input.shape)}"
            )

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    def _channel_axis(self, input):
        return 1

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        device=None,
        dtype=None,
        bias=True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input):
        """(N, C, *) -> (N, C, *)"""
        self._check(input)
        tracked = self.training and self.track_running_stats and self.num_batches_tracked is not None
        momentum = self.momentum
        if momentum is None:
            # Computed where it is counted: a device is not asked.
            momentum = 1 / (self.num_batches_tracked._array + 1) if tracked else 0.0
        # Statistics that are there but not tracked any more are left alone in training.
        keep = not self.training or self.track_running_stats
        y = F.batch_norm(
            input,
            self.running_mean if keep else None,
            self.running_var if keep else None,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            momentum,
            self.eps,
        )
        if tracked:
            count = self.num_batches_tracked._array
            with placement.around("batch_norm", (count,)):
                count += 1  # no gradient ever needs it, so the write goes past the log of writes
        return y


class BatchNorm1d(_BatchNorm):
    """Normalize each channel over the batch (and length); in evaluation with the running mean and variance.

    Running statistics: r <- (1 - momentum) r + momentum s, s of the batch, its variance divided by n - 1; momentum None
    gives their plain average. Ioffe & Szegedy (2015).
    Shape: (N, C) or (N, C, L) -> the same; `weight` and `bias` (C).
    Initial law: gamma 1, beta 0, running mean 0 and variance 1.

    >>> norm = nn.BatchNorm1d(1)
    >>> [round(one, 4) for one in norm(cr.tensor([[1.0], [2.0], [3.0], [4.0]])).flatten().tolist()]
    [-1.3416, -0.4472, 0.4472, 1.3416]
    """

    _dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalize each channel over the batch and the places of the image; otherwise as BatchNorm1d.

    Shape: (N, C, H, W) -> the same; `weight` and `bias` (C).

    >>> nn.BatchNorm2d(3)(cr.randn(2, 3, 4, 4)).shape
    chainrule.Size([2, 3, 4, 4])
    """

    _dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Normalize each channel over the batch and the places of the volume; otherwise as BatchNorm1d.

    Shape: (N, C, D, H, W) -> the same; `weight` and `bias` (C).

    >>> nn.BatchNorm3d(3)(cr.randn(2, 3, 2, 4, 4)).shape
    chainrule.Size([2, 3, 2, 4, 4])
    """

    _dims = (5,)


class _InstanceNorm(_ChannelNorm):
    def _channel_axis(self, input):
        return input.ndim - self._dims[0]

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=False,
        track_running_stats=False,
        device=None,
        dtype=None,
        bias=True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input):
        """(N, C, *) -> (N, C, *)"""
        self._check(input)
        alone = input.ndim == self._dims[0]
        x = input.unsqueeze(0) if alone else input
        if x.shape[1] != self.num_features and (self.affine or self.track_running_stats):
            raise ValueError(
                f"{type(self).__name__}: expected {self.num_features} channels, got shape {tuple(input.shape)}"
            )
        y = F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.squeeze(0) if alone else y


class InstanceNorm1d(_InstanceNorm):
    """Normalize each channel of each sample over its length. Ulyanov et al. (2016).

    Shape: (N, C, L) or (C, L) -> the same; `weight` and `bias` (C) if `affine`.
    Initial law: gamma 1, beta 0.

    >>> nn.InstanceNorm1d(3)(cr.randn(2, 3, 8)).shape
    chainrule.Size([2, 3, 8])
    """

    _dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalize each channel of each sample over the places of the image. Ulyanov et al. (2016).

    Shape: (N, C, H, W) or (C, H, W) -> the same; `weight` and `bias` (C) if `affine`.

    >>> nn.InstanceNorm2d(3)(cr.randn(2, 3, 4, 4)).shape
    chainrule.Size([2, 3, 4, 4])
    """

    _dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Normalize each channel of each sample over the places of the volume. Ulyanov et al. (2016).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> the same; `weight` and `bias` (C) if `affine`.

    >>> nn.InstanceNorm3d(3)(cr.randn(2, 3, 2, 4, 4)).shape
    chainrule.Size([2, 3, 2, 4, 4])
    """

    _dims = (4, 5)


def _lengths(shape):
    return (shape,) if isinstance(shape, int) else tuple(shape)


class LayerNorm(Module):
    """Normalize over the last dimensions, whose lengths are `normalized_shape`. Ba et al. (2016).

    Shape: (*, *normalized_shape) -> the same; `weight` and `bias` normalized_shape.
    Initial law: gamma 1, beta 0.

    >>> nn.LayerNorm(2)(cr.tensor([[1.0, 3.0]])).round(decimals=2).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None
    ):
        super().__init__()
        self.normalized_shape = _lengths(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        place = {"device": device, "dtype": dtype}
        self.register_parameter(
            "weight", Parameter(empty(self.normalized_shape, **place)) if elementwise_affine else None
        )
        self.register_parameter(
            "bias", Parameter(empty(self.normalized_shape, **place)) if elementwise_affine and bias else None
        )
        self.reset_parameters()

    def reset_parameters(self):
        """Set gamma to 1 and beta to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input):
        """(*, *normalized_shape) -> the same"""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"


class RMSNorm(Module):
    """y = gamma x / sqrt(mean of x^2 + eps) over the last dimensions; eps None is the dtype's. Zhang & Sennrich (2019).

    Shape: (*, *normalized_shape) -> the same; `weight` normalized_shape.
    Initial law: gamma 1.

    >>> nn.RMSNorm(2)(cr.tensor([[1.0, -1.0]])).round(decimals=2).tolist()
    [[1.0, -1.0]]
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = _lengths(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = (
            Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
            if elementwise_affine
            else None
        )
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self):
        """Set gamma to 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x):
        """(*, *normalized_shape) -> the same"""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalize each sample over the channels of each of `num_groups` groups and their places. Wu & He (2018).

    Shape: (N, C, *) -> the same; `weight` and `bias` (C).
    Initial law: gamma 1, beta 0.

    >>> nn.GroupNorm(2, 4)(cr.randn(2, 4, 3, 3)).shape
    chainrule.Size([2, 4, 3, 3])
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, bias=True):
        super().__init__()
        if num_groups <= 0 or num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels={num_channels} must be divisible by num_groups={num_groups}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        place = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(empty(num_channels, **place)) if affine else None)
        self.register_parameter("bias", Parameter(empty(num_channels, **place)) if affine and bias else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Set gamma to 1 and beta to 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input):
        """(N, C, *) -> the same"""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """y_c = x_c / (k + alpha / size * sum of x_d^2 over the `size` channels d around c)^beta. Krizhevsky et al. (2012).

    Shape: (N, C, *) -> the same.

    >>> nn.LocalResponseNorm(2)(cr.ones(1, 4, 3, 3)).shape
    chainrule.Size([1, 4, 3, 3])
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input):
        """(N, C, *) -> the same"""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
