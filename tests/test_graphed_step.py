"""Training steps captured as graphs, on the stand-in for a card: N captured steps are N eager steps, bit for bit, or are refused.

The stand-in leaves nothing of a capture behind and replays into the same memory (`backends/fakegraph.py`); the kernels are emulated.
"""

import copy
import inspect
import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import backends, nn
from chainrule.backends import get, random
from chainrule.backends.capturing import CaptureError
from tests.kernels import emulator, on_fake

make = cr.cuda.make_graphed_step


@pytest.fixture
def emulated(monkeypatch):
    """The kernels installed on the fake device for one test."""
    if emulator.COMPILER is None:
        pytest.skip("g++ is not installed (CXX names another compiler)")
    before = set(backends.kernels)
    monkeypatch.setattr(get("fake"), "kernels", {})
    yield on_fake.installed()
    backends.kernels.intersection_update(before)


# --- models, and data for them ---


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.2), nn.Flatten(), nn.Linear(36, 3)
    )  # fmt: skip


class Last(nn.Module):
    """The last output of an LSTM, classified."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 8, num_layers=2, dropout=0.2, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    """Two layers over embedded tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.layers(self.embedding(x)).mean(1))


SHAPES = {"mlp": (6,), "cnn": (2, 6, 6), "lstm": (4, 5), "transformer": (7,)}
MODELS = {"mlp": mlp, "cnn": cnn, "lstm": Last, "transformer": Transformer}


def batches(name, count=9, size=8):
    rng = np.random.default_rng(0)
    for _ in range(count):
        shape = (size, *SHAPES[name])
        x = (
            rng.integers(0, 11, shape)
            if name == "transformer"
            else rng.standard_normal(shape).astype("float32")
        )
        yield x, rng.integers(0, 3, size)


OPTIMIZERS = {
    "adam": lambda p: cr.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: cr.optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: cr.optim.AdamW(p, lr=0.01),
    "sgd": lambda p: cr.optim.SGD(p, lr=0.1),
    "nesterov": lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "dampened": lambda p: cr.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01),
}


class Training:
    """A model with optimizer, scheduler, scaler and a step, made the same every time."""

    def __init__(self, model="mlp", optimizer="adam", clip=None, scaler=None, scheduler=None):
        cr.manual_seed(7)
        self.model = MODELS[model]().to("fake")
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())
        schedule = scheduler or (lambda one: cr.optim.lr_scheduler.ExponentialLR(one, 0.8))
        self.scheduler = schedule(self.optimizer)
        self.scaler = scaler and scaler()
        self.clip = clip

    def step(self, x, y):
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
        if self.scaler is None:
            loss.backward()
            self.finish(self.optimizer.step)
        else:
            self.scaler.scale(loss).backward()
            if self.clip:
                self.scaler.unscale_(self.optimizer)
            self.finish(lambda: self.scaler.step(self.optimizer))
            self.scaler.update()
        return loss

    def finish(self, step):
        if self.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        step()

    def run(self, data, graphed):
        step = make(self.step, device="fake") if graphed else self.step
        self.losses = []
        for x, y in data:
            x, y = (cr.tensor(one, device="fake") for one in (x, y))
            self.losses.append(step(x, y).item())
            self.scheduler.step()
        assert not graphed or step.graphs() == 1
        return self

    def state(self):
        """Everything that N steps leave behind, in host memory."""
        return {
            "losses": np.array(self.losses),
            "drawn": random.default_generator.get_state(),
            "lr": np.array(self.scheduler.get_last_lr()),
            **{f"model {key}": one.cpu().numpy() for key, one in self.model.state_dict().items()},
            **{f"grad {key}": one.grad.cpu().numpy() for key, one in self.model.named_parameters()},
            **{
                f"{index} {key}": np.array(one.cpu().numpy(), "float64")
                for index, entries in self.optimizer.state_dict()["state"].items()
                for key, one in entries.items()
            },
            **{f"scaler {key}": np.array(one) for key, one in (self.scaler.state_dict() if self.scaler else {}).items()},
        }  # fmt: skip


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, one in ours.items():
        np.testing.assert_array_equal(one, theirs[key], err_msg=key)


