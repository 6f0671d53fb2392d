"""Where older scripts find `functional_call`; it lives in `chainrule.func`."""

from chainrule.autograd.transforms import functional_call

__all__ = ["functional_call"]
