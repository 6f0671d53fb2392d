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


def number(value):
    """A number in four significant digits."""
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, complex):
        return f"{number(value.real)}{'+' if value.imag >= 0 or value.imag != value.imag else ''}{number(value.imag)}j"
    return f"{value + 0.0:.4g}"  # the sum turns -0 into 0


def rows(value):
    """A number, or nested lists of them, as lines of text: one for each innermost list."""
    if not isinstance(value, list):
        return [number(value)]
    if not value or not isinstance(value[0], list):
        return ["[" + ", ".join(number(one) for one in value) + "]"]
    return [line for one in value for line in rows(one)]


def byte_count(count):
    """`1.5 kB`, as memory is counted: 1 kB is 1024 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024


def operations(count):
    """`1 operation`, `2 operations`."""
    return f"{count:,} operation{'s' if count != 1 else ''}"
