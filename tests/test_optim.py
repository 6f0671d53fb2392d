"""Every optimizer in one table, crossed with the properties all of them have."""

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.backends import get
from chainrule.optim.pieces import CACHE_BYTES

TABLE = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1, "betas": (0.5, 0.7), "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.9), "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RMSprop", {"lr": 0.1}),
    ("RMSprop", {"lr": 0.1, "momentum": 0.9, "centered": True, "weight_decay": 0.1, "alpha": 0.9}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 2.0, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.2)}),
    ("ASGD", {"lr": 0.1, "lambd": 0.01, "t0": 3, "weight_decay": 0.1}),
]
methods = pytest.mark.parametrize(
    ("name", "options"), TABLE, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TABLE)]
)

LONG_ROW = CACHE_BYTES // (3 * 8) + 5  # of float64: longer than a piece
SHAPES = [(3, 4), (), (0, 2), (301, 97), (2, LONG_ROW)]


def made(name, params, options):
    return getattr(optim, name)(params, **options)


def start(shapes, dtype="float64", device="cpu", seed=0):
    """Leaves with random values, and a function that gives them the gradients of step t."""
    random = np.random.default_rng(seed)
    params = [
        cr.tensor(random.standard_normal(shape).astype(dtype), device=device).requires_grad_()
        for shape in shapes
    ]

    def grads(t):
        random = np.random.default_rng(100 + t)
        return [random.standard_normal(shape).astype(dtype) for shape in shapes]

    return params, grads


def run(optimizer, params, grads, steps):
    """Steps of the optimizer under given gradients; the second parameter has none in step 1."""
    for t in steps:
        for i, (param, grad) in enumerate(zip(params, grads(t), strict=True)):
            param.grad = None if i == 1 and t == 1 else cr.tensor(grad, device=param.device)
        optimizer.step()


def values(optimizer):
    """All state as NumPy arrays: {(index, name): array}."""
    state = optimizer.state_dict()["state"]
    return {(i, name): entry.cpu().numpy() for i, entries in state.items() for name, entry in entries.items()}


@pytest.fixture
def torch64(torch):
    """PyTorch keeping numbers of its state in float64, as chainrule does for all but the step count."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def twin(torch, name, params, options):
    """PyTorch's optimizer over copies of the parameters."""
    theirs = [torch.tensor(param.detach().cpu().numpy()).requires_grad_() for param in params]
    return getattr(torch.optim, name)(theirs, **options), theirs


def run_torch(torch, optimizer, params, grads, steps):
    for t in steps:
        for i, (param, grad) in enumerate(zip(params, grads(t), strict=True)):
            param.grad = None if i == 1 and t == 1 else torch.tensor(grad)
        optimizer.step()


@methods
def test_ten_steps_are_pytorchs(name, options, torch64):
    params, grads = start(SHAPES)
    theirs_optimizer, theirs = twin(torch64, name, params, options)
    optimizer = made(name, params, options)
    run(optimizer, params, grads, range(10))
    run_torch(torch64, theirs_optimizer, theirs, grads, range(10))
    for param, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), their.detach().numpy(), rtol=1e-10, atol=1e-12)
    for (i, key), value in values(optimizer).items():
        their = theirs_optimizer.state_dict()["state"][i][key]
        np.testing.assert_allclose(value, their.numpy(), rtol=1e-9, atol=1e-12, err_msg=f"{key} of {i}")


@methods
def test_complex_parameters_are_pairs_of_real_ones(name, options, torch64):
    params, grads = start([(3, 2), ()], "complex128")
    params = [
        (param + 1j * param.flip(tuple(range(param.ndim)))).detach().requires_grad_() for param in params
    ]

    def complex_grads(t):
        return [g - 2j * g for g in grads(t)]

    theirs_optimizer, theirs = twin(torch64, name, params, options)
    optimizer = made(name, params, options)
    run(optimizer, params, complex_grads, range(5))
    run_torch(torch64, theirs_optimizer, theirs, complex_grads, range(5))
    for param, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), their.detach().numpy(), rtol=1e-10, atol=1e-12)


@methods
def test_state_dicts_go_to_pytorch_and_back(name, options, torch64):
    params, grads = start([(3, 4), (2,)])
    theirs_optimizer, theirs = twin(torch64, name, params, options)
    optimizer = made(name, params, options)
    run(optimizer, params, grads, range(3))
    run_torch(torch64, theirs_optimizer, theirs, grads, range(3))
    ours, other = optimizer.state_dict(), theirs_optimizer.state_dict()
    assert ours.keys() == other.keys()
    assert [group.keys() for group in ours["param_groups"]] == [
        group.keys() for group in other["param_groups"]
    ]
    assert ours["param_groups"] == other["param_groups"]
    assert {i: entries.keys() for i, entries in ours["state"].items()} == {
        i: entries.keys() for i, entries in other["state"].items()
    }
    for i, entries in ours["state"].items():
        for key, entry in entries.items():
            assert tuple(entry.shape) == tuple(other["state"][i][key].shape)
            assert (
                str(entry.dtype).split(".")[1] == str(other["state"][i][key].dtype).split(".")[1]
                or key == "step"
            )
    # Both go on from the other's state.
    as_torch = {
        i: {key: torch64.tensor(entry.numpy()) for key, entry in entries.items()}
        for i, entries in ours["state"].items()
    }
    theirs_optimizer.load_state_dict({"state": as_torch, "param_groups": ours["param_groups"]})
    optimizer.load_state_dict(other)
    run(optimizer, params, grads, range(3, 6))
    run_torch(torch64, theirs_optimizer, theirs, grads, range(3, 6))
    for param, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), their.detach().numpy(), rtol=1e-10, atol=1e-12)


