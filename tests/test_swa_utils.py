"""Averaged models, their statistics, and the schedule that goes with them: PyTorch's numbers and names."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.optim import swa_utils


def model_of(library, seed=0):
    """The same small network with batch normalisation in either library."""
    random = np.random.default_rng(seed)
    model = library.nn.Sequential(
        library.nn.Linear(3, 4), library.nn.BatchNorm1d(4), library.nn.Tanh(), library.nn.Linear(4, 2)
    )
    with library.no_grad():
        for param in model.parameters():
            param.copy_(library.tensor(random.standard_normal(tuple(param.shape)).astype("float32")))
    return model


def changed(library, model, seed):
    """Train a little: other weights, and other statistics."""
    random = np.random.default_rng(seed)
    with library.no_grad():
        for param in model.parameters():
            param.add_(library.tensor(random.standard_normal(tuple(param.shape)).astype("float32")))
    model(library.tensor(random.standard_normal((5, 3)).astype("float32")))


FUNCTIONS = [
    {},
    {"avg_fn": ("get_ema_avg_fn", 0.9)},
    {"avg_fn": ("get_swa_avg_fn",)},
    {"multi_avg_fn": ("get_ema_multi_avg_fn", 0.9)},
    {"multi_avg_fn": ("get_swa_multi_avg_fn",)},
]


@pytest.mark.parametrize("functions", FUNCTIONS)
@pytest.mark.parametrize("use_buffers", [False, True])
def test_averages_are_pytorchs(functions, use_buffers, torch):
    if use_buffers and functions.get("multi_avg_fn") == ("get_swa_multi_avg_fn",):
        pytest.skip("PyTorch's function cannot average the integer buffer of a BatchNorm")
    averaged = []
    for library, utils in ((cr, swa_utils), (torch, torch.optim.swa_utils)):
        made = {key: getattr(utils, name)(*rest) for key, (name, *rest) in functions.items()}
        model = model_of(library)
        average = utils.AveragedModel(model, use_buffers=use_buffers, **made)
        for seed in range(4):
            changed(library, model, seed)
            average.update_parameters(model)
        averaged.append(average)
    ours, theirs = (average.state_dict() for average in averaged)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        np.testing.assert_allclose(value.numpy(), theirs[name].numpy(), rtol=1e-5, atol=1e-6, err_msg=name)
    x = np.random.default_rng(9).standard_normal((5, 3)).astype("float32")
    np.testing.assert_allclose(
        averaged[0].eval()(cr.tensor(x)).detach().numpy(),
        averaged[1].eval()(torch.tensor(x)).detach().numpy(),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_uniform_average_is_the_mean(device):
    model = nn.Linear(2, 2).to(device)
    average = swa_utils.AveragedModel(model, device=device)
    taken = []
    for value in (1.0, 0.5, 0.25):
        with cr.no_grad():
            model.weight.fill_(value)
        average.update_parameters(model)
        taken.append(value)
    assert average.n_averaged.item() == 3
    np.testing.assert_allclose(average.module.weight.detach().cpu().numpy(), np.mean(taken), rtol=1e-6)
    assert average.module.weight.requires_grad
    other = swa_utils.AveragedModel(nn.Linear(2, 2).to(device))
    other.load_state_dict(copy.deepcopy(average.state_dict()))
    for one in (average, other):
        one.update_parameters(model)
    assert (average.module.weight == other.module.weight).all()


def test_integer_buffers_are_averaged_and_rounded_down():
    model = nn.Sequential(nn.BatchNorm1d(1))
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_swa_multi_avg_fn(), use_buffers=True)
    for count in (4, 7):
        with cr.no_grad():
            model[0].num_batches_tracked.fill_(count)
        average.update_parameters(model)
    assert average.module[0].num_batches_tracked.item() == 5
    assert average.module[0].num_batches_tracked.dtype is cr.int64


def test_the_model_itself_is_left_alone():
    model = nn.Linear(2, 2)
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.5))
    before = model.weight.detach().clone()
    average.update_parameters(model)
    with cr.no_grad():
        average.module.weight.fill_(0)
    assert (model.weight == before).all()


def test_update_bn_is_the_mean_over_batches(torch):
    random = np.random.default_rng(0)
    batches = [random.standard_normal((4, 3)).astype("float32") for _ in range(5)]
    states = []
    for library, utils in ((cr, swa_utils), (torch, torch.optim.swa_utils)):
        model = model_of(library)
        changed(library, model, 1)
        model[1].momentum = 0.3
        model.eval()
        utils.update_bn([(library.tensor(batch), 7) for batch in batches[:3]], model)
        states.append(model.state_dict())
        assert model[1].momentum == 0.3
        assert not model.training
    for name, value in states[0].items():
        np.testing.assert_allclose(value.numpy(), states[1][name].numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


def test_update_bn_without_such_layers_reads_no_data():
    swa_utils.update_bn(iter(lambda: 1 / 0, None), nn.Linear(2, 2))


def test_update_bn_gives_momenta_back_after_an_error():
    model = nn.Sequential(nn.BatchNorm1d(3))
    with pytest.raises(Exception, match="BatchNorm1d"):
        swa_utils.update_bn([cr.zeros(2, 2, 2, 2, 2)], model)
    assert model[0].momentum == 0.1


def optimizers(torch):
    ours = optim.SGD(
        [
            {"params": [cr.zeros(1, requires_grad=True)]},
            {"params": [cr.zeros(1, requires_grad=True)], "lr": 0.3},
        ],
        lr=0.2,
    )
    theirs = torch.optim.SGD(
        [
            {"params": [torch.zeros(1, requires_grad=True)]},
            {"params": [torch.zeros(1, requires_grad=True)], "lr": 0.3},
        ],
        lr=0.2,
    )
    return ours, theirs


@pytest.mark.parametrize(
    "options",
    [
        {"swa_lr": 0.05},
        {"swa_lr": [0.05, 0.5], "anneal_epochs": 4, "anneal_strategy": "linear"},
        {"swa_lr": 0.05, "anneal_epochs": 0},
        {"swa_lr": 0.05, "anneal_epochs": 1, "anneal_strategy": "linear"},
    ],
)
def test_swalr_is_pytorchs(options, torch):
    both = optimizers(torch)
    schedules = swa_utils.SWALR(both[0], **options), torch.optim.swa_utils.SWALR(both[1], **options)
    for step in range(14):
        assert schedules[0].get_last_lr() == pytest.approx(schedules[1].get_last_lr(), rel=1e-9)
        for optimizer, schedule in zip(both, schedules, strict=True):
            optimizer.step()
            schedule.step()
        if step == 5:
            state = schedules[1].state_dict()
            assert schedules[0].state_dict().keys() <= state.keys()
            schedules[0].load_state_dict({key: state[key] for key in schedules[0].state_dict()})


def test_mistakes():
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="not both"):
        swa_utils.AveragedModel(
            model, avg_fn=swa_utils.get_swa_avg_fn(), multi_avg_fn=swa_utils.get_swa_multi_avg_fn()
        )
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match="decay"):
            make(1.5)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="square")
    with pytest.raises(ValueError, match="anneal_epochs"):
        swa_utils.SWALR(optimizer, 0.1, anneal_epochs=-1)
    with pytest.raises(ValueError, match="swa_lr"):
        swa_utils.SWALR(optimizer, [0.1, 0.2])
    with pytest.raises(TypeError, match="Optimizer"):
        swa_utils.SWALR(model, 0.1)
