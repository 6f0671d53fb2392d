"""Autocast blocks, and the questions about them. What a function does inside one is declared where it is defined, by
`autograd.precision`."""

import functools
import threading
import warnings

from chainrule.autograd.modes import local
from chainrule.autograd.precision import Block, active, resumed
from chainrule.backends import devices, dtypes


class _Defaults(threading.local):
    """The dtypes of this thread's new blocks, by device type; float16 where none is named."""

    def __init__(self):
        self.dtypes = {"cpu": dtypes.bfloat16}


_defaults = _Defaults()


class autocast:
    """`with autocast("cpu"):` or `@autocast("cpu")`: mixed precision inside.

    device_type: "cpu" or "cuda". dtype: bfloat16 or float16; by default bfloat16 on the CPU and float16 elsewhere. enabled: False
    switches it off, also inside another block. cache_enabled: convert each parameter only once in the block.

    Parameters stay float32 (do not call `model.half()`): they are the master weights to which the optimizer adds. Call `backward`
    after the block; it runs in the dtypes of forward. With float16 use a `GradScaler`.
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        self.device_type = _type(device_type)
        self.dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self.enabled = bool(enabled)
        if self.enabled and self.dtype not in (dtypes.bfloat16, dtypes.float16):
            warnings.warn(
                f"autocast: dtype must be bfloat16 or float16, got {self.dtype}; autocast is off in this block",
                stacklevel=2,
            )
            self.enabled = False
        self.cache_enabled = is_autocast_cache_enabled() if cache_enabled is None else bool(cache_enabled)
        self._before = []

    def __enter__(self):
        state, outer = local.state, active()
        self._before.append(state.autocast)
        kinds = {**outer.dtypes} if outer else {}
        kinds[self.device_type] = self.dtype if self.enabled else None
        on = any(dtype is not None for dtype in kinds.values())
        # The converted parameters live as long as the outermost block.
        state.autocast = Block(kinds, self.cache_enabled, outer.cache if outer else {}) if on else None
        return self

    def __exit__(self, *_):
        local.state.autocast = self._before.pop()

    def __call__(self, function):
        @functools.wraps(function)
        def in_mixed_precision(*args, **kwargs):
            with autocast(self.device_type, self.dtype, self.enabled, self.cache_enabled):
                return function(*args, **kwargs)

        return in_mixed_precision


def _type(device_type):
    if not isinstance(device_type, str) or ":" in device_type:
        raise ValueError(f'autocast: expected a device type such as "cpu" or "cuda", got {device_type!r}')
    return devices.device(device_type).type


def is_autocast_enabled(device_type="cuda"):
    """Whether this thread is in an autocast block for this type of device."""
    block = active()
    return block is not None and block.dtypes.get(_type(device_type)) is not None


def get_autocast_dtype(device_type):
    """The dtype of the block this thread is in, or the one a new block has by default."""
    kind, block = _type(device_type), active()
    return (block and block.dtypes.get(kind)) or _defaults.dtypes.get(kind, dtypes.float16)


def set_autocast_dtype(device_type, dtype):
    """The dtype that new blocks of this thread have by default."""
    _defaults.dtypes[_type(device_type)] = dtype


def is_autocast_cache_enabled():
    """Whether parameters are converted only once in a block."""
    block = active()
    return block is None or block.caching


def clear_autocast_cache():
    """Forget the converted parameters."""
    block = active()
    if block is not None:
        block.cache.clear()


def is_autocast_available(device_type):
    """Whether there can be an autocast block for this type of device."""
    try:
        _type(device_type)
    except RuntimeError:
        return False
    return True


def custom_fwd(fwd=None, *, device_type, cast_inputs=None):
    """Decorate `forward(ctx, ...)` of an `autograd.Function` for use in blocks; its `backward` gets `custom_bwd`.

    cast_inputs: a dtype. Inside a block the floating point inputs of at most 32 bits are converted to it, and forward runs with
    autocast off. Without it forward runs as the block says.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    kind = _type(device_type)

    @functools.wraps(fwd)
    def forward(ctx, *args, **kwargs):
        if cast_inputs is None or not is_autocast_enabled(kind):
            ctx.autocast = active()
            return fwd(ctx, *args, **kwargs)
        args, kwargs = active().to((args, kwargs), kind, cast_inputs)
        with autocast(kind, enabled=False):
            ctx.autocast = active()
            return fwd(ctx, *args, **kwargs)

    return forward


def custom_bwd(bwd=None, *, device_type):
    """Decorate `backward` of an `autograd.Function`: it runs with autocast as its forward, which has `custom_fwd`, did."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    _type(device_type)

    @functools.wraps(bwd)
    def backward(ctx, *args, **kwargs):
        if not hasattr(ctx, "autocast"):
            raise RuntimeError("custom_bwd: the forward of this Function must be decorated with custom_fwd")
        with resumed(ctx.autocast):
            return bwd(ctx, *args, **kwargs)

    return backward
