"""Scattering, splitting and turning where rows of the table do not reach: ties, zeros, NaN, empty and 0-d inputs, refusals."""

import numpy as np
import pytest

import chainrule as cr


def _tensor(values, **extra):
    return cr.tensor(values, dtype=cr.float64, **extra)


@pytest.mark.parametrize("how, extreme", [("amax", 3.0), ("amin", -3.0)])
@pytest.mark.parametrize("include_self", [True, False])
def test_ties_share_the_gradient(how, extreme, include_self):
    x = _tensor([extreme, 0.0, 7.0], requires_grad=True)
    source = _tensor([extreme, extreme, 0.0, 5.0, 5.0, 5.0], requires_grad=True)
    index = cr.tensor([0, 0, 0, 1, 1, 1])
    y = x.scatter_reduce(0, index, source, how, include_self=include_self)
    y.backward(_tensor([6.0, 6.0, 6.0]))
    share = 2.0 if include_self else 3.0
    above = how == "amax" or not include_self
    assert x.grad.tolist() == [2.0 if include_self else 0.0, 0.0 if above else 6.0, 6.0]
    assert source.grad.tolist() == [share, share, 0.0] + [2.0 if above else 0.0] * 3


def test_nan_wins_and_the_untouched_stays():
    x = _tensor([1.0, 2.0, float("nan")])
    source = _tensor([float("nan"), 0.0])
    for how in ("amax", "amin", "prod", "sum", "mean"):
        y = x.scatter_reduce(0, cr.tensor([0, 0]), source, how)
        assert np.isnan(y[0].item()) and y[1] == 2.0 and np.isnan(y[2].item())


def test_products_of_zeros_have_all_derivatives():
    x = _tensor([2.0], requires_grad=True)
    source = _tensor([0.0, 3.0, 0.0, 5.0], requires_grad=True)
    y = x.scatter_reduce(0, cr.tensor([0] * 4), source, "prod")
    first = cr.autograd.grad(y.sum(), source, create_graph=True)[0]
    assert first.tolist() == [0.0] * 4
    second = cr.autograd.grad(first[0], source, create_graph=True)[0]
    assert second.tolist() == [0.0, 0.0, 30.0, 0.0]
    assert cr.autograd.grad(second[2], (x, source))[1].tolist() == [0.0, 10.0, 0.0, 6.0]


def test_a_long_product_is_a_balanced_one():
    rng = np.random.default_rng(0)
    values = rng.uniform(0.9, 1.1, 1001)
    source = _tensor(values, requires_grad=True)
    y = cr.ones(1, dtype=cr.float64).scatter_reduce(0, cr.zeros(1001, dtype=cr.int64), source, "prod")
    y.sum().backward()
    np.testing.assert_allclose(y.item(), values.prod(), rtol=1e-12)
    np.testing.assert_allclose(source.grad.numpy(), values.prod() / values, rtol=1e-12)


def test_means_of_integers_are_rounded_down():
    x = cr.tensor([1, -1, 9])
    y = x.scatter_reduce(0, cr.tensor([0, 1]), cr.tensor([2, -2]), "mean")
    assert y.tolist() == [1, -2, 9] and y.dtype is cr.int64
    assert x.index_reduce(0, cr.tensor([0]), cr.tensor([4]), "mean", include_self=False).tolist() == [
        4,
        -1,
        9,
    ]


@pytest.mark.parametrize("how", ["sum", "prod", "mean", "amax", "amin"])
def test_nothing_to_scatter(how):
    x = _tensor([[1.0, 2.0]], requires_grad=True)
    none = cr.zeros(0, 2, dtype=cr.int64)
    y = x.scatter_reduce(0, none, _tensor(np.zeros((0, 2))), how)
    y.sum().backward()
    assert y.tolist() == [[1.0, 2.0]] and x.grad.tolist() == [[1.0, 1.0]]
    x = _tensor(3.0)
    assert x.scatter_reduce(0, cr.tensor(0), _tensor(3.0), how, include_self=False).tolist() == 3.0


