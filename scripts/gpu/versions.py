"""What this runs on, and what the card can do: the ceilings that times are held against.

`ceilings` has "copy" in bytes per second (read plus written) and "bf16", "tf32", "fp32" in floating point operations per second.
Products are measured with PyTorch where it is there, because the library's own are what is to be judged by them.
"""

import ctypes
import importlib.machinery
import importlib.metadata
import platform
import shutil
import sys

import numpy as np

import chainrule as cr

from .items import Skipped, Wrong

PACKAGES = """numpy cupy-cuda12x cupy-cuda13x torch triton ml_dtypes nvidia-cudnn-frontend nvidia-cudnn-cu12 nvidia-cudnn-cu13
    nvidia-cublas nvidia-cublas-cu12 nvidia-cuda-nvrtc nvidia-cuda-nvrtc-cu12 pytest pytest-xdist pytest-timeout hypothesis scipy""".split()


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}" if isinstance(number, int) else str(number)


def packages(place):
    """Versions of what is installed, and where the checkout's folders are found."""
    found = {"Python": platform.python_version(), "chainrule": cr.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["compute-sanitizer"] = shutil.which("compute-sanitizer") or "not on the PATH"
    for folder in ("tests", "scripts", "benchmarks"):
        hidden = importlib.machinery.PathFinder.find_spec(folder, sys.path)
        if hidden is not None and hidden.origin is not None:
            found[f"the folder {folder} is hidden from pytest by"] = hidden.origin
    return {"packages": found}


def card(place):
    """The card, its driver, and the runtime CuPy uses."""
    if not place.full:
        raise Skipped("there is no card in a rehearsal")
    runtime = place.cupy.cuda.runtime
    properties = runtime.getDeviceProperties(place.backend.current_device())
    free, total = runtime.memGetInfo()
    return {
        "name": properties["name"].decode(),
        "compute capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "l2": properties.get("l2CacheSize", 0),
        "memory": total,
        "free": free,
        "driver": _version(runtime.driverGetVersion()),
        "runtime": _version(runtime.runtimeGetVersion()),
        "nvrtc": ".".join(map(str, place.cupy.cuda.nvrtc.getVersion())),
        "pool limit": place.cupy.get_default_memory_pool().get_limit(),
        "properties": {
            key: value for key, value in properties.items() if isinstance(value, (int, float, tuple, list))
        },
    }


def libraries(place):
    """cuBLASLt and cuDNN: which were found, and their versions."""
    found = {"cudnn": cr.backends.cudnn.version(), "cudnn can be used": cr.backends.cudnn.is_available()}
    if not place.full:
        return found
    from chainrule.backends.cudnn import plans

    found |= {"why no cuBLASLt": place.backend.why_no_gemm, "why no cuDNN": plans.why_not()}
    for name in ("cublasLt", "cudnn", "nvrtc"):
        try:
            from cuda.pathfinder import load_nvidia_dynamic_lib

            library = load_nvidia_dynamic_lib(name)
            found[f"{name} library"] = library.abs_path
            if name == "cublasLt":
                get_version = ctypes.CDLL(library.abs_path).cublasLtGetVersion
                get_version.restype = ctypes.c_size_t
                found["cublasLt"] = get_version()
        except Exception as error:  # missing, or an older one that has other names
            found[f"{name} library"] = f"{type(error).__name__}: {str(error)[:200]}"
    return found


def cudnn_properties(place):
    """The card as cuDNN describes it, by which plans can be built where there is none."""
    try:
        import cudnn
    except ImportError as error:
        raise Skipped(f"nvidia-cudnn-frontend is not there: {error}") from None
    if not place.full:
        raise Skipped("there is no card in a rehearsal")
    return {"json": cudnn.create_device_properties(place.backend.current_device()).serialize()}


def torch_version(place):
    """PyTorch, if it can use the card."""
    torch = place.bring_torch()
    if torch is None:
        raise Skipped(place.why_no_torch)
    shared = place.to_torch(place.normal(4, dtype=cr.bfloat16))
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "memory shared": place.no_sharing or f"yes, {shared.dtype} on {shared.device}",
    }


def copies(place):
    """Bytes per second of a copy within the device, read plus written."""
    size = place.size(1 << 31, 1 << 16)
    source = place.to(np.zeros(1 << 16, "uint8"))
    source = place.xp.resize(source, size) if hasattr(place.xp, "resize") else source
    source = place.xp.ascontiguousarray(source)
    target = place.xp.empty_like(source)

    def copy(i):
        target[...] = source

    found = place.interleaved({"copy": copy})["copy"]
    return {"ceiling": 2 * source.nbytes / found["ms"] * 1e3, **found}


def products(place, kind):
    """Operations per second of a large square product on random numbers."""
    n = place.size(8192 if kind != "fp32" else 4096, 32)
    library = place.bring_torch() or cr
    dtype = library.bfloat16 if kind == "bf16" else library.float32
    a, b = (place.of(library, place.normal(n, n, seed=seed)).to(dtype) for seed in (1, 2))
    before = library.get_float32_matmul_precision()
    library.set_float32_matmul_precision("high" if kind == "tf32" else "highest")
    try:
        found = place.interleaved({"product": lambda i: library.matmul(a, b)})["product"]
        y = library.matmul(a, b)
    finally:
        library.set_float32_matmul_precision(before)
    rate = 2 * n**3 / found["ms"] * 1e3
    row, right = y[0].double().cpu().numpy(), (a[0].double().cpu() @ b.double().cpu()).numpy()
    error = float(np.linalg.norm(row - right) / np.linalg.norm(right))
    if not error < 2e-2:
        raise Wrong(f"{library.__name__}'s product is off by {error:.1e}", ceiling=rate)
    return {"ceiling": rate, "library": library.__name__, "n": n, "error": error, **found}


def warm(place):
    """Compile every source of the kernels for every dtype, several at a time; CuPy keeps them on disk for the other stages."""
    from concurrent.futures import ThreadPoolExecutor

    from chainrule.backends.cuda_kernels import registry

    if not place.full:
        place.kernels()
        return {"compiled": "by the emulator"}
    launcher, device = place.kernels(), place.backend.current_device()

    def compile_(source, dtype):
        with place.cupy.cuda.Device(device):
            try:
                launcher._module(source, dtype).compile()
            except Exception as error:  # each of them is of interest
                return f"{source} {dtype}: {str(error)[-800:]}"

    pairs = [(source, dtype) for dtype in registry.FLOATS for source in registry.sources()]
    with ThreadPoolExecutor(8) as pool:
        errors = [one for one in pool.map(lambda pair: compile_(*pair), pairs) if one]
    if errors:
        raise Wrong("\n".join(errors), failed=len(errors))
    return {"compiled": len(pairs)}


def items(place, context):
    """{name: function}; what needs most luck comes last."""
    parts = [packages, card, libraries, copies, warm, cudnn_properties, torch_version]
    found = {one.__name__: lambda one=one: one(place) for one in parts}
    return found | {kind: lambda kind=kind: products(place, kind) for kind in ("bf16", "tf32", "fp32")}
