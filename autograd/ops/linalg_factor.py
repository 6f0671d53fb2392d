"""Triangular factors: Cholesky, LU with partial pivoting, QR, and the solution of triangular systems.

NumPy has no LU factorisation and no triangular solver; here they are as array code over a whole batch, recursive in halves,
so that nearly all the arithmetic is matrix products. Derivatives: Giles, "An extended collection of matrix derivative
results" (2008); Murray, "Differentiation of the Cholesky decomposition" (2016); Walter and Lehmann, "On evaluating
higher-order derivatives of the QR decomposition" (2012).
"""

import math

from chainrule.autograd.op import op
from chainrule.backends import namespaces

from .linalg_common import (
    ArrayLinAlgError,
    LinAlgError,
    adjoint,
    compute,
    conjugate,
    describe,
    diagonal,
    diagonal_matrix,
    raw,
    transpose,
)
from .product import matmul

SINGULAR = "is singular: elimination meets a pivot of 0 in step {step}; use linalg.pinv or linalg.lstsq, which need no inverse"

_NOT_POSITIVE = (
    "is not positive-definite: elimination meets a pivot that is not positive in step {step}; "
    "check that it is Hermitian, or add a small multiple of the identity"
)

# Below this many rows a triangle is solved, and columns are eliminated, one by one.
LEAF = 32


# --- Cholesky ---


@conjugate
def _cholesky_rule(xp, g, y, upper):
    """The lower triangle of L^H G, and its mirror image, between L^-H and L^-1."""
    lh, g = (y, adjoint(xp, g)) if upper else (adjoint(xp, y), g)
    triangle = xp.tril(matmul(lh, g))
    inner = 0.5 * (triangle + adjoint(xp, xp.tril(triangle, k=-1)))
    first = solve_triangular(lh, inner, upper=True)
    return adjoint(xp, solve_triangular(lh, adjoint(xp, first), upper=True))


@op(x=_cholesky_rule)
def cholesky(xp, x, *, upper=False):
    """The lower triangular L with L L^H = x, for Hermitian positive-definite x, of which the lower triangle is read; with `upper`
    L^H instead, for which the upper one is read.

    (..., n, n) -> (..., n, n). The gradient is Hermitian: that of a function of Hermitian matrices.
    """
    read = adjoint(xp, x) if upper else x
    positive = lambda y: diagonal(xp, y).real > 0
    factor = xp.linalg.cholesky
    y = compute(xp, "linalg.cholesky", factor, (read,), leading_minors, _NOT_POSITIVE, positive, False)
    return adjoint(xp, y) if upper else y


def leading_minors(xp, x):
    """For each matrix the order of its first leading minor that is not positive-definite; 0 if there is none."""
    n = x.shape[-1]
    left = x.reshape(math.prod(x.shape[:-2]), n, n).copy()
    info = xp.zeros(left.shape[0], dtype="int32")
    for j in range(n):
        pivot = left[:, j, j].real
        bad = (info == 0) & ~(pivot > 0)
        info = xp.where(bad, j + 1, info)
        column = left[:, j + 1 :, j, None] / xp.where(pivot > 0, pivot, 1)[:, None, None]
        left[:, j + 1 :, j + 1 :] -= column * xp.conj(left[:, None, j + 1 :, j])
    return info.astype("int32").reshape(x.shape[:-2])


# --- triangular systems ---


def _solve_triangular_rule(xp, g, needs, a, y, upper, unitriangular):
    """Holomorphic: with A^T Gb = g, the gradient of A is the triangle of -Gb X^T."""
    gb = solve_triangular(transpose(xp, a), g, upper=not upper, unitriangular=unitriangular)
    if not needs[0]:
        return None, gb
    triangle = xp.triu if upper else xp.tril
    ga = triangle(-matmul(gb, transpose(xp, y)), k=unitriangular * (1 if upper else -1))
    return ga, gb if needs[1] else None


@op(joint=_solve_triangular_rule, cast="same")
def solve_triangular(xp, a, b, *, upper, unitriangular=False):
    """X with A X = B, reading only the upper (lower) triangle of A; its diagonal counts as ones if `unitriangular`.

    (..., n, n), (..., n, k) -> (..., n, k). A zero on the diagonal gives infinities and NaNs.
    """
    return substitute(xp, a, b, upper, unitriangular)


