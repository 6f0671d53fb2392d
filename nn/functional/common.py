"""Checks and reductions that the functions of this folder share."""

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.backends import backend_of, cpu


def on_host(array):
    """Whether the host can read this array's values without waiting for a device."""
    return backend_of(array) is cpu


def check_range(array, low, high, name, what, fix):
    """IndexError for an integer outside [low, high). A device is not asked: as in PyTorch, reading it would stop the queue."""
    if array.size and on_host(array):
        for value in (int(array.min()), int(array.max())):
            if not low <= value < high:
                raise IndexError(f"{name}: {what} {value} is out of range [{low}, {high}); {fix}")


def weighted(loss, weight, name):
    """Each loss times its weight, which broadcasts, in the dtype of the losses; the losses themselves without one."""
    return loss if weight is None else loss * tensor_of(weight, name).to(loss.dtype)


def reduction_of(size_average, reduce, reduction, name):
    """The reduction asked for, where PyTorch's two older arguments, if given, win over the newer one."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(
            f"{name}: {reduction!r} is not a valid value for reduction; use 'none', 'mean' or 'sum'"
        )
    return reduction


def reduced(loss, reduction):
    """All losses, their mean or their sum."""
    if reduction == "none":
        return loss
    return ops.mean(loss) if reduction == "mean" else ops.sum(loss)
