"""Recurrent layers from the literature that PyTorch lacks, each written as one step that a loop runs over the sequence.

Every class says what its states are, how the input enters, and one step. Shapes are those of `nn.RNN` with one layer and one direction:
input (L, N, input_size), or (N, L, input_size) with batch_first, or (L, input_size); states (1, N, H), zeros if left out -> output (L, N, *)
and the last states, a Tensor if there is one, a tuple if there are several. The derivatives are those of the loop.
"""

import math

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty, tensor
from chainrule.autograd.functions.shape import cat, stack

from . import functional as F
from . import init
from .functional.recurrent import check_shape
from .module import Module
from .parameter import Parameter

ACTIVATIONS = {
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "relu": F.relu,
    "identity": lambda x: x,
    "step": lambda x: (x > 0).to(x.dtype),  # 1 for positive numbers, else 0; no gradient
}


def _activation(layer, what, value):
    if value not in ACTIVATIONS:
        raise ValueError(
            f"{type(layer).__name__}: {what} must be one of {', '.join(ACTIVATIONS)}, got {value!r}"
        )
    return value


class Unrolled(Module):
    """What these layers share. A subclass sets `widths`, the sizes of its states, and defines `project` and `step`.

    Initial law: every parameter uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
    """

    widths = ()

    def __init__(self, input_size, hidden_size, batch_first):
        super().__init__()
        for what, size in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{type(self).__name__}: {what} must be a positive int, got {size!r}")
        self.input_size, self.hidden_size, self.batch_first = input_size, hidden_size, batch_first

    def _parameters_of(self, shapes, device, dtype):
        """Register a Parameter of each shape, None for those this layer does without, and draw them."""
        for name, shape in shapes.items():
            one = None if shape is None else Parameter(empty(shape, device=device, dtype=dtype))
            self.register_parameter(name, one)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for one in self.parameters():
            init.uniform_(one, -bound, bound)

    def project(self, input):
        """What every step takes of the input, for all steps at once: (L, N, input_size) -> (L, N, *)"""
        raise NotImplementedError

    def step(self, x, states, t):
        """One step: the projected input (N, *), the states (N, H) and the time -> (output (N, *), new states)"""
        raise NotImplementedError

    def forward(self, input, hx=None, time=0):
        """(L, N, input_size), states (1, N, H) -> output (L, N, *), last states. time: that of the first step."""
        name = type(self).__name__
        if tensor_of(input, name).ndim not in (2, 3) or input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: expected an input (L, N, {self.input_size}) or (L, {self.input_size}), got shape {tuple(input.shape)}"
            )
        alone = input.ndim == 2
        x = input.unsqueeze(1) if alone else input.transpose(0, 1) if self.batch_first else input
        if not x.shape[0]:
            raise RuntimeError(
                f"{name}: the sequences must have at least one step, got shape {tuple(input.shape)}"
            )
        states = self._initial(x, hx, alone)
        outputs = []
        for t, now in enumerate(self.project(x).unbind(0)):
            output, states = self.step(now, states, time + t)
            outputs.append(output)
        output = stack(outputs)
        if alone:
            output = output.squeeze(1)
        elif self.batch_first:
            output = output.transpose(0, 1)
        states = tuple(one if alone else one.unsqueeze(0) for one in states)
        return output, states if len(states) > 1 else states[0]

    def _initial(self, x, hx, alone):
        count = x.shape[1]
        if hx is None:
            return tuple(x.new_zeros((count, width)) for width in self.widths)
        given = hx if isinstance(hx, (tuple, list)) else (hx,)
        if len(given) != len(self.widths):
            raise TypeError(
                f"{type(self).__name__}: expected {len(self.widths)} initial states, got {len(given)}"
            )
        for one, width in zip(given, self.widths, strict=True):
            check_shape(
                type(self).__name__, "an initial state", one, (1, width) if alone else (1, count, width)
            )
        return tuple(one if alone else one.squeeze(0) for one in given)

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}" + (", batch_first=True" if self.batch_first else "")


