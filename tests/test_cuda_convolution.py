"""Convolution's ways to compute on CUDA give the same: cuDNN's graphs (by a stand-in), matrix products (their kernels emulated), array code."""

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F
from chainrule import backends
from chainrule.autograd.ops import convolution as ops
from chainrule.backends import cuda_kernels, get, layouts
from chainrule.backends.cuda_kernels import convolution
from tests.kernels import convolution_cases, emulator, fake_cudnn

pytestmark = pytest.mark.skipif(emulator.COMPILER is None, reason="g++ is not installed")
WAYS = ("products", "cudnn")
THREE = [("conv", "x", "w", "v"), ("conv_input", "v", "w", "x"), ("conv_weight", "x", "v", "w")]


class Launcher(emulator.Emulator):
    """Notes how large each matrix of columns is, in bytes."""

    def __call__(self, source, entry, dtype, grid, block, *args):
        super().__call__(source, entry, dtype, grid, block, *args)
        if entry in ("im2col", "col2im"):
            self.sizes.append(args[entry == "im2col"].nbytes)

    sizes: list


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """The fake device with one way, and what the way notes: matrices of columns, or graphs run."""
    fake, before = get("fake"), set(backends.kernels)
    monkeypatch.setattr(fake, "kernels", {})
    if request.param == "cudnn":
        noted = fake_cudnn.installed(fake)[1].executed
    else:
        launch = Launcher(fake.xp, lambda array: array._host)
        noted = launch.sizes = []
        cuda_kernels.install(fake, launch)
    yield noted
    backends.kernels.intersection_update(before)


def three(case, last):
    """(operation, the arrays of its inputs, static keywords, output shape) for a case of `convolution_cases`."""
    x, w, stride, padding, dilation, groups, more = case
    size = convolution_cases.sizes(x[2:], w[2:], stride, padding, dilation, more)
    shapes = {"x": x, "w": w, "v": (x[0], w[0], *size)}
    static = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    arrays = {key: np.random.standard_normal(shape).astype("float32") for key, shape in shapes.items()}
    for name, first, second, made in THREE:
        inputs = [
            convolution_cases.last(arrays[key]) if last and key != "w" else arrays[key]
            for key in (first, second)
        ]
        yield name, inputs, static | {"size": shapes[made][2:]}


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("case", convolution_cases.CONVOLUTIONS, ids=str)
def test_each_way_gives_what_array_code_gives(way, case, last):
    fake = get("fake")
    for name, inputs, static in three(case, last):
        right = getattr(ops, name)(*inputs, **static)
        there = [
            layouts.arranged(fake.xp, fake.from_host(one), layouts.is_channels_last(one)) for one in inputs
        ]
        got = getattr(ops, name)(*there, **static)
        np.testing.assert_allclose(got.get(), right, rtol=1e-4, atol=1e-4)
        assert layouts.is_channels_last(got) == layouts.is_channels_last(right)


@pytest.mark.parametrize("limit", [1, 100, 1000, 3000, 1 << 20])
@pytest.mark.parametrize("case", convolution_cases.CONVOLUTIONS, ids=str)
def test_columns_are_made_a_piece_at_a_time(case, limit, monkeypatch):
    launch = Launcher()
    monkeypatch.setattr(convolution, "scratch_bytes", lambda x: limit)
    for name, inputs, static in three(case, False):
        launch.sizes = []
        right = getattr(ops, name)(*inputs, **static)
        got = getattr(convolution, name)(launch, np, *inputs, **static)
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)
        kernel = static["size"] if name == "conv_weight" else inputs[1].shape[2:]
        # No less than a row of one sample, or a channel of each group of one: then it is that.
        least = (
            4
            * np.prod(kernel)
            * (
                static["groups"] * np.prod(inputs[0].shape[2:])
                if name == "conv_input"
                else inputs[0].shape[1] * (static["size"] if name == "conv" else inputs[1].shape[2:])[-1]
            )
        )
        assert all(size <= max(limit, least) for size in launch.sizes)
        if limit > 1 << 16:
            assert len(launch.sizes) <= 1
        elif limit == 1 and inputs[0].shape[0] > 1 and np.prod(kernel) > 1:
            assert len(launch.sizes) > 1


def test_a_kernel_of_one_tap_is_one_product_without_columns(monkeypatch):
    products = []
    matmul = np.matmul
    namespace = type("Counted", (), {"__getattr__": lambda self, name: getattr(np, name)})()
    namespace.matmul = lambda a, b: products.append((a.shape, b.shape)) or matmul(a, b)
    case = (2, 5, 4, 3), (7, 5, 1, 1), (1, 1), (0, 0), (1, 1), 1, 0
    launch = Launcher()
    launch.sizes = []
    for last, expected in ((True, [((24, 5), (5, 7)), ((24, 7), (7, 5)), ((7, 24), (24, 5))]), (False, None)):
        del products[:]
        for name, inputs, static in three(case, last):
            getattr(convolution, name)(launch, namespace, *inputs, **static)
        assert len(products) == 3 and (expected is None or products == expected)
    assert len(launch.sizes) == 1  # the gradient of the weights, row-major: an im2col that is a transposition


def test_derivatives_of_every_order_go_through_either_way(way):
    results = []
    for device in ("fake", "cpu"):
        cr.manual_seed(0)
        x, w = (cr.randn(*shape).to(device).requires_grad_() for shape in ((2, 2, 5, 4), (3, 2, 3, 2)))
        (g,) = cr.autograd.grad(F.conv2d(x, w, stride=(2, 1), padding=1).pow(3).sum(), x, create_graph=True)
        found = cr.autograd.grad(g.square().sum(), [x, w])
        results.append([one.cpu().numpy() for one in found])
    for ours, right in zip(*results, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-3, atol=1e-3 * abs(right).max())
    assert len(way) > 4