def substitute(xp, a, b, upper, unit):
    """The array code of `solve_triangular`: one half, then the other with the first moved to the right-hand side."""
    n = a.shape[-1]
    if n <= LEAF:
        return _leaf(xp, a, b, upper, unit)
    h = n // 2
    first, last = (slice(h, n), slice(0, h)) if upper else (slice(0, h), slice(h, n))
    x_first = substitute(xp, a[..., first, first], b[..., first, :], upper, unit)
    rest = b[..., last, :] - xp.matmul(a[..., last, first], x_first)
    x_last = substitute(xp, a[..., last, last], rest, upper, unit)
    return xp.concatenate([x_last, x_first] if upper else [x_first, x_last], axis=-2)


def _leaf(xp, a, b, upper, unit):
    n = a.shape[-1]
    triangle = (xp.triu if upper else xp.tril)(a, (1 if upper else -1) * unit)
    if unit:
        triangle = triangle + xp.eye(n, dtype=a.dtype)
    try:
        return solve_batches(xp, triangle, b)
    except (
        ArrayLinAlgError
    ):  # a zero on the diagonal: row by row, so that only what depends on it is infinite
        x = xp.zeros((*_batch(triangle, b), n, b.shape[-1]), dtype=b.dtype)
        for i in reversed(range(n)) if upper else range(n):
            known = slice(i + 1, n) if upper else slice(0, i)
            done = xp.matmul(triangle[..., i : i + 1, known], x[..., known, :])[..., 0, :]
            x[..., i, :] = (b[..., i, :] - done) / triangle[..., i, i, None]
        return x


def _batch(a, b):
    """The batch to which the batches of a and b broadcast."""
    left, right = a.shape[:-2], b.shape[:-2]
    count = max(len(left), len(right))
    left, right = (1,) * (count - len(left)) + left, (1,) * (count - len(right)) + right
    return tuple(m if n == 1 else n for m, n in zip(left, right, strict=True))


def solve_batches(xp, a, b):
    """xp.linalg.solve, with batches broadcast first: CuPy's takes equal ones only."""
    if a.shape[:-2] != b.shape[:-2]:
        batch = _batch(a, b)
        a = xp.broadcast_to(a, (*batch, *a.shape[-2:]))
        b = xp.broadcast_to(b, (*batch, *b.shape[-2:]))
    return xp.linalg.solve(a, b)


# --- LU ---


@conjugate
def _lu_rule(xp, g, lu, permutation):
    """With P A = L U and M = L^-1 d(PA) U^-1: dL = L tril(M, -1), dU = triu(M) U, the rest of a rectangle by substitution."""
    m, n = lu.shape[-2:]
    k, g = min(m, n), g[0]
    square = lu[..., :k, :k]
    low, high = xp.tril(lu[..., :, :k], k=-1), xp.triu(lu[..., :k, :])
    gl, gu = xp.tril(g[..., :, :k], k=-1), xp.triu(g[..., :k, :])
    # tril(L^H gL, -1) with the ones on the diagonal of L, which are in nobody's memory.
    from_l = xp.tril(matmul(adjoint(xp, low[..., :k, :]), gl[..., :k, :]) + gl[..., :k, :], k=-1)
    from_u = xp.triu(matmul(gu[..., :, :k], adjoint(xp, high[..., :, :k])))
    inner = from_l + from_u
    if m > n:
        inner = inner - xp.triu(matmul(adjoint(xp, low[..., k:, :]), gl[..., k:, :]))
    if n > m:
        inner = inner - xp.tril(matmul(gu[..., :, k:], adjoint(xp, high[..., :, k:])), k=-1)
    left = lambda x: solve_triangular(adjoint(xp, square), x, upper=True, unitriangular=True)
    right = lambda x: adjoint(xp, solve_triangular(square, adjoint(xp, x), upper=True))
    ga = right(left(inner))
    if m > n:
        ga = xp.concatenate([ga, right(gl[..., k:, :])], axis=-2)
    if n > m:
        ga = xp.concatenate([ga, left(gu[..., :, k:])], axis=-1)
    return matmul(permutation_matrix(permutation, ga), ga)


