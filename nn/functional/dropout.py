"""Dropout: elements or whole channels set to 0 at random while training, the rest scaled to keep the expectation.

Masks come from chainrule's own generator (`chainrule.manual_seed`), the same numbers on every device; how they are kept or computed anew
for the gradient is said in `autograd/ops/dropout.py`.
Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
"""

import math
import numbers

from chainrule.autograd import inplace as _inplace
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.draws import rand
from chainrule.autograd.ops.dropout import dropout as _dropout
from chainrule.autograd.ops.dropout import place_for
from chainrule.autograd.ops.selection import masked
from chainrule.backends import dtypes, placement

# The value a SELU takes at -inf: Klambauer et al. 2017, where alpha dropout puts what it drops.
_SELU_FLOOR = -1.7580993408473766


@placement.on_their_card
def _kept(x, p, shape):
    """A mask of `shape`, each element True with probability 1 - p."""
    return rand(shape, dtype=dtypes.float32, device=x.device)._array >= p


def _check(input, p, name, training):
    x = tensor_of(input, name)
    if training and x._array.dtype.kind in "biu":
        raise RuntimeError(f"{name}: expected a floating point tensor, got {x.dtype}; convert with .float()")
    if not isinstance(p, numbers.Real):
        raise TypeError(f"{name}: dropout probability has to be a number, got {type(p).__name__}")
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")
    return x


def _drop(x, p, shape, inplace, name):
    shape = tuple(shape)
    place = place_for(x._array, shape, p)
    static = {"place": place, "shape": shape, "p": p}
    mask = _kept(x, p, shape) if place is None else None
    if inplace:
        return _inplace.apply(_dropout, x, mask, name=name, **static)
    return _dropout(x, mask, **static)


def _channels(x, batched_ndim):
    """The shape of a mask with one element for each channel of x, which lacks the batch dimension if it has one less."""
    lead = 2 if x.ndim >= batched_ndim else 1
    return tuple(x.shape[:lead]) + (1,) * (x.ndim - lead)


def dropout(input, p=0.5, training=True, inplace=False):
    """Each element 0 with probability p, else divided by 1 - p; the input itself outside training. (*) -> (*)."""
    x = _check(input, p, "dropout", training)
    return _drop(x, p, x.shape, inplace, "dropout") if training and p else x


def _channelwise(input, p, training, inplace, name, ndims, batched_ndim):
    x = _check(input, p, name, training)
    if x.ndim not in ndims:
        raise RuntimeError(
            f"{name}: expected {' or '.join(map(str, ndims))} dimensions, got shape {tuple(x.shape)}"
        )
    return _drop(x, p, _channels(x, batched_ndim), inplace, name) if training and p else x


def dropout1d(input, p=0.5, training=True, inplace=False):
    """Whole channels 0 with probability p. (N, C, L) or (C, L) -> the same."""
    return _channelwise(input, p, training, inplace, "dropout1d", (2, 3), 3)


def dropout2d(input, p=0.5, training=True, inplace=False):
    """Whole channels 0 with probability p. (N, C, H, W), or (N, C, L) as in PyTorch -> the same."""
    return _channelwise(input, p, training, inplace, "dropout2d", (3, 4), 3)


def dropout3d(input, p=0.5, training=True, inplace=False):
    """Whole channels 0 with probability p. (N, C, D, H, W) or (C, D, H, W) -> the same."""
    return _channelwise(input, p, training, inplace, "dropout3d", (4, 5), 5)


@placement.on_their_card
def _alpha(x, p, shape, inplace, name):
    """a * (x where kept, else the floor) + b, with the a and b that keep mean 0 and variance 1."""
    mask = _kept(x, p, shape)
    a = 1 / math.sqrt((1 - p) * (1 + p * _SELU_FLOOR**2)) if p < 1 else 0.0
    b = -a * _SELU_FLOOR * p
    offset = masked(x.new_full(shape, a * _SELU_FLOOR), ~mask) + b
    if not inplace:
        return masked(x, mask, scale=a) + offset
    return _inplace.apply(masked, x, mask, name=name, scale=a).add_(offset)


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps mean 0 and variance 1, for SELU networks. (*) -> (*). Klambauer et al. 2017, section 3."""
    x = _check(input, p, "alpha_dropout", training)
    return _alpha(x, p, x.shape, inplace, "alpha_dropout") if training and p else x


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Alpha dropout of whole channels. (N, C, *) -> (N, C, *)."""
    x = _check(input, p, "feature_alpha_dropout", training)
    if not training or not p:
        return x
    if x.ndim < 2:
        raise RuntimeError(f"feature_alpha_dropout: expected an input (N, C, *), got shape {tuple(x.shape)}")
    shape = tuple(x.shape[:2]) + (1,) * (x.ndim - 2)
    return _alpha(x, p, shape, inplace, "feature_alpha_dropout")
