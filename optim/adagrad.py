"""AdaGrad."""

from chainrule.backends import namespaces

from .moments import filled
from .optimizer import Optimizer


class Adagrad(Optimizer):
    """Divides the gradient by the root of the sum of all its squares so far.

    With theta the parameter, g its gradient, eta = lr, lambda = weight_decay, t = 1, 2, ...:

        g     <- g + lambda theta
        s     <- s + g^2                                       (s begins as initial_accumulator_value)
        theta <- theta - eta / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Duchi, Hazan & Singer 2011, "Adaptive subgradient methods for online learning and stochastic optimization".
    Defaults: lr 1e-2, lr_decay 0, initial_accumulator_value 0, eps 1e-10.
    """

    arrays = ("sum",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:  # at once and not in the first step, as PyTorch's state dict has it
            for param in group["params"]:
                self._start(param, group)

    def init_state(self, param, group):
        return {"step": 0, "sum": filled(param, group["initial_accumulator_value"])}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        s = state["sum"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay(param, grad, group)
        xp.multiply(g, g, out=work)
        s += work
        xp.sqrt(s, out=work)
        work += group["eps"]
        xp.divide(g, work, out=work)
        work *= group["lr"] / (1 + (t - 1) * group["lr_decay"])
        param -= work
