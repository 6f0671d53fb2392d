"""Learning rates that go up and down, and one that goes down when progress stops."""

import math
import types

from .schedules import LRScheduler, check_optimizer, check_positive, lrs, number, per_group, set_lr


def _set_momentum(group, momentum):
    """Set what a method calls its momentum: beta1 where there are betas."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


class _MomentumCycle(LRScheduler):
    """What CyclicLR and OneCycleLR share: the momentum goes down while the rate goes up."""

    def _start_momentum(self, optimizer, base, largest, anew):
        self.use_beta1 = "betas" in optimizer.defaults
        if not self.use_beta1 and "momentum" not in optimizer.defaults:
            raise ValueError(
                f"{type(self).__name__}: {type(optimizer).__name__} has neither momentum nor betas; pass cycle_momentum=False"
            )
        self.base_momentums = per_group(self, "base_momentum", base, optimizer)
        self.max_momentums = per_group(self, "max_momentum", largest, optimizer)
        if anew:
            for group, low, high in zip(
                optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                _set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low


class CyclicLR(_MomentumCycle):
    """Up from base_lr to max_lr in `step_size_up` steps and down in `step_size_down`, again and again.

    mode: "triangular" (all cycles alike), "triangular2" (each half as high as the one before), "exp_range" (scaled by
    gamma^t); or `scale_fn`, a function of the cycle (1, 2, ...) or with scale_mode="iterations" of the step t.
    With `cycle_momentum` the momentum runs against it, from max_momentum down to base_momentum. Step after every batch.

    Smith 2017, "Cyclical learning rates for training neural networks".
    """

    def __init__(
        self,
        optimizer,
        base_lr,
        max_lr,
        step_size_up=2000,
        step_size_down=None,
        mode="triangular",
        gamma=1.0,
        scale_fn=None,
        scale_mode="cycle",
        cycle_momentum=True,
        base_momentum=0.8,
        max_momentum=0.9,
        last_epoch=-1,
    ):
        check_optimizer(self, optimizer)
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(
                f"CyclicLR: mode must be 'triangular', 'triangular2' or 'exp_range', got {mode!r}"
            )
        base_lrs = per_group(self, "base_lr", base_lr, optimizer)
        self.max_lrs = per_group(self, "max_lr", max_lr, optimizer)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base_lrs, strict=True):
                set_lr(group, rate)
        down = step_size_up if step_size_down is None else step_size_down
        check_positive(self, step_size_up=step_size_up, step_size_down=down)
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = (
            scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        )
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x):
        """The height of the cycle x, or at the step x."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular2":
            return 1 / 2.0 ** (x - 1)
        return self.gamma**x if self.mode == "exp_range" else 1.0

    def get_lr(self):
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1 + self.last_epoch / self.total_size - cycle  # how much of the cycle is over
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                _set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self):
        state = super().state_dict()
        function = state["_scale_fn_custom"]
        known = function is None or isinstance(function, types.FunctionType)
        state["_scale_fn_custom"] = None if known else function.__dict__.copy()
        return state

    def load_state_dict(self, state_dict):
        super().load_state_dict(
            {key: value for key, value in state_dict.items() if key != "_scale_fn_custom"}
        )
        if state_dict["_scale_fn_custom"] is not None:
            self._scale_fn_custom.__dict__.update(state_dict["_scale_fn_custom"])


