"""Determinants.

The determinant is a polynomial in the elements: it has derivatives of every order everywhere. Its logarithm has none where the
matrix is singular.
"""

from chainrule.autograd.op import op
from chainrule.backends import namespaces

from .linalg import inv
from .linalg_common import LinAlgError, diagonal, raw, transpose
from .product import matmul
from .shape import pad


@op(x=lambda xp, g, x, y: g[..., None, None] * _cofactors(xp, x, y))
def det(xp, x):
    """The determinant, a polynomial: differentiable to every order also where x is singular. (..., n, n) -> (...)."""
    return xp.linalg.det(x)


def _cofactors(xp, x, y):
    """The matrix of cofactors, d det / dx: det x^-T where x is safely invertible, a formula without inverse elsewhere."""
    n = x.shape[-1]
    if n < 2:
        return xp.ones_like(x)
    try:
        inverse = inv(x)
        if bool(_well_conditioned(x, inverse).all()):
            return y[..., None, None] * transpose(xp, inverse)
    except LinAlgError:
        pass
    if x.ndim == 2:
        return _cofactors_of_singular(xp, x)
    each = xp.reshape(x, (-1, n, n))
    found = [_cofactors(xp, each[i], det(each[i])) for i in range(each.shape[0])]
    return xp.reshape(xp.stack(found, axis=0), x.shape)


def _well_conditioned(x, inverse):
    """Whether |x|_1 |x^-1|_1 is small enough for two thirds of the digits to survive an inversion."""
    x, inverse = abs(raw(x)), abs(raw(inverse))
    condition = x.sum(axis=-2).max(axis=-1) * inverse.sum(axis=-2).max(axis=-1)
    return condition * _small(x.dtype) < 1


def _small(dtype):
    """What counts as small beside 1: the third root of the precision."""
    return 2.0 ** (-23 / 3 if dtype.char in "fF" else -52 / 3)


def _cofactors_of_singular(xp, x):
    """The cofactors of one matrix of any rank, by elimination that stops before it divides by anything small.

    With rows and columns in the order of complete pivoting, x = [[A, B], [C, D]] with A well-conditioned, and
    det x = +-det A det S, S = D - C A^-1 B. det S, of the few rows that are left, is a polynomial without division.
    """
    rows, columns, rank = _pivot_order(raw(x))
    k = x.shape[-1] - rank
    left, right = _order_matrix(raw(x), rows), transpose(xp, _order_matrix(raw(x), columns))
    sign = _parity(rows) * _parity(columns)
    ordered = matmul(matmul(left, x), right)
    w = inv(ordered[:rank, :rank])
    below = matmul(ordered[rank:, :rank], w)
    beside = matmul(w, ordered[:rank, rank:])
    schur = ordered[rank:, rank:] - matmul(below, ordered[:rank, rank:])
    one = xp.eye(k, dtype=x.dtype)
    determinant, adjugate = _faddeev_leverrier(xp, schur, one)
    inner = matmul(
        transpose(xp, xp.concatenate([-below, one], axis=1)),
        matmul(transpose(xp, adjugate), transpose(xp, xp.concatenate([-beside, one], axis=0))),
    )
    inner = inner + determinant * pad(transpose(xp, w), widths=((0, k), (0, k)))
    inner = sign * det(ordered[:rank, :rank]) * inner
    return matmul(transpose(xp, left), matmul(inner, transpose(xp, right)))


def _pivot_order(x):
    """Rows and columns in the order of complete pivoting, and how many pivots are safely not 0 (not all: the last never)."""
    n = x.shape[-1]
    rows, columns = list(range(n)), list(range(n))
    enough = _small(x.dtype) * float(abs(x).max())
    for rank in range(n - 1):
        place = int(abs(x[rank:, rank:]).argmax())
        i, j = rank + place // (n - rank), rank + place % (n - rank)
        if not float(abs(x[i, j])) > enough:
            return rows, columns, rank
        rows[rank], rows[i] = rows[i], rows[rank]
        columns[rank], columns[j] = columns[j], columns[rank]
        x = x[_exchange(n, rank, i)][:, _exchange(n, rank, j)]
        x[rank + 1 :, rank:] -= x[rank + 1 :, rank, None] / x[rank, rank] * x[rank, rank:]
    return rows, columns, n - 1


def _exchange(n, i, j):
    """0 ... n-1 with i and j exchanged."""
    order = list(range(n))
    order[i], order[j] = j, i
    return order


def _order_matrix(like, order):
    """The permutation matrix P with (P x)[i] = x[order[i]]."""
    return namespaces[like.__class__].eye(len(order), dtype=like.dtype)[order]


def _parity(order):
    """1 for an even permutation, -1 for an odd one."""
    seen, sign = set(), 1
    for start in range(len(order)):
        length = 0
        while start not in seen:
            seen.add(start)
            start, length = order[start], length + 1
        sign *= -1 if length and length % 2 == 0 else 1
    return sign


def _faddeev_leverrier(xp, s, one):
    """Determinant and adjugate of one matrix, without division by anything but integers."""
    k, adjugate = s.shape[-1], one
    for i in range(1, k + 1):
        product = matmul(s, adjugate)
        coefficient = xp.sum(diagonal(xp, product)) * (-1 / i)
        if i < k:
            adjugate = product + coefficient * one
    return (-1) ** k * coefficient, (-1) ** (k - 1) * adjugate


def _slogdet_rule(xp, g, x, sign):
    """d log det = tr(x^-1 dx): its real part moves log |det|, its imaginary part the phase."""
    gsign, glog = g
    scale = glog
    if gsign is not None and raw(sign).dtype.kind == "c":
        phase = xp.real(gsign * sign * -1j) * 1j
        scale = phase if scale is None else scale + phase
    if scale is None:
        return xp.zeros_like(x)
    return scale[..., None, None] * transpose(xp, inv(x))


@op(x=_slogdet_rule, outputs=("sign", "logabsdet"))
def slogdet(xp, x):
    """The sign (or complex phase) of the determinant and the logarithm of its size. (..., n, n) -> (...), (...).

    A singular x gives (0, -inf); there is no gradient there, and the backward pass raises LinAlgError.
    """
    found = xp.linalg.slogdet(x)
    return found[0], found[1]
