"""Sequences of unequal length: padded to one length, or packed without padding.

A `PackedSequence` holds the time steps of all sequences one after the other: first the first element of each sequence, then
the second elements of those that have one, and so on. The sequences are in order of length, the longest first, so the
`batch_sizes[t]` sequences still running at step t are the first ones.
"""

from typing import NamedTuple

import numpy

from chainrule.autograd.functions.creation import full, put
from chainrule.autograd.functions.shape import cat
from chainrule.autograd.tensor import Tensor


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """Sequences without their padding; see the head of this module.

    data: (elements of all sequences, *). batch_sizes: int64 (steps), on the host. sorted_indices: which sequence of the original
    order stands at each place of the sorted one, unsorted_indices the other way round; None if they came sorted.
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args, **kwargs):
        """The same sequences in another dtype or on another device."""
        data = self.data.to(*args, **kwargs)
        places = (
            None if one is None else one.to(device=data.device)
            for one in (self.sorted_indices, self.unsorted_indices)
        )
        return self if data is self.data else PackedSequence(data, self.batch_sizes, *places)

    def float(self):
        """The same sequences in float32."""
        return self.to(dtype="float32")

    def double(self):
        """The same sequences in float64."""
        return self.to(dtype="float64")

    def half(self):
        """The same sequences in float16."""
        return self.to(dtype="float16")

    def cpu(self):
        """The same sequences in host memory."""
        return self.to(device="cpu")

    def cuda(self, device=None):
        """The same sequences on a CUDA card."""
        return self.to(device="cuda" if device is None else device)

    @property
    def is_cuda(self):
        """Whether the elements lie on a CUDA card."""
        return self.data.is_cuda


def _index(host, like):
    """A host array of integers as an index Tensor on the device of `like`."""
    return Tensor._wrap(put(numpy.asarray(host, "int64"), like.device))


def _host(values, name):
    """Lengths, as a Tensor or numbers, as a NumPy array."""
    lengths = numpy.asarray(values.tolist() if isinstance(values, Tensor) else values)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError(f"{name}: lengths must be whole numbers in one dimension, got {values!r}")
    return lengths


def checked_packed(sequence, name):
    """`sequence`, if it is a PackedSequence whose parts fit together: sizes that fall to 1 or more and add up to the elements."""
    if not isinstance(sequence, PackedSequence):
        raise TypeError(
            f"{name}: expected a PackedSequence, got {type(sequence).__name__}; make one with pack_padded_sequence"
        )
    sizes = numpy.asarray(sequence.batch_sizes.tolist())
    if (
        sizes.ndim != 1
        or not sizes.size
        or sizes.dtype.kind != "i"
        or sizes[-1] < 1
        or (numpy.diff(sizes) > 0).any()
    ):
        raise ValueError(
            f"{name}: batch_sizes of a PackedSequence must be positive ints that do not rise, got {sizes.tolist()}"
        )
    if sizes.sum() != len(sequence.data):
        raise ValueError(
            f"{name}: batch_sizes {sizes.tolist()} of a PackedSequence add up to {sizes.sum()}, "
            f"but its data has shape {tuple(sequence.data.shape)}"
        )
    return sequence


def invert_permutation(permutation):
    """The permutation that undoes `permutation`, a Tensor of indices (n) or None."""
    if permutation is None:
        return None
    return _index(numpy.argsort(permutation.cpu().numpy(), kind="stable"), permutation)


def _time_first(input, name):
    if input.ndim < 2:
        raise ValueError(
            f"{name}: expected (T, B, *), or (B, T, *) with batch_first, got shape {tuple(input.shape)}"
        )
    return input.transpose(0, 1)


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Pack padded sequences, (T, B, *) or with `batch_first` (B, T, *), of the given lengths (B).

    enforce_sorted: the lengths must not increase; otherwise the sequences are sorted, and PackedSequence remembers how.
    """
    name = "pack_padded_sequence"
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}: expected a Tensor, got {type(input).__name__}")
    other = _time_first(input, name)
    if batch_first:
        input = other
    lengths = _host(lengths, name)
    steps, batch = input.shape[:2]
    if len(lengths) != batch:
        raise ValueError(
            f"{name}: {len(lengths)} lengths for an input with {batch} sequences, shape {tuple(input.shape)}"
        )
    if batch == 0 or lengths.min() < 1 or lengths.max() > steps:
        raise RuntimeError(f"{name}: lengths must be from 1 to {steps}, got {lengths.tolist()}")
    order = inverse = None
    if enforce_sorted:
        if (numpy.diff(lengths) > 0).any():
            raise RuntimeError(
                f"{name}: lengths must be in decreasing order, got {lengths.tolist()}; pass enforce_sorted=False to have "
                f"the sequences sorted"
            )
        places = numpy.arange(batch)
    else:
        places = numpy.argsort(-lengths, kind="stable")
        lengths = lengths[places]
        order, inverse = _index(places, input), _index(numpy.argsort(places), input)
    running = numpy.arange(lengths[0])[:, None] < lengths
    rows = (numpy.arange(lengths[0])[:, None] * batch + places)[running]
    data = input.reshape(steps * batch, *input.shape[2:]).index_select(0, _index(rows, input))
    return PackedSequence(data, Tensor._wrap(running.sum(1)), order, inverse)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """Undo `pack_padded_sequence`: (the padded sequences, (T, B, *) or (B, T, *); their lengths, int64 (B) on the host).

    total_length: T, if it should be more than the longest sequence.
    """
    sizes = checked_packed(sequence, "pad_packed_sequence").batch_sizes.numpy()
    steps, batch = len(sizes), int(sizes[0])
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                f"pad_packed_sequence: total_length={total_length} is less than the longest sequence, {steps}"
            )
        steps = total_length
    running = numpy.arange(batch) < sizes[:, None]
    lengths = running.sum(0)
    columns = numpy.arange(batch)
    if sequence.sorted_indices is not None:
        columns = sequence.sorted_indices.cpu().numpy()
        lengths = lengths[numpy.argsort(columns)]
    rows = (numpy.arange(len(sizes))[:, None] * batch + columns)[running]
    padded = _spread(sequence.data, rows, (steps, batch), padding_value)
    return padded.transpose(0, 1) if batch_first else padded, Tensor._wrap(lengths)