def compare(data=None, **options):
    data = list(data or batches(options.get("model", "mlp")))
    eager = Training(**options).run(data, False).state()
    graphed = Training(**options).run(data, True)
    same(graphed.state(), eager)
    return graphed


# --- captured steps are eager steps ---


@pytest.mark.parametrize("model", MODELS)
def test_models(emulated, model):
    compare(model=model, optimizer="adamw")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizers(emulated, optimizer):
    compare(optimizer=optimizer, clip=0.5)


def test_options_that_schedules_change(emulated):
    compare(scheduler=lambda one: cr.optim.lr_scheduler.OneCycleLR(one, 0.1, total_steps=10))
    compare(
        optimizer="nesterov",
        scheduler=lambda one: cr.optim.lr_scheduler.CyclicLR(one, 0.01, 0.1, step_size_up=3),
    )


@pytest.mark.filterwarnings("ignore:ExponentialLR.step")  # the first steps are skipped
@pytest.mark.parametrize("optimizer", ["adam", "dampened"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_scaler_skips_steps_grows_and_shrinks(emulated, optimizer, clip):
    def scaler():
        return cr.amp.GradScaler(
            "fake", init_scale=3e4, growth_interval=2, backoff_factor=0.3, growth_factor=1.7
        )

    data = list(batches("mlp", 12))
    for k in (0, 1, 2, 7):  # all steps before the capture are skipped: the optimizer has no state then
        data[k] = (data[k][0] * np.float32(np.inf), data[k][1])
    trained = compare(data, optimizer=optimizer, clip=clip, scaler=scaler)
    assert math.isnan(trained.losses[7]) and all(map(math.isfinite, trained.losses[8:]))
    steps = [entries.get("step") for entries in trained.optimizer.state.values()]
    assert optimizer != "adam" or steps[0].item() == 8


def test_a_scaler_may_be_updated_outside(emulated):
    results = []
    for graphed in (False, True):
        cr.manual_seed(1)
        weight = cr.ones(3, device="fake", requires_grad=True)
        optimizer = cr.optim.SGD([weight], lr=0.1, momentum=0.5)
        scaler = cr.amp.GradScaler("fake", init_scale=8.0, growth_interval=2)

        def step(x, weight=weight, optimizer=optimizer, scaler=scaler):
            optimizer.zero_grad()
            loss = (weight * x).square().sum()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            return loss

        run = make(step, device="fake") if graphed else step
        scales = []
        for k in range(10):
            run(cr.full((3,), math.inf if k == 6 else k, device="fake"))
            scaler.update()
            scales.append(scaler.get_scale())
            if k == 7:
                scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0})
        results.append((scales, weight.tolist()))
    assert results[0] == results[1] and results[0][0][6] == results[0][0][5] / 2


def test_without_kernels_on_the_stand_in():
    """Where no emulated kernel is installed a step is captured all the same, which `check_step` needs."""
    data = list(batches("mlp"))
    for optimizer in ("adam", "dampened"):
        eager, graphed = (Training(optimizer=optimizer, clip=0.5).run(data, one) for one in (False, True))
        np.testing.assert_allclose(graphed.losses, eager.losses, rtol=1e-4)
        assert "adam" not in get("fake").kernels


def test_eager_steps_follow_graphed_ones_and_the_other_way_round(emulated):
    data = [[cr.tensor(one, device="fake") for one in pair] for pair in batches("mlp", 14)]
    eager, mixed = Training(), Training()
    cr.manual_seed(3)
    right = [eager.step(*pair).item() for pair in data]
    cr.manual_seed(3)
    graphed = make(mixed.step, device="fake", warmup=1)
    ours = [(mixed.step if k % 5 == 4 else graphed)(*pair).item() for k, pair in enumerate(data)]
    assert ours == right and graphed.graphs() == 1
    assert [int(one["step"].item()) for one in mixed.optimizer.state.values()] == [14] * 4


