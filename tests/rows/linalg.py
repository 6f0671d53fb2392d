"""Rows: linear algebra. Most are written once for `chainrule.linalg`, `numpy.linalg` and `torch.linalg`, which share names.

Singular vectors, eigenvectors and Q are determined up to signs: rows of theirs compare what does not depend on those.
"""

import numpy as np

import chainrule as cr
from chainrule import linalg
from chainrule.autograd.functions import linalg as functions
from chainrule.autograd.functions import linalg_factor as factor
from chainrule.autograd.functions import linalg_products as products
from chainrule.autograd.functions import statistics
from tests.table import Row, fixed, ints, within


def torch():
    return __import__("torch")


def shared(name, make, inputs, ref=True, **more):
    """A row for `make(library)`, a function of matrices written with the names of the three linear algebra libraries."""
    return Row(
        f"linalg.{name}",
        make(linalg),
        inputs,
        ref=make(np.linalg) if ref else None,
        torch=lambda *xs: make(torch().linalg)(*xs),
        **more,
    )


def symmetric(x):
    return (x + x.mT) / 2


def definite(x):
    """Positive-definite for a wide x."""
    return x @ x.mT


def size(z):
    """|z|^2 for complex z."""
    return (z * z.conj()).real


def vectors(values, found):
    """Squares of the components of vectors, weighted by their eigenvalues: independent of order, sign and phase."""
    return (size(found) * size(values)[..., None, :]).sum(-1)


INVERSE = [
    shared("inv", lambda la: la.inv, [(3, 3)]),
    shared("inv", lambda la: la.inv, [(2, 2, 2)], tag="batch"),
    Row("linalg.inv_ex", lambda x: linalg.inv_ex(x).inverse, [(3, 3)], ref=np.linalg.inv, torch=False),
    Row("inverse", linalg.inv, [(2, 2)], ref=np.linalg.inv),
    shared("solve", lambda la: la.solve, [(3, 3), (3, 2)]),
    shared("solve", lambda la: la.solve, [(2, 1, 3, 3), (4, 3, 2)], tag="batch"),
    shared("solve", lambda la: la.solve, [(3, 3), (3,)], tag="vector"),
    Row("linalg.solve", linalg.solve, [(3, 3), (2, 3)], kwargs={"left": False}, tag="right"),
    Row("linalg.solve_ex", lambda a, b: linalg.solve_ex(a, b).result, [(3, 3), (3, 2)], ref=np.linalg.solve, torch=False),
    shared("pinv", lambda la: la.pinv, [(2, 4, 3)], tag="tall"),
    shared("pinv", lambda la: la.pinv, [(3, 4)], tag="wide"),
    shared("pinv", lambda la: lambda a, b: la.pinv(a @ b), [(4, 2), (2, 3)], tag="rank"),
    shared("pinv", lambda la: lambda x: la.pinv(definite(x), hermitian=True), [(3, 5)], tag="hermitian"),
    Row("pinverse", products.pinverse, [(3, 2)], ref=np.linalg.pinv),
    shared("lstsq", lambda la: lambda a, b: la.lstsq(a, b, rcond=None)[0], [(5, 3), (5, 2)]),
    shared("lstsq", lambda la: lambda a, b: la.lstsq(a, b, rcond=None)[0], [(2, 4), (2, 3)], tag="wide"),
    shared(
        "lstsq",
        lambda la: lambda a, b, c: la.lstsq(a @ b, c, rcond=1e-10)[0],
        [(4, 2), (2, 3), (4, 2)],
        tag="rank",
    ),
    Row("linalg.lstsq", lambda a, b: linalg.lstsq(a, b)[0], [(2, 4, 3), (2, 4)], tag="batch", torch=lambda a, b: torch().linalg.lstsq(a, b)[0]),
    Row(
        "linalg.lstsq",
        lambda a, b: linalg.lstsq(a, b, driver="gelsd")[:2],
        [(5, 3), (5, 2)],
        ref=lambda a, b: np.linalg.lstsq(a, b)[:2],
        torch=lambda a, b: torch().linalg.lstsq(a, b, driver="gelsd")[:2],
        tag="residuals",
    ),
    shared("tensorinv", lambda la: la.tensorinv, [(2, 3, 3, 2)]),
    shared("tensorsolve", lambda la: la.tensorsolve, [(2, 3, 6), (2, 3)]),
]  # fmt: skip

