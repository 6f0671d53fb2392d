"""`cr.watch`: what it measures, that it changes nothing, and what it says."""

import copy
import gc
import math
import sys
import weakref

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.training.watching import EDGES


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def train(model, batches, steps=3, watch=None, lr=0.05, step=None, loss=F.cross_entropy):
    """A few steps of SGD; `watch` is told of each."""
    optimizer = cr.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for i in range(steps):
        *inputs, target = batches[i % len(batches)]
        value = loss(model(*inputs), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if watch is not None:
            watch.step()
    return optimizer


def batches(n=8, count=2, device=None):
    return [
        (cr.randn(n, 1, 4, 4, device=device), cr.randint(0, 3, (n,), device=device)) for _ in range(count)
    ]


def test_values_are_those_of_numpy(device):
    model = nn.Sequential(nn.Linear(3, 4, device=device), nn.ReLU())
    x = cr.randn(5, 3, device=device)
    watch = cr.watch(model, every=1)
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    y = model(x)
    (y**2).sum().backward()
    before = model[0].weight.detach().cpu().numpy().copy()
    optimizer.step()
    watch.step()
    (record,) = watch.records
    assert record["step"] == 0 and list(record["activations"]) == ["0", "1"]
    y = y.detach().cpu().numpy()
    found = record["activations"]["1"]
    expected = {
        "mean": y.mean(),
        "std": y.std(),
        "norm": np.linalg.norm(y),
        "zeros": (y == 0).mean(),
        "nan": 0,
        "inf": 0,
    }
    expected["dead"] = (y == 0).all(0).mean()
    expected["calls"] = 1
    assert found == pytest.approx(expected, rel=1e-5)
    grad = model[0].weight.grad.cpu().numpy()
    expected = {
        "mean": grad.mean(),
        "std": grad.std(),
        "norm": np.linalg.norm(grad),
        "zeros": (grad == 0).mean(),
        "nan": 0,
        "inf": 0,
    }
    assert record["gradients"]["0.weight"] == pytest.approx(expected, rel=1e-5, abs=1e-7)
    ratio = np.linalg.norm(0.1 * grad) / np.linalg.norm(before)
    assert record["updates"]["0.weight"] == pytest.approx(ratio, rel=1e-4)


@pytest.mark.parametrize("every", [1, 3])
def test_it_changes_nothing(device, every):
    cr.manual_seed(3)
    model = cnn().to(device)
    data = batches(device=device)
    twin = copy.deepcopy(model)
    state = cr.get_rng_state()
    train(model, data, 7)
    after = cr.get_rng_state().tolist()
    cr.set_rng_state(state)
    with cr.watch(twin, every=every, histograms=True) as watch:
        train(twin, data, 7, watch)
    assert cr.get_rng_state().tolist() == after
    for (name, one), other in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert one.cpu().numpy().tobytes() == other.cpu().numpy().tobytes(), name
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert one.grad.cpu().numpy().tobytes() == other.grad.cpu().numpy().tobytes()
    assert [record["step"] for record in watch.records] == list(range(0, 7, every))


def test_the_results_of_a_step_cross_to_the_host_once():
    from chainrule.backends.fakememory import counters

    model = cnn().to("fake")
    data = batches(device="fake")
    watch = cr.watch(model, every=2)

    def reads():
        return counters.copies_to_host + counters.host_reads

    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)

    def step():
        loss = F.cross_entropy(model(data[0][0]), data[0][1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step()

    seen = []
    for _ in range(5):
        begin = reads()
        step()
        seen.append(reads() - begin)
    watch.close()
    begin = reads()
    step()
    plain = reads() - begin
    assert [one - plain for one in seen] == [1, 0, 1, 0, 1]


def test_attached_to_an_optimizer():
    model, data = cnn(), batches()
    optimizer = cr.optim.SGD(model.parameters(), lr=0.1)
    watch = cr.watch(model, every=2).attach(optimizer)
    for _ in range(4):
        F.cross_entropy(model(data[0][0]), data[0][1]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [record["step"] for record in watch.records] == [0, 2] and watch.steps == 4
    assert watch.records[1]["updates"]["5.weight"] > 0
    watch.close()
    optimizer.step()
    assert watch.steps == 4 and not optimizer._post_hooks


def test_closing_removes_every_hook_and_only_its_own():
    model = cnn()
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    watch = cr.watch(model, every=1)
    watch.close()
    watch.close()
    assert [module._hooks is None for module in model] == [False] + 5 * [True]
    assert len(model[0]._hooks["forward"]) == 1
    train(model, batches(), 1, watch)
    assert calls == [1] and not watch.records and not watch.steps


def test_it_keeps_neither_model_nor_optimizer_alive():
    gc.disable()
    try:
        model = cnn()
        watch = cr.watch(model, every=1)
        optimizer = train(model, batches(), 2, watch)
        watch.attach(optimizer)
        gone = weakref.ref(model), weakref.ref(optimizer), weakref.ref(model[0].weight)
        del model, optimizer
        assert [one() for one in gone] == [None, None, None]
    finally:
        gc.enable()
    watch.step()
    assert len(watch.records) == 2 and "5.weight" in watch.table()
    watch.close()


def test_a_copy_is_not_watched():
    model = cnn()
    watch = cr.watch(model, every=1)
    twin = copy.deepcopy(model)
    assert twin[0]._hooks["forward"]
    twin(batches()[0][0])
    watch.step()
    assert not watch.records[0]["activations"]


class Twice(nn.Module):
    """A shared module, two inputs, an unused and a frozen parameter, an output that is a dict."""

    def __init__(self):
        super().__init__()
        self.shared, self.again = nn.Linear(3, 3), None
        self.again = self.shared
        self.lstm = nn.LSTM(3, 2, batch_first=True)
        self.unused = nn.Linear(2, 2)
        self.frozen = nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.scale = nn.Parameter(cr.ones(()))

    def forward(self, x, y):
        out, _ = self.lstm(self.frozen(self.again(self.shared(x)) + y))
        return {"out": out * self.scale, "number": 3}


def test_shared_modules_several_inputs_and_missing_gradients():
    model = Twice()
    watch = cr.watch(model, every=1)
    data = [(cr.randn(4, 5, 3), cr.randn(4, 5, 3), cr.zeros(4, 5, 2))]
    train(model, data, 2, watch, loss=lambda output, target: F.mse_loss(output["out"], target))
    record = watch.records[-1]
    assert record["activations"]["shared"]["calls"] == 2 and record["activations"]["lstm"]["calls"] == 1
    assert "Twice" in record["activations"] and "again" not in record["activations"]
    assert record["gradients"]["unused.weight"] is None and "frozen.weight" not in record["gradients"]
    assert record["gradients"]["scale"]["std"] == 0
    assert record["updates"]["unused.weight"] == 0
    (sentence,) = [one for one in watch.problems() if "unused.weight" in one]
    assert sentence.startswith("no gradient: unused.weight never had one")
    lines = [line.split() for line in watch.table().splitlines()]
    assert ["unused.weight", "2", "x", "2", *"------", "0.00e+00"] in lines
    assert ["scale", "number"] in [line[:2] for line in lines]


def test_only_training_counts():
    model, data = cnn(), batches()
    watch = cr.watch(model, every=1)
    model.eval()
    model(data[0][0])
    model.train()
    with cr.no_grad():
        model(data[0][0])
    assert watch._before is None
    watch.step()
    assert watch.records[0]["activations"] == {} and watch.records[0]["updates"] == {}
    assert watch.records[0]["gradients"]["5.bias"] is None


def test_dtypes_and_complex_numbers():
    class Odd(nn.Module):
        def forward(self, x):
            return x

    model = nn.Sequential(Odd())
    watch = cr.watch(model, every=1)
    for x in (
        cr.full((2, 3), 6e4, dtype=cr.float16),
        cr.full((2, 3), 3 + 4j),
        cr.ones(3, dtype=cr.int64),
        cr.ones(0, 3),
    ):
        model(x)
        watch.step()
    means = [record["activations"].get("0", {}).get("norm") for record in watch.records]
    assert means[:2] == pytest.approx([59_989.0 * 6**0.5, 5 * 6**0.5], rel=1e-3) and means[2:] == [None, None]


def test_under_vmap_and_with_a_closure_method():
    model = nn.Linear(3, 2)
    watch = cr.watch(model, every=1)
    cr.vmap(model)(cr.randn(4, 3))
    watch.step()
    optimizer = cr.optim.LBFGS(model.parameters(), max_iter=4)
    watch.attach(optimizer)
    x = cr.randn(4, 3)

    def closure():
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (
        watch.records[1]["activations"]["Linear"]["calls"] > 1 and watch.records[1]["updates"]["weight"] > 0
    )


# --- in words ---


def deep(activation, layers=10, width=32):
    modules = []
    for _ in range(layers):
        modules += [nn.Linear(width, width), activation()]
    return nn.Sequential(*modules, nn.Linear(width, 3))


def watched(model, steps=3, lr=0.05, n=16):
    watch = cr.watch(model, histograms=True, every=1)
    train(model, [(cr.randn(n, 32), cr.randint(0, 3, (n,)))], steps, watch, lr)
    return watch


def test_vanishing_gradients_of_a_deep_sigmoid_net():
    problems = watched(deep(nn.Sigmoid)).problems()
    vanishing = [one for one in problems if one.startswith("vanishing: the gradient of 0.weight is ")]
    assert len(vanishing) == 1 and vanishing[0].endswith("of that of 20.weight")
    model = deep(nn.ReLU)
    for module in model[::2]:
        nn.init.kaiming_normal_(module.weight)
    assert not any(one.startswith("vanishing") for one in watched(model).problems())


def test_exploding_gradients_and_large_steps():
    model = deep(nn.Identity)
    with cr.no_grad():
        for module in model[::2]:
            module.weight.mul_(6)
    problems = watched(model, 1).problems()
    assert any(one.startswith("exploding: the gradient of 0.weight has the norm ") for one in problems)
    assert any(one.startswith("large steps: each changes 0.weight by ") for one in problems)


def test_a_gradient_that_grows_at_once():
    model = nn.Linear(2, 1, bias=False)
    watch = cr.watch(model, every=1)
    for scale in (1e-3, 1e-3, 1e-3, 5.0):
        model.weight.grad = cr.full((1, 2), scale)
        watch.step()
    (sentence,) = watch.problems()
    assert (
        sentence == "exploding: the gradient of weight has the norm 7.07e+00, 5000 times the median of before"
    )


def test_dead_units():
    model = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    with cr.no_grad():
        model[0].bias[:6] = -100
    watch = watched(model)
    dead = [one for one in watch.problems() if one.startswith("dead")]
    assert dead == [
        "dead: 75% or more of the units of 1 (ReLU) were 0 for every sample in each of the last 3 measured steps"
    ]
    assert watch.series("activations", "dead")["1"] == [0.75] * 3
    channels = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with cr.no_grad():
        channels[0].bias[:1] = -100
    watch = cr.watch(channels, every=1)
    channels(cr.randn(2, 1, 5, 5))
    watch.step()
    assert watch.records[0]["activations"]["1"]["dead"] == 0.25


def test_nan_is_found_where_it_was_born():
    class Log(nn.Module):
        def forward(self, x):
            return x.log()

    model = nn.Sequential(nn.Linear(32, 4), nn.Identity(), Log(), nn.Linear(4, 3))
    problems = watched(model, 2).problems()
    assert (
        problems[0].startswith("NaN or Inf: the output of 2 (Log) is ")
        and "at step 0, the first step" in problems[0]
    )
    assert problems[0].endswith(", and 1 more")
    assert problems[1].startswith("NaN or Inf: the gradient of 3.bias is 100.0% NaN")


def test_nothing_to_complain_about():
    model = deep(nn.ReLU, layers=2)
    watch = watched(model, 5)
    assert watch.problems() == []
    lines = watch.table().splitlines()
    assert lines[0] == "step 4" and lines[2].split() == [
        "layer",
        "mean",
        "std",
        "zeros",
        "dead",
        "NaN",
        "Inf",
        "calls",
    ]
    assert sum(line.startswith("2.weight") for line in lines) == 1 and len(lines) == 3 + 5 + 1 + 1 + 6


def test_the_oldest_records_are_forgotten():
    model = nn.Linear(2, 2)
    watch = cr.watch(model, keep=3, every=1)
    for _ in range(10):
        watch.step()
    assert [record["step"] for record in watch.records] == [7, 8, 9]
    assert repr(watch) == "Watch(1 layers, 3 of 10 steps measured)"


# --- pictures ---


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    watch = watched(deep(nn.Tanh), 4)
    for kind in ("gradients", "updates", "dead", "activations"):
        figure = watch.plot(kind, tmp_path / f"{kind}.png")
        left, right = figure.axes
        names = [label.get_text() for label in left.get_yticklabels()]
        layers = [f"{name}  {kind}" for name, kind in watch.layers.items()]
        assert names == (list(watch.shapes) if kind in ("gradients", "updates") else layers)
        assert len(right.lines) == len(names)
        assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    figure = watch.plot("gradients")
    assert figure.axes[1].lines[0].get_ydata().tolist() == watch.series("gradients", "norm")["0.weight"]
    figure = watch.plot("histograms", tmp_path / "h.png")
    assert [axes.get_title() for axes in figure.axes][:2] == ["0.weight", "0.bias"] and len(figure.axes) == 22


def test_pictures_of_nothing_but_nan(tmp_path):
    pytest.importorskip("matplotlib")
    model = nn.Linear(2, 2)
    watch = cr.watch(model, histograms=True, every=1)
    model.weight.grad = cr.full((2, 2), math.nan)
    watch.step()
    for kind in ("gradients", "updates", "dead", "histograms"):
        watch.plot(kind, tmp_path / "a.png")


def test_histograms_count_by_size():
    model = nn.Linear(2, 2, bias=False)
    watch = cr.watch(model, histograms=True, every=1)
    model.weight.grad = cr.tensor([[1e-3, -1.2e-3], [0.0, 1e9]])
    watch.step()
    counts = watch.records[0]["histograms"]["weight"]
    place = int(np.searchsorted(EDGES, -2.95)) - 1
    assert counts.sum() == 3 and counts[-1] == 1 and counts[place] + counts[place - 1] == 2


def test_text_where_there_is_no_matplotlib(monkeypatch):
    watch = watched(deep(nn.ReLU, 1), 3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert watch.plot("gradients").splitlines()[0] == "gradient norm" and "0.weight  " in watch.plot(
        "gradients"
    )
    assert "0.weight  " in watch.plot("histograms")


def test_bad_calls():
    with pytest.raises(ValueError, match="every must be a positive integer, got 0"):
        cr.watch(nn.Linear(1, 1), every=0)
    with pytest.raises(TypeError, match="watch: expected a Module, got function"):
        cr.watch(lambda x: x, every=1)
    model = nn.Linear(1, 1)
    watch = cr.watch(model, every=1)
    assert "nothing measured yet" in watch.table() and watch.problems() == []
    with pytest.raises(RuntimeError, match="nothing measured yet"):
        watch.plot("gradients")
    with pytest.raises(
        ValueError,
        match=r"kind must be one of \['gradients', 'updates', 'activations', 'dead', 'histograms'\], got 'x'",
    ):
        watch.plot("x")
    watch.step()
    with pytest.raises(RuntimeError, match="histograms=True"):
        watch.plot("histograms")
