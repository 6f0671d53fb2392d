"""The table of kernels, and what compiles and launches their sources.

A launcher is called with a source's name, an entry point, a dtype, grid and block, and the arguments: arrays, None (a null
pointer), integers (`long long`) and floats (`double`). The tests have one that runs the same sources on the CPU.
"""

import functools
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chainrule.backends.capturing import at_once
from chainrule.backends.capturing import local as capturing

SOURCES = Path(__file__).parent / "source"

# dtype -> the C++ types of what lies in memory and of what is computed in.
TYPES = {
    "float32": ("float", "float"),
    "float64": ("double", "double"),
    "float16": ("float16", "float"),
    "bfloat16": ("bfloat16", "float"),
}
FLOATS = tuple(TYPES)

_MOST_TABLES, _VERSIONS = 256, 4  # of how many owners, and how many for each
_GRID = 1 << 16  # blocks of a grid-stride loop: enough to fill any card


@dataclass(frozen=True)
class Kernel:
    """One function of the table.

    source: the file, without `.cu`. dtypes: what it takes. replaces: the operation whose forward it computes, or
    "<operation>.gradient", or None where callers ask for it by name. guard: as in `Backend.register_kernel`. reference: what
    it computes, as a NumPy function with the arguments of `function` (without launcher and namespace) and float64 arrays.
    consumes: a gradient that is told, by `owned=`, whether what the operation saved is its own to write over and to return.
    """

    name: str
    source: str
    function: object
    reference: object
    dtypes: tuple = FLOATS
    replaces: str | None = None
    guard: object = None
    consumes: bool = False


KERNELS: dict[str, Kernel] = {}


def kernel(source, reference, replaces=None, guard=None, dtypes=FLOATS, consumes=False):
    """Decorator: enter `function(launch, xp, ...)` into the table under its own name."""

    def enter(function):
        name = function.__name__
        KERNELS[name] = Kernel(name, source, function, reference, dtypes, replaces, guard, consumes)
        return function

    return enter


@functools.cache
def source_text(source):
    """The CUDA C++ text of a source: what all share, and its own."""
    return "\n".join((SOURCES / file).read_text() for file in ("common.cuh", f"{source}.cu"))


def options(dtype):
    """The compiler's options for a dtype, by name."""
    scalar, wide = TYPES[dtype]
    return "--std=c++17", f"-DSCALAR={scalar}", f"-DWIDE={wide}"


def sources():
    """The names of all sources."""
    return sorted(path.stem for path in SOURCES.glob("*.cu"))


class CupyLauncher:
    """Compiles with NVRTC when an entry point is first asked for, and launches on CuPy's current stream."""

    def __init__(self, cupy):
        self.cupy = cupy
        self._modules = {}
        self._functions = {}
        self._several = cupy.cuda.runtime.getDeviceCount() > 1
        # What CuPy hands on as eight bytes by itself; an `int` that fits into a `long long` too.
        self._as_they_are = frozenset({cupy.ndarray, float, type(None)})
        self._constants = functools.lru_cache(maxsize=1024)(self._constant)
        self._tables = {}

    def __call__(self, source, entry, dtype, grid, block, *args):
        if 0 in grid:
            return
        if self._several:
            self._check_device(args)
        function = self._functions.get((entry, dtype))
        if function is None:
            function = self._functions[entry, dtype] = self._module(source, dtype).get_function(entry)
        kept = self._as_they_are
        for one in args:
            if one.__class__ not in kept and (one.__class__ is not int or one >= _TOO_LARGE):
                args = tuple(map(_eight_bytes, args))
                break
        function(grid, block, args)

    def _module(self, source, dtype):
        if (source, dtype) not in self._modules:
            code, flags = source_text(source), options(dtype)
            self._modules[source, dtype] = self.cupy.RawModule(code=code, options=flags)
        return self._modules[source, dtype]

    def _check_device(self, args):
        """A kernel runs on the current device, and its arrays must lie there."""
        current = self.cupy.cuda.runtime.getDevice()
        for one in args:
            if isinstance(one, self.cupy.ndarray) and one.device.id != current:
                raise RuntimeError(
                    f"an array lies on cuda:{one.device.id}, but the current device is cuda:{current}; "
                    f"call set_device({one.device.id}) first"
                )

    def address(self, array):
        """Where an array's first element lies."""
        return array.data.ptr

    def constants(self, values, dtype="int64"):
        """A device array of a tuple of numbers, copied there once. It is not to be written."""
        device = self.cupy.cuda.runtime.getDevice()
        if capturing.capture is None:
            return self._constants(values, dtype, device)
        return at_once(lambda: self._constants(values, dtype, device))

    def _constant(self, values, dtype, device):
        return self.cupy.asarray(np.array(values, dtype=dtype))

    def table(self, owner, values, dtype="int64"):
        """As `constants`, of numbers that may be others at each call: a few arrays are kept for `owner`, and the oldest is written anew.

        Gradients come to lie in what others left. A new array for each table would take some of that, and the next gradients would lie
        elsewhere again.
        """
        if capturing.capture is not None:
            return self.constants(values, dtype)
        cuda = self.cupy.cuda
        # What one stream has still to read, another must not write.
        key = (
            owner,
            len(values),
            dtype,
            cuda.get_current_stream().ptr,
            cuda.runtime.getDevice(),
            threading.get_ident(),
        )
        kept = self._tables.get(key)
        if kept is None:
            if len(self._tables) >= _MOST_TABLES:
                self._tables.pop(next(iter(self._tables)))
            kept = self._tables[key] = {}
        array = kept.get(values)
        if array is None:
            array = (
                kept.pop(next(iter(kept)))
                if len(kept) >= _VERSIONS
                else self.cupy.empty(len(values), dtype=dtype)
            )
            array[...] = self.cupy.asarray(np.array(values, dtype=dtype))
            kept[values] = array
        return array


