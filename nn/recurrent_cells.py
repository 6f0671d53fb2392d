"""Recurrent cells: one step of one layer of a recurrent network, for loops written by hand."""

import math

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty
from chainrule.autograd.functions.shape import unsqueeze

from . import init
from .functional import recurrent as F
from .module import Module
from .parameter import Parameter


class RNNCellBase(Module):
    """What the three cells share: the parameters of one layer, `num_chunks` blocks of hidden_size rows each."""

    def __init__(self, input_size, hidden_size, bias, num_chunks, device=None, dtype=None):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty((rows, input_size), device=device, dtype=dtype))
        self.weight_hh = Parameter(empty((rows, hidden_size), device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(
                name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None
            )
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size else 0.0
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _step(self, function, input, *states):
        """`function` of the input, the states (zeros for None) and the parameters, for one sequence or a batch of them."""
        name = type(self).__name__
        if tensor_of(input, name).ndim not in (1, 2):
            raise ValueError(
                f"{name}: expected a 1-d (unbatched) or 2-d input, got shape {tuple(input.shape)}"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: input.size(-1) must be input_size ({self.input_size}), got {input.shape[-1]}"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        states = [input.new_zeros(shape) if one is None else one for one in states]
        for one in states:
            F.check_shape(name, "hidden states", one, shape)
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        hx = states[0] if len(states) == 1 else tuple(states)
        if input.ndim == 2:
            return function(input, hx, *weights)
        hx = unsqueeze(hx, 0) if len(states) == 1 else tuple(unsqueeze(one, 0) for one in hx)
        found = function(unsqueeze(input, 0), hx, *weights)
        return tuple(one.squeeze(0) for one in found) if isinstance(found, tuple) else found.squeeze(0)

    def extra_repr(self):
        """The sizes and what differs from the defaults."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class RNNCell(RNNCellBase):
    """One step h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or ReLU for tanh. Elman (1990).

    Shape: input (N, input_size) or (input_size), h (N, hidden_size) or (hidden_size), zeros if left out -> h' like h.
    Parameters: `weight_ih` (hidden_size, input_size), `weight_hh` (hidden_size, hidden_size), `bias_ih`, `bias_hh`.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> nn.RNNCell(3, 4)(cr.ones(2, 3)).shape
    chainrule.Size([2, 4])
    """

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh", device=None, dtype=None):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input, hx=None):
        """(N, input_size), (N, hidden_size) -> (N, hidden_size)"""
        return self._step(F.rnn_tanh_cell if self.nonlinearity == "tanh" else F.rnn_relu_cell, input, hx)

    def extra_repr(self):
        """The sizes and what differs from the defaults."""
        return super().extra_repr() + (
            "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        )


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`. Hochreiter & Schmidhuber (1997), Gers et al. (2000).

    Shape: input (N, input_size) or (input_size), (h, c) each (N, hidden_size) or (hidden_size), zeros if left out -> (h', c').
    Parameters: `weight_ih` (4 hidden_size, input_size), `weight_hh` (4 hidden_size, hidden_size), `bias_ih`, `bias_hh`, rows in
    the order i, f, g, o.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> h, c = nn.LSTMCell(3, 4)(cr.ones(2, 3))
    >>> h.shape, c.shape
    (chainrule.Size([2, 4]), chainrule.Size([2, 4]))
    """

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input, hx=None):
        """(N, input_size), ((N, hidden_size), (N, hidden_size)) -> the same pair, one step later"""
        if hx is not None and (not isinstance(hx, (tuple, list)) or len(hx) != 2):
            raise TypeError(f"LSTMCell: hx must be the pair (h, c), got {type(hx).__name__}")
        return self._step(F.lstm_cell, input, *((None, None) if hx is None else hx))


class GRUCell(RNNCellBase):
    """One step of a `GRU`. Cho et al. (2014).

    Shape: input (N, input_size) or (input_size), h (N, hidden_size) or (hidden_size), zeros if left out -> h' like h.
    Parameters: `weight_ih` (3 hidden_size, input_size), `weight_hh` (3 hidden_size, hidden_size), `bias_ih`, `bias_hh`, rows in
    the order r, z, n.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> nn.GRUCell(3, 4)(cr.ones(2, 3)).shape
    chainrule.Size([2, 4])
    """

    def __init__(self, input_size, hidden_size, bias=True, device=None, dtype=None):
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input, hx=None):
        """(N, input_size), (N, hidden_size) -> (N, hidden_size)"""
        return self._step(F.gru_cell, input, hx)
