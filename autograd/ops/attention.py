"""Attention: every query takes the mean of the values, weighted by how well their keys fit it. Vaswani et al. 2017.

The probabilities P are kept for the backward pass (and are an output of their own), the scores are not: with D = P after
dropout, the gradient of the scores is P (gP - sum(P gP)) for gP = gY V^T where D kept, as for any softmax.
"""

from chainrule.autograd.op import op

from .blocks import wide
from .product import matmul
from .selection import masked


def _turned(xp, x):
    return xp.swapaxes(x, axis1=-1, axis2=-2)


def dropped(p, kept, share):
    """The probabilities after dropout: those that the mask `kept` (or None) keeps, divided by the share that it keeps."""
    return p if kept is None else masked(p, kept, scale=1 / share)


def _attention_rule(xp, g, needs, query, key, value, p, scale, kept, share):
    gy, gp = g
    through, g_value = gp, None
    if gy is not None:
        g_value = matmul(_turned(xp, dropped(p, kept, share)), gy) if needs[2] else None
        through = dropped(matmul(gy, _turned(xp, value)), kept, share)
        through = through if gp is None else through + gp
    weighted = p * through
    scores = weighted - p * xp.sum(weighted, axis=-1, keepdims=True)
    g_query = matmul(scores, key) * scale if needs[0] else None
    g_key = matmul(_turned(xp, scores), query) * scale if needs[1] else None
    return g_query, g_key, g_value, scores if needs[3] else None


@op(joint=_attention_rule, outputs=("y", "p"), cast="same", cast_inputs=("query", "key", "value"))
def attention(xp, query, key, value, bias, *, scale, kept=None, share=1.0, safe=True):
    """D V and P: P = softmax(scale Q K^T + bias), D = P after dropout by the mask `kept`, which keeps a share of them.

    (..., L, E), (..., S, E), (..., S, V), a bias that broadcasts to (..., L, S) or None -> (..., L, V), (..., L, S). A query whose
    scores are all -inf gets zeros if `safe`, else NaN.
    """
    dtype = query.dtype
    query, key, value = wide(query), wide(key), wide(value)
    p = xp.matmul(query * xp.full((), scale, dtype=query.dtype), _turned(xp, key))
    if bias is not None:
        p = p + wide(bias).astype(p.dtype, copy=False)
    if p.shape[-1]:
        top = xp.max(p, axis=-1, keepdims=True)
        p -= xp.where(top == -xp.inf, 0, top) if safe else top
    xp.exp(p, out=p)
    total = xp.sum(p, axis=-1, keepdims=True)
    p /= xp.where(total == 0, 1, total)
    p = p.astype(dtype, copy=False)
    y = xp.matmul(wide(dropped(p, kept, share)), value)
    return y.astype(dtype, copy=False), p
