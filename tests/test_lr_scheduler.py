"""Schedules of the learning rate: PyTorch's numbers, saving and resuming, combinations, mistakes."""

import copy
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.optim import lr_scheduler

TABLE = [
    ("StepLR", {"step_size": 3}),
    ("StepLR", {"step_size": 4, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5, 5, 11], "gamma": 0.5}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 7}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 8}),
    ("LinearLR", {"start_factor": 0.5, "end_factor": 0.0, "total_iters": 4}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 12, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 6}),
    ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.01}),
    ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    ("LambdaLR", {"lr_lambda": [lambda t: 0.5**t, lambda t: 1.0 + t]}),
    ("MultiplicativeLR", {"lr_lambda": lambda t: 0.9 if t < 5 else 1.1}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 2, "eta_min": 0.01}),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 4}),
    (
        "CyclicLR",
        {
            "base_lr": [0.1, 0.2],
            "max_lr": [1.0, 0.5],
            "step_size_up": 3,
            "step_size_down": 5,
            "mode": "triangular2",
        },
    ),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 4, "mode": "exp_range", "gamma": 0.95}),
    (
        "CyclicLR",
        {
            "base_lr": 0.1,
            "max_lr": 1.0,
            "step_size_up": 4,
            "scale_fn": lambda c: 1 / c,
            "cycle_momentum": False,
        },
    ),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 25}),
    ("OneCycleLR", {"max_lr": [1.0, 0.3], "epochs": 5, "steps_per_epoch": 5, "anneal_strategy": "linear"}),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 30, "three_phase": True, "pct_start": 0.4, "div_factor": 10.0},
    ),
]
schedules = pytest.mark.parametrize(
    ("name", "options"), TABLE, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TABLE)]
)


def two_groups(library, zeros, cls="SGD", **options):
    params = [zeros(1).requires_grad_() for _ in range(2)]
    options = {"momentum": 0.9} if cls == "SGD" else options
    return getattr(library, cls)(
        [{"params": params[:1]}, {"params": params[1:], "lr": 0.3}], lr=0.2, **options
    )


def our_optimizer(cls="SGD"):
    return two_groups(optim, cr.zeros, cls)


def settings(optimizer):
    """What a schedule sets: the rate and the momentum of every group."""
    return [(group["lr"], group.get("momentum"), group.get("betas")) for group in optimizer.param_groups]


def record(optimizer, scheduler, steps):
    """The settings before each of the steps, and what get_last_lr said."""
    seen = []
    for _ in range(steps):
        rates = [group["lr"] for group in optimizer.param_groups]
        assert scheduler.get_last_lr() == pytest.approx(rates, rel=1e-14)
        seen.append(settings(optimizer))
        optimizer.step()
        scheduler.step()
    return seen


def flat(seen):
    """Nested settings as one array."""
    return np.array(
        [[x for entry in one for part in entry if part is not None for x in np.ravel(part)] for one in seen]
    )


@schedules
@pytest.mark.parametrize("cls", ["SGD", "Adam"])
def test_twenty_steps_are_pytorchs(name, options, cls, torch):
    ours, theirs = our_optimizer(cls), two_groups(torch.optim, torch.zeros, cls)
    scheduler = getattr(lr_scheduler, name)(ours, **copy.copy(options))
    other = getattr(torch.optim.lr_scheduler, name)(theirs, **copy.copy(options))
    np.testing.assert_allclose(
        flat(record(ours, scheduler, 20)), flat(record(theirs, other, 20)), rtol=1e-10, atol=1e-15
    )


@schedules
def test_a_saved_schedule_goes_on(name, options):
    optimizer = our_optimizer()
    whole = record(optimizer, getattr(lr_scheduler, name)(optimizer, **options), 12)
    first = our_optimizer()
    scheduler = getattr(lr_scheduler, name)(first, **options)
    part = record(first, scheduler, 5)
    saved = copy.deepcopy((first.state_dict(), scheduler.state_dict()))
    second = our_optimizer()
    resumed = getattr(lr_scheduler, name)(second, **options)
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert part + record(second, resumed, 7) == whole


