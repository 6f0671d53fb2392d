"""L D L^T: LAPACK's packing, singular and empty matrices, errors."""

import numpy as np
import pytest

import chainrule as cr
from tests.rows.ldl import again


def matrix(n, kind, seed=0):
    """A symmetric or Hermitian matrix with zeros on its diagonal, which no elimination without exchanges survives."""
    made = np.random.default_rng(seed).normal(size=(2, n, n)) + 0j
    if kind != "real":
        made = made + 1j * np.random.default_rng(seed + 1).normal(size=(2, n, n))
    made = made + (made.conj() if kind == "Hermitian" else made).swapaxes(1, 2)
    made[0] -= np.diag(np.diag(made[0]))
    return made.real if kind == "real" else made


@pytest.mark.parametrize("kind", ["real", "symmetric", "Hermitian"])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 70])
def test_packed_as_lapack_packs(torch, n, kind):
    a, hermitian = matrix(n, kind), kind == "Hermitian"
    if n == 1:
        a += 1.0
    ours = cr.linalg.ldl_factor(cr.tensor(a), hermitian=hermitian)
    theirs = torch.linalg.ldl_factor(torch.tensor(a), hermitian=hermitian)
    np.testing.assert_array_equal(ours.pivots, theirs.pivots)
    np.testing.assert_allclose(ours.LD, theirs.LD, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kind", ["real", "symmetric", "Hermitian"])
def test_solves(kind, device):
    a, hermitian = matrix(9, kind), kind == "Hermitian"
    b = np.random.default_rng(5).normal(size=(9, 3)).astype(a.dtype)
    factors = cr.linalg.ldl_factor(cr.tensor(a, device=device), hermitian=hermitian)
    x = cr.linalg.ldl_solve(*factors, cr.tensor(b, device=device), hermitian=hermitian).cpu().numpy()
    np.testing.assert_allclose(a @ x, np.broadcast_to(b, (2, 9, 3)), rtol=1e-9, atol=1e-9)


def test_both_kinds_of_blocks_come_up():
    pivots = cr.linalg.ldl_factor(cr.tensor(matrix(20, "real"))).pivots.numpy()
    assert (pivots < 0).any() and (pivots > 0).any()


def test_only_the_lower_triangle_is_read():
    a = matrix(5, "real")[1]
    found = cr.linalg.ldl_factor_ex(cr.tensor(np.tril(a) + np.triu(np.full((5, 5), np.nan), 1))[None])
    np.testing.assert_allclose(again(found)[0], a, rtol=1e-10, atol=1e-10)


def test_singular_and_empty():
    a = cr.tensor([[1.0, 1], [1, 1]])
    found = cr.linalg.ldl_factor_ex(cr.stack([cr.eye(2), a, cr.zeros(2, 2)]))
    assert found.info.tolist() == [0, 2, 1] and found.info.dtype is cr.int32
    with pytest.raises(cr.linalg.LinAlgError, match=r"linalg.ldl_factor: entry \(0\).* 0 in step 2"):
        cr.linalg.ldl_factor(a[None])
    with pytest.raises(cr.linalg.LinAlgError, match="the matrix"):
        cr.linalg.ldl_factor_ex(a, check_errors=True)
    assert cr.linalg.ldl_factor_ex(cr.eye(2), check_errors=True).info.item() == 0
    for shape in ((0, 0), (0, 2, 2)):
        factors = cr.linalg.ldl_factor(cr.zeros(*shape))
        assert factors.LD.shape == shape and factors.pivots.shape == shape[:-1]
        assert cr.linalg.ldl_solve(*factors, cr.zeros(shape[-1], 3)).shape == (*shape[:-1], 3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda la: la.ldl_factor(cr.ones(2, 3)), r"square matrices.*\(2, 3\)"),
        (lambda la: la.ldl_factor(cr.ones(2, 2, dtype=cr.int64)), "expected float32.*int64"),
        (
            lambda la: la.ldl_solve(cr.eye(2), cr.ones(3, dtype=cr.int32), cr.eye(2)),
            r"shapes \(2, 2\), \(3,\)",
        ),
        (lambda la: la.ldl_solve(cr.eye(2), cr.ones(2, dtype=cr.int64), cr.eye(2)), "int32 pivots.*int64"),
        (lambda la: la.ldl_solve(cr.eye(2), cr.ones(2, dtype=cr.int32), cr.eye(2).double()), "one dtype"),
    ],
)
def test_bad_arguments(call, words):
    with pytest.raises(RuntimeError, match=f"linalg.ldl_.*{words}"):
        call(cr.linalg)
