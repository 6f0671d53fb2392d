"""RMSprop."""

from chainrule.backends import namespaces

from .moments import average, average_of_squares
from .optimizer import Optimizer


class RMSprop(Optimizer):
    """Divides the gradient by the root of a running mean of its square.

    With theta the parameter, g its gradient, eta = lr, lambda = weight_decay, mu = momentum:

        g     <- g + lambda theta
        v     <- alpha v + (1 - alpha) g^2
        a     <- alpha a + (1 - alpha) g,   s <- v - a^2       (`centered`; otherwise s is v)
        b     <- mu b + g / (sqrt(s) + eps)
        theta <- theta - eta b

    Tieleman & Hinton 2012, "Lecture 6.5 - rmsprop", COURSERA; centered: Graves 2013, "Generating sequences with recurrent
    neural networks". Defaults: lr 1e-2, alpha 0.99, eps 1e-8, momentum 0.
    """

    arrays = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not group["alpha"] >= 0:
            raise ValueError(f"RMSprop: alpha must be at least 0, got {group['alpha']}")

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        state = {"step": 0, "square_avg": xp.zeros_like(param)}
        if group["momentum"]:
            state["momentum_buffer"] = xp.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = xp.zeros_like(param)
        return state

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        lr, alpha = group["lr"], group["alpha"]
        v = state["square_avg"]
        work = self.scratch(param, "work")
        state["step"] += 1
        g = self.with_decay(param, grad, group)
        average_of_squares(v, g, alpha, work)
        if group["centered"]:
            a = state["grad_avg"]
            average(a, g, alpha, work)
            xp.multiply(a, a, out=work)
            xp.subtract(v, work, out=work)
            xp.sqrt(work, out=work)
        else:
            xp.sqrt(v, out=work)
        work += group["eps"]
        xp.divide(g, work, out=work)
        if group["momentum"]:
            b = state["momentum_buffer"]
            b *= group["momentum"]
            b += work
            xp.multiply(b, lr, out=work)
        else:
            work *= lr
        param -= work