def test_in_place_forms():
    x = _tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 1
    assert y.scatter_reduce_(0, cr.tensor([0, 0]), _tensor([5.0, 6.0]), "amax") is y
    y.index_reduce_(0, cr.tensor([1]), _tensor([4.0]), "prod")
    y.masked_scatter_(cr.tensor([False, False, True]), _tensor([9.0]))
    assert y.tolist() == [6.0, 8.0, 9.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 4.0, 0.0]
    z = cr.zeros(2, 2)
    z[:, 1].put_(cr.tensor([-1]), cr.tensor([7.0]))
    assert z.tolist() == [[0.0, 0.0], [0.0, 7.0]]


def test_0d_tensors_are_vectors_of_one_element():
    x, zero = _tensor(2.0, requires_grad=True), cr.tensor(0)
    parts = [
        x.gather(0, zero),
        x.gather(0, cr.tensor([0]))[0],
        x.index_select(0, zero),
        x.scatter_add(0, zero, x),
        x.index_add(0, zero, x),
        x.take(zero),
        x.put(zero, x * 3),
        x.masked_scatter(cr.tensor(True), x * 5),
    ]
    assert all(one.shape == () for one in parts)
    assert [one.item() for one in parts] == [2, 2, 2, 4, 4, 2, 6, 10]
    sum(parts[1:], parts[0]).backward()
    assert x.grad.item() == 16.0


X, AT, S = cr.zeros(3, 4), cr.zeros(2, 2, dtype=cr.int64), cr.zeros(2, 2)


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: X.scatter_reduce(0, AT, S, "max"), RuntimeError, "reduce must be one of"),
        (lambda: X.scatter_reduce(0, AT + 3, S, "sum"), IndexError, "index 3 is out of range"),
        (lambda: X.scatter_reduce(0, AT, S.double(), "sum"), RuntimeError, "dtype"),
        (lambda: X.scatter_reduce(0, AT, S[0], "sum"), RuntimeError, "2 dimensions, src 1"),
        (lambda: X.scatter_reduce(0, AT, S[:1], "sum"), RuntimeError, "longer than src"),
        (lambda: X.to(cr.complex64).scatter_reduce(0, AT, S.to(cr.complex64), "amax"), RuntimeError, "no order"),
        (lambda: X.index_reduce(0, AT[0], X[:2], "sum"), RuntimeError, "reduce must be"),
        (lambda: X.index_reduce(0, AT[0], X, "prod"), RuntimeError, r"expected \(2, 4\)"),
        (lambda: X.index_reduce(0, AT, X[:2], "prod"), RuntimeError, "vector"),
        (lambda: X.scatter(0, AT, S, reduce="max"), RuntimeError, "multiply"),
        (lambda: X.scatter(0, S, S), TypeError, "integer"),
        (lambda: X.masked_scatter(X, S), RuntimeError, "bool"),
        (lambda: X.masked_scatter(X == 0, S), RuntimeError, "12 places, the source only 4"),
        (lambda: X.put(AT, S[0]), RuntimeError, "as many elements"),
        (lambda: X.put(AT + 12, S), IndexError, "index 12"),
        (lambda: X.take(AT - 13), IndexError, "index -13"),
        (lambda: X.index_fill(0, AT[0], S), RuntimeError, "0-d"),
        (lambda: X.masked_fill(X == 0, 1j), RuntimeError, "complex"),
        (lambda: X.take_along_dim(AT[0], 0), RuntimeError, "they must agree"),
        (lambda: cr.nonzero_static(X, size=-1), RuntimeError, "negative"),
        (lambda: X.tensor_split(0), RuntimeError, "positive"),
        (lambda: cr.tensor(1.0).tensor_split(2), RuntimeError, "0-d"),
        (lambda: X.tensor_split(S), RuntimeError, "int64"),
        (lambda: X.hsplit(3), RuntimeError, "equal parts"),
        (lambda: X[0].vsplit(1), RuntimeError, "at least 2 dimensions"),
        (lambda: X.dsplit(1), RuntimeError, "at least 3 dimensions"),
        (lambda: X[0].fliplr(), RuntimeError, "at least 2 dimensions"),
        (lambda: cr.tensor(1.0).flipud(), RuntimeError, "at least 1 dimension"),
        (lambda: X.rot90(1, (0, 0)), RuntimeError, "different dims"),
        (lambda: X.rot90(1, (0,)), RuntimeError, "2 dims"),
        (lambda: X.select_scatter(S, 0, 0), RuntimeError, "must agree"),
        (lambda: X.slice_scatter(X, step=0), RuntimeError, "step"),
        (lambda: X.diagonal_scatter(S), RuntimeError, "must agree"),
        (lambda: cr.constant_pad_nd(X, (1,)), RuntimeError, "2 lengths"),
        (lambda: cr.constant_pad_nd(X, (-3, -3)), RuntimeError, "negative length"),
        (lambda: X.sum_to_size(2, 4), RuntimeError, "broadcast"),
        (lambda: cr.tril_indices(-1, 2), RuntimeError, "negative"),
        (lambda: cr.unravel_index(X, (3,)), TypeError, "integer"),
        (lambda: X.roll((1, 2), 0), RuntimeError, "one for each"),
        (lambda: X.repeat(-1, 1), RuntimeError, "negative"),
        (lambda: X.repeat_interleave(cr.tensor([1, 2]), 0), RuntimeError, "2 repeats for a dimension of length 3"),
        (lambda: X.repeat_interleave(2, 0, output_size=5), RuntimeError, "output_size"),
        (lambda: X.movedim((0, 1), 0), RuntimeError, "as many"),
        (lambda: X[0].tril(), RuntimeError, "at least 2"),
    ],
)  # fmt: skip
@pytest.mark.cpu_only
def test_bad_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_pieces_are_views_and_say_where_they_end():
    x = cr.arange(10)
    assert [len(one) for one in x.tensor_split(3)] == [4, 3, 3]
    assert [one.tolist() for one in x.tensor_split((2, 2, -1, 99))] == [
        [0, 1],
        [],
        [2, 3, 4, 5, 6, 7, 8],
        [9],
        [],
    ]
    assert [len(one) for one in x.tensor_split(cr.tensor([3, 4]))] == [3, 1, 6]
    pieces = x.tensor_split(4)
    pieces[1].zero_()
    assert x.tolist() == [0, 1, 2, 0, 0, 0, 6, 7, 8, 9]


