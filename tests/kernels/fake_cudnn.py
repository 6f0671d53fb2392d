"""A stand-in for NVIDIA's cudnn-frontend that computes graphs of convolution and attention on host memory, and refuses what cuDNN would refuse.

As a pytest plugin, `-p tests.kernels.fake_cudnn`, it is installed on the fake device for the whole run, and the forms of convolution that
tests asked for are written to the file that CHAINRULE_CUDNN_FORMS names.

It reads and writes through the addresses, lengths and strides that it was told and nothing else, so that a wrong stride, padding or group
gives wrong numbers, and an address that was not given, or scratch memory that is too small, an error.
"""

import ctypes
import enum
import itertools
import json
import os
import threading
import types

import numpy as np

from tests.kernels import fake_sdpa

_ENUMS = {
    "data_type": "FLOAT HALF BFLOAT16 DOUBLE INT32 INT64 UINT8 BOOLEAN",
    "numerical_note": "NONDETERMINISTIC TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION",
    "heur_mode": "A B FALLBACK",
    "diagonal_alignment": "TOP_LEFT BOTTOM_RIGHT",
}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BFLOAT16": "bfloat16", "DOUBLE": "float64"}


class NotSupported(Exception):
    """As cudnn.cudnnGraphNotSupportedError."""


class Tensor:
    def __init__(self, dim=None, stride=None, data_type=None, uid=None):
        self.dim, self.stride, self.data_type, self.uid, self.virtual = dim, stride, data_type, uid, False

    def set_output(self, is_output):
        self.virtual = not is_output
        return self

    def _setter(name):
        def set_it(self, value):
            setattr(self, name, value)
            return self

        return set_it

    set_dim, set_stride, set_data_type, set_uid = map(_setter, ("dim", "stride", "data_type", "uid"))

    def check(self):
        assert all(type(one) is int for one in (*self.dim, *self.stride, self.uid)), vars(self)
        assert len(self.dim) == len(self.stride) in (4, 5) and min(self.dim) > 0, vars(self)
        # Without gaps or overlap, in some order.
        step = 1
        for stride, length in sorted((s, n) for s, n in zip(self.stride, self.dim, strict=True) if n > 1):
            assert stride == step, vars(self)
            step *= length

    def at(self, address):
        """The memory as an array."""
        dtype = np.dtype(_DTYPES[self.data_type.name])
        count = 1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride, strict=True))
        flat = np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(address), dtype)
        strides = [s * dtype.itemsize for s in self.stride]
        return np.lib.stride_tricks.as_strided(flat, self.dim, strides)


