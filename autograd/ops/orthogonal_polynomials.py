"""The classical orthogonal polynomials and their derivatives, by the recurrence in the degree (DLMF 18.9, table 18.9.1).

Every family obeys d_k p_{k+1}(x) = (a_k x + b_k) p_k(x) - c_k p_{k-1}(x) with p_{-1} = 0 and p_0 = 1. Differentiated m times,

    d_k p_{k+1}^(m) = (a_k x + b_k) p_k^(m) + m a_k p_k^(m-1) - c_k p_{k-1}^(m)

so that one loop gives a polynomial and its derivatives of every order.
"""

from chainrule.autograd.op import op
from chainrule.backends import namespaces

from .blocks import in_float32

# k -> (a, b, c, d).
_RECURRENCES = {
    "chebyshev_t": lambda k: (2 if k else 1, 0, 1, 1),
    "chebyshev_u": lambda k: (2, 0, 1, 1),
    "chebyshev_v": lambda k: (2, 0 if k else -1, 1, 1),
    "chebyshev_w": lambda k: (2, 0 if k else 1, 1, 1),
    "hermite_h": lambda k: (2, 0, 2 * k, 1),
    "hermite_he": lambda k: (1, 0, k, 1),
    "laguerre_l": lambda k: (-1, 2 * k + 1, k, k + 1),
    "legendre_p": lambda k: (2 * k + 1, 0, k, k + 1),
}


@op(
    x=lambda xp, g, x, n, family, order: g * orthogonal_polynomial(x, n, family=family, order=order + 1),
    cast="float",
    tangent="elementwise",
)
@in_float32
def orthogonal_polynomial(xp, x, n, *, family, order=0):
    """The derivative number `order` of the polynomial of degree n at x; 0 for n < 0. x and n broadcast.

    n: whole numbers, an array of them (for which the host waits, to know the largest) or a Python number.
    """
    several = n.__class__ in namespaces
    degree = xp.trunc(n) if several else int(n)
    highest = degree if not several else int(degree.max()) if n.size else -1
    zero = xp.zeros_like(x)
    before, now = [zero] * (order + 1), [xp.ones_like(x)] + [zero] * order  # at [m] the m-th derivative
    y = xp.where(degree == 0, now[order], zero) if several else zero
    for k in range(highest):
        a, b, c, d = _RECURRENCES[family](k)
        line = a * x + b
        after = [
            (line * now[m] + (m * a * now[m - 1] if m else 0) - c * before[m]) / d for m in range(order + 1)
        ]
        before, now = now, after
        if several:
            y = xp.where(degree == k + 1, now[order], y)
    return y if several or degree < 0 else now[order]
