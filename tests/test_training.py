"""`chainrule.training`: the loop, the search for a rate, averages, logs, curves and checks."""

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn, training
from chainrule.metrics import Accuracy, accuracy, confusion_matrix
from chainrule.utils.data import DataLoader, Dataset, RandomSampler, TensorDataset

ROOT = Path(__file__).resolve().parent.parent


class Noisy(Dataset):
    """Samples that differ each time they are read, by three generators."""

    def __len__(self):
        return 20

    def __getitem__(self, i):
        noise = cr.randn(4) + random.random() + np.random.rand()
        return cr.full((4,), i / 20) + 0.1 * noise.float(), i % 3


class Plain:
    """A loader that cannot say where it is, and draws as it goes."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for x, y in self.loader:
            yield x + cr.rand(()) + random.random(), y


def net():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def two_groups(model):
    groups = [{"params": model[0].parameters(), "lr": 0.02}, {"params": model[4].parameters(), "lr": 0.01}]
    return cr.optim.Adam(groups)


class Run:
    """All that one training needs, made anew from the same seeds."""

    def __init__(self, folder=None, scheduler="MultiStepLR", generator=False):
        cr.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        self.model = net()
        self.optimizer = two_groups(self.model)
        options = {
            "MultiStepLR": {"milestones": [1, 3]},
            "ReduceLROnPlateau": {"patience": 0},
            "StepLR": {"step_size": 5},
        }
        self.scheduler = getattr(cr.optim.lr_scheduler, scheduler)(self.optimizer, **options[scheduler])
        self.every = "batch" if scheduler == "StepLR" else "epoch"
        own = cr.Generator().manual_seed(5) if generator else None
        sampler = RandomSampler(range(20), generator=own)
        self.train = DataLoader(Noisy(), batch_size=6, sampler=sampler)
        self.valid = DataLoader(Noisy(), batch_size=7)
        self.stopping = cr.EarlyStopping(self.model, patience=50)
        self.ema = training.EMA(self.model, 0.9)
        self.ema.attach(self.optimizer)
        self.folder = folder

    def fit(self, epochs, **more):
        options = {
            "metrics": [accuracy, Accuracy()],
            "scheduler": self.scheduler,
            "scheduler_every": self.every,
            "early_stopping": self.stopping,
            "checkpoint": self.folder,
            "also": {"ema": self.ema},
            "progress": False,
        }
        return cr.fit(
            self.model,
            F.cross_entropy,
            self.optimizer,
            self.train,
            self.valid,
            epochs=epochs,
            **{**options, **more},
        )

    def state(self):
        parts = [self.model, self.optimizer, self.scheduler, self.stopping, self.ema]
        flat = [value for part in parts for value in leaves(part.state_dict())]
        return [*flat, cr.get_rng_state().tolist(), random.random(), np.random.rand()]


def leaves(value):
    """The ends of nested containers, Tensors as bytes."""
    if isinstance(value, dict):
        return [one for key in value for one in leaves(value[key])]
    if isinstance(value, (list, tuple)):
        return [one for part in value for one in leaves(part)]
    return [value.numpy().tobytes() if isinstance(value, cr.Tensor) else value]


# --- fit ---


def test_history_and_learning():
    cr.manual_seed(0)
    x = cr.randn(64, 2)
    y = (x[:, 0] > x[:, 1]).long()
    model = nn.Linear(2, 2)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.5)
    train = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    seen = []
    history = cr.fit(
        model, F.cross_entropy, optimizer, train, [(x, y)], epochs=8, metrics=[accuracy], callbacks=[seen.append], progress=False
    )  # fmt: skip
    assert [row["epoch"] for row in history] == list(range(1, 9)) and seen == history
    assert list(history[0]) == ["epoch", "lr", "loss", "valid_loss", "valid_accuracy"]
    assert history[-1]["valid_loss"] < 0.5 * history[0]["loss"] and history[-1]["valid_accuracy"] > 0.95
    with cr.no_grad():
        assert history[-1]["valid_loss"] == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-6)
    assert all(isinstance(value, (int, float)) for row in history for value in row.values())


def test_the_loss_is_the_mean_over_samples_and_is_that_of_a_loop_by_hand():
    batches = [(cr.randn(n, 4), cr.randint(0, 3, (n,))) for n in (6, 6, 1)]
    model = nn.Linear(4, 3)
    other = copy.deepcopy(model)
    first, second = (cr.optim.Adam(one.parameters(), lr=0.01) for one in (model, other))
    history = cr.fit(model, F.cross_entropy, first, batches, epochs=2, progress=False)
    for row in history:
        total = 0.0
        for x, y in batches:
            loss = F.cross_entropy(other(x), y)
            second.zero_grad()
            loss.backward()
            second.step()
            total += loss.item() * len(y)
        assert row["loss"] == total / 13
    assert leaves(model.state_dict()) == leaves(other.state_dict())


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize("scheduler", ["MultiStepLR", "ReduceLROnPlateau", "StepLR"])
def test_resuming_after_whole_epochs_is_bit_exact(tmp_path, scheduler, generator):
    whole = Run(None, scheduler, generator)
    history, state = whole.fit(5), whole.state()
    Run(tmp_path, scheduler, generator).fit(2)
    cr.manual_seed(99)  # a new process knows nothing
    resumed = Run(tmp_path, scheduler, generator)
    cr.rand(7)
    assert resumed.fit(5, resume=True) == history
    assert resumed.state() == state
    assert Run(tmp_path, scheduler, generator).fit(5, resume=True) == history  # nothing left to do


@pytest.mark.skipif(os.name == "nt", reason="interrupts another way")
@pytest.mark.parametrize("batch", [1, 3, 4, 6])
@pytest.mark.parametrize("loader", [lambda loader: loader, Plain], ids=["DataLoader", "iterable"])
def test_resuming_in_the_middle_of_an_epoch_is_bit_exact(tmp_path, batch, loader, capsys):
    def run(folder):
        one = Run(folder, "StepLR")
        one.train = loader(one.train)
        return one

    whole = run(None)
    history, state = whole.fit(3), whole.state()
    stopped = run(tmp_path)
    calls = []

    def interrupt(*_):
        calls.append(1)
        if len(calls) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    stopped.optimizer.register_step_post_hook(interrupt)
    part = stopped.fit(3)
    assert part == history[: (batch - 1) // 4] and len(calls) == batch
    assert (
        f"stopped in epoch {1 + (batch - 1) // 4}, after batch {1 + (batch - 1) % 4}"
        in capsys.readouterr().out
    )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = run(tmp_path)
    assert resumed.fit(3, resume=True) == history
    assert resumed.state() == state


def test_the_loaders_workers_make_no_difference(tmp_path):
    def run(folder, workers):
        one = Run(folder)
        x, y = cr.arange(80.0).reshape(20, 4) / 80, cr.arange(20) % 3
        one.train = DataLoader(TensorDataset(x, y), batch_size=6, shuffle=True, num_workers=workers)
        return one

    whole = run(None, 0)
    history, state = whole.fit(3), whole.state()
    run(tmp_path, 1).fit(1)
    resumed = run(tmp_path, 1)
    assert resumed.fit(3, resume=True) == history and resumed.state() == state


def test_best_and_last_are_written(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    losses = iter([3.0, 1.0, 2.0, math.nan, 0.5, 0.7])
    weights = []

    def measure(row):
        row["mine"] = next(losses)
        weights.append(model.weight.item())

    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    batches = [(cr.ones(2, 1), cr.zeros(2, 1))]
    history = cr.fit(
        model, F.mse_loss, optimizer, batches, epochs=6, monitor="mine", callbacks=[measure], checkpoint=tmp_path, progress=False
    )  # fmt: skip
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.safetensors", "last.safetensors"]
    assert cr.load(tmp_path / "best.safetensors")["weight"].item() == weights[4]
    last = cr.load(tmp_path / "last.safetensors")
    assert str(last["history"]) == str(history) and last["parts"]["model"]["weight"].item() == weights[5]


@pytest.mark.parametrize(("mode", "best"), [("min", 1), ("max", 2)])
def test_early_stopping_stops_and_restores(tmp_path, mode, best):
    model = nn.Linear(1, 1, bias=False)
    values = iter([3.0, 1.0, 5.0, 4.0, 4.0, 4.0] if mode == "max" else [3.0, 1.0, 5.0, 4.0, 0.0])
    weights = []

    def measure(row):
        row["mine"] = next(values)
        weights.append(model.weight.item())

    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    options = {
        "epochs": 50,
        "monitor": "mine",
        "callbacks": [measure],
        "checkpoint": tmp_path,
        "progress": False,
    }
    batches = [(cr.ones(2, 1), cr.zeros(2, 1))]
    stopping = cr.EarlyStopping(model, patience=2, mode=mode)
    history = cr.fit(model, F.mse_loss, optimizer, batches, early_stopping=stopping, **options)
    assert len(history) == best + 3 and model.weight.item() == weights[best]
    assert cr.load(tmp_path / "best.safetensors")["weight"].item() == weights[best]
    # A run that stopped stays stopped.
    again = cr.EarlyStopping(model, patience=2, mode=mode)
    assert (
        cr.fit(model, F.mse_loss, optimizer, batches, early_stopping=again, resume=True, **options) == history
    )
    assert model.weight.item() == weights[best]


def test_several_inputs_a_closure_method_and_a_device(device):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 1), nn.Linear(2, 1)

        def forward(self, x, y):
            return self.a(x) + self.b(y)

    x, y = cr.randn(8, 3), cr.randn(8, 2)
    target = x.sum(1, keepdim=True) - y.sum(1, keepdim=True) + 1
    model = Sum()
    model.to(device)
    optimizer = cr.optim.LBFGS(model.parameters(), lr=1, line_search_fn="strong_wolfe")
    history = cr.fit(
        model,
        F.mse_loss,
        optimizer,
        [(x, y, target)],
        [(x, y, target)],
        epochs=3,
        device=device,
        progress=False,
    )
    assert history[-1]["valid_loss"] < 1e-6


def test_lines_and_bar(capsys, monkeypatch):
    batches = [(cr.ones(2, 1), cr.zeros(2, 1))]
    bars = []

    class Bar:
        disable = False

        def __init__(self, **options):
            bars.append(options)
            self.updates, self.text = 0, ""

        def update(self):
            self.updates += 1

        def set_postfix(self, loss, refresh):
            self.text = loss

        def close(self):
            bars[-1]["closed"] = self.updates, self.text

    def fit(progress):
        model = nn.Linear(1, 1)
        optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
        cr.fit(model, F.mse_loss, optimizer, batches, epochs=2, progress=progress)
        return capsys.readouterr().out.splitlines()

    monkeypatch.setitem(sys.modules, "tqdm", types.SimpleNamespace(tqdm=Bar))
    lines = fit(True)
    assert [line[:10] for line in lines] == ["epoch 1/2 ", "epoch 2/2 "] and lines[0].endswith(" *")
    assert "loss 0." in lines[0] or "loss 1." in lines[0]
    assert bars[1]["total"] == 1 and bars[1]["desc"] == "epoch 2/2" and bars[1]["closed"][0] == 1
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(fit(True)) == 2
    assert fit(False) == []


def test_callbacks_end_the_run_and_all_are_called():
    model = nn.Linear(1, 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    history = cr.fit(
        model, F.mse_loss, optimizer, [(cr.ones(2, 1), cr.zeros(2, 1))], epochs=9,
        callbacks=[lambda row: row["epoch"] == 3, seen.append], progress=False,
    )  # fmt: skip
    assert len(history) == len(seen) == 3


def test_in_another_thread():
    model = nn.Linear(1, 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    results = []
    batches = [(cr.ones(2, 1), cr.zeros(2, 1))]
    work = lambda: results.append(cr.fit(model, F.mse_loss, optimizer, batches, epochs=1, progress=False))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(results[0]) == 1


def test_bad_calls_of_fit(tmp_path):
    model = nn.Linear(1, 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    batches = [(cr.ones(2, 1), cr.zeros(2, 1))]

    def fit(train=batches, **more):
        return cr.fit(model, F.mse_loss, optimizer, train, epochs=1, progress=False, **more)

    with pytest.raises(ValueError, match="metrics are measured on `valid`"):
        fit(metrics=[accuracy])
    with pytest.raises(ValueError, match="scheduler_every must be 'epoch' or 'batch', got 'step'"):
        fit(scheduler_every="step")
    with pytest.raises(ValueError, match="resume=True needs the folder"):
        fit(resume=True)
    with pytest.raises(ValueError, match="epoch 1 has no batches"):
        fit(train=[])
    with pytest.raises(TypeError, match=r"a batch must be a tuple \(input, ..., target\), got Tensor"):
        fit(train=[cr.ones(2)])
    fit(checkpoint=tmp_path)
    with pytest.raises(
        ValueError, match=r"has the state of \['model', 'optimizer'\], this run has \['early_stopping'"
    ):
        fit(checkpoint=tmp_path, resume=True, early_stopping=cr.EarlyStopping())


# --- evaluate ---


def test_evaluate():
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))
    model[0].eval()  # on purpose
    x, y = cr.randn(10, 4), cr.randint(0, 3, (10,))
    batches = [(x[:7], y[:7]), (x[7:], y[7:])]
    found = training.evaluate(model, F.cross_entropy, batches, {"acc": accuracy, "running": Accuracy(), "confusion": confusion_matrix})  # fmt: skip
    assert model.training and model[1].training and not model[0].training
    model.eval()
    scores = model(x)
    assert found["loss"] == pytest.approx(F.cross_entropy(scores, y).item(), rel=1e-6)
    assert found["acc"] == found["running"] == (scores.argmax(1) == y).float().mean().item()
    assert found["confusion"] == confusion_matrix(scores, y).tolist()
    with pytest.raises(ValueError, match="there are no batches"):
        training.evaluate(model, F.cross_entropy, [])


# --- find_lr ---


def test_find_lr_finds_the_rate_of_a_bowl_and_puts_everything_back():
    run = Run()
    run.fit(1, early_stopping=None)  # there is a state and there are gradients
    run.model[1].eval()
    gradients = [(param.grad, param.grad.tolist()) for param in run.model.parameters()]
    modes = [module.training for module in run.model.modules()]
    before, arrays = (
        copy.deepcopy(leaves(run.optimizer.state_dict())),
        [id(param._array) for param in run.model.parameters()],
    )
    model = leaves(run.model.state_dict())
    randomness = cr.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    sweep = cr.find_lr(run.model, F.cross_entropy, run.optimizer, run.train, steps=30)
    assert leaves(run.model.state_dict()) == model and leaves(run.optimizer.state_dict()) == before
    assert (cr.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()) == randomness
    assert [module.training for module in run.model.modules()] == modes
    assert all(param.grad is grad and grad.tolist() == value for param, (grad, value) in zip(run.model.parameters(), gradients, strict=True))  # fmt: skip
    assert [id(param._array) for param in run.model.parameters()] == arrays
    assert len(sweep.rates) == len(sweep.losses) == len(sweep.smoothed) <= 30
    assert sweep.rates[0] == pytest.approx(1e-6) and sweep.suggestion > 1e-7
    assert sweep.rates[2] / sweep.rates[1] == pytest.approx(sweep.rates[1] / sweep.rates[0])


def test_find_lr_ends_where_gradient_descent_diverges():
    # (w - 1)^2 and (w + 1)^2 in turn: the steps diverge at a rate of 1.
    model = nn.Linear(1, 1, bias=False)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    batches = [(cr.ones(1, 1), cr.full((1, 1), value)) for value in (1.0, -1.0)]
    sweep = cr.find_lr(model, F.mse_loss, optimizer, batches, low=1e-4, high=100, steps=200, smoothing=0.9)
    assert 0.3 < sweep.rates[-1] < 20 and len(sweep.rates) < 200


def test_find_lr_after_an_error_and_with_bad_arguments():
    model = nn.Linear(1, 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = [(cr.ones(1, 1), cr.ones(1, 1))] * 2 + [None]
    before = leaves(model.state_dict()), str(optimizer.state_dict())
    with pytest.raises(TypeError, match="a batch must be a tuple"):
        cr.find_lr(model, F.mse_loss, optimizer, batches)
    with pytest.raises(RuntimeError, match="the loss is not finite from the learning rate 1e-06 on"):
        cr.find_lr(model, lambda a, b: (a * math.inf).sum(), optimizer, batches)
    assert (leaves(model.state_dict()), str(optimizer.state_dict())) == before
    for bad, message in (
        ({"low": 1.0, "high": 0.5}, "0 < low < high, got low=1.0, high=0.5"),
        ({"steps": 1}, "steps must be at least 2"),
        ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            cr.find_lr(model, F.mse_loss, optimizer, batches, **bad)
    with pytest.raises(ValueError, match="the loader has no batches"):
        cr.find_lr(model, F.mse_loss, optimizer, [])


# --- EMA ---


@pytest.mark.parametrize("corrected", [False, True])
def test_ema(corrected):
    model = nn.Linear(2, 1, bias=False).double()
    ema = training.EMA(model, 0.9, bias_correction=corrected)
    mean, weight = model.weight.detach().numpy().copy(), 0.0
    mean = mean * (0 if corrected else 1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    handle = ema.attach(optimizer)
    for _ in range(5):
        model.weight.grad = cr.randn(1, 2, dtype=cr.float64)
        optimizer.step()
        mean = 0.9 * mean + 0.1 * model.weight.detach().numpy()
        weight = 0.9 * weight + 0.1
    mean = mean / weight if corrected else mean
    own = model.weight.tolist()
    with ema.applied():
        np.testing.assert_allclose(model.weight.detach().numpy(), mean, rtol=1e-13)
    assert model.weight.tolist() == own
    twin = copy.deepcopy(model)
    with ema.applied(twin):
        np.testing.assert_allclose(twin.weight.detach().numpy(), mean, rtol=1e-13)
        assert model.weight.tolist() == own
    other = training.EMA(model, 0.9)
    other.load_state_dict(ema.state_dict())
    assert other.averages[0].tolist() == ema.averages[0].tolist() and other.total == ema.total
    handle.remove()
    optimizer.step()
    assert other.averages[0].tolist() == ema.averages[0].tolist()
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        training.EMA(model, 1.5)


def test_ema_of_decay_one_stays():
    model = nn.Linear(2, 1)
    ema = training.EMA(model, 1.0)
    before = model.weight.tolist()
    with cr.no_grad():
        model.weight.add_(1)
    ema.update()
    assert ema.averages[0].tolist() == before


# --- logs ---


def test_log(tmp_path):
    log = training.Log(tmp_path / "new" / "run.jsonl")
    log(step=1, loss=cr.tensor(0.5), bad=math.nan, far=-math.inf, name="é\n", list=[1, cr.tensor([1.5, 2.0])])
    log({"step": 2}, loss=np.float32(0.25))
    with open(log.path, "ab") as file:  # a crash in the middle of a line
        file.write(b'{"step": 3, "lo')
    log = training.Log(log.path)
    log(step=4, ok=True, none=None)
    rows = log.read()
    assert [row["step"] for row in rows] == [1, 2, 4]
    assert rows[0]["loss"] == 0.5 and math.isnan(rows[0]["bad"]) and rows[0]["far"] == -math.inf
    assert rows[0]["name"] == "é\n" and rows[0]["list"] == [1, [1.5, 2.0]] and rows[1]["loss"] == 0.25
    assert rows[2] == {"step": 4, "ok": True, "none": None}
    strict = [json.loads(line, parse_constant=pytest.fail) for line in log.path.read_bytes().splitlines()[:2]]
    assert strict[0]["bad"] == "NaN"
    with pytest.raises(TypeError, match="Log: cannot write a object"):
        log(x=object())
    assert len(log.read()) == 3


def test_tensorboard_writer(tmp_path, monkeypatch):
    calls = []

    class SummaryWriter:
        def __init__(self, logdir, **options):
            calls.append(("open", logdir, options))

        def add_scalar(self, name, value, step=None):
            calls.append((name, value, step))

        def add_histogram(self, name, values, step=None):
            calls.append((name, values.tolist(), step))

        def add_text(self, *args):
            calls.append(args)

        def flush(self):
            pass

        def close(self):
            calls.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    with training.TensorBoardWriter(tmp_path, flush_secs=3) as writer:
        writer({"epoch": 2, "loss": 0.5, "confusion": [[1]]})
        writer.add_histogram("weights", cr.ones(2, requires_grad=True), 7)
        writer.add_text("a", "b")
    assert calls == [
        ("open", str(tmp_path), {"flush_secs": 3}), ("loss", 0.5, 2), ("weights", [1.0, 1.0], 7), ("a", "b"), "closed",
    ]  # fmt: skip
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'tensorboardX is not installed: pip install "chainrule\[log\]"'):
        training.TensorBoardWriter(tmp_path)


def test_tensorboard_event_file(tmp_path):
    pytest.importorskip("tensorboardX")
    with training.TensorBoardWriter(tmp_path) as writer:
        writer({"epoch": 1, "loss": 0.5})
    (file,) = tmp_path.glob("events.out.tfevents.*")
    assert b"loss" in file.read_bytes()


# --- checks ---


def test_expected_initial_loss():
    assert training.expected_loss(10) == pytest.approx(2.302585, abs=5e-7)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 10))
    batch = cr.rand(50, 4), cr.arange(50) % 10
    state, random_state = leaves(model.state_dict()), cr.get_rng_state().tolist()
    check = training.check_initial_loss(model, F.cross_entropy, batch, training.expected_loss(10))
    assert check.ok and check.value == pytest.approx(check.expected, rel=0.2), check.message
    with cr.no_grad():
        model[2].weight.mul_(100)
    check = training.check_initial_loss(model, F.cross_entropy, batch, training.expected_loss(10))
    assert not check.ok and "expected 2.30259: not as expected" in check.message
    assert model.training and cr.get_rng_state().tolist() == random_state and len(state) == 2
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        training.expected_loss(1)


def test_overfitting_a_tiny_batch():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.9), nn.Linear(16, 3))
    batch = cr.randn(6, 4), cr.arange(6) % 3
    state, random_state = leaves(model.state_dict()), cr.get_rng_state().tolist()
    check = training.check_overfit(model, F.cross_entropy, batch)
    assert check.ok and check.value < 0.02 and "learned by heart" in check.message
    assert leaves(model.state_dict()) == state and cr.get_rng_state().tolist() == random_state
    broken = nn.Sequential(nn.Linear(4, 3), nn.Threshold(1e9, 0.0))
    check = training.check_overfit(broken, F.cross_entropy, batch, steps=20)
    assert not check.ok and check.value == pytest.approx(math.log(3)) and "20 steps" in check.message
    assert all(param.grad is None for param in model.parameters())


# --- pictures ---

ROWS = [
    {
        "epoch": i,
        "lr": 0.1 / i,
        "loss": 1 / i,
        "valid_loss": 1.1 / i,
        "valid_accuracy": 1 - 0.5 / i,
        "list": [1],
    }
    for i in range(1, 6)
]


def saddle(x, y):
    return x * x - y * y


@pytest.mark.cpu_only
def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    figure = training.plot_history(ROWS, tmp_path / "curves.png")
    assert [axes.get_title() for axes in figure.axes] == ["loss", "metrics", "learning rate"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["loss", "valid loss"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == [row["valid_loss"] for row in ROWS]
    same = training.plot_history({"loss": [3.0, 2.0], "lr": [1.0, 1.0]}, tmp_path / "curves.svg")
    assert len(same.axes) == 1 and same.axes[0].lines[0].get_xdata().tolist() == [1, 2]
    path = training.descend(saddle, (1.0, 0.1), lambda p: cr.optim.SGD(p, lr=0.1), steps=10)
    for log in (False, True):
        figure = training.plot_contour(saddle, tmp_path / "saddle.png", paths={"SGD": path}, log=log)
        np.testing.assert_allclose(figure.axes[0].lines[0].get_xydata(), path)
    figure = training.plot_contour(lambda x, y: (x - 1) ** 2, None)
    assert len(figure.axes) == 1
    for name in ("curves.png", "saddle.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    sweep = training.Sweep([1e-3, 1e-2, 1e-1], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0])
    assert len(sweep.plot(tmp_path / "sweep.png").axes[0].lines) == 3


@pytest.mark.cpu_only
def test_text_where_there_is_no_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = training.plot_history(ROWS, tmp_path / "curves.png")
    assert text.splitlines()[0] == "loss            █▄▂▁▁  1 -> 0.2"
    assert (tmp_path / "curves.txt").read_text(encoding="utf-8") == text + "\n"
    path = [(-2.0, -2.0), (2.0, 2.0)]
    lines = training.plot_contour(lambda x, y: x + y, paths={"SGD": path}).splitlines()
    assert len(lines) == 25 and lines[-1] == "a: SGD"
    assert lines[0][-1] == lines[-2][0] == "a" and lines[0][-2] == "@" and lines[-2][1] == " "
    sweep = training.Sweep([1e-3, 1e-2, 1e-1], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0])
    assert sweep.plot().splitlines()[1] == "loss  █▁▅  3 -> 2" or "█▁▄" in sweep.plot()
    with pytest.raises(ValueError, match="the history is empty"):
        training.plot_history([])


def test_sparklines():
    from chainrule.training.plots import sparkline

    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert (
        sparkline([1.0, math.nan, 2.0]) == "▁?█"
        and sparkline([2.0, 2.0]) == "▁▁"
        and sparkline([math.nan]) == "?"
    )
    assert len(sparkline(range(1000))) == 60


def test_descend_is_the_optimizers_own_path():
    path = training.descend(
        lambda x, y: x**2 + 10 * y**2, (1.0, 1.0), lambda p: cr.optim.SGD(p, lr=0.05), steps=3
    )
    np.testing.assert_allclose(path, [(0.9**n, 0.0**n) for n in range(4)], atol=1e-6)
    bfgs = training.descend(
        lambda x, y: x**2 + 10 * y**2, (1.0, 1.0), lambda p: cr.optim.LBFGS(p, max_iter=1), steps=30
    )
    assert max(map(abs, bfgs[-1])) < 1e-3


# --- the whole ---


def test_names_are_loaded_late(environment):
    script = (
        "import sys, chainrule as cr; cr.training; assert 'chainrule.training.fitting' not in sys.modules; "
        "assert cr.fit is cr.training.fit and cr.watch is cr.training.watch and cr.find_lr is cr.training.find_lr; "
        "assert all(getattr(cr.training, name) for name in cr.training.__all__); "
        "assert not {'matplotlib', 'tqdm', 'tensorboardX'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", script], env=environment, check=True)


def test_the_example(tmp_path, environment):
    pytest.importorskip("sklearn")

    def run(*args):
        command = [
            sys.executable,
            ROOT / "examples" / "train_with_fit.py",
            "--device",
            "cpu",
            "--out",
            tmp_path,
            *args,
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    lines = run("--epochs", "2")
    assert float(lines[-1].removeprefix("test accuracy: ")) > 0.9
    assert len(training.Log(tmp_path / "log.jsonl").read()) == 2
    assert (tmp_path / "best.safetensors").exists() and (tmp_path / "last.safetensors").exists()
    assert sum(line.startswith("epoch ") for line in run("--epochs", "3", "--resume")) == 1


@pytest.mark.slow
def test_the_examples_accuracy(tmp_path, environment):
    pytest.importorskip("sklearn")
    command = [sys.executable, ROOT / "examples" / "train_with_fit.py", "--device", "cpu", "--out", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1].removeprefix("test accuracy: ")) >= 0.97
