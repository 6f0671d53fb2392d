"""The real CuPy on a machine without a card: what lies below its Python and Cython code is replaced.

CuPy's modules reach CUDA's runtime, driver and libraries by tables of C functions (`__pyx_capi__`), which they read when they are
imported. `install()`, called before the first `import cupy`, puts functions of this module there. Memory is host memory then,
copies and `memset` are done, and whatever computes does nothing: kernels are neither compiled nor launched, so results hold
whatever lay there. All that CuPy decides itself is real: which arguments its functions take, which dtypes its ufuncs have loops for,
shapes and dtypes of results, memory pools, streams, pinned memory, and when it reads back from the card.

With `quick=True` what is called all the time does nothing in C, without a way through Python: what time is left is that of Python code.

`asked` counts what was asked of CUDA: "launch", "host to device", "device to host", "device to device", "wait", "malloc", library calls.
"""

import collections
import contextlib
import ctypes
import importlib.machinery
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

asked = collections.Counter()
device = 0  # the current one
cards = 2
_blocks = {}  # address -> the buffer there
_numbers = iter(range(1 << 20, 1 << 62))  # handles of streams, events, modules
capturing = set()  # streams
kernels = []  # (source, options) of what CuPy would have compiled
_keep = []

_C = {
    "int": ctypes.c_int,
    "size_t": ctypes.c_size_t,
    "intptr_t": ctypes.c_ssize_t,
    "unsigned int": ctypes.c_uint,
    "PyObject *": ctypes.py_object,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "void": None,
}


def _allocate(size):
    asked["malloc"] += 1
    # Twice as much as asked and aligned, because nothing looks after what a kernel that is not launched would not write.
    buffer = ctypes.create_string_buffer(size + 512)
    address = (ctypes.addressof(buffer) + 511) // 512 * 512
    _blocks[address] = buffer
    return address


def _free(address, *_):
    _blocks.pop(address, None)


_KINDS = {0: "host to host", 1: "host to device", 2: "device to host", 3: "device to device"}


def _host(address, size):
    return any(start <= address < start + len(block) for start, block in _blocks.items())


def _copy(to, source, size, kind, *stream):
    if kind == 4:  # by the addresses
        kind = (not _host(to, size)) * 2 + _host(to, size) * (_host(source, size) * 2 + 1)
    name = _KINDS.get(kind, str(kind))
    asked[name] += 1
    if kind == 2 and not stream:
        asked["wait"] += 1
    if size:
        ctypes.memmove(to, source, size)


def _set(address, value, size, *_):
    asked["launch"] += 1
    ctypes.memset(address, value, size)


def _set_device(index, *_):
    global device
    device = index


on_wait = None  # called when the host has to wait for the card, to tell who made it


def _wait(*_):
    asked["wait"] += 1
    if on_wait is not None:
        on_wait()


on_launch = None  # called with the arguments of a launch: a kernel, grid, block, shared memory, stream, the addresses of its arguments


def _launch(*args):
    asked["launch"] += 1
    if on_launch is not None:
        on_launch(*args)


def _attribute(which, *_):
    # Compute capability 9.0; otherwise what is asked for is a size of which more is harmless.
    return {75: 9, 76: 0, 16: 132, 10: 32}.get(which, 1024)


def _begin(stream, *_):
    capturing.add(stream)


def _end(stream, *_):
    capturing.discard(stream)
    return next(_numbers)


def _handle(*_):
    return next(_numbers)


