"""A step of many parameters by one launch of a backend's kernel, eager or in a captured graph."""

from contextlib import nullcontext

from chainrule.autograd.writes import log
from chainrule.backends import backend_of, placement
from chainrule.backends.capturing import local as capturing

from . import captured


def update(optimizer, params, group, options):
    """Do the step of all parameters for which their backend has a kernel; returns the others."""
    if len({id(param) for param in params}) < len(params):
        return params  # one is to be updated twice, one time after the other
    others, found = [], {}
    for param in params:
        array, grad, state = param._array, param._grad._array, optimizer.state.get(param) or {}
        placement.follow(array)
        backend = backend_of(array)
        arrays = [one._array for name, one in state.items() if name not in optimizer.scalars]
        kernel = backend.kernel(optimizer.together, array, grad, *arrays)
        if kernel is None and backend.kernels and not grad.flags.c_contiguous:
            # Convolutions give gradients in other orders: a copy costs less than the step without the kernel.
            grad = backend.xp.ascontiguousarray(grad)
            kernel = backend.kernel(optimizer.together, array, grad, *arrays)
        if kernel is None:
            others.append(param)
        else:
            place = kernel, array.dtype, backend.device_of(array)
            found.setdefault(place, []).append((param, array, grad))
    for (kernel, *_), members in found.items():
        placement.follow(members[0][1])
        params, arrays, grads = (list(column) for column in zip(*members, strict=True))
        _launch(optimizer, kernel, params, arrays, grads, group, options)
        for array in arrays:
            log.wrote(array)
    return others


def _launch(optimizer, kernel, params, arrays, grads, group, options):
    """Do the step of `params` by the kernel; in a capture, so that each replay is one more step."""
    capture, given = capturing.capture, {}
    first = [not optimizer.state.get(param) for param in params]
    with nullcontext() if capture is None else capture.outside():
        states = [optimizer.state.get(param) or optimizer._start(param, options) for param in params]
    if captured.counts_on_device(optimizer, params, group, capture):
        steps = captured.count(optimizer, params, states, first, capture)
    elif "step" in optimizer.scalars:
        steps = [optimizer.advance(state) for state in states]
    else:
        steps = [1 if new else 2 for new in first]
    if capture is not None:
        optimizer._captured = True
        captured.register(optimizer, params, states, capture)
        given = captured.arguments(optimizer, group, options, capture)
    optimizer.update_together(kernel, arrays, grads, states, steps, options, **given)
