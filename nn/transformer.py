"""The Transformer: layers of attention and of a small network at each position. Vaswani et al. (2017).

With `norm_first` what is added to the stream is computed from its normalized values, else the sum is normalized: Xiong et al.
(2020), "On layer normalization in the Transformer architecture", on what that changes.
"""

import copy

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import full
from chainrule.autograd.ops import triu

from . import functional as F
from . import init
from .attention import MultiheadAttention
from .container import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm


def _activation(name):
    if callable(name):
        return name
    if name not in ("relu", "gelu"):
        raise RuntimeError(f"activation must be 'relu', 'gelu' or a function, got {name!r}")
    return getattr(F, name)


class TransformerEncoderLayer(Module):
    """x + attention(x, x, x), then x + W2 f(W1 x), each normalized after the sum or, with `norm_first`, inside it.

    Shape: (S, N, E), or (N, S, E) if `batch_first`, or (S, E) -> the same. Masks as in MultiheadAttention.
    Initial law: that of its parts.

    >>> nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)(cr.ones(5, 3, 8)).shape
    chainrule.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model,
        nhead,
        dim_feedforward=2048,
        dropout=0.1,
        activation=F.relu,
        layer_norm_eps=1e-5,
        batch_first=False,
        norm_first=False,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        made = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made)
        self.linear1 = Linear(d_model, dim_feedforward, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **made)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **made)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **made)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """(S, N, E) -> (S, N, E)"""

        def attend(x):
            return self.dropout1(
                self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
            )

        def feed(x):
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        return _in_turn(src, self.norm_first, (attend, self.norm1), (feed, self.norm2))


class TransformerDecoderLayer(Module):
    """As TransformerEncoderLayer, with attention to a `memory` between the two steps.

    Shape: (T, N, E) and memory (S, N, E), or N first if `batch_first`, or without N -> (T, N, E). Masks as in MultiheadAttention.
    Initial law: that of its parts.

    >>> nn.TransformerDecoderLayer(8, 2, dim_feedforward=16)(cr.ones(5, 3, 8), cr.ones(4, 3, 8)).shape
    chainrule.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model,
        nhead,
        dim_feedforward=2048,
        dropout=0.1,
        activation=F.relu,
        layer_norm_eps=1e-5,
        batch_first=False,
        norm_first=False,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        made = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made)
        self.multihead_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **made)
        self.linear1 = Linear(d_model, dim_feedforward, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **made)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, eps=layer_norm_eps, **made)
        self.norm2 = LayerNorm(d_model, eps=layer_norm_eps, **made)
        self.norm3 = LayerNorm(d_model, eps=layer_norm_eps, **made)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=False,
        memory_is_causal=False,
    ):
        """(T, N, E), (S, N, E) -> (T, N, E)"""

        def attend(x):
            return self.dropout1(
                self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]
            )

        def remember(x):
            found = self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )
            return self.dropout2(found[0])

        def feed(x):
            return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        steps = (attend, self.norm1), (remember, self.norm2), (feed, self.norm3)
        return _in_turn(tgt, self.norm_first, *steps)


def _in_turn(x, norm_first, *steps):
    """x plus what each step makes of it, one step after the other, with the norm of the step inside or after the sum."""
    for step, norm in steps:
        x = x + step(norm(x)) if norm_first else norm(x + step(x))
    return x


class TransformerEncoder(Module):
    """Copies of an encoder layer one after the other, and a `norm` at the end if there is one.

    Shape: that of the layer. `enable_nested_tensor` and `mask_check` are taken for PyTorch's sake.
    Initial law: every copy starts with the weights of the layer given.

    >>> nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2)(cr.ones(5, 3, 8)).shape
    chainrule.Size([5, 3, 8])
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        """(S, N, E) -> (S, N, E)"""
        for layer in self.layers:
            src = layer(
                src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal)
            )
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a decoder layer one after the other, all with one memory, and a `norm` at the end if there is one.

    Shape: that of the layer.
    Initial law: every copy starts with the weights of the layer given.

    >>> nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16), 2)(cr.ones(5, 3, 8), cr.ones(4, 3, 8)).shape
    chainrule.Size([5, 3, 8])
    """

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(decoder_layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt,
        memory,
        tgt_mask=None,
        memory_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        tgt_is_causal=None,
        memory_is_causal=False,
    ):
        """(T, N, E), (S, N, E) -> (T, N, E)"""
        for layer in self.layers:
            tgt = layer(
                tgt,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of the source and a decoder of the target, which attends to what the encoder made.

    Shape: src (S, N, E) and tgt (T, N, E), or N first if `batch_first`, or without N -> (T, N, E).
    Initial law: all weights of two dimensions or more Glorot uniform.

    >>> nn.Transformer(8, 2, 1, 1, 16)(cr.ones(4, 3, 8), cr.ones(5, 3, 8)).shape
    chainrule.Size([5, 3, 8])
    """

    def __init__(
        self,
        d_model=512,
        nhead=8,
        num_encoder_layers=6,
        num_decoder_layers=6,
        dim_feedforward=2048,
        dropout=0.1,
        activation=F.relu,
        custom_encoder=None,
        custom_decoder=None,
        layer_norm_eps=1e-5,
        batch_first=False,
        norm_first=False,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        layer = (
            d_model,
            nhead,
            dim_feedforward,
            dropout,
            activation,
            layer_norm_eps,
            batch_first,
            norm_first,
        )
        made = {"bias": bias, "device": device, "dtype": dtype}

        def norm():
            return LayerNorm(d_model, eps=layer_norm_eps, **made)

        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*layer, **made), num_encoder_layers, norm()
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*layer, **made), num_decoder_layers, norm()
        )
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src,
        tgt,
        src_mask=None,
        tgt_mask=None,
        memory_mask=None,
        src_key_padding_mask=None,
        tgt_key_padding_mask=None,
        memory_key_padding_mask=None,
        src_is_causal=None,
        tgt_is_causal=None,
        memory_is_causal=False,
    ):
        """(S, N, E), (T, N, E) -> (T, N, E)"""
        batch = 0 if self.batch_first else 1
        src, tgt = tensor_of(src, "Transformer"), tensor_of(tgt, "Transformer")
        features = (src.shape[-1], tgt.shape[-1]) == (self.d_model, self.d_model)
        if not features or (src.ndim == 3 and src.shape[batch] != tgt.shape[batch]):
            raise RuntimeError(
                f"Transformer: expected src and tgt of one batch with {self.d_model} features, got shapes {tuple(src.shape)} and "
                f"{tuple(tgt.shape)}"
            )
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """(sz, sz) with 0 where position i meets 0 to i, else -inf: the mask that hides the future."""
        return triu(full((sz, sz), -float("inf"), device=device, dtype=dtype), k=1)
