"""Numbers of the gamma distribution of rate 1, in logarithms: those of small shapes lie below the smallest float.

G. Marsaglia and W. W. Tsang, "A simple method for generating gamma variables" (ACM Trans. Math. Softw. 26, 2000): with x normal,
d = a - 1/3 and v = (1 + x / sqrt(9 d))^3, the number d v is accepted in more than 95 of 100 cases. What is rejected is drawn again.
A shape a < 1 is brought above 1 by u^(1/a) times a number of shape a + 1, u being uniform.
"""

import chainrule as cr
from chainrule.autograd.ops.gamma_draw import log_gamma_draw
from chainrule.backends import dtypes, namespaces, placement, random

from .utils import uniform


def log_standard_gamma(concentration):
    """The logarithm of a draw for each shape; differentiable by it (implicit reparametrisation, see `ops/gamma_draw.py`)."""
    with cr.no_grad():
        shape = concentration.double()
        drawn = _log_draw(cr.where(shape < 1, shape + 1, shape))
        u = uniform(shape.shape, like=shape)
        drawn = cr.where(shape < 1, drawn + u.log() / shape, drawn)
    return log_gamma_draw(concentration, drawn.to(concentration.dtype))


@placement.on_their_card
def _log_draw(shape):
    """Marsaglia and Tsang's method for shapes >= 1, float64."""
    array = shape._array
    xp = namespaces[array.__class__]
    d = array.reshape(-1) - 1 / 3
    out, todo = xp.empty_like(d), xp.arange(d.size)
    while todo.size:
        source, size = random.default_generator, (todo.size,)
        x, u = (draw(size, dtypes.float64, xp) for draw in (source.normal, source.uniform))
        some = d[todo]
        v = (1 + x / xp.sqrt(9 * some)) ** 3
        log_v = xp.log(xp.maximum(v, 1e-300))
        accepted = (v > 0) & (xp.log1p(-u) < 0.5 * x * x + some * (1 - v + log_v))
        out[todo[accepted]] = (xp.log(some) + log_v)[accepted]
        todo = todo[~accepted]
    return cr.Tensor._wrap(out.reshape(array.shape))
