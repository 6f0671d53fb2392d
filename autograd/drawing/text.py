"""Numbers, shapes and names as short text for labels."""

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "\\": "&#92;", "\n": " ", "\r": " "}
)


def escape(text):
    """`text` safe in a label."""
    return text.translate(_ESCAPES)


def crop(text, length):
    """`text` cut to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def number(value, digits=4):
    """A number in so many significant digits."""
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, complex):
        return f"{number(value.real)}{'+' if value.imag >= 0 or value.imag != value.imag else ''}{number(value.imag)}j"
    return f"{value + 0.0:.{digits}g}"  # the sum turns -0 into 0


_LONGEST_ROW = 6  # numbers on a line


def rows(value):
    """A number, or nested lists of them, as lines of text: one for each innermost list, or several if it is long."""
    if not isinstance(value, list):
        return [number(value)]
    if not value or not isinstance(value[0], list):
        numbers = [number(one) for one in value]
        count = -(-len(numbers) // _LONGEST_ROW) or 1
        length = -(-len(numbers) // count) or 1  # lines of about the same length
        lines = [", ".join(numbers[i : i + length]) for i in range(0, len(numbers), length)] or [""]
        return [
            f"{'[' if i == 0 else ''}{line}{']' if i == len(lines) - 1 else ','}"
            for i, line in enumerate(lines)
        ]
    return [line for one in value for line in rows(one)]


def byte_count(count):
    """`1.5 kB`, as memory is counted: 1 kB is 1024 bytes."""
    count = round(count)
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024


def operations(count):
    """`1 operation`, `2 operations`."""
    return f"{count:,} operation{'s' if count != 1 else ''}"


def share(part):
    """A share of the whole, `45 %`."""
    return f"{100 * part:.2g} %" if part < 0.995 else f"{100 * part:.3g} %"


def seconds(time):
    """`1.5 ms`."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if time * factor >= 1 or unit == "µs":
            return f"{time * factor:.3g} {unit}"
