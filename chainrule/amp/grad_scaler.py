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

from . import captured_scale


class GradScaler:
    """Scales losses and unscales gradients for training in float16.

        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)  # only if the gradients are looked at before the step, as clip_grad_norm_ does
        scaler.step(optimizer)      # left out if a gradient is infinite or NaN
        scaler.update()

    device: where the gradients live. init_scale: the first scale. growth_interval: after so many steps without overflow it is
    multiplied by `growth_factor`; after a step with one, by `backoff_factor`. In a captured step (`cr.cuda.make_graphed_step`) all of
    this is done on the device. enabled: False makes `scale` the identity and `step`
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
        self._captured = None  # the scale on the device, once a step was captured
        self._host_tracker = 0
        self._host_scale = _rounded(init_scale)
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._used = False
        self._unscaled = {}  # id of an optimizer -> for each device whether one of its gradients is not finite
        self._stepped = set()  # ids of the optimizers that have made their step

    @property
    def _scale(self):
        self._fetch()
        return self._host_scale

    @_scale.setter
    def _scale(self, value):
        self._fetch()
        self._host_scale = value
        self._set()

    @property
    def _growth_tracker(self):
        self._fetch()
        return self._host_tracker

    @_growth_tracker.setter
    def _growth_tracker(self, value):
        self._fetch()
        self._host_tracker = value
        self._set()

    def _fetch(self):
        if self._captured is not None:
            self._captured.fetch()

    def _set(self):
        if self._captured is not None:
            self._captured.stale = True

    def __getstate__(self):
        self._fetch()
        return self.__dict__ | {"_captured": None, "_unscaled": {}, "_stepped": set()}

    def is_enabled(self):
        """Whether this does anything."""
        return self._enabled

    def scale(self, outputs):
        """A loss, or a list or other iterable of them, times the scale."""
        if not self._enabled:
            return outputs
        self._used = True
        if isinstance(outputs, Tensor):
            captured = captured_scale.current(self)
            if captured is not None:
                return outputs * Tensor._wrap(captured.scale)
            return outputs * outputs.new_full((), self._scale, dtype=dtypes.float32)
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
        captured = captured_scale.current(self)
        by_device = {}
        for group in optimizer.param_groups:
            for grad in (param.grad for param in group["params"] if param.grad is not None):
                if grad.dtype is dtypes.float16:
                    raise ValueError(
                        "GradScaler.unscale_: got a float16 gradient; keep parameters in float32, autocast converts them"
                    )
                by_device.setdefault(grad.device, []).append(grad)
        scale = self._scale if captured is None else captured.scale
        return {device: _unscaled(grads, scale) for device, grads in by_device.items()}

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
        if captured_scale.current(self) is not None:
            optimizer._skip = captured_scale.flag(next(iter(overflow.values())))
            try:
                result = optimizer.step(*args, **kwargs)
            finally:
                optimizer._skip = None
        else:
            found = _any(overflow)
            self._unscaled[id(optimizer)] = {"read": found}  # `update` need not wait for it again
            result = None if found else optimizer.step(*args, **kwargs)
        self._stepped.add(id(optimizer))
        return result

    def update(self, new_scale=None):
        """Adapt the scale after the steps of this iteration, or set it."""
        if not self._enabled:
            return
        self._require_use("update")
        captured = captured_scale.current(self)
        if captured is not None:
            self._update_captured(captured, new_scale)
        elif new_scale is not None:
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
        if captured is not None:
            captured.left[:] = self._unscaled, self._stepped

    def _update_captured(self, captured, new_scale):
        overflow = [
            flag for one in self._unscaled.values() for flag in map(captured_scale.flag, one.values())
        ]
        if new_scale is not None:
            captured.scale[...] = _rounded(new_scale)
        elif not overflow:
            raise RuntimeError("GradScaler.update: no gradient was looked at; call step(optimizer) first")
        else:
            captured.adapt(overflow)

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


def _unscaled(grads, scale):
    """Gradients of one device divided in place by the scale; whether one was not finite, as a Tensor."""
    found = captured_scale.unscale_by_kernel(grads, scale)
    if found is None:
        inverse = _rounded(1 / scale) if isinstance(scale, float) else Tensor._wrap(1 / scale)
        found = ~grads[0].isfinite().all()
        for grad in grads[1:]:
            found = found | ~grad.isfinite().all()
        for grad in grads:
            grad.mul_(inverse)
    return found


def _any(overflow):
    return any(bool(one) for one in overflow.values())
