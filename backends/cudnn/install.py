"""What cuDNN computes, registered with a backend."""

from . import attention, conv
from .plans import CupyRuntime, Plans


def install(backend, cupy):
    """Register the kernels that run through cuDNN; whether it is there is found out when one is first needed."""
    plans = Plans(CupyRuntime(cupy))
    conv.install(backend, plans)
    attention.install(backend, plans)
    return plans
