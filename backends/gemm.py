"""Matrix products on CUDA by cuBLASLt: D = epilogue(A B + beta D), batched, without copies of transposed or broadcast operands.

`Gemm` turns arrays into the library's descriptors (see `gemm_layout.py` for shapes and strides), asks it once for an algorithm and
keeps the plan: every later product of the same shapes, strides, dtypes and epilogue takes the same algorithm, so results are the same on
every run, and it can be captured into a CUDA graph (the question for an algorithm cannot).

What it needs of a device it asks of a `Place`, and the library it is given: tests run it with a library that computes on the host.
"""

import ctypes
import operator
import threading
from dataclasses import dataclass

import numpy as np

from . import gemm_epilogue, gemm_layout
from .cublaslt import (
    REDUCE_ANY,
    REDUCE_IN_COMPUTE_TYPE,
    Algorithm,
    ComputeType,
    DataType,
    Desc,
    Description,
    Epilogue,
    Layout,
    NotSupported,
    Operation,
    Pref,
    Preference,
)
from .determinism import are_deterministic_algorithms_enabled

WORKSPACE = 32 << 20  # NVIDIA's advice for Hopper
_MOST_CALLS = 8  # products looped over before copies are made instead
_SUGGESTIONS = 8
_MOST_PLANS = 1 << 14
_PER_THREAD_STREAM = 2  # one address, another stream in every thread

# dtype -> its type, what it is multiplied and added up in, and the type of alpha and beta.
TYPES = {
    "float32": (DataType.R_32F, ComputeType.F32, DataType.R_32F),
    "float64": (DataType.R_64F, ComputeType.F64, DataType.R_64F),
    "float16": (DataType.R_16F, ComputeType.F32, DataType.R_32F),
    "bfloat16": (DataType.R_16BF, ComputeType.F32, DataType.R_32F),
    "complex64": (DataType.C_32F, ComputeType.F32, DataType.C_32F),
    "complex128": (DataType.C_64F, ComputeType.F64, DataType.C_64F),
}
_SCALARS = {DataType.R_32F: np.float32, DataType.R_64F: np.float64, DataType.C_32F: np.complex64, DataType.C_64F: np.complex128}  # fmt: skip


@dataclass
class _Plan:
    """One call as the library is told it, with the algorithm chosen. `pointers`: Desc -> the number that it is set from; `scale`:
    the type of alpha and beta; `one`: the address of an alpha of 1."""

    description: Description
    layouts: tuple
    algorithm: Algorithm
    workspace: int
    pointers: dict
    lock: threading.Lock
    offsets: tuple
    scale: DataType
    one: int
    handle: int

    def __post_init__(self):
        self.layout_addresses = tuple([one.pointer for one in self.layouts[:3]])
        self.algorithm_reference = ctypes.byref(self.algorithm)
        self.pointer_references = [(part, held, ctypes.byref(held)) for part, held in self.pointers.items()]


@dataclass
class _Product:
    """What is settled by shapes, strides, dtypes and options: that they are right, and what is made for the results.

    shape: the product's. sums: the length of the sums beside it, None if there are none. empty: whether nothing is multiplied.
    plans: (device, alignments) -> the plan, or what to do instead.
    """

    shape: tuple
    sums: int | None
    empty: bool
    plans: dict


