"""What a captured step found when it was captured, and what its replays rely on finding again.

A replay does not run Python: it would not notice that a parameter lies elsewhere by now, that a module was put into evaluation mode, or that
a parameter was frozen. So the modules, parameters, buffers and gradients that a step used are noted while it is captured, and
compared before every replay.
"""

import weakref

from chainrule.backends.capturing import CaptureError, local
from chainrule.nn.hooks import seen


class Reliance:
    """Notes what the step uses (`with reliance:` around a capture), and refuses a replay that would not do what the step does."""

    def __init__(self, capture):
        self.capture = capture
        self.modules = {}  # id -> [module, the modes in which it was found]
        self._seen = seen(self.see)

    def __enter__(self):
        self._seen.__enter__()
        return self

    def __exit__(self, kind, error, traceback):
        self._seen.__exit__(kind, error, traceback)
        if error is None:
            self.finish()

    def see(self, module):
        """Note a module that is about to be called, and those in it."""
        if local.capture is not self.capture or id(module) in self.modules:
            return
        for path, one in module.named_modules():
            if id(one) not in self.modules:
                self.modules[id(one)] = [one, {one.training}]
                where = f"of {type(module).__name__}{f'.{path}' if path else ''}"
                for table in (one._parameters, one._buffers):
                    for name, tensor in table.items():
                        if tensor is not None:
                            place = () if (id(table), name) in self.capture.lent_places else (table, name)
                            self.capture.rely_on(tensor, f"{name!r} {where}", *place)

    def finish(self):
        """Look at everything once more when the step is done."""
        capture = self.capture
        for module, modes in self.modules.values():
            modes.add(module.training)
        for root, name, line in capture.host_writes:
            if root() is not None:  # what is gone with the step is made anew in every eager one
                capture.refuse(
                    "counts in Python",
                    f"{name} writes to a Tensor on the CPU",
                    "keep that Tensor on the device, or write to it after the step",
                    line,
                )
        self._forget_leaves_of_the_step()
        for leaf, _ in capture.leaves.values():
            capture.rely_on(leaf, f"a leaf of shape {tuple(leaf.shape)} that backward() reached")
        self.tensors = []
        for tensor, array, name, table, key in capture.relied.values():
            table = {} if table is None else table
            if not _same(tensor._array, array) or table.get(key, tensor) is not tensor:
                capture.refuse(
                    "moved",
                    f"{name} was given other memory in the step",
                    "write in place, with copy_(), and move models before the first step",
                    "?",
                )
            self.tensors.append((tensor, array, name, tensor._edge, table, key))
        self.gradients = [
            (leaf, before, id(leaf) in capture.zeroed, leaf._grad) for leaf, before in capture.leaves.values()
        ]
        for leaf, before, zeroed, after in self.gradients:
            if (
                before is not None
                and not zeroed
                and not (after is not None and _same(after._array, before._array))
            ):
                capture.refuse(
                    "gradient",
                    f"the gradient of {capture.relied[id(leaf)][2]} was there before and is another array now",
                    "call zero_grad() at the start of the step, or change .grad in place",
                    "?",
                )

    def _forget_leaves_of_the_step(self):
        """A leaf that the step made, and that it let go when it was over, is another one in every step: its .grad is nobody's."""
        capture = self.capture
        found = [(weakref.ref(leaf), before) for leaf, before in capture.leaves.values()]
        capture.keep([leaf._array for leaf, _ in capture.leaves.values()])
        capture.leaves.clear()
        alive = [(leaf, before) for reference, before in found if (leaf := reference()) is not None]
        capture.leaves.update((id(leaf), (leaf, before)) for leaf, before in alive)

    def check(self):
        """CaptureError where a replay would not be the step any more."""
        for tensor, array, name, edge, table, key in self.tensors:
            moved = tensor._array is not array and not _same(tensor._array, array)
            if moved or table.get(key, tensor) is not tensor:
                raise CaptureError(
                    f"graphed step: {name} was put into other memory since the capture, which the graph does not follow; change it in "
                    f"place (copy_(), load_state_dict()), or make the graphed step anew"
                )
            if tensor._edge is not edge and tensor.requires_grad != (edge is not None):
                raise CaptureError(
                    f"graphed step: requires_grad of {name} was changed since the capture; make the graphed step anew"
                )
        for module, modes in self.modules.values():
            if module.training not in modes:
                mode, other = ("training", "train()") if True in modes else ("evaluation", "eval()")
                raise CaptureError(
                    f"graphed step: {type(module).__name__} was captured in {mode} mode and is in the other now; call model.{other} before"
                )
        for leaf, before, zeroed, _ in self.gradients:
            if not zeroed and leaf._grad is not before and (before is None or leaf._grad is None):
                raise CaptureError(
                    f"graphed step: {self.capture.relied[id(leaf)][2]} had {'no' if before is None else 'a'} gradient when the step was "
                    f"captured and has {'one' if before is None else 'none'} now; call zero_grad() at the start of the step itself"
                )

    def restore(self):
        """Let `.grad` be, after a replay, what it is after the step."""
        for leaf, _, _, after in self.gradients:
            leaf._grad = after


def _same(array, other):
    """Whether two arrays are the same memory, seen in the same way."""
    return array is other or (
        array.__class__ is other.__class__
        and array.data.ptr == other.data.ptr
        and (array.shape, array.strides, array.dtype) == (other.shape, other.strides, other.dtype)
    )
