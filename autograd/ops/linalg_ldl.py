"""L D L^T of symmetric matrices that need not be definite: Bunch and Kaufman 1977, "Some stable methods for calculating inertia and
solving symmetric linear systems".

D has blocks of 1 and 2 on its diagonal; which one comes next, and which row it is taken from, depends on the numbers found so
far. So this goes matrix by matrix and step by step, and on a GPU the host waits at each. Results are packed as LAPACK does.
"""

import math

from chainrule.autograd.op import op

_ALPHA = (1 + math.sqrt(17)) / 8  # bounds the growth of elements by the same factor for either kind of block


@op(outputs=("ld", "pivots", "info"))
def ldl_factor(xp, x, *, hermitian=False):
    """L (below its diagonal of ones) and D in one lower triangle, the exchanges, and the first block of D that is singular, or 0.

    (..., n, n) -> (..., n, n), (..., n), (...). Reads the lower triangle. pivots[k] = p > 0: a block of 1, and rows k and p changed
    places; pivots[k] = pivots[k + 1] = -p < 0: a block of 2, and rows k + 1 and p changed places. Both are counted from 1.
    """
    n, batch = x.shape[-1], x.shape[:-2]
    lower = xp.tril(x, -1)
    mirrored = xp.conj(xp.swapaxes(lower, -1, -2)) if hermitian else xp.swapaxes(lower, -1, -2)
    middle = xp.where(xp.eye(n, dtype="bool"), x.real if hermitian else x, 0)
    work = (lower + middle + mirrored).astype(x.dtype, copy=False).reshape(math.prod(batch), n, n)
    found = [_factor(xp, one, hermitian) for one in work]
    pivots = xp.asarray([one[0] for one in found], dtype="int32").reshape(*batch, n)
    info = xp.asarray([one[1] for one in found], dtype="int32").reshape(batch)
    return xp.tril(work).reshape(x.shape), pivots, info


def _size(xp, x):
    """|x|, for complex numbers |re| + |im|: by what LAPACK picks its pivots."""
    return xp.absolute(x.real) + xp.absolute(x.imag) if x.dtype.kind == "c" else xp.absolute(x)


def _factor(xp, a, hermitian):
    """Factor one full symmetric matrix in its own memory; (pivots, first singular block)."""
    n, k, info, pivots = a.shape[0], 0, 0, []
    while k < n:
        width, row = _choice(xp, a, k)
        if width == 0:  # nothing in this column: a block of 0
            info = info or k + 1
            pivots.append(k + 1)
            k += 1
            continue
        _exchange(a, k, k + width - 1, row)
        block, below = a[k : k + width, k : k + width], a[k + width :, k : k + width]
        factor = below / block if width == 1 else xp.matmul(below, _inverse(xp, block))
        a[k + width :, k + width :] -= xp.matmul(factor, (below.conj() if hermitian else below).T)
        if hermitian:
            rounding = a[k + width :, k + width :].imag
            rounding *= 1 - xp.eye(n - k - width, dtype=rounding.dtype)  # the diagonal is real
        below[...] = factor
        pivots += [row + 1] if width == 1 else [-(row + 1)] * 2
        k += width
    return pivots, info


def _choice(xp, a, k):
    """(size of the next block, the row to bring to its end); size 0 for a column of zeros."""
    sizes = _size(xp, a[k:, k])
    here = float(sizes[0])
    most = float(xp.max(sizes[1:])) if len(sizes) > 1 else 0.0
    if max(here, most) == 0 or math.isnan(here):
        return 0, k
    if here >= _ALPHA * most:
        return 1, k
    row = k + 1 + int(xp.argmax(sizes[1:]))
    others = _size(xp, a[row, k:]) * (xp.arange(k, a.shape[0]) != row)
    widest = float(xp.max(others))
    if here >= _ALPHA * most * (most / widest):
        return 1, k
    return (1 if float(_size(xp, a[row, row])) >= _ALPHA * widest else 2), row


def _exchange(a, k, first, second):
    """Rows and columns `first` and `second` of what is left, from k on, change places."""
    if first != second:
        rows, columns = a[k:], a[:, k:]
        for part in (columns, rows.T):
            part[first], part[second] = part[second].copy(), part[first].copy()


def _inverse(xp, block):
    """The inverse of a matrix of two rows, scaled by its off-diagonal element, which is the largest."""
    scale = xp.absolute(block[1, 0])
    p, q, r, s = (block[i, j] / scale for i in (0, 1) for j in (0, 1))
    return xp.stack([xp.stack([s, -q]), xp.stack([-r, p])]) / ((p * s - q * r) * scale)


@op()
def ldl_solve(xp, ld, b, *, pivots, hermitian=False):
    """X with A X = B for A factored by `ldl_factor`; pivots is its host array. (..., n, n), (..., n, k) -> (..., n, k)."""
    n, width = ld.shape[-1], b.shape[-1]
    batch = b.shape[:-2]
    ld = xp.broadcast_to(ld, (*batch, n, n)).reshape(math.prod(batch), n, n)
    x = b.reshape(math.prod(batch), n, width).copy()
    for one, order, right in zip(ld, pivots.reshape(math.prod(batch), n).tolist(), x, strict=True):
        _solve(xp, one, order, right, hermitian)
    return x.reshape(b.shape)


def _solve(xp, ld, pivots, x, hermitian):
    """One system, in the memory of x: L, then D, then L^T, with the exchanges where they were made."""
    blocks, k = [], 0
    while k < len(pivots):
        width = 1 if pivots[k] > 0 else 2
        blocks.append((k, k + width, abs(pivots[k]) - 1))
        k += width
    for start, stop, row in blocks:
        _swap(x, stop - 1, row)
        x[stop:] -= xp.matmul(ld[stop:, start:stop], x[start:stop])
        block = ld[start:stop, start:stop]
        if stop - start == 1:
            x[start:stop] /= block.real if hermitian else block
            continue
        strict = xp.tril(block, -1)
        full = block + (xp.conj(strict) if hermitian else strict).T
        x[start:stop] = xp.matmul(_inverse(xp, full), x[start:stop])
    for start, stop, row in reversed(blocks):
        below = ld[stop:, start:stop]
        x[start:stop] -= xp.matmul((xp.conj(below) if hermitian else below).T, x[stop:])
        _swap(x, stop - 1, row)


def _swap(x, first, second):
    if first != second:
        x[first], x[second] = x[second].copy(), x[first].copy()
