"""Divergences, transforms and constraints of `chainrule.distributions`."""

import math

import numpy as np
import pytest

import chainrule as cr
import chainrule.distributions as D
from chainrule.distributions import constraints, kl
from tests.distribution_table import COVARIANCE, PROBS, A, B, close, make, tensor, torch_of

# Divergences


KL = {
    "Bernoulli": {"probs": [0.1, 0.6, 0.9]},
    "Beta": {"concentration1": [1.4, 2.0, 3.5], "concentration0": [0.7, 1.5, 2.2]},
    "Binomial": {"total_count": [7.0, 7.0, 7.0], "probs": [0.1, 0.6, 0.9]},
    "Categorical": {"probs": PROBS},
    "Cauchy": {"loc": [0.0, -1.0, 3.0], "scale": B},
    "ContinuousBernoulli": {"probs": [0.1, 0.4, 0.9]},
    "Dirichlet": {"concentration": [[0.4, 1.0, 3.5], [2.0, 2.5, 1.5]]},
    "Exponential": {"rate": B},
    "Gamma": {"concentration": A, "rate": B},
    "Geometric": {"probs": [0.1, 0.6, 0.9]},
    "Gumbel": {"loc": [0.0, -1.0, 3.0], "scale": B},
    "HalfNormal": {"scale": B},
    "Laplace": {"loc": [0.0, -1.0, 3.0], "scale": B},
    "Normal": {"loc": [0.0, -1.0, 3.0], "scale": B},
    "OneHotCategorical": {"probs": PROBS},
    "Pareto": {"scale": B, "alpha": [2.5, 2.6, 3.0]},
    "Poisson": {"rate": [0.1, 2.5, 30.0]},
    "Uniform": {"low": [0.1, 1.2, -0.5], "high": [0.9, 2.5, 1.7]},
    "MultivariateNormal": {"loc": [[0.0, -1.0, 2.0], [1.0, 1.0, 1.0]], "covariance_matrix": COVARIANCE},
    "LowRankMultivariateNormal": {"loc": [[0.3, -1.0, 2.0], [1.0, 1.0, 1.0]],
                                  "cov_factor": [[1.0, 0.3], [0.4, -1.0], [0.2, 0.6]], "cov_diag": B},
}  # fmt: skip


def other(parameters):
    """Parameters of the same kind, but others."""
    turned = {"loc", "rate", "scale", "concentration1", "alpha", "cov_diag"}
    return {
        k: v[::-1] if k in turned or (k == "probs" and not isinstance(v[0], list)) else v
        for k, v in parameters.items()
    }


@pytest.mark.torch
def test_divergences_are_registered_for_the_pairs_of_pytorch(torch):
    theirs = {(p.__name__, q.__name__) for p, q in torch.distributions.kl._KL_REGISTRY}
    assert theirs <= {(p.__name__, q.__name__) for p, q in kl._pairs}


PAIRS = sorted({(p.__name__, q.__name__) for p, q in kl._pairs if p.__name__ in KL and q.__name__ in KL})


@pytest.mark.torch
@pytest.mark.parametrize("p, q", PAIRS)
def test_divergences_as_pytorch(p, q, torch):
    second = other(KL[q])
    got = D.kl_divergence(make(p, KL[p]), make(q, second))
    want = torch.distributions.kl_divergence(torch_of(torch, p, KL[p]), torch_of(torch, q, second))
    close(got, want, rtol=1e-5 if "ContinuousBernoulli" in (p, q) else 1e-8)


@pytest.mark.parametrize(
    "p, q", [pair for pair in PAIRS if kl._pairs[getattr(D, pair[0]), getattr(D, pair[1])] is not kl.infinite]
)
def test_divergences_are_mean_log_ratios(p, q):
    cr.manual_seed(6)
    one, two = make(p, KL[p]), make(q, other(KL[q]), validate_args=False)
    got = D.kl_divergence(one, two).numpy()
    finite = np.isfinite(got)
    assert finite.any()
    x = one.sample((40_000,))
    ratio = (one.log_prob(x) - two.log_prob(x)).numpy()[:, finite]
    assert (np.abs(ratio.mean(0) - got[finite]) <= 5.5 * ratio.std(0) / 200 + 1e-9).all()


