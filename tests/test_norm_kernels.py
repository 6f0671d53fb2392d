"""Norms by kernels where dtypes and memory orders mix: as in half-precision training of convolutional networks."""

import numpy as np
import pytest

import chainrule as cr
import chainrule.nn.functional as F


def image(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype("float32")


def close(there, here, tolerance):
    for ours, right in zip(there, here, strict=True):
        ours, right = (one.detach().cpu().float().numpy() for one in (ours, right))
        np.testing.assert_allclose(ours, right, rtol=tolerance, atol=tolerance * np.abs(right).max())


@pytest.mark.parametrize("weights", ["float32", "same"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("shape", [(6, 8, 5, 3), (40, 8), (5, 3, 7, 2)])
def test_batch_norm_of_16_bits_with_weights_of_32(emulated, shape, last, dtype, weights):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    dtype, results = getattr(cr, dtype), []
    for device in ("fake", "cpu"):
        layer = (cr.nn.BatchNorm1d if len(shape) == 2 else cr.nn.BatchNorm2d)(shape[1]).to(device)
        with cr.no_grad():
            layer.weight.add_(cr.tensor(image(shape[1]), device=device))
        if weights == "same":
            layer.to(dtype=dtype)
        x = cr.tensor(image(*shape) * 2 + 1).to(dtype).to(device)
        x = (
            (x.to(memory_format=cr.channels_last) if last and len(shape) == 4 else x)
            .detach()
            .requires_grad_()
        )
        y = layer(x)
        assert y.dtype is dtype and y._array.strides == x._array.strides
        (y * y.detach().cos()).sum().backward()
        assert x.grad.dtype is dtype and layer.weight.grad.dtype is layer.weight.dtype
        running = layer.running_mean, layer.running_var
        layer.eval()
        results.append([y, x.grad, layer.weight.grad, layer.bias.grad, *running, layer(x)])
    close(*results, 3e-2 if dtype is cr.bfloat16 else 4e-3)
    wanted = {"follow_average", "join_moments"}
    wanted |= (
        {"column_norm", "column_affine"} if last or len(shape) == 2 else {"channel_norm", "channel_affine"}
    )
    assert wanted <= set(emulated.launched)


def test_rms_and_layer_norm_of_16_bits_with_weights_of_32(emulated):
    results = []
    for device in ("fake", "cpu"):
        x = cr.tensor(image(6, 24)).half().to(device).detach().requires_grad_()
        w = cr.tensor(image(24), device=device, requires_grad=True)
        y = F.rms_norm(x, (24,), w)
        y.sum().backward()
        z = F.layer_norm(x, (24,), w)
        results.append([y, x.grad, w.grad, z])
    close(*results, 4e-3)
    assert emulated.launched.count("norm_rows") == 2


def test_a_gradient_that_lies_otherwise_is_laid_out_anew(emulated):
    results = []
    for device in ("fake", "cpu"):
        x = cr.tensor(image(3, 4, 5, 6), device=device, requires_grad=True)
        y = F.batch_norm(x, None, None, training=True)
        (y.transpose(2, 3).contiguous() * cr.tensor(image(3, 4, 6, 5), device=device)).sum().backward()
        results.append([x.grad])
    close(*results, 1e-5)
    assert "channel_norm_gradient" in emulated.launched


def test_second_derivatives_of_batch_norm_with_few_places(emulated):
    results = []
    for device in ("fake", "cpu"):
        x = cr.tensor(image(5, 3, 2), dtype=cr.float64, device=device, requires_grad=True)
        (g,) = cr.autograd.grad(F.batch_norm(x, None, None, training=True).pow(3).sum(), x, create_graph=True)
        g.square().sum().backward()
        results.append([x.grad])
    close(*results, 1e-6)
