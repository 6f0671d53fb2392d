"""All parameters as one vector, and back."""

from chainrule.autograd.functions.shape import cat
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor


def parameters_to_vector(parameters):
    """The elements of all `parameters`, one after the other, as a Tensor of one dimension; differentiable."""
    return cat([one.reshape(-1) for one in parameters])


def vector_to_parameters(vec, parameters):
    """Write the elements of `vec`, in order, into `parameters`; the inverse of `parameters_to_vector`."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"vector_to_parameters: expected a Tensor, got {type(vec).__name__}")
    parameters = list(parameters)
    count = sum(one.numel() for one in parameters)
    if vec.ndim != 1 or vec.numel() != count:
        raise ValueError(
            f"vector_to_parameters: expected a vector of {count} elements, got shape {tuple(vec.shape)}"
        )
    start = 0
    with no_grad():
        for one in parameters:
            one.copy_(vec[start : start + one.numel()].reshape(one.shape))
            start += one.numel()
