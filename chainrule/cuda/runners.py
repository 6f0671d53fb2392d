"""Where captured steps run: on a card, or on the stand-in, which captures as strictly. What they need of it is the same.

`another()`: a runner for another graph. `static(array)`: a Tensor on the device to hold arrays like it. `copy(static, array)`: its contents, from the host or the device.
`aside()`: where steps run that are not captured. `recording()`: a context to capture in, with `capture` and `replay()`.
"""

import contextlib

import numpy as np

from chainrule.autograd import Tensor
from chainrule.backends import backend_of, get, random
from chainrule.backends.refusing import Refuser

from .cards import card, needed
from .graphs import CUDAGraph, graph, graph_pool_handle
from .streams import Stream, StreamContext, current_stream


def runner(what, device, generators=()):
    """The runner for a device; ValueError if nothing is captured there."""
    kinds = {"cuda": CudaRunner, "fake": FakeRunner}
    if device.type not in kinds:
        raise ValueError(
            f'{what}: steps are captured on "cuda" (or "fake", to try them), got {str(device)!r}'
        )
    known = isinstance(generators, (tuple, list)) and all(
        isinstance(one, random.Generator) for one in generators
    )
    if not known:
        raise TypeError(f"{what}: generators must be a list of Generators, got {generators!r}")
    return kinds[device.type](device, tuple(dict.fromkeys((random.default_generator, *generators))))


class FakeRunner:
    """The stand-in: see `backends/fakegraph.py`."""

    def __init__(self, device, generators, findings=None):
        self.backend, self.generators, self.findings = get("fake"), generators, findings

    def another(self):
        return self

    def static(self, array):
        return Tensor._wrap(self.backend.xp.empty(array.shape, dtype=array.dtype))

    def copy(self, static, array):
        static[...] = array if array.__class__ is static.__class__ else self.backend.from_host(_host(array))

    def aside(self):
        return contextlib.nullcontext()

    def recording(self):
        from chainrule.backends.fakegraph import FakeCapture

        return FakeCapture(self.backend, self.findings, self.generators)


class CudaRunner:
    """A card: a stream and memory of their own for the steps, replays on the caller's stream.

    Each graph has a runner to itself: what is made in the memory of a graph after its capture would lie where its replays write.
    """

    def __init__(self, device, generators):
        self.backend = needed("make_graphed_step")
        self.generators = generators
        self.device = card("make_graphed_step", device)
        self.another = lambda: CudaRunner(device, generators)
        self.stream, self.pool = Stream(device), graph_pool_handle()
        self._pinned = {}  # id of a static array -> [(pinned host array, event), the other]

    def static(self, array):
        with self.device:
            return Tensor._wrap(self.backend.xp.empty(array.shape, dtype=array.dtype))

    def copy(self, static, array):
        """From the host through one of two pinned arrays, so that the host need not wait for the copy before last to be done."""
        if array.__class__ is static.__class__:
            static[...] = array
            return
        cupy = self.backend.xp
        stream = cupy.cuda.get_current_stream()
        pair = self._pinned.get(id(static))
        if pair is None:
            import cupyx

            pair = self._pinned[id(static)] = [
                (cupyx.empty_pinned(static.shape, static.dtype), cupy.cuda.Event(disable_timing=True))
                for _ in range(2)
            ]
        pair.reverse()
        staging, done = pair[0]
        done.synchronize()
        staging[...] = _host(array)
        static.set(staging, stream)
        done.record(stream)

    @contextlib.contextmanager
    def aside(self):
        """On a stream aside, between what the caller's stream does before and after, with the memory of the graphs."""
        outer = current_stream(self.device.id)
        self.stream.wait_stream(outer)
        with StreamContext(self.stream), self.backend.xp.cuda.using_allocator(self.pool.malloc):
            yield
        outer.wait_stream(self.stream)

    def recording(self):
        return CudaRecording(self)


class CudaRecording:
    """One capture of a step on a card."""

    def __init__(self, runner):
        self.made = CUDAGraph()
        for generator in runner.generators[1:]:
            self.made.register_generator_state(generator)
        self._context = graph(self.made, pool=runner.pool, stream=runner.stream)
        self.replay = self.made._launch

    def __enter__(self):
        # CUDA would record a copy from host memory that is something else by the next replay.
        self._refuser = Refuser()
        self._refuser.watch()
        try:
            self._context.__enter__()
        except BaseException:
            self._refuser.unwatch()
            raise
        self.capture = self._refuser.capture = self.made._capture
        return self

    def __exit__(self, *error):
        try:
            return self._context.__exit__(*error)
        finally:
            self._refuser.unwatch()


def _host(array):
    """A host array, from the CPU or another device."""
    return array if isinstance(array, np.ndarray) else backend_of(array).to_host(array)
