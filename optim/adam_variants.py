"""Methods near Adam: the maximum norm, Nesterov's momentum, and a warm-up found by itself."""

import math

from chainrule.backends import namespaces

from .moments import average, average_of_squares
from .optimizer import Optimizer


class Adamax(Optimizer):
    """Adam with the largest gradient, slowly forgotten, in place of the root of the mean square.

    With theta, g, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, t = 1, 2, ...:

        g     <- g + lambda theta
        m     <- beta1 m + (1 - beta1) g
        u     <- max(beta2 u, |g| + eps)
        theta <- theta - eta / (1 - beta1^t) m / u

    Kingma & Ba 2015, Algorithm 2. Defaults: lr 2e-3, betas (0.9, 0.999), eps 1e-8.
    """

    arrays = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "exp_avg": xp.zeros_like(param), "exp_inf": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"], state["exp_inf"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay(param, grad, group)
        average(m, g, beta1, work)
        xp.absolute(g, out=work)
        work += group["eps"]
        u *= beta2
        xp.maximum(u, work, out=u)
        xp.divide(m, u, out=work)
        work *= group["lr"] / (1 - beta1**t)
        param -= work


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the step looks ahead by what momentum will do next.

    With theta, g, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, psi = momentum_decay, t = 1, 2, ...:

        mu_t  <- beta1 (1 - 0.96^(t psi) / 2),   and mu_(t+1) likewise
        g     <- g + lambda theta                              (theta <- (1 - eta lambda) theta, if decoupled)
        m     <- beta1 m + (1 - beta1) g
        v     <- beta2 v + (1 - beta2) g^2
        mhat  <- mu_(t+1) m / (1 - mu_1 ... mu_(t+1)) + (1 - mu_t) g / (1 - mu_1 ... mu_t)
        theta <- theta - eta mhat / (sqrt(v / (1 - beta2^t)) + eps)

    Dozat 2016, "Incorporating Nesterov momentum into Adam", Algorithm 2 and the schedule mu of its Section 2.
    Defaults: lr 2e-3, betas (0.9, 0.999), eps 1e-8, momentum_decay 4e-3.
    """

    scalars = ("step", "mu_product")
    arrays = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {
            "step": 0,
            "mu_product": 1,
            "exp_avg": xp.zeros_like(param),
            "exp_avg_sq": xp.zeros_like(param),
        }

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        lr, (beta1, beta2), decay = group["lr"], group["betas"], group["momentum_decay"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        work, ahead = self.scratch(param, "work"), self.scratch(param, "ahead")
        t = state["step"] = state["step"] + 1
        mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (n * decay)) for n in (t, t + 1))
        product = state["mu_product"] = state["mu_product"] * mu
        g = self.with_decay_of_kind(param, grad, group)
        average(m, g, beta1, work)
        average_of_squares(v, g, beta2, work)
        xp.multiply(m, lr * mu_next / (1 - product * mu_next), out=ahead)
        xp.multiply(g, lr * (1 - mu) / (1 - product), out=work)
        ahead += work
        xp.multiply(v, 1 / (1 - beta2**t), out=work)
        xp.sqrt(work, out=work)
        work += group["eps"]
        ahead /= work
        param -= ahead


class RAdam(Optimizer):
    """Adam that waits with dividing by sqrt(v) until v has seen enough, and then corrects for its variance.

    With theta, g, eta = lr, (beta1, beta2) = betas, lambda = weight_decay, t = 1, 2, ...:

        g       <- g + lambda theta                            (theta <- (1 - eta lambda) theta, if decoupled)
        m       <- beta1 m + (1 - beta1) g
        v       <- beta2 v + (1 - beta2) g^2
        mhat    <- m / (1 - beta1^t)
        rho_inf <- 2 / (1 - beta2) - 1,   rho <- rho_inf - 2 t beta2^t / (1 - beta2^t)
        if rho > 5:
            l     <- sqrt(1 - beta2^t) / (sqrt(v) + eps)
            r     <- sqrt((rho - 4)(rho - 2) rho_inf / ((rho_inf - 4)(rho_inf - 2) rho))
            theta <- theta - eta mhat r l
        else:
            theta <- theta - eta mhat

    Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", Algorithm 2 (there with rho > 4).
    Defaults: lr 1e-3, betas (0.9, 0.999), eps 1e-8.
    """

    arrays = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay_of_kind(param, grad, group)
        average(m, g, beta1, work)
        average_of_squares(v, g, beta2, work)
        size = group["lr"] / (1 - beta1**t)
        unbias = 1 - beta2**t
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / unbias
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            xp.sqrt(v, out=work)
            work += group["eps"]
            xp.divide(m, work, out=work)
            work *= size * r * math.sqrt(unbias)
        else:
            xp.multiply(m, size, out=work)
        param -= work
