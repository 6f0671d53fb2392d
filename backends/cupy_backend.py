"""CuPy: CUDA devices. CuPy is imported when a CUDA device is first asked for, never before.

That it can be imported says little: it imports without a driver, without a GPU, and in a version for another
CUDA. `why_not` therefore imports, allocates, computes and reads back, once, and keeps the answer.
"""

import contextlib
import os
import sys
import threading
from types import MappingProxyType

from . import devices, placement
from .backend import Backend, adopt, disown, register
from .capturing import local as capturing
from .flying import Flying
from .precision_settings import matmul

_OLDEST = 14  # the first version that promotes types as NumPy 2 does
_FORKED = (
    "CUDA was initialized before this process was forked, and cannot be used in a forked process; "
    "start workers with the 'spawn' or 'forkserver' method"
)


def is_pinned(array):
    """Whether a NumPy array lies in page-locked memory that CuPy gave."""
    while array is not None and type(array).__name__ != "PinnedMemoryPointer":
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array is not None


class NoPlans:
    """What stands for cuDNN's plans where there are none."""

    refused = MappingProxyType({})

    def __init__(self, why):
        self.why_not = lambda: why


def _refuse_copy(array, way, instead):
    capturing.capture.refuse(
        "copied",
        f"an array of shape {tuple(array.shape)} is copied {way} the card, and waited for",
        f"{instead}; or copy by .to(device, non_blocking=True) between the card and pinned memory, as each replay then does",
    )


