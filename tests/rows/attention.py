"""Rows: attention, with one head and with many."""

import math

import numpy as np

import chainrule as cr
from chainrule.autograd.ops import attention as ops
from chainrule.nn import functional as F
from tests.table import Row


def softmax_of(scores):
    """By the definition; zeros for a row of nothing but -inf."""
    weights = np.exp(scores - np.maximum(scores.max(axis=-1, keepdims=True), -1e300))
    return weights / np.maximum(weights.sum(axis=-1, keepdims=True), 1e-300)


def attention(q, k, v, bias=0, scale=None):
    """(output, probabilities) by the definition."""
    p = softmax_of(q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale) + bias)
    return p @ v, p


def heads(query, key, value, w, b, w_out, b_out, number, bias=0):
    """Many heads by the definition, one head and one sample at a time."""
    size, (length, n, _) = query.shape[-1] // number, query.shape
    wq, wk, wv = w.reshape(3, -1, w.shape[1])
    bq, bk, bv = b.reshape(3, -1)
    out, weights = np.zeros(query.shape), np.zeros((n, length, key.shape[0]))
    for sample in range(n):
        for head in range(number):
            part = slice(head * size, (head + 1) * size)
            q, k, v = (
                x[:, sample] @ one[part].T + c[part]
                for x, one, c in ((query, wq, bq), (key, wk, bk), (value, wv, bv))
            )
            found, p = attention(q, k, v, bias)
            out[:, sample, part] = found
            weights[sample] += p / number
    return out @ w_out.T + b_out, weights


MASK = np.array([[True, True, False], [False, True, True], [False, False, False], [True, True, True]])
CAUSAL = np.triu(np.full((4, 4), -np.inf), 1)
SDPA = F.scaled_dot_product_attention


def multi_head(query, key, value, w, b, w_out, b_out):
    """Two heads, without dropout."""
    return F.multi_head_attention_forward(query, key, value, 4, 2, w, b, None, None, False, 0.0, w_out, b_out)


def kept(x):
    """A mask of dropout."""
    return cr.tensor(np.arange(12).reshape(4, 3) % 5 != 0, device=x.device)._array


def with_dropout(q, k, v):
    """A fixed mask in place of a random one."""
    return ops.attention(q, k, v, None, scale=0.5, kept=kept(q), share=0.75)


def dropout_reference(q, k, v):
    """The same by the definition."""
    p = attention(q, k, v, scale=0.5)[1]
    return (p * (np.arange(12).reshape(4, 3) % 5 != 0) / 0.75) @ v, p


def lse_of(scores):
    """log(sum(exp)) of each row."""
    return np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def flash(q, k, v, bias=None):
    """With a causal mask, by which the first queries see one or two keys; queries and keys are not as many."""
    return ops.flash_attention(q, k, v, bias, scale=0.5, causal=True)


def flash_reference(q, k, v, bias=0):
    """The same by the definition."""
    scores = q @ k.swapaxes(-1, -2) * 0.5 + np.where(np.tri(q.shape[-2], k.shape[-2]) == 1, bias, -np.inf)
    return softmax_of(scores) @ v, lse_of(scores)


def flash_dropped(q, k, v):
    """A fixed mask in place of a random one."""
    return ops.flash_attention(q, k, v, None, scale=0.5, kept=kept(q), share=0.75)


def flash_dropped_reference(q, k, v):
    """The same by the definition."""
    return dropout_reference(q, k, v)[0], lse_of(q @ k.swapaxes(-1, -2) * 0.5)


ROWS = [
    Row("nn.functional.scaled_dot_product_attention", SDPA, [(2, 4, 3), (2, 5, 3), (2, 5, 2)], ref=lambda *x: attention(*x)[0]),
    Row(
        "nn.functional.scaled_dot_product_attention", lambda q, k, v: SDPA(q, k, v, cr.tensor(MASK, device=q.device), scale=0.7),
        [(2, 4, 3), (2, 3, 3), (2, 3, 2)], ref=lambda q, k, v: attention(q, k, v, np.where(MASK, 0, -np.inf), 0.7)[0],
        torch=False, tag="mask",
    ),
    Row(
        "nn.functional.scaled_dot_product_attention", SDPA, [(2, 4, 3), (2, 5, 3), (2, 5, 2), (4, 5)],
        ref=lambda q, k, v, m: attention(q, k, v, m)[0], tag="bias",
    ),
    Row(
        "nn.functional.scaled_dot_product_attention", SDPA, [(4, 3), (4, 3), (4, 2)], kwargs={"is_causal": True},
        ref=lambda q, k, v, is_causal: attention(q, k, v, CAUSAL)[0], tag="causal",
    ),
    Row(
        "nn.functional.scaled_dot_product_attention", SDPA, [(2, 4, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2)],
        kwargs={"enable_gqa": True}, tag="shared heads",
    ),
    Row(
        "nn.functional.scaled_dot_product_attention", lambda q, k, v, m: SDPA(q, k, v, m, enable_gqa=True),
        [(2, 4, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2), (4, 3, 3)], torch=False, tag="shared heads, bias",
        ref=lambda q, k, v, m: attention(q, k.repeat(2, axis=1), v.repeat(2, axis=1), m)[0],
    ),
    Row(
        "nn.functional.scaled_dot_product_attention", SDPA, [(2, 4, 3), (2, 5, 3), (2, 5, 2)], kwargs={"dropout_p": 0.4},
        torch=False, tag="dropout",
    ),
    Row("attention", with_dropout, [(2, 4, 2), (2, 3, 2), (3, 2)], ref=dropout_reference, torch=False),
    Row("flash_attention", flash, [(2, 5, 2), (2, 3, 2), (3, 2)], ref=flash_reference, torch=False),
    Row("flash_attention", flash, [(2, 2, 3, 2), (2, 1, 4, 2), (2, 1, 4, 3), (2, 1, 4)], ref=flash_reference, torch=False, tag="bias"),
    Row("flash_attention", flash_dropped, [(2, 4, 2), (2, 3, 2), (3, 2)], ref=flash_dropped_reference, torch=False, tag="dropout"),
    Row(
        "nn.functional.multi_head_attention_forward", multi_head,
        [(3, 2, 4), (5, 2, 4), (5, 2, 4), (12, 4), (12,), (4, 4), (4,)],
        ref=lambda *x: heads(*x, 2), torch=False,
    ),
]  # fmt: skip
