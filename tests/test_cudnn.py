"""cuDNN without a card: what graphs are described, kept and run, computed by a stand-in (`kernels/fake_cudnn.py`); real plans without a device.

What is not tried here is a card: that cuDNN computes these graphs right, and how fast.
"""

import functools
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import backends
from chainrule.autograd.ops import convolution as ops
from chainrule.backends import cuda_kernels, get, layouts, precision_settings
from chainrule.backends.cudnn import conv, plans
from tests.kernels import convolution_cases, deviceless, emulator, fake_cudnn

SWITCHES = precision_settings.cudnn


@pytest.fixture
def cudnn(monkeypatch):
    """The stand-in, installed on the fake device alone; its plans as `.plans`."""
    fake, before = get("fake"), set(backends.kernels)
    monkeypatch.setattr(fake, "kernels", {})
    made, module = fake_cudnn.installed(fake)
    module.plans = made
    with SWITCHES.flags(enabled=True):
        yield module
    backends.kernels.intersection_update(before)


def there(array, dtype="float32", last=False):
    """An array on the fake device."""
    fake = get("fake")
    return layouts.arranged(fake.xp, fake.from_host(np.ascontiguousarray(array).astype(dtype)), last)


def draw(*shape):
    return np.random.standard_normal(shape)


def convolve(x=(2, 4, 6, 5), w=(3, 4, 3, 3), dtype="float32", last=False, **options):
    """A small convolution on the fake device."""
    static = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "size": x[2:]} | options
    return ops.conv(there(draw(*x), dtype, last), there(draw(*w), dtype), **static)


# --- values ---


def sayable(lengths, size, *window):
    """Whether an output of that size comes of zeros before the first element and some number of them after the last."""
    return all(
        p >= 0 and any((n + p + after - d * (k - 1) - 1) // s + 1 == o for after in range(20))
        for n, o, k, s, p, d in zip(lengths, size, *window, strict=True)
    )


THREE_DIMENSIONS = ((1, 4, 3, 4, 5), (2, 2, 2, 3, 3), (1, 2, 1), (1, 0, 1), (1, 1, 2), 2, 0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", [*convolution_cases.CONVOLUTIONS, THREE_DIMENSIONS], ids=str)
def test_the_three_convolutions_are_described_so_that_they_come_out_right(cudnn, case, last, dtype):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, w, stride, padding, dilation, groups, more = case
    size = convolution_cases.sizes(x[2:], w[2:], stride, padding, dilation, more)
    static = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    arrays = {"x": draw(*x), "w": draw(*w), "v": draw(x[0], w[0], *size)}
    arrays = {key: one.astype(dtype) for key, one in arrays.items()}  # rounded once
    for name, first, second, made in (
        ("conv", "x", "w", "v"),
        ("conv_input", "v", "w", "x"),
        ("conv_weight", "x", "v", "w"),
    ):
        full = static | {"size": arrays[made].shape[2:]}
        function = getattr(ops, name)
        there_ = [there(arrays[key], dtype, last and arrays[key].ndim > 3) for key in (first, second)]
        right = function(*(arrays[key].astype("float64") for key in (first, second)), **full)
        before = len(cudnn.executed)
        got = function(*there_, **full)
        assert got.dtype == np.dtype(dtype) and got.shape == right.shape
        tolerance = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
        np.testing.assert_allclose(
            got.get().astype("float64"), right, rtol=tolerance, atol=tolerance * abs(right).max()
        )
        possible = sayable(x[2:], size, w[2:], stride, padding, dilation)
        assert len(cudnn.executed) - before == possible
        if possible and made == "w":
            assert got.flags.c_contiguous
        elif possible:
            assert layouts.dense(got, last and len(size) > 1)


def test_gradients_through_a_layer_and_its_transpose_are_those_of_the_cpu(cudnn):
    results = []
    for device in ("fake", "cpu"):
        cr.manual_seed(3)
        network = cr.nn.Sequential(
            cr.nn.Conv2d(3, 4, 3, stride=2, padding=1),
            cr.nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1),
        ).to(device)
        x = cr.linspace(-1, 1, 2 * 3 * 7 * 6).reshape(2, 3, 7, 6).to(device).requires_grad_()
        (g,) = cr.autograd.grad(network(x).square().sum(), x, create_graph=True)
        g.square().sum().backward()
        results.append([x.grad.cpu().numpy(), *(p.grad.cpu().numpy() for p in network.parameters())])
    for ours, right in zip(*results, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-5)
    assert len(cudnn.executed) > 8


def test_inputs_in_any_order_are_brought_into_one(cudnn):
    x, w = draw(2, 3, 6, 4), draw(4, 3, 3, 3)
    static = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, "size": (6, 4)}
    right = ops.conv(x, w, **static)
    g = get("fake").xp.broadcast_to(there(draw(1, 1, 1, 1)), (2, 4, 6, 4))  # as the gradient of a sum arrives
    swapped = get("fake").xp.swapaxes(there(x.swapaxes(2, 3)), 2, 3)
    np.testing.assert_allclose(ops.conv(swapped, there(w), **static).get(), right, rtol=1e-4, atol=1e-5)
    for image in (there(x), there(x, last=True)):
        got = ops.conv_weight(image, g, **static | {"size": (3, 3)})
        np.testing.assert_allclose(
            got.get(), ops.conv_weight(x, g.get(), **static | {"size": (3, 3)}), rtol=1e-4, atol=1e-4
        )
    strides = [graph.tensors[uid].stride for graph in cudnn.graphs[1:] for uid in (1, 2)]
    assert strides == [[72, 24, 4, 1], [96, 24, 4, 1], [72, 1, 12, 3], [96, 1, 16, 4]]


