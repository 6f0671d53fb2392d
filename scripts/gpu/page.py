"""The tables that a report is read by: Markdown from the JSON, whatever of it is there."""

from .items import FINE


def number(value, digits=3):
    """A number short, anything else as it is, None as nothing."""
    if isinstance(value, float):
        return f"{value:.{digits}g}" if abs(value) < 1e5 or abs(value) >= 1e9 else f"{value:,.0f}"
    return "" if value is None else str(value)


def cell(value):
    return number(value).replace("|", "/").replace("\n", " ")


def table(head, rows):
    """A Markdown table with a blank line before it."""
    lines = ["", f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
    return lines + [f"| {' | '.join(map(cell, row))} |" for row in rows]


def page(data):
    """The whole page."""
    stages = data["stages"]
    title = "Rehearsal without a card" if data.get("rehearsal") else f"Check on {data['gpu']}"
    lines = [f"# {title}, {data['date']}"]
    if "wrong" in data:
        lines += ["", "**Something is wrong.**" if data["wrong"] else "Nothing wrong was found."]
    rows = []
    for name, stage in stages.items():
        states = [item.get("state") for item in stage.get("items", {}).values()]
        counts = [sum(state == one for state in states) for one in ("right", "skipped", "no time")]
        rows.append(
            [
                name,
                stage["state"],
                *counts,
                len(states) - sum(counts),
                stage.get("seconds"),
                stage.get("budget"),
            ]
        )
    lines += table(["stage", "state", "right", "skipped", "no time", "wrong", "seconds", "of"], rows)
    lines += wrong(stages)
    for name, write in (("versions", versions), ("kernels", kernels), ("libraries", libraries), ("parity", parity), ("capture", capture), ("workloads", workloads), ("sanitizer", sanitizer)):  # fmt: skip
        items = stages.get(name, {}).get("items")
        if items:
            lines += write(items)
    return "\n".join(lines) + "\n"


def wrong(stages):
    """What is not as it should be, with the end of its message."""
    rows = []
    for stage, found in stages.items():
        for name, item in found.get("items", {}).items():
            if item.get("state") not in (*FINE, "running"):
                text = str(item.get("error", "")).strip()
                rows.append(
                    [
                        stage,
                        name,
                        item.get("state"),
                        text if len(text) < 500 else f"{text[:200]} ... {text[-290:]}",
                    ]
                )
        if found.get("state") == "failed":
            rows.append([stage, "", "failed", found.get("log", "")[-500:]])
    return ["", "## Wrong", *table(["stage", "item", "", "message"], rows)] if rows else []


def versions(items):
    lines = ["", "## Machine"]
    about = [(name, value) for name, value in items.get("packages", {}).get("packages", {}).items()]
    card = items.get("card", {})
    about += [(key, value) for key, value in card.items() if key not in ("state", "seconds", "properties")]
    about += [
        (key, value) for key, value in items.get("libraries", {}).items() if key not in ("state", "seconds")
    ]
    lines += table(["", ""], about)
    ceilings = []
    for name, unit, by in (("copies", "TB/s read and written", 1e12), ("bf16", "TFLOP/s", 1e12), ("tf32", "TFLOP/s", 1e12), ("fp32", "TFLOP/s", 1e12)):  # fmt: skip
        found = items.get(name, {}).get("ceiling")
        ceilings.append([name, None if found is None else found / by, unit])
    return lines + table(["ceiling", "", ""], ceilings)


def kernels(items):
    """Which dtypes are right, and the times."""
    checks, times = {}, []
    for name, item in items.items():
        if name.startswith("time of "):
            found = item.get("times", {})
            row = [name.removeprefix("time of ")]
            row += [
                found.get(key, {}).get("ms", "failed" if key in found else None)
                for key in ("kernel", "composed", "torch")
            ]
            share = item.get("of a copy")
            rate = item.get("bytes per second")
            times.append([*row, None if rate is None else rate / 1e9, None if share is None else 100 * share])
        else:
            kernel, _, dtype = name.rpartition(" ")
            checks.setdefault(kernel, {})[dtype] = item.get("state")
    dtypes = ("float32", "bfloat16", "float16", "float64")
    rows = [[kernel, *(found.get(dtype, "") for dtype in dtypes)] for kernel, found in checks.items()]
    lines = ["", "## Kernels against their references", *table(["kernel", *dtypes], rows)]
    if times:
        lines += ["", "Times in milliseconds; bytes given and returned per second, in percent of a copy's."]
        lines += table(["kernel", "ours", "array code", "PyTorch", "GB/s", "% of a copy"], times)
    return lines


def libraries(items):
    """The largest error by path."""
    rows = []
    for name, item in items.items():
        largest = {path: max(one["errors"]) for path, one in item.get("paths", {}).items()}
        errors = item.get("errors")
        if isinstance(errors, dict):
            values = [value for one in errors.values() for value in (one if isinstance(one, list) else [one])]
            largest["library"] = max((one for one in values if isinstance(one, float)), default=None)
        rows.append(
            [name, item.get("state"), *(largest.get(path) for path in ("library", "kernels", "array"))]
        )
    head = ["", "state", "by the library", "by our kernels", "by array code"]
    return ["", "## Products, convolutions, attention: errors relative to float64", *table(head, rows)]


def parity(items):
    models = [[name, item.get("state"), item.get("first off"), item.get("most off")] for name, item in items.items() if "losses" in item]  # fmt: skip
    tests = [[name, item.get("state"), *(item.get("counts", {}).get(key) for key in ("passed", "failed", "skipped")), item.get("stopped")] for name, item in items.items() if "counts" in item]  # fmt: skip
    lines = ["", "## Against the CPU", *table(["losses", "state", "first off by", "most off by"], models)]
    lines += table(["tests", "state", "passed", "failed", "skipped", "stopped"], tests)
    failed = [one for item in items.values() for one in item.get("failed", [])]
    if failed:
        lines += [
            "",
            *(f"- `{one['failed']}`: {' '.join(one['text'].split())[-200:]}" for one in failed[:40]),
        ]
    return lines


def capture(items):
    head = ["step", "state", "eager ms", "replay ms", "most off", "host reads", "launches a step"]
    keys = ("state", "eager ms", "replay ms", "most off", "host reads", "launches per step")
    return [
        "",
        "## Captured steps",
        *table(head, [[name, *(item.get(key) for key in keys)] for name, item in items.items()]),
    ]


_VARIANTS = ("ours eager", "ours graph", "torch eager", "torch graph")


def workloads(items):
    """A row for each part; ratio is the best of ours to the floor."""
    compiled = {
        item.get("model"): item.get("ms") for name, item in items.items() if name.startswith("compiled ")
    }
    rows = []
    for name, item in sorted(items.items(), key=lambda pair: pair[1].get("number", 99)):
        for part, found in item.get("parts", {}).items():
            times = {key: value["ms"] for key, value in (found.get("times") or {}).items()}
            ours = [times[key] for key in _VARIANTS[:2] if key in times]
            least = found.get("floor ms")
            ratio = min(ours) / least if ours and least else None
            peaks = [
                None if found.get(f"{key} peak") is None else found[f"{key} peak"] / 2**20
                for key in ("ours eager", "torch eager")
            ]
            runs = [
                found.get(f"{key} kernels") or found.get(f"{key} launches")
                for key in ("ours eager", "torch eager")
            ]
            rows.append([item.get("number"), f"{item.get('title', name)}: {part}", least, *(times.get(key) for key in _VARIANTS), compiled.get(name) if part == "step" else None, ratio, *peaks, *runs, item.get("difference")])  # fmt: skip
        if not item.get("parts") and not name.startswith("compiled "):
            rows.append([item.get("number"), name, item.get("state"), *[None] * 11])
    head = ["#", "workload", "floor", "ours", "ours, graph", "PyTorch", "PyTorch, graph", "compiled", "ours / floor", "MiB", "PyTorch's MiB", "kernels", "PyTorch's", "difference"]  # fmt: skip
    notes = [
        f"- {name}: {what}: {text}"
        for name, item in items.items()
        for what, text in (item.get("errors") or {}).items()
    ]
    return ["", "## Workloads, milliseconds", *table(head, rows), *(["", *notes] if notes else [])]


def sanitizer(items):
    rows = [
        [name, item.get("state"), item.get("reason") or item.get("summary")] for name, item in items.items()
    ]
    return ["", "## Sanitizer and reruns", *table(["", "state", ""], rows)]
