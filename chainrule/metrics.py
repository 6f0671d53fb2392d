"""How good predictions are: accuracy, precision, recall, F1, the confusion matrix, top-k.

The functions take predictions and targets of a whole set. The classes of the same names collect batches: `update(preds,
targets)` adds one, `compute()` gives the value over all since `reset()`. Everything derives from counts, so that the running
value is that of the whole set, not a mean over batches.

Predictions are classes, integers of the targets' shape, or scores with one dimension more: (*, C), of which the largest
wins (the first of equals). With `threshold` scores of the targets' shape are probabilities of class 1. Batches on a device are counted
there, and `compute()` alone waits for it; that a class lies outside its range is noticed then.

Where nothing was counted, as the precision of a class never predicted, the value is `zero_division`.
Van Rijsbergen 1979, "Information retrieval", for F1; Sokolova & Lapalme 2009 for macro and micro averages.
"""

import numpy

from chainrule.autograd.functions.creation import tensor
from chainrule.autograd.tensor import Tensor
from chainrule.backends import add_at, backend_of, cpu, namespaces

_AVERAGES = ("binary", "micro", "macro", "weighted", None)


def accuracy(preds, targets, threshold=None):
    """The part of predictions that are right. A float; see the module for shapes."""
    return Accuracy(threshold).update(preds, targets).compute()


def top_k_accuracy(scores, targets, k=5):
    """The part of targets that are among the k largest scores. scores: (*, C), targets: (*)."""
    return TopKAccuracy(k).update(scores, targets).compute()


def confusion_matrix(preds, targets, num_classes=None, threshold=None):
    """The Tensor (C, C) of counts: row i, column j are those of class i that were predicted as j.

    num_classes: C; by default one more than the largest class that occurs.
    """
    preds, targets = _classes("confusion_matrix", preds, targets, threshold)
    if num_classes is None:
        num_classes = _number_of_classes(preds, targets)
    return ConfusionMatrix(num_classes).update(preds, targets).compute()


def precision(preds, targets, average="binary", num_classes=None, threshold=None, zero_division=0.0):
    """Of what was predicted as a class, the part that is of it: tp / (tp + fp).

    average: "binary" (of class 1, where there are classes 0 and 1 only), "micro" (over all counts, which is the accuracy),
    "macro" (the mean over classes), "weighted" (by how often classes occur) or None (a list, one for each class).
    """
    return _score(Precision, preds, targets, average, num_classes, threshold, zero_division)


def recall(preds, targets, average="binary", num_classes=None, threshold=None, zero_division=0.0):
    """Of what is of a class, the part that was predicted as it: tp / (tp + fn). average: see `precision`."""
    return _score(Recall, preds, targets, average, num_classes, threshold, zero_division)


def f1_score(preds, targets, average="binary", num_classes=None, threshold=None, zero_division=0.0):
    """The harmonic mean of precision and recall, 2 / (1/P + 1/R) = 2 tp / (2 tp + fp + fn). average: see `precision`."""
    return _score(F1Score, preds, targets, average, num_classes, threshold, zero_division)


def _score(cls, preds, targets, average, num_classes, threshold, zero_division):
    metric = cls(average, 2 if average == "binary" else num_classes or 1, threshold, zero_division)
    preds, targets = _classes(cls.__name__, preds, targets, threshold)
    if num_classes is None and average != "binary":
        metric = cls(average, _number_of_classes(preds, targets), None, zero_division)
    return metric.update(preds, targets).compute()


class Accuracy:
    """The part of predictions that are right, over all batches."""

    def __init__(self, threshold=None):
        self.threshold = threshold
        self.reset()

    def reset(self):
        """Forget all batches."""
        self.right = self.count = 0

    def update(self, preds, targets):
        """Add a batch; returns the metric."""
        preds, targets = _classes(type(self).__name__, preds, targets, self.threshold)
        self._add((preds == targets).sum(), targets.size)
        return self

    def _add(self, right, count):
        # A count on a device stays there: `int` would wait for it.
        self.right = self.right + (int(right) if isinstance(right, numpy.generic) else right)
        self.count += count

    def compute(self):
        """The value as a float; not a number before the first batch."""
        return int(self.right) / self.count if self.count else float("nan")


class TopKAccuracy(Accuracy):
    """The part of targets that are among the k largest scores, over all batches. Of equal scores the first count."""

    def __init__(self, k=5):
        if not (isinstance(k, int) and k >= 1):
            raise ValueError(f"TopKAccuracy: k must be a positive integer, got {k!r}")
        self.k = k
        super().__init__()

    def update(self, scores, targets):
        scores, targets = _together(scores, targets)
        if scores.shape[:-1] != targets.shape or scores.ndim == 0:
            raise ValueError(
                f"TopKAccuracy: scores must have the targets' shape and a last dimension of classes, got {scores.shape} and {targets.shape}"
            )
        if self.k > scores.shape[-1]:
            raise ValueError(f"TopKAccuracy: k is {self.k}, but there are {scores.shape[-1]} classes")
        _check_classes("TopKAccuracy", targets, scores.shape[-1])
        best = namespaces[scores.__class__].argsort(-scores, axis=-1, kind="stable")[..., : self.k]
        self._add((best == targets[..., None]).any(axis=-1).sum(), targets.size)
        return self


