"""AdaGrad over a window, for a whole vector, or without its decay; RMSprop and Adam in other forms."""

from chainrule.backends import namespaces

from .moments import average, average_of_squares
from .optimizer import Optimizer


class WindowAdagrad(Optimizer):
    """AdaGrad that sums the squares of the last `window` gradients only, so that its steps do not die out.

        theta <- theta - eta g_t / sqrt(K + g_(t-window+1)^2 + ... + g_t^2)

    K = initial_accumulator_value, above 0. Keeps `window` arrays like the parameter.
    """

    arrays = ("squares",)
    elementwise = False

    def __init__(self, params, lr=1e-2, window=10, initial_accumulator_value=1e-10, maximize=False):
        defaults = {
            "lr": lr,
            "window": window,
            "initial_accumulator_value": initial_accumulator_value,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        if not (isinstance(group["window"], int) and group["window"] >= 1):
            raise ValueError(f"WindowAdagrad: window must be a positive integer, got {group['window']!r}")
        self.check_real(group)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "squares": xp.zeros((group["window"], *param.shape), dtype=param.dtype)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        squares, work = state["squares"], self.scratch(param, "work")
        xp.multiply(grad, grad, out=work)
        squares[int(state["step"]) % group["window"]] = work
        state["step"] += 1
        xp.sum(squares, axis=0, out=work)
        work += group["initial_accumulator_value"]
        xp.sqrt(work, out=work)
        xp.divide(grad, work, out=work)
        work *= group["lr"]
        param -= work


class NormAdagrad(Optimizer):
    """AdaGrad with one number for a whole parameter, the sum of its gradients' squared norms.

        u     <- u + g . g
        theta <- theta - eta g / (sqrt(u) + eps)

    The direction is the gradient's. u begins as initial_accumulator_value.

    Ward, Wu & Bottou 2019, "AdaGrad stepsizes: sharp convergence over nonconvex landscapes" (AdaGrad-Norm).
    """

    arrays = ("sum",)
    scalars = ()
    elementwise = False

    def __init__(self, params, lr=1e-2, initial_accumulator_value=0, eps=1e-10, maximize=False):
        defaults = {
            "lr": lr,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group):
        super().check(group)
        self.check_real(group)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"sum": xp.full((), group["initial_accumulator_value"], dtype=param.dtype)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        u, work = state["sum"], self.scratch(param, "work")
        xp.multiply(grad, grad, out=work)
        u += xp.sum(work)
        xp.divide(grad, xp.sqrt(u) + group["eps"], out=work)
        work *= group["lr"]
        param -= work


class MeanAdagrad(Optimizer):
    """AdaGrad's division by the root mean square alone, without its rate that falls as 1/sqrt(t).

        s     <- s + g^2
        theta <- theta - eta g / (sqrt(s / t) + eps)

    With eta / sqrt(t) for eta this is AdaGrad: its sum is t times the mean.
    """

    arrays = ("sum",)

    def __init__(self, params, lr=1e-2, eps=1e-10, maximize=False):
        super().__init__(params, {"lr": lr, "eps": eps, "maximize": maximize})

    def init_state(self, param, group):
        return {"step": 0, "sum": namespaces[param.__class__].zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        s, work = state["sum"], self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        xp.multiply(grad, grad, out=work)
        s += work
        xp.multiply(s, 1 / t, out=work)
        xp.sqrt(work, out=work)
        work += group["eps"]
        xp.divide(grad, work, out=work)
        work *= group["lr"]
        param -= work


class RMSpropFromFirst(Optimizer):
    """RMSprop whose mean begins at the first gradient's square, not at 0: the first step has the size eta.

        sigma^2 <- g^2 in the first step, then  alpha sigma^2 + (1 - alpha) g^2
        theta   <- theta - eta g / (sigma + eps)

    From 0 the first steps are longer, by 1 / sqrt(1 - alpha): Adam's bias.
    """

    scalars = ()
    arrays = ("square_avg",)

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, maximize=False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "maximize": maximize})

    def check(self, group):
        super().check(group)
        if not 0 <= group["alpha"] <= 1:
            raise ValueError(f"RMSpropFromFirst: alpha must be in [0, 1], got {group['alpha']}")

    def init_state(self, param, group):
        return {"square_avg": namespaces[param.__class__].zeros_like(param)}

    def update(self, param, grad, state, group):
        xp = namespaces[param.__class__]
        v, work = state["square_avg"], self.scratch(param, "work")
        average_of_squares(v, grad, 0 if state["first"] else group["alpha"], work)
        xp.sqrt(v, out=work)
        work += group["eps"]
        xp.divide(grad, work, out=work)
        work *= group["lr"]
        param -= work


class _AdamForm(Optimizer):
    """What the forms of Adam share: its two running means. A subclass gives `divide`, which makes the step of them."""

    arrays = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0, maximize=False):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def init_state(self, param, group):
        xp = namespaces[param.__class__]
        return {"step": 0, "exp_avg": xp.zeros_like(param), "exp_avg_sq": xp.zeros_like(param)}

    def update(self, param, grad, state, group):
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        work = self.scratch(param, "work")
        t = state["step"] = state["step"] + 1
        g = self.with_decay(param, grad, group)
        average(m, g, beta1, work)
        average_of_squares(v, g, beta2, work)
        self.divide(m, v, g, t, group, work)
        work *= group["lr"]
        param -= work

    def divide(self, m, v, g, t, group, work):
        """Write the step over eta into `work`."""
        raise NotImplementedError


class BiasedAdam(_AdamForm):
    """Adam without the corrections for means that begin at 0: theta <- theta - eta m / (sqrt(v) + eps).

    Its first step is (1 - beta1) / sqrt(1 - beta2) times Adam's, 3.16 eta by default. Default eps: 1e-7.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0, maximize=False):
        super().__init__(params, lr, betas, eps, weight_decay, maximize)

    def divide(self, m, v, g, t, group, work):
        xp = namespaces[m.__class__]
        xp.sqrt(v, out=work)
        work += group["eps"]
        xp.divide(m, work, out=work)


class AdamEpsInRoot(_AdamForm):
    """Adam with eps inside the root: theta <- theta - eta mhat / sqrt(vhat + eps). For small gradients eps weighs more."""

    def divide(self, m, v, g, t, group, work):
        xp = namespaces[m.__class__]
        beta1, beta2 = group["betas"]
        xp.multiply(v, 1 / (1 - beta2**t), out=work)
        work += group["eps"]
        xp.sqrt(work, out=work)
        xp.divide(m, work, out=work)
        work *= 1 / (1 - beta1**t)


class ConstantNAdam(_AdamForm):
    """NAdam with a constant beta1, without the schedule mu_t of `optim.NAdam`.

        mhat  <- beta1 m / (1 - beta1^(t+1)) + (1 - beta1) g / (1 - beta1^t)
        theta <- theta - eta mhat / (sqrt(v / (1 - beta2^t)) + eps)

    Dozat 2016, "Incorporating Nesterov momentum into Adam", Algorithm 2.
    """

    def divide(self, m, v, g, t, group, work):
        xp = namespaces[m.__class__]
        beta1, beta2 = group["betas"]
        ahead = self.scratch(m, "ahead")
        xp.multiply(m, beta1 / (1 - beta1 ** (t + 1)), out=ahead)
        xp.multiply(g, (1 - beta1) / (1 - beta1**t), out=work)
        ahead += work
        xp.multiply(v, 1 / (1 - beta2**t), out=work)
        xp.sqrt(work, out=work)
        work += group["eps"]
        xp.divide(ahead, work, out=work)