def test_divergences_of_made_distributions():
    p, q = make("Normal", KL["Normal"]), make("Normal", other(KL["Normal"]))
    each = D.kl_divergence(p, q)
    close(D.kl_divergence(D.Independent(p, 1), D.Independent(q, 1)), each.sum(-1))
    same = [D.LogNormal(one.loc, one.scale) for one in (p, q)]
    close(D.kl_divergence(*same), each)
    with pytest.raises(NotImplementedError, match="same transforms"):
        D.kl_divergence(same[0], D.TransformedDistribution(q, [D.TanhTransform()]))
    with pytest.raises(NotImplementedError, match="no divergence of Cauchy from Normal"):
        D.kl_divergence(make("Cauchy", KL["Cauchy"]), q)
    close(D.kl_divergence(D.Chi2(tensor(A)), D.Chi2(tensor(A))), np.zeros(3))
    wishart = [make("Wishart", {"df": df, "covariance_matrix": COVARIANCE}) for df in (4.5, 6.0)]
    assert D.kl_divergence(wishart[0], wishart[0]).abs().item() < 1e-9 < D.kl_divergence(*wishart).item()
    first, second = (D.Binomial(n, tensor([0.5])) for n in (5, 4))
    assert D.kl_divergence(first, second).item() == math.inf
    with pytest.raises(NotImplementedError, match="fewer trials"):
        D.kl_divergence(second, first)


def test_a_divergence_of_ones_own():
    class Mine(D.Normal):
        pass

    p = Mine(tensor([0.0]), 1.0)
    close(D.kl_divergence(p, p), [0.0])  # Normal's
    D.register_kl(Mine, D.Normal)(lambda p, q: "p")
    D.register_kl(D.Normal, Mine)(lambda p, q: "q")
    try:
        assert D.kl_divergence(p, D.Normal(tensor([0.0]), 1.0)) == "p"
        with pytest.warns(RuntimeWarning, match="fit .Mine, Mine. equally"):
            assert D.kl_divergence(p, p) == "p"
    finally:
        del kl._pairs[Mine, D.Normal], kl._pairs[D.Normal, Mine]
    with pytest.raises(TypeError, match="subclasses of Distribution"):
        D.register_kl(int, D.Normal)


# Transforms and constraints


TRANSFORMS = [
    (D.ExpTransform(), [-1.0, 0.5]),
    (D.PowerTransform(2.0), [0.3, 1.5]),
    (D.PowerTransform(-0.5), [0.3, 1.5]),
    (D.SigmoidTransform(), [-1.0, 3.5]),
    (D.SoftplusTransform(), [-1.0, 3.5]),
    (D.TanhTransform(), [-1.0, 2.5]),
    (D.AffineTransform(1.0, -2.5), [-1.0, 3.5]),
    (D.AffineTransform(tensor([1.0, 2.0]), tensor([3.0, -0.5]), event_dim=1), [-1.0, 3.5]),
    (D.CumulativeDistributionTransform(D.Normal(tensor([0.0, 1.0]), 2.0)), [-1.0, 3.5]),
    (D.StickBreakingTransform(), [-1.0, 3.5, 0.2]),
    (D.CorrCholeskyTransform(), [-1.0, 0.8, 0.2, 0.1, -0.4, 0.6]),
    (D.ReshapeTransform((4,), (2, 2)), [-1.0, 3.5, 0.2, 0.0]),
    (D.IndependentTransform(D.ExpTransform(), 1), [-1.0, 3.5]),
    (D.ComposeTransform([D.AffineTransform(0.5, 2.0), D.StickBreakingTransform()]), [-1.0, 1.5]),
    (
        D.CatTransform([D.ExpTransform(), D.AffineTransform(1.0, 2.0)], dim=0, lengths=[2, 1]),
        [-1.0, 3.5, 0.2],
    ),
    (D.StackTransform([D.ExpTransform(), D.TanhTransform()], dim=0), [-1.0, 0.5]),
    (D.ExpTransform().inv, [0.3, 1.5]),
]


