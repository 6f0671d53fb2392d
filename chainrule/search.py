"""Random search of hyperparameters.

    space = {"lr": cr.search.log_uniform(1e-5, 1e-1), "width": cr.search.choice([32, 64, 128])}
    best, trials = cr.search.random_search(train, space, trials=20, seed=0)

Of n parameters few matter, and which is not known: a grid tries each of them at few values, random points at as many as
there are trials. What scales, as learning rates do, is drawn with a uniform logarithm: as many trials between 1e-5 and 1e-4
as between 1e-2 and 1e-1.

Bergstra & Bengio 2012, "Random search for hyper-parameter optimization".
"""

import math
import random
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """One point that was tried: its options and what `function` gave for them."""

    options: dict
    value: Any


def log_uniform(low, high):
    """Draws 10^r, r uniform between the logarithms of `low` and `high`, both above 0."""
    if not 0 < low <= high:
        raise ValueError(f"log_uniform: 0 < low <= high is needed, got {low} and {high}")
    start, end = math.log(low), math.log(high)
    return lambda source: min(max(math.exp(source.uniform(start, end)), low), high)


def uniform(low, high):
    """Draws uniformly from [low, high]."""
    if not low <= high:
        raise ValueError(f"uniform: low must be at most high, got {low} and {high}")
    return lambda source: source.uniform(low, high)


def integer(low, high):
    """Draws an integer from low, low + 1, ..., high."""
    if not low <= high:
        raise ValueError(f"integer: low must be at most high, got {low} and {high}")
    return lambda source: source.randint(low, high)


def choice(values):
    """Draws one of `values`."""
    values = list(values)
    if not values:
        raise ValueError("choice: there is nothing to choose from")
    return lambda source: source.choice(values)


def sample(space, trials, seed=None):
    """Yield `trials` dicts of options drawn from `space`, {name: distribution, or a value that stays}."""
    if not (isinstance(trials, int) and trials >= 1):
        raise ValueError(f"sample: trials must be a positive integer, got {trials!r}")
    source = random.Random(seed)
    for _ in range(trials):
        yield {name: drawn(source) if callable(drawn) else drawn for name, drawn in space.items()}


def random_search(function, space, trials=10, seed=None, mode="min"):
    """(the best Trial, all Trials) of `function(**options)`, a number, at random points of `space`.

    mode: "min" or "max", which way is better. A value that is not a number is never the best. The same seed draws the
    same points.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"random_search: mode must be 'min' or 'max', got {mode!r}")
    done = [Trial(options, function(**options)) for options in sample(space, trials, seed)]
    sign = 1 if mode == "min" else -1

    def rank(trial):
        value = float(trial.value)
        return math.inf if math.isnan(value) else sign * value

    return min(done, key=rank), done
