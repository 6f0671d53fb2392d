"""PyTorch's paths to the layers' files, for scripts that write `nn.modules.batchnorm._BatchNorm` and the like."""

from . import activation, container, dropout, linear, loss, module, padding, pooling, transformer
from . import convolution as conv
from . import embedding as sparse
from . import folding as fold
from . import normalization as batchnorm
from . import recurrent as rnn
from .lazy import LazyModuleMixin
from .module import Module

instancenorm = batchnorm

__all__ = [
    "LazyModuleMixin",
    "Module",
    "activation",
    "batchnorm",
    "container",
    "conv",
    "dropout",
    "fold",
    "instancenorm",
    "linear",
    "loss",
    "module",
    "padding",
    "pooling",
    "rnn",
    "sparse",
    "transformer",
]
