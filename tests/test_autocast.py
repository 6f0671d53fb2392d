"""Mixed precision: output dtypes against PyTorch's CPU autocast, gradients, nesting, the cache; and the switches that do nothing."""

import inspect
import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import amp, func, nn
from chainrule.autograd.modes import local
from chainrule.autograd.precision import precision
from chainrule.nn import functional as F

# name -> (function of a library and its nn.functional, shapes of its float inputs)
CASES = {
    "matmul": (lambda t, F, a, b: a @ b, [(3, 4), (4, 5)]),
    "mm": (lambda t, F, a, b: t.mm(a, b), [(3, 4), (4, 5)]),
    "bmm": (lambda t, F, a, b: t.bmm(a, b), [(2, 3, 4), (2, 4, 5)]),
    "mv": (lambda t, F, a, b: t.mv(a, b), [(3, 4), (4,)]),
    "addmm": (lambda t, F, a, b, c: t.addmm(a, b, c), [(5,), (3, 4), (4, 5)]),
    "baddbmm": (lambda t, F, a, b, c: t.baddbmm(a, b, c), [(2, 3, 5), (2, 3, 4), (2, 4, 5)]),
    "einsum": (lambda t, F, a, b: t.einsum("ij,jk->ik", a, b), [(3, 4), (4, 5)]),
    "linear": (lambda t, F, x, w, b: F.linear(x, w, b), [(3, 4), (5, 4), (5,)]),
    "conv2d": (lambda t, F, x, w, b: F.conv2d(x, w, b), [(1, 2, 5, 5), (3, 2, 3, 3), (3,)]),
    "conv_transpose1d": (lambda t, F, x, w: F.conv_transpose1d(x, w), [(1, 2, 5), (2, 3, 3)]),
    "attention": (lambda t, F, q, k, v: F.scaled_dot_product_attention(q, k, v), [(2, 3, 4)] * 3),
    "prelu": (lambda t, F, x, w: F.prelu(x, w), [(3,), (1,)]),
    "softmax": (lambda t, F, x: x.softmax(0), [(3,)]),
    "log_softmax": (lambda t, F, x: F.log_softmax(x, dim=0), [(3,)]),
    "exp": (lambda t, F, x: x.exp(), [(3,)]),
    "sum": (lambda t, F, x: x.sum(), [(3,)]),
    "layer_norm": (lambda t, F, x: F.layer_norm(x, (4,)), [(3, 4)]),
    "prod": (lambda t, F, x: x.prod(), [(3,)]),
    "trace": (lambda t, F, x: x.trace(), [(3, 3)]),
    "cdist": (lambda t, F, x, y: t.cdist(x, y), [(3, 2), (4, 2)]),
    "mse": (lambda t, F, x, y: F.mse_loss(x, y), [(3,), (3,)]),
    "l1": (lambda t, F, x, y: F.l1_loss(x, y), [(3,), (3,)]),
    "huber": (lambda t, F, x, y: F.huber_loss(x, y), [(3,), (3,)]),
    "cross_entropy": (lambda t, F, x: F.cross_entropy(x, t.tensor([0, 1, 2])), [(3, 4)]),
    "nll": (lambda t, F, x: F.nll_loss(x, t.tensor([0, 1, 2])), [(3, 4)]),
    "bce": (lambda t, F, x: F.binary_cross_entropy_with_logits(x, x.sigmoid()), [(3,)]),
    "kl": (lambda t, F, x, y: F.kl_div(x, y.sigmoid(), reduction="sum"), [(3,), (3,)]),
    "inv": (lambda t, F, x: t.linalg.inv(x), [(3, 3)]),
    "fft": (lambda t, F, x: t.fft.fft(x), [(4,)]),
    "add": (lambda t, F, x: x + t.ones(3), [(3,)]),
    "cat": (lambda t, F, x: t.cat([x, t.ones(3)]), [(3,)]),
    "mixed": (lambda t, F, x: x @ t.ones(4, 5), [(3, 4)]),
    "relu": (lambda t, F, x: x.relu(), [(3,)]),
    "max_pool2d": (lambda t, F, x: F.max_pool2d(x, 2), [(1, 1, 4, 4)]),
    "avg_pool3d": (lambda t, F, x: F.avg_pool3d(x, 2), [(1, 1, 4, 4, 4)]),
    "vdot": (lambda t, F, a, b: t.vdot(a, b), [(3,), (3,)]),
    "tensordot": (lambda t, F, a, b: t.tensordot(a, b, 1), [(3, 4), (4, 5)]),
    "inner_number": (lambda t, F, a, b: t.inner(a, b), [(4,), (4,)]),
    "max_unpool1d": (lambda t, F, x: F.max_unpool1d(x, t.tensor([[0, 3]]), 2), [(1, 2)]),
    "fractional_pool": (lambda t, F, x: F.fractional_max_pool2d(x, 2, output_size=2), [(1, 1, 4, 4)]),
    "cholesky_ex": (lambda t, F, x: t.linalg.cholesky_ex(x @ x.T)[0], [(3, 3)]),
    "inv_ex": (lambda t, F, x: t.linalg.inv_ex(x)[0], [(3, 3)]),
    "many_heads": (
        lambda t, F, x, w, b, k, o: F.multi_head_attention_forward(
            x, x, x, 4, 2, w, None, k, k, False, 0.0, o, b, need_weights=False
        )[0],
        [(3, 2, 4), (12, 4), (4,), (1, 1, 4), (4, 4)],
    ),
    "lstm": (lambda t, F, x: t.nn.LSTM(4, 5)(x)[0], [(2, 3, 4)]),
}


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_output_dtypes_are_those_of_pytorch(name, dtype):
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    if dtype == "float64" and name in ("mixed", "lstm"):
        pytest.skip("PyTorch refuses to mix float64 with what it has converted")
    function, shapes = CASES[name]
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(shape).astype("float32") for shape in shapes]
    found = []
    for library, functional in ((cr, F), (torch, torch.nn.functional)):
        inputs = [library.tensor(one).to(getattr(library, dtype)) for one in arrays]
        with library.autocast("cpu"):
            found.append(function(library, functional, *inputs))
    ours, theirs = found
    assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2]
    assert tuple(ours.shape) == tuple(theirs.shape)