@schedules
def test_state_dicts_go_to_pytorch_and_back(name, options, torch):
    ours, theirs = our_optimizer(), two_groups(torch.optim, torch.zeros)
    scheduler = getattr(lr_scheduler, name)(ours, **options)
    other = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    record(ours, scheduler, 5)
    record(theirs, other, 5)
    mine, their = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(other.state_dict())
    # They keep a note for a warning and their methods there, we the momenta that they keep in the groups.
    assert {*their} - {*mine} <= {"_get_lr_called_within_step", "_scale_fn_ref"}
    assert {*mine} - {*their} <= {"use_beta1", "base_momentums", "max_momentums"}
    scheduler.load_state_dict(their)
    other.load_state_dict(mine)
    np.testing.assert_allclose(flat(record(ours, scheduler, 5)), flat(record(theirs, other, 5)), rtol=1e-10)


@pytest.mark.parametrize("name", ["StepLR", "ExponentialLR", "CosineAnnealingLR", "LinearLR", "MultiStepLR"])
def test_a_run_resumed_by_epoch_number_goes_on(name):
    options = next(options for row, options in TABLE if row == name)
    optimizer = our_optimizer()
    scheduler = getattr(lr_scheduler, name)(optimizer, **options)
    whole = record(optimizer, scheduler, 10)
    first = our_optimizer()
    scheduler = getattr(lr_scheduler, name)(first, **options)
    record(first, scheduler, 6)
    second = our_optimizer()
    second.load_state_dict(first.state_dict())
    resumed = getattr(lr_scheduler, name)(second, **options, last_epoch=scheduler.last_epoch - 1)
    assert resumed.last_epoch == 6
    np.testing.assert_allclose(flat(record(second, resumed, 4)), flat(whole[6:]), rtol=1e-12)
    with pytest.raises(KeyError, match="initial_lr"):
        getattr(lr_scheduler, name)(our_optimizer(), **options, last_epoch=3)


def chained(module, optimizer):
    return module.ChainedScheduler(
        [
            module.ConstantLR(optimizer, 0.1, 3),
            module.ExponentialLR(optimizer, 0.9),
            module.StepLR(optimizer, 4),
        ]
    )


def sequential(module, optimizer):
    parts = [
        module.LinearLR(optimizer, 0.1, total_iters=4),
        module.CosineAnnealingLR(optimizer, 5),
        module.CosineAnnealingWarmRestarts(optimizer, 3),
        module.ExponentialLR(optimizer, 0.5),
    ]
    return module.SequentialLR(optimizer, parts, [4, 9, 15])


def restarts_first(module, optimizer):
    parts = [module.CosineAnnealingWarmRestarts(optimizer, 3, 2), module.StepLR(optimizer, 2)]
    return module.SequentialLR(optimizer, parts, [8])


def nested(module, optimizer):
    inner = [module.ConstantLR(optimizer, 0.5, 2), module.ExponentialLR(optimizer, 0.9)]
    parts = [module.SequentialLR(optimizer, inner, [3]), module.StepLR(optimizer, 2)]
    return module.ChainedScheduler(parts)


@pytest.mark.parametrize("build", [chained, sequential, restarts_first, nested])
def test_combinations_are_pytorchs_and_can_be_saved(build, torch):
    ours, theirs = our_optimizer(), two_groups(torch.optim, torch.zeros)
    scheduler, other = build(lr_scheduler, ours), build(torch.optim.lr_scheduler, theirs)
    whole = record(ours, scheduler, 20)
    np.testing.assert_allclose(flat(whole), flat(record(theirs, other, 20)), rtol=1e-10, atol=1e-15)
    first = our_optimizer()
    scheduler = build(lr_scheduler, first)
    part = record(first, scheduler, 10)
    saved = copy.deepcopy((first.state_dict(), scheduler.state_dict()))
    second = our_optimizer()
    resumed = build(lr_scheduler, second)
    second.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    assert part + record(second, resumed, 10) == whole


