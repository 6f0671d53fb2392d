"""Array libraries behind one interface: NumPy, CuPy and a strict stand-in for a GPU used by the tests.

Everything here works on raw arrays and knows nothing of graphs or derivatives. `namespaces` maps an array
class to the module whose functions take it; `backend_of(array)` and `get("cuda")` give the `Backend` with the
rest: devices, copies between host and device, memory, and faster kernels for named operations. Importing this
package imports NumPy and nothing else: CuPy and ml_dtypes come in when they are first used.
"""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.backends, not as {__name__}: a second copy of its classes would not mix"
    )

from importlib import import_module

from . import devices, dtypes
from .backend import (
    Backend,
    OutOfMemoryError,
    add_at,
    backend_of,
    get,
    kernels,
    namespaces,
    register,
    registered,
)
from .cupy_backend import cuda
from .devices import device, get_default_device, set_default_device
from .dtypes import dtype, get_default_dtype, result_type, set_default_dtype
from .numpy_backend import cpu
from .random import Generator, default_generator, manual_seed

__all__ = [
    "Backend",
    "FakeArray",
    "Generator",
    "OutOfMemoryError",
    "add_at",
    "backend_of",
    "cpu",
    "cuda",
    "cudnn",
    "default_generator",
    "device",
    "devices",
    "dtype",
    "dtypes",
    "fake",
    "get",
    "get_default_device",
    "get_default_dtype",
    "kernels",
    "manual_seed",
    "namespaces",
    "register",
    "registered",
    "result_type",
    "set_default_device",
    "set_default_dtype",
]


def __getattr__(name):
    # The stand-in for a GPU is for tests: it is loaded when asked for.
    if name in ("FakeArray", "fake"):
        from . import fakedevice

        return getattr(fakedevice, name)
    if name == "cudnn":
        return import_module("chainrule.backends.cudnn")
    raise AttributeError(f"module 'chainrule.backends' has no attribute {name!r}")
