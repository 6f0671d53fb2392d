"""Mixed precision, under PyTorch's names: products in 16 bits, what needs digits in float32 (`torch.amp`).

    scaler = cr.amp.GradScaler("cuda")  # for float16; bfloat16, with the exponents of float32, needs none
    for x, target in batches:
        optimizer.zero_grad()
        with cr.autocast("cuda", dtype=cr.float16):
            loss = loss_function(model(x), target)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

Keep the model in float32: its parameters are the master weights. A block computes with 16-bit copies of them, gradients arrive in
float32, and the optimizer adds its small steps to float32 numbers, where they are not rounded away.
Micikevicius et al. 2018, "Mixed precision training".
"""

from .autocast_mode import (
    autocast,
    clear_autocast_cache,
    custom_bwd,
    custom_fwd,
    get_autocast_dtype,
    is_autocast_available,
    is_autocast_cache_enabled,
    is_autocast_enabled,
    set_autocast_dtype,
)
from .grad_scaler import GradScaler

__all__ = [
    "GradScaler",
    "autocast",
    "clear_autocast_cache",
    "custom_bwd",
    "custom_fwd",
    "get_autocast_dtype",
    "is_autocast_available",
    "is_autocast_cache_enabled",
    "is_autocast_enabled",
    "set_autocast_dtype",
]
