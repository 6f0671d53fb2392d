"""Attention, with one head or many. Vaswani et al. 2017, "Attention is all you need".

L is the number of queries (the target), S that of keys and values (the source), E the number of features, N the batch, H the heads.
"""

import math

import numpy

from chainrule.autograd import ops
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.draws import rand
from chainrule.autograd.ops.attention import attention, dropped, flash_attention
from chainrule.autograd.precision import precision
from chainrule.backends import attention_ways, backend_of, cpu, dtypes, namespaces, placement

from .linear import linear

_INFINITE = -float("inf")


@precision("lower")
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(scale Q K^T + mask) V, with dropout of the probabilities. (..., L, E), (..., S, E), (..., S, V) -> (..., L, V).

    attn_mask broadcasts to (..., L, S): bool, True where a query may see a key, or numbers to add. is_causal: query i sees keys 0 to i.
    scale: 1 / sqrt(E) by default. enable_gqa: H queries share H / h heads of keys and values in dimension -3. A query that
    sees no key gets zeros. dropout_p is always applied, there being no training mode here.
    """
    name = "scaled_dot_product_attention"
    q, k, v = _checked(query, key, value, name)
    if is_causal and attn_mask is not None:
        raise RuntimeError(f"{name}: give either attn_mask or is_causal=True, not both")
    bias = None
    if attn_mask is not None:
        mask = tensor_of(attn_mask, name)
        bias = _additive(~mask if mask.dtype is dtypes.bool else mask, q, name, "attn_mask")
    share = enable_gqa and _queries_each(q, k, v, name)
    if share and k.shape[-3] != v.shape[-3]:
        k, v, share = _repeated(q, k), _repeated(q, v), False
    _fitting(q, k, v, bias, share or 1, name)
    if share:
        q, k, v, bias = _grouped(q, k, v, bias, share)
    scale = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    y, _ = _attended(q, k, v, bias, scale, is_causal, _dropout(q, k, dropout_p, name))
    return ops.reshape(y, (*y.shape[:-4], -1, *y.shape[-2:])) if share else y


def _checked(query, key, value, name):
    tensors = tuple(tensor_of(one, name) for one in (query, key, value))
    q, k, v = tensors
    if any(one.ndim < 2 for one in tensors):
        shapes = ", ".join(str(tuple(one.shape)) for one in tensors)
        raise RuntimeError(
            f"{name}: expected query, key and value of at least 2 dimensions, got shapes {shapes}"
        )
    if not q.dtype is k.dtype is v.dtype or not q.is_floating_point():
        raise RuntimeError(
            f"{name}: expected query, key and value of one floating point dtype, got {q.dtype}, {k.dtype} and {v.dtype}"
        )
    if not q.device == k.device == v.device:
        raise RuntimeError(
            f"{name}: expected query, key and value on one device, got {q.device}, {k.device}, {v.device}"
        )
    return tensors


def _fitting(q, k, v, bias, share, name):
    """Refuse shapes that do not meet; `share` heads of the queries have one of keys and values."""
    scores = (q.shape[-2], k.shape[-2])
    try:
        leads = [tuple(one.shape[:-2]) for one in (q, k, v)]
        if share > 1:
            leads[1:] = [(*lead[:-1], lead[-1] * share) for lead in leads[1:]]
        batch = numpy.broadcast_shapes(*leads)
        fits = q.shape[-1] == k.shape[-1] and k.shape[-2] == v.shape[-2]
        if bias is not None:
            fits = fits and numpy.broadcast_shapes(tuple(bias.shape), (*batch, *scores)) == (*batch, *scores)
    except ValueError:
        fits = False
    if not fits:
        masked = "" if bias is None else f" and attn_mask {tuple(bias.shape)}"
        raise RuntimeError(
            f"{name}: expected query (..., L, E), key (..., S, E), value (..., S, V) and a mask that broadcasts to (..., L, S), got "
            f"shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}{masked}"
        )


def _queries_each(q, k, v, name):
    """How many heads of the queries share one of the keys (and of the values)."""
    for x in (k, v):
        if q.ndim < 3 or x.ndim < 3 or not x.shape[-3] or q.shape[-3] % x.shape[-3]:
            raise RuntimeError(
                f"{name}: with enable_gqa the number of heads (dimension -3) of query must be a multiple of that of key and value, "
                f"got shapes {tuple(q.shape)} and {tuple(x.shape)}"
            )
    return q.shape[-3] // k.shape[-3]


def _repeated(q, x):
    """x with every head repeated as often as there are queries for it."""
    return ops.repeat(x, repeats=q.shape[-3] // x.shape[-3], axis=x.ndim - 3)


def _grouped(q, k, v, bias, share):
    """Heads H as (H / share, share), of which keys and values have (H / share, 1): they are read, not repeated."""
    q = ops.reshape(q, (*q.shape[:-3], q.shape[-3] // share, share, *q.shape[-2:]))
    if bias is not None and bias.ndim > 2:
        groups = (1, 1) if bias.shape[-3] == 1 else q.shape[-4:-2]
        bias = ops.reshape(bias, (*bias.shape[:-3], *groups, *bias.shape[-2:]))
    return q, ops.expand_dims(k, k.ndim - 2), ops.expand_dims(v, v.ndim - 2), bias


@placement.on_their_card
def _additive(mask, q, name, what):
    """A mask as numbers to add to the scores: -inf where a bool mask is True."""
    mask = tensor_of(mask, name)
    if mask.dtype is dtypes.bool:
        xp = namespaces[mask._array.__class__]
        return mask._wrap(xp.where(mask._array, _INFINITE, 0.0).astype(q._array.dtype))
    if mask.dtype is not q.dtype and not (mask.dtype is dtypes.float32 and q.dtype.itemsize == 2):
        raise RuntimeError(f"{name}: {what} must be bool or {q.dtype}, as the query, got {mask.dtype}")
    return mask


@placement.on_their_card
def _causal(q, k):
    """0 where query i meets keys 0 to i, else -inf."""
    return ops.triu(q.new_full((q.shape[-2], k.shape[-2]), _INFINITE), k=1)


def _attended(q, k, v, bias, scale, causal, drop, need_weights=False, name="scaled_dot_product_attention"):
    """The output, and the probabilities if they are needed."""
    if need_weights:
        return attention(q, k, v, bias, scale=scale, safe=False, **drop)
    if _keeps_probabilities(
        q, k, v, bias, {"scale": scale, "causal": bool(causal), "kept": None, "share": 1.0, **drop}, name
    ):
        return attention(q, k, v, _causal(q, k) if causal else bias, scale=scale, **drop)
    return flash_attention(q, k, v, bias, scale=scale, causal=bool(causal), **drop)


def _keeps_probabilities(q, k, v, bias, static, name):
    """Whether they are kept for the backward pass, though nobody wants them.

    On the CPU few of them are: as long as they fit the cache that takes up to a third less time than computing them anew.
    """
    ways = attention_ways.allowed()
    if "flash" in ways:
        few = math.prod(q.shape[:-1]) * k.shape[-2] * q._array.itemsize <= cpu.scratch_bytes
        return "math" in ways and few and q.device.type == "cpu"
    arrays = [None if x is None else x._array for x in (q, k, v, bias)]
    if "cudnn" in ways and backend_of(arrays[0]).kernel("flash_attention", *arrays, **static) is not None:
        return False
    if "math" in ways:
        return True
    raise RuntimeError(
        f"{name}: no backend that sdpa_kernel allows takes these: shapes {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)} of "
        f"{q.dtype} on {q.device}; allow SDPBackend.MATH or SDPBackend.FLASH_ATTENTION, which take all"
    )


_in_precision = precision("lower")(_attended)


@placement.on_their_card
def _dropout(q, k, p, name):
    """The keywords of `attention` for dropout of probabilities."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")
    if not p:
        return {}
    batch = numpy.broadcast_shapes(q.shape[:-2], k.shape[:-2])
    kept = rand((*batch, q.shape[-2], k.shape[-2]), dtype=dtypes.float32, device=q.device)._array >= p
    return {"kept": kept, "share": 1 - p if p < 1 else 1.0}