@methods
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(name, options, device):
    params, grads = start([(3, 4), (2,)], "float32", device)
    optimizer = made(name, params, options)
    run(optimizer, params, grads, range(6))
    again, _ = start([(3, 4), (2,)], "float32", device)
    first = made(name, again, options)
    run(first, again, grads, range(3))
    saved = copy.deepcopy(first.state_dict())
    second = made(name, again, {"lr": 123.0})
    second.load_state_dict(saved)
    run(second, again, grads, range(3, 6))
    for a, b in zip(params, again, strict=True):
        np.testing.assert_array_equal(a.detach().cpu().numpy(), b.detach().cpu().numpy())
    assert second.param_groups[0]["lr"] == options["lr"]
    for a, b in zip(values(optimizer).items(), values(second).items(), strict=True):
        assert a[0] == b[0]
        np.testing.assert_array_equal(a[1], b[1])


@methods
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_dtypes_are_kept(name, options, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    params = [cr.ones(3, 2).to(getattr(cr, dtype)).requires_grad_()]
    exact = [cr.ones(3, 2).to(cr.complex128 if dtype == "complex64" else cr.float64).requires_grad_()]
    optimizers = [made(name, params, options), made(name, exact, options)]
    for _ in range(4):
        for (param,), optimizer in zip((params, exact), optimizers, strict=True):
            param.grad = cr.full_like(param, 0.25).detach()
            optimizer.step()
    assert params[0].dtype is getattr(cr, dtype)
    state = optimizers[0].state[params[0]]
    assert all(state[key].dtype is params[0].dtype for key in optimizers[0].arrays if key in state)
    tolerance = {"float16": 1e-2, "bfloat16": 5e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(
        params[0].detach().to(exact[0].dtype).numpy(),
        exact[0].detach().numpy(),
        rtol=tolerance,
        atol=tolerance,
    )


@methods
def test_a_bowl_is_descended_or_climbed(name, options, device):
    centre = cr.tensor([1.0, -2.0], device=device)
    param = cr.zeros(2, device=device, requires_grad=True)
    sign = -1 if options.get("maximize") else 1
    plain = {key: value for key, value in options.items() if key not in ("weight_decay", "lr_decay", "lambd")}
    optimizer = made(name, [param], plain | ({"weight_decay": 0} if name == "AdamW" else {}))
    # Adadelta begins with steps of the size of its eps and needs long to pick up speed.
    for _ in range(1500 if name == "Adadelta" else 300):
        optimizer.zero_grad()
        loss = sign * ((param - centre) ** 2 * cr.tensor([1.0, 3.0], device=device)).sum()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(param.detach().cpu().numpy(), [1, -2], atol=0.1)


@methods
def test_a_device_computes_the_same_without_asking_the_host(name, options):
    shapes = [(3, 4), (), (301, 97)]
    here, grads = start(shapes)
    there, _ = start(shapes, device="fake")
    run(made(name, here, options), here, grads, range(3))
    optimizer = made(name, there, options)
    run(optimizer, there, grads, range(2))
    for param, grad in zip(there, grads(2), strict=True):
        param.grad = cr.tensor(grad, device="fake")
    counters = get("fake").xp.counters
    before = counters.host_reads, counters.copies_to_host, counters.copies_to_device
    optimizer.step()
    assert (counters.host_reads, counters.copies_to_host, counters.copies_to_device) == before
    for a, b in zip(here, there, strict=True):
        assert b.device.type == "fake"
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().cpu().numpy())


@methods
def test_later_steps_allocate_nothing(name, options):
    params, grads = start([(301, 97), (7,), (2, LONG_ROW)])
    optimizer = made(name, params, options)
    run(optimizer, params, grads, [0, 0])
    arrays = [param.array for param in params]
    gc.collect()
    tracemalloc.start()
    try:
        optimizer.step()
        tracemalloc.reset_peak()
        begin = tracemalloc.get_traced_memory()[0]
        for _ in range(5):
            optimizer.step()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Views, numbers and what Python keeps of them for next time; the smallest large parameter has 233,576 bytes.
    assert peak - begin < 20_000
    assert all(param.array is array for param, array in zip(params, arrays, strict=True))


@methods
def test_copies_and_pickles_go_on_alike(name, options):
    params, grads = start([(3, 4)], "float32")
    optimizer = made(name, params, options)
    run(optimizer, params, grads, range(2))
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    run(optimizer, params, grads, range(2, 4))
    for other in others:
        own = other.param_groups[0]["params"]
        assert own[0] is not params[0]
        run(other, own, grads, range(2, 4))
        np.testing.assert_array_equal(own[0].detach().numpy(), params[0].detach().numpy())


@methods
def test_any_layout_of_parameter_and_gradient_gives_the_same(name, options):
    random = np.random.default_rng(0)
    value, grad = random.standard_normal((2, 257, 131))
    results = []
    for layout in (np.ascontiguousarray, np.asfortranarray, lambda array: np.repeat(array, 2, 1)[:, ::2]):
        for grad_layout in (np.ascontiguousarray, np.asfortranarray):
            param = cr.from_numpy(layout(value.copy())).requires_grad_()
            optimizer = made(name, [param], options)
            for _ in range(3):
                param.grad = cr.from_numpy(grad_layout(grad))
                optimizer.step()
            results.append(param.detach().numpy())
            np.testing.assert_array_equal(param.grad.numpy(), grad)  # a step leaves gradients alone
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
