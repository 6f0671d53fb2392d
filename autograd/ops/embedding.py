"""Rows of a table by number, and their sum back into it."""

from chainrule.autograd.op import op
from chainrule.backends import add_at


@op(
    weight=lambda xp, g, weight_shape, index, factor: embedding_weight(
        g, index=index, rows=weight_shape[0], factor=factor
    ),
    tangent="linear",
)
def embedding(xp, weight, *, index, factor=None):
    """weight[index]. (rows, D), integers (*) -> (*, D).

    factor: what each row's gradient is multiplied with, (*, 1), or None for 1: 0 where the index stands for padding.
    """
    return xp.take(weight, index, axis=0)


def _weight_rule(xp, g, index, factor):
    read = embedding(g, index=index)
    return read if factor is None else read * factor


@op(g=_weight_rule, tangent="linear")
def embedding_weight(xp, g, *, index, rows, factor=None):
    """Zeros (rows, D) with every row of g, (*, D), added to the row its index names: the transpose of `embedding`."""
    out = xp.zeros((rows, g.shape[-1]), dtype=g.dtype)
    add_at(out, (index,), g if factor is None else g * factor)
    return out
