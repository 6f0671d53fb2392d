"""Functions to functions: gradients, products, Jacobians and Hessians that nest to any order."""

from chainrule.autograd.transforms import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    stack_module_state,
    vjp,
)
from chainrule.backends.later import load_later

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "vjp",
    "vmap",  # noqa: F822 - loaded when first used
]

__getattr__, __dir__ = load_later(globals(), {"vmap": "chainrule.autograd.vmap:vmap"})
