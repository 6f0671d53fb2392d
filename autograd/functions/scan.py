"""Running extremes and the running log-sum-exp."""

from chainrule.autograd import ops
from chainrule.autograd.ops import scan

from .common import wrap_dim
from .reduction import Extreme, floating
from .sorting import ordered


def _running(input, dim, name, largest):
    x = ordered(input, name)
    axis = wrap_dim(dim, x.ndim, name)
    line = x if x.ndim else x.reshape(1)
    values, places = scan.running_extreme(line, axis=axis, largest=largest)
    return Extreme[name](values.reshape(x.shape), places.reshape(x.shape))


def cummax(input, dim):
    """(values, indices): the largest element so far along `dim`, and where it is.

    The last of equal elements is named and gets the gradient. From a NaN on, every value is NaN.
    """
    return _running(input, dim, "cummax", True)


def cummin(input, dim):
    """(values, indices): the smallest element so far along `dim`, and where it is.

    The last of equal elements is named and gets the gradient. From a NaN on, every value is NaN.
    """
    return _running(input, dim, "cummin", False)


def logcumsumexp(input, dim):
    """log(cumsum(exp(input))) along `dim`, without overflow.

    The imaginary part of a complex result is determined up to multiples of 2 pi. Where all elements so far are -inf, or one is
    inf, there is no derivative; the gradient then goes to the elements equal to the result.
    """
    x = floating(input, None, "logcumsumexp")
    axis = wrap_dim(dim, x.ndim, "logcumsumexp")
    return scan.logcumsumexp(x, axis=axis) if x.ndim else ops.positive(x)
