"""Every kernel on its first two cases in float32, for the sanitizer, under which everything is slow."""

import os

from chainrule.backends.cuda_kernels import KERNELS

from .kernels import right


def items(place, context):
    """{kernel: function}."""
    if place.full and os.environ.get("CHAINRULE_EVERY_BLOCK"):
        place.cupy.cuda.set_allocator(None)
    place.kernels()
    return {
        kernel.name: lambda k=kernel: right(place, k, "float32", seeds=(0,), most=3)
        for kernel in KERNELS.values()
    }
