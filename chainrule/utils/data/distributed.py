"""`torch.utils.data.distributed`'s name for the sampler."""

from .sampler import DistributedSampler

__all__ = ["DistributedSampler"]
