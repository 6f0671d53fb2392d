"""What the kernels of convolution and of pooling in channels_last are tried on; see `cases.py`."""

import numpy as np

CONVOLUTIONS = [
    # x, w, stride, padding, dilation, groups, how much larger the output is than what padding on both sides gives
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0), (1, 1), 1, 0),
    ((2, 3, 5, 7), (4, 3, 3, 2), (1, 1), (1, 0), (1, 1), 1, 0),
    ((3, 4, 9, 8), (6, 2, 3, 3), (2, 1), (1, 2), (2, 1), 2, 0),
    ((2, 4, 6, 5), (8, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4, 0),
    ((2, 5, 4, 3), (7, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1, 0),
    ((2, 6, 4, 3), (4, 3, 1, 1), (1, 1), (0, 0), (1, 1), 2, 0),
    ((2, 2, 6, 6), (3, 2, 1, 1), (2, 2), (0, 0), (1, 1), 1, 0),
    ((1, 2, 8, 8), (3, 2, 4, 3), (3, 3), (-1, 4), (1, 1), 1, 1),
    ((1, 2, 9, 9), (3, 2, 3, 3), (2, 2), (1, 1), (1, 1), 1, -1),
    ((2, 3, 17), (4, 3, 5), (2,), (2,), (1,), 1, 0),
]

# Layers of LeNet, a residual network for CIFAR, ResNet-50, MobileNet, and a network over volumes.
MODELS = [
    ((32, 1, 28, 28), (25, 1, 3, 3), (1, 1), (0, 0), (1, 1), 1, 0),
    ((128, 16, 32, 32), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1), 1, 0),
    ((128, 16, 32, 32), (32, 16, 3, 3), (2, 2), (1, 1), (1, 1), 1, 0),
    ((256, 3, 224, 224), (64, 3, 7, 7), (2, 2), (3, 3), (1, 1), 1, 0),
    ((256, 64, 56, 56), (64, 64, 1, 1), (1, 1), (0, 0), (1, 1), 1, 0),
    ((256, 64, 56, 56), (64, 64, 3, 3), (1, 1), (1, 1), (1, 1), 1, 0),
    ((256, 256, 56, 56), (512, 256, 1, 1), (2, 2), (0, 0), (1, 1), 1, 0),
    ((256, 128, 56, 56), (128, 128, 3, 3), (2, 2), (1, 1), (1, 1), 1, 0),
    ((256, 512, 7, 7), (512, 512, 3, 3), (1, 1), (1, 1), (1, 1), 1, 0),
    ((256, 2048, 7, 7), (512, 2048, 1, 1), (1, 1), (0, 0), (1, 1), 1, 0),
    ((64, 32, 112, 112), (32, 1, 3, 3), (1, 1), (1, 1), (1, 1), 32, 0),
    ((64, 96, 56, 56), (96, 1, 5, 5), (2, 2), (2, 2), (1, 1), 96, 0),
    ((8, 512, 64, 64), (512, 512, 3, 3), (1, 1), (2, 2), (2, 2), 1, 0),
    ((4, 32, 16, 56, 56), (64, 32, 3, 3, 3), (1, 2, 2), (1, 1, 1), (1, 1, 1), 1, 0),
]


def sizes(lengths, kernel, stride, padding, dilation, more):
    """The spatial shape of the output."""
    geometry = zip(lengths, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 + more for n, k, s, p, d in geometry)


def forms(rng):
    """(x, w, v, static keywords without size)."""
    for x, w, stride, padding, dilation, groups, more in CONVOLUTIONS:
        size = sizes(x[2:], w[2:], stride, padding, dilation, more)
        arrays = [rng.standard_normal(shape) for shape in (x, w, (x[0], w[0], *size))]
        yield *arrays, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def flat(x, w, v, static):
    """As the references want it: with two dimensions, which is what they know."""
    if x.ndim == 4:
        return x, w, v, static
    first = {"stride": 1, "padding": 0, "dilation": 1}
    more = {key: (one, *static[key]) for key, one in first.items()}
    return x[:, :, None], w[:, :, None], v[:, :, None], static | more


def conv(rng):
    for x, w, v, static in forms(rng):
        x, w, v, static = flat(x, w, v, static)
        for one in layouts(x):
            yield (one, w), static | {"size": v.shape[2:]}


def conv_input(rng):
    for x, w, v, static in forms(rng):
        x, w, v, static = flat(x, w, v, static)
        for one in layouts(v):
            yield (one, w), static | {"size": x.shape[2:]}


def conv_weight(rng):
    for x, w, v, static in forms(rng):
        x, w, v, static = flat(x, w, v, static)
        for one, other in zip(layouts(x), layouts(v), strict=False):
            yield (one, other), static | {"size": w.shape[2:]}


def last(x):
    """The same values with the channels innermost in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def layouts(x):
    """x, x in channels_last, and x in neither order."""
    yield x
    yield last(x)
    yield np.ascontiguousarray(x.T).T
