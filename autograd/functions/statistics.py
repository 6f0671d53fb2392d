"""Covariance and correlation; products and combinations of sets."""

import itertools

from chainrule.autograd import ops
from chainrule.autograd.precision import precision
from chainrule.backends import dtypes

from . import reduction
from .common import holds, tensor_of
from .linalg import adjoint
from .product import matmul


def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariance matrix of variables, one in each row, each column an observation; a vector is one variable.

    fweights: how often each observation counts (integers); aweights: how much. The sum of squares is divided by the number of
    observations minus `correction`, and by nothing less than 0.
    """
    x = tensor_of(input, "cov")
    if x.ndim > 2:
        raise RuntimeError(f"cov: expected at most 2 dimensions, got shape {tuple(x.shape)}")
    if x.dtype is dtypes.bool:
        raise RuntimeError("cov: bool tensors have no covariance; convert with .float()")
    x = x.reshape(1, -1) if x.ndim < 2 else x
    weights, total, freedom = _weights(x.shape[1], correction, fweights, aweights)
    kind = x.dtype if weights is None else dtypes.result_type(x._array, weights._array)
    x = x.to(kind if kind.is_floating_point or kind.is_complex else dtypes.get_default_dtype())
    if weights is None:
        centred = x - ops.sum(x, 1, True) / total
        weighted = centred
    else:
        weights = weights.to(x.dtype.to_real())
        centred = x - ops.sum(x * weights, 1, True) / total.to(x.dtype.to_real())
        weighted = centred * weights
    return ops.squeeze(matmul(centred, adjoint(weighted)) / freedom)


def _weights(count, correction, fweights, aweights):
    """The weight of each observation (or None), their sum, and what to divide by."""
    for name, one in (("fweights", fweights), ("aweights", aweights)):
        if one is None:
            continue
        if tensor_of(one, "cov").ndim > 1 or one.numel() != count:
            raise RuntimeError(
                f"cov: {name} must be a vector of {count} numbers, one for each observation, got shape {tuple(one.shape)}"
            )
        if one.dtype.is_floating_point is (name == "fweights"):
            raise RuntimeError(
                f"cov: {name} must be {'integers' if name == 'fweights' else 'floats'}, got {one.dtype}"
            )
        if holds((one < 0).any()):
            raise RuntimeError(f"cov: {name} must not be negative")
    if fweights is None and aweights is None:
        return None, count, max(count - correction, 0)
    weights = fweights if aweights is None else aweights if fweights is None else fweights * aweights
    total = weights.sum()
    if aweights is None or correction == 0:
        freedom = total - correction
    else:
        freedom = total - correction * (weights * aweights).sum() / total
    return weights, total, freedom * (freedom > 0)


def corrcoef(input):
    """The correlation coefficients of variables, one in each row: the covariance scaled to ones on the diagonal, within [-1, 1]."""
    if tensor_of(input, "corrcoef").ndim > 2:
        raise RuntimeError(f"corrcoef: expected at most 2 dimensions, got shape {tuple(input.shape)}")
    found = cov(input)
    if found.ndim == 0:
        return found / found
    deviation = ops.sqrt(ops.real(ops.diagonal(found, 0, 0, 1)))
    found = found / ops.expand_dims(deviation, 1) / ops.expand_dims(deviation, 0)
    if not found.dtype.is_complex:
        return ops.clip(found, -1, 1)
    return ops.clip(ops.real(found), -1, 1) + 1j * ops.clip(ops.real(found * -1j), -1, 1)


def cartesian_prod(*tensors):
    """All rows with one element of each vector, the last varying fastest; a single vector as it is."""
    vectors = [tensor_of(one, "cartesian_prod") for one in tensors]
    for one in vectors:
        if one.ndim != 1:
            raise RuntimeError(f"cartesian_prod: expected vectors, got shape {tuple(one.shape)}")
    if len(vectors) == 1:
        return vectors[0].reshape(-1)
    lengths = tuple(one.shape[0] for one in vectors)
    columns = []
    for i, one in enumerate(vectors):
        along = one.reshape([n if i == j else 1 for j, n in enumerate(lengths)])
        columns.append(ops.broadcast_to(along, lengths).reshape(-1))
    return ops.stack(columns, 1)


def combinations(input, r=2, with_replacement=False):
    """All choices of r elements of a vector as rows, in the order of `itertools.combinations`."""
    x = tensor_of(input, "combinations")
    if x.ndim != 1:
        raise RuntimeError(f"combinations: expected a vector, got shape {tuple(x.shape)}")
    if r < 0:
        raise RuntimeError(f"combinations: r must not be negative, got {r}")
    if r == 0:
        return x.new_empty(0)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = list(choose(range(x.shape[0]), r))
    return x[x.new_tensor(places, dtype=dtypes.int64)] if places else x[:0].reshape(0, r)


def _without_nan(input, dtype, name):
    """`input` with 0 for NaN, and where it is not NaN."""
    x = tensor_of(input, name)
    x = x if dtype is None else x.to(dtype)
    present = ops.logical_not(ops.isnan(x))
    return ops.where(present, x, ops.zeros_like(x)), present


@precision(accelerator="unchanged")
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """Sum over `dim` (all by default) of what is not NaN; a NaN gets the gradient 0."""
    if tensor_of(input, "nansum").dtype.is_complex:
        raise RuntimeError(f"nansum: expected a real tensor, got {input.dtype}; take .real and .imag")
    return reduction.sum(_without_nan(input, dtype, "nansum")[0], dim, keepdim)


@precision(accelerator="unchanged")
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """Mean over `dim` (all by default) of what is not NaN; NaN where there is nothing. A NaN gets the gradient 0."""
    x, present = _without_nan(reduction.floating(input, dtype, "nanmean"), None, "nanmean")
    return reduction.sum(x, dim, keepdim) / reduction.sum(present, dim, keepdim)
