"""Tables of vectors, read by number: embeddings, bags of them, and one-hot vectors."""

import operator

from chainrule.autograd import late, ops
from chainrule.autograd.functions.common import index_array, tensor_of
from chainrule.autograd.functions.creation import allocating
from chainrule.autograd.ops import embedding as _embedding
from chainrule.autograd.ops.selection import masked
from chainrule.autograd.writes import log
from chainrule.backends import add_at, backend_of, namespaces, placement

from .common import check_range


def _checked(input, weight, padding_idx, name):
    """The raw indices and the table, which fit each other, and `padding_idx` counted from the front."""
    index, w = index_array(input, name), tensor_of(weight, name)
    if w.ndim != 2:
        raise ValueError(
            f"{name}: weight must have 2 dimensions, (rows, features), got shape {tuple(w.shape)}"
        )
    rows = w.shape[0]
    check_range(index, 0, rows, name, "index", f"the table has {rows} rows")
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise ValueError(
                f"{name}: padding_idx {padding_idx} must lie within the {rows} rows of the table"
            )
        padding_idx %= rows
    return index, w, padding_idx


@placement.on_their_card
def _gradient_factor(index, weight, padding_idx, by_frequency):
    """What each read row's gradient is multiplied with, (*, 1); None for 1."""
    factor = None
    if padding_idx is not None:
        factor = (index != padding_idx).astype(weight.dtype)
    if by_frequency:
        counts = namespaces[weight.__class__].zeros(weight.shape[0], dtype=weight.dtype)
        add_at(counts, (index,), counts[index] + 1)
        factor = 1 / counts[index] if factor is None else factor / counts[index]
    return None if factor is None else factor[..., None]


@placement.on_their_card
def _renormalize(weight, index, max_norm, norm_type):
    """Scale the rows that are read down to `max_norm`, in the table's own memory."""
    log.wrote(weight)
    rows = weight[index]
    norms = ops.vector_norm(rows, axis=-1, ord=norm_type, keepdims=True)
    xp = namespaces[weight.__class__]
    weight[index] = xp.where(norms > max_norm, rows * (max_norm / (norms + 1e-7)), rows).astype(
        weight.dtype, copy=False
    )


def embedding(
    input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False
):
    """weight[input]. (*) integers, (rows, D) -> (*, D).

    padding_idx: this row gets no gradient. max_norm: rows that are read are first scaled down, in place, to this norm.
    scale_grad_by_freq: gradients are divided by how often their row is read. Gradients are dense, whatever `sparse` says.
    """
    index, w, padding_idx = _checked(input, weight, padding_idx, "embedding")
    if max_norm is not None:
        _renormalize(w._array, index, max_norm, norm_type)
    factor = _gradient_factor(index, w._array, padding_idx, scale_grad_by_freq)
    return _embedding.embedding(w, index=index, factor=factor)


@placement.on_their_card
def one_hot(tensor, num_classes=-1):
    """1 at the place each number names, else 0, as int64. (*) -> (*, num_classes); by default the largest number + 1."""
    index = index_array(tensor, "one_hot")
    try:
        num_classes = operator.index(num_classes)
    except TypeError:
        raise TypeError(f"one_hot: num_classes must be an int, got {num_classes!r}") from None
    if num_classes == -1:
        if not index.size:
            raise RuntimeError(
                "one_hot: the number of classes of an empty tensor is unknown; give num_classes"
            )
        num_classes = int(index.max()) + 1
    if num_classes < 1:
        raise RuntimeError(f"one_hot: num_classes must be positive, got {num_classes}")
    check_range(index, 0, num_classes, "one_hot", "class", f"num_classes is {num_classes}")
    with allocating("one_hot", (*index.shape, num_classes), backend_of(index)):
        places = namespaces[index.__class__].arange(num_classes)
        return late.Tensor._wrap((index[..., None] == places).astype("int64"))


# Bags

_MODES = ("sum", "mean", "max")


