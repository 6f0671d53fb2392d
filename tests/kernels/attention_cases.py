"""Cases for the kernels of attention: see `cases.py`. Queries that see no key, fewer keys than queries and more, long rows."""

import numpy as np

from chainrule.backends.cuda_kernels import attention as functions

# scores, bias, the first query under a causal mask
ATTENTION = [
    ((1, 1), None, None),
    ((3, 7), None, 0),
    ((2, 5, 3), (5, 3), None),
    ((2, 3, 4, 33), (2, 1, 4, 33), None),
    ((2, 3, 4, 32), (2, 1, 1, 32), 0),
    ((2, 1, 3, 4, 8), (1, 1, 3, 1, 1), 2),
    ((2, 3, 2, 5, 9), (2, 3, 1, 5, 9), 5),
    ((3, 2, 40), (3, 1, 40), 17),
    ((2, 2, 1030), (2, 1030), 700),
    ((1, 2, 4096), None, 4000),
]


def attention_softmax(rng):
    for shape, bias, first in ATTENTION:
        bias = None if bias is None else rng.standard_normal(bias)
        if bias is not None and bias.size > 1:
            bias[..., 0] = -np.inf
            if bias.shape[-1] < 10:
                bias.reshape(-1, bias.shape[-1])[0] = -np.inf  # a query, or a head, that sees nothing
        yield (rng.standard_normal(shape) * 4, bias, first), {}


def attention_softmax_gradient(rng):
    for k, ((scores, bias, first), _) in enumerate(attention_softmax(rng)):
        rows = (*scores.shape[:-1], 1)
        lse = functions._softmax_reference(scores, bias, first)[2]
        kept = rng.random(scores.shape) < 0.7 if k % 2 else None
        yield (
            (
                scores,
                rng.standard_normal(scores.shape),
                bias,
                lse,
                rng.standard_normal(rows),
                first,
                kept,
                0.7,
            ),
            {},
        )


# query, key, bias, causal; odd lengths, and tiles of 64 that are not full
FLASH = [
    ((1, 8), (1, 8), None, False),
    ((2, 5, 16), (2, 7, 16), None, True),
    ((2, 70, 8), (2, 130, 8), (70, 130), False),
    ((1, 3, 130, 64), (1, 3, 70, 64), None, True),
    ((2, 2, 3, 66, 24), (2, 2, 1, 65, 24), (2, 1, 1, 66, 1), False),
    ((1, 2, 33, 72), (1, 1, 90, 72), (2, 1, 90), True),
    ((1, 65, 128), (1, 97, 128), None, False),
]


def flash_attention(rng):
    for k, (query, key, bias, causal) in enumerate(FLASH):
        bias = None if bias is None else rng.standard_normal(bias)
        if bias is not None and bias.shape[-1] > 1:
            bias[..., ::3] = -np.inf
            bias.reshape(-1, bias.shape[-1])[0] = -np.inf  # a query that sees nothing
        kept = rng.random((*query[:-1], key[-2])) < 0.7 if k % 3 == 2 else None
        arrays = (rng.standard_normal(query), rng.standard_normal(key), rng.standard_normal(key), bias)
        yield (
            arrays,
            {"scale": query[-1] ** -0.5, "causal": causal, "kept": kept, "share": 0.7 if k % 3 == 2 else 1.0},
        )


def flash_gradients(rng):
    for (query, key, value, bias), static in flash_attention(rng):
        y, lse = functions._flash_reference(query, key, value, bias, **static)
        gy = rng.standard_normal(query.shape)
        yield (query, key, value, bias, y, lse, gy, None, (True, True, True, False), *static.values()), {}