def _spread(data, rows, shape, padding_value):
    """(*shape, *) with the elements of `data` at `rows` of the flattened shape and `padding_value` elsewhere."""
    rest = data.shape[1:]
    out = full((shape[0] * shape[1], *rest), padding_value, dtype=data.dtype, device=data.device)
    return out.index_copy(0, _index(rows, data), data).reshape(*shape, *rest)


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Sequences (L_i, *) side by side, padded to the longest: (T, B, *) or with `batch_first` (B, T, *)."""
    sequences = list(sequences)
    if not sequences or not all(isinstance(one, Tensor) and one.ndim for one in sequences):
        raise RuntimeError("pad_sequence: expected a list of Tensors with at least one dimension each")
    if padding_side not in ("left", "right"):
        raise ValueError(f"pad_sequence: padding_side must be 'left' or 'right', got {padding_side!r}")
    if any(one.shape[1:] != sequences[0].shape[1:] for one in sequences):
        raise RuntimeError(
            f"pad_sequence: all dimensions but the first must agree, got shapes {[tuple(one.shape) for one in sequences]}"
        )
    lengths = numpy.array([len(one) for one in sequences])
    batch, steps = len(lengths), int(lengths.max())
    starts = steps - lengths if padding_side == "left" else 0 * lengths
    rows = numpy.concatenate(
        [i * steps + starts[i] + numpy.arange(length) for i, length in enumerate(lengths)]
    )
    padded = _spread(cat(sequences), rows, (batch, steps), padding_value)
    return padded if batch_first else padded.transpose(0, 1)


def pack_sequence(sequences, enforce_sorted=True):
    """Pack sequences (L_i, *)."""
    sequences = list(sequences)
    return pack_padded_sequence(
        pad_sequence(sequences), [len(one) for one in sequences], enforce_sorted=enforce_sorted
    )


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """Undo `pad_sequence`: a list of Tensors (L_i, *)."""
    if not batch_first:
        padded_sequences = _time_first(padded_sequences, "unpad_sequence")
    lengths = _host(lengths, "unpad_sequence")
    return [one[: int(length)] for one, length in zip(padded_sequences, lengths, strict=True)]


def unpack_sequence(packed_sequences):
    """Undo `pack_sequence`: a list of Tensors (L_i, *)."""
    packed_sequences = checked_packed(packed_sequences, "unpack_sequence")
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
