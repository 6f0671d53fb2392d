"""Kernels of our own for CUDA, as package data: what composed array code does in several passes, in one.

`source/*.cu` is CUDA C++, compiled for each dtype by NVRTC when a kernel is first used (CuPy keeps the result on disk). A
function beside them in Python (`rows.py`, `norms.py`, ...) allocates the outputs, chooses the grid and launches; the
decorator `kernel` of `registry.py` enters it into the table `KERNELS` with its dtypes, the operation it stands in for, a
guard that says for which arrays, and a NumPy function that computes the same in the plainest way.

The operations know nothing of this: `install` registers the kernels with a backend, whose table they ask. Nothing here is
imported before a CUDA device is used.
"""

import functools

from . import attention, convolution, drawn, elementwise, many, norms, recurrent, rows, scattered, windows
from .registry import KERNELS, CupyLauncher

__all__ = ["KERNELS", "CupyLauncher", "install"]


def install(backend, launch):
    """Register every kernel that stands in for an operation, or its gradient, with `backend`; they run through `launch`."""
    for one in KERNELS.values():
        if one.replaces:
            function = functools.partial(one.function, launch)
            function.consumes = one.consumes
            backend.register_kernel(one.replaces, one.guard)(function)