class ConfusionMatrix:
    """Counts of (class, predicted class) over all batches: a Tensor (num_classes, num_classes) of int64."""

    def __init__(self, num_classes, threshold=None):
        if not num_classes >= 1:
            raise ValueError(f"{type(self).__name__}: num_classes must be at least 1, got {num_classes}")
        self.num_classes = int(num_classes)
        self.threshold = threshold
        self.reset()

    def reset(self):
        """Forget all batches."""
        self._counts = {}  # namespace -> the counts of its batches, and how many classes lay outside

    @property
    def counts(self):
        """The matrix as a NumPy array; waits for the devices that hold some of it."""
        total = numpy.zeros(self.num_classes**2 + 1, dtype="int64")
        for found in self._counts.values():
            total += backend_of(found).to_host(found)
        if total[-1]:
            raise ValueError(
                f"{type(self).__name__}: classes must be in [0, {self.num_classes}), and {total[-1]} samples were not"
            )
        return total[:-1].reshape(self.num_classes, self.num_classes)

    def update(self, preds, targets):
        """Add a batch; returns the metric."""
        name, n = type(self).__name__, self.num_classes
        preds, targets = _classes(name, preds, targets, self.threshold)
        for classes in (preds, targets):
            _check_classes(name, classes, n)
        xp = namespaces[preds.__class__]
        inside = (preds >= 0) & (preds < n) & (targets >= 0) & (targets < n)
        pairs = xp.where(inside, targets * n + preds, n * n).reshape(-1)
        counts = self._counts.setdefault(xp, xp.zeros(n * n + 1, dtype="int64"))
        add_at(counts, (pairs,), xp.ones(pairs.shape, dtype="int64"))
        return self

    def compute(self):
        """The matrix, a new Tensor on the CPU."""
        return tensor(self.counts)


class _ClassScore(ConfusionMatrix):
    """A score of each class that is one sum of counts over another, and its averages."""

    def __init__(self, average="binary", num_classes=2, threshold=None, zero_division=0.0):
        name = type(self).__name__
        if average not in _AVERAGES:
            raise ValueError(f"{name}: average must be one of {_AVERAGES}, got {average!r}")
        if average == "binary" and num_classes != 2:
            raise ValueError(
                f"{name}: average='binary' is of 2 classes, got num_classes={num_classes}; use 'macro', 'micro', 'weighted' or None"
            )
        self.average = average
        self.zero_division = zero_division
        super().__init__(num_classes, threshold)

    def ratio(self, tp, fp, fn):
        """(numerator, denominator) from the numbers of true positives, false positives and false negatives."""
        raise NotImplementedError

    def compute(self):
        """The value as a float; with average=None a list, one for each class."""
        counts = self.counts
        tp = counts.diagonal()
        fp, fn = counts.sum(0) - tp, counts.sum(1) - tp
        if self.average == "micro":
            tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
        above, below = (numpy.asarray(part, dtype="float64") for part in self.ratio(tp, fp, fn))
        scores = numpy.full(above.shape, float(self.zero_division))
        numpy.divide(above, below, out=scores, where=below != 0)
        if self.average == "micro":
            return float(scores)
        if self.average == "macro":
            return float(scores.mean())
        if self.average == "weighted":
            sizes = counts.sum(1)
            return float(scores @ sizes / sizes.sum()) if sizes.sum() else float(self.zero_division)
        return scores.tolist() if self.average is None else float(scores[1])


class Precision(_ClassScore):
    """`precision` over all batches."""

    def ratio(self, tp, fp, fn):
        return tp, tp + fp


class Recall(_ClassScore):
    """`recall` over all batches."""

    def ratio(self, tp, fp, fn):
        return tp, tp + fn


class F1Score(_ClassScore):
    """`f1_score` over all batches."""

    def ratio(self, tp, fp, fn):
        return 2 * tp, 2 * tp + fp + fn


def _together(preds, targets):
    """Both as arrays: where they lie if they lie together, else on the host."""
    arrays = [one._array if isinstance(one, Tensor) else one for one in (preds, targets)]
    arrays = [one if one.__class__ in namespaces else numpy.asarray(one) for one in arrays]
    if arrays[0].__class__ is not arrays[1].__class__:
        arrays = [backend_of(one).to_host(one) for one in arrays]
    return arrays


def _number_of_classes(preds, targets):
    """One more than the largest class that occurs."""
    return 1 + max(int(one.max()) if one.size else 0 for one in (preds, targets))


def _classes(name, preds, targets, threshold):
    """Predictions and targets as arrays of classes, of one shape."""
    preds, targets = _together(preds, targets)
    if targets.dtype.kind not in "iub":
        raise TypeError(f"{name}: targets must be classes, integers, got {targets.dtype}")
    if threshold is not None and preds.shape == targets.shape and preds.dtype.kind == "f":
        preds = preds >= threshold
    elif preds.ndim == targets.ndim + 1 and preds.shape[-1:] != (0,):
        preds = preds.argmax(axis=-1)
    if preds.shape != targets.shape:
        raise ValueError(
            f"{name}: predictions must have the targets' shape {targets.shape}, or one dimension of scores more, got {preds.shape}"
        )
    if preds.dtype.kind not in "iub":
        raise TypeError(
            f"{name}: predictions of the targets' shape must be classes, integers, got {preds.dtype}; for probabilities give threshold"
        )
    return preds.astype("int64"), targets.astype("int64")


def _check_classes(name, classes, count):
    """ValueError for a class outside [0, count); a device is not asked."""
    if classes.size and backend_of(classes) is cpu and not (0 <= classes.min() and classes.max() < count):
        raise ValueError(
            f"{name}: classes must be in [0, {count}), got values from {classes.min()} to {classes.max()}"
        )
