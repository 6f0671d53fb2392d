"""Max pooling over windows at random places. Graham (2014), "Fractional max-pooling"."""

from . import functional as F
from .module import Module


class _FractionalMaxPool(Module):
    def __init__(
        self, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
    ):
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError(f"{type(self).__name__}: give either output_size or output_ratio")
        self.kernel_size = kernel_size
        self.output_size = output_size
        self.output_ratio = output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def _pool(self, function, input):
        return function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest elements of windows that are spread evenly but for a random offset, to any smaller size. Graham (2014).

    Shape: (N, C, H, W) or (C, H, W) -> (N, C, *output_size), or the input's lengths times `output_ratio`; with `return_indices`
    also the places.

    >>> nn.FractionalMaxPool2d(2, output_size=(3, 2))(cr.ones(1, 2, 5, 5)).shape
    chainrule.Size([1, 2, 3, 2])
    """

    def forward(self, input):
        """(N, C, H, W) -> (N, C, H_out, W_out)"""
        return self._pool(F.fractional_max_pool2d, input)


class FractionalMaxPool3d(_FractionalMaxPool):
    """FractionalMaxPool2d over three dimensions. Graham (2014).

    Shape: (N, C, D, H, W) or (C, D, H, W) -> (N, C, *output_size), or the input's lengths times `output_ratio`.

    >>> nn.FractionalMaxPool3d(2, output_ratio=0.5)(cr.ones(1, 2, 6, 6, 4)).shape
    chainrule.Size([1, 2, 3, 3, 2])
    """

    def forward(self, input):
        """(N, C, D, H, W) -> (N, C, D_out, H_out, W_out)"""
        return self._pool(F.fractional_max_pool3d, input)
