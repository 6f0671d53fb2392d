"""PyTorch's small satellites: `data` feeds training loops."""

from . import data

__all__ = ["data"]