DETERMINANT = [
    shared("det", lambda la: la.det, [(3, 3)]),
    shared("det", lambda la: la.det, [(2, 2, 2)], tag="batch"),
    shared("det", lambda la: lambda x: la.det(x @ x.mT), [(4, 3)], tag="singular"),
    Row("linalg.det", linalg.det, [fixed([[1, 2, 3], [2, 4, 6], [3, 6, 9]])], ref=np.linalg.det, tag="rank one", torch=False),
    shared("slogdet", lambda la: la.slogdet, [(2, 3, 3)]),
    Row("logdet", lambda x: products.logdet(definite(x)), [(3, 5)], ref=lambda x: np.log(np.linalg.det(definite(x))), torch=lambda x: torch().logdet(definite(x))),
]  # fmt: skip

FACTORS = [
    shared("cholesky", lambda la: lambda x: la.cholesky(definite(x)), [(3, 5)]),
    shared("cholesky", lambda la: lambda x: la.cholesky(definite(x)), [(2, 2, 4)], tag="batch"),
    shared("cholesky", lambda la: lambda x: la.cholesky(definite(x), upper=True), [(3, 5)], tag="upper"),
    Row("linalg.cholesky_ex", lambda x: linalg.cholesky_ex(definite(x)).L, [(3, 5)], ref=lambda x: np.linalg.cholesky(definite(x)), torch=False),
    Row("cholesky", lambda x: products.older_cholesky(definite(x)), [(3, 5)], torch=lambda x: torch().linalg.cholesky(definite(x))),
    Row(
        "cholesky_solve",
        lambda b, x: functions.cholesky_solve(b, linalg.cholesky(definite(x))),
        [(3, 2), (3, 5)],
        ref=lambda b, x: np.linalg.solve(definite(x), b),
        torch=lambda b, x: torch().cholesky_solve(b, torch().linalg.cholesky(definite(x))),
    ),
    Row(
        "cholesky_inverse",
        lambda x: functions.cholesky_inverse(linalg.cholesky(definite(x), upper=True), upper=True),
        [(3, 5)],
        ref=lambda x: np.linalg.inv(definite(x)),
        torch=lambda x: torch().cholesky_inverse(torch().linalg.cholesky(definite(x))),
    ),
    *[
        Row(
            "linalg.solve_triangular",
            linalg.solve_triangular,
            [fixed([[2, 1, -1], [0.5, -1, 2], [1, 0.3, 1.5]]), (2, 3, 3)],
            kwargs={"upper": upper, "left": left, "unitriangular": unit},
            tag=f"{'upper' if upper else 'lower'} {'left' if left else 'right'}{' unit' if unit else ''}",
        )
        for upper in (True, False)
        for left in (True, False)
        for unit in (True, False)
    ],
    Row("linalg.solve_triangular", lambda a, b: linalg.solve_triangular(a, b, upper=True), [fixed(np.eye(40) * 2 + np.triu(np.ones((40, 40))) / 9), (40, 1)], ref=np.linalg.solve, tag="halves", grad=False, torch=False),
    Row("linalg.lu", lambda x: linalg.lu(x)[1:], [(3, 3)], torch=lambda x: torch().linalg.lu(x)[1:]),
    Row("linalg.lu", lambda x: linalg.lu(x)[1:], [(2, 4, 2)], torch=lambda x: torch().linalg.lu(x)[1:], tag="tall"),
    Row("linalg.lu", lambda x: linalg.lu(x)[1:], [(2, 4)], torch=lambda x: torch().linalg.lu(x)[1:], tag="wide"),
    Row("linalg.lu", lambda x: product(linalg.lu(x)), [(3, 40, 37)], ref=lambda x: x, torch=False, tag="halves", grad=False),
    Row("linalg.lu", lambda x: linalg.lu(x, pivot=False)[1:], [fixed([[2, 1], [1, 3]])], ref=lambda x: ([[1, 0], [0.5, 1]], [[2, 1], [0, 2.5]]), torch=False, tag="no pivot"),
    Row("linalg.lu_factor", lambda x: linalg.lu_factor(x), [(3, 3)]),
    Row("linalg.lu_factor_ex", lambda x: linalg.lu_factor_ex(x), [(3, 3)], covers=("first_zero",)),
    *[
        Row(
            "linalg.lu_solve",
            lambda a, b, left=left, adjoint=adjoint: linalg.lu_solve(*linalg.lu_factor(a), b, left=left, adjoint=adjoint),
            [(2, 3, 3), (3, 3)],
            torch=lambda a, b, left=left, adjoint=adjoint: torch().linalg.lu_solve(*torch().linalg.lu_factor(a), b, left=left, adjoint=adjoint),
            tag=f"{'left' if left else 'right'}{' adjoint' if adjoint else ''}",
            covers=("pivots_to_permutation",),
        )
        for left in (True, False)
        for adjoint in (True, False)
    ],
    Row("lu_unpack", lambda x: factor.lu_unpack(*linalg.lu_factor(x)), [(3, 2)], torch=lambda x: torch().lu_unpack(*torch().linalg.lu_factor(x))),
    Row("lu", lambda x: factor.lu_with_infos(x, get_infos=True), [fixed([[1, 2], [4, 3]])], ref=lambda x: ([[4, 3], [0.25, 1.25]], [2, 2], 0), torch=False),
    Row("lu_solve", lambda b, a: factor.lu_solve_older(b, *linalg.lu_factor(a)), [(2, 1), (2, 2)], ref=lambda b, a: np.linalg.solve(a, b), torch=False),
    Row("triangular_solve", lambda b, a: factor.triangular_solve(b, a, transpose=True)[0], [(3, 2), fixed([[2, 1, -1], [0, -1, 2], [0, 0, 1.5]])], ref=lambda b, a: np.linalg.solve(a.T, b), torch=False),
    shared("qr", lambda la: lambda x: qr_products(*la.qr(x)), [(3, 3)]),
    shared("qr", lambda la: lambda x: qr_products(*la.qr(x)), [(2, 4, 2)], tag="tall"),
    shared("qr", lambda la: lambda x: qr_products(*la.qr(x)), [(2, 4)], tag="wide"),
    Row("linalg.qr", lambda x: definite(linalg.qr(x, mode="r").R.mT), [(4, 3)], ref=lambda x: definite(x.mT), torch=False, tag="r"),
    Row("linalg.qr", lambda x: definite(linalg.qr(x, mode="complete").Q), [(4, 2)], ref=lambda x: np.eye(4), tag="complete", grad=False, torch=False),
    Row("qr", lambda x: qr_products(*products.older_qr(x)), [(3, 3)], torch=lambda x: qr_products(*torch().linalg.qr(x))),
    Row("geqrf", lambda x: factor.geqrf(x), [(2, 4, 3)], grad=False),
    Row("linalg.householder_product", linalg.householder_product, [(2, 4, 3), (2, 2)]),
    Row("ormqr", lambda a, t, x: factor.ormqr(a, t, x), [(4, 3), (3,), (4, 2)]),
    Row("ormqr", lambda a, t, x: factor.ormqr(a, t, x, left=False, transpose=True), [(4, 3), (3,), (2, 4)], torch=lambda a, t, x: torch().ormqr(a, t, x, left=False, transpose=True), tag="right"),
]  # fmt: skip