_TOO_LARGE = 2**63


def _eight_bytes(value):
    """A number as one of eight bytes, whatever CuPy would make of it; others are themselves."""
    if isinstance(value, int):
        return np.int64(value) if value < _TOO_LARGE else np.uint64(value)
    return np.float64(value) if isinstance(value, float) else value


# --- for guards and launches ---

_names = {}  # dtype -> its name, or None where kernels have no version for it


def name_of(dtype):
    """The dtype's name in `TYPES`, None if it has none."""
    try:
        return _names[dtype]
    except KeyError:
        return _names.setdefault(dtype, str(dtype) if str(dtype) in TYPES else None)


def wide_of(dtype):
    """The dtype that is computed in."""
    return "float64" if name_of(dtype) == "float64" else "float32"


def plain(first, *others):
    """Whether all are contiguous arrays of one class and one of the dtypes, and the first is not empty; None is passed over."""
    kind, dtype = first.__class__, first.dtype
    if name_of(dtype) is None or not first.size or not first.flags.c_contiguous:
        return False
    for one in others:
        if one is not None and (
            one.__class__ is not kind or one.dtype != dtype or not one.flags.c_contiguous
        ):
            return False
    return True


def over_elements(count, block=256):
    """Grid and block for a loop over `count` elements."""
    return (min(-(-count // block), _GRID), 1, 1), (block, 1, 1)


def over_rows(rows, n):
    """Grid and block for rows of n elements: a warp a row if they are short, else a block."""
    if n <= 1024:
        warps = 4 if rows < 1 << 32 else 16  # a grid has less than 2^31 blocks
        return (-(-rows // warps), 1, 1), (32, warps, 1)
    return (rows, 1, 1), (256 if n <= 1 << 14 else 1024, 1, 1)


def over_strips(rows, columns, itemsize, blocks=1024):
    """Grid and block for strips of (rows, columns), and (rows, columns, rows of a block, whether a thread takes a pack of columns)."""
    packed = columns % (16 // itemsize) == 0
    threads = columns // (16 // itemsize) if packed else columns
    across = min(32, 1 << (threads - 1).bit_length())
    down, wide_blocks = 256 // across, -(-threads // across)
    chunk = max(-(-rows // max(1, blocks // wide_blocks)), min(rows, 4 * down))
    return (wide_blocks, -(-rows // chunk), 1), (across, down, 1), (rows, columns, chunk, int(packed))


def over_columns(rows, n, chunks=64):
    """Grid and block for sums down n columns of few rows, and how many rows a block takes."""
    chunk = max(64, -(-rows // chunks))
    return (-(-n // 32), -(-rows // chunk), 1), (32, 8, 1), chunk
