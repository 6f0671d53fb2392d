"""PyTorch's wrappers for training on several cards, for one: what scripts and state dicts written with them need."""

from chainrule.autograd.functions.common import tensor_of

from .module import Module
from .normalization import _BatchNorm


class DataParallel(Module):
    """Calls `module`: the batch is not divided among cards. The keys of the state dict start with "module.", as in PyTorch.

    NotImplementedError for more than one device.

    >>> nn.DataParallel(nn.Linear(3, 2))(cr.ones(4, 3)).shape
    chainrule.Size([4, 2])
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        if device_ids is not None and len(device_ids) > 1:
            raise NotImplementedError(
                f"DataParallel: one device at most, got device_ids={device_ids}; chainrule does not divide a batch among cards"
            )
        self.module, self.dim = module, dim
        self.device_ids, self.output_device = list(device_ids or []), output_device

    def forward(self, *inputs, **kwargs):
        """What the module makes of them."""
        return self.module(*inputs, **kwargs)


class SyncBatchNorm(_BatchNorm):
    """Batch norm over the batches of all processes, of which there is one: BatchNorm1d, 2d and 3d in one class.

    Shape: (N, C, *) -> the same; `weight` and `bias` (C).

    >>> nn.SyncBatchNorm(3)(cr.randn(4, 3, 2)).shape
    chainrule.Size([4, 3, 2])
    """

    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, process_group=None, device=None,
        dtype=None, *, bias=True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)
        self.process_group = process_group

    def _check(self, input):
        if tensor_of(input, "SyncBatchNorm").ndim < 2:
            raise ValueError(
                f"SyncBatchNorm: expected an input (N, C, *) of at least 2 dimensions, got shape {tuple(input.shape)}"
            )

    @classmethod
    def convert_sync_batchnorm(cls, module, process_group=None):
        """`module` with every batch norm in it replaced by a SyncBatchNorm that has its parameters and statistics."""
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features, module.eps, module.momentum, False, False, process_group, bias=False
            )
            made.__dict__.update({**module.__dict__, "process_group": process_group})
            return made
        for name, child in list(module.named_children()):
            setattr(module, name, cls.convert_sync_batchnorm(child, process_group))
        return module
