"""`GradScaler`: gradients that would be 0 in float16, kept by computing with a larger loss.

The loss is multiplied by a scale before backward and the gradients divided by it before the step. The scale is found by trying: it
grows after a number of good steps, and where a gradient overflows the step is left out and the scale shrinks.
Micikevicius et al. 2018, "Mixed precision training", section 3.2.
"""

import math
import warnings

from chainrule.autograd import Tensor
from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.modes import no_grad
from chainrule.backends import dtypes, get


class GradScaler:
    """Scales losses and unscales gradients for training in float16.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only if the gradients are looked at before the step, as clip_grad_norm_ does
        scaler.step(optimizer)      # left out if a gradient is infinite or NaN
        scaler.update()

    device: where the gradients live. init_scale: the first scale. growth_interval: after so many steps without overflow it is
    multiplied by `growth_factor`; after a step with one, by `backoff_factor`. enabled: False makes `scale` the identity and `step`
    the optimizer's own. Parameters stay float32 (the master weights): gradients that are float16 themselves are refused.
    """

    def __init__(
        self, device="cuda", init_scale=2.0**16, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True
    ):  # fmt: skip
        self._device = device
        self._enabled = bool(enabled)
        if self._enabled and not get(device).available():
            warnings.warn(f"GradScaler: there is no {device} device here; it is disabled", stacklevel=2)
            self._enabled = False
        if not growth_factor > 1:
            raise ValueError(f"GradScaler: growth_factor must be greater than 1, got {growth_factor}")
        if not backoff_factor < 1:
            raise ValueError(f"GradScaler: backoff_factor must be less than 1, got {backoff_factor}")
        self._scale = _rounded(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._used = False
        self._unscaled = {}  # id of an optimizer -> for each device whether one of its gradients is not finite
        self._stepped = set()  # ids of the optimizers that have made their step

    def is_enabled(self):
        """Whether this does anything."""
        return self._enabled

    def scale(self, outputs):
        """A loss, or a list or other iterable of them, times the scale."""
        if not self._enabled:
            return outputs
        self._used = True
        if isinstance(outputs, Tensor):
            return outputs * tensor(self._scale, dtype=dtypes.float32, device=outputs.device)
        if not hasattr(outputs, "__iter__"):
            raise ValueError(f"GradScaler.scale: expected a Tensor or several, got {type(outputs).__name__}")
        scaled = map(self.scale, outputs)
        return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled

    def unscale_(self, optimizer):
        """Divide the gradients of an optimizer's parameters by the scale, in place; once for each step."""
        if not self._enabled:
            return
        self._require_use("unscale_")
        if id(optimizer) in self._stepped:
            raise RuntimeError("GradScaler.unscale_: called after step(); call it before, or update() first")
        if id(optimizer) in self._unscaled:
            raise RuntimeError(
                "GradScaler.unscale_: already called for this optimizer since the last update()"
            )
        self._unscaled[id(optimizer)] = self._unscale(optimizer)

    @no_grad()
    def _unscale(self, optimizer):
        inverse = _rounded(1 / self._scale)
        overflow = {}
        for group in optimizer.param_groups:
            for grad in (param.grad for param in group["params"] if param.grad is not None):
                if grad.dtype is dtypes.float16:
                    raise ValueError(
                        "GradScaler.unscale_: got a float16 gradient; keep parameters in float32, autocast converts them"
                    )
                bad = ~grad.isfinite().all()
                overflow[grad.device] = overflow[grad.device] | bad if grad.device in overflow else bad
                grad.mul_(inverse)
        return overflow

    def step(self, optimizer, *args, **kwargs):
        """`optimizer.step(...)` on unscaled gradients, and what it returns; None, and no step, if one of them is not finite."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError(
                "GradScaler.step: a closure is not supported; compute the loss before the step"
            )
        self._require_use("step")
        if id(optimizer) in self._stepped:
            raise RuntimeError("GradScaler.step: already called for this optimizer since the last update()")
        if id(optimizer) not in self._unscaled:
            self.unscale_(optimizer)
        overflow = self._unscaled[id(optimizer)]
        if not overflow:
            raise RuntimeError(
                "GradScaler.step: no parameter of the optimizer has a gradient; call backward() first"
            )
        result = None if _any(overflow) else optimizer.step(*args, **kwargs)
        self._stepped.add(id(optimizer))
        return result

    def update(self, new_scale=None):
        """Adapt the scale after the steps of this iteration, or set it."""
        if not self._enabled:
            return
        self._require_use("update")
        if new_scale is not None:
            self._scale = _rounded(new_scale)
        elif not any(self._unscaled.values()):
            raise RuntimeError("GradScaler.update: no gradient was looked at; call step(optimizer) first")
        elif any(map(_any, self._unscaled.values())):
            self._scale, self._growth_tracker = _rounded(self._scale * self._backoff_factor), 0
        else:
            self._growth_tracker += 1
            if self._growth_tracker == self._growth_interval:
                grown = _rounded(self._scale * self._growth_factor)
                self._scale, self._growth_tracker = grown if math.isfinite(grown) else self._scale, 0
        self._unscaled, self._stepped = {}, set()

    def _require_use(self, name):
        if not self._used:
            raise RuntimeError(
                f"GradScaler.{name}: the loss was not scaled; call scaler.scale(loss).backward()"
            )

    def get_scale(self):
        """The scale, a Python number; 1 if disabled."""
        return self._scale if self._enabled else 1.0

    def get_growth_factor(self):
        """What the scale is multiplied by after `growth_interval` good steps."""
        return self._growth_factor

    def set_growth_factor(self, new_factor):
        """Set `growth_factor`."""
        self._growth_factor = new_factor

    def get_backoff_factor(self):
        """What the scale is multiplied by after a step with an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor):
        """Set `backoff_factor`."""
        self._backoff_factor = new_factor

    def get_growth_interval(self):
        """After how many good steps the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval):
        """Set `growth_interval`."""
        self._growth_interval = new_interval

    def state_dict(self):
        """The scale and how it moves, to be saved between iterations; empty if disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._scale,
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker,
        }

    def load_state_dict(self, state_dict):
        """Go on from what `state_dict()` gave."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "GradScaler.load_state_dict: the state is empty; was it saved by a disabled GradScaler?"
            )
        self._scale = _rounded(state_dict["scale"])
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]


def _rounded(number):
    """A number as float32 has it, so that the scale is the same on every device."""
    return tensor(float(number), dtype=dtypes.float64, device="cpu").float().item()


def _any(overflow):
    return any(bool(one) for one in overflow.values())
