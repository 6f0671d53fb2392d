"""Recurrent layers: a state carried from step to step, h[t] = f(x[t], h[t-1]).

`RNN`, `LSTM` and `GRU` run over whole sequences, in several layers and both directions. All steps of a layer are one operation
of the graph, whose gradient is backpropagation through time (`autograd/ops/recurrence.py`). One step of one layer, for loops
written by hand, is in `recurrent_cells.py`.
"""

import math
import warnings

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty
from chainrule.autograd.functions.shape import unsqueeze

from . import init
from .functional import recurrent as F
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, checked_packed


class RNNBase(Module):
    """What RNN, LSTM and GRU share; `mode` is "RNN_TANH", "RNN_RELU", "LSTM" or "GRU"."""

    def __init__(
        self, mode, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_arguments(dropout)
        for layer in range(num_layers):
            for name, shape in self._shapes(layer):
                self.register_parameter(name, Parameter(empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _check_arguments(self, dropout):
        name = type(self).__name__
        for what in ("bias", "batch_first"):
            if not isinstance(getattr(self, what), bool):
                raise TypeError(f"{name}: {what} must be True or False, got {getattr(self, what)!r}")
        for what in ("input_size", "hidden_size", "num_layers"):
            if not isinstance(getattr(self, what), int):
                raise TypeError(f"{name}: {what} must be an int, got {getattr(self, what)!r}")
            if getattr(self, what) < 1:
                raise ValueError(f"{name}: {what} must be greater than 0, got {getattr(self, what)!r}")
        if isinstance(dropout, bool) or not 0 <= self.dropout <= 1:
            raise ValueError(f"{name}: dropout must be a probability, between 0 and 1, got {dropout!r}")
        if not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(
                f"{name}: proj_size must be at least 0 and smaller than hidden_size ({self.hidden_size}), got {self.proj_size}"
            )
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"{name}: dropout acts between layers, so dropout={self.dropout} does nothing with num_layers=1",
                stacklevel=4,
            )

    @property
    def _directions(self):
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _output_size(self):
        return self.proj_size or self.hidden_size

    def _names(self, layer, suffix):
        """The names of one layer's and direction's weights, None for those this layer does without."""
        end = f"_l{layer}{suffix}"
        biases = (f"bias_ih{end}", f"bias_hh{end}") if self.bias else (None, None)
        return (f"weight_ih{end}", f"weight_hh{end}", *biases, f"weight_hr{end}" if self.proj_size else None)

    def _shapes(self, layer):
        """(name, shape) of every parameter of one layer."""
        rows, size = F.GATES[self.mode] * self.hidden_size, self._output_size
        inputs = size * len(self._directions) if layer else self.input_size
        shapes = ((rows, inputs), (rows, size), (rows,), (rows,), (size, self.hidden_size))
        for suffix in self._directions:
            yield from (
                (name, shape) for name, shape in zip(self._names(layer, suffix), shapes, strict=True) if name
            )

    @property
    def all_weights(self):
        """For each layer and direction, the list of its parameters."""
        return [[one for one in mine if one is not None] for mine in self._weights()]

    def _weights(self):
        """For each layer and direction, w_ih, w_hh, b_ih, b_hh and w_hr, None for those it does without."""
        return [
            [None if name is None else getattr(self, name) for name in self._names(layer, suffix)]
            for layer in range(self.num_layers)
            for suffix in self._directions
        ]

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self):
        """Nothing to do here, for scripts that call it."""

    def forward(self, input, hx=None):
        """(L, N, input_size) and initial states -> (L, N, directions * H) and the last states; see the class."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        name = type(self).__name__
        if tensor_of(input, name).ndim not in (2, 3):
            raise ValueError(
                f"{name}: expected a 2-d (unbatched) or 3-d input, got shape {tuple(input.shape)}"
            )
        batched = input.ndim == 3
        if not batched:
            input = unsqueeze(input, 1)
            hx = None if hx is None else self._given([unsqueeze(one, 1) for one in self._states(hx, 2)])
        elif self.batch_first:
            input = input.transpose(0, 1)
        length, count, features = input.shape
        if length == 0:
            raise RuntimeError(
                f"{name}: the sequences must have at least one step, got input of shape {tuple(input.shape)}"
            )
        rows, states = self._run(input.reshape((length * count, features)), (count,) * length, hx)
        output = rows.reshape((length, count, rows.shape[1]))
        if not batched:
            return output.squeeze(1), self._given([one.squeeze(1) for one in states])
        return output.transpose(0, 1) if self.batch_first else output, self._given(states)

    def _forward_packed(self, packed, hx):
        data, batch_sizes, order, restore = checked_packed(packed, type(self).__name__)
        if hx is not None and order is not None:
            hx = self._given([one.index_select(1, order) for one in self._states(hx, 3)])
        rows, states = self._run(data, tuple(batch_sizes.tolist()), hx)
        if restore is not None:
            states = [one.index_select(1, restore) for one in states]
        return PackedSequence(rows, batch_sizes, order, restore), self._given(states)

    def _given(self, states):
        """The states as they are given to and by the user: a pair for the LSTM, a single Tensor otherwise."""
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _states(self, hx, ndim):
        """The given states as a tuple, if they are as many and of as many dimensions as they should be."""
        name = type(self).__name__
        if self.mode == "LSTM" and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"{name}: hx must be the pair (h_0, c_0), got {type(hx).__name__}")
        states = tuple(hx) if self.mode == "LSTM" else (hx,)
        for one in states:
            if one.ndim != ndim:
                kind = "batched (3-d)" if ndim == 3 else "unbatched (2-d)"
                raise RuntimeError(
                    f"{name}: for {kind} input hx should also be {ndim}-d, got {one.ndim}-d of shape {tuple(one.shape)}"
                )
        return states

    def _run(self, rows, sizes, hx):
        """Check the shapes, fill in zeros for missing initial states, and compute."""
        name, stacked = type(self).__name__, self.num_layers * len(self._directions)
        if rows.shape[1] != self.input_size:
            raise RuntimeError(
                f"{name}: input.size(-1) must be input_size ({self.input_size}), got {rows.shape[1]}"
            )
        widths = (self._output_size, self.hidden_size) if self.mode == "LSTM" else (self._output_size,)
        shapes = [(stacked, sizes[0], width) for width in widths]
        if hx is None:
            hx = [rows.new_zeros(shape) for shape in shapes]
        else:
            hx = self._states(hx, 3)
            for what, one, shape in zip(("hidden state h_0", "cell state c_0"), hx, shapes, strict=False):
                F.check_shape(name, what, one, shape)
        dropout = self.dropout if self.training else 0.0
        return F.network(
            self.mode, rows, sizes, hx, self._weights(), bidirectional=self.bidirectional, dropout=dropout
        )

    def extra_repr(self):
        """The sizes and what differs from the defaults."""
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            text += "" if value == default else f", {name}={value}"
        return text


_DEFAULTS = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0,
    "bidirectional": False,
}


class RNN(RNNBase):
    """Simple recurrent network, h[t] = tanh(W_ih x[t] + b_ih + W_hh h[t-1] + b_hh), or ReLU for tanh. Elman (1990).

    Each layer reads the outputs of the one below; `bidirectional` adds one that runs from the end (Schuster & Paliwal 1997)
    and puts its outputs beside. `dropout` is the probability of zeroing an output between layers.

    Shape: input (L, N, input_size), or (N, L, input_size) with batch_first, or (L, input_size), or a PackedSequence;
    h_0 (layers * directions, N, hidden_size), zeros if left out -> output (L, N, directions * hidden_size), h_n like h_0.
    Parameters of layer k: `weight_ih_l{k}`, `weight_hh_l{k}`, `bias_ih_l{k}`, `bias_hh_l{k}`, and the same with `_reverse`.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> layer = nn.RNN(3, 4, num_layers=2)
    >>> output, h_n = layer(cr.ones(5, 2, 3))
    >>> output.shape, h_n.shape
    (chainrule.Size([5, 2, 4]), chainrule.Size([2, 2, 4]))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
        bidirectional=False, device=None, dtype=None,
    ):  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        mode = f"RNN_{nonlinearity.upper()}"
        super().__init__(
            mode,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory. Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    i, f, o = sigmoid(W_i x + U_i h + b_i), and f, o likewise;  g = tanh(W_g x + U_g h + b_g)
    c' = f c + i g;  h' = o tanh(c')

    With proj_size the output is h' = W_hr (o tanh(c')), of that size (Sak et al. 2014). Layers, directions and dropout
    as in `RNN`.

    Shape: input (L, N, input_size), or (N, L, input_size) with batch_first, or (L, input_size), or a PackedSequence;
    hx = (h_0, c_0), zeros if left out -> output (L, N, directions * H), (h_n, c_n); H is proj_size or else hidden_size,
    h (layers * directions, N, H), c (layers * directions, N, hidden_size).
    Parameters of layer k, rows in the order i, f, g, o: as in `RNN`, and `weight_hr_l{k}` with proj_size.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> layer = nn.LSTM(3, 4, bidirectional=True)
    >>> output, (h_n, c_n) = layer(cr.ones(5, 2, 3))
    >>> output.shape, c_n.shape
    (chainrule.Size([5, 2, 8]), chainrule.Size([2, 2, 4]))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        proj_size=0, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            "LSTM",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )


class GRU(RNNBase):
    """Gated recurrent unit. Cho et al. (2014).

    r, z = sigmoid(W_r x + b_ir + U_r h + b_hr), and z likewise;  n = tanh(W_n x + b_in + r (U_n h + b_hn))
    h' = (1 - z) n + z h

    The reset gate acts after the product U_n h, as in PyTorch; in the paper before. Layers, directions and dropout as in `RNN`.

    Shape: input (L, N, input_size), or (N, L, input_size) with batch_first, or (L, input_size), or a PackedSequence;
    h_0 (layers * directions, N, hidden_size), zeros if left out -> output (L, N, directions * hidden_size), h_n like h_0.
    Parameters of layer k, rows in the order r, z, n: as in `RNN`.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> layer = nn.GRU(3, 4, batch_first=True)
    >>> output, h_n = layer(cr.ones(2, 5, 3))
    >>> output.shape, h_n.shape
    (chainrule.Size([2, 5, 4]), chainrule.Size([1, 2, 4]))
    """

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            "GRU",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