@pytest.mark.parametrize(
    "options",
    [
        {"patience": 2},
        {"mode": "max", "patience": 1, "factor": 0.5, "cooldown": 2},
        {"threshold_mode": "abs", "threshold": 0.3, "patience": 1, "min_lr": [0.01, 0.1]},
        {
            "mode": "max",
            "threshold_mode": "abs",
            "threshold": 0.3,
            "patience": 0,
            "min_lr": 0.05,
            "eps": 0.02,
        },
    ],
)
def test_plateaus_are_pytorchs(options, torch):
    ours, theirs = our_optimizer(), two_groups(torch.optim, torch.zeros)
    scheduler = lr_scheduler.ReduceLROnPlateau(ours, **options)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for i, metric in enumerate(
        [3, 2, 1.9999, 1.9999, 2.5, 1, 1.2, 1.1, 0.8, 0.9, 0.95, -1, -1, -1.05, -0.5, -1.2, -1.2, 0]
    ):
        if i == 9:
            state = copy.deepcopy(scheduler.state_dict())
            scheduler = lr_scheduler.ReduceLROnPlateau(ours, **options)
            scheduler.load_state_dict(state)
        scheduler.step(cr.tensor(float(metric)))
        other.step(metric)
        assert settings(ours) == settings(theirs)
        assert scheduler.get_last_lr() == other.get_last_lr()
        assert scheduler.num_bad_epochs == other.num_bad_epochs


def test_rates_changed_by_hand_stay_changed():
    optimizer = our_optimizer()
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.param_groups[0]["lr"] = 8.0
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == [4.0, 0.15]


def test_epochs_may_be_jumped_to():
    optimizer = our_optimizer()
    scheduler = lr_scheduler.StepLR(optimizer, 2, 0.5)
    optimizer.step()
    scheduler.step(5)
    assert scheduler.get_last_lr() == [0.05, 0.075]
    restarts = lr_scheduler.CosineAnnealingWarmRestarts(our_optimizer(), 2, 2)
    restarts.step(4.0)  # half of the second cycle, of epochs 2 to 6
    assert restarts.get_last_lr()[0] == pytest.approx(0.1)
    assert (restarts.T_i, restarts.T_cur) == (4, 2)


class Falling:
    def __init__(self, by):
        self.by = by

    def __call__(self, t):
        return self.by**t


def test_called_objects_are_saved_with_their_attributes():
    scheduler = lr_scheduler.LambdaLR(our_optimizer(), [Falling(0.5), lambda t: 1.0])
    saved = scheduler.state_dict()
    assert saved["lr_lambdas"] == [{"by": 0.5}, None]
    other = lr_scheduler.LambdaLR(our_optimizer(), [Falling(0.9), lambda t: 1.0])
    other.load_state_dict(saved)
    assert other.lr_lambdas[0].by == 0.5
    cyclic = lr_scheduler.CyclicLR(our_optimizer(), 0.1, 1.0, scale_fn=Falling(0.5))
    other = lr_scheduler.CyclicLR(our_optimizer(), 0.1, 1.0, scale_fn=Falling(0.9))
    other.load_state_dict(cyclic.state_dict())
    assert other.scale_fn(2) == 0.25


def test_a_schedule_of_ones_own():
    class Halves(lr_scheduler.LRScheduler):
        def get_lr(self):
            return [rate / 2**self.last_epoch for rate in self.base_lrs]

    optimizer = our_optimizer()
    seen = record(optimizer, Halves(optimizer), 3)
    assert [one[0][0] for one in seen] == [0.2, 0.1, 0.05]
    with pytest.raises(NotImplementedError, match="get_lr"):
        lr_scheduler.LRScheduler(optimizer)


def test_stepping_before_the_optimizer_is_warned_of():
    scheduler = lr_scheduler.StepLR(our_optimizer(), 3)
    with pytest.warns(UserWarning, match=r"optimizer\.step\(\) first"):
        scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


