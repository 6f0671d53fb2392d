"""`chainrule.distributions` against SciPy, PyTorch where it is installed, and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats as st

import chainrule as cr
import chainrule.distributions as D
from chainrule.autograd import gradcheck
from chainrule.distributions import constraints
from tests.distribution_table import (
    CASES,
    COVARIANCE,
    F64,
    PROBS,
    TABLE,
    A,
    B,
    asked,
    close,
    make,
    tensor,
    torch_of,
)

# Against PyTorch. It gives NaN for modes of Weibull below a concentration of 1 and of Kumaraswamy, and the first corner instead of
# that of the greatest concentration for Dirichlet; its Bessel functions, series and counts have single precision.
OTHER_MODE = {"Weibull", "Kumaraswamy", "Beta"}
ROUGH = {"ContinuousBernoulli": 1e-6, "VonMises": 1e-4, "Multinomial": 1e-7, "GeneralizedPareto": 1e-5}


@pytest.mark.torch
@TABLE
def test_as_pytorch(name, parameters, values, scipy, torch):
    dtype = torch.float32 if name == "GeneralizedPareto" else torch.float64  # PyTorch's fails in float64
    ours, theirs = make(name, parameters), torch_of(torch, name, parameters, dtype)
    for what in ("batch_shape", "event_shape", "has_rsample", "has_enumerate_support"):
        assert getattr(ours, what) == getattr(theirs, what)
    assert ours.support.event_dim == theirs.support.event_dim
    assert ours.support.is_discrete == theirs.support.is_discrete
    rtol = ROUGH.get(name, 1e-8)
    for what in ("mean", "variance", "stddev", "mode", "entropy", "perplexity", "enumerate_support"):
        want = asked(theirs, what)
        if want is not None and not (what == "mode" and name in OTHER_MODE):
            close(asked(ours, what), want, rtol=rtol)
    for what, at in (("log_prob", values), ("cdf", values), ("icdf", [0.1, 0.5, 0.95])):
        try:
            want = getattr(theirs, what)(torch.tensor(at, dtype=dtype))
        except NotImplementedError:
            continue
        close(getattr(ours, what)(tensor(at)), want, rtol=rtol)


# Against SciPy and definitions


@pytest.mark.parametrize("case", [case for case in CASES if case[3]], ids=lambda case: case[0])
def test_as_scipy(case):
    name, parameters, values, scipy = case
    ours = make(name, parameters)
    theirs = scipy(**{key: np.array(value) for key, value in parameters.items()})
    continuous = hasattr(theirs, "logpdf")
    close(ours.log_prob(tensor(values)), (theirs.logpdf if continuous else theirs.logpmf)(values))
    if name != "VonMises":  # whose moments are those of a direction
        finite = np.isfinite(theirs.mean()) & np.isfinite(theirs.var())
        close(ours.mean.numpy()[finite], theirs.mean()[finite])
        close(ours.variance.numpy()[finite], theirs.var()[finite], rtol=1e-9)
    if asked(ours, "entropy") is not None:
        close(ours.entropy(), theirs.entropy(), rtol=1e-6)
    for what, ref, at in (("cdf", "cdf", values), ("icdf", "ppf", [0.1, 0.5, 0.95])):
        try:
            got = getattr(ours, what)(tensor(at))
        except NotImplementedError:
            continue
        close(got, getattr(theirs, ref)(at), rtol=1e-9)


def test_multivariate_densities_as_scipy():
    x = tensor([0.1, 0.0, 2.0])
    want = st.multivariate_normal([0.0, -1.0, 2.0], COVARIANCE).logpdf(x.numpy())
    for given in ({"covariance_matrix": COVARIANCE}, {"precision_matrix": np.linalg.inv(COVARIANCE).tolist()},
                  {"scale_tril": np.linalg.cholesky(COVARIANCE).tolist()}):  # fmt: skip
        close(make("MultivariateNormal", {"loc": [0.0, -1.0, 2.0], **given}).log_prob(x), want)
    factor, diag = np.array([[1.0, 0.3], [0.4, -1.0], [0.2, 0.6]]), np.array(B)
    low = D.LowRankMultivariateNormal(tensor([0.0, -1.0, 2.0]), cr.tensor(factor), cr.tensor(diag))
    covariance = factor @ factor.T + np.diag(diag)
    close(low.log_prob(x), st.multivariate_normal([0.0, -1.0, 2.0], covariance).logpdf(x.numpy()))
    close(low.precision_matrix, np.linalg.inv(covariance))
    close(low.scale_tril, np.linalg.cholesky(covariance))
    close(D.Dirichlet(tensor(A)).log_prob(tensor([0.2, 0.3, 0.5])), st.dirichlet(A).logpdf([0.2, 0.3, 0.5]))
    close(D.Dirichlet(tensor(A)).entropy(), st.dirichlet(A).entropy())
    value = np.array(COVARIANCE) + 0.1 * np.eye(3)
    wishart, theirs = D.Wishart(4.5, tensor(COVARIANCE)), st.wishart(4.5, COVARIANCE)
    close(wishart.log_prob(cr.tensor(value)), theirs.logpdf(value))
    close(wishart.entropy(), theirs.entropy())
    close(wishart.mean, theirs.mean())
    close(wishart.variance, theirs.var())
    multinomial = st.multinomial(5, PROBS[0])
    close(D.Multinomial(5, tensor(PROBS[0])).log_prob(tensor([2.0, 0.0, 3.0])), multinomial.logpmf([2, 0, 3]))
    close(D.Multinomial(5, tensor(PROBS[0])).entropy(), multinomial.entropy())


@pytest.mark.parametrize(
    "distribution",
    [
        D.Kumaraswamy(tensor([0.8, 2.0]), tensor([1.5, 0.9])),
        D.ContinuousBernoulli(tensor([0.1, 0.4999])),
        D.RelaxedBernoulli(0.6, tensor([0.1, 0.6])),
        D.LogisticNormal(tensor([[0.3], [-1.0]]), tensor([[0.7], [1.5]])),
        D.RelaxedOneHotCategorical(0.7, tensor([[0.3, 0.7], [0.5, 0.5]])),
    ],
    ids=lambda one: type(one).__name__,
)
def test_densities_integrate_to_one(distribution):
    nodes, weights = np.polynomial.legendre.leggauss(2000)
    # On x = s^2 (3 - 2 s), which flattens powers at both ends.
    s = cr.tensor((nodes + 1) / 2)
    x, slope = s * s * (3 - 2 * s), 6 * s * (1 - s)
    values = cr.stack([x, 1 - x], -1) if distribution.event_shape else x
    values = values.unsqueeze(1).expand(2000, 2, *values.shape[1:])
    density = distribution.log_prob(values).exp() * slope.unsqueeze(-1)
    close((density * cr.tensor(weights / 2).unsqueeze(-1)).sum(0), np.ones(2), rtol=2e-4)


def test_entropy_of_exponential_families_by_automatic_differentiation():
    """The general formula gives what the closed forms of the subclasses do."""
    for name, parameters, _, _ in CASES:
        one = make(name, parameters)
        if isinstance(one, D.ExponentialFamily) and isinstance(
            getattr(type(one), "_mean_carrier_measure", None), int
        ):
            close(D.ExponentialFamily.entropy(one), one.entropy(), rtol=1e-8)


# Gradients

DIFFERENTIABLE = [
    case for case in CASES
    if case[0] not in ("Geometric", "Categorical", "OneHotCategorical", "OneHotCategoricalStraightThrough", "Multinomial", "Uniform")
]  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda case: case[0])
def test_gradient_of_log_prob(case):
    name, parameters, values, _ = case
    fixed = {"total_count", "temperature", "dim", "covariance_matrix", "precision_matrix", "scale_tril"}
    moving = [key for key, value in parameters.items() if key not in fixed and isinstance(value, list)]
    if not moving:
        return
    tensors = [tensor(parameters[key], requires_grad=True) for key in moving]
    x = tensor(values)

    def log_prob(*given):
        rest = {key: tensor(value) for key, value in parameters.items() if key not in moving}
        return getattr(D, name)(
            **rest, **dict(zip(moving, given, strict=True)), validate_args=False
        ).log_prob(x)

    assert gradcheck(log_prob, tuple(tensors))


def quantile_slope(concentration, x):
    """dx/da at a fixed quantile of the gamma distribution, by central differences of SciPy's quantiles."""
    a, h = np.float64(concentration), 1e-5 * concentration
    q = st.gamma(a).cdf(x)
    return (st.gamma(a + h).ppf(q) - st.gamma(a - h).ppf(q)) / (2 * h)


