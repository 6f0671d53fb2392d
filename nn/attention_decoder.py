"""Sequence to sequence: an encoder reads symbols, a decoder writes others, with or without attention to what was read."""

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import arange, as_tensor, empty
from chainrule.autograd.functions.shape import cat, stack

from . import functional as F
from .embedding import Embedding
from .linear import Linear
from .module import Module
from .parameter import Parameter
from .recurrent import GRU
from .recurrent_cells import GRUCell
from .utils import rnn
from .utils.decoding import beam_search, greedy_search


class _Attention(Module):
    """Weights for S keys, softmax of their scores, and the mean of the values with these weights."""

    def forward(self, query, keys, values=None, mask=None):
        """query (N, Q), keys (N, S, K), values (N, S, V) or the keys, mask (N, S) True for what may be seen -> (N, V), weights (N, S)"""
        scores = self.scores(query, keys)
        if mask is not None:
            scores = scores.masked_fill(~mask, -float("inf"))
        weights = F.softmax(scores, dim=1)
        mean = weights.unsqueeze(1) @ (keys if values is None else values)
        return mean.squeeze(1), weights


class AdditiveAttention(_Attention):
    """Attention by the score v^T tanh(W q + U k). Bahdanau et al. (2015).

    Shape: query (N, query_size), keys (N, S, key_size), values (N, S, V) or the keys, mask (N, S) -> mean (N, V), weights (N, S).
    Parameters: `query.weight` W, `key.weight` U, both with hidden_size rows, and `score` v.
    Initial law: that of Linear.

    >>> mean, weights = nn.AdditiveAttention(3, 4, 5)(cr.ones(2, 3), cr.ones(2, 6, 4))
    >>> mean.shape, weights.shape
    (chainrule.Size([2, 4]), chainrule.Size([2, 6]))
    """

    def __init__(self, query_size, key_size, hidden_size, device=None, dtype=None):
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.query = Linear(query_size, hidden_size, bias=False, **place)
        self.key = Linear(key_size, hidden_size, bias=False, **place)
        self.score = Parameter(empty(hidden_size, **place))
        bound = hidden_size**-0.5
        self.score.detach().uniform_(-bound, bound)

    def scores(self, query, keys):
        """(N, query_size), (N, S, key_size) -> (N, S)"""
        return F.tanh(self.query(query).unsqueeze(1) + self.key(keys)) @ self.score


class DotProductAttention(_Attention):
    """Attention by the score scale q . k. Luong et al. (2015); with scale = 1 / sqrt(K) Vaswani et al. (2017).

    Shape: query (N, K), keys (N, S, K), values (N, S, V) or the keys, mask (N, S) -> mean (N, V), weights (N, S).

    >>> mean, weights = nn.DotProductAttention()(cr.tensor([[1.0]]), cr.tensor([[[1.0], [2.0], [3.0]]]))
    >>> [round(one, 3) for one in weights[0].tolist()]
    [0.09, 0.245, 0.665]
    """

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def scores(self, query, keys):
        """(N, K), (N, S, K) -> (N, S)"""
        return (keys @ tensor_of(query, "DotProductAttention").unsqueeze(2)).squeeze(2) * self.scale

    def extra_repr(self):
        return f"scale={self.scale}"


