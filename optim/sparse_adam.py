"""Adam that leaves alone what was not used."""

import math

from chainrule.backends import namespaces

from .optimizer import Optimizer


class SparseAdam(Optimizer):
    """Adam on those rows of a parameter that have a gradient; all others, and their running means, stay as they are.

    With theta_r a row of the parameter, g_r its gradient, eta = lr, (beta1, beta2) = betas, t = 1, 2, ... counting all
    steps, for each row with g_r != 0:

        m_r     <- beta1 m_r + (1 - beta1) g_r
        v_r     <- beta2 v_r + (1 - beta2) g_r^2
        theta_r <- theta_r - eta sqrt(1 - beta2^t) / (1 - beta1^t) m_r / (sqrt(v_r) + eps)

    A row is what one index of the first dimension selects: the word of an embedding. Under plain Adam a word that is
    not in the batch goes on moving by its old momentum. In PyTorch the rows are those of a sparse gradient; gradients are
    dense here, and a row of zeros is one that was not used. Real parameters only.

    Kingma & Ba 2015, with the lazy update of PyTorch's class of this name. Defaults: lr 1e-3, betas (0.9, 0.999), eps 1e-8.
    """

    arrays = ("exp_avg", "exp_avg_sq")
    elementwise = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def check(self, group):
        super().check(group)
        for key in ("lr", "eps"):
            if not group[key] > 0:
                raise ValueError(f"SparseAdam: {key} must be above 0, got {group[key]}")
        self.check_real(group)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        used = xp.absolute(grad, out=work)  # then 1 for the rows that were used, 0 for the others
        if param.ndim > 1:
            used = xp.sum(used, axis=tuple(range(1, param.ndim)), keepdims=True)
            used = xp.sign(used)
        else:
            used = xp.sign(used, out=self.scratch(param, "used"))
        xp.subtract(grad, m, out=work)
        work *= 1 - beta1
        work *= used
        m += work
        xp.multiply(grad, grad, out=work)
        work -= v
        work *= 1 - beta2
        work *= used
        v += work
        xp.sqrt(v, out=work)
        work += group["eps"]
        xp.divide(m, work, out=work)
        work *= group["lr"] * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        work *= used
        param -= work