def test_repeat_interleave_of_counts_alone():
    assert cr.repeat_interleave(cr.tensor([1, 0, 3])).tolist() == [0, 2, 2, 2]
    x = cr.tensor([[1, 2], [3, 4]])
    assert x.repeat_interleave(cr.tensor([2]), 1).tolist() == [[1, 1, 2, 2], [3, 3, 4, 4]]
    assert x.repeat_interleave(cr.tensor([0, 2]), 0, output_size=2).tolist() == [[3, 4], [3, 4]]
    assert cr.tensor(5).repeat_interleave(3).tolist() == [5, 5, 5]


def test_shapes_by_name_or_one_by_one():
    x = cr.arange(6).reshape(shape=(2, 3))
    assert x.view(3, 2).shape == x.view(size=(3, 2)).shape == (3, 2)
    assert x.permute(1, 0).shape == x.permute(dims=(1, 0)).shape == (3, 2)
    assert x.repeat(2, 1, 1).shape == x.repeat(repeats=(2, 1, 1)).shape == (2, 2, 3)
    assert x.tile(2).shape == x.tile((2,)).shape == x.tile(dims=(2,)).shape == (2, 6)
    assert x.expand(4, -1, -1).shape == x.expand(size=(4, -1, -1)).shape == (4, 2, 3)
    assert x.flip(0, 1).tolist() == cr.flip(x, dims=(0, 1)).tolist() == [[5, 4, 3], [2, 1, 0]]


def test_indices_of_triangles():
    assert cr.tril_indices(2, 3, 1).tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 1, 2]]
    assert cr.triu_indices(3, 2, dtype=cr.int32).dtype is cr.int32
    assert cr.triu_indices(2, 2, 5).shape == (2, 0)
    assert cr.scalar_tensor(3).dtype is cr.get_default_dtype()
