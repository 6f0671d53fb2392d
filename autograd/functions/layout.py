"""How elements lie in memory, under PyTorch's names: strided views, windows, and methods that lay a tensor out anew in place."""

import math

from chainrule.autograd import late, ops
from chainrule.autograd.modes import local
from chainrule.autograd.ops import strided
from chainrule.backends import get
from chainrule.backends.cupy_backend import is_pinned as in_pinned_memory

from . import creation, shape
from .common import sizes, tensor_of, wrap_dim


def _geometry(x, size, stride, storage_offset, name):
    """size and stride as tuples, and the offset counted from x's first element; each checked."""
    size, stride = sizes((size,), name), sizes((stride,), name)
    if len(size) != len(stride):
        raise RuntimeError(f"{name}: size {size} and stride {stride} must have one length")
    if any(length < 0 for length in size) or any(step < 0 for step in stride):
        raise RuntimeError(f"{name}: size {size} and stride {stride} must not be negative")
    if any(step < 0 for step in strided.layout_of(x._array)):
        raise RuntimeError(f"{name}: the input lies in memory in reversed order; call .contiguous() first")
    own = storage_offset_of(x)
    offset = own if storage_offset is None else storage_offset
    if offset < 0:
        raise RuntimeError(f"{name}: storage_offset must not be negative, got {offset}")
    return size, stride, offset - own


def _covers(array, size, stride, offset):
    """Whether all that is named is surely an element of the array: it has no gaps, and its span is not left."""
    span = strided.reach(array.shape, strided.layout_of(array)) + 1
    return array.size == span and offset >= 0 and offset + strided.reach(size, stride) < span


def storage_offset_of(input):
    """How many elements after the start of its memory the tensor begins."""
    return strided.offset_of(input._array)


def as_strided(input, size, stride, storage_offset=None):
    """The elements of the input's *memory* at `storage_offset + sum(i * stride)`. A view.

    The input's shape and strides do not matter, nor, where the input is a view, its borders: gradients go to the tensor it
    is a view of. Memory that belongs to neither can be read and gets no gradient.
    """
    x = tensor_of(input, "as_strided")
    size, stride, offset = _geometry(x, size, stride, storage_offset, "as_strided")
    if x._is_view() and not _covers(x._array, size, stride, offset):
        base = x._base
        offset += storage_offset_of(x) - storage_offset_of(base)
        x = base
    return strided.as_strided(x, size, stride, offset, strided.layout_of(x._array))


def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """A copy of the input with `src`, of shape `size`, written where `as_strided` reads."""
    x = tensor_of(input, "as_strided_scatter")
    size, stride, offset = _geometry(x, size, stride, storage_offset, "as_strided_scatter")
    if tuple(tensor_of(src, "as_strided_scatter").shape) != size:
        raise RuntimeError(f"as_strided_scatter: src has shape {tuple(src.shape)}, expected {size}")
    from .rearranging import written

    layout = strided.layout_of(x._array)
    step = {"size": size, "stride": stride, "offset": offset, "layout": layout}
    return written(x, src, ((strided.as_strided, step),))


def unfold(input, dimension, size, step):
    """All windows of `size` elements along `dimension`, `step` apart, each along a new last dimension. A view.

    (.., N, ..) -> (.., (N - size) // step + 1, .., size). Where windows overlap, gradients add up.
    """
    x = tensor_of(input, "unfold")
    axis = wrap_dim(dimension, x.ndim, "unfold")
    length = x.shape[axis] if x.ndim else 1
    if size < 0 or step <= 0:
        raise RuntimeError(
            f"unfold: size must not be negative and step must be positive, got {size} and {step}"
        )
    if size > length:
        raise RuntimeError(
            f"unfold: windows of {size} do not fit dimension {axis} of length {length} (input of shape {tuple(x.shape)})"
        )
    if not x.ndim:
        return ops.getitem(strided.unfold_windows(ops.reshape(x, (1,)), 0, size, step), (0,))
    return strided.unfold_windows(x, axis, size, step)


# Uninitialised memory, laid out as asked


