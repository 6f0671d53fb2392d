"""Complex numbers under PyTorch's names. Conjugates are computed when asked for: no Tensor carries a pending conjugation."""

from chainrule.autograd import ops
from chainrule.autograd.ops import complex_numbers
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from .common import tensor_of


def _parts(name, first, second, said):
    for one in (tensor_of(first, name), tensor_of(second, name)):
        if one.dtype not in (dtypes.float32, dtypes.float64):
            raise RuntimeError(
                f"{name}: expected float32 or float64 for {said}, got {one.dtype}; convert with .float()"
            )
    if first.dtype is not second.dtype:
        raise RuntimeError(f"{name}: expected one dtype, got {first.dtype} and {second.dtype}")


def complex(real, imag):
    """real + i imag; two floating point Tensors of one dtype."""
    _parts("complex", real, imag, "real or imag")
    return complex_numbers.make_complex(real, imag)


@precision(cpu="float32")
def polar(abs, angle):
    """abs * (cos(angle) + i sin(angle)); two floating point Tensors of one dtype."""
    _parts("polar", abs, angle, "abs or angle")
    return complex_numbers.make_complex(abs * ops.cos(angle), abs * ops.sin(angle))


def angle(input):
    """The angle in the plane, in (-pi, pi]; of a real number 0, or pi where it is negative, with derivative 0. 0 at 0."""
    return complex_numbers.angle(tensor_of(input, "angle"))


def view_as_real(input):
    """The parts of complex numbers in a new last dimension. (*) -> (*, 2), a view."""
    if not tensor_of(input, "view_as_real").dtype.is_complex:
        raise RuntimeError(f"view_as_real: expected a complex tensor, got {input.dtype}")
    return complex_numbers.view_as_real(input)


@precision(cpu="float32")
def view_as_complex(input):
    """Real pairs in the last dimension as complex numbers. (*, 2) -> (*), a view."""
    x = tensor_of(input, "view_as_complex")
    if x.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(
            f"view_as_complex: expected float32 or float64, got {x.dtype}; convert with .float()"
        )
    if not x.ndim or x.shape[-1] != 2:
        raise RuntimeError(
            f"view_as_complex: expected a last dimension of length 2, got shape {tuple(x.shape)}"
        )
    strides = x.stride()
    if x.numel() and (strides[-1] != 1 or any(one % 2 for one in strides[:-1])):
        raise RuntimeError(
            f"view_as_complex: the two parts must lie together in memory, at even strides, got {strides}; use .contiguous()"
        )
    return complex_numbers.view_as_complex(x)


def conj_physical(input):
    """The complex conjugate, in new memory."""
    return ops.conj(tensor_of(input, "conj_physical"))


def imag(input):
    """The imaginary part of complex numbers. A view."""
    return tensor_of(input, "imag").imag


def real(input):
    """The real part; of real numbers these themselves. A view."""
    return tensor_of(input, "real").real


def resolve_conj(input):
    """The Tensor itself: conjugates are computed when asked for."""
    return tensor_of(input, "resolve_conj")


resolve_neg = resolve_conj


def is_conj(input):
    """False: conjugates are computed when asked for."""
    tensor_of(input, "is_conj")
    return False


def is_neg(input):
    """False: negatives are computed when asked for."""
    tensor_of(input, "is_neg")
    return False
