"""Names for stretches of time that NVIDIA's profilers show beside the kernels (`torch.cuda.nvtx`). Without a card they do nothing.

with cr.cuda.nvtx.range("epoch {}", 3):
    train()
"""

import contextlib
import threading

from chainrule.backends import get


class _Local(threading.local):
    depth = 0


_local = _Local()


def _nvtx():
    """CuPy's binding, None without a card."""
    backend = get("cuda")
    return backend.xp.cuda.nvtx if backend.available() else None


def range_push(msg):
    """Open a range inside those that are open; returns how many were open, 0 for the outermost."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.RangePush(str(msg))
    _local.depth += 1
    return _local.depth - 1


def range_pop():
    """Close the innermost range; returns how many are left open."""
    if not _local.depth:
        raise RuntimeError("nvtx.range_pop: no range of this thread is open; call range_push first")
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.RangePop()
    _local.depth -= 1
    return _local.depth


def range_start(msg):
    """Open a range that may end in another thread, or overlap with others; returns what `range_end` takes."""
    nvtx = _nvtx()
    return 0 if nvtx is None else nvtx.RangeStart(str(msg))


def range_end(range_id):
    """Close a range of `range_start`."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.RangeEnd(range_id)


def mark(msg):
    """Mark a moment."""
    nvtx = _nvtx()
    if nvtx is not None:
        nvtx.Mark(str(msg))


@contextlib.contextmanager
def range(msg, *args, **kwargs):
    """`with range("step {}", 3):` (or as a decorator) is a range; the message is formatted with the arguments."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
