"""Weight and spectral normalization in PyTorch's older form, which old checkpoints have: parameters `weight_g` and `weight_v`, or
`weight_orig`, of the layer itself. The newer form is in `parametrizations.py`.
"""

from chainrule.autograd.modes import no_grad
from chainrule.autograd.tensor import Tensor

from ..parameter import Parameter
from .parametrizations import as_matrix, default_dim, largest, norm_except, power_steps, unit_vectors


class _Computed:
    """A tensor `name` of a module that is computed from other parameters of it; `nn/tree.py` asks for its value."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def right_inverse(self, value):
        """Nothing can be assigned."""
        raise RuntimeError(
            f"cannot assign to {self.name!r}, which is computed from {', '.join(self.name + one for one in self.suffixes)}"
        )

    def attach(self, originals):
        """Put the parameters `originals` in the tensor's place. Returns the module."""
        delattr(self.module, self.name)
        for suffix, value in originals.items():
            self.module.register_parameter(self.name + suffix, Parameter(value))
        self.module.__dict__.setdefault("_parametrized", {})[self.name] = self
        return self.module

    @classmethod
    def detach(cls, module, name):
        """Undo `attach`: leave the tensor with the value it has."""
        found = module._parametrized.get(name)
        if not isinstance(found, cls):
            raise ValueError(f"{cls.__name__[1:]}: there is none on {name!r} of {type(module).__name__}")
        with no_grad():
            value = found.value()
        del module._parametrized[name]
        for suffix in cls.suffixes:
            delattr(module, name + suffix)
        module.register_parameter(name, Parameter(value))
        return module


class _WeightNorm(_Computed):
    suffixes = ("_g", "_v")

    def __init__(self, module, name, dim):
        super().__init__(module, name)
        self.dim = dim

    def value(self):
        """The normalized weight."""
        g, v = (getattr(self.module, self.name + one) for one in self.suffixes)
        return v * (g / norm_except(v, self.dim))


def weight_norm(module, name="weight", dim=0):
    """w = g v / |v| with parameters `weight_g` and `weight_v`; see `parametrizations.weight_norm`. Salimans & Kingma (2016)."""
    weight = _parameter(module, name, "weight_norm").detach()
    return _WeightNorm(module, name, dim).attach({"_g": norm_except(weight, dim), "_v": weight})


def remove_weight_norm(module, name="weight"):
    """Make `weight` a parameter again."""
    return _WeightNorm.detach(module, name)


class _SpectralNorm(_Computed):
    suffixes = ("_orig", "_u", "_v")

    def __init__(self, module, name, steps, eps, dim):
        super().__init__(module, name)
        self.steps, self.eps, self.dim = steps, eps, dim

    def value(self):
        """The normalized weight, after a step of the power iteration in training."""
        weight, u, v = (getattr(self.module, self.name + one) for one in self.suffixes)
        matrix = as_matrix(weight, self.dim)
        if self.module.training:
            power_steps(matrix.mT, v, u, self.steps, self.eps)  # v first, as PyTorch does in this form
        return weight / largest(matrix, u, v)


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """w / sigma(w) with the parameter `weight_orig`; see `parametrizations.spectral_norm`. Miyato et al. (2018)."""
    if n_power_iterations <= 0:
        raise ValueError(f"spectral_norm: n_power_iterations must be positive, got {n_power_iterations}")
    weight = _parameter(module, name, "spectral_norm").detach()
    dim = default_dim(module) if dim is None else dim
    u, v = unit_vectors(as_matrix(weight, dim), eps)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    return _SpectralNorm(module, name, n_power_iterations, eps, dim).attach({"_orig": weight})


def remove_spectral_norm(module, name="weight"):
    """Make `weight` a parameter again."""
    return _SpectralNorm.detach(module, name)


def _parameter(module, name, what):
    found = module._parameters.get(name)
    if not isinstance(found, Tensor):
        raise ValueError(f"{what}: {type(module).__name__} has no parameter {name!r}")
    return found
