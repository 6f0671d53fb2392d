"""What a captured step must not do, noticed where it does it: copies from and to the host, and waiting for the device."""

from . import transfers
from .capturing import local

_HAPPENED = {
    "to_device": ("copy from the host", "{0} copies data of the host to the device", "make it before, or give it to the step as an argument"),
    "to_host": ("copy to the host", "{0} copies data to the host", "return the Tensor from the step, and look at it after"),
    "value": ("host read", "{0} lets Python read a value of the device", "return the Tensor and read it after the step; choose between values with where()"),
    "shape": ("host read", "{0} has a result whose shape only the device knows", "use a form of fixed shape, as where(mask, x, 0) is for x[mask]"),
    "wait": ("host read", "{0} waits for the device", "wait outside the step"),
}  # fmt: skip


class Refuser(transfers.Watcher):
    """Refuses, for a capture, what crosses between host and device."""

    def __init__(self, capture=None):
        self.capture = capture

    def crossing(self, found):
        if self.capture is not None and local.capture is self.capture:
            reads = found.kind == "to_host" and not found.asked  # item(), if x > 0
            kind, what, instead = _HAPPENED["value" if reads else found.kind]
            self.capture.refuse(kind, what.format(found.by if reads else found.what), instead, found.line)
