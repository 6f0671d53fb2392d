"""cuDNN's graphs: described once for each shape, kept, and run on the current stream.

cuDNN is reached through NVIDIA's `cudnn-frontend`. A computation is a graph of tensors, of which cuDNN is told number ("uid"), lengths,
strides and dtype, and of operations between them. From it cuDNN proposes execution plans; the first that it supports is kept for
all arrays of that form, or with `cr.backends.cudnn.benchmark` the fastest. To use it:

    def describe(cudnn, graph):                     # called once for each key
        x = tensor(cudnn, graph, 1, shape, strides, "bfloat16")
        y = graph.relu(x)
        output(cudnn, y, 2, shape, strides, "bfloat16")

    plan = plans.find("relu", (shape, strides, "bfloat16"), describe)
    if plan is not None:                            # else plans.refused says why; use other code
        plans.run(plan, {1: plans.aligned(x), 2: y})

A key must hold all that `describe` depends on; device, determinism, benchmark and TF32 are added here. Scratch memory comes from
CuPy's pool for each call, and goes back to it: the pool hands a block on in the order of the stream, and while a stream is being captured
it is the pool of the graph, so scratch memory lives exactly as long as what uses it. Plans are never dropped, as a captured graph may hold
their code. A plan cannot be made while capturing: run the step once before.
"""

import contextlib
import math
import sys
import threading
import warnings

from chainrule.backends import determinism, precision_settings

OLDEST = (1, 22)  # of the frontend
TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}
INSTALL = 'pip install "chainrule[cuda13]" (or [cuda12]) brings it'
_TIMED = 8  # how many of cuDNN's proposals `benchmark` tries


def why_not(load=None):
    """Why cuDNN cannot be used, as a sentence; None if it can. Never raises."""
    try:
        cudnn = (load or frontend)()
    except ModuleNotFoundError as error:
        if error.name == "cudnn":
            return f"nvidia-cudnn-frontend is not installed; {INSTALL}"
        return f"nvidia-cudnn-frontend cannot be imported ({error}); reinstall it"
    except Exception as error:  # a broken installation may raise anything
        return f"nvidia-cudnn-frontend cannot be imported ({type(error).__name__}: {error}); reinstall it"
    version = getattr(cudnn, "__version__", "0")
    if not hasattr(cudnn, "pygraph"):
        return "the module cudnn that is installed is not NVIDIA's cudnn-frontend"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return (
            f"nvidia-cudnn-frontend {version} is too old; version {OLDEST[0]}.{OLDEST[1]} or newer is needed"
        )
    try:
        cudnn.backend_version()
    except Exception as error:
        return f"the cuDNN library (libcudnn.so.9) cannot be loaded ({error}); {INSTALL}"
    return None


def frontend():
    """NVIDIA's module."""
    import cudnn

    return cudnn


# --- for `describe` ---


def tensor(cudnn, graph, uid, shape, strides, dtype):
    """A tensor that the caller gives; strides are in elements."""
    kind = getattr(cudnn.data_type, TYPES[dtype])
    return graph.tensor(dim=list(shape), stride=list(strides), data_type=kind, uid=uid, name=f"t{uid}")


def output(cudnn, made, uid, shape, strides, dtype):
    """Let what an operation of the graph made be written to memory of that form."""
    made.set_output(True).set_dim(list(shape)).set_stride(list(strides))
    made.set_data_type(getattr(cudnn.data_type, TYPES[dtype])).set_uid(uid)


