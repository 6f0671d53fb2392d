"""cuBLASLt in NumPy: the entry points of `cublaslt.SIGNATURES`, for memory on the host.

Descriptors are recorded as the header describes them; `cublasLtMatmul` reads the matrices that they describe at the addresses it is given,
computes in float64 (or the complex of it) and writes the result. It refuses what the library refuses, and what would go unnoticed there:
addresses less aligned than was promised, a workspace smaller than asked for, layouts whose sizes do not fit, overlapping columns.
"""

import ctypes
import functools
import itertools
from typing import NamedTuple

import ml_dtypes
import numpy as np

from chainrule.backends import capturing, gemm_kernels, precision_settings
from chainrule.backends.backend import adopt
from chainrule.backends.cublaslt import (
    STATUS,
    DataType,
    Desc,
    Description,
    Epilogue,
    Layout,
    LayoutPart,
    Library,
    Pref,
    Preference,
)
from chainrule.backends.cupy_namespace import Namespace
from chainrule.backends.gemm import WORKSPACE, Gemm

SUCCESS, INVALID, NOT_SUPPORTED = 0, 7, 15
assert {INVALID, NOT_SUPPORTED} <= set(STATUS)
SCRATCH = 4096  # what every second suggestion wants

NUMPY = {
    DataType.R_32F: np.dtype("float32"),
    DataType.R_64F: np.dtype("float64"),
    DataType.R_16F: np.dtype("float16"),
    DataType.R_16BF: np.dtype(ml_dtypes.bfloat16),
    DataType.C_32F: np.dtype("complex64"),
    DataType.C_64F: np.dtype("complex128"),
}
_DEFAULTS = {
    "MatmulDesc": {Desc.POINTER_MODE: 0, Desc.TRANSA: 0, Desc.TRANSB: 0, Desc.EPILOGUE: 1, Desc.BIAS_POINTER: 0},
    "MatrixLayout": {LayoutPart.ORDER: 0, LayoutPart.BATCH_COUNT: 1, LayoutPart.STRIDED_BATCH_OFFSET: 0},
    "MatmulPreference": {Pref.MAX_WORKSPACE_BYTES: 0, Pref.REDUCTION_SCHEME_MASK: 7,
                         **{part: 256 for part in Pref if part.name.startswith("MIN")}},
}  # fmt: skip
_TYPES = {one._kind: one._types for one in (Description, Layout, Preference)}


class Call(NamedTuple):
    """What was computed: `a` and `b` are the addresses of the caller's operands, which the library sees the other way round."""

    compute: int
    epilogue: Epilogue
    batch: int
    a: int
    b: int
    out: int
    stream: int


