"""Reading CTC outputs, greedy and beam search, attention and sequence-to-sequence models."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils.decoding import beam_search, greedy_search

F = nn.functional
FRAMES = cr.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.3, 0.6]], dtype=cr.float64).log()


def test_a_wide_beam_sums_over_all_paths():
    found = {tuple(labels): math.exp(p) for labels, p in F.ctc_beam_decode(FRAMES, beam_width=100)}
    expected = {(1, 2): 0.369, (1,): 0.222, (2,): 0.221, (2, 1): 0.089, (1, 1): 0.018, (): 0.012}
    assert {labels: found[labels] for labels in expected} == pytest.approx(expected)
    assert sum(found.values()) == pytest.approx(1)
    for labels, p in found.items():
        if len(labels) and p > 0:
            loss = F.ctc_loss(
                FRAMES, cr.tensor(labels), cr.tensor(3), cr.tensor(len(labels)), reduction="sum"
            )
            assert loss.item() == pytest.approx(-math.log(p))


def test_the_best_path_may_not_be_the_best_labelling():
    steps = cr.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert F.ctc_greedy_decode(steps) == []
    assert F.ctc_beam_decode(steps)[0][0] == [1]


def test_repeats_merge_and_blanks_part_them():
    def frames(path):
        return F.one_hot(cr.tensor(path), 3).double().clamp(min=1e-9).log()

    batch = cr.stack([frames([1, 1, 1, 2, 2, 2, 2, 2]), frames([1, 0, 0, 2, 0, 2, 0, 0])], 1)
    assert F.ctc_greedy_decode(batch) == [[1, 2], [1, 2, 2]]
    assert F.ctc_greedy_decode(batch, input_lengths=cr.tensor([2, 5])) == [[1], [1, 2]]
    assert [best[0][0] for best in F.ctc_beam_decode(batch)] == [[1, 2], [1, 2, 2]]
    assert F.ctc_greedy_decode(batch[:, 0] * 0 + frames([2] * 8)[:, [1, 2, 0]], blank=1) == []
    assert F.ctc_greedy_decode(cr.zeros(0, 3)) == [] and F.ctc_beam_decode(cr.zeros(0, 3)) == [([], 0.0)]


def test_bad_arguments_of_ctc_decoding():
    with pytest.raises(RuntimeError, match="blank=3 one of C classes"):
        F.ctc_greedy_decode(FRAMES, blank=3)
    with pytest.raises(RuntimeError, match="input_lengths from 0 to 3"):
        F.ctc_beam_decode(FRAMES, input_lengths=[4])
    with pytest.raises(ValueError, match="beam_width must be"):
        F.ctc_beam_decode(FRAMES, beam_width=0)


# A language of three symbols, of which 2 stops: log p(next | last).
NEXT = cr.tensor([[0.1, 0.5, 0.4], [0.55, 0.05, 0.4], [1 / 3, 1 / 3, 1 / 3]], dtype=cr.float64).log()


def step(symbols, state):
    return NEXT.index_select(0, symbols), state + 1


def log_prob(symbols, start=0):
    path = [start, *symbols, 2]
    return sum(NEXT[a, b].item() for a, b in itertools.pairwise(path))


def test_a_wide_beam_finds_the_best_sequences():
    state = cr.zeros(1)
    found = beam_search(step, state, 0, 2, max_length=6, width=50)
    every = [s for n in range(6) for s in itertools.product((0, 1), repeat=n)]
    expected = sorted(every, key=log_prob, reverse=True)
    assert tuple(found[0][0]) == expected[0] == ()
    for (symbols, p), best in zip(found[:5], expected, strict=False):
        assert p == pytest.approx(log_prob(best)) == pytest.approx(log_prob(symbols))
    # Greedily, the first symbol is 1, and then there is no end.
    assert greedy_search(step, state, 0, 2, 1, max_length=5) == [[1, 0, 1, 0, 1]]
    assert beam_search(step, state, 0, 2, max_length=5, width=1)[0][0] == [1, 0, 1, 0, 1]
    longer = beam_search(step, state, 0, 2, max_length=6, width=50, length_penalty=1.0)
    assert len(longer[0][0]) > 0
    with pytest.raises(ValueError, match="width must be at least 1"):
        beam_search(step, state, 0, 2, 3, width=0)


def test_attention_weights_of_scores_one_two_three():
    keys = cr.tensor([[[1.0], [2.0], [3.0]]], dtype=cr.float64)
    mean, weights = nn.DotProductAttention()(cr.ones(1, 1, dtype=cr.float64), keys)
    np.testing.assert_allclose(weights.numpy(), [[0.090030573, 0.244728471, 0.665240956]], atol=1e-9)
    assert mean.item() == pytest.approx(0.090030573 + 2 * 0.244728471 + 3 * 0.665240956)
    mask = cr.tensor([[True, True, False]])
    _, weights = nn.DotProductAttention()(cr.ones(1, 1, dtype=cr.float64), keys, mask=mask)
    np.testing.assert_allclose(weights.numpy(), [[0.268941421, 0.731058579, 0]], atol=1e-9)


def test_additive_attention_by_hand():
    layer = nn.AdditiveAttention(2, 3, 4, dtype=cr.float64)
    q, k, v = (cr.randn(*shape, dtype=cr.float64) for shape in ((2, 2), (2, 5, 3), (2, 5, 6)))
    mean, weights = layer(q, k, v)
    w, u, score = (one.detach().numpy() for one in (layer.query.weight, layer.key.weight, layer.score))
    scores = np.tanh((q.numpy() @ w.T)[:, None] + k.numpy() @ u.T) @ score
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(weights.detach().numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        mean.detach().numpy(), np.einsum("ns,nsv->nv", expected, v.numpy()), atol=1e-12
    )


@pytest.mark.parametrize("attention", [None, "additive", "dot"])
def test_padding_changes_nothing(attention):
    model = nn.Seq2Seq(10, 12, 8, attention=attention, dtype=cr.float64)
    source, target = cr.randint(2, 10, (3, 6)), cr.randint(2, 12, (3, 4))
    lengths = [4, 6, 3]
    logits, weights = model(source, target, lengths, return_weights=True)
    for i, length in enumerate(lengths):
        alone = model(source[i : i + 1, :length], target[i : i + 1])
        np.testing.assert_allclose(logits[i : i + 1].detach().numpy(), alone.detach().numpy(), atol=1e-12)
    if attention:
        assert weights.shape == (3, 4, 6) and (weights[0, :, 4:] == 0).all()
    best = model.generate(source, lengths, max_length=5)
    alone = [model.generate(source[i : i + 1, :n], max_length=5)[0] for i, n in enumerate(lengths)]
    assert best == alone


def test_teacher_forcing_and_generation_agree():
    model = nn.Seq2Seq(10, 12, 8, attention="dot", dtype=cr.float64)
    source = cr.randint(2, 10, (2, 6))
    written = model.generate(source, max_length=5)
    for i, symbols in enumerate(written):
        if symbols:
            logits = model(source[i : i + 1], cr.tensor([symbols]))
            assert logits.argmax(2).tolist() == [symbols]


def test_it_learns_to_reverse():
    """Two symbols reversed, start 0, stop 1: all 16 pairs, read off greedily and by a beam."""
    model = nn.Seq2Seq(6, 6, 24, embedding_size=8, attention="additive")
    source = cr.tensor([[a, b] for a in range(2, 6) for b in range(2, 6)])
    target = cr.cat([source.flip(1), cr.ones(16, 1, dtype=cr.int64)], 1)
    optimizer = cr.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(source, target).flatten(0, 1), target.flatten())
        loss.backward()
        optimizer.step()
    expected = source.flip(1).tolist()
    assert model.generate(source, max_length=6) == expected
    assert model.generate(source, max_length=6, beam_width=3) == expected


def test_bad_attention():
    with pytest.raises(ValueError, match="attention must be None"):
        nn.Seq2Seq(3, 3, 3, attention="some")
