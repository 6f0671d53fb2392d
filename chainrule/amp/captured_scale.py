"""The loss scale in captured graphs: it lies on the device, where every replay reads it, adapts it and passes over a bad step.

The host keeps its own copy. It reads the device's when it is asked for the scale after replays, and writes its own there before the next
replay if the scale was changed outside a graph.
"""

import numpy

from chainrule.autograd import Tensor
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, namespaces
from chainrule.backends.capturing import at_once, local


class CapturedScale:
    """The scale and the number of good steps of one GradScaler on a device."""

    def __init__(self, scaler, backend):
        self.scaler, self.backend = scaler, backend
        self.scale = at_once(lambda: backend.xp.full((), scaler._host_scale, dtype="float32"))
        self.good = at_once(lambda: backend.xp.full((), scaler._host_tracker, dtype="int64"))
        self.newer = False  # the device has run ahead of the host
        self.stale = False  # the host was set since
        self.capture = None

    def enter(self, capture):
        """Let the replays of a capture under way go on from the host's scale, and the host know when they did."""
        if capture is self.capture:
            return
        self.capture = capture
        scaler = self.scaler
        # What was looked at and stepped when the step was over: empty if update() is part of it.
        self.left = left = [scaler._unscaled, scaler._stepped]
        unscaled, stepped = dict(scaler._unscaled), set(scaler._stepped)

        def forget():
            scaler._unscaled, scaler._stepped = unscaled, stepped
            self.capture = None

        capture.if_abandoned(forget)
        capture.keep((self.scale, self.good))

        def before():
            if self.stale:
                self.scale[...] = scaler._host_scale
                self.good[...] = scaler._host_tracker
                self.stale = False

        def after():
            self.newer = True
            scaler._used = True
            scaler._unscaled, scaler._stepped = dict(left[0]), set(left[1])

        capture.before_replay(before)
        capture.after_replay(after)

    def fetch(self):
        """Bring the host's copy up to date."""
        if self.newer:
            self.scaler._host_scale = self.scale.item()
            self.scaler._host_tracker = self.good.item()
            self.newer = False

    def adapt(self, overflow):
        """The update after a step, in a capture: `overflow` are arrays that say whether there was one."""
        scaler, capture = self.scaler, self.capture
        kernel = self.backend.kernel("adapt_scale")
        if kernel is None:
            capture.refuse(
                "optimizer",
                "GradScaler.update needs a kernel that this device lacks",
                "call it after the step",
            )
            return
        found = overflow[0]
        for one in overflow[1:]:
            found = found | one
        numbers = capture.numbers(
            lambda: (scaler._growth_factor, scaler._backoff_factor, scaler._growth_interval)
        )
        kernel(self.backend.xp, self.scale, self.good, found, numbers)


def unscale_by_kernel(gradients, scale):
    """Divide gradients of one device in place, where it has a kernel for all; whether one was not finite, else None.

    scale: a number, or the array on the device.
    """
    arrays = [one._array for one in gradients]
    backend = backend_of(arrays[0])
    groups = {}
    for array in arrays:
        groups.setdefault(str(array.dtype), []).append(array)
    chosen = [(backend.kernel("unscale", *group), group) for group in groups.values()]
    if None in [kernel for kernel, _ in chosen] or len({id(one) for one in arrays}) < len(arrays):
        return None
    xp = namespaces[arrays[0].__class__]
    if not isinstance(scale, arrays[0].__class__):
        scale = xp.full((), scale, dtype="float32")
    found = xp.zeros((), dtype="int32")
    for kernel, group in chosen:
        kernel(xp, group, scale, found)
    for array in arrays:
        log.wrote(array)
    return Tensor._wrap(found)


def flag(overflow):
    """What says whether a gradient was not finite, as the int32 that kernels read."""
    array = overflow._array
    return array if array.dtype == numpy.int32 else array.astype("int32")


def current(scaler):
    """The `CapturedScale` of a scaler if a capture is under way, else None."""
    capture = local.capture
    if capture is None:
        return None
    if scaler._captured is None:
        scaler._captured = CapturedScale(scaler, capture.backend)
    scaler._captured.enter(capture)
    return scaler._captured
