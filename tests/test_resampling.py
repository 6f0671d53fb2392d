"""Interpolation, sampling, shuffles and fractional pooling: every mode against PyTorch, edges, non-finite values, errors."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

NAN, INF = float("nan"), float("inf")


def compare(torch, function, theirs, *inputs, dtype="float64", tolerance=1e-9):
    """Values and gradients of a function here and of one there."""
    found = []
    for library, one in ((cr, function), (torch, theirs)):
        leaves = [library.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
        y = one(*leaves)
        weights = np.random.default_rng(7).normal(size=tuple(y.shape)).astype(dtype)
        (y * library.tensor(weights)).sum().backward()
        found.append([y.detach().numpy(), *(x.grad.numpy() for x in leaves)])
    for ours, other in zip(*found, strict=True):
        assert ours.dtype == other.dtype
        np.testing.assert_allclose(ours, other, rtol=tolerance, atol=tolerance)


MODES = [("nearest", 1), ("nearest", 3), ("nearest-exact", 2), ("linear", 1), ("bilinear", 2), ("bicubic", 2)]
MODES += [("trilinear", 3), ("area", 2)]
SIZES = [
    *({"size": size} for size in (1, 3, 7, 11)),
    *({"scale_factor": scale} for scale in (2.0, 1.7, 0.45)),
    {"scale_factor": 1.7, "recompute_scale_factor": True},
]


@pytest.mark.parametrize(("mode", "n"), MODES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_interpolate_is_pytorchs(torch, mode, n, dtype):
    between = not mode.startswith(("nearest", "area"))
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 5, 6)[: n + 2])
    for size, corners, antialias in itertools.product(
        SIZES, (None, True) if between else (None,), (False, True)
    ):
        if antialias and not (between and n == 2):
            continue
        settings = {"mode": mode, "align_corners": corners, "antialias": antialias, **size}
        compare(
            torch,
            lambda x, settings=settings: F.interpolate(x, **settings),
            lambda x, settings=settings: torch.nn.functional.interpolate(x, **settings),
            x,
            dtype=dtype,
            tolerance=1e-9 if dtype == "float64" else 1e-4,
        )


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [True, False])
def test_grid_sample_is_pytorchs(torch, mode, padding, corners):
    made = np.random.default_rng(0)
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    for shape, size in (((5, 4), (4, 3)), ((1, 3), (2, 2)), ((3, 4, 5), (2, 3, 2))):
        if mode == "bicubic" and len(shape) == 3:
            continue
        x, grid = made.normal(size=(2, 3, *shape)), made.uniform(-2.7, 2.7, size=(2, *size, len(shape)))
        compare(
            torch,
            lambda *both: F.grid_sample(*both, **settings),
            lambda *both: torch.nn.functional.grid_sample(*both, **settings),
            x,
            grid,
        )


def test_the_identity_and_a_shift():
    x = cr.arange(12.0).reshape(1, 1, 3, 4)
    for corners in (True, False):
        theta = cr.tensor([[[1.0, 0, 0], [0, 1, 0]]])
        grid = F.affine_grid(theta, x.shape, corners)
        np.testing.assert_allclose(F.grid_sample(x, grid, align_corners=corners), x, atol=1e-5)
    # Half the width to the right, of edges that are 2 apart.
    moved = F.grid_sample(x, F.affine_grid(cr.tensor([[[1.0, 0, 1], [0, 1, 0]]]), x.shape))
    np.testing.assert_allclose(moved[0, 0], [[2, 3, 0, 0], [6, 7, 0, 0], [10, 11, 0, 0]], atol=1e-5)


def test_points_that_are_no_numbers_lie_outside(device):
    x = cr.ones(1, 1, 3, 3, device=device, requires_grad=True)
    grid = cr.tensor(
        [[[[NAN, 0], [0, INF], [0, -INF], [1e30, 0], [0, 0]]]], device=device, requires_grad=True
    )
    y = F.grid_sample(x, grid)
    y.sum().backward()
    assert y.flatten().tolist() == [0, 0, 0, 0, 1]
    assert x.grad.sum().item() == 1 and (grid.grad[0, 0, :4] == 0).all()
    bordered = F.grid_sample(x, grid, padding_mode="border")
    assert bordered.isfinite().all()


def test_what_is_not_finite_stays_where_it_is():
    """Neither a value nor a gradient reaches elements that do not depend on it."""
    x = cr.tensor([[[NAN, 1.0, 2.0, 3.0, INF]]], requires_grad=True)
    y = F.interpolate(x, size=10, mode="linear")
    assert y.isfinite()[0, 0].tolist() == [False] * 2 + [False] + [True] * 4 + [False] * 3
    y[0, 0, 4].backward()
    np.testing.assert_allclose(x.grad[0, 0], [0, 0.25, 0.75, 0, 0])
    for mode in ("nearest", "nearest-exact", "bilinear"):
        image = cr.ones(1, 1, 4, 4, requires_grad=True)
        F.interpolate(image, size=(2, 2), mode=mode).backward(cr.tensor([[[[NAN, 1.0], [1.0, 1.0]]]]))
        assert image.grad.isnan()[..., 2:].sum() == 0 and image.grad.isnan().any()
    corner = cr.tensor([[[[INF, 1.0], [1.0, 1.0]]]], requires_grad=True)
    seen = F.grid_sample(corner, cr.tensor([[[[0.5, 1.4]]]]))
    seen.backward()
    assert seen.isfinite().all() and corner.grad.isfinite().all()


def test_images_of_bytes(torch):
    x = np.random.default_rng(0).integers(0, 256, (1, 3, 5, 6)).astype("uint8")
    for mode in ("nearest", "bilinear"):
        ours = F.interpolate(cr.tensor(x), size=(9, 4), mode=mode)
        theirs = torch.nn.functional.interpolate(torch.tensor(x), size=(9, 4), mode=mode)
        assert ours.dtype is cr.uint8
        assert np.abs(ours.numpy().astype(int) - theirs.numpy()).max() <= (mode != "nearest")
    edges = cr.tensor(np.kron(np.eye(3), np.full((1, 1, 2, 2), 255)).astype("uint8"))
    cubic = F.interpolate(edges, size=(9, 11), mode="bicubic").numpy()
    exact = F.interpolate(edges.float(), size=(9, 11), mode="bicubic").numpy()
    assert exact.max() > 255.5 and exact.min() < -0.5
    np.testing.assert_array_equal(cubic, np.clip(np.rint(exact), 0, 255))


def test_older_names():
    x = cr.randn(1, 2, 3, 4)
    np.testing.assert_array_equal(F.upsample(x, scale_factor=2), F.interpolate(x, scale_factor=2))
    np.testing.assert_array_equal(F.upsample_nearest(x, (5, 6)), F.interpolate(x, (5, 6)))
    expected = F.interpolate(x, (5, 6), mode="bilinear", align_corners=True)
    np.testing.assert_array_equal(F.upsample_bilinear(x, (5, 6)), expected)
    assert cr.grid_sampler is cr.nn.functional.sampling.grid_sampler
    grid = cr.rand(1, 2, 2, 2)
    expected = F.grid_sample(x, grid, "nearest", "border", align_corners=True)
    np.testing.assert_array_equal(cr.grid_sampler_2d(x, grid, 1, 1, True), expected)


def test_an_empty_batch():
    assert F.interpolate(cr.ones(0, 2, 3), size=5).shape == (0, 2, 5)
    assert F.grid_sample(cr.ones(0, 2, 3, 3), cr.ones(0, 4, 5, 2)).shape == (0, 2, 4, 5)
    assert F.fractional_max_pool2d(cr.ones(0, 2, 4, 4), 2, 2).shape == (0, 2, 2, 2)
    assert F.pixel_shuffle(cr.ones(0, 4, 2, 2), 2).shape == (0, 1, 4, 4)
    assert F.pixel_shuffle(cr.ones(4, 2, 0), 2).shape == (1, 4, 0)


def test_shuffles_undo_each_other():
    x = cr.arange(2 * 12 * 2 * 3).reshape(2, 12, 2, 3)
    np.testing.assert_array_equal(F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), x)
    np.testing.assert_array_equal(F.channel_shuffle(F.channel_shuffle(x, 3), 4), x)


@pytest.mark.parametrize("n", [2, 3])
def test_fractional_pooling_is_pytorchs(torch, n):
    made = np.random.default_rng(0)
    x, samples = made.normal(size=(2, 3, 7, 6, 8)[: n + 2]), made.random((2, 3, n))
    x[0, 0, 2:4, 3:5] = NAN
    name = f"fractional_max_pool{n}d"
    for settings in ({"output_size": 3}, {"output_ratio": (0.5,) * n}, {"output_size": (4, 2, 3)[:n]}):
        for kernel in (2, (1, 2, 3)[:n]):
            ours, theirs = (
                getattr(library.nn.functional, name)(
                    library.tensor(x),
                    kernel,
                    **settings,
                    return_indices=True,
                    _random_samples=library.tensor(samples),
                )
                for library in (cr, torch)
            )
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(ours[1], theirs[1])


def test_fractional_pooling_draws_new_windows():
    x = cr.rand(1, 1, 20, 20)
    layer = nn.FractionalMaxPool2d(2, output_ratio=0.7)
    assert any((layer(x) != layer(x)).any().item() for _ in range(5))
    assert layer(x)[0].shape == (1, 14, 14)
    undone = F.max_unpool2d(*F.fractional_max_pool2d(x, 2, 10, return_indices=True), 2, output_size=(20, 20))
    assert ((undone == x) | (undone == 0)).all()


def test_native_names(torch):
    x = np.random.default_rng(0).normal(size=(4, 6, 3))
    running = np.zeros(6), np.ones(6)
    for name, make in (
        ("native_layer_norm", lambda t: ((6, 3), None, None, 1e-5)),
        ("native_group_norm", lambda t: (None, None, 4, 6, 3, 2, 1e-5)),
        ("native_batch_norm", lambda t: (None, None, *map(t, running), True, 0.1, 1e-5)),
        ("native_batch_norm", lambda t: (None, None, *map(t, running), False, 0.1, 1e-5)),
    ):
        ours = getattr(cr, name)(cr.tensor(x), *make(cr.tensor))
        theirs = getattr(torch, name)(torch.tensor(x), *make(torch.tensor))
        for one, other in zip(ours, theirs, strict=True):
            assert one.shape == other.shape
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    pooled, index = F.max_pool2d_with_indices(cr.tensor(x), 2)
    settings = (cr.tensor(x), [2, 2], [2, 2], [0, 0], [1, 1], False, index)
    back = cr.max_pool2d_with_indices_backward(cr.ones_like(pooled), *settings)
    assert back.shape == x.shape and back.sum().item() == pooled.numel()
    kept, mask = cr.native_dropout(cr.ones(1000), 0.5, True)
    np.testing.assert_array_equal(cr.native_dropout_backward(cr.ones(1000), mask, 2.0), kept)
    assert cr.native_dropout(cr.ones(3), 0.5, False)[1].all()


IMAGE, GRID = cr.ones(1, 4, 3, 3), cr.ones(1, 2, 2, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.interpolate(IMAGE), ValueError, "either size or scale_factor"),
        (lambda: F.interpolate(IMAGE, 3, 2), ValueError, "either size or scale_factor"),
        (lambda: F.interpolate(IMAGE, (3, 3, 3)), ValueError, "size must be one number or 2"),
        (lambda: F.interpolate(IMAGE, 2.5), TypeError, "size must be one int"),
        (lambda: F.interpolate(IMAGE, 0), RuntimeError, "greater than 0"),
        (lambda: F.interpolate(IMAGE, scale_factor=0.1), RuntimeError, "greater than 0"),
        (lambda: F.interpolate(IMAGE, 3, mode="cubic"), NotImplementedError, "mode must be one of"),
        (
            lambda: F.interpolate(IMAGE, 3, mode="linear"),
            NotImplementedError,
            "needs an input of 3 dimensions",
        ),
        (lambda: F.interpolate(IMAGE[0], 3, mode="bilinear"), NotImplementedError, "needs an input of 4"),
        (lambda: F.interpolate(IMAGE[0, 0], 3), NotImplementedError, r"shape \(3, 3\)"),
        (lambda: F.interpolate(IMAGE, 3, align_corners=True), ValueError, "align_corners"),
        (lambda: F.interpolate(IMAGE, 3, antialias=True), ValueError, "antialias"),
        (lambda: F.interpolate(IMAGE, 3, recompute_scale_factor=True), ValueError, "recompute_scale_factor"),
        (lambda: F.interpolate(IMAGE.long(), 3, mode="bilinear"), NotImplementedError, "int64"),
        (lambda: F.interpolate(IMAGE[..., :0], 3), RuntimeError, "elements in every dimension"),
        (lambda: F.grid_sample(IMAGE, GRID, "cubic"), ValueError, "mode must be one of"),
        (lambda: F.grid_sample(IMAGE, GRID, padding_mode="wrap"), ValueError, "padding_mode must be one of"),
        (lambda: F.grid_sample(IMAGE, cr.ones(1, 2, 2, 3)), RuntimeError, r"\(1, 2, 2, 3\)"),
        (lambda: F.grid_sample(IMAGE, GRID.double()), RuntimeError, "one floating point dtype"),
        (lambda: F.grid_sample(IMAGE, GRID.to("fake")), RuntimeError, "one device"),
        (lambda: F.grid_sample(IMAGE[..., :0], GRID), RuntimeError, "every spatial dimension"),
        (lambda: F.grid_sample(IMAGE[None], cr.ones(1, 1, 1, 1, 3), "bicubic"), RuntimeError, "bicubic"),
        (lambda: F.affine_grid(cr.ones(1, 2, 3), (1, 1, 0, 2)), ValueError, "at least 1"),
        (lambda: F.affine_grid(cr.ones(1, 2, 3), (2, 1, 2, 2)), ValueError, r"theta of shape \(2, 2, 3\)"),
        (lambda: F.affine_grid(cr.ones(1, 2, 3), (2, 2)), NotImplementedError, "size must be"),
        (lambda: F.pixel_shuffle(IMAGE, 3), RuntimeError, "divisible by upscale_factor"),
        (lambda: F.pixel_shuffle(IMAGE, 0), RuntimeError, "positive"),
        (lambda: F.pixel_shuffle(IMAGE, 1.5), TypeError, "upscale_factor must be an int"),
        (lambda: F.pixel_unshuffle(IMAGE, 2), RuntimeError, "divisible by downscale_factor"),
        (lambda: F.pixel_unshuffle(IMAGE[0, 0], 1), RuntimeError, r"\(\*, C, H, W\)"),
        (lambda: F.channel_shuffle(IMAGE, 3), RuntimeError, "groups must divide"),
        (lambda: F.fractional_max_pool2d(IMAGE, 2), ValueError, "either output_size or output_ratio"),
        (lambda: F.fractional_max_pool2d(IMAGE, 2, 3), RuntimeError, "do not fit"),
        (lambda: F.fractional_max_pool2d(IMAGE, 2, output_ratio=1.5), ValueError, "between 0 and 1"),
        (
            lambda: F.fractional_max_pool2d(IMAGE, 2, 2, _random_samples=cr.ones(1, 2)),
            RuntimeError,
            "_random_samples must have shape",
        ),
        (lambda: nn.FractionalMaxPool3d(2), ValueError, "either output_size or output_ratio"),
    ],
)
@pytest.mark.cpu_only
def test_bad_arguments(call, error, words):
    with pytest.raises(error, match=words):
        call()
