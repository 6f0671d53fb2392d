"""How a Tensor prints: PyTorch's way, numbers aligned, long ones cut to their ends, and what is not obvious named at the end."""

import math
from dataclasses import dataclass

import numpy

from chainrule.backends import backend_of, dtypes


@dataclass
class Options:
    """What `set_printoptions` sets."""

    precision: int = 4
    threshold: float = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


options = Options()
_PROFILES = {
    "default": Options(),
    "short": Options(precision=2, edgeitems=2),
    "full": Options(threshold=math.inf),
}


def set_printoptions(
    precision=None, threshold=None, edgeitems=None, linewidth=None, profile=None, sci_mode=None
):  # fmt: skip
    """How Tensors print from now on.

    precision: digits after the point (4). threshold: more elements than this are cut to their ends (1000). edgeitems: how many
    are shown at each end (3). linewidth: characters in a line (80). sci_mode: whether 1.0e+02 is always (True), never
    (False), or where the numbers ask for it (None) used. profile: "default", "short" or "full" sets all, the others then
    change single ones.
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise ValueError(
                f"set_printoptions: profile must be one of {', '.join(_PROFILES)}, got {profile!r}"
            )
        options.__dict__.update(_PROFILES[profile].__dict__)
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    for name, value in given.items():
        if value is not None:
            if not isinstance(value, int | float) or value < (1 if name == "linewidth" else 0):
                raise ValueError(f"set_printoptions: {name} must be a number of at least 0, got {value!r}")
            setattr(options, name, value)
    options.sci_mode = sci_mode


def text(tensor):
    """`tensor([[1., 2.]], requires_grad=True)`."""
    if backend_of(tensor._array).batched:  # inside vmap: every sample
        values = text(tensor._wrap(backend_of(tensor._array).stored(tensor._array)))
        sizes = [size for _, size in tensor._array.levels]
        return f"BatchedTensor(shape={list(tensor.shape)}, samples={sizes}, values={values})"
    array = backend_of(tensor._array).to_host(tensor._array)
    shown = array.astype(numpy.float32) if array.dtype.kind == "V" else array
    kind = type(tensor).__name__
    head = "" if kind == "Tensor" else f"{kind} containing:\n"
    prefix = "tensor("
    body = "[]"
    if array.size:
        cut = array.size > options.threshold
        body = _nested(shown, len(prefix), cut, _formatters(_ends(shown) if cut else shown))
    return head + _with_notes(prefix + body, _notes(tensor, array), len(prefix))


def _notes(tensor, array):
    """What the numbers do not tell: device, shape where nothing shows it, an unusual dtype, the place in the graph."""
    default = dtypes.get_default_dtype()
    expected = (default, default.to_complex(), dtypes.int64, dtypes.bool) if array.size else (default,)
    notes = []
    if tensor.device.type != "cpu":
        notes.append(f"device='{tensor.device}'")
    if not array.size and array.ndim != 1:
        notes.append(f"size={tuple(array.shape)}")
    if tensor.dtype not in expected:
        notes.append(f"dtype={tensor.dtype}")
    if tensor.grad_fn is not None:
        notes.append(f"grad_fn={tensor.grad_fn!r}")
    elif tensor.requires_grad:
        notes.append("requires_grad=True")
    return notes


def _with_notes(body, notes, indent):
    """The notes after the numbers, on the same line where they fit."""
    length = len(body) - body.rfind("\n") + 1
    for note in notes:
        if length + len(note) + 2 > options.linewidth:
            body += ",\n" + " " * indent + note
            length = indent + len(note)
        else:
            body += ", " + note
            length += len(note) + 2
    return body + ")"


def _nested(array, indent, cut, formatters):
    """The elements in nested brackets; `indent` is the column of the first bracket."""
    if array.ndim == 0:
        return _element(array.item(), formatters)
    edge = options.edgeitems
    cut_here = cut and len(array) > 2 * edge
    rows = [*array[:edge], ..., *array[len(array) - edge :]] if cut_here else list(array)
    if array.ndim == 1:
        return _line(rows, indent, formatters)
    parts = ["..." if row is ... else _nested(row, indent + 1, cut, formatters) for row in rows]
    return "[" + ("," + "\n" * (array.ndim - 1) + " " * (indent + 1)).join(parts) + "]"


def _line(values, indent, formatters):
    """One row of numbers, broken into lines where it is too long."""
    parts = [" ..." if one is ... else _element(one.item(), formatters) for one in values]
    width = sum(one.width for one in formatters) + 1 + len(formatters)
    each = max(1, (options.linewidth - indent) // width)
    lines = [", ".join(parts[start : start + each]) for start in range(0, len(parts), each)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _element(value, formatters):
    if len(formatters) == 1:
        return formatters[0](value)
    real, imag = formatters[0](value.real), formatters[1](value.imag).lstrip() + "j"
    return real + (imag if imag[0] in "+-" else "+" + imag)


def _formatters(array):
    """What turns an element into text: one formatter, or one each for the two parts of complex numbers."""
    if array.dtype.kind == "c":
        return _Floats(array.real), _Floats(array.imag)
    return (_Floats(array) if array.dtype.kind == "f" else _Whole(array),)


def _ends(array):
    """The elements that will be shown."""
    edge = options.edgeitems
    for axis in range(array.ndim):
        length = array.shape[axis]
        if length > 2 * edge:
            array = array.take([*range(edge), *range(length - edge, length)], axis)
    return array


class _Whole:
    """Integers and bools, right-aligned."""

    def __init__(self, array):
        self.width = max((len(str(one)) for one in array.ravel().tolist()), default=1)

    def __call__(self, value):
        return str(value).rjust(self.width)


class _Floats:
    """Floats in one form for all: `1.` if all are whole, `1.0000`, or `1.0000e+00` where they differ too much in size."""

    def __init__(self, array):
        values = array[numpy.isfinite(array) & (array != 0)].astype(numpy.float64)
        sizes = numpy.abs(values)
        self.whole = bool((values == numpy.ceil(values)).all())
        wide = sizes.size and (
            sizes.max() / sizes.min() > 1000 or sizes.max() > 1e8 or (not self.whole and sizes.min() < 1e-4)
        )
        chosen = (
            options.sci_mode if values.size else False
        )  # only zeros, NaN and infinities: nothing asks for a form
        self.scientific = bool(wide) if chosen is None else chosen
        self.width = 1
        self.width = max((len(self(one)) for one in values.tolist()), default=1)

    def __call__(self, value):
        if self.scientific:
            shown = f"{value:.{options.precision}e}"
        elif self.whole:
            shown = f"{value:.0f}" + ("." if math.isfinite(value) else "")
        else:
            shown = f"{value:.{options.precision}f}"
        return shown.rjust(self.width)
