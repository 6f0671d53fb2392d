"""Max pooling over windows at random places, to any smaller size. Graham 2014, "Fractional max-pooling"."""

import math

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.draws import rand
from chainrule.autograd.ops import pooling
from chainrule.autograd.ops.fractional_pooling import window_max_index, window_starts
from chainrule.autograd.precision import precision
from chainrule.backends import placement

from .windows import batched, lengths, unbatched


@precision(cpu="float32")
def fractional_max_pool2d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """The largest elements of windows of `kernel_size` that are about evenly spread, with a random offset for each channel.

    (N, C, H, W) -> (N, C, H', W'), also without N; the lengths are `output_size`, or the input's times `output_ratio`.
    Of equal elements the first wins and gets the gradient. return_indices: also the places of the winners, see `max_unpool2d`.
    _random_samples: the offsets, (N, C, 2) in [0, 1), for width and height.
    """
    found = _pool("fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio, _random_samples)
    return found if return_indices else found[0]


@precision(cpu="float32")
def fractional_max_pool3d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """`fractional_max_pool2d` over three dimensions, with offsets (N, C, 3) for depth, height and width."""
    found = _pool("fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio, _random_samples)
    return found if return_indices else found[0]


@precision(cpu="float32")
def fractional_max_pool2d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """`fractional_max_pool2d` with its indices."""
    return fractional_max_pool2d(input, kernel_size, output_size, output_ratio, True, _random_samples)


@precision(cpu="float32")
def fractional_max_pool3d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """`fractional_max_pool3d` with its indices."""
    return fractional_max_pool3d(input, kernel_size, output_size, output_ratio, True, _random_samples)


@placement.on_their_card
def _pool(name, n, input, kernel_size, output_size, output_ratio, samples):
    x, was_batched = batched(input, n, name)
    kernel = lengths(kernel_size, n, name, "kernel_size")
    size = _size(name, n, x, output_size, output_ratio)
    for length, k, new in zip(x.shape[2:], kernel, size, strict=True):
        if new + k - 1 > length:
            raise RuntimeError(
                f"{name}: windows of {kernel} do not fit {size} times into an input of shape {tuple(input.shape)}; use a smaller "
                f"kernel_size or output_size"
            )
    wanted = (*x.shape[:2], n)
    if samples is None:
        samples = rand(wanted, dtype=x.dtype, device=x.device)
    else:
        samples = tensor_of(samples, name)
        samples = (
            samples[:1] if samples.ndim == 3 and input.ndim == n + 1 else samples
        )  # for one sample the first will do
    if tuple(samples.shape) != wanted or samples.dtype is not x.dtype:
        raise RuntimeError(
            f"{name}: _random_samples must have shape {wanted} and dtype {x.dtype}, got {tuple(samples.shape)} and {samples.dtype}"
        )
    if math.prod(size) == 0 or x.shape[1] == 0:
        raise RuntimeError(f"{name}: expected an input with channels, got shape {tuple(input.shape)}")
    starts = []
    for axis in range(n):
        # In two dimensions PyTorch takes the first number for the width.
        offset = samples._array[..., 1 - axis if n == 2 else axis]
        starts.append(window_starts(offset, length=x.shape[2 + axis], kernel=kernel[axis], size=size[axis]))
    index = window_max_index(x, starts=tuple(starts), kernel=kernel)
    return unbatched(pooling.pool_gather(x, index), was_batched), unbatched(index, was_batched)


def _size(name, n, x, output_size, output_ratio):
    if (output_size is None) == (output_ratio is None):
        raise ValueError(f"{name}: give either output_size or output_ratio")
    if output_size is not None:
        return lengths(output_size, n, name, "output_size")
    ratios = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
    if len(ratios) != n or not all(0 < one < 1 for one in ratios):
        raise ValueError(
            f"{name}: output_ratio must be one number between 0 and 1 or {n}, got {output_ratio!r}"
        )
    size = tuple(int(length * ratio) for length, ratio in zip(x.shape[2:], ratios, strict=True))
    return lengths(size, n, name, "output_size")
