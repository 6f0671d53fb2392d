"""Trading time for memory: `checkpoint(function, *args)` keeps nothing for backward but its arguments."""

from chainrule.autograd.checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
