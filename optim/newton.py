"""Methods that use second derivatives: Newton's, and Newton's with conjugate gradients inside a trust region.

Both need the Hessian, so their closures return the loss and do *not* call backward:

    optimizer.step(lambda: loss_function(model(x), y))
"""

import math

import numpy

from chainrule.autograd.gradients import grad
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor
from chainrule.backends import namespaces

from .loading import as_number
from .whole import WholeOptimizer, dot, joined, largest


class _SecondOrder(WholeOptimizer):
    """The gradient of a closure's loss as a vector, and products of its Hessian with vectors."""

    def evaluate(self, closure):
        """The loss, the gradient vector, and the function v -> H v, by differentiating the gradient again."""
        loss = closure()
        try:
            first = grad(loss, self._params, create_graph=True, materialize_grads=True)
        except RuntimeError as error:
            raise RuntimeError(
                f"{type(self).__name__}: the loss cannot be differentiated; the closure returns the loss of all data, a Tensor of one "
                f"element that depends on the parameters, and does not call backward"
            ) from error
        parts = [one for one in first if one.requires_grad]  # the others are constant

        def product(v):
            if not parts:
                return namespaces[v.__class__].zeros_like(v)
            pieces = [piece for piece, one in zip(self.pieces(v), first, strict=True) if one.requires_grad]
            second = grad(parts, self._params, pieces, retain_graph=True, materialize_grads=True)
            return joined([one._array for one in second])

        return loss.detach(), joined([one._array for one in first]), product

    def pieces(self, v):
        """The vector v as Tensors like the parameters."""
        start, pieces = 0, []
        for param in self._params:
            size = param._array.size
            piece = v[start : start + size].reshape(param._array.shape)
            pieces.append(Tensor._wrap(piece.astype(param._array.dtype)))
            start += size
        return pieces

    def check(self, group):
        super().check(group)
        self.check_real(group)


class Newton(_SecondOrder):
    """Newton's method: goes to where the quadratic model of the loss has its stationary point.

        theta <- theta - eta (H + damping I)^-1 g

    eta = lr is 1. On a quadratic one step is exact; near a minimum the number of right digits doubles with every step.
    Far from one it may go anywhere, to a saddle point or a maximum too: `damping` (Levenberg's) shortens the step and turns
    it towards -g. The Hessian is n x n for n elements in all, made from n products: for small problems.

    Nocedal & Wright 2006, Section 3.3; Levenberg 1944, "A method for the solution of certain non-linear problems in least squares".
    """

    def __init__(self, params, lr=1.0, damping=0.0):
        super().__init__(params, {"lr": lr, "damping": damping})

    def check(self, group):
        super().check(group)
        if not group["damping"] >= 0:
            raise ValueError(f"Newton: damping must be at least 0, got {group['damping']}")

    def step(self, closure):
        """One step; returns the loss before it. closure: returns the loss of all data and does not call backward."""
        group = self.param_groups[0]
        with self._computing():
            loss, g, product = self.evaluate(closure)
            xp = namespaces[g.__class__]
            identity = xp.eye(g.size, dtype=g.dtype)
            rows = [product(identity[i]) for i in range(g.size)]
            hessian = xp.stack(rows) if rows else identity
            d = self._solution(hessian + group["damping"] * identity, g)
            self.move_to(self.position() - as_number(group["lr"]) * d)
        return loss

    @staticmethod
    def _solution(a, b):
        """x with a x = b. NumPy raises where there is none, CuPy gives no numbers."""
        xp = namespaces[a.__class__]
        try:
            x = xp.linalg.solve(a, b)
            if bool(xp.isfinite(x).all()):
                return x
        except numpy.linalg.LinAlgError:
            pass
        raise RuntimeError(
            f"Newton: the Hessian ({b.size} x {b.size}) is singular here, or not finite; pass damping > 0, or use NewtonCG"
        )


class NewtonCG(_SecondOrder):
    """Newton's method within a trust region, from products H v alone: no Hessian is made.

    Each iteration minimises the model g . p + p . H p / 2 over |p| <= radius by conjugate gradients, which stop at the
    edge of the region, along a direction of negative curvature (there they go to the edge: this is how saddle points are
    left), or once the residual is below min(0.5, sqrt|g|) |g|. With rho the loss's decrease over the model's:

        rho < 1/4:                    radius <- radius / 4
        rho > 3/4 and p at the edge:  radius <- min(2 radius, max_radius)
        rho > acceptance:             theta  <- theta + p

    Steihaug 1983, "The conjugate gradient method and trust regions in large scale optimization"; Nocedal & Wright 2006,
    Algorithms 4.1 and 7.2.
    """

    def __init__(self, params, radius=1.0, max_radius=1e3, acceptance=0.1, max_iter=20, tolerance_grad=1e-7):
        defaults = {
            "radius": radius,
            "max_radius": max_radius,
            "acceptance": acceptance,
            "max_iter": max_iter,
            "tolerance_grad": tolerance_grad,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not 0 < group["radius"] <= group["max_radius"]:
            raise ValueError(
                f"NewtonCG: 0 < radius <= max_radius is needed, got {group['radius']} and {group['max_radius']}"
            )
        if not 0 <= group["acceptance"] < 0.25:
            raise ValueError(f"NewtonCG: acceptance must be in [0, 0.25), got {group['acceptance']}")

    def step(self, closure):
        """Up to `max_iter` iterations; returns the loss before them. closure: returns the loss of all data, without backward."""
        group = self.param_groups[0]
        with self._computing():
            state = self.memory
            radius = state.setdefault("radius", float(group["radius"]))
            first_loss, x = None, self.position()
            for _ in range(group["max_iter"]):
                self.move_to(
                    x
                )  # writing to parameters spoils graphs of them, so each iteration makes its own
                loss, g, product = self.evaluate(closure)
                first_loss = loss if first_loss is None else first_loss
                if not largest(g) > group["tolerance_grad"]:
                    break
                p, hp, at_edge = self._model_minimum(g, product, radius)
                expected = -(dot(g, p) + dot(p, hp) / 2)
                self.move_to(x + p)
                with no_grad():
                    rho = (float(loss) - float(closure())) / expected
                if not rho >= 0.25:
                    radius = radius / 4
                elif rho > 0.75 and at_edge:
                    radius = min(2 * radius, group["max_radius"])
                if rho > group["acceptance"]:
                    x = x + p
                elif not largest(x + p - x) > 0:  # the region is smaller than rounding errors
                    break
            self.move_to(x)
            state["radius"] = radius
        return first_loss

    @staticmethod
    def _model_minimum(g, product, radius):
        """(p, H p, whether p is at the edge) for the p of Steihaug's method."""
        p = hp = g * 0
        r, d = g, -g
        norm = math.sqrt(dot(g, g))
        tolerance = min(0.5, math.sqrt(norm)) * norm
        for _ in range(2 * g.size):
            hd = product(d)
            curvature, rr = dot(d, hd), dot(r, r)
            alpha = float(rr / curvature) if curvature > 0 else 0.0
            if not curvature > 0 or dot(p + alpha * d, p + alpha * d) >= radius**2:
                # The root t >= 0 of |p + t d| = radius.
                dd, pd, gap = dot(d, d), dot(p, d), radius**2 - dot(p, p)
                t = float(gap / (pd + numpy.sqrt(pd * pd + dd * gap)))
                return p + t * d, hp + t * hd, True
            p, hp, r = p + alpha * d, hp + alpha * hd, r + alpha * hd
            new = dot(r, r)
            if math.sqrt(new) < tolerance:
                break
            d = float(new / rr) * d - r
        return p, hp, False
