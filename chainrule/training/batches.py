"""What `fit`, `find_lr` and the checks do with a batch."""

from chainrule.autograd.tensor import Tensor
from chainrule.optim.whole import WholeOptimizer


def split(batch, device=None):
    """The pair (inputs, target) of a batch `(input, ..., target)`, on `device` if one is given."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise TypeError(
            f"a batch must be a tuple (input, ..., target), got {type(batch).__name__}; give the loader a collate_fn that "
            f"makes one, or write the loop yourself"
        )
    *inputs, target = batch if device is None else moved(batch, device)
    return inputs, target


def moved(value, device):
    """`value`, a Tensor or containers of them, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return [moved(one, device) for one in value]
    if isinstance(value, dict):
        return {key: moved(one, device) for key, one in value.items()}
    return value


def size(target):
    """The number of samples in a batch with this target."""
    return len(target) if not isinstance(target, Tensor) or target.ndim else 1


def learn(model, loss, optimizer, inputs, target):
    """One step of the optimizer on one batch; returns the loss before it."""

    def closure():
        optimizer.zero_grad()
        value = loss(model(*inputs), target)
        value.backward()
        return value

    if isinstance(optimizer, WholeOptimizer):  # asks for the loss as often as it needs
        return optimizer.step(closure).detach()
    value = closure()
    optimizer.step()
    return value.detach()
