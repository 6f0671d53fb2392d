"""The loss of a sequence whose alignment with its labels is unknown: connectionist temporal classification. Graves et al. 2006."""

import operator

import numpy

from chainrule.autograd import late, ops
from chainrule.autograd.functions.common import index_array, tensor_of
from chainrule.autograd.ops.ctc import NOTHING, Trellis, ctc_likelihood
from chainrule.autograd.ops.indexing import take
from chainrule.autograd.precision import precision
from chainrule.backends import backend_of, namespaces, placement

from .common import check_range, reduced, reduction_of


@placement.on_their_card
@precision(cpu="float32")
def ctc_loss(
    log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False
):
    """-log of the probability of the labels, summed over all alignments. (T, N, C), (N, S), (N), (N) -> (N), or (T, C), (S) -> ().

    log_probs: log-probabilities of C classes at T steps, as from `log_softmax`; class `blank` is none of the labels. targets may also
    be all labels one after the other, (sum of target_lengths). reduction "mean" divides by the target's length first.
    Labels longer than the input can hold cost inf, or 0 with `zero_infinity`. The gradient is that for log_probs as they are; PyTorch
    adds what `log_softmax` takes away again, exp(log_probs). Through `log_softmax` both are the same.
    """
    x = tensor_of(log_probs, "ctc_loss")
    reduction = reduction_of(None, None, reduction, "ctc_loss")
    if x.ndim not in (2, 3) or not x.is_floating_point():
        raise RuntimeError(
            f"ctc_loss: expected floating point log_probs (T, N, C) or (T, C), got shape {tuple(x.shape)} of {x.dtype}"
        )
    if x.dtype.itemsize == 2:
        loss = ctc_loss(x.float(), targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
        return loss.to(x.dtype)
    batched = x.ndim == 3
    x = x if batched else ops.expand_dims(x, axis=1)
    steps, n, classes = x.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be one of the {classes} classes, got {blank}")
    taken = _lengths(input_lengths, n, steps, "input_lengths", "steps")
    counts = _lengths(target_lengths, n, None, "target_lengths", "labels")
    labels = _labels(targets, counts, n, blank, classes, x._array)
    loss = -_likelihood(x, labels, taken, counts, blank, zero_infinity)
    if reduction == "mean":
        loss = loss / x._wrap(_here(numpy.maximum(counts, 1), x._array).astype(x._array.dtype))
    return reduced(loss if batched else loss[0], reduction)


def _lengths(value, n, most, name, what):
    """Lengths of the n sequences, as an int array on the host."""
    if isinstance(value, late.Tensor):
        value = index_array(value, "ctc_loss")
        found = backend_of(value).to_host(value).reshape(-1)
    else:
        given = value if isinstance(value, (list, tuple)) else (value,)
        try:
            found = numpy.array([operator.index(one) for one in given], dtype="int64")
        except TypeError:
            raise TypeError(f"ctc_loss: {name} must be ints or an integer Tensor, got {value!r}") from None
    if len(found) != n:
        raise RuntimeError(
            f"ctc_loss: {name} must have one length for each of the {n} sequences, got {len(found)}"
        )
    if found.size and (found.min() < 0 or (most is not None and found.max() > most)):
        bounds = "at least 0" if most is None else f"from 0 to the {most} {what} there are"
        raise RuntimeError(f"ctc_loss: {name} must be {bounds}, got {found.tolist()}")
    return found


def _here(array, like):
    backend = backend_of(like)
    return backend.from_host(array, backend.device_of(like).index)


def _labels(targets, counts, n, blank, classes, like):
    """The targets as (N, longest), with blanks where a sequence has no more."""
    array = index_array(tensor_of(targets, "ctc_loss").to(late.Tensor._wrap(like).device), "ctc_loss")
    longest = int(counts.max(initial=0))
    if array.ndim == 1:
        if array.size < counts.sum():
            raise RuntimeError(
                f"ctc_loss: target_lengths {counts.tolist()} name {counts.sum()} labels, got {array.size} of them"
            )
        starts = numpy.cumsum(counts) - counts
    elif array.ndim == 2 and array.shape[0] == n:
        if longest > array.shape[1]:
            raise RuntimeError(
                f"ctc_loss: target_lengths must be at most {array.shape[1]}, the width of targets, got {counts.tolist()}"
            )
        starts = numpy.arange(n) * array.shape[1]
    else:
        raise RuntimeError(
            f"ctc_loss: expected targets ({n}, S) or (sum of target_lengths), got shape {tuple(array.shape)}"
        )
    there = numpy.arange(longest) < counts[:, None]
    places = numpy.where(there, starts[:, None] + numpy.arange(longest), 0)
    xp, flat = namespaces[array.__class__], array.reshape(-1)
    if not longest or not flat.size:
        return xp.zeros((n, longest), dtype="int64")
    labels = xp.where(_here(there, like), flat[_here(places, like)].astype("int64"), blank)
    check_range(labels, 0, classes, "ctc_loss", "target", f"log_probs have {classes} classes")
    return labels


def _likelihood(x, labels, taken, counts, blank, zero_infinity):
    """log p(labels) for each sequence: the trellis of their states, and what each state emits at each step."""
    steps, n, _ = x.shape
    xp = namespaces[labels.__class__]
    size = 2 * labels.shape[1] + 1
    states = xp.zeros((n, size), dtype="int64") + blank
    states[:, 1::2] = labels
    skip = xp.zeros((n, size), dtype="bool")
    skip[:, 3::2] = labels[:, 1:] != labels[:, :-1]
    place = numpy.arange(size)
    ends = (place == 2 * counts[:, None]) | (place == 2 * counts[:, None] - 1)
    running = numpy.arange(steps)[:, None, None] < taken[:, None]
    last = _here(numpy.where(ends, 0, NOTHING).astype("float64"), x._array).astype(x._array.dtype)
    trellis = Trellis(skip, last, _here(running, x._array), bool(zero_infinity))
    sequences = xp.arange(n)[:, None]
    return ctc_likelihood(take(x, index=(slice(None), sequences, states)), trellis=trellis)
