"""Reducing values by group: products and extremes of the values that an index sends to the same place.

The values of a group are combined as the leaves of a balanced binary tree, one level of all trees at a time: every level is
one gather of the left and one of the right partners and one operation on whole arrays. Thus products are made of products and
differentiated as such, to any order, with zeros among the factors too, where dividing the result by a factor would fail; and
rounding errors grow with the logarithm of the group's size.
"""

from functools import cached_property

from chainrule.autograd.op import op

from .indexing import scatter_into, take
from .shape import astype


class Groups:
    """Which of a vector of values belong together, found once for an operation and its derivatives.

    owner: the place each value goes to. with_self: the value at every such place takes part as well, behind all others.
    `present` are the places that get something, ascending; `group` is, for each value, the position of its place in there.
    """

    def __init__(self, xp, owner, with_self):
        self.xp = xp
        self.present, group = xp.unique(owner, return_inverse=True)
        self.group = group.reshape(-1)
        if with_self:
            self.group = xp.concatenate([self.group, xp.arange(self.present.size)])

    @cached_property
    def order(self):
        """The values sorted by group."""
        return self.xp.argsort(self.group, kind="stable")

    @cached_property
    def levels(self):
        """For each level of the trees, left partners and right ones; where there is none, the number of values."""
        xp, group, levels = self.xp, self.group[self.order], []
        while group.size > self.present.size:
            first = xp.searchsorted(group, group)
            left = xp.nonzero((xp.arange(group.size) - first) % 2 == 0)[0]
            follower = xp.minimum(left + 1, group.size - 1)
            paired = (follower > left) & (group[follower] == group[left])
            levels.append((left, xp.where(paired, follower, group.size)))
            group = group[left]
        return levels


def group_product(xp, values, groups):
    """The product of each group's values; `xp` is the array namespace or, to be differentiated, the operations."""
    values = take(values, index=(groups.order,))
    for left, right in groups.levels:
        one = xp.ones_like(values[:1])
        values = take(values, index=(left,)) * take(xp.concatenate([values, one]), index=(right,))
    return values


def _extreme_rule(xp, g, x, y, x_dtype, groups):
    """The gradient of each group's extreme, in equal shares to the values that attain it."""
    best = xp.equal(x, take(y, index=(groups.group,)))
    ties = scatter_into(astype(best, dtype=x_dtype), index=(groups.group,), shape=tuple(g.shape))
    share = take(g / xp.maximum(ties, 1), index=(groups.group,))
    return share * astype(best, dtype=x_dtype)


@op(x=_extreme_rule)
def group_extreme(xp, x, *, groups, largest):
    """The largest (or smallest) of each group's values; NaN if one of them is. Ties share the gradient equally."""
    combine = xp.maximum if largest else xp.minimum
    x = x[groups.order]
    for left, right in groups.levels:
        x = combine(x[left], x[xp.where(right < x.size, right, left)])
    return x
