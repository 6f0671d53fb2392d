"""Penalties on weights, to be added to a loss: `loss + 0.01 * l2_penalty(weights(model))`.

Each takes a Tensor or several and gives a scalar. Biases are usually left out: `weights(model)` gives a model's matrices and kernels.
"""

from chainrule.autograd.functions.creation import zeros
from chainrule.autograd.functions.linalg import svdvals
from chainrule.autograd.tensor import Tensor


def weights(module):
    """The parameters of two dimensions or more: neither biases nor the scales of norms."""
    return [one for one in module.parameters() if one.ndim > 1]


def _total(tensors, penalty):
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    first, *rest = [penalty(one) for one in tensors] or [zeros(())]
    return sum(rest, first)


def l1_penalty(tensors):
    """sum |w|, whose gradient sign(w) drives weights to 0. Tibshirani (1996)."""
    return _total(tensors, lambda w: w.abs().sum())


def l2_penalty(tensors):
    """sum w^2 / 2, whose gradient is w: with SGD the same as weight decay. Hoerl & Kennard (1970), Krogh & Hertz (1992)."""
    return _total(tensors, lambda w: w.square().sum() / 2)


def frobenius_penalty(tensors):
    """The sum of the squared Frobenius norms, without the half of `l2_penalty`."""
    return _total(tensors, lambda w: w.square().sum())


def spectral_penalty(tensors):
    """sum sigma^2 / 2 over the largest singular value sigma of each weight. Yoshida & Miyato (2017).

    A weight of more than two dimensions counts as a matrix of its rows. The singular values are exact; their gradient is that of
    sigma, u v^T.
    """
    return _total(tensors, lambda w: svdvals(w.flatten(1)).amax().square() / 2)
