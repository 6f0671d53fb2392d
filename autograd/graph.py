"""Looking into the graph and steering what it keeps, under the names of `torch.autograd.graph`."""

from collections import namedtuple

from . import late
from .modes import local
from .node import LEAF, AccumulateGrad, Hooks, Node, RemovableHandle, Slot
from .saved import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from .writes import log

__all__ = [
    "LEAF",
    "AccumulateGrad",
    "GradientEdge",
    "Hooks",
    "Node",
    "RemovableHandle",
    "Slot",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]

GradientEdge = namedtuple("GradientEdge", ["node", "output_nr"])


def get_gradient_edge(tensor):
    """Where a gradient of `tensor` would go: the node that made it (or its AccumulateGrad) and the index of the output."""
    edge = tensor._current_edge()
    if edge is None:
        raise RuntimeError(
            "get_gradient_edge: the tensor does not require grad, so no gradient goes anywhere"
        )
    return GradientEdge(
        AccumulateGrad(edge) if isinstance(edge, late.Tensor) else tensor.grad_fn, tensor.output_nr
    )


def increment_version(tensor):
    """Count a write to the memory of `tensor` (or of each of several) that the library did not see."""
    for one in tensor if isinstance(tensor, (tuple, list)) else (tensor,):
        log.wrote(one._array)


def allow_mutation_on_saved_tensors():
    """Inside, operations keep copies of what they save, so that writing in place afterwards is harmless."""
    return saved_tensors_hooks(lambda tensor: tensor.clone(), lambda tensor: tensor)


def register_multi_grad_hook(tensors, fn, *, mode="all"):
    """Call `fn` once in each backward: with all the Tensors' gradients when the last one is known (None for a Tensor the
    backward does not reach), or, with mode "any", with the first one."""
    if mode not in ("all", "any"):
        raise ValueError(f'register_multi_grad_hook: mode must be "all" or "any", got {mode!r}')
    tensors = tuple(tensors)
    seen = {}

    def arrived(index):
        def hook(grad):
            walk = local.state.walk
            if seen.get("walk") is not walk:
                seen.clear()
                seen["walk"] = walk
            seen[index] = grad
            if mode == "any":
                if len(seen) == 2:
                    fn(grad)
                return
            expected = [i for i, one in enumerate(tensors) if one._current_edge() in walk.counts]
            if all(i in seen for i in expected):
                fn([seen.get(i) for i in range(len(tensors))])

        return hook

    handles = [one.register_hook(arrived(i)) for i, one in enumerate(tensors)]

    class Handle:
        """Takes all the hooks off again."""

        def remove(self):
            """Take the hooks off."""
            for handle in handles:
                handle.remove()

    return Handle()
