"""CUDA graphs: work on a card recorded once and launched again as a whole, over CuPy's capture of a stream.

What is recorded is launches with their addresses: a replay reads and writes the same memory, and every number that Python computed
stays what it was. A graph therefore owns the memory that was allocated while it was captured. It comes from a pool of the
graph's own, whose blocks never go back to the driver as long as the graph lives: CuPy's pools return unused blocks when memory
runs out, and a graph would go on using them.

What Python counts from step to step is moved on by every replay all the same: the place in the stream of random numbers, the steps and
the options of Adam, AdamW and SGD, the scale of GradScaler (see `backends/capturing.py`). `step.py` captures whole training steps.

CuPy refuses cuBLAS, cuSOLVER, cuSPARSE and cuRAND while a stream is capturing: matrix products are captured where they go through
cuBLASLt (see `backends/gemm.py`).
"""

import contextlib
import gc

from chainrule.autograd.writes import log
from chainrule.backends import get, random
from chainrule.backends.capturing import Capture, CaptureError, local

from .cards import card, needed
from .streams import Stream, StreamContext, current_stream, default_stream

_MODES = {
    "global": "streamCaptureModeGlobal",
    "thread_local": "streamCaptureModeThreadLocal",
    "relaxed": "streamCaptureModeRelaxed",
}


def graph_pool_handle():
    """Memory for captures that share it; such graphs must be replayed in the order in which they were captured."""
    cuda = needed("graph_pool_handle").xp.cuda
    blocks = []  # what the driver gave, kept as long as the pool

    def allocate(size):
        block = cuda.Memory(size)
        blocks.append(block)
        return cuda.MemoryPointer(block, 0)

    return cuda.MemoryPool(allocate)


def is_current_stream_capturing():
    """Whether work on the current stream is being recorded; False without a card."""
    return get("cuda").available() and bool(current_stream()._stream.is_capturing())


def _not_yet_capturing():
    if local.capture is not None:
        raise RuntimeError("cuda.CUDAGraph: this thread is capturing a graph already; end that first")


class _CudaCapture(Capture):
    """A capture on a card. What is done outside of it runs on a stream aside, with the memory that was current before."""

    def __init__(self, backend):
        super().__init__(backend)
        cuda = backend.xp.cuda
        self._allocate = cuda.get_allocator()
        self._aside = None

    @contextlib.contextmanager
    def outside(self):
        cuda = self.backend.xp.cuda
        if self._aside is None:
            self._aside = cuda.Stream(non_blocking=True)
        with super().outside(), cuda.using_allocator(self._allocate), self._aside:
            yield

    def finish(self):
        """Wait for what was done outside, before anything is replayed."""
        if self._aside is not None:
            self._aside.synchronize()


class CUDAGraph:
    """Work on a card that can be launched again. Record it with `chainrule.cuda.graph`."""

    def __init__(self, keep_graph=False):
        needed("CUDAGraph")
        if keep_graph:
            raise NotImplementedError(
                "cuda.CUDAGraph: keep_graph=True is not supported, CuPy keeps the executable graph only; leave it out"
            )
        self._generators = {id(random.default_generator): random.default_generator}
        self._forget()

    def _forget(self):
        self._graph = self._pool = self._device = self._stream = self._allocator = self._capture = None
        self._written = ()

    def register_generator_state(self, generator):
        """Let random numbers from `generator` be drawn in the capture, as those of the default generator may be."""
        self._generators[id(generator)] = generator

    def capture_begin(self, pool=None, capture_error_mode="relaxed", check_input_liveness=False):
        """Record what is launched on the current stream from here on; `chainrule.cuda.graph` calls this.

        The default mode is not PyTorch's "global": CuPy's pool may have to ask the driver for memory meanwhile, which only
        "relaxed" allows.
        """
        if check_input_liveness:
            raise NotImplementedError(
                "cuda.CUDAGraph: check_input_liveness=True is not supported; leave it out"
            )
        if capture_error_mode not in _MODES:
            raise ValueError(
                f"cuda.CUDAGraph: capture_error_mode must be one of {', '.join(_MODES)}, got {capture_error_mode!r}"
            )
        if self._stream is not None or self._graph is not None:
            state = "is being captured" if self._graph is None else "holds a graph"
            raise RuntimeError(f"cuda.CUDAGraph: it {state} already; make another one, or call reset() first")
        stream = current_stream()
        if stream == default_stream():
            raise RuntimeError(
                "cuda.CUDAGraph: the default stream cannot be captured; use chainrule.cuda.graph(g), or a Stream of your own"
            )
        _not_yet_capturing()
        backend = needed("CUDAGraph")
        cuda = backend.xp.cuda
        pool = graph_pool_handle() if pool is None else pool
        capture = _CudaCapture(backend)
        allocator = cuda.using_allocator(pool.malloc)
        with contextlib.ExitStack() as undo:
            for generator in self._generators.values():
                generator.begin_capture(backend)
                undo.callback(generator.abandon_capture)
            undo.enter_context(allocator)
            stream._stream.begin_capture(getattr(cuda.runtime, _MODES[capture_error_mode]))
            undo.pop_all()
        self._pool, self._allocator, self._stream, self._device = pool, allocator, stream, stream.device
        self._epoch = log.epoch
        self._capture = local.capture = capture

    def capture_end(self):
        """End what `capture_begin` began; the graph can be replayed then."""
        if self._stream is None:
            raise RuntimeError("cuda.CUDAGraph: capture_end without capture_begin")
        capture = self._capture
        try:
            for generator in self._generators.values():
                moves = generator.end_capture()
                capture.before_replay(moves.before_replay)
                capture.after_replay(moves.after_replay)
            graph = self._stream._stream.end_capture()
        except BaseException:
            self._leave()
            self._forget()
            raise
        self._leave()
        capture.finish()
        self._written = log.written_since(self._epoch)
        self._graph, self._stream = graph, None

    def _leave(self):
        local.capture = None
        for generator in self._generators.values():
            generator.abandon_capture()
        self._allocator.__exit__(None, None, None)
        self._allocator = None

    def _abandon(self):
        """Give a capture up after an error, which may have ended it already."""
        if self._stream is not None:
            with contextlib.suppress(Exception):  # the error that led here says more
                self._stream._stream.end_capture()
            self._leave()
            self._capture.abandon()
            self._forget()

    def replay(self):
        """Launch the captured work on the current stream of its card.

        What it writes in place is told to autograd; that what it computes anew is overwritten is not, so a graph of operations
        recorded on its results before must not be differentiated after.
        """
        if self._graph is None:
            raise RuntimeError("cuda.CUDAGraph: nothing was captured; do so with chainrule.cuda.graph(g)")
        if local.capture is not None:
            raise CaptureError(
                "cuda.CUDAGraph: replay() while another graph is being captured, in which its step counts and random numbers would stand "
                "still; capture the work itself"
            )
        self._launch()
        log.wrote_again(self._written)

    def _launch(self):
        with card("CUDAGraph", self._device):
            self._capture.begin_replay()
            self._graph.launch()
            self._capture.end_replay()

    def reset(self):
        """Let go of the graph and of its memory; tensors made during the capture keep theirs."""
        if self._stream is not None:
            raise RuntimeError("cuda.CUDAGraph: reset during its capture; end it first")
        self._forget()

    def pool(self):
        """The memory of this graph, which another capture may share."""
        if self._pool is None:
            raise RuntimeError("cuda.CUDAGraph: it has no memory before a capture")
        return self._pool


