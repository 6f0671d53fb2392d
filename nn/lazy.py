"""Layers that learn the number of their inputs from the first input, and are ordinary layers from then on."""

from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.modes import no_grad

from .convolution import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy


class LazyModuleMixin:
    """Put before the layer's class; the layer makes its parameters in `initialize_parameters(*args)`, called with the first input.

    It then becomes an object of `cls_to_become`, unless that is None.
    """

    cls_to_become = None

    def __call__(self, *args, **kwargs):
        with no_grad():
            self.initialize_parameters(*args, **kwargs)
        if self.has_uninitialized_params():
            raise RuntimeError(
                f"{type(self).__name__}: initialize_parameters left uninitialized parameters; it must materialize them all"
            )
        if self.cls_to_become is None:
            return super().__call__(*args, **kwargs)
        self.__class__ = self.cls_to_become
        return self(*args, **kwargs)

    def initialize_parameters(self, *args, **kwargs):
        """Materialize the parameters, if they are not there yet (a loaded state dict may have brought them)."""
        raise NotImplementedError(f"{type(self).__name__} must define initialize_parameters(self, *args)")

    def has_uninitialized_params(self):
        """Whether a parameter or buffer of the layer itself has no shape yet."""
        own = (*self._parameters.values(), *self._buffers.values())
        return any(is_lazy(one) for one in own)

    def reset_parameters(self):
        """Draw the parameters anew, if there are any yet."""
        if not self.has_uninitialized_params():
            super().reset_parameters()


class LazyLinear(LazyModuleMixin, Linear):
    """A Linear that takes `in_features` from its first input.

    Shape: (*, in_features) -> (*, out_features).
    Initial law: Linear's.

    >>> layer = nn.LazyLinear(2)
    >>> layer(cr.ones(5, 3)).shape, type(layer).__name__, layer.in_features
    (chainrule.Size([5, 2]), 'Linear', 3)
    """

    cls_to_become = Linear

    def __init__(self, out_features, bias=True, device=None, dtype=None):
        super().__init__(0, 0, False, device, dtype)
        self.out_features = out_features
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input):
        """(*, in_features)"""
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))
            if self.bias is not None:
                self.bias.materialize((self.out_features,))
            self.reset_parameters()
        self.in_features = self.weight.shape[-1]


class _LazyChannels(LazyModuleMixin):
    """A lazy convolution."""

    def _wait(self, out_channels, bias, device, dtype):
        self.out_channels = out_channels
        self._check(type(self).__name__)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input, *args, **kwargs):
        """(N, C_in, *) or (C_in, *)"""
        if self.has_uninitialized_params():
            if input.ndim not in (self._n + 1, self._n + 2):
                raise RuntimeError(
                    f"{type(self).__name__}: expected {self._n + 1}-d (unbatched) or {self._n + 2}-d input, got shape "
                    f"{tuple(input.shape)}"
                )
            self.in_channels = input.shape[-self._n - 1]
            self._check(type(self).__name__)
            self.weight.materialize(self._weight_shape())
            if self.bias is not None:
                self.bias.materialize((self.out_channels,))
            self.reset_parameters()
        self.in_channels = self.weight.shape[0] if self._transposed else self.weight.shape[1] * self.groups


class _LazyConv(_LazyChannels):
    def __init__(
        self, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode="zeros",
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._wait(out_channels, bias, device, dtype)


class _LazyConvTranspose(_LazyChannels):
    def __init__(
        self, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode
        )
        self._wait(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):
    """A Conv1d that takes `in_channels` from its first input.

    >>> nn.LazyConv1d(3, 5)(cr.ones(1, 2, 10)).shape
    chainrule.Size([1, 3, 6])
    """

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):
    """A Conv2d that takes `in_channels` from its first input."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):
    """A Conv3d that takes `in_channels` from its first input."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):
    """A ConvTranspose1d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):
    """A ConvTranspose2d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):
    """A ConvTranspose3d that takes `in_channels` from its first input."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    def __init__(
        self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *, bias=True
    ):  # fmt: skip
        super().__init__(0, eps, momentum, False, False, bias=bias)
        self.affine, self.track_running_stats = affine, track_running_stats
        place = {"device": device, "dtype": dtype}
        if affine:
            self.weight = UninitializedParameter(**place)
            if bias:
                self.bias = UninitializedParameter(**place)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(**place)
            self.running_var = UninitializedBuffer(**place)
            self.num_batches_tracked = tensor(0, device=device)

    def initialize_parameters(self, input):
        """(N, C, *)"""
        self._check(input)
        waiting = [
            one for one in (self.weight, self.bias, self.running_mean, self.running_var) if is_lazy(one)
        ]
        self.num_features = input.shape[self._channel_axis(input)]
        for one in waiting:
            one.materialize((self.num_features,))
        if waiting:
            self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """A BatchNorm1d that takes `num_features` from its first input.

    >>> nn.LazyBatchNorm1d()(cr.randn(4, 3)).shape
    chainrule.Size([4, 3])
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """A BatchNorm2d that takes `num_features` from its first input."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """A BatchNorm3d that takes `num_features` from its first input."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """An InstanceNorm1d, with parameters and running statistics, that takes `num_features` from its first input."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """An InstanceNorm2d, with parameters and running statistics, that takes `num_features` from its first input."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """An InstanceNorm3d, with parameters and running statistics, that takes `num_features` from its first input."""

    cls_to_become = InstanceNorm3d
