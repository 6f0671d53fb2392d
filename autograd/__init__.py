"""Tensors, the graph they leave behind, and the derivatives of everything."""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.autograd, not as {__name__}: a second copy of its classes would not mix with the first"
    )

from chainrule.backends.later import load_later

from .gradients import backward, grad
from .modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .tensor import Size, Tensor

Variable = Tensor

# Loaded when first used: what most scripts never need.
_later = {
    "Function": "chainrule.autograd.function:Function",
    "GradcheckError": "chainrule.autograd.checking:GradcheckError",
    "detect_anomaly": "chainrule.autograd.anomaly:detect_anomaly",
    "forward_ad": "chainrule.autograd.forward_ad",
    "function": "chainrule.autograd.function",
    "functional": "chainrule.autograd.functional",
    "gradcheck": "chainrule.autograd.checking:gradcheck",
    "gradgradcheck": "chainrule.autograd.checking:gradgradcheck",
    "graph": "chainrule.autograd.graph",
    "profiler": "chainrule.autograd.profiler",
    "set_detect_anomaly": "chainrule.autograd.anomaly:set_detect_anomaly",
}

__getattr__, __dir__ = load_later(globals(), _later)

__all__ = [
    "Function",
    "GradcheckError",
    "Size",
    "Tensor",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