class graph:
    """A context whose work on the card is recorded into `cuda_graph`, on `stream` or one of its own, instead of being done.

    Nothing inside may wait for a value (`item()`, `if x > 0:`, a mask as index), copy from the host, or run for the first time:
    run the same code a few times before. Tensors it reads must stay where they are, and `.grad` be None where a
    backward pass is captured. `make_graphed_step` looks after all that for a training step.
    """

    def __init__(
        self,
        cuda_graph,
        pool=None,
        stream=None,
        capture_error_mode="relaxed",
        enable_annotations=False,
        check_input_liveness=False,
    ):
        needed("graph")
        if not isinstance(cuda_graph, CUDAGraph):
            raise TypeError(
                f"cuda.graph: expected a chainrule.cuda.CUDAGraph, got {type(cuda_graph).__name__}"
            )
        if enable_annotations:
            raise NotImplementedError("cuda.graph: enable_annotations=True is not supported; leave it out")
        self.cuda_graph = cuda_graph
        self.pool = pool
        self.capture_stream = Stream() if stream is None else stream
        self.capture_error_mode = capture_error_mode
        self.check_input_liveness = check_input_liveness
        self._on_stream = StreamContext(self.capture_stream)

    def __enter__(self):
        _not_yet_capturing()
        card("graph", self.capture_stream.device).synchronize()
        # What the collector frees during a capture would be calls to the driver in its midst.
        gc.collect()
        self._collecting = gc.isenabled()
        gc.disable()
        self._on_stream.__enter__()
        try:
            self.cuda_graph.capture_begin(self.pool, self.capture_error_mode, self.check_input_liveness)
        except BaseException as error:
            self._leave(type(error), error, error.__traceback__)
            raise

    def __exit__(self, kind, error, traceback):
        try:
            if error is None:
                self.cuda_graph.capture_end()
            else:
                self.cuda_graph._abandon()
                error.add_note(
                    "This happened while a CUDA graph was being captured, where CuPy has no matrix products of its own (cuBLAS), "
                    "cuSOLVER, cuSPARSE or cuRAND, no value can be read and nothing copied from the host; "
                    "chainrule.cuda.check_step lists such places without a card."
                )
        finally:
            self._leave(kind, error, traceback)

    def _leave(self, *error):
        try:
            self._on_stream.__exit__(*error)
        finally:
            if self._collecting:
                gc.enable()


def make_graphed_callables(callables, sample_args, num_warmup_iters=3, allow_unused_input=False, pool=None):
    """Functions or Modules whose forward, and whose backward, run as CUDA graphs; a Module is changed and returned.

    See `chainrule.cuda.graphed`.
    """
    from .graphed import make_graphed_callables as make

    return make(callables, sample_args, num_warmup_iters, allow_unused_input, pool)
