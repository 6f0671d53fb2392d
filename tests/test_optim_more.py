"""Adafactor, Muon and SparseAdam: PyTorch's steps and state, devices, dtypes, mistakes."""

import copy
import math
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.backends import get

TABLE = [
    ("Adafactor", {"lr": 0.1}),
    (
        "Adafactor",
        {
            "lr": 0.3,
            "weight_decay": 0.1,
            "beta2_decay": -0.5,
            "eps": (1e-6, 1e-2),
            "d": 2.0,
            "maximize": True,
        },
    ),
    ("Muon", {"lr": 0.1}),
    (
        "Muon",
        {"lr": 0.1, "nesterov": False, "weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    ),
    ("SparseAdam", {"lr": 0.1}),
    ("SparseAdam", {"lr": 0.1, "betas": (0.5, 0.7), "maximize": True}),
]
methods = pytest.mark.parametrize(
    ("name", "options"), TABLE, ids=[f"{name}-{i}" for i, (name, _) in enumerate(TABLE)]
)
SHAPES = {
    "Adafactor": [(3, 4), (), (5,), (2, 3, 4), (301, 97)],
    "Muon": [(3, 4), (7, 2), (5, 5), (301, 97)],
    "SparseAdam": [(3, 4), (6,), (4, 2, 3), (301, 97)],
}


def start(name, dtype="float64", device="cpu"):
    """Leaves, and a function that gives their gradients in step t: of the rows, every third is not used."""
    random = np.random.default_rng(0)
    shapes = SHAPES[name]
    params = [
        cr.tensor(random.standard_normal(shape).astype(dtype), device=device).requires_grad_()
        for shape in shapes
    ]

    def grads(t):
        random = np.random.default_rng(100 + t)
        all_grads = [random.standard_normal(shape).astype(dtype) for shape in shapes]
        for grad in all_grads if name == "SparseAdam" else []:
            grad[t % 3 :: 3] = 0
        return all_grads

    return params, grads


def run(optimizer, params, grads, steps):
    for t in steps:
        for param, grad in zip(params, grads(t), strict=True):
            param.grad = cr.tensor(grad, device=param.device)
        optimizer.step()


def run_torch(torch, optimizer, params, grads, steps, is_sparse):
    for t in steps:
        for param, grad in zip(params, grads(t), strict=True):
            grad = torch.tensor(grad)
            param.grad = grad.to_sparse(1) if is_sparse else grad
        optimizer.step()


def twin(torch, name, params, options):
    theirs = [torch.tensor(param.detach().numpy()).requires_grad_() for param in params]
    return getattr(torch.optim, name)(theirs, **options), theirs


@methods
def test_ten_steps_are_pytorchs(name, options, torch, monkeypatch):
    if name == "Muon":  # without the rounding to 16 bits in its iteration
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    params, grads = start(name)
    theirs_optimizer, theirs = twin(torch, name, params, options)
    optimizer = getattr(optim, name)(params, **options)
    run(optimizer, params, grads, range(10))
    run_torch(torch, theirs_optimizer, theirs, grads, range(10), name == "SparseAdam")
    for param, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), their.detach().numpy(), rtol=1e-9, atol=1e-11)
    their_state = theirs_optimizer.state_dict()["state"]
    for i, entries in optimizer.state_dict()["state"].items():
        assert entries.keys() == their_state[i].keys()
        for key, entry in entries.items():
            np.testing.assert_allclose(entry.numpy(), np.asarray(their_state[i][key]), rtol=1e-9, atol=1e-11)


@methods
def test_state_dicts_go_to_pytorch_and_back(name, options, torch, monkeypatch):
    if name == "Muon":
        monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    params, grads = start(name)
    theirs_optimizer, theirs = twin(torch, name, params, options)
    optimizer = getattr(optim, name)(params, **options)
    run(optimizer, params, grads, range(3))
    run_torch(torch, theirs_optimizer, theirs, grads, range(3), name == "SparseAdam")
    ours, other = optimizer.state_dict(), theirs_optimizer.state_dict()
    assert ours["param_groups"] == other["param_groups"]
    as_torch = {
        i: {key: torch.tensor(entry.numpy()) for key, entry in entries.items()}
        for i, entries in ours["state"].items()
    }
    for entries in as_torch.values():
        if name == "SparseAdam":
            entries["step"] = int(entries["step"])  # this one of theirs counts in a Python number
    theirs_optimizer.load_state_dict({"state": as_torch, "param_groups": ours["param_groups"]})
    optimizer.load_state_dict(other)
    run(optimizer, params, grads, range(3, 6))
    run_torch(torch, theirs_optimizer, theirs, grads, range(3, 6), name == "SparseAdam")
    for param, their in zip(params, theirs, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), their.detach().numpy(), rtol=1e-9, atol=1e-11)


@methods
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(name, options, device):
    params, grads = start(name, "float32", device)
    optimizer = getattr(optim, name)(params, **options)
    run(optimizer, params, grads, range(6))
    again, _ = start(name, "float32", device)
    first = getattr(optim, name)(again, **options)
    run(first, again, grads, range(3))
    second = getattr(optim, name)(again, lr=123.0)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    run(second, again, grads, range(3, 6))
    for a, b in zip(params, again, strict=True):
        np.testing.assert_array_equal(a.detach().cpu().numpy(), b.detach().cpu().numpy())


