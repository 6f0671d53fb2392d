"""CUDA cards, under PyTorch's names. Nothing here raises for want of a card, except what needs one."""

from chainrule.backends import get
from chainrule.backends.later import load_later

_WHERE = {
    "cards": "can_device_access_peer device get_device_capability get_device_name get_device_properties is_bf16_supported",
    "graphs": "CUDAGraph graph graph_pool_handle is_current_stream_capturing make_graphed_callables",
    "lint": "Findings check_step",
    "memory": "get_per_process_memory_fraction max_memory_allocated max_memory_reserved mem_get_info memory_allocated "
    "memory_reserved memory_stats memory_summary reset_max_memory_allocated reset_peak_memory_stats "
    "set_per_process_memory_fraction",
    "step": "CaptureError GraphedStep make_graphed_step",
    "streams": "Event Stream StreamContext current_stream default_stream set_stream stream",
}
__getattr__, __dir__ = load_later(
    globals(),
    {
        "amp": "chainrule.cuda.amp",
        "count": "chainrule.backends.counting:count",
        "OutOfMemoryError": "chainrule.backends:OutOfMemoryError",
        "nvtx": "chainrule.cuda.nvtx",
        **{
            name: f"chainrule.cuda.{module}:{name}"
            for module, names in _WHERE.items()
            for name in names.split()
        },
    },
)


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
    """Make a card current for this thread: an int, "cuda:1" or a device; one without a number changes nothing."""
    index = _index("set_device", device)
    if index is not None:
        get("cuda").set_device(index)


def synchronize(device=None):
    """Wait until the work queued on a card is done."""
    get("cuda").synchronize(_index("synchronize", device))


def _index(what, device):
    from .cards import index_given

    return index_given(what, device)


def empty_cache():
    """Give memory that no array uses back to the card."""
    get("cuda").empty_cache()


def manual_seed(seed):
    """Seed the default generator, which serves every device."""
    from chainrule.backends import random

    random.manual_seed(seed)


manual_seed_all = manual_seed
