"""Random search, and stopping early."""

import copy
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, search

SPACE = {
    "lr": search.log_uniform(1e-5, 1e-1),
    "width": search.choice([32, 64]),
    "layers": search.integer(1, 3),
    "dropout": search.uniform(0.0, 0.5),
    "epochs": 7,
}


def test_every_decade_gets_its_share():
    rates = np.array(
        [options["lr"] for options in search.sample({"lr": search.log_uniform(1e-5, 1e-1)}, 4000, 0)]
    )
    assert rates.min() >= 1e-5
    assert rates.max() <= 1e-1
    counts, _ = np.histogram(np.log10(rates), bins=[-5, -4, -3, -2, -1])
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)


def test_a_seed_draws_the_same_points():
    first, second, other = (list(search.sample(SPACE, 20, seed)) for seed in (1, 1, 2))
    assert first == second != other
    for options in first:
        assert options["width"] in (32, 64)
        assert options["layers"] in (1, 2, 3)
        assert 0 <= options["dropout"] <= 0.5
        assert options["epochs"] == 7


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_is_found(mode):
    sign = 1 if mode == "min" else -1

    def function(lr, **others):
        return math.nan if lr > 1e-2 else cr.tensor(sign * abs(math.log10(lr) + 3))

    best, trials = search.random_search(function, SPACE, trials=200, seed=0, mode=mode)
    assert len(trials) == 200
    assert 5e-4 < best.options["lr"] < 2e-3
    assert best.value.item() == function(**best.options).item()
    assert search.random_search(lambda **_: math.nan, SPACE, trials=2)[0].options


def test_mistakes_of_search():
    with pytest.raises(ValueError, match="low"):
        search.log_uniform(0, 1)
    with pytest.raises(ValueError, match="low"):
        search.uniform(2, 1)
    with pytest.raises(ValueError, match="low"):
        search.integer(2, 1)
    with pytest.raises(ValueError, match="choose"):
        search.choice([])
    with pytest.raises(ValueError, match="trials"):
        list(search.sample(SPACE, 0))
    with pytest.raises(ValueError, match="mode"):
        search.random_search(len, SPACE, mode="best")


def stopped(metrics, **options):
    """The epochs after which `step` was True."""
    stopping = cr.EarlyStopping(**options)
    return [epoch for epoch, metric in enumerate(metrics) if stopping.step(metric)], stopping


def test_when_it_stops():
    epochs, stopping = stopped([5, 4, 3, 3.5, 3.2, 3.1], patience=3)
    assert epochs == [5]
    assert stopping.best == 3
    assert stopping.best_epoch == 2
    assert stopped([5, 4, 3, 3.5, 2, 3.1], patience=2)[0] == []
    assert stopped([0.5, 0.6, 0.55, 0.6], patience=2, mode="max")[0] == [3]
    # 0.95 is not better by more than 0.1, and what is not a number is not better.
    assert stopped([1, 0.95, 0.92], patience=2, min_delta=0.1)[0] == [2]
    assert stopped([math.nan, math.nan], patience=2)[0] == [1]
    assert stopped([1, 0.85, 0.7], patience=1, min_delta=0.1)[0] == []


def test_the_best_weights_come_back(device):
    model = nn.Linear(1, 1).to(device)
    stopping = cr.EarlyStopping(model, patience=2)
    for metric in (3.0, 1.0, 2.0, cr.tensor(1.5)):
        with cr.no_grad():
            model.weight.fill_(float(metric))
        stopping.step(metric)
    assert stopping.should_stop
    assert stopping.restore() == 1
    assert model.weight.item() == 1
    stopping.reset()
    assert not stopping.should_stop


def test_stopping_is_resumed():
    model = nn.Linear(1, 1)
    stopping = cr.EarlyStopping(model, patience=2)
    stopping.step(1.0)
    stopping.step(2.0)
    other = cr.EarlyStopping(model, patience=9)
    other.load_state_dict(copy.deepcopy(stopping.state_dict()))
    assert other.step(3.0)
    assert other.restore() == 0


def test_mistakes_of_stopping():
    with pytest.raises(ValueError, match="mode"):
        cr.EarlyStopping(mode="auto")
    with pytest.raises(ValueError, match="patience"):
        cr.EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="min_delta"):
        cr.EarlyStopping(min_delta=-1)
    with pytest.raises(RuntimeError, match="no model"):
        cr.EarlyStopping().restore()
    with pytest.raises(RuntimeError, match="better"):
        cr.EarlyStopping(nn.Linear(1, 1)).restore()