class Convolution:
    """One of the three nodes. x, w, y: its tensors, of which one is made."""

    def __init__(self, made, x, w, y, pre_padding, post_padding, stride, dilation):
        self.made, self.x, self.w, self.y = made, x, w, y
        self.window = pre_padding, post_padding, stride, dilation

    def check(self):
        (n, c, *lengths), (o, seen, *kernel), (batch, made, *size) = self.x.dim, self.w.dim, self.y.dim
        assert batch == n and made == o and c % seen == 0 and o % (c // seen) == 0, (self.x.dim, self.w.dim)
        for length, k, places, before, after, step, far in zip(
            lengths, kernel, size, *self.window, strict=True
        ):
            if before < 0 or after < 0:
                raise RuntimeError("CUDNN_STATUS_BAD_PARAM")
            assert (length + before + after - far * (k - 1) - 1) // step + 1 == places, (self.window, length)

    def compute(self, arrays):
        result = arrays[self.made.uid]
        result[...] = 0  # it may hold anything
        x, w, y = (arrays[one.uid].astype("float64") for one in (self.x, self.w, self.y))
        groups = x.shape[1] // w.shape[1]
        made, seen = w.shape[0] // groups, w.shape[1]
        before, _, stride, dilation = self.window
        total = np.zeros(result.shape)
        for place in itertools.product(*map(range, y.shape[2:])):
            for tap in itertools.product(*map(range, w.shape[2:])):
                at = [
                    p * s + t * d - b
                    for p, s, t, d, b in zip(place, stride, tap, dilation, before, strict=True)
                ]
                if not all(0 <= one < n for one, n in zip(at, x.shape[2:], strict=True)):
                    continue
                there, here, through = (
                    (slice(None), slice(None), *at),
                    (slice(None), slice(None), *place),
                    (slice(None), slice(None), *tap),
                )
                for g in range(groups):
                    outs, ins = slice(g * made, (g + 1) * made), slice(g * seen, (g + 1) * seen)
                    if self.made is self.y:
                        total[here][:, outs] += x[there][:, ins] @ w[through][outs].T
                    elif self.made is self.x:
                        total[there][:, ins] += y[here][:, outs] @ w[through][outs]
                    else:
                        total[through][outs] += y[here][:, outs].T @ x[there][:, ins]
        result[...] = total


class Graph:
    def __init__(self, cudnn, io_data_type, intermediate_data_type, compute_data_type, handle):
        assert intermediate_data_type is compute_data_type is cudnn.data_type.FLOAT
        assert handle in cudnn.handles
        self.cudnn, self.dtype = cudnn, io_data_type
        self.tensors, self.nodes, self.unwanted, self.built, self.done = {}, [], [], [], []

    def tensor(self, dim, stride, data_type, uid, name=""):
        assert uid not in self.tensors
        self.tensors[uid] = Tensor(dim, stride, data_type, uid)
        return self.tensors[uid]

    def _convolve(self, made, tensors, options):
        self.nodes.append(Convolution(made, *tensors, **options))
        return made

    def conv_fprop(self, image, weight, **options):
        y = Tensor()
        return self._convolve(y, (image, weight, y), options)

    def conv_dgrad(self, loss, filter, **options):
        x = Tensor()
        return self._convolve(x, (x, filter, loss), options)

    def conv_wgrad(self, image, loss, **options):
        w = Tensor()
        return self._convolve(w, (image, w, loss), options)

    def sdpa(self, **options):
        return fake_sdpa.sdpa(self, Tensor, **options)

    def sdpa_backward(self, **options):
        return fake_sdpa.sdpa_backward(self, Tensor, **options)

    def _step(self, name, *needed):
        assert set(needed) <= set(self.done), (name, self.done)
        self.done.append(name)

    def validate(self):
        self._step("validate")
        for node in self.nodes:
            attention = isinstance(node, fake_sdpa.Attention)
            for made in node.outputs if attention else [node.made]:
                assert made.uid not in self.tensors and made.virtual is False
                self.tensors[made.uid] = made
            if attention:
                node.check(NotSupported)
                continue
            node.check()
            for one in self.tensors.values():
                one.check()
                assert one.data_type is self.dtype

    def build_operation_graph(self):
        self._step("build_operation_graph", "validate")

    def create_execution_plans(self, modes):
        self._step("create_execution_plans", "build_operation_graph")
        self.modes = modes

    def deselect_numeric_notes(self, notes):
        self._step("deselect", "create_execution_plans")
        self.unwanted += notes

    def check_support(self):
        self._step("check_support", "create_execution_plans")
        if self.cudnn.refuse:
            raise self.cudnn.refuse
        self.cudnn.graphs.append(self)

    def build_plans(self):
        self._step("build_plans", "check_support")
        self.built.append(0)

    def get_execution_plan_count(self):
        return 12

    def build_plan_at_index(self, index):
        if index == 1:
            raise NotSupported("Deselecting execution plan")
        self.built.append(index)

    def get_workspace_size(self):
        return self.cudnn.workspace

    def get_workspace_size_plan_at_index(self, index):
        assert index in self.built
        return self.cudnn.workspace + index

    def execute(self, pointers, workspace, handle):
        assert "build_plans" in self.done
        self.execute_plan_at_index(pointers, workspace, 0, handle)

    def execute_plan_at_index(self, pointers, workspace, index, handle):
        assert index in self.built and set(pointers) == set(self.tensors)
        assert not any(address % 16 for address in pointers.values())
        stream = self.cudnn.streams[handle]
        size = self.cudnn.workspace + index
        if size:
            ctypes.memset(workspace, 0xAB, size)
        for node in self.nodes:
            node.compute({uid: self.tensors[uid].at(address) for uid, address in pointers.items()})
        self.cudnn.executed.append(
            types.SimpleNamespace(graph=self, index=index, handle=handle, stream=stream)
        )


class FakeCudnn:
    """The module. `refuse`: what to raise instead of supporting a graph; `workspace`: how much scratch memory plans want."""

    __version__ = "1.27.0"
    cudnnGraphNotSupportedError = NotSupported

    def __init__(self):
        for name, members in _ENUMS.items():
            setattr(self, name, enum.Enum(name, members))
        self.handles, self.streams, self.graphs, self.executed = {}, {}, [], []
        self.refuse, self.workspace = None, 0
        self.runtime = None

    def backend_version(self):
        return 92800

    def create_handle(self):
        handle = 1000 + len(self.handles)
        self.handles[handle] = self.runtime.device(), threading.get_ident()
        return handle

    def set_stream(self, handle, stream):
        assert self.handles[handle][0] == self.runtime.device()
        self.streams[handle] = stream

    def pygraph(self, **options):
        return Graph(self, **options)


class FakeRuntime:
    """In place of `CupyRuntime`: arrays of the fake device, and a device, stream and capture that tests choose."""

    def __init__(self):
        self.index, self.number, self.recording, self.blocks, self.times = 0, 77, False, [], iter(())

    def device(self):
        return self.index

    def stream(self):
        return self.number

    def capturing(self):
        return self.recording

    def address(self, array):
        return array.data.ptr

    def block(self, size):
        """Scratch memory that is freed with its last reference, as a pool's is."""
        memory = ctypes.create_string_buffer(size)
        self.blocks.append(size)
        return types.SimpleNamespace(ptr=ctypes.addressof(memory), memory=memory)

    def seconds(self, run):
        run()
        return next(self.times)


def installed(backend):
    """Let `backend`, that of the fake device, compute through the stand-in; returns (plans, the stand-in)."""
    from chainrule.backends.cudnn import attention, conv, plans

    cudnn, runtime = FakeCudnn(), FakeRuntime()
    cudnn.runtime = runtime
    made = plans.Plans(runtime, lambda: cudnn)
    conv.install(backend, made)
    attention.install(backend, made)
    return made, cudnn


def pytest_configure(config):
    from chainrule.backends import get
    from chainrule.backends.cudnn import plans

    plans.TYPES["float64"] = "DOUBLE"  # most tests compute in it
    config.cudnn_plans, config.cudnn = installed(get("fake"))


def pytest_unconfigure(config):
    asked = {form for _, form, *_ in config.cudnn_plans._plans}
    forms = sorted((form.name, (form.shapes, form.formats, form.window)) for form in asked)
    if "CHAINRULE_CUDNN_FORMS" in os.environ:
        with open(os.environ["CHAINRULE_CUDNN_FORMS"], "w") as file:
            json.dump(forms, file)


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"convolutions by cuDNN: {len(config.cudnn.executed)}")
