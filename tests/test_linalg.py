"""Linear algebra beyond the table: complex matrices, matrices at which something degenerates, and shapes."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import linalg
from chainrule.autograd.functions import linalg_products, statistics
from chainrule.autograd.functions.linalg import cholesky_solve


def random(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def adjoint(x):
    return x.mT.conj()


def hermitian(x):
    return (x + adjoint(x)) / 2


def definite(x):
    return x @ adjoint(x) + cr.eye(x.shape[-2], dtype=x.dtype)


def size(x):
    """|x|^2, of which gradients are right whatever the sign or phase of x."""
    return (x * x.conj()).real


def check(function, *arrays):
    """First and second derivatives against central differences."""
    inputs = [cr.tensor(array, requires_grad=True) for array in arrays]
    assert cr.autograd.gradcheck(function, inputs, atol=1e-6, rtol=1e-5)
    assert cr.autograd.gradgradcheck(function, inputs, atol=1e-5, rtol=1e-4)


# --- complex matrices ---


def svd_products(u, s, vh):
    return size(u), s, size(vh), u @ vh


COMPLEX = {
    "inv": (linalg.inv, [(2, 3, 3)]),
    "solve": (linalg.solve, [(2, 3, 3), (3, 2)]),
    "solve right": (lambda a, b: linalg.solve(a, b, left=False), [(3, 3), (2, 3)]),
    "det": (linalg.det, [(2, 3, 3)]),
    "slogdet": (linalg.slogdet, [(2, 3, 3)]),
    "logdet": (linalg_products.logdet, [(3, 3)]),
    "pinv tall": (linalg.pinv, [(4, 2)]),
    "pinv wide": (linalg.pinv, [(2, 4)]),
    "pinv hermitian": (lambda x: linalg.pinv(hermitian(x), hermitian=True), [(3, 3)]),
    "lstsq": (lambda a, b: linalg.lstsq(a, b, driver="gelsd")[:2], [(4, 2), (4, 3)]),
    "matrix_exp": (linalg.matrix_exp, [(2, 3, 3)]),
    "cholesky": (lambda x: linalg.cholesky(definite(x)), [(2, 3, 3)]),
    "cholesky upper": (lambda x: linalg.cholesky(definite(x), upper=True), [(3, 3)]),
    "cholesky_solve": (lambda b, x: cholesky_solve(b, linalg.cholesky(definite(x))), [(3, 2), (3, 3)]),
    "solve_triangular": (lambda a, b: linalg.solve_triangular(a, b, upper=True), [(3, 3), (3, 2)]),
    "lu square": (lambda x: linalg.lu(x)[1:], [(3, 3)]),
    "lu tall": (lambda x: linalg.lu(x)[1:], [(4, 2)]),
    "lu wide": (lambda x: linalg.lu(x)[1:], [(2, 4)]),
    "lu_solve": (lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b, adjoint=True), [(3, 3), (3, 2)]),
    "qr square": (linalg.qr, [(3, 3)]),
    "qr tall": (linalg.qr, [(4, 2)]),
    "qr wide": (linalg.qr, [(2, 4)]),
    "householder_product": (linalg.householder_product, [(4, 3), (2,)]),
    "svd square": (lambda x: svd_products(*linalg.svd(x, full_matrices=False)), [(3, 3)]),
    "svd tall": (lambda x: svd_products(*linalg.svd(x, full_matrices=False)), [(4, 2)]),
    "svd wide": (lambda x: svd_products(*linalg.svd(x, full_matrices=False)), [(2, 4)]),
    "svdvals": (linalg.svdvals, [(2, 3, 2)]),
    "eigh": (lambda x: (lambda w, v: (w, size(v)))(*linalg.eigh(hermitian(x))), [(2, 3, 3)]),
    "eigvalsh": (lambda x: linalg.eigvalsh(hermitian(x)), [(3, 3)]),
    "eig": (lambda x: (lambda w, v: (w, size(v)))(*linalg.eig(x)), [(3, 3)]),
    "eigvals": (linalg.eigvals, [(2, 3, 3)]),
    "matrix_power": (lambda x: linalg.matrix_power(x, -2), [(2, 2)]),
    "multi_dot": (lambda *xs: linalg.multi_dot(xs), [(2, 3), (3, 2), (2,)]),
    "vector_norm": (linalg.vector_norm, [(2, 3)]),
    "vector_norm 3": (lambda x: linalg.vector_norm(x, 3, dim=1), [(2, 3)]),
    "vector_norm inf": (lambda x: linalg.vector_norm(x, float("inf"), keepdim=True), [(2, 3)]),
    "matrix_norm 1": (lambda x: linalg.matrix_norm(x, 1), [(2, 3)]),
    "matrix_norm fro": (lambda x: linalg.matrix_norm(x, dim=(0, 1), keepdim=True), [(2, 3, 2)]),
    "matrix_norm nuc": (lambda x: linalg.matrix_norm(x, "nuc"), [(3, 2)]),
    "cond": (linalg.cond, [(3, 3)]),
    "vecdot": (linalg.vecdot, [(2, 3), (3,)]),
    "cross": (linalg.cross, [(2, 3), (1, 3)]),
    "vander": (linalg.vander, [(3,)]),
    "kron": (linalg_products.kron, [(2, 2), (1, 2)]),
    "cov": (statistics.cov, [(2, 4)]),
    "corrcoef": (lambda x: statistics.corrcoef(x)[0, 1], [(2, 4)]),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_derivatives_of_complex_matrices(name):
    function, shapes = COMPLEX[name]
    check(function, *[random(*shape, seed=i + len(name)) for i, shape in enumerate(shapes)])


@pytest.mark.parametrize(
    "name", ["inv", "det", "pinv tall", "matrix_exp", "cholesky", "lu tall", "qr tall", "svd tall", "eigh", "eig", "lstsq", "matrix_norm nuc"]
)  # fmt: skip
def test_third_derivatives(name):
    """Rules are made of operations with rules: the gradient passes the check of first and second derivatives itself."""
    function, shapes = COMPLEX[name]
    first, *others = [random(*shape[-2:], seed=i + len(name)).real for i, shape in enumerate(shapes)]

    @cr.enable_grad()
    def gradient(x):
        x = x if x.requires_grad else x.requires_grad_()
        found = function(x, *[cr.tensor(one) for one in others])
        found = found if isinstance(found, tuple) else (found,)
        losses = [(one.real**2).sum() for one in found]
        return cr.autograd.grad(sum(losses[1:], losses[0]), x, create_graph=True)[0]

    check(gradient, first[:2, :2] if first.shape[0] == first.shape[1] else first)


@pytest.mark.parametrize(
    "loss", [lambda x: linalg.svd(x)[0].real.sum(), lambda x: linalg.eig(x)[1].real.sum(), lambda x: linalg.eigh(hermitian(x))[1].real.sum()]
)  # fmt: skip
def test_a_loss_that_depends_on_phases_is_refused(loss):
    x = cr.tensor(random(3, 3), requires_grad=True)
    with pytest.raises(
        RuntimeError, match=r"linalg\.(svd|eig|eigh): in the complex case .* factor e\^\(i phi\)"
    ):
        loss(x).backward()


# --- determinants of singular matrices ---

RANK_ONE = np.outer([1.0, 2.0, -1.0], [1.0, 0.5, 3.0])


@pytest.mark.parametrize("matrix", [
    RANK_ONE, np.zeros((3, 3)), np.diag([2.0, 3.0, 0.0]), np.ones((2, 2)), np.zeros((1, 1)),
    np.stack([RANK_ONE, np.eye(3), np.diag([1.0, 1e-9, 1.0]), np.zeros((3, 3))]),
], ids=["rank one", "zero", "rank two", "ones", "number", "batch"])  # fmt: skip
def test_the_determinant_is_differentiable_at_every_matrix(matrix):
    check(linalg.det, matrix)
    if matrix.ndim == 2:
        check(linalg.det, matrix * (1 + 0.5j))


def test_third_derivative_of_the_determinant_of_zeros():
    """det of a 3 x 3 matrix is a cubic form: its third derivative is +-1 where rows and columns all differ."""
    x = cr.zeros(3, 3, dtype=cr.float64, requires_grad=True)
    (g,) = cr.autograd.grad(linalg.det(x), x, create_graph=True)
    (h,) = cr.autograd.grad(g[0, 1], x, create_graph=True)
    (t,) = cr.autograd.grad(h[1, 2], x)
    expected = np.zeros((3, 3))
    expected[2, 0] = 1
    np.testing.assert_allclose(t.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(g.detach().numpy(), 0, atol=1e-12)


def test_cofactors_of_a_large_singular_matrix():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((12, 11)) @ rng.standard_normal((11, 12))
    x = cr.tensor(a, requires_grad=True)
    linalg.det(x).backward()
    u, s, vh = np.linalg.svd(a)
    expected = np.linalg.det(u) * np.linalg.det(vh) * np.prod(s[:-1]) * np.outer(u[:, -1], vh[-1])
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-8, atol=1e-8 * abs(expected).max())


def test_slogdet_of_a_singular_matrix_has_no_gradient():
    x = cr.tensor(RANK_ONE, requires_grad=True)
    sign, size = linalg.slogdet(x)
    with pytest.raises(linalg.LinAlgError, match="linalg.inv: the matrix is singular"):
        (sign + size).backward()


def test_logdet_of_a_negative_determinant_is_nan():
    assert np.isnan(linalg_products.logdet(cr.tensor([[0.0, 1.0], [1.0, 0.0]])).item())


# --- values that coincide ---


def test_eigenvalues_that_coincide():
    """The gradient of the values is finite, that of the vectors NaN."""
    x = cr.eye(3, dtype=cr.float64).requires_grad_()
    linalg.eigvalsh(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)
    x.grad = None
    linalg.eigh(x)[1].sum().backward()
    assert not np.isfinite(x.grad.numpy()).all()


def test_singular_values_that_coincide():
    x = (2 * cr.eye(3, dtype=cr.float64)).detach().requires_grad_()
    linalg.svdvals(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)
    x.grad = None
    linalg.matrix_norm(x, "nuc").backward()
    np.testing.assert_allclose(x.grad.numpy(), np.eye(3), atol=1e-12)
    x.grad = None
    linalg.svd(x)[0].sum().backward()
    assert not np.isfinite(x.grad.numpy()).all()


def test_norm_of_zeros_has_gradient_zero():
    for ord in (2, 1, 3, float("inf")):
        for dtype in (cr.float64, cr.complex128):
            x = cr.zeros(3, dtype=dtype, requires_grad=True)
            linalg.vector_norm(x, ord).backward()
            assert not x.grad.numpy().any()


def test_vectors_beyond_the_last_singular_value_do_not_move_anything():
    x = cr.tensor(random(4, 2).real, requires_grad=True)
    linalg.svd(x)[0][:, 2:].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 0)


def test_qr_complete_of_a_tall_matrix_has_no_gradient():
    x = cr.tensor(random(4, 2), requires_grad=True)
    with pytest.raises(RuntimeError, match=r"linalg.qr: mode=\"complete\" has no gradient .* \(4 x 2\)"):
        linalg.qr(x, mode="complete").R.real.sum().backward()
    wide = cr.tensor(random(2, 4), requires_grad=True)
    check(lambda x: linalg.qr(x, mode="complete"), random(2, 3))
    linalg.qr(wide, mode="complete").R.real.sum().backward()


def test_pseudo_inverse_keeps_its_rank():
    a, b = random(4, 1).real, random(1, 3).real
    check(lambda a, b: linalg.pinv(a @ b), a, b)
    cut = linalg.pinv(cr.tensor(np.diag([1.0, 1e-3])), rtol=1e-2).numpy()
    np.testing.assert_allclose(cut, np.diag([1.0, 0.0]))
    each = linalg.pinv(cr.tensor(np.stack([np.diag([1.0, 1e-3])] * 2)), atol=cr.tensor([0.1, 1e-6]))
    np.testing.assert_allclose(each.numpy(), [np.diag([1.0, 0.0]), np.diag([1.0, 1e3])])


# --- shapes and dtypes ---


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3)])
def test_empty_matrices(shape):
    x = cr.zeros(*shape, dtype=cr.float64, requires_grad=True)
    outputs = [
        linalg.inv(x), linalg.det(x), *linalg.slogdet(x), linalg.cholesky(x), *linalg.qr(x), *linalg.svd(x), *linalg.eigh(x),
        linalg.matrix_exp(x), linalg.pinv(x), *linalg.lu(x), linalg.lu_factor(x)[0], linalg.solve(x, x), linalg.eigvalsh(x),
        linalg.svdvals(x), linalg.cond(x), linalg.matrix_norm(x), linalg.matrix_power(x, 3), linalg.lstsq(x, x)[0],
        linalg.solve_triangular(x, x, upper=True),
    ]  # fmt: skip
    for one in outputs:
        assert tuple(one.shape)[: len(shape) - 2] == shape[:-2]
        if one.requires_grad:
            one.sum().backward(retain_graph=True)
    assert tuple(x.grad.shape) == shape
    assert tuple(linalg.matrix_rank(x).shape) == shape[:-2]


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_dtypes_are_kept(dtype):
    real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    wide = {"float32": "complex64", "float64": "complex128"}.get(dtype, dtype)
    x = cr.tensor(
        (random(3, 3) + 3 * np.eye(3)).astype(dtype)
        if dtype.startswith("c")
        else (random(3, 3).real + 3 * np.eye(3)).astype(dtype)
    )
    x.requires_grad_()
    expected = {
        "inv": dtype, "det": dtype, "matrix_exp": dtype, "pinv": dtype, "eigvals": wide, "svdvals": real, "eigvalsh": real,
        "matrix_norm": real, "cond": real,
    }  # fmt: skip
    for name, want in expected.items():
        y = getattr(linalg, name)(x)
        assert y.dtype.name == want, name
        x.grad = None
        size(y).sum().backward()
        assert x.grad.dtype.name == dtype, name
    assert [one.dtype.name for one in linalg.svd(x)] == [dtype, real, dtype]
    assert [one.dtype.name for one in linalg.eigh(x)] == [real, dtype]
    assert [one.dtype.name for one in linalg.slogdet(x)] == [dtype, real]
    assert [one.dtype.name for one in linalg.lu_factor(x)] == [dtype, "int32"]


def test_matrix_exponential_of_matrices_of_very_different_size():
    a = np.stack(
        [
            np.zeros((2, 2)),
            np.diag([-30.0, 5.0]),
            np.array([[0.0, 1e-8], [0.0, 0.0]]),
            np.array([[0, 100.0], [0, 0]]),
        ]
    )
    expected = np.stack(
        [
            np.eye(2),
            np.diag(np.exp([-30.0, 5.0])),
            np.array([[1, 1e-8], [0, 1]]),
            np.array([[1, 100.0], [0, 1]]),
        ]
    )
    np.testing.assert_allclose(linalg.matrix_exp(cr.tensor(a)).numpy(), expected, rtol=1e-12, atol=1e-20)


def test_multi_dot_multiplies_in_the_cheapest_order():
    """(1000 x 2)(2 x 1000)(1000 x 2): from the right costs 8,000 multiplications, from the left 4,000,000."""
    shapes = []
    original = linalg_products.matmul
    try:
        linalg_products.matmul = lambda a, b: shapes.append((*a.shape, b.shape[1])) or original(a, b)
        linalg.multi_dot([cr.ones(1000, 2), cr.ones(2, 1000), cr.ones(1000, 2)])
    finally:
        linalg_products.matmul = original
    assert sum(m * k * n for m, k, n in shapes) == 8000


def test_weights_of_covariance():
    x, f = random(3, 5).real, np.array([1, 2, 3, 1, 0])
    w = np.array([0.5, 1.0, 0.2, 0.9, 0.4])
    for correction in (0, 1):
        for weights in ({}, {"fweights": f}, {"aweights": w}, {"fweights": f, "aweights": w}):
            got = statistics.cov(
                cr.tensor(x), correction=correction, **{name: cr.tensor(one) for name, one in weights.items()}
            )
            np.testing.assert_allclose(got.numpy(), np.cov(x, ddof=correction, **weights), rtol=1e-12)


def test_products_added_to_something():
    """With beta = 0 what is there does not count, not even NaNs; integers keep their dtype, and round the factors down."""
    nan, matrix, vector = cr.full((2,), float("nan")), cr.ones(2, 3), cr.ones(3)
    assert linalg_products.addmv(nan, matrix, vector, beta=0, alpha=2).tolist() == [6.0, 6.0]
    whole = linalg_products.addmv(cr.tensor([1, 1]), matrix.long(), vector.long(), beta=1.7, alpha=2.5)
    assert whole.dtype is cr.int64 and whole.tolist() == [7, 7]


def test_small_sets():
    x = cr.tensor([1.0, 2.0, 3.0])
    assert statistics.cartesian_prod(x).tolist() == x.tolist()
    assert tuple(statistics.combinations(x, r=0).shape) == (0,) and tuple(
        statistics.combinations(x, r=4).shape
    ) == (0, 4)
    assert statistics.corrcoef(x).item() == 1.0
    assert statistics.cov(cr.tensor([[1, 2, 4], [0, 1, 2]])).dtype is cr.float32
    assert not np.isfinite(statistics.cov(x[:1]).item())
    assert linalg_products.chain_matmul(cr.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert linalg.vander(cr.tensor([True, False])).tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int64"])
def test_the_importance_of_observations_may_be_more_precise_than_they_are(name, torch):
    for weights in ("float16", "float32", "float64"):

        def found(library, weights=weights):
            x = library.tensor([[1, 2, 3], [4, 1, 0]], dtype=getattr(library, name))
            return library.cov(x, aweights=library.tensor([0.5, 1, 2], dtype=getattr(library, weights)))

        ours, theirs = found(cr), found(torch)
        assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        np.testing.assert_allclose(
            ours.tolist(), theirs.tolist(), rtol=2e-2 if ours.dtype.itemsize == 2 else 1e-6
        )
