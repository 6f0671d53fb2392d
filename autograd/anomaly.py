"""Anomaly mode: where a NaN in the gradients was born, and the user's line whose derivative it is."""

import contextlib
import pathlib
import traceback

from .modes import local, recording


@contextlib.contextmanager
def detect_anomaly(check_nan=True):
    """Inside, the first backward step that makes a NaN raises RuntimeError naming it and the forward line it belongs to.

    Every operation's call stack is kept, so this is slow; use it to find a fault, not to train.
    """

    def remember(node, _):
        node.metadata["traceback"] = _user_lines(traceback.extract_stack())

    state = local.state
    before, state.anomaly = state.anomaly, bool(check_nan)
    try:
        with recording(remember):
            yield
    finally:
        state.anomaly = before


class set_detect_anomaly:
    """Anomaly mode on or off: at once, and until the end of a `with` block if used as one."""

    _entered = None

    def __init__(self, mode, check_nan=True):
        if set_detect_anomaly._entered is not None:
            set_detect_anomaly._entered.__exit__(None, None, None)
            set_detect_anomaly._entered = None
        if mode:
            set_detect_anomaly._entered = detect_anomaly(check_nan)
            set_detect_anomaly._entered.__enter__()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        set_detect_anomaly(False)


_library = tuple(
    str(pathlib.Path(__file__).resolve().parent.parent / name) for name in ("autograd", "backends", "nn")
)


def _user_lines(stack):
    """The part of a call stack that is the user's: down to the last line outside this library."""
    while stack and stack[-1].filename.startswith(("<chainrule", *_library)):
        stack.pop()
    return stack


def check(node, grads):
    """Raise if a gradient that `node` computed holds a NaN."""
    for index, grad in enumerate(grads):
        if grad is None:
            continue
        array = getattr(grad, "_array", grad)
        if array.dtype.kind in "fc" and bool((array != array).any()):
            text = f"{node.name()} returned a NaN in the gradient of its input {index}, of shape {tuple(array.shape)}"
            stack = node.metadata.get("traceback")
            if stack:
                text += f". Its forward was called here:\n{''.join(traceback.format_list(stack[-3:]))}"
            else:
                text += "; run the forward inside detect_anomaly() too, to see where it was called"
            raise RuntimeError(text)
