"""Changes made to images and labels on their way into a batch, after torchvision's names.

Images are Tensors or arrays of shape (..., C, H, W): one, or a batch. What comes in as an array goes out as an array, but for
`ToTensor` and `OneHot`. Random choices are made for each image of a batch and drawn from chainrule's default generator, which
a DataLoader sets by the batch's number: the same for every number of workers. No gradient passes through.
"""

import numpy as np

from chainrule.autograd.functions.creation import from_numpy
from chainrule.autograd.tensor import Tensor
from chainrule.backends import backend_of, dtypes
from chainrule.backends.random import default_generator

__all__ = [
    "Compose",
    "GaussianNoise",
    "Lambda",
    "Normalize",
    "OneHot",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomShift",
    "Standardize",
    "ToTensor",
]


class _Transform:
    """A transform of arrays: subclasses define `apply(xp, array)`."""

    def __call__(self, x):
        is_tensor = isinstance(x, Tensor)
        array = x._array if is_tensor else np.asarray(x)
        made = self.apply(backend_of(array).xp, array)
        return Tensor._wrap(made) if is_tensor else made

    def __repr__(self):
        settings = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if np.ndim(value) < 2)
        return f"{type(self).__name__}({settings})"


class Compose:
    """Transforms one after the other."""

    def __init__(self, transforms):
        self.transforms = list(transforms)

    def __call__(self, x):
        for one in self.transforms:
            x = one(x)
        return x

    def __repr__(self):
        return f"Compose({self.transforms})"


