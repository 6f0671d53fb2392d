"""What scripts do with an optimizer: groups, hooks, closures, subclasses, mistakes."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim


def leaf(*shape, value=1.0):
    return cr.full(shape, value).requires_grad_()


def with_gradient(*shape, value=1.0):
    param = leaf(*shape)
    param.grad = cr.full(shape, value)
    return param


def test_groups_have_options_of_their_own():
    a, b, c = (with_gradient(2) for _ in range(3))
    shared = [{"params": [a]}, {"params": b, "lr": 1.0}]
    optimizer = optim.SGD(shared, lr=0.5)
    optimizer.add_param_group({"params": iter([c]), "lr": 0.25})
    optimizer.step()
    assert [param[0].item() for param in (a, b, c)] == [0.5, 0.0, 0.75]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 1.0, 0.25]
    assert "lr" not in shared[0]  # what the caller gave is the caller's
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    assert a[0].item() == 0.5


def test_a_learning_rate_may_be_a_tensor():
    param = with_gradient(2)
    optimizer = optim.Adam([param], lr=cr.tensor(0.5, dtype=cr.float64))
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    assert param[0].item() == pytest.approx(0.5)
    schedule.step()
    assert optimizer.param_groups[0]["lr"].item() == 0.25


def test_named_parameters_keep_their_names():
    optimizer = optim.SGD([("a", leaf(1)), ("b", leaf(2))])
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]
    with pytest.raises(ValueError, match="names"):
        optimizer.add_param_group({"params": [leaf(1)]})
    with pytest.raises(ValueError, match="pairs"):
        optim.SGD([("a", leaf(1)), leaf(2)])


def test_zero_grad():
    params = [leaf(3), leaf(2)]
    optimizer = optim.SGD(params)
    params[0].sum().backward()
    optimizer.zero_grad(set_to_none=False)
    assert params[0].grad.tolist() == [0, 0, 0]
    assert params[1].grad is None
    optimizer.zero_grad()
    assert params[0].grad is None


def test_parameters_without_gradient_are_left_alone():
    a, b = with_gradient(2), leaf(2)
    optimizer = optim.Adam([a, b])
    optimizer.step()
    assert b.tolist() == [1, 1]
    assert list(optimizer.state_dict()["state"]) == [0]


def test_a_closure_is_evaluated_with_gradients_on_and_its_loss_returned():
    param = leaf(2)
    optimizer = optim.SGD([param], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (param * param).sum()
        loss.backward()
        return loss

    with cr.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 2
    assert param.tolist() == [0, 0]


def test_a_step_is_noticed_by_values_saved_before_it():
    param = leaf(2)
    loss = (param * param).sum()
    loss.backward(retain_graph=True)
    optim.SGD([param]).step()
    with pytest.raises(RuntimeError, match="modified by an in-place"):
        loss.backward()


def test_hooks_run_around_a_step_and_may_change_its_arguments():
    optimizer = optim.SGD([with_gradient(1)])
    seen = []
    optimizer.register_step_pre_hook(lambda *call: seen.append(("before", call[1])))
    first = optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7,), {}))
    optimizer.register_step_post_hook(
        lambda o, args, kwargs: seen.append(("after", o is optimizer, len(args)))
    )
    assert optimizer.step() == 7
    assert seen == [("before", ()), ("after", True, 1)]
    first.remove()
    assert optimizer.step() is None
    optimizer.register_step_pre_hook(lambda *call: 3)
    with pytest.raises(RuntimeError, match="pre-hook"):
        optimizer.step()


def test_an_optimizer_of_ones_own_in_pytorchs_style():
    class Signs(optim.Optimizer):
        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr})

        @cr.no_grad()
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    state = self.state[param]
                    state["count"] = state.get("count", 0) + 1
                    param.add_(param.grad.sign(), alpha=-group["lr"])

    class Louder(Signs):
        def step(self, closure=None):
            return super().step(closure)

    for cls in (Signs, Louder):
        param, seen = with_gradient(2), []
        optimizer = cls([param], lr=0.5)
        optimizer.register_step_post_hook(lambda *_: seen.append(1))  # noqa: B023
        optimizer.step()
        assert param.tolist() == [0.5, 0.5]
        assert seen == [1]
        saved = optimizer.state_dict()
        assert saved["state"] == {0: {"count": 1}}
        optimizer.load_state_dict(copy.deepcopy(saved))
        optimizer.step()
        assert optimizer.state[param]["count"] == 2


def test_an_optimizer_of_ones_own_in_two_methods():
    class Mean(optim.Optimizer):
        """theta <- theta - lr (mean of all gradients so far)."""

        def __init__(self, params, lr):
            super().__init__(params, {"lr": lr, "maximize": False})

        def init_state(self, param, group):
            return {"step": 0, "mean": param * 0}

        def update(self, param, grad, state, group):
            t = state["step"] = state["step"] + 1
            state["mean"] += (grad - state["mean"]) / t
            param -= group["lr"] * state["mean"]

    param = leaf(300, 200)
    optimizer = Mean([param], lr=1.0)
    for g in (1.0, 3.0):
        param.grad = cr.full((300, 200), g)
        optimizer.step()
    np.testing.assert_allclose(param.detach().numpy(), 1 - 1 - 2)
    assert optimizer.state[param]["step"].item() == 2
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert optimizer.state[param]["mean"][0, 0].item() == 2
    with pytest.raises(NotImplementedError, match="update"):
        optim.Optimizer([with_gradient(1)], {}).step()


def test_what_sgd_remembers_may_change_with_momentum_and_in_subclasses():
    class Counting(optim.SGD):
        scalars = ("steps",)

        def init_state(self, param, group):
            return {"steps": 0, **super().init_state(param, group)}

        def update(self, param, grad, state, group):
            state["steps"] += 1
            super().update(param, grad, state, group)

    param = with_gradient(2)
    optimizer = Counting([param], lr=0.5)
    optimizer.step()
    optimizer.step()
    assert optimizer.state[param]["steps"].item() == 2 and param.tolist() == [0, 0]
    param = with_gradient(2)
    optimizer = optim.SGD([param], lr=1.0)
    optimizer.step()
    assert not optimizer.state
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    optimizer.step()
    assert param.tolist() == [-2.5, -2.5]


@pytest.mark.parametrize("dtype", [cr.float16, cr.float32, cr.complex64])
def test_a_rule_may_ask_for_the_whole_parameter_in_its_shape(dtype):
    class Normalized(optim.Optimizer):
        """theta <- theta - lr g / |g|."""

        elementwise = False

        def init_state(self, param, group):
            return {"rows": param[:, 0] * 0}

        def update(self, param, grad, state, group):
            norm = abs(grad * grad).sum() ** 0.5
            state["rows"] += grad[:, 0]
            param -= group["lr"] * grad / norm

    param = cr.zeros(300, 200, dtype=dtype).requires_grad_()
    param.grad = cr.full_like(param, 2.0).detach()
    optimizer = Normalized([param], {"lr": 1.0})
    optimizer.step()
    np.testing.assert_allclose(param.detach().numpy(), -1 / np.sqrt(60000), rtol=1e-3)
    assert optimizer.state[param]["rows"].tolist() == [2] * 300
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert optimizer.state[param]["rows"].shape == (300,)


def test_state_replaced_or_deleted_by_the_user_is_used_or_made_anew():
    param = with_gradient(2)
    optimizer = optim.SGD([param], lr=1.0, momentum=0.5)
    optimizer.step()
    optimizer.state[param]["momentum_buffer"] = cr.full((2,), 4.0)
    optimizer.step()
    assert param.tolist() == [0 - 3, 0 - 3]
    optimizer.state[param]["momentum_buffer"].zero_()
    optimizer.step()
    assert param.tolist() == [-4, -4]
    optimizer.state.clear()
    optimizer.step()
    assert param.tolist() == [-5, -5]
    param.data = cr.zeros(2)
    optimizer.step()
    assert param.tolist() == [-1.5, -1.5]


def test_loading_copies_and_needs_a_fitting_state_dict():
    param = with_gradient(2)
    optimizer = optim.Adam([param])
    optimizer.step()
    saved = optimizer.state_dict()
    other = optim.Adam([with_gradient(2)])
    other.load_state_dict(saved)
    saved["state"][0]["exp_avg"].zero_()
    assert other.state_dict()["state"][0]["exp_avg"][0].item() != 0
    good = copy.deepcopy(other.state_dict())

    def broken(change):
        state = copy.deepcopy(good)
        change(state)
        return state

    cases = [
        (lambda s: s.pop("state"), "'state' and 'param_groups'"),
        (lambda s: s["param_groups"].append({"params": []}), "2 parameter groups"),
        (lambda s: s["param_groups"][0]["params"].append(1), "2 parameters"),
        (lambda s: s["param_groups"][0].pop("betas"), "'betas'"),
        (lambda s: s["param_groups"][0].update(lr=-1.0), "lr must be at least 0"),
        (lambda s: s["state"].update({5: s["state"][0]}), "parameter 5"),
        (lambda s: s["state"][0].pop("exp_avg"), r"missing \['exp_avg'\]"),
        (lambda s: s["state"][0].update(momentum_buffer=cr.zeros(2)), r"unknown \['momentum_buffer'\]"),
        (lambda s: s["state"][0].update(exp_avg=cr.zeros(3)), r"shape \(3,\)"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            other.load_state_dict(broken(change))
    assert other.state_dict()["param_groups"] == good["param_groups"]
    other.load_state_dict(broken(lambda s: s["param_groups"][0].pop("foreach")))  # files older than an option
    with pytest.raises(ValueError, match="'momentum'"):
        optim.SGD([leaf(2)], momentum=0.9).load_state_dict(good)
    with pytest.raises(ValueError, match=r"unknown \['exp_avg', 'exp_avg_sq', 'step'\]"):
        optim.SGD([leaf(2)]).load_state_dict(good)


def test_adams_state_goes_on_under_adamw():
    param = with_gradient(2)
    optimizer = optim.Adam([param])
    optimizer.step()
    successor = optim.AdamW([param])
    successor.load_state_dict(optimizer.state_dict())
    assert successor.param_groups[0]["decoupled_weight_decay"] is True


def test_options_out_of_range_are_refused():
    params = [leaf(1)]
    cases = [
        (optim.SGD, {"lr": -0.1}, "lr must be at least 0, got -0.1"),
        (optim.SGD, {"lr": float("nan")}, "lr"),
        (optim.SGD, {"momentum": -1}, "momentum"),
        (optim.SGD, {"weight_decay": -1}, "weight_decay"),
        (optim.SGD, {"nesterov": True}, "nesterov"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        (optim.Adam, {"betas": (1.0, 0.9)}, r"betas\[0\]"),
        (optim.Adam, {"betas": (0.9, -0.1)}, r"betas\[1\]"),
        (optim.Adam, {"eps": -1}, "eps"),
        (optim.RMSprop, {"alpha": -1}, "alpha"),
        (optim.Adagrad, {"lr_decay": -1}, "lr_decay"),
        (optim.Adadelta, {"rho": 1.5}, "rho"),
        (optim.Rprop, {"etas": (1.5, 2)}, "etas"),
    ]
    for cls, options, message in cases:
        with pytest.raises(ValueError, match=message):
            cls(params, **options)
        with pytest.raises(ValueError, match=message):
            cls([{"params": params, **options}])
    with pytest.raises(NotImplementedError, match="differentiable"):
        optim.SGD(params, differentiable=True)


def test_parameters_that_cannot_be_optimized_are_refused():
    a = leaf(1)
    with pytest.raises(TypeError, match="put it in a list"):
        optim.SGD(a)
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD([])
    with pytest.raises(TypeError, match="can only optimize Tensors, got float"):
        optim.SGD([1.0])
    with pytest.raises(TypeError, match="set"):
        optim.SGD([{"params": {a}}])
    with pytest.raises(ValueError, match="'params'"):
        optim.SGD([{"lr": 1.0}])
    with pytest.raises(ValueError, match="non-leaf"):
        optim.SGD([a * 2])
    with pytest.raises(ValueError, match="already in another"):
        optim.SGD([{"params": [a]}, {"params": [a]}])
    with pytest.raises(TypeError, match="must be a dict"):
        optim.SGD([a]).add_param_group([leaf(1)])
    with pytest.warns(UserWarning, match="twice"):
        optim.SGD([a, a])


def test_repr_lists_the_options_of_each_group():
    text = repr(optim.SGD([{"params": [leaf(1)]}, {"params": [leaf(1)], "lr": 0.5}], momentum=0.9))
    assert text.startswith("SGD (\nParameter Group 0\n")
    assert "    lr: 0.5\n" in text
    assert text.count("    momentum: 0.9\n") == 2


def test_a_bare_import_is_refused():
    import importlib.util
    import pathlib

    path = pathlib.Path(optim.__file__)
    spec = importlib.util.spec_from_file_location("optim", path)
    with pytest.raises(ImportError, match=r"chainrule\.optim"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
