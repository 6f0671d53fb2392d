"""Tensors, the graph they leave behind, and the derivatives of everything."""

if not __name__.startswith("chainrule."):
    raise ImportError(
        f"import it as chainrule.autograd, not as {__name__}: a second copy of its classes would not mix with the first"
    )

from . import function, functional, graph
from .anomaly import detect_anomaly, set_detect_anomaly
from .function import Function
from .gradcheck import GradcheckError, gradcheck, gradgradcheck
from .gradients import backward, grad
from .modes import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .tensor import Size, Tensor

Variable = Tensor

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
