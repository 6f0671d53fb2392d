"""What is added to any optimizer's steps: decay, an absolute penalty, noise, a projection.

Each is made over an optimizer, and works from then on by its hooks until `remove()`:

    optimizer = optim.SGD(model.parameters(), lr=0.1)
    optim.additions.L1Penalty(optimizer, 1e-4)
    optim.additions.Projection(optimizer, optim.additions.norm_ball(3.0))

`params` restricts one to some parameters: weights without biases, say.
"""

from chainrule.autograd.functions import draws
from chainrule.autograd.functions.arithmetic import clamp
from chainrule.autograd.modes import no_grad

from .optimizer import Optimizer


class _Addition:
    """Hooks around the steps of `optimizer`. A subclass gives `change(param, lr)`, and before or after they act."""

    def __init__(self, optimizer, params=None):
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: expected an Optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._only = None if params is None else {id(param) for param in params}
        known = {id(param) for group in optimizer.param_groups for param in group["params"]}
        if self._only is not None and not self._only <= known:
            raise ValueError(f"{name}: {len(self._only - known)} of params are not among the optimizer's")
        self._handle = self._register()

    def _register(self):
        return self.optimizer.register_step_post_hook(lambda *call: self._change_all())

    def remove(self):
        """Take it off the optimizer."""
        self._handle.remove()

    def _change_all(self):
        with no_grad():
            for group in self.optimizer.param_groups:
                for param in group["params"]:
                    if param.grad is not None and (self._only is None or id(param) in self._only):
                        self.change(param, float(group.get("lr", 1)))

    def change(self, param, lr):
        """Change a parameter, or its gradient, in place."""
        raise NotImplementedError


class _GradientAddition(_Addition):
    """One that changes gradients: before the step, or if there is a closure after each call of it."""

    def _register(self):
        return self.optimizer.register_step_pre_hook(self._before)

    def _before(self, optimizer, args, kwargs):
        closure = args[0] if args else kwargs.get("closure")
        if closure is None:
            self._change_all()
            return None

        def changed():
            loss = closure()
            self._change_all()
            return loss

        return (changed,), {}


class L1Penalty(_GradientAddition):
    """g <- g + strength sgn(theta), a subgradient of strength |theta|_1. Small weights oscillate about 0.

    Tibshirani 1996, "Regression shrinkage and selection via the lasso".
    """

    def __init__(self, optimizer, strength, params=None):
        self.strength = _at_least_0("L1Penalty", "strength", strength)
        super().__init__(optimizer, params)

    def change(self, param, lr):
        param.grad.add_(param.sgn() if param.is_complex() else param.sign(), alpha=self.strength)


class SoftThreshold(_Addition):
    """theta <- sgn(theta) max(|theta| - lr strength, 0) after each step: the L1 penalty that makes weights exactly 0.

    Daubechies, Defrise & De Mol 2004, "An iterative thresholding algorithm for linear inverse problems" (ISTA).
    """

    def __init__(self, optimizer, strength, params=None):
        self.strength = _at_least_0("SoftThreshold", "strength", strength)
        super().__init__(optimizer, params)

    def change(self, param, lr):
        param.copy_(param.sign() * clamp(param.abs() - lr * self.strength, min=0))


class ShrinkWeights(_Addition):
    """theta <- (1 - decay) theta before each step: weight decay that no learning rate multiplies.

    Hanson & Pratt 1988, "Comparing biases for minimal network construction with back-propagation".
    """

    def __init__(self, optimizer, decay, params=None):
        self.decay = _at_least_0("ShrinkWeights", "decay", decay)
        super().__init__(optimizer, params)

    def _register(self):
        return self.optimizer.register_step_pre_hook(lambda *call: self._change_all())

    def change(self, param, lr):
        param.mul_(1 - self.decay)


class GradientNoise(_GradientAddition):
    """Gaussian noise on the gradient, of the variance eta / (1 + t)^gamma in the step t = 0, 1, ...

    generator: a `Generator` of the parameters' device; None is the global one.

    Neelakantan et al. 2015, "Adding gradient noise improves learning for very deep networks". They use eta 0.01, 0.3 or 1
    and gamma 0.55.
    """

    def __init__(self, optimizer, eta=0.01, gamma=0.55, generator=None, params=None):
        self.eta = _at_least_0("GradientNoise", "eta", eta)
        self.gamma = _at_least_0("GradientNoise", "gamma", gamma)
        self.generator = generator
        self.t = 0
        super().__init__(optimizer, params)

    @property
    def variance(self):
        """The variance in the coming step."""
        return self.eta / (1 + self.t) ** self.gamma

    def _change_all(self):
        super()._change_all()
        self.t += 1

    def change(self, param, lr):
        noise = draws.randn(
            *param.shape, generator=self.generator, dtype=param.grad.dtype, device=param.device
        )
        param.grad.add_(noise, alpha=self.variance**0.5)


class Projection(_Addition):
    """theta <- project(theta) after each step, `project` giving the nearest point of the allowed set: `norm_ball`, `box`.

    Goldstein 1964, "Convex programming in Hilbert space"; Zinkevich 2003, "Online convex programming and generalized
    infinitesimal gradient ascent".
    """

    def __init__(self, optimizer, project, params=None):
        if not callable(project):
            raise TypeError(f"Projection: project must be a function, got {type(project).__name__}")
        self.project = project
        super().__init__(optimizer, params)

    def change(self, param, lr):
        param.copy_(self.project(param))


def norm_ball(radius):
    """The projection onto |theta|_2 <= radius, of one parameter as a whole: theta min(1, radius / |theta|)."""
    _at_least_0("norm_ball", "radius", radius)

    def project(theta):
        norm = (theta.abs() ** 2).sum().sqrt()
        return theta * clamp(radius / clamp(norm, min=1e-30), max=1.0)

    return project


def box(low=None, high=None):
    """The projection onto low <= theta_i <= high; None is no bound."""
    if low is None and high is None:
        raise ValueError("box: give low, high or both")
    if low is not None and high is not None and low > high:
        raise ValueError(f"box: low must be at most high, got {low} and {high}")
    return lambda theta: clamp(theta, low, high)


def _at_least_0(name, what, value):
    if not value >= 0:
        raise ValueError(f"{name}: {what} must be at least 0, got {value}")
    return value
