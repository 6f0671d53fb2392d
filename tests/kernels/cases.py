"""What every kernel is tried on: `cases(name, rng)` yields the arguments of its function, float arrays as float64.

Shapes are chosen for what goes wrong: one element, a row of 1, lengths just off a multiple of a warp, a block or a pack, rows
long enough for several passes, windows that reach over the edge.
"""

import numpy as np

from chainrule.autograd.ops.softmax import Targets
from chainrule.backends.random_places import Place
from tests.kernels.attention_cases import (  # noqa: F401
    attention_softmax,
    attention_softmax_gradient,
    flash_attention,
    flash_gradients,
)
from tests.kernels.convolution_cases import conv, conv_input, conv_weight, last  # noqa: F401
from tests.kernels.drawn_cases import (  # noqa: F401
    dropout,
    elsewhere,
    move_place,
    normal_numbers,
    philox_words,
    set_place,
    uniform,
)
from tests.kernels.norm_cases import (  # noqa: F401
    axis_sums,
    follow_average,
    rms_standardize,
    rms_standardize_gradient,
    scale_and_shift,
    standardize,
    standardize_gradient,
    sum_to,
)
from tests.kernels.softmax_cases import (  # noqa: F401
    class_numbers,
    cross_entropy,
    cross_entropy_gradient,
    log_softmax_gradient,
    softmax,
    softmax_gradient,
)
from tests.kernels.step_cases import adapt_scale, captured_steps, count_steps, unscale  # noqa: F401

