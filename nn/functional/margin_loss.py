"""Losses on margins, rankings and distances, and the distances themselves.

`reduction`, `size_average` and `reduce` are as in `loss.py`. N samples, C classes, D features.
"""

from chainrule.autograd import ops
from chainrule.autograd.functions.common import index_array, tensor_of, wrap_dim
from chainrule.autograd.functions.reduction import norm
from chainrule.autograd.functions.shape import broadcast_tensors
from chainrule.autograd.ops import activation
from chainrule.autograd.ops import loss as _loss
from chainrule.autograd.ops.selection import masked
from chainrule.autograd.precision import precision
from chainrule.backends import namespaces, placement

from .common import check_range, reduced, reduction_of, weighted


def _above_zero(x):
    """max(x, 0), whose derivative at 0 is 1."""
    return ops.clip(x, low=0)


@precision("float32")
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """max(0, margin - y (x1 - x2)): y = 1 where x1 should rank higher, -1 where x2 should. (*), (*), (*)."""
    name = "margin_ranking_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    x1, x2, y = (tensor_of(one, name) for one in (input1, input2, target))
    if not x1.ndim == x2.ndim == y.ndim:
        raise RuntimeError(
            f"{name}: expected three tensors of as many dimensions, got shapes {tuple(x1.shape)}, {tuple(x2.shape)} and {tuple(y.shape)}"
        )
    return reduced(_above_zero(-y * (x1 - x2) + margin), reduction)


@precision("float32")
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """x where y = 1, max(0, margin - x) where y = -1. (*), (*)."""
    reduction = reduction_of(size_average, reduce, reduction, "hinge_embedding_loss")
    x, y = tensor_of(input, "hinge_embedding_loss"), tensor_of(target, "hinge_embedding_loss")
    far = ops.where(y != 1, _above_zero(margin - x), 0.0)
    return reduced(far + ops.where(y != -1, x, 0.0), reduction)


@precision("float32")
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-y x)) for y = 1 or -1, without overflow. (*), (*)."""
    reduction = reduction_of(size_average, reduce, reduction, "soft_margin_loss")
    x, y = tensor_of(input, "soft_margin_loss"), tensor_of(target, "soft_margin_loss")
    if x.shape != y.shape:
        raise RuntimeError(
            f"soft_margin_loss: target of shape {tuple(y.shape)} must have the shape of the input, {tuple(x.shape)}"
        )
    return reduced(-activation.logsigmoid(x * y), reduction)


def _rows(x, name):
    """A (C) or () input as (1, C), and whether it was one."""
    if x.ndim > 2 or 0 in x.shape[-1:]:
        raise RuntimeError(f"{name}: expected an input (N, C) or (C) with C > 0, got shape {tuple(x.shape)}")
    return (ops.reshape(x, (1, -1)), True) if x.ndim < 2 else (x, False)


def _of_samples(loss, reduction, alone):
    return ops.reshape(loss, ()) if alone and reduction == "none" else reduced(loss, reduction)


@placement.on_their_card
@precision("float32")
def multi_margin_loss(
    input, target, p=1, margin=1.0, weight=None, size_average=None, reduce=None, reduction="mean"
):
    """sum over classes c != y of max(0, w[y] (margin - x[y] + x[c]))^p / C, for p = 1 or 2. (N, C), (N) or (C), ()."""
    name = "multi_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    if p not in (1, 2):
        raise ValueError(f"{name}: only p = 1 and p = 2 are supported, got {p}")
    x, alone = _rows(tensor_of(input, name), name)
    index = index_array(target, name).reshape(-1)
    n, classes = x.shape
    if index.shape[0] != n or target.ndim > 1:
        raise RuntimeError(
            f"{name}: target of shape {tuple(target.shape)} does not fit an input of shape {tuple(input.shape)}"
        )
    if weight is not None and tuple(tensor_of(weight, name).shape) != (classes,):
        raise RuntimeError(f"{name}: weight has shape {tuple(weight.shape)}, expected ({classes},)")
    check_range(index, 0, classes, name, "target", f"the input has {classes} classes")
    xp = namespaces[index.__class__]
    hit = ops.take(x, index=(xp.arange(n), index))
    loss = masked(activation.relu(margin - hit[:, None] + x), index[:, None] != xp.arange(classes))
    loss = loss if p == 1 else ops.square(loss)
    if weight is not None:
        loss = weighted(loss, ops.take(weight, index=(index[:, None],)), name)
    return _of_samples(ops.sum(loss, axis=1) / classes, reduction, alone)


@placement.on_their_card
@precision("float32")
def multilabel_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """sum over labels y and other classes c of max(0, 1 - (x[y] - x[c])) / C. (N, C), (N, C) or (C), (C).

    Each row of target lists its labels, as class numbers, up to the first -1.
    """
    name = "multilabel_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    x, alone = _rows(tensor_of(input, name), name)
    labels = index_array(target, name)
    if tuple(labels.shape) != tuple(input.shape):
        raise RuntimeError(
            f"{name}: target of shape {tuple(labels.shape)} must have the shape of the input, {tuple(input.shape)}"
        )
    n, classes = x.shape
    check_range(
        labels, -1, classes, name, "target", f"the input has {classes} classes, and -1 ends a list of labels"
    )
    xp = namespaces[labels.__class__]
    labels = labels.reshape(n, classes)
    valid = xp.cumprod((labels >= 0).astype("int64"), axis=1) > 0
    named = labels[:, :, None] == xp.arange(classes)
    other = ~xp.any(named & valid[:, :, None], axis=1)
    hit = ops.take(x, index=(xp.arange(n)[:, None], xp.maximum(labels, 0)))
    loss = activation.relu(1 - hit[:, :, None] + x[:, None, :])
    loss = ops.sum(masked(loss, valid[:, :, None] & other[:, None, :]), axis=(1, 2)) / classes
    return _of_samples(loss, reduction, alone)


def multilabel_soft_margin_loss(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """Mean over classes of -w (y log s + (1 - y) log(1 - s)), s = sigmoid(x). (*, C), (*, C) -> () or (*)."""
    name = "multilabel_soft_margin_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    x, y = tensor_of(input, name), tensor_of(target, name)
    if x.shape != y.shape:
        raise RuntimeError(
            f"{name}: target of shape {tuple(y.shape)} must have the shape of the input, {tuple(x.shape)}"
        )
    loss = weighted(_loss.binary_cross_entropy_with_logits(x, y, None), weight, name)
    return reduced(ops.mean(loss, axis=-1), reduction)


# Distances


@precision(accelerator="float32")
def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 . x2 / (|x1| |x2|) along `dim` of what the two broadcast to, each norm counted as at least eps."""
    a, b = broadcast_tensors(tensor_of(x1, "cosine_similarity"), tensor_of(x2, "cosine_similarity"))
    axis = wrap_dim(dim, a.ndim, "cosine_similarity")
    product = a / _norm_floored(a, axis, eps) * (b / _norm_floored(b, axis, eps))
    return ops.sum(product, axis=axis) if product.ndim else product


