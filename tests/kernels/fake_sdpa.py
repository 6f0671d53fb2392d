"""Attention for the stand-in for cudnn-frontend (`fake_cudnn.py`): its two nodes, computed on host memory from what they were told."""

import numpy as np

_HALF = ("HALF", "BFLOAT16")


class Attention:
    """The forward node, or with `incoming` (o, dO, stats) the backward one. q, k, v, bias: its inputs; outputs: what it makes."""

    def __init__(self, graph, q, k, v, outputs, incoming=None, bias=None, **options):
        self.graph, self.inputs, self.bias, self.outputs = graph, (q, k, v), bias, outputs
        self.incoming, self.scale = incoming, options.pop("attn_scale")
        alignment = options.pop("diagonal_alignment", None)
        self.causal = options.pop("diagonal_band_right_bound", None) == 0
        assert type(self.scale) is float and not options, options
        assert self.causal == (alignment is not None) and getattr(alignment, "name", "TOP_LEFT") == "TOP_LEFT"

    def check(self, unsupported):
        (b, heads, length, features), k, v = (tuple(one.dim) for one in self.inputs)
        assert k[0] == v[0] == b and k[1] == v[1] and heads % k[1] == 0 and k[2] == v[2] and k[3] == features
        if features % 8 or v[3] % 8 or max(features, v[3]) > 256:
            raise unsupported("head dimension")
        if self.incoming and length == k[2] == 1:
            raise unsupported("s_q = s_kv = 1 is not supported.")
        y, rows = (b, heads, length, v[3]), (b, heads, length, 1)
        given = [*self.inputs, *(self.incoming or ()), *([self.bias] if self.bias else []), *self.outputs]
        stats = self.incoming[2] if self.incoming else self.outputs[1]
        for one in given:
            assert one.data_type.name == "FLOAT" if one is stats else one.data_type.name in _HALF, vars(one)
            assert all(type(n) is int for n in (*one.dim, *one.stride)) and one.stride[3] == 1, vars(one)
            assert all(s > 0 for s in one.stride), vars(one)
            if one is not stats and one is not self.bias:
                assert all(s % 8 == 0 for s in one.stride[:3]), vars(one)
        assert tuple(stats.dim) == rows and tuple(stats.stride) == (heads * length, length, 1, 1)
        expected = (y, rows) if not self.incoming else ((b, heads, length, features), k, v)
        assert tuple(tuple(one.dim) for one in self.outputs) == expected
        if self.incoming:
            assert all(tuple(one.dim) == y for one in self.incoming[:2])
        if self.bias:
            assert self.bias.dim[0] in (1, b) and self.bias.dim[1] in (1, heads)
            assert tuple(self.bias.dim[2:]) == (length, k[2])

    def compute(self, arrays):
        assert all(one.ctypes.data % 16 == 0 for one in arrays.values())
        q, k, v = (arrays[one.uid].astype("float64") for one in self.inputs)
        each = q.shape[1] // k.shape[1]
        k, v = np.repeat(k, each, axis=1), np.repeat(v, each, axis=1)
        scores = q @ k.swapaxes(2, 3) * self.scale
        if self.bias:
            bias = arrays[self.bias.uid].astype("float64")
            assert np.isfinite(bias).all()  # what cuDNN makes of a row of -inf is not known
            scores = scores + bias
        if self.causal:
            scores = np.where(np.tri(*scores.shape[2:], dtype=bool), scores, -np.inf)
        if self.incoming is None:
            top = scores.max(axis=3, keepdims=True)
            total = np.exp(scores - top).sum(axis=3, keepdims=True)
            arrays[self.outputs[0].uid][...] = np.exp(scores - top) / total @ v
            arrays[self.outputs[1].uid][...] = top + np.log(total)
            return
        y, gy, lse = (arrays[one.uid].astype("float64") for one in self.incoming)
        p = np.exp(scores - lse)
        gs = p * (gy @ v.swapaxes(2, 3) - (gy * y).sum(axis=3, keepdims=True))
        found = gs @ k * self.scale, gs.swapaxes(2, 3) @ q * self.scale, p.swapaxes(2, 3) @ gy
        for one, made in zip(self.outputs, found, strict=True):
            if one is not self.outputs[0]:  # the queries that share a head
                made = made.reshape(made.shape[0], -1, each, *made.shape[2:]).sum(axis=2)
            arrays[one.uid][...] = made


def sdpa(graph, tensor, q, k, v, generate_stats, **options):
    """As `pygraph.sdpa`."""
    assert generate_stats is True
    outputs = [tensor(), tensor()]
    graph.nodes.append(Attention(graph, q, k, v, outputs, **options))
    return outputs


def sdpa_backward(graph, tensor, q, k, v, o, dO, stats, use_deterministic_algorithm, **options):
    """As `pygraph.sdpa_backward`."""
    outputs = [tensor(), tensor(), tensor()]
    graph.deterministic = use_deterministic_algorithm
    graph.nodes.append(Attention(graph, q, k, v, outputs, (o, dO, stats), **options))
    return outputs