@pytest.mark.parametrize("a", [0.05, 0.4, 1.0, 1.5, 3.0, 20.0, 800.0])
def test_gamma_draws_move_with_their_shape_along_quantiles(a):
    cr.manual_seed(3)
    concentration = cr.full((40,), a, dtype=F64, requires_grad=True)
    x = D.Gamma(concentration, 1.0).rsample()
    x.sum().backward()
    x = x.detach().numpy()
    # SciPy's quantiles of the smallest are exact to few digits, and those of the largest, of q near 1.
    inside = (st.gamma(a).cdf(x) < 0.98) & (x > 1e-12)
    assert inside.sum() > 15
    close(concentration.grad.numpy()[inside], quantile_slope(a, x)[inside], rtol=2e-5)


def test_higher_derivatives_of_gamma_draws():
    """The slope of a draw is itself a differentiable function of the shape and the draw."""
    from chainrule.autograd.ops.gamma_draw import log_gamma_draw, log_gamma_slope

    a = tensor([0.2, 0.7, 1.0, 2.5, 7.0, 40.0], requires_grad=True)
    log_x = tensor([-3.0, -0.2, 0.4, 0.6, 2.2, 3.6], requires_grad=True)
    assert gradcheck(lambda a, log_x: log_gamma_slope(cr.autograd.ops, a, log_x), (a, log_x))
    (first,) = cr.autograd.grad(log_gamma_draw(a, log_x).sum(), a, create_graph=True)
    close(first, log_gamma_slope(cr.autograd.ops, a, log_x))


