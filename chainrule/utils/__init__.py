"""PyTorch's small satellites: `data` feeds training loops."""

from chainrule.backends.later import load_later

from . import data

__getattr__, __dir__ = load_later(globals(), {"checkpoint": "chainrule.utils.checkpoint"})

__all__ = ["checkpoint", "data"]
