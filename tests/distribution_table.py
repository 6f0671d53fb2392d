"""Distributions with parameters and values, for the tests of `chainrule.distributions`."""

import math

import numpy as np
import pytest
import scipy.stats as st

import chainrule as cr
import chainrule.distributions as D

F64 = cr.float64
COVARIANCE = [[2.0, 0.5, 0.1], [0.5, 1.0, -0.3], [0.1, -0.3, 0.7]]
FACTOR = [[1.0, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.3, 0.5, 1.2]]
PROBS = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
A, B = [0.4, 1.0, 3.5], [0.7, 1.0, 2.2]

# (class, parameters, values at which densities are compared, SciPy's distribution of the parameters or None)
CASES = [
    ("Normal", {"loc": [0.0, -1.0, 3.0], "scale": B}, [0.1, -2.0, 5.0], lambda loc, scale: st.norm(loc, scale)),
    ("LogNormal", {"loc": [0.0, -1.0, 1.0], "scale": [0.7, 1.0, 0.4]}, [0.1, 2.0, 5.0], lambda loc, scale: st.lognorm(scale, scale=np.exp(loc))),
    ("HalfNormal", {"scale": B}, [0.1, 2.0, 0.0], lambda scale: st.halfnorm(scale=scale)),
    ("LogisticNormal", {"loc": [0.3, -1.0], "scale": [0.7, 1.5]}, [0.2, 0.3, 0.5], None),
    ("Uniform", {"low": [0.0, -1.0, 3.0], "high": [1.0, 2.5, 7.0]}, [0.1, -0.5, 6.0], lambda low, high: st.uniform(low, high - low)),
    ("Laplace", {"loc": [0.0, -1.0, 3.0], "scale": B}, [0.1, -2.0, 5.0], lambda loc, scale: st.laplace(loc, scale)),
    ("Cauchy", {"loc": [0.0, -1.0, 3.0], "scale": B}, [0.1, -2.0, 5.0], lambda loc, scale: st.cauchy(loc, scale)),
    ("HalfCauchy", {"scale": B}, [0.1, 2.0, 0.0], lambda scale: st.halfcauchy(scale=scale)),
    ("Gumbel", {"loc": [0.0, -1.0, 3.0], "scale": B}, [0.1, -2.0, 5.0], lambda loc, scale: st.gumbel_r(loc, scale)),
    ("Exponential", {"rate": B}, [0.1, 2.0, 0.0], lambda rate: st.expon(scale=1 / rate)),
    ("Pareto", {"scale": B, "alpha": [0.5, 1.5, 3.0]}, [1.1, 2.0, 5.0], lambda scale, alpha: st.pareto(alpha, scale=scale)),
    ("Weibull", {"scale": B, "concentration": [0.6, 1.0, 3.0]}, [0.1, 2.0, 5.0],
     lambda scale, concentration: st.weibull_min(concentration, scale=scale)),
    ("Kumaraswamy", {"concentration1": [0.6, 2.0, 3.0], "concentration0": [1.5, 0.7, 2.0]}, [0.1, 0.5, 0.9], None),
    ("GeneralizedPareto", {"loc": [0.0, -1.0, 3.0], "scale": B, "concentration": [0.3, 0.0, -0.4]}, [0.1, 2.0, 5.0],
     lambda loc, scale, concentration: st.genpareto(concentration, loc, scale)),
    ("Gamma", {"concentration": A, "rate": B}, [0.1, 2.0, 5.0], lambda concentration, rate: st.gamma(concentration, scale=1 / rate)),
    ("Chi2", {"df": A}, [0.1, 2.0, 5.0], lambda df: st.chi2(df)),
    ("InverseGamma", {"concentration": [0.4, 1.7, 3.5], "rate": B}, [0.1, 2.0, 5.0],
     lambda concentration, rate: st.invgamma(concentration, scale=rate)),
    ("Beta", {"concentration1": A, "concentration0": [0.7, 1.5, 2.2]}, [0.1, 0.5, 0.9],
     lambda concentration1, concentration0: st.beta(concentration1, concentration0)),
    ("Dirichlet", {"concentration": [[0.4, 1.0, 3.5], [2.0, 2.5, 1.5]]}, [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], None),
    ("StudentT", {"df": [0.7, 1.5, 4.5], "loc": [0.0, -1.0, 3.0], "scale": B}, [0.1, -2.0, 5.0],
     lambda df, loc, scale: st.t(df, loc, scale)),
    ("FisherSnedecor", {"df1": [0.7, 3.0, 5.5], "df2": [1.5, 3.5, 9.0]}, [0.1, 2.0, 5.0], lambda df1, df2: st.f(df1, df2)),
    ("VonMises", {"loc": [0.0, -1.0, 3.0], "concentration": [0.01, 1.5, 40.0]}, [0.1, -2.0, 3.0],
     lambda loc, concentration: st.vonmises(concentration, loc)),
    ("Bernoulli", {"probs": [0.1, 0.6, 0.9]}, [1.0, 0.0, 1.0], lambda probs: st.bernoulli(probs)),
    ("Bernoulli", {"logits": [-3.0, 0.2, 30.0]}, [1.0, 0.0, 1.0], None),
    ("ContinuousBernoulli", {"probs": [0.1, 0.5, 0.9]}, [0.3, 0.0, 1.0], None),
    ("ContinuousBernoulli", {"logits": [-3.0, 0.003, 5.0]}, [0.3, 0.0, 0.7], None),
    ("Geometric", {"probs": [0.1, 0.6, 0.9]}, [7.0, 0.0, 1.0], lambda probs: st.geom(probs, loc=-1)),
    ("Geometric", {"logits": [-3.0, 0.2, 3.0]}, [7.0, 0.0, 1.0], None),
    ("Binomial", {"total_count": [7.0, 7.0, 7.0], "probs": [0.1, 0.6, 0.9]}, [2.0, 0.0, 7.0],
     lambda total_count, probs: st.binom(total_count, probs)),
    ("Binomial", {"total_count": [7.0, 7.0, 7.0], "logits": [-3.0, 0.2, 3.0]}, [2.0, 0.0, 7.0], None),
    ("NegativeBinomial", {"total_count": [3.0, 1.5, 7.0], "probs": [0.1, 0.6, 0.9]}, [2.0, 0.0, 31.0],
     lambda total_count, probs: st.nbinom(total_count, 1 - probs)),
    ("NegativeBinomial", {"total_count": [3.0, 1.5, 7.0], "logits": [-3.0, 0.2, 3.0]}, [2.0, 0.0, 31.0], None),
    ("Poisson", {"rate": [0.1, 2.5, 30.0]}, [2.0, 0.0, 31.0], lambda rate: st.poisson(rate)),
    ("Categorical", {"probs": PROBS}, [2.0, 0.0], None),
    ("Categorical", {"logits": [[1.0, -2.0, 0.5], [0.0, 0.0, -math.inf]]}, [2.0, 0.0], None),
    ("OneHotCategorical", {"probs": PROBS}, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], None),
    ("OneHotCategoricalStraightThrough", {"logits": PROBS}, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], None),
    ("Multinomial", {"total_count": 5, "probs": PROBS}, [[2.0, 0.0, 3.0], [1.0, 4.0, 0.0]], None),
    ("RelaxedBernoulli", {"temperature": 0.6, "probs": [0.1, 0.6, 0.9]}, [0.3, 0.01, 0.99], None),
    ("RelaxedOneHotCategorical", {"temperature": 0.6, "probs": PROBS}, [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]], None),
    ("MultivariateNormal", {"loc": [[0.0, -1.0, 2.0], [1.0, 1.0, 1.0]], "covariance_matrix": COVARIANCE}, [[0.1, 0.0, 2.0]] * 2, None),
    ("MultivariateNormal", {"loc": [0.0, -1.0, 2.0], "precision_matrix": [COVARIANCE] * 2}, [[0.1, 0.0, 2.0]] * 2, None),
    ("MultivariateNormal", {"loc": [0.0, -1.0, 2.0], "scale_tril": FACTOR}, [0.1, 0.0, 2.0], None),
    ("LowRankMultivariateNormal", {"loc": [[0.0, -1.0, 2.0], [1.0, 1.0, 1.0]], "cov_factor": [[1.0, 0.3], [0.4, -1.0], [0.2, 0.6]],
     "cov_diag": B}, [[0.1, 0.0, 2.0]] * 2, None),
    ("Wishart", {"df": [3.5, 7.0], "covariance_matrix": COVARIANCE}, [COVARIANCE] * 2, None),
    ("Wishart", {"df": 4.5, "scale_tril": FACTOR}, COVARIANCE, None),
    ("Wishart", {"df": 4.5, "precision_matrix": COVARIANCE}, COVARIANCE, None),
    ("LKJCholesky", {"dim": 3, "concentration": [0.7, 1.0, 2.5]},
     [[[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.48, -0.6, 0.64]]] * 3, None),
]  # fmt: skip
TABLE = pytest.mark.parametrize(
    "name, parameters, values, scipy", CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)]
)


def tensor(value, **kwargs):
    """Lists as float64 Tensors; other things as they are."""
    return cr.tensor(value, dtype=F64, **kwargs) if isinstance(value, list) else value


def make(name, parameters, **kwargs):
    return getattr(D, name)(**{key: tensor(value) for key, value in parameters.items()}, **kwargs)


def torch_of(torch, name, parameters, dtype=None):
    given = {
        key: torch.tensor(value, dtype=dtype or torch.float64) if isinstance(value, (list, float)) else value
        for key, value in parameters.items()
    }
    return getattr(torch.distributions, name)(**given)


def close(got, want, rtol=1e-10, atol=1e-12):
    got = got.detach().numpy() if isinstance(got, cr.Tensor) else got
    want = want.detach().numpy() if hasattr(want, "detach") else want
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol)


def asked(distribution, name):
    """A property or the value of a method without arguments; None where it is not defined."""
    try:
        found = getattr(distribution, name)
        return found() if callable(found) else found
    except NotImplementedError:
        return None
