"""`compile`, for scripts that call it."""


def compile(
    model=None, *, fullgraph=False, dynamic=None, backend="inductor", mode=None, options=None, disable=False
):
    """`model`, a function or module, unchanged: there is no compiler here, and nothing gets faster.

    It takes PyTorch's arguments, and may be used as a decorator with or without them, so that a script runs as it is.
    """
    if model is None:
        return lambda function: compile(function)
    if not callable(model):
        raise TypeError(f"compile: expected a function or a module, got {type(model).__name__}")
    return model