def permutation_matrix(permutation, like):
    """P with (P^T A)[i] = A[permutation[i]], a raw array in the dtype of `like`."""
    rows = raw(permutation)
    xp = namespaces[rows.__class__]
    return xp.swapaxes(xp.eye(rows.shape[-1], dtype=raw(like).dtype)[rows], -1, -2)


@op(x=_lu_rule, outputs=("lu", "pivots", "permutation"))
def lu_factor(xp, x, *, pivot=True):
    """L (without its diagonal of ones) and U in one matrix, with the row exchanges that make P^T x = L U.

    (..., m, n) -> (..., m, n); pivots (..., k): in step i row i changed places with row pivots[i], counted from 1, as in
    LAPACK; permutation (..., m): row i of L U is row permutation[i] of x. Where a pivot is 0 the gradient is not finite.
    """
    m, n = x.shape[-2:]
    packed = x.reshape(math.prod(x.shape[:-2]), m, n).copy()
    swaps = _eliminate(xp, packed, pivot)
    count = packed.shape[0]
    pivots = xp.stack(swaps, axis=1) if swaps else xp.zeros((count, 0), dtype="int64")
    rows = order_of(xp, swaps, count, m)
    batch = x.shape[:-2]
    return (
        packed.reshape(x.shape),
        (pivots + 1).astype("int32").reshape(*batch, -1)
        if count
        else xp.zeros((*batch, min(m, n)), dtype="int32"),
        rows.reshape(*batch, m),
    )


def order_of(xp, swaps, count, m):
    """The order of m rows after exchanges: in step i, row i with row swaps[i] (an int array over the batch)."""
    rows = xp.zeros((count, m), dtype="int64") + xp.arange(m)
    for i, other in enumerate(swaps):
        _exchange(xp, rows, i, other)
    return rows


def _exchange(xp, a, i, other):
    """Rows i and other[b] of a[b] change places, in memory."""
    batch = xp.arange(a.shape[0])
    here, there = a[:, i].copy(), a[batch, other]
    a[batch, other] = here
    a[:, i] = there


def _eliminate(xp, a, pivot):
    """Gaussian elimination in the memory of a, (batch, m, n); returns for each step the row that was exchanged with."""
    m, n = a.shape[-2:]
    k = min(m, n)
    if k <= LEAF // 2:
        return _eliminate_columns(xp, a, k, pivot)
    h = k // 2
    left, right = a[:, :, :h], a[:, :, h:]
    swaps = _eliminate(xp, left, pivot)
    _reorder(xp, right, swaps, 0)
    right[:, :h] = substitute(xp, left[:, :h], right[:, :h], upper=False, unit=True)
    right[:, h:] -= xp.matmul(left[:, h:], right[:, :h])
    more = _eliminate(xp, right[:, h:], pivot)
    _reorder(xp, left, more, h)
    return swaps + [other + h for other in more]


def _reorder(xp, a, swaps, start):
    """Apply exchanges of rows, counted from row `start`, in memory."""
    part = a[:, start:]
    rows = order_of(xp, swaps, a.shape[0], part.shape[1])
    part[...] = part[xp.arange(a.shape[0])[:, None], rows]


def _eliminate_columns(xp, a, k, pivot):
    swaps = []
    for j in range(k):
        column = _magnitude(xp, a[:, j:, j])
        other = xp.argmax(column, axis=1) + j if pivot else xp.zeros(a.shape[0], dtype="int64") + j
        _exchange(xp, a, j, other)
        swaps.append(other)
        head = a[:, j, j]
        # A pivot of 0 has only zeros below it: nothing to eliminate.
        a[:, j + 1 :, j] /= xp.where(head == 0, xp.ones_like(head), head)[:, None] if pivot else head[:, None]
        a[:, j + 1 :, j + 1 :] -= a[:, j + 1 :, j, None] * a[:, None, j, j + 1 :]
    return swaps


