"""`fit`: the training loop that most models need, short enough to copy and change."""

import itertools
import math
import time

from chainrule.autograd.functions.shape import cat
from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor
from chainrule.optim.schedules_cyclic import ReduceLROnPlateau

from .batches import learn, size, split
from .progress import Bar, described, interruptible
from .resuming import Checkpoints, random_state, set_random_state


def fit(
    model,
    loss,
    optimizer,
    train,
    valid=None,
    *,
    epochs,
    metrics=(),
    monitor=None,
    scheduler=None,
    scheduler_every="epoch",
    early_stopping=None,
    checkpoint=None,
    resume=False,
    also=None,
    device=None,
    callbacks=(),
    progress=True,
):
    """Train `model` for `epochs` passes over the batches of `train`; returns the history, a list with a dict for each epoch.

        {"epoch": 1, "lr": 0.01, "loss": 2.1, "valid_loss": 1.8, "valid_accuracy": 0.41}

    loss: a function (output, target), the mean over a batch. train, valid: iterables of batches (input, ..., target).
    metrics: what else is measured on `valid`, see `evaluate`.
    monitor: the entry of the history that early stopping, the best checkpoint and `ReduceLROnPlateau` look at; default
        "valid_loss", or "loss" without `valid`. Less is better unless `early_stopping.mode` is "max".
    scheduler: stepped after every "epoch" or, with scheduler_every="batch", every batch.
    early_stopping: an `EarlyStopping`; if it was given the model, the best weights are loaded at the end.
    checkpoint: a folder for last.safetensors, written after every epoch, and best.safetensors, the best weights.
    resume: go on where last.safetensors stands, if there is one: the result is bit for bit that of a run never interrupted.
    also: {name: object with state_dict and load_state_dict} to keep and resume too, as an `EMA`.
    device: where model and batches are moved; None leaves them where they are.
    callbacks: functions called with the dict of each epoch, to which they may add; one that returns True ends the run.

    Ctrl-C ends after the batch under way: `fit` writes the checkpoint, in the middle of the epoch, and returns. To clip
    gradients use `optimizer.register_step_pre_hook`.
    """
    if scheduler_every not in ("epoch", "batch"):
        raise ValueError(f"fit: scheduler_every must be 'epoch' or 'batch', got {scheduler_every!r}")
    if valid is None and metrics:
        raise ValueError("fit: metrics are measured on `valid`, which is not given")
    if device is not None:
        model.to(device)
    monitor = monitor or ("loss" if valid is None else "valid_loss")
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "early_stopping": early_stopping}
    parts = {name: part for name, part in {**parts, **(also or {})}.items() if part is not None}
    files = Checkpoints(checkpoint, parts)
    saved = files.read() if resume else None
    history, place = (saved["history"], saved["place"]) if saved else ([], None)
    if saved:
        set_random_state(saved["random"], train)
    with interruptible() as interrupted:
        for epoch in range(len(history) + 1, epochs + 1):
            if early_stopping is not None and early_stopping.should_stop:
                break
            began = time.perf_counter()
            row = {"epoch": epoch, "lr": place["lr"] if place else float(optimizer.param_groups[0]["lr"])}
            model.train()
            start, batches, done, total, count = _start(train, place)
            place = None
            with Bar(progress, f"epoch {epoch}/{epochs}", train, done) as bar:
                for batch in batches:
                    inputs, target = split(batch, device)
                    value = learn(model, loss, optimizer, inputs, target)
                    if scheduler is not None and scheduler_every == "batch":
                        scheduler.step()
                    done, total, count = done + 1, total + value.double() * size(target), count + size(target)
                    bar.step(total, count)
                    if interrupted:
                        place = _place(train, start, row["lr"], done, float(total), count)
                        files.write(history, random_state(train), place)
                        print(f"stopped in epoch {epoch}, after batch {done}")
                        return history
            if not count:
                raise ValueError(
                    f"fit: epoch {epoch} has no batches; an iterator that was used before is empty"
                )
            row["loss"] = float(total) / count
            if valid is not None:
                measured = evaluate(model, loss, valid, metrics, device)
                row.update({f"valid_{name}": value for name, value in measured.items()})
            ending = True in [callback(row) for callback in callbacks]
            if scheduler is not None and scheduler_every == "epoch":
                plateau = isinstance(scheduler, ReduceLROnPlateau)
                scheduler.step(row[monitor]) if plateau else scheduler.step()
            best = _is_best(row[monitor], [one[monitor] for one in history], early_stopping)
            if early_stopping is not None:
                early_stopping.step(row[monitor])
            history.append(row)
            files.write(history, random_state(train), best=best)
            if progress:
                seconds = time.perf_counter() - began
                print(f"epoch {epoch}/{epochs}  {described(row)}  {seconds:.1f} s{'  *' if best else ''}")
            if ending or interrupted:
                break
    if early_stopping is not None and early_stopping.best_state is not None:
        early_stopping.restore()
    return history