def test_declared_functions_show_their_own_signature_and_are_not_touched_by_a_block():
    assert list(inspect.signature(cr.sum).parameters) == ["input", "dim", "keepdim", "dtype"]
    assert list(inspect.signature(F.linear).parameters) == ["input", "weight", "bias"]
    assert cr.matmul.__name__ == "matmul" and cr.matmul.__module__.endswith("functions.product")
    before = cr.matmul.__code__
    with cr.autocast("cpu"):
        assert cr.matmul.__code__ is before
        with cr.autocast("cpu", enabled=False):
            assert local.state.autocast is None
    assert local.state.autocast is None
    with pytest.raises(ZeroDivisionError), cr.autocast("cpu"):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="matmul"), cr.autocast("cpu"):
        cr.ones(2, 3) @ cr.ones(2, 3)
    assert local.state.autocast is None
    with cr.autocast("cpu", enabled=False):
        assert local.state.autocast is None


def test_a_policy_must_be_known():
    with pytest.raises(ValueError, match="lowest"):
        precision("lowest")
    with pytest.raises(ValueError, match="f32"):
        precision(accelerator="f32")


def test_gradients_are_those_of_the_rounded_computation_in_the_parameters_dtype():
    pytest.importorskip("ml_dtypes")
    layer, x = nn.Linear(4, 3), cr.randn(5, 4)
    with cr.autocast("cpu"):
        y = layer(x)
        assert y.dtype is cr.bfloat16 and y.grad_fn.name() == "LinearBackward0"
        loss = F.mse_loss(y, cr.zeros(5, 3))
        assert loss.dtype is cr.float32
    loss.backward()
    found = layer.weight.grad
    w, b = (one.detach().bfloat16().requires_grad_() for one in (layer.weight, layer.bias))
    F.mse_loss(F.linear(x.bfloat16(), w, b).float(), cr.zeros(5, 3)).backward()
    assert found.dtype is cr.float32
    np.testing.assert_array_equal(found.numpy(), w.grad.float().numpy())
    np.testing.assert_array_equal(layer.bias.grad.numpy(), b.grad.float().numpy())


def test_backward_and_second_derivatives_inside_the_block():
    pytest.importorskip("ml_dtypes")
    x = cr.randn(3, 3, requires_grad=True)
    with cr.autocast("cpu"):
        y = (x @ x).sum()
        (g,) = cr.autograd.grad(y.float(), x, create_graph=True)
        g.square().sum().backward()
    assert g.dtype is cr.float32 and x.grad.dtype is cr.float32


def test_forward_mode_inside_the_block():
    pytest.importorskip("ml_dtypes")
    x, v, w = cr.ones(2, 3), cr.ones(2, 3), cr.ones(3, 2)
    for output in (
        cr.autocast("cpu")(lambda: func.jvp(lambda x: x @ w, (x,), (v,)))(),
        func.jvp(cr.autocast("cpu")(lambda x: x @ w), (x,), (v,)),
    ):
        assert output[1].dtype is cr.bfloat16 and output[1].tolist() == [[3, 3], [3, 3]]


