"""What captured steps take and give, and what they refuse: what a graph cannot repeat, and what no longer fits it."""

import copy
import inspect
import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import nn
from chainrule.backends import get, random
from chainrule.backends.capturing import CaptureError
from tests.graphed_training import MODELS, Training, batches, make

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
    with pytest.raises(TypeError, match="^cuda.check_step: expected a function, got int"):
        cr.cuda.check_step(3)
    with pytest.raises(ValueError, match="^cuda.check_step: warmup must be an integer of at least 1, got 0"):
        cr.cuda.check_step(abs, warmup=0)
    with pytest.raises(ValueError, match="max_graphs must be an integer of at least 1, got 0"):
        make(abs, max_graphs=0)
    with pytest.raises(ValueError, match='^cuda.make_graphed_step: steps are captured on "cuda"'):
        make(abs, device="cpu")
    for generators in (cr.Generator(), [3]):
        with pytest.raises(TypeError, match="generators must be a list of Generators, got "):
            make(abs, device="fake", generators=generators)
    make(abs, device="fake", generators=[random.default_generator], warmup=1)  # that of every graph


# --- refusals ---


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
    assert "test_graphed_step_refusals.py" in str(error.value)
    found = cr.cuda.check_step(step, x, y)
    assert any(one.kind == kind and message in one.what and "lambda" in one.line for one in found), found
    assert message in str(found)


def test_a_graphed_step_in_another_capture_is_refused(emulated):
    """Its replays would be one launch of the other's, which no host moves along the stream of random numbers."""
    inner = make(lambda x: F.dropout(x, 0.5).sum(), device="fake", warmup=1)
    outer = make(lambda x: inner(x) * 2, device="fake", warmup=1)
    x = cr.ones(30, device="fake")
    for _ in range(3):
        inner(x)
    outer(x)
    with pytest.raises(
        CaptureError, match="another graph is being captured.*call the function that it was made of"
    ):
        outer(x)
    assert inner(x).item() >= 0


@pytest.mark.parametrize("multi", [False, True])
def test_a_tensor_on_the_cpu_that_the_step_writes_is_refused(emulated, multi):
    """The count of an average of weights, which every replay would find where the capture left it."""
    one = Training()
    how = {"multi_avg_fn": cr.optim.swa_utils.get_ema_multi_avg_fn(0.9)} if multi else {}
    averaged = cr.optim.swa_utils.AveragedModel(one.model, **how)

    def step(x, y):
        scratch = cr.zeros(3)
        scratch[1] = 2.0  # gone with the step, and the same in every one
        loss = one.step(x, y)
        averaged.update_parameters(one.model)
        return loss

    graphed = make(step, device="fake", warmup=2)
    x, y = next(batches("mlp"))
    for _ in range(2):
        graphed(x, y)
    with pytest.raises(
        CaptureError, match=r"add_ writes to a Tensor on the CPU.*update_parameters.*after the step"
    ):
        graphed(x, y)
    assert averaged.n_averaged.item() == 2
    found = cr.cuda.check_step(step, x, y)
    assert [one.kind for one in found] == ["counts in Python"] and "update_parameters" in found[0].line


def test_a_capture_that_cannot_begin_leaves_the_generators(emulated):
    """As in two threads that capture at the same time; the default generator is asked first."""
    own = cr.Generator()
    step = make(lambda x: F.dropout(x, 0.5) + cr.rand(3, generator=own, device="fake"), device="fake", warmup=1, generators=[own])  # fmt: skip
    x = cr.ones(3, device="fake")
    step(x)
    own.begin_capture(get("fake"))
    with pytest.raises(RuntimeError, match="another graph that draws from it is being captured"):
        step(x)
    own.abandon_capture()
    assert step(x).shape == (3,) and step.graphs() == 1


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


def test_a_call_that_failed_is_no_warm_up(emulated):
    one, failing = Training(), [1, 1, 1]

    def step(x, y):
        if failing.pop() if failing else False:
            raise KeyError("a broken batch")
        return one.step(x, y)

    graphed = make(step, device="fake", warmup=2)
    x, y = next(batches("mlp"))
    for _ in range(3):
        with pytest.raises(KeyError):
            graphed(x, y)
    for graphs in (0, 0, 1):
        graphed(x, y)
        assert graphed.graphs() == graphs


def test_that_kernels_are_switched_off_is_said(monkeypatch):
    """As CHAINRULE_KERNELS=0 does on a card; the stand-in puts some in place for a capture."""
    from chainrule.backends import fakegraph

    monkeypatch.setattr(fakegraph, "_NEEDED", ())
    monkeypatch.setattr(get("fake"), "kernels", {})
    one = Training()
    found = cr.cuda.check_step(one.step, *next(batches("mlp")))
    assert "Adam.step has no kernel" in str(found) and "do not set CHAINRULE_KERNELS=0" in str(found)


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