def _place(train, start, lr, done, total, count):
    """What `_start` needs to go on after `done` batches of an epoch that began with the random state `start`."""
    loader = train.state_dict() if hasattr(train, "load_state_dict") else None
    return {"random": start, "loader": loader, "lr": lr, "done": done, "total": total, "count": count}


def _start(train, place):
    """(random state, batches, how many are done, sum of the losses, number of samples) at an epoch's start, or at `place`."""
    if place is None:
        start = random_state(train)
        return start, iter(train), 0, 0.0, 0
    now = random_state(train)
    if place["loader"] is not None:
        train.load_state_dict(place["loader"])
        batches = iter(train)
    else:  # the batches that were used are made once more, so that what makes them is where it was
        set_random_state(place["random"], train)
        batches = iter(train)
        skipped = sum(1 for _ in itertools.islice(batches, place["done"]))
        if skipped < place["done"]:
            raise ValueError(
                f"fit: the run stopped after batch {place['done']}, but now there are {skipped} only"
            )
    set_random_state(now, train)
    return place["random"], batches, place["done"], place["total"], place["count"]


def _is_best(value, earlier, early_stopping):
    """Whether `value` is better than all before; a NaN is not."""
    sign = -1 if getattr(early_stopping, "mode", "min") == "max" else 1
    return sign * value < min((sign * one for one in earlier if not math.isnan(one)), default=math.inf)


@no_grad()
def evaluate(model, loss, batches, metrics=(), device=None):
    """{"loss": the mean over all samples, and each metric}, in evaluation mode; the model's mode is put back.

    metrics: a list, or a dict from names. Each is a function (outputs, targets), which is given those of all batches
    joined, or an object with `reset`, `update(outputs, targets)` and `compute`, as those of `chainrule.metrics`.
    """
    metrics = metrics if isinstance(metrics, dict) else {_name(one): one for one in metrics}
    running = [one for one in metrics.values() if hasattr(one, "update")]
    joining = len(running) < len(metrics)
    for one in running:
        one.reset()
    total, count, outputs, targets = 0.0, 0, [], []
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for batch in batches:
            inputs, target = split(batch, device)
            output = model(*inputs)
            total, count = total + loss(output, target).double() * size(target), count + size(target)
            for one in running:
                one.update(output, target)
            if joining:
                outputs.append(output)
                targets.append(target)
    finally:
        for module, mode in modes:
            module.training = mode
    if not count:
        raise ValueError("evaluate: there are no batches")
    measured = {"loss": float(total) / count}
    outputs, targets = _joined(outputs), _joined(targets)
    for name, one in metrics.items():
        value = one.compute() if one in running else one(outputs, targets)
        measured[name] = value.tolist() if hasattr(value, "tolist") else value
    return measured


def _name(metric):
    """accuracy -> "accuracy", TopKAccuracy() -> "topkaccuracy"."""
    return getattr(metric, "__name__", None) or type(metric).__name__.lower()


def _joined(parts):
    """Outputs of several batches as those of one."""
    if parts and isinstance(parts[0], (tuple, list)):
        return tuple(_joined(column) for column in zip(*parts, strict=True))
    if parts and isinstance(parts[0], dict):
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}
    if parts and isinstance(parts[0], Tensor) and not parts[0].ndim:
        parts = [part.reshape(1) for part in parts]
    return cat(parts) if parts else None
