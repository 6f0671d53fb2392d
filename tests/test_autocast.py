"""Mixed precision: output dtypes against PyTorch's CPU autocast, gradients, nesting, the cache; and the switches that do nothing."""

import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import amp, func, nn
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


def test_every_listed_name_exists_and_has_its_code_back():
    before = {function: function.__code__ for function in amp._listed()}
    with cr.autocast("cpu"):
        assert all(function.__code__ is not code for function, code in before.items())
        with cr.autocast("cpu", enabled=False):
            pass
        assert F.linear.__code__ is not before[F.linear]
    with pytest.raises(ZeroDivisionError), cr.autocast("cpu"):
        raise ZeroDivisionError
    assert all(function.__code__ is code for function, code in before.items())


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
    assert not amp._thread.cache


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
    assert y.exp().dtype is cr.float16


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
