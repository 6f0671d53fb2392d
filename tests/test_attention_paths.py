"""Attention by the array code in pieces, by the kernels of our own (emulated) and by cuDNN (a stand-in): one result.

What is not tried here is a card: that cuDNN computes the graphs right, and how fast anything is.
"""

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import backends
from chainrule.autograd.ops import attention as ops
from chainrule.backends import cuda_kernels, get, precision_settings
from chainrule.backends.cudnn import attention as by_cudnn
from tests.kernels import deviceless, deviceless_attention, emulator, fake_cudnn, on_fake

RNG = np.random.default_rng(5)
TOLERANCE = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 8e-2}


def draw(*shape):
    return RNG.standard_normal(shape)


@pytest.fixture
def paths(monkeypatch):
    """Installs on the fake device, alone, what a test asks for by name; the entry points launched, or cuDNN's stand-in."""
    fake, before = get("fake"), set(backends.kernels)

    def install(path):
        monkeypatch.setattr(fake, "kernels", {})
        if path == "kernels":
            if emulator.COMPILER is None:
                pytest.skip("g++ is not installed (CXX names another compiler)")
            return on_fake.installed().launched
        return fake_cudnn.installed(fake)[1] if path == "cudnn" else None

    with precision_settings.cudnn.flags(enabled=True):
        yield install
    backends.kernels.intersection_update(before)


def numbers(dtype, *arrays, device="fake"):
    """Tensors that want gradients, rounded to `dtype`; bool arrays as they are."""
    return [
        cr.tensor(x, device=device) if x.dtype == bool
        else cr.tensor(x.astype(dtype).astype("float64"), device=device).to(getattr(cr, dtype)).requires_grad_()
        for x in arrays
    ]  # fmt: skip


def results(attention, dtype, arrays, device="fake"):
    """The output, and the gradients of query, key and value, in float64."""
    tensors = numbers(dtype, *arrays, device=device)
    y = attention(*tensors)
    y.backward(cr.tensor(np.cos(np.arange(y.numel())).reshape(y.shape), device=device).to(y.dtype))
    found = (y, *(one.grad for one in tensors[:3]))
    return [one.detach().cpu().double().numpy() for one in found]


# --- the three paths give the same ---

