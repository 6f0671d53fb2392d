"""The exponential moving average of a model's weights."""

import copy
import math

from chainrule.optim.averages import IterateAverage


class EMA(IterateAverage):
    """a <- decay a + (1 - decay) theta over the parameters of `model`, which often test better than theta itself.

        ema = EMA(model, 0.999)
        for batch in batches:
            ...
            optimizer.step()
            ema.update()
        with ema.applied():
            evaluate(model)

    bias_correction: begin with the first update and divide by 1 - decay^t, as Adam does, instead of beginning with the
    weights there are now. Buffers stay the model's own. It is an `optim.averages.IterateAverage`, `state_dict` included;
    `optim.swa_utils.AveragedModel` keeps a second model instead.

    Polyak & Juditsky 1992, "Acceleration of stochastic approximation by averaging".
    """

    def __init__(self, model, decay=0.999, bias_correction=False):
        if not 0 <= decay <= 1:
            raise ValueError(f"EMA: decay must be in [0, 1], got {decay}")
        super().__init__(model.parameters(), decay)
        if not bias_correction:
            # As if the weights there are had been taken in for ever: then each update has the share 1 - decay.
            self.total = math.inf if decay == 1 else 1 / (1 - decay)

    def attach(self, optimizer):
        """Update after each of the optimizer's steps; returns a handle whose `remove()` ends it."""
        return optimizer.register_step_post_hook(lambda *_: self.update())

    def applied(self, model=None):
        """Within a `with` the parameters of the model, or of another `model` like it, hold their averages."""
        if model is None:
            return super().applied()
        other = copy.copy(self)
        other.params = list(model.parameters())
        return IterateAverage.applied(other)
