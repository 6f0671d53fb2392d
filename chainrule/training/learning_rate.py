"""The learning rate range test: Smith 2017, "Cyclical learning rates for training neural networks"."""

import contextlib
import copy
import math

import numpy

from chainrule.autograd.modes import no_grad

from .batches import learn, split
from .plots import chart, finished, lines_of
from .resuming import random_state, set_random_state


class Sweep:
    """What `find_lr` measured: `rates`, the `losses` there, and the same `smoothed`; `suggestion`, a rate."""

    def __init__(self, rates, losses, smoothed):
        self.rates, self.losses, self.smoothed = rates, losses, smoothed
        self.suggestion = _suggested(rates, smoothed)

    def __repr__(self):
        return (
            f"Sweep({len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}, "
            f"suggestion={self.suggestion:.3g})"
        )

    def plot(self, path=None):
        """The loss over the rate, and the suggestion; returns the Matplotlib figure, or text where there is no Matplotlib."""
        figure = chart(1)
        if figure is None:
            return finished(f"{self!r}\n{lines_of({'loss': self.smoothed})}", path)
        (axes,) = figure.axes
        axes.plot(self.rates, self.losses, color="0.75", label="loss of one batch")
        axes.plot(self.rates, self.smoothed, color="tab:blue", label="smoothed")
        axes.axvline(
            self.suggestion, color="tab:orange", linestyle="--", label=f"suggestion: {self.suggestion:.2g}"
        )
        low, start = min(self.losses), self.smoothed[0]
        span = (start - low) or 1.0
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.set_ylim(low - 0.1 * span, start + 0.6 * span)  # not the height it diverges to
        axes.legend(frameon=False)
        return finished(figure, path)


def find_lr(
    model, loss, optimizer, loader, *, low=1e-6, high=10.0, steps=100, smoothing=0.9, stop_at=4.0, device=None
):
    """Train for `steps` batches with rates growing from `low` to `high` by equal factors, and see what the loss does.

    Returns a `Sweep`; its suggestion is the rate at which the smoothed loss falls most steeply, but at most a tenth of that
    at which it is lowest, as the average lags behind. Ends early where the smoothed loss is `stop_at` times the best so far, or not a number. smoothing: the decay of the loss's moving average,
    whose bias is corrected. With several parameter groups `low` and `high` are for the first; the others keep their ratio to it.

    Model, optimizer and random numbers are put back bit for bit, after an error too. Step hooks of the optimizer run.
    """
    if not 0 < low < high:
        raise ValueError(f"find_lr: it must be 0 < low < high, got low={low}, high={high}")
    if steps < 2:
        raise ValueError(f"find_lr: steps must be at least 2, got {steps}")
    if not 0 <= smoothing < 1:
        raise ValueError(f"find_lr: smoothing must be in [0, 1), got {smoothing}")
    if device is not None:
        model.to(device)
    first = float(optimizer.param_groups[0]["lr"])
    shares = [float(group["lr"]) / first if first else 1.0 for group in optimizer.param_groups]
    rates, losses, smoothed, mean = [], [], [], 0.0
    with _put_back(model, optimizer, loader):
        model.train()
        batches = _endless(loader)
        for step in range(steps):
            rate = low * (high / low) ** (step / (steps - 1))
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            value = learn(model, loss, optimizer, *split(next(batches), device)).item()
            if not math.isfinite(value):
                break
            mean = smoothing * mean + (1 - smoothing) * value
            rates.append(rate)
            losses.append(value)
            smoothed.append(mean / (1 - smoothing ** (step + 1)))
            best = min(smoothed)
            if smoothed[-1] - best > (stop_at - 1) * abs(best):
                break
    if len(rates) < 2:
        raise RuntimeError(
            f"find_lr: the loss is not finite from the learning rate {rate:.2g} on; look at the data and the model, or give a smaller low"
        )
    return Sweep(rates, losses, smoothed)


def _suggested(rates, smoothed):
    """Where the loss falls most with the logarithm of the rate; or a tenth of the rate where it is lowest, if that is less."""
    lowest = int(numpy.argmin(smoothed))
    slopes = numpy.gradient(smoothed, numpy.log(rates))
    return min(rates[int(numpy.argmin(slopes[: max(lowest, 1)]))], rates[lowest] / 10)


def _endless(loader):
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise ValueError("find_lr: the loader has no batches; an iterator that was used before is empty")


@contextlib.contextmanager
def _put_back(model, optimizer, loader):
    """Whatever happens within the `with`: afterwards model, optimizer and generators are as they were."""
    random = random_state(loader)
    modules = list(model.modules())
    tables = [(module, module.training, dict(module._buffers)) for module in modules]
    tensors = [*model.parameters(), *model.buffers()]
    values = [tensor.detach().clone() for tensor in tensors]
    # Gradients are kept themselves: the sweep makes others in their place.
    trained = [param for group in optimizer.param_groups for param in group["params"]]
    gradients = [(param, param.grad) for param in (*trained, *tensors)]
    state, called = copy.deepcopy(optimizer.state_dict()), optimizer._opt_called
    for param, _ in gradients:
        param.grad = None
    try:
        yield
    finally:
        with no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
        for module, training, buffers in tables:
            module.training = training
            module._buffers.update(buffers)
        for param, gradient in gradients:
            param.grad = gradient
        optimizer.load_state_dict(state)
        optimizer._opt_called = called
        set_random_state(random, loader)
