"""CuPy: CUDA devices. CuPy is imported when a CUDA device is first asked for, never before.

That it can be imported says little: it imports without a driver, without a GPU, and in a version for another
CUDA. `why_not` therefore imports, allocates, computes and reads back, once, and keeps the answer.
"""

import os
import sys
import threading

from . import devices
from .backend import Backend, adopt, disown, register

_OLDEST = 14  # the first version that promotes types as NumPy 2 does
_FORKED = (
    "CUDA was initialized before this process was forked, and cannot be used in a forked process; "
    "start workers with the 'spawn' or 'forkserver' method"
)


class CupyBackend(Backend):
    """Arrays on CUDA devices, one `device("cuda", i)` each."""

    name = "cupy"
    device_type = "cuda"
    special_module = "cupyx.scipy.special"
    scratch_bytes = 256 << 20  # few launches matter more than caches

    def __init__(self):
        super().__init__()
        self._lock = threading.RLock()
        self._probed = False
        self._reason = None
        self._devices = []
        self._peaks = {}
        self.array_type = None
        self._xp = None

    # --- availability ---

    @property
    def xp(self):
        """The cupy module. RuntimeError saying what is wrong if CUDA cannot be used."""
        if self._xp is None:
            reason = self.why_not()
            if reason is not None:
                raise RuntimeError(f"CUDA is not available: {reason}")
        return self._xp

    def why_not(self):
        with self._lock:
            if not self._probed:
                self._reason = self._probe()
                self._probed = True
            return self._reason

    def _probe(self):
        """Import CuPy and compute with it: what went wrong, or None once operations take its arrays."""
        try:
            import cupy
        except ModuleNotFoundError as error:
            if error.name == "cupy":
                return (
                    "CuPy is not installed; pip install cupy-cuda13x (or cupy-cuda12x, to match the driver)"
                )
            return f"CuPy is installed but cannot be imported ({error}); reinstall it"
        except Exception as error:  # a broken installation may raise anything
            return f"CuPy is installed but cannot be imported ({type(error).__name__}: {error}); reinstall it"
        try:
            version = cupy.__version__
            if int(version.partition(".")[0]) < _OLDEST:
                return f"CuPy {version} is too old; version {_OLDEST} or newer is needed"
            count = cupy.cuda.runtime.getDeviceCount()
            if not count:
                return "there is no CUDA device"
            if int((cupy.ones(3, dtype="float32") + 1).sum()) != 6:
                return "a first computation gave a wrong result; check the driver and the CuPy version"
        except Exception as error:
            return f"CuPy cannot use a device ({type(error).__name__}: {error}); check it with nvidia-smi"
        self._devices = [devices.device("cuda", index) for index in range(count)]
        self._xp = cupy
        self.array_type = cupy.ndarray
        adopt(self)
        if os.environ.get("CHAINRULE_KERNELS", "1") != "0":
            from .cuda_kernels import CupyLauncher, install

            install(self, CupyLauncher(cupy))
        return None

    def claims(self, cls):
        cupy = sys.modules.get("cupy")
        return cls is getattr(cupy, "ndarray", None) and (self.xp is not None)

    def after_fork(self):
        """In a forked child: refuse CUDA if the parent had used it; the driver does not survive a fork."""
        self._lock = threading.RLock()
        if self._xp is not None:
            disown(self.array_type)
            self._xp = None
            self._devices = []
            self._probed, self._reason = True, _FORKED

    # --- devices ---

    def device_count(self):
        return 0 if self.why_not() else len(self._devices)

    def current_device(self):
        return self.xp.cuda.runtime.getDevice()

    def set_device(self, index):
        self._device(index).use()

    def _device(self, index):
        """CuPy's object for a device: a context manager under which arrays are made there."""
        return self.xp.cuda.Device(self.check_index(index))

    def device_of(self, array):
        return self._devices[array.device.id]

    def synchronize(self, index=None):
        self._device(index).synchronize()

    # --- copies and memory ---

    def from_host(self, array, index=None):
        with self._device(index):
            return self.xp.asarray(array)

    def to_host(self, array):
        return self.xp.asnumpy(array)

    def copy_to(self, array, index=None):
        with self._device(index):
            return array.copy()

    def shares_memory(self, a, b):
        return bool(self.xp.may_share_memory(a, b))

    def memory(self, index=None):
        with self._device(index) as device:
            pool = self.xp.get_default_memory_pool()
            free, total = device.mem_info
            used = pool.used_bytes()
            # CuPy keeps no record of the peak: this is the highest value met at the calls of this function.
            peak = self._peaks[device.id] = max(used, self._peaks.get(device.id, 0))
            return {
                "allocated": used,
                "peak": peak,
                "reserved": pool.total_bytes(),
                "free": free + pool.free_bytes(),
                "total": total,
            }

    def reset_peak(self, index=None):
        with self._device(index) as device:
            self._peaks[device.id] = self.xp.get_default_memory_pool().used_bytes()

    def set_memory_limit(self, size, index=None):
        """Let allocations fail that would bring a device's pool above `size` bytes; None for no limit."""
        with self._device(index):
            self.xp.get_default_memory_pool().set_limit(size=size or 0)

    def empty_cache(self):
        self.xp.get_default_memory_pool().free_all_blocks()
        self.xp.get_default_pinned_memory_pool().free_all_blocks()

    # --- where libraries differ ---

    def add_at(self, target, index, values):
        """By atomic additions: their order, and so the last bits of the sums, vary from run to run."""
        if target.dtype == "int64":
            # The hardware adds unsigned 64-bit integers only; in two's complement that is the same addition.
            target, values = target.view("uint64"), values.view("uint64")
        if target.dtype.kind == "c":
            self.xp.add.at(target.real, index, values.real)
            self.xp.add.at(target.imag, index, values.imag)
        elif target.dtype.itemsize < 4:
            wide = target.astype("int32")
            self.xp.add.at(wide, index, values.astype("int32"))
            target[...] = wide.astype(target.dtype)
        else:
            self.xp.add.at(target, index, values)


cuda = register(CupyBackend())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=cuda.after_fork)
