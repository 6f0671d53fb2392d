"""What methods share that see all parameters as one vector x, and ask a closure for f(x) as often as they need."""

import contextlib

import numpy

from chainrule.autograd.modes import enable_grad
from chainrule.autograd.writes import log
from chainrule.backends import namespaces

from .line_search import Point
from .optimizer import Optimizer


class WholeOptimizer(Optimizer):
    """Base of the methods for a loss that is always of the same data: x is all parameters, end to end.

    There is one parameter group, on one device. A complex parameter is a pair of real ones. What is remembered lies in the state
    of the first parameter, as in PyTorch's LBFGS. Only minimises.
    """

    scalars = ()
    elementwise = False

    def check(self, group):
        super().check(group)
        for key in ("max_iter", "history_size"):
            if key in group and not (isinstance(group[key], int) and group[key] >= 1):
                raise ValueError(
                    f"{type(self).__name__}: {key} must be a positive integer, got {group[key]!r}"
                )

    def add_param_group(self, param_group):
        if self.param_groups:
            raise ValueError(
                f"{type(self).__name__}: all parameters are one vector with one set of options; give one parameter group only"
            )
        super().add_param_group(param_group)

    @property
    def _params(self):
        return self.param_groups[0]["params"]

    @property
    def memory(self):
        """The dict of what is remembered."""
        return self.state[self._params[0]]

    def position(self):
        """x, a copy."""
        return joined([param._array for param in self._params])

    def move_to(self, x):
        """Write the vector x into the parameters."""
        start = 0
        for param in self._params:
            array = param._array
            size = array.size * (2 if array.dtype.kind == "c" else 1)
            part = x[start : start + size]
            if array.dtype.kind == "c":
                part = part.astype(array.real.dtype).view(array.dtype)
            array[...] = part.reshape(array.shape)
            log.wrote(array)
            start += size

    def gradient(self):
        """The vector of all `.grad`, zeros where there is none."""
        return joined(
            [
                namespaces[param._array.__class__].zeros_like(param._array)
                if param._grad is None
                else param._grad._array
                for param in self._params
            ]
        )

    def along(self, closure, x, d):
        """The function t -> Point of f on the line x + t d."""

        def evaluate(t):
            self.move_to(x + t * d)
            f = float(closure())
            g = self.gradient()
            return Point(t, f, g, dot(g, d))

        return evaluate

    @staticmethod
    @contextlib.contextmanager
    def _computing():
        """Gradients for the closure whatever the caller's mode, and infinities without warnings."""
        with enable_grad(), numpy.errstate(all="ignore"):
            yield


def joined(arrays):
    """The elements of all arrays, one after the other; a complex one as pairs."""
    xp = namespaces[arrays[0].__class__]
    flat = []
    for array in arrays:
        one = xp.ascontiguousarray(array).reshape(-1)
        flat.append(one.view(array.real.dtype) if array.dtype.kind == "c" else one)
    return xp.concatenate(flat)


def dot(a, b):
    """The inner product on the host, in float64 so that dividing by it warns of nothing and raises nothing."""
    return numpy.float64(a.dot(b).item())


def largest(a):
    """max |a_i|, on the host; 0 of nothing."""
    return float(namespaces[a.__class__].absolute(a).max()) if a.size else 0.0