def test_state_is_saved_and_loaded_between_replays(emulated):
    data = [[cr.tensor(one, device="fake") for one in pair] for pair in batches("mlp", 12)]
    results = []
    for graphed in (False, True):
        one = Training(optimizer="amsgrad")
        step = make(one.step, device="fake") if graphed else one.step
        losses = [step(*pair).item() for pair in data[:6]]
        saved = copy.deepcopy((one.model.state_dict(), one.optimizer.state_dict()))
        losses += [step(*pair).item() for pair in data[6:9]]
        one.model.load_state_dict(saved[0])
        one.optimizer.load_state_dict(saved[1])
        losses += [step(*pair).item() for pair in data[9:]]
        results.append(losses)
        assert {float(entries["step"]) for entries in one.optimizer.state.values()} == {9.0}
        fresh = Training(optimizer="amsgrad")
        fresh.optimizer.load_state_dict(one.optimizer.state_dict())
        assert {float(entries["step"]) for entries in fresh.optimizer.state.values()} == {9.0}
    assert results[0] == results[1]


def test_gradients_may_add_up_over_several_calls_of_backward(emulated):
    """Micro-batches in one step; gradients zeroed in place; gradients that are never zeroed."""

    def micro(one, x, y):
        one.optimizer.zero_grad()
        for part in range(2):
            F.cross_entropy(one.model(x[part::2]), y[part::2]).backward()
        one.optimizer.step()
        return one.model[0].weight.sum()

    def in_place(one, x, y):
        one.optimizer.zero_grad(set_to_none=False)
        return never(one, x, y)

    def never(one, x, y):
        loss = F.cross_entropy(one.model(x), y)
        loss.backward()
        one.optimizer.step()
        return loss

    def at_the_end(one, x, y):
        loss = never(one, x, y)
        one.optimizer.zero_grad()
        return loss

    for step in (micro, in_place, never, at_the_end):
        results = []
        for graphed in (False, True):
            one = Training()
            one.step = lambda x, y, one=one, step=step: step(one, x, y)
            one.run(batches("mlp"), graphed)
            results.append(
                (one.losses, [None if p.grad is None else p.grad.tolist() for p in one.model.parameters()])
            )
        assert results[0] == results[1], step


def test_a_learning_rate_on_the_device_and_capturable(emulated):
    losses = []
    for graphed, rate, capturable in [
        (False, 0.02, False), (False, 0.02, True), (True, cr.tensor(0.02, dtype=cr.float64, device="fake"), False), (True, 0.02, True),
    ]:  # fmt: skip
        cr.manual_seed(7)
        model = mlp().to("fake")
        optimizer = cr.optim.AdamW(model.parameters(), lr=rate, capturable=capturable)
        scheduler = cr.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = make(step, device="fake") if graphed else step
        losses.append([])
        for x, y in batches("mlp", 8):
            losses[-1].append(run(cr.tensor(x, device="fake"), cr.tensor(y, device="fake")).item())
            scheduler.step()
        counts = {entries["step"].device.type for entries in optimizer.state.values()}
        assert counts == {"fake" if capturable or graphed else "cpu"}
    assert losses[0] == losses[1] == losses[2] == losses[3]


# --- arguments and results ---


def test_arguments_may_be_arrays_nested_and_of_several_shapes(emulated):
    weight = cr.ones(3, device="fake", requires_grad=True)
    optimizer = cr.optim.SGD([weight], lr=0.0)

    @make_on_fake
    def step(batch, power, *, calls=[]):  # noqa: B006
        optimizer.zero_grad()
        calls.append(1)
        loss = (weight * batch["x"] ** power).sum() + batch["rest"][0]
        loss.backward()
        optimizer.step()
        return {"loss": loss, "pair": (weight.grad, None)}

    for k in range(6):
        x = np.full(3, k, "float32")
        for power in (1, 2):
            for given in (x, cr.tensor(x), cr.tensor(x, device="fake")):
                found = step({"x": given, "rest": [cr.tensor(1.0)]}, power)
                assert found["loss"].item() == 3 * k**power + 1
                assert found["pair"][0].tolist() == [k**power] * 3 and found["pair"][1] is None
    assert step.graphs() == 2
    assert len(inspect.signature(step.step).parameters["calls"].default) == 2 * (3 + 1)
    step({"x": np.ones(1, "float32"), "rest": [cr.tensor(1.0)]}, 1)
    step({"x": np.ones((3, 1), "float32"), "rest": [cr.tensor(1.0)]}, 1)
    with pytest.raises(CaptureError, match=r"number 5, \(float64 \(3,\), float32 \(\)\).*drop_last=True"):
        step({"x": np.ones(3), "rest": [cr.tensor(1.0)]}, 1)