class Lambda:
    """Any function. For DataLoader's workers it must be defined at the top of a module."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        return self.function(x)


class ToTensor:
    """A picture as a float32 Tensor with its channels first: (H, W) becomes (1, H, W), (H, W, C) becomes (C, H, W), and a batch
    (N, H, W, C) becomes (N, C, H, W). uint8 is scaled from 0 ... 255 to 0 ... 1; other types keep their values."""

    def __call__(self, x):
        array = x.numpy() if isinstance(x, Tensor) else np.asarray(x)
        if array.ndim not in (2, 3, 4):
            raise ValueError(
                f"ToTensor: expected a picture (H, W) or (H, W, C) or a batch (N, H, W, C), got shape {array.shape}"
            )
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, -3)
        scale = 255 if array.dtype == np.uint8 else 1
        return from_numpy(np.divide(array, scale, dtype=np.float32, order="C"))

    def __repr__(self):
        return "ToTensor()"


class Normalize(_Transform):
    """(x - mean) / std; numbers, or one for each channel of (..., C, H, W)."""

    def __init__(self, mean, std):
        self.mean, self.std = _listed(mean), _listed(std)
        if not np.all(np.asarray(self.std) > 0):
            raise ValueError(f"Normalize: std must be positive, got {self.std}")

    def apply(self, xp, array):
        if array.dtype.kind != "f":
            raise TypeError(
                f"Normalize: expected floating point numbers, got {array.dtype}; use ToTensor first"
            )
        mean, std = (
            xp.asarray(one, dtype=array.dtype).reshape(-1, 1, 1) if np.ndim(one) else one
            for one in (self.mean, self.std)
        )
        return (array - mean) / std


class Standardize(_Transform):
    """Each feature to mean 0 and variance 1 as they are in the data given to `fit`, in training and testing alike.

        scale = Standardize().fit(train)
        train, test = scale(train), scale(test)

    fit: mean and standard deviation over the first dimension (`dim`: others, or several). A feature that never varies is
    only centred. `inverse` goes back.
    """

    def __init__(self, dim=0):
        self.dim, self.mean, self.std = dim, None, None

    def fit(self, x):
        """Take mean and standard deviation of `x`, and return self."""
        array = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
        dim = tuple(self.dim) if isinstance(self.dim, (list, tuple)) else self.dim
        if array.size == 0:
            raise ValueError(f"Standardize.fit: the data of shape {array.shape} is empty")
        # keepdims, but without the first dimension: it fits one sample and a batch.
        mean, std = (f(array, axis=dim, dtype=np.float64, keepdims=True)[0] for f in (np.mean, np.std))
        self.mean, self.std = mean, np.where(std > 0, std, 1.0)
        return self

    def apply(self, xp, array):
        mean, std, dtype = self._figures(xp, array)
        return ((array - mean) / std).astype(dtype)

    def inverse(self, x):
        """What was standardized, as it was."""
        is_tensor = isinstance(x, Tensor)
        array = x._array if is_tensor else np.asarray(x)
        mean, std, dtype = self._figures(backend_of(array).xp, array)
        made = (array * std + mean).astype(dtype)
        return Tensor._wrap(made) if is_tensor else made

    def _figures(self, xp, array):
        if self.mean is None:
            raise RuntimeError("Standardize: call fit(train_data) first")
        dtype = array.dtype if array.dtype.kind == "f" else dtypes.get_default_dtype().dtype
        return xp.asarray(self.mean, dtype=dtype), xp.asarray(self.std, dtype=dtype), dtype


class RandomHorizontalFlip(_Transform):
    """Each image mirrored left to right with probability `p`."""

    def __init__(self, p=0.5):
        if not 0 <= p <= 1:
            raise ValueError(f"RandomHorizontalFlip: p must be between 0 and 1, got {p}")
        self.p = p

    def apply(self, xp, array):
        batch = _batch_of("RandomHorizontalFlip", array)
        flip = default_generator.uniform(batch.shape[:1], "float64", np) < self.p
        mirrored = xp.where(xp.asarray(flip)[:, None, None, None], batch[..., ::-1], batch)
        return mirrored.reshape(array.shape)


class RandomCrop(_Transform):
    """A random piece of `size` (a number, or height and width) of each image, which is first framed by `padding` pixels of `fill`."""

    def __init__(self, size, padding=0, fill=0):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding, self.fill = padding, fill

    def apply(self, xp, array):
        return _crop("RandomCrop", xp, array, self.size, self.padding, self.fill)


class RandomShift(_Transform):
    """Each image moved by up to `pixels` in each direction, `fill` coming in at the edges."""

    def __init__(self, pixels, fill=0):
        self.pixels, self.fill = pixels, fill

    def apply(self, xp, array):
        return _crop("RandomShift", xp, array, array.shape[-2:], self.pixels, self.fill)


class GaussianNoise(_Transform):
    """x + std * N(0, 1) + mean."""

    def __init__(self, std=0.1, mean=0.0):
        if std < 0:
            raise ValueError(f"GaussianNoise: std must not be negative, got {std}")
        self.std, self.mean = std, mean

    def apply(self, xp, array):
        if array.dtype.kind != "f":
            raise TypeError(
                f"GaussianNoise: expected floating point numbers, got {array.dtype}; use ToTensor first"
            )
        return array + self.std * default_generator.normal(array.shape, array.dtype, xp) + self.mean


class OneHot:
    """A label, or a Tensor of labels (*), as a float32 Tensor (*, num_classes) with a one in the label's place."""

    def __init__(self, num_classes):
        self.num_classes = num_classes

    def __call__(self, label):
        is_tensor = isinstance(label, Tensor)
        array = label._array if is_tensor else np.asarray(label)
        xp = backend_of(array).xp if is_tensor else np
        if array.dtype.kind not in "iu" or (
            array.size and not (0 <= array.min() and array.max() < self.num_classes)
        ):
            raise ValueError(f"OneHot: labels must be integers from 0 to {self.num_classes - 1}, got {label}")
        return Tensor._wrap((array[..., None] == xp.arange(self.num_classes)).astype(np.float32))

    def __repr__(self):
        return f"OneHot({self.num_classes})"


def _listed(value):
    return value if isinstance(value, (int, float)) else [float(one) for one in value]


def _batch_of(name, array):
    """A view of (..., C, H, W) as (N, C, H, W)."""
    if array.ndim < 3:
        raise ValueError(
            f"{name}: expected images of shape (..., C, H, W), got {array.shape}; use ToTensor first"
        )
    return array.reshape(-1, *array.shape[-3:])


def _crop(name, xp, array, size, padding, fill):
    batch = _batch_of(name, array)
    count, _, height, width = batch.shape
    room = height + 2 * padding - size[0], width + 2 * padding - size[1]
    if min(room) < 0:
        raise ValueError(
            f"{name}: a piece of {size} does not fit into {height} x {width} with padding {padding}"
        )
    frame = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    framed = xp.pad(batch, frame, constant_values=fill) if padding else batch
    rows, columns = (
        default_generator.integers(0, room[i] + 1, (count, 1), "int64", np) + np.arange(size[i])
        for i in (0, 1)
    )
    index = [
        xp.asarray(one) for one in (np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :])
    ]
    pieces = xp.moveaxis(framed[index[0], :, index[1], index[2]], -1, 1)
    return xp.ascontiguousarray(pieces).reshape(*array.shape[:-2], *size)
