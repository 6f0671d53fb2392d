"""Runs kernels on the CPU: their sources, compiled as C++ against `simt.h`, on NumPy arrays.

What was compiled is kept in the system's temporary folder under a hash of its text, and compiled again only if that changes.
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

from chainrule.backends.cuda_kernels import registry

HEADER = Path(__file__).parent / "simt.h"
COMPILER = shutil.which(os.environ.get("CXX", "g++")) if os.name == "posix" else None
ENTRY = re.compile(r'extern "C" __global__ void (\w+)\(')
# Products are not fused with sums: a card's compiler does, and tolerances allow for it.
FLAGS = ("-O1", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-shared", "-fPIC")


@functools.cache
def library(dtype, *texts):
    """The compiled sources, all of them or `texts` alone, for a dtype."""
    texts = texts or [(registry.SOURCES / f"{name}.cu").read_text() for name in registry.sources()]
    parts = [HEADER.read_text(), (registry.SOURCES / "common.cuh").read_text()]
    for number, text in enumerate(texts):
        entries = "\n".join(f"EMULATE({name})" for name in ENTRY.findall(text))
        parts.append(f"namespace source_{number} {{\n{text}\n{entries}\n}}")
    return ctypes.CDLL(str(_compiled("\n".join(parts), (*FLAGS, *registry.options(dtype)))))


def _compiled(text, flags):
    import fcntl  # not on Windows, where there is no g++ either

    key = hashlib.sha256("\n".join([COMPILER, *flags, text]).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"chainrule-emulation-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / f"{key}.so"
    with open(folder / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes one compiles, the others wait
        if not made.exists():
            part = made.with_suffix(".part")
            command = [COMPILER, *flags, "-x", "c++", "-", "-o", str(part)]
            done = subprocess.run(command, input=text, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[:4000]
            part.replace(made)
    return made


class Emulator:
    """A launcher for arrays whose memory is on the host: `host(array)` gives the NumPy array of one.

    `texts`: sources in place of the package's.
    """

    def __init__(self, xp=np, host=lambda array: array, texts=()):
        self.xp = xp
        self.host = host
        self.texts = texts
        self.launched = []
        self._kept = {}

    def __call__(self, source, entry, dtype, grid, block, *args):
        assert all(isinstance(one, int) and one >= 0 for one in (*grid, *block)), (grid, block)
        assert grid[1] < 65536 and grid[2] < 65536 and np.prod(block) <= 1024, (grid, block)
        assert not source or f" {entry}(" in registry.source_text(source), f"{source} has no {entry}"
        if 0 in grid:
            return
        values = [self._eight_bytes(one) for one in args]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(one) for one in values))
        shape = [(ctypes.c_uint * 3)(*one) for one in (grid, block)]
        run = getattr(library(dtype, *self.texts), f"launch_{entry}")
        code = run(*shape, pointers, len(values))
        assert code != 1, f"{entry}: threads wait for each other forever"
        assert code != 2, f"{entry}: called with {len(values)} arguments"
        self.launched.append(entry)

    def _eight_bytes(self, value):
        if value is None:
            return ctypes.c_void_p(None)
        if isinstance(value, (int, np.integer)):
            return ctypes.c_ulonglong(int(value) % 2**64)
        if isinstance(value, float):
            return ctypes.c_double(value)
        return ctypes.c_void_p(self.address(value))

    def address(self, array):
        """Where an array's first element lies."""
        return self.host(array).ctypes.data

    def constants(self, values, dtype="int64"):
        """An array of a tuple of numbers, made once."""
        if (values, dtype) not in self._kept:
            self._kept[values, dtype] = self.xp.asarray(np.array(values, dtype=dtype))
        return self._kept[values, dtype]