@pytest.mark.parametrize(
    "make_one, parameters, mean_slope",
    [
        # The gradient of E[f(x)] by each parameter, f(x) = x.
        (lambda a, b: D.Gamma(a, b), [2.5, 1.5], lambda a, b: [1 / b, -a / b**2]),
        (lambda a, b: D.Beta(a, b), [2.5, 1.5], lambda a, b: [b / (a + b) ** 2, -a / (a + b) ** 2]),
        (lambda a, b: D.Dirichlet(cr.stack([a, b, b], -1)), [0.5, 1.5], None),
        (lambda a, b: D.InverseGamma(a, b), [7.0, 1.5], lambda a, b: [-b / (a - 1) ** 2, 1 / (a - 1)]),
        (lambda a, b: D.FisherSnedecor(a, b), [7.0, 30.0], lambda a, b: [0.0, -2 / (b - 2) ** 2]),
        (lambda a, b: D.Weibull(a, b), [2.0, 3.0], None),
        (lambda a, b: D.Kumaraswamy(a, b), [2.0, 3.0], None),
        (lambda a, b: D.Uniform(a, b), [2.0, 3.0], lambda a, b: [0.5, 0.5]),
        (lambda a, b: D.LogNormal(a, b), [0.2, 0.5], None),
    ],
    ids="Gamma Beta Dirichlet InverseGamma FisherSnedecor Weibull Kumaraswamy Uniform LogNormal".split(),
)
def test_mean_gradient_of_draws(make_one, parameters, mean_slope):
    """The mean over many draws of dx/dparameter is the derivative of the mean."""
    cr.manual_seed(11)
    n = 100_000
    leaves = [cr.full((n,), one, dtype=F64, requires_grad=True) for one in parameters]
    x = make_one(*leaves).rsample()
    x = x[..., 0] if x.ndim == 2 else x
    x.sum().backward()
    if mean_slope is None:
        exact = [tensor([one], requires_grad=True) for one in parameters]
        mean = make_one(*exact).mean
        (mean[..., 0] if mean.ndim == 2 else mean).sum().backward()
        want = [one.grad.item() for one in exact]
    else:
        want = mean_slope(*parameters)
    for leaf, expected in zip(leaves, want, strict=True):
        g = leaf.grad.numpy()
        assert abs(g.mean() - expected) < 5 * g.std() / math.sqrt(n) + 1e-12


