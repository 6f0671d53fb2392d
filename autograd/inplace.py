"""In-place writes and views: right, or refused.

A view Tensor shares memory with its base and remembers the way from the base to itself. An in-place operation computes
its result as any operation does, writes it into memory, and moves the written Tensor to its place in the graph. When
that Tensor is a view, it is the *base* that moves: its new node says "the old base with this region replaced". All
views find their way anew from the base when next used, so `y = x[0]; x.mul_(2); y` is differentiated as it should be.
"""

from chainrule.backends import backend_of, dtypes, namespaces, placement
from chainrule.backends.capturing import local as capturing

from . import late
from .modes import local
from .node import Node
from .op import op
from .writes import log


class View:
    """Where a view Tensor stands: `path` is the list of (operation, static keywords) that leads to it from `base`."""

    __slots__ = ("array", "base", "epoch", "node", "path")

    def __init__(self, base, path, node):
        self.base = base
        self.array = base._array
        self.path = path
        self.node = node
        self.epoch = log.epoch

    @staticmethod
    def attach(out, source, op, static):
        """Make `out`, just computed from `source` by `op`, a view of it, if it shares its memory."""
        array, origin = out._array, source._array
        if op.view == "maybe" and not backend_of(array).shares_memory(array, origin):
            return
        step = (op.function, static)
        if source._edge.__class__ is View:
            out._edge = View(source._edge.base, (*source._edge.path, step), out._edge)
        else:
            out._edge = View(source, (step,), out._edge)

    def current(self):
        """The view's node now: found again from the base if the shared memory was written since."""
        if self.epoch != log.epoch:
            if log.last(self.array) > self.epoch:
                self.check_base()
                state = local.state
                before, state.grad = state.grad, True
                try:
                    self.node = follow(self.base.view_as_alias(), self.path)._current_edge()
                finally:
                    state.grad = before
            self.epoch = log.epoch
        return self.node

    def check_base(self):
        """Refuse to look for the view in a base that was laid out anew since, or lies on other memory."""
        if self.base._array is not self.array:
            raise RuntimeError(
                f"a view was used whose base has changed its shape or memory since it was taken (.t_(), .resize_(), .data = ...; the "
                f"base had shape {tuple(self.array.shape)}, now {tuple(self.base.shape)}); take the view again after that"
            )


def follow(value, path):
    """Walk a view path from `value`, a Tensor or an array."""
    for step, static in path:
        value = step(value, **static)
    return value


def _region(xp, g, dtype, path):
    """The gradient of what was written to the region. Gradients travel conjugated: from complex numbers to their parts, and
    back, a view is followed between conjugates."""
    before = late.ops.elementwise.is_complex(g)
    if before == (dtype.kind == "c"):
        return follow(g, path)
    return follow(xp.conj(g), path) if before else xp.conj(follow(g, path))


@op(
    base=lambda xp, g, value_dtype, path: write_region(g, xp.zeros((), dtype=value_dtype), path=path),
    value=lambda xp, g, value_dtype, path: _region(xp, g, value_dtype, path),
)
def write_region(xp, base, value, *, path):
    """`base` with the region that `path` leads to replaced by `value`."""
    out = base.copy()
    region = follow(out, path)
    if backend_of(out).shares_memory(region, out):
        region[...] = value
    else:  # base lay otherwise in memory when the view was made: what was a view of it is a copy here
        places = follow(xp.arange(out.size).reshape(out.shape), path)
        out.reshape(-1)[places] = value
    return out


@op(x=lambda xp, g: xp.zeros_like(g), value=lambda xp, g: g)
def replace(xp, x, value):
    """`value`, in the shape of `x`; `x` itself leaves no trace."""
    if value.__class__ not in namespaces:
        value = xp.full((), value)  # a number; CuPy spreads arrays only
    return xp.broadcast_to(value, x.shape)


def _overlaps(array):
    """Whether elements may share a place: in order of their strides, a dimension must step over all that those below it span."""
    span = 0
    for stride, size in sorted(
        (abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True)
    ):
        if size > 1:
            if stride <= span:
                return True
            span += (size - 1) * stride
    return False


