"""Adam and AdamW."""

import math

from chainrule.backends import namespaces

from .moments import average, average_of_squares
from .optimizer import Optimizer


class Adam(Optimizer):
    """Steps of a size given by running means of the gradient and of its square.

    With theta the parameter, g its gradient, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, t = 1, 2, ...:

        g     <- g + lambda theta                              (theta <- (1 - eta lambda) theta, if decoupled)
        m     <- beta1 m + (1 - beta1) g
        v     <- beta2 v + (1 - beta2) g^2
        mhat  <- m / (1 - beta1^t),   vhat <- v / (1 - beta2^t)
        theta <- theta - eta mhat / (sqrt(vhat) + eps)

    `amsgrad` puts the largest v so far in v's place. `decoupled_weight_decay` shrinks the parameter itself, so that the
    decay is not divided by sqrt(vhat). `maximize` climbs instead. Defaults: lr 1e-3, betas (0.9, 0.999), eps 1e-8.

    Kingma & Ba 2015, "Adam: a method for stochastic optimization", Algorithm 1; Reddi, Kale & Kumar 2018, "On the
    convergence of Adam and beyond" (AMSGrad); Loshchilov & Hutter 2019 (decoupled decay).
    """

    arrays = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    together = "adam"

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        state = {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = xp.zeros_like(param)
        return state

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        lr, (beta1, beta2) = group["lr"], group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay_of_kind(param, grad, group)
        average(m, g, beta1, work)
        average_of_squares(v, g, beta2, work)
        if group["amsgrad"]:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        # Both corrections are put into the step size, the order recommended at the end of the paper's Section 2.
        root = math.sqrt(1 - beta2**t)
        xp.sqrt(v, out=work)
        work += group["eps"] * root
        xp.divide(m, work, out=work)
        work *= lr * root / (1 - beta1**t)
        param -= work

    def numbers(self, group):
        names = ("lr", "eps", "weight_decay", "decoupled_weight_decay", "maximize", "amsgrad")
        lr, *others = (group[name] for name in names)
        return lr, *group["betas"], *others

    def update_together(self, kernel, params, grads, states, steps, group, **given):
        m, v, largest = ([state[name]._array for state in states if name in state] for name in self.arrays)
        kernel(
            namespaces[params[0].__class__],
            params,
            grads,
            m,
            v,
            steps,
            largest if group["amsgrad"] else None,
            lr=group["lr"],
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            decoupled=group["decoupled_weight_decay"],
            maximize=group["maximize"],
            **given,
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself: theta <- (1 - eta lambda) theta, then Adam's step.

    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", Algorithm 2. Defaults as Adam's, but for
    weight_decay 1e-2.
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        fused=None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for group in self.param_groups:  # what was saved by Adam goes on as AdamW
            group["decoupled_weight_decay"] = True
