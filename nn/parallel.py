"""PyTorch's wrappers for training on several cards, in one process.

`DataParallel` gives each card a copy of the parameters and a part of the batch. Copies are recorded operations, so gradients come back
through them and are added up. No threads are needed: while one card computes the next one is told what to do.
"""

import itertools

from chainrule.autograd import late
from chainrule.autograd.functions.common import tensor_of
from chainrule.autograd.functions.shape import cat, chunk, stack
from chainrule.autograd.transforms import functional_call
from chainrule.backends import devices, get

from .module import Module
from .normalization import _BatchNorm


class DataParallel(Module):
    """Calls `module` on several CUDA cards, each with a part of the batch along `dim`; the outputs are joined on `output_device`.

    device_ids: the cards, as numbers or devices; by default all there are. The module must lie on the first, which is also the default of
    output_device. Tensors among the arguments, in tuples, lists and dicts too, are divided; what else is given all cards get. What the
    module writes into its buffers is kept of the first card's part, as in PyTorch. One card gets the whole batch; without any, or where the
    module lies on none, it is just called. The keys of the state dict start with "module.", as in PyTorch.

    >>> nn.DataParallel(nn.Linear(3, 2))(cr.ones(4, 3)).shape
    chainrule.Size([4, 2])
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        self.module, self.dim = module, dim
        self.device_ids, self.output_device = [], None
        count = get("cuda").device_count()
        if not count:
            return
        self.device_ids = [_card(one).index for one in (range(count) if device_ids is None else device_ids)]
        self.output_device = self.device_ids[0] if output_device is None else _card(output_device).index
        if len(self.device_ids) == 1:
            module.to(_card(self.device_ids[0]))

    def forward(self, *inputs, **kwargs):
        """What the module makes of them."""
        cards, module = [_card(one) for one in self.device_ids], self.module
        if not cards or not (inputs or kwargs):
            return module(*inputs, **kwargs)
        state = dict(itertools.chain(module.named_parameters(), module.named_buffers()))
        if state and all(one.device.type != "cuda" for one in state.values()):
            return module(*inputs, **kwargs)
        for name, one in state.items():
            if one.device != cards[0]:
                raise RuntimeError(
                    f"DataParallel: the module must have its parameters and buffers on {cards[0]}, the first of device_ids, but "
                    f"{name} is on {one.device}; call .to({str(cards[0])!r})"
                )
        parts = _divided((inputs, kwargs), cards, self.dim)
        if len(cards) == 1:
            return module(*parts[0][0], **parts[0][1])
        outputs = []
        for card, (some, named) in zip(cards, parts, strict=False):
            # The first is the module itself.
            copies = {name: one.to(card) for name, one in state.items()} if outputs else {}
            outputs.append(functional_call(module, copies, some, named))
        return _joined(outputs, _card(self.output_device), self.dim)


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """module(*inputs, **module_kwargs), computed as by `DataParallel`."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return DataParallel(module, device_ids, output_device, dim)(*inputs, **(module_kwargs or {}))


def _card(which):
    found = devices.device(f"cuda:{which}" if isinstance(which, int) else which)
    if found.type != "cuda":
        raise RuntimeError(f"DataParallel: device_ids and output_device must be CUDA devices, got {found}")
    return devices.device("cuda", get("cuda").check_index(found.index))


def _like(value, parts):
    """A container of the class of `value`: of items, or of pairs for a dict."""
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _divided(value, cards, dim):
    """For each card its part of `value`; for fewer of them where there is less to divide."""
    if isinstance(value, late.Tensor):
        pieces = chunk(value, len(cards), dim) if value.ndim else [value] * len(cards)
        return [piece.to(card) for piece, card in zip(pieces, cards, strict=False)]
    if isinstance(value, (tuple, list)) and value:
        parts = zip(*(_divided(one, cards, dim) for one in value), strict=False)
        return [_like(value, some) for some in parts]
    if isinstance(value, dict) and value:
        parts = zip(*(_divided(one, cards, dim) for one in value.values()), strict=False)
        return [_like(value, zip(value, some, strict=True)) for some in parts]
    return [value] * len(cards)


def _joined(outputs, card, dim):
    """The outputs of all parts as one; numbers, 0-d, as a vector."""
    first = outputs[0]
    if isinstance(first, late.Tensor):
        tensors = [one.to(card) for one in outputs]
        return cat(tensors, dim) if first.ndim else stack(tensors)
    if isinstance(first, (tuple, list)):
        return _like(first, [_joined(some, card, dim) for some in zip(*outputs, strict=True)])
    if isinstance(first, dict):
        return _like(first, [(key, _joined([one[key] for one in outputs], card, dim)) for key in first])
    if first is None:
        return None
    raise TypeError(
        f"DataParallel: the module returned a {type(first).__name__}; only tensors, None, and tuples, lists and dicts of them can be joined"
    )


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