def make_on_fake(step):
    return make(step, device="fake")


def test_results_are_overwritten_and_a_graph_that_was_recorded_on_them_refuses(emulated):
    one = Training()
    step = make(one.step, device="fake")
    (x, y), (x2, y2) = batches("mlp", 2)
    for _ in range(4):
        loss = step(x, y)
    assert not loss.requires_grad
    before = loss.item()
    weight = cr.ones((), device="fake", requires_grad=True)
    stale = weight * loss
    recorded = one.model[0].weight.square().sum()
    step(x2, y2)
    assert loss.item() != before
    for each in (stale, recorded):
        with pytest.raises(RuntimeError, match="in-place"):
            each.backward()


def test_nothing_of_a_capture_is_left(emulated):
    """The stand-in is as strict as a card: values that a capture seems to compute are not there before a replay."""
    from chainrule.backends.fakegraph import FakeCapture

    weight = cr.tensor([1.0, 2.0], device="fake", requires_grad=True)
    optimizer = cr.optim.Adam([weight], lr=0.1)
    weight.square().sum().backward()
    with FakeCapture(get("fake")) as graph:
        loss = weight.square().sum()
        optimizer.step()
        index = (weight * 0).long()
    assert weight.tolist() == [1.0, 2.0] and math.isnan(loss.item()) and index.tolist() == [119, 119]
    assert optimizer.state[weight]["step"].item() == 0
    graph.replay()
    assert (
        loss.item() == 5.0 and weight.tolist() != [1.0, 2.0] and optimizer.state[weight]["step"].item() == 1
    )


# --- refusals ---


def trained(**options):
    one = Training(**options)
    step = make(one.step, device="fake")
    x, y = next(batches(options.get("model", "mlp")))
    for _ in range(5):
        step(x, y)
    return one, lambda: step(x, y)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda one: setattr(one.model[0].weight, "data", one.model[0].weight.data.clone()), "'weight' of Sequential.0 was put into other memory"),
        (lambda one: one.model.double(), "'weight' of Sequential.0 was put into other memory"),
        (lambda one: one.model.load_state_dict(copy.deepcopy(one.model.state_dict()), assign=True), "'weight' of Sequential.0 was put into other"),
        (lambda one: one.model.eval(), r"Sequential was captured in training mode.*call model\.train\(\)"),
        (lambda one: one.model[3].eval(), "Linear was captured in training mode"),
        (lambda one: one.model[0].requires_grad_(False), "requires_grad of 'weight' of Sequential.0 was changed"),
        (lambda one: one.optimizer.param_groups[0].update(amsgrad=True), "Adam: amsgrad, momentum"),
        (lambda one: one.optimizer.add_param_group({"params": [cr.ones(2, device="fake", requires_grad=True)]}), "the number of parameter groups"),
        (lambda one: one.optimizer.state[one.model[0].weight].update(exp_avg=cr.zeros(16, 6, device="fake")), "the state 'exp_avg' of Adam"),
    ],
)  # fmt: skip
def test_what_no_longer_fits_the_graph_is_refused(emulated, change, message):
    one, again = trained()
    change(one)
    before = [p.tolist() for p in one.model.parameters()]
    with pytest.raises(CaptureError, match=message):
        again()
    assert [p.tolist() for p in one.model.parameters()] == before