@methods
def test_a_device_computes_the_same_without_asking_the_host(name, options):
    here, grads = start(name)
    there, _ = start(name, device="fake")
    run(getattr(optim, name)(here, **options), here, grads, range(3))
    optimizer = getattr(optim, name)(there, **options)
    run(optimizer, there, grads, range(2))
    for param, grad in zip(there, grads(2), strict=True):
        param.grad = cr.tensor(grad, device="fake")
    counters = get("fake").xp.counters
    before = counters.host_reads, counters.copies_to_host, counters.copies_to_device
    optimizer.step()
    assert (counters.host_reads, counters.copies_to_host, counters.copies_to_device) == before
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().cpu().numpy(), rtol=1e-12, atol=1e-14)


@methods
def test_later_steps_allocate_next_to_nothing(name, options):
    params, grads = start(name)
    optimizer = getattr(optim, name)(params, **options)
    run(optimizer, params, grads, [0, 0])
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
    assert peak - begin < 150_000  # NumPy's buffers of 8,192 numbers; the large parameter has 233,576 bytes


@methods
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_dtypes_are_kept(name, options, dtype):
    params, grads = start(name, dtype)
    exact, exact_grads = start(name)
    optimizers = [getattr(optim, name)(some, **options) for some in (params, exact)]
    for optimizer, some, some_grads in zip(optimizers, (params, exact), (grads, exact_grads), strict=True):
        run(optimizer, some, some_grads, range(2))
    tolerance = 2e-2 if dtype == "float16" else 1e-4
    for a, b in zip(params, exact, strict=True):
        assert a.dtype is getattr(cr, dtype)
        assert all(
            optimizers[0].state[a][key].dtype is a.dtype
            for key in optimizers[0].arrays
            if key in optimizers[0].state[a]
        )
        np.testing.assert_allclose(
            a.detach().numpy().astype(float), b.detach().numpy(), rtol=tolerance, atol=tolerance
        )


def test_muon_makes_all_singular_values_alike():
    random = np.random.default_rng(0)
    for shape in ((6, 4), (4, 6), (5, 5)):
        param = cr.zeros(*shape, requires_grad=True)
        grad = random.standard_normal(shape)
        param.grad = cr.tensor(grad, dtype=cr.float32)
        optim.Muon([param], lr=1.0, weight_decay=0).step()
        u, _, vt = np.linalg.svd(grad, full_matrices=False)
        step = -param.detach().numpy() / math.sqrt(max(1, shape[0] / shape[1]))
        values = np.diagonal(u.T @ step @ vt.T)  # in the gradient's own directions
        assert (values > 0.5).all()
        assert (values < 1.3).all()
        np.testing.assert_allclose(u * values @ vt, step, atol=1e-4)


def test_muon_is_pytorchs_to_the_digits_of_its_bfloat16(torch):
    params, grads = start("Muon", "float32")
    theirs_optimizer, theirs = twin(torch, "Muon", params, {"lr": 0.1})
    optimizer = optim.Muon(params, lr=0.1)
    run(optimizer, params, grads, range(3))
    run_torch(torch, theirs_optimizer, theirs, grads, range(3), False)
    for param, their in zip(params, theirs, strict=True):
        assert abs(param.detach().numpy() - their.detach().numpy()).max() < 3 * 0.1 * 2e-2


def test_sparse_adam_leaves_unused_rows_alone():
    table = cr.ones(4, 2, requires_grad=True)
    optimizers = optim.SparseAdam([table], lr=0.1), optim.Adam([cr.ones(4, 2, requires_grad=True)], lr=0.1)
    for index in (1, 2):
        for optimizer in optimizers:
            weight = optimizer.param_groups[0]["params"][0]
            weight.grad = None
            cr.nn.functional.embedding(cr.tensor([index]), weight).sum().backward()
            optimizer.step()
    rows, adams = (optimizer.param_groups[0]["params"][0][:, 0].tolist() for optimizer in optimizers)
    assert rows[0] == rows[3] == 1
    assert rows[1] == pytest.approx(0.9)  # the second step has not moved it on
    assert adams[1] < 0.85
    m = optimizers[0].state[table]["exp_avg"]
    assert (m != 0).any(1).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("name", "options"),
    [("Adafactor", {"lr": 0.1}), ("SparseAdam", {"lr": 0.1}), ("Muon", {"lr": 0.2, "weight_decay": 0})],
)
def test_a_bowl_is_descended(name, options, device):
    target = cr.tensor([[1.0, -2.0], [0.5, 3.0]], device=device)
    param = cr.ones(2, 2, device=device, requires_grad=True)  # Adafactor's steps are relative to its size
    optimizer = getattr(optim, name)([param], **options)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    for _ in range(200):
        optimizer.zero_grad()
        ((param - target) ** 2).sum().backward()
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(param.detach().cpu().numpy(), target.cpu().numpy(), atol=0.15)


def test_mistakes():
    p, z = cr.ones(2, requires_grad=True), cr.ones(2, 2, dtype=cr.complex64, requires_grad=True)
    with pytest.raises(ValueError, match="matrices"):
        optim.Muon([p])
    with pytest.raises(ValueError, match="adjust_lr_fn"):
        optim.Muon([cr.ones(2, 2, requires_grad=True)], adjust_lr_fn="other")
    with pytest.raises(ValueError, match="three numbers"):
        optim.Muon([cr.ones(2, 2, requires_grad=True)], ns_coefficients=(1.0, 2.0))
    for name in ("Muon", "Adafactor", "SparseAdam"):
        with pytest.raises(ValueError, match="real"):
            getattr(optim, name)([z])
    with pytest.raises(ValueError, match="beta2_decay"):
        optim.Adafactor([p], beta2_decay=0.5)
    with pytest.raises(ValueError, match="eps"):
        optim.Adafactor([p], eps=(-1.0, 1e-3))
    with pytest.raises(ValueError, match="d must"):
        optim.Adafactor([p], d=0.5)
    with pytest.raises(ValueError, match="lr must be above 0"):
        optim.SparseAdam([p], lr=0)
