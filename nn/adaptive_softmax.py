"""A softmax over very many classes, most of them rare. Grave et al. (2017), "Efficient softmax approximation for GPUs"."""

from collections import namedtuple

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import zeros_like
from chainrule.autograd.functions.shape import cat

from . import functional as F
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module

_Result = namedtuple("_Result", ["output", "loss"])


class AdaptiveLogSoftmaxWithLoss(Module):
    """log p of the target class: frequent classes stand in the head, rare ones in clusters with smaller layers.

    Classes are numbered by falling frequency. The head has the classes below `cutoffs[0]` and one entry for each cluster, the
    classes from one cutoff to the next; log p of a class in a cluster is that of the cluster plus that within it. The layers of cluster i
    go through in_features / div_value^(i + 1) units.
    Shape: (N, in_features) and (N), or (in_features) and () -> output (N) or (), and their negative mean, loss ().
    Initial law: Linear's.

    >>> layer = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])
    >>> layer(cr.ones(3, 8), cr.tensor([0, 7, 19])).output.shape, layer.predict(cr.ones(3, 8)).shape
    (chainrule.Size([3]), chainrule.Size([3]))
    """

    def __init__(
        self, in_features, n_classes, cutoffs, div_value=4.0, head_bias=False, device=None, dtype=None
    ):  # fmt: skip
        super().__init__()
        cutoffs = list(cutoffs)
        if (
            not cutoffs
            or any(int(one) != one or not 0 < one < n_classes for one in cutoffs)
            or cutoffs != sorted(set(cutoffs))
        ):
            raise ValueError(
                f"AdaptiveLogSoftmaxWithLoss: cutoffs must be ints that rise between 0 and n_classes={n_classes}, got {cutoffs}"
            )
        self.in_features, self.n_classes, self.div_value = in_features, n_classes, div_value
        self.cutoffs, self.head_bias = [*cutoffs, n_classes], head_bias
        self.shortlist_size, self.n_clusters = cutoffs[0], len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        place = {"device": device, "dtype": dtype}
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for i in range(self.n_clusters):
            hidden = int(in_features // div_value ** (i + 1))
            size = self.cutoffs[i + 1] - self.cutoffs[i]
            self.tail.append(
                Sequential(Linear(in_features, hidden, False, **place), Linear(hidden, size, False, **place))
            )

    def reset_parameters(self):
        """Draw the parameters anew."""
        for layer in (self.head, *(one for pair in self.tail for one in pair)):
            layer.reset_parameters()

    def forward(self, input, target):
        """(N, in_features), (N) -> (output (N), loss ())"""
        tensor_of(input, "AdaptiveLogSoftmaxWithLoss")
        alone = tensor_of(target, "AdaptiveLogSoftmaxWithLoss").ndim == 0
        x, y = (input.unsqueeze(0), target.unsqueeze(0)) if alone else (input, target)
        if y.ndim != 1 or x.ndim != 2 or x.shape[0] != y.shape[0]:
            raise RuntimeError(
                f"AdaptiveLogSoftmaxWithLoss: expected (N, {self.in_features}) and (N), or one sample without N, got shapes "
                f"{tuple(input.shape)} and {tuple(target.shape)}"
            )
        if y.numel() and not (0 <= int(y.min()) and int(y.max()) < self.n_classes):
            raise RuntimeError(
                f"AdaptiveLogSoftmaxWithLoss: targets must be from 0 to {self.n_classes - 1}, got some from {int(y.min())} to "
                f"{int(y.max())}"
            )
        # The place in the head: a frequent class itself, otherwise the entry of the cluster.
        place, inside = y, zeros_like(x[:, 0])
        for i, (low, high) in enumerate(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True)):
            rows = ((y >= low) & (y < high)).nonzero().squeeze(1)
            if rows.numel():
                place = place.index_fill(0, rows, self.shortlist_size + i)
                found = F.log_softmax(self.tail[i](x.index_select(0, rows)), 1)
                chosen = found.gather(1, (y.index_select(0, rows) - low).unsqueeze(1)).squeeze(1)
                inside = inside.index_copy(0, rows, chosen)
        output = F.log_softmax(self.head(x), 1).gather(1, place.unsqueeze(1)).squeeze(1) + inside
        loss = (-output).mean()
        return _Result(output.squeeze(0) if alone else output, loss)

    def log_prob(self, input):
        """log p of every class: (N, in_features) -> (N, n_classes)"""
        head = F.log_softmax(self.head(input), 1)
        clusters = [
            F.log_softmax(layer(input), 1) + head[:, self.shortlist_size + i].unsqueeze(1)
            for i, layer in enumerate(self.tail)
        ]
        return cat([head[:, : self.shortlist_size], *clusters], 1)

    def predict(self, input):
        """The most probable class: (N, in_features) -> (N)"""
        head = self.head(input)
        best = head.argmax(1)
        return best if bool((best < self.shortlist_size).all()) else self.log_prob(input).argmax(1)