def elements(array):
    """An array's strides, counted in elements."""
    size = array.dtype.itemsize
    return tuple(stride // size for stride in array.strides)


# --- plans ---


class Plan:
    """A graph that can be run. `index` is that of the plan among cuDNN's proposals, None for the one that cuDNN prefers."""

    def __init__(self, graph, workspace, choices=()):
        self.graph = graph
        self.workspace = workspace
        self.index = None
        self.choices = choices  # indices that are still to be timed


class Plans:
    """All graphs that were built, for any device.

    runtime: what is asked for the current device and stream; see `CupyRuntime`. load: what imports the frontend.
    """

    def __init__(self, runtime, load=frontend):
        self.runtime = runtime
        self.refused = {}  # (name, key, ...) -> why cuDNN does not compute it
        self._load = load
        self._cudnn = self._reason = None
        self._plans = {}
        self._lock = threading.RLock()
        self._handles = _Handles(self)

    @property
    def cudnn(self):
        """NVIDIA's module, imported when first asked for; None where it cannot be used."""
        if self._cudnn is None and self._reason is None:
            self._reason = why_not(self._load)
            if self._reason is None:
                self._start()
        return self._cudnn

    def _start(self):
        self._cudnn = self._load()
        try:
            self._handles.current()
        except Exception as error:
            self._cudnn, self._reason = (
                None,
                f"cuDNN cannot be started ({error}); check that it fits the driver",
            )

    def why_not(self):
        """Why there are no plans, as a sentence; None if there are."""
        return self._reason if self.cudnn is None else None

    def usable(self):
        """Whether cuDNN is there and not switched off."""
        return precision_settings.cudnn.enabled and self.cudnn is not None

    def find(self, name, key, describe, dtype="float32"):
        """The plan for a graph, made if there is none; None where cuDNN has none for it or is switched off.

        name: of the operation. dtype: of its inputs; with "float32" it is settled here whether TF32 may be used. RuntimeError if a
        plan would have to be made while the stream is capturing.
        """
        if not self.usable():
            return None
        switches = precision_settings.cudnn
        exact = dtype == "float32" and not switches.allow_tf32
        fixed = switches.deterministic or determinism.are_deterministic_algorithms_enabled()
        key = name, key, dtype, exact, fixed, switches.benchmark, self.runtime.device()
        found = self._plans.get(key, self)
        return self._make(key, describe) if found is self else found

    def _make(self, key, describe):
        with self._lock:
            if key in self._plans:  # another thread was faster
                return self._plans[key]
            name, form, dtype, exact, fixed, benchmark, _ = key
            if self.runtime.capturing():
                raise RuntimeError(
                    f"{name}: cuDNN has no plan yet for {form}, and none can be made while a stream is capturing; "
                    f"run the step once before the capture, with the same shapes, dtypes and settings"
                )
            try:
                plan = self._build(describe, dtype, exact, fixed, benchmark)
            except Exception as error:
                self.refused[key] = str(error)
                if not isinstance(error, self.cudnn.cudnnGraphNotSupportedError):
                    warnings.warn(f"{name}: computed without cuDNN, which failed ({error})", stacklevel=2)
                plan = None
            self._plans[key] = plan
            return plan

    def _build(self, describe, dtype, exact, fixed, benchmark):
        cudnn, note = self.cudnn, self.cudnn.numerical_note
        full = cudnn.data_type.FLOAT
        graph = cudnn.pygraph(
            io_data_type=getattr(cudnn.data_type, TYPES[dtype]), intermediate_data_type=full, compute_data_type=full,
            handle=self._handles.current(),
        )  # fmt: skip
        describe(cudnn, graph)
        unwanted = [note.NONDETERMINISTIC] if fixed else []
        if dtype == "float32":  # inputs rounded to 16 bits are never asked for, to TF32 only where allowed
            unwanted += [note.DOWN_CONVERT_INPUTS, *([note.TENSOR_CORE] if exact else [])]
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.B, cudnn.heur_mode.FALLBACK])
        if unwanted:
            graph.deselect_numeric_notes(unwanted)
        graph.check_support()
        if not benchmark:
            graph.build_plans()
            return Plan(graph, graph.get_workspace_size())
        choices = []
        for index in range(graph.get_execution_plan_count()):
            with contextlib.suppress(Exception):  # deselected, or not supported after all
                graph.build_plan_at_index(index)
                choices.append(index)
            if len(choices) == _TIMED:
                break
        if not choices:
            raise RuntimeError("none of its plans can be built")
        sizes = [graph.get_workspace_size_plan_at_index(index) for index in choices]
        plan = Plan(graph, dict(zip(choices, sizes, strict=True)), choices)
        return plan

    def aligned(self, array):
        """The array, or a copy if it does not begin at a multiple of 16 bytes, which cuDNN takes for granted; new arrays do."""
        return array.copy(order="K") if self.runtime.address(array) % 16 else array

    def run(self, plan, arrays):
        """Compute: arrays (or addresses) by uid, inputs and outputs, each `aligned`."""
        address = self.runtime.address
        pointers = {uid: one if one.__class__ is int else address(one) for uid, one in arrays.items()}
        handle = self._handles.current()
        self.cudnn.set_stream(handle=handle, stream=self.runtime.stream())
        if plan.choices:
            self._choose(plan, pointers, handle)
        self._launch(plan, plan.index, pointers, handle)

    def _launch(self, plan, index, pointers, handle):
        size = plan.workspace if index is None else plan.workspace[index]
        block = self.runtime.block(size) if size else None
        scratch = 0 if block is None else block.ptr
        if index is None:
            plan.graph.execute(pointers, scratch, handle=handle)
        else:
            plan.graph.execute_plan_at_index(pointers, scratch, index, handle=handle)

    def _choose(self, plan, pointers, handle):
        """Time the plans that can be chosen from, on the arrays at hand, and keep the fastest."""
        with self._lock:
            fastest = math.inf, plan.choices[0] if plan.choices else plan.index
            for index in plan.choices if not self.runtime.capturing() else ():
                with contextlib.suppress(MemoryError):  # too much scratch memory: another will do
                    taken = self.runtime.seconds(lambda i=index: self._launch(plan, i, pointers, handle))
                    fastest = min(fastest, (taken, index))
            plan.index, plan.choices = fastest[1], ()


