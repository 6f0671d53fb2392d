"""Cases for what a captured training step counts on the device: see `cases.py`."""

import numpy as np


def _flag(value):
    return np.array(value, "int32")


def captured_steps(function):
    """The cases of an optimizer's kernel with its steps, its options and whether to skip on the device."""

    def cases(rng):
        for args, options in function(rng):
            yield args, options
        args, options = next(function(rng))
        counts = [np.array(1 + k % 3) for k in range(len(args[0]))]
        args = [counts if one is args[_STEPS[function.__name__]] else one for one in args]
        numbers = np.array(_NUMBERS[function.__name__], "float64")
        buffers = {} if function.__name__ == "adam" else {"momentum": 0.5}
        yield args, {**options, **buffers, "numbers": numbers, "skip": _flag(0)}
        yield args, {**options, **buffers, "numbers": numbers, "skip": _flag(3)}

    return cases


_STEPS = {"adam": 4, "sgd": 3}
# What the options in the first case of each are, in the order in which the kernel reads them.
_NUMBERS = {"adam": (0.01, 0.9, 0.99, 1e-6, 0, 0, 0, 0), "sgd": (0.1, 0.5, 0, 0, 0, 0)}


def count_steps(rng):
    yield ([np.array(0)],), {}
    yield ([np.array(k) for k in rng.integers(0, 9, 300)],), {"skip": _flag(0)}
    yield ([np.array(3), np.array(4)],), {"skip": _flag(1)}


def unscale(rng):
    for bad in (None, np.nan, np.inf, -np.inf):
        arrays = [rng.standard_normal(shape) * 100 for shape in [(1,), (0,), (3, 5), (40000,), (7, 1)]]
        if bad is not None:
            arrays[3][33000] = bad
        yield (arrays, np.array(1000.0, "float32"), _flag(0)), {}
    yield ([np.ones(3)], np.array(8.0, "float32"), _flag(1)), {}


def adapt_scale(rng):
    numbers = np.array([2.1, 0.3, 3])
    for scale, good, found in [(1000, 0, 0), (1000, 2, 0), (1000, 2, 1), (2e38, 2, 0), (7, 5, 0)]:
        yield (np.array(scale, "float32"), np.array(good), _flag(found), numbers), {}