@pytest.mark.parametrize(
    "transform, x", TRANSFORMS, ids=[f"{i}-{type(t).__name__}" for i, (t, _) in enumerate(TRANSFORMS)]
)
def test_bijections(transform, x):
    x = tensor(x)
    y = transform(x)
    assert transform.bijective
    close(transform.inv(y), x, rtol=1e-9)
    assert transform.inv.inv == transform
    if not isinstance(transform, (D.CatTransform, D.StackTransform)):
        assert bool(transform.domain.check(x).all()) and bool(transform.codomain.check(y).all())
        assert transform.forward_shape(x.shape) == y.shape and transform.inverse_shape(y.shape) == x.shape
    volume = transform.log_abs_det_jacobian(x, y)
    close(-transform.inv.log_abs_det_jacobian(y, x), volume)
    # What a simplex or a Cholesky factor holds more than x is determined by the rest.
    free = {4: lambda y: y[..., :3], 3: lambda y: y[..., :2]} if "Stick" in repr(transform) else {}
    if isinstance(transform, D.CorrCholeskyTransform):
        rows, columns = cr.tril_indices(4, 4, -1).unbind(0)
        kept = lambda x: transform(x)[..., rows, columns]
    else:
        kept = lambda x: free.get(y.shape[-1], lambda y: y)(transform(x)).reshape(-1)
    jacobian = cr.autograd.functional.jacobian(kept, x)
    close(volume.sum(), jacobian.det().abs().log(), rtol=1e-9)


def test_many_to_one_transforms():
    x = tensor([[0.3, -1.0], [2.0, 0.5]])
    for transform in (
        D.SoftmaxTransform(),
        D.LowerCholeskyTransform(),
        D.PositiveDefiniteTransform(),
        D.AbsTransform(),
    ):
        y = transform(x)
        assert bool(transform.codomain.check(y).all())
        close(transform(transform.inv(y)), y)


def test_transforms_compare_and_cache():
    assert D.AffineTransform(0.0, tensor([2.0])) == D.AffineTransform(0.0, tensor([2.0]))
    assert (
        D.AffineTransform(0.0, 2.0) != D.AffineTransform(0.0, 3.0) and D.ExpTransform() != D.TanhTransform()
    )
    assert D.ExpTransform().inv == D.ExpTransform().inv
    cached = D.TanhTransform(cache_size=1)
    x = tensor([40.0])
    assert cached.inv(cached(x)) is x and D.TanhTransform().inv(D.TanhTransform()(x)).isinf().item()
    assert D.TanhTransform().with_cache()._cache_size == 1
    assert (
        D.AffineTransform(0.0, -2.0).sign == -1
        and D.ComposeTransform([D.AffineTransform(0, -1)] * 2).sign == 1
    )
    assert D.identity_transform(x) is x