def _magnitude(xp, x):
    """|x|, for complex numbers |re| + |im|: by what LAPACK picks its pivots."""
    return xp.absolute(x.real) + xp.absolute(x.imag) if x.dtype.kind == "c" else xp.absolute(x)


def zero_pivots(xp, x):
    """For each square matrix the step in which elimination meets a pivot of 0; 0 if there is none."""
    return first_zero(diagonal(xp, lu_factor(x)[0]))


@op()
def first_zero(xp, x):
    """The place, counted from 1, of the first 0 along the last axis; 0 if there is none."""
    if x.shape[-1] == 0:
        return xp.zeros(x.shape[:-1], dtype="int32")
    zero = x == 0
    return xp.where(zero.any(axis=-1), xp.argmax(zero, axis=-1) + 1, 0).astype("int32")


def singular(name, info):
    """The error for a singular matrix of a batch."""
    return LinAlgError(f"{name}: {describe(info, SINGULAR)}", info)


@op()
def pivots_to_permutation(xp, pivots, *, m):
    """The order of m rows that LAPACK's pivots, (..., k) counted from 1, make: as `permutation` of `lu_factor`."""
    batch, k = pivots.shape[:-1], pivots.shape[-1]
    flat = pivots.reshape(math.prod(batch), k).astype("int64") - 1
    rows = order_of(xp, [flat[:, i] for i in range(k)], flat.shape[0], m)
    return rows.reshape(*pivots.shape[:-1], m)


# --- QR ---


@conjugate
def _qr_rule(xp, g, q, r, mode):
    """With C = Q^H dA R^-1 = Q^H dQ + dR R^-1, a skew-Hermitian and an upper triangular matrix."""
    gq, gr = g
    m, n = q.shape[-2], r.shape[-1]
    if mode == "complete" and m > n:
        raise RuntimeError(
            f'linalg.qr: mode="complete" has no gradient for matrices of more rows than columns ({m} x {n}): the last {m - n} columns '
            f'of Q are one basis out of many; use mode="reduced"'
        )
    gq = xp.zeros_like(q) if gq is None else gq
    if m < n:
        # Q and the first m columns of R are the factors of the first m columns; the others of R are Q^H A.
        rest = None if gr is None else gr[..., :, m:]
        if rest is not None:
            gq = gq + matmul(matmul(q, r[..., :, m:]), adjoint(xp, rest))
        square = _qr_inner(xp, gq, None if gr is None else gr[..., :, :m], q, r[..., :, :m])
        rest = matmul(q, rest) if rest is not None else xp.zeros_like(matmul(q, r[..., :, m:]))
        return xp.concatenate([square, rest], axis=-1)
    return _qr_inner(xp, gq, gr, q, r)


def _qr_inner(xp, gq, gr, q, r):
    """(gQ + Q herm(triu(gR R^H - Q^H gQ))) R^-H, for at least as many rows as columns."""
    inner = -matmul(adjoint(xp, q), gq)
    if gr is not None:
        inner = inner + matmul(gr, adjoint(xp, r))
    # The upper triangle and its mirror image; R has a real diagonal.
    lower = xp.tril(adjoint(xp, inner)) - 0.5 * diagonal_matrix(xp, diagonal(xp, inner))
    turned = gq + matmul(q, lower + adjoint(xp, lower))
    return adjoint(xp, solve_triangular(r, adjoint(xp, turned), upper=True))


@op(x=_qr_rule, outputs=("q", "r"))
def qr(xp, x, *, mode="reduced"):
    """Q with orthonormal columns and upper triangular R with Q R = x.

    (..., m, n) -> (..., m, k), (..., k, n) with k = min(m, n), or k = m if mode is "complete". The gradient is that for
    matrices whose first min(m, n) columns are linearly independent, and not finite for others.
    """
    found = xp.linalg.qr(x, mode=mode)
    return found[0], found[1]


@op(outputs=("a", "tau"))
def geqrf(xp, x):
    """LAPACK's form of the QR factorisation: R with the Householder vectors below it, and their factors tau."""
    h, tau = xp.linalg.qr(x, mode="raw")
    return xp.swapaxes(h, -1, -2).astype(x.dtype), tau.astype(x.dtype)