def test_student_t_draws_spread_less_with_more_degrees():
    """The derivative of E[x^2] = df / (df - 2) by df."""
    cr.manual_seed(5)
    df = cr.full((200_000,), 9.0, dtype=F64, requires_grad=True)
    D.StudentT(df).rsample().square().sum().backward()
    g = df.grad.numpy()
    assert abs(g.mean() + 2 / 49) < 5 * g.std() / math.sqrt(g.size)


# Draws


@TABLE
def test_draws_have_the_moments(name, parameters, values, scipy):
    one = make(name, parameters)
    cr.manual_seed(1)
    x = one.sample((40_000,))
    assert x.shape == (40_000, *one.batch_shape, *one.event_shape)
    assert not x.requires_grad and bool(one.support.check(x).all())
    mean, variance = asked(one, "mean"), asked(one, "variance")
    if mean is None or name in ("Categorical", "VonMises"):
        return
    x, mean, variance = x.double().numpy(), mean.numpy(), variance.numpy()
    known = np.isfinite(mean) & np.isfinite(variance)
    error = np.abs(x.mean(0) - mean)[known]
    assert (error <= 5 * np.sqrt(variance[known] / len(x)) + 1e-9).all()
    fourth = ((x - x.mean(0)) ** 4).mean(0)[known]
    spread = np.sqrt(fourth / len(x))
    assert (np.abs(x.var(0)[known] - variance[known]) <= 6 * spread + 1e-9).all()


@pytest.mark.parametrize("name, parameters", [
    ("Gamma", {"concentration": [0.01, 0.4, 1.0, 2.5, 60.0], "rate": [1.0] * 5}),
    ("Beta", {"concentration1": [0.3, 2.5], "concentration0": [0.6, 1.5]}),
    ("StudentT", {"df": [0.7, 4.5]}),
    ("VonMises", {"loc": [0.0, 0.0, 0.0], "concentration": [0.01, 1.5, 40.0]}),
    ("Cauchy", {"loc": [0.0, -1.0, 3.0], "scale": B}),
    ("Gumbel", {"loc": [0.0, -1.0, 3.0], "scale": B}),
])  # fmt: skip
def test_draws_follow_the_distribution_function(name, parameters):
    """Kolmogorov and Smirnov's test against SciPy's distribution function."""
    refs = {
        "Gamma": lambda concentration, rate: st.gamma(concentration), "Beta": st.beta, "StudentT": st.t,
        "VonMises": lambda loc, concentration: st.vonmises(concentration), "Cauchy": st.cauchy, "Gumbel": st.gumbel_r,
    }  # fmt: skip
    cr.manual_seed(8)
    x = make(name, parameters).sample((20_000,)).numpy()
    for i, given in enumerate(zip(*parameters.values(), strict=True)):
        theirs = (
            refs[name](**dict(zip(parameters, given, strict=True)))
            if name in ("Gamma", "VonMises")
            else refs[name](*given)
        )
        assert st.kstest(x[:, i], theirs.cdf).pvalue > 1e-3


def test_lkj_correlations_follow_their_margins():
    """Each correlation of a D x D matrix is 2 b - 1 with b of Beta(c + D/2 - 1, c + D/2 - 1)."""
    cr.manual_seed(2)
    factor = D.LKJCholesky(4, 1.5).sample((20_000,)).numpy()
    correlation = factor @ factor.transpose(0, 2, 1)
    for i, j in ((0, 1), (0, 3), (2, 3)):
        assert st.kstest((correlation[:, i, j] + 1) / 2, st.beta(2.5, 2.5).cdf).pvalue > 1e-3


def test_outcomes_come_as_often_as_they_should():
    cr.manual_seed(4)
    probs = tensor(PROBS)
    drawn = D.Categorical(probs).sample((30_000,))
    assert drawn.dtype is cr.int64
    share = (drawn.unsqueeze(-1) == cr.arange(3)).double().mean(0)
    close(share, probs, rtol=0, atol=0.015)