def product(factors):
    p, lower, upper = factors
    return p @ lower @ upper


def qr_products(q, r):
    """What the signs of the columns of Q cancel in."""
    return q @ r, q * q, definite(r.mT)


def svd_products(u, s, vh):
    """What the signs of the vectors cancel in."""
    return u * u, s, vh * vh, u @ vh


SPECTRA = [
    shared("svd", lambda la: lambda x: svd_products(*la.svd(x, full_matrices=False)), [(3, 3)]),
    shared("svd", lambda la: lambda x: svd_products(*la.svd(x, full_matrices=False)), [(2, 4, 2)], tag="tall"),
    shared("svd", lambda la: lambda x: svd_products(*la.svd(x, full_matrices=False)), [(2, 4)], tag="wide"),
    shared("svd", lambda la: lambda x: la.svd(x)[0][..., :, :2] ** 2, [(4, 2)], tag="full"),
    Row("svd", lambda x: products.older_svd(x)[2] ** 2, [(3, 2)], torch=lambda x: torch().svd(x)[2] ** 2),
    Row("svd", lambda x: products.older_svd(x, compute_uv=False)[1], [(3, 2)], ref=lambda x: np.linalg.svd(x)[1], torch=False, tag="values"),
    shared("svdvals", lambda la: la.svdvals, [(2, 3, 4)]),
    shared("eigh", lambda la: lambda x: (la.eigh(symmetric(x))[0], la.eigh(symmetric(x))[1] ** 2), [(2, 3, 3)]),
    shared("eigh", lambda la: lambda x: la.eigh(x @ x.mT, "U")[1] ** 2, [(3, 5)], tag="upper"),
    shared("eigvalsh", lambda la: lambda x: la.eigvalsh(symmetric(x)), [(2, 3, 3)]),
    shared("eig", lambda la: lambda x: vectors(*la.eig(x)), [(2, 3, 3)]),
    shared("eigvals", lambda la: lambda x: size(la.eigvals(x)).sum(-1), [(2, 3, 3)]),
    shared("cond", lambda la: lambda x: la.cond(x), [(4, 3)]),
    *[shared("cond", lambda la, p=p: lambda x: la.cond(x, p), [(3, 3)], tag=str(p)) for p in (-2, "nuc")],
    # PyTorch 2.13 itself fails in the backward pass of these.
    *[Row("linalg.cond", linalg.cond, [(3, 3)], kwargs={"p": p}, ref=np.linalg.cond, tag=str(p), torch=False) for p in (1, -np.inf, "fro")],
    shared("matrix_rank", lambda la: lambda a, b: la.matrix_rank(a @ b), [(4, 2), (2, 3)], grad=False, covers=("count_above",)),
    Row("linalg.matrix_rank", lambda a, b: linalg.matrix_rank(symmetric(a @ b), hermitian=True, atol=0.1), [(3, 1), (1, 3)], ref=lambda a, b: np.linalg.matrix_rank(symmetric(a @ b), tol=0.1, hermitian=True), grad=False, torch=False, tag="hermitian"),
    Row("svd_lowrank", lambda a, b: rebuilt(factor.svd_lowrank(a @ b, q=2)), [(4, 2), (2, 5)], ref=np.matmul, torch=False),
    Row("pca_lowrank", lambda a, b: factor.pca_lowrank(a @ b, q=2)[1], [(6, 2), (2, 4)], ref=lambda a, b: np.linalg.svd(a @ b - (a @ b).mean(0))[1][:2], torch=False),
]  # fmt: skip


