"""Where the stages run: a CUDA card, or the rehearsal's stand-in for one. The stages know only what both have.

`device` is chainrule's name for it, `peer` PyTorch's; `torch` is the module, or None. `full` says whether sizes are meant for a
card. The rehearsal computes on the device `fake` with the kernels emulated, and its events read the clock of the host.
"""

import gc
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

import numpy as np  # noqa: E402

import chainrule as cr  # noqa: E402


class Place:
    """What a card and its stand-in share."""

    full = True

    def size(self, full, small):
        """A size for a card, or the one for the rehearsal."""
        return full if self.full else small

    def tensor(self, array, dtype=None):
        """A Tensor on the device with the contents of a NumPy array."""
        made = cr.tensor(array, device=self.device)
        return made if dtype is None else made.to(dtype)

    def normal(self, *shape, dtype=None, seed=0):
        """Normal numbers; large arrays repeat a block of a million, which is made once."""
        count = int(np.prod(shape))
        length = min(count, 1 << 20)
        block = cr.tensor(
            np.random.default_rng(seed).standard_normal(length, dtype="float32"), device=self.device
        )
        block = block if dtype is None else block.to(dtype)
        return block.repeat(-(-count // max(1, length)))[:count].reshape(shape)

    def peers(self):
        """The libraries to compare: chainrule, and PyTorch where it can use the device."""
        return [cr] if self.torch is None else [cr, self.torch]

    def of(self, library, tensor):
        """A Tensor as one of `library`, over the same memory if that is possible."""
        if library is cr or not isinstance(tensor, cr.Tensor):
            return tensor
        return self.to_torch(tensor.detach())

    # --- time ---

    def elapsed(self, call, times):
        """Milliseconds on the device from before the first to after the last of `times` calls `call(0)`, `call(1)`, ..."""
        start, end = self.event(), self.event()
        self.synchronize()
        start.record()
        for i in range(times):
            call(i)
        end.record()
        end.synchronize()
        return self.between(start, end)

    def interleaved(self, calls, rounds=5, aim=5.0, most=3000.0):
        """{name: {"ms": median, "least", "most", "calls"}} of `calls`, measured in turn, so that a slow moment hits all alike.

        A sample lasts about `aim` milliseconds. Calls that are slow get fewer rounds, so that all take about `most` together.
        """
        counts, found, spent = {}, {name: [] for name in calls}, 0.0
        for name, call in calls.items():
            call(0), call(1)  # the first ones compile, allocate and choose
            once = max(self.elapsed(call, 1), 1e-4)
            counts[name] = max(1, min(200, round(aim / once)))
            spent += once * counts[name]
        rounds = max(2, min(rounds, int(most / max(spent, 1e-3))))
        for _ in range(rounds):
            for name, call in calls.items():
                found[name].append(self.elapsed(call, counts[name]) / counts[name])
        return {
            name: {
                "ms": statistics.median(times),
                "least": min(times),
                "most": max(times),
                "calls": counts[name] * rounds,
            }
            for name, times in found.items()
        }

    def captured(self, step, warmup=3):
        """The step as one graph; the first `warmup` calls run without, and all calls are steps."""
        return cr.cuda.make_graphed_step(step, warmup=warmup, device=self.device)

    def peak(self, library, call):
        """Bytes that a call takes at most beyond what was in use before."""
        if library is not cr:
            return self.torch_peak(call)
        before = self.backend.memory()["allocated"]
        with cr.cuda.count() as work:
            call(0)
            self.synchronize()
        return max(0, work.peak_bytes - before)

    def launches(self, call):
        """The number of launches that a call of ours asks for."""
        with cr.cuda.count() as work:
            call(0)
        return work.launches

    def clean(self):
        """Give back what the last item left."""
        gc.collect()

    def unusable(self):
        """Why the device cannot be used any more, or None."""
        try:
            self.synchronize()
        except Exception as error:
            return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _copied(torch, tensor):
    """PyTorch's tensor on the CPU with the contents of a Tensor."""
    array = tensor.cpu().numpy()
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype("float32")).bfloat16()
    return torch.from_numpy(array.copy())


class Cuda(Place):
    """CuPy's current card."""

    device = peer = "cuda"

    def __init__(self):
        self.backend = cr.backends.get("cuda")
        self.xp = self.cupy = self.backend.xp
        self.torch = None
        self.why_no_torch = "it was not asked for"
        self.no_sharing = None
        self.launcher = None

    def bring_torch(self):
        """Load PyTorch, if it is there and can use the card."""
        try:
            import torch

            torch.zeros(1, device="cuda")
            self.torch = torch
        except Exception as error:
            self.why_no_torch = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
        return self.torch

    def kernels(self):
        """What launches the kernels."""
        from chainrule.backends.cuda_kernels import CupyLauncher

        self.launcher = self.launcher or CupyLauncher(self.cupy)
        return self.launcher

    def products(self):
        """What multiplies matrices through cuBLASLt; RuntimeError if it cannot be used."""
        if self.backend.gemm is None:
            raise RuntimeError(f"cuBLASLt cannot be used: {self.backend.why_no_gemm}")
        return self.backend.gemm

    def to(self, array):
        """A raw array on the device."""
        return self.cupy.asarray(array)

    def back(self, array):
        """A raw array on the host."""
        return self.cupy.asnumpy(array)

    def to_torch(self, tensor):
        """A PyTorch tensor over the memory of a Tensor; a copy, and why in `no_sharing`, where that fails."""
        try:
            return self.torch.from_dlpack(tensor)
        except Exception as error:
            self.no_sharing = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            return _copied(self.torch, tensor).to("cuda")

    def synchronize(self):
        """Wait for everything on the card: both libraries may have streams of their own."""
        self.cupy.cuda.Device().synchronize()

    def event(self):
        """Something to record on the current stream; `between` gives the milliseconds."""
        return self.cupy.cuda.Event()

    def between(self, start, end):
        return self.cupy.cuda.get_elapsed_time(start, end)

    def captured_by_torch(self, step, warmup=3):
        """PyTorch's step `step()` as one CUDA graph; call the result to run it."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warmup):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = step()

        def replay():
            graph.replay()
            return result

        return replay

    def held(self):
        """Bytes of the card that are taken, by whomever."""
        free, total = self.cupy.cuda.runtime.memGetInfo()
        return total - free

    def kernels_run(self, call):
        """The number of kernels that a call runs, copies not counted, by PyTorch's profiler; None where it cannot tell."""
        if self.torch is None:
            return None
        from torch.profiler import ProfilerActivity, profile

        self.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            call(0)
            self.synchronize()
        on_card = self.torch.autograd.DeviceType.CUDA
        names = [one.name for one in found.events() if one.device_type == on_card]
        return sum(not name.startswith(("Memcpy", "Memset")) for name in names) or None

    def torch_peak(self, call):
        """Bytes that a call of PyTorch's takes at most beyond what was in use before."""
        cuda = self.torch.cuda
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        call(0)
        self.synchronize()
        return cuda.max_memory_allocated() - before

    def clean(self):
        super().clean()
        self.cupy.get_default_memory_pool().free_all_blocks()
        if self.torch is not None:
            self.torch.cuda.empty_cache()


class _HostEvent:
    at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass


class Rehearsal(Place):
    """The stand-in for a card, small and on the host. PyTorch takes part on the CPU, with copies."""

    device, peer, full = "fake", "cpu", False
    no_sharing, multiply = "the stand-in's memory is its own", None

    def __init__(self):
        self.backend = cr.backends.get("fake")
        self.xp = self.backend.xp
        self.torch = None
        self.why_no_torch = "it was not asked for"
        self.launcher = None

    def bring_torch(self):
        """Load PyTorch, if it is there."""
        try:
            import torch

            torch.set_num_threads(1)
            self.torch = torch
        except ImportError as error:
            self.why_no_torch = str(error)
        return self.torch

    def kernels(self):
        """The emulator of the kernels, hooked to the operations too; Skipped where there is no compiler for it."""
        from tests.kernels import emulator, on_fake

        from .items import Skipped

        if emulator.COMPILER is None:
            raise Skipped("g++ is not installed")
        self.launcher = self.launcher or on_fake.installed()
        return self.launcher

    def products(self):
        """The same object, over libraries that compute in NumPy; operations go through them, and through cuDNN's stand-in."""
        from tests.kernels import fake_cublaslt, fake_cudnn

        if self.multiply is None:
            self.multiply = fake_cublaslt.products_on_fake(self.backend, self.kernels())
            fake_cudnn.installed(self.backend)
        return self.multiply

    def to(self, array):
        return self.backend.from_host(array)

    def back(self, array):
        return self.backend.to_host(array)

    def to_torch(self, tensor):
        return _copied(self.torch, tensor)

    def synchronize(self):
        pass

    def event(self):
        return _HostEvent()

    def between(self, start, end):
        return (end.at - start.at) * 1e3

    def captured_by_torch(self, step, warmup=3):
        """No graphs on the CPU: the step itself."""
        for _ in range(warmup):
            step()
        return step

    def held(self):
        return self.backend.memory()["allocated"]

    def kernels_run(self, call):
        return None

    def torch_peak(self, call):
        return None


def place(rehearse):
    """The place to run on."""
    return Rehearsal() if rehearse else Cuda()


def log(text):
    """A line in the stage's log, at once."""
    print(text, flush=True, file=sys.stderr)
