"""Attention: what it computes between its matrix products, in one pass over the scores, and in 16-bit floats all of it.

`source/attention.cu` stands in for `exponentials` and `score_gradients` of the operation `flash_attention`, and like these writes over the
scores. `source/flash.cu` stands in for the operation itself and its gradients, on tensor cores; cuDNN is asked first where it is there.
"""

import numpy as np

from chainrule.backends import attention_ways

from .registry import kernel, name_of, over_rows, plain, wide_of

FLOAT16S = ("float16", "bfloat16")


def _axes(bias, shape):
    """(n1, n2, s0, s1, s2, sq, sk) as the sources want them, for scores of that shape; None if the bias needs more than three axes
    before query and key."""
    if bias is None:
        return 1, 1, 0, 0, 0, 0, 0
    ndim = len(shape)
    lengths = (1,) * (ndim - bias.ndim) + tuple(bias.shape)
    strides = (0,) * (ndim - bias.ndim) + tuple(one // bias.itemsize for one in bias.strides)
    strides = [0 if length == 1 else stride for length, stride in zip(lengths, strides, strict=True)]
    axes = []  # (length, stride), the axes of the heads joined where one stride serves them
    for length, stride in zip(shape[:-2], strides, strict=False):
        if length == 1:
            continue
        if axes and axes[-1][1] == stride * length:
            axes[-1] = axes[-1][0] * length, stride
        else:
            axes.append((length, stride))
    if len(axes) > 3:
        return None
    (_, s0), (n1, s1), (n2, s2) = [(1, 0)] * (3 - len(axes)) + axes
    return n1, n2, s0, s1, s2, *strides[-2:]


def _fits(scores, bias):
    if bias is not None and (bias.__class__ is not scores.__class__ or name_of(bias.dtype) is None):
        return False
    return plain(scores) and scores.ndim >= 2 and _axes(bias, scores.shape) is not None


def _softmax_guard(scores, bias, first):
    return _fits(scores, bias)


def _gradient_guard(scores, through, bias, lse, mean, first, kept, share):
    rows = (*scores.shape[:-1], 1)
    return (
        _fits(scores, bias)
        and plain(through, scores)
        and through.shape == scores.shape
        and all(one.shape == rows and one.dtype == wide_of(scores.dtype) for one in (lse, mean))
        and (kept is None or (kept.dtype == "bool" and kept.shape == scores.shape))
    )


def _scores_reference(scores, bias, first):
    scores = scores if bias is None else scores + bias
    if first is None:
        return scores
    keys, queries = np.arange(scores.shape[-1]), np.arange(scores.shape[-2])[:, None]
    return np.where(keys <= first + queries, scores, -np.inf)


def _softmax_reference(scores, bias, first):
    scores = _scores_reference(scores, bias, first)
    top = scores.max(axis=-1, keepdims=True)
    e = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = e.sum(axis=-1, keepdims=True)
    nothing = total == 0
    with np.errstate(divide="ignore"):
        return e, np.where(nothing, 1, total), np.where(nothing, np.inf, np.log(total) + top)


@kernel("attention", _softmax_reference, replaces="attention_softmax", guard=_softmax_guard)
def attention_softmax(launch, xp, scores, bias, first):
    """exp(S - the largest of its row), the sum of each row, and its logarithm: one read (two of long rows), one write, in place."""
    n, length = scores.shape[-1], scores.shape[-2]
    total = xp.empty((*scores.shape[:-1], 1), dtype=wide_of(scores.dtype))
    lse = xp.empty_like(total)
    bias = None if bias is None else bias.astype(scores.dtype, copy=False)
    grid, block = over_rows(scores.size // n, n)
    numbers = scores.size // n, n, length, -1 if first is None else first, *_axes(bias, scores.shape)
    launch(
        "attention",
        "attention_softmax",
        name_of(scores.dtype),
        grid,
        block,
        scores,
        bias,
        total,
        lse,
        *numbers,
    )
    return scores, total, lse


def _gradient_reference(scores, through, bias, lse, mean, first, kept, share):
    p = np.exp(_scores_reference(scores, bias, first) - lse)
    factor = 1 if kept is None else kept / share
    return p * factor, p * (through * factor - mean)


@kernel("attention", _gradient_reference, replaces="attention_softmax_gradient", guard=_gradient_guard)
def attention_softmax_gradient(launch, xp, scores, through, bias, lse, mean, first, kept, share):
    """P after dropout and P (gP - mean), with P = exp(S - lse): two reads, two writes, in place."""
    n, length, name = scores.shape[-1], scores.shape[-2], name_of(scores.dtype)
    bias = None if bias is None else bias.astype(scores.dtype, copy=False)
    kept, lse, mean = (None if one is None else xp.ascontiguousarray(one) for one in (kept, lse, mean))
    grid, block = over_rows(scores.size // n, n)
    arrays = scores, through, bias, lse, mean, kept, 1.0 / share
    numbers = scores.size // n, n, length, -1 if first is None else first, *_axes(bias, scores.shape)
    launch("attention", "attention_softmax_gradient", name, grid, block, *arrays, *numbers)
    return scores, through


# --- 16-bit floats: without scores in memory ---


def _each(query, key, value):
    """How many heads of queries share one of keys and values; None if that is not how the shapes meet."""
    batch, shared = query.shape[:-2], key.shape[:-2]
    if value.shape[:-2] != shared or value.shape[-1] != query.shape[-1]:
        return None
    if batch == shared:
        return 1
    return batch[-1] if batch[:-1] == shared[:-1] and shared[-1] == 1 and batch else None


def _multiplies(x):
    """Whether tensor cores take the source's products: from compute capability 8.0 on."""
    device = getattr(x, "device", None)
    return int(getattr(device, "compute_capability", 80)) >= 80


def _takes(query, key, value, bias, kept):
    scores = (*query.shape[:-1], key.shape[-2])
    return (
        "flash" in attention_ways.allowed()
        and name_of(query.dtype) in FLOAT16S
        and all(x.__class__ is query.__class__ and x.dtype == query.dtype for x in (key, value))
        and query.size > 0 < key.size
        and query.shape[-1] % 8 == 0
        and query.shape[-1] <= 128
        and _each(query, key, value) is not None
        and _multiplies(query)
        and (bias is None or (bias.__class__ is query.__class__ and name_of(bias.dtype) is not None))
        and _axes(bias, scores) is not None
        and (kept is None or (kept.dtype == "bool" and kept.shape == scores))
    )


def _flash_guard(query, key, value, bias, *, scale, causal, kept, share):
    return _takes(query, key, value, bias, kept)


def _flash_gradient_guard(query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    return (
        _takes(query, key, value, bias, kept)
        and gy is not None
        and gy.__class__ is y.__class__
        and g_lse is None
        and not needs[3]
    )


def _aligned(launch, xp, x):
    """x row-major, from a multiple of 16 bytes on: the source reads so many at a time, and a view may begin anywhere."""
    x = xp.ascontiguousarray(x)
    return x.copy() if launch.address(x) % 16 else x


def _form(launch, xp, query, key, value, bias, kept, scale, causal, share):
    """(entry's ending, blocks of queries, blocks of keys, arrays, numbers) for the source's kernels."""
    q, k, v = (_aligned(launch, xp, x) for x in (query, key, value))
    bias = None if bias is None else bias.astype(query.dtype, copy=False)
    kept = None if kept is None else xp.ascontiguousarray(kept)
    (length, features), source = query.shape[-2:], key.shape[-2]
    axes = _axes(bias, (*query.shape[:-1], source))
    numbers = (
        length,
        source,
        features,
        _each(query, key, value),
        float(scale),
        1.0 / share,
        int(causal),
        *axes,
    )
    blocks = [-(-x.shape[-2] // 64) * (x.size // (x.shape[-2] * features)) for x in (q, k)]
    return 64 if features <= 64 else 128, *blocks, (q, k, v, bias, kept), numbers


def _flash_reference(query, key, value, bias, scale, causal, kept, share):
    scores = _scores_reference(query @ key.swapaxes(-1, -2) * scale, bias, 0 if causal else None)
    e, total, lse = _softmax_reference(scores, None, None)
    return e / total * (1 if kept is None else kept / share) @ value, lse


@kernel("flash", _flash_reference, replaces="flash_attention", guard=_flash_guard, dtypes=FLOAT16S)
def flash_attention(launch, xp, query, key, value, bias, *, scale, causal, kept, share):
    """Attention by tiles, and the logarithm of each query's sum; the scores are never in memory."""
    size, blocks, _, arrays, numbers = _form(launch, xp, query, key, value, bias, kept, scale, causal, share)
    y = xp.empty(query.shape, dtype=query.dtype)
    lse = xp.empty((*query.shape[:-1], 1), dtype="float32")
    entry = {64: "flash_forward_64", 128: "flash_forward_128"}[size]
    launch("flash", entry, name_of(y.dtype), (blocks, 1, 1), (32, 4, 1), *arrays, y, lse, *numbers)
    return y, lse


def _flash_gradient_reference(query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    scores = _scores_reference(query @ key.swapaxes(-1, -2) * scale, bias, 0 if causal else None)
    mean = (gy * y).sum(axis=-1, keepdims=True)
    d, g = _gradient_reference(scores, gy @ value.swapaxes(-1, -2), None, lse, mean, None, kept, share)
    found = g @ key * scale, g.swapaxes(-1, -2) @ query * scale, d.swapaxes(-1, -2) @ gy
    if key.shape != found[1].shape:
        found = found[0], *(one.sum(axis=-3, keepdims=True) for one in found[1:])
    return tuple(one if need else None for one, need in zip(found, needs, strict=False))


@kernel(
    "flash",
    _flash_gradient_reference,
    replaces="flash_gradients",
    guard=_flash_gradient_guard,
    dtypes=FLOAT16S,
)
def flash_gradients(
    launch, xp, query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share
):
    """The gradients of query, key and value by tiles: one kernel for queries, one for keys and values; no atomics."""
    size, rows, columns, arrays, numbers = _form(
        launch, xp, query, key, value, bias, kept, scale, causal, share
    )
    gy = _aligned(launch, xp, gy.astype(y.dtype, copy=False))
    mean = xp.sum(gy.astype("float32") * y.astype("float32"), axis=-1, keepdims=True)
    arrays += gy, xp.ascontiguousarray(lse), mean
    name, block = name_of(y.dtype), (32, 4, 1)
    g_query = g_key = g_value = None
    if needs[0]:
        g_query = xp.empty(query.shape, dtype=query.dtype)
        entry = {64: "flash_queries_64", 128: "flash_queries_128"}[size]
        launch("flash", entry, name, (rows, 1, 1), block, *arrays, g_query, *numbers)
    if needs[1] or needs[2]:
        g_key, g_value = (xp.empty(x.shape, dtype=x.dtype) for x in (key, value))
        entry = {64: "flash_keys_64", 128: "flash_keys_128"}[size]
        launch("flash", entry, name, (columns, 1, 1), block, *arrays, g_key, g_value, *numbers)
    return g_query, g_key if needs[1] else None, g_value if needs[2] else None, None
