"""Pruning: weights set to 0 by a mask, while training goes on with the others. LeCun et al. (1990), Han et al. (2015).

A pruned tensor `weight` is `weight_orig`, a parameter, times `weight_mask`, a buffer. Pruning again acts on what is left.
"""

import math

from chainrule.autograd.functions.draws import rand
from chainrule.autograd.functions.reduction import norm
from chainrule.autograd.functions.shape import cat
from chainrule.autograd.modes import no_grad


class _Pruned:
    """The tensor `name` of a module, as `nn/tree.py` asks for it."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def value(self):
        """The tensor with zeros where it is pruned."""
        return getattr(self.module, self.name + "_orig") * getattr(self.module, self.name + "_mask")

    def right_inverse(self, value):
        """Nothing can be assigned."""
        raise RuntimeError(f"cannot assign to {self.name!r}, which is pruned; see nn.utils.prune.remove")


def _pruned(module, name):
    return isinstance(module._parametrized.get(name), _Pruned)


def _mask(module, name):
    """What is left of a tensor, 1 or 0 for each element."""
    if _pruned(module, name):
        return getattr(module, name + "_mask")
    return getattr(module, name).detach().new_ones(getattr(module, name).shape)


@no_grad()
def custom_from_mask(module, name, mask):
    """Prune the elements of `module.<name>` where `mask` is 0. Returns the module, as all functions here do."""
    if not _pruned(module, name):
        original = module._parameters.get(name)
        if original is None:
            raise ValueError(f"prune: {type(module).__name__} has no parameter {name!r}")
        delattr(module, name)
        module.register_parameter(name + "_orig", original)
        module.register_buffer(name + "_mask", original.new_ones(original.shape))
        module.__dict__.setdefault("_parametrized", {})[name] = _Pruned(module, name)
    left = getattr(module, name + "_mask")
    if mask.shape != left.shape:
        raise ValueError(f"prune: the mask has shape {tuple(mask.shape)}, {name!r} has {tuple(left.shape)}")
    setattr(module, name + "_mask", left * mask.to(left.dtype))
    return module


def identity(module, name):
    """Prune nothing yet."""
    return custom_from_mask(module, name, _mask(module, name))


def _count(amount, size):
    """How many of `size`: `amount` itself if it is an int, or that fraction of them."""
    fraction = isinstance(amount, float)
    if (
        isinstance(amount, bool)
        or not isinstance(amount, (int, float))
        or amount < 0
        or (fraction and amount > 1)
    ):
        raise ValueError(
            f"prune: amount must be a fraction from 0 to 1 or a number of elements, got {amount!r}"
        )
    if not fraction and amount > size:
        raise ValueError(f"prune: amount={amount} is more than the {size} that are left")
    return round(amount * size) if fraction else amount


def _lowest(scores, left, amount):
    """`left` without the `amount` of its ones whose scores are lowest."""
    count = _count(amount, int(left.sum()))
    if not count:
        return left
    order = scores.masked_fill(left == 0, math.inf).flatten().argsort()[:count]
    return left.flatten().index_fill(0, order, 0).reshape(left.shape)


@no_grad()
def l1_unstructured(module, name, amount, importance_scores=None):
    """Prune the `amount` (a fraction, or a number) of the elements that are smallest in size, or in `importance_scores`."""
    scores = getattr(module, name).abs() if importance_scores is None else importance_scores
    return custom_from_mask(module, name, _lowest(scores, _mask(module, name), amount))


@no_grad()
def random_unstructured(module, name, amount):
    """Prune the `amount` (a fraction, or a number) of the elements, by chance."""
    left = _mask(module, name)
    return custom_from_mask(module, name, _lowest(rand(left.shape, device=left.device), left, amount))


@no_grad()
def ln_structured(module, name, amount, n, dim, importance_scores=None):
    """Prune whole slices along `dim`, the `amount` whose n-norm is lowest."""
    scores = getattr(module, name) if importance_scores is None else importance_scores
    return _structured(module, name, amount, dim, norm(scores.movedim(dim, 0).flatten(1), n, 1))


@no_grad()
def random_structured(module, name, amount, dim):
    """Prune whole slices along `dim`, by chance."""
    return _structured(module, name, amount, dim, rand(getattr(module, name).shape[dim]))


def _structured(module, name, amount, dim, scores):
    left = _mask(module, name)
    rows = left.movedim(dim, 0)
    alive = rows.flatten(1).amax(1)
    kept = _lowest(scores.to(alive.device), alive, amount)
    shape = [-1 if i == dim % left.ndim else 1 for i in range(left.ndim)]
    return custom_from_mask(module, name, left * kept.reshape(shape))


@no_grad()
def global_unstructured(parameters, pruning_method, importance_scores=None, **kwargs):
    """Prune the tensors [(module, name), ...] as if they were one. pruning_method: L1Unstructured or RandomUnstructured, with amount=."""
    parameters = list(parameters)
    given = importance_scores or {}
    lefts = [_mask(module, name) for module, name in parameters]
    scores = [given.get((module, name), getattr(module, name)).abs() for module, name in parameters]
    if pruning_method is RandomUnstructured:
        scores = [rand(one.shape, device=one.device) for one in scores]
    elif pruning_method is not L1Unstructured:
        raise TypeError(
            f"global_unstructured: expected L1Unstructured or RandomUnstructured, got {pruning_method}"
        )
    kept = _lowest(cat([one.flatten() for one in scores]), cat([one.flatten() for one in lefts]), **kwargs)
    parts = kept.split([one.numel() for one in lefts])
    for (module, name), part, left in zip(parameters, parts, lefts, strict=True):
        custom_from_mask(module, name, part.reshape(left.shape))


class L1Unstructured:
    """For `global_unstructured`: the smallest elements go."""

    apply = staticmethod(l1_unstructured)


class RandomUnstructured:
    """For `global_unstructured`: elements go by chance."""

    apply = staticmethod(random_unstructured)


def is_pruned(module):
    """Whether a tensor in this module, or in one of its parts, is pruned."""
    return any(_pruned(one, name) for one in module.modules() for name in one._parametrized)


@no_grad()
def remove(module, name):
    """Make the tensor an ordinary parameter, with its zeros. Training can change them from then on."""
    if not _pruned(module, name):
        raise ValueError(f"prune.remove: {name!r} of {type(module).__name__} is not pruned")
    value, original = module._parametrized.pop(name).value(), getattr(module, name + "_orig")
    delattr(module, name + "_orig")
    delattr(module, name + "_mask")
    original.data = value
    module.register_parameter(name, original)
    return module