class LSTMVariant(Unrolled):
    """The long short-term memory in the forms of the literature; as it is by default, that of `nn.LSTM` with one bias.

    i, f, o = gate(W x + U h + P c + b), each with its own;  z = activation(W_z x + U_z h + b_z)
    c' = f c + i z;  h' = o activation(c')

    feedback=False: no U, the gates see the input only. peephole, what gates see of the memory: None; "diagonal", each its own cell's,
    the output gate's c' instead of c (Gers & Schmidhuber 2000); "gates", matrices P; "full", also for the candidate z.
    forget_gate=False: f = 1, the first form (Hochreiter & Schmidhuber 1997). coupled=True: f = 1 - i (Greff et al. 2017).
    forget_bias: what the forget gate's bias starts at; 1 or more keeps the memory at first (Gers et al. 2000, Jozefowicz et al.
    2015). gate and activation: names in `nn.unrolled.ACTIVATIONS`.

    Shape: as `nn.LSTM` -> output (L, N, hidden_size), (h_n, c_n). Parameters, rows in the order i, f, z, o without those that are
    not there: `weight_ih`, `weight_hh`, `bias`, `weight_ch` (rows, hidden_size), or for "diagonal" (gates, hidden_size).
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> layer = nn.LSTMVariant(3, 4, peephole="diagonal", coupled=True)
    >>> output, (h_n, c_n) = layer(cr.ones(5, 2, 3))
    >>> output.shape, c_n.shape
    (chainrule.Size([5, 2, 4]), chainrule.Size([1, 2, 4]))
    """

    def __init__(
        self, input_size, hidden_size, *, feedback=True, peephole=None, forget_gate=True, coupled=False, forget_bias=None,
        gate="sigmoid", activation="tanh", bias=True, batch_first=False, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, batch_first)
        if peephole not in (None, "diagonal", "gates", "full"):
            raise ValueError(
                f"LSTMVariant: peephole must be None, 'diagonal', 'gates' or 'full', got {peephole!r}"
            )
        self.parts = ["i", "f", "z", "o"] if forget_gate and not coupled else ["i", "z", "o"]
        if forget_bias is not None and not (bias and "f" in self.parts):
            raise ValueError("LSTMVariant: forget_bias needs a forget gate of its own, and bias=True")
        self.feedback, self.peephole, self.coupled = feedback, peephole, coupled
        self.forget_bias = forget_bias
        self.gate, self.activation = (
            _activation(self, "gate", gate),
            _activation(self, "activation", activation),
        )
        self.widths = (hidden_size, hidden_size)
        rows, gates = len(self.parts) * hidden_size, len(self.parts) - 1
        seen = {None: None, "diagonal": gates, "gates": gates * hidden_size, "full": rows}[peephole]
        shapes = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size) if feedback else None,
            "weight_ch": (seen, hidden_size) if peephole else None,
            "bias": (rows,) if bias else None,
        }
        self._parameters_of(shapes, device, dtype)

    def reset_parameters(self):
        """Draw the parameters anew."""
        super().reset_parameters()
        if self.forget_bias is not None:
            init.constant_(self.bias.detach()[self.hidden_size : 2 * self.hidden_size], self.forget_bias)

    def project(self, input):
        """(L, N, input_size) -> (L, N, rows)"""
        return F.linear(input, self.weight_ih, self.bias)

    def step(self, x, states, t):
        """(N, rows), (h, c) -> h', (h', c')"""
        h, c = states
        if self.feedback:
            x = x + F.linear(h, self.weight_hh)
        before = dict(zip(self.parts, x.chunk(len(self.parts), 1), strict=True))
        peeks = dict.fromkeys(self.parts, 0)
        if self.peephole == "diagonal":
            names = [part for part in self.parts if part != "z"]
            peeks.update(zip(names, self.weight_ch, strict=True))
            peeks.update((name, peeks[name] * c) for name in names if name != "o")
        elif self.peephole:
            names = [part for part in self.parts if part != "z" or self.peephole == "full"]
            peeks.update(zip(names, F.linear(c, self.weight_ch).chunk(len(names), 1), strict=True))
        gate, activation = ACTIVATIONS[self.gate], ACTIVATIONS[self.activation]
        i = gate(before["i"] + peeks["i"])
        z = activation(before["z"] + peeks["z"])
        if "f" in before:
            kept = gate(before["f"] + peeks["f"]) * c
        else:
            kept = (1 - i) * c if self.coupled else c
        c = kept + i * z
        o = gate(before["o"] + (peeks["o"] * c if self.peephole == "diagonal" else peeks["o"]))
        h = o * activation(c)
        return h, (h, c)

    def extra_repr(self):
        text = super().extra_repr()
        for what, default in (
            ("feedback", True),
            ("peephole", None),
            ("coupled", False),
            ("gate", "sigmoid"),
            ("activation", "tanh"),
        ):
            value = getattr(self, what)
            text += "" if value == default else f", {what}={value!r}"
        return text + ("" if "f" in self.parts or self.coupled else ", forget_gate=False")


