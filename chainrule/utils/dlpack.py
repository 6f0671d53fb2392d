"""Sharing memory with other array libraries through DLPack."""

from chainrule.autograd.functions.conversion import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
