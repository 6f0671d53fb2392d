"""Modules made without initial values, for those that are loaded right away."""

from ..init import skipped
from ..module import Module


def skip_init(module_cls, *args, **kwargs):
    """`module_cls(*args, **kwargs)` whose parameters hold whatever the memory holds: no random numbers are drawn for them.

    >>> nn.utils.skip_init(nn.Linear, 5, 1).weight.shape
    chainrule.Size([1, 5])
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"skip_init: expected a class of modules, got {module_cls!r}")
    with skipped():
        return module_cls(*args, **kwargs)
