"""Keeping gradients from becoming too large, after `backward()` and before the optimizer's step.

Clipping by norm keeps the direction: all gradients together, as one vector g, become g min(1, max_norm / |g|). Pascanu,
Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
"""

import math

from chainrule.autograd.functions.creation import zeros
from chainrule.autograd.functions.shape import stack
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor
from chainrule.autograd.writes import log
from chainrule.backends import backend_of, kernels, namespaces

# Added to the norm, as in PyTorch: no division by zero.
_EPS = 1e-6


def _gradients(parameters):
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for one in parameters:
        if not isinstance(one, Tensor):
            raise TypeError(f"clipping gradients: expected Tensors, got {type(one).__name__}")
    return [one.grad for one in parameters if one.grad is not None]


def _norm(tensor, norm_type):
    """The p-norm of all elements, a Tensor of shape ()."""
    size = tensor.detach().abs()
    if size.itemsize < 4:
        size = size.float()  # squares of 16-bit numbers soon overflow
    if norm_type == math.inf:
        return size.max() if size.numel() else size.sum()
    if norm_type == 0:
        return (size != 0).to(size.dtype).sum()
    if norm_type == 1:
        return size.sum()
    return size.square().sum().sqrt() if norm_type == 2 else size.pow(norm_type).sum().pow(1 / norm_type)


def _kernel(name, *arrays):
    """The kernel of a backend for all of them at once; None if it has none, or they are of several."""
    if name not in kernels or len({id(a) for a in arrays}) < len(
        arrays
    ):  # one given twice is scaled twice, in turn
        return None
    one_place = len({(a.__class__, backend_of(a).device_of(a)) for a in arrays}) == 1
    return backend_of(arrays[0]).kernel(name, *arrays) if one_place else None


def _joint_norm(tensors, norm_type):
    """[the 2-norm of all together] by a backend's kernel, None if there is none for them."""
    arrays = [one._array for one in tensors]
    kernel = _kernel("total_norm", *arrays) if norm_type == 2 else None
    return kernel and [Tensor._wrap(kernel(namespaces[arrays[0].__class__], arrays)[0])]


@no_grad()
def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The p-norm of all elements of all `tensors`, as if they were one vector; a Tensor of shape ().

    norm_type: p, or inf. error_if_nonfinite: RuntimeError if the norm is infinite or NaN. foreach changes nothing.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return zeros(())
    norms = _joint_norm(tensors, norm_type) or [_norm(one, norm_type) for one in tensors]
    place = norms[0].device
    total = norms[0]
    if len(norms) > 1:
        total = _norm(stack([one.to(place) for one in norms]), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} of the gradients is {total.item()}, so it cannot be clipped; pass "
            f"error_if_nonfinite=False to scale by it anyway"
        )
    return total


@no_grad()
def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Scale the gradients of `parameters`, in place, by min(1, max_norm / total_norm)."""
    factor = (float(max_norm) / (total_norm + _EPS)).clamp(max=1.0)
    # Multiplied even when it is 1: asking would make the host wait for the device.
    gradients = _gradients(parameters)
    arrays = [gradient._array for gradient in gradients]
    kernel = _kernel("scale_all", factor._array, *arrays) if arrays else None
    if kernel is not None:
        kernel(namespaces[factor._array.__class__], arrays, factor._array)
        for array in arrays:
            log.wrote(array)
        return
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device).to(gradient.dtype))


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale the gradients of `parameters`, in place, so that their norm together is at most `max_norm`.

    parameters: Tensors or one Tensor; those without a gradient are passed over. Returns the norm before, of shape ().
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


@no_grad()
def clip_grad_value_(parameters, clip_value, foreach=None):
    """Bring every element of the gradients of `parameters`, in place, into [-clip_value, clip_value]."""
    clip_value = float(clip_value)
    if clip_value < 0:
        raise ValueError(f"clip_grad_value_: clip_value must be at least 0, got {clip_value}")
    for gradient in _gradients(parameters):
        gradient.clamp_(-clip_value, clip_value)
