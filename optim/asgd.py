"""Averaged stochastic gradient descent."""

from chainrule.backends import namespaces

from .optimizer import Optimizer


class ASGD(Optimizer):
    """Gradient descent with a falling step size that also keeps the average of the parameters it went through.

    With theta the parameter, g its gradient, eta = lr at first, mu = 1 at first, t = 1, 2, ...:

        g     <- g + weight_decay theta
        theta <- (1 - lambd eta) theta - eta g
        ax    <- ax + mu (theta - ax)
        eta   <- lr / (1 + lambd lr t)^alpha,   mu <- 1 / max(1, t - t0)

    `state[param]["ax"]` is the average of the parameter from step t0 + 2 on; until then it is the parameter.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging". Defaults: lr 1e-2, lambd 1e-4,
    alpha 0.75, t0 1e6.
    """

    scalars = ("step", "eta", "mu")
    arrays = ("ax",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd=1e-4,
        alpha=0.75,
        t0=1e6,
        weight_decay=0,
        foreach=None,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "eta": group["lr"], "mu": 1, "ax": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        lr, lambd, eta, ax = group["lr"], group["lambd"], state["eta"], state["ax"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay(param, grad, group)
        param *= 1 - lambd * eta
        xp.multiply(g, eta, out=work)
        param -= work
        if state["mu"] == 1:
            ax[...] = param
        else:
            xp.subtract(param, ax, out=work)
            work *= state["mu"]
            ax += work
        state["eta"] = lr / (1 + lambd * lr * t) ** group["alpha"]
        state["mu"] = 1 / max(1, t - group["t0"])
