"""Divisors, multiples and shifts of integers, elementwise. (*), (*) -> (*)."""

from chainrule.autograd.op import op


@op(cast="promote")
def gcd(xp, a, b):
    """Greatest common divisor, not negative; gcd(0, 0) is 0."""
    return xp.gcd(a, b)


@op(cast="promote")
def lcm(xp, a, b):
    """Least common multiple, not negative; 0 where either is 0."""
    return xp.lcm(a, b)


@op(cast="promote")
def left_shift(xp, a, b):
    """Bits of a moved b places up: a * 2^b, the bits that leave being lost."""
    return xp.left_shift(a, b)


@op(cast="promote")
def right_shift(xp, a, b):
    """Bits of a moved b places down: floor(a / 2^b)."""
    return xp.right_shift(a, b)