class Gemm:
    """Matrix products of the arrays of `place` by `library`; `settings` are the switches `cr.backends.cuda.matmul`."""

    alignment = 256  # bytes; better aligned addresses are all the same to the library

    def __init__(self, library, place, settings):
        self.library, self.place, self.settings = library, place, settings
        self._handles, self._plans, self._workspaces, self._numbers = {}, {}, {}, {}
        self._lock = threading.RLock()
        self._dtypes = {}

    def takes(self, dtype):
        """Whether arrays of that dtype can be multiplied."""
        return self._type(dtype) is not None

    def _type(self, dtype):
        if dtype not in self._dtypes:
            self._dtypes[dtype] = TYPES.get(str(dtype))
        return self._dtypes[dtype]

    def __call__(
        self, a, b, out=None, *, bias=None, activation=None, aux=None, bias_gradient=None, beta=0.0, allow_tf32=None
    ):  # fmt: skip
        """activation(a b + beta out + bias). (..., m, k), (..., k, n) -> (..., m, n), leading axes broadcast.

        out: an array to write, which may be a view; float32 for 16-bit operands too. bias: (n). activation: "relu" or "gelu" (its tanh
        form), with `aux`, as `auxiliary` makes it, to be filled with what the gradient needs; "relu_gradient" or "gelu_gradient": times
        the slope at what `aux` kept. bias_gradient: also sum a over k ("a": (m)), b over k ("b": (n)) or the result over its rows
        ("out": (n)); then (out, sums) is returned. allow_tf32 overrides the switch. NotSupported if the library cannot.
        """
        tf32 = self.settings.allow_tf32 if allow_tf32 is None else allow_tf32
        return self._multiply(
            a, b, out, gemm_epilogue.Extra(bias, activation, aux, bias_gradient, beta, tf32)
        )

    def _multiply(self, a, b, out, extra):
        bias, activation, aux, bias_gradient, beta, tf32 = extra
        settings = self.settings
        key = (
            a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype, None if out is None else _form(out), None if bias is None else _form(bias),
            None if aux is None else _form(aux), activation, bias_gradient, beta != 0, tf32,
            settings.allow_fp16_reduced_precision_reduction, settings.allow_bf16_reduced_precision_reduction,
        )  # fmt: skip
        product = self._plans.get(key)
        if product is None:
            product = self._checked(key, a, b, out, extra)
        place = self.place
        if place.several:
            self._check_devices([one for one in (a, b, out, bias, aux) if one is not None])
        if out is None:
            out = place.xp.empty(product.shape, dtype=a.dtype)
        elif place.xp.may_share_memory(out, a) or place.xp.may_share_memory(out, b):
            return self._through_copy(a, b, out, extra)
        sums = None if product.sums is None else place.xp.empty(product.sums, dtype=out.dtype)
        if product.empty:
            self._without_terms(out, sums, extra)
        else:
            vector = bias if sums is None else sums
            plan = self._plan(product, a, b, out, vector, extra)
            if plan.__class__ is not _Plan:
                return self._another_way(plan, a, b, out, extra)
            self._run(plan, a, b, out, vector, aux, beta)
        return out if sums is None else (out, sums)

    def _checked(self, key, a, b, out, extra):
        """The `_Product` of these arrays, or the error that says what is wrong with them."""
        shape = gemm_layout.product_shape(a.shape, b.shape)
        self._check(a, b, out, shape, extra)
        sums = {None: None, "a": shape[-2]}.get(extra.bias_gradient, shape[-1])
        product = _Product(shape, sums, 0 in shape or not a.shape[-1], {})
        with self._lock:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.pop(next(iter(self._plans)))
            return self._plans.setdefault(key, product)

    def _another_way(self, which, a, b, out, extra):
        """Where the library cannot read or write an operand as it lies, or has no algorithm that adds the bias, or none at all."""
        if which.__class__ is NotSupported:
            raise NotSupported(str(which), which.status)
        if which == "a":
            return self._multiply(_copied(self.place.xp, a), b, out, extra)
        if which == "b":
            return self._multiply(a, _copied(self.place.xp, b), out, extra)
        if which == "d":
            return self._through_copy(a, b, out, extra)
        self._multiply(a, b, out, extra._replace(bias=None))
        return self.place.xp.add(out, extra.bias, out=out)

    def _through_copy(self, a, b, out, extra):
        """For an `out` that the library cannot write, or that overlaps what it reads."""
        made = out.copy(order="C") if extra.beta else self.place.xp.empty(out.shape, dtype=out.dtype)
        found = self._multiply(a, b, made, extra)
        out[...] = made
        return out if extra.bias_gradient is None else (out, found[1])

    def _without_terms(self, out, sums, extra):
        """An empty result, or sums of no terms."""
        if extra.activation is not None and out.size:
            raise NotSupported(f"gemm: a product of no terms has no activation {extra.activation!r}")
        if extra.beta:
            out *= extra.beta
        else:
            out.fill(0)
        if extra.bias is not None:
            self.place.xp.add(out, extra.bias, out=out)
        if sums is not None:
            sums.fill(0)

    def auxiliary(self, activation, rows, columns, dtype):
        """An array in which the activation of a (rows, columns) product keeps what its gradient needs.

        For "relu" a bit for each element, in rows of whole bytes; for "gelu" the values before it, as a view if columns % 8.
        """
        width = gemm_epilogue.columns_kept(activation, columns)
        if activation == "relu":
            return self.place.xp.empty((rows, width // 8), dtype="uint8")
        return self.place.xp.empty((rows, width), dtype=dtype)[:, :columns]

    def _check(self, a, b, out, shape, extra):
        if a.dtype != b.dtype or self._type(a.dtype) is None:
            raise TypeError(
                f"gemm: operands must both be of one of {', '.join(TYPES)}, got {a.dtype} and {b.dtype}"
            )
        dtype = a.dtype if out is None else out.dtype
        if out is None:
            if extra.beta:
                raise ValueError(f"gemm: beta={extra.beta} needs an array `out` to be added to")
        elif out.shape != shape or not (dtype == a.dtype or (dtype == "float32" and a.dtype.itemsize == 2)):
            raise ValueError(
                f"gemm: out must have shape {shape} and dtype {a.dtype}, got shape {out.shape} and dtype {dtype}"
            )
        if extra.bias is not None and (extra.bias.shape != shape[-1:] or extra.bias.dtype != dtype):
            raise ValueError(
                f"gemm: bias must have shape {shape[-1:]} and dtype {dtype}, got {extra.bias.shape} {extra.bias.dtype}"
            )
        if extra.bias is not None and not self._packed(extra.bias):
            raise ValueError("gemm: bias must be contiguous")
        if extra.activation is not None or extra.aux is not None or extra.bias_gradient is not None:
            gemm_epilogue.check(shape, dtype, extra)

    @staticmethod
    def _packed(vector):
        return len(vector) < 2 or vector.strides[0] == vector.itemsize

    def _check_devices(self, arrays):
        current = self.place.device()
        for one in arrays:
            if self.place.device_of(one) != current:
                raise RuntimeError(
                    f"gemm: an array lies on device {self.place.device_of(one)}, but the current one is {current}; call set_device first"
                )

    # --- plans ---

    def _plan(self, product, a, b, out, vector, extra):
        """The plan for these arrays, made when first asked for; or what to do instead, for `_another_way`."""
        place, aux = self.place, extra.aux
        pointers = [place.pointer(a), place.pointer(b), place.pointer(out)]
        if vector is not None:
            pointers.append(place.pointer(vector))
        if aux is not None:
            pointers.append(place.pointer(aux))
        low = 0
        for one in pointers:
            low |= one
        # As a rule all are aligned as well as can be; then there is nothing to tell them apart by.
        aligned = tuple(map(self._alignment, pointers)) if low & (self.alignment - 1) else None
        key = place.device(), aligned
        found = product.plans.get(key)
        if found is None:
            with self._lock:
                found = product.plans.get(key)
                if found is None:
                    found = product.plans[key] = self._new_plan(a, b, out, vector, extra)
        return found

    def _new_plan(self, a, b, out, vector, extra):
        arrangement = self._arrangement(a, b, out)
        if isinstance(arrangement, str):
            return arrangement
        about = f"{a.dtype} {a.shape} @ {b.shape} -> {out.dtype}"
        if self.place.capturing():
            raise RuntimeError(
                f"gemm: the first product of its kind ({about}) came while a CUDA graph is captured, when no algorithm can be chosen; "
                f"run the step once, with the same shapes and dtypes, before capturing it"
            )
        epilogue = gemm_epilogue.epilogue(extra)
        if epilogue != Epilogue.DEFAULT:
            about += f", epilogue {epilogue.name}"
        if (extra.aux is not None or extra.bias_gradient is not None) and not arrangement.single:
            return NotSupported(f"gemm: an epilogue with arrays of its own takes two matrices, got {about}")
        description, pointers = self._description(a, epilogue, arrangement, vector, extra)
        layouts = self._layouts(a, out, arrangement)
        suggestions = self._suggestions(description, layouts, arrangement, a, b, out, about)
        if not suggestions:
            if epilogue == Epilogue.BIAS:
                return "bias"
            return NotSupported(
                f"gemm: cuBLASLt {self.library.version_text} has no algorithm for {about}", 15
            )
        sizes = [one.dtype.itemsize for one in (a, b, out)]
        offsets = tuple(tuple(map(operator.mul, one, sizes)) for one in arrangement.offsets)
        scale, lock = self._type(a.dtype)[2], threading.Lock()
        rest = lock, offsets, scale, self._number(1.0, scale), self.handle()
        plans = [
            _Plan(description, layouts, one.algorithm, one.workspace, pointers, *rest) for one in suggestions
        ]
        if len(plans) == 1 or extra.beta:  # timing would add several times
            return plans[0]
        return min(
            plans,
            key=lambda plan: self.place.time(lambda: self._run(plan, a, b, out, vector, extra.aux, 0.0)),
        )

    def _arrangement(self, a, b, out):
        """The calls of the product, or which operand is to be copied."""
        strides = [gemm_layout.elements(one) for one in (a, b, out)]
        for name, one in zip("abd", strides, strict=True):
            if one is None:
                return name
        found = gemm_layout.arranged(out.shape, a.shape, strides[0], b.shape, strides[1], strides[2])
        if not isinstance(found, str) and len(found.offsets) > _MOST_CALLS:
            for name, one, steps in zip("abd", (a, b, out), strides, strict=True):
                if not gemm_layout.contiguous_batch(one.shape, steps):
                    return name
        return found

    def _description(self, a, epilogue, arrangement, vector, extra):
        """The operation, and the numbers its pointers are set from at each call."""
        _, compute, scale = self._type(a.dtype)
        if extra.tf32 and compute == ComputeType.F32 and a.dtype.itemsize != 2:
            compute = ComputeType.F32_FAST_TF32
        made, pointers = Description(self.library, compute, scale), {}
        made[Desc.TRANSA] = Operation.T if arrangement.b.turned else Operation.N
        made[Desc.TRANSB] = Operation.T if arrangement.a.turned else Operation.N
        made[Desc.EPILOGUE] = epilogue
        if vector is not None:
            # The library reads off an address how well it is aligned.
            made[Desc.BIAS_POINTER] = self.place.pointer(vector)
            pointers[Desc.BIAS_POINTER] = ctypes.c_uint64()
        aux = extra.aux
        if aux is not None:
            made[Desc.EPILOGUE_AUX_POINTER] = self.place.pointer(aux)
            bits = extra.activation.startswith("relu")
            made[Desc.EPILOGUE_AUX_LD] = aux.strides[0] * 8 if bits else aux.strides[0] // aux.itemsize
            pointers[Desc.EPILOGUE_AUX_POINTER] = ctypes.c_uint64()
        return made, pointers

    def _layouts(self, a, out, arrangement):
        """The layouts of the library's A, B, C and D: ours of B, A, D and D, read by columns."""
        m, n, k, batch = arrangement.m, arrangement.n, arrangement.k, arrangement.batch
        layouts = []
        for one, rows, cols, dtype in ((arrangement.b, k, n, a.dtype), (arrangement.a, m, k, a.dtype), (arrangement.d, m, n, out.dtype)):  # fmt: skip
            sizes = (rows, cols) if one.turned else (cols, rows)
            layouts.append(Layout(self.library, self._type(dtype)[0], *sizes, one.ld, batch, one.stride))
        return (*layouts, layouts[-1])

    def _suggestions(self, description, layouts, arrangement, a, b, out, about):
        preference = Preference(self.library)
        preference[Pref.MAX_WORKSPACE_BYTES] = WORKSPACE
        half, brain = self.settings.allow_fp16_reduced_precision_reduction, self.settings.allow_bf16_reduced_precision_reduction  # fmt: skip
        exact = {"float16": not half, "bfloat16": not brain}.get(str(a.dtype), False)
        preference[Pref.REDUCTION_SCHEME_MASK] = REDUCE_IN_COMPUTE_TYPE if exact else REDUCE_ANY
        for i, (part, one) in enumerate(((Pref.MIN_ALIGNMENT_A_BYTES, b), (Pref.MIN_ALIGNMENT_B_BYTES, a), (Pref.MIN_ALIGNMENT_D_BYTES, out))):  # fmt: skip
            # Where there are several calls, each starts somewhere else.
            starts = [offset[(1, 0, 2)[i]] * one.dtype.itemsize for offset in arrangement.offsets]
            preference[part] = min(self._alignment(self.place.pointer(one) + start) for start in starts)
        preference[Pref.MIN_ALIGNMENT_C_BYTES] = preference[Pref.MIN_ALIGNMENT_D_BYTES]
        timed = self.settings.benchmark and not are_deterministic_algorithms_enabled()
        count = _SUGGESTIONS if timed else 1
        return self.library.suggestions(self.handle(), description, layouts, preference, count, about)

    def _alignment(self, address):
        """The largest power of two, up to `alignment`, that divides an address."""
        return (address | self.alignment) & -(address | self.alignment)

    # --- calls ---

    def handle(self):
        """The library's handle for the current device, made when first asked for."""
        device = self.place.device()
        found = self._handles.get(device)
        if found is None:
            with self._lock:
                found = self._handles.get(device)
                if found is None:
                    found = self._handles[device] = self.library.handle()
        return found

    def _workspace(self, stream):
        """The address of the memory in which algorithms work on this stream: one for all, as they follow each other there.

        It is kept for good: graphs hold its address.
        """
        thread = threading.get_ident() if stream == _PER_THREAD_STREAM else None
        key = self.place.device(), stream, thread
        found = self._workspaces.get(key)
        if found is None:
            with self._lock:
                found = self._workspaces.setdefault(key, self.place.memory(WORKSPACE))
        return found[1]

    def _number(self, value, scale):
        """The address of a number in memory, as alpha and beta are given."""
        key = value, scale
        found = self._numbers.get(key)
        if found is None:
            array = np.array([value], dtype=_SCALARS[scale])
            found = self._numbers[key] = array, array.ctypes.data
        return found[1]

    def _run(self, plan, a, b, out, vector, aux, beta):
        """Let the library do the calls of a plan on the current stream."""
        place, entries = self.place, self.library.entries
        stream = place.stream()
        workspace = self._workspace(stream) if plan.workspace else None
        layout_b, layout_a, layout_d = plan.layout_addresses
        start_a, start_b, start_d = place.pointer(a), place.pointer(b), place.pointer(out)
        alpha, beta = plan.one, self._number(beta, plan.scale)
        handle, description = plan.handle, plan.description.pointer
        with plan.lock:  # the pointers are part of the description, which all threads share
            for part, held, reference in plan.pointer_references:
                held.value = place.pointer(vector if part is Desc.BIAS_POINTER else aux)
                status = entries.cublasLtMatmulDescSetAttribute(description, part, reference, 8)
                if status:
                    self.library.check("cublasLtMatmulDescSetAttribute", status)
            for at_a, at_b, at_d in plan.offsets:
                d = start_d + at_d
                status = entries.cublasLtMatmul(
                    handle, description, alpha, start_b + at_b, layout_b, start_a + at_a, layout_a, beta, d, layout_d, d, layout_d,
                    plan.algorithm_reference, workspace, plan.workspace, stream,
                )  # fmt: skip
                if status:
                    about = f"{a.dtype} {a.shape} @ {b.shape} -> {out.dtype} {out.shape}"
                    self.library.check("cublasLtMatmul", status, about)


def _form(array):
    return array.shape, array.strides, array.dtype


def _copied(xp, array):
    """A copy that lies by rows, but for leading axes along which it repeats itself."""
    repeats = tuple(
        slice(0, 1) if step == 0 and i < array.ndim - 2 else slice(None)
        for i, step in enumerate(array.strides)
    )
    return xp.broadcast_to(xp.ascontiguousarray(array[repeats]), array.shape)
