"""The methods that write into a tensor: each is an operation followed by a recorded write, and right or refused."""

from importlib import import_module
from typing import Any

from chainrule.autograd import inplace, late, ops

from . import arithmetic, creation, indexing, names, shape


def _broadcasts(given, wanted):
    """Whether an array of shape `given` can be written into one of shape `wanted`."""
    lengths = zip(reversed(given), reversed(wanted), strict=False)
    return len(given) <= len(wanted) and all(one in (1, length) for one, length in lengths)


def _in_place(operation, name=None):
    """The in-place form of a function: `x.exp_()`."""

    def method(self, *args, **kwargs):
        return inplace.apply(operation, self, *args, name=label, **kwargs)

    label = name or operation.__name__ + "_"
    method.__name__ = method.__qualname__ = label
    method.__doc__ = f"`{label.rstrip('_')}`, written into this tensor."
    return method


def _late_in_place(name, module, attribute):
    """The in-place form of a function that is loaded when the method is first called."""

    def method(self, *args, **kwargs):
        operation = getattr(import_module(module), attribute)
        return inplace.apply(operation, self, *args, name=name + "_", **kwargs)

    method.__name__ = method.__qualname__ = name + "_"
    method.__doc__ = f"`{name}`, written into this tensor."
    return method


Later: Any = type(
    "Later", (), {entry[0] + "_": _late_in_place(*entry) for entry in names.entries(names.IN_PLACE)}
)


class InPlace(Later):
    """Methods that write into the tensor: recorded, and right or refused."""

    __iadd__ = _in_place(arithmetic.add, "add_")
    __isub__ = _in_place(arithmetic.sub, "sub_")
    __imul__ = _in_place(ops.multiply, "mul_")
    __itruediv__ = _in_place(arithmetic.div, "div_")
    __ifloordiv__ = _in_place(ops.floor_divide, "floor_divide_")
    __imod__ = _in_place(ops.remainder, "remainder_")
    __ipow__ = _in_place(arithmetic.pow, "pow_")
    __iand__ = _in_place(ops.bitwise_and, "bitwise_and_")
    __ior__ = _in_place(ops.bitwise_or, "bitwise_or_")
    __ixor__ = _in_place(ops.bitwise_xor, "bitwise_xor_")

    add_ = _in_place(arithmetic.add)
    sub_ = subtract_ = _in_place(arithmetic.sub)
    mul_ = multiply_ = _in_place(ops.multiply, "mul_")
    div_ = divide_ = _in_place(arithmetic.div)
    pow_ = _in_place(arithmetic.pow)
    remainder_ = _in_place(ops.remainder)
    neg_ = _in_place(ops.negative, "neg_")
    abs_ = _in_place(ops.absolute, "abs_")
    square_ = _in_place(ops.square)
    sqrt_ = _in_place(ops.sqrt)
    rsqrt_ = _in_place(ops.rsqrt)
    reciprocal_ = _in_place(ops.reciprocal)
    exp_ = _in_place(ops.exp)
    log_ = _in_place(ops.log)
    sin_, cos_ = _in_place(ops.sin), _in_place(ops.cos)
    tanh_ = _in_place(ops.tanh)
    sigmoid_ = _in_place(arithmetic.sigmoid)
    relu_ = _in_place(arithmetic.relu)
    floor_, ceil_, trunc_ = _in_place(ops.floor), _in_place(ops.ceil), _in_place(ops.trunc)
    round_ = _in_place(arithmetic.round)
    clamp_ = clip_ = _in_place(arithmetic.clamp)
    clamp_min_ = _in_place(arithmetic.clamp_min)
    clamp_max_ = _in_place(arithmetic.clamp_max)
    lerp_ = _in_place(arithmetic.lerp)
    addcmul_ = _in_place(arithmetic.addcmul)
    addcdiv_ = _in_place(arithmetic.addcdiv)
    masked_fill_ = _in_place(indexing.masked_fill)
    scatter_ = _in_place(indexing.scatter)
    scatter_add_ = _in_place(indexing.scatter_add)
    index_add_ = _in_place(indexing.index_add)
    index_copy_ = _in_place(indexing.index_copy)
    index_fill_ = _in_place(indexing.index_fill)
    index_put_ = _in_place(indexing.index_put)
    tril_, triu_ = _in_place(shape.tril), _in_place(shape.triu)

    def zero_(self):
        """Set every element to 0."""
        return self.fill_(0)

    def fill_(self, value):
        """Set every element to `value`, a number or a 0-d Tensor."""
        if isinstance(value, late.Tensor):
            if value.ndim:
                raise RuntimeError(
                    f"fill_: expected a number or a 0-d tensor, got shape {tuple(value.shape)}"
                )
            return inplace.assign(self, value.to(self.device).to(self.dtype), "fill_")
        return inplace.assign(self, creation.number(value, self._array.dtype, "fill_"), "fill_")

    def copy_(self, src, non_blocking=False):
        """Overwrite with the elements of `src`, broadcast and converted; non_blocking as in `to`, for what goes to a card."""
        src = (
            src
            if isinstance(src, late.Tensor)
            else creation.tensor(src, dtype=self.dtype, device=self.device)
        )
        if src.shape != self.shape and not _broadcasts(src.shape, self.shape):
            raise RuntimeError(
                f"copy_: a source of shape {tuple(src.shape)} does not broadcast to {tuple(self.shape)}; reshape it, or copy into a slice"
            )
        later = non_blocking and self.device.type != "cpu"  # what goes to the host is read here
        return inplace.assign(self, src.to(self.device, non_blocking=later).to(self.dtype), "copy_")