def _norm_floored(x, dim, eps):
    return ops.clip(norm(x, 2, dim, keepdim=True), low=eps)


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """|x1 - x2 + eps|_p over the last dimension. (*, D), (*, D) -> (*), or (*, 1) with keepdim."""
    a, b = tensor_of(x1, "pairwise_distance"), tensor_of(x2, "pairwise_distance")
    return norm(a - b + eps, p, -1, keepdim)


@placement.on_their_card
@precision(accelerator="float32")
def pdist(input, p=2.0):
    """The p-norm distances of all pairs of rows, (0, 1), (0, 2), ... (N, D) -> (N (N - 1) / 2)."""
    x = tensor_of(input, "pdist")
    if x.ndim != 2:
        raise RuntimeError(f"pdist: expected an input (N, D), got shape {tuple(x.shape)}")
    if p < 0:
        raise RuntimeError(f"pdist: p must be at least 0, got {p}")
    xp = namespaces[x._array.__class__]
    first, second = _pairs(xp, x.shape[0])
    return norm(ops.take(x, index=(first,)) - ops.take(x, index=(second,)), p, 1)


def _pairs(xp, n):
    """The numbers of the first and of the second of each pair of n, in order, computed: `triu_indices` makes a GPU wait to count them."""
    count = n * (n - 1) // 2
    back = count - 1 - xp.arange(count)  # from the last pair
    row = ((xp.sqrt(8.0 * back + 1.0) - 1.0) / 2.0).astype("int64")
    return n - 2 - row, n - 1 - (back - row * (row + 1) // 2)


@precision("float32")
def cosine_embedding_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """1 - cos(x1, x2) where y = 1, max(0, cos(x1, x2) - margin) where y = -1. (N, D), (N, D), (N) or (D), (D), ()."""
    name = "cosine_embedding_loss"
    reduction = reduction_of(size_average, reduce, reduction, name)
    x1, x2, y = (tensor_of(one, name) for one in (input1, input2, target))
    if x1.shape != x2.shape or x1.ndim not in (1, 2) or tuple(y.shape) != tuple(x1.shape[:-1]):
        raise RuntimeError(
            f"{name}: inputs of shapes {tuple(x1.shape)} and {tuple(x2.shape)} with a target of shape {tuple(y.shape)}; expected "
            f"(N, D), (N, D), (N) or (D), (D), ()"
        )
    # PyTorch's floor under the squared norms.
    size = (ops.sum(ops.square(x1), axis=-1) + 1e-12) * (ops.sum(ops.square(x2), axis=-1) + 1e-12)
    cosine = ops.sum(x1 * x2, axis=-1) / ops.sqrt(size)
    loss = ops.where(y == 1, 1 - cosine, 0.0) + ops.where(y == -1, _above_zero(cosine - margin), 0.0)
    return reduced(loss, reduction)


@precision("float32")
def triplet_margin_loss(
    anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, size_average=None, reduce=None, reduction="mean"
):  # fmt: skip
    """max(0, d(a, p) - d(a, n) + margin) with the distance |x - y + eps|_p. (N, D) or (D) each.

    swap: the negative is compared with the anchor or the positive, whichever is nearer. Balntas et al. 2016.
    """
    reduction = reduction_of(size_average, reduce, reduction, "triplet_margin_loss")

    def distance(a, b):
        return pairwise_distance(a, b, p, eps)

    return _triplet(anchor, positive, negative, distance, margin, swap, reduction, "triplet_margin_loss")


def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """`triplet_margin_loss` with a distance of one's own, a function of two Tensors."""
    name = "triplet_margin_with_distance_loss"
    reduction = reduction_of(None, None, reduction, name)
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(anchor, positive, negative, distance, margin, swap, reduction, name)


def _triplet(anchor, positive, negative, distance, margin, swap, reduction, name):
    a, p, n = (tensor_of(one, name) for one in (anchor, positive, negative))
    if margin <= 0:
        raise ValueError(f"{name}: margin must be positive, got {margin}")
    if not a.ndim == p.ndim == n.ndim:
        raise RuntimeError(
            f"{name}: anchor, positive and negative must have as many dimensions, got shapes {tuple(a.shape)}, {tuple(p.shape)} "
            f"and {tuple(n.shape)}"
        )
    near, far = distance(a, p), distance(a, n)
    if swap:
        far = ops.minimum(far, distance(p, n))
    return reduced(_above_zero(near - far + margin), reduction)
