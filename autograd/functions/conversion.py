"""Between dtypes, devices, and the world outside."""

import builtins

import numpy

from chainrule.autograd import late, ops
from chainrule.autograd.interop import native
from chainrule.autograd.op import op
from chainrule.backends import backend_of, devices, dtypes, get, layouts, namespaces
from chainrule.backends import cpu as cpu_backend


@op(x=lambda xp, g, source, target: move(g, source=target, target=source), tangent="linear")
def move(xp, x, *, source, target, later=False):
    """x copied from device `source` to device `target`; `later`: without waiting for the copy, where memory allows."""
    here, there = backend_of(x), get(target)
    if here.batched:
        return here.on_stored(lambda x: move(x, source=source, target=target), x)
    if here is there:
        return here.copy_to(x, target.index)
    if later and there is cpu_backend:
        return here.to_host_later(x)
    return (there.from_host_later if later else there.from_host)(here.to_host(x), target.index)


def to(input, *args, device=None, dtype=None, non_blocking=False, copy=False, memory_format=None):
    """The tensor in another dtype or on another device: `x.to("cuda")`, `x.to(cr.float64)`, `x.to(other)`.

    PyTorch's orders of arguments: (dtype, non_blocking, copy), (device, dtype, non_blocking, copy) and
    (other, non_blocking, copy). Returns the tensor itself if nothing changes (unless `copy`). memory_format: the order of the
    elements in memory, `cr.channels_last` for (N, C, H, W) with the channels innermost; None leaves it.

    non_blocking: return before the copy is done. From pinned memory to a card, what is computed there next waits for it by itself,
    and the memory must not be written until then; from a card into host memory, which is pinned then, the program has to wait, by
    `cuda.synchronize()` or an event, before it reads. Elsewhere it changes nothing.
    """
    flags = [one for one in args if isinstance(one, builtins.bool)]
    if flags:
        non_blocking = flags[0]
    if len(flags) > 1:
        copy = flags[1]
    for one in args:
        if isinstance(one, late.Tensor):
            device, dtype = one.device, one.dtype
        elif isinstance(one, devices.device) or (isinstance(one, str) and one not in dtypes._BY_NAME):
            device = one
        elif isinstance(one, builtins.bool):
            continue
        elif isinstance(one, builtins.int):
            device = devices.device(one)
        elif one is not None:
            dtype = one
    out = input
    if device is not None:
        target = devices.device(device)
        here = input.device
        if target.type == here.type == "cuda" and target.index is None:
            target = devices.device("cuda", get("cuda").current_device())
        if target.type != here.type or (
            target.index is not None and here.index is not None and target.index != here.index
        ):
            out = move(out, source=here, target=target, later=non_blocking)
    if dtype is not None:
        wanted = dtypes.as_numpy(dtype)
        if out._array.dtype != wanted:
            out = _astype(out, wanted)
    if memory_format is not None and memory_format is not layouts.preserve_format:
        out = out.contiguous(memory_format=memory_format)
    return ops.copy(out) if copy and out is input else out


def _astype(x, wanted):
    if x._array.dtype.kind == "c" and wanted.kind not in "cb":
        x = ops.real(x)
    # Integers and bools carry no gradient.
    return ops.astype(x if wanted.kind in "fcV" else x.detach(), dtype=wanted)


def type_as(input, other):
    """The tensor in the dtype (and on the device) of `other`."""
    return to(input, other)


_LEGACY = {
    f"{name}Tensor": dtypes._BY_NAME[kind]
    for name, kind in (word.split("=") for word in (
        "Float=float32 Double=float64 Half=float16 BFloat16=bfloat16 Byte=uint8 Char=int8 Short=int16 Int=int32 Long=int64 Bool=bool "
        "ComplexFloat=complex64 ComplexDouble=complex128"
    ).split())
}  # fmt: skip


