"""Every row of the table through every property. A row is in `tests/rows/<family>.py`; see `table.py`."""

import importlib
import os
import pathlib

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd import engine
from chainrule.autograd.modes import local
from chainrule.autograd.op import registry
from chainrule.autograd.tensor import Tensor
from tests.table import Row

# As in conftest.py: "fake" is a NumPy-backed device as strict as CUDA, CHAINRULE_TEST_DEVICES=cuda means a card.
ACCELERATORS = [
    one for one in os.environ.get("CHAINRULE_TEST_DEVICES", "cpu,fake").split(",") if one != "cpu"
]
ROWS = [
    row
    for path in sorted((pathlib.Path(__file__).parent / "rows").glob("*.py"))
    if path.stem != "__init__"
    for row in importlib.import_module(f"tests.rows.{path.stem}").ROWS
]
EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
SMOOTH = pytest.mark.parametrize("row", [row for row in ROWS if row.grad], ids=lambda row: row.id)


def tensors(row, dtype="float64", requires_grad=False, device=None):
    """The row's inputs as Tensors."""

    def one(array, differentiable):
        return cr.tensor(array, device=device, requires_grad=requires_grad and differentiable)

    return [
        [one(part, True) for part in array] if isinstance(array, list) and flag
        else one(array, flag) if isinstance(array, np.ndarray) else array
        for array, flag in zip(row.arrays(dtype), row.differentiable(), strict=True)
    ]  # fmt: skip


def outputs(result):
    """All Tensors in a result."""
    return [
        one for one in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(one, Tensor)
    ]


def floats(result):
    """The outputs that can carry a gradient."""
    return [one for one in outputs(result) if one.is_floating_point()]


def leaves(inputs):
    """The inputs that require a gradient."""
    flat = [part for one in inputs for part in (one if isinstance(one, list) else [one])]
    return [one for one in flat if isinstance(one, Tensor) and one.requires_grad]


def replaced(inputs, new):
    """The inputs with each that requires a gradient replaced, in order, by one of `new`."""
    source = iter(new)

    def one(x):
        if isinstance(x, list) and x and isinstance(x[0], Tensor):
            return [next(source) for _ in x]
        return next(source) if isinstance(x, Tensor) and x.requires_grad else x

    return [one(x) for x in inputs]


def host(tensor):
    return tensor.detach().cpu().numpy()


def seeded(row, inputs):
    cr.manual_seed(7)
    return row.function(*inputs, **row.kwargs)


def weighted(result):
    """One number from all outputs, with irregular weights so that nothing cancels."""
    parts = []
    for out in floats(result):
        weights = (
            np.cos(1.3 * np.arange(out.numel()) + 0.2).reshape(tuple(out.shape))
            if out.numel()
            else np.zeros(tuple(out.shape))
        )
        parts.append((out * out.detach().new_tensor(weights)).sum())
    return sum(parts[1:], parts[0])


def test_ids_are_distinct():
    ids = [row.id for row in ROWS]
    assert not {one for one in ids if ids.count(one) > 1}


def test_every_operation_has_a_row():
    recorded = set()
    state = local.state
    covered = {name for row in ROWS for name in (*row.covers, row.name)}
    state.on_record = lambda node, out: recorded.add(node.op.name)
    try:
        for row in ROWS:
            if row.grad:
                weighted(seeded(row, tensors(row, requires_grad=True)))
    finally:
        state.on_record = None
    differentiable = {name for name, operation in registry.items() if operation.differentiable}
    assert differentiable - recorded - covered == set()
    assert set(registry) - differentiable - covered == set()


@EVERY
def test_forward_is_the_reference(row):
    if row.ref is None:
        pytest.skip("compared with PyTorch where that is installed")
    got = outputs(seeded(row, tensors(row)))
    expected = row.ref(*row.arrays(), **row.kwargs)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    for one, want in zip(got, expected, strict=False):
        assert tuple(one.shape) == np.shape(want)
        np.testing.assert_allclose(host(one), want, rtol=row.tol, atol=row.tol)


@SMOOTH
def test_first_derivative(row):
    inputs = tensors(row, requires_grad=True)
    flat = leaves(inputs)

    def function(*xs):
        return tuple(floats(seeded(row, replaced(inputs, xs))))

    assert cr.autograd.gradcheck(function, flat, atol=2e-7, rtol=2e-6, eps=1e-5)


