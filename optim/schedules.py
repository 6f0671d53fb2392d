"""Learning rates that fall by a formula, and schedules made of schedules.

Most are eta_t = floor + (eta_0 - floor) factor(t), with t the number of `step()` calls. Like PyTorch's they multiply the
rate that the optimizer has by factor(t) / factor(t - 1), so that several act on one optimizer together, and a rate
changed by hand stays changed.
"""

import math
import types
import warnings
from bisect import bisect_right
from collections import Counter

from chainrule.autograd.tensor import Tensor
from chainrule.backends.capturing import refuse

from .optimizer import Optimizer


class LRScheduler:
    """Sets group["lr"] of an optimizer's parameter groups; call `step()` once an epoch, after the optimizer's.

    A subclass gives `get_lr()`, the rates of all groups at `self.last_epoch`, computed from `self.base_lrs` (the rates at
    the start) or from those the groups have. last_epoch: -1 starts anew. Otherwise the groups' rates are those of epoch
    last_epoch + 1 already, and "initial_lr" in each group is its rate at the start: this is how a run is resumed.
    """

    _is_initial = False

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer = check_optimizer(self, optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", number(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: last_epoch={last_epoch} resumes a run, but parameter group {i} has no 'initial_lr'; "
                    f"load the optimizer's state dict first, or start with last_epoch=-1"
                )
        self.base_lrs = [number(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _initial_step(self):
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def get_lr(self):
        """The rate of each group at epoch `self.last_epoch`; called by `step`."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr()")

    def get_last_lr(self):
        """The rates set by the last `step()`."""
        return self._last_lr

    def step(self, epoch=None):
        """Go on to the next epoch, or to `epoch`, and set the rates."""
        if self._step_count == 1 and not self.optimizer._opt_called:
            warnings.warn(
                f"{type(self).__name__}.step() was called before the optimizer's step(), which skips the first rate; "
                f"call optimizer.step() first",
                stacklevel=2,
            )
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch=None):
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        closed = getattr(self, "_get_closed_form_lr", None)
        rates = self.get_lr() if epoch is None or closed is None else closed()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            set_lr(group, rate)
        self._last_lr = lrs(self.optimizer)

    def state_dict(self):
        """All attributes but the optimizer, as a dict."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict):
        """Take over a `state_dict()` of this class's, or PyTorch's. The optimizer's rates are in its own state dict."""
        self.__dict__.update(state_dict)


def check_optimizer(scheduler, optimizer):
    """`optimizer`, if it is one and has a rate; TypeError or ValueError otherwise."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(scheduler).__name__}: expected an Optimizer, got {type(optimizer).__name__}")
    if any("lr" not in group for group in optimizer.param_groups):
        raise ValueError(
            f"{type(scheduler).__name__}: {type(optimizer).__name__} has no learning rate to schedule"
        )
    return optimizer


def number(rate):
    """A rate as a Python number; it may be kept in a Tensor of one element."""
    return rate.item() if isinstance(rate, Tensor) else rate


def lrs(optimizer):
    """The rates that the groups have."""
    return [number(group["lr"]) for group in optimizer.param_groups]


def per_group(scheduler, name, value, optimizer):
    """An option that is one number, or one for each group, as a list."""
    groups = len(optimizer.param_groups)
    values = [number(one) for one in value] if isinstance(value, (list, tuple)) else [number(value)] * groups
    if len(values) != groups:
        raise ValueError(
            f"{type(scheduler).__name__}: {name} has {len(values)} values for {groups} parameter groups"
        )
    return values


def check_positive(scheduler, **lengths):
    """ValueError unless all are positive."""
    for name, length in lengths.items():
        if isinstance(length, str) or not length > 0:
            raise ValueError(f"{type(scheduler).__name__}: {name} must be positive, got {length}")


def set_lr(group, rate):
    """Set the rate of a group; one kept in a Tensor stays there."""
    refuse(
        "counts in Python",
        "a learning rate is scheduled in the step",
        "call scheduler.step() after the graphed step",
    )
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


class _FactorLR(LRScheduler):
    """eta_t = floor + (eta_0 - floor) factor(t). A subclass gives `_factor(epoch)`, and `floor` if it is not 0."""

    floor = 0.0

    def _factor(self, epoch):
        raise NotImplementedError

    def get_lr(self):
        t, floor = self.last_epoch, self.floor
        if t == 0:
            ratio = self._factor(0)
        elif self._is_initial:
            return lrs(self.optimizer)
        elif self._factor(t - 1) == 0:  # the rate went down to the floor: nothing of it is left to multiply
            return self._get_closed_form_lr()
        else:
            ratio = self._factor(t) / self._factor(t - 1)
        return [floor + (rate - floor) * ratio for rate in lrs(self.optimizer)]

    def _get_closed_form_lr(self):
        factor, floor = self._factor(self.last_epoch), self.floor
        return [floor + (rate - floor) * factor for rate in self.base_lrs]


class StepLR(_FactorLR):
    """Multiplied by gamma every `step_size` epochs: eta_t = eta_0 gamma^floor(t / step_size)."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        check_positive(self, step_size=step_size)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(_FactorLR):
    """Multiplied by gamma at each of the epochs `milestones`."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return self.gamma ** sum(count for milestone, count in self.milestones.items() if milestone <= epoch)


class ConstantLR(_FactorLR):
    """eta_0 times `factor` for `total_iters` epochs, then eta_0."""

    def __init__(self, optimizer, factor=1.0 / 3, total_iters=5, last_epoch=-1):
        if not 0 < factor <= 1:
            raise ValueError(f"ConstantLR: factor must be in (0, 1], got {factor}")
        self.factor = factor
        check_positive(self, total_iters=total_iters)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(_FactorLR):
    """From eta_0 start_factor to eta_0 end_factor in a straight line, over `total_iters` epochs: a warm-up."""

    def __init__(self, optimizer, start_factor=1.0 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1:
            raise ValueError(f"LinearLR: start_factor must be in (0, 1], got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"LinearLR: end_factor must be in [0, 1], got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        check_positive(self, total_iters=total_iters)
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return (
            self.start_factor
            + (self.end_factor - self.start_factor) * min(epoch, self.total_iters) / self.total_iters
        )


class ExponentialLR(_FactorLR):
    """Multiplied by gamma every epoch: eta_t = eta_0 gamma^t."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return self.gamma**epoch


class PolynomialLR(_FactorLR):
    """eta_t = eta_0 (1 - t / total_iters)^power, and 0 from then on."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        check_positive(self, total_iters=total_iters)
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _factor(self, epoch):
        return (1 - min(epoch, self.total_iters) / self.total_iters) ** self.power


class CosineAnnealingLR(_FactorLR):
    """Half a period of a cosine: eta_t = eta_min + (eta_0 - eta_min) (1 + cos(pi t / T_max)) / 2, and back up after it.

    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        check_positive(self, T_max=T_max)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    @property
    def floor(self):
        return self.eta_min

    def _factor(self, epoch):
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2


class _FunctionLR(LRScheduler):
    """One function of the epoch for each group. Objects that are called keep their attributes in the state dict."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        groups = len(check_optimizer(self, optimizer).param_groups)
        functions = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(functions) != groups:
            raise ValueError(
                f"{type(self).__name__}: got {len(functions)} functions for {groups} parameter groups"
            )
        for function in functions:
            if not callable(function):
                raise TypeError(
                    f"{type(self).__name__}: lr_lambda must be a function, got {type(function).__name__}"
                )
        self.lr_lambdas = functions
        super().__init__(optimizer, last_epoch)

    def state_dict(self):
        state = super().state_dict()
        state["lr_lambdas"] = [
            None if isinstance(function, types.FunctionType) else getattr(function, "__dict__", {}).copy()
            for function in self.lr_lambdas
        ]
        return state

    def load_state_dict(self, state_dict):
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "lr_lambdas"})
        for function, attributes in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if attributes is not None:
                function.__dict__.update(attributes)


class LambdaLR(_FunctionLR):
    """eta_t = eta_0 lr_lambda(t). `lr_lambda`: a function of the epoch, or one for each group."""

    def get_lr(self):
        return [
            rate * function(self.last_epoch)
            for rate, function in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(_FunctionLR):
    """eta_t = eta_(t-1) lr_lambda(t). `lr_lambda`: a function of the epoch, or one for each group."""

    def get_lr(self):
        rates = lrs(self.optimizer)
        if self._is_initial:
            return rates
        return [
            rate * function(self.last_epoch) for rate, function in zip(rates, self.lr_lambdas, strict=True)
        ]


class _ManyLR(LRScheduler):
    """A schedule of `_schedulers`, whose states it saves and loads."""

    def state_dict(self):
        state = super().state_dict()
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict):
        super().load_state_dict({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)

    def _check(self, optimizer, schedulers):
        name = type(self).__name__
        if not schedulers:
            raise ValueError(f"{name}: expected at least one scheduler, got none")
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer"):
                raise TypeError(f"{name}: expected schedulers, got {type(scheduler).__name__} at index {i}")
            if hasattr(scheduler, "patience"):
                raise ValueError(
                    f"{name}: ReduceLROnPlateau steps by a metric, so it cannot be one of several (index {i})"
                )
            if scheduler.optimizer is not (optimizer or schedulers[0].optimizer):
                raise ValueError(
                    f"{name}: all schedulers must be of one optimizer; that of the scheduler at index {i} is another"
                )


class SequentialLR(_ManyLR):
    """One schedule after the other: the next takes over, from its beginning, at each of the epochs `milestones`."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        self._check(optimizer, schedulers)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedulers take {len(schedulers) - 1} milestones, got {len(milestones)}"
            )
        self.optimizer = optimizer
        self._schedulers = list(schedulers)
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # Each scheduler has set its own first rate when it was made: undo that, and start the one whose turn it is.
        for group in optimizer.param_groups:
            set_lr(group, group["initial_lr"])
        _step_back(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def step(self):
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn and self._milestones[turn - 1] == self.last_epoch:
            scheduler._update_lr(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _step_back(scheduler):
    """Take every simple schedule under `scheduler` back by one epoch."""
    if isinstance(scheduler, _ManyLR):
        for one in scheduler._schedulers:
            _step_back(one)
    else:
        scheduler.last_epoch -= 1


class ChainedScheduler(_ManyLR):
    """Several schedules at once: each multiplies what the others have made of the rate."""

    def __init__(self, schedulers, optimizer=None):
        self._check(optimizer, schedulers)
        self._schedulers = list(schedulers)
        self.optimizer = optimizer or schedulers[0].optimizer
        self._last_lr = lrs(self.optimizer)

    def step(self):
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = lrs(self.optimizer)
