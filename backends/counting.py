"""What a stretch of a program asks of its device: launches, copies, waits and memory, with the lines that wait.

with cr.cuda.count() as work:
    step(images, labels)
print(work)
"""

import collections

from . import transfers

_WHAT = {
    "value": "reads a value",
    "shape": "waits for a shape",
    "wait": "waits",
    "to_host": "copies to the host",
    "to_device": "copies to the device",
}


class count(transfers.Watcher):
    """`with count() as work:` adds up what this thread asks of devices, CUDA's or the stand-in's. `print(work)` shows a table.

    launches: array functions that computed something, kernels of our own, captured graphs; `launched_names` how many of each name.
        One array function of CuPy may take several kernels.
    host_reads: how often Python waited for the device: values (`item`, `bool`, printing), shapes that only the device knows (boolean
        masks), copies to the host, `synchronize`.
    copies_to_device, copies_to_host, bytes_to_device, bytes_to_host: copies, those of values that are read included.
    allocations, bytes_allocated: memory taken; peak_bytes: the most that was in use after one of these allocations.
    crossings: every copy and every wait, with `kind`, `by` (the function that the program called), `shape`, `nbytes`, `line`.

    What was counted stays readable after the block; entering it again goes on counting.
    """

    hears_allocations = True

    def __init__(self):
        self.crossings = []
        self.launched_names = collections.Counter()
        self.allocations = self.bytes_allocated = self.peak_bytes = 0

    def __enter__(self):
        self.watch()
        return self

    def __exit__(self, *_):
        self.unwatch()

    def crossing(self, found):
        """Note a copy or a wait."""
        self.crossings.append(found)

    def launched(self, what):
        """Note a launch."""
        self.launched_names[what] += 1

    def allocated(self, nbytes, in_use):
        """Note an allocation."""
        self.allocations += 1
        self.bytes_allocated += nbytes
        self.peak_bytes = max(self.peak_bytes, in_use)

    @property
    def launches(self):
        """How many launches there were."""
        return sum(self.launched_names.values())

    @property
    def host_reads(self):
        """How often Python waited for the device."""
        return sum(one.waits for one in self.crossings)

    @property
    def copies_to_device(self):
        """How many copies went to the device."""
        return len(self._copies("to_device"))

    @property
    def bytes_to_device(self):
        """Their bytes."""
        return sum(one.nbytes for one in self._copies("to_device"))

    @property
    def copies_to_host(self):
        """How many copies came from the device, values that were read included."""
        return len(self._copies("to_host", "value"))

    @property
    def bytes_to_host(self):
        """Their bytes."""
        return sum(one.nbytes for one in self._copies("to_host", "value"))

    def _copies(self, *kinds):
        return [one for one in self.crossings if one.kind in kinds]

    def summary(self):
        """One line."""
        return (
            f"{self.launches:,} launches, {self.host_reads:,} host reads, "
            f"{self.copies_to_device:,} copies to the device ({readable(self.bytes_to_device)}), "
            f"{self.copies_to_host:,} to the host ({readable(self.bytes_to_host)}), "
            f"{self.allocations:,} allocations ({readable(self.bytes_allocated)}, at most {readable(self.peak_bytes)} in use)"
        )

    def __str__(self):
        most = ", ".join(f"{name} {times:,}" for name, times in self.launched_names.most_common(5))
        rows = [
            ("launches", self.launches, most),
            ("host reads", self.host_reads, ""),
            ("copies to the device", self.copies_to_device, readable(self.bytes_to_device)),
            ("copies to the host", self.copies_to_host, readable(self.bytes_to_host)),
            (
                "allocations",
                self.allocations,
                f"{readable(self.bytes_allocated)}, at most {readable(self.peak_bytes)} in use",
            ),
        ]
        lines = [f"{name:<22}{number:>10,}  {detail}".rstrip() for name, number, detail in rows]
        places = collections.Counter((one.by, _WHAT[one.kind], one.line) for one in self.crossings)
        lines += [f"{times:>7,} x  {by} {what}: {line}" for (by, what, line), times in places.most_common()]
        return "\n".join(lines)

    __repr__ = __str__


def readable(size):
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
