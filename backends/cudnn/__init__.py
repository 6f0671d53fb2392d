"""cuDNN: convolution and attention on CUDA devices through NVIDIA's graph interface, and PyTorch's switches for it.

`plans.py` builds, keeps and runs graphs; `conv.py` and `attention.py` describe what is computed and register it as kernels. Nothing of
this is imported before a CUDA device is used.

`chainrule.backends.cudnn` is at the same time PyTorch's object of that name: its switches (`allow_tf32`, `benchmark`, ...) are those of
`precision_settings.cudnn`, whichever way it was imported.
"""

import sys
import types

from chainrule.backends import precision_settings


class _Package(types.ModuleType):
    """A package whose other attributes are the switches."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(precision_settings.cudnn, name)

    def __setattr__(self, name, value):
        if name.startswith("__") or isinstance(value, types.ModuleType):
            super().__setattr__(name, value)  # what the import system writes
        else:
            setattr(precision_settings.cudnn, name, value)


sys.modules[__name__].__class__ = _Package
