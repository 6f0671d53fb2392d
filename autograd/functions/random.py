"""Random numbers of many distributions, as new Tensors and filled into one. None of them passes a gradient on.

All are made from the uniform and normal numbers of `backends/random.py`, so they are the same on every device.
"""

import math

import numpy

from chainrule.autograd import inplace, late
from chainrule.backends import dtypes, namespaces

from . import counts, creation, draws, sorting
from .common import holds, tensor_of


def _drawn(how, like, generator, shape=None, dtype=None):
    """Uniform or normal numbers where `like` lies, in its shape and dtype or in those given."""
    return how(
        size=tuple(like.shape) if shape is None else shape,
        generator=generator,
        dtype=dtype or like.dtype,
        device=like.device,
    )


def _floating(x, name):
    if not tensor_of(x, name).dtype.is_floating_point:
        raise NotImplementedError(
            f"{name}: expected a floating point tensor, got {x.dtype}; convert with .float()"
        )
    return x.detach()


def normal(
    mean=0.0, std=1.0, size=None, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False
):  # fmt: skip
    """Normal numbers of the given mean and standard deviation, each a number or a Tensor; of `size` if both are numbers."""
    given = [one for one in (mean, std) if isinstance(one, late.Tensor)]
    least = std.min() if isinstance(std, late.Tensor) and std.numel() and not std.dtype.is_complex else std
    if not isinstance(least, late.Tensor) and isinstance(std, late.Tensor):
        least = 0
    if bool(least < 0):
        raise RuntimeError(f"normal: std must not be negative, got {float(least)}")
    if not given:
        if size is None:
            raise TypeError("normal: with a mean and an std that are numbers, size is needed")
        noise = draws.randn(size=size, generator=generator, dtype=dtype, layout=layout, device=device)
        return creation._finish((noise * std + mean)._array, requires_grad, pin_memory)
    if size is not None:
        raise TypeError(
            "normal: size goes with a mean and an std that are numbers; a Tensor has its own shape"
        )
    mean, std = (one.detach() if isinstance(one, late.Tensor) else one for one in (mean, std))
    shape = numpy.broadcast_shapes(*(tuple(one.shape) for one in given))
    return (_drawn(draws.randn, given[0], generator, shape) * std + mean).to(given[0].dtype)


def bernoulli(input, p=None, *, generator=None):
    """1 with the probability `input` holds at each place (or `p` everywhere), else 0, in the dtype of `input`."""
    x = tensor_of(input, "bernoulli")
    return _trials(x, _floating(x, "bernoulli") if p is None else p, generator, "bernoulli").to(x.dtype)


def _trials(like, p, generator, name):
    """True with probability p."""
    if isinstance(p, late.Tensor):
        p = p.detach()
        wrong = p.numel() and holds(((p < 0) | (p > 1)).any())
    else:
        wrong = not 0 <= p <= 1
    if wrong:
        raise RuntimeError(
            f"{name}: probabilities must lie in [0, 1], got {p if p.__class__ is float else 'others'}"
        )
    fine = dtypes.float64 if dtypes.float64 in (like.dtype, getattr(p, "dtype", None)) else dtypes.float32
    return _drawn(draws.rand, like, generator, dtype=fine) < p


def multinomial(input, num_samples, replacement=False, *, generator=None):
    """`num_samples` indices drawn with the (unnormalised) probabilities in the last dimension of `input`. (K) or (N, K).

    Without replacement by the exponential race (Efraimidis & Spirakis 2006): the smallest E / p win.
    """
    p = _floating(input, "multinomial")
    if p.ndim not in (1, 2) or not p.shape[-1]:
        raise RuntimeError(
            f"multinomial: expected 1 or 2 dimensions, the last not empty, got shape {tuple(p.shape)}"
        )
    if num_samples <= 0:
        raise RuntimeError(f"multinomial: num_samples must be positive, got {num_samples}")
    total = p.sum(-1)
    if not holds(((p >= 0) & p.isfinite()).all()) or not holds((total > 0).all()):
        raise RuntimeError(
            "multinomial: probabilities must be finite and not negative, and each row must have a positive sum"
        )
    if not replacement and p.numel() and num_samples > int((p > 0).sum(-1).min()):
        raise RuntimeError(
            f"multinomial: cannot draw {num_samples} samples without replacement from fewer non-zero probabilities"
        )
    if replacement:
        cumulative = (p / total.unsqueeze(-1)).cumsum(-1)
        drawn = _drawn(draws.rand, p, generator, (*p.shape[:-1], num_samples))
        index = (drawn.unsqueeze(-1) >= cumulative.unsqueeze(-2)).sum(-1)
        return index.clamp(max=p.shape[-1] - 1)
    race = -_drawn(draws.rand, p, generator).neg().log1p() / p
    return sorting.argsort(race, dim=-1)[..., :num_samples]


def poisson(input, generator=None):
    """Poisson numbers of the rates in `input`, in its dtype."""
    rate = _floating(input, "poisson")
    if rate.numel() and not holds((rate >= 0).all()):
        raise RuntimeError("poisson: rates must not be negative")
    return _counted(counts.poisson, generator, rate)