@pytest.mark.parametrize("last", [False, True])
def test_a_part_that_begins_anywhere_in_memory_is_copied_to_where_cudnn_can_read_it(cudnn, last):
    x, w = draw(3, 3, 5, 3), draw(4, 3, 1, 1)
    static = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "size": (5, 3)}
    part = there(x, last=last)[1:]
    assert part.data.ptr % 16 and layouts.dense(part, last)
    np.testing.assert_allclose(
        ops.conv(part, there(w), **static).get(), ops.conv(x[1:], w, **static), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex64"])
def test_other_dtypes_are_left_to_other_code(cudnn, dtype):
    assert convolve(dtype=dtype).dtype == np.dtype(dtype) and not cudnn.graphs


@pytest.mark.parametrize("x, w", [((0, 4, 6, 5), (3, 4, 3, 3)), ((2, 4, 6, 5), (0, 4, 3, 3))])
def test_nothing_is_not_described(cudnn, x, w):
    assert convolve(x, w).size == 0 and not cudnn.graphs


# --- what is kept ---


def test_a_graph_is_built_once_for_what_it_depends_on(cudnn):
    forms = [
        {}, {"last": True}, {"x": (3, 4, 6, 5)}, {"w": (5, 4, 3, 3)}, {"dtype": "float16"}, {"padding": (0, 1), "size": (4, 5)}, {"stride": (2, 1), "size": (3, 5)},
        {"dilation": (2, 1), "padding": (2, 1)}, {"w": (4, 2, 3, 3), "groups": 2}, {"size": (4, 5)}, {"x": (2, 4, 5, 6)},
    ]  # fmt: skip
    for form in forms * 2:
        assert convolve(**form).shape[0] == form.get("x", (2,))[0]
    possible = len(forms) - 1  # an output smaller than the input allows is not for cuDNN
    assert len(cudnn.graphs) == possible and len(cudnn.executed) == 2 * possible


def test_switches_choose_other_plans(cudnn, request):
    note = cudnn.numerical_note

    def unwanted():
        convolve()
        return set(cudnn.executed[-1].graph.unwanted)

    assert unwanted() == {note.DOWN_CONVERT_INPUTS}  # TF32, as by PyTorch's default
    with SWITCHES.flags(enabled=True, allow_tf32=False):
        assert unwanted() == {note.DOWN_CONVERT_INPUTS, note.TENSOR_CORE}
        with SWITCHES.flags(enabled=True, allow_tf32=False, deterministic=True):
            assert unwanted() == {note.DOWN_CONVERT_INPUTS, note.TENSOR_CORE, note.NONDETERMINISTIC}
        convolve(dtype="float16")
        assert cudnn.executed[-1].graph.unwanted == []
    request.addfinalizer(lambda: cr.use_deterministic_algorithms(False))
    cr.use_deterministic_algorithms(True)
    assert unwanted() == {note.DOWN_CONVERT_INPUTS, note.NONDETERMINISTIC}
    cr.use_deterministic_algorithms(False)
    assert unwanted() == {note.DOWN_CONVERT_INPUTS} and len(cudnn.graphs) == 5
    assert all(graph.modes == [*cudnn.heur_mode] for graph in cudnn.graphs)
    with SWITCHES.flags(enabled=False):
        convolve()
    assert len(cudnn.executed) == 6


def test_benchmark_keeps_the_fastest_plan_that_can_be_built(cudnn):
    cudnn.plans.runtime.times = iter([5, 3, 4, 1, 2, 6, 7, 8])
    cudnn.workspace = 10
    with SWITCHES.flags(enabled=True, benchmark=True):
        for _ in range(3):
            convolve()
    tried = [0, 2, 3, 4, 5, 6, 7, 8]  # 1 is refused, eight are enough
    assert [one.index for one in cudnn.executed] == [*tried, 4, 4, 4]
    assert cudnn.plans.runtime.blocks == [10 + one for one in (*tried, 4, 4, 4)]


def test_scratch_memory_is_of_the_plans_size_and_given_back(cudnn):
    convolve()
    assert cudnn.plans.runtime.blocks == []
    cudnn.workspace = 1000
    convolve(x=(1, 4, 6, 5))
    convolve(x=(1, 4, 6, 5))
    assert cudnn.plans.runtime.blocks == [1000, 1000]


def test_a_plan_cannot_be_made_while_capturing_but_one_that_is_there_runs(cudnn):
    runtime = cudnn.plans.runtime
    convolve()
    runtime.recording, runtime.number = True, 99
    convolve()
    assert cudnn.executed[-1].stream == 99
    with pytest.raises(
        RuntimeError,
        match=r"conv: cuDNN has no plan yet .*\(3, 4, 6, 5\).* run the step once before the capture",
    ):
        convolve(x=(3, 4, 6, 5))
    runtime.recording = False
    convolve(x=(3, 4, 6, 5))
    assert len(cudnn.graphs) == 2


def test_each_device_and_thread_has_a_handle_and_each_device_its_plans(cudnn):
    runtime = cudnn.plans.runtime
    convolve()
    runtime.index = 1
    convolve()
    runtime.index = 0
    convolve()
    assert [one.handle for one in cudnn.executed] == [1000, 1001, 1000] and len(cudnn.graphs) == 2
    for _ in range(2):
        worker = threading.Thread(target=convolve)
        worker.start()
        worker.join()
    assert [one.handle for one in cudnn.executed[3:]] == [
        1002,
        1002,
    ]  # that of a thread that ended serves the next
    assert len(cudnn.graphs) == 2 and {device for device, _ in cudnn.handles.values()} == {0, 1}


def test_the_current_stream_is_told_for_each_run(cudnn):
    for number in (5, 6, 5):
        cudnn.plans.runtime.number = number
        convolve()
    assert [one.stream for one in cudnn.executed] == [5, 6, 5]


# --- where it is not there ---


def test_what_cudnn_does_not_support_is_computed_without_it_and_not_asked_again(cudnn):
    cudnn.refuse = cudnn.cudnnGraphNotSupportedError("no engine")
    assert convolve().shape == (2, 3, 6, 5)
    cudnn.refuse = None
    convolve()
    assert not cudnn.executed
    assert list(cudnn.plans.refused.values()) == ["no engine"]


def test_a_failure_of_cudnn_is_told(cudnn):
    cudnn.refuse = RuntimeError("CUDNN_STATUS_INTERNAL_ERROR")
    with pytest.warns(
        UserWarning, match=r"conv: computed without cuDNN, which failed \(CUDNN_STATUS_INTERNAL_ERROR\)"
    ):
        assert convolve().shape == (2, 3, 6, 5)
    convolve()  # told once


def missing(name):
    def load():
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    return load


def broken(**changed):
    module = types.SimpleNamespace(__version__="1.27.0", pygraph=None, backend_version=lambda: 92800)
    module.__dict__.update(changed)
    return lambda: module


def no_library():
    raise RuntimeError("Unable to dlopen libcudnn")


@pytest.mark.parametrize("load, reason", [
    (missing("cudnn"), "nvidia-cudnn-frontend is not installed; pip install"),
    (missing("cutlass"), "cannot be imported .No module named 'cutlass'"),
    (lambda: 1 / 0, "cannot be imported .ZeroDivisionError"),
    (broken(__version__="1.9.0"), "nvidia-cudnn-frontend 1.9.0 is too old; version 1.22 or newer"),
    (broken(backend_version=no_library), r"the cuDNN library .libcudnn.so.9. cannot be loaded .Unable to dlopen"),
    (lambda: types.SimpleNamespace(), "is not NVIDIA's cudnn-frontend"),
    (broken(create_handle=no_library), "cuDNN cannot be started .Unable to dlopen libcudnn"),
])  # fmt: skip
def test_what_is_missing_is_said_and_other_code_computes(cudnn, load, reason):
    cudnn.plans._cudnn, cudnn.plans._load = None, load
    assert convolve().shape == (2, 3, 6, 5) and not cudnn.graphs
    assert re.search(reason, cudnn.plans.why_not())


def test_the_package_is_the_object_with_the_switches():
    package = importlib.import_module("chainrule.backends.cudnn")
    assert package.allow_tf32 is SWITCHES.allow_tf32 is True
    package.allow_tf32 = False
    try:
        assert SWITCHES.allow_tf32 is False
    finally:
        package.allow_tf32 = True
    SWITCHES.fp32_precision = "none"
    with pytest.raises(AttributeError, match="no switch 'alow_tf32'"):
        package.alow_tf32 = False
    with pytest.raises(AttributeError, match="alow_tf32"):
        package.alow_tf32  # noqa: B018
    assert package.plans is plans and package.conv is conv


# --- layouts ---


@pytest.fixture(params=["cpu", "cudnn", "kernels", "kernels and cudnn"])
def place(request, monkeypatch):
    """A device: the CPU, or the stand-in with some of what CUDA has."""
    if request.param == "cpu":
        yield "cpu"
        return
    fake, before = get("fake"), set(backends.kernels)
    monkeypatch.setattr(fake, "kernels", {})
    if "kernels" in request.param:
        if emulator.COMPILER is None:
            pytest.skip("g++ is not installed")
        cuda_kernels.install(fake, emulator.Emulator(fake.xp, lambda array: array._host))
    if "cudnn" in request.param:
        fake_cudnn.installed(fake)
    yield "fake"
    backends.kernels.intersection_update(before)


def test_channels_last_stays_through_a_network_and_back(place):
    layers = [
        cr.nn.Conv2d(3, 4, 3, padding=1),
        cr.nn.BatchNorm2d(4),
        cr.nn.ReLU(),
        cr.nn.MaxPool2d(2),
        cr.nn.Conv2d(4, 6, 1),
        cr.nn.AvgPool2d(2),
        cr.nn.ConvTranspose2d(6, 2, 2, stride=2),
    ]
    layers = [one.to(place) for one in layers]
    start = cr.randn(2, 3, 8, 12).to(place)
    results = []
    for memory_format in (cr.contiguous_format, cr.channels_last):
        x = start.detach().to(memory_format=memory_format).requires_grad_()
        assert x.is_contiguous(memory_format=memory_format)
        places = [x]
        for layer in layers:
            places.append(layer(places[-1]))
            assert places[-1].is_contiguous(memory_format=memory_format), layer
        parameters = [p for layer in layers for p in layer.parameters()]
        grads = cr.autograd.grad(places[-1].square().sum(), [*places[:-1], *parameters])
        for layer, grad in zip(layers, grads, strict=False):
            assert grad.is_contiguous(memory_format=memory_format), layer
        assert all(grad.is_contiguous() for grad in grads[len(layers) :])
        results.append([one.detach().cpu().numpy() for one in (places[-1], *grads)])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_channels_last_is_a_choice_of_memory_and_refused_for_other_ranks():
    x = cr.randn(2, 3, 4, 5)
    y = x.to(memory_format=cr.channels_last)
    assert y.stride() == (60, 1, 15, 3) and cr.equal(x, y)
    assert y.to(memory_format=cr.channels_last) is y and x.to(memory_format=cr.contiguous_format) is x
    assert y.to(cr.float64, memory_format=cr.preserve_format).stride() == y.stride()
    with pytest.raises(RuntimeError, match="channels_last is for 4 dimensions"):
        cr.randn(2, 3).to(memory_format=cr.channels_last)


# --- real plans, without a device ---


def forms_of(models):
    """The forms of all three operations for layers of networks, as `deviceless.py` reads them."""
    for x, w, stride, padding, dilation, _, more in models:
        y = (x[0], w[0], *convolution_cases.sizes(x[2:], w[2:], stride, padding, dilation, more))
        after = [
            conv._after(*one) for one in zip(x[2:], y[2:], w[2:], stride, padding, dilation, strict=True)
        ]
        for name, shapes in (("conv", (x, w, y)), ("conv_input", (y, w, x)), ("conv_weight", (x, y, w))):
            yield name, (shapes, None, (padding, after, stride, dilation))


@pytest.mark.slow
def test_cudnn_has_a_plan_for_every_convolution_of_the_tests_and_of_common_networks(tmp_path):
    """In every dtype and layout; deterministic too; and without TF32 none on tensor cores. That takes NVIDIA's wheels and no card.

    The tests of convolution and of layers are run on the fake device with the stand-in for cuDNN, which notes what they ask for.
    """
    root = Path(__file__).parent.parent
    run = functools.partial(subprocess.run, cwd=root, capture_output=True, text=True)
    asked, python = tmp_path / "asked.json", [sys.executable, "-P", "-m"]
    path = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = os.environ | {
        "CHAINRULE_TEST_DEVICES": "fake",
        "CHAINRULE_CUDNN_FORMS": str(asked),
        "PYTHONPATH": path,
    }
    files = [f"tests/test_{name}.py" for name in ("convolution", "ops", "layers", "functional")]
    options = "pytest -q -p no:cacheprovider -p tests.kernels.fake_cudnn -k conv".split()
    done = run([*python, *options, *files], env=environment)
    assert done.returncode == 0, done.stdout[-4000:]
    forms = json.loads(asked.read_text())
    assert {name for name, _ in forms} == {"conv", "conv_input", "conv_weight"}
    if deviceless.libraries() is None or shutil.which("gcc") is None:
        pytest.skip(
            "the tests passed through the stand-in; for real plans NVIDIA's wheels (cudnn, cudnn-frontend, nvrtc) or gcc are missing"
        )
    asked.write_text(json.dumps([*forms, *forms_of(convolution_cases.MODELS)]))
    environment = deviceless.environment(tmp_path, "gcc") | {"PYTHONPATH": path}
    done = run([*python, "tests.kernels.deviceless", str(asked)], env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    assert found["plans"] > 3000 and not found["wrong"], found
