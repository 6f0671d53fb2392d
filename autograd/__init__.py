"""Tensors, the graph they leave behind, and the derivatives of everything."""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.autograd, not as {__name__}: a second copy of its classes would not mix with the first"
    )

from .gradients import backward, grad
from .modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .tensor import Size, Tensor

Variable = Tensor

# Loaded when first used: what most scripts never need.
_later = {
    "Function": "function:Function",
    "GradcheckError": "checking:GradcheckError",
    "detect_anomaly": "anomaly:detect_anomaly",
    "function": "function",
    "functional": "functional",
    "gradcheck": "checking:gradcheck",
    "gradgradcheck": "checking:gradgradcheck",
    "graph": "graph",
    "set_detect_anomaly": "anomaly:set_detect_anomaly",
}


def __getattr__(name):
    from importlib import import_module

    if name not in _later:
        raise AttributeError(f"module 'chainrule.autograd' has no attribute {name!r}")
    module, _, attribute = _later[name].partition(":")
    found = import_module(f"{__name__}.{module}")
    found = getattr(found, attribute) if attribute else found
    globals()[name] = found
    return found


def __dir__():
    return sorted({*globals(), *_later})


__all__ = [
    "Function",
    "GradcheckError",
    "Size",
    "Tensor",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]
