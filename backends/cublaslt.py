"""cuBLASLt by ctypes: the dozen entry points of NVIDIA's matrix product library that `gemm.py` needs.

It computes D = epilogue(alpha op(A) op(B) + beta C) for column-major matrices and takes what it is to do as descriptors: a
`Layout` for each matrix, a `Description` of the operation, a `Preference` for the choice of algorithm. Descriptors can be made and read
back on a machine without a card; only `Library.handle` needs one. Names and numbers are those of `cublasLt.h` (12.0 and later).

The class `Library` wraps whatever has the entry points, the shared library or the tests' stand-in, and raises `CublasError` for every
status but success.
"""

import ctypes
import enum
import functools
import importlib

OLDEST = 120000  # 12.0: what CuPy 14 is built for


class CublasError(RuntimeError):
    """An entry point gave another status than success; `status` is its number."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class NotSupported(CublasError):
    """The library has no algorithm for what was asked."""


STATUS = {
    1: "not initialized (no card, no driver, or a driver too old)",
    3: "allocation failed",
    7: "invalid value",
    8: "architecture mismatch",
    11: "mapping error",
    13: "execution failed",
    14: "internal error",
    15: "not supported",
    16: "license error",
}
_NOT_SUPPORTED = 15


class DataType(enum.IntEnum):
    """cudaDataType_t."""

    R_32F = 0
    R_64F = 1
    R_16F = 2
    C_32F = 4
    C_64F = 5
    R_16BF = 14


class ComputeType(enum.IntEnum):
    """cublasComputeType_t: what products are added up in."""

    F32 = 68
    F64 = 70
    F32_FAST_TF32 = 77


class Operation(enum.IntEnum):
    """cublasOperation_t."""

    N = 0
    T = 1


class Epilogue(enum.IntFlag):
    """cublasLtEpilogue_t: what is done to the product before it is stored."""

    DEFAULT = 1
    RELU = 2
    BIAS = 4
    RELU_BIAS = RELU | BIAS
    GELU = 32
    GELU_BIAS = GELU | BIAS
    AUX = 128
    RELU_AUX = RELU | AUX
    RELU_AUX_BIAS = RELU_AUX | BIAS
    GELU_AUX = GELU | AUX
    GELU_AUX_BIAS = GELU_AUX | BIAS
    BGRAD = 16
    DRELU = 8 | AUX
    DRELU_BGRAD = DRELU | BGRAD
    DGELU = 64 | AUX
    DGELU_BGRAD = DGELU | BGRAD
    BGRADA = 256
    BGRADB = 512


class Desc(enum.IntEnum):
    """cublasLtMatmulDescAttributes_t."""

    COMPUTE_TYPE = 0
    SCALE_TYPE = 1
    POINTER_MODE = 2
    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    BIAS_BATCH_STRIDE = 10
    EPILOGUE_AUX_POINTER = 11
    EPILOGUE_AUX_LD = 12
    EPILOGUE_AUX_BATCH_STRIDE = 13
    BIAS_DATA_TYPE = 26


class LayoutPart(enum.IntEnum):
    """cublasLtMatrixLayoutAttribute_t."""

    TYPE = 0
    ORDER = 1
    ROWS = 2
    COLS = 3
    LD = 4
    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class Pref(enum.IntEnum):
    """cublasLtMatmulPreferenceAttributes_t."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


