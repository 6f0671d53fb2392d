"""Rows: softmax, its relatives, and cross-entropy."""

import numpy as np

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.ops import softmax as ops
from tests.table import Row, ints, within


def softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def cross_entropy(x, target):
    p = np.moveaxis(softmax(x, 1), 1, -1).reshape(-1, x.shape[1])
    return -np.log(p[np.arange(len(p)), target.reshape(-1)]).mean()


def along(name, ref, *dims):
    return [
        Row(name, getattr(F, name), [(3, 4, 2)], {"dim": dim}, ref, f"nn.functional.{name}", tag=f"dim {dim}")
        for dim in dims
    ]


def classes(shape, target, tag, **kwargs):
    """Cross-entropy with class numbers or probabilities."""
    ref = cross_entropy if not kwargs and len(shape) > 1 else None
    return Row(
        "cross_entropy", F.cross_entropy, [shape, target], kwargs, ref, "nn.functional.cross_entropy", tag=tag
    )


INDEX = (np.arange(3), np.array([1, 0, 3]))


def every_part(x, over=None):
    """The operation with every part of a target distribution: the losses, and their derivative by the logits."""
    raw = x._array
    place = not isinstance(raw, np.ndarray)
    move = (lambda a: cr.tensor(a).to(x.device)._array) if place else (lambda a: a)
    dtype = "float32" if raw.dtype.itemsize == 2 else raw.dtype
    q = ops.Targets(
        tuple(move(one) for one in INDEX),
        move(np.array([0.9, 0.0, 1.8], dtype)),
        move(np.array([[0.1, 0.2, 0.3, 0.4]], dtype)),
        move(np.array([True, False, True])),
    )
    y, slope = ops.cross_entropy(x, q=q, over=over)
    return cr.cat([y.reshape(-1), slope.to(y.dtype).reshape(-1)])


WEIGHT = cr.tensor([0.5, 2.0, 1.0, 0.7], dtype=cr.float64)

ROWS = [
    *along("softmax", lambda x, dim: softmax(x, dim), 0, 1, -1),
    *along("softmin", lambda x, dim: softmax(-x, dim), 1),
    *along("log_softmax", lambda x, dim: np.log(softmax(x, dim)), 0, -1),
    Row(
        "softmax",
        F.softmax,
        [()],
        {"dim": 0},
        ref=lambda x, dim: np.ones(()),
        torch="nn.functional.softmax",
        tag="0-d",
    ),
    Row("gumbel_softmax", F.gumbel_softmax, [(3, 4)], {"tau": 0.7}, torch=False),
    Row("gumbel_softmax", F.gumbel_softmax, [(3, 4)], {"hard": True}, grad=False, torch=False, tag="hard"),
    classes((3, 4), ints(0, 4, (3,)), "plain"),
    classes((4,), ints(0, 4, ()), "one sample"),
    classes((2, 4, 3, 2), ints(0, 4, (2, 3, 2)), "trailing dimensions"),
    classes((3, 4), ints(0, 4, (3,)), "weight", weight=WEIGHT),
    classes((5, 4), ints(0, 4, (5,)), "ignore", ignore_index=1),
    classes((5, 4), ints(0, 4, (5,)), "none", reduction="none", ignore_index=2, weight=WEIGHT),
    classes((3, 4, 2), ints(0, 4, (3, 2)), "sum", reduction="sum"),
    classes((3, 4), ints(0, 4, (3,)), "smoothing", label_smoothing=0.2),
    classes((5, 4, 2), ints(0, 4, (5, 2)), "everything", label_smoothing=0.2, weight=WEIGHT, ignore_index=1),
    classes((3, 4), within(0, 1, (3, 4)), "probabilities", label_smoothing=0.0),
    classes(
        (3, 4, 2), within(0, 1, (3, 4, 2)), "probabilities, everything", label_smoothing=0.1, weight=WEIGHT
    ),
    classes((4,), within(0, 1, (4,)), "probabilities of one sample", reduction="none"),
    Row("nll_loss", F.nll_loss, [(3, 4), ints(0, 4, (3,))], torch="nn.functional.nll_loss"),
    Row(
        "nll_loss",
        F.nll_loss,
        [(3, 4, 2), ints(0, 4, (3, 2))],
        {"weight": WEIGHT, "ignore_index": 2},
        torch="nn.functional.nll_loss",
        tag="weight and ignore",
    ),
    Row(
        "cross_entropy",
        every_part,
        [(3, 4)],
        torch=False,
        tag="and its slope",
        covers=("expected_loss", "with_targets"),
    ),
    Row("cross_entropy", every_part, [(3, 4)], {"over": 2.5}, torch=False, tag="mean and its slope"),
]