def test_nesting_and_questions():
    pytest.importorskip("ml_dtypes")
    a = cr.ones(2, 2)
    assert not cr.is_autocast_enabled("cpu") and cr.get_autocast_dtype("cpu") is cr.bfloat16
    with cr.autocast("cpu", dtype=cr.float16):
        assert (
            cr.is_autocast_enabled("cpu")
            and not cr.is_autocast_enabled("cuda")
            and not cr.is_autocast_enabled()
        )
        assert cr.get_autocast_dtype("cpu") is cr.float16 and (a @ a).dtype is cr.float16
        with cr.autocast("cpu", enabled=False):
            assert not cr.is_autocast_enabled("cpu") and (a @ a).dtype is cr.float32
        with cr.autocast("cpu", dtype=cr.bfloat16):
            assert (a @ a).dtype is cr.bfloat16
        with cr.autocast("cuda"):
            assert (a @ a).dtype is cr.float16
        assert (a @ a).dtype is cr.float16
    assert (a @ a).dtype is cr.float32

    @cr.autocast("cpu")
    def run(n):
        return (a @ a).dtype if n == 0 else run(n - 1)

    assert run(2) is cr.bfloat16 and (a @ a).dtype is cr.float32


def test_the_cache_converts_a_parameter_once():
    pytest.importorskip("ml_dtypes")
    w, x = cr.ones(2, 2, requires_grad=True), cr.ones(2, 2)
    for cached in (True, False):
        with cr.autocast("cpu", cache_enabled=cached):
            first, second = x @ w, x @ w
            assert cr.is_autocast_cache_enabled() is cached
            edges = [one.grad_fn.edges[1] for one in (first, second)]
            assert (edges[0] is edges[1]) is cached
            with cr.no_grad():
                w.add_(1)
            assert (x @ w)[0, 0].item() == 2 * w[0, 0].item()
            with cr.autocast("cpu", enabled=False):
                assert (x @ w).dtype is cr.float32
            assert bool(local.state.autocast.cache) is cached
            cr.clear_autocast_cache()
            assert not local.state.autocast.cache


def test_other_threads_compute_as_ever():
    found = []
    a = cr.ones(2, 2)
    with cr.autocast("cpu", dtype=cr.float16):
        thread = threading.Thread(target=lambda: found.append((a @ a).dtype))
        thread.start()
        thread.join()
        assert (a @ a).dtype is cr.float16
    assert found == [cr.float32]


def test_accelerators_have_a_list_of_their_own():
    x = cr.ones(2, 2, device="fake")
    with cr.autocast("fake"):
        y = x @ x
        assert y.dtype is cr.float16 and y.relu().dtype is cr.float16
        for wide in (
            y.softmax(0),
            y.exp(),
            y.sum(),
            y.log(),
            y.norm(),
            F.layer_norm(y, (2,)),
            y**2,
            y.cumsum(0),
        ):
            assert wide.dtype is cr.float32
        assert cr.addcmul(y, y, x).dtype is cr.float32 and cr.dot(y[0], x[0]).dtype is cr.float32
        assert y.trace().dtype is cr.float16 and y.nansum().dtype is cr.float16
        assert cr.ormqr(x, x[0], x).dtype is cr.float32
    assert y.exp().dtype is cr.float16


def test_older_names_of_linear_algebra_compute_in_float32():
    pytest.importorskip("ml_dtypes")
    a = cr.eye(3).bfloat16()
    with cr.autocast("cpu"):
        assert cr.triangular_solve(a, a)[0].dtype is cr.float32
        packed, pivots = cr.lu(a)
        assert (
            packed.dtype is cr.float32 and cr.linalg.lu_solve(packed, pivots, a.float()).dtype is cr.float32
        )


def test_bad_calls():
    with pytest.raises(RuntimeError, match="nonsense"):
        cr.autocast("nonsense")
    with pytest.raises(ValueError, match="cuda:0"):
        cr.autocast("cuda:0")
    with pytest.warns(UserWarning, match="autocast is off"), cr.autocast("cpu", dtype=cr.float64):
        assert not cr.is_autocast_enabled("cpu")
    assert amp.is_autocast_available("cpu") and not amp.is_autocast_available("nonsense")
    cr.set_autocast_dtype("cpu", cr.float16)
    try:
        assert cr.autocast("cpu").dtype is cr.float16
    finally:
        cr.set_autocast_dtype("cpu", cr.bfloat16)


def test_a_compiled_model_is_the_model():
    model = nn.Linear(2, 2)
    assert cr.compile(model, mode="max-autotune", fullgraph=True) is model
    plain = lambda x: x + 1
    assert cr.compile(plain) is plain and cr.compile(dynamic=True)(plain) is plain
    with pytest.raises(TypeError, match="got int"):
        cr.compile(3)


def test_the_deterministic_switch():
    assert not cr.are_deterministic_algorithms_enabled()
    cr.use_deterministic_algorithms(True, warn_only=True)
    assert cr.are_deterministic_algorithms_enabled() and cr.is_deterministic_algorithms_warn_only_enabled()
    cr.use_deterministic_algorithms(False)
    assert not cr.are_deterministic_algorithms_enabled()
    assert not cr.is_deterministic_algorithms_warn_only_enabled()
    with pytest.raises(TypeError, match="mode must be True or False"):
        cr.use_deterministic_algorithms(1)
