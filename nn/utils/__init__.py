"""Tools around modules: clipping, parameters as one vector, sequences of unequal length, parametrizations, pruning, penalties."""

from chainrule.backends.later import load_later

from . import rnn
from .clip_grad import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from .vector import parameters_to_vector, vector_to_parameters

clip_grad_norm = clip_grad_norm_  # its older name

__getattr__, __dir__ = load_later(
    globals(),
    {
        "decoding": "chainrule.nn.utils.decoding",
        "parametrizations": "chainrule.nn.utils.parametrizations",
        "parametrize": "chainrule.nn.utils.parametrize",
        "penalties": "chainrule.nn.utils.penalties",
        "prune": "chainrule.nn.utils.prune",
        "remove_spectral_norm": "chainrule.nn.utils.older_norms:remove_spectral_norm",
        "remove_weight_norm": "chainrule.nn.utils.older_norms:remove_weight_norm",
        "skip_init": "chainrule.nn.utils.init:skip_init",
        "spectral_norm": "chainrule.nn.utils.older_norms:spectral_norm",
        "stateless": "chainrule.nn.utils.stateless",
        "weight_norm": "chainrule.nn.utils.older_norms:weight_norm",
    },
)

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "decoding",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "penalties",
    "prune",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "spectral_norm",
    "stateless",
    "vector_to_parameters",
    "weight_norm",
]