CASES = {
    "plain": ({}, [(2, 3, 9, 8), (2, 3, 7, 8), (2, 3, 7, 16)]),
    "one head": ({"scale": 0.2}, [(9, 8), (7, 8), (7, 16)]),
    "heads": ({}, [(3, 9, 8), (3, 7, 8), (3, 7, 8)]),
    "causal, more keys": ({"is_causal": True}, [(2, 2, 5, 8), (2, 2, 9, 8), (2, 2, 9, 8)]),
    "causal, fewer keys": ({"is_causal": True}, [(2, 2, 9, 8), (2, 2, 5, 8), (2, 2, 5, 8)]),
    "shared heads": ({"enable_gqa": True}, [(2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)]),
    "one shared head, causal": ({"enable_gqa": True, "is_causal": True}, [(2, 4, 5, 8), (2, 1, 5, 8), (2, 1, 5, 8)]),
    "mask": ({}, [(2, 2, 6, 8), (2, 2, 5, 8), (2, 2, 5, 8), (6, 5)]),
    "mask of samples": ({}, [(2, 2, 6, 8), (2, 2, 5, 8), (2, 2, 5, 8), (2, 1, 1, 5)]),
    "mask of heads": ({}, [(2, 2, 6, 8), (2, 2, 5, 8), (2, 2, 5, 8), (2, 6, 5)]),
    "mask of shared heads": ({"enable_gqa": True}, [(2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8), (2, 6, 5, 7)]),
    "more axes": ({}, [(2, 1, 3, 5, 8), (2, 1, 3, 4, 8), (2, 1, 3, 4, 8)]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_the_paths_agree(paths, name, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    options, shapes = CASES[name]
    arrays = [draw(*shape) for shape in shapes]
    if len(arrays) > 3:
        arrays[3] = arrays[3] > -0.7
        arrays[3][..., 0, :] = "samples" in name  # a query that sees nothing

    def attention(*tensors):
        return F.scaled_dot_product_attention(*tensors, **options)

    rounded = [x if x.dtype == bool else x.astype(dtype).astype("float64") for x in arrays]
    right = results(attention, "float64", rounded, device="cpu")
    for path in ("array code", "kernels", "cudnn"):
        used = paths(path)
        for ours, exact in zip(results(attention, dtype, arrays), right, strict=True):
            size = max(1, abs(exact).max())
            np.testing.assert_allclose(ours, exact, rtol=0, atol=TOLERANCE[dtype] * size, err_msg=path)
        if path == "kernels":
            tiles = dtype != "float32" and shapes[0][-1] == shapes[2][-1]
            entries = {"flash_forward_64", "flash_queries_64", "flash_keys_64"}
            assert set(used) == (entries if tiles else {"attention_softmax", "attention_softmax_gradient"})
        elif path == "cudnn":
            assert len(used.executed) == (0 if dtype == "float32" else 2)


def test_dropout_by_tiles_is_that_of_the_array_code(paths):
    def attention(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.4, is_causal=True)

    arrays, found = [draw(2, 2, 70, 16) for _ in range(3)], []
    for path in ("array code", "kernels"):
        used = paths(path)
        cr.manual_seed(3)
        found.append(results(attention, "float16", arrays))
    assert {"flash_forward_64", "flash_queries_64", "flash_keys_64"} <= set(used)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-2 * abs(one).max())


def test_dropout_and_the_gradient_of_a_bias_are_left_to_other_code(paths):
    used = paths("cudnn")
    q, k, v, bias = numbers("float16", draw(2, 4, 8), draw(2, 5, 8), draw(2, 5, 8), draw(4, 5))
    F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).sum().backward()
    assert not used.executed
    F.scaled_dot_product_attention(q, k, v, bias).sum().backward()
    assert len(used.executed) == 1 and bias.grad.shape == (4, 5)
    (there,) = numbers("float16", bias.detach().cpu().numpy(), device="cpu")
    F.scaled_dot_product_attention(*(one.detach().cpu() for one in (q, k, v)), there).sum().backward()
    np.testing.assert_allclose(bias.grad.cpu(), there.grad, atol=2e-2)


# --- what cuDNN is told ---


def test_heads_that_are_slices_of_features_are_not_copied(paths):
    """(L, N, 3, H, E) cut into queries, keys and values; the output lies as the queries do."""
    used = paths("cudnn")
    x = cr.tensor(draw(5, 2, 3, 4, 8), device="fake", dtype=cr.float16, requires_grad=True)
    q, k, v = (x[:, :, part].permute(1, 2, 0, 3) for part in range(3))
    y = F.scaled_dot_product_attention(q, k, v)
    assert used.graphs[0].tensors[1].stride == [96, 8, 192, 1]
    assert used.graphs[0].tensors[4].stride == [32, 8, 64, 1] == [one // 2 for one in y._array.strides]
    y.sum().backward()
    told = used.graphs[1].tensors
    assert told[4].stride == told[7].stride == [32, 8, 64, 1] and told[5].stride == [
        160,
        40,
        8,
        1,
    ]  # the sum's is spread


@pytest.mark.parametrize(
    "reason, shapes, dtype",
    [
        ("dtype", [(2, 4, 8)] * 3, "float32"),
        ("features", [(2, 4, 12)] * 3, "float16"),
        ("features", [(2, 4, 264)] * 3, "float16"),
        ("nothing", [(2, 0, 8)] * 3, "float16"),
        ("batches", [(2, 4, 8), (1, 4, 8), (2, 4, 8)], "float16"),
        ("batches", [(2, 1, 4, 8), (1, 3, 4, 8), (1, 3, 4, 8)], "float16"),
        ("mask", [(2, 2, 3, 4, 8)] * 3 + [(2, 1, 3, 4, 4)], "float16"),
    ],
)
def test_what_cudnn_is_not_asked(paths, reason, shapes, dtype):
    used = paths("cudnn")
    F.scaled_dot_product_attention(*numbers(dtype, *(draw(*shape) for shape in shapes)))
    assert not used.graphs


def test_what_cudnn_refuses_other_code_computes(paths):
    used = paths("cudnn")
    used.refuse = fake_cudnn.NotSupported("no engine")
    arrays = [draw(2, 3, 8)] * 3
    ours = results(F.scaled_dot_product_attention, "float16", arrays)
    right = results(F.scaled_dot_product_attention, "float64", arrays, device="cpu")
    for one, other in zip(ours, right, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-2)
    assert not used.executed
    used.refuse = None
    one = [draw(1, 1, 8)] * 3  # cuDNN has the output, and no gradient
    results(F.scaled_dot_product_attention, "float16", one)
    assert len(used.executed) == 1


def test_deterministic_gradients_are_asked_for(paths):
    used = paths("cudnn")
    backends.determinism.use_deterministic_algorithms(True)
    try:
        results(F.scaled_dot_product_attention, "float16", [draw(2, 3, 8)] * 3)
    finally:
        backends.determinism.use_deterministic_algorithms(False)
    results(F.scaled_dot_product_attention, "float16", [draw(2, 3, 8)] * 3)
    assert [graph.deterministic for graph in used.graphs[1::2]] == [True, False]


def test_unaligned_arrays_are_copied():
    whole = get("fake").from_host(np.zeros(1 + 4 * 8, "float16"))
    x = whole[1:].reshape(1, 1, 4, 8)
    assert not by_cudnn._usable(x) and by_cudnn._usable(by_cudnn._ready(get("fake").xp, x))
    assert not by_cudnn._usable(get("fake").xp.broadcast_to(whole[:8], (1, 1, 4, 8)))


@pytest.mark.slow
def test_cudnn_has_a_plan_for_common_forms(tmp_path):
    """Also for slices of features, masks, other numbers of keys, and deterministic gradients. That takes NVIDIA's wheels and no card."""
    if deviceless.libraries() is None or shutil.which("gcc") is None:
        pytest.skip("NVIDIA's wheels (cudnn, cudnn-frontend, nvrtc) or gcc are missing")
    root = Path(__file__).parent.parent
    environment = deviceless.environment(tmp_path, "gcc", deviceless_attention.DRIVER)
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-P", "-m", "tests.kernels.deviceless_attention"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    # For gradients of more than 128 features a graph asks the card itself what it is.
    wrong = [one for one in found["wrong"] if not ("backward" in one and "equal to 128" in one)]
    assert found["plans"] == 8 * len(deviceless_attention.FORMS) - 8 and not wrong, found


# --- pieces ---


def by_definition(q, k, v, bias, causal):
    scores = q @ k.swapaxes(-1, -2) * 0.3 + (0 if bias is None else bias)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:]) == 1, scores, -np.inf)
    p = np.exp(scores - np.maximum(scores.max(axis=-1, keepdims=True), -1e300))
    return p / np.maximum(p.sum(axis=-1, keepdims=True), 1e-300) @ v


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("limit", [1, 200, 1000])
@pytest.mark.parametrize("bias", [None, (4, 5), (2, 1, 4, 1), (3, 1, 5), (2, 3, 4, 5)], ids=str)
def test_pieces_of_any_size_make_the_whole(monkeypatch, causal, limit, bias):
    q, k, v = draw(2, 3, 4, 2), draw(2, 1, 5, 2), draw(3, 5, 6)
    bias = None if bias is None else draw(*bias)
    found = []
    for size in (limit, 1 << 20):
        monkeypatch.setattr(ops, "scratch_bytes", lambda x, size=size: size)
        tensors = [cr.tensor(one, requires_grad=True) for one in (q, k, v, bias) if one is not None]
        y, lse = ops.flash_attention(*(*tensors, None)[:4], scale=0.3, causal=causal)
        grads = cr.autograd.grad((y * y).sum() + lse.sin().sum(), tensors)
        found.append([one.detach() for one in (y, lse, *grads)])
    np.testing.assert_allclose(found[0][0], by_definition(q, k, v, bias, causal), rtol=1e-10)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bias", [None, (4, 3), (2, 1, 1)], ids=str)
