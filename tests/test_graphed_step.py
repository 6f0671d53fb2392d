"""Training steps captured as graphs, on the stand-in for a card: N captured steps are N eager steps, bit for bit.

The stand-in leaves nothing of a capture behind and replays into the same memory (`backends/fakegraph.py`); the kernels are emulated.
"""

import copy
import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.backends import get, random
from tests.graphed_training import MODELS, OPTIMIZERS, Training, batches, compare, make, mlp, same


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


def test_generators_of_their_own(emulated):
    results = []
    for graphed in (False, True):
        generator = random.Generator().manual_seed(5)

        def step(x, generator=generator):
            return x + cr.rand(3, generator=generator, device="fake")

        run = make(step, device="fake", generators=[generator]) if graphed else step
        results.append([run(cr.zeros(3, device="fake")).tolist() for _ in range(6)])
    assert results[0] == results[1] and len({tuple(one) for one in results[0]}) == 6


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


def test_a_leaf_that_the_step_makes_is_another_one_in_every_step(emulated):
    """A penalty on the gradient of the inputs, as adversarial training and WGAN-GP have it."""
    results = []
    for graphed in (False, True):
        one = Training()

        def step(x, y, one=one):
            one.optimizer.zero_grad()
            x = x.detach().requires_grad_()
            loss = F.cross_entropy(one.model(x), y)
            (g,) = cr.autograd.grad(loss, x, create_graph=True)
            (loss + g.square().sum()).backward()
            one.optimizer.step()
            return loss, x.grad

        run = make(step, device="fake") if graphed else step
        results.append([[part.tolist() for part in run(cr.tensor(x, device="fake"), cr.tensor(y, device="fake"))] for x, y in batches("mlp", 7)])  # fmt: skip
    assert results[0] == results[1]


def test_functional_call_puts_other_tensors_in_place_for_a_while(emulated):
    results = []
    for graphed in (False, True):
        cr.manual_seed(7)
        model = mlp().to("fake")
        weights = {name: one.detach() for name, one in model.named_parameters()}

        def loss_of(weights, x, y, model=model):
            return F.cross_entropy(cr.func.functional_call(model, weights, (x,)), y)

        def step(x, y, weights=weights, loss_of=loss_of):
            gradients, loss = cr.func.grad_and_value(loss_of)(weights, x, y)
            for name, one in weights.items():
                one.sub_(gradients[name], alpha=0.1)
            return loss

        run = make(step, device="fake", warmup=1) if graphed else step
        results.append([run(cr.tensor(x, device="fake"), cr.tensor(y, device="fake")).item() for x, y in batches("mlp", 6)])  # fmt: skip
    assert results[0] == results[1]


def test_what_a_graph_copies_for_itself_is_no_transfer_of_the_program(emulated):
    """Step counts and options that were put on the device, the learning rate of a schedule, the place of random numbers."""
    one = Training(clip=0.5, scaler=lambda: cr.amp.GradScaler("fake"))
    step = make(one.step, device="fake", warmup=1)
    data = [[cr.tensor(each, device="fake") for each in pair] for pair in batches("mlp", 5)]
    step(*data[0])
    with cr.no_transfer(), cr.cuda.count() as work:
        for pair in data:
            step(*pair)
            one.scheduler.step()
    assert step.graphs() == 1 and work.copies_to_device == work.host_reads == 0


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
