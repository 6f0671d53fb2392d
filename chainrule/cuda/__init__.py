"""CUDA cards, under PyTorch's names. Nothing here raises for want of a card, except what needs one."""

from chainrule.backends import get
from chainrule.backends.later import load_later

__getattr__, __dir__ = load_later(globals(), {"amp": "chainrule.cuda.amp"})


def is_available():
    """Whether CuPy is installed and an array can be made on a card. Never raises."""
    return get("cuda").available()


def device_count():
    """How many cards can be used; 0 if none."""
    return get("cuda").device_count()


def current_device():
    """The number of this thread's current card."""
    return get("cuda").current_device()


def set_device(device):
    """Make a card current for this thread."""
    get("cuda").set_device(device if isinstance(device, int) else device.index)


def synchronize(device=None):
    """Wait until the work queued on a card is done."""
    get("cuda").synchronize(device if device is None or isinstance(device, int) else device.index)


def memory_allocated(device=None):
    """Bytes in use by arrays on a card."""
    return get("cuda").memory(device).get("allocated", 0)


def memory_reserved(device=None):
    """Bytes held by the memory pool of a card."""
    return get("cuda").memory(device).get("reserved", 0)


def empty_cache():
    """Give memory that no array uses back to the card."""
    get("cuda").empty_cache()


def manual_seed(seed):
    """Seed the default generator, which serves every device."""
    from chainrule.backends import random

    random.manual_seed(seed)


manual_seed_all = manual_seed
