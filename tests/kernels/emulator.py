"""Runs kernels on the CPU: their sources, compiled as C++ against `simt.h`, on NumPy arrays.

What was compiled is kept in the system's temporary folder under a hash of its text, and compiled again only if that changes.
`sanitizer.py` has a launcher that watches what kernels do to memory.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from chainrule.backends.capturing import at_once, local
from chainrule.backends.cuda_kernels import registry

FOLDER = Path(__file__).parent
COMPILER = shutil.which(os.environ.get("CXX", "g++")) if os.name == "posix" else None
ENTRY = re.compile(r'extern "C" __global__ (?:__launch_bounds__\(\w+\) )?void (\w+)\(')
# Products are not fused with sums: a card's compiler does, and tolerances allow for it.
# Shared memory is of each dtype's own library: a static of a template is otherwise one for the whole process, of the first one's size.
# Fibers jump from stack to stack, which _FORTIFY_SOURCE takes for an error.
FLAGS = (
    "-O1",
    "-w",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fno-gnu-unique",
    "-fPIC",
    "-U_FORTIFY_SOURCE",
)

# Orders in which threads run between barriers, and blocks one after the other, as in `simt.h`.
ORDERS = ("forward", "backward", "lanes backward", "warps backward", "random", "preempted")

_NUMBERS = (int, np.integer, float)


@functools.cache
def library(dtype, source="", texts=(), headers=("simt.h",), flags=()):
    """The compiled source, or `texts` in its place, for a dtype."""
    named = [(source, (registry.SOURCES / f"{source}.cu").read_text())] if not texts else []
    named += [(f"text_{number}", text) for number, text in enumerate(texts)]
    parts = [(FOLDER / name).read_text() for name in headers]
    parts.append(f'#line 1 "common.cuh"\n{(registry.SOURCES / "common.cuh").read_text()}')
    for number, (name, text) in enumerate(named):
        entries = "\n".join(f"EMULATE({entry})" for entry in ENTRY.findall(text))
        parts.append(f'namespace source_{number} {{\n#line 1 "{name}.cu"\n{text}\n{entries}\n}}')
    found = ctypes.CDLL(str(_compiled("\n".join(parts), (*FLAGS, *flags, *registry.options(dtype)))))
    found.simt_problem.restype = ctypes.c_char_p
    found.simt_schedule.argtypes = ctypes.c_int, ctypes.c_uint64, ctypes.c_uint64
    return found


def _compiled(text, flags):
    import fcntl  # not on Windows, where there is no g++ either

    key = hashlib.sha256("\n".join([COMPILER, *flags, text]).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"chainrule-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / f"{key}.so"
    with open(folder / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one compiles, the others wait
        if not made.exists():
            part, object_file = made.with_suffix(".part"), made.with_suffix(".o")
            # In two steps, so that no library of a sanitizer is linked: `sanitizer.h` has what they call.
            for command in (
                [COMPILER, *flags, "-x", "c++", "-c", "-", "-o", str(object_file)],
                [COMPILER, "-shared", str(object_file), "-o", str(part)],
            ):
                done = subprocess.run(command, input=text, capture_output=True, text=True)
                assert done.returncode == 0, done.stderr[:4000]
            object_file.unlink()
            part.replace(made)
    return made


class Emulator:
    """A launcher for arrays whose memory is on the host: `host(array)` gives the NumPy array of one.

    texts: sources in place of the package's. order, seed: one of ORDERS, and what is drawn if that is random. blocks: how many
    blocks of each launch are run, the last ones; 0 for all.
    """

    headers, flags = ("simt.h",), ()

    def __init__(self, xp=np, host=lambda array: array, texts=(), order="forward", seed=0, blocks=0):
        self.xp = xp
        self.host = host
        self.texts = tuple(texts)
        self.schedule = ORDERS.index(order), seed, blocks
        self.launched = []
        self._kept = {}
        self._addressed = []  # arrays whose addresses went into tables since the last launch

    def __call__(self, source, entry, dtype, grid, block, *args):
        assert all(isinstance(one, int) and one >= 0 for one in (*grid, *block)), (grid, block)
        assert grid[0] < 2**31 and grid[1] < 65536 and grid[2] < 65536, (entry, grid)
        assert np.prod(block) <= 1024 and block[2] <= 64, (entry, block)
        assert not source or f" {entry}(" in registry.source_text(source), f"{source} has no {entry}"
        if 0 in grid:
            return
        values = [self._eight_bytes(one) for one in args]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(one) for one in values))
        shape = [(ctypes.c_uint * 3)(*one) for one in (grid, block)]
        compiled = library(dtype, source, self.texts, self.headers, self.flags)
        arrays = [None if one is None or isinstance(one, _NUMBERS) else self.host(one) for one in args]

        def launch():
            compiled.simt_schedule(*self.schedule)
            code = self.run(compiled, source, entry, arrays, *shape, pointers, len(values))
            assert code != 1, f"{entry}: {self.problem(compiled)}"
            assert code != 2, f"{entry}: called with {len(values)} arguments"
            self.launched.append(entry)

        if local.capture is None:
            launch()
        else:  # on the fake device
            given = [one for one in arrays if one is not None]
            local.capture.launched(launch, [*given, *self._addressed])
        self._addressed.clear()

    def run(self, compiled, source, entry, arrays, *arguments):
        """Run one launch; of the kernel's arguments `arrays` has the arrays, and None for others. Returns what `launch` in `simt.h` does."""
        return getattr(compiled, f"launch_{entry}")(*arguments)

    def problem(self, compiled):
        """What went wrong in the last launch."""
        return compiled.simt_problem().decode()

    def _eight_bytes(self, value):
        if value is None:
            return ctypes.c_void_p(None)
        if isinstance(value, (int, np.integer)):
            return ctypes.c_ulonglong(int(value) % 2**64)
        if isinstance(value, float):
            return ctypes.c_double(value)
        return ctypes.c_void_p(self.host(value).ctypes.data)

    def address(self, array):
        """Where an array's first element lies."""
        if local.capture is not None:
            self._addressed.append(self.host(array))
        return self.host(array).ctypes.data

    def table(self, owner, values, dtype="int64"):
        """As `constants`."""
        return self.constants(values, dtype)

    def constants(self, values, dtype="int64"):
        """An array of a tuple of numbers, made once."""
        if (values, dtype) not in self._kept:
            self._kept[values, dtype] = at_once(lambda: self.xp.asarray(np.array(values, dtype=dtype)))
        return self._kept[values, dtype]
