"""Which ways of computing attention may be taken in this thread: what `cr.nn.attention.sdpa_kernel` sets.

"math": with all probabilities, kept for the backward pass; "flash": without them, by code of our own; "cudnn": without them, by cuDNN.
"""

import contextlib
import contextvars

EVERY = frozenset(("math", "flash", "cudnn"))
_allowed = contextvars.ContextVar("allowed", default=EVERY)

allowed = _allowed.get


@contextlib.contextmanager
def only(ways):
    """Inside, no other way is taken."""
    token = _allowed.set(frozenset(ways))
    try:
        yield
    finally:
        _allowed.reset(token)