def test_seeds_reproduce():
    for name, parameters, _, _ in CASES:
        one = make(name, parameters)
        cr.manual_seed(7)
        first = one.sample((3,))
        assert not np.array_equal(first.numpy(), one.sample((3,)).numpy()) or one.support.is_discrete
        cr.manual_seed(7)
        assert np.array_equal(first.numpy(), one.sample((3,)).numpy())


def test_tiny_shapes_neither_underflow_nor_give_nan():
    cr.manual_seed(0)
    a = cr.full((1000, 3), 1e-3, dtype=cr.float32, requires_grad=True)
    x = D.Dirichlet(a).rsample()
    close(x.sum(-1), np.ones(1000), rtol=1e-5)
    x[:, 0].sum().backward()
    assert bool(a.grad.isfinite().all())
    assert bool((D.Gamma(a, 1.0).sample() > 0).all())


def test_draws_are_float32_for_float32_parameters():
    for one in (
        D.Gamma(cr.ones(2), 1.0),
        D.Beta(cr.ones(2), 2.0),
        D.StudentT(cr.ones(2)),
        D.VonMises(cr.zeros(2), cr.ones(2)),
    ):
        assert one.sample().dtype is cr.float32


# Shapes


@TABLE
def test_expand(name, parameters, values, scipy):
    one = make(name, parameters)
    wide = one.expand((4, *one.batch_shape))
    assert (
        wide.batch_shape == (4, *one.batch_shape)
        and wide.event_shape == one.event_shape
        and type(wide) is type(one)
    )
    x = tensor(values)
    close(wide.log_prob(x), np.broadcast_to(one.log_prob(x).numpy(), wide.batch_shape))
    assert wide.sample((2,)).shape == (2, 4, *one.batch_shape, *one.event_shape)
    for what in ("mean", "variance", "entropy"):
        want = asked(one, what)
        if want is not None:
            close(asked(wide, what), np.broadcast_to(want.numpy(), asked(wide, what).shape))
            assert asked(wide, what).shape == (4, *want.shape)
    assert wide.expand(wide.batch_shape).batch_shape == wide.batch_shape


def test_expand_of_a_subclass_in_the_manner_of_pytorch():
    class Shifted(D.Normal):
        def __init__(self, loc, scale, by):
            self.by = by
            super().__init__(loc, scale)

        def expand(self, batch_shape, _instance=None):
            new = self._get_checked_instance(Shifted, _instance)
            new.by = self.by.expand(batch_shape)
            return super().expand(batch_shape, _instance=new)

    one = Shifted(0.0, 1.0, tensor([2.0])).expand((3, 1))
    assert one.by.shape == one.loc.shape == (3, 1) and type(one) is Shifted


