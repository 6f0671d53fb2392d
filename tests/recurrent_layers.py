"""Recurrent layers that are always the same, and what the tests of them share."""

import numpy as np

import chainrule as cr
from chainrule.nn.recurrent import GRU, LSTM, RNN
from chainrule.nn.recurrent_cells import GRUCell, LSTMCell, RNNCell

KINDS = {
    "rnn-tanh": (RNN, {}),
    "rnn-relu": (RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, {}),
    "gru": (GRU, {}),
    "lstm-projected": (LSTM, {"proj_size": 3}),
}
CELLS = {"rnn-tanh": RNNCell, "rnn-relu": RNNCell, "lstm": LSTMCell, "gru": GRUCell}


def double(array):
    return cr.tensor(np.asarray(array, np.float64))


def random(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def made(kind, **options):
    """A layer in float64 with weights that are always the same."""
    cls, own = KINDS[kind]
    cr.manual_seed(3)
    return cls(4, 5, **own, **options, dtype=cr.float64)


def initial(layer, count, make):
    """Random initial states of a layer's shapes."""
    lead = layer.num_layers * (2 if layer.bidirectional else 1)
    h = make(random(11, lead, count, layer.proj_size or 5))
    return (h, make(random(12, lead, count, 5))) if layer.mode == "LSTM" else h


def listed(states):
    return list(states) if isinstance(states, tuple) else [states]


def weighted(outputs):
    """One number that depends on every element of every output in its own way."""
    return sum((out * out.cos() * (1 + index)).sum() for index, out in enumerate(outputs))


def flat(result):
    """Output and states in one list."""
    output, states = result
    return [output, *listed(states)]