def test_what_is_put_back_may_go_on(emulated):
    one, again = trained()
    one.model.eval()
    with pytest.raises(CaptureError):
        again()
    one.model.train()
    again()
    one.model.load_state_dict(copy.deepcopy(one.model.state_dict()))
    one.optimizer.load_state_dict(copy.deepcopy(one.optimizer.state_dict()))
    again()


def test_gradients_that_eager_steps_would_have_added_up_are_refused(emulated):
    one = Training()

    def step(x, y):
        loss = F.cross_entropy(one.model(x), y)
        loss.backward()
        one.optimizer.step()
        return loss

    graphed = make(step, device="fake")
    x, y = next(batches("mlp"))
    for _ in range(6):  # zeroed outside every time
        one.optimizer.zero_grad()
        graphed(x, y)
        assert one.model[0].weight.grad is not None
    with pytest.raises(CaptureError, match="had no gradient when the step was captured and has one now"):
        graphed(x, y)


class Rebinding(nn.Module):
    """A module whose forward gives its buffer other memory."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", cr.zeros(6))

    def forward(self, x):
        self.seen = self.seen + x.detach().mean(0)
        return x


BAD = {
    "item": (lambda one, loss: loss.item() and loss, "host read", "lets Python read a value"),
    "if": (lambda one, loss: loss if loss > 0 else -loss, "host read", "lets Python read a value"),
    "mask": (lambda one, loss: one.model[0].weight[one.model[0].weight > 0].sum(), "host read", "shape only the device knows"),
    "to cpu": (lambda one, loss: loss.cpu() and loss, "copy to the host", "copies data to the host"),
    "from the host": (lambda one, loss: loss * cr.tensor([2.0], device="fake"), "copy from the host", "copies data of the host"),
    "data": (lambda one, loss: setattr(one.model[0].weight, "data", one.model[0].weight.data * 2) or loss, "moved", "other memory is put under a Tensor"),
    "scheduler": (lambda one, loss: one.scheduler.step() or loss, "counts in Python", "a learning rate is scheduled in the step"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_a_graph_cannot_repeat_is_refused_with_its_line(emulated, name):
    bad, kind, message = BAD[name]
    one = Training()

    def step(x, y):
        loss = one.step(x, y)
        loss = bad(one, loss)  # here
        return loss

    graphed = make(step, device="fake")
    x, y = next(batches("mlp"))
    for _ in range(3):
        graphed(x, y)
    with pytest.raises(CaptureError, match=message) as error:
        graphed(x, y)
    assert "test_graphed_step.py" in str(error.value)
    found = cr.cuda.check_step(step, x, y)
    assert any(one.kind == kind and message in one.what and "lambda" in one.line for one in found), found
    assert message in str(found)


def test_a_buffer_that_is_given_other_memory_is_refused(emulated):
    one = Training()
    one.model = nn.Sequential(Rebinding(), *one.model).to("fake")
    graphed = make(one.step, device="fake")
    x, y = next(batches("mlp"))
    for _ in range(3):
        graphed(x, y)
    with pytest.raises(CaptureError, match=r"'seen' of Sequential\.0 was given other memory"):
        graphed(x, y)


def test_optimizers_that_count_in_python_are_refused():
    weight = cr.ones(3, device="fake", requires_grad=True)
    for kind in (cr.optim.RMSprop, cr.optim.Adagrad, cr.optim.NAdam, cr.optim.LBFGS):
        optimizer = kind([weight])

        def step(x, optimizer=optimizer, kind=kind):
            optimizer.zero_grad()
            loss = (weight * x).square().sum()
            loss.backward()
            if kind is not cr.optim.LBFGS:
                optimizer.step()
            else:
                optimizer.step(lambda: (weight * x).square().sum())
            return loss

        found = cr.cuda.check_step(step, np.ones(3, "float32"))
        assert [one.kind for one in found][:1] == ["optimizer"], (kind, found)
        assert kind.__name__ in str(found) and "use Adam, AdamW or SGD" in str(found)


def test_results_and_arguments_that_are_no_tensors():
    for result in (3.0, "loss", np.ones(2), [cr.ones(2), 1]):
        with pytest.raises(TypeError, match="a step returns Tensors"):
            make(lambda x, result=result: result, device="fake")(np.ones(3))
    found = cr.cuda.check_step(lambda x: (x * 2, 3.0), np.ones(3))
    assert [one.kind for one in found] == ["output"] and "returns a float" in str(found)
    with pytest.raises(ValueError, match="requires a gradient"):
        make(lambda x: x, device="fake")(cr.ones(2, device="fake", requires_grad=True))
    with pytest.raises(TypeError, match="values that can be hashed, got set"):
        make(lambda x: x, device="fake")({1})
    with pytest.raises(TypeError, match="expected a function, got int"):
        make(3)
    with pytest.raises(ValueError, match="warmup must be an integer of at least 1, got 0"):
        make(abs, warmup=0)
    with pytest.raises(ValueError, match='steps are captured on "cuda"'):
        make(abs, device="cpu")


def test_a_good_step_has_no_findings(emulated):
    for model in MODELS:
        one = Training(model=model, clip=1.0, scaler=lambda: cr.amp.GradScaler("fake"))
        found = cr.cuda.check_step(one.step, *next(batches(model)))
        assert not found and str(found) == "nothing found", found


def test_all_findings_are_listed_at_once():
    one = Training()
    seen = []

    def step(x, y):
        loss = one.step(x, y)
        seen.append(loss.item())
        bias = one.model[3].bias
        loss = loss + bias[bias > -9].sum()
        return loss, len(seen)

    found = cr.cuda.check_step(step, *next(batches("mlp")))
    assert sorted(one.kind for one in found) == ["host read", "host read", "output"]
    assert "seen.append(loss.item())" in str(found) and str(found).startswith("1. ")


def test_generators_of_their_own(emulated):
    results = []
    for graphed in (False, True):
        generator = random.Generator().manual_seed(5)

        def step(x, generator=generator):
            return x + cr.rand(3, generator=generator, device="fake")

        run = make(step, device="fake", generators=[generator]) if graphed else step
        results.append([run(cr.zeros(3, device="fake")).tolist() for _ in range(6)])
    assert results[0] == results[1] and len({tuple(one) for one in results[0]}) == 6


def test_what_a_failed_capture_leaves(emulated):
    """Parameters, state and gradients are those from before, and the step can be called on."""
    one, allowed = Training(), []

    def step(x, y):
        loss = one.step(x, y)
        if not allowed:
            loss.item()
        return loss

    graphed = make(step, device="fake", warmup=1)
    right = Training()
    data = [[cr.tensor(each, device="fake") for each in pair] for pair in batches("mlp", 4)]
    cr.manual_seed(2)
    graphed(*data[0])
    with pytest.raises(CaptureError, match="item"):
        graphed(*data[1])
    allowed.append(1)
    losses = [graphed(*pair).item() for pair in data[1:]]
    cr.manual_seed(2)
    assert [right.step(*pair).item() for pair in data][1:] == losses
    with pytest.raises(RuntimeError, match="put the autocast block into the step"), cr.autocast("cpu"):
        graphed(*data[0])


def test_autocast_in_the_step(emulated):
    results = []
    for graphed in (False, True):
        one = Training(scaler=lambda: cr.amp.GradScaler("fake", init_scale=2.0**10))

        def forward(x, forward=one.model.forward):
            with cr.autocast("fake", dtype=cr.float16):
                return forward(x)

        one.model.forward = forward
        results.append(one.run(batches("mlp"), graphed).state())
    same(*results)


def test_the_state_of_a_captured_optimizer_is_saved_as_any_other(emulated, tmp_path):
    one = Training().run(batches("mlp", 6), True)
    cr.save(one.optimizer.state_dict(), tmp_path / "state.pt")
    again = Training()
    again.optimizer.load_state_dict(cr.load(tmp_path / "state.pt"))
    for mine, theirs in zip(again.optimizer.state.values(), one.optimizer.state.values(), strict=True):
        assert mine.keys() == theirs.keys() and mine["step"].item() == 6
        assert all(mine[key].tolist() == theirs[key].tolist() for key in mine)
    twin = copy.deepcopy(one.optimizer)
    assert [entries["step"].item() for entries in twin.state.values()] == [6] * 4
    scaler = copy.deepcopy(
        Training(scaler=lambda: cr.amp.GradScaler("fake")).run(batches("mlp", 6), True).scaler
    )
    assert scaler.state_dict()["_growth_tracker"] == 6


def test_steps_that_are_captured_later_may_train_other_parameters(emulated):
    """Two graphs of one optimizer, of which the second updates parameters that the first did not."""
    results = []
    for graphed in (False, True):
        one = Training(optimizer="amsgrad")

        def step(x, y, all_, one=one):
            one.optimizer.zero_grad()
            hidden = one.model[0](x)
            loss = F.cross_entropy(one.model[3](hidden if all_ else hidden.detach()), y)
            loss.backward()
            one.optimizer.step()
            return loss

        run = make(step, device="fake", warmup=1) if graphed else step
        data = [[cr.tensor(each, device="fake") for each in pair] for pair in batches("mlp", 12)]
        results.append([run(*pair, k // 4 == 1).item() for k, pair in enumerate(data)])
    assert results[0] == results[1] and run.graphs() == 2


def test_hooks_of_an_optimizer_are_refused_and_a_scaler_forgets_a_failed_capture(emulated):
    one = Training(scaler=lambda: cr.amp.GradScaler("fake"))
    graphed = make(one.step, device="fake", warmup=1)
    x, y = next(batches("mlp"))
    graphed(x, y)
    hook = one.optimizer.register_step_post_hook(lambda *_: None)
    for _ in range(2):
        with pytest.raises(CaptureError, match=r"Adam\.step calls hooks"):
            graphed(x, y)
    hook.remove()
    graphed(x, y)
    assert one.scaler.state_dict()["_growth_tracker"] == 2 and graphed.graphs() == 1


@pytest.mark.parametrize("scale", [3.0, 2.0**-3])
def test_unscaling_by_the_kernel_is_that_of_the_cpu(emulated, scale):
    found = []
    for device in ("cpu", "fake"):
        leaves = [cr.tensor(np.linspace(-3, 3, n), dtype=dtype, device=device, requires_grad=True) for n, dtype in [(5, cr.float32), (40, cr.float64)]]  # fmt: skip
        scaler = cr.amp.GradScaler(device, init_scale=scale)
        optimizer = cr.optim.SGD(leaves, lr=0.0)
        for bad in (1.0, math.nan):
            optimizer.zero_grad()
            loss = (leaves[0].square().sum() + leaves[1].square().sum()) * bad
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            found.append([leaf.grad.tolist() for leaf in leaves] if bad == 1 else [])
            scaler.step(optimizer)
            scaler.update()
            found[-1].append(scaler.get_scale())
    assert found[0] == found[2] and found[1] == found[3] == [scale / 2]
    assert "unscale" in emulated.launched


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_gradient_that_lies_in_another_order_is_one_for_the_kernel(emulated, name):
    """As those of a convolution's weight may."""
    found = []
    for wrap in (lambda step: step, lambda step: make(step, warmup=1, device="fake")):
        weight = cr.tensor(np.arange(12.0).reshape(3, 4), device="fake", requires_grad=True)
        optimizer = getattr(cr.optim, name)([weight], lr=0.1)
        x = cr.tensor(np.random.default_rng(0).standard_normal((4, 3)), device="fake")

        def step(x, weight=weight, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (weight.mT * x).square().sum()
            loss.backward()
            assert not weight.grad._array.flags.c_contiguous
            optimizer.step()
            return loss

        step = wrap(step)
        found.append([[step(x).item() for _ in range(3)], weight.tolist()])
    assert found[0] == found[1] and name.lower() in emulated.launched