class _Handles:
    """A handle of cuDNN's for each device and thread. That of a thread that ended serves the next."""

    def __init__(self, plans):
        self._plans = plans
        self._local = threading.local()
        self._free = {}

    def current(self):
        """This thread's, for the current device."""
        device = self._plans.runtime.device()
        try:
            return self._local.held.by_device[device]
        except AttributeError:
            self._local.held = _Held(self._free)
        except KeyError:
            pass
        free = self._free.setdefault(device, [])
        try:
            handle = free.pop()
        except IndexError:
            handle = self._plans.cudnn.create_handle()
        self._local.held.by_device[device] = handle
        return handle


class _Held:
    """The handles of one thread; it dies with the thread."""

    def __init__(self, free):
        self.by_device = {}
        self._free = free

    def __del__(self):
        if not sys.is_finalizing():
            for device, handle in self.by_device.items():
                self._free[device].append(handle)


class CupyRuntime:
    """What plans need to know of CUDA, from CuPy."""

    def __init__(self, cupy):
        self._cupy = cupy
        self._several = cupy.cuda.runtime.getDeviceCount() > 1
        self.device = cupy.cuda.runtime.getDevice  # the current device's index

    def stream(self):
        """The current stream, as a number."""
        return self._cupy.cuda.get_current_stream().ptr

    def capturing(self):
        """Whether the current stream is being captured."""
        return bool(self._cupy.cuda.get_current_stream().is_capturing())

    def address(self, array):
        """Where an array's first element lies; it must be on the current device, where plans run."""
        if self._several and array.device.id != self.device():
            raise RuntimeError(
                f"an array lies on cuda:{array.device.id}, but the current device is cuda:{self.device()}; "
                f"call set_device({array.device.id}) first"
            )
        return array.data.ptr

    def block(self, size):
        """Scratch memory: an object that owns it, with its address as `ptr`."""
        return self._cupy.cuda.alloc(size)

    def seconds(self, run):
        """How long `run()` keeps the device busy, once warm."""
        event = self._cupy.cuda.Event
        run()
        times = []
        for _ in range(3):
            start, stop = event(), event()
            start.record()
            run()
            stop.record()
            stop.synchronize()
            times.append(self._cupy.cuda.get_elapsed_time(start, stop) / 1000)
        return min(times)
