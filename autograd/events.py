"""What a profile has seen: a list of events, their averages by name as a text table, and the trace for a browser."""

import json
import os


class Event:
    """One operation (kind "forward"), the rules of one ("backward"), a span of the user's ("span") or a module's call ("module").

    `cpu_time_total` is from start to end, `self_cpu_time_total` without the events inside; both in microseconds.
    """

    __slots__ = (
        "bytes",
        "depth",
        "end",
        "flops",
        "inner",
        "kind",
        "name",
        "saved",
        "shapes",
        "stack",
        "start",
        "thread",
    )

    def __init__(self, name, kind, depth, thread):
        self.name, self.kind, self.depth, self.thread = name, kind, depth, thread
        self.start = self.end = self.inner = 0
        self.bytes = self.saved = self.flops = 0
        self.shapes, self.stack = [], []

    count = 1

    @property
    def key(self):
        """The name."""
        return self.name

    @property
    def cpu_time_total(self):
        """Microseconds from start to end."""
        return (self.end - self.start) / 1e3

    @property
    def self_cpu_time_total(self):
        """Microseconds outside the events inside this one."""
        return (self.end - self.start - self.inner) / 1e3

    cpu_time = cpu_time_total

    @property
    def cpu_memory_usage(self):
        """Bytes of the results that lie in memory of their own."""
        return self.bytes

    @property
    def saved_memory_usage(self):
        """Bytes kept for backward; what several operations keep counts for each."""
        return self.saved

    @property
    def input_shapes(self):
        """The shapes of the inputs, with record_shapes."""
        return self.shapes

    def __repr__(self):
        return f"<Event {self.name} ({self.kind}): {_time(self.cpu_time_total)}>"


class FunctionEventAvg:
    """The sum of the events of one name."""

    def __init__(self, key, kind):
        self.key, self.kind, self.count = key, kind, 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.saved_memory_usage = self.flops = 0
        self.input_shapes, self.stack = [], []

    def add(self, event):
        """Count one more event (or the sum of some)."""
        self.count += event.count
        for name in (
            "cpu_time_total",
            "self_cpu_time_total",
            "cpu_memory_usage",
            "saved_memory_usage",
            "flops",
        ):
            setattr(self, name, getattr(self, name) + getattr(event, name))

    @property
    def cpu_time(self):
        """Microseconds of one call."""
        return self.cpu_time_total / self.count if self.count else 0.0

    def __repr__(self):
        return f"<FunctionEventAvg {self.key}: {self.count} calls, {_time(self.self_cpu_time_total)}>"


_SORTED_BY = (
    "self_cpu_time_total", "cpu_time_total", "cpu_time", "cpu_memory_usage", "saved_memory_usage", "flops", "count",
)  # fmt: skip


