"""Attention with many heads. Vaswani et al. (2017); the layers made of it are in `transformer.py`.

And the choice of how `scaled_dot_product_attention` is computed: `sdpa_kernel`.
"""

import enum

from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.creation import empty
from chainrule.autograd.ops import swapaxes
from chainrule.backends import attention_ways

from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter


class SDPBackend(enum.IntEnum):
    """Ways of computing attention; the names and numbers are PyTorch's.

    MATH: all probabilities at once, kept for the backward pass. FLASH_ATTENTION and EFFICIENT_ATTENTION, one and the same here:
    piece by piece, the probabilities computed anew in the backward pass. CUDNN_ATTENTION: likewise, by cuDNN.
    """

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3


_WAYS = {
    SDPBackend.MATH: "math",
    SDPBackend.FLASH_ATTENTION: "flash",
    SDPBackend.EFFICIENT_ATTENTION: "flash",
    SDPBackend.CUDNN_ATTENTION: "cudnn",
}


def sdpa_kernel(backends, set_priority=False):
    """A context in which attention is computed in one of these ways alone: an SDPBackend, or a list of them.

    Without it cuDNN computes what it can; the rest is computed in pieces, or on the CPU, where that is faster, at once. That order does
    not change, so set_priority has no effect. RuntimeError by an attention that none of them takes. It holds for this thread, and
    for a backward pass inside of it.

    >>> with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):
    ...     y = nn.functional.scaled_dot_product_attention(cr.ones(3, 4), cr.ones(5, 4), cr.ones(5, 4))
    """
    given = [backends] if isinstance(backends, SDPBackend) else backends
    if not isinstance(given, (list, tuple)) or any(one not in _WAYS for one in given):
        raise TypeError(
            f"sdpa_kernel: expected an SDPBackend or a list of them (without ERROR), got {backends!r}"
        )
    return attention_ways.only(_WAYS[one] for one in given)


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces of E / H features each, joined by a linear map. Vaswani et al. (2017), section 3.2.2.

    Shape: query (L, N, E), key (S, N, kdim), value (S, N, vdim), all also without N, or with N first if `batch_first` -> output
    (L, N, E) and the probabilities, averaged over the heads, (N, L, S), or None with need_weights=False.
    Initial law: the projections' weights Glorot uniform, their biases 0, out_proj.weight as Linear's.

    >>> attention = nn.MultiheadAttention(8, 2)
    >>> y, weights = attention(cr.ones(5, 3, 8), cr.ones(4, 3, 8), cr.ones(4, 3, 8))
    >>> y.shape, weights.shape
    (chainrule.Size([5, 3, 8]), chainrule.Size([3, 5, 4]))
    """

    def __init__(
        self,
        embed_dim,
        num_heads,
        dropout=0.0,
        bias=True,
        add_bias_kv=False,
        add_zero_attn=False,
        kdim=None,
        vdim=None,
        batch_first=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(
                f"MultiheadAttention: embed_dim and num_heads must be positive and the first divisible by the second, got "
                f"{embed_dim} and {num_heads}"
            )
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim

        def parameter(there, *shape):
            return Parameter(empty(shape, device=device, dtype=dtype)) if there else None

        packed = self._qkv_same_embed_dim
        for name, there, *shape in (
            ("q_proj_weight", not packed, embed_dim, embed_dim),
            ("k_proj_weight", not packed, embed_dim, self.kdim),
            ("v_proj_weight", not packed, embed_dim, self.vdim),
            ("in_proj_weight", packed, 3 * embed_dim, embed_dim),
            ("in_proj_bias", bias, 3 * embed_dim),
            ("bias_k", add_bias_kv, 1, 1, embed_dim),
            ("bias_v", add_bias_kv, 1, 1, embed_dim),
        ):
            self.register_parameter(name, parameter(there, *shape))
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self):
        """Draw the parameters anew."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        """(L, N, E), (S, N, kdim), (S, N, vdim) -> (L, N, E), (N, L, S)

        Masks are bool, True for what is not to be seen, or numbers to add to the scores: key_padding_mask (N, S), attn_mask (L, S) or
        (N H, L, S). average_attn_weights=False: the probabilities of each head, (N, H, L, S). is_causal: attn_mask is the causal one.
        """
        turned = self.batch_first and tensor_of(query, "MultiheadAttention").ndim == 3
        if turned:
            # One tensor stays one: its three projections are then one product.
            steps_first = {id(one): swapaxes(one, 0, 1) for one in (query, key, value)}
            query, key, value = (steps_first[id(one)] for one in (query, key, value))
        y, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (swapaxes(y, 0, 1) if turned else y), weights
