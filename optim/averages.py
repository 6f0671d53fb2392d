"""Averages of the iterates of an optimizer, which often lie nearer to the minimum than the last of them."""

import contextlib

from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor


class IterateAverage:
    """Keeps a weighted average of parameters over the steps of their training.

    `update(weight)` takes the parameters theta as they are into the average a, whose total weight is W (0 at first):

        W <- decay W + weight
        a <- a + weight / W (theta - a)

    so after T updates a = sum_t decay^(T-t) weight_t theta_t / sum_t decay^(T-t) weight_t. Hence

        decay 1, weight 1                the uniform average
        decay 1, update(weight=eta_t)    the average weighted with the learning rates
        decay below 1                    the exponentially decaying average, with its bias corrected from the first update

    `optim.swa_utils.AveragedModel` is PyTorch's for whole models.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging"; Nemirovski et al. 2009, "Robust stochastic
    approximation approach to stochastic programming", equation 2.18 (weights eta_t).
    """

    def __init__(self, params, decay=1.0):
        if not 0 <= decay <= 1:
            raise ValueError(f"IterateAverage: decay must be in [0, 1], got {decay}")
        self.params = [params] if isinstance(params, Tensor) else list(params)
        if not self.params or not all(isinstance(one, Tensor) for one in self.params):
            raise TypeError(f"IterateAverage: expected a list of Tensors with at least one, got {params!r}")
        self.decay = decay
        self.total = 0.0
        self.averages = [param.detach().clone() for param in self.params]

    @no_grad()
    def update(self, weight=1.0):
        """Take the parameters into the average."""
        if not weight >= 0:
            raise ValueError(f"IterateAverage.update: weight must be at least 0, got {weight}")
        self.total = self.decay * self.total + weight
        if weight:
            for mean, param in zip(self.averages, self.params, strict=True):
                mean.lerp_(param.detach(), weight / self.total)

    @contextlib.contextmanager
    def applied(self):
        """Within a `with` the parameters hold their averages: to evaluate a model with them."""
        with no_grad():
            own = [param.detach().clone() for param in self.params]
            self._write(self.averages)
        try:
            yield
        finally:
            with no_grad():
                self._write(own)

    def _write(self, values):
        for param, value in zip(self.params, values, strict=True):
            param.copy_(value)

    def state_dict(self):
        """The averages, not copied, and their total weight."""
        return {"total": self.total, "averages": self.averages}

    @no_grad()
    def load_state_dict(self, state_dict):
        """Take over a `state_dict()`."""
        if len(state_dict["averages"]) != len(self.averages):
            raise ValueError(
                f"IterateAverage: the state dict has {len(state_dict['averages'])} averages, there are {len(self.averages)} parameters"
            )
        self.total = state_dict["total"]
        for mean, value in zip(self.averages, state_dict["averages"], strict=True):
            mean.copy_(value)