def rebuilt(found):
    u, s, v = found
    return (u * s) @ v.mT


NORMS = [
    *[
        Row("linalg.vector_norm", linalg.vector_norm, [(3, 4)], kwargs={"ord": ord}, ref=lambda x, ord: np.linalg.norm(x.ravel(), ord), tag=str(ord))
        for ord in (2, 1, 3.5, -2, 0, np.inf, -np.inf)
    ],
    Row("linalg.vector_norm", linalg.vector_norm, [(2, 3, 4)], kwargs={"dim": (0, 2), "keepdim": True}, tag="dim"),
    *[
        shared("matrix_norm", lambda la, ord=ord: lambda x: la.matrix_norm(x, ord=ord), [(2, 3, 4)], tag=str(ord))
        for ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    ],
    *[
        Row("linalg.matrix_norm", linalg.matrix_norm, [(2, 3, 4)], kwargs={"ord": ord, "dim": (2, 0), "keepdim": True}, tag=f"{ord} dim")
        for ord in ("fro", "nuc", 1, 2)
    ],
    shared("norm", lambda la: lambda x: la.norm(x), [(2, 3)]),
    shared("norm", lambda la: lambda x: la.norm(x, 1), [(2, 3)], tag="matrix"),
    shared("norm", lambda la: lambda x: la.norm(x, 3), [(4,)], tag="vector"),
]  # fmt: skip

