"""How far to go along a direction: a line search for the strong Wolfe conditions.

With phi(t) = f(x + t d), a step t > 0 is accepted if f has come down enough and its slope is flat enough:

    phi(t) <= phi(0) + c1 t phi'(0)   and   |phi'(t)| <= c2 |phi'(0)|

The second makes y . s > 0 for the changes y of the gradient and s of the position, which quasi-Newton methods need. First
steps are made longer until they bracket such a point, then the bracket is narrowed; both by cubic interpolation.

Nocedal & Wright 2006, "Numerical optimization", Algorithms 3.5 and 3.6; the safeguards against slow progress are those of
Schmidt's minFunc, so that the steps are PyTorch's.
"""

from typing import Any, NamedTuple

import numpy


class Point(NamedTuple):
    """phi at t: its value f, the gradient g at x + t d, and the slope g . d, a NumPy float."""

    t: float
    f: float
    g: Any
    slope: float


def cubic_minimum(a, b, low=None, high=None):
    """Where the cubic with the values and slopes of two points has its minimum, put between `low` and `high`.

    By default these are the points themselves. The middle, if there is no such minimum. Equation 3.59 of the book.
    """
    a, b = (a, b) if a.t <= b.t else (b, a)
    low, high = a.t if low is None else low, b.t if high is None else high
    c = a.slope + b.slope - 3 * (a.f - b.f) / (a.t - b.t)
    square = c * c - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    root = numpy.sqrt(square)
    t = b.t - (b.t - a.t) * ((b.slope + root - c) / (b.slope - a.slope + 2 * root))
    return (low + high) / 2 if numpy.isnan(t) else float(min(max(t, low), high))


def strong_wolfe(evaluate, start, t, reach, c1=1e-4, c2=0.9, tolerance=1e-9, most=25):
    """A Point that meets the strong Wolfe conditions, or the lowest found.

    evaluate: t -> Point. start: the Point at 0. t: the first trial. reach: the largest |d|; brackets shorter than
    `tolerance` along it are not narrowed. most: further trials after the first.
    """

    def is_high(new):
        return not new.f <= start.f + c1 * new.t * start.slope  # so that NaN is high

    def is_flat(new):
        return abs(new.slope) <= -c2 * start.slope

    previous, new = start, evaluate(t)
    for trials in range(most):
        if is_high(new) or (trials > 1 and new.f >= previous.f):
            break
        if is_flat(new):
            return new
        if new.slope >= 0:
            break
        further = cubic_minimum(previous, new, new.t + 0.01 * (new.t - previous.t), 10 * new.t)
        previous, new = new, evaluate(further)
    else:
        return new if new.f < start.f else start
    return _narrowed(evaluate, [previous, new], is_high, is_flat, tolerance / reach, most - trials)


def _narrowed(evaluate, bracket, is_high, is_flat, shortest, most):
    """The end of `bracket` that is lower, once it meets the conditions or nothing more is to be gained."""
    low = _lower(bracket)
    was_near_an_end = False
    for _ in range(most):
        left, right = sorted(point.t for point in bracket)
        if right - left < shortest:
            break
        t = cubic_minimum(*bracket)
        margin = 0.1 * (right - left)
        is_near_an_end = min(right - t, t - left) < margin
        if is_near_an_end and (was_near_an_end or not left < t < right):
            t = right - margin if right - t < t - left else left + margin
            is_near_an_end = False
        was_near_an_end = is_near_an_end
        new = evaluate(t)
        if is_high(new) or new.f >= bracket[low].f:
            bracket[1 - low] = new
            low = _lower(bracket)
            continue
        if is_flat(new):
            return new
        if new.slope * (bracket[1 - low].t - bracket[low].t) >= 0:
            bracket[1 - low] = bracket[low]
        bracket[low] = new
    return bracket[low]


def _lower(bracket):
    # A value that is no number is never the lower one.
    return 1 if bracket[1].f < bracket[0].f or numpy.isnan(bracket[0].f) else 0
