"""Every row of the table of operations with its dimensions set to 0, one length after the other, against PyTorch."""

import numpy as np
import pytest

import chainrule as cr
from tests.test_float32_error import _target
from tests.test_ops import EVERY, host

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::UserWarning")]

# Families in which PyTorch refuses empty dimensions for reasons of its kernels ("optional 0 dim batch size", "MKL FFT error") and an
# empty result, or that of a sum of nothing, is the plain answer, which is given here.
ANSWERED = (
    "adaptive", "avg_pool", "batch_norm", "bilinear", "channel_shuffle", "constant_pad_nd", "conv", "fft", "fold", "grid_sample",
    "histogram", "instance_norm", "interpolate", "istft", "lp_pool", "max_pool", "max_unpool", "pad", "pixel_", "stft", "unfold", "upsample",
)  # fmt: skip

# Rows whose emptied inputs PyTorch answers otherwise, by the beginning of their id, and why.
DIFFERS = {
    "conv": "PyTorch's shapes for no channels or an empty kernel do not follow its own formula",
    "scaled_dot_product_attention-shared": "no heads are shared by no heads",
    "bilinear": "PyTorch leaves the bias out where there are no features",
    "logdet": "not empty: the product of empty matrices is zero, and its inverse is refused by name in backward",
    "multi_margin_loss": "the mean over no classes",
    "cross_entropy": "the mean over no classes",
    "group_norm": "the gradient of the weight over no elements",
    "adaptive_avg_pool2d-global": "the mean over no elements is refused by name",
    "linalg.lstsq-residuals": "PyTorch's LAPACK refuses to solve for no right-hand side",
    "linalg.vander": "a Vandermonde matrix of no numbers is empty",
    "ormqr": "reflections of length 0 change nothing",
    "embedding_bag": "PyTorch crashes",
    "pdist": "PyTorch crashes",
}


def emptied(row):
    """The row's inputs with each length that occurs in them set to 0 in turn: (length, arrays)."""
    arrays = row.arrays()
    flat = [one for group in arrays for one in (group if isinstance(group, list) else [group])]
    lengths = sorted({n for one in flat if isinstance(one, np.ndarray) for n in one.shape})

    def cut(array, length):
        if not isinstance(array, np.ndarray) or length not in array.shape:
            return array
        return np.zeros(tuple(0 if n == length else n for n in array.shape), array.dtype)

    for length in lengths:
        yield (
            length,
            [[cut(p, length) for p in one] if isinstance(one, list) else cut(one, length) for one in arrays],
        )


def attempt(library, function, arrays, flags, kwargs):
    """(outputs, gradients of their sum), or the error."""
    made = []

    def one(array, flag):
        if not isinstance(array, np.ndarray):
            return array
        x = library.tensor(array)
        if flag and array.dtype.kind == "f":
            x.requires_grad_()
            made.append(x)
        return x

    inputs = [
        [one(p, flag) for p in x] if isinstance(x, list) else one(x, flag)
        for x, flag in zip(arrays, flags, strict=True)
    ]
    try:
        found = function(*inputs, **kwargs)
        found = [
            x
            for x in (found if isinstance(found, (tuple, list)) else (found,))
            if isinstance(x, library.Tensor)
        ]
        for x in found:
            if x.is_floating_point() and x.requires_grad:
                x.sum().backward(retain_graph=True)
        return found, [x.grad for x in made]
    except Exception as error:
        return error


@EVERY
def test_empty_inputs_are_answered_as_pytorch_answers_them(row, torch):
    function = _target(torch, row)
    kwargs = {n: torch.tensor(host(v)) if isinstance(v, cr.Tensor) else v for n, v in row.kwargs.items()}
    name = row.id.removeprefix("nn.functional.")
    for known, reason in DIFFERS.items():
        if name.startswith(known):
            pytest.skip(reason)
    for length, arrays in emptied(row):
        theirs = attempt(torch, function, arrays, row.differentiable(), kwargs)
        ours = attempt(cr, row.function, arrays, row.differentiable(), row.kwargs)
        where = f"length {length} set to 0: {ours!r} against {theirs!r}"
        if isinstance(ours, Exception):
            assert isinstance(theirs, Exception), where
            assert isinstance(ours, (RuntimeError, ValueError, TypeError, IndexError)), where
            continue
        if isinstance(theirs, Exception):
            # What a view of complex numbers asks of the strides of nothing, and histograms without a derivative, do not count either.
            assert name.startswith(ANSWERED) or "derivative" in str(theirs) or "stride 1" in str(theirs), (
                where
            )
            continue
        for one, other in zip(ours[0], theirs[0], strict=True):
            assert tuple(one.shape) == tuple(other.shape), where
            assert one.dtype.name == str(other.dtype).removeprefix("torch."), where
            np.testing.assert_allclose(
                host(one), other.detach().resolve_conj().numpy(), rtol=1e-9, err_msg=where
            )
        for one, other in zip(ours[1], theirs[1], strict=True):
            if one is not None and other is not None:
                assert tuple(one.shape) == tuple(other.shape), where
                np.testing.assert_allclose(host(one), other.numpy(), rtol=1e-7, err_msg=where)