@pytest.mark.parametrize("row", [row for row in ROWS if row.grad and row.second], ids=lambda row: row.id)
def test_second_derivative(row):
    """A random direction: d/de of the gradient at x + e v, against the gradient of <gradient, v>."""
    inputs = tensors(row, requires_grad=True)
    flat = leaves(inputs)
    rng = np.random.default_rng(5)
    directions = [rng.standard_normal(tuple(x.shape)) for x in flat]

    def gradient(shift):
        moved = [
            x.detach().new_tensor(host(x) + shift * v, requires_grad=True)
            for x, v in zip(flat, directions, strict=True)
        ]
        found = cr.autograd.grad(
            weighted(seeded(row, replaced(inputs, moved))), moved, create_graph=True, materialize_grads=True
        )
        return moved, found

    moved, found = gradient(0.0)
    total = sum((g * g.detach().new_tensor(v)).sum() for g, v in zip(found, directions, strict=True))
    if not total.requires_grad:
        second = [np.zeros(tuple(x.shape)) for x in moved]
    else:
        second = [host(g) for g in cr.autograd.grad(total, moved, materialize_grads=True)]
    eps = 1e-5
    plus, minus = ([host(g) for g in gradient(sign * eps)[1]] for sign in (1, -1))
    for exact, up, down in zip(second, plus, minus, strict=True):
        numerical = (up - down) / (2 * eps)
        scale = max(1.0, np.abs(numerical).max(initial=0))
        np.testing.assert_allclose(exact, numerical, rtol=1e-5, atol=2e-6 * scale)


@SMOOTH
@pytest.mark.cpu_only
def test_plain_backward_makes_no_tensor_and_agrees_with_the_recorded_one(row, monkeypatch):
    def gradients(create_graph):
        inputs = tensors(row, requires_grad=True)
        loss = weighted(seeded(row, inputs))
        if create_graph:
            return cr.autograd.grad(loss, leaves(inputs), create_graph=True, materialize_grads=True)
        made = []
        wrap = Tensor._wrap.__func__
        with monkeypatch.context() as patch:
            patch.setattr(Tensor, "_wrap", classmethod(lambda cls, *args: made.append(1) or wrap(cls, *args)))
            found = engine.run([(loss._current_edge(), np.ones_like(loss.numpy(force=True)))], False, False)
        assert not made
        return [
            one
            for leaf in leaves(inputs)
            for one in [found[leaf][0] if leaf in found else np.zeros(tuple(leaf.shape))]
        ]

    for raw, recorded in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_allclose(raw, host(recorded), rtol=1e-12, atol=1e-13)


@SMOOTH
def test_float32_in_float32_gradient_out(row):
    inputs = tensors(row, "float32", requires_grad=True)
    result = seeded(row, inputs)
    assert all(one.dtype is cr.float32 for one in floats(result))
    weighted(result).backward()
    for leaf in leaves(inputs):
        assert leaf.grad is None or leaf.grad.dtype is cr.float32


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.grad and row.name != "imag"], ids=lambda row: row.id
)
def test_16_bits_in_16_bits_out(row, dtype):
    """Also where the array library would widen; what needs more digits refuses 16 bits by name, as in PyTorch."""
    if dtype is cr.bfloat16:
        pytest.importorskip("ml_dtypes")
    wide = tensors(row, "float32", requires_grad=True)
    inputs = replaced(wide, [x.detach().to(dtype).requires_grad_() for x in leaves(wide)])
    try:
        result = seeded(row, inputs)
    except RuntimeError as error:
        assert "expected float32" in str(error)
        return
    if (
        "linalg" in row.name
        or "cholesky" in row.name
        or row.name.startswith(("fft", "stft", "istft"))
        or not leaves(inputs)
    ):
        return  # the row converts by itself on the way
    assert floats(result)[0].dtype is dtype
    weighted(floats(result)[:1]).backward()
    for leaf in leaves(inputs):
        assert leaf.grad is None or leaf.grad.dtype is dtype


@SMOOTH
@pytest.mark.cpu_only
def test_gradients_share_no_memory(row):
    """`.grad` is the leaf's own: writing to it changes no other gradient, input or output."""
    inputs = tensors(row, requires_grad=True)
    result = seeded(row, inputs)
    weighted(result).backward()
    arrays = [one._array for one in leaves(inputs)] + [
        one.grad._array for one in leaves(inputs) if one.grad is not None
    ]
    for i, one in enumerate(arrays):
        assert one.flags.writeable
        assert not any(np.shares_memory(one, other) for other in arrays[:i])