REDUCE_ANY = 7
REDUCE_IN_COMPUTE_TYPE = 2


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t: an algorithm with its configuration, to be copied as it is."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class Suggestion(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: what the library suggests, the likely fastest first."""

    _fields_ = (
        ("algorithm", Algorithm),
        ("workspace", ctypes.c_size_t),
        ("status", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


_P, _I, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
SIGNATURES = {
    "cublasLtCreate": (_P,),
    "cublasLtDestroy": (_P,),
    "cublasLtMatmulDescCreate": (_P, _I, _I),
    "cublasLtMatmulDescDestroy": (_P,),
    "cublasLtMatmulDescSetAttribute": (_P, _I, _P, _SIZE),
    "cublasLtMatmulDescGetAttribute": (_P, _I, _P, _SIZE, _P),
    "cublasLtMatrixLayoutCreate": (_P, _I, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64),
    "cublasLtMatrixLayoutDestroy": (_P,),
    "cublasLtMatrixLayoutSetAttribute": (_P, _I, _P, _SIZE),
    "cublasLtMatrixLayoutGetAttribute": (_P, _I, _P, _SIZE, _P),
    "cublasLtMatmulPreferenceCreate": (_P,),
    "cublasLtMatmulPreferenceDestroy": (_P,),
    "cublasLtMatmulPreferenceSetAttribute": (_P, _I, _P, _SIZE),
    "cublasLtMatmulPreferenceGetAttribute": (_P, _I, _P, _SIZE, _P),
    "cublasLtMatmulAlgoGetHeuristic": (_P,) * 7 + (_I, _P, _P),
    "cublasLtMatmul": (_P,) * 14 + (_SIZE, _P),
}


@functools.cache
def load():
    """The `Library` of this machine: the one among NVIDIA's Python packages, or one that the linker finds. CublasError if there is none."""
    tried = []
    for find in (_by_pathfinder, *(functools.partial(ctypes.CDLL, f"libcublasLt.so.{n}") for n in (13, 12))):
        try:
            found = find()
        except Exception as error:  # a missing package or file, or one of another platform
            tried.append(str(error))
            continue
        for name, arguments in SIGNATURES.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, ctypes.c_int
        found.cublasLtGetVersion.argtypes, found.cublasLtGetVersion.restype = (), _SIZE
        return Library(found)
    raise CublasError(
        f"cuBLASLt was not found ({'; '.join(tried)}); pip install nvidia-cublas (CUDA 13) or nvidia-cublas-cu12"
    )


def _by_pathfinder():
    found = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt")
    return ctypes.CDLL(found.abs_path)


class Library:
    """The entry points, with every status checked. `entries` has them as attributes."""

    def __init__(self, entries):
        self.entries = entries
        version = entries.cublasLtGetVersion()
        self.version = version
        if version < OLDEST:
            raise CublasError(f"cuBLASLt {self.version_text} is too old; 12.0 or newer is needed")

    @property
    def version_text(self):
        """The version as "13.4.0"."""
        return f"{self.version // 10000}.{self.version // 100 % 100}.{self.version % 100}"

    def check(self, name, status, about=""):
        """Raise the error for a status that is not success."""
        if status:
            kind = NotSupported if status == _NOT_SUPPORTED else CublasError
            words = STATUS.get(status, "unknown status")
            what = f" for {about}" if about else ""
            raise kind(f"{name}: {words} ({status}){what}; cuBLASLt {self.version_text}", status)

    def call(self, name, *arguments, about=""):
        """Call an entry point."""
        self.check(name, getattr(self.entries, name)(*arguments), about)

    def handle(self):
        """A new handle for the current device; it is never destroyed, as it lives as long as the process."""
        made = ctypes.c_void_p()
        self.call("cublasLtCreate", ctypes.byref(made))
        return made.value

    def suggestions(self, handle, description, layouts, preference, count, about=""):
        """Up to `count` algorithms for the operation on A, B, C and D; none where there is none."""
        results, found = (Suggestion * count)(), ctypes.c_int()
        status = self.entries.cublasLtMatmulAlgoGetHeuristic(
            handle, description.pointer, *(one.pointer for one in layouts), preference.pointer, count, results, ctypes.byref(found)
        )  # fmt: skip
        if status == _NOT_SUPPORTED:
            return []
        self.check("cublasLtMatmulAlgoGetHeuristic", status, about)
        return [one for one in results[: found.value] if not one.status]


class _Descriptor:
    """What the library keeps behind a pointer, with attributes that are set and read by number."""

    _kind: str  # between "cublasLt" and "Create"
    _types: dict  # how large each attribute is: the library refuses another size

    def __init__(self, library, *arguments, **attributes):
        self.library, self.pointer = library, None
        made = ctypes.c_void_p()
        library.call(f"cublasLt{self._kind}Create", ctypes.byref(made), *arguments)
        self.pointer = made.value

    def __del__(self):
        if self.pointer is not None:
            getattr(self.library.entries, f"cublasLt{self._kind}Destroy")(self.pointer)

    def __setitem__(self, attribute, value):
        held = self._types[attribute](value)
        name = f"cublasLt{self._kind}SetAttribute"
        self.library.call(name, self.pointer, attribute, ctypes.byref(held), ctypes.sizeof(held), about=f"{attribute!r} = {value!r}")  # fmt: skip

    def __getitem__(self, attribute):
        held, written = self._types[attribute](), ctypes.c_size_t()
        name = f"cublasLt{self._kind}GetAttribute"
        self.library.call(name, self.pointer, attribute, ctypes.byref(held), ctypes.sizeof(held), ctypes.byref(written), about=repr(attribute))  # fmt: skip
        return held.value


class Description(_Descriptor):
    """cublasLtMatmulDesc_t: the types computed in, transpositions, epilogue. Indexed by `Desc`."""

    _kind = "MatmulDesc"
    _types = dict.fromkeys(Desc, ctypes.c_int32) | {
        Desc.EPILOGUE: ctypes.c_uint32,
        Desc.BIAS_POINTER: ctypes.c_uint64,
        Desc.BIAS_BATCH_STRIDE: ctypes.c_int64,
        Desc.EPILOGUE_AUX_POINTER: ctypes.c_uint64,
        Desc.EPILOGUE_AUX_LD: ctypes.c_int64,
        Desc.EPILOGUE_AUX_BATCH_STRIDE: ctypes.c_int64,
    }


class Layout(_Descriptor):
    """cublasLtMatrixLayout_t: dtype, rows, columns, leading dimension and batch of one column-major matrix. Indexed by `LayoutPart`."""

    _kind = "MatrixLayout"
    _types = {
        LayoutPart.TYPE: ctypes.c_uint32,
        LayoutPart.ORDER: ctypes.c_int32,
        LayoutPart.ROWS: ctypes.c_uint64,
        LayoutPart.COLS: ctypes.c_uint64,
        LayoutPart.LD: ctypes.c_int64,
        LayoutPart.BATCH_COUNT: ctypes.c_int32,
        LayoutPart.STRIDED_BATCH_OFFSET: ctypes.c_int64,
    }

    def __init__(self, library, dtype, rows, cols, ld, batch=1, stride=0):
        super().__init__(library, dtype, rows, cols, ld)
        if batch > 1:
            self[LayoutPart.BATCH_COUNT] = batch
            self[LayoutPart.STRIDED_BATCH_OFFSET] = stride


class Preference(_Descriptor):
    """cublasLtMatmulPreference_t: what an algorithm may use. Indexed by `Pref`."""

    _kind = "MatmulPreference"
    _types = dict.fromkeys(Pref, ctypes.c_uint32) | {Pref.MAX_WORKSPACE_BYTES: ctypes.c_uint64}