# --- many heads ---


def multi_head_attention_forward(
    query,
    key,
    value,
    embed_dim_to_check,
    num_heads,
    in_proj_weight,
    in_proj_bias,
    bias_k,
    bias_v,
    add_zero_attn,
    dropout_p,
    out_proj_weight,
    out_proj_bias,
    training=True,
    key_padding_mask=None,
    need_weights=True,
    attn_mask=None,
    use_separate_proj_weight=False,
    q_proj_weight=None,
    k_proj_weight=None,
    v_proj_weight=None,
    static_k=None,
    static_v=None,
    average_attn_weights=True,
    is_causal=False,
):
    """What `nn.MultiheadAttention` computes: (output, probabilities or None). (L, N, E), (S, N, E), (S, N, E) -> (L, N, E).

    Also without N. Masks are bool, True where a key is not to be seen, or numbers to add: attn_mask (L, S) or (N H, L, S),
    key_padding_mask (N, S). Probabilities (N, L, S), or (N, H, L, S) with average_attn_weights=False, are those after dropout.
    With need_weights a query that sees no key gets NaN, without it zeros. is_causal says that attn_mask is the causal one.
    """
    name = "multi_head_attention_forward"
    batched = tensor_of(query, name).ndim == 3
    key_padding_mask = None if key_padding_mask is None else tensor_of(key_padding_mask, name)
    if not batched:
        # The identities are kept: one product projects all three if they are one.
        single = {id(one): ops.expand_dims(tensor_of(one, name), 1) for one in (query, key, value)}
        query, key, value = single[id(query)], single[id(key)], single[id(value)]
        key_padding_mask = None if key_padding_mask is None else ops.expand_dims(key_padding_mask, 0)
    _check_heads(query, key, value, embed_dim_to_check, num_heads, key_padding_mask, attn_mask, name)
    if is_causal and attn_mask is None:
        raise RuntimeError(f"{name}: is_causal=True is a hint about attn_mask, which must be given as well")
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else in_proj_weight
    q, k, v = _projected(query, key, value, weights, in_proj_bias)
    if (bias_k is None) != (bias_v is None):
        raise RuntimeError(f"{name}: give both of bias_k and bias_v or neither")
    if bias_k is not None:
        k, v = (
            ops.concatenate([x, _everywhere(b, x.shape[1])], axis=0) for x, b in ((k, bias_k), (v, bias_v))
        )
    q = _heads(q, num_heads)
    k = _heads(k, num_heads) if static_k is None else _static(static_k, q, num_heads, name)
    v = _heads(v, num_heads) if static_v is None else _static(static_v, q, num_heads, name)
    if add_zero_attn:
        k, v = (ops.concatenate([x, x.new_zeros((*x.shape[:2], 1, x.shape[3]))], axis=2) for x in (k, v))
    causal = is_causal and key_padding_mask is None and not need_weights
    bias = None if causal else _masks(q, k, attn_mask, key_padding_mask, name)
    drop = _dropout(q, k, dropout_p if training else 0, name)
    y, p = _in_precision(q, k, v, bias, 1 / math.sqrt(q.shape[-1]), causal, drop, need_weights, name)
    y = ops.reshape(ops.transpose(y, (2, 0, 1, 3)), tuple(query.shape))
    y = linear(y, out_proj_weight, out_proj_bias)
    if need_weights:
        p = dropped(p, drop.get("kept"), drop.get("share"))
        p = ops.mean(p, axis=1) if average_attn_weights else p
    else:
        p = None
    return (y, p) if batched else (y[:, 0], None if p is None else p[0])