@EVERY
@pytest.mark.parametrize("device", ACCELERATORS)
def test_another_device_agrees(row, device):
    """A card, or the strict stand-in for one, computes the same, forward and backward, without touching the host."""
    ours, theirs = tensors(row, requires_grad=True), tensors(row, requires_grad=True, device=device)
    kwargs = {
        name: value.to(device) if isinstance(value, Tensor) else value for name, value in row.kwargs.items()
    }
    close = {"rtol": 1e-12, "atol": 1e-12} if device == "fake" else {"rtol": 1e-9, "atol": 1e-10}
    cr.manual_seed(7)
    there = row.function(*theirs, **kwargs)
    here = seeded(row, ours)
    for one, other in zip(outputs(here), outputs(there), strict=True):
        assert other.device.type == device
        np.testing.assert_allclose(host(one), host(other), **close)
    if row.grad:
        weighted(here).backward()
        weighted(there).backward()
        for one, other in zip(leaves(ours), leaves(theirs), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:
                assert other.grad.device.type == device
                np.testing.assert_allclose(host(one.grad), host(other.grad), **close)


@SMOOTH
def test_an_input_overwritten_before_backward_is_noticed_or_harmless(row):
    """Mutate each input and output between forward and backward: an error or the right gradient, never a wrong one."""
    clean = tensors(row, requires_grad=True)
    weighted(seeded(row, clean)).backward()
    expected = [None if one.grad is None else host(one.grad) for one in leaves(clean)]
    count = len(expected)
    for target in range(count + 1):
        inputs = tensors(row, requires_grad=True)
        watched = [x * 1 for x in leaves(inputs)]
        result = seeded(row, replaced(inputs, watched))
        loss = weighted(result)
        victims = [watched[target]] if target < count else floats(result)
        with cr.no_grad():
            for victim in victims:
                if not any(
                    stride == 0 and size > 1
                    for stride, size in zip(victim._array.strides, victim._array.shape, strict=True)
                ):
                    victim.add_(0.5)
        try:
            loss.backward()
        except RuntimeError as error:
            assert "in-place" in str(error)
            continue
        for leaf, want in zip(leaves(inputs), expected, strict=True):
            if want is not None and leaf.grad is not None:
                np.testing.assert_allclose(host(leaf.grad), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("row", [row for row in ROWS if row.grad and row.strided], ids=lambda row: row.id)
@pytest.mark.cpu_only
def test_strided_inputs(row):
    """Inputs that lie in memory with gaps, or transposed, give what contiguous ones give."""
    plain = tensors(row, requires_grad=True)

    def spread(x):
        doubled = np.repeat(host(x), 2, axis=-1)[..., ::2] if x.ndim else host(x)
        return cr.from_numpy(np.asfortranarray(doubled) if x.ndim == 2 else doubled).requires_grad_()

    strided = replaced(plain, [spread(x) for x in leaves(plain)])
    first, second = seeded(row, plain), seeded(row, strided)
    for one, other in zip(outputs(first), outputs(second), strict=True):
        np.testing.assert_allclose(host(one), host(other), rtol=1e-12, atol=1e-12)
    weighted(first).backward()
    weighted(second).backward()
    for one, other in zip(leaves(plain), leaves(strided), strict=True):
        if one.grad is not None:
            np.testing.assert_allclose(host(one.grad), host(other.grad), rtol=1e-11, atol=1e-12)


@pytest.mark.torch
@EVERY
def test_torch_agrees(row):
    """Values, shapes, dtypes and gradients are PyTorch's, where it is installed and has the function."""
    torch = pytest.importorskip("torch")
    function = row.torch if row.torch is not None else row.name
    if isinstance(function, str):
        target = torch
        for part in function.split("."):
            target = getattr(target, part, None)
            if target is None:
                pytest.skip(f"PyTorch has no {function}")
        function = target
    elif function is False:
        pytest.skip("PyTorch has nothing to compare with")
    inputs = tensors(row, requires_grad=True)
    theirs = replaced(inputs, [torch.tensor(host(x), requires_grad=True) for x in leaves(inputs)])
    theirs = [torch.tensor(host(one)) if isinstance(one, Tensor) else one for one in theirs]
    kwargs = {
        name: torch.tensor(host(value)) if isinstance(value, Tensor) else value
        for name, value in row.kwargs.items()
    }
    got, want = seeded(row, inputs), function(*theirs, **kwargs)
    want = [
        one for one in (want if isinstance(want, (tuple, list)) else (want,)) if isinstance(one, torch.Tensor)
    ]
    for one, other in zip(outputs(got), want, strict=True):
        assert tuple(one.shape) == tuple(other.shape)
        assert one.dtype.name == str(other.dtype).removeprefix("torch.")
        np.testing.assert_allclose(
            host(one), other.detach().numpy(), rtol=max(row.tol, 1e-9), atol=max(row.tol, 1e-9)
        )
    if not row.grad:
        return
    weighted(got).backward()
    total = 0
    for other in want:
        if other.is_floating_point() and other.requires_grad:
            weights = (
                np.cos(1.3 * np.arange(other.numel()) + 0.2).reshape(tuple(other.shape))
                if other.numel()
                else np.zeros(tuple(other.shape))
            )
            total = total + (other * torch.tensor(weights)).sum()
    total.backward()
    flat = [
        p
        for one in theirs
        for p in (one if isinstance(one, list) else [one])
        if isinstance(p, torch.Tensor) and p.requires_grad
    ]
    for one, other in zip(leaves(inputs), flat, strict=True):
        if other.grad is not None:
            np.testing.assert_allclose(host(one.grad), other.grad.numpy(), rtol=1e-7, atol=1e-9)


def test_rows_are_rows():
    assert ROWS and all(isinstance(row, Row) for row in ROWS)