class OneCycleLR(_MomentumCycle):
    """One cycle over the whole training: up to max_lr, then down far below the rate it began with.

    From max_lr / div_factor to max_lr in the first `pct_start` of `total_steps` (or epochs * steps_per_epoch), then down to
    the first rate / final_div_factor; with `three_phase` by way of the first rate. Along a cosine, or straight with
    anneal_strategy="linear". The momentum runs against it. Step after every batch.

    Smith & Topin 2018, "Super-convergence: very fast training of neural networks using large learning rates".
    """

    def __init__(
        self,
        optimizer,
        max_lr,
        total_steps=None,
        epochs=None,
        steps_per_epoch=None,
        pct_start=0.3,
        anneal_strategy="cos",
        cycle_momentum=True,
        base_momentum=0.85,
        max_momentum=0.95,
        div_factor=25.0,
        final_div_factor=1e4,
        three_phase=False,
        last_epoch=-1,
    ):
        check_optimizer(self, optimizer)
        self.total_steps = self._count(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1:
            raise ValueError(f"OneCycleLR: pct_start must be in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"OneCycleLR: anneal_strategy must be 'cos' or 'linear', got {anneal_strategy!r}"
            )
        self._anneal_func_type = anneal_strategy
        self._schedule_phases = _phases(pct_start * self.total_steps, self.total_steps, three_phase)
        if last_epoch == -1:
            for group, largest in zip(
                optimizer.param_groups, per_group(self, "max_lr", max_lr, optimizer), strict=True
            ):
                group["initial_lr"] = largest / div_factor
                group["max_lr"] = largest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(optimizer, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _count(total_steps, epochs, steps_per_epoch):
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("OneCycleLR: give total_steps, or epochs and steps_per_epoch")
        for count in (epochs, steps_per_epoch) if total_steps is None else (total_steps,):
            if not isinstance(count, int) or count <= 0:
                raise ValueError(f"OneCycleLR: the number of steps must be a positive integer, got {count!r}")
        return epochs * steps_per_epoch if total_steps is None else total_steps

    def get_lr(self):
        t = self.last_epoch
        if t > self.total_steps:
            raise ValueError(
                f"OneCycleLR: step {t} of a schedule of {self.total_steps} steps; make it longer with total_steps"
            )
        phases = self._schedule_phases
        turn = next((i for i, phase in enumerate(phases) if t <= phase["end_step"]), len(phases) - 1)
        phase = phases[turn]
        start = phases[turn - 1]["end_step"] if turn else 0.0
        done = (t - start) / (phase["end_step"] - start)
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[phase["start_lr"]], group[phase["end_lr"]], done))
            if self.cycle_momentum:
                momentum = self._between(group[phase["start_momentum"]], group[phase["end_momentum"]], done)
                _set_momentum(group, momentum)
        return rates

    def _between(self, start, end, done):
        if self._anneal_func_type == "linear":
            return start + (end - start) * done
        return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def _phases(peak, total_steps, three_phase):
    """The legs of OneCycleLR: the step at which each ends, and the keys of the group that hold its two ends."""
    legs = [(peak - 1, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
    if three_phase:
        legs.append((2 * peak - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"))
        legs.append((total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"))
    else:
        legs.append((total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum"))
    keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    return [dict(zip(keys, leg, strict=True)) for leg in legs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from eta_0 down to eta_min in T_0 epochs, then again from eta_0, each time T_mult times as long.

    eta_t = eta_min + (eta_0 - eta_min) (1 + cos(pi T_cur / T_i)) / 2. `step(epoch)` takes fractions of an epoch too.

    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts".
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        if not isinstance(T_0, int) or T_0 <= 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: T_0 must be a positive integer, got {T_0!r}")
        if not isinstance(T_mult, int) or T_mult < 1:
            raise ValueError(
                f"CosineAnnealingWarmRestarts: T_mult must be an integer of at least 1, got {T_mult!r}"
            )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        factor = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (rate - self.eta_min) * factor for rate in self.base_lrs]

    def step(self, epoch=None):
        if epoch is None and self._is_initial:
            epoch = self.last_epoch + 1
            self._go_to(epoch)
        elif epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"CosineAnnealingWarmRestarts: epoch must be at least 0, got {epoch}")
        else:
            self._go_to(epoch)
        self.last_epoch = math.floor(epoch)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            set_lr(group, rate)
        self._last_lr = lrs(self.optimizer)

    _update_lr = step

    def _go_to(self, epoch):
        """Find the cycle in which `epoch` is: cycle n begins at T_0 (1 + T_mult + ... + T_mult^(n-1))."""
        self.T_i, self.T_cur = self.T_0, epoch
        if self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:
            while self.T_cur >= self.T_i:
                self.T_cur -= self.T_i
                self.T_i *= self.T_mult


class ReduceLROnPlateau(LRScheduler):
    """Multiplied by `factor` once the metric given to `step(metric)` has not improved for more than `patience` steps.

    mode: "min" or "max", which way is better. An improvement counts if it is by more than `threshold`, a part of the best
    value (threshold_mode "rel") or absolute ("abs"). After a reduction, `cooldown` steps are not counted. The rate stays
    at or above `min_lr`, and changes of at most `eps` are not made.
    """

    def __init__(
        self,
        optimizer,
        mode="min",
        factor=0.1,
        patience=10,
        threshold=1e-4,
        threshold_mode="rel",
        cooldown=0,
        min_lr=0,
        eps=1e-8,
    ):
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"ReduceLROnPlateau: mode must be 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: threshold_mode must be 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.optimizer = check_optimizer(self, optimizer)
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = per_group(self, "min_lr", min_lr, optimizer)
        self.default_min_lr = None if isinstance(min_lr, (list, tuple)) else min_lr
        self.eps = eps
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = lrs(optimizer)

    @property
    def in_cooldown(self):
        """Whether a reduction is so recent that steps are not counted."""
        return self.cooldown_counter > 0

    def step(self, metrics, epoch=None):
        """Look at the metric of one more epoch."""
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self._is_better(current):
            self.best = current
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = lrs(self.optimizer)

    def _is_better(self, metric):
        sign = 1 if self.mode == "max" else -1
        bound = self.best + sign * self.threshold
        if self.threshold_mode == "rel":
            bound = self.best * (1 + sign * self.threshold)
        return sign * metric > sign * bound

    def _reduce(self):
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):  # a group was added to the optimizer
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau: {len(self.min_lrs)} min_lr for {len(groups)} parameter groups; set min_lrs"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        for group, least in zip(groups, self.min_lrs, strict=True):
            before = number(group["lr"])
            after = max(before * self.factor, least)
            if before - after > self.eps:
                set_lr(group, after)
