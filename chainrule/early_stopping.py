"""Stopping a training that no longer gets better."""

import copy
import math


class EarlyStopping:
    """Tells when a metric has not improved for `patience` epochs, and gives back the best weights.

        stopping = cr.EarlyStopping(model, patience=5)
        for epoch in range(1000):
            train(model)
            if stopping.step(validation_loss(model)):
                break
        stopping.restore()

    model: the Module (or anything with `state_dict` and `load_state_dict`) whose state at the best epoch is kept; None
        keeps nothing.
    patience: how many epochs without an improvement are put up with: `step` is True at the `patience`-th.
    min_delta: an improvement counts if it is by more than this.
    mode: "min" or "max", which way is better. A metric that is not a number is no improvement.

    Prechelt 1998, "Early stopping - but when?"; Morgan & Bourlard 1990.
    """

    def __init__(self, model=None, patience=10, min_delta=0.0, mode="min"):
        if mode not in ("min", "max"):
            raise ValueError(f"EarlyStopping: mode must be 'min' or 'max', got {mode!r}")
        if not (isinstance(patience, int) and patience >= 1):
            raise ValueError(f"EarlyStopping: patience must be a positive integer, got {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"EarlyStopping: min_delta must be at least 0, got {min_delta}")
        self.model = model
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.reset()

    def reset(self):
        """Begin anew."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch = None
        self.best_state = None
        self.epoch = -1
        self.bad_epochs = 0

    @property
    def should_stop(self):
        """Whether `patience` epochs in a row brought no improvement."""
        return self.bad_epochs >= self.patience

    def step(self, metric):
        """Take in the metric of one more epoch; returns `should_stop`."""
        metric = float(metric)
        self.epoch += 1
        gain = self.best - metric if self.mode == "min" else metric - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch, self.bad_epochs = metric, self.epoch, 0
            if self.model is not None:
                self.best_state = copy.deepcopy(self.model.state_dict())
        else:
            self.bad_epochs += 1
        return self.should_stop

    def restore(self):
        """Load the best state into the model; returns the epoch it is of, counted from 0."""
        if self.model is None:
            raise RuntimeError("EarlyStopping.restore: no model was given, so no weights were kept")
        if self.best_state is None:
            raise RuntimeError(
                "EarlyStopping.restore: no epoch was better than none; step() was never given a number"
            )
        self.model.load_state_dict(self.best_state)
        return self.best_epoch

    def state_dict(self):
        """All but the model, to resume a run with."""
        return {key: value for key, value in self.__dict__.items() if key != "model"}

    def load_state_dict(self, state_dict):
        """Take over a `state_dict()`."""
        self.__dict__.update(state_dict)
