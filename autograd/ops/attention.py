"""Attention: every query takes the mean of the values, weighted by how well their keys fit it. Vaswani et al. 2017.

    S = scale Q K^T + bias,   P = softmax(S),   D = P after dropout,   Y = D V

and with gP = gY V^T where D kept, the gradient of the scores is gS = P (gP - sum(P gP)), as for any softmax.

`attention` gives P too, and keeps it for the backward pass. `flash_attention` gives Y alone, and keeps one number for each query, lse =
log(sum(exp(S))): the backward pass computes P anew as exp(S - lse) (Rabe and Staats 2021, "Self-attention does not need O(n^2)
memory"; Dao et al. 2022, "FlashAttention"). It works in pieces, some queries of some heads at a time with all keys they see:
pieces that stay in the CPU's cache take less time than the whole, although there is a product more to compute.
"""

import functools
import itertools

from chainrule.autograd import late
from chainrule.autograd.op import op
from chainrule.backends import backend_of, kernels, namespaces

from .blocks import wide
from .product import matmul
from .selection import masked
from .shape import astype
from .windows import scratch_bytes, widened


def _turned(xp, x):
    return xp.swapaxes(x, axis1=-1, axis2=-2)


def dropped(p, kept, share):
    """The probabilities after dropout: those that the mask `kept` (or None) keeps, divided by the share that it keeps."""
    return p if kept is None else masked(p, kept, scale=1 / share)


def _attention_rule(xp, g, needs, query, key, value, p, scale, kept, share):
    gy, gp = g
    return _gradients(xp, gy, gp, None, needs, query, key, value, p, scale, kept, share)


def _gradients(xp, gy, gp, g_lse, needs, query, key, value, p, scale, kept, share):
    """Those of query, key, value and bias from those of the output, of P and of lse, each of which may be None."""
    through, g_value = gp, None
    if gy is not None:
        g_value = matmul(_turned(xp, dropped(p, kept, share)), gy) if needs[2] else None
        through = dropped(matmul(gy, _turned(xp, value)), kept, share)
        through = through if gp is None else through + gp
    if through is None:
        scores = p * g_lse
    else:
        weighted = p * through
        mean = xp.sum(weighted, axis=-1, keepdims=True)
        scores = weighted - p * (mean if g_lse is None else mean - g_lse)
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
    p = xp.matmul(query * scale, _turned(xp, key))
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


# --- without the probabilities ---


def _kernel(name):
    """Decorator: the backend's kernel `name` for the arrays, of which the first is one, or else the function."""

    def declare(function):
        @functools.wraps(function)
        def chosen(xp, *given):
            found = backend_of(given[0]).kernel(name, *given) if name in kernels else None
            return (found or function)(xp, *given)

        return chosen

    return declare


def _flash_rule(xp, g, needs, query, key, value, bias, y, lse, scale, causal, kept, share):
    gradients = _recorded if isinstance(y, late.Tensor) else flash_gradients
    return gradients(xp, query, key, value, bias, y, lse, *g, needs, scale, causal, kept, share)


@op(joint=_flash_rule, outputs=("y", "lse"), cast="same", cast_inputs=("query", "key", "value"))
def flash_attention(xp, query, key, value, bias, *, scale, causal=False, kept=None, share=1.0):
    """D V as `attention` has it, and lse, the logarithm of the sum of exp(S) of each query.

    (..., L, E), (..., S, E), (..., S, V), a bias that broadcasts to (..., L, S) or None -> (..., L, V), (..., L, 1); lse is float32
    for 16-bit floats. causal: query i sees keys 0 to i. A query that sees no key gets zeros, and an lse of inf: exp(S - lse) is 0.
    """
    batch = xp.broadcast_shapes(*(x.shape[:-2] for x in (query, key, value)))
    length, work = query.shape[-2], widened(xp, query.dtype)
    q, k, v, b, kept = _aligned(len(batch) + 2, query, wide(key), wide(value), bias, kept)
    turned = _turned(xp, k)
    y = xp.zeros((*batch, length, v.shape[-1]), dtype=query.dtype)
    lse = xp.full((*batch, length, 1), xp.inf, dtype=work)
    pieces = _pieces(batch, length, k.shape[-2], work.itemsize, scratch_bytes(query), causal)
    for place, rows, seen in pieces:
        scores = xp.matmul(wide(_at(q, place, rows)) * scale, _at(turned, place, _ALL, seen))
        e, total, logarithm = exponentials(
            xp, scores, _at(b, place, rows, seen), rows.start if causal else None
        )
        part = xp.matmul(dropped(e, _at(kept, place, rows, seen), share), _at(v, place, seen))
        y[(*place, rows)] = part / total
        lse[(*place, rows)] = logarithm
    return y, lse


