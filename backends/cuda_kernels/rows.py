"""Softmax, log-softmax and cross-entropy, row by row: `source/softmax.cu`."""

import numpy as np

from .registry import kernel, name_of, over_rows, plain, wide_of


def _last(x, axis):
    return x.ndim > 0 and axis in (-1, x.ndim - 1)


def _softmax_guard(x, *, axis):
    return plain(x) and _last(x, axis)


def _gradient_guard(g, y, *, axis):
    return plain(g, y) and g.shape == y.shape and _last(y, axis)


def _forward(launch, xp, x, logarithm):
    y, n = xp.empty_like(x), x.shape[-1]
    grid, block = over_rows(x.size // n, n)
    launch("softmax", "softmax", name_of(x.dtype), grid, block, x, y, x.size // n, n, logarithm)
    return y


def _backward(launch, xp, g, y, logarithm):
    gx, n = xp.empty_like(y), y.shape[-1]
    grid, block = over_rows(y.size // n, n)
    launch("softmax", "softmax_gradient", name_of(y.dtype), grid, block, g, y, gx, y.size // n, n, logarithm)
    return gx


def _softmax_reference(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@kernel("softmax", _softmax_reference, replaces="softmax", guard=_softmax_guard)
def softmax(launch, xp, x, *, axis):
    """Softmax along the last axis: one read, one write."""
    return _forward(launch, xp, x, 0)


@kernel(
    "softmax",
    lambda x, axis: np.log(_softmax_reference(x, axis)),
    replaces="log_softmax",
    guard=_softmax_guard,
)
def log_softmax(launch, xp, x, *, axis):
    """The logarithm of softmax along the last axis."""
    return _forward(launch, xp, x, 1)


@kernel(
    "softmax",
    lambda g, needs, y, axis: (y * (g - (g * y).sum(axis=axis, keepdims=True)),),
    replaces="softmax.gradient",
    guard=_gradient_guard,
)
def softmax_gradient(launch, xp, g, needs, y, *, axis):
    """y (g - sum(g y)): two reads, one write."""
    return (_backward(launch, xp, g, y, 0),)


@kernel(
    "softmax",
    lambda g, needs, y, axis: (g - np.exp(y) * g.sum(axis=axis, keepdims=True),),
    replaces="log_softmax.gradient",
    guard=_gradient_guard,
)
def log_softmax_gradient(launch, xp, g, needs, y, *, axis):
    """g - exp(y) sum(g)."""
    return (_backward(launch, xp, g, y, 1),)


# --- cross-entropy ---


def _targets(q, rows):
    """The class numbers (N) of `Targets`, and the weights, if that is all they are made of; else None."""
    if q.share is not None or len(q.index) != 2:
        return None
    classes = q.index[1]
    if classes.shape != (rows,) or classes.dtype != "int64" or not classes.flags.c_contiguous:
        return None
    return classes, q.weight


def _fits_weight(weight, x):
    return weight is None or (
        weight.shape == (x.shape[0],) and weight.dtype == wide_of(x.dtype) and weight.flags.c_contiguous
    )


def _loss_guard(x, *, q):
    found = plain(x) and x.ndim == 2 and _targets(q, x.shape[0])
    return bool(found) and _fits_weight(found[1], x)


def _input_guard(p, incoming, *, q):
    found = plain(p) and p.ndim == 2 and wide_of(p.dtype) == p.dtype and _targets(q, p.shape[0])
    return (
        bool(found)
        and _fits_weight(found[1], p)
        and incoming.shape == (p.shape[0],)
        and incoming.__class__ is p.__class__
    )


def _loss_reference(x, q):
    p = _softmax_reference(x, 1)
    weight = 1 if q.weight is None else q.weight
    return -weight * np.log(p[np.arange(len(p)), q.index[1]]), p


@kernel("softmax", _loss_reference, replaces="cross_entropy", guard=_loss_guard)
def cross_entropy(launch, xp, x, *, q):
    """The loss of each sample, and the probabilities. (N, C) -> (N), (N, C)."""
    (rows, n), (target, weight) = x.shape, _targets(q, x.shape[0])
    loss, p = xp.empty(rows, dtype=x.dtype), xp.empty(x.shape, dtype=wide_of(x.dtype))
    grid, block = over_rows(rows, n)
    launch("softmax", "cross_entropy", name_of(x.dtype), grid, block, x, target, weight, loss, p, rows, n)
    return loss, p


def _input_reference(p, incoming, q):
    hit = np.zeros_like(p)
    hit[np.arange(len(p)), q.index[1]] = 1
    scale = incoming if q.weight is None else incoming * q.weight
    return scale[:, None] * (p - hit)


@kernel(
    "softmax",
    _input_reference,
    replaces="cross_entropy_input",
    guard=_input_guard,
    dtypes=("float32", "float64"),
)
def cross_entropy_input(launch, xp, p, incoming, *, q):
    """The gradient of the logits from the probabilities. (N, C), (N) -> (N, C)."""
    (rows, n), (target, weight) = p.shape, _targets(q, p.shape[0])
    incoming = xp.ascontiguousarray(incoming.astype(p.dtype, copy=False))
    gx = xp.empty_like(p)
    grid, block = over_rows(rows, n)
    arrays = (p, incoming, target, weight, gx)
    launch("softmax", "cross_entropy_input", name_of(p.dtype), grid, block, *arrays, rows, n)
    return gx


def _both_reference(x, target, incoming, weight=None, in_place=False):
    scale = incoming if weight is None else incoming * weight
    p = _softmax_reference(x, 1)
    hit = np.eye(x.shape[1])[target]
    return -(1 if weight is None else weight) * np.log((p * hit).sum(axis=1)), scale[:, None] * (p - hit)


@kernel("softmax", _both_reference)
def cross_entropy_both(launch, xp, x, target, incoming, weight=None, in_place=False):
    """Loss and gradient of the logits in one pass; `incoming` is the gradient of each loss, known beforehand (1 / N for a mean).

    (N, C), (N) -> (N), (N, C), the latter over x itself if `in_place`. No graph: it is for a step that wants nothing else.
    """
    rows, n = x.shape
    loss, gx = xp.empty(rows, dtype=wide_of(x.dtype)), x if in_place else xp.empty_like(x)
    grid, block = over_rows(rows, n)
    arrays = (x, target, weight, incoming, loss, gx)
    launch("softmax", "cross_entropy_both", name_of(x.dtype), grid, block, *arrays, rows, n)
    return loss, gx