FUNCTIONS = {
    "getDevice": lambda *_: device,
    "setDevice": _set_device,
    "getDeviceCount": lambda *_: cards,
    "deviceGetAttribute": _attribute,
    "driverGetVersion": lambda *_: 13020,
    "deviceCanAccessPeer": lambda *_: 1,
    "memGetInfo": lambda *_: (1 << 33, 1 << 34),
    "malloc": lambda size, *_: _allocate(size),
    "mallocAsync": lambda size, *_: _allocate(size),
    "hostAlloc": lambda size, *_: _allocate(size),
    "free": _free,
    "freeAsync": _free,
    "freeHost": _free,
    "memcpy": lambda to, source, size, kind, *_: _copy(to, source, size, kind),
    "memcpyAsync": lambda to, source, size, kind, stream, *_: _copy(to, source, size, kind, stream),
    "memcpyPeer": lambda to, _, source, __, size, *___: _copy(to, source, size, 3),
    "memcpyPeerAsync": lambda to, _, source, __, size, *___: _copy(to, source, size, 3),
    "memset": _set,
    "memsetAsync": _set,
    "streamQuery": lambda *_: 0,
    "eventQuery": lambda *_: 0,
    "streamSynchronize": _wait,
    "eventSynchronize": _wait,
    "deviceSynchronize": _wait,
    "streamIsCapturing": lambda stream, *_: stream in capturing,
    "streamBeginCapture": _begin,
    "streamEndCapture": _end,
    "launchKernel": _launch,
    "launchCooperativeKernel": _launch,
    "occupancyMaxPotentialBlockSize": lambda *_: (132, 256),
    "getDeviceProperties": lambda index, *_: {
        "name": b"no card", "major": 9, "minor": 0, "totalGlobalMem": 1 << 34, "multiProcessorCount": 132,
        "warpSize": 32, "sharedMemPerBlock": 49152, "maxThreadsPerBlock": 1024, "maxGridSize": (2**31 - 1, 65535, 65535),
        "maxThreadsDim": (1024, 1024, 64), "regsPerBlock": 65536,
    },
}  # fmt: skip
_HANDLES = re.compile(
    r"^(stream|event)Create|^graphInstantiate|^module(Load|GetFunction)|^create$|Create$|^create"
)
_MODULES = (
    "cupy_backends.cuda.api.runtime",
    "cupy_backends.cuda.api.driver",
    "cupy_backends.cuda.libs.cublas",
    "cupy_backends.cuda.libs.cusolver",
    "cupy_backends.cuda.libs.cusparse",
    "cupy_backends.cuda.libs.curand",
)

# What `quick=True` makes functions of C that look at no argument: to ask for a launch, to be told the device.
_QUICK = (
    "launchKernel",
    "_ensure_context",
    "memsetAsync",
    "memcpyAsync",
    "getDevice",
    "setDevice",
    "streamIsCapturing",
    "eventRecord",
)

_api = ctypes.pythonapi
_api.PyCapsule_GetName.restype, _api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


def _stand_in(library, name):
    """What is called instead of a C function for which `FUNCTIONS` has nothing."""

    def function(*_):
        if library.startswith("libs."):
            asked[f"{library[5:]}.{name}"] += 1
        if "Version" in name:
            return 12000 if name.endswith("Number") else (12, 0, 0)
        if re.match("x.*_bufferSize", name):
            return 0, 0
        if name.endswith("getrsBatched"):
            ctypes.memset(_[9], 0, 4)  # info: no argument was wrong
        return next(_numbers) if _HANDLES.search(name) else 0

    return function


def _nothing(result):
    """A function of C that takes no notice of its arguments: it gives a new object, or 0."""
    return _api.PyDict_New if result is ctypes.py_object else _api.PyErr_Occurred


def _replace(module, library, quick):
    """Put our functions into a module's table, and under its Python names."""
    for name, capsule in list(module.__pyx_capi__.items()):
        signature = _api.PyCapsule_GetName(capsule)
        found = re.fullmatch(r"(.+?)\s*\((.*)\)", signature.decode())
        if not found or name == "check_status" or found[1].startswith(("struct", "cuda")):
            continue  # constants, and what gives a struct
        result = _C.get(found[1], ctypes.c_ssize_t)
        types = [_c_type(one.strip()) for one in found[2].split(",") if one.strip() != "void"]
        ours = FUNCTIONS.get(name) if library.startswith("api.") else None
        python = _giving(ours or _stand_in(library, name), result)
        function, kept = ctypes.CFUNCTYPE(result, *types)(python), ctypes.create_string_buffer(signature)
        if quick and name in _QUICK:
            function, python = _nothing(result), int if name == "getDevice" else python
        _keep.extend((function, kept))
        module.__pyx_capi__[name] = _api.PyCapsule_New(
            ctypes.cast(function, ctypes.c_void_p), ctypes.cast(kept, ctypes.c_char_p), None
        )
        if hasattr(module, name):
            setattr(module, name, python)


def _c_type(text):
    """The ctypes class of a parameter: "intptr_t", "int __pyx_skip_dispatch"."""
    if "__pyx_skip_dispatch" in text:
        return ctypes.c_int
    return _C.get(text, ctypes.c_void_p if "*" in text else ctypes.c_ssize_t)


def _giving(function, result):
    """`function`, with something in the place of None that C can be given."""
    # ctypes would take a reference to None too many away: an empty tuple is given for nothing.
    nothing = () if result is ctypes.py_object else 0

    def call(*args):
        value = function(*args)
        return nothing if value is None and result is not None else value

    return call