PRODUCTS = [
    Row("linalg.matrix_exp", linalg.matrix_exp, [(2, 3, 3)]),
    Row("linalg.matrix_exp", linalg.matrix_exp, [within(-6, 6, (2, 2))], tag="scaled", tol=1e-7),
    Row("linalg.matrix_exp", linalg.matrix_exp, [fixed([[[0, 1], [-1, 0]], [[0, 20], [-20, 0]]])], ref=lambda x: np.array([[[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]] for t in (1, 20)]), tag="rotation"),
    *[
        shared("matrix_power", lambda la, n=n: lambda x: la.matrix_power(x, n), [(2, 2, 2)], tag=str(n), grad=n != 0)
        for n in (0, 1, 2, 5, -3)
    ],
    shared("multi_dot", lambda la: lambda *xs: la.multi_dot(xs), [(2, 5), (5, 3), (3, 4), (4, 1)]),
    shared("multi_dot", lambda la: lambda *xs: la.multi_dot(xs), [(3,), (3, 2), (2, 4), (4,)], tag="vectors"),
    Row("chain_matmul", products.chain_matmul, [(2, 3), (3, 4), (4, 2)], ref=lambda a, b, c: a @ b @ c, torch=False),
    Row("linalg.vecdot", linalg.vecdot, [(2, 3), (3,)], ref=lambda a, b: (a * b).sum(-1)),
    Row("vdot", products.vdot, [(4,), (4,)], ref=np.vdot),
    Row("linalg.cross", linalg.cross, [(2, 3), (1, 3)], ref=np.cross),
    Row("cross", products.cross, [(3, 2), (3, 2)], ref=lambda a, b: np.cross(a, b, axis=0), torch=lambda a, b: torch().cross(a, b, dim=0)),
    Row("linalg.diagonal", linalg.diagonal, [(2, 3, 4)], kwargs={"offset": 1}),
    Row("linalg.vander", linalg.vander, [(2, 3)], kwargs={"N": 4}),
    Row("vander", products.older_vander, [(3,)], ref=np.vander, torch=False),
    Row("linalg.vander", linalg.vander, [ints(-3, 4, (3,))], ref=lambda x: np.vander(x, increasing=True), grad=False, tag="integers"),
    Row("linalg.matmul", linalg.matmul, [(2, 3), (3, 2)], ref=np.matmul),
    Row("kron", products.kron, [(2, 3), (2, 2)], ref=np.kron),
    Row("kron", products.kron, [(2,), (2, 3, 1)], ref=np.kron, tag="broadcast"),
    Row("block_diag", products.block_diag, [(2, 3), (), (2,)]),
    Row("trace", products.trace, [(3, 4)], ref=np.trace),
    Row("addmv", products.addmv, [(2,), (2, 3), (3,)], kwargs={"beta": 0.5, "alpha": 2}),
    Row("addr", products.addr, [(2, 3), (2,), (3,)], kwargs={"beta": 0.5, "alpha": 2}),
    Row("addbmm", products.addbmm, [(2, 2), (3, 2, 4), (3, 4, 2)], kwargs={"beta": 0.5, "alpha": 2}),
    Row("cov", statistics.cov, [(3, 5)], ref=np.cov),
    Row("cov", lambda x, w: statistics.cov(x, fweights=cr.tensor([1, 2, 1, 3], device=x.device), aweights=w, correction=0), [(2, 4), within(0.5, 1, (4,))], ref=lambda x, w: np.cov(x, fweights=[1, 2, 1, 3], aweights=w, ddof=0), torch=False, tag="weights"),
    Row("corrcoef", statistics.corrcoef, [(3, 5)], ref=np.corrcoef),
    Row("cartesian_prod", statistics.cartesian_prod, [(2,), (3,)]),
    Row("combinations", statistics.combinations, [(4,)], kwargs={"r": 3}),
    Row("combinations", statistics.combinations, [(3,)], kwargs={"with_replacement": True}, tag="with replacement"),
]  # fmt: skip

ROWS = INVERSE + DETERMINANT + FACTORS + SPECTRA + NORMS + PRODUCTS
