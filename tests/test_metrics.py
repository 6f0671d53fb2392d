"""Metrics: scikit-learn's definitions worked out by hand, batches against the whole, mistakes."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import metrics

# Of 10 people 4 are ill; 5 are said to be, 3 of them rightly.
ILL = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
SAID = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]

TARGETS = [0, 0, 0, 1, 1, 2, 2, 2, 2]
PREDS = [0, 0, 1, 1, 2, 2, 2, 0, 2]


def test_binary():
    assert metrics.accuracy(SAID, ILL) == 0.7
    assert metrics.precision(SAID, ILL) == 3 / 5
    assert metrics.recall(SAID, ILL) == 3 / 4
    assert metrics.f1_score(SAID, ILL) == pytest.approx(2 / (5 / 3 + 4 / 3))
    assert metrics.confusion_matrix(SAID, ILL).tolist() == [[4, 2], [1, 3]]


def test_many_classes():
    assert metrics.confusion_matrix(PREDS, TARGETS).tolist() == [[2, 1, 0], [0, 1, 1], [1, 0, 3]]
    assert metrics.precision(PREDS, TARGETS, average=None) == pytest.approx([2 / 3, 1 / 2, 3 / 4])
    assert metrics.recall(PREDS, TARGETS, average=None) == pytest.approx([2 / 3, 1 / 2, 3 / 4])
    assert metrics.precision(PREDS, TARGETS, average="macro") == pytest.approx((2 / 3 + 1 / 2 + 3 / 4) / 3)
    assert metrics.recall(PREDS, TARGETS, average="weighted") == pytest.approx(6 / 9)
    for score in (metrics.precision, metrics.recall, metrics.f1_score):
        assert score(PREDS, TARGETS, average="micro") == pytest.approx(6 / 9)
    assert metrics.accuracy(PREDS, TARGETS) == pytest.approx(6 / 9)


def test_classes_that_do_not_occur():
    assert metrics.precision([0, 0], [0, 1], average=None) == [0.5, 0.0]
    assert metrics.precision([0, 0], [0, 1], average=None, zero_division=1.0) == [0.5, 1.0]
    assert metrics.recall([0, 0], [0, 0], average=None, num_classes=3) == [1.0, 0.0, 0.0]
    assert metrics.confusion_matrix([0], [1], num_classes=3).shape == (3, 3)


def test_scores_and_probabilities():
    scores = cr.tensor([[0.1, 0.9], [0.8, 0.2], [0.5, 0.5]])
    assert metrics.accuracy(scores, cr.tensor([1, 0, 1])) == pytest.approx(2 / 3)
    assert metrics.accuracy(cr.tensor([0.4, 0.6, 0.5]), cr.tensor([0, 1, 1]), threshold=0.5) == 1
    assert metrics.precision(cr.tensor([0.4, 0.6, 0.5]), cr.tensor([0, 1, 0]), threshold=0.5) == 0.5
    assert metrics.confusion_matrix(scores, cr.tensor([1, 0, 1])).tolist() == [[1, 0], [1, 1]]
    image = cr.tensor([[[0.1, 0.9], [0.8, 0.2]]])  # (1, 2, C)
    assert metrics.accuracy(image, cr.tensor([[1, 1]])) == 0.5


def test_top_k():
    scores = cr.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    targets = cr.tensor([2, 3, 1])
    assert metrics.top_k_accuracy(scores, targets, k=1) == 0
    assert metrics.top_k_accuracy(scores, targets, k=2) == pytest.approx(2 / 3)
    assert metrics.top_k_accuracy(scores, targets, k=4) == 1


def test_batches_give_the_value_of_the_whole(device):
    random = np.random.default_rng(0)
    targets = random.integers(0, 4, 101)
    scores = random.standard_normal((101, 4))
    preds = scores.argmax(-1)
    pairs = [
        (metrics.Accuracy(), scores, metrics.accuracy(preds, targets)),
        (metrics.TopKAccuracy(2), scores, metrics.top_k_accuracy(scores, targets, 2)),
        *(
            (cls(average, 4), preds, function(preds, targets, average))
            for cls, function in (
                (metrics.Precision, metrics.precision),
                (metrics.Recall, metrics.recall),
                (metrics.F1Score, metrics.f1_score),
            )
            for average in ("micro", "macro", "weighted", None)
        ),
    ]
    for metric, given, whole in pairs:
        for _ in range(2):  # the second time after a reset
            for i in range(0, 101, 17):
                metric.update(
                    cr.tensor(given[i : i + 17], device=device), cr.tensor(targets[i : i + 17], device=device)
                )
            assert metric.compute() == pytest.approx(whole)
            metric.reset()
    matrix = metrics.ConfusionMatrix(4)
    for i in range(0, 101, 17):
        matrix.update(preds[i : i + 17], targets[i : i + 17])
    assert (matrix.compute() == metrics.confusion_matrix(preds, targets)).all()
    assert matrix.compute().dtype is cr.int64
    expected = np.zeros((4, 4))
    np.add.at(expected, (targets, preds), 1)
    assert matrix.compute().tolist() == expected.tolist()


def test_nothing_yet():
    assert math.isnan(metrics.Accuracy().compute())
    assert metrics.F1Score().compute() == 0
    assert metrics.ConfusionMatrix(2).compute().sum() == 0
    assert math.isnan(metrics.accuracy(np.zeros(0, int), np.zeros(0, int)))


def test_mistakes():
    with pytest.raises(ValueError, match="shape"):
        metrics.accuracy([0, 1], [0, 1, 2])
    with pytest.raises(TypeError, match="threshold"):
        metrics.accuracy([0.5, 0.5], [0, 1])
    with pytest.raises(TypeError, match="targets"):
        metrics.accuracy([0, 1], [0.0, 1.0])
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        metrics.precision(PREDS, TARGETS)
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        metrics.ConfusionMatrix(3).update([0], [-1])
    with pytest.raises(ValueError, match="average"):
        metrics.F1Score("mean")
    with pytest.raises(ValueError, match="2 classes"):
        metrics.F1Score("binary", 3)
    with pytest.raises(ValueError, match="num_classes"):
        metrics.ConfusionMatrix(0)
    with pytest.raises(ValueError, match="k must"):
        metrics.TopKAccuracy(0)
    with pytest.raises(ValueError, match="classes"):
        metrics.top_k_accuracy([[0.1, 0.9]], [1], k=3)
    with pytest.raises(ValueError, match="last dimension"):
        metrics.top_k_accuracy([0.1, 0.9], [[1]], k=1)
