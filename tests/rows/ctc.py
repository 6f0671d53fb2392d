"""Rows: the loss of sequences whose alignment is unknown."""

import itertools
from types import SimpleNamespace

import numpy as np

import chainrule as cr
from chainrule.autograd.ops import ctc as ops
from chainrule.backends import placement
from chainrule.nn import functional as F
from tests.table import Row

TARGETS, STEPS, LABELS = np.array([[1, 2], [2, 2], [1, 0]]), [4, 3, 2], [2, 2, 1]


def by_counting(log_probs, targets, steps, labels, blank=0):
    """-log of the sum over every sequence of classes that says the labels once repetitions, then blanks are taken out."""
    losses = []
    for n, (length, count) in enumerate(zip(steps, labels, strict=True)):
        wanted, total = list(targets[n][:count]), 0.0
        for path in itertools.product(range(log_probs.shape[2]), repeat=length):
            said = [one for one, _ in itertools.groupby(path) if one != blank]
            if said == wanted:
                total += np.exp(sum(log_probs[t, n, one] for t, one in enumerate(path)))
        losses.append(-np.log(total))
    return np.array(losses)


def loss(log_probs, **kwargs):
    """The loss of the three sequences."""
    return F.ctc_loss(log_probs, cr.tensor(TARGETS, device=log_probs.device), STEPS, LABELS, **kwargs)


def through_softmax(torch_like):
    """The loss of unnormalized scores, where PyTorch's gradient is the true one."""

    def function(x):
        return torch_like.nn.functional.ctc_loss(
            torch_like.log_softmax(x, 2),
            torch_like.tensor(TARGETS),
            torch_like.tensor(STEPS),
            torch_like.tensor(LABELS),
        )

    return function


class _Torch:
    """PyTorch, imported when first called."""

    def __call__(self, x):
        import torch

        return through_softmax(torch)(x)


@placement.on_their_card
def trellis(x):
    """One sequence of two different labels, in five states and three steps."""
    made = SimpleNamespace(
        skip=np.array([[False, False, False, True, False]]),
        last=np.array([[ops.NOTHING, ops.NOTHING, ops.NOTHING, 0.0, 0.0]]),
        running=np.ones((3, 1, 1), bool),
    )
    arrays = [cr.tensor(one, device=x.device)._array for one in (made.skip, made.last, made.running)]
    return ops.Trellis(arrays[0], arrays[1].astype(x._array.dtype), arrays[2], False)


def occupied(e):
    """The operation, which computes in 32 bits at least, in the dtype of its input."""
    wide = e.float() if e.dtype.itemsize == 2 else e
    return ops.ctc_occupancy(wide, trellis=trellis(wide)).to(e.dtype)


def occupancy(e):
    """By listing the paths through the trellis."""
    total = np.zeros(e.shape)
    for path in itertools.product(range(5), repeat=3):
        steps = [b - a for a, b in itertools.pairwise(path)]
        moves = all(
            step in (0, 1) or (step == 2 and to == 3) for step, to in zip(steps, path[1:], strict=True)
        )
        if path[0] in (0, 1) and path[-1] in (3, 4) and moves:
            weight = np.exp(sum(e[t, 0, state] for t, state in enumerate(path)))
            for t, state in enumerate(path):
                total[t, 0, state] += weight
    return total / total[0].sum()


ROWS = [
    Row(
        "nn.functional.ctc_loss", loss, [(4, 3, 3)], kwargs={"reduction": "none"},
        ref=lambda x, reduction: by_counting(x, TARGETS, STEPS, LABELS), torch=False,
    ),
    Row(
        "nn.functional.ctc_loss", loss, [(4, 3, 3)],
        ref=lambda x: (by_counting(x, TARGETS, STEPS, LABELS) / LABELS).mean(), torch=False, tag="mean",
    ),
    Row(
        "nn.functional.ctc_loss",
        lambda x: F.ctc_loss(
            x.log_softmax(2), cr.tensor(TARGETS, device=x.device), STEPS, LABELS
        ),
        [(4, 3, 3)], torch=_Torch(), tag="softmax",
    ),
    Row(
        "ctc_occupancy", occupied, [(3, 1, 5)], ref=occupancy, torch=False,
    ),
]  # fmt: skip