class JordanRNN(Unrolled):
    """The output fed back in place of the hidden state: h = f(W_ih x + W_yh y + b_h), y' = g(W_hy h + b_y). Jordan (1986).

    Shape: as `nn.RNN`, with the state y (1, N, output_size) -> output (L, N, output_size), y_n.
    Parameters: `weight_ih` (H, input_size), `weight_yh` (H, output_size), `bias_h`, `weight_hy` (output_size, H), `bias_y`.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> output, y_n = nn.JordanRNN(3, 4, 2)(cr.ones(5, 2, 3))
    >>> output.shape, y_n.shape
    (chainrule.Size([5, 2, 2]), chainrule.Size([1, 2, 2]))
    """

    def __init__(
        self, input_size, hidden_size, output_size, nonlinearity="tanh", output_nonlinearity="tanh", bias=True,
        batch_first=False, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, batch_first)
        self.output_size, self.widths = output_size, (output_size,)
        self.nonlinearity = _activation(self, "nonlinearity", nonlinearity)
        self.output_nonlinearity = _activation(self, "output_nonlinearity", output_nonlinearity)
        shapes = {
            "weight_ih": (hidden_size, input_size),
            "weight_yh": (hidden_size, output_size),
            "weight_hy": (output_size, hidden_size),
            "bias_h": (hidden_size,) if bias else None,
            "bias_y": (output_size,) if bias else None,
        }
        self._parameters_of(shapes, device, dtype)

    def project(self, input):
        """(L, N, input_size) -> (L, N, hidden_size)"""
        return F.linear(input, self.weight_ih, self.bias_h)

    def step(self, x, states, t):
        """(N, hidden_size), (y,) -> y', (y',)"""
        h = ACTIVATIONS[self.nonlinearity](x + F.linear(states[0], self.weight_yh))
        y = ACTIVATIONS[self.output_nonlinearity](F.linear(h, self.weight_hy, self.bias_y))
        return y, (y,)

    def extra_repr(self):
        return (
            f"{self.input_size}, {self.hidden_size}, {self.output_size}, nonlinearity={self.nonlinearity!r}, "
            f"output_nonlinearity={self.output_nonlinearity!r}"
        )