def check_writable(tensor, name):
    """Refuse an in-place write that could not be right."""
    array = tensor._array
    if array.size and not array.flags.c_contiguous and _overlaps(array):
        raise RuntimeError(
            f"{name}: the written tensor of shape {tuple(array.shape)} is expanded or made of overlapping windows: several elements "
            f"share one place in memory. .clone() it before writing in place"
        )
    if getattr(array, "flags", None) is not None and not getattr(array.flags, "writeable", True):
        raise ValueError(f"{name}: the tensor lies on read-only memory; .clone() it before writing in place")
    edge = tensor._edge
    if edge.__class__ is View and backend_of(array).root(array) is not backend_of(array).root(edge.array):
        raise RuntimeError(
            f"{name}: on {tensor.device} this view by strides (shape {tuple(array.shape)}) is a copy, and what it is a view of would not "
            f"see the write; write to that by index, or to a .clone()"
        )
    if capturing.capture is not None:
        capturing.capture.writes(array, name)
    if not local.state.grad:
        return
    base = edge.base if edge.__class__ is View else tensor
    if base is not tensor and base._edge is not None:
        edge.check_base()
    if base.is_leaf and base.requires_grad:
        what = "a leaf Tensor" if base is tensor else "a view of a leaf Tensor"
        raise RuntimeError(
            f"{name}: {what} that requires grad (shape {tuple(base.shape)}) is being used in an in-place operation. Write "
            f"under chainrule.no_grad(), or on .detach() or a .clone()"
        )


def rebase(tensor, edge):
    """Move `tensor`, whose memory was just written, to `edge` of the graph."""
    if not local.state.grad:
        return
    view = tensor._edge
    if view.__class__ is not View:
        tensor._edge = edge
        return
    base = view.base
    base_edge = base._current_edge()
    if base_edge is None and edge is None:
        return
    view.check_base()
    dtype = tensor._array.dtype
    node = Node(
        write_region.op,
        (base_edge, edge),
        (dtype,),
        {"path": view.path},
        log.epoch,
        base._array.shape,
        base._array.dtype,
    )
    base._edge = node
    if local.state.on_record is not None:
        local.state.on_record(node, base)


def write(tensor, result, name):
    """Write `result` into `tensor`'s memory and let `tensor` stand where `result` stands in the graph."""
    target = tensor._array
    if tuple(result.shape) != tuple(target.shape):
        raise RuntimeError(
            f"{name}: an output of shape {tuple(target.shape)} cannot be written in place with a result of shape "
            f"{tuple(result.shape)}; the result may not be larger than the tensor"
        )
    if result._array.dtype != target.dtype:
        if not dtypes.can_cast(result.dtype, tensor.dtype):
            raise RuntimeError(
                f"{name}: result type {result.dtype} can't be cast to the desired output type {tensor.dtype}; "
                f"convert the tensor first, with .to({result.dtype})"
            )
        result = late.ops.astype(result, dtype=target.dtype)
    log.wrote(target)
    if placement.cards is None:
        target[...] = result._array
    else:
        with placement.around(name, (target, result._array)):
            target[...] = result._array
    rebase(tensor, result._current_edge())
    return tensor


def apply(operation, tensor, *others, name=None, **static):
    """`tensor.operation_(*others)`: the in-place form of an operation, on a Tensor."""
    name = name or operation.__name__ + "_"
    check_writable(tensor, name)
    source = tensor
    recorded = getattr(operation, "op", None)
    if local.state.grad and (
        recorded is None or any(saved in recorded.inputs for saved, _ in recorded.saves)
    ):
        # The rules may need the values that are about to be overwritten: they get copies of their own.
        source, *others = (_own_copy(one, tensor) for one in (tensor, *others))
    return write(tensor, operation(source, *others, **static), name)


def _own_copy(value, tensor):
    """`value` out of reach of a write to `tensor`, at the same place in the graph."""
    if not isinstance(value, late.Tensor):
        return value
    array = value._array
    shared = array.__class__ is tensor._array.__class__ and backend_of(array).shares_memory(
        array, tensor._array
    )
    if not shared:
        return value
    with placement.around("copy", (array,)):
        return late.Tensor._wrap(array.copy(), value._current_edge())


def assign(tensor, value, name):
    """Overwrite all of `tensor` with `value` (a Tensor, array or number), recorded."""
    check_writable(tensor, name)
    return write(tensor, replace(tensor, value), name)