@pytest.mark.parametrize("constraint, shape", [
    (constraints.real, (3,)), (constraints.positive, (3,)), (constraints.nonnegative, (3,)),
    (constraints.greater_than(2.0), (3,)), (constraints.greater_than_eq(-1.0), (3,)), (constraints.less_than(-1.0), (3,)),
    (constraints.unit_interval, (3,)), (constraints.interval(-1.0, 3.0), (3,)), (constraints.half_open_interval(-1.0, 3.0), (3,)),
    (constraints.simplex, (3,)), (constraints.lower_cholesky, (3, 3)), (constraints.positive_definite, (3, 3)),
    (constraints.positive_semidefinite, (3, 3)), (constraints.corr_cholesky, (3,)), (constraints.real_vector, (3,)),
    (constraints.independent(constraints.positive, 1), (3,)),
    (constraints.cat([constraints.positive, constraints.real], 0, [2, 1]), (3,)),
    (constraints.stack([constraints.positive, constraints.unit_interval], 0), (2,)),
], ids=lambda one: type(one).__name__.strip("_"))  # fmt: skip
def test_all_numbers_go_into_a_constraint(constraint, shape):
    x = cr.tensor(np.random.default_rng(0).normal(size=shape))
    for registry in (D.transform_to, D.biject_to):
        if registry is D.biject_to and len(shape) == 2:  # matrices have no bijection here
            continue
        transform = registry(constraint)
        assert bool(constraint.check(transform(x)).all())
        assert transform.bijective or registry is D.transform_to


@pytest.mark.parametrize("constraint, inside, outside", [
    (constraints.boolean, [0.0, 1.0], [0.5, 2.0]),
    (constraints.nonnegative_integer, [0.0, 3.0], [-1.0, 0.5]),
    (constraints.positive_integer, [1.0, 3.0], [0.0, 1.5]),
    (constraints.integer_interval(1, 3), [1.0, 3.0], [0.0, 4.0]),
    (constraints.half_open_interval(0.0, 1.0), [0.0, 0.9], [-0.1, 1.0]),
    (constraints.one_hot, [[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.0], [0.5, 0.5]]),
    (constraints.multinomial(3), [[1.0, 2.0], [3.0, 0.0]], [[4.0, -1.0], [3.0, 1.0]]),
    (constraints.simplex, [[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.4], [1.5, -0.5]]),
    (constraints.lower_triangular, [[[1.0, 0.0], [2.0, -1.0]]], [[[1.0, 0.1], [2.0, -1.0]]]),
    (constraints.symmetric, [[[1.0, 2.0], [2.0, -1.0]]], [[[1.0, 0.1], [2.0, -1.0]]]),
    (constraints.square, [[[1.0, 2.0], [2.0, -1.0]]], [[[1.0, 0.1, 0.0], [2.0, -1.0, 0.0]]]),
    (constraints.positive_semidefinite, [[[1.0, 1.0], [1.0, 2.0]]], [[[1.0, 2.0], [2.0, 1.0]]]),
    (constraints.corr_cholesky, [[[1.0, 0.0], [0.6, 0.8]]], [[[1.0, 0.0], [0.6, 0.7]]]),
])  # fmt: skip
def test_constraints_hold_and_fail(constraint, inside, outside):
    assert constraint.check(tensor(inside)).tolist() == [True] * len(inside)
    assert constraint.check(tensor(outside)).tolist() == [False] * len(outside)


def test_dependent_constraints():
    assert constraints.is_dependent(D.Uniform.support) and D.Uniform.support.event_dim == 0
    assert constraints.is_dependent(constraints.dependent) and not constraints.is_dependent(constraints.real)
    with pytest.raises(ValueError, match="without a distribution"):
        constraints.dependent.check(cr.zeros(1))
    with pytest.raises(NotImplementedError, match="event_dim depends"):
        _ = D.Independent.support.event_dim
    assert D.Uniform(0.0, 2.0).support.upper_bound.item() == 2


@pytest.mark.parametrize("diag", [-2, -1, 0, 1])
def test_triangles_as_vectors(diag):
    from chainrule.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix

    matrix = cr.arange(1.0, 17).reshape(4, 4)
    vector = tril_matrix_to_vec(matrix, diag)
    close(vector, matrix.numpy()[np.tril_indices(4, diag)])
    close(vec_to_tril_matrix(vector, diag), np.tril(matrix.numpy(), diag))
    with pytest.raises(ValueError, match="do not fill a triangle"):
        vec_to_tril_matrix(cr.ones(7), 0)
