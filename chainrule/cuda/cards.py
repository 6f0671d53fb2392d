"""Which card is meant, what it can do, and the refusal where there is none."""

import importlib.util
from dataclasses import dataclass

from chainrule.backends import devices, get


def needed(what):
    """The CUDA backend. RuntimeError naming `what` and the reason if no card can be used; CuPy is not called then."""
    backend = get("cuda")
    reason = backend.why_not()
    if reason is not None:
        raise RuntimeError(
            f"cuda.{what} is not available: {reason}; ask chainrule.cuda.is_available() before using it"
        )
    return backend


def index_given(what, device):
    """The number in an int, "cuda:1" or a device; None where none was given. Asks no driver."""
    if device is None or (isinstance(device, int) and not isinstance(device, bool)):
        return device
    found = devices.device(device)
    if found.type != "cuda":
        raise ValueError(f'cuda.{what}: expected a CUDA device such as "cuda:0", got {str(found)!r}')
    return found.index


def card(what, device=None):
    """CuPy's object for the card that `device` names (None is the current one); a context in which it is current."""
    backend = needed(what)
    return backend.xp.cuda.Device(backend.check_index(index_given(what, device)))


class device:
    """Make a card current for this thread inside a `with`: an int, "cuda:1" or a device. None, a negative number or
    "cuda" without a number change nothing.

    It is what `device="cuda"` without a number means inside. Other than `with chainrule.device(...)` it does not
    change where new tensors go by default.
    """

    def __init__(self, device):
        self.idx = index_given("device", device)
        self._entered = []

    def __enter__(self):
        made = None
        if self.idx is not None and self.idx >= 0:
            made = card("device", self.idx)
            made.__enter__()
        self._entered.append(made)

    def __exit__(self, *error):
        made = self._entered.pop()
        if made is not None:
            made.__exit__(*error)


# Our (PyTorch's) name of a property -> CUDA's.
_PROPERTIES = {
    "major": "major",
    "minor": "minor",
    "total_memory": "totalGlobalMem",
    "multi_processor_count": "multiProcessorCount",
    "max_threads_per_multi_processor": "maxThreadsPerMultiProcessor",
    "max_threads_per_block": "maxThreadsPerBlock",
    "regs_per_multiprocessor": "regsPerMultiprocessor",
    "shared_memory_per_block": "sharedMemPerBlock",
    "shared_memory_per_block_optin": "sharedMemPerBlockOptin",
    "shared_memory_per_multiprocessor": "sharedMemPerMultiprocessor",
    "warp_size": "warpSize",
    "L2_cache_size": "l2CacheSize",
    "memory_bus_width": "memoryBusWidth",
    "is_integrated": "integrated",
    "is_multi_gpu_board": "isMultiGpuBoard",
    "pci_bus_id": "pciBusID",
    "pci_device_id": "pciDeviceID",
    "pci_domain_id": "pciDomainID",
}


@dataclass(frozen=True)
class DeviceProperties:
    """What CUDA says about a card; None for what this version of CUDA does not tell. Sizes in bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    max_threads_per_multi_processor: int | None
    max_threads_per_block: int | None
    regs_per_multiprocessor: int | None
    shared_memory_per_block: int | None
    shared_memory_per_block_optin: int | None
    shared_memory_per_multiprocessor: int | None
    warp_size: int | None
    L2_cache_size: int | None
    memory_bus_width: int | None
    is_integrated: int | None
    is_multi_gpu_board: int | None
    pci_bus_id: int | None
    pci_device_id: int | None
    pci_domain_id: int | None


def get_device_properties(device=None):
    """The `DeviceProperties` of a card (the current one by default)."""
    return _properties("get_device_properties", device)


def get_device_name(device=None):
    """The name of a card, as its maker calls it."""
    return _properties("get_device_name", device).name


def get_device_capability(device=None):
    """The compute capability of a card: (major, minor)."""
    found = _properties("get_device_capability", device)
    return found.major, found.minor


def _properties(what, device):
    index = card(what, device).id
    told = get("cuda").xp.cuda.runtime.getDeviceProperties(index)
    name = told["name"]
    name = name.decode() if isinstance(name, bytes) else name
    return DeviceProperties(name, **{ours: told.get(theirs) for ours, theirs in _PROPERTIES.items()})


def can_device_access_peer(device, peer_device):
    """Whether a card can read the memory of another by itself."""
    here, there = (card("can_device_access_peer", one).id for one in (device, peer_device))
    return here != there and bool(get("cuda").xp.cuda.runtime.deviceCanAccessPeer(here, there))


def is_bf16_supported(including_emulation=True):
    """Whether tensors on the current card may be bfloat16; False without a card, or without the package ml_dtypes.

    From compute capability 8.0 on the hardware computes with them; before, software does, which counts if
    `including_emulation`.
    """
    if not get("cuda").available() or importlib.util.find_spec("ml_dtypes") is None:
        return False
    return including_emulation or get_device_capability()[0] >= 8