def empty_strided(
    size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Whatever the memory holds, with the given strides."""
    size, stride = sizes((size,), "empty_strided"), sizes((stride,), "empty_strided")
    if len(size) != len(stride) or any(one < 0 for one in (*size, *stride)):
        raise RuntimeError(
            f"empty_strided: size and stride must be of one length and not negative, got {size} and {stride}"
        )
    count = strided.reach(size, stride) + 1 if math.prod(size) else 0
    memory = creation.empty(count, dtype=dtype, device=device, pin_memory=pin_memory)
    out = as_strided(memory, size, stride).detach() if count else memory.reshape(size)
    return out.requires_grad_() if requires_grad else out


def new_empty_strided(
    input, size, stride, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """`empty_strided` in the dtype and on the device of the input."""
    return empty_strided(
        size, stride, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad, pin_memory=pin_memory
    )  # fmt: skip


def empty_permuted(
    size, physical_layout, *, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):
    """Whatever the memory holds, without gaps: dimension physical_layout[0] varies slowest, and so on."""
    size, order = sizes((size,), "empty_permuted"), sizes((physical_layout,), "empty_permuted")
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(
            f"empty_permuted: physical_layout must name each of the {len(size)} dimensions once, got {order}"
        )
    memory = creation.empty([size[dim] for dim in order], dtype=dtype, device=device, pin_memory=pin_memory)
    out = memory.permute([order.index(dim) for dim in range(len(size))]).detach()
    return out.requires_grad_() if requires_grad else out


# The same tensor, laid out anew


def _laid_anew(function, name):
    """The method that gives this tensor itself the layout of the view `function` makes of it."""

    def method(self, *args, **kwargs):
        if local.state.grad and self.is_leaf and self.requires_grad:
            raise RuntimeError(
                f"{name}: a leaf Tensor that requires grad (shape {tuple(self.shape)}) is being used in an in-place operation. "
                f"Use .{name[:-1]}(...), which gives a new view"
            )
        state = local.state
        before, state.grad = state.grad, True
        try:
            # Of a view, a view of the same base; of any other tensor, one that takes its place in the graph.
            own = self._is_view()
            found = function(self if own else self.view_as_alias(), *args, **kwargs)
            edge = found._edge if own else found._current_edge()
        finally:
            state.grad = before
        if self._edge is not None:
            self._edge = edge
        self._array = found._array
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"`{name[:-1]}`, done to this tensor: it changes its shape and keeps its memory."
    return method


transpose_ = _laid_anew(shape.transpose, "transpose_")
swapaxes_, swapdims_ = _laid_anew(shape.transpose, "swapaxes_"), _laid_anew(shape.transpose, "swapdims_")
t_ = _laid_anew(shape.t, "t_")
squeeze_ = _laid_anew(shape.squeeze, "squeeze_")
unsqueeze_ = _laid_anew(shape.unsqueeze, "unsqueeze_")
as_strided_ = _laid_anew(as_strided, "as_strided_")


def resize_(self, *sizes_given, memory_format=None):
    """This tensor with another shape: the elements it has in row-major order of its memory, then whatever the memory holds.

    Not differentiable, and refused for a tensor that requires grad. What was a view of it keeps the old memory if that is too small.
    """
    size = sizes(sizes_given, "resize_")
    if self.requires_grad:
        raise RuntimeError(
            f"resize_: cannot resize a tensor that requires grad (shape {tuple(self.shape)}); use .reshape"
        )
    if any(length < 0 for length in size):
        raise RuntimeError(f"resize_: negative length in size {size}")
    if size == tuple(self.shape):
        return self
    stride = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
    try:
        found = as_strided(self.detach(), size, stride)._array
    except RuntimeError:  # the memory is too small
        found = creation.empty(size, dtype=self.dtype, device=self.device)._array
        found.reshape(-1)[: self.numel()] = self._array.reshape(-1)
    self._array, self._edge = found, None
    return self


def resize_as_(self, tensor, memory_format=None):
    """`resize_` to the shape of `tensor`."""
    return resize_(tensor_of(self, "resize_as_"), tensor_of(tensor, "resize_as_").shape)


# Page-locked memory


def is_pinned(input, device=None):
    """Whether the tensor lies in page-locked host memory; False without CUDA."""
    return isinstance(input._array, creation.numpy.ndarray) and in_pinned_memory(input._array)


def pin_memory(input, device=None):
    """A copy in page-locked host memory, which a CUDA card reads by itself while the host goes on; the tensor, if it lies there."""
    array = creation.pinned(input._array)
    return input if array is input._array else late.Tensor._wrap(array)


def record_stream(input, stream):
    """Keep the tensor's memory, once nobody holds it, until what `stream` was asked to do by then is done.

    For a tensor that a side stream uses, made on another: its memory would go back to the stream it was made on. Does nothing on
    the CPU.
    """
    if input.device.type == "cuda":
        if not hasattr(stream, "_stream"):
            raise TypeError(f"record_stream: expected a chainrule.cuda.Stream, got {type(stream).__name__}")
        get("cuda").record_stream(input._array, stream._stream)