@_kernel("flash_gradients")
def flash_gradients(xp, query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    """The rule on arrays: P anew, a piece at a time, and what follows from it."""
    batch, length, work = y.shape[:-2], y.shape[-2], lse.dtype
    gy = xp.zeros(y.shape, dtype=work) if gy is None else gy
    mean = xp.sum(wide(gy) * wide(y), axis=-1, keepdims=True)  # that of gP under P is that of gY under D V
    mean = mean if g_lse is None else mean - g_lse
    q, k, v, b, kept = _aligned(len(batch) + 2, query, wide(key), wide(value), bias, kept)
    turned_k, turned_v = _turned(xp, k), _turned(xp, v)
    found = [
        None if not need else xp.zeros(x.shape, dtype=work)
        for x, need in zip((q, k, v, b), needs, strict=True)
    ]
    g_query, g_key, g_value, g_bias = found
    pieces = _pieces(batch, length, k.shape[-2], 2 * work.itemsize, scratch_bytes(y), causal)
    for place, rows, seen in pieces:
        queries, incoming = wide(_at(q, place, rows)) * scale, wide(_at(gy, place, rows))
        d, g_scores = score_gradients(
            xp, xp.matmul(queries, _at(turned_k, place, _ALL, seen)), xp.matmul(incoming, _at(turned_v, place, _ALL, seen)),
            _at(b, place, rows, seen), _at(lse, place, rows), _at(mean, place, rows),
            rows.start if causal else None, _at(kept, place, rows, seen), share,
        )  # fmt: skip
        if needs[0]:
            _add(xp, _at(g_query, place, rows), xp.matmul(g_scores, _at(k, place, seen)) * scale)
        if needs[1]:
            _add(xp, _at(g_key, place, seen), xp.matmul(_turned(xp, g_scores), queries))
        if needs[2]:
            _add(xp, _at(g_value, place, seen), xp.matmul(_turned(xp, d), incoming))
        if needs[3]:
            _add(xp, _at(g_bias, place, rows, seen), g_scores)
    given = zip(found, (query, key, value, bias), strict=True)
    return tuple(None if one is None else one.reshape(x.shape) for one, x in given)


def _recorded(xp, query, key, value, bias, y, lse, gy, g_lse, needs, scale, causal, kept, share):
    """The rule on Tensors, for derivatives of higher order: P from recorded operations, of all queries at once."""
    work = lse.dtype
    query, key, value = (astype(x, dtype=work) for x in (query, key, value))
    scores = matmul(query, _turned(xp, key)) * scale
    scores = scores if bias is None else scores + bias
    if causal:
        sees = namespaces[lse._array.__class__].tri(*scores.shape[-2:], dtype=bool)
        scores = xp.where(sees, scores, -float("inf"))
    p = xp.exp(scores - lse)
    gy = None if gy is None else astype(gy, dtype=work)
    return _gradients(xp, gy, None, g_lse, needs, query, key, value, p, scale, kept, share)


# --- the elementwise part of a piece; a kernel of the backend's may do it in one pass ---


@_kernel("attention_softmax")
def exponentials(xp, scores, bias, first):
    """e = exp(S - the largest of the row), its sum (1 where it is 0), and lse. `scores` may be written over.

    first: the number of the first query, under a causal mask; None without.
    """
    e = _masked_scores(xp, scores, bias, first)
    top = xp.max(e, axis=-1, keepdims=True)
    top = xp.where(top == -xp.inf, 0, top)
    e -= top
    xp.exp(e, out=e)
    total = xp.sum(e, axis=-1, keepdims=True)
    nothing = total == 0
    total = xp.where(nothing, 1, total)
    return e, total, xp.where(nothing, xp.inf, top + xp.log(total))


@_kernel("attention_softmax_gradient")
def score_gradients(xp, scores, through, bias, lse, mean, first, kept, share):
    """D and gS = P (gP - mean), with P = exp(S - lse) and gP = `through` where D kept. Both arrays may be written over."""
    p = _masked_scores(xp, scores, bias, first)
    p -= lse
    xp.exp(p, out=p)
    through = dropped(through, kept, share)
    through -= mean
    through *= p
    return dropped(p, kept, share), through


def _masked_scores(xp, scores, bias, first):
    """The scores with their bias, and -inf where the causal mask hides a key."""
    if bias is not None:
        scores = scores + bias.astype(scores.dtype, copy=False)
    if first is not None and first < scores.shape[-1]:
        corner = scores[..., first:]
        corner[...] = xp.where(xp.tri(*corner.shape[-2:], dtype=bool), corner, -xp.inf)
    return scores


# --- pieces ---

_ALL = slice(None)


def _aligned(ndim, *arrays):
    """The arrays with as many axes, by axes of length 1 in front."""
    return [None if x is None else x.reshape((1,) * (ndim - x.ndim) + tuple(x.shape)) for x in arrays]


def _at(x, place, *inner):
    """The part of x in a piece: `place` has a slice for each axis of the batch, `inner` for the next. An axis of length 1 serves all."""
    if x is None:
        return None
    return x[tuple([_ALL if n == 1 else one for n, one in zip(x.shape, (*place, *inner), strict=False)])]


def _add(xp, total, part):
    """total += part, summed over the axes along which `total` serves several."""
    axes = tuple(k for k, n in enumerate(total.shape) if n == 1 != part.shape[k])
    total += xp.sum(part, axis=axes, keepdims=True) if axes else part


def _pieces(batch, length, source, itemsize, limit, causal):
    """Cuts the scores into pieces of at most `limit` bytes: (a slice for each axis of the batch, of the queries, of the keys they see).

    One query of one head is the least. Under a causal mask an eighth of the queries is the most, as later keys are left out.
    """
    rows = min(length, max(1, limit // max(1, source * itemsize)))
    if causal:
        rows = min(rows, max(128, -(-length // 8)))
    room, steps = max(1, limit // max(1, rows * source * itemsize)), [rows]
    for n in reversed(batch):
        steps.insert(0, min(n, room))
        room = room // n if 0 < n <= room else 1
    axes = zip((*batch, length), steps, strict=True)
    for *place, queries in itertools.product(*[_cut(n, step) for n, step in axes]):
        seen = min(queries.stop, source) if causal else source
        if seen:
            yield tuple(place), queries, slice(0, seen)


def _cut(n, most):
    """range(n) as slices of at most `most`, as few as can be and of about one length."""
    step = -(-n // -(-n // most)) if n else 1
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]