class FakeCublasLt:
    """`refuse(description, layouts)`: whether there is to be no algorithm. `calls`: what was computed."""

    version = 131000

    def __init__(self, refuse=lambda description, layouts: False):
        self.refuse = refuse
        self.objects = {}  # address -> (kind, attributes)
        self.algorithms = {}  # number -> the attributes it was suggested for
        self.calls = []
        self._addresses = itertools.count(0x1000, 16)

    def __getattr__(self, name):
        # The create, destroy, set and get of the three kinds of descriptors.
        for kind in _TYPES:
            if name.startswith(f"cublasLt{kind}"):
                action = name.removeprefix(f"cublasLt{kind}")
                return lambda *arguments: getattr(self, f"_{action}")(kind, *arguments)
        raise AttributeError(name)

    def cublasLtGetVersion(self):
        return self.version

    def cublasLtCreate(self, made):
        made._obj.value = next(self._addresses)
        return SUCCESS

    def _Create(self, kind, made, *given):
        attributes = dict(_DEFAULTS[kind])
        if kind == "MatmulDesc":
            attributes |= zip((Desc.COMPUTE_TYPE, Desc.SCALE_TYPE), given, strict=True)
        elif kind == "MatrixLayout":
            parts = (LayoutPart.TYPE, LayoutPart.ROWS, LayoutPart.COLS, LayoutPart.LD)
            attributes |= zip(parts, given, strict=True)
        made._obj.value = address = next(self._addresses)
        self.objects[address] = kind, attributes
        return SUCCESS

    def _Destroy(self, kind, address):
        assert self.objects.pop(address)[0] == kind
        return SUCCESS

    def _SetAttribute(self, kind, address, attribute, value, size):
        found, attributes = self.objects[address]
        assert found == kind
        if size != ctypes.sizeof(_TYPES[kind][attribute]):
            return INVALID
        attributes[attribute] = value._obj.value
        return SUCCESS

    def _GetAttribute(self, kind, address, attribute, value, size, written):
        value._obj.value = self.objects[address][1][attribute]
        written._obj.value = size
        return SUCCESS

    def cublasLtMatmulAlgoGetHeuristic(
        self, handle, description, a, b, c, d, preference, count, results, found
    ):
        given = [dict(self.objects[one][1]) for one in (description, a, b, c, d, preference)]
        if self._wrong(*given[:5]) or self.refuse(given[0], given[1:5]):
            return NOT_SUPPORTED
        for i in range(count):
            number = len(self.algorithms) + 1
            self.algorithms[number] = given
            results[i].algorithm.data[0] = number
            results[i].workspace = min(SCRATCH * (i % 2), given[5][Pref.MAX_WORKSPACE_BYTES])
        found._obj.value = count
        return SUCCESS

    @staticmethod
    def _wrong(description, a, b, c, d):
        """Whether the library would refuse the layouts."""
        rows, k = _turned(a, description[Desc.TRANSA])
        other_k, columns = _turned(b, description[Desc.TRANSB])
        return (
            k != other_k
            or (rows, columns) != _turned(d, 0)
            or _turned(c, 0) != _turned(d, 0)
            or any(one[LayoutPart.LD] < one[LayoutPart.ROWS] for one in (a, b, c, d))
            or len({one[LayoutPart.BATCH_COUNT] for one in (a, b, c, d)}) > 1
            or a[LayoutPart.TYPE] != b[LayoutPart.TYPE]
            or 0 in (rows, columns, k)
        )

    def cublasLtMatmul(
        self, handle, description, alpha, a_at, a, b_at, b, beta, c_at, c, d_at, d, algorithm, workspace, size, stream
    ):  # fmt: skip
        """Compute as the descriptors say, by the algorithm that was suggested for the like of them."""
        desc, a, b, c, d = told = [self.objects[one][1] for one in (description, a, b, c, d)]
        promised = self.algorithms[algorithm._obj.data[0]]
        for now, then in zip(told, promised[:5], strict=True):
            assert _lasting(now) == _lasting(then), "the algorithm was suggested for something else"
        for name, address in zip("ABCD", (a_at, b_at, c_at, d_at), strict=True):
            assert address % promised[5][Pref[f"MIN_ALIGNMENT_{name}_BYTES"]] == 0, f"{name} is less aligned"
        assert (workspace is None and size == 0) or (workspace and size == SCRATCH)
        assert d[LayoutPart.BATCH_COUNT] == 1 or d[LayoutPart.STRIDED_BATCH_OFFSET] > 0
        self.calls.append(
            Call(
                desc[Desc.COMPUTE_TYPE],
                Epilogue(desc[Desc.EPILOGUE]),
                d[LayoutPart.BATCH_COUNT],
                b_at,
                a_at,
                d_at,
                stream,
            )
        )
        scale = NUMPY[DataType(desc[Desc.SCALE_TYPE])]
        wide = "complex128" if scale.kind == "c" else "float64"
        alpha, beta = (
            np.ndarray((), scale, _memory(one, scale.itemsize)).astype(wide) for one in (alpha, beta)
        )
        left = _matrices(a, a_at, desc[Desc.TRANSA]).astype(wide)
        right = _matrices(b, b_at, desc[Desc.TRANSB]).astype(wide)
        result = _matrices(d, d_at)
        x = alpha * (left @ right)
        if beta:
            x = x + beta * _matrices(c, c_at).astype(wide)
        result[...] = _epilogue(desc, result.dtype, x, left, right).astype(result.dtype)
        return SUCCESS


def _turned(layout, operation):
    sizes = layout[LayoutPart.ROWS], layout[LayoutPart.COLS]
    return sizes[::-1] if operation else sizes


def _memory(address, size):
    return (ctypes.c_char * size).from_address(address)


def _matrices(layout, address, operation=0):
    """The batch of matrices at an address, as a view of the memory: (batch, rows, columns) after the operation."""
    dtype = NUMPY[DataType(layout[LayoutPart.TYPE])]
    rows, cols, ld = (layout[part] for part in (LayoutPart.ROWS, LayoutPart.COLS, LayoutPart.LD))
    batch, stride = layout[LayoutPart.BATCH_COUNT], layout[LayoutPart.STRIDED_BATCH_OFFSET]
    count = (batch - 1) * stride + (cols - 1) * ld + rows
    size = dtype.itemsize
    found = np.ndarray(
        (batch, rows, cols), dtype, _memory(address, count * size), 0, (stride * size, size, ld * size)
    )
    return found.swapaxes(1, 2) if operation else found


def _lasting(attributes):
    """What may not change between the suggestion and the call: all but the pointers (no layout has attributes of their numbers)."""
    pointers = (Desc.BIAS_POINTER, Desc.EPILOGUE_AUX_POINTER)
    return {part: value for part, value in attributes.items() if part not in pointers}


