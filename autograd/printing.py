"""How a Tensor prints: PyTorch's way, with NumPy's formatting."""

import numpy

from chainrule.backends import backend_of, dtypes


def text(tensor):
    """`tensor([[1., 2.]], requires_grad=True)`."""
    host = backend_of(tensor._array).to_host(tensor._array)
    dtype = tensor.dtype
    shown = host.astype(numpy.float32) if host.dtype.kind == "V" else host
    prefix = (
        "tensor(" if type(tensor).__name__ == "Tensor" else type(tensor).__name__ + " containing:\ntensor("
    )
    indent = "       "
    body = numpy.array2string(
        shown, separator=", ", prefix=indent, threshold=1000, edgeitems=3, precision=4, floatmode="maxprec_equal",
        formatter=_formatter(shown),
    )  # fmt: skip
    suffix = ""
    if 0 in host.shape and host.ndim > 1:
        suffix += f", size={tuple(host.shape)}"
    if dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool):
        suffix += f", dtype={dtype}"
    if tensor.device.type != "cpu":
        suffix += f", device='{tensor.device}'"
    if tensor.grad_fn is not None:
        suffix += f", grad_fn={tensor.grad_fn!r}"
    elif tensor.requires_grad:
        suffix += ", requires_grad=True"
    return f"{prefix}{body}{suffix})"


def _formatter(array):
    """Whole floats as `1.`, others with four digits (scientific where the range asks for it), as PyTorch prints."""
    if array.dtype.kind != "f" or array.size == 0:
        return None
    finite = array[numpy.isfinite(array)]
    if finite.size and not (finite == numpy.trunc(finite)).all():
        sizes = numpy.abs(finite[finite != 0]).astype(numpy.float64)
        scientific = sizes.size and (
            sizes.max() / sizes.min() > 1000 or sizes.max() > 1e8 or sizes.min() < 1e-4
        )
        form = "{:.4e}" if scientific else "{:.4f}"
    else:
        form = "{:.0f}." if not finite.size or numpy.abs(finite).max() < 1e8 else "{:.4e}"
    shown = _ends(array)
    width = max((len(form.format(one)) for one in shown[numpy.isfinite(shown)]), default=0)
    return {"float": lambda one: (form.format(one) if numpy.isfinite(one) else str(one)).rjust(width)}


def _ends(array):
    """The elements that will be shown."""
    if array.size <= 1000:
        return array.ravel()
    for axis in range(array.ndim):
        if array.shape[axis] > 6:
            array = numpy.concatenate([array.take(range(3), axis), array.take(range(-3, 0), axis)], axis)
    return array.ravel()
