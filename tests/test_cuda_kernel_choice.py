"""Which operations, gradients and optimizers take which CUDA kernels, and that they give the same with them.

The kernels are installed on the stand-in for a GPU and run by the emulator; see `test_cuda_kernels.py` for the kernels themselves.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import backends
from chainrule.backends import Backend, cuda_kernels, get
from chainrule.backends.cuda_kernels import KERNELS
from chainrule.backends.determinism import use_deterministic_algorithms
from tests.kernels import cases, emulator, on_fake

EMULATED = pytest.mark.skipif(
    emulator.COMPILER is None, reason="g++ is not installed (CXX names another compiler)"
)


# --- chosen by operations ---


@pytest.fixture
def launched(monkeypatch):
    """The kernels installed on the fake device for one test; the list of entry points launched."""
    if emulator.COMPILER is None:
        pytest.skip("g++ is not installed (CXX names another compiler)")
    before = set(backends.kernels)
    monkeypatch.setattr(get("fake"), "kernels", {})
    yield on_fake.installed().launched
    backends.kernels.intersection_update(before)


def both(function, *arrays):
    """Values and gradients of a function of Tensors on the fake device and on the CPU: [(there, here), ...]."""
    found = []
    for device in ("fake", "cpu"):
        inputs = [cr.tensor(a, device=device, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = function(*inputs)
        incoming = np.cos(np.arange(y.numel())).reshape(tuple(y.shape)).astype("float32")
        y.backward(cr.tensor(incoming, device=device))
        found.append([one.detach().cpu().numpy() for one in (y, *(x.grad for x in inputs))])
    return list(zip(*found, strict=True))


def image(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype("float32")


HOOKED = {
    "softmax": (lambda x: F.softmax(x, dim=-1), [image(5, 40)], {"softmax", "softmax_gradient"}),
    "log_softmax": (lambda x: F.log_softmax(x, dim=1), [image(5, 7)], {"softmax", "softmax_gradient"}),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (9,), w, b), [image(4, 6, 9), image(9), image(9)], {"norm_rows", "norm_gradient", "norm_weight_columns"}),
    "rms_norm": (lambda x, w: F.rms_norm(x, (9,), w), [image(4, 9), image(9)], {"norm_rows", "norm_gradient", "norm_weight_columns"}),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), [image(2, 6, 3, 4), image(6), image(6)], {"norm_rows", "norm_gradient", "norm_weight_stretches"}),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [image(3, 4, 5, 6), image(4), image(4)], {"channel_moments", "join_moments", "channel_norm", "channel_sums", "channel_norm_gradient"}),
    "attention": (lambda q, k, v, m: F.scaled_dot_product_attention(q, k, v, m), [image(2, 3, 9, 4), image(2, 3, 7, 4), image(2, 3, 7, 5), image(2, 1, 9, 7)], {"attention_softmax", "attention_softmax_gradient"}),
    "causal attention": (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), [image(2, 6, 9, 4), image(2, 2, 7, 4), image(2, 2, 7, 5)], {"attention_softmax", "attention_softmax_gradient"}),
    "batch_norm-rows": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), [image(30, 7), image(7), image(7)], {"column_moments", "join_moments", "column_norm", "column_norm_sums", "column_norm_gradient"}),
    "batch_norm-channels_last": (lambda x, w, b: F.batch_norm(x.to(memory_format=cr.channels_last), None, None, w, b, training=True), [image(3, 8, 5, 2), image(8), image(8)], {"column_moments", "column_norm", "column_norm_gradient"}),
    "batch_norm-evaluation": (lambda x, w, b: F.batch_norm(x, cr.ones(4, device=x.device), cr.full((4,), 2.0, device=x.device), w, b), [image(3, 4, 5, 6), image(4), image(4)], {"channel_affine"}),
    "instance_norm": (lambda x, w, b: F.instance_norm(x, None, None, w, b), [image(3, 4, 5, 6), image(4), image(4)], {"norm_rows", "norm_gradient", "norm_weight_stretches"}),
    "group_norm-rows": (lambda x, w, b: F.group_norm(x, 2, w, b), [image(5, 6), image(6), image(6)], {"norm_rows", "norm_gradient", "norm_weight_columns"}),
    "bias": (lambda x, b: x + b, [image(3, 5, 4), image(4)], {"column_sums"}),
    "channel-bias": (lambda x, b: x * 1 + b, [image(9, 8, 2, 5), image(8, 1, 1)], {"row_sums", "column_sums_wide"}),
    "sum": (lambda x: x.sum(0), [image(30, 5)], {"column_sums"}),
    "gelu": (F.gelu, [image(3, 5)], {"activation"}),
    "relu": (F.relu, [image(3, 5)], {"activation"}),
    "max_pool2d": (lambda x: F.max_pool2d(x, 3, 2, 1), [image(2, 3, 9, 8)], {"max_pool", "max_pool_gradient"}),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 3, 2, 1), [image(2, 3, 9, 8)], {"avg_pool", "avg_unpool"}),
    "conv2d": (lambda x, w: F.conv2d(x, w, padding=1, stride=2), [image(2, 3, 7, 6), image(4, 3, 3, 2)], {"im2col", "col2im"}),
    "conv1d": (lambda x, w: F.conv1d(x, w, padding=1), [image(2, 3, 7), image(4, 3, 3)], {"im2col", "col2im"}),
    "conv_transpose2d": (lambda x, w: F.conv_transpose2d(x, w, stride=2), [image(2, 3, 3, 4), image(3, 4, 3, 2)], {"im2col", "col2im"}),
    "unfold": (lambda x: F.unfold(x, 3, padding=1), [image(2, 3, 5, 4)], {"im2col", "col2im"}),
    "embedding": (lambda w: F.embedding(cr.tensor([[1, 4], [1, 0]], device=w.device), w), [image(6, 5)], {"embedding_atomic"}),
    "cross_entropy": (lambda x: F.cross_entropy(x, cr.tensor([1, 0, 4], device=x.device), reduction="none"), [image(3, 5)], {"cross_entropy", "scale_slopes"}),
    "cross_entropy-mean": (lambda x: F.cross_entropy(x, cr.tensor([1, 0, -100], device=x.device)), [image(3, 5)], {"cross_entropy", "loss_total", "scale_slopes"}),
    "cross_entropy-pixels": (lambda x: F.cross_entropy(x, cr.tensor([[[1, 0, 4]], [[2, 2, 0]]], device=x.device), label_smoothing=0.1, reduction="none"), [image(2, 5, 1, 3)], {"cross_entropy_columns", "scale_slope_columns"}),
    "softmax-axis": (lambda x: F.softmax(x, dim=1), [image(2, 7, 3)], {"softmax_columns", "softmax_gradient_columns"}),
    "dropout": (lambda x: F.dropout(x, 0.0) + F.dropout(x, 1.0), [image(2, 7)], {"dropout"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOOKED)
def test_an_operation_runs_its_kernels_and_gives_the_same(launched, name):
    function, arrays, entries = HOOKED[name]
    del launched[:]
    for there, here in both(function, *arrays):
        np.testing.assert_allclose(there, here, rtol=2e-5, atol=2e-6)
    assert entries <= set(launched), (entries, launched)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_recurrent_layer_runs_its_kernels_and_gives_the_same(launched, kind):
    results = []
    for device in ("fake", "cpu"):
        cr.manual_seed(1)
        layer = getattr(cr.nn, kind)(4, 6, num_layers=2).to(device)
        x = cr.tensor(image(5, 3, 4), device=device, requires_grad=True)
        layer(x)[0].square().sum().backward()
        results.append([x.grad.cpu().numpy(), *(p.grad.cpu().numpy() for p in layer.parameters())])
    for there, here in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
    assert f"{kind.lower()}_step" in launched
    assert ("lstm_step_back" if kind == "LSTM" else "state_step_back") in launched


def test_random_numbers_by_the_kernel_are_those_of_the_cpu(launched):
    cr.manual_seed(5)
    there = cr.rand(1000, 3, device="fake").cpu().numpy()
    assert "uniform_numbers" in launched
    cr.manual_seed(5)
    assert np.array_equal(there, cr.rand(1000, 3).numpy())


def test_second_derivatives_go_through_the_rules(launched):
    """A graph of the gradient is asked for: rules on Tensors, whose operations run kernels again."""
    results = []
    for device in ("fake", "cpu"):
        x = cr.tensor(image(3, 5), device=device, requires_grad=True)
        (g,) = cr.autograd.grad(F.softmax(x, dim=1).square().sum(), x, create_graph=True)
        g.square().sum().backward()
        results.append(x.grad.cpu().numpy())
    np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-6)
    assert "softmax" in launched


def test_deterministic_algorithms_choose_the_sorted_embedding_gradient(launched):
    function, arrays, _ = HOOKED["embedding"]
    use_deterministic_algorithms(True)
    try:
        both(function, *arrays)
    finally:
        use_deterministic_algorithms(False)
    assert "embedding_sorted" in launched and "embedding_atomic" not in launched


OPTIMIZERS = {
    "sgd": (cr.optim.SGD, {"lr": 0.1}),
    "sgd-momentum": (cr.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    "sgd-nesterov": (cr.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    "adam": (cr.optim.Adam, {"lr": 0.1, "weight_decay": 0.1}),
    "adam-amsgrad": (cr.optim.Adam, {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.6)}),
    "adamw": (cr.optim.AdamW, {"lr": cr.tensor(0.1), "maximize": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_updates_all_parameters_in_one_launch(launched, name):
    kind, options = OPTIMIZERS[name]
    results = []
    for device in ("fake", "cpu"):
        params = [cr.tensor(image(*shape), device=device, requires_grad=True) for shape in ((3, 4), (7,), ())]
        strided = cr.tensor(image(4, 3), device=device).T.requires_grad_()  # no kernel is made for it
        optimizer = kind([*params, strided], **options)
        for step in range(3):
            del launched[:]
            for k, param in enumerate((*params, strided)):
                param.grad = None if k == step else param.detach().cos() + step
            optimizer.step()
            assert launched == ([name.partition("-")[0].rstrip("w")] if device == "fake" else [])
            if step == 1:  # the state goes out and in between, and is the same kind of state
                optimizer.load_state_dict(optimizer.state_dict())
        results.append([one.detach().cpu().numpy() for one in (*params, strided)])
    for there, here in zip(*results, strict=True):
        np.testing.assert_allclose(there, here, rtol=2e-5, atol=2e-6)


def test_gradients_are_clipped_in_three_launches(launched):
    results = []
    for device in ("fake", "cpu"):
        params = [cr.zeros(*shape, device=device, requires_grad=True) for shape in ((3, 4), (7,), ())]
        for param in params:
            param.grad = cr.tensor(image(*param.shape), device=device)
        total = cr.nn.utils.clip_grad_norm_(params, 0.5)
        results.append([total.cpu().numpy(), *(param.grad.cpu().numpy() for param in params)])
    for there, here in zip(*results, strict=True):
        assert there.dtype == here.dtype and there.shape == here.shape
        np.testing.assert_allclose(there, here, rtol=1e-5)
    assert launched == ["squares", "total_norm", "scale_all"]
    cr.nn.utils.clip_grad_norm_([cr.nn.Parameter(cr.zeros(1, device="fake"))], 1.0)  # no gradient, no launch
    assert len(launched) == 3


def test_a_clipped_gradient_that_was_saved_is_noticed(launched):
    w = cr.zeros(3, device="fake", requires_grad=True)
    w.grad = cr.ones(3, device="fake")
    x = cr.ones(3, device="fake", requires_grad=True)
    y = (x * w.grad).sum()
    cr.nn.utils.clip_grad_norm_([w], 0.5)
    with pytest.raises(RuntimeError, match="modified by an in-place operation"):
        y.backward()


def test_a_parameter_given_twice_and_a_class_with_its_own_update_are_not_for_the_kernel(launched):
    class Signs(cr.optim.SGD):
        def update(self, param, grad, state, group):
            param -= group["lr"] * cr.backends.namespaces[param.__class__].sign(grad)

    x = cr.tensor(image(3), device="fake", requires_grad=True)
    with pytest.warns(UserWarning, match="updated twice"):
        twice = cr.optim.SGD([x, x], lr=0.25)
    x.grad = cr.ones(3, device="fake")
    before = x.detach().cpu().numpy().copy()
    twice.step()
    Signs([x], lr=0.25).step()
    np.testing.assert_allclose(x.detach().cpu().numpy(), before - 0.75)
    assert "sgd" not in launched


@pytest.mark.slow
@EMULATED
def test_the_tables_of_operations_and_layers_pass_through_the_kernels(environment):
    """Everything the tests of operations, layers, recurrent networks and optimizers do on the fake device, with kernels installed.

    All but the count of what an optimizer copies: the kernel's table of addresses is among it.
    """
    files = ["test_ops", "test_layers", "test_recurrent", "test_pooling", "test_functional", "test_optim"]
    options = "-q -p no:cacheprovider -p tests.kernels.on_fake -k".split()
    command = [sys.executable, "-P", "-m", "pytest", *options, "not without_asking_the_host"]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [*command, *(f"tests/{name}.py" for name in files)], cwd=root, capture_output=True, text=True,
        env={**environment, "CHAINRULE_TEST_DEVICES": "fake", "PYTHONPATH": f"{root}:{environment['PYTHONPATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    assert "lstm_step_back" in done.stdout and "softmax_gradient" in done.stdout


# --- guards ---

SQUARE = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1), "size": (2, 2)}
F32 = image(4, 4)
H16 = image(1, 2, 4, 8).astype("float16")
SDPA = {"scale": 0.5, "causal": False, "kept": None, "share": 1.0}


def q(n=4, **changed):
    return cases.Targets((np.arange(n), np.zeros(n, int)))._replace(**changed)


GUARDS = [
    # name, arrays, static keywords, whether the kernel is right for them
    ("flash_attention", [H16, H16, H16, None], SDPA, True),
    ("flash_attention", [H16, H16, H16, H16[0, 0, 0, :4]], SDPA | {"causal": True, "kept": np.ones((1, 2, 4, 4), bool)}, True),
    ("flash_attention", [H16, H16[:, :1], H16[:, :1], None], SDPA, True),
    ("flash_attention", [H16[:, :1], H16, H16, None], SDPA, False),
    ("flash_attention", [H16, H16, H16[..., :4], None], SDPA, False),
    ("flash_attention", [H16[..., :4]] * 3 + [None], SDPA, False),
    ("flash_attention", [H16.astype("float32")] * 3 + [None], SDPA, False),
    ("flash_attention", [H16, H16[:, :, :0], H16[:, :, :0], None], SDPA, False),
    ("flash_gradients", [H16, H16, H16, None, H16, None, H16, None, (True,) * 3 + (False,), *SDPA.values()], {}, True),
    ("flash_gradients", [H16, H16, H16, None, H16, None, H16, None, (True,) * 4, *SDPA.values()], {}, False),
    ("flash_gradients", [H16, H16, H16, None, H16, None, None, H16, (True,) * 3 + (False,), *SDPA.values()], {}, False),
    ("attention_softmax", [F32, None, None], {}, True),
    ("attention_softmax", [image(2, 3, 4, 4), image(3, 1, 4), 2], {}, True),
    ("attention_softmax", [image(2, 2, 2, 2, 2, 2), image(2, 1, 2, 1, 2, 2), None], {}, False),
    ("attention_softmax", [F32, F32 > 0, None], {}, False),
    ("attention_softmax", [F32.T, None, None], {}, False),
    ("attention_softmax", [F32[:0], None, None], {}, False),
    ("attention_softmax_gradient", [F32, F32, None, F32[:, :1], F32[:, :1], None, None, 1.0], {}, True),
    ("attention_softmax_gradient", [F32, F32, F32[0], F32[:, :1], F32[:, :1], 0, F32 > 0, 0.5], {}, True),
    ("attention_softmax_gradient", [F32, F32.T, None, F32[:, :1], F32[:, :1], None, None, 1.0], {}, False),
    ("attention_softmax_gradient", [F32, F32, None, F32[:, :1], F32[:, :1], None, F32[0] > 0, 0.5], {}, False),
    ("attention_softmax_gradient", [F32, F32, None, F32, F32[:, :1], None, None, 1.0], {}, False),
    ("softmax", [F32], {"axis": 1}, True),
    ("softmax", [F32], {"axis": -1}, True),
    ("softmax", [F32], {"axis": 0}, True),
    ("softmax", [F32], {"axis": 2}, False),
    ("softmax", [F32], {"axis": (0, 1)}, False),
    ("softmax", [F32.T], {"axis": 1}, False),
    ("softmax", [F32[:, ::2]], {"axis": 1}, False),
    ("softmax", [F32[:0]], {"axis": 1}, False),
    ("softmax", [np.float32(1.0) + np.zeros(())], {"axis": -1}, False),
    ("softmax", [F32.astype("complex64")], {"axis": 1}, False),
    ("softmax", [F32.astype("float16")], {"axis": 1}, True),
    ("softmax", [F32.astype("int32")], {"axis": 1}, False),
    ("softmax.gradient", [F32, F32], {"axis": 1}, True),
    ("softmax.gradient", [F32.T, F32], {"axis": 1}, False),
    ("softmax.gradient", [F32.astype("float64"), F32], {"axis": 1}, False),
    ("softmax.gradient", [np.broadcast_to(F32[:1], (4, 4)), F32], {"axis": 1}, False),
    ("cross_entropy", [F32], {"q": q()}, True),
    ("cross_entropy", [F32], {"q": q(share=np.ones((1, 4)))}, False),
    ("cross_entropy", [F32], {"q": q(share=np.ones((1, 4), "float32"), kept=np.ones(4, bool))}, True),
    ("cross_entropy", [F32], {"q": q(kept=np.ones(4))}, False),
    ("cross_entropy", [F32], {"q": q(weight=np.ones(4))}, False),
    ("cross_entropy", [F32], {"q": q(weight=np.ones(4, "float32"))}, True),
    ("cross_entropy", [F32], {"q": q(index=(np.arange(4), np.zeros(4, "int32")))}, False),
    ("cross_entropy", [F32], {"q": q(), "over": 3, "dtype": "float32"}, True),
    ("cross_entropy", [F32], {"q": q(), "over": np.array(3.0)}, False),
    ("cross_entropy", [F32], {"q": q(), "dtype": "float64"}, False),
    ("cross_entropy", [image(2, 4, 3)], {"q": cases.Targets((0, np.zeros((2, 3), int), 0))}, True),
    ("cross_entropy", [image(2, 4, 3)], {"q": cases.Targets((0, np.zeros((2, 4), int), 0))}, False),
    ("cross_entropy.gradient", [[F32[0], None], F32], {"q": q()}, True),
    ("cross_entropy.gradient", [[F32[0], None], F32], {"q": q(), "over": 4}, False),
    ("cross_entropy.gradient", [[np.ones((), "float32"), None], F32], {"q": q(), "over": 4}, True),
    ("cross_entropy.gradient", [[F32[0], None], F32.astype("float16")], {"q": q()}, True),
    ("cross_entropy.gradient", [[F32[0].astype("float64"), None], F32], {"q": q()}, False),
    ("cross_entropy.gradient", [[F32[0], F32], F32], {"q": q()}, False),
    ("class_numbers", [np.arange(4), None], {"classes": 4, "ignore_index": -100, "dtype": "float32"}, True),
    ("class_numbers", [np.arange(4), F32[0]], {"classes": 4, "ignore_index": -100, "dtype": "float32"}, True),
    ("class_numbers", [np.arange(4), F32[0].astype("float64")], {"classes": 4, "ignore_index": -100, "dtype": "float32"}, False),
    ("class_numbers", [np.arange(4, dtype="int32"), None], {"classes": 4, "ignore_index": -100, "dtype": "float32"}, False),
    ("dropout", [F32, None], {"p": 0.5, "place": None, "shape": (4, 4)}, True),
    ("dropout", [F32, None], {"p": 0.5, "place": None, "shape": (4, 1)}, True),
    ("dropout", [F32, None], {"p": 0.5, "place": None, "shape": (1, 4)}, False),
    ("dropout", [F32, F32 > 0], {"p": 0.5, "place": None, "shape": None}, False),
    ("dropout", [F32.T, None], {"p": 0.5, "place": None, "shape": (4, 4)}, False),
    ("standardize", [F32, F32[0], None], {"axes": (1,), "eps": 1e-5}, True),
    ("standardize", [F32, F32[0], None], {"axes": (0,), "eps": 1e-5}, True),
    ("standardize", [F32, F32[0], None], {"axes": (0, 1), "eps": 1e-5}, False),
    ("standardize", [F32.T, F32[0], None], {"axes": (1,), "eps": 1e-5}, False),
    ("standardize", [F32, F32[0].astype("float64"), None], {"axes": (1,), "eps": 1e-5}, False),
    ("standardize", [F32.astype("float16"), F32[0], None], {"axes": (1,), "eps": 1e-5}, True),
    ("standardize", [F32, F32, None], {"axes": (1,), "eps": 1e-5}, False),
    ("standardize", [image(2, 3, 4, 5), None, None], {"axes": (0, 2, 3), "eps": 1e-5}, True),
    ("standardize", [image(2, 3, 4), None, None], {"axes": (0, 2), "eps": 1e-5}, True),
    ("standardize", [image(2, 3, 4).T, None, None], {"axes": (0, 2), "eps": 1e-5}, False),
    ("standardize", [image(2, 4, 5, 3).transpose(0, 3, 1, 2), None, None], {"axes": (0, 2, 3), "eps": 1e-5}, True),
    ("standardize", [image(2, 4, 5, 3).transpose(0, 3, 1, 2), None, None], {"axes": (1, 2, 3), "eps": 1e-5}, False),
    ("standardize.gradient", [[F32, None, None], F32, None, F32[:, :1], F32[:, :1], None, None], {"axes": (1,), "eps": 1e-5}, True),
    ("standardize.gradient", [[F32.T, None, None], F32, None, F32[:, :1], F32[:, :1], None, None], {"axes": (1,), "eps": 1e-5}, True),
    ("standardize.gradient", [[F32.astype("float64"), None, None], F32, None, F32[:, :1], F32[:, :1], None, None], {"axes": (1,), "eps": 1e-5}, False),
    ("standardize.gradient", [[F32, F32[:, :1], None], F32, None, F32[:, :1], F32[:, :1], None, None], {"axes": (1,), "eps": 1e-5}, False),
    ("standardize.gradient", [[None, F32[:, :1], None], F32, None, F32[:, :1], F32[:, :1], None, None], {"axes": (1,), "eps": 1e-5}, False),
    ("rms_standardize", [F32, None], {"axes": (1,), "eps": 1e-5}, True),
    ("rms_standardize", [F32, None], {"axes": (0,), "eps": 1e-5}, False),
    ("rms_standardize.gradient", [[F32, None], F32, None, F32[:, :1], None], {"axes": (1,), "eps": 1e-5}, True),
    ("rms_standardize.gradient", [[F32, F32[:, :1]], F32, None, F32[:, :1], None], {"axes": (1,), "eps": 1e-5}, False),
    ("scale_and_shift", [F32, F32[0], F32[0]], {}, True),
    ("scale_and_shift", [F32, F32[:, :1], F32[:, :1]], {}, False),
    ("scale_and_shift", [image(2, 3, 4), image(3, 1), image(3, 1)], {}, True),
    ("scale_and_shift", [image(2, 3, 4), image(3, 1), image(1, 1)], {}, False),
    ("scale_and_shift", [F32.astype("float16"), F32[0], F32[0]], {}, True),
    ("follow_average", [F32[0], F32[:1]], {"momentum": 0.1, "factor": 1.0}, True),
    ("follow_average", [F32[0], F32], {"momentum": 0.1, "factor": 1.0}, False),
    ("sum", [F32], {"axis": 0}, True),
    ("sum", [F32], {"axis": (0, 1)}, False),
    ("sum", [F32], {"axis": None}, False),
    ("sum", [image(3, 4, 5)], {"axis": 1}, False),
    ("sum", [image(30, 4, 5)], {"axis": (0, -1), "keepdims": True}, True),
    ("sum", [image(3, 4, 5)], {"axis": -1}, False),
    ("sum", [F32.T], {"axis": 0}, False),
    ("sum_to", [F32], {"shape": (4,)}, True),
    ("sum_to", [F32], {"shape": (1, 4)}, True),
    ("sum_to", [F32], {"shape": ()}, False),
    ("sum_to", [F32.astype("int64")], {"shape": (4,)}, False),
    ("gelu", [F32], {}, True),
    ("gelu", [F32.T], {}, False),
    ("relu.gradient", [F32, F32], {}, True),
    ("relu.gradient", [F32, F32.astype("int64")], {}, False),
    ("relu.gradient", [F32.T, F32], {}, False),
    ("max_pool", [image(1, 1, 4, 4)], SQUARE, True),
    ("max_pool", [image(1, 1, 4, 4).astype("int64")], SQUARE, False),
    ("max_pool", [image(1, 4, 4)], SQUARE, False),
    ("max_pool.gradient", [image(1, 1, 2, 2), image(1, 1, 4, 4)], SQUARE, True),
    ("max_pool.gradient", [image(1, 1, 2, 2).transpose(0, 1, 3, 2), image(1, 1, 4, 4)], SQUARE, False),
    ("im2col", [image(1, 1, 4, 4)], SQUARE, True),
    ("im2col", [image(1, 1, 4)], {"kernel": (2,), "size": (3,), "stride": (1,), "padding": (0,), "dilation": (1,)}, False),
    ("max_pool", [cases.last(image(1, 2, 4, 4))], SQUARE, True),
    ("max_pool.gradient", [cases.last(image(1, 2, 2, 2)), image(1, 2, 4, 4)], SQUARE, True),
    ("conv", [image(1, 2, 4, 4), image(3, 2, 2, 2)], {"size": (2, 2)}, True),
    ("conv", [image(1, 4, 4, 2).transpose(0, 3, 1, 2), image(3, 2, 2, 2)], {"size": (2, 2)}, True),
    ("conv", [image(1, 2, 4), image(3, 2, 2)], {"size": (3,)}, True),
    ("conv", [image(1, 2, 4, 4, 4), image(3, 2, 2, 2, 2)], {"size": (2, 2, 2)}, False),
    ("conv", [image(1, 2, 4, 4), image(3, 2, 2, 2).astype("float16")], {"size": (2, 2)}, False),
    ("conv", [image(0, 2, 4, 4), image(3, 2, 2, 2)], {"size": (2, 2)}, False),
    ("conv_weight", [image(1, 2, 4, 4).astype("int32"), image(1, 3, 2, 2).astype("int32")], {"size": (2, 2)}, False),
    ("embedding_weight", [F32], {"index": np.arange(4), "rows": 4, "factor": None}, True),
    ("embedding_weight", [F32], {"index": np.arange(4), "rows": 4, "factor": F32[:, 1:2]}, False),
    ("embedding_weight", [F32[:0]], {"index": np.arange(0), "rows": 4, "factor": None}, False),
    ("lstm", [F32, F32, F32, F32], {"sizes": (4,)}, True),
    ("lstm", [F32, F32.T, F32, F32], {"sizes": (4,)}, False),
    ("gru", [F32, F32, F32, None], {"sizes": (4,)}, True),
    ("rnn", [F32, F32.astype("float64"), F32], {"sizes": (4,)}, False),
    ("adam", [F32, F32, F32, F32], {}, True),
    ("adam", [F32, F32.T, F32, F32], {}, False),
    ("sgd", [F32, F32.astype("float16")], {}, False),
    ("scale_all", [F32[0, :1], F32, F32], {}, True),
    ("scale_all", [F32[0, :1], F32, F32.T], {}, False),
    ("scale_all", [F32[0, :1].astype("float64"), F32], {}, False),
    ("state_recurrence_transpose", [None, None, None, F32, F32], {"sizes": (4,)}, True),
    ("state_recurrence_transpose", [F32.T, None, None, F32, F32], {"sizes": (4,)}, False),
    ("state_recurrence_transpose", [None, None, None, *[F32] * 5], {"sizes": (4,)}, False),
    ("memory_recurrence_transpose", [None, None, None, *[F32] * 7], {"sizes": (4,)}, True),
    ("memory_recurrence_transpose", [F32.T, None, None, *[F32] * 7], {"sizes": (4,)}, False),
]  # fmt: skip


def test_every_guard_has_a_case_of_either_kind_or_is_that_of_one_that_has():
    tried = {}
    guards = {kernel.replaces: kernel.guard for kernel in KERNELS.values() if kernel.guard}
    for name, _, _, right in GUARDS:
        tried.setdefault(guards[name], set()).add(right)
    assert set(guards.values()) == set(tried) and all(kinds == {True, False} for kinds in tried.values())


@pytest.mark.parametrize("name, arrays, static, right", GUARDS)
def test_a_guard_chooses_the_kernel_only_for_what_it_is_right_for(name, arrays, static, right):
    backend, before = Backend(), set(backends.kernels)
    try:
        cuda_kernels.install(backend, launch=None)
        assert (backend.kernel(name, *arrays, **static) is not None) is right
    finally:
        backends.kernels.intersection_update(before)


def test_kernels_of_operations_and_gradients_are_called_like_the_code_they_replace(monkeypatch):
    fake, before = get("fake"), set(backends.kernels)
    monkeypatch.setattr(fake, "kernels", {})
    seen = []
    try:

        @fake.register_kernel("softmax", guard=lambda x, *, axis: axis == 0)
        def forward(xp, x, *, axis):
            seen.append("forward")
            return x * 2

        @fake.register_kernel("softmax.gradient", guard=lambda g, y, *, axis: axis == 0)
        def gradient(xp, g, needs, y, *, axis):
            seen.append(needs)
            return (g * 5,)

        for axis, expected in ((0, [5, 5]), (1, None)):
            x = cr.ones(1, 2, device="fake", requires_grad=True)
            y = F.softmax(x, dim=axis)
            y.sum().backward()
            if expected:
                assert y.tolist() == [[2, 2]] and x.grad.tolist() == [expected]
        assert seen == ["forward", (True,)]
        x = cr.ones(1, 2, requires_grad=True)  # another backend
        F.softmax(x, dim=0).sum().backward()
        assert len(seen) == 2
    finally:
        backends.kernels.intersection_update(before)
