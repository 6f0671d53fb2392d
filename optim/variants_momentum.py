"""Momentum as a running mean, beside the gradient, and with the gradient taken ahead."""

from chainrule.autograd.writes import log
from chainrule.backends import namespaces

from .moments import average
from .optimizer import Optimizer


class AveragedMomentum(Optimizer):
    """Momentum as an exponentially weighted mean of the gradients, which begins at 0.

        v     <- beta v + (1 - beta) g
        theta <- theta - eta v                     (v / (1 - beta^t) for v with `bias_correction`)

    The steps are those of Polyak's form with the rate eta (1 - beta). `SGD(momentum=beta, dampening=beta)` is the same
    but for the first step, in which its buffer is the whole gradient.
    """

    arrays = ("momentum_buffer",)

    def __init__(self, params, lr=1e-3, momentum=0.9, bias_correction=False, maximize=False):
        defaults = {"lr": lr, "momentum": momentum, "bias_correction": bias_correction, "maximize": maximize}
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not group["momentum"] < 1:
            raise ValueError(f"{type(self).__name__}: momentum must be below 1, got {group['momentum']}")

    def init_state(self, param, group):
        return {"step": 0, "momentum_buffer": namespaces[param.__class__].zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        beta, v = group["momentum"], state["momentum_buffer"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        average(v, grad, beta, work)
        xp.multiply(v, group["lr"] / (1 - beta**t if group["bias_correction"] else 1), out=work)
        param -= work


class GradientPlusMemory(Optimizer):
    """A step along the gradient and a second one along its running mean.

        m     <- (1 - l) m + l g
        theta <- theta - eta g - eta' m

    eta = lr, eta' = memory_lr (default: lr), l = forgetting.
    """

    arrays = ("momentum_buffer",)
    scalars = ()

    def __init__(self, params, lr=1e-3, memory_lr=None, forgetting=0.1, maximize=False):
        defaults = {"lr": lr, "memory_lr": memory_lr, "forgetting": forgetting, "maximize": maximize}
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not 0 <= group["forgetting"] <= 1:
            raise ValueError(f"GradientPlusMemory: forgetting must be in [0, 1], got {group['forgetting']}")

    def init_state(self, param, group):
        return {"momentum_buffer": namespaces[param.__class__].zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        m, work = state["momentum_buffer"], self.scratch(param, "work")
        average(m, grad, 1 - group["forgetting"], work)
        xp.multiply(grad, group["lr"], out=work)
        param -= work
        xp.multiply(m, group["lr"] if group["memory_lr"] is None else group["memory_lr"], out=work)
        param -= work


class LookAheadNesterov(Optimizer):
    """Nesterov's momentum as it is derived: the gradient is taken where momentum is about to lead.

        v     <- mu v + eta grad f(theta - mu v)
        theta <- theta - v

    `step(closure)` needs the closure: it is called with the parameters at theta - mu v. `SGD(nesterov=True)` is this
    method in the variable y = theta - mu v, whose gradient is at hand without a closure.

    Nesterov 1983; this form: Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning".
    """

    arrays = ("velocity", "position")
    scalars = ()

    def __init__(self, params, lr=1e-3, momentum=0.9, maximize=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "maximize": maximize})

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"velocity": xp.zeros_like(param), "position": xp.zeros_like(param)}

    def step(self, closure):
        """One step; returns the loss at the place ahead."""
        loss = None

        def ahead():
            nonlocal loss
            moved = [
                (param._array, self.state[param], group["momentum"])
                for group in self.param_groups
                for param in group["params"]
                if self.state.get(param)
            ]
            for array, state, mu in moved:
                state["position"]._array[...] = array
                array -= (mu * state["velocity"]._array).astype(array.dtype)
                log.wrote(array)
            try:
                loss = closure()
            finally:
                for array, state, _ in moved:
                    array[...] = state["position"]._array
                    log.wrote(array)
            return loss

        return super().step(ahead)

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        v, work = state["velocity"], self.scratch(param, "work")
        v *= group["momentum"]
        xp.multiply(grad, group["lr"], out=work)
        v += work
        param -= v
