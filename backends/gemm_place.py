"""What `Gemm` asks of CuPy: where arrays lie, which stream is current, memory, time."""

from .cublaslt import CublasError, load
from .gemm import Gemm


def on_cupy(cupy, settings):
    """(the `Gemm` of CuPy's arrays, None), or (None, why there is none)."""
    try:
        made = Gemm(load(), CupyPlace(cupy), settings)
        made.handle()
    except CublasError as error:
        return None, str(error)
    return made, None


class CupyPlace:
    """What `Gemm` asks of CuPy."""

    def __init__(self, cupy):
        self.xp = cupy
        self.several = cupy.cuda.runtime.getDeviceCount() > 1

    def device(self):
        """The index of the current device."""
        return self.xp.cuda.runtime.getDevice()

    def device_of(self, array):
        """The index of the device of an array."""
        return array.device.id

    def stream(self):
        """The address of the current stream."""
        return self.xp.cuda.get_current_stream().ptr

    def capturing(self):
        """Whether work on the current stream is being recorded into a graph."""
        return self.xp.cuda.get_current_stream().is_capturing()

    def pointer(self, array):
        """The address of an array's first element."""
        return array.data.ptr

    def memory(self, size):
        """(what keeps it alive, address) of new memory, from the common pool: it outlives a graph with a pool of its own."""
        block = self.xp.get_default_memory_pool().malloc(size)
        return block, block.ptr

    def time(self, run):
        """Milliseconds that `run` takes on the device, the best of three after one to warm up."""
        event, best = self.xp.cuda.Event, float("inf")
        for _ in range(4):
            start, end = event(), event()
            start.record()
            run()
            end.record()
            end.synchronize()
            best = min(best, self.xp.cuda.get_elapsed_time(start, end))
        return best
