"""Adadelta."""

from chainrule.backends import namespaces

from .moments import average_of_squares
from .optimizer import Optimizer


class Adadelta(Optimizer):
    """Scales the gradient to the size of the steps made so far, so that the step has the parameter's units.

    With theta the parameter, g its gradient, eta = lr, lambda = weight_decay:

        g     <- g + lambda theta
        v     <- rho v + (1 - rho) g^2
        d     <- sqrt(u + eps) / sqrt(v + eps) g
        u     <- rho u + (1 - rho) d^2
        theta <- theta - eta d

    Zeiler 2012, "ADADELTA: an adaptive learning rate method", Algorithm 1. Defaults: lr 1, rho 0.9, eps 1e-6.
    """

    arrays = ("square_avg", "acc_delta")

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not 0 <= group["rho"] <= 1:
            raise ValueError(f"Adadelta: rho must be in [0, 1], got {group['rho']}")

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "square_avg": xp.zeros_like(param), "acc_delta": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        v, u = state["square_avg"], state["acc_delta"]
        d, work = self.scratch(param, "d"), self.scratch(param, "work")
        state["step"] += 1
        g = self.with_decay(param, grad, group)
        average_of_squares(v, g, group["rho"], work)
        xp.add(u, group["eps"], out=d)
        xp.add(v, group["eps"], out=work)
        d /= work
        xp.sqrt(d, out=d)
        d *= g
        average_of_squares(u, d, group["rho"], work)
        d *= group["lr"]
        param -= d