class Seq2Seq(Module):
    """From one sequence of symbols to another: a GRU reads the source, another starts where it ended and writes the target.

    The decoder is fed the symbol before, at first `start`, and goes on until it writes `stop`. Cho et al. (2014), Sutskever et al.
    (2014). attention: None; "additive" or "dot": each step also sees a mean of the encoder's outputs, weighted by its state
    (Bahdanau et al. 2015, Luong et al. 2015).
    Shape: source (N, S) and target (N, T) of symbols -> logits (N, T, target_size) for each symbol of the target, given those before.
    Train with CrossEntropyLoss of these and a target that ends in `stop`; write with `generate`.

    >>> model = nn.Seq2Seq(10, 12, 8, attention="additive")
    >>> model(cr.zeros(2, 5, dtype=cr.int64), cr.zeros(2, 4, dtype=cr.int64)).shape
    chainrule.Size([2, 4, 12])
    >>> len(model.generate(cr.zeros(2, 5, dtype=cr.int64), max_length=3))
    2
    """

    def __init__(
        self, source_size, target_size, hidden_size, *, embedding_size=None, attention=None, start=0, stop=1, device=None, dtype=None
    ):  # fmt: skip
        super().__init__()
        if attention not in (None, "additive", "dot"):
            raise ValueError(f"Seq2Seq: attention must be None, 'additive' or 'dot', got {attention!r}")
        place = {"device": device, "dtype": dtype}
        embedded = hidden_size if embedding_size is None else embedding_size
        seen = hidden_size if attention else 0
        self.start, self.stop, self.target_size = start, stop, target_size
        self.source_embedding = Embedding(source_size, embedded, **place)
        self.target_embedding = Embedding(target_size, embedded, **place)
        self.encoder = GRU(embedded, hidden_size, batch_first=True, **place)
        self.decoder = GRUCell(embedded + seen, hidden_size, **place)
        self.attention = None
        if attention == "additive":
            self.attention = AdditiveAttention(hidden_size, hidden_size, hidden_size, **place)
        elif attention == "dot":
            self.attention = DotProductAttention()
        self.output = Linear(hidden_size + seen, target_size, **place)

    def encode(self, source, lengths=None):
        """(N, S), (N) -> what `step` starts from: the last state (N, H), the outputs (N, S, H), which of them count (N, S) or None"""
        x = self.source_embedding(source)
        if lengths is None:
            outputs, h = self.encoder(x)
            return h.squeeze(0), outputs, None
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        packed, h = self.encoder(packed)
        outputs, _ = rnn.pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        ends = as_tensor(lengths).to(source.device).unsqueeze(1)
        return h.squeeze(0), outputs, arange(source.shape[1], device=source.device) < ends

    def step(self, symbols, state):
        """(N), state -> logits (N, target_size), attention weights (N, S) or None, the new state"""
        h, outputs, mask = state
        x, weights = self.target_embedding(symbols), None
        if self.attention is None:
            h = self.decoder(x, h)
            return self.output(h), None, (h, outputs, mask)
        mean, weights = self.attention(h, outputs, mask=mask)
        h = self.decoder(cat([x, mean], 1), h)
        return self.output(cat([h, mean], 1)), weights, (h, outputs, mask)

    def forward(self, source, target, source_lengths=None, return_weights=False):
        """(N, S), (N, T) -> (N, T, target_size); with return_weights also the attention (N, T, S), the alignment of the two"""
        state = self.encode(source, source_lengths)
        symbols, logits, weights = source.new_full((source.shape[0],), self.start), [], []
        for following in target.unbind(1):
            now, seen, state = self.step(symbols, state)
            logits.append(now)
            weights.append(seen)
            symbols = following
        logits = stack(logits, 1)
        return (logits, None if self.attention is None else stack(weights, 1)) if return_weights else logits

    def generate(self, source, lengths=None, max_length=50, beam_width=1, length_penalty=0.0):
        """The target symbols of each source, as a list of lists without `stop`: greedily, or the best of a beam of `beam_width`"""
        state = self.encode(source, lengths)

        def following(symbols, state):
            logits, _, state = self.step(symbols, state)
            return F.log_softmax(logits, dim=1), state

        device = source.device
        if beam_width == 1:
            return greedy_search(following, state, self.start, self.stop, source.shape[0], max_length, device)
        found = []
        for i in range(source.shape[0]):
            own = tuple(None if one is None else one[i : i + 1] for one in state)
            best = beam_search(
                following, own, self.start, self.stop, max_length, beam_width, length_penalty, device
            )
            found.append(best[0][0])
        return found