def test_mistakes_are_refused():
    optimizer, other = our_optimizer(), our_optimizer()
    step = lr_scheduler.StepLR(optimizer, 3)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    cases = [
        (TypeError, "expected an Optimizer, got int", lambda: lr_scheduler.StepLR(3, 3)),
        (ValueError, "step_size must be positive", lambda: lr_scheduler.StepLR(optimizer, 0)),
        (ValueError, "T_max must be positive", lambda: lr_scheduler.CosineAnnealingLR(optimizer, 0)),
        (ValueError, "total_iters must be positive", lambda: lr_scheduler.PolynomialLR(optimizer, 0)),
        (ValueError, "factor", lambda: lr_scheduler.ConstantLR(optimizer, 1.5)),
        (ValueError, "start_factor", lambda: lr_scheduler.LinearLR(optimizer, 0)),
        (ValueError, "end_factor", lambda: lr_scheduler.LinearLR(optimizer, end_factor=2)),
        (ValueError, "1 functions for 2", lambda: lr_scheduler.LambdaLR(optimizer, [lambda t: t])),
        (TypeError, "must be a function", lambda: lr_scheduler.MultiplicativeLR(optimizer, 0.5)),
        (ValueError, "T_0", lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 0)),
        (ValueError, "T_mult", lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 0)),
        (ValueError, "mode", lambda: lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, mode="square")),
        (ValueError, "3 values for 2", lambda: lr_scheduler.CyclicLR(optimizer, [0.1] * 3, 1.0)),
        (
            ValueError,
            "neither momentum nor betas",
            lambda: lr_scheduler.CyclicLR(our_optimizer("Adagrad"), 0.1, 1.0),
        ),
        (ValueError, "total_steps, or epochs", lambda: lr_scheduler.OneCycleLR(optimizer, 1.0)),
        (ValueError, "positive integer", lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 0)),
        (ValueError, "pct_start", lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, pct_start=2.0)),
        (ValueError, "anneal", lambda: lr_scheduler.OneCycleLR(optimizer, 1.0, 10, anneal_strategy="sin")),
        (ValueError, "below 1", lambda: lr_scheduler.ReduceLROnPlateau(optimizer, factor=1.0)),
        (ValueError, "mode", lambda: lr_scheduler.ReduceLROnPlateau(optimizer, "least")),
        (
            ValueError,
            "threshold_mode",
            lambda: lr_scheduler.ReduceLROnPlateau(optimizer, threshold_mode="none"),
        ),
        (ValueError, "at least one", lambda: lr_scheduler.ChainedScheduler([])),
        (ValueError, "by a metric", lambda: lr_scheduler.ChainedScheduler([step, plateau])),
        (ValueError, "is another", lambda: lr_scheduler.SequentialLR(other, [step, step], [3])),
        (
            ValueError,
            "take 1 milestones, got 0",
            lambda: lr_scheduler.SequentialLR(optimizer, [step, step], []),
        ),
        (TypeError, "expected schedulers", lambda: lr_scheduler.ChainedScheduler([3])),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()
    once = lr_scheduler.OneCycleLR(optimizer, 1.0, 3)
    record(optimizer, once, 3)
    with pytest.raises(ValueError, match="schedule of 3 steps"):
        once.step()


OWN = [
    ("InverseTimeLR", {"decay": 0.3}),
    ("InverseSqrtLR", {"k": 2.0}),
    ("PowerLR", {"beta": 3.0, "power": 0.75}),
    ("NaturalExponentialLR", {"beta": 0.2}),
]


@pytest.mark.parametrize(("name", "options"), OWN)
def test_schedules_of_stochastic_approximation_are_resumed(name, options):
    optimizer = our_optimizer()
    schedule = getattr(lr_scheduler, name)(optimizer, **options)
    taken = []
    for _ in range(6):
        optimizer.step()
        schedule.step()
        taken.append(schedule.get_last_lr())
    other = our_optimizer()
    other.step()
    again = getattr(lr_scheduler, name)(other, **options)
    for _ in range(3):
        again.step()
    saved = copy.deepcopy((other.state_dict(), again.state_dict()))
    resumed = our_optimizer()
    resumed.step()
    third = (
        getattr(lr_scheduler, name)(resumed)
        if name != "NaturalExponentialLR"
        else getattr(lr_scheduler, name)(resumed, 9.0)
    )
    resumed.load_state_dict(saved[0])
    third.load_state_dict(saved[1])
    for rates in taken[3:]:
        third.step()
        np.testing.assert_allclose(third.get_last_lr(), rates, rtol=1e-12)


def test_mistakes_of_the_schedules_of_stochastic_approximation():
    for name, options, what in (
        ("InverseTimeLR", {"decay": -1}, "decay"),
        ("InverseSqrtLR", {"k": -1}, "k must"),
        ("PowerLR", {"beta": 0}, "beta"),
        ("PowerLR", {"power": -1}, "power"),
        ("NaturalExponentialLR", {"beta": -1}, "beta"),
    ):
        with pytest.raises(ValueError, match=what):
            getattr(lr_scheduler, name)(our_optimizer(), **options)
