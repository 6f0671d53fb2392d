"""Rows: losses of regression, of two classes, on margins and on distances."""

import numpy as np

import chainrule as cr
import chainrule.nn.functional as F
from chainrule.autograd.ops import loss as ops
from tests.table import Row, Spec, apart, ints, positive, within

PAIR = [apart((3, 4)), within(-0.1, 0.1, (3, 4))]
PROBABILITIES = [within(0.1, 0.9, (3, 4)), within(0.1, 0.9, (3, 4))]


def signs(shape):
    """1 and -1."""
    return Spec(lambda rng: rng.integers(0, 2, shape) * 2 - 1, shape=shape)


def loss(name, inputs, ref=None, tag="", torch=None, **kwargs):
    return Row(name, getattr(F, name), inputs, kwargs, ref, torch or f"nn.functional.{name}", tag=tag)


def reductions(name, inputs, ref, **kwargs):
    """The loss unreduced, summed and averaged; `ref` is the loss of each element."""
    reduce = {"none": lambda y: y, "sum": np.sum, "mean": np.mean}
    return [
        loss(
            name,
            inputs,
            lambda *a, reduction, _f=reduce[how], **k: _f(ref(*a, **k)),
            tag=how,
            reduction=how,
            **kwargs,
        )
        for how in reduce
    ]


def huber(x, y, delta):
    d = np.abs(x - y)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def logistic(x):
    return np.logaddexp(0, x)


WEIGHT = cr.tensor([0.5, 2.0, 1.0, 0.7], dtype=cr.float64)
LABELS = cr.tensor([[3, 0, -1, 1], [-1, 2, 3, 0], [0, 1, 2, 3]])

ROWS = [
    *reductions("mse_loss", [(3, 4), (3, 4)], lambda x, y: (x - y) ** 2),
    *reductions("l1_loss", PAIR, lambda x, y: np.abs(x - y)),
    *reductions("smooth_l1_loss", PAIR, lambda x, y, beta: huber(x, y, beta) / beta, beta=0.8),
    *reductions("huber_loss", PAIR, huber, delta=0.8),
    loss("smooth_l1_loss", PAIR, lambda x, y, beta: np.abs(x - y).mean(), tag="beta 0", beta=0.0),
    Row(
        "mse_loss",
        lambda x, y, w: F.mse_loss(x, y, weight=w),
        [(3, 4), (3, 4), positive((3, 4))],
        ref=lambda x, y, w: ((x - y) ** 2 * w).sum() / w.sum(),
        torch=False,
        tag="weight",
    ),
    *reductions(
        "binary_cross_entropy", PROBABILITIES, lambda x, y: -(y * np.log(x) + (1 - y) * np.log(1 - x))
    ),
    *reductions(
        "binary_cross_entropy_with_logits",
        [(3, 4), within(0.1, 0.9, (3, 4))],
        lambda x, y: y * logistic(-x) + (1 - y) * logistic(x),
    ),
    loss(
        "binary_cross_entropy_with_logits",
        [(3, 4), within(0.1, 0.9, (3, 4))],
        lambda x, y, weight, pos_weight: (
            (pos_weight.numpy() * y * logistic(-x) + (1 - y) * logistic(x)) * weight.numpy()
        ).mean(),
        tag="weights",
        weight=WEIGHT,
        pos_weight=1 / WEIGHT,
    ),
    Row(
        "binary_cross_entropy_with_logits",
        ops.binary_cross_entropy_with_logits,
        [(3, 4), within(0.1, 0.9, (3, 4)), positive((4,))],
        torch=False,
        tag="gradient of pos_weight",
    ),
    loss("kl_div", [(3, 4), within(0.1, 0.9, (3, 4))], tag="sum", reduction="sum"),
    loss("kl_div", [(3, 4), within(0.1, 0.9, (3, 4))], tag="batchmean", reduction="batchmean"),
    loss("kl_div", [(3, 4), (3, 4)], tag="log target", reduction="none", log_target=True),
    loss("poisson_nll_loss", [(3, 4), within(1.1, 5, (3, 4))], tag="full", full=True),
    loss(
        "poisson_nll_loss", [positive((3, 4)), positive((3, 4))], tag="rate", log_input=False, reduction="sum"
    ),
    loss("gaussian_nll_loss", [(3, 4), (3, 4), positive((3, 4))], tag="full", full=True),
    loss("gaussian_nll_loss", [(3, 4), (3, 4), positive((3, 1))], tag="one variance a row", reduction="none"),
    loss(
        "margin_ranking_loss",
        [apart((3, 4)), within(-0.1, 0.1, (3, 4)), signs((3, 4))],
        lambda a, b, y, margin: np.maximum(-y * (a - b) + margin, 0).mean(),
        margin=0.1,
    ),
    loss(
        "hinge_embedding_loss",
        [apart((3, 4)), signs((3, 4))],
        lambda x, y: np.where(y == 1, x, np.maximum(1 - x, 0)).mean(),
    ),
    loss("soft_margin_loss", [(3, 4), signs((3, 4))], lambda x, y: np.log1p(np.exp(-y * x)).mean()),
    loss("multi_margin_loss", [apart((3, 4)), ints(0, 4, (3,))]),
    loss(
        "multi_margin_loss", [apart((3, 4)), ints(0, 4, (3,))], tag="squared", p=2, margin=0.7, weight=WEIGHT
    ),
    Row(
        "multilabel_margin_loss",
        lambda x: F.multilabel_margin_loss(x, LABELS.to(x.device)),
        [apart((3, 4))],
        torch=lambda x: __import__("torch").nn.functional.multilabel_margin_loss(
            x, __import__("torch").tensor(LABELS.numpy())
        ),
    ),
    loss("multilabel_soft_margin_loss", [(3, 4), within(0, 1, (3, 4))]),
    loss(
        "multilabel_soft_margin_loss",
        [(3, 4), within(0, 1, (3, 4))],
        tag="weight",
        weight=WEIGHT,
        reduction="none",
    ),
    loss("cosine_embedding_loss", [(3, 4), (3, 4), signs((3,))], margin=-0.9),
    loss("cosine_similarity", [(3, 4), (3, 4)]),
    loss("cosine_similarity", [(3, 1), (3, 4)], tag="broadcast", dim=0),
    loss("pairwise_distance", [(3, 4), (3, 4)]),
    loss("pairwise_distance", [(3, 4), (3, 4)], tag="p 3", p=3.0, keepdim=True),
    loss("pdist", [(4, 3)]),
    loss("triplet_margin_loss", [(3, 4), (3, 4), (3, 4)], reduction="none"),
    loss("triplet_margin_loss", [(3, 4), (3, 4), (3, 4)], tag="swap", swap=True, p=1),
    loss("triplet_margin_with_distance_loss", [(3, 4), (3, 4), (3, 4)], margin=2.0),
]
