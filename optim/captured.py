"""An optimizer's step in a captured graph: what Python counts and knows in an eager step is read from the device.

The launches of a graph have the arguments of the capture for ever. So the numbers of the steps lie on the device, 0-d views of one array,
which are `state["step"]` from then on and are counted by a launch of the graph itself; options lie there too, and are written anew
before a replay if they changed since the last, as schedulers change them. With `capturable=True` steps are counted so outside of
graphs as well.
"""

from contextlib import nullcontext

import numpy

from chainrule.autograd.tensor import Tensor
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, namespaces
from chainrule.backends.capturing import CaptureError

from .loading import as_number

WORKING = "use Adam, AdamW or SGD, with contiguous real parameters on one device"


def accepts(optimizer, capture):
    """Whether an optimizer's step can be captured; refuses it if not."""
    name = type(optimizer).__name__
    if optimizer.together is None:
        capture.refuse("optimizer", f"{name}.step counts in Python", WORKING)
        return False
    if optimizer._pre_hooks or optimizer._post_hooks:
        capture.refuse(
            "optimizer",
            f"{name}.step calls hooks",
            "remove them, and do what they do around the graphed step",
        )
        return False
    return True


def refuse(optimizer, param, capture):
    """Refuse a parameter that no kernel updates."""
    what = f"{type(optimizer).__name__}.step has no kernel for a parameter of shape {tuple(param.shape)}, {param.dtype} on {param.device}"
    kernels = backend_of(param._array).kernels
    capture.refuse("optimizer", what, WORKING if kernels else "do not set CHAINRULE_KERNELS=0")


def options_of(group, capture=None):
    """The options of a group as numbers. In a capture a learning rate that lies on the device is left there, and given as 0."""

    def number(value):
        if not isinstance(value, Tensor):
            return value
        return 0.0 if capture is not None and _on_device(value, capture) else value.item()

    return {key: number(value) for key, value in group.items()}


def _on_device(value, capture):
    return isinstance(value, Tensor) and backend_of(value._array) is capture.backend


def counts_on_device(optimizer, params, group, capture):
    """Whether the steps of `params` are counted on the device: in captures, and once they have been."""
    if "step" not in optimizer.scalars and not group.get("momentum"):
        return False  # which step it is makes no difference
    if capture is not None or group.get("capturable"):
        return True
    first = optimizer.state.get(params[0]) or {}
    return _count_of(optimizer, params[0], first, params[0]._array.__class__) is not None


def _count_of(optimizer, param, state, kind):
    """The 0-d array that counts the steps of a parameter on its device; None if Python does."""
    if "step" not in optimizer.scalars:
        return optimizer._counts.get(param)
    entry = state.get("step")
    array = entry._array if isinstance(entry, Tensor) else None
    return array if array.__class__ is kind and array.dtype == "int64" and kind is not numpy.ndarray else None


def count(optimizer, params, states, first, capture):
    """Count a step of each parameter on the device; the 0-d arrays."""
    kind, backend = params[0]._array.__class__, backend_of(params[0]._array)
    counts = [_count_of(optimizer, param, state, kind) for param, state in zip(params, states, strict=True)]
    missing = [k for k, one in enumerate(counts) if one is None]
    if missing:
        numbers = [_counted(optimizer, states[k], first[k]) for k in missing]
        with capture.outside() if capture is not None else nullcontext():
            place = backend.device_of(params[0]._array).index
            array = backend.from_host(numpy.array(numbers, dtype="int64"), place)
            for number, k in enumerate(missing):
                counts[k] = array[number : number + 1].reshape(())
                _keep_count(optimizer, params[k], states[k], counts[k])
    kernel = backend.kernel("count_steps", *counts)
    kernel(namespaces[kind], counts, optimizer._skip)
    return counts


def _keep_count(optimizer, param, state, count):
    if "step" in optimizer.scalars:
        state["step"] = Tensor._wrap(count)
    else:
        optimizer._counts[param] = count


def _counted(optimizer, state, new):
    """How many steps Python has counted until now."""
    if "step" in optimizer.scalars:
        return int(as_number(state["step"]))
    return 0 if new else 1  # all that is asked is whether a step is the first


def arguments(optimizer, group, options, capture):
    """What the kernel of a captured step is given besides: its options on the device, and whether to skip the step."""
    fixed, state = _fixed(optimizer, group, capture), optimizer.state

    def read():
        if _fixed(optimizer, group, capture) != fixed or optimizer.state is not state:
            raise CaptureError(
                f"{type(optimizer).__name__}: amsgrad, momentum (from or to 0), the number of parameter groups or of parameters in one, or "
                f"where the learning rate lies was changed since the step was captured, or a state of other names, shapes or dtypes was "
                f"loaded; make the graphed step anew"
            )
        return optimizer.numbers(options_of(group, capture))

    numbers = capture.numbers(read)
    rate = group["lr"]
    if _on_device(rate, capture):
        capture.rely_on(rate, f"the learning rate of {type(optimizer).__name__}", group, "lr")
        numbers[:1] = rate._array.reshape(1)
    return {"numbers": numbers, "skip": optimizer._skip}


def _fixed(optimizer, group, capture):
    """What the launches of a step depend on besides numbers."""
    return (
        bool(group.get("amsgrad")),
        bool(group.get("momentum")),
        _on_device(group["lr"], capture),
        len(group["params"]),
        len(optimizer.param_groups),
    )


def register(optimizer, params, states, capture):
    """Have a replay refused when a parameter or its state lies elsewhere by then."""
    name = type(optimizer).__name__
    for param, state in zip(params, states, strict=True):
        capture.rely_on(param, f"a parameter of {name}, of shape {tuple(param.shape)}")
        for key, entry in state.items():
            if isinstance(entry, Tensor):
                what = f"the state {key!r} of {name} for a parameter of shape {tuple(param.shape)}"
                capture.rely_on(entry, what, state, key)
    capture.keep(dict(optimizer._counts))


def loaded_in_place(optimizer, state):
    """Write `state`, as it was loaded, into the optimizer's own where that has the same names, shapes and dtypes; whether it had.

    A captured graph goes on with what was loaded then.
    """
    if optimizer.state.keys() != state.keys() or not optimizer.state:
        return False
    pairs = []
    for param, entries in state.items():
        own = optimizer.state[param]
        if own.keys() != entries.keys():
            return False
        for key, new in entries.items():
            old = own[key]
            if not isinstance(old, Tensor) or not isinstance(new, Tensor) or old.shape != new.shape:
                return False
            if key not in optimizer.scalars and old.dtype != new.dtype:
                return False
            pairs.append((old._array, new._array.item() if key in optimizer.scalars else new._array))
    for old, new in pairs:
        log.wrote(old)
        old[...] = new
    return True
