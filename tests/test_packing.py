"""Sequences of different lengths: padded, packed, and back."""

import pytest

import chainrule as cr
from chainrule.nn.utils import rnn as packing


def test_padding_and_packing_undo_each_other():
    sequences = [
        cr.arange(start, start + n).float().requires_grad_() for start, n in ((1, 2), (10, 4), (20, 1))
    ]
    padded = packing.pad_sequence(sequences, padding_value=-1.0)
    assert padded.tolist() == [[1, 10, 20], [2, 11, -1], [-1, 12, -1], [-1, 13, -1]]
    assert packing.pad_sequence(sequences, batch_first=True, padding_side="left").tolist()[0] == [0, 0, 1, 2]
    assert [one.tolist() for one in packing.unpad_sequence(padded, [2, 4, 1])] == [
        one.tolist() for one in sequences
    ]
    packed = packing.pack_sequence(sequences, enforce_sorted=False)
    assert packed.data.tolist() == [10, 1, 20, 11, 2, 12, 13]
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 0, 2]
    assert packed.unsorted_indices.tolist() == [1, 0, 2]
    assert [one.tolist() for one in packing.unpack_sequence(packed)] == [one.tolist() for one in sequences]
    back, lengths = packing.pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
    assert back.tolist() == padded.T.tolist()
    assert lengths.tolist() == [2, 4, 1]
    (back * cr.arange(4)).sum().backward()
    assert [one.grad.tolist() for one in sequences] == [[0, 1], [0, 1, 2, 3], [0]]


@pytest.mark.cpu_only
def test_a_packed_sequence_converts_and_moves():
    packed = packing.pack_sequence([cr.ones(3, 2), cr.ones(1, 2)], enforce_sorted=False)
    assert packed.double().data.dtype is cr.float64
    assert packed.half().float().data.dtype is cr.float32
    assert packed.to(cr.float32) is packed
    assert packed.cpu() is packed
    moved = packed.to("fake")
    assert moved.data.device.type == moved.sorted_indices.device.type == "fake"
    assert moved.batch_sizes.device.type == "cpu"
    assert not packed.is_cuda
    assert packing.invert_permutation(cr.tensor([2, 0, 1])).tolist() == [1, 2, 0]


def test_padding_and_packing_refuse_what_makes_no_sense():
    padded = cr.zeros(4, 3, 2)
    for call, error, text in [
        (lambda: packing.pack_padded_sequence(padded, [1, 2, 3]), RuntimeError, "enforce_sorted=False"),
        (lambda: packing.pack_padded_sequence(padded, [3, 2, 0]), RuntimeError, "from 1 to 4"),
        (lambda: packing.pack_padded_sequence(padded, [3, 2]), ValueError, "2 lengths"),
        (lambda: packing.pack_padded_sequence(padded, [5, 2, 1]), RuntimeError, "from 1 to 4"),
        (lambda: packing.pack_padded_sequence(padded, 3), ValueError, "one dimension"),
        (lambda: packing.pack_padded_sequence(cr.zeros(3), [1], batch_first=True), ValueError, "expected"),
        (
            lambda: packing.pad_packed_sequence(packing.pack_sequence([cr.zeros(3)]), total_length=2),
            ValueError,
            "total_length",
        ),
        (lambda: packing.pad_sequence([]), RuntimeError, "at least one"),
        (lambda: packing.pad_sequence([cr.zeros(2, 3), cr.zeros(2, 4)]), RuntimeError, "must agree"),
        (lambda: packing.pad_sequence([[1.0]]), RuntimeError, "Tensors"),
        (lambda: packing.pad_sequence([cr.zeros(2)], padding_side="top"), ValueError, "padding_side"),
    ]:
        with pytest.raises(error, match=text):
            call()