def binomial(count, prob, generator=None):
    """How many of `count` trials of probability `prob` succeed; floating point Tensors of one dtype."""
    count, prob = _floating(count, "binomial"), _floating(prob, "binomial")
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"binomial: expected one dtype, got {count.dtype} and {prob.dtype}")
    if (
        count.numel()
        and prob.numel()
        and not holds((count >= 0).all() & (prob >= 0).all() & (prob <= 1).all())
    ):
        raise RuntimeError("binomial: counts must not be negative, and probabilities must lie in [0, 1]")
    return _counted(counts.binomial, generator, count, prob)


def _counted(sampler, generator, *parameters):
    """The numbers of a sampler of `counts.py`, which takes flat float64 arrays."""
    first = parameters[0]
    xp = namespaces[first._array.__class__]
    arrays = xp.broadcast_arrays(*[one._array.astype("float64") for one in parameters])
    source = generator or draws._random_numbers.default_generator

    def uniform(size):
        return source.uniform((size,), dtypes.float64, xp)

    with numpy.errstate(all="ignore"):
        numbers = sampler(xp, uniform, *[one.reshape(-1) for one in arrays])
    return late.Tensor._wrap(numbers.reshape(arrays[0].shape).astype(first._array.dtype))


# Filling a Tensor


def _fill(tensor, values, name):
    return inplace.assign(tensor, values.to(tensor.dtype), name)


def _positive(value, argument, name, least=0):
    if not value > least:
        raise RuntimeError(f"{name}: {argument} must be larger than {least}, got {value}")


def _from(start, given, name):
    """The argument that PyTorch calls `from`, which Python can only pass as `**{"from": 0}`."""
    start = given.pop("from", start)
    if given:
        raise TypeError(f"{name}: got an unexpected keyword argument {next(iter(given))!r}")
    return start


def uniform_(self, from_=0.0, to=1.0, *, generator=None, **given):
    """Fill with uniform numbers in [from, to)."""
    low = _from(from_, given, "uniform_")
    if not self.dtype.is_complex:
        _floating(self, "uniform_")
    if not low <= to:
        raise RuntimeError(f"uniform_: expected from <= to, got from={low}, to={to}")
    return _fill(self, _drawn(draws.rand, self, generator) * (to - low) + low, "uniform_")


def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers."""
    if not (self.dtype.is_floating_point or self.dtype.is_complex):
        raise NotImplementedError(f"normal_: expected a floating point or complex tensor, got {self.dtype}")
    if std < 0:
        raise RuntimeError(f"normal_: std must not be negative, got {std}")
    return _fill(self, _drawn(draws.randn, self, generator) * std + mean, "normal_")


def log_normal_(self, mean=1.0, std=2.0, *, generator=None):
    """Fill with exp of normal numbers of this mean and standard deviation."""
    _floating(self, "log_normal_")
    _positive(std, "std", "log_normal_")
    return _fill(self, (_drawn(draws.randn, self, generator) * std + mean).exp(), "log_normal_")


def exponential_(self, lambd=1.0, *, generator=None):
    """Fill with exponentially distributed numbers of rate `lambd`."""
    _floating(self, "exponential_")
    _positive(lambd, "lambd", "exponential_")
    return _fill(self, _drawn(draws.rand, self, generator).neg().log1p() / -lambd, "exponential_")


def cauchy_(self, median=0.0, sigma=1.0, *, generator=None):
    """Fill with numbers of the Cauchy distribution: median + sigma * tan(pi (u - 1/2))."""
    _floating(self, "cauchy_")
    _positive(sigma, "sigma", "cauchy_")
    half_turn = (_drawn(draws.rand, self, generator) - 0.5) * math.pi
    return _fill(self, half_turn.tan() * sigma + median, "cauchy_")


def geometric_(self, p, *, generator=None):
    """Fill with the number of trials of probability p up to the first success: 1, 2, ..."""
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_: p must lie in (0, 1), got {p}")
    wide = self.dtype if self.dtype is dtypes.float64 else dtypes.float32
    failures = _drawn(draws.rand, self, generator, dtype=wide).neg().log1p() / math.log1p(-p)
    return _fill(self, failures.floor() + 1, "geometric_")


def bernoulli_(self, p=0.5, *, generator=None):
    """Fill with 1 with probability p (a number or a Tensor), else 0."""
    return _fill(self, _trials(self, p, generator, "bernoulli_"), "bernoulli_")


def random_(self, from_=0, to=None, *, generator=None, **given):
    """Fill with integers in [from, to); `random_(to)` starts at 0. By default up to the largest the dtype holds exactly."""
    low = _from(from_, given, "random_")
    if to is None and low:
        low, to = 0, low
    if to is None:
        to = _beyond(self.dtype)
    if low >= to:
        raise RuntimeError(f"random_: expected from < to, got from={low}, to={to}")
    return _fill(
        self, draws.randint(low, to, tuple(self.shape), generator=generator, device=self.device), "random_"
    )


def _beyond(dtype):
    """One more than the largest of the integers that are all held exactly."""
    if dtype is dtypes.bool:
        return 2
    if dtype.is_floating_point:
        return int(2 / dtypes.finfo(dtype).eps) + 1
    return dtypes.iinfo(dtype).max + 1