class _Finder:
    """Finds CuPy's modules as Python does, and replaces their functions as soon as they are loaded."""

    def __init__(self, quick):
        self.quick = quick

    def find_spec(self, name, path=None, target=None):
        if name not in _MODULES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            _replace(module, name.partition("cuda.")[2], self.quick)

        spec.loader.exec_module = exec_module
        return spec


# Functions that tell something by an argument: how much memory they need, which version they are.
_TELL = {
    "cufftMakePlan1d": "(int a, int b, int c, int d, long *size) { *size = 0; return 0; }",
    "cufftMakePlanMany": "(int a, int b, int *c, int *d, int e, int f, int *g, int h, int i, int j, int k, long *size)"
    " { *size = 0; return 0; }",
    "cusolverGetProperty": "(int part, int *version) { *version = part ? 0 : 12; return 0; }",
    "cusparseGetProperty": "(int part, int *version) { *version = part ? 0 : 12; return 0; }",
}


def _provide_library(site, module):
    """Load the CUDA library that an extension module of CuPy wants, or, where it is not installed, one whose functions do nothing."""
    binary = next(site.glob(f"{module}.*.so"))
    needed = subprocess.run(["readelf", "-d", binary], capture_output=True, text=True, check=True).stdout
    name = re.search(r"\[(libcu\w+\.so[.\d]*)\]", needed)[1]
    short = name[3:].partition(".")[0]
    from cuda import pathfinder

    with contextlib.suppress(pathfinder.DynamicLibNotFoundError):
        pathfinder.load_nvidia_dynamic_lib(short)
        return
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", binary], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(rf" U ({name[3:].partition('.')[0]}\w+)", symbols)
    folder = Path(tempfile.mkdtemp())
    bodies = [f"int {one}{_TELL.get(one, '(void) { return 0; }')}\n" for one in names]
    (folder / "nothing.c").write_text("".join(bodies))
    (folder / "versions").write_text(f"{name} {{ global: *; }};")
    made = folder / name
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            f"-Wl,-soname,{name},--version-script={folder / 'versions'}",
            "-o",
            made,
            folder / "nothing.c",
        ],
        check=True,
    )
    loaded = ctypes.CDLL(str(made), ctypes.RTLD_GLOBAL)
    told = types.SimpleNamespace(_handle_uint=loaded._handle, abs_path=str(made))
    find = pathfinder.load_nvidia_dynamic_lib
    pathfinder.load_nvidia_dynamic_lib = lambda name: told if name == short else find(name)
    shutil.rmtree(folder)


def _tried(function):
    """A function with kernels compiled into CuPy, which find no card when everything about the arguments is settled."""

    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:
            if "cudaError" not in str(error):
                raise

    return call


def install(quick=False):
    """Replace what lies below CuPy. Call it before CuPy is imported; returns the module cupy."""
    if "cupy" in sys.modules:
        raise RuntimeError("CuPy was imported before")
    sys.meta_path.insert(0, _Finder(quick))
    import cupy

    for module in (
        "cupy_backends/cuda/libs/cublas",
        "cupy_backends/cuda/libs/cusolver",
        "cupy_backends/cuda/libs/cusparse",
        "cupy/cuda/cufft",
    ):
        _provide_library(Path(cupy.__file__).parent.parent, module)

    def compiled(source, options=(), *args, **kwargs):
        kernels.append((source, options))
        module = cupy.cuda.function.Module()
        module.load(b"")
        return module

    from cupy.cuda import compiler

    compiler._compile_module_with_cache = compiled
    malloc = cupy.get_default_memory_pool().malloc

    def zeroed(size):
        pointer = malloc(size)
        ctypes.memset(pointer.ptr, 0, size)
        return pointer

    for name in ("sort", "argsort", "lexsort"):
        setattr(cupy.cuda.thrust, name, _tried(getattr(cupy.cuda.thrust, name)))
    if not quick:  # what counts elements then counts none, and nothing is as long as some old float
        cupy.cuda.set_allocator(zeroed)
    return cupy


def connect(count=2, quick=False):
    """`install()`, and chainrule's device "cuda" over it, with `count` cards. Returns the backend."""
    global cards
    cards = count
    cupy = install(quick)
    from chainrule.backends import cuda

    cuda._begin(cupy, count)  # the probe computes something, which cannot come out right
    cuda._probed = True
    return cuda
