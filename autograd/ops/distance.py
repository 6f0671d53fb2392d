"""Sums of absolute differences between all pairs of points, without keeping the differences.

    y[i, j] = sum over m of |a[i, m] - b[j, m]|

has for derivatives sums of the signs of the differences, which are linear in their weights: `sign_sums` over the points,
`sign_products` over the coordinates, each the transpose of the other. All three work in pieces that stay in the CPU's cache: P R M
differences are never in memory at a time. Points are (N, P, M) and (N, R, M).
"""

from chainrule.autograd.op import op

from .blocks import in_float32
from .windows import pieces, scratch_bytes


def _differences(xp, a, b):
    """For pieces of the first points: where they are, (samples, rows), and how far apart from all of the second, (n, p, R, M)."""
    row_bytes = 2 * b.shape[1] * b.shape[2] * a.dtype.itemsize
    for samples, rows in pieces(a.shape[0], a.shape[1], row_bytes, scratch_bytes(a) // 4):
        yield (samples, rows), a[samples, rows, None] - b[samples, None]


def _signs(apart):
    """-1, 0 or 1; from two comparisons, for NumPy's `sign` branches on every element."""
    return ((apart > 0).view("int8") - (apart < 0).view("int8")).astype(apart.dtype)


def _tangent(xp, t, a, b):
    parts = [] if t[0] is None else [sign_products(t[0], a, b)]
    if t[1] is not None:
        parts.append(xp.swapaxes(sign_products(t[1], b, a), axis1=1, axis2=2))
    return sum(parts[1:], parts[0])


@op(
    a=lambda xp, g, a, b: sign_sums(g, a, b),
    b=lambda xp, g, a, b: sign_sums(xp.swapaxes(g, axis1=1, axis2=2), b, a),
    cast="promote",
    tangent=_tangent,
)
@in_float32
def absolute_distances(xp, a, b):
    """Sum over m of |a[i, m] - b[j, m]|. (N, P, M), (N, R, M) -> (N, P, R). The slope where two coordinates agree is 0."""
    y, ones = xp.empty((*a.shape[:2], b.shape[1]), dtype=a.dtype), xp.ones((a.shape[2],), dtype=a.dtype)
    for place, apart in _differences(xp, a, b):
        y[place] = xp.matmul(xp.absolute(apart, out=apart), ones)
    return y


@op(weights=lambda xp, g, a, b: sign_products(g, a, b))
@in_float32
def sign_sums(xp, weights, a, b):
    """Sum over j of weights[i, j] sign(a[i, m] - b[j, m]). (N, P, R), (N, P, M), (N, R, M) -> (N, P, M)."""
    y = xp.empty(a.shape, dtype=weights.dtype)
    for place, apart in _differences(xp, a, b):
        y[place] = xp.matmul(weights[place][:, :, None], _signs(apart))[:, :, 0]
    return y


@op(weights=lambda xp, g, a, b: sign_sums(g, a, b))
@in_float32
def sign_products(xp, weights, a, b):
    """Sum over m of weights[i, m] sign(a[i, m] - b[j, m]). (N, P, M), (N, P, M), (N, R, M) -> (N, P, R)."""
    y = xp.empty((*a.shape[:2], b.shape[1]), dtype=weights.dtype)
    for place, apart in _differences(xp, a, b):
        y[place] = xp.matmul(_signs(apart), weights[place][..., None])[..., 0]
    return y