class CupyBackend(Backend):
    """Arrays on CUDA devices, one `device("cuda", i)` each."""

    name = "cupy"
    device_type = "cuda"
    special_module = "cupyx.scipy.special"
    scratch_bytes = 256 << 20  # few launches matter more than caches
    matmul = matmul  # the switches `cr.backends.cuda.matmul`
    gemm, why_no_gemm = None, "no CUDA device was asked for yet"  # what multiplies matrices, or why CuPy does
    _cudnn_plans = None

    def __init__(self):
        super().__init__()
        self._lock = threading.RLock()
        self._probed = False
        self._reason = None
        self._devices = []
        self._peaks = {}
        self.flying = Flying()
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
        self._begin(cupy, count)
        return None

    def _begin(self, cupy, count):
        """Let operations take the arrays of a CuPy that works, on `count` devices."""
        self._devices = [devices.device("cuda", index) for index in range(count)]
        self.array_type = cupy.ndarray
        if os.environ.get("CHAINRULE_KERNELS", "1") != "0":
            self._install(cupy)
        else:
            self.why_no_gemm = "CHAINRULE_KERNELS=0 leaves it out"
        from .cupy_namespace import Namespace

        self._xp = Namespace(cupy, self.gemm)
        adopt(self)
        if count > 1:
            placement.begin(cupy)

    def _install(self, cupy):
        """Put kernels of our own, and cuBLASLt, in the place of what CuPy does slowly or not at all."""
        from . import cuda_kernels, gemm_kernels, gemm_place

        launch = cuda_kernels.CupyLauncher(cupy)
        cuda_kernels.install(self, launch)
        self.gemm, self.why_no_gemm = gemm_place.on_cupy(cupy, matmul)
        if self.gemm is not None:
            gemm_kernels.install(self, self.gemm, launch)
        from .cudnn.install import install

        self._cudnn_plans = install(self, cupy)  # asked first, as they are registered last

    @property
    def cudnn_plans(self):
        """cuDNN's graphs: `cudnn_plans.why_not()` says why it is not used, `.refused` what it had no plan for."""
        why = self.why_not() or "CHAINRULE_KERNELS=0 leaves it out"
        return NoPlans(why) if self._cudnn_plans is None else self._cudnn_plans

    def claims(self, cls):
        cupy = sys.modules.get("cupy")
        return cls is getattr(cupy, "ndarray", None) and (self.xp is not None)

    def after_fork(self):
        """In a forked child: refuse CUDA if the parent had used it; the driver does not survive a fork."""
        self._lock = threading.RLock()
        if self._xp is not None:
            disown(self.array_type)
            placement.cards = None  # nothing is to ask the driver which card is current
            self.flying = Flying()
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
        if capturing.capture is not None:
            _refuse_copy(array, "to", "give it to the step as an argument, or make it on the card")
        # CuPy copies what is pageable to memory of its own first; pinned memory it reads when the stream comes to it.
        with self._memory_errors(), self._device(index):
            made = self.xp.asarray(array)
            if is_pinned(array):
                self.xp.cuda.get_current_stream().synchronize()
            return made

    def to_host(self, array):
        if capturing.capture is not None:
            _refuse_copy(array, "from", "return it from the step, and read it after the replay")
        return self.xp.asnumpy(array)

    def from_host_later(self, array, index=None):
        if not is_pinned(array) or (capturing.capture is not None and not array.flags.c_contiguous):
            return self.from_host(array, index)
        with self._memory_errors(), self._device(index):
            if capturing.capture is None:
                made = self.xp.asarray(array)
            else:
                made = self.xp.empty(array.shape, dtype=array.dtype)
                self._recorded(made.data.ptr, array.ctypes.data, array, "memcpyHostToDevice")
            self._keep_until_now(array)
            return made

    def to_host_later(self, array):
        out = self.empty_pinned(array.shape, array.dtype)
        with self.xp.cuda.Device(array.device.id):
            if capturing.capture is None:
                array.get(out=out, blocking=False)
            else:
                array = self.xp.ascontiguousarray(array)
                self._recorded(out.ctypes.data, array.data.ptr, out, "memcpyDeviceToHost")
            self._keep_until_now(array, out)
        return out

    def _recorded(self, to, source, host, kind):
        """Copy between a card and pinned memory in a capture, where CuPy's own functions refuse to."""
        runtime, stream = self.xp.cuda.runtime, self.xp.cuda.get_current_stream().ptr
        runtime.memcpyAsync(to, source, host.nbytes, getattr(runtime, kind), stream)

    def _keep_until_now(self, *memory):
        """Hold memory until the current stream has done what it was asked to do; in a capture, as long as the graph, which copies anew
        at each replay."""
        capture = capturing.capture
        if capture is None:
            self.flying.hold(self.xp.cuda.get_current_stream().record(), *memory)
        else:
            capture.keep(memory)

    def empty_pinned(self, shape, dtype):
        """A NumPy array in page-locked memory, which a card reads and writes by itself."""
        from cupyx import empty_pinned

        self.xp  # noqa: B018 - an error that says what is missing
        return empty_pinned(shape, dtype)

    def record_stream(self, array, stream):
        """Let the memory of `array` not be given to another before what CuPy's `stream` is asked to do until then is done."""
        self.flying.hold_after(self.root(array), stream, lambda stream: stream.record())

    def copy_to(self, array, index=None):
        index = self.check_index(index)
        with self._memory_errors():
            if array.device.id != index:
                return self._across(array, index)
            with self.xp.cuda.Device(index):
                return array.copy()

    def _across(self, array, index):
        """A copy on another card: begun when the array is computed, and over before its memory is used for anything else."""
        cuda = self.xp.cuda
        with cuda.Device(array.device.id):
            there = cuda.get_current_stream()
            if not array.flags.c_contiguous:
                array = self.xp.ascontiguousarray(array)  # of no dimensions it would make one
            ready = there.record()
        with cuda.Device(index):
            here = cuda.get_current_stream()
            here.wait_event(ready)
            copy = array.copy()
            done = here.record()
        with cuda.Device(array.device.id):
            there.wait_event(done)
        return copy

    @contextlib.contextmanager
    def _memory_errors(self):
        """Inside, CuPy's OutOfMemoryError becomes ours."""
        try:
            yield
        except MemoryError as error:
            raise self.out_of_memory(error) from error

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

    def memory_limit(self, index=None):
        """What `set_memory_limit` set; 0 for no limit."""
        with self._device(index):
            return self.xp.get_default_memory_pool().get_limit()

    def empty_cache(self):
        """Give unused memory of the pools back. Captured graphs have pools of their own, which are not touched."""
        self.flying.drop()
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