def _epilogue(desc, dtype, x, left, right):
    """What is stored for the product x, and what is written beside it."""
    epilogue = Epilogue(desc[Desc.EPILOGUE])
    rows, columns = x.shape[1:]

    def vector(length):
        return np.ndarray((length,), dtype, _memory(desc[Desc.BIAS_POINTER], length * dtype.itemsize))

    if epilogue & Epilogue.BIAS:
        x = x + vector(rows).astype(x.dtype)[:, None]
    if epilogue & Epilogue.BGRADA:
        vector(rows)[...] = left[0].sum(1).astype(dtype)
    if epilogue & Epilogue.BGRADB:
        vector(columns)[...] = right[0].sum(0).astype(dtype)
    if epilogue & Epilogue.AUX:
        assert len(x) == 1
        keep = _bits if epilogue & (Epilogue.RELU | Epilogue.DRELU & ~Epilogue.AUX) else _values
        write, read = keep(desc[Desc.EPILOGUE_AUX_POINTER], desc[Desc.EPILOGUE_AUX_LD], rows, columns, dtype)
        if epilogue & (Epilogue.RELU | Epilogue.GELU):
            write(x[0])
        else:
            x = x * (read() if keep is _bits else gelu_slope(read().astype(x.dtype)))
    if epilogue & Epilogue.RELU:
        x = np.maximum(x, 0)
    if epilogue & Epilogue.GELU:
        x = gelu(x)
    if epilogue & Epilogue.BGRAD:
        vector(rows)[...] = x[0].sum(1).astype(dtype)
    return x


def _bits(address, ld, rows, columns, dtype):
    """(write, read) of the signs of a column-major matrix, a bit each, in columns of `ld` bits."""
    assert ld >= rows and ld % 128 == 0, ld
    used = -(-rows // 8)
    kept = np.ndarray(
        (columns, used), "uint8", _memory(address, (columns - 1) * ld // 8 + used), 0, (ld // 8, 1)
    )

    def write(x):
        kept[...] = np.packbits(x.T > 0, axis=1, bitorder="little")

    return write, lambda: np.unpackbits(kept, axis=1, count=rows, bitorder="little").T


def _values(address, ld, rows, columns, dtype):
    """(write, read) of the values of a column-major matrix, in columns of `ld`."""
    assert ld >= rows and ld % 8 == 0, ld
    size = dtype.itemsize
    memory = _memory(address, ((columns - 1) * ld + rows) * size)
    kept = np.ndarray((rows, columns), dtype, memory, 0, (size, ld * size))

    def write(x):
        kept[...] = x.astype(dtype)

    return write, lambda: kept


def gelu(x):
    """GELU in its tanh form."""
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def gelu_slope(x):
    """Its derivative."""
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x * (1 - t * t) / 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)


class HostPlace:
    """What `Gemm` asks of a device, for arrays whose memory is on the host: `host(array)` gives the NumPy array of one."""

    several = False

    def __init__(self, xp=np, host=lambda array: array):
        self.xp, self.host = xp, host
        self.now = {"stream": 7, "device": 0}
        self.recording = False
        self.given = []  # (device, stream) for which there is a workspace
        self.times = iter(())  # what `time` gives

    def device(self):
        return self.now["device"]

    def device_of(self, array):
        return 0

    def stream(self):
        return self.now["stream"]

    def capturing(self):
        return self.recording or capturing.local.capture is not None

    def pointer(self, array):
        return self.host(array).ctypes.data

    def memory(self, size):
        assert size == WORKSPACE
        self.given.append(tuple(self.now.values()))
        block = np.zeros(16, "uint8")  # nobody writes there
        return block, block.ctypes.data

    def time(self, run):
        run()
        return next(self.times)


class HostGemm(Gemm):
    """Its calls are recorded while a graph of the fake device is captured."""

    alignment = 16  # what NumPy's memory always has

    def _run(self, plan, a, b, out, vector, aux, beta):
        run = functools.partial(super()._run, plan, a, b, out, vector, aux, beta)
        if capturing.local.capture is None:
            run()
        else:
            arrays = [self.place.host(one) for one in (a, b, out, vector, aux) if one is not None]
            capturing.local.capture.launched(run, arrays)


def gemm_on_host(xp=np, host=lambda array: array, refuse=lambda description, layouts: False):
    """A `Gemm` that computes on the host."""
    return HostGemm(Library(FakeCublasLt(refuse)), HostPlace(xp, host), precision_settings.matmul)


def products_on_fake(backend, launch):
    """Put the products of the fake device's `backend` on this library; returns the `Gemm`."""
    gemm = gemm_on_host(backend.xp, lambda array: array._host)
    gemm_kernels.install(backend, gemm, launch)
    backend.xp = Namespace(backend.xp, gemm)
    adopt(backend)
    return gemm
