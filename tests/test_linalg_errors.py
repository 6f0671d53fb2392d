"""Linear algebra that fails: matrices without an inverse or a factor, what the `_ex` functions give for them, invalid calls."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import linalg
from chainrule.autograd.functions import linalg_factor, linalg_products, statistics
from chainrule.autograd.functions.linalg import cholesky_inverse


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# --- failures, and what `_ex` functions give instead ---

SINGULAR = np.stack([np.eye(3), np.diag([1.0, 0.0, 2.0])])


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_a_singular_matrix_is_named(device):
    x = cr.tensor(SINGULAR, device=device)
    assert issubclass(linalg.LinAlgError, RuntimeError)
    pattern = r"linalg.{}: entry \(1\) of the batch of shape \(2,\) is singular: elimination meets a pivot of 0 in step 2"
    with pytest.raises(linalg.LinAlgError, match=pattern.format("inv")):
        linalg.inv(x)
    with pytest.raises(linalg.LinAlgError, match=pattern.format("solve")):
        linalg.solve(x, cr.ones(2, 3, 1, dtype=cr.float64, device=device))
    pattern = r"linalg.cholesky: entry \(1\) of the batch of shape \(2,\) is not positive-definite: .* step 2"
    with pytest.raises(linalg.LinAlgError, match=pattern):
        linalg.cholesky(x)
    with pytest.raises(linalg.LinAlgError, match="linalg.lu_factor_ex: entry"):
        linalg.lu_factor_ex(x, check_errors=True)
    with pytest.raises(linalg.LinAlgError, match=r"linalg.eigh: the matrix did not converge: it holds a NaN"):
        linalg.eigh(cr.full((2, 2), float("nan"), device=device))


@pytest.mark.parametrize("device", ["cpu", "fake"])
def test_ex_functions_give_nan_and_info(device):
    x = cr.tensor(SINGULAR, requires_grad=True, device=device)
    inverse, info = linalg.inv_ex(x)
    assert info.dtype is cr.int32 and info.tolist() == [0, 2]
    assert np.isnan(inverse.detach().cpu().numpy()[1]).all()
    inverse[0].sum().backward()
    assert np.isfinite(x.grad.cpu().numpy()[0]).all() and x.grad.cpu().numpy()[0].any()
    L, info = linalg.cholesky_ex(x.detach())
    assert info.tolist() == [0, 2]
    np.testing.assert_allclose(L.cpu().numpy()[0], np.eye(3))
    result, info = linalg.solve_ex(x.detach(), cr.ones(3, 1, dtype=cr.float64, device=device))
    assert info.tolist() == [0, 2] and np.isnan(result.cpu().numpy()[1]).all()
    vectors, info = linalg.solve_ex(x.detach(), cr.ones(2, 3, dtype=cr.float64, device=device))
    assert tuple(vectors.shape) == (2, 3) and np.isnan(vectors.cpu().numpy()).tolist() == [
        [False] * 3,
        [True] * 3,
    ]
    assert linalg.lu_factor_ex(x.detach()).info.tolist() == [0, 2]
    for function in (linalg.inv_ex, linalg.cholesky_ex):
        with pytest.raises(linalg.LinAlgError):
            function(x, check_errors=True)
    assert cr.isinf(linalg.cond(x.detach(), 1)).tolist() == [False, True]


def test_order_of_the_minor_that_is_not_positive_definite():
    a = np.array([[[2.0, 1], [1, 2]], [[-1, 0], [0, 1]], [[1, 2], [2, 1]]])
    assert linalg.cholesky_ex(cr.tensor(a)).info.tolist() == [0, 1, 2]


def test_a_zero_on_the_diagonal_of_a_triangle_gives_infinity_where_it_matters():
    a = cr.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    x = linalg.solve_triangular(a, cr.ones(3, 1), upper=False).numpy().ravel()
    assert x[0] == 1 and np.isinf(x[1]) and np.isinf(x[2])
    x = linalg.solve_triangular(a.mT, cr.ones(3, 1), upper=True).numpy().ravel()
    assert x[2] == 1 and not np.isfinite(x[1])


def test_least_squares_says_what_each_driver_computes():
    a, b = cr.tensor(random(5, 2)), cr.tensor(random(5, 3, seed=1))
    found = linalg.lstsq(a, b)
    assert [tuple(one.shape) for one in found] == [(2, 3), (0,), (), (0,)] and found.rank.item() == 2
    found = linalg.lstsq(a, b, driver="gelss")
    assert [tuple(one.shape) for one in found] == [(2, 3), (3,), (), (2,)]
    np.testing.assert_allclose(found.residuals.numpy(), ((a @ found.solution - b) ** 2).sum(0).numpy())
    np.testing.assert_allclose(found.singular_values.numpy(), np.linalg.svd(a.numpy())[1])
    assert tuple(linalg.lstsq(a, b, driver="gels").rank.shape) == (0,)
    deficient = cr.cat([a, a], 1)
    found = linalg.lstsq(deficient, b, driver="gelsd")
    assert found.rank.item() == 2 and tuple(found.residuals.shape) == (0,)
    np.testing.assert_allclose(found.solution.numpy(), np.linalg.lstsq(deficient.numpy(), b.numpy())[0])


# --- invalid calls ---

VECTOR, WIDE, SQUARE, INTEGERS = cr.ones(3), cr.ones(2, 3), cr.ones(3, 3), cr.ones(3, 3, dtype=cr.int64)
INVALID = [
    *[
        (getattr(linalg, name), [WIDE], rf"linalg.{name}: expected square matrices \(..., n, n\), got shape \(2, 3\)")
        for name in ("inv", "inv_ex", "det", "slogdet", "cholesky", "cholesky_ex", "eigh", "eigvalsh", "eig", "eigvals", "matrix_exp")
    ],
    *[
        (getattr(linalg, name), [VECTOR], rf"linalg.{name}: expected matrices, .* got shape \(3,\)")
        for name in ("inv", "det", "cholesky", "qr", "svd", "svdvals", "eigh", "pinv", "lu", "lu_factor", "matrix_exp", "matrix_rank", "cond")
    ],
    *[
        (getattr(linalg, name), [INTEGERS], rf"linalg.{name}: expected float32, float64, complex64 or complex128, got chainrule.int64")
        for name in ("inv", "det", "cholesky", "qr", "svd", "eigh", "pinv", "lu", "matrix_exp")
    ],
    (linalg.inv, [[[1.0]]], "linalg.inv: expected a Tensor, got list"),
    (linalg.inv, [cr.ones(2, 2, dtype=cr.float16)], "linalg.inv: .* got chainrule.float16"),
    (linalg.solve, [SQUARE, WIDE], r"linalg.solve: A X = B .* got shapes \(3, 3\) and \(2, 3\)"),
    (linalg.solve, [cr.ones(2, 3, 3), cr.ones(4, 3, 1)], "linalg.solve: batches of shapes .* cannot be broadcast"),
    (linalg.solve, [SQUARE, cr.ones(3, 1, dtype=cr.float64)], "linalg.solve: expected tensors of one dtype"),
    (lambda a, b: linalg.solve(a, b, left=False), [SQUARE, VECTOR], "linalg.solve: with left=False B must hold matrices"),
    (lambda a, b: linalg.solve_triangular(a, b, upper=True), [SQUARE, WIDE], "linalg.solve_triangular: shapes .* do not fit"),
    (linalg.lstsq, [SQUARE, WIDE], "linalg.lstsq: A X = B needs as many rows"),
    (lambda a: linalg.lstsq(a, a, driver="best"), [SQUARE], "linalg.lstsq: driver must be None"),
    (lambda a: linalg.qr(a, "full"), [SQUARE], "linalg.qr: mode must be"),
    (lambda a: linalg.eigh(a, "X"), [SQUARE], 'linalg.eigh: UPLO must be "L" or "U"'),
    (lambda a: linalg.lu_solve(a, cr.ones(3, dtype=cr.float32), a), [SQUARE], "linalg.lu_solve: pivots must be integers"),
    (linalg.householder_product, [WIDE, cr.ones(1)], "linalg.householder_product: expected no more columns than rows"),
    (linalg.householder_product, [SQUARE, cr.ones(4)], "linalg.householder_product: expected tau of shape"),
    (lambda a: linalg_factor.ormqr(a, VECTOR, cr.ones(2, 1)), [SQUARE], "ormqr: shapes"),
    (lambda a: linalg_factor.svd_lowrank(a, q=7), [SQUARE], "svd_lowrank: q must lie between"),
    (lambda a: cholesky_inverse(a), [WIDE], "cholesky_inverse: expected square"),
    (lambda a: linalg.matrix_power(a, 0.5), [SQUARE], "linalg.matrix_power: n must be an int"),
    (lambda a: linalg.multi_dot([a]), [SQUARE], "linalg.multi_dot: expected at least 2"),
    (lambda a: linalg.multi_dot([a, WIDE]), [SQUARE], r"linalg.multi_dot: shapes \(3, 3\) and \(2, 3\)"),
    (lambda a: linalg.multi_dot([a, VECTOR, a]), [SQUARE], r"linalg.multi_dot: .* tensor 1 has shape \(3,\)"),
    (lambda a: linalg.vector_norm(a, "fro"), [SQUARE], "linalg.vector_norm: ord must be a number"),
    (linalg.vector_norm, [INTEGERS], "linalg.vector_norm: expected a floating point or complex"),
    (lambda a: linalg.vector_norm(a, float("inf")), [cr.zeros(0)], "linalg.vector_norm: the inf-norm of no elements"),
    (lambda a: linalg.vector_norm(a, dtype=cr.float16), [SQUARE], "linalg.vector_norm: .* would lose precision"),
    (lambda a: linalg.matrix_norm(a, 3), [SQUARE], "linalg.matrix_norm: ord must be"),
    (lambda a: linalg.matrix_norm(a, dim=(0, 0)), [SQUARE], "linalg.matrix_norm: a dim appears more than once"),
    (linalg.matrix_norm, [VECTOR], "linalg.matrix_norm: expected a tensor of at least 2"),
    (lambda a: linalg.norm(a, 2), [cr.ones(2, 2, 2)], "linalg.norm: with ord but without dim"),
    (lambda a: linalg.cond(a, 3), [SQUARE], "linalg.cond: p must be"),
    (lambda a: linalg.cond(a, 1), [WIDE], "linalg.cond: expected square"),
    (linalg.tensorinv, [cr.ones(2, 3, 4)], "linalg.tensorinv: expected as many elements"),
    (linalg.tensorsolve, [SQUARE, cr.ones(2)], "linalg.tensorsolve: A of shape"),
    (linalg.cross, [WIDE, cr.ones(2, 2)], "linalg.cross: dimension -1 must have length 3"),
    (linalg_products.cross, [cr.ones(2), cr.ones(2)], "cross: no dimension of length 3"),
    (linalg_products.vdot, [VECTOR, cr.ones(2)], "vdot: expected two vectors of one length"),
    (linalg_products.trace, [VECTOR], "trace: expected a matrix"),
    (linalg_products.block_diag, [cr.ones(1, 1, 1)], "block_diag: expected at most 2"),
    (lambda a: linalg.vander(a, 1), [VECTOR], "linalg.vander: N must be greater than 1"),
    (statistics.cov, [cr.ones(1, 1, 1)], "cov: expected at most 2 dimensions"),
    (lambda a: statistics.cov(a, aweights=cr.ones(2)), [SQUARE], "cov: aweights must be a vector of 3"),
    (lambda a: statistics.cov(a, fweights=cr.ones(3)), [SQUARE], "cov: fweights must be integers"),
    (lambda a: linalg.multi_dot([a, a.double()]), [SQUARE], "linalg.multi_dot: expected tensors of one dtype"),
    (linalg.vecdot, [VECTOR, INTEGERS], "linalg.vecdot: expected tensors of one dtype"),
    (linalg.vecdot, [cr.tensor(1.0), VECTOR], "linalg.vecdot: expected at least 1 dimension"),
    (linalg.cross, [SQUARE, VECTOR], "linalg.cross: expected as many dimensions"),
    (linalg_products.older_vander, [SQUARE], "vander: expected a vector"),
    (lambda a: linalg_products.older_vander(a, -1), [VECTOR], "vander: N must not be negative"),
    (linalg_products.block_diag, [], "block_diag: expected at least one tensor"),
    (lambda a: linalg.norm(a, 2, dim=(0, 1, 2)), [cr.ones(2, 2, 2)], "linalg.norm: dim must be one or two"),
    (lambda a: linalg.matrix_norm(a, dim=0), [SQUARE], "linalg.matrix_norm: dim must be two ints"),
    (lambda a: linalg.matrix_norm(a, -1), [cr.zeros(0, 0)], "linalg.matrix_norm: the -1-norm of matrices without elements"),
    (lambda a: linalg.vector_norm(a, dtype=cr.complex64), [SQUARE], "linalg.vector_norm: dtype must be floating point"),
    (lambda a: linalg.pinv(a, atol=a[0] * 1j), [SQUARE], "linalg: a tolerance must be real"),
    (lambda a: linalg.lu_solve(*linalg.lu_factor(a), WIDE), [SQUARE + cr.eye(3)], "linalg.lu_solve: shapes"),
    (linalg.householder_product, [SQUARE, cr.ones(2, dtype=cr.float64)], "linalg.householder_product: expected tensors of one dtype"),
    (lambda a: linalg_factor.pca_lowrank(a, q=7), [SQUARE], "pca_lowrank: q must lie between"),
    (statistics.cov, [cr.ones(2, 2, dtype=cr.bool)], "cov: bool tensors have no covariance"),
    (lambda a: statistics.cov(a, aweights=-cr.ones(3)), [SQUARE], "cov: aweights must not be negative"),
    (statistics.corrcoef, [cr.ones(1, 1, 1)], "corrcoef: expected at most 2 dimensions"),
    (statistics.combinations, [SQUARE], "combinations: expected a vector"),
    (statistics.cartesian_prod, [VECTOR, WIDE], "cartesian_prod: expected vectors"),
    (lambda a: statistics.combinations(a, r=-1), [VECTOR], "combinations: r must not be negative"),
]  # fmt: skip


@pytest.mark.parametrize("call", INVALID, ids=lambda call: call[2][:40])
def test_invalid_calls_say_what_is_wrong(call):
    function, arguments, message = call
    with pytest.raises((RuntimeError, TypeError, ValueError, IndexError), match=message):
        function(*arguments)
