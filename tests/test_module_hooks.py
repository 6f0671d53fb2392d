"""Hooks on all modules, on registrations, in their older forms; and the paths of PyTorch's files."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import hooks
from chainrule.nn.modules import module as everywhere


@pytest.fixture(autouse=True)
def no_hooks_left():
    yield
    hooks.Hooked._hooks = None
    assert not any(hooks._everywhere.values())


def test_forward_hooks_on_all_modules_run_before_a_modules_own():
    seen = []
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    net[0].register_forward_hook(lambda module, args, output: seen.append("own"))
    net[0].register_forward_pre_hook(lambda module, args: seen.append("own before"))
    handles = [
        everywhere.register_module_forward_pre_hook(
            lambda module, args: seen.append(f"before {type(module).__name__}")
        ),
        everywhere.register_module_forward_hook(
            lambda module, args, output: seen.append(type(module).__name__)
        ),
    ]
    net(cr.ones(1, 2))
    assert seen == [
        "before Sequential", "before Linear", "own before", "Linear", "own", "before ReLU", "ReLU", "Sequential",
    ]  # fmt: skip
    for handle in handles:
        handle.remove()
    seen.clear()
    net(cr.ones(1, 2))
    assert seen == ["own before", "own"]


def test_they_may_change_what_goes_through():
    with everywhere.register_module_forward_pre_hook(lambda module, args: (args[0] + 1,)):
        assert nn.Identity()(cr.zeros(1)).item() == 1
    with everywhere.register_module_forward_hook(
        lambda module, args, kwargs, output: 5 * output, with_kwargs=True
    ):
        assert nn.Identity()(cr.ones(1)).item() == 5
    calls = []
    handle = everywhere.register_module_forward_hook(lambda *args: calls.append(args[2]), always_call=True)
    with handle, pytest.raises(RuntimeError):
        nn.Linear(2, 3)(cr.ones(3))
    assert calls == [None]


def test_backward_hooks_on_all_modules():
    seen = []
    layer = nn.Linear(2, 1, bias=False)
    with (
        everywhere.register_module_full_backward_pre_hook(lambda module, grad: seen.append(grad[0].item())),
        everywhere.register_module_full_backward_hook(lambda module, grad, out: (2 * grad[0],)),
    ):
        x = cr.ones(1, 2, requires_grad=True)
        layer(x).sum().backward()
    assert seen == [1]
    np.testing.assert_allclose(x.grad.numpy(), 2 * layer.weight.detach().numpy())
    assert nn.Module.register_backward_hook is nn.Module.register_full_backward_hook


def test_hooks_on_registrations():
    seen = []
    with (
        everywhere.register_module_parameter_registration_hook(lambda module, name, one: seen.append(name)),
        everywhere.register_module_buffer_registration_hook(lambda module, name, one: seen.append(name)),
        everywhere.register_module_module_registration_hook(
            lambda module, name, one: seen.append(f"module {name}")
        ),
    ):
        nn.Sequential(nn.BatchNorm1d(2))
    assert seen == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked", "module 0"]

    def replaced(module, name, one):
        return None if one is None else nn.Parameter(cr.zeros(one.shape))

    with everywhere.register_module_parameter_registration_hook(replaced):
        layer = nn.Linear(2, 2)
    assert layer.bias.shape == (2,)


def test_hooks_are_functions():
    with pytest.raises(TypeError, match="forward hook: expected a function, got int"):
        everywhere.register_module_forward_hook(3)


def test_older_state_hooks():
    layer = nn.Linear(2, 2)
    layer._register_state_dict_hook(
        lambda module, state, prefix, metadata: state.update({prefix + "extra": cr.ones(1)})
    )
    state = layer.state_dict()
    assert list(state) == ["weight", "bias", "extra"]
    other = nn.Linear(2, 2)

    def rename(state, prefix, metadata, strict, missing, unexpected, errors):
        del state[prefix + "extra"]

    other._register_load_state_dict_pre_hook(rename)
    assert other.load_state_dict(state) == ([], [])
    third = nn.Linear(2, 2)
    third._register_load_state_dict_pre_hook(
        lambda module, state, *rest: state.pop("extra"), with_module=True
    )
    assert third.load_state_dict(state) == ([], [])


def test_submodules_by_path():
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    net.set_submodule("1.0", nn.Tanh())
    assert isinstance(net[1][0], nn.Tanh)
    net.set_submodule("1.new", nn.ELU())
    assert isinstance(net[1].new, nn.ELU)
    with pytest.raises(AttributeError, match="no module at '1.other' to replace"):
        net.set_submodule("1.other", nn.ELU(), strict=True)
    with pytest.raises(AttributeError, match="no module at '0.weight' to replace"):
        net.set_submodule("0.weight", nn.ELU())
    with pytest.raises(ValueError, match="expected a path and a Module"):
        net.set_submodule("", nn.ELU())


def test_to_empty_and_skip_init(device):
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).to_empty(device=device)
    assert {one.device.type for one in (*net.parameters(), *net.buffers())} == {device}
    assert [tuple(one.shape) for one in net.parameters()] == [(3, 2), (3,), (3,), (3,)]
    state = cr.get_rng_state()
    layer = nn.utils.skip_init(nn.LSTM, 3, 4, num_layers=2, dtype=cr.float64)
    assert cr.equal(cr.get_rng_state(), state) and layer.weight_ih_l1.shape == (16, 4)
    assert nn.Linear(2, 3).weight.abs().max().item() > 0
    with pytest.raises(RuntimeError, match="expected a class of modules"):
        nn.utils.skip_init(cr.ones)


def test_paths_of_pytorchs_files():
    assert isinstance(nn.BatchNorm2d(3), nn.modules.batchnorm._BatchNorm)
    assert isinstance(nn.Conv2d(1, 1, 1), nn.modules.conv._ConvNd)
    assert isinstance(nn.LSTM(1, 1), nn.modules.rnn.RNNBase) and nn.modules.Module is nn.Module


def test_wrappers_for_several_cards():
    layer = nn.Linear(2, 3)
    wrapped = nn.DataParallel(layer)
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"]
    assert cr.equal(wrapped(cr.ones(4, 2)), layer(cr.ones(4, 2)))
    assert cr.equal(nn.DataParallel(layer, device_ids=[0, 1])(input=cr.ones(4, 2)), layer(cr.ones(4, 2)))
    net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.BatchNorm1d(3)))
    net(cr.randn(5, 2))
    state, x = net.state_dict(), cr.randn(5, 2)
    expected = net(x)
    net.load_state_dict(state)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert isinstance(synced[1][0], nn.SyncBatchNorm) and list(synced.state_dict()) == list(state)
    np.testing.assert_allclose(synced(x).detach().numpy(), expected.detach().numpy())
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        nn.SyncBatchNorm(3)(cr.ones(3))


def test_adaptive_softmax():
    layer = nn.AdaptiveLogSoftmaxWithLoss(6, 9, [3, 6], div_value=2.0, dtype=cr.float64)
    x, y = cr.randn(20, 6, dtype=cr.float64), cr.arange(20) % 9
    every = layer.log_prob(x)
    np.testing.assert_allclose(every.exp().sum(1).detach().numpy(), 1)
    output, loss = layer(x, y)
    np.testing.assert_allclose(output.detach().numpy(), every.gather(1, y[:, None])[:, 0].detach().numpy())
    assert loss.item() == pytest.approx(-output.mean().item())
    assert cr.equal(layer.predict(x), every.argmax(1)) and len(set(layer.predict(4 * x).tolist())) > 2
    alone = layer(x[0], y[0])
    assert alone.output.shape == () and alone.output.item() == pytest.approx(output[0].item())
    for call, error, words in (
        (lambda: nn.AdaptiveLogSoftmaxWithLoss(4, 9, [6, 3]), ValueError, "cutoffs must be ints that rise"),
        (lambda: layer(x, y + 5), RuntimeError, "targets must be from 0 to 8"),
        (lambda: layer(x, y[:3]), RuntimeError, "expected \\(N, 6\\) and \\(N\\)"),
    ):
        with pytest.raises(error, match=words):
            call()