def test_numbers_and_tensors_broadcast():
    one = D.Normal(0, cr.ones(3, dtype=F64))
    assert one.batch_shape == (3,) and one.loc.dtype is F64
    assert D.Normal(0, 1).sample().dtype is cr.float32 and D.Normal(0, 1).sample((2, 3)).shape == (2, 3)
    assert D.MultivariateNormal(cr.zeros(4, 1, 3), cr.eye(3).expand(5, 3, 3)).batch_shape == (4, 5)
    assert repr(D.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert repr(D.Gamma(cr.ones(2, 3), 1.0)) == "Gamma(concentration: (2, 3), rate: (2, 3))"
    with pytest.raises(ValueError, match="numbers or Tensors"):
        D.Normal("0", 1.0)


def test_independent():
    base = D.Normal(cr.zeros(2, 3, dtype=F64), 1.0)
    one, x = D.Independent(base, 1), cr.ones(2, 3, dtype=F64)
    assert (
        one.batch_shape == (2,)
        and one.event_shape == (3,)
        and one.has_rsample
        and not one.has_enumerate_support
    )
    close(one.log_prob(x), base.log_prob(x).sum(-1))
    close(one.entropy(), base.entropy().sum(-1))
    assert one.expand((5, 2)).sample().shape == (5, 2, 3)
    assert D.Independent(D.Bernoulli(cr.zeros(2)), 0).enumerate_support().shape == (2, 2)
    with pytest.raises(NotImplementedError, match="not enumerated"):
        D.Independent(D.Bernoulli(cr.zeros(2)), 1).enumerate_support()
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims is 3"):
        D.Independent(base, 3)


@pytest.mark.parametrize("event", [False, True])
def test_mixture(event):
    weights, means, widths = np.array([0.2, 0.5, 0.3]), np.array([-2.0, 0.0, 3.0]), np.array([0.5, 1.0, 0.7])
    parts = D.Normal(cr.tensor(means), cr.tensor(widths))
    if event:
        parts = D.Independent(D.Normal(parts.loc.unsqueeze(-1), parts.scale.unsqueeze(-1)), 1)
    one = D.MixtureSameFamily(D.Categorical(cr.tensor(weights)), parts)
    x = tensor([[0.3], [-1.0]]) if event else tensor([0.3, -1.0])
    flat = x.numpy().reshape(2, 1)
    close(one.log_prob(x), np.log((weights * st.norm(means, widths).pdf(flat)).sum(-1)))
    mean = (weights * means).sum()
    close(one.mean.sum(), mean)
    close(one.variance.sum(), (weights * (widths**2 + means**2)).sum() - mean**2)
    cr.manual_seed(0)
    drawn = one.sample((20_000,))
    assert drawn.shape == (20_000, *one.event_shape)
    assert abs(drawn.mean().item() - mean) < 0.07
    assert one.expand((2, 4)).sample((3,)).shape == (3, 2, 4, *one.event_shape)
    if not event:
        close(one.cdf(x), (weights * st.norm(means, widths).cdf(flat)).sum(-1))
    with pytest.raises(ValueError, match="3 weights"):
        D.MixtureSameFamily(one.mixture_distribution, D.Normal(cr.zeros(2), 1.0))
    with pytest.raises(ValueError, match="must be a Categorical"):
        D.MixtureSameFamily(parts, parts)


def test_transformed_distributions():
    base = D.Normal(tensor([0.0, 1.0]), 1.0)
    mirrored = D.TransformedDistribution(base, [D.ExpTransform(), D.AffineTransform(2.0, -1.0)])
    x = tensor([0.5, -3.0])
    close(mirrored.cdf(x), 1 - st.lognorm(1, scale=np.exp([0.0, 1.0])).cdf(2 - x.numpy()))
    close(mirrored.icdf(mirrored.cdf(x)), x)
    # The logistic distribution from a uniform one.
    logistic = D.TransformedDistribution(
        D.Uniform(tensor([0.0]), 1.0), [D.SigmoidTransform().inv, D.AffineTransform(1.0, 2.0)]
    )
    close(logistic.log_prob(tensor([0.3])), st.logistic(1, 2).logpdf([0.3]))
    assert D.TransformedDistribution(base, [D.ReshapeTransform((2,), (2, 1))]).event_shape == (2, 1)
    assert D.TransformedDistribution(D.Normal(0.0, 1.0), D.AffineTransform(cr.zeros(3), 1.0)).batch_shape == (
        3,
    )
    with pytest.raises(ValueError, match="events of 1 dimensions"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform())
    with pytest.raises(ValueError, match="a list of them"):
        D.TransformedDistribution(base, "exp")


# Checks


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: D.Normal(0.0, -1.0), "Normal: the parameter scale .* GreaterThan"),
        (lambda: D.Normal(cr.tensor([cr.nan]), 1.0), "the parameter loc .* Real"),
        (lambda: D.Bernoulli(1.5), "the parameter probs .* Interval"),
        (lambda: D.Bernoulli(), "Bernoulli: give either probs or logits"),
        (lambda: D.Categorical(cr.ones(2), cr.ones(2)), "and not both"),
        (lambda: D.Categorical(cr.tensor(1.0)), "at least 1 dimension"),
        (lambda: D.Categorical(cr.tensor([-1.0, 2.0])), "Simplex"),
        (lambda: D.Uniform(1.0, 1.0), "low must be below high"),
        (lambda: D.Geometric(0.0), "probs must be positive"),
        (lambda: D.ContinuousBernoulli(2.0), r"must lie in \[0, 1\]"),
        (lambda: D.MultivariateNormal(cr.zeros(2)), "give one of covariance_matrix"),
        (lambda: D.MultivariateNormal(cr.zeros(2), -cr.eye(2)), "PositiveDefinite"),
        (lambda: D.MultivariateNormal(cr.zeros(2), scale_tril=cr.ones(2, 2)), "LowerCholesky"),
        (
            lambda: D.LowRankMultivariateNormal(cr.zeros(2), cr.ones(3, 1), cr.ones(2)),
            "2 elements, cov_factor 3 rows",
        ),
        (lambda: D.Wishart(1.0, cr.eye(3)), "df must exceed 2"),
        (lambda: D.LKJCholesky(1), "dim must be an int"),
        (lambda: D.Dirichlet(cr.tensor(1.0)), "Dirichlet: concentration"),
        (lambda: D.Normal(0.0, 1.0).log_prob("0"), "expected a Tensor as value"),
        (lambda: D.Normal(0.0, 1.0).log_prob(cr.tensor(cr.nan)), "does not lie within the support Real"),
        (lambda: D.Normal(cr.zeros(3), 1.0).log_prob(cr.zeros(2)), r"shape \(2,\) does not broadcast"),
        (lambda: D.Dirichlet(cr.ones(3)).log_prob(cr.ones(2) / 2), r"ends in the event shape \(3,\)"),
        (lambda: D.Exponential(1.0).log_prob(cr.tensor(-1.0)), "GreaterThanEq"),
        (lambda: D.Binomial(3, cr.tensor(0.5)).log_prob(cr.tensor(4.0)), "IntegerInterval"),
        (lambda: D.Distribution.set_default_validate_args("yes"), "expected True or False"),
        (lambda: D.Transform(cache_size=2), "cache_size must be 0 or 1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        call()


def test_checks_can_be_switched_off():
    assert D.Normal(0.0, -1.0, validate_args=False).scale.item() == -1
    D.Distribution.set_default_validate_args(False)
    try:
        assert D.Exponential(-1.0).log_prob(cr.tensor(-1.0)).isnan().item()
    finally:
        D.Distribution.set_default_validate_args(True)


@pytest.mark.parametrize("call", [
    lambda: D.Poisson(1.0).rsample(), lambda: D.Gamma(1.0, 1.0).icdf(cr.tensor(0.5)), lambda: D.Poisson(1.0).entropy(),
    lambda: D.Normal(0.0, 1.0).enumerate_support(), lambda: D.Distribution(validate_args=False).mean,
    lambda: D.Distribution(validate_args=False).support, lambda: D.biject_to(constraints.one_hot),
    lambda: D.Multinomial(cr.tensor(3), cr.ones(2)), lambda: D.Binomial(cr.tensor([1.0, 2.0]), cr.tensor([0.5])).enumerate_support(),
])  # fmt: skip
def test_what_is_not_defined(call):
    with pytest.raises(NotImplementedError):
        call()


def test_a_distribution_without_declared_constraints_warns():
    class Bare(D.Distribution):
        pass

    with pytest.warns(UserWarning, match="Bare does not define arg_constraints"):
        Bare(validate_args=True)


def test_probs_and_logits_are_computed_from_each_other():
    logits = tensor([0.3, -1.0], requires_grad=True)
    one = D.Bernoulli(logits=logits)
    with cr.no_grad():
        probs = one.probs
    probs.sum().backward()
    close(logits.grad, probs.detach() * (1 - probs.detach()))
    assert one.probs is probs and one.param_shape == (2,)
    close(D.Categorical(tensor([0.0, 2.0])).logits, np.log([np.finfo(float).eps, 1 - np.finfo(float).eps]))


# Devices


@TABLE
def test_the_stand_in_of_a_gpu_gives_the_same(name, parameters, values, scipy):
    found = []
    for device in ("cpu", "fake"):
        cr.manual_seed(9)
        given = {
            key: tensor(value, device=device) if isinstance(value, list) else value
            for key, value in parameters.items()
        }
        one = getattr(D, name)(**given)
        drawn = one.sample((3,))
        rest = [asked(one, what) for what in ("mean", "variance", "mode", "entropy", "enumerate_support")]
        found.append([drawn, one.log_prob(drawn), *[value for value in rest if value is not None]])
        assert {value.device.type for value in found[-1]} == {device}
    for cpu, fake in zip(*found, strict=True):
        close(fake.cpu(), cpu)