@placement.on_their_card
def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """The sum, mean or maximum of the rows of each bag. (B, n) integers, or (total) with `offsets` (B) -> (B, D).

    offsets: where each bag starts; with `include_last_offset` also where the last one ends. per_sample_weights: in the shape
    of input, a factor for each row, for mode "sum". Rows of `padding_idx` do not count; an empty bag gives 0.
    """
    name = "embedding_bag"
    index, w, padding_idx = _checked(input, weight, padding_idx, name)
    if mode not in _MODES:
        raise ValueError(f"{name}: mode must be one of {', '.join(_MODES)}, got {mode!r}")
    if per_sample_weights is not None:
        _check_weights(input, per_sample_weights, mode)
        per_sample_weights = ops.reshape(per_sample_weights, (-1,))
    if max_norm is not None:
        _renormalize(w._array, index, max_norm, norm_type)
    bag, bags = _bags(index, offsets)
    ends = index.ndim == 1 and include_last_offset  # then what follows the last offset is in no bag
    index = index.reshape(-1)
    factor = _gradient_factor(index, w._array, None, scale_grad_by_freq)
    rows = _embedding.embedding(w, index=index, factor=factor)
    counted = None if padding_idx is None else index != padding_idx
    if per_sample_weights is not None:
        rows = rows * per_sample_weights[:, None]
    y = _largest(rows, bag, bags, counted) if mode == "max" else _added(rows, bag, bags, counted, mode)
    return y[:-1] if ends else y


def _added(rows, bag, bags, counted, mode):
    """The sum or the mean of the rows of each bag; 0 for an empty bag."""
    if counted is not None:
        rows = masked(rows, counted[:, None])
    total = ops.index_add(rows.new_zeros((bags, rows.shape[1])), rows, index=bag, axis=0)
    if mode == "sum":
        return total
    dtype, xp = rows._array.dtype, namespaces[bag.__class__]
    sizes = xp.zeros(bags, dtype=dtype)
    add_at(sizes, (bag,), xp.ones(bag.shape, dtype=dtype) if counted is None else counted.astype(dtype))
    return total / xp.maximum(sizes, 1)[:, None]


def _check_weights(input, weights, mode):
    if mode != "sum":
        raise NotImplementedError(f'embedding_bag: per_sample_weights need mode="sum", got {mode!r}')
    if tuple(tensor_of(weights, "embedding_bag").shape) != tuple(input.shape):
        raise ValueError(
            f"embedding_bag: per_sample_weights of shape {tuple(weights.shape)} must have the shape of the input, {tuple(input.shape)}"
        )


def _bags(index, offsets):
    """The number of the bag that each index is in, and how many bags there are."""
    xp = namespaces[index.__class__]
    if index.ndim == 2:
        if offsets is not None:
            raise ValueError("embedding_bag: a 2-d input holds one bag in each row; leave offsets out")
        return xp.repeat(xp.arange(index.shape[0]), index.shape[1]), index.shape[0]
    if index.ndim != 1:
        raise ValueError(f"embedding_bag: input must have 1 or 2 dimensions, got shape {tuple(index.shape)}")
    if offsets is None:
        raise ValueError("embedding_bag: a 1-d input needs offsets, the places where its bags start")
    starts = index_array(offsets, "embedding_bag")
    if starts.ndim != 1:
        raise ValueError(f"embedding_bag: offsets must have 1 dimension, got shape {tuple(starts.shape)}")
    check_range(starts, 0, index.size + 1, "embedding_bag", "offset", f"the input has {index.size} elements")
    check_range(starts[:1], 0, 1, "embedding_bag", "first offset", "the first bag starts at 0")
    # How many bags have started at or before each place.
    return xp.searchsorted(starts, xp.arange(index.size), side="right") - 1, starts.shape[0]


def _largest(rows, bag, bags, counted):
    """The largest row of each bag, element by element, the first at a tie; 0 for an empty bag."""
    xp = namespaces[bag.__class__]
    if counted is not None:
        keep = xp.nonzero(counted)[0]
        rows, bag = ops.take(rows, index=(keep,)), bag[keep]
    sizes = xp.zeros(bags, dtype="int64")
    add_at(sizes, (bag,), xp.ones_like(bag))
    longest = int(sizes.max()) if bags else 0
    if not longest:
        return rows.new_zeros((bags, rows.shape[1])) + ops.sum(rows) * 0
    place = xp.arange(bag.shape[0]) - (xp.cumsum(sizes) - sizes)[bag]
    # Bags of equal length, filled up with -inf.
    padded = rows.new_full((bags, longest, rows.shape[1]), float("-inf"))
    padded = ops.index_put(padded, rows, index=(bag, place))
    best = ops.argmax(padded, axis=1, keepdims=True)._array
    found = ops.reshape(ops.take_along_axis(padded, index=best, axis=1), (bags, rows.shape[1]))
    return masked(found, (sizes > 0)[:, None])
