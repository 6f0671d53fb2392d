"""`nn.utils`: clipping, parameters as one vector, sequences of unequal length."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import utils
from chainrule.nn.utils import rnn

GRADIENT = [20.0, -3.0, 15.5]


def with_gradient(*gradients, device="cpu", dtype=cr.float32):
    """Parameters that have these gradients."""
    parameters = []
    for one in gradients:
        one = cr.tensor(one, dtype=dtype, device=device)
        parameters.append(nn.Parameter(cr.zeros_like(one)))
        parameters[-1].grad = one
    return parameters


def test_clipping_by_value_keeps_each_element_within_fifteen(device):
    (p,) = with_gradient(GRADIENT, device=device)
    utils.clip_grad_value_(p, 15)
    assert p.grad.tolist() == [15, -3, 15]


def test_clipping_by_norm_keeps_the_direction(device):
    (p,) = with_gradient(GRADIENT, device=device)
    norm = math.sqrt(20**2 + 3**2 + 15.5**2)
    assert utils.clip_grad_norm_(p, 15).item() == pytest.approx(norm)
    np.testing.assert_allclose(p.grad.cpu().numpy(), 15 / norm * np.array(GRADIENT), rtol=1e-6)


def test_several_gradients_count_as_one_vector():
    parameters = [*with_gradient([3.0, 0.0], [[4.0]]), nn.Parameter(cr.zeros(1))]
    assert utils.clip_grad_norm_(iter(parameters), 10).item() == 5
    assert parameters[0].grad.tolist() == [3, 0] and parameters[2].grad is None
    utils.clip_grad_norm_(parameters, 1)
    np.testing.assert_allclose(parameters[1].grad.item(), 0.8, rtol=1e-5)


@pytest.mark.parametrize(
    ("norm_type", "expected"), [(1, 7), (2, 5), (3, 91 ** (1 / 3)), (math.inf, 4), ("inf", 4)]
)
def test_norm_types(norm_type, expected):
    tensors = [cr.tensor([3.0]), cr.tensor([-4.0])]
    assert utils.get_total_norm(tensors, norm_type).item() == pytest.approx(expected, rel=1e-6)


def test_total_norm_of_little():
    assert utils.get_total_norm([]).item() == 0 and utils.get_total_norm(cr.tensor([-2.0])).item() == 2
    assert utils.clip_grad_norm_([nn.Parameter(cr.zeros(2))], 1.0).item() == 0
    (half,) = with_gradient([300.0, 400.0], dtype=cr.float16)
    assert utils.clip_grad_norm_([half], 5).item() == 500 and half.grad.dtype is cr.float16


def test_gradients_that_are_not_finite():
    (p,) = with_gradient([1.0, math.inf])
    with pytest.raises(RuntimeError, match="total norm of order 2.0"):
        utils.clip_grad_norm_(p, 1, error_if_nonfinite=True)
    assert p.grad.tolist() == [1, math.inf]
    assert utils.clip_grad_norm_(p, 1).item() == math.inf


def test_parameters_as_one_vector(device):
    net = nn.Linear(2, 3).to(device)
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (9,)
    vector.sum().backward()
    assert (net.weight.grad == 1).all()
    utils.vector_to_parameters(cr.arange(9, dtype=cr.float32, device=device), net.parameters())
    assert net.bias.tolist() == [6, 7, 8] and net.weight.requires_grad
    with pytest.raises(ValueError, match="vector of 9 elements"):
        utils.vector_to_parameters(vector[:3], net.parameters())
    with pytest.raises(TypeError, match="expected a Tensor"):
        utils.vector_to_parameters([1], net.parameters())


def sequences(device="cpu", requires_grad=False):
    return [
        cr.tensor([[10.0 * i + t, i] for t in range(length)], device=device, requires_grad=requires_grad)
        for i, length in enumerate([2, 4, 1])
    ]


def test_packing_sorts_and_comes_back(device):
    packed = rnn.pack_sequence(sequences(device), enforce_sorted=False)
    assert packed.data[:, 0].tolist() == [10, 0, 20, 11, 1, 12, 13] and packed.batch_sizes.tolist() == [
        3,
        2,
        1,
        1,
    ]
    assert packed.sorted_indices.tolist() == [1, 0, 2] and packed.unsorted_indices.tolist() == [1, 0, 2]
    padded, lengths = rnn.pad_packed_sequence(packed, padding_value=-1, total_length=5)
    assert lengths.tolist() == [2, 4, 1] and padded.shape == (5, 3, 2)
    assert padded[:, 0, 0].tolist() == [0, 1, -1, -1, -1]
    for one, original in zip(rnn.unpack_sequence(packed), sequences(), strict=True):
        assert one.tolist() == original.tolist()
    assert packed.to(cr.float64).data.dtype is cr.float64 and not packed.cpu().is_cuda
    assert rnn.invert_permutation(cr.tensor([2, 0, 1], device=device)).tolist() == [1, 2, 0]


def test_gradients_pass_through_packing(device):
    given = sequences(device, requires_grad=True)
    padded, _ = rnn.pad_packed_sequence(rnn.pack_sequence(given, enforce_sorted=False), batch_first=True)
    (padded**2).sum().backward()
    for one in given:
        np.testing.assert_allclose(one.grad.cpu().numpy(), 2 * one.detach().cpu().numpy())


def test_packing_as_pytorch_does(torch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4, 3)).astype("float32")
    lengths = [3, 5, 1, 4]
    ours = rnn.pack_padded_sequence(cr.tensor(x), lengths, enforce_sorted=False)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(
        torch.tensor(x), torch.tensor(lengths), enforce_sorted=False
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