class ClockworkRNN(Unrolled):
    """A simple recurrent layer in modules that tick at their own periods: module k moves when t is a multiple of T_k.

    h' = tanh(W x + U h + b) for the modules that tick, h for the others. A module sees itself and the slower ones, so U is upper
    block-triangular. Koutnik et al. (2014), "A clockwork RNN".

    periods: T_k for each module, rising, as many units each. Shape: as `nn.RNN`; forward takes `time`, that of the first step, so that a
    sequence can come in parts. Parameters: `weight_ih`, `weight_hh` (whose lower blocks are not used), `bias`.
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> output, h_n = nn.ClockworkRNN(3, 8, periods=(1, 2, 4, 8))(cr.ones(5, 2, 3))
    >>> bool((output[3, :, 4:] == output[0, :, 4:]).all())
    True
    """

    def __init__(
        self, input_size, hidden_size, periods=(1, 2, 4, 8), nonlinearity="tanh", bias=True, batch_first=False, device=None, dtype=None
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, batch_first)
        self.periods, self.widths = tuple(periods), (hidden_size,)
        if not self.periods or sorted(set(self.periods)) != list(self.periods) or self.periods[0] < 1:
            raise ValueError(f"ClockworkRNN: periods must be positive ints that rise, got {self.periods}")
        if hidden_size % len(self.periods):
            raise ValueError(
                f"ClockworkRNN: hidden_size={hidden_size} must be divisible by the number of modules, {len(self.periods)}"
            )
        self.nonlinearity = _activation(self, "nonlinearity", nonlinearity)
        clock = tensor(self.periods, device=device).repeat_interleave(hidden_size // len(self.periods))
        self.register_buffer("clock", clock, persistent=False)  # the period of each unit
        shapes = {
            "weight_ih": (hidden_size, input_size),
            "weight_hh": (hidden_size, hidden_size),
            "bias": (hidden_size,) if bias else None,
        }
        self._parameters_of(shapes, device, dtype)

    @property
    def recurrent_weight(self):
        """U: `weight_hh` with zeros where a module would see a faster one."""
        return self.weight_hh.masked_fill(self.clock < self.clock.unsqueeze(1), 0)

    def project(self, input):
        """(L, N, input_size) -> (L, N, hidden_size)"""
        return F.linear(input, self.weight_ih, self.bias)

    def step(self, x, states, t):
        """(N, hidden_size), (h,) -> h', (h',)"""
        (h,) = states
        moved = ACTIVATIONS[self.nonlinearity](x + F.linear(h, self.recurrent_weight))
        h = moved.where(t % self.clock == 0, h)
        return h, (h,)

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}, periods={self.periods}"


class SCRN(Unrolled):
    """A simple recurrent layer beside a slow context: s' = (1 - alpha) B x + alpha s, h' = sigmoid(P s' + A x + R h).

    Mikolov et al. (2014), "Learning longer memory in recurrent neural networks". The paper's output f(U h + V s) is a Linear layer on
    this one's output, which is h and s side by side.
    Shape: as `nn.RNN`, with the states (h, s) -> output (L, N, hidden_size + context_size), (h_n, s_n).
    Parameters: `weight_ih` (A), `weight_hh` (R), `weight_sh` (P), `weight_is` (B).
    Initial law: all uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size)).

    >>> output, (h_n, s_n) = nn.SCRN(3, 4, 2)(cr.ones(5, 2, 3))
    >>> output.shape, s_n.shape
    (chainrule.Size([5, 2, 6]), chainrule.Size([1, 2, 2]))
    """

    def __init__(
        self, input_size, hidden_size, context_size, alpha=0.95, batch_first=False, device=None, dtype=None
    ):
        super().__init__(input_size, hidden_size, batch_first)
        if not 0 <= alpha <= 1:
            raise ValueError(f"SCRN: alpha must be between 0 and 1, got {alpha}")
        self.context_size, self.alpha, self.widths = context_size, alpha, (hidden_size, context_size)
        shapes = {
            "weight_ih": (hidden_size, input_size),
            "weight_hh": (hidden_size, hidden_size),
            "weight_sh": (hidden_size, context_size),
            "weight_is": (context_size, input_size),
        }
        self._parameters_of(shapes, device, dtype)

    def project(self, input):
        """(L, N, input_size) -> (L, N, hidden_size + context_size)"""
        return F.linear(input, cat([self.weight_ih, (1 - self.alpha) * self.weight_is]))

    def step(self, x, states, t):
        """(N, hidden_size + context_size), (h, s) -> the new ones side by side, (h', s')"""
        h, s = states
        for_h, for_s = x.split([self.hidden_size, self.context_size], 1)
        s = for_s + self.alpha * s
        h = F.sigmoid(for_h + F.linear(s, self.weight_sh) + F.linear(h, self.weight_hh))
        return cat([h, s], 1), (h, s)

    def extra_repr(self):
        return f"{self.input_size}, {self.hidden_size}, {self.context_size}, alpha={self.alpha}"