def test_derivatives_of_pieces(monkeypatch, bias):
    """First ones by pieces, second ones by the recorded formula."""
    monkeypatch.setattr(ops, "scratch_bytes", lambda x: 100)
    arrays = [draw(2, 4, 2), draw(2, 3, 2), draw(1, 3, 2), *([] if bias is None else [draw(*bias)])]
    tensors = [cr.tensor(one, requires_grad=True) for one in arrays]

    def run(q, k, v, bias=None):
        return ops.flash_attention(q, k, v, bias, scale=0.3, causal=True)

    assert cr.autograd.gradcheck(run, tensors) and cr.autograd.gradgradcheck(run, tensors)


def test_pieces_fit_the_limit_and_cover_every_score_once():
    for batch, length, source, limit, causal in [
        ((), 5, 7, 100, False), ((2, 3), 5, 7, 100, False), ((4, 2, 3), 1, 9, 400, False), ((3,), 1000, 900, 1 << 18, True),
        ((2, 5), 3, 2, 10**6, True), ((0, 2), 3, 4, 10, False), ((2,), 0, 4, 10, True), ((2,), 3, 0, 10, False),
    ]:  # fmt: skip
        seen = np.zeros((*batch, length, source), int)
        for place, rows, keys in ops._pieces(batch, length, source, 4, limit, causal):
            part = seen[(*place, rows, keys)]
            part += 1
            assert part.size and (part.size * 4 <= limit or part.size == part.shape[-1])
            if causal:
                assert rows.stop - rows.start <= max(128, -(-length // 8))
        right = np.ones_like(seen)
        if causal and length > 128:
            assert (seen[:, np.tri(length, source) == 1] == 1).all() and seen.sum() < 0.7 * seen.size
        else:
            np.testing.assert_array_equal(np.tril(seen), np.tril(right))


def test_the_probabilities_are_never_held_at_once():
    q, k, v = (cr.randn(4, 1024, 16, requires_grad=True) for _ in range(3))
    tracemalloc.start()
    try:
        F.scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20 < 4 * 1024 * 1024 * 4  # half of one array of the scores


def test_few_probabilities_are_kept_on_the_cpu():
    """They are then an output of `attention`; see `_attended`."""
    x = cr.randn(2, 8, 4, requires_grad=True)
    assert F.scaled_dot_product_attention(x, x, x).grad_fn.name() == "AttentionBackward0"
    x = cr.randn(2, 1024, 4, requires_grad=True)
    assert F.scaled_dot_product_attention(x, x, x).grad_fn.name() == "FlashAttentionBackward0"


def test_a_query_that_sees_nothing_has_an_infinite_lse():
    q, bias = cr.randn(3, 2), cr.tensor([[0.0, -np.inf], [-np.inf] * 2, [1, 2]])
    y, lse = ops.flash_attention(q, q[:2], q[:2], bias, scale=1.0)
    assert lse[1].item() == np.inf and y[1].tolist() == [0, 0] and lse[[0, 2]].isfinite().all()


# --- the choice ---


def test_cudnn_is_asked_before_kernels_of_our_own(paths):
    """They are installed in the order in which a card's backend installs them."""
    used = paths("cudnn")
    fake = get("fake")
    first, fake.kernels = fake.kernels, {}
    launch = emulator.Emulator(fake.xp, lambda array: array._host)
    cuda_kernels.install(fake, launch)
    for name, kernels in first.items():
        fake.kernels[name] = kernels + fake.kernels.get(name, [])
    results(F.scaled_dot_product_attention, "float16", [draw(2, 3, 8)] * 3)
    assert len(used.executed) == 2 and not launch.launched


def test_sdpa_kernel_chooses_the_way(paths):
    from chainrule.nn.attention import SDPBackend, sdpa_kernel

    used = paths("cudnn")
    kept, anew = "AttentionBackward0", "FlashAttentionBackward0"
    for device, given, recorded, ran in [
        ("cpu", SDPBackend.FLASH_ATTENTION, anew, 0),
        ("cpu", [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH], kept, 0),
        ("cpu", [SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH], kept, 0),
        ("fake", SDPBackend.MATH, kept, 0),
        ("fake", SDPBackend.FLASH_ATTENTION, anew, 0),
        ("fake", SDPBackend.CUDNN_ATTENTION, anew, 2),
        ("fake", [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION], anew, 2),
    ]:
        q, k, v = numbers("float16", *[draw(2, 4, 8)] * 3, device=device)
        before = len(used.executed)
        with sdpa_kernel(given):
            y = F.scaled_dot_product_attention(q, k, v)
            y.sum().backward()
        assert y.grad_fn.name() == recorded and len(used.executed) - before == ran, (device, given)
    with sdpa_kernel(SDPBackend.MATH):
        assert (
            F.scaled_dot_product_attention(*[cr.randn(2, 1024, 4, requires_grad=True)] * 3).grad_fn.name()
            == kept
        )
        with pytest.raises(ZeroDivisionError), sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            raise ZeroDivisionError
        assert backends_allowed() == {"math"}
    assert backends_allowed() == {"math", "flash", "cudnn"}


def backends_allowed():
    return set(backends.attention_ways.allowed())


@pytest.mark.parametrize("device, dtype", [("cpu", "float16"), ("fake", "float32")])
def test_cudnn_alone_is_refused_where_it_does_not_compute(paths, device, dtype):
    from chainrule.nn.attention import SDPBackend, sdpa_kernel

    paths("cudnn")
    q, k, v = numbers(dtype, *[draw(2, 4, 8)] * 3, device=device)
    with (
        sdpa_kernel([SDPBackend.CUDNN_ATTENTION]),
        pytest.raises(RuntimeError, match=r"\(2, 4, 8\).*sdpa_kernel|sdpa_kernel.*\(2, 4, 8\)"),
    ):
        F.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("given", [3, "math", [0.5], None])
def test_sdpa_kernel_wants_backends(given):
    from chainrule.nn.attention import sdpa_kernel

    with pytest.raises(TypeError, match="SDPBackend"):
        sdpa_kernel(given)
