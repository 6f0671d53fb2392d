"""Names for how a Tensor lies in memory, so that PyTorch's keywords `layout=` and `memory_format=` can be given.

Every Tensor is strided. A memory format is an order of elements in memory, which changes no value. `x.to(memory_format=cr.channels_last)`
brings (N, C, H, W) into the order N, H, W, C; convolution, pooling, norms and elementwise operations give their results in the order
of their input. Where else a memory format can be given, it is taken and not followed, except that contiguous is contiguous.
"""


class layout:
    """One of PyTorch's tensor layouts."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"chainrule.{self.name}"

    def __reduce__(self):
        return self.name


class memory_format(layout):
    """One of PyTorch's memory formats."""


strided = layout("strided")
contiguous_format, preserve_format, channels_last, channels_last_3d = (
    memory_format(name)
    for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
)


def check(name, wanted):
    """Refuse layouts other than strided."""
    if wanted is not None and wanted is not strided:
        raise NotImplementedError(f"{name}: only layout=chainrule.strided is offered, got {wanted!r}")


# --- arrays ---


def dense(array, last):
    """Whether an (N, C, *places) array lies in memory without gaps, row-major or, with `last`, with the channels innermost."""
    if not last:
        return array.flags.c_contiguous
    shape, strides, step = array.shape, array.strides, array.dtype.itemsize
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if shape[axis] != 1 and strides[axis] != step:
            return False
        step *= shape[axis]
    return True


def is_channels_last(array):
    """Whether an (N, C, *places) array lies with the channels innermost, and not also row-major."""
    return array.ndim > 3 and not array.flags.c_contiguous and dense(array, True)


def arranged(xp, array, last):
    """The array itself if it is `dense` in that order, else a copy that is."""
    if dense(array, last):
        return array
    if not last:
        return xp.ascontiguousarray(array)
    return _inward(xp.ascontiguousarray(xp.moveaxis(array, 1, -1)))


def empty(xp, shape, dtype, last, make="empty"):
    """A new (N, C, *places) array whose contents are to be written, `dense` in that order. make: "zeros" for one of zeros."""
    make = getattr(xp, make)
    if not last:
        return make(shape, dtype=dtype)
    return _inward(make((shape[0], *shape[2:], shape[1]), dtype=dtype))


def _inward(array):
    """The last axis as the second."""
    return array.transpose(0, array.ndim - 1, *range(1, array.ndim - 1))
