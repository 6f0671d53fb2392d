"""Descent by line searches along directions better than the gradient: conjugate gradients, and BFGS."""

import numpy

from chainrule.autograd.tensor import Tensor
from chainrule.backends import namespaces

from .line_search import Point, strong_wolfe
from .whole import WholeOptimizer, dot, largest


class _LineSearchMethod(WholeOptimizer):
    """x <- x + t d, t by a search for the strong Wolfe conditions. A subclass gives the directions."""

    curvature = 0.9  # c2 of the conditions

    def __init__(self, params, max_iter=20, tolerance_grad=1e-7, tolerance_change=1e-9):
        defaults = {
            "max_iter": max_iter,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
        }
        super().__init__(params, defaults)

    def direction(self, state, g):
        """The direction from what `learn` has put into `state`; -g is taken if it does not descend."""
        raise NotImplementedError

    def learn(self, state, s, before, after):
        """Remember the step s, after which the gradient is `after.g` where it was `before.g`."""
        raise NotImplementedError

    def first_trial(self, state, along, start, d):
        """The step the search begins with."""
        return 1.0 if state else min(1.0, 1.0 / float(abs(start.g).sum()))

    def step(self, closure):
        """Up to `max_iter` iterations; returns the loss before them.

        closure: zeroes the gradients, computes the loss of all data, calls backward, and returns the loss. Ends early once
        the largest |g_i| is at most `tolerance_grad`, or x changes by at most `tolerance_change`.
        """
        group = self.param_groups[0]
        with self._computing():
            first_loss = closure()
            f, g, x = float(first_loss), self.gradient(), self.position()
            for _ in range(group["max_iter"]):
                if not largest(g) > group["tolerance_grad"]:
                    break
                state = self.memory
                d = self.direction(state, g)
                slope = dot(g, d)
                if not slope < 0:
                    state.clear()
                    d, slope = -g, -dot(g, g)
                start, along = Point(0.0, f, g, slope), self.along(closure, x, d)
                t = self.first_trial(state, along, start, d)
                end = strong_wolfe(along, start, t, largest(d), c2=self.curvature)
                s = end.t * d
                x = x + s
                if end.t:
                    self.learn(state, s, start, end)
                else:  # nothing lower was found along d
                    state.clear()
                f, g = end.f, end.g
                if largest(s) <= group["tolerance_change"]:
                    break
            self.move_to(x)
        return first_loss


class ConjugateGradient(_LineSearchMethod):
    """Nonlinear conjugate gradients: no learning rate, and of the past only the last gradient and direction.

    With g the gradient at x and g' the one before:

        beta <- max(0, g . (g - g') / (g' . g'))      (0 in the first step)
        d    <- -g + beta d
        x    <- x + t d,  t by a line search (c2 = 0.1)

    The search begins at the minimum of the parabola whose slope is that of f at 0 and at the step tried before. On a
    quadratic in n unknowns this is the exact minimum along d, so the method ends in n iterations, as the linear one does.

    Polak & Ribiere 1969, with beta >= 0 as in Nocedal & Wright 2006, Section 5.2; Hestenes & Stiefel 1952 for the linear
    method. A loss that changes from call to call, as with mini-batches, misleads it.
    """

    curvature = 0.1

    def direction(self, state, g):
        if not state:
            return -g
        old, d = state["prev_grad"]._array, state["direction"]._array
        beta = max(0.0, float(dot(g, g - old) / dot(old, old)))
        return beta * d - g

    def first_trial(self, state, along, start, d):
        # Guess that f goes down as far as in the last step; then go where the slope, were it a straight line, is 0.
        guess = state["slope"] * state["t"] / start.slope if state else min(1.0, 1.0 / largest(d))
        trial = along(float(guess))
        t = guess * start.slope / (start.slope - trial.slope)
        return float(t) if trial.slope > start.slope and numpy.isfinite(t) else float(guess)

    def learn(self, state, s, before, after):
        state |= {
            "prev_grad": Tensor._wrap(before.g),
            "direction": Tensor._wrap(s / after.t),
            "slope": float(before.slope),
            "t": after.t,
        }


class BFGS(_LineSearchMethod):
    """Quasi-Newton descent: learns the n x n inverse Hessian H from how the gradient changes.

    With s and y the changes of x and of the gradient g in a step, rho = 1 / (y . s):

        d <- -H g
        x <- x + t d,  t by a line search that begins at 1
        H <- (I - rho s y^T) H (I - rho y s^T) + rho s s^T

    an update of rank 2 that keeps H symmetric, positive definite (as y . s > 0), and right about y: H y = s. H begins as
    (y . s) / (y . y) I after the first step. Memory and work are n^2; `LBFGS` does without H.

    Broyden, Fletcher, Goldfarb and Shanno 1970; Nocedal & Wright 2006, Algorithm 6.1.
    """

    def direction(self, state, g):
        return -(state["inverse_hessian"]._array @ g) if state else -g

    def learn(self, state, s, before, after):
        y = after.g - before.g
        product = dot(y, s)
        if not product > 0:
            return
        xp = namespaces[s.__class__]
        if state:
            h = state["inverse_hessian"]._array
        else:
            h = xp.eye(s.size, dtype=s.dtype) * float(product / dot(y, y))
        hy = h @ y
        # The product of three, multiplied out.
        mixed = xp.outer(hy, s)
        h = h - (mixed + mixed.T) / float(product)
        h = h + xp.outer(s, s) * float((product + dot(y, hy)) / product**2)
        state["inverse_hessian"] = Tensor._wrap(h)