def _check_heads(query, key, value, embed_dim, heads, key_padding_mask, attn_mask, name):
    shapes = tuple(tuple(tensor_of(one, name).shape) for one in (query, key, value))
    (_, n, features), *sources = shapes if all(len(one) == 3 for one in shapes) else [(0, 0, -1)]
    if not sources or any(one[:2] != sources[0][:2] for one in sources) or sources[0][1] != n:
        raise RuntimeError(
            f"{name}: expected query (L, N, E), key (S, N, E) and value (S, N, E), or all without N, got {shapes}"
        )
    if features != embed_dim or features % heads:
        raise RuntimeError(
            f"{name}: expected {embed_dim} features, divisible by {heads} heads, got a query of shape {shapes[0]}"
        )
    length, source = shapes[0][0], shapes[1][0]
    if key_padding_mask is not None and tuple(key_padding_mask.shape) != (n, source):
        raise RuntimeError(
            f"{name}: expected key_padding_mask of shape {(n, source)}, got {tuple(key_padding_mask.shape)}"
        )
    allowed = ((length, source), (n * heads, length, source))
    if attn_mask is not None and tuple(tensor_of(attn_mask, name).shape) not in allowed:
        raise RuntimeError(
            f"{name}: expected attn_mask of shape {allowed[0]} or {allowed[1]}, got {tuple(attn_mask.shape)}"
        )


def _projected(query, key, value, weights, bias):
    """Queries, keys and values, by one product with the packed weights (3 E, E) where all three are made of one tensor."""
    size = query.shape[-1]
    if not isinstance(weights, tuple):
        if query is key and key is value:
            packed = linear(query, weights, bias)
            return tuple(packed[..., i * size : (i + 1) * size] for i in range(3))
        weights = tuple(weights[i * size : (i + 1) * size] for i in range(3))
    biases = (None,) * 3 if bias is None else tuple(bias[i * size : (i + 1) * size] for i in range(3))
    return tuple(linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))


def _everywhere(bias, n):
    return ops.broadcast_to(bias, shape=(1, n, bias.shape[-1]))


def _heads(x, heads):
    """(L, N, E) -> (N, H, L, E / H)"""
    length, n, size = x.shape
    return ops.transpose(ops.reshape(x, (length, n, heads, size // heads)), (1, 2, 0, 3))


def _static(x, q, heads, name):
    n, _, _, size = q.shape
    if x.ndim != 3 or (x.shape[0], x.shape[2]) != (n * heads, size):
        raise RuntimeError(
            f"{name}: expected static_k and static_v of shape ({n * heads}, S, {size}), got {tuple(x.shape)}"
        )
    return ops.reshape(x, (n, heads, x.shape[1], size))


def _masks(q, k, attn_mask, key_padding_mask, name):
    """Both masks as one bias, (1 or N, 1 or H, L, S); keys that were added at the end are always seen."""
    (n, heads, length, _), source = q.shape, k.shape[2]
    parts = []
    if attn_mask is not None:
        mask = _additive(attn_mask, q, name, "attn_mask")
        lead = (1, 1) if mask.ndim == 2 else (n, heads)
        parts.append(ops.reshape(mask, (*lead, length, mask.shape[-1])))
    if key_padding_mask is not None:
        mask = _additive(key_padding_mask, q, name, "key_padding_mask")
        parts.append(ops.reshape(mask, (n, 1, 1, mask.shape[-1])))
    if not parts:
        return None
    bias = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    extra = source - bias.shape[-1]
    return ops.pad(bias, widths=((0, 0),) * 3 + ((0, extra),)) if extra else bias