def type(input, dtype=None, non_blocking=False):
    """The name of the tensor's type, `chainrule.FloatTensor`, or the tensor converted to `dtype`, which may be such a name."""
    if dtype is not None:
        return to(
            input, dtype=_LEGACY.get(dtype.rpartition(".")[2], dtype) if isinstance(dtype, str) else dtype
        )
    place = "" if input.device.type == "cpu" else f"{input.device.type}."
    return f"chainrule.{place}" + next(name for name, kind in _LEGACY.items() if kind is input.dtype)


def _converter(name):
    wanted = getattr(dtypes, name)

    def convert(input, memory_format=None):
        return to(input, dtype=wanted)

    convert.__name__ = convert.__qualname__ = name
    convert.__doc__ = f"The tensor as {wanted.name}."
    return convert


float, double, half, bfloat16 = (_converter(name) for name in ("float32", "float64", "float16", "bfloat16"))
long, int, short, char, byte, bool = (
    _converter(name) for name in ("int64", "int32", "int16", "int8", "uint8", "bool")
)
cfloat, cdouble = _converter("complex64"), _converter("complex128")


def cpu(input):
    """The tensor in host memory."""
    return to(input, device="cpu")


def cuda(input, device=None, non_blocking=False):
    """The tensor on a CUDA card."""
    return to(input, device="cuda" if device is None else device, non_blocking=non_blocking)


def numpy_array(input, *, force=False):
    """The tensor's memory as a NumPy array: shared, so writes to one are seen in the other.

    Refused for a tensor that requires grad, whose graph NumPy would lose (use .detach().numpy()), and off the CPU (use
    .cpu()); `force` does both.
    """
    if force:
        return backend_of(input._array).to_host(input._array)
    if input.requires_grad:
        raise RuntimeError(
            "numpy: this Tensor requires grad, and NumPy would lose its graph; use .detach().numpy()"
        )
    if backend_of(input._array).batched:
        return backend_of(input._array).to_host(input._array)
    if input._array.__class__ is not numpy.ndarray:
        raise TypeError(f"numpy: this Tensor is on {input.device}; copy it to the host with .cpu().numpy()")
    return input._array


def item(input):
    """The only element as a Python number."""
    if input._array.size != 1:
        raise RuntimeError(
            f"item: a Tensor of shape {tuple(input.shape)} has {input._array.size} elements, not 1; use .tolist()"
        )
    return backend_of(input._array).to_host(input._array).item()


def tolist(input):
    """The elements as nested lists of Python numbers."""
    return backend_of(input._array).to_host(input._array).tolist()


def __array__(input, dtype=None, copy=None):
    """What NumPy gets from `np.asarray(tensor)`."""
    array = numpy_array(input)
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


def from_dlpack(ext_tensor):
    """A Tensor over the memory of another library's array, through DLPack."""
    if isinstance(ext_tensor, late.Tensor):
        return ext_tensor.detach()
    what = f"{builtins.type(ext_tensor).__name__} of dtype {getattr(ext_tensor, 'dtype', None)}"
    if not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(
            f"from_dlpack: expected an array with __dlpack__, got {what}; use chainrule.tensor(...)"
        )
    kind = ext_tensor.__dlpack_device__()[0]
    xp = numpy if kind == 1 else get("cuda").xp
    try:
        array = xp.from_dlpack(ext_tensor)
    except (RuntimeError, BufferError) as error:
        raise RuntimeError(f"from_dlpack: {error} (got {what})") from error
    if array.__class__ not in namespaces:
        raise TypeError(f"from_dlpack: got an array of an unknown library, {array.__class__.__name__}")
    return late.Tensor._wrap(native(array, "from_dlpack") if xp is numpy else array)


def to_dlpack(input, **arguments):
    """The DLPack capsule of the tensor's memory."""
    if input.requires_grad:
        raise RuntimeError(
            "__dlpack__: this Tensor requires grad, and the graph would be lost; use .detach()"
        )
    try:
        return input._array.__dlpack__(**arguments)
    except BufferError as error:
        raise BufferError(f"__dlpack__: {error} (this Tensor is {input.dtype}, {input.device})") from error


def dlpack_device(input):
    """The DLPack device of the tensor's memory."""
    return input._array.__dlpack_device__()
