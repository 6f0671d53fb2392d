"""What differs between a result there and a result here; and derivatives of both in a fixed direction."""

import numpy as np
import torch
from translate import here, leaf

import chainrule as cr


def flat(result):
    """The leaves of a result, in order."""
    if isinstance(result, dict):
        return [leaf for one in result.values() for leaf in flat(one)]
    if isinstance(result, (tuple, list)) and not isinstance(result, (torch.Size, cr.Size)):
        return [leaf for one in result for leaf in flat(one)]
    return [result]


def host(value):
    """The values as a NumPy array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().to_dense() if value.layout is not torch.strided else value.detach()
        value = value.float() if value.dtype is torch.bfloat16 else value
        return value.resolve_conj().resolve_neg().numpy(force=True)
    array = value.detach().numpy()
    return array.astype("float32") if array.dtype.kind == "V" else array


def difference(got, want, tolerance, exact=True):
    """What differs between two results, as text, or None. Without `exact`, only shapes and dtypes are looked at."""
    got, want = flat(got), flat(want)
    if len(got) != len(want):
        return f"{len(got)} results instead of {len(want)}"
    for one, other in zip(got, want, strict=True):
        if isinstance(other, torch.Tensor) != isinstance(one, cr.Tensor):
            return f"{type(one).__name__} instead of {type(other).__name__}"
        if not isinstance(other, torch.Tensor):
            same = (
                str(one).split(".")[-1] == str(other).split(".")[-1]
                or one == other
                or (one != one and other != other)
            )
            if (
                exact
                and not same
                and not (isinstance(other, (float, complex)) and np.isclose(one, other, rtol=tolerance))
            ):
                return f"{one!r} instead of {other!r}"
            continue
        if tuple(one.shape) != tuple(other.shape):
            return f"shape {tuple(one.shape)} instead of {tuple(other.shape)}"
        if one.dtype.name != str(other.dtype).removeprefix("torch."):
            return f"dtype {one.dtype} instead of {other.dtype}"
        text = unequal(host(one), host(other), tolerance) if exact else None
        if text:
            return text
    return None


def unequal(one, other, tolerance):
    if other.dtype.kind not in "fc":
        return None if np.array_equal(one, other) else f"{_brief(one)} instead of {_brief(other)}"
    if other.dtype in (np.float32, np.complex64):
        tolerance = max(tolerance, 2e-5)
    finite = np.abs(other[np.isfinite(other)])
    scale = max(1.0, finite.max(initial=0.0))
    if np.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
        return None
    return f"{_brief(one)} instead of {_brief(other)}"


def _brief(array):
    return np.array2string(array.ravel()[:6], precision=8)


class Call:
    """One sample of the database, here and there."""

    def __init__(self, sample, requires_grad):
        self.there = (leaf(sample.input), *map(leaf, sample.args)), leaf(sample.kwargs)
        self.requires_grad = requires_grad
        self.process = sample.output_process_fn_grad
        self.mine = self.fresh()

    def fresh(self):
        args, kwargs = self.there
        kwargs = {k: v for k, v in kwargs.items() if not (k == "layout" and not hasattr(cr, "strided"))}
        return here(list(args)), here(kwargs)

    def leaves(self, side):
        values = flat([*side[0], side[1]])
        return [one for one in values if isinstance(one, (torch.Tensor, cr.Tensor)) and one.requires_grad]


def weighted(outputs, library):
    """One number from all differentiable outputs, by irregular weights, so that nothing cancels."""
    total = None
    for one in flat(outputs):
        if not isinstance(one, (torch.Tensor, cr.Tensor)) or not one.requires_grad:
            continue
        weights = np.cos(1.3 * np.arange(one.numel()) + 0.2).reshape(tuple(one.shape))
        if "complex" in str(one.dtype):
            weights = weights + 1j * np.sin(0.7 * np.arange(one.numel()) + 0.5).reshape(tuple(one.shape))
        weights = library.from_numpy(np.asarray(weights)).to(one.dtype)
        part = (one * weights).sum()
        part = part.real if "complex" in str(one.dtype) else part
        total = part if total is None else total + part
    return total


def derivatives(function, process, side, library, call):
    """(gradients, second derivatives or the error) of the weighted outputs by all leaves; None where nothing depends."""
    leaves = call.leaves(side)
    total = weighted(process(function(*side[0], **side[1])), library)
    if total is None or not leaves:
        return None, None
    first = library.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
    first = [library.zeros_like(x) if g is None else g for g, x in zip(first, leaves, strict=True)]
    return first, lambda: _second(first, leaves, library)


def _second(first, leaves, library):
    total = None
    for g in first:
        if not g.requires_grad:
            continue
        weights = np.sin(0.9 * np.arange(g.numel()) + 0.4).reshape(tuple(g.shape))
        part = (g * library.from_numpy(np.asarray(weights)).to(g.dtype)).sum()
        part = part.real if "complex" in str(g.dtype) else part
        total = part if total is None else total + part
    if total is None:
        return [library.zeros_like(x) for x in leaves]
    found = library.autograd.grad(total, leaves, allow_unused=True)
    return [library.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]
