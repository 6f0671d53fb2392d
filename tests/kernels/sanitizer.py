"""A launcher that watches what kernels do to memory, as compute-sanitizer does on a card: `sanitizer.h`.

It names what is read or written outside the arrays that a kernel is given, shared memory that is read before it is written, threads that
touch the same place without a barrier in between, accesses that are not aligned, and integers that overflow. Memory that
nobody has written holds what `poison` says, so that what depends on it shows as a difference between two runs.
"""

import ctypes
import functools
import mmap
import re
import shutil
import subprocess
import weakref

import numpy as np

from chainrule.backends.cuda_kernels import registry
from tests.kernels.emulator import COMPILER, Emulator

SHARED_MEMORY = 48 << 10  # what a block can have without asking for more

# (entry point, parameter): what threads write at once, all of them the same.
SAME_FOR_ALL = {("unscale", "found")}


@functools.cache
def works():
    """Whether there is a compiler for it: GCC, on Linux."""
    if COMPILER is None or not hasattr(ctypes, "CDLL"):
        return False
    said = subprocess.run([COMPILER, "-v"], capture_output=True, text=True).stderr
    return "gcc version" in said and "linux" in said


class Sanitizer(Emulator):
    """poison: the byte that fills shared memory before each block. Others: see `Emulator`."""

    headers = ("simt.h", "sanitizer.h")
    flags = (
        "-DSANITIZE",
        "-g1",
        "-fsanitize=thread",
        "-fsanitize=alignment,bounds,signed-integer-overflow,shift,integer-divide-by-zero",
    )

    def __init__(self, xp=np, host=lambda array: array, poison=0xFF, **options):
        super().__init__(xp, host, **options)
        self.poison = poison
        self._known = weakref.WeakValueDictionary()  # those whose addresses were asked for
        self._watched = []

    def address(self, array):
        address = super().address(array)
        self._known[address] = _owner(self.host(array))
        return address

    def run(self, compiled, source, entry, arrays, *arguments):
        text = registry.source_text(source) if source else "".join(self.texts)
        named = zip(_parameters(text, entry), arrays, strict=True)
        self._watched = [(f"`{name}`", array) for name, array in named if array is not None]
        same = {id(array) for name, array in self._watched if (entry, name.strip("`")) in SAME_FOR_ALL}
        self._watched += [("an array of a table", array) for array in self._known.values()]
        extents = _joined([(*_extent(array), id(array) in same) for _, array in self._watched])
        assert len(extents) <= 4096, "more arrays than `sanitizer.h` has places for"
        kinds = ctypes.c_size_t, ctypes.c_size_t, ctypes.c_long, ctypes.c_long
        columns = [
            (kind * len(extents))(*column)
            for kind, column in zip(kinds, zip(*extents, strict=True), strict=True)
        ]
        guards = _guards(compiled._name)
        compiled.simt_guards(len(guards), (ctypes.c_long * len(guards))(*guards))
        compiled.simt_watch(len(extents), *columns, self.poison)
        code = super().run(compiled, source, entry, arrays, *arguments)
        compiled.simt_shared_bytes.restype = ctypes.c_long
        used = compiled.simt_shared_bytes()
        assert used <= SHARED_MEMORY, f"{entry}: a block uses {used} bytes of shared memory"
        return code

    def problem(self, compiled):
        text = super().problem(compiled)
        text = re.sub(r"\[([0-9a-f]+)\]", lambda found: self._place(int(found[1], 16)), text)
        return re.sub(r"0x([0-9a-f]+)", lambda found: _line(compiled, int(found[1], 16)), text)

    def _place(self, at):
        """What lies at an address, in words."""
        near = []
        for name, array in self._watched:
            first, last, size = _extent(array)
            kind = f"{name} ({array.dtype} {array.shape})"
            if first <= at < last:
                return f"element {(at - array.ctypes.data) // size} of {kind}"
            near.append((first - at if at < first else at - last, kind, "before" if at < first else "behind"))
        distance, kind, where = min(near, default=(0, "nothing", "at"))
        return f"{distance} bytes {where} {kind}" if distance < 1 << 20 else "nothing known"


@functools.cache
def _guards(path):
    """Where in a thread's memory the compiler notes that a static array of a class was made."""
    symbols = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0], 16) for line in symbols.splitlines() if " _ZGVZ" in line]


def _owner(array):
    """What the array is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _extent(array):
    """(first address, address behind the last, bytes of an element) of the memory that an array is a view of."""
    array = _owner(array)
    return *np.lib.array_utils.byte_bounds(array), array.itemsize


def _joined(extents):
    """(first, last, bytes of an element, same) with those that overlap as one, in order of addresses; empty ones left out."""
    found = []
    for first, last, size, same in sorted(one for one in extents if one[0] < one[1]):
        if found and first < found[-1][1]:
            before = found.pop()
            first, last, size, same = before[0], max(last, before[1]), min(size, before[2]), same or before[3]
        found.append((first, last, size, same))
    return found


@functools.cache
def _parameters(text, entry):
    """The names of a kernel's parameters."""
    header = text.split(f"void {entry}(")[1].split(")")[0]
    return [one.split()[-1].lstrip("*&") for one in header.split(",")]


def _line(compiled, address):
    """The place in the source of a place in the code."""
    tool = shutil.which("addr2line")
    if tool is None:
        return hex(address)
    with open("/proc/self/maps") as maps:
        spans = [line.split()[0] for line in maps if compiled._name in line]
    first = min(int(span.split("-")[0], 16) for span in spans)
    command = [tool, "-e", compiled._name, hex(address - first - 1)]
    return (
        subprocess.run(command, capture_output=True, text=True)
        .stdout.partition(" (")[0]
        .strip()
        .rpartition("/")[2]
    )


# --- arrays ---


class Memory:
    """Where the arrays of a case lie: `to` copies one, and as a namespace it stands for NumPy, whose empty arrays it poisons.

    offsets: how many elements the first, the second ... array is away from a multiple of 64 bytes, over and over.
    """

    def __init__(self, poison=0xFF, offsets=(0,)):
        self.poison = poison
        self.offsets = offsets
        self.made = 0

    def __getattr__(self, name):
        return getattr(np, name)

    def to(self, array):
        """A copy, which is no view of another array: nothing but its elements belongs to it. It lies as the array does."""
        offset = self.offsets[self.made % len(self.offsets)] * array.itemsize
        self.made += 1
        memory = (ctypes.c_char * (array.nbytes + offset + 64))()
        offset += -ctypes.addressof(memory) % 64
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        flat = np.ndarray([array.shape[axis] for axis in order], array.dtype, memory, offset)
        copy = flat.transpose(np.argsort(order)) if order else flat
        copy[...] = array
        return copy

    def _poisoned(self, array):
        array.view("uint8" if array.ndim and array.flags.c_contiguous else array.dtype)
        np.lib.stride_tricks.as_strided(array, (array.size,), (array.itemsize,)).view("uint8").fill(
            self.poison
        )
        return array

    def empty(self, shape, dtype="float64"):
        return self._poisoned(np.empty(shape, dtype))

    def empty_like(self, array):
        return self._poisoned(np.empty_like(array))


class Sparse:
    """A namespace whose new arrays are zeros that take no memory until they are written, as large as one likes."""

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype="float64"):
        size = int(np.prod(shape, dtype="int64")) * np.dtype(dtype).itemsize
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype).reshape(shape)

    zeros = empty

    def empty_like(self, array):
        return self.empty(array.shape, array.dtype)