WINDOWS = [
    # x, kernel, stride, padding, dilation
    ((1, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((2, 3, 7, 9), (2, 2), (2, 2), (0, 0), (1, 1)),
    ((1, 2, 8, 6), (3, 2), (1, 2), (1, 1), (1, 1)),
    ((2, 1, 9, 11), (3, 3), (2, 1), (1, 1), (2, 3)),
]


def normal(rng, *shape):
    return rng.standard_normal(shape)


def places(lengths, kernel, stride, padding, dilation):
    geometry = zip(lengths, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in geometry)


def column_sums(rng):
    for shape in [(1, 1), (3, 5), (64, 32), (65, 33), (5000, 3)]:
        yield (normal(rng, *shape),), {}


def elements(rng):
    for shape in [(1,), (7,), (5, 8), (33, 31), (64, 64)]:
        yield (normal(rng, *shape) * 4,), {}


def element_gradients(rng):
    for (x,), _ in elements(rng):
        yield (normal(rng, *x.shape), (True,), x), {}


def bias_activation(rng):
    for kind in ("relu", "gelu", "gelu_tanh", "silu"):
        for rows, n in [(1, 1), (5, 7), (40, 16)]:
            yield (normal(rng, rows, n) * 2, normal(rng, n)), {"kind": kind}


def bias_activation_gradient(rng):
    for (x, bias), static in bias_activation(rng):
        yield (normal(rng, *x.shape), x, bias), static


def embedding_weight(rng):
    for count, rows, n, factor in [
        (1, 1, 1, False),
        (7, 3, 5, True),
        (300, 11, 40, False),
        (64, 1000, 129, True),
    ]:
        index = rng.integers(0, rows, (count,))
        kwargs = {"index": index, "rows": rows}
        yield (
            (normal(rng, count, n),),
            kwargs | {"factor": rng.integers(0, 2, (count, 1)) * 1.5 if factor else None},
        )
    yield (normal(rng, 2, 3, 4),), {"index": rng.integers(0, 5, (2, 3)), "rows": 5, "factor": None}


def pool(rng, dilated=True):
    for shape, kernel, stride, padding, dilation in WINDOWS:
        dilation = dilation if dilated else (1, 1)
        size = places(shape[2:], kernel, stride, padding, dilation)
        x = rng.permutation(int(np.prod(shape))).reshape(shape) / 8 - 3  # no ties, also in 16 bits
        static = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation, "size": size}
        for one in (x, last(x)):
            yield (one,), dict(static)
        if dilated and stride[0] > 1:  # windows past the end
            yield (x,), static | {"size": (size[0] + 1, size[1])}


def max_pool_gradient(rng):
    for (x,), static in pool(rng):
        yield (normal(rng, *x.shape[:2], *static["size"]), (True,), x), static


def avg_pool(rng):
    for (x,), static in pool(rng, dilated=False):
        del static["dilation"]
        for extra in ({}, {"count_padding": False}, {"divisor": 3}):
            yield (x,), static | extra


def avg_unpool(rng):
    for (x,), static in avg_pool(rng):
        yield (normal(rng, *x.shape[:2], *static["size"]),), static | {"size": x.shape[2:]}


def im2col(rng):
    for shape, kernel, stride, padding, dilation in WINDOWS:
        size = places(shape[2:], kernel, stride, padding, dilation)
        static = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        yield (normal(rng, *shape),), static | {"size": size}


def col2im(rng):
    for (x,), static in im2col(rng):
        size = static["size"]
        taps = static["kernel"][0] * static["kernel"][1]
        columns = normal(rng, x.shape[0], x.shape[1] * taps, size[0] * size[1])
        yield (columns,), static | {"places": size, "size": x.shape[2:]}


SEQUENCES = [((1,), 1), ((3, 3, 2), 5), ((2, 2, 2, 2, 1), 33)]


def rnn(rng):
    for sizes, n in SEQUENCES:
        for nonlinearity in ("tanh", "relu"):
            arrays = normal(rng, sum(sizes), n), normal(rng, n, n) / n, normal(rng, sizes[0], n)
            yield arrays, {"sizes": sizes, "nonlinearity": nonlinearity}


def lstm(rng):
    for sizes, n in SEQUENCES:
        states = normal(rng, sizes[0], n), normal(rng, sizes[0], n)
        yield (normal(rng, sum(sizes), 4 * n), normal(rng, 4 * n, n) / n, *states), {"sizes": sizes}


def lstm_slopes(rng):
    for rows, n in [(1, 1), (7, 5), (9, 33)]:
        yield (rng.random((4, rows, n)), normal(rng, rows, n), normal(rng, rows, n)), {}


def lstm_back(rng):
    for k, (sizes, n) in enumerate(SEQUENCES):
        rows, states = sum(sizes), sum(sizes) + sizes[0]
        given = normal(rng, states, n), normal(rng, states, n), normal(rng, rows, 4 * n)
        given = given if k else (given[0], None, None)
        coefficients = [normal(rng, rows, n) for _ in range(6)]
        weight = normal(rng, 4 * n, n) / n
        yield (*given, *coefficients[:2], weight, *coefficients[2:]), {"sizes": sizes}


def state_back(rng):
    for k, (sizes, n) in enumerate(SEQUENCES):
        for gates in (1, 3):
            rows = sum(sizes)
            given = normal(rng, rows + sizes[0], n), normal(rng, rows, gates * n), normal(rng, rows, n)
            given = given if k else (given[0], None, None)
            slopes = [normal(rng, rows, n) for _ in range(gates)]
            yield (*given, normal(rng, gates * n, n) / n, *slopes), {"sizes": sizes}


def gru(rng):
    for k, (sizes, n) in enumerate(SEQUENCES):
        bias = normal(rng, 3 * n) if k else None
        arrays = normal(rng, sum(sizes), 3 * n), normal(rng, 3 * n, n) / n, normal(rng, sizes[0], n)
        yield (*arrays, bias), {"sizes": sizes}


def gru_slopes(rng):
    for rows, n in [(1, 1), (7, 5), (9, 33)]:
        yield (rng.random((4, rows, n)), normal(rng, rows, n)), {}


MANY = [(1,), (0,), (3, 5), (40000,), (16384,), (7, 1)]


def many(rng, positive=False):
    return [abs(normal(rng, *shape)) if positive else normal(rng, *shape) for shape in MANY]


def adam(rng):
    numbers = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-6}
    for steps, extra in (
        (1, {}),
        (7, {"weight_decay": 0.1}),
        (3, {"weight_decay": 0.1, "decoupled": True, "maximize": True}),
    ):
        yield (many(rng), many(rng), many(rng), many(rng, True), [steps] * len(MANY)), numbers | extra
    tops, scale = many(rng, True), np.array([0.5])
    yield (many(rng), many(rng), many(rng), many(rng, True), list(range(1, 7)), tops, scale), numbers


def sgd(rng):
    for extra in (
        {},
        {"weight_decay": 0.1, "maximize": True},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ):
        yield (many(rng), many(rng), many(rng), [1, 1, 2, 1, 2, 3], np.array([0.25])), {"lr": 0.1} | extra


def total_norm(rng):
    yield ([normal(rng, 1)],), {}
    yield (many(rng),), {"limit": 3.0}
    yield (many(rng),), {"limit": 1e6}


def scale_all(rng):
    yield (many(rng), np.array([0.375])), {}


