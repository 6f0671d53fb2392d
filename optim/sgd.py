"""Gradient descent, with momentum."""

from chainrule.backends import namespaces

from .optimizer import Optimizer

_OPTIONS = ("lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize")  # as the kernel reads them


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum in Polyak's or Nesterov's form.

    With theta the parameter, g its gradient, eta = lr, mu = momentum, tau = dampening, lambda = weight_decay:

        g     <- g + lambda theta
        b     <- mu b + (1 - tau) g      (b = g in the first step, also if tau > 0)
        d     <- b, or with nesterov  g + mu b
        theta <- theta - eta d

    Without momentum d is g. Under a constant gradient the steps grow to eta g / (1 - mu).

    Nesterov's method takes the gradient ahead, at y = theta - eta mu b; written for y instead of theta it is the form
    above, so what the parameter holds is y. `maximize` climbs instead. Defaults: lr 1e-3, all else 0.

    Robbins & Monro 1951; Polyak 1964, "Some methods of speeding up the convergence of iteration methods"; Nesterov 1983,
    "A method for solving the convex programming problem with convergence rate O(1/k^2)"; this form: Sutskever et al. 2013.
    """

    scalars = ()
    arrays = ("momentum_buffer",)
    together = "sgd"

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum > 0 and dampening 0, got momentum {group['momentum']}, dampening {group['dampening']}"
            )

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"momentum_buffer": xp.zeros_like(param)} if self.remembers(group) else {}

    def remembers(self, group):
        return bool(group["momentum"])

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        mu = group["momentum"]
        work = self.scratch(param, "work")
        d = self.with_decay(param, grad, group)
        if mu:
            b, tau = state["momentum_buffer"], group["dampening"]
            if state["first"]:
                b[...] = d
            else:
                b *= mu
                b += d if not tau else xp.multiply(d, 1 - tau, out=work)
            if group["nesterov"]:
                xp.multiply(b, mu, out=work)
                d = xp.add(d, work, out=work)
            else:
                d = b
        xp.multiply(d, self.number(group["lr"], "lr"), work)
        xp.subtract(param, work, param)

    def numbers(self, group):
        return tuple(group[name] for name in _OPTIONS)

    def update_together(self, kernel, params, grads, states, steps, group, **given):
        kernel(
            namespaces[params[0].__class__],
            params,
            grads,
            [state["momentum_buffer"]._array for state in states if group["momentum"]],
            steps,
            **{name: group[name] for name in _OPTIONS},
            **given,
        )
