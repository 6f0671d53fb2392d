"""Reading label sequences off the log-probabilities that `ctc_loss` trains: repeats are merged, then blanks dropped. On the host."""

import math

import numpy

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.tensor import Tensor


def _sequences(log_probs, input_lengths, blank, name):
    """Each sequence's own steps as a NumPy array (T, C), and whether there was a batch of them."""
    x = tensor_of(log_probs, name).detach()
    if x.ndim not in (2, 3) or not 0 <= blank < x.shape[-1]:
        raise RuntimeError(
            f"{name}: expected log_probs (T, N, C) or (T, C) with blank={blank} one of C classes, got shape {tuple(x.shape)}"
        )
    batched = x.ndim == 3
    array = (x if batched else x.unsqueeze(1)).double().cpu().numpy()
    steps, count = array.shape[:2]
    if input_lengths is None:
        lengths = [steps] * count
    else:
        given = input_lengths.tolist() if isinstance(input_lengths, Tensor) else input_lengths
        lengths = given if isinstance(given, (list, tuple)) else [given]
    if len(lengths) != count or any(not 0 <= length <= steps for length in lengths):
        raise RuntimeError(f"{name}: expected {count} input_lengths from 0 to {steps}, got {lengths}")
    return [array[:length, i] for i, length in enumerate(lengths)], batched


def ctc_greedy_decode(log_probs, input_lengths=None, blank=0):
    """The labels of the most probable path: the best class at each step. Graves et al. 2006, section 3.2.

    log_probs (T, N, C) or (T, C) -> a list of labels for each sequence, or one list. The most probable labelling may be another
    one, for it sums over paths: see `ctc_beam_decode`.
    """
    sequences, batched = _sequences(log_probs, input_lengths, blank, "ctc_greedy_decode")
    found = []
    for steps in sequences:
        best = steps.argmax(1)
        new = numpy.diff(best, prepend=-1) != 0
        found.append(best[new & (best != blank)].tolist())
    return found if batched else found[0]


def ctc_beam_decode(log_probs, input_lengths=None, blank=0, beam_width=10):
    """The most probable labellings, by prefix beam search. Hannun et al. 2014; Graves 2012, section 7.5.

    log_probs (T, N, C) or (T, C) -> for each sequence a list of (labels, log-probability), the best first, `beam_width` at most. The
    log-probability sums over the paths that stayed in the beam: over all of them if it is wide enough.
    """
    if beam_width < 1:
        raise ValueError(f"ctc_beam_decode: beam_width must be at least 1, got {beam_width}")
    sequences, batched = _sequences(log_probs, input_lengths, blank, "ctc_beam_decode")
    found = [_beam(steps, blank, beam_width) for steps in sequences]
    return found if batched else found[0]


def _beam(steps, blank, width):
    """[(labels, log-probability)] of one sequence."""
    # prefix -> log-probability of the paths that end in a blank, and of those that end in the prefix's last label
    beam = {(): (0.0, -math.inf)}
    for now in steps:
        new = {}

        def add(prefix, ending, log_prob, new=new):
            pair = list(new.get(prefix, (-math.inf, -math.inf)))
            pair[ending] = numpy.logaddexp(pair[ending], log_prob)
            new[prefix] = tuple(pair)

        for prefix, (in_blank, in_label) in beam.items():
            total = numpy.logaddexp(in_blank, in_label)
            add(prefix, 0, total + now[blank])
            for label in range(len(now)):
                if label == blank:
                    continue
                if prefix and prefix[-1] == label:
                    add(prefix, 1, in_label + now[label])  # the same label goes on
                    add((*prefix, label), 1, in_blank + now[label])  # after a blank it is another
                else:
                    add((*prefix, label), 1, total + now[label])
        best = sorted(new.items(), key=lambda one: -numpy.logaddexp(*one[1]))
        beam = dict(best[:width])
    return [(list(prefix), float(numpy.logaddexp(*pair))) for prefix, pair in beam.items()]
