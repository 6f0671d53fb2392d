"""Attention and Transformers: masks and their edges against definitions, and every argument against PyTorch's layers."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 2, 8))
OTHER = RNG.normal(size=(6, 2, 8))
PADDED = np.array([[False, False, False, True, True], [False, False, False, False, True]])
FUTURE = np.triu(np.ones((5, 5), bool), 1)
SCORES = RNG.normal(size=(4, 5, 5))


def random(*shape):
    return cr.tensor(np.random.default_rng(1).normal(size=shape), requires_grad=True)


def compare(torch, make, inputs, call):
    """The layer with one set of weights here and there, both modes: outputs, and gradients of inputs and parameters."""
    ours, theirs = eval(make, {"nn": nn}).double(), eval(make, {"nn": torch.nn}).double()
    ours.load_state_dict(theirs.state_dict())
    for training in (True, False):
        found = []
        for layer, library in ((ours, cr), (theirs, torch)):
            layer.train(training).zero_grad()
            leaves = [library.tensor(one, requires_grad=True) for one in inputs]
            result = call(layer, library.tensor, *leaves)
            result = [one for one in (result if isinstance(result, tuple) else (result,)) if one is not None]
            sum((one * one).sum() for one in result).backward()
            grads = [one.grad for one in (*leaves, *layer.parameters())]
            found.append([one.detach().numpy() for one in (*result, *(g for g in grads if g is not None))])
        assert len(found[0]) == len(found[1])
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"need_weights": False, "key_padding_mask": PADDED},
        {"average_attn_weights": False, "attn_mask": FUTURE},
        {"attn_mask": FUTURE, "is_causal": True, "need_weights": False},
        {"attn_mask": FUTURE, "key_padding_mask": PADDED},
        {"attn_mask": SCORES, "key_padding_mask": np.where(PADDED, -np.inf, 0.0)},
        {"attn_mask": SCORES, "need_weights": False},
    ],
    ids=lambda keywords: "-".join(keywords) or "plain",
)
@pytest.mark.parametrize(
    "extra", ["", ", batch_first=True", ", add_bias_kv=True, add_zero_attn=True, bias=False"]
)
def test_multihead_attention_is_pytorchs(torch, keywords, extra):
    def call(layer, tensor, x):
        masks = {name: tensor(one) if isinstance(one, np.ndarray) else one for name, one in keywords.items()}
        return layer(x, x, x, **masks)

    x = X.swapaxes(0, 1) if "batch_first" in extra else X
    made = [one for one in keywords.values() if isinstance(one, np.ndarray)]
    if len({one.dtype for one in made}) > 1:
        pytest.skip("PyTorch warns of masks of two kinds")
    compare(torch, f"nn.MultiheadAttention(8, 2{extra})", [x], call)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["'relu'", "'gelu'", "nn.functional.silu"])
def test_transformer_layers_are_pytorchs(torch, norm_first, activation):
    settings = f"8, 2, 16, 0.0, {activation}, norm_first={norm_first}"
    compare(
        torch,
        f"nn.TransformerEncoderLayer({settings})",
        [X],
        lambda layer, tensor, x: layer(x, tensor(FUTURE), tensor(PADDED)),
    )
    compare(
        torch,
        f"nn.TransformerDecoderLayer({settings})",
        [X, OTHER],
        lambda layer, tensor, x, memory: layer(
            x, memory, tensor(FUTURE), tgt_key_padding_mask=tensor(PADDED)
        ),
    )


def test_a_whole_transformer_is_pytorchs(torch):
    def call(model, tensor, source, target):
        mask = tensor(np.triu(np.full((5, 5), -np.inf), 1))
        return model(source, target, tgt_mask=mask, tgt_is_causal=True)

    make = "nn.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True)"
    compare(torch, make, [OTHER.swapaxes(0, 1), X.swapaxes(0, 1)], call)


def test_the_causal_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    assert mask.tolist() == [[0, -np.inf, -np.inf], [0, 0, -np.inf], [0, 0, 0]]
    q = random(4, 3)
    hidden = F.scaled_dot_product_attention(q, q, q, is_causal=True)
    bias = nn.Transformer.generate_square_subsequent_mask(4, dtype=cr.float64)
    np.testing.assert_array_equal(hidden.detach(), F.scaled_dot_product_attention(q, q, q, bias).detach())


def test_a_query_that_sees_nothing():
    """Zeros, and zero gradients, from `scaled_dot_product_attention`; NaN where the weights are asked for, as in PyTorch."""
    q, k, v = random(2, 3), random(4, 3), random(4, 2)
    mask = cr.tensor([[True, False, True, True], [False] * 4])
    for bias in (mask, cr.where(mask, 0.0, -np.inf).double()):
        y = F.scaled_dot_product_attention(q, k, v, bias)
        assert y[1].tolist() == [0, 0] and y[0].detach().isfinite().all()
        grads = cr.autograd.grad(y.sum(), (q, k, v))
        assert all(one.isfinite().all() for one in grads) and grads[0][1].tolist() == [0, 0, 0]
    layer = nn.MultiheadAttention(4, 2)
    x, hidden = cr.ones(3, 1, 4), cr.ones(1, 3, dtype=cr.bool)
    assert layer(x, x, x, key_padding_mask=hidden)[0].isnan().all()
    assert layer(x, x, x, key_padding_mask=hidden, need_weights=False)[0].isfinite().all()


def test_large_scores_do_not_overflow():
    q = cr.tensor([[1e4, 0.0], [0.0, 1e4]])
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, q, cr.eye(2)), np.eye(2))


def test_dropout_keeps_the_expectation():
    q, v = cr.zeros(1, 3), cr.ones(4000, 1)
    y = F.scaled_dot_product_attention(q, cr.zeros(4000, 3), v, dropout_p=0.4)
    assert y.item() == pytest.approx(1, abs=0.05) and y.item() != 1
    assert F.scaled_dot_product_attention(q, cr.zeros(5, 3), cr.ones(5, 1), dropout_p=1.0).item() == 0
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = cr.randn(6, 1, 4)
    weights = layer(x, x, x, average_attn_weights=False)[1]
    assert (weights == 0).any() and not (layer.eval()(x, x, x, average_attn_weights=False)[1] == 0).any()


def test_static_keys_and_values(torch):
    def run(functional, tensor):
        made = np.random.default_rng(2)
        q, w, out = (tensor(made.normal(size=shape)) for shape in ((3, 2, 4), (12, 4), (4, 4)))
        k, v = (tensor(made.normal(size=(4, 5, 2))) for _ in range(2))
        return functional.multi_head_attention_forward(
            q, q, q, 4, 2, w, None, None, None, False, 0.0, out, None, static_k=k, static_v=v
        )

    for one, other in zip(run(F, cr.tensor), run(torch.nn.functional, torch.tensor), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def test_one_projection_for_self_attention():
    """Query, key and value that are one tensor are projected by one product, also without a batch and with it first."""
    from chainrule.autograd.modes import local

    for shape, first in (((5, 4), False), ((2, 5, 4), True)):
        layer, x, names = nn.MultiheadAttention(4, 2, batch_first=first), cr.ones(*shape), []
        local.state.on_record = lambda node, out, names=names: names.append(node.op.name)
        try:
            layer(x, x, x)
        finally:
            local.state.on_record = None
        assert names.count("linear") == 2  # in and out


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f, x: f(x, x[:, :2], x), RuntimeError, r"\(5, 8\), \(5, 2\)"),
        (lambda f, x: f(x, x.float(), x), RuntimeError, "one floating point dtype"),
        (lambda f, x: f(x[0], x, x), RuntimeError, "at least 2 dimensions"),
        (lambda f, x: f(x, x, x, cr.ones(3, 5, dtype=cr.float64)), RuntimeError, r"attn_mask \(3, 5\)"),
        (lambda f, x: f(x, x, x, cr.ones(5, 5, dtype=cr.int64)), RuntimeError, "must be bool or"),
        (lambda f, x: f(x, x, x, cr.ones(5, 5, dtype=cr.bool), is_causal=True), RuntimeError, "not both"),
        (lambda f, x: f(x, x, x, dropout_p=1.5), ValueError, "between 0 and 1"),
        (lambda f, x: f(x, x, x, enable_gqa=True), RuntimeError, "number of heads"),
    ],
)
def test_bad_arguments_of_attention(call, error, words):
    with pytest.raises(error, match=f"scaled_dot_product_attention.*{words}"):
        call(F.scaled_dot_product_attention, cr.ones(5, 8, dtype=cr.float64))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.MultiheadAttention(5, 2), ValueError, "divisible"),
        (lambda: nn.MultiheadAttention(4, 2)(*[cr.ones(3, 2, 6)] * 3), RuntimeError, "expected 4 features"),
        (
            lambda: nn.MultiheadAttention(4, 2)(cr.ones(3, 2, 4), cr.ones(3, 1, 4), cr.ones(3, 1, 4)),
            RuntimeError,
            "expected query",
        ),
        (
            lambda: nn.MultiheadAttention(4, 2)(*[cr.ones(3, 2, 4)] * 3, key_padding_mask=cr.ones(3, 2)),
            RuntimeError,
            r"key_padding_mask of shape \(2, 3\)",
        ),
        (
            lambda: nn.MultiheadAttention(4, 2)(*[cr.ones(3, 2, 4)] * 3, attn_mask=cr.ones(3, 2)),
            RuntimeError,
            r"attn_mask of shape \(3, 3\)",
        ),
        (
            lambda: nn.MultiheadAttention(4, 2)(*[cr.ones(3, 2, 4)] * 3, is_causal=True),
            RuntimeError,
            "hint about attn_mask",
        ),
        (lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh"), RuntimeError, "'relu', 'gelu'"),
        (
            lambda: nn.Transformer(4, 2, 1, 1, 4)(cr.ones(3, 2, 4), cr.ones(3, 1, 4)),
            RuntimeError,
            "of one batch with 4 features",
        ),
    ],
)
def test_bad_arguments_of_layers(call, error, words):
    with pytest.raises(error, match=words):
        call()
