"""Averages of a model's weights over its training, under PyTorch's names.

Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization" (SWA); the exponential moving
average (EMA) goes back to Polyak and to Ruppert. The one module of this package that knows `chainrule.nn`.
"""

import copy
import itertools
import math

from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.modes import no_grad
from chainrule.nn.module import Module
from chainrule.nn.normalization import _BatchNorm

from .schedules import LRScheduler, check_optimizer, lrs, per_group

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay):
    if not 0 <= decay <= 1:
        raise ValueError(f"the decay of a moving average must be in [0, 1], got {decay}")


def get_ema_avg_fn(decay=0.999):
    """The function (average, new, n) -> decay average + (1 - decay) new, for `AveragedModel(avg_fn=)`."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged, current, num_averaged):
        return decay * averaged + (1 - decay) * current

    return ema_update


def get_swa_avg_fn():
    """The function (average of n, new, n) -> average of n + 1, all with the same weight."""

    @no_grad()
    def swa_update(averaged, current, num_averaged):
        return averaged + (current - averaged) / (num_averaged + 1)

    return swa_update


def get_ema_multi_avg_fn(decay=0.999):
    """The function that moves each of a list of averages, in place, to decay average + (1 - decay) new."""
    _check_decay(decay)

    @no_grad()
    def ema_update(averaged, current, num_averaged):
        _move(averaged, current, 1 - decay)

    return ema_update


def get_swa_multi_avg_fn():
    """The function that takes, in place, new values into each of a list of averages of n."""

    @no_grad()
    def swa_update(averaged, current, num_averaged):
        _move(averaged, current, 1 / (float(num_averaged) + 1))

    return swa_update


def _move(averaged, current, weight):
    """average <- average + weight (new - average); what holds integers, such as counters, is rounded towards zero."""
    for mean, new in zip(averaged, current, strict=True):
        if mean.is_floating_point() or mean.is_complex():
            mean.lerp_(new, weight)
        else:
            mean.copy_(mean + (new - mean) * weight)


class AveragedModel(Module):
    """A copy of `model` that holds the average of its weights over the calls of `update_parameters(model)`.

    The first call copies the weights; later ones take them in by `avg_fn(average, new, n)`, which returns the new average,
    or by `multi_avg_fn(averages, news, n)`, which changes lists of Tensors in place. Default: the uniform average.
    Buffers are copied, or with `use_buffers` averaged too. Called, it is the averaged model. `n_averaged` is n, a buffer.
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise ValueError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        if not isinstance(model, Module):
            raise TypeError(f"AveragedModel: expected a Module, got {type(model).__name__}")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", tensor(0, device="cpu"))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)

    def _apply(self, convert, *args, **kwargs):
        """As for any module, but the count stays on the host, which would have to wait for a device that holds it."""
        super()._apply(convert, *args, **kwargs)
        self.n_averaged.data = self.n_averaged.data.cpu()
        return self

    @no_grad()
    def update_parameters(self, model):
        """Take the weights of `model`, as they are now, into the average."""
        averaged, current = _weights(self.module, self.use_buffers), _weights(model, self.use_buffers)
        current = [new.detach().to(mean.device) for mean, new in zip(averaged, current, strict=True)]
        count = int(self.n_averaged.item())
        if count == 0:
            for mean, new in zip(averaged, current, strict=True):
                mean.copy_(new)
        elif self.avg_fn is not None:
            for mean, new in zip(averaged, current, strict=True):
                mean.copy_(
                    self.avg_fn(mean.detach(), new, mean.new_full((), count, dtype=self.n_averaged.dtype))
                )
        elif averaged:
            together = self.multi_avg_fn or get_swa_multi_avg_fn()
            # One call for each kind of number, as functions may look at the first of a list only.
            for _, pairs in _by_dtype(zip(averaged, current, strict=True)):
                means, news = zip(*pairs, strict=True)
                together(list(means), list(news), self.n_averaged)
        if not self.use_buffers:
            for own, new in zip(self.module.buffers(), model.buffers(), strict=True):
                own.copy_(new.detach().to(own.device))
        self.n_averaged += 1


def _weights(model, with_buffers):
    tensors = itertools.chain(model.parameters(), model.buffers()) if with_buffers else model.parameters()
    return [one.detach() for one in tensors]


def _by_dtype(pairs):
    groups = {}
    for pair in pairs:
        groups.setdefault((pair[0].dtype, pair[0].device), []).append(pair)
    return groups.items()


@no_grad()
def update_bn(loader, model, device=None):
    """Compute the running statistics of all BatchNorm layers of `model` anew, as plain means over the batches of `loader`.

    Averaged weights give other activations than those the statistics were made of. A batch is a Tensor, or a list or tuple
    whose first entry goes into the model; `device` is where it is sent before.
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    was_training = model.training
    model.train()
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # every batch with the same weight
        for batch in loader:
            first = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(first if device is None else first.to(device))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        model.train(was_training)


class SWALR(LRScheduler):
    """From the rate there is to the constant `swa_lr`, in `anneal_epochs` epochs, along a cosine or "linear".

    eta_t = (1 - a) eta_0 + a swa_lr, a = (1 - cos(pi t / anneal_epochs)) / 2 or t / anneal_epochs. swa_lr: one rate, or one
    for each group.
    """

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        check_optimizer(self, optimizer)
        for group, rate in zip(
            optimizer.param_groups, per_group(self, "swa_lr", swa_lr, optimizer), strict=True
        ):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"SWALR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"SWALR: anneal_epochs must be an integer of at least 0, got {anneal_epochs!r}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t):
        """How much of the way is done after the part t of the epochs."""
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self):
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (
            self.anneal_func(max(0, min(1, n / max(1, self.anneal_epochs)))) for n in (step - 1, step)
        )
        rates = []
        for group, rate in zip(self.optimizer.param_groups, lrs(self.optimizer), strict=True):
            target = group["swa_lr"]
            # The rate at the start, from the one now: what another schedule changed in between stays changed.
            start = target if before == 1 else (rate - before * target) / (1 - before)
            rates.append(target * now + start * (1 - now))
        return rates
