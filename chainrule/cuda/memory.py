"""Memory of a card: what arrays use, what CuPy's pool holds, and the most there was.

The pool knows the present only. Peaks are counted by a hook in the pool, which costs a little on every allocation and is therefore
put there when they are first asked for: `reset_peak_memory_stats()` before the part of a program that is measured.
"""

import threading
import warnings

from chainrule.backends import get
from chainrule.backends.counting import readable

from .cards import card, index_given, needed


def memory_allocated(device=None):
    """Bytes in use by arrays on a card; 0 without one."""
    return _account("memory_allocated", device).get("allocated", 0)


def memory_reserved(device=None):
    """Bytes held by the memory pool of a card; 0 without one."""
    return _account("memory_reserved", device).get("reserved", 0)


def max_memory_allocated(device=None):
    """The most bytes arrays used on a card since `reset_peak_memory_stats`; 0 without a card.

    Allocations of this thread count, those inside captured graphs too. Counting begins with the first
    `reset_peak_memory_stats`: without one this is the most that was met when asked, and a warning says so.
    """
    return _peaks("max_memory_allocated", device)[0]


def max_memory_reserved(device=None):
    """The most bytes the memory pool of a card held since `reset_peak_memory_stats`; 0 without a card."""
    return _peaks("max_memory_reserved", device)[1]


def reset_peak_memory_stats(device=None):
    """Let the peaks of a card (the current one) begin with what is in use now, and count from here on in this thread."""
    backend = needed("reset_peak_memory_stats")
    index = card("reset_peak_memory_stats", device).id
    backend.reset_peak(index)
    account = backend.memory(index)
    _start(backend.xp)
    _counts[index] = _Count(account["allocated"], account["reserved"])


reset_max_memory_allocated = reset_peak_memory_stats


def memory_stats(device=None):
    """The account of a card as a flat dict, under PyTorch's names: what is in use and held, now and at most. {} without a card."""
    account = _account("memory_stats", device)
    if not account:
        return {}
    count = _counts.get(card("memory_stats", device).id)
    peak, reserved = (
        (account["peak"], account["reserved"]) if count is None else (count.peak, count.peak_reserved)
    )
    return {
        "allocated_bytes.all.current": account["allocated"],
        "allocated_bytes.all.peak": max(peak, account["allocated"]),
        "reserved_bytes.all.current": account["reserved"],
        "reserved_bytes.all.peak": max(reserved, account["reserved"]),
    }


def set_per_process_memory_fraction(fraction, device=None):
    """Let allocations fail that would make arrays of this process hold more than this part of a card's memory; 1 is no limit.

    Captured graphs, whose memory pools are their own, are not counted.
    """
    if not isinstance(fraction, (int, float)) or isinstance(fraction, bool):
        raise TypeError(f"cuda.set_per_process_memory_fraction: fraction must be a number, got {fraction!r}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"cuda.set_per_process_memory_fraction: fraction must lie in [0, 1], got {fraction}")
    on = card("set_per_process_memory_fraction", device)
    size = None if fraction == 1 else max(int(fraction * on.mem_info[1]), 1)  # CuPy reads 0 as no limit
    get("cuda").set_memory_limit(size, on.id)


def get_per_process_memory_fraction(device=None):
    """The part of a card's memory that arrays of this process may hold."""
    on = card("get_per_process_memory_fraction", device)
    limit = get("cuda").memory_limit(on.id)
    return 1.0 if not limit else limit / on.mem_info[1]


def mem_get_info(device=None):
    """(free, total): bytes of a card as its driver counts them, where the pool's unused blocks are not free."""
    free, total = card("mem_get_info", device).mem_info
    return free, total


def memory_summary(device=None, abbreviated=False):
    """A table for reading; `abbreviated` leaves out the card's own account."""
    index = card("memory_summary", device).id
    account = get("cuda").memory(index)
    allocated, reserved = _peaks("memory_summary", index)
    rows = [
        ("used by arrays", account["allocated"]),
        ("used by arrays, peak", allocated),
        ("held by the pool", account["reserved"]),
        ("held by the pool, peak", reserved),
    ]
    if not abbreviated:
        rows += [("free on the card or in the pool", account["free"]), ("on the card", account["total"])]
    return "\n".join(
        [f"memory of cuda:{index}", *(f"  {name:<32}{readable(size):>12}" for name, size in rows)]
    )


def _account(what, device):
    backend = get("cuda")
    index = index_given(what, device)
    return backend.memory(index) if backend.available() else {}


class _Count:
    """What is in use on one card, followed from a known start, and its peaks."""

    def __init__(self, allocated, reserved):
        self.allocated = self.peak = allocated
        self.peak_reserved = reserved


_counts: dict[int, _Count] = {}  # by card
_local = threading.local()  # CuPy keeps one list of hooks a thread


def _peaks(what, device):
    """(allocated, reserved) at their highest; zeros without a card."""
    account = _account(what, device)
    if not account:
        return 0, 0
    count = _counts.get(card(what, device).id)
    if count is None:
        warnings.warn(
            f"cuda.{what}: peaks are counted only from reset_peak_memory_stats() on; call it before the part to measure",
            stacklevel=3,
        )
        return account["peak"], account["reserved"]
    return max(count.peak, account["peak"]), max(count.peak_reserved, account["reserved"])


def _start(cupy):
    """Count this thread's allocations from here on."""
    if not hasattr(_local, "hook"):

        class PeakHook(cupy.cuda.MemoryHook):
            name = "chainrule peaks"

            def malloc_postprocess(self, device_id, mem_size, mem_ptr, **_):
                count = _counts.get(device_id)
                if count is not None and mem_ptr:  # 0 where the allocation failed
                    count.allocated += mem_size
                    count.peak = max(count.peak, count.allocated)
                    reserved = cupy.get_default_memory_pool().total_bytes()
                    count.peak_reserved = max(count.peak_reserved, reserved)

            def free_postprocess(self, device_id, mem_size, **_):
                count = _counts.get(device_id)
                if count is not None:
                    count.allocated -= mem_size

        _local.hook = PeakHook()
        _local.hook.__enter__()