def clip_norm(rng):
    yield (many(rng), 3.0), {}
    yield (many(rng), 1e6), {}


CASES = {
    "log_softmax": softmax,
    "gelu": elements,
    "gelu_tanh": elements,
    "silu": elements,
    "relu_gradient": element_gradients,
    "gelu_gradient": element_gradients,
    "gelu_tanh_gradient": element_gradients,
    "silu_gradient": element_gradients,
    "normal": normal_numbers,
    "adam": captured_steps(adam),
    "sgd": captured_steps(sgd),
    "embedding_sorted": embedding_weight,
    "embedding_atomic": embedding_weight,
    "max_pool": pool,
    "max_pool_index": pool,
}
# How far a result may be from the float64 reference, relative to its size and absolutely.
TOLERANCE = {"float64": 1e-11, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def cases(name, seed=0):
    """The (arguments, keywords) of a kernel's function."""
    return list(CASES.get(name, globals().get(name))(np.random.default_rng(seed)))


def converted(value, dtype, wide, to=lambda array: array):
    """A case's arguments as a device has them: float arrays of the dtype, other arrays as they are, through `to`.

    Weights of samples, statistics, incoming gradients of losses and scales are of the dtype computed in: see `WIDE`.
    """
    if isinstance(value, np.ndarray):
        return to(value.astype(dtype if value.dtype.kind == "f" else value.dtype))
    if isinstance(value, Targets):
        return Targets(*(converted(one, wide, wide, to) for one in value))
    if isinstance(value, (list, tuple)):
        return type(value)(converted(one, dtype, wide, to) for one in value)
    return elsewhere(value, to) if isinstance(value, Place) else value


# Positions of the arguments that are of the dtype computed in.
WIDE = {
    "attention_softmax_gradient": (3, 4),
    "flash_gradients": (5,),
    "cross_entropy": ("over",),
    "cross_entropy_gradient": ("over",),
    "scale_and_shift": (1, 2),
    "follow_average": (1,),
    "standardize_gradient": (4, 5),
    "rms_standardize_gradient": (4,),
    "adam": (6,),
    "sgd": (4,),
    "scale_all": (1,),
}


# Arguments, by position or name, whose dtype is the same whatever that of the arrays is.
FIXED = {"adam": ("numbers",), "sgd": ("numbers",), "unscale": (1,), "adapt_scale": (0, 3)}

# What draws numbers draws other ones for another dtype.
AS_THEY_ARE = ("uniform", "normal")


def arguments(name, args, kwargs, dtype, wide, to=lambda array: array):
    """(args, kwargs) for the kernel's function."""
    special, fixed = WIDE.get(name, ()), FIXED.get(name, ())

    def argument(key, value):
        if key in fixed:
            return to(value.copy())
        return converted(value, wide if key in special else dtype, wide, to)

    args = tuple(argument(k, one) for k, one in enumerate(args))
    return args, {key: argument(key, value) for key, value in kwargs.items()}


def flat(result):
    """The arrays of a result, however nested."""
    if isinstance(result, (list, tuple)):
        return [array for one in result for array in flat(one)]
    return [] if result is None else [result]


def reference(kernel, args, kwargs):
    """What the kernel's reference gives of the same arguments (rounded as they are) in float64; they are not written."""

    def exact(value):
        if isinstance(value, np.ndarray):
            if kernel.name in AS_THEY_ARE:
                return value.copy()
            return value.astype("float64") if value.dtype.kind in "fV" else value.copy()
        if isinstance(value, Targets):
            return Targets(*map(exact, value))
        return type(value)(map(exact, value)) if isinstance(value, (list, tuple)) else value

    return flat(kernel.reference(*map(exact, args), **{key: exact(value) for key, value in kwargs.items()}))


def check(name, dtype, got, expected):
    """Every array of a result is close to the reference's."""
    assert len(got) == len(expected), (name, len(got), len(expected))
    tolerance = TOLERANCE[dtype]
    for ours, right in zip(got, expected, strict=True):
        assert ours.shape == np.shape(right), (name, ours.shape, np.shape(right))
        if ours.dtype.kind in "iu":
            np.testing.assert_array_equal(ours, right, err_msg=name)
        elif ours.size:
            size = np.abs(np.where(np.isfinite(right), right, 0)).max()
            np.testing.assert_allclose(
                ours.astype("float64"),
                right,
                rtol=tolerance,
                atol=tolerance * max(size, 1e-2),
                err_msg=f"{name} {dtype}",
            )
