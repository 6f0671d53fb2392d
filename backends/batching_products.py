"""The rules of `batching_rules.py` for products and functions of matrices.

A matrix is the last two axes. Where one matrix meets a vector of each sample, one product of matrices does for all.
"""

import math

from .batched import is_batched, levels_of, lifted, merged, wrap
from .batching import rule
from .batching_rules import axis_from_end, flat, hidden_lengths, matching, padded


@rule("matmul")
def matmul(ns, function, a, b, out=None):
    if out is not None:
        out[...] = ns.matmul(a, b)
        return out
    levels = merged(levels_of(a), levels_of(b))
    a, b = lifted(a, levels), lifted(b, levels)
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("matmul: expected at least 1 dimension")
    if a.ndim == 1:
        return ns.matmul(a[None, :], b)[..., 0, :]
    if b.ndim == 1:
        return ns.matmul(a, b[:, None])[..., 0]
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit")
    ndim, k = max(a.ndim, b.ndim), len(levels)
    raw_a, raw_b = padded(a, levels, ndim), padded(b, levels, ndim)
    if a.shape[-1] == 1 and a.dtype == b.dtype:
        return wrap(raw_a * raw_b, levels)  # an outer product
    if math.prod(raw_b.shape[:-2]) == 1 and math.prod(raw_a.shape[:k]) > 1:
        # One matrix for all samples: one product of matrices, not one for each sample.
        rows = raw_a.reshape((-1, raw_a.shape[-1])) if raw_a.size else raw_a.reshape((0, raw_a.shape[-1]))
        if raw_a.shape[-1] and rows.size:
            found = function(rows, raw_b.reshape(raw_b.shape[-2:]))
            return wrap(found.reshape((*raw_a.shape[:-1], raw_b.shape[-1])), levels)
    if raw_b.shape[-1] == 1 and math.prod(raw_a.shape[:-2]) == 1 and raw_b.size and raw_a.size:
        # One matrix, a vector for each sample.
        found = function(raw_b.reshape((-1, raw_b.shape[-2])), raw_a.reshape(raw_a.shape[-2:]).swapaxes(0, 1))
        return wrap(found.reshape((*raw_b.shape[:-2], raw_a.shape[-2], 1)), levels)
    return wrap(function(raw_a, raw_b), levels)


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@rule("einsum")
def einsum(ns, function, equation, *operands, **kwargs):
    """One letter more for each level, in the operands along whose hidden axis values differ."""
    equation = equation.replace(" ", "")
    inputs, arrow, output = equation.partition("->")
    if not arrow:
        output = "".join(sorted(one for one in set(inputs) - {",", "."} if inputs.count(one) == 1))
        output = "..." + output if "..." in inputs else output
    terms = inputs.split(",")
    levels = levels_of(operands)
    letters = dict(zip((n for n, _ in levels), (c for c in _LETTERS if c not in equation), strict=False))
    raws, used = [], set()
    for i, one in enumerate(operands):
        if not is_batched(one):
            raws.append(one)
            continue
        mine = [n for (n, _), length in zip(one.levels, hidden_lengths(one), strict=True) if length != 1]
        used.update(mine)
        terms[i] = "".join(letters[n] for n in mine) + terms[i]
        raws.append(one._stored[tuple(slice(None) if n in mine else 0 for n, _ in one.levels)])
    kept = "".join(letters[n] for n, _ in levels if n in used)
    found = function(f"{','.join(terms)}->{kept}{output}", *raws, **kwargs)
    found = ns.xp.asarray(found)
    places = tuple(slice(None) if n in used else None for n, _ in levels)
    return wrap(found[(*places, Ellipsis)], levels)


@rule("dot")
def dot(ns, function, a, b):
    if a.ndim == 0 or b.ndim == 0:
        return ns.multiply(a, b)
    return ns.matmul(a, b) if b.ndim <= 2 else ns.tensordot(a, b, axes=([-1], [-2]))


@rule("tensordot")
def tensordot(ns, function, a, b, axes=2):
    if isinstance(axes, int):
        axes = (list(range(a.ndim - axes, a.ndim)), list(range(axes)))
    ours, theirs = ([one] if isinstance(one, int) else list(one) for one in axes)
    first = list(_LETTERS[: a.ndim])
    second = list(_LETTERS[a.ndim : a.ndim + b.ndim])
    for i, j in zip(ours, theirs, strict=True):
        second[j] = first[i]
    shared = {first[i] for i in ours}
    output = [c for c in first if c not in shared] + [c for c in second if c not in shared]
    return ns.einsum(f"{''.join(first)},{''.join(second)}->{''.join(output)}", a, b)


@rule("outer")
def outer(ns, function, a, b):
    return ns.multiply(flat(a)[:, None], flat(b)[None, :])


@rule("cross")
def cross(ns, function, a, b, axis=-1):
    ndim, levels = max(a.ndim, b.ndim), merged(levels_of(a), levels_of(b))
    return wrap(
        function(padded(a, levels, ndim), padded(b, levels, ndim), axis=axis_from_end(axis, ndim)), levels
    )


@rule("tril triu linalg.inv linalg.det linalg.cholesky linalg.eigh linalg.eigvalsh linalg.eig linalg.eigvals linalg.svd linalg.qr "
      "linalg.slogdet linalg.pinv linalg.matrix_power")  # fmt: skip
def of_matrices(ns, function, x, *args, **kwargs):
    """Functions of the last two axes; those before them count matrices anyway."""
    if x.ndim < 2:
        raise ValueError(f"{function.__name__}: expected at least 2 dimensions, got {x.ndim}")
    found = function(x._stored, *args, **kwargs)
    if not isinstance(found, tuple):
        return wrap(found, x.levels)
    return tuple(wrap(one, x.levels) for one in found)


@rule("linalg.solve")
def solve(ns, function, a, b):
    levels = merged(levels_of(a), levels_of(b))
    vector = b.ndim == 1
    a, b = lifted(a, levels), lifted(b, levels)
    if vector:
        b = b[:, None]
    ndim = max(a.ndim, b.ndim)
    raw_a, raw_b = matching(ns.xp, [padded(a, levels, ndim), padded(b, levels, ndim)], ndim + len(levels) - 2)
    found = wrap(function(raw_a, raw_b), levels)
    return found[..., 0] if vector else found
