"""The methods of a Tensor, by part of mathematics: each is the function of that name, in the class body, on one line."""

from importlib import import_module
from typing import Any

import numpy

from chainrule.autograd import late, ops

from . import arithmetic, conversion, creation, indexing, names, product, reduction, shape, sorting
from .methods_in_place import InPlace


def _swapped(operation):
    """The reflected form of a binary operator: `2 - x`."""

    def reflected(self, other):
        return operation(other, self)

    return reflected


def _late(name, module, attribute):
    """A method whose function lives in a module that is loaded when it is first called."""

    def method(self, *args, **kwargs):
        return getattr(import_module(module), attribute)(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name}` of this tensor: `{module}.{attribute}`."
    return method


def _or_not(operation):
    """A comparison that gives NotImplemented for what it cannot compare, so that `x == None` is False."""

    def compare(self, other):
        if isinstance(other, (late.Tensor, int, float, complex, numpy.ndarray, numpy.generic)):
            return operation(self, other)
        return NotImplemented

    return compare


class Arithmetic:
    """Elementwise methods and operators."""

    __add__ = ops.add
    __radd__ = _swapped(ops.add)
    __sub__ = arithmetic.sub
    __rsub__ = _swapped(arithmetic.sub)
    __mul__ = ops.multiply
    __rmul__ = _swapped(ops.multiply)
    __truediv__ = ops.divide
    __rtruediv__ = __rdiv__ = _swapped(ops.divide)
    __floordiv__ = ops.floor_divide
    __rfloordiv__ = _swapped(ops.floor_divide)
    __mod__ = ops.remainder
    __rmod__ = _swapped(ops.remainder)
    __pow__ = arithmetic.pow
    __rpow__ = arithmetic.rpow
    __neg__ = ops.negative
    __pos__ = ops.positive
    __abs__ = ops.absolute
    __invert__ = ops.invert
    __and__ = ops.bitwise_and
    __rand__ = ops.bitwise_and
    __or__ = ops.bitwise_or
    __ror__ = ops.bitwise_or
    __xor__ = ops.bitwise_xor
    __rxor__ = ops.bitwise_xor
    __eq__ = _or_not(ops.equal)
    __ne__ = _or_not(ops.not_equal)
    __lt__ = ops.less
    __le__ = ops.less_equal
    __gt__ = ops.greater
    __ge__ = ops.greater_equal

    add = arithmetic.add
    sub = subtract = arithmetic.sub
    mul = multiply = ops.multiply
    div = divide = true_divide = arithmetic.div
    floor_divide = ops.floor_divide
    remainder = ops.remainder
    fmod = ops.fmod
    pow = arithmetic.pow
    neg = negative = ops.negative
    positive = ops.positive
    abs = absolute = ops.absolute
    sign = ops.sign
    square = ops.square
    sqrt = ops.sqrt
    rsqrt = ops.rsqrt
    reciprocal = ops.reciprocal
    exp = ops.exp
    exp2 = ops.exp2
    expm1 = ops.expm1
    log = ops.log
    log2 = ops.log2
    log10 = ops.log10
    log1p = ops.log1p
    logaddexp = ops.logaddexp
    sin, cos, tan = ops.sin, ops.cos, ops.tan
    asin = arcsin = ops.arcsin
    acos = arccos = ops.arccos
    atan = arctan = ops.arctan
    atan2 = arctan2 = ops.arctan2
    sinh, cosh, tanh = ops.sinh, ops.cosh, ops.tanh
    asinh = arcsinh = ops.arcsinh
    acosh = arccosh = ops.arccosh
    atanh = arctanh = ops.arctanh
    hypot = ops.hypot
    floor, ceil, trunc, fix = ops.floor, ops.ceil, ops.trunc, ops.trunc
    round = arithmetic.round
    frac = arithmetic.frac
    maximum, minimum = ops.maximum, ops.minimum
    clamp = clip = arithmetic.clamp
    clamp_min = arithmetic.clamp_min
    clamp_max = arithmetic.clamp_max
    lerp = arithmetic.lerp
    addcmul = arithmetic.addcmul
    addcdiv = arithmetic.addcdiv
    sigmoid = arithmetic.sigmoid
    relu = arithmetic.relu
    softmax = arithmetic.softmax
    log_softmax = arithmetic.log_softmax
    eq, ne, lt, le, gt, ge = (
        ops.equal,
        ops.not_equal,
        ops.less,
        ops.less_equal,
        ops.greater,
        ops.greater_equal,
    )
    logical_and, logical_or, logical_xor, logical_not = (
        ops.logical_and,
        ops.logical_or,
        ops.logical_xor,
        ops.logical_not,
    )
    bitwise_and, bitwise_or, bitwise_xor, bitwise_not = (
        ops.bitwise_and,
        ops.bitwise_or,
        ops.bitwise_xor,
        ops.invert,
    )
    isnan, isinf, isfinite, signbit = ops.isnan, ops.isinf, ops.isfinite, ops.signbit
    isclose = arithmetic.isclose
    allclose = arithmetic.allclose
    equal = arithmetic.equal
    conj = ops.conj

    def where(self, condition, other):
        """self where condition, else other."""
        return arithmetic.where(condition, self, other)

    @property
    def real(self):
        """The real part. A view."""
        return ops.real(self)

    @property
    def imag(self):
        """The imaginary part. A view."""
        if not self.is_complex():
            raise RuntimeError(f"imag: only a complex tensor has an imaginary part, this one is {self.dtype}")
        return ops.imag(self)


class Reduction:
    """Sums, extremes, statistics, sorting."""

    sum, mean, prod = reduction.sum, reduction.mean, reduction.prod
    var, std = reduction.var, reduction.std
    max, min, amax, amin, aminmax = (
        reduction.max,
        reduction.min,
        reduction.amax,
        reduction.amin,
        reduction.aminmax,
    )
    argmax, argmin = reduction.argmax, reduction.argmin
    all, any, count_nonzero = reduction.all, reduction.any, reduction.count_nonzero
    logsumexp = reduction.logsumexp
    cumsum, cumprod = reduction.cumsum, reduction.cumprod
    norm, dist = reduction.norm, reduction.dist
    sort, argsort, topk = sorting.sort, sorting.argsort, sorting.topk


class Shape:
    """Reshaping, joining, splitting, repeating."""

    reshape, view, view_as, reshape_as = shape.reshape, shape.view, shape.view_as, shape.reshape_as
    flatten, unflatten, ravel = shape.flatten, shape.unflatten, shape.ravel
    permute, transpose, t = shape.permute, shape.transpose, shape.t
    swapaxes = swapdims = shape.transpose
    movedim = moveaxis = shape.movedim
    squeeze, unsqueeze = shape.squeeze, shape.unsqueeze
    expand, expand_as, broadcast_to = shape.expand, shape.expand_as, shape.broadcast_to
    narrow, select, unbind, split, chunk = shape.narrow, shape.select, shape.unbind, shape.split, shape.chunk
    flip, roll, tril, triu = shape.flip, shape.roll, shape.tril, shape.triu
    diagonal, diag, diag_embed = shape.diagonal, shape.diag, shape.diag_embed
    contiguous, clone = shape.contiguous, shape.clone

    @property
    def T(self):
        """All dimensions reversed. A view."""
        return ops.transpose(self)

    @property
    def mT(self):
        """The last two dimensions exchanged. A view."""
        if self.ndim < 2:
            raise RuntimeError(f"mT: expected at least 2 dimensions, got shape {tuple(self.shape)}")
        return ops.swapaxes(self, -1, -2)

    def size(self, dim=None):
        """The shape, or the length of one dimension."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self):
        """The number of dimensions."""
        return self.ndim

    ndimension = dim
    numel = nelement = arithmetic.numel

    def stride(self, dim=None):
        """How many elements apart neighbours lie in memory, for each dimension."""
        strides = tuple(n // self.itemsize for n in self._array.strides)
        return strides if dim is None else strides[dim]

    def is_contiguous(self, memory_format=None):
        """Whether the elements lie in row-major order without gaps, or, for channels_last, with dimension 1 innermost."""
        order = shape.physical_order(memory_format)
        if order is None:
            return bool(self._array.flags.c_contiguous)
        return len(order) == self.ndim and bool(self._array.transpose(order).flags.c_contiguous)

    def data_ptr(self):
        """The address of the first element."""
        array = self._array
        return array.ctypes.data if isinstance(array, numpy.ndarray) else array.data.ptr

    def element_size(self):
        """Bytes of one element."""
        return self.itemsize


class Indexing:
    """Reading and writing by position."""

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem
    gather, take_along_dim, take = indexing.gather, indexing.take_along_dim, indexing.take
    scatter, scatter_add = indexing.scatter, indexing.scatter_add
    index_select, index_add, index_copy = indexing.index_select, indexing.index_add, indexing.index_copy
    index_fill, index_put = indexing.index_fill, indexing.index_put
    masked_fill, masked_select, nonzero = indexing.masked_fill, indexing.masked_select, indexing.nonzero

    def __contains__(self, value):
        return bool((self == value).any())


class Product:
    """Matrix products."""

    __matmul__ = product.matmul
    __rmatmul__ = _swapped(product.matmul)
    matmul, mm, bmm, mv, dot, outer, inner = (
        product.matmul,
        product.mm,
        product.bmm,
        product.mv,
        product.dot,
        product.outer,
        product.inner,
    )
    addmm, baddbmm = product.addmm, product.baddbmm

    @property
    def H(self):
        """The conjugate transpose of a matrix."""
        if self.ndim not in (0, 2):
            raise RuntimeError(f"H: expected a matrix, got shape {tuple(self.shape)}; use .mH for a batch")
        return ops.conj(shape.t(self)) if self.is_complex() else shape.t(self)

    @property
    def mH(self):
        """The conjugate transpose of the last two dimensions."""
        return ops.conj(self.mT) if self.is_complex() else self.mT


class Conversion:
    """Other dtypes, devices and libraries."""

    to, type, type_as, cpu, cuda = (
        conversion.to,
        conversion.type,
        conversion.type_as,
        conversion.cpu,
        conversion.cuda,
    )
    float, double, half, bfloat16 = conversion.float, conversion.double, conversion.half, conversion.bfloat16
    long, int, short, char, byte, bool = (
        conversion.long, conversion.int, conversion.short, conversion.char, conversion.byte, conversion.bool,
    )  # fmt: skip
    cfloat, cdouble = conversion.cfloat, conversion.cdouble
    item, tolist = conversion.item, conversion.tolist
    numpy = conversion.numpy_array
    __array__ = conversion.__array__
    __dlpack__ = conversion.to_dlpack
    __dlpack_device__ = conversion.dlpack_device
    is_floating_point = arithmetic.is_floating_point
    is_complex = arithmetic.is_complex

    def __float__(self):
        return float(conversion.item(self))

    def __int__(self):
        return int(conversion.item(self))

    def __complex__(self):
        return complex(conversion.item(self))

    def __index__(self):
        if self._array.dtype.kind not in "iub":
            raise TypeError(f"only integer tensors of one element can be an index, this one is {self.dtype}")
        return int(conversion.item(self))

    def __format__(self, spec):
        return format(conversion.item(self), spec) if spec else repr(self)

    @property
    def layout(self):
        """`chainrule.strided`, the only layout."""
        return import_module("chainrule.backends.layouts").strided

    def get_device(self):
        """The number of the CUDA card the memory lies on; -1 for the CPU."""
        return -1 if self.device.type == "cpu" else self.device.index

    def new_tensor(
        self, data, *, dtype=None, device=None, requires_grad=False, layout=None, pin_memory=False
    ):
        """A new Tensor of `data`, like this one in dtype and device."""
        return creation.tensor(
            data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad, pin_memory=pin_memory
        )  # fmt: skip

    new_zeros, new_ones, new_empty, new_full = (
        creation.new_zeros, creation.new_ones, creation.new_empty, creation.new_full,
    )  # fmt: skip


Later: Any = type("Later", (), {entry[0]: _late(*entry) for entry in names.entries(names.METHODS)})


class Methods(Arithmetic, InPlace, Reduction, Shape, Indexing, Product, Conversion, Later):
    """All methods."""