class EventList(list):
    """Events or averages; `table()` shows them. `device`: what was asked of a device meanwhile, if one was in use."""

    def __init__(self, events=(), device=None):
        super().__init__(events)
        self.device = device

    def key_averages(self, group_by_input_shapes=False, group_by_stack_n=0):
        """The sums by name and kind, and by shapes and the innermost lines of the caller where asked for."""
        groups = {}
        for event in self:
            if event.kind == "module":
                continue
            shapes = event.input_shapes if group_by_input_shapes else []
            stack = event.stack[:group_by_stack_n]
            key = (event.key, event.kind, str(shapes), tuple(stack))
            if key not in groups:
                groups[key] = FunctionEventAvg(event.key, event.kind)
                groups[key].input_shapes, groups[key].stack = shapes, stack
            groups[key].add(event)
        return EventList(groups.values(), self.device)

    def total_average(self):
        """The sum of all operations and rules."""
        total = FunctionEventAvg("Total", "total")
        for event in self:
            if event.kind in ("forward", "backward"):
                total.add(event)
        return total

    @property
    def self_cpu_time_total(self):
        """Microseconds of all operations and rules together."""
        return sum(one.self_cpu_time_total for one in self if one.kind in ("forward", "backward"))

    def table(
        self, sort_by=None, row_limit=100, max_name_column_width=45, header=None, top_level_events_only=False
    ):
        """A text table, the largest `sort_by` first: self_cpu_time_total, cpu_time_total, cpu_time (of one call), cpu_memory_usage,
        saved_memory_usage, flops or count."""
        if sort_by is not None and sort_by not in _SORTED_BY:
            raise ValueError(f"table: sort_by must be one of {', '.join(_SORTED_BY)}, got {sort_by!r}")
        rows = [one for one in self if not top_level_events_only or not getattr(one, "depth", 0)]
        if sort_by is not None:
            rows.sort(key=lambda one: getattr(one, sort_by), reverse=True)
        rows = rows if row_limit < 0 else rows[:row_limit]
        total = self.self_cpu_time_total
        titles = [
            "Name",
            "Pass",
            "Calls",
            "Self time",
            "Self %",
            "Total time",
            "Per call",
            "Bytes out",
            "Bytes saved",
            "FLOPs",
        ]
        shapes, stack = any(one.input_shapes for one in rows), any(one.stack for one in rows)
        titles += ["Input shapes"] * shapes + ["Source"] * stack
        cells = [titles]
        for one in rows:
            share = f"{100 * one.self_cpu_time_total / total:.1f}%" if total else "-"
            cells.append([
                _cropped(one.key, max_name_column_width), one.kind, str(one.count), _time(one.self_cpu_time_total), share,
                _time(one.cpu_time_total), _time(one.cpu_time), scaled(one.cpu_memory_usage, 1024, "B"),
                scaled(one.saved_memory_usage, 1024, "B"), scaled(one.flops, 1000, ""),
                *([", ".join(map(str, one.input_shapes))] if shapes else []), *([_source(one.stack)] if stack else []),
            ])  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        rule = "  ".join("-" * width for width in widths)
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 1) or i >= 10 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        lines = [rule, lines[0], rule, *lines[1:], rule, f"Self time total: {_time(total)}"]
        if self.device is not None and (self.device.launches or self.device.crossings):
            lines.append(f"Device: {self.device.summary()}")
        return "\n".join([*([header] if header else []), *lines]) + "\n"

    def export_chrome_trace(self, path):
        """Write the events as a trace for chrome://tracing or ui.perfetto.dev: a row for spans and modules, one for each pass."""
        rows = {
            "span": (0, "modules and spans"),
            "module": (0, "modules and spans"),
            "forward": (1, "forward"),
            "backward": (2, "backward"),
        }
        process = os.getpid()
        trace = [
            {"ph": "M", "name": "thread_name", "pid": process, "tid": tid, "args": {"name": name}}
            for tid, name in sorted(set(rows.values()))
        ]
        for event in self:
            details = {"bytes out": event.bytes, "bytes saved": event.saved, "flops": event.flops}
            if event.shapes:
                details["input shapes"] = [list(shape) for shape in event.shapes]
            if event.stack:
                details["source"] = event.stack
            trace.append({
                "ph": "X", "name": event.name, "cat": event.kind, "pid": process, "tid": rows[event.kind][0],
                "ts": event.start / 1e3, "dur": event.cpu_time_total, "args": details,
            })  # fmt: skip
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": trace, "displayTimeUnit": "ms"}, file)

    def __str__(self):
        return self.table()


def _cropped(text, width):
    return text if width is None or len(text) <= width else text[: width - 3] + "..."


def _source(stack):
    return stack[0] if stack else ""


def _time(microseconds):
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:.3f}s"
    return f"{microseconds / 1e3:.3f}ms" if microseconds >= 1e3 else f"{microseconds:.3f}us"


def scaled(number, step, unit):
    """A number with its thousands as K, M, G, T."""
    for prefix in ("", "K", "M", "G"):
        if number < step:
            return f"{number:.2f} {prefix}{unit}".rstrip() if prefix else f"{number} {unit}".rstrip()
        number /= step
    return f"{number:.2f} T{unit}"
