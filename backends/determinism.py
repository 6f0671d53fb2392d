"""Whether operations must give the same bits on every run.

NumPy's do anyway. What runs on a card and is faster in no fixed order, as additions to one place are, asks here first.
"""

_mode = {"on": False, "warn_only": False}


def use_deterministic_algorithms(mode, *, warn_only=False):
    """Ask for results that are the same on every run; warn_only: warn where there is no such algorithm, instead of raising."""
    if not isinstance(mode, bool):
        raise TypeError(f"use_deterministic_algorithms: mode must be True or False, got {mode!r}")
    _mode.update(on=mode, warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled():
    """Whether results must be the same on every run."""
    return _mode["on"]


def is_deterministic_algorithms_warn_only_enabled():
    """Whether an operation that cannot promise that warns instead of raising."""
    return _mode["warn_only"]
